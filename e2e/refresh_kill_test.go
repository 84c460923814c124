package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// rotating is a token server that takes each refresh token once, and says when
// it is asked and when it has answered.
type rotating struct {
	*httptest.Server

	mu sync.Mutex
	// The rest is guarded by mu. current is the one refresh token that is taken,
	// pairs are the access tokens by the refresh token that came with them, and
	// asked and answered are called at those moments, if they are set.
	current  string
	pairs    map[string]string
	asked    func(request context.Context)
	answered func()
}

func startRotating(tb testing.TB) *rotating {
	tb.Helper()
	s := &rotating{pairs: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		given := r.FormValue("refresh_token")
		if s.asked != nil {
			s.asked(r.Context())
		}
		if r.Context().Err() != nil {
			// Whoever asked is gone, and nothing has happened.
			return
		}
		if given != s.current {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		access, refresh := s.next()
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"expires_in":3600}`, access, refresh)
		if s.answered != nil {
			_ = http.NewResponseController(w).Flush() // a reader that is gone is the point
			s.answered()
		}
	}))
	tb.Cleanup(s.Close)
	return s
}

// next makes the pair that is good from now on.
func (s *rotating) next() (access, refresh string) {
	access, refresh = rand.Text(), rand.Text()
	s.current = refresh
	s.pairs[refresh] = access
	return access, refresh
}

// on sets what happens at the two moments of the next request.
func (s *rotating) on(asked func(context.Context), answered func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.answered = asked, answered
}

// signIn stores a new pair, as a new login does.
func (s *rotating) signIn(tb testing.TB, kept store.Credentials) {
	tb.Helper()
	s.mu.Lock()
	access, refresh := s.next()
	s.mu.Unlock()
	err := kept.PutCredential(tb.Context(), store.Credential{
		CredentialKey: store.CredentialKey{Provider: "corp"}, Kind: store.CredentialOAuth, Method: "corp", Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond),
		Access: store.NewSecretText(access), Refresh: store.NewSecretText(refresh),
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// TestKilledRefresh kills `opencode auth refresh` 300 times: anywhere from its
// start to its end, while the server has not answered, and just after it has.
// The stored entry is always one whole pair, the one before or the newest, and
// a new login is needed only where the kill fell between the server's answer and
// the write.
func TestKilledRefresh(t *testing.T) {
	binary := serverBinary(t)
	dir := tempDir(t)
	s := startRotating(t)
	config, err := json.Marshal(map[string]any{"endpoints": map[string]oauth.Endpoint{
		"corp": {Provider: "corp", Flow: oauth.FlowCode, ClientID: "cli", AuthorizeURL: s.URL + "/auth", TokenURL: s.URL + "/token"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"config/opencode/opencode.json": string(config)})
	kept := credentialStore(t, dir)
	s.signIn(t, kept)
	refresh := func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "auth", "refresh", "corp", "--force")
		cmd.Env, cmd.Dir = homeEnv(dir), dir
		return cmd
	}

	// How long a whole run takes, and what is left of it after the answer.
	var whole, rest []time.Duration
	for range 20 {
		var answered time.Time
		s.on(nil, func() { answered = time.Now() })
		started := time.Now()
		if out, err := refresh(t.Context()).CombinedOutput(); err != nil {
			t.Fatalf("auth refresh: %v: %s", err, out)
		}
		s.on(nil, nil) // the handler has ended then
		whole, rest = append(whole, time.Since(started)), append(rest, time.Since(answered))
	}
	slices.Sort(whole)
	slices.Sort(rest)

	moments := []struct {
		name  string
		kills int
		// kill arranges for the end of the command.
		kill func(end context.CancelFunc)
		// lossless means that the server has not answered by then.
		lossless bool
	}{
		{"anywhere", 100, func(end context.CancelFunc) {
			s.on(nil, nil)
			time.AfterFunc(mathrand.N(whole[len(whole)/2]), end)
		}, false},
		{"before the answer", 50, func(end context.CancelFunc) {
			s.on(func(request context.Context) { end(); <-request.Done() }, nil)
		}, true},
		{"after the answer", 150, func(end context.CancelFunc) {
			s.on(nil, func() { time.AfterFunc(mathrand.N(rest[len(rest)/2]), end) })
		}, false},
	}
	for _, m := range moments {
		finished, renewed, untouched, lost := 0, 0, 0, 0
		for range m.kills {
			s.mu.Lock()
			before := s.current
			s.mu.Unlock()
			ctx, end := context.WithCancel(t.Context())
			cmd := refresh(ctx)
			m.kill(end)
			if cmd.Run() == nil {
				finished++
			}
			end()
			s.on(nil, nil) // waits for the request that may be under way
			c, err := kept.Credential(t.Context(), "corp", "")
			if err != nil {
				t.Fatalf("%s: after a kill: %v", m.name, err)
			}
			s.mu.Lock()
			current, access := s.current, s.pairs[c.Refresh.Reveal()]
			s.mu.Unlock()
			if access == "" || c.Access.Reveal() != access || c.Method != "corp" || c.Expires.IsZero() {
				t.Fatalf("%s: after a kill the entry is not one whole pair", m.name)
			}
			switch c.Refresh.Reveal() {
			case current:
				if current == before {
					untouched++
				} else {
					renewed++
				}
			case before:
				lost++
				if lost == 1 {
					out, err := refresh(t.Context()).CombinedOutput()
					if err == nil || !strings.Contains(string(out), "the stored tokens were kept") || !strings.Contains(string(out), "hint: sign in again: opencode auth login corp") {
						t.Errorf("auth refresh with a pair that is used up = %v, %s", err, out)
					}
				}
				s.signIn(t, kept)
			default:
				t.Fatalf("%s: after a kill the entry is an older pair than the one before", m.name)
			}
		}
		if m.lossless && lost > 0 {
			t.Errorf("%s: %d logins were lost", m.name, lost)
		}
		t.Logf("killed %s: %d times: %d had ended, %d untouched, %d renewed, %d need a new login", m.name, m.kills, finished, untouched, renewed, lost)
	}

	// What was killed is in nobody's way, and leaves nothing behind.
	if out, err := refresh(t.Context()).CombinedOutput(); err != nil {
		t.Errorf("auth refresh at the end: %v: %s", err, out)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "data", "opencode"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), ".tmp-") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "opencode", "auth.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the plain file: %v, want none", err)
	}
	t.Logf("a refresh took %v, of which %v came after the answer (medians of %d)", whole[len(whole)/2], rest[len(rest)/2], len(whole))
	measureWindow(t, dir, s)
}

// measureWindow tells how long an answer is held that is not on the disk yet,
// beside what one sync of a file of that size costs at the same place.
func measureWindow(t *testing.T, dir string, s *rotating) {
	t.Helper()
	client, err := oauth.New(oauth.Config{PlainLoopback: true, Endpoints: map[string]oauth.Endpoint{
		"corp": {Provider: "corp", Flow: oauth.FlowCode, ClientID: "cli", AuthorizeURL: s.URL + "/auth", TokenURL: s.URL + "/token"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	watched := &watchedStore{credentials: credentialStore(t, dir)}
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: watched})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "data", "opencode", "auth.json.age"))
	if err != nil {
		t.Fatal(err)
	}
	var windows, syncs []time.Duration
	for range 200 {
		if _, err := r.Force(t.Context(), "corp", ""); err != nil {
			t.Fatal(err)
		}
		windows = append(windows, watched.window)
		syncs = append(syncs, oneSync(t, filepath.Join(dir, "data", "opencode"), sealed))
	}
	slices.Sort(windows)
	slices.Sort(syncs)
	at := func(d []time.Duration, percent int) time.Duration { return d[len(d)*percent/100] }
	t.Logf("from the answer to the return of the write: median %v, 95th %v; writing and syncing %d bytes: median %v, 95th %v", at(windows, 50), at(windows, 95), len(sealed), at(syncs, 50), at(syncs, 95))
}

// credentials is another name, since the interface has a method of its own.
type credentials = store.Credentials

// watchedStore measures from the moment that there is something to write.
type watchedStore struct {
	credentials

	window time.Duration
}

func (w *watchedStore) UpdateCredential(ctx context.Context, key store.CredentialKey, change func(*store.Credential) error) (store.Credential, error) {
	var answered time.Time
	c, err := w.credentials.UpdateCredential(ctx, key, func(c *store.Credential) error {
		err := change(c)
		answered = time.Now()
		return err
	})
	w.window = time.Since(answered)
	return c, err
}

func oneSync(tb testing.TB, dir string, data []byte) time.Duration {
	tb.Helper()
	started := time.Now()
	f, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		tb.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		tb.Fatal(err)
	}
	took := time.Since(started)
	if err := os.Remove(f.Name()); err != nil {
		tb.Fatal(err)
	}
	return took
}
