package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"opencode/provider"
	"opencode/provider/oauth"
	"opencode/store"
)

var _ provider.CredentialSource = (*oauth.Source)(nil)

func newSource(tb testing.TB, r *oauth.Refresher, cfg oauth.SourceConfig) *oauth.Source {
	tb.Helper()
	s, err := r.Source(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestSourceHeaders(t *testing.T) {
	t.Parallel()
	claude := kept(start.Add(time.Hour))
	claude.Provider, claude.Method = "anthropic", "anthropic-claude"
	key := store.Credential{CredentialKey: store.CredentialKey{Provider: "anthropic"}, Kind: store.CredentialAPI, Key: store.NewSecretText("the-key")}
	gateway := store.Credential{CredentialKey: store.CredentialKey{Provider: "anthropic"}, Kind: store.CredentialWellKnown, EnvName: "X", Token: store.NewSecretText("the-token")}
	for name, d := range map[string]struct {
		cred      store.Credential
		keyHeader string
		want      http.Header
	}{
		"a key":            {key, "", http.Header{"Authorization": {"Bearer the-key"}, "Anthropic-Beta": {"files"}}},
		"a key by header":  {key, "x-api-key", http.Header{"X-Api-Key": {"the-key"}, "Anthropic-Beta": {"files"}}},
		"an access token":  {claude, "x-api-key", http.Header{"Authorization": {"Bearer access-0"}, "Anthropic-Beta": {"files,oauth-2025-04-20"}}},
		"a gateway's":      {gateway, "", http.Header{"Authorization": {"Bearer the-token"}, "Anthropic-Beta": {"files"}}},
		"another's OAuth ": {store.Credential{CredentialKey: key.CredentialKey, Kind: store.CredentialOAuth, Access: store.NewSecretText("x")}, "", http.Header{"Authorization": {"Bearer x"}, "Anthropic-Beta": {"files,oauth-2025-04-20"}}},
	} {
		s := newSource(t, newRefresher(t, newRotating(t), newMemory(d.cred), newClock()), oauth.SourceConfig{Provider: "anthropic", KeyHeader: d.keyHeader})
		h := http.Header{"Authorization": {"Bearer placeholder"}, "X-Api-Key": {"placeholder"}, "Anthropic-Beta": {"files"}}
		if _, err := s.Apply(t.Context(), h); err != nil || fmt.Sprint(h) != fmt.Sprint(d.want) {
			t.Errorf("%s: %v, %v, want %v", name, h, err, d.want)
		}
	}
	s := newSource(t, newRefresher(t, newRotating(t), newMemory(), newClock()), oauth.SourceConfig{Provider: "anthropic"})
	if _, err := s.Apply(t.Context(), http.Header{}); err == nil {
		t.Error("Apply without a credential succeeded")
	}
	if again, err := s.Renew(t.Context(), [32]byte{}); again || err != nil {
		t.Errorf("Renew of nothing = %v, %v", again, err)
	}
}

func TestSourceRenews(t *testing.T) {
	t.Parallel()
	server, c := newRotating(t), newClock()
	s := newSource(t, newRefresher(t, server, newMemory(kept(start.Add(time.Hour))), c), oauth.SourceConfig{Provider: "corp"})
	apply := func() (string, [32]byte) {
		h := http.Header{}
		mark, err := s.Apply(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return h.Get("Authorization"), mark
	}
	_, first := apply()
	if again, err := s.Renew(t.Context(), first); !again || err != nil {
		t.Fatalf("Renew = %v, %v", again, err)
	}
	got, second := apply()
	if got != "Bearer access-1" || second == first {
		t.Errorf("after Renew = %q", got)
	}
	if again, err := s.Renew(t.Context(), first); !again || err != nil || server.count() != 1 {
		t.Errorf("Renew of the old one = %v, %v after %d refreshes, want true after 1", again, err, server.count())
	}
	if again, err := s.Renew(t.Context(), second); again || err != nil || server.count() != 1 {
		t.Errorf("Renew within the minute = %v, %v after %d refreshes, want false after 1", again, err, server.count())
	}
	if base, err := s.BaseURL(t.Context()); err != nil || base != "https://api.example/v1" {
		t.Errorf("BaseURL = %q, %v", base, err)
	}
}

// copilot is a credential of GitHub.
func copilot(enterprise string) store.Credential {
	token := store.NewSecretText("gho-token")
	return store.Credential{CredentialKey: store.CredentialKey{Provider: "github-copilot"}, Kind: store.CredentialOAuth, Access: token, Refresh: token, EnterpriseURL: enterprise}
}

func TestCopilotChain(t *testing.T) {
	t.Parallel()
	serial := 0
	n := &network{answer: func(r *http.Request, _ int) (int, string, string) {
		if r.Header.Get("Authorization") != "Bearer gho-token" || r.Method != http.MethodGet {
			return 401, "application/json", `{}`
		}
		serial++
		// The provider's clock is a day off, which refresh_in does not mind.
		return 200, "application/json", fmt.Sprintf(`{"token":"tid=%d;exp=1","expires_at":%d,"refresh_in":1500,"endpoints":{"api":"https://api.business.githubcopilot.com"}}`, serial, start.Add(-24*time.Hour).Unix())
	}}
	c := newClock()
	r := newRefresher(t, n, newMemory(copilot("")), c)
	s := newSource(t, r, oauth.SourceConfig{Provider: "github-copilot"})
	apply := func() (http.Header, [32]byte) {
		h := http.Header{}
		mark, err := s.Apply(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return h, mark
	}
	h, mark := apply()
	if h.Get("Authorization") != "Bearer tid=1;exp=1" || h.Get("Openai-Intent") != "conversation-edits" || n.sent[0].url != "https://api.github.com/copilot_internal/v2/token" {
		t.Errorf("Apply = %v after %s", h, n.sent[0].url)
	}
	if agent := n.sent[0].header.Get("User-Agent"); agent != "opencode" || n.sent[0].header.Get("Editor-Version") != "" {
		t.Errorf("asked as %q, want our own name", agent)
	}
	if base, err := s.BaseURL(t.Context()); err != nil || base != "https://api.business.githubcopilot.com" {
		t.Errorf("BaseURL = %q, %v", base, err)
	}
	c.add(1499 * time.Second)
	if apply(); serial != 1 {
		t.Errorf("%d tokens within 25 minutes, want 1", serial)
	}
	c.add(time.Second)
	if h, _ := apply(); h.Get("Authorization") != "Bearer tid=2;exp=1" {
		t.Errorf("after 25 minutes = %v", h)
	}
	if again, err := s.Renew(t.Context(), mark); !again || err != nil || serial != 2 {
		t.Errorf("Renew of the first = %v, %v after %d tokens, want true after 2", again, err, serial)
	}
	_, mark = apply()
	if again, err := s.Renew(t.Context(), mark); !again || err != nil {
		t.Errorf("Renew = %v, %v", again, err)
	}
	if h, mark = apply(); h.Get("Authorization") != "Bearer tid=3;exp=1" {
		t.Errorf("after Renew = %v", h)
	}
	if again, err := s.Renew(t.Context(), mark); again || err != nil {
		t.Errorf("Renew within the minute = %v, %v, want false", again, err)
	}
}

func TestCopilotChainAnswers(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		enterprise string
		status     int
		body       string
		want, base string // no header means an error
		asked      string
	}{
		"none for this app":  {"", 404, `{}`, "Bearer gho-token", "https://api.githubcopilot.com", "https://api.github.com/copilot_internal/v2/token"},
		"enterprise":         {"https://company.ghe.com/", 200, `{"token":"t","expires_at":1}`, "Bearer t", "https://copilot-api.company.ghe.com", "https://api.company.ghe.com/copilot_internal/v2/token"},
		"enterprise, direct": {"company.ghe.com", 404, ``, "Bearer gho-token", "https://copilot-api.company.ghe.com", ""},
		"leads elsewhere":    {"", 200, `{"token":"t","endpoints":{"api":"https://githubcopilot.com.evil.example"}}`, "Bearer t", "https://api.githubcopilot.com", ""},
		"leads to a sibling": {"", 200, `{"token":"t","endpoints":{"api":"https://evilgithubcopilot.com"}}`, "Bearer t", "https://api.githubcopilot.com", ""},
		"leads to no TLS":    {"", 200, `{"token":"t","endpoints":{"api":"http://api.githubcopilot.com"}}`, "Bearer t", "https://api.githubcopilot.com", ""},
		"endpoints of wrong": {"", 200, `{"token":"t","endpoints":[1]}`, "Bearer t", "https://api.githubcopilot.com", ""},
		"signed out":         {"", 401, `{"message":"gho-token"}`, "", "", ""},
		"no subscription":    {"", 403, `{"message":"gho-token"}`, "", "", ""},
		"away":               {"", 500, `gho-token`, "", "", ""},
		"no token":           {"", 200, `{"token":""}`, "", "", ""},
		"NUL":                {"", 200, `{"token":"a\u0000"}`, "", "", ""},
		"wrong types":        {"", 200, `{"token":"t","refresh_in":"soon"}`, "", "", ""},
		"redirect":           {"", 302, `{"token":"t"}`, "", "", ""},
	} {
		n := always(d.status, d.body)
		s := newSource(t, newRefresher(t, n, newMemory(copilot(d.enterprise)), newClock()), oauth.SourceConfig{Provider: "github-copilot"})
		h := http.Header{}
		_, err := s.Apply(t.Context(), h)
		if h.Get("Authorization") != d.want || (err == nil) != (d.want != "") {
			t.Errorf("%s: %v, %v, want %q", name, h, err, d.want)
		}
		if err != nil && (strings.Contains(shows(err), "gho-token") || hint(err) == "") {
			t.Errorf("%s: %v has no hint or shows a token", name, err)
		}
		if err == nil {
			if base, err := s.BaseURL(t.Context()); err != nil || base != d.base {
				t.Errorf("%s: BaseURL = %q, %v, want %q", name, base, err, d.base)
			}
		}
		if d.asked != "" && n.sent[0].url != d.asked {
			t.Errorf("%s: asked %s, want %s", name, n.sent[0].url, d.asked)
		}
	}
}
