package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/provider/oauth"
)

// TestCredentialsOfTheOriginal shares auth.json with the original: each reads
// what the other wrote, and ours keeps what it does not know.
func TestCredentialsOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := startUpstream(t, upstreamOptions{})
	ours, theirs := serverBinary(t), clientBinary(t)
	path := filepath.Join(filepath.Dir(s.Project), "data", "opencode", "auth.json")
	login := func(id, key string, args ...string) {
		t.Helper()
		env := append(append([]string{}, s.Env...), "OPENCODE_AUTH_PROTECTION=plain", "A_KEY="+key)
		runCommand(t, env, s.Project, ours, append([]string{"auth", "login", id, "--from-env=A_KEY"}, args...)...)
	}
	login("anthropic", "sk-ant-api03-ours")
	login("groq", "gsk_of-the-work-profile", "--profile", "work")

	// The original writes: an OAuth entry, and all of the file with it.
	body := map[string]any{"type": "oauth", "refresh": "their-refresh", "access": "their-access", "expires": 4102444800000, "accountId": "acct"}
	if status, answer := s.request(t, http.MethodPut, "/auth/openai", body); status != http.StatusOK {
		t.Fatalf("PUT /auth/openai = %d %s", status, answer)
	}
	var list struct {
		Store       struct{ Protection string }
		Credentials []struct{ Provider, Profile, Kind, Account string }
	}
	if err := json.Unmarshal([]byte(runCommand(t, s.Env, s.Project, ours, "auth", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list.Credentials {
		got = append(got, strings.Join([]string{c.Provider, c.Profile, c.Kind, c.Account}, "|"))
	}
	want := "anthropic||api| groq|work|api| openai||oauth|acct"
	if strings.Join(got, " ") != want || list.Store.Protection != "plain" {
		t.Errorf("ours lists %q (%s), want %q in plain text", got, list.Store.Protection, want)
	}

	// Ours writes, and the original reads all of it.
	login("mistral", "a-key-of-mistral")
	out := runCommand(t, s.Env, s.Project, theirs, "auth", "list")
	for _, name := range []string{"Anthropic", "OpenAI", "Mistral", "groq#work", "4 credentials"} {
		if !strings.Contains(out, name) {
			t.Errorf("the original does not list %s:\n%s", name, out)
		}
	}
	entries := entriesOf(t, path)
	for name, value := range body {
		entry := entries["openai"][name]
		if n, ok := value.(int); ok {
			value = float64(n)
		}
		if entry != value {
			t.Errorf("their entry has %s %v now, want %v", name, entry, value)
		}
	}
	if key := entries["anthropic"]["key"]; key != "sk-ant-api03-ours" {
		t.Errorf("our key is %v after the original wrote", key)
	}

	// What ours is signed in to by OAuth and by a gateway outlives the original's
	// writing, although the original drops the members that only ours has.
	signInBeside(t, s)
	out = runCommand(t, s.Env, s.Project, theirs, "auth", "list")
	for _, name := range []string{"corp", "wellknown", "6 credentials"} {
		if !strings.Contains(out, name) {
			t.Errorf("the original does not list %s:\n%s", name, out)
		}
	}
	before := entriesOf(t, path)
	if status, answer := s.request(t, http.MethodPut, "/auth/deepseek", map[string]any{"type": "api", "key": "a-key-of-deepseek"}); status != http.StatusOK {
		t.Fatalf("PUT /auth/deepseek = %d %s", status, answer)
	}
	after := entriesOf(t, path)
	delete(after, "deepseek")
	for _, entry := range before {
		maps.DeleteFunc(entry, func(name string, _ any) bool { return name == "method" || name == "created" })
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the original changed what is not its own, -before +after:\n%s", diff)
	}
	if out := runCommand(t, s.Env, s.Project, ours, "auth", "refresh", "corp", "--force"); out != "corp is renewed\n" {
		t.Errorf("auth refresh = %q", out)
	}
	if access := entriesOf(t, path)["corp"]["access"]; access == before["corp"]["access"] {
		t.Error("the access token is the old one after a refresh")
	}
	runCommand(t, s.Env, s.Project, ours, "auth", "logout", "deepseek")
	runCommand(t, s.Env, s.Project, ours, "auth", "logout", "corp")
	for id := range after {
		if strings.Contains(id, "://") {
			runCommand(t, s.Env, s.Project, ours, "auth", "logout", id)
		}
	}

	// Encrypted, the original finds nothing, and plain again everything.
	runCommand(t, s.Env, s.Project, ours, "auth", "encrypt")
	if out := runCommand(t, s.Env, s.Project, theirs, "auth", "list"); !strings.Contains(out, "0 credentials") {
		t.Errorf("the original lists what is encrypted:\n%s", out)
	}
	runCommand(t, s.Env, s.Project, ours, "auth", "decrypt", "--yes")
	if out := runCommand(t, s.Env, s.Project, theirs, "auth", "list"); !strings.Contains(out, "4 credentials") {
		t.Errorf("the original does not list what is plain again:\n%s", out)
	}
}

// entriesOf reads auth.json.
func entriesOf(tb testing.TB, path string) map[string]map[string]any {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var entries map[string]map[string]any
	if err := json.Unmarshal(text, &entries); err != nil {
		tb.Fatal(err)
	}
	return entries
}

// signInBeside signs ours in, with the home of the original, to a provider by
// OAuth and to a gateway by its command.
func signInBeside(t *testing.T, s *instance) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/.well-known/opencode" {
			_, _ = io.WriteString(w, `{"auth":{"command":["echo","a-token-of-the-gateway"],"env":"CORP_TOKEN"}}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"expires_in":3600}`, rand.Text(), rand.Text())
	}))
	t.Cleanup(server.Close)
	config, err := json.Marshal(map[string]any{"endpoints": map[string]oauth.Endpoint{
		"corp": {
			Provider: "corp", Flow: oauth.FlowCode, AuthorizeURL: server.URL + "/auth", TokenURL: server.URL + "/token",
			RedirectURL: "https://console.example/code", ClientID: "cli",
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(s.Project)
	// The original has made a file of this name when it started.
	writeFiles(t, dir, map[string]string{"config/opencode/opencode.jsonc": string(config)})
	u := &signer{dir: s.Project, env: append(append([]string{}, s.Env...), "OPENCODE_AUTH_PROTECTION=plain")}
	a := u.login(t, "corp", "--method", "corp", "--stdin", "--no-browser")
	state := queryOf(t, a.address(t), "state")
	if _, err := io.WriteString(a.stdin, "code#"+state+"\n"); err != nil {
		t.Fatal(err)
	}
	if code := a.end(); code != 0 {
		t.Fatalf("login ended with %d: %s", code, a.stderr.String())
	}
	u.mustAuth(t, "login", server.URL, "--yes")
}
