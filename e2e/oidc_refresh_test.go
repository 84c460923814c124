package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"opencode/provider/oauth"
	"opencode/store"
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
	vault := &lockedFile{dir: dir}
	if err := vault.PutCredential(t.Context(), cred); err != nil {
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
	last, err := vault.Credential(t.Context(), cred.Provider, cred.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), last); err != nil {
		t.Errorf("Renew of what is stored at the end: %v: the session is gone", err)
	}
}

// TestRefreshHelper is one of the processes of [TestOIDCManyRefreshers].
func TestRefreshHelper(t *testing.T) {
	dir := os.Getenv(envRefreshDir)
	if dir == "" {
		t.Skip("runs as a process of TestOIDCManyRefreshers only")
	}
	client, err := oauth.New(oauth.Config{PlainLoopback: true, Endpoints: oidcEndpoints(os.Getenv(envRefreshIssuer))})
	if err != nil {
		t.Fatal(err)
	}
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: &lockedFile{dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range refreshesEach {
		if _, err := r.Force(t.Context(), "corp", ""); err != nil {
			t.Fatalf("refresh %d: %v", i, err)
		}
	}
}

// lockedFile keeps one credential in a file, with a lock between processes, as
// the contract of the stores asks.
type lockedFile struct{ dir string }

var _ store.Credentials = (*lockedFile)(nil)

type fileEntry struct {
	Provider, Access, Refresh, Method string
	Expires                           time.Time
	Metadata                          map[string]string
}

func (f *lockedFile) path() string { return filepath.Join(f.dir, "credential.json") }

func (f *lockedFile) read() (store.Credential, error) {
	text, err := os.ReadFile(f.path())
	if err != nil {
		return store.Credential{}, err
	}
	var e fileEntry
	err = json.Unmarshal(text, &e)
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: e.Provider}, Kind: store.CredentialOAuth, Method: e.Method, Expires: e.Expires,
		Access: store.NewSecretText(e.Access), Refresh: store.NewSecretText(e.Refresh), Metadata: e.Metadata,
	}, err
}

func (f *lockedFile) write(c store.Credential) error {
	text, err := json.Marshal(fileEntry{c.Provider, c.Access.Reveal(), c.Refresh.Reveal(), c.Method, c.Expires, c.Metadata})
	if err != nil {
		return err
	}
	partial := f.path() + ".partial"
	return errors.Join(os.WriteFile(partial, text, 0o600), os.Rename(partial, f.path()))
}

func (f *lockedFile) locked(change func() error) error {
	lock := flock.New(f.path()+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	return errors.Join(change(), lock.Close())
}

func (f *lockedFile) Credentials(context.Context) ([]store.Credential, error) {
	c, err := f.read()
	return []store.Credential{c}, err
}

func (f *lockedFile) Credential(context.Context, string, string) (store.Credential, error) {
	return f.read()
}

func (f *lockedFile) PutCredential(_ context.Context, c store.Credential) error {
	return f.locked(func() error { return f.write(c) })
}

func (f *lockedFile) UpdateCredential(_ context.Context, _ store.CredentialKey, change func(*store.Credential) error) (store.Credential, error) {
	var c store.Credential
	err := f.locked(func() (err error) {
		if c, err = f.read(); err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		return f.write(c)
	})
	return c, err
}

func (f *lockedFile) DeleteCredential(context.Context, store.CredentialKey) error {
	return os.Remove(f.path())
}
