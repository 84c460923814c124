package server_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"opencode/agent"
)

// secrets makes values that nobody may see, and remembers where each is.
type secrets map[string]string // place by value

func (s secrets) at(place string) string {
	v := "sk-" + rand.Text()
	s[v] = place
	return v
}

// find reports each secret that is in a text.
func (s secrets) find(t *testing.T, where, text string) {
	t.Helper()
	for v, place := range s {
		if strings.Contains(text, v) {
			t.Errorf("%s shows %s", where, place)
		}
	}
}

// secretConfig is a configuration file with a secret in every place where one
// may be.
func secretConfig(t *testing.T, s secrets, file string) string {
	t.Helper()
	type object = map[string]any
	b, err := json.Marshal(object{
		"$schema":      "https://u:" + s.at("$schema user") + "@example.com/config.json?k=" + s.at("$schema query"),
		"instructions": []string{"a.md", "https://u:" + s.at("instructions user") + "@example.com/x.md?token=" + s.at("instructions query")},
		"model":        "acme/m1",
		"username":     "{env:SECRET_PLACEHOLDER}",
		"agent": object{"rev": object{
			"description": "{file:" + file + "}", "prompt": s.at("agent prompt"), "options": object{"k": s.at("agent options")},
			"apiKey": s.at("agent other"), "headers": object{"X": s.at("agent headers")},
		}},
		"command": object{"c": object{"template": "t", "env": s.at("command other")}},
		"provider": object{
			"acme": object{
				"name": "{env:SECRET_PLACEHOLDER}", "id": s.at("provider id"), "env": []string{"ACME_KEY"},
				"api": "https://u:" + s.at("provider api") + "@example.com", "key": s.at("provider key"),
				"npm": "git+https://u:" + s.at("provider npm") + "@example.com/x.git",
				"options": object{
					"apiKey": s.at("apiKey"), "enterpriseUrl": s.at("enterpriseUrl"), "anything": s.at("other option"),
					"headers": object{"Authorization": "Bearer " + s.at("option headers")},
					"baseURL": "https://u:" + s.at("baseURL user") + "@acme.example.com/v1?key=" + s.at("baseURL query") + "#" + s.at("baseURL fragment"),
				},
				"models": object{"m1": object{
					"name": "One", "headers": object{"X": s.at("model headers")}, "options": object{"apiKey": s.at("model options")},
					"variants": object{"v": object{"apiKey": s.at("variants")}}, "provider": object{"api": s.at("model api"), "npm": s.at("model npm")},
					"experimental": s.at("model other"),
				}},
			},
			// The user's part can stand without a password.
			"token": object{"options": object{"baseURL": "https://" + s.at("baseURL token") + "@example.com"}},
			"plain": object{"options": object{"baseURL": s.at("baseURL that is none"), "apikey": s.at("apikey")}},
			"colon": object{"options": object{"baseURL": "key:" + s.at("opaque baseURL"), "APIKEY": s.at("APIKEY")}},
		},
		"mcp": object{
			"local": object{
				"type": "local", "command": []string{"x", "--token=" + s.at("mcp command")}, "environment": object{"K": s.at("mcp environment")},
				"cwd": s.at("mcp cwd"),
			},
			"remote": object{
				"type": "remote", "url": "https://u:" + s.at("mcp url user") + "@example.com/" + s.at("mcp url path"),
				"headers": object{"Authorization": s.at("mcp headers")},
				"oauth":   object{"clientId": s.at("clientId"), "clientSecret": s.at("clientSecret"), "scope": s.at("scope")},
			},
		},
		"lsp":       object{"l": object{"command": []string{s.at("lsp command")}, "env": object{"K": s.at("lsp env")}, "initialization": object{"k": s.at("lsp init")}}},
		"formatter": object{"f": object{"command": []string{s.at("formatter command")}, "environment": object{"K": s.at("formatter environment")}}},
		"plugin":    []any{s.at("plugin"), []any{"p", object{"k": s.at("plugin options")}}},
		"skills":    object{"urls": []string{s.at("skills")}}, "references": object{"r": object{"repository": s.at("references")}},
		"enterprise": object{"url": s.at("enterprise")}, "experimental": object{"k": s.at("experimental")},
		"server": object{"hostname": s.at("server")}, "shell": s.at("shell"), "permission": object{"bash": object{s.at("permission"): "allow"}},
		"keybinds": object{"k": s.at("keybinds")}, "apiKey": s.at("top apiKey"), "headers": object{"k": s.at("top headers")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestNoSecretIsShown fills the environment, the file with credentials and the
// configuration file with secrets, asks for everything that can be got, and
// looks for each secret in all answers, in the events and in the log. It walks
// the routes, so that it holds for those that come later.
func TestNoSecretIsShown(t *testing.T) {
	s := secrets{}
	file := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(file, []byte(s.at("a file that is named")), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"OPENAI_API_KEY": s.at("OPENAI_API_KEY"), "AWS_SECRET_ACCESS_KEY": s.at("AWS_SECRET_ACCESS_KEY"), "ACME_KEY": s.at("ACME_KEY"),
		"GROQ_API_KEY": s.at("GROQ_API_KEY"), "SECRET_PLACEHOLDER": s.at("SECRET_PLACEHOLDER"),
		"OPENCODE_SERVER_PASSWORD": s.at("OPENCODE_SERVER_PASSWORD"),
	}
	for name, v := range env {
		t.Setenv(name, v)
	}
	auth := `{
		"anthropic": {"type": "oauth", "refresh": "` + s.at("refresh") + `", "access": "` + s.at("access") + `", "expires": 1, "accountId": "` + s.at("accountId") + `"},
		"mistral": {"type": "api", "key": "` + s.at("key") + `", "metadata": {"k": "` + s.at("metadata") + `"}},
		"https://` + s.at("wellknown address") + `.example.com": {"type": "wellknown", "key": "K", "token": "` + s.at("wellknown token") + `"},
		"` + s.at("unknown provider") + `": {"type": "api", "key": "` + s.at("key of an unknown provider") + `"}
	}`
	r := person{config: secretConfig(t, s, file), env: env, auth: auth}.rig(t)
	for token, name := range map[string]string{r.full: "a token", r.read: "another token", r.write: "a third token"} {
		s[token] = name
	}
	if len(s) < 60 {
		t.Fatalf("only %d secrets", len(s))
	}

	// Something to show, made where the environment could come in.
	session := r.session()
	shell := r.shell(session, r.full, "env; echo shown")
	s.find(t, "the shell", shell.body)
	message := r.messages(session)[0].Info["id"]
	params := map[string]string{"{sessionID}": session, "{projectID}": agent.ProjectID(r.dir), "{providerID}": "acme", "{name}": "remote"}
	if id, ok := message.(string); ok {
		params["{messageID}"] = id
	}

	bodies := map[string]string{}
	for _, route := range routesOf(t, r.server) {
		if route.method != http.MethodGet {
			continue
		}
		path := route.pattern
		for name, value := range params {
			path = strings.ReplaceAll(path, name, value)
		}
		path = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "x1")
		path = strings.ReplaceAll(path, "*", filepath.Base(r.dir))
		for _, query := range []string{"", "?directory=" + r.dir + "&path=.&pattern=sk-&query=sk-"} {
			text := r.got(t, path+query)
			s.find(t, "GET "+path+query, text)
			bodies[route.pattern] += text
		}
	}
	s.find(t, "the log", r.log.String())

	// The search finds what is shown, and what stands beside the secrets is.
	for pattern, want := range map[string][]string{
		"/provider":                    {`"connected":["acme",`, `"anthropic"`, `"groq"`, `"mistral"`, `"openai"`, `https://acme.example.com/v1`},
		"/config":                      {`"{env:SECRET_PLACEHOLDER}"`, `"https://example.com/x.md"`, `"baseURL":"https://acme.example.com/v1"`, `"remote":{"enabled":true}`},
		"/config/providers":            {`"m1"`},
		"/api/model":                   {`"m1"`},
		"/session/{sessionID}/message": {"shown"},
		"/global/event":                {"server.connected"},
	} {
		for _, text := range want {
			if !strings.Contains(bodies[pattern], text) {
				t.Errorf("GET %s does not show %s:\n%.2000s", pattern, text, bodies[pattern])
			}
		}
	}
	if len(bodies) < 60 {
		t.Errorf("only %d routes: %q", len(bodies), slices.Sorted(maps.Keys(bodies)))
	}
}

// got returns what a GET answers, and of a stream what comes first.
func (r *rig) got(t *testing.T, target string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := leaver{httptest.NewRecorder(), cancel}
	req := r.request(ctx, http.MethodGet, target, r.full, "")
	req.RemoteAddr = "127.0.0.1:1"
	r.server.ServeHTTP(w, req)
	return w.Body.String()
}

// leaver is a client that leaves a stream when something has come.
type leaver struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (l leaver) Write(b []byte) (int, error) {
	if strings.HasPrefix(l.Header().Get("Content-Type"), "text/event-stream") {
		l.leave()
	}
	return l.ResponseRecorder.Write(b)
}
