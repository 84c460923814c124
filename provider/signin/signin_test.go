package signin_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/provider/signin"
	"opencode/store"
	"opencode/store/file"
)

func newStore(tb testing.TB) store.Credentials {
	tb.Helper()
	s, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(tb.TempDir(), "auth.json")})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func env(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
}

// TestSecretsGoOverTLS puts each address that gets a secret on a host that the
// network can read, by the configuration and by the environment.
func TestSecretsGoOverTLS(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"token_url", "authorize_url", "key_url", "chain_url", "revoke_url", "device_url", "api_url", "redirect_url", "issuer"} {
		for _, address := range []string{"http://evil.example/token", "http://127.0.0.1.evil.example/", "http://10.0.0.1/", "http://[::ffff:10.0.0.1]/", "ftp://127.0.0.1/", "https://user:pass@evil.example/", "http://0.0.0.0/"} {
			_, err := signin.New(signin.Config{Store: newStore(t), Endpoints: []byte(`{"anthropic-claude": {"` + member + `": "` + address + `"}}`)})
			if err == nil || !strings.Contains(err.Error(), member) || strings.Contains(err.Error(), "pass@") {
				t.Errorf("New with %s %s = %v, want an error that names the member", member, address, err)
			}
		}
	}
	for _, variable := range []string{"ANTHROPIC_TOKEN_URL", "ANTHROPIC_AUTH_URL", "ANTHROPIC_REDIRECT_URI"} {
		_, err := signin.New(signin.Config{Store: newStore(t), Env: env(map[string]string{variable: "http://evil.example/"})})
		if err == nil || !strings.Contains(err.Error(), "want https") {
			t.Errorf("New with %s on plain http = %v, want an error", variable, err)
		}
	}
	for _, good := range []string{"http://127.0.0.1:8080/token", "http://[::1]/token", "http://localhost/token", "https://gateway.example/token"} {
		s, err := signin.New(signin.Config{Store: newStore(t), Env: env(map[string]string{"ANTHROPIC_TOKEN_URL": good})})
		if err != nil {
			t.Errorf("New with %s = %v", good, err)
			continue
		}
		if m, err := s.Client().Method("anthropic-claude"); err != nil || m.TokenURL != good {
			t.Errorf("the token URL is %q, %v, want %q", m.TokenURL, err, good)
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := signin.New(signin.Config{}); err == nil {
		t.Error("New without a store succeeded")
	}
	for _, text := range []string{`[]`, `{"x": {"flow": "magic"}}`, `{"x": {"secret": "s"}}`, `{} {}`} {
		if _, err := signin.New(signin.Config{Store: newStore(t), Endpoints: []byte(text)}); err == nil {
			t.Errorf("New with endpoints %s succeeded", text)
		}
	}
	bad := env(map[string]string{"CLAUDE_CODE_AUTH_REFRESH_SKEW_MS": "soon"})
	if _, err := signin.New(signin.Config{Store: newStore(t), Home: "/home/u", Env: bad}); err == nil || !strings.Contains(err.Error(), "SKEW_MS") {
		t.Errorf("New with a skew that is no number = %v", err)
	}
}

// TestMethods shows which methods a provider has, the restricted ones last.
func TestMethods(t *testing.T) {
	t.Parallel()
	s, err := signin.New(signin.Config{Store: newStore(t), Endpoints: []byte(`{"corp": {"provider": "corp", "flow": "oidc", "issuer": "https://id.corp.example", "client_id": "cli"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string][]string{
		"anthropic":            {"anthropic-cli", "anthropic-console", "anthropic-claude", "claude-code"},
		"corp":                 {"corp"},
		"https://corp.example": {"oidc"},
		"groq":                 nil,
	} {
		var got []string
		for _, m := range s.Methods(id) {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Methods(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	kept := newStore(t)
	now := time.UnixMilli(1795188323000)
	s, err := signin.New(signin.Config{Store: kept, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c := store.Credential{Kind: store.CredentialAPI, Key: store.NewSecretText("key")}
	got, err := s.Keep(t.Context(), c, "corp", "default")
	if err != nil || got.CredentialKey != (store.CredentialKey{Provider: "corp"}) || !got.Created.Equal(now) {
		t.Fatalf("Keep = %v of %v, %v", got.CredentialKey, got.Created, err)
	}
	back, err := kept.Credential(context.Background(), "corp", "")
	if err != nil || !back.Key.Equal(c.Key) || !back.Created.Equal(now) {
		t.Errorf("the store has %v of %v, %v", back, back.Created, err)
	}
	if _, err := s.Keep(t.Context(), c, "", ""); err == nil {
		t.Error("Keep for no provider succeeded")
	}
}
