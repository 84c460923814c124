package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCredentialsOfTheOriginal shares auth.json with the original: each reads
// what the other wrote, and ours keeps what it does not know.
func TestCredentialsOfTheOriginal(t *testing.T) {
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
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries map[string]map[string]any
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
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
