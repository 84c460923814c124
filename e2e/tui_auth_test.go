package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestTUISignsIn signs in by the dialog of the TUI: with a key, and with a code
// of the browser after the provider's notice, at a provider of the test's own.
func TestTUISignsIn(t *testing.T) {
	requireE2E(t)
	t.Parallel()
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"an-access-token-not-to-be-shown","refresh_token":"a-refresh-token-not-to-be-shown","expires_in":3600}`)
	}))
	t.Cleanup(idp.Close)
	s := startServer(t, serverOptions{Env: []string{"ANTHROPIC_AUTH_URL=" + idp.URL + "/authorize", "ANTHROPIC_TOKEN_URL=" + idp.URL + "/token"}})
	u := attach(t, s)
	connect := func(provider, row string) {
		t.Helper()
		u.slash(t, "connect")
		u.wait(t, `Connect a provider`)
		u.write(t, provider)
		u.waitGone(t, `302\.AI`)
		u.wait(t, row)
		u.press(t, "Enter")
	}
	connected := func(want ...string) {
		t.Helper()
		got := call[struct{ Connected []string }](t, s, http.MethodGet, "/provider", nil).Connected
		if !slices.Equal(got, want) {
			t.Errorf("connected %q, want %q", got, want)
		}
	}

	connect("Mistral", `(?m)^\s*┃?\s+Mistral\s*$`)
	u.wait(t, `API key`, `enter submit`)
	u.write(t, "a-key-not-to-be-shown")
	u.wait(t, `a-key-not-to-be-shown`)
	u.press(t, "Enter")
	u.wait(t, `No results found`) // no model of it is configured
	connected("mistral")
	u.press(t, "Escape")
	u.waitGone(t, `No results found`)

	connect("Anthropic", `Anthropic \(API key\)`)
	u.wait(t, `Select auth method`, `Anthropic Console account`)
	u.write(t, "Claude.ai")
	u.waitGone(t, `Anthropic Console account`)
	u.press(t, "Enter")
	u.wait(t, `Anthropic does not permit third-party tools`, `I have read this and want to go on`)
	u.write(t, "I have")
	u.waitGone(t, `(?m)\s+No\s*$`)
	u.press(t, "Enter")
	u.wait(t, `Paste the code that the browser shows`, `Authorization code`)
	u.write(t, "a-code-not-to-be-shown")
	u.wait(t, `a-code-not-to-be-shown`)
	u.press(t, "Enter")
	u.wait(t, `No results found`)
	connected("anthropic", "mistral")
	if strings.Contains(s.Log(), "not-to-be-shown") {
		t.Errorf("the server's log shows a secret:\n%s", s.Log())
	}
}
