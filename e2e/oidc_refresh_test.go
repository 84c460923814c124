package e2e_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store/file"
	"opencode/store/vault"
)

// The environment of [TestRefreshHelper].
const (
	envRefreshDir    = "OPENCODE_E2E_REFRESH_DIR"
	envRefreshIssuer = "OPENCODE_E2E_REFRESH_ISSUER"
)

const (
	refreshers    = 8
	refreshesEach = 20
)

// TestOIDCManyRefreshers shows that the server's detection of reuse is never
// tripped, however many processes refresh at once.
func TestOIDCManyRefreshers(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, nil)
	a := begin(t, c, "pasted")
	code, state := s.pasteText(t, a)
	cred, err := a.Finish(t.Context(), code+"#"+state)
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	kept := credentialStore(t, dir)
	if err := kept.PutCredential(t.Context(), cred); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for range refreshers {
		running.Go(func() {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRefreshHelper$", "-test.count=1")
			cmd.Env = append(os.Environ(), envRefreshDir+"="+dir, envRefreshIssuer+"="+s.URL)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("a process failed: %v\n%s", err, out)
			}
		})
	}
	running.Wait()
	s.mu.Lock()
	for _, uses := range s.refreshes {
		if uses != 1 {
			t.Errorf("a refresh token was used %d times", uses)
		}
	}
	if got, want := len(s.refreshes), refreshers*refreshesEach; got != want {
		t.Errorf("the server saw %d refresh tokens, want %d", got, want)
	}
	s.mu.Unlock()
	last, err := kept.Credential(t.Context(), cred.Provider, cred.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), last); err != nil {
		t.Errorf("Renew of what is stored at the end: %v: the session is gone", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "opencode", "auth.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the plain file: %v, want none beside the encrypted one", err)
	}
}

// TestRefreshHelper is one of the processes of [TestOIDCManyRefreshers].
func TestRefreshHelper(t *testing.T) {
	dir := os.Getenv(envRefreshDir)
	if dir == "" {
		t.Skip("SKIPPED: it is what TestOIDCManyRefreshers runs several times at once")
	}
	client, err := oauth.New(oauth.Config{PlainLoopback: true, Endpoints: oidcEndpoints(os.Getenv(envRefreshIssuer))})
	if err != nil {
		t.Fatal(err)
	}
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: credentialStore(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range refreshesEach {
		if _, err := r.Force(t.Context(), "corp", ""); err != nil {
			t.Fatalf("refresh %d: %v", i, err)
		}
	}
}

// credentialStore is the real store, encrypted with a key in a file, as a
// directory of its own has it.
func credentialStore(tb testing.TB, dir string) *file.Credentials {
	tb.Helper()
	v, err := vault.New(vault.Config{KeyDir: filepath.Join(dir, "config", "opencode", "auth-keys"), Protection: vault.KeyFile})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(dir, "data", "opencode", "auth.json"), Sealer: v, SealNew: true})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
