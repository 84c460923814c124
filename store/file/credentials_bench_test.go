package file_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/file"
)

// BenchmarkUpdateCredential renews one of ten credentials. The figure window is
// what a provider's answer waits until it is durable, and so how long a kill
// costs a new sign-in.
func BenchmarkUpdateCredential(b *testing.B) {
	for name, sealNew := range map[string]bool{"plain": false, "sealed": true} {
		b.Run(name, func(b *testing.B) {
			s, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(b.TempDir(), authName), Sealer: &reverser{}, SealNew: sealNew})
			if err != nil {
				b.Fatal(err)
			}
			for i := range 10 {
				c := store.Credential{CredentialKey: store.CredentialKey{Provider: "p" + strconv.Itoa(i)}, Kind: store.CredentialOAuth}
				setPair(&c, 0)
				if err := s.PutCredential(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
			var window time.Duration
			n := 0
			for b.Loop() {
				n++
				var answered time.Time
				_, err := s.UpdateCredential(b.Context(), store.CredentialKey{Provider: "p3"}, func(c *store.Credential) error {
					setPair(c, n)
					answered = time.Now()
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				window += time.Since(answered)
			}
			b.ReportMetric(float64(window.Microseconds())/float64(n), "window-µs/op")
		})
	}
}

// BenchmarkCredential looks one of ten credentials up.
func BenchmarkCredential(b *testing.B) {
	s, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(b.TempDir(), authName), Sealer: &reverser{}, SealNew: true})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10 {
		c := store.Credential{CredentialKey: store.CredentialKey{Provider: "p" + strconv.Itoa(i)}, Kind: store.CredentialOAuth}
		setPair(&c, 0)
		if err := s.PutCredential(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Credential(b.Context(), "p3", ""); err != nil {
			b.Fatal(err)
		}
	}
}
