package file_test

import (
	"path/filepath"
	"strings"
	"testing"

	"opencode/store"
	"opencode/store/file"
)

// TestSeen holds that whoever wants to know of secrets does so before others
// have them, plain or encrypted.
func TestSeen(t *testing.T) {
	t.Parallel()
	for name, sealNew := range map[string]bool{"plain": false, "sealed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			path := filepath.Join(t.TempDir(), authName)
			open := func(f func([]byte)) *file.Credentials {
				t.Helper()
				c, err := file.OpenCredentials(file.CredentialsConfig{Path: path, Sealer: &reverser{}, SealNew: sealNew, Seen: f})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			tell := func(entries []byte) { seen = append(seen, string(entries)) }
			c := open(tell)
			put := func(c *file.Credentials, provider, key string) {
				t.Helper()
				one := store.Credential{CredentialKey: store.CredentialKey{Provider: provider}, Kind: store.CredentialAPI, Key: store.NewSecretText(key)}
				if err := c.PutCredential(t.Context(), one); err != nil {
					t.Fatal(err)
				}
			}
			all := func() string {
				text := strings.Join(seen, "\n")
				seen = nil
				return text
			}
			put(c, "a", "first-key")
			if got := all(); !strings.Contains(got, "first-key") {
				t.Errorf("a put told of %q", got)
			}
			// What somebody else wrote is told of when it is read, and once.
			put(open(nil), "b", "second-key")
			for range 3 {
				if _, err := c.Credentials(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := all(); strings.Count(got, "second-key") != 1 {
				t.Errorf("reading told of %q", got)
			}
			_, err := c.UpdateCredential(t.Context(), store.CredentialKey{Provider: "a"}, func(one *store.Credential) error {
				one.Key = store.NewSecretText("third-key")
				return nil
			})
			if got := all(); err != nil || !strings.Contains(got, "third-key") {
				t.Errorf("an update told of %q, %v", got, err)
			}
		})
	}
}
