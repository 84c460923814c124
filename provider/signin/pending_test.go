package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/provider/signin"
	"opencode/store"
	"opencode/store/file"
)

// tick is a clock that moves when it is told to.
type tick struct {
	mu  sync.Mutex
	now time.Time
}

func (c *tick) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *tick) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newPending returns a service whose provider gives tokens for every code.
func newPending(t *testing.T, kept store.Credentials) (*signin.Pending, *tick) {
	t.Helper()
	clock := &tick{now: time.UnixMilli(1795188323000)}
	network := answers(func(r *http.Request) (*http.Response, error) {
		body := `{"access_token":"a","refresh_token":"r","expires_in":60}`
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: readCloser{strings.NewReader(body)}, Request: r}, nil
	})
	s, err := signin.New(signin.Config{Store: kept, Now: clock.Now, HTTP: &http.Client{Transport: network}, Endpoints: []byte(`{
		"shown": {"provider": "p", "flow": "code", "client_id": "cli", "authorize_url": "https://id.example/a", "token_url": "https://id.example/t", "redirect_url": "https://id.example/shown"},
		"loop": {"provider": "p", "flow": "code", "client_id": "cli", "authorize_url": "https://id.example/a", "token_url": "https://id.example/t", "redirect_path": "/back"}
	}`)})
	if err != nil {
		t.Fatal(err)
	}
	p := s.NewPending()
	t.Cleanup(p.Close)
	return p, clock
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func begin(t *testing.T, p *signin.Pending, owner, provider, method string) signin.Begun {
	t.Helper()
	b, err := p.Begin(t.Context(), owner, provider, method, oauth.Options{})
	if err != nil {
		t.Fatalf("Begin(%s, %s): %v", owner, provider, err)
	}
	return b
}

// signinURL is an address that a sign-in begins with.
type signinURL string

// isOpen reports whether the port that the sign-in waits on is open.
func (c signinURL) isOpen(t *testing.T) bool {
	t.Helper()
	u, err := url.Parse(string(c))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(u.Query().Get("redirect_uri"))
	if err == nil {
		_ = res.Body.Close()
	}
	return err == nil
}

// TestPendingIsBounded begins more than there is room for.
func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	kept := newStore(t)
	p, clock := newPending(t, kept)
	// The oldest of an owner makes room, and gives its port back.
	first := signinURL(begin(t, p, "a", "p0", "loop").URL)
	if !first.isOpen(t) {
		t.Fatal("no port is open")
	}
	for i := range 4 {
		clock.add(time.Second)
		begin(t, p, "a", fmt.Sprint("p", i+1), "shown")
	}
	if first.isOpen(t) {
		t.Error("the port of a sign-in that made room is open")
	}
	if _, err := p.Finish(t.Context(), "a", "p0", "loop", ""); !errors.Is(err, signin.ErrNoAttempt) {
		t.Errorf("Finish of what made room = %v, want ErrNoAttempt", err)
	}
	// Others do not lose theirs to somebody new.
	for i := range 28 {
		begin(t, p, fmt.Sprint("b", i), "p", "shown")
	}
	if _, err := p.Begin(t.Context(), "late", "p", "shown", oauth.Options{}); !errors.Is(err, signin.ErrTooMany) {
		t.Errorf("Begin of one too many = %v, want ErrTooMany", err)
	}
	begin(t, p, "b1", "other", "shown")
	if _, err := p.Finish(t.Context(), "b0", "p", "shown", "code"); err != nil {
		t.Errorf("Finish = %v", err)
	}
	// Time makes room as well.
	clock.add(5 * time.Minute)
	if _, err := p.Finish(t.Context(), "b2", "p", "shown", "code"); !errors.Is(err, signin.ErrNoAttempt) {
		t.Errorf("Finish after five minutes = %v, want ErrNoAttempt", err)
	}
	begin(t, p, "late", "p", "shown")
}

// TestPendingIsReplaced begins again while a call waits.
func TestPendingIsReplaced(t *testing.T) {
	t.Parallel()
	p, _ := newPending(t, newStore(t))
	old := signinURL(begin(t, p, "a", "p", "loop").URL)
	done := make(chan error, 1)
	go func() {
		_, err := p.Finish(context.Background(), "a", "p", "loop", "")
		done <- err
	}()
	begin(t, p, "a", "p", "shown")
	// It either waited, or came too late.
	if err := <-done; !errors.Is(err, signin.ErrNoAttempt) {
		t.Errorf("Finish of what was replaced = %v, want ErrNoAttempt", err)
	}
	if old.isOpen(t) {
		t.Error("the port of what was replaced is open")
	}
	if _, err := p.Finish(t.Context(), "a", "p", "shown", "code"); err != nil {
		t.Errorf("Finish of the newest = %v", err)
	}
}

// TestPendingIsFinishedOnce has many finish at once.
func TestPendingIsFinishedOnce(t *testing.T) {
	t.Parallel()
	p, _ := newPending(t, newStore(t))
	begin(t, p, "a", "p", "shown")
	var all sync.WaitGroup
	results := make(chan error, 8)
	for range cap(results) {
		all.Go(func() {
			_, err := p.Finish(t.Context(), "a", "p", "shown", "code")
			results <- err
		})
	}
	all.Wait()
	close(results)
	succeeded := 0
	for err := range results {
		if err == nil {
			succeeded++
		}
	}
	if succeeded != 1 {
		t.Errorf("%d calls succeeded, want 1", succeeded)
	}
}

func TestPendingIsClosed(t *testing.T) {
	t.Parallel()
	p, _ := newPending(t, newStore(t))
	port := signinURL(begin(t, p, "a", "p", "loop").URL)
	done := make(chan error, 1)
	go func() {
		_, err := p.Finish(context.Background(), "a", "p", "loop", "")
		done <- err
	}()
	p.Close()
	p.Close()
	if err := <-done; !errors.Is(err, signin.ErrStopped) {
		t.Errorf("Finish = %v, want ErrStopped", err)
	}
	if port.isOpen(t) {
		t.Error("the port is open")
	}
	if _, err := p.Begin(t.Context(), "a", "p", "shown", oauth.Options{}); !errors.Is(err, signin.ErrStopped) {
		t.Errorf("Begin = %v, want ErrStopped", err)
	}
}

// TestPendingNeedsAStore refuses before the user goes anywhere.
func TestPendingNeedsAStore(t *testing.T) {
	t.Parallel()
	readOnly, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(t.TempDir(), "auth.json"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := newPending(t, readOnly)
	if _, err := p.Begin(t.Context(), "a", "p", "shown", oauth.Options{}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Begin = %v, want ErrReadOnly", err)
	}
	kept := newStore(t)
	if err := kept.PutCredential(t.Context(), store.Credential{CredentialKey: store.CredentialKey{Provider: "p"}, Kind: store.CredentialAPI, Key: store.NewSecretText("before")}); err != nil {
		t.Fatal(err)
	}
	p, _ = newPending(t, kept)
	begin(t, p, "a", "p", "shown")
	if c, err := kept.Credential(t.Context(), "p", ""); err != nil || c.Key.Reveal() != "before" {
		t.Errorf("the old credential is %v, %v before the new one is there", c, err)
	}
	if _, err := p.Begin(t.Context(), "a", "", "shown", oauth.Options{}); !errors.Is(err, store.ErrCredential) {
		t.Errorf("Begin for no provider = %v, want ErrCredential", err)
	}
}
