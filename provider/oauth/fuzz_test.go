package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
)

// visible reports whether a text can stand in a header.
func visible(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

// FuzzPasted holds that what is sent is a part of what was pasted, fit to be
// sent, and belongs to this attempt if it says to which it belongs.
func FuzzPasted(f *testing.F) {
	for _, s := range []string{"code", "code#STATE", "code#other", "#", "code#STATE#STATE", "https://a.example/?code=x&state=STATE", "https://a.example/?code=x", "http://x", "a\x00b", " ", "%zz#STATE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pasted string) {
		n := always(200, `{"access_token":"t"}`)
		a := begin(t, newClient(t, n), "pasted", oauth.Options{})
		state := query(t, a, "state")
		text := strings.ReplaceAll(pasted, "STATE", state)
		_, err := a.Finish(t.Context(), text)
		if (err == nil) != (n.count() == 1) {
			t.Fatalf("Finish(%q) = %v after %d requests", text, err, n.count())
		}
		if err != nil {
			if hint(err) == "" {
				t.Errorf("Finish(%q) = %v without a hint", text, err)
			}
			return
		}
		code := n.sent[0].params(t).Get("code")
		trimmed := strings.TrimSpace(text)
		if strings.Contains(trimmed, "://") {
			u, err := url.Parse(trimmed)
			if err != nil || !strings.HasPrefix(strings.ToLower(trimmed), "http") || u.Query().Get("state") != state || u.Query().Get("code") != code {
				t.Errorf("Finish(%q) sent %q", text, code)
			}
			return
		}
		if !visible(code) || strings.Contains(code, "#") || trimmed != code && trimmed != code+"#"+state {
			t.Errorf("Finish(%q) sent %q", text, code)
		}
	})
}

// FuzzTokens holds that tokens come out of an answer only if they stand in it
// under their exact names, fit for a header, and that no error repeats any of
// the answer.
func FuzzTokens(f *testing.F) {
	for _, d := range badAnswers() {
		if len(d.body) < 1<<10 {
			f.Add(max(d.status, 100), d.body)
		}
	}
	f.Add(200, `{"access_token":"t","refresh_token":"r","expires_in":3600}`)
	f.Add(200, `{"access_token":"a","access_token":"b","expires_in":"7"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 599 {
			return
		}
		a := begin(t, newClient(t, always(status, body)), "pasted", oauth.Options{})
		cred, err := a.Finish(t.Context(), "code")
		var members map[string]any
		decoded := json.Unmarshal([]byte(body), &members) == nil
		if err != nil {
			if hint(err) == "" {
				t.Errorf("%v says not what to do", err)
			}
			if secret, ok := members["access_token"].(string); ok && len(secret) > 12 && strings.Contains(shows(err)+hint(err), secret) {
				t.Errorf("%v repeats the token", err)
			}
			return
		}
		access, _ := members["access_token"].(string)
		refresh, _ := members["refresh_token"].(string)
		if !decoded || status < 200 || status > 299 || members["error"] != nil || cred.Access.Reveal() != access || !visible(access) ||
			cred.Refresh.Reveal() != refresh || refresh != "" && !visible(refresh) || cred.Validate() != nil {
			t.Errorf("%d %q gave %q and %q", status, body, cred.Access.Reveal(), cred.Refresh.Reveal())
		}
		if !cred.Expires.IsZero() && (cred.Expires.Before(start) || cred.Expires.After(start.Add(11*365*24*time.Hour))) {
			t.Errorf("%q ends at %v", body, cred.Expires)
		}
	})
}

// FuzzDevice holds that what the user sees and the browser opens is harmless,
// and that waiting always ends.
func FuzzDevice(f *testing.F) {
	f.Add(deviceAnswer, `{"error":"slow_down","interval":7}`)
	f.Add(deviceAnswer, `{"access_token":"t"}`)
	f.Add(`{"device_code":"A","user_code":"A\u001b","verification_uri":"https://a.example","expires_in":9}`, pending)
	f.Add(`{"device_code":"A","user_code":"A","verification_url":"https://a.example","expires_in":1e99,"interval":1e99}`, `{"error":"slow_down","interval":-1e99}`)
	f.Fuzz(func(t *testing.T, first, poll string) {
		clock := newClock()
		n := &network{answer: func(r *http.Request, _ int) (int, string, string) {
			if r.URL.Path == "/device" {
				return 200, "application/json", first
			}
			return 400, "application/json", poll
		}}
		c := newClient(t, n, func(cfg *oauth.Config) { cfg.Now, cfg.Wait = clock.Now, clock.Wait })
		a, err := c.Begin(t.Context(), "device", oauth.Options{})
		if err != nil {
			if hint(err) == "" {
				t.Errorf("Begin = %v without a hint", err)
			}
			return
		}
		if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || u.Host == "" || !visible(strings.ReplaceAll(a.UserCode, " ", "x")) || !a.Expires.After(start) {
			t.Fatalf("Begin = %q %q until %v", a.UserCode, a.URL, a.Expires)
		}
		_, err = a.Wait(t.Context(), nil)
		if err == nil || hint(err) == "" || clock.waited > time.Hour || n.count() > 3602 {
			t.Errorf("Wait = %v after %v and %d requests", err, clock.waited, n.count())
		}
	})
}

// FuzzClaudeFile holds that a session comes out of a file only if it stands
// there, and that no error repeats any of the file.
func FuzzClaudeFile(f *testing.F) {
	f.Add(session("fresh", start.Add(time.Hour)))
	f.Add(`{"accessToken":"a","expiresAt":0}`)
	f.Add(`{"claudeAiOauth":{"accessToken":"a\u0000"}}`)
	f.Add(`{"claudeAiOauth":null,"accessToken":"b"}`)
	home := f.TempDir()
	path := filepath.Join(home, "credentials.json")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := oauth.NewClaudeSession(oauth.ClaudeConfig{
			Home: home, Command: filepath.Join(home, "none"), Now: func() time.Time { return start },
			Env: func(name string) (string, bool) { return path, name == "CLAUDE_CODE_AUTH_CREDENTIALS_PATH" },
		})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, always(500, ""), func(cfg *oauth.Config) { cfg.Session = s })
		cred, err := begin(t, c, "claude-code", oauth.Options{Accepted: true}).Wait(context.Background(), nil)
		var file struct {
			Inner *struct {
				Access any `json:"accessToken"`
			} `json:"claudeAiOauth"`
			Access any `json:"accessToken"`
		}
		_ = json.Unmarshal([]byte(text), &file) // what is no JSON must not give a session either
		if err != nil {
			if secret, ok := file.Access.(string); ok && len(secret) > 12 && !errors.Is(err, oauth.ErrNoClaude) && strings.Contains(err.Error(), secret) {
				t.Errorf("%v repeats the token", err)
			}
			return
		}
		want := file.Access
		if file.Inner != nil {
			want = file.Inner.Access
		}
		if got := cred.Access.Reveal(); !visible(got) || got != want || !cred.Refresh.IsZero() || !cred.Expires.IsZero() && !cred.Expires.After(start) {
			t.Errorf("%q gave %q until %v", text, got, cred.Expires)
		}
	})
}
