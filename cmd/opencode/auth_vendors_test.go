package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// vendor is a server that plays all providers, and remembers what it was asked.
type vendor struct {
	*httptest.Server

	mu   sync.Mutex
	seen map[string]string // the last body by path, guarded by mu
}

func newVendor(tb testing.TB) *vendor {
	tb.Helper()
	v := &vendor{seen: map[string]string{}}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Error(err)
		}
		v.mu.Lock()
		v.seen[r.URL.Path] = string(body)
		if a := r.Header.Get("Authorization"); a != "" {
			v.seen[r.URL.Path] += " " + a
		}
		v.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		text := `{"access_token":"an-access-token","refresh_token":"a-refresh-token","expires_in":3600}`
		switch r.URL.Path {
		case "/key":
			text = `{"raw_key":"sk-ant-api03-of-the-console"}`
		case "/openrouter":
			text = `{"key":"sk-or-v1-of-openrouter"}`
		case "/login/device/code":
			text = fmt.Sprintf(`{"device_code":"d","user_code":"ABCD-1234","verification_uri":"%s/login/device","expires_in":900,"interval":1}`, v.URL)
		case "/login/oauth/access_token":
			// No end and nothing to renew it with.
			text = `{"access_token":"gho_of-github","token_type":"bearer","scope":"read:user"}`
		case "/copilot_internal/v2/token":
			text = `{"token":"tid=of-copilot","expires_at":4102444800,"refresh_in":1500}`
		}
		_, _ = io.WriteString(w, text)
	}))
	tb.Cleanup(v.Close)
	return v
}

func (v *vendor) asked(path string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen[path]
}

// TestVendorMethods signs in by each embedded method, with its addresses led
// here by the configuration or the environment and all else as it is embedded.
func TestVendorMethods(t *testing.T) {
	signInHome(t)
	v := newVendor(t)
	writeConfig(t, map[string]any{"endpoints": map[string]any{
		"anthropic-console": map[string]any{"key_url": v.URL + "/key"},
		"openai-chatgpt":    map[string]any{"token_url": v.URL + "/chatgpt"},
		"openrouter":        map[string]any{"token_url": v.URL + "/openrouter"},
		"github-copilot": map[string]any{
			"device_url": "http://{domain}/login/device/code", "token_url": "http://{domain}/login/oauth/access_token",
			"chain_url": "http://{domain}/copilot_internal/v2/token", "domain": "127.0.0.1:1",
		},
	}})
	t.Setenv("ANTHROPIC_TOKEN_URL", v.URL+"/anthropic")
	domain := strings.TrimPrefix(v.URL, "http://")
	for _, d := range []struct {
		args []string
		// address is what the address of the sign-in has to hold, and paste what
		// is pasted after it.
		address []string
		paste   string
		// asked is what the server has to be asked, by path.
		asked map[string][]string
		token string
	}{
		{
			[]string{"anthropic", "--method", "anthropic-console"},
			[]string{"https://console.anthropic.com/oauth/authorize?", "code=true", "client_id=9d1c250a-e61b-44d9-88ed-5944d1962f5e", "code_challenge_method=S256", "scope=org%3Acreate_api_key+user%3Aprofile+user%3Ainference"},
			"the-code#STATE",
			map[string][]string{"/anthropic": {`"grant_type":"authorization_code"`, `"code":"the-code"`, `"state":"STATE"`, `"code_verifier":"`, `"redirect_uri":"https://console.anthropic.com/oauth/code/callback"`}, "/key": {"Bearer an-access-token"}},
			"sk-ant-api03-of-the-console",
		},
		{
			[]string{"anthropic", "--method", "anthropic-claude", "--accept-provider-terms"},
			[]string{"https://claude.ai/oauth/authorize?"},
			"the-code#STATE",
			map[string][]string{"/anthropic": {`"state":"STATE"`}},
			"an-access-token",
		},
		{
			[]string{"openai", "--method", "openai-chatgpt"},
			[]string{"https://auth.openai.com/api/accounts/authorize?", "client_id=dynamic_agent_client", "agent_name_hint=opencode", "ext_agent_host_id=urn%3Auuid%3A", "resource=https%3A%2F%2Fapi.openai.com%2Fv1"},
			"http://127.0.0.1:1/auth/callback?code=the-code&state=STATE&client_id=issued",
			map[string][]string{"/chatgpt": {"client_id=issued", "code=the-code", "grant_type=authorization_code"}},
			"an-access-token",
		},
		{
			[]string{"openrouter", "--method", "openrouter"},
			[]string{"https://openrouter.ai/auth?", "callback_url=http%3A%2F%2F127.0.0.1%3A", "code_challenge="},
			"http://127.0.0.1:1/callback?code=the-code",
			map[string][]string{"/openrouter": {`"code":"the-code"`, `"code_verifier":"`, `"code_challenge_method":"S256"`}},
			"sk-or-v1-of-openrouter",
		},
		{
			[]string{"github-copilot", "--method", "github-copilot", "--domain", domain, "--client-id", "ours"},
			[]string{v.URL + "/login/device"},
			"",
			map[string][]string{"/login/device/code": {"client_id=ours", "scope=read%3Auser"}, "/login/oauth/access_token": {"device_code=d", "client_id=ours"}},
			"tid=of-copilot",
		},
	} {
		args := append(append([]string{"login"}, d.args...), "--no-browser")
		if d.paste != "" {
			args = append(args, "--stdin")
		}
		login := startAuth(t, args...)
		address := login.find(t, addressPattern)
		for _, want := range d.address {
			if !strings.Contains(address, want) {
				t.Errorf("%q: the address %s lacks %s", d.args, address, want)
			}
		}
		state := parameter(t, address, "state")
		if d.paste != "" {
			go func() { _, _ = io.WriteString(login.stdin, strings.ReplaceAll(d.paste, "STATE", state)+"\n") }()
		}
		if err := login.end(t); err != nil {
			t.Errorf("auth %q = %v", args, err)
			continue
		}
		if token, _ := mustAuth(t, newSignIn(), "", "token-for", d.args[0], "--reveal", "--yes"); token != d.token+"\n" {
			t.Errorf("%q: token-for = %q, want %q", d.args, token, d.token)
		}
		for path, wants := range d.asked {
			for _, want := range wants {
				if want = strings.ReplaceAll(want, "STATE", state); !strings.Contains(v.asked(path), want) {
					t.Errorf("%q: %s was asked %q, without %q", d.args, path, v.asked(path), want)
				}
			}
		}
	}
	if got := v.asked("/copilot_internal/v2/token"); !strings.HasSuffix(got, "Bearer gho_of-github") {
		t.Errorf("the short-lived token was asked for with %q", got)
	}
	// What a renewal needs is kept: the issued client, the domain.
	mustAuth(t, newSignIn(), "", "refresh", "openai", "--force")
	if form, err := url.ParseQuery(v.asked("/chatgpt")); err != nil || form.Get("client_id") != "issued" || form.Get("refresh_token") != "a-refresh-token" {
		t.Errorf("the renewal asked %v, %v", form, err)
	}
	var list listView
	out, _ := mustAuth(t, newSignIn(), "", "list", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Credentials {
		if c.Provider == "github-copilot" && (c.Expires != nil || c.Renewable || c.Enterprise != domain) {
			t.Errorf("github-copilot = %+v, want one that never ends, of the domain", c)
		}
	}
	if _, _, err := execAuth(t, newSignIn(), "", "login", "github-copilot", "--method", "github-copilot"); err == nil || !strings.Contains(hintOf(err), "OPENCODE_GITHUB_CLIENT_ID") {
		t.Errorf("login without a client id = %v (%s)", err, hintOf(err))
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_DATA_HOME"), "opencode", "auth.json.age")); err != nil {
		t.Error(err)
	}
}
