package settings_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/provider"
	"opencode/settings"
)

func TestParse(t *testing.T) {
	t.Parallel()
	yes := true
	got, err := settings.Parse("f", []byte("\ufeff"+`// first
{
	"model": "acme/m1", /* between */ "small_model": "acme/m2", "autoupdate": false,
	"Model": "other", "permission": {"bash": "ask"}, "zz": null,
	"enabled_providers": [], "disabled_providers": ["groq",],
	"agent": {"rev": {"mode": "subagent", "model": "acme/m3", "hidden": true, "color": "accent", "tools": {"x": true},},},
	"command": {"c": {"template": "t", "subtask": true, "model": "acme/m1"}},
	"provider": {"acme": {"npm": "@a/b@1.2.3", "env": ["A_KEY"], "options": {"baseURL": "http://127.0.0.1:8080/v1/"},
		"models": {"m1": {"id": "real", "name": "One", "tool_call": false, "limit": {"context": 5, "output": 2, "input": 3}, "status": "beta",
			"cost": {"input": 1, "output": 2, "cache_read": 3, "cache_write": 4, "context_over_200k": {"input": 9}}}}}},
	"mcp": {"a": {"type": "local"}, "b": {"enabled": false}},
	"endpoints": {"corp": /* ours */ {"flow": "oidc", "scopes": ["openid",],},},
}`))
	if err != nil {
		t.Fatal(err)
	}
	m := provider.NewModel("m1")
	m.APIID, m.Name, m.ToolUse, m.Status = "real", "One", false, "beta"
	m.Limit = provider.Limit{Context: 5, Output: 2}
	m.Cost = provider.Cost{Input: 1, Output: 2, CacheRead: 3, CacheWrite: 4}
	want := settings.Settings{
		Path: "f", Model: "acme/m1", SmallModel: "acme/m2", Autoupdate: "false",
		EnabledProviders: []string{}, DisabledProviders: []string{"groq"},
		Agents:   map[string]settings.Agent{"rev": {Mode: "subagent", Model: "acme/m3", Hidden: true, Color: "accent"}},
		Commands: map[string]settings.Command{"c": {Template: "t", Subtask: &yes, Model: "acme/m1"}},
		Providers: map[string]provider.Definition{"acme": {
			NPM: "@a/b@1.2.3", Env: []string{"A_KEY"}, BaseURL: "http://127.0.0.1:8080/v1/", Models: []provider.Model{m},
		}},
		MCP:       map[string]bool{"a": true, "b": false},
		Endpoints: []byte(`{"corp":{"flow":"oidc","scopes":["openid"]}}`),
		Ignored:   []string{"Model", "permission", "zz"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"acme/m1", "acme/m2", "acme/m3"}, got.Models()); diff != "" {
		t.Errorf("models -want +got\n%s", diff)
	}
}

// TestWrong checks that each mistake is told with its line, and that no message
// quotes what stands in the file: it may be a secret in the wrong place.
func TestWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{\n\"model\": SECRET}":                                           "f:2:10: is not JSON",
		"{\n\n\"model\": \"SECRET":                                        "f:3:17: is not JSON",
		"{} SECRET":                                                       "f:1:4: is not JSON",
		`["SECRET"]`:                                                      "f:1: the file: want an object",
		"{\n\"model\": [\"SECRET\"]}":                                     "f:2: model: want a text",
		"{\"model\": 5,\n\"username\": null}":                             "f:1: model: want a text",
		"{\"x\": 5,\n\"username\": null}":                                 "f:2: username: want a text",
		`{"share": "SECRET"}`:                                             "f:1: share: want one of manual, auto, disabled",
		`{"autoupdate": "SECRET"}`:                                        "f:1: autoupdate: want one of notify",
		`{"instructions": "SECRET"}`:                                      "f:1: instructions: want an array of texts",
		`{"instructions": ["a", {"b": "SECRET"}]}`:                        "f:1: instructions[1]: want a text",
		"{\"agent\": {\n\"a\": \"SECRET\"}}":                              "f:2: agent.a: want an object",
		"{\"agent\": {\n\"a\": {\n\"mode\": \"SECRET\"}}}":                "f:3: agent.a.mode: want one of subagent, primary, all",
		`{"agent": {"a": {"color": "SECRET"}}}`:                           "f:1: agent.a.color: want #rrggbb",
		`{"agent": {"a": {"disable": "SECRET"}}}`:                         "f:1: agent.a.disable: want true or false",
		`{"command": {"c": {"description": "SECRET"}}}`:                   "f:1: command.c: want an object with a template",
		`{"provider": ["SECRET"]}`:                                        "f:1: provider: want an object",
		`{"provider": {"p": {"env": ["SECRET-1"]}}}`:                      "f:1: provider.p.env: want names",
		`{"provider": {"p": {"options": "SECRET"}}}`:                      "f:1: provider.p.options: want an object",
		`{"provider": {"p": {"options": {"baseURL": {"x": "SECRET"}}}}}`:  "f:1: provider.p.options.baseURL: want a text",
		`{"provider": {"p": {"models": {"m": {"limit": "SECRET"}}}}}`:     "f:1: provider.p.models.m.limit: want an object",
		`{"provider": {"p": {"models": {"m": {"cost": {"input": -1}}}}}}`: "f:1: provider.p.models.m.cost.input: want a number",
		`{"mcp": {"m": {"enabled": "SECRET"}}}`:                           "f:1: mcp.m.enabled: want true or false",
	} {
		got, err := settings.Parse("f", []byte(text))
		if !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
		if diff := cmp.Diff(settings.Settings{}, got); diff != "" {
			t.Errorf("%s: settings in spite of the error\n%s", text, diff)
		}
	}
	// All mistakes are told at once.
	_, err := settings.Parse("f", []byte(`{"model": 1, "username": 2}`))
	if err == nil || strings.Count(err.Error(), "want a text") != 2 {
		t.Errorf("error %v, want two", err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got, err := settings.Read(dir); err != nil || got.Path != "" {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	path := filepath.Join(dir, "opencode.jsonc")
	for text, want := range map[string]string{"": "", "  \n": "", `{"model":"a/b"}`: "a/b"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := settings.Read(dir); err != nil || got.Path != path || got.Model != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("{} //"+strings.Repeat("x", 512<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := settings.Read(dir); !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "opencode.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := settings.Read(dir); !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), "both exist") {
		t.Errorf("two files: %v", err)
	}
	// What is no file is not waited for.
	for name, create := range map[string]func(string) error{
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		if err := create(filepath.Join(dir, "opencode.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := settings.Read(dir); !errors.Is(err, settings.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAddresses checks what is left of addresses.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://u:SECRET@h.example:8/v1/x?k=SECRET#SECRET": "https://h.example:8/v1/x",
		"https://SECRET@h.example":                          "https://h.example",
		"HTTP://h.example/a%2Fb":                            "http://h.example/a%2Fb",
		"https://h.example/a@SECRET":                        "",
		`https://h.example/\SECRET`:                         "",
		"ftp://h.example/SECRET":                            "",
		"SECRET":                                            "",
		"//u:SECRET@h.example":                              "",
		"https:SECRET":                                      "",
		"https:///SECRET":                                   "",
		"https://h.example/%zzSECRET":                       "",
	} {
		text, err := json.Marshal(map[string]any{"provider": map[string]any{"p": map[string]any{"options": map[string]any{"baseURL": raw}}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := settings.Parse("f", text)
		if err != nil || got.Providers["p"].BaseURL != want {
			t.Errorf("%s -> %q, %v, want %q", raw, got.Providers["p"].BaseURL, err, want)
		}
	}
}

// FuzzParse puts a secret next to whatever else there is. Nothing that is read
// and no message may hold it.
func FuzzParse(f *testing.F) {
	f.Add("acme", "apiKey", `"k": 1`)
	f.Add("acme", "baseURL", `"model": "acme/m1"`)
	f.Add("a\nb", "headers", `"agent": {"a": {"mode": 5}}`)
	f.Add("x", "baseurl", `"model": tru`)
	f.Fuzz(func(t *testing.T, id, member, rest string) {
		secret := "sk-" + rand.Text()
		for _, value := range []any{secret, "https://u:" + secret + "@h.example/v1?k=" + secret + "#" + secret, map[string]any{"x": secret}} {
			options, err := json.Marshal(map[string]any{id: map[string]any{"options": map[string]any{member: value}}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := settings.Parse("f", fmt.Appendf(nil, `{"provider": %s, %s}`, options, rest))
			// Not even where it is quoted or split in the form of Go.
			if shown := fmt.Sprintf("%+v %v", got, err); strings.Contains(shown, secret) {
				t.Errorf("%q shows the secret: %s", member, shown)
			}
			for id, p := range got.Providers {
				u, err := url.Parse(p.BaseURL)
				if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
					t.Errorf("%q has the address %q, %v", id, p.BaseURL, err)
				}
			}
		}
	})
}
