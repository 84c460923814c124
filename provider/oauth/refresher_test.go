package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// rotating is a server that rotates refresh tokens, and takes reuse for theft.
type rotating struct {
	network

	state   sync.Mutex
	current string
	serial  int
	stolen  bool
	// fail answers in its place, if it is set.
	fail func() (int, string)
	// life is in seconds.
	life int
}

func newRotating(tb testing.TB) *rotating {
	tb.Helper()
	s := &rotating{current: "refresh-0", life: 3600}
	s.answer = func(r *http.Request, _ int) (int, string, string) {
		s.state.Lock()
		defer s.state.Unlock()
		if s.fail != nil {
			status, body := s.fail()
			return status, "application/json", body
		}
		if err := r.ParseForm(); err != nil {
			tb.Error(err)
		}
		if got := r.PostForm.Get("refresh_token"); got != s.current || s.stolen {
			s.stolen = true
			return 400, "application/json", `{"error":"invalid_grant"}`
		}
		s.serial++
		s.current = fmt.Sprintf("refresh-%d", s.serial)
		return 200, "application/json", fmt.Sprintf(`{"access_token":"access-%d","refresh_token":%q,"expires_in":%d}`, s.serial, s.current, s.life)
	}
	return s
}

func (s *rotating) RoundTrip(r *http.Request) (*http.Response, error) { return s.network.RoundTrip(r) }

// kept is a credential that ends at a time.
func kept(expires time.Time) store.Credential {
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: "corp"}, Kind: store.CredentialOAuth, Method: "pasted",
		Access: store.NewSecretText("access-0"), Refresh: store.NewSecretText("refresh-0"), Expires: expires,
	}
}

func newRefresher(tb testing.TB, transport http.RoundTripper, vault store.Credentials, c *clock, change ...func(*oauth.Config)) *oauth.Refresher {
	tb.Helper()
	cfg := oauth.Config{HTTP: &http.Client{Transport: transport}, Now: c.Now, Wait: c.Wait, Endpoints: endpoints()}
	for _, f := range change {
		f(&cfg)
	}
	client, err := oauth.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: vault, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		expires  time.Time
		refreshs bool
	}{
		"never":              {time.Time{}, false},
		"in an hour":         {start.Add(time.Hour), false},
		"just over a minute": {start.Add(60*time.Second + time.Millisecond), false},
		"in a minute":        {start.Add(60 * time.Second), true},
		"past":               {start.Add(-time.Hour), true},
	} {
		s, vault := newRotating(t), newMemory(kept(d.expires))
		r := newRefresher(t, s, vault, newClock())
		cred, err := r.Fresh(t.Context(), "corp", "")
		want := "access-0"
		if d.refreshs {
			want = "access-1"
		}
		stored, _ := vault.Credential(t.Context(), "corp", "")
		if err != nil || cred.Access.Reveal() != want || stored.Access.Reveal() != want || stored.Refresh.Reveal() != strings.Replace(want, "access", "refresh", 1) {
			t.Errorf("%s: Fresh = %q, %v with %q stored, want %s", name, cred.Access.Reveal(), err, stored.Access.Reveal(), want)
		}
	}
}

func TestOneRefresherAtATime(t *testing.T) {
	t.Parallel()
	s, vault, c := newRotating(t), newMemory(kept(start)), newClock()
	// Nobody has new tokens before all have seen that the old ones are over.
	var unread, running sync.WaitGroup
	unread.Add(8 * 4)
	vault.read = unread.Done
	inner := s.answer
	s.answer = func(r *http.Request, n int) (int, string, string) {
		unread.Wait()
		return inner(r, n)
	}
	for range 8 {
		// Each has a refresher of its own, as each process would.
		r := newRefresher(t, s, vault, c)
		for range 4 {
			running.Go(func() {
				if cred, err := r.Fresh(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-1" {
					t.Errorf("Fresh = %q, %v, want access-1", cred.Access.Reveal(), err)
				}
			})
		}
	}
	running.Wait()
	if s.count() != 1 || s.stolen {
		t.Errorf("%d refreshes, reuse %v, want one and none", s.count(), s.stolen)
	}
}

func TestFailedRefreshKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"refused":       {400, `{"error":"invalid_grant"}`, oauth.ErrGrant},
		"away":          {503, ``, nil},
		"no connection": {0, ``, nil},
		"no JSON":       {200, `<html>`, oauth.ErrAnswer},
		"no token":      {200, `{"refresh_token":"refresh-1"}`, oauth.ErrAnswer},
		"NUL":           {200, `{"access_token":"a\u0000"}`, oauth.ErrAnswer},
	} {
		s, vault, c := newRotating(t), newMemory(kept(start.Add(30*time.Second))), newClock()
		s.fail = func() (int, string) { return d.status, d.body }
		r := newRefresher(t, s, vault, c)
		// There is still some life in it.
		if cred, err := r.Fresh(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-0" {
			t.Errorf("%s: Fresh before the end = %q, %v, want the old token", name, cred.Access.Reveal(), err)
		}
		c.add(30 * time.Second)
		_, err := r.Fresh(t.Context(), "corp", "")
		if err == nil || d.want != nil && !errors.Is(err, d.want) || hint(err) == "" || strings.Contains(err.Error(), "refresh-0") {
			t.Errorf("%s: Fresh after the end = %v (hint %q), want %v", name, err, hint(err), d.want)
		}
		if errors.Is(err, oauth.ErrGrant) && !strings.Contains(hint(err), "opencode auth login corp --method pasted") {
			t.Errorf("%s: the hint is %q, want the command", name, hint(err))
		}
		stored, _ := vault.Credential(t.Context(), "corp", "")
		if vault.writes != 0 || stored.Refresh.Reveal() != "refresh-0" || stored.Access.Reveal() != "access-0" {
			t.Errorf("%s: the store has %q after %d writes", name, stored.Refresh.Reveal(), vault.writes)
		}
		// And it goes on when the server is back.
		s.fail = nil
		if cred, err := r.Fresh(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-1" {
			t.Errorf("%s: Fresh later = %q, %v", name, cred.Access.Reveal(), err)
		}
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	s, vault, c := newRotating(t), newMemory(kept(start.Add(time.Hour))), newClock()
	r := newRefresher(t, s, vault, c)
	first, err := r.Fresh(t.Context(), "corp", "")
	if err != nil {
		t.Fatal(err)
	}
	second, again, err := r.Rejected(t.Context(), first)
	if err != nil || !again || second.Access.Reveal() != "access-1" {
		t.Fatalf("Rejected = %q, %v, %v, want access-1", second.Access.Reveal(), again, err)
	}
	// Others that were refused with the same token get the new one for nothing.
	if got, again, err := r.Rejected(t.Context(), first); err != nil || !again || !got.Access.Equal(second.Access) || s.count() != 1 {
		t.Errorf("Rejected with the old token = %v, %v after %d refreshes", again, err, s.count())
	}
	// A second rejection within the minute is not answered, by no process.
	for _, other := range []*oauth.Refresher{r, newRefresher(t, s, vault, c)} {
		if _, again, err := other.Rejected(t.Context(), second); err != nil || again || s.count() != 1 {
			t.Errorf("Rejected within the minute = %v, %v after %d refreshes, want false", again, err, s.count())
		}
	}
	c.add(time.Minute)
	if got, again, err := r.Rejected(t.Context(), second); err != nil || !again || got.Access.Reveal() != "access-2" {
		t.Errorf("Rejected after a minute = %q, %v, %v, want access-2", got.Access.Reveal(), again, err)
	}
	// Failures count as well.
	c.add(time.Minute)
	s.fail = func() (int, string) { return 503, "" }
	third, _ := vault.Credential(t.Context(), "corp", "")
	if _, again, err := r.Rejected(t.Context(), third); err == nil || again {
		t.Errorf("Rejected with the server away = %v, %v, want an error", again, err)
	}
	if _, again, err := r.Rejected(t.Context(), third); err != nil || again {
		t.Errorf("Rejected right after a failure = %v, %v, want false", again, err)
	}
	if s.count() != 3 {
		t.Errorf("%d refreshes, want 3", s.count())
	}
}

func TestCancelDoesNotLoseTokens(t *testing.T) {
	t.Parallel()
	s, vault := newRotating(t), newMemory(kept(start))
	ctx, cancel := context.WithCancel(t.Context())
	inner := s.answer
	s.answer = func(r *http.Request, n int) (int, string, string) {
		// The user gives up after the server has rotated and before we know.
		status, kind, body := inner(r, n)
		cancel()
		return status, kind, body
	}
	r := newRefresher(t, s, vault, newClock())
	_, err := r.Fresh(ctx, "corp", "")
	stored, _ := vault.Credential(t.Context(), "corp", "")
	if stored.Refresh.Reveal() != "refresh-1" {
		t.Errorf("Fresh = %v, the store has %q, want what the server gave", err, stored.Refresh.Reveal())
	}
	// One that was given up before is not started.
	if _, err := r.Force(ctx, "corp", ""); !errors.Is(err, context.Canceled) || s.count() != 1 {
		t.Errorf("Force = %v after %d refreshes, want it cancelled", err, s.count())
	}
}

func TestRefreshOnDemand(t *testing.T) {
	t.Parallel()
	s, c := newRotating(t), newClock()
	cred := kept(start.Add(time.Hour))
	r := newRefresher(t, s, newMemory(cred), c)
	for _, d := range []struct {
		force, want bool
		ahead       time.Duration
	}{{false, false, 0}, {true, true, 0}, {false, false, 0}, {false, true, time.Hour}} {
		c.add(d.ahead)
		if renewed, err := r.Refresh(t.Context(), cred.CredentialKey, d.force); renewed != d.want || err != nil {
			t.Errorf("Refresh(force %v) = %v, %v, want %v", d.force, renewed, err, d.want)
		}
	}
	// A failure is told even while the old token has some life.
	s.fail = func() (int, string) { return 503, "" }
	if renewed, err := r.Refresh(t.Context(), cred.CredentialKey, true); renewed || err == nil {
		t.Errorf("Refresh with the server away = %v, %v, want an error", renewed, err)
	}
	if _, err := newRefresher(t, s, newMemory(copilot("")), c).Refresh(t.Context(), store.CredentialKey{Provider: "github-copilot"}, false); !errors.Is(err, oauth.ErrNotRenewable) {
		t.Errorf("Refresh of what never ends = %v, want ErrNotRenewable", err)
	}
	if _, err := r.Refresh(t.Context(), store.CredentialKey{Provider: "none"}, false); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("Refresh of nothing = %v, want ErrNotExist", err)
	}
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s, vault := newRotating(t), newMemory(kept(start))
	r := newRefresher(t, s, vault, newClock())
	vault.full = true
	for range 3 {
		// What is not durable is not used.
		if cred, err := r.Fresh(t.Context(), "corp", ""); err == nil || !cred.Access.IsZero() {
			t.Errorf("Fresh = %v, %v, want an error", cred, err)
		}
	}
	if s.count() != 1 || s.stolen {
		t.Errorf("%d refreshes, reuse %v, want one: the server has rotated", s.count(), s.stolen)
	}
	vault.full = false
	cred, err := r.Fresh(t.Context(), "corp", "")
	stored, _ := vault.Credential(t.Context(), "corp", "")
	if err != nil || cred.Access.Reveal() != "access-1" || stored.Refresh.Reveal() != "refresh-1" || s.count() != 1 {
		t.Errorf("Fresh later = %q, %v after %d refreshes, want what the server gave", cred.Access.Reveal(), err, s.count())
	}
	if cred, err := r.Force(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-2" {
		t.Errorf("Force = %q, %v, want a new one", cred.Access.Reveal(), err)
	}

	// Of a sign-in in between nothing is taken back.
	vault.full = true
	if _, err := r.Force(t.Context(), "corp", ""); err == nil {
		t.Error("Force succeeded")
	}
	vault.full = false
	s.state.Lock()
	s.current = "another-sign-in"
	s.state.Unlock()
	signedIn := kept(start)
	signedIn.Refresh = store.NewSecretText("another-sign-in")
	if err := vault.PutCredential(t.Context(), signedIn); err != nil {
		t.Fatal(err)
	}
	if cred, err := r.Fresh(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-4" {
		t.Errorf("Fresh after another sign-in = %q, %v, want its own", cred.Access.Reveal(), err)
	}
}

func TestShortLife(t *testing.T) {
	t.Parallel()
	s, c := newRotating(t), newClock()
	s.life = 30
	r := newRefresher(t, s, newMemory(kept(start)), c)
	for range 5 {
		if _, err := r.Fresh(t.Context(), "corp", ""); err != nil {
			t.Fatal(err)
		}
		c.add(time.Second)
	}
	if s.count() != 1 {
		t.Errorf("%d refreshes within 5 s of a token for 30 s, want 1", s.count())
	}
	c.add(30 * time.Second)
	if cred, err := r.Fresh(t.Context(), "corp", ""); err != nil || cred.Access.Reveal() != "access-2" {
		t.Errorf("Fresh after its end = %v, want another", err)
	}
}

func TestClockThatGoesWrong(t *testing.T) {
	t.Parallel()
	s, vault, c := newRotating(t), newMemory(kept(start)), newClock()
	r := newRefresher(t, s, vault, c)
	c.add(100 * 365 * 24 * time.Hour) // wrong, then put right
	if _, err := r.Fresh(t.Context(), "corp", ""); err != nil {
		t.Fatal(err)
	}
	c.add(-100 * 365 * 24 * time.Hour)
	cred, err := r.Fresh(t.Context(), "corp", "")
	if err != nil || cred.Access.Reveal() != "access-1" {
		t.Fatalf("Fresh = %v", err)
	}
	// It is over at the provider, which says so; the stamp from the future must
	// not keep it from being renewed.
	if got, again, err := r.Rejected(t.Context(), cred); err != nil || !again || got.Access.Reveal() != "access-2" {
		t.Errorf("Rejected = %q, %v, %v, want access-2", got.Access.Reveal(), again, err)
	}
}

func TestWhatCannotBeRenewed(t *testing.T) {
	t.Parallel()
	never := kept(time.Time{})
	never.Refresh = never.Access
	over := kept(start.Add(-time.Second))
	over.Refresh = store.SecretText{}
	key := store.Credential{CredentialKey: store.CredentialKey{Provider: "corp"}, Kind: store.CredentialAPI, Key: store.NewSecretText("k")}
	foreign := kept(start.Add(time.Second))
	foreign.Method = ""
	for name, d := range map[string]struct {
		cred store.Credential
		ok   bool
	}{"never ends": {never, true}, "ended": {over, false}, "a key": {key, true}, "another program's": {foreign, true}} {
		s := newRotating(t)
		r := newRefresher(t, s, newMemory(d.cred), newClock())
		_, err := r.Fresh(t.Context(), "corp", "")
		if (err == nil) != d.ok || err != nil && (!errors.Is(err, oauth.ErrNotRenewable) || !strings.Contains(hint(err), "opencode auth login corp")) {
			t.Errorf("%s: Fresh = %v (hint %q)", name, err, hint(err))
		}
		if _, again, err := r.Rejected(t.Context(), d.cred); err != nil || again {
			t.Errorf("%s: Rejected = %v, %v, want false", name, again, err)
		}
		if _, err := r.Force(t.Context(), "corp", ""); !errors.Is(err, oauth.ErrNotRenewable) || s.count() != 0 {
			t.Errorf("%s: Force = %v, want ErrNotRenewable", name, err)
		}
	}
}

func TestReadOnlyStoreIsNotRefreshed(t *testing.T) {
	t.Parallel()
	s, vault := newRotating(t), newMemory(kept(start))
	vault.readOnly = true
	r := newRefresher(t, s, vault, newClock())
	// A new refresh token that cannot be kept would end the session.
	if _, err := r.Fresh(t.Context(), "corp", ""); !errors.Is(err, store.ErrReadOnly) || s.count() != 0 || hint(err) == "" {
		t.Errorf("Fresh = %v after %d refreshes, want ErrReadOnly after none", err, s.count())
	}
}

func TestServerThatDoesNotRotate(t *testing.T) {
	t.Parallel()
	n := always(200, `{"access_token":"access-1","expires_in":60}`)
	r := newRefresher(t, n, newMemory(kept(start)), newClock())
	cred, err := r.Fresh(t.Context(), "corp", "")
	if err != nil || cred.Refresh.Reveal() != "refresh-0" || cred.Access.Reveal() != "access-1" {
		t.Errorf("Fresh = %q, %v, want the old refresh token kept", cred.Refresh.Reveal(), err)
	}
}

func TestAnthropicRefresh(t *testing.T) {
	t.Parallel()
	cred := kept(start)
	cred.Provider, cred.Method = "anthropic", "" // as the original program wrote it
	n := always(200, `{"access_token":"access-1","refresh_token":"refresh-1","expires_in":3600}`)
	r := newRefresher(t, n, newMemory(cred), newClock())
	if _, err := r.Fresh(t.Context(), "anthropic", ""); err != nil {
		t.Fatal(err)
	}
	got := n.sent[0]
	if p := got.params(t); got.header.Get("Content-Type") != "application/json" || got.header.Get("Anthropic-Beta") != "oauth-2025-04-20" ||
		p.Get("grant_type") != "refresh_token" || p.Get("refresh_token") != "refresh-0" || p.Get("client_id") == "" || len(p) != 3 {
		t.Errorf("the server got %v %v", got.header, p)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	n := always(200, ``)
	c := newClient(t, n)
	if done, err := c.Revoke(t.Context(), kept(time.Time{})); !done || err != nil || n.count() != 2 {
		t.Fatalf("Revoke = %v, %v after %d requests", done, err, n.count())
	}
	for i, want := range []string{"refresh_token", "access_token"} {
		if got := n.sent[i].params(t); got.Get("token_type_hint") != want || !strings.HasPrefix(got.Get("token"), strings.TrimSuffix(want, "_token")) {
			t.Errorf("request %d was %v, want the %s", i, got, want)
		}
	}
	if _, err := newClient(t, always(500, `refresh-0`)).Revoke(t.Context(), kept(time.Time{})); err == nil || strings.Contains(err.Error(), "refresh-0") {
		t.Errorf("Revoke with the server away = %v, want an error without the token", err)
	}
	other := kept(time.Time{})
	other.Method = "looped"
	if done, err := c.Revoke(t.Context(), other); done || err != nil {
		t.Errorf("Revoke where none is offered = %v, %v", done, err)
	}
}
