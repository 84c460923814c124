package file_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/file"
)

// rewrite does what another program does when it writes the file: of each
// entry only the members that it knows stay, after change.
func rewrite(t *testing.T, path string, change func(entries map[string]map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries map[string]map[string]any
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		maps.DeleteFunc(entry, func(name string, _ any) bool {
			return name == "method" || name == "created" || name == "metadata" && entry["type"] != "api"
		})
	}
	change(entries)
	if text, err = json.Marshal(entries); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text), 0o600)
}

// TestWhatOthersDrop shows that a credential is whole again after another
// program wrote the file, and that nothing is made up for one of its own.
func TestWhatOthersDrop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}})
	oauth := store.Credential{
		CredentialKey: store.CredentialKey{Provider: "corp"}, Kind: store.CredentialOAuth, Method: "oidc", Created: time.UnixMilli(1795188323000).UTC(),
		Access: store.NewSecretText("access-secret"), Refresh: store.NewSecretText("refresh-secret"), Metadata: map[string]string{"issuer": "https://id.example"},
	}
	gateway := store.Credential{
		CredentialKey: store.CredentialKey{Provider: "https://gw.example"}, Kind: store.CredentialWellKnown, Method: "wellknown",
		Token: store.NewSecretText("token-secret"), EnvName: "T",
	}
	for _, c := range []store.Credential{oauth, gateway} {
		if err := s.PutCredential(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, path, func(map[string]map[string]any) {})
	again := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}})
	got, err := again.Credential(t.Context(), "corp", "")
	if err != nil || got.Method != "oidc" || !got.Created.Equal(oauth.Created) || got.Metadata["issuer"] != "https://id.example" || !got.Refresh.Equal(oauth.Refresh) {
		t.Errorf("after another program wrote: %v by %q of %v with %v, %v", got, got.Method, got.Created, got.Metadata, err)
	}
	if got, err := again.Credential(t.Context(), "https://gw.example", ""); err != nil || got.Method != "wellknown" {
		t.Errorf("after another program wrote: %v by %q, %v", got, got.Method, err)
	}
	// What ours writes next has it in the file itself.
	put(t, again, "q", "k")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), `"issuer"`) {
		t.Errorf("the file lacks the metadata, %v", err)
	}

	// Another login by another program: its token must not go where ours went.
	rewrite(t, path, func(entries map[string]map[string]any) { entries["corp"]["refresh"] = "theirs" })
	if got, err := s.Credential(t.Context(), "corp", ""); err != nil || got.Method != "" || got.Metadata != nil || !got.Created.IsZero() {
		t.Errorf("a credential of another program: %v by %q with %v, %v, want that nothing is known of it", got, got.Method, got.Metadata, err)
	}

	facts, err := os.ReadFile(path + ".facts")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"access-secret", "refresh-secret", "token-secret", "theirs"} {
		if strings.Contains(string(facts), secret) {
			t.Errorf("the facts hold %s", secret)
		}
	}
	if info, err := os.Stat(path + ".facts"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the facts: %v, %v, want 0600", info.Mode(), err)
	}
	// A file of facts that is broken costs nothing but the facts.
	write(t, path+".facts", `{"corp": `, 0o600)
	if got, err := s.Credential(t.Context(), "https://gw.example", ""); err != nil || !got.Token.Equal(gateway.Token) {
		t.Errorf("with broken facts: %v, %v", got, err)
	}
	if err := s.Protect(t.Context(), (&reverser{}).Seal); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".facts"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the facts of an encrypted store: %v, want none", err)
	}
}

// TestFactsThatSomebodyElseWrote changes each fact, as somebody does who can
// write the file of facts and nothing else: to name another issuer would send it
// the refresh token.
func TestFactsThatSomebodyElseWrote(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	for provider, metadata := range map[string]map[string]string{"corp": {"issuer": "https://id.example"}, "other": {"issuer": "https://other.example"}} {
		c := store.Credential{
			CredentialKey: store.CredentialKey{Provider: provider}, Kind: store.CredentialOAuth, Method: "oidc", Created: time.UnixMilli(1795188323000).UTC(),
			Refresh: store.NewSecretText("refresh-secret-of-" + provider), Metadata: metadata,
		}
		if err := s.PutCredential(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, path, func(map[string]map[string]any) {})
	good, err := os.ReadFile(path + ".facts")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(facts map[string]map[string]any){
		"issuer": func(facts map[string]map[string]any) {
			facts["corp"]["metadata"] = map[string]any{"issuer": "https://evil.example"}
		},
		"one more": func(facts map[string]map[string]any) {
			facts["corp"]["metadata"].(map[string]any)["client_id"] = "evil"
		},
		"method":               func(facts map[string]map[string]any) { facts["corp"]["method"] = "anthropic-claude" },
		"created":              func(facts map[string]map[string]any) { facts["corp"]["created"] = 1 },
		"none of the metadata": func(facts map[string]map[string]any) { delete(facts["corp"], "metadata") },
		"of another entry":     func(facts map[string]map[string]any) { facts["corp"] = facts["other"] },
		"unbound":              func(facts map[string]map[string]any) { delete(facts["corp"], "mac") },
		"bound to nothing":     func(facts map[string]map[string]any) { facts["corp"]["mac"] = "" },
		"by the hash of the secret, as anybody can copy it": func(facts map[string]map[string]any) {
			delete(facts["corp"], "mac")
			sum := sha256.Sum256([]byte("oauth\x00refresh-secret-of-corp"))
			facts["corp"]["of"] = hex.EncodeToString(sum[:])
		},
	} {
		var facts map[string]map[string]any
		if err := json.Unmarshal(good, &facts); err != nil {
			t.Fatal(err)
		}
		change(facts)
		text, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path+".facts", string(text), 0o600)
		got, err := s.Credential(t.Context(), "corp", "")
		if err != nil || got.Method != "" || got.Metadata != nil || !got.Created.IsZero() {
			t.Errorf("%s: %v by %q of %v with %v, %v, want that nothing is known of it", name, got, got.Method, got.Created, got.Metadata, err)
		}
	}
	write(t, path+".facts", string(good), 0o600)
	if got, err := s.Credential(t.Context(), "corp", ""); err != nil || got.Metadata["issuer"] != "https://id.example" {
		t.Errorf("with the facts as they were: %v, %v, want the issuer", got.Metadata, err)
	}
}

// TestFactsOfOneSecret swaps the facts of two profiles that have the same key.
func TestFactsOfOneSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	for profile, method := range map[string]string{"a": "console", "b": "api"} {
		c := store.Credential{CredentialKey: store.CredentialKey{Provider: "corp", Profile: profile}, Kind: store.CredentialAPI, Key: store.NewSecretText("one-key"), Method: method}
		if err := s.PutCredential(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, path, func(map[string]map[string]any) {})
	var facts map[string]json.RawMessage
	text, err := os.ReadFile(path + ".facts")
	if err == nil {
		err = json.Unmarshal(text, &facts)
	}
	if err != nil {
		t.Fatal(err)
	}
	facts["corp#a"], facts["corp#b"] = facts["corp#b"], facts["corp#a"]
	if text, err = json.Marshal(facts); err != nil {
		t.Fatal(err)
	}
	write(t, path+".facts", string(text), 0o600)
	for _, profile := range []string{"a", "b"} {
		if got, err := s.Credential(t.Context(), "corp", profile); err != nil || got.Method != "" {
			t.Errorf("%s: method %q, %v, want that nothing is known of it", profile, got.Method, err)
		}
	}
}

// TestFactsOfRenewals renews with another refresh token and with the same, each
// time before another program writes.
func TestFactsOfRenewals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	key := store.CredentialKey{Provider: "corp"}
	if err := s.PutCredential(t.Context(), store.Credential{
		CredentialKey: key, Kind: store.CredentialOAuth, Method: "oidc",
		Access: store.NewSecretText("a0"), Refresh: store.NewSecretText("r0"), Metadata: map[string]string{"issuer": "https://id.example"},
	}); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"a1", "r1"}, {"a2", "r1"}, {"a3", ""}, {"a4", ""}} {
		_, err := s.UpdateCredential(t.Context(), key, func(c *store.Credential) error {
			c.Access, c.Refresh = store.NewSecretText(pair[0]), store.NewSecretText(pair[1])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, path, func(map[string]map[string]any) {})
		if got, err := s.Credential(t.Context(), "corp", ""); err != nil || got.Method != "oidc" || got.Metadata["issuer"] != "https://id.example" {
			t.Errorf("renewed to %v: by %q with %v, %v", pair, got.Method, got.Metadata, err)
		}
	}
}

// TestFactsGoWithTheirEntries keeps none of what was forgotten.
func TestFactsGoWithTheirEntries(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	c := store.Credential{CredentialKey: store.CredentialKey{Provider: "corp"}, Kind: store.CredentialAPI, Key: store.NewSecretText("a-key"), Method: "console"}
	if err := s.PutCredential(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".facts"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteCredential(t.Context(), c.CredentialKey); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".facts"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the facts: %v, want none", err)
	}
}
