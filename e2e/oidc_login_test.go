package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
)

func begin(tb testing.TB, c *oauth.Client, method string) *oauth.Attempt {
	tb.Helper()
	a, err := c.Begin(tb.Context(), method, oauth.Options{Provider: "corp"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return a
}

// pasteText is what the provider's page shows at the end of a sign-in.
func (s *oidcServer) pasteText(tb testing.TB, a *oauth.Attempt) (code, state string) {
	tb.Helper()
	end, page := s.browse(tb, a.URL, alice())
	if end == nil || end.Host != "console.example" {
		tb.Fatalf("the browser ended at %v with %q, want the page that shows the code", end, page)
	}
	return end.Query().Get("code"), end.Query().Get("state")
}

func TestOIDCLoopback(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	c := s.client(t, func(cfg *oauth.Config) {
		cfg.Browser = func(_ context.Context, address string) error {
			end, page := s.browse(t, address, alice())
			if end == nil {
				return fmt.Errorf("the browser ended with %q", page)
			}
			forged := *end
			forged.RawQuery = url.Values{"code": {"stolen"}, "state": {"wrong"}}.Encode()
			if status, page := get(t, forged.String()); status != http.StatusBadRequest || strings.Contains(page, "stolen") {
				t.Errorf("a redirect with a wrong state = %d %q, want 400 without the code", status, page)
			}
			status, page := get(t, end.String())
			if status != http.StatusOK || strings.Contains(page, end.Query().Get("code")) || !strings.Contains(page, "window.close()") {
				t.Errorf("the redirect = %d %q, want a page without the code that closes itself", status, page)
			}
			return nil
		}
	})
	cred, err := c.Login(t.Context(), "oidc", oauth.Options{Provider: "corp"}, oauth.UI{})
	if err != nil {
		t.Fatal(err)
	}
	if cred.Provider != "corp" || cred.AccountID != "alice" || cred.Access.IsZero() || cred.Refresh.IsZero() || !cred.Expires.After(time.Now()) {
		t.Errorf("Login = %v for %q until %v, want alice's tokens", cred, cred.AccountID, cred.Expires)
	}
	renewed, err := c.Renew(t.Context(), cred)
	if err != nil || renewed.Refresh.Equal(cred.Refresh) || renewed.Access.Equal(cred.Access) {
		t.Fatalf("Renew = %v, %v, want two new tokens", renewed, err)
	}
	// The server takes the second use for theft, and ends the grant.
	if _, err := c.Renew(t.Context(), cred); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew with a used refresh token = %v, want ErrGrant", err)
	}
	if _, err := c.Renew(t.Context(), renewed); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew after reuse = %v, want ErrGrant: the server is expected to notice", err)
	}
}

func TestOIDCPastedCode(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	c := s.client(t, nil)
	first, second := begin(t, c, "pasted"), begin(t, c, "pasted")
	code, state := s.pasteText(t, first)

	if _, err := second.Finish(t.Context(), code+"#"+state); !errors.Is(err, oauth.ErrState) {
		t.Errorf("Finish with the state of another sign-in = %v, want ErrState", err)
	}
	cred, err := first.Finish(t.Context(), " "+code+"#"+state+"\n")
	if err != nil || cred.Refresh.IsZero() {
		t.Fatalf("Finish = %v, %v", cred, err)
	}
	if _, err := first.Finish(t.Context(), code+"#"+state); !errors.Is(err, oauth.ErrUsed) {
		t.Errorf("Finish again = %v, want ErrUsed", err)
	}

	// Somebody else's code in our sign-in, with our state: only PKCE is left.
	third := begin(t, c, "pasted")
	code, _ = s.pasteText(t, third)
	u, err := url.Parse(second.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Finish(t.Context(), code+"#"+u.Query().Get("state")); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Finish with a code that another verifier was for = %v, want ErrGrant", err)
	}

	// A bare code is taken too, and revocation ends what it gave.
	fourth := begin(t, c, "pasted")
	code, _ = s.pasteText(t, fourth)
	if cred, err = fourth.Finish(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if done, err := c.Revoke(t.Context(), cred); !done || err != nil {
		t.Errorf("Revoke = %v, %v, want true", done, err)
	}
	if _, err := c.Renew(t.Context(), cred); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew of what was revoked = %v, want ErrGrant", err)
	}
}

func TestOIDCUserSaysNo(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	c := s.client(t, nil)
	a := begin(t, c, "oidc")
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(u.Query().Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	back.RawQuery = url.Values{"error": {"access_denied"}, "state": {u.Query().Get("state")}}.Encode()
	done := make(chan error, 1)
	go func() {
		_, err := a.Wait(t.Context(), nil)
		done <- err
	}()
	get(t, back.String())
	if err := <-done; !errors.Is(err, oauth.ErrDenied) {
		t.Errorf("Wait = %v, want ErrDenied", err)
	}
}

// quickClock is a clock that waiting moves on, so that nobody waits.
type quickClock struct {
	mu     sync.Mutex
	ahead  time.Duration
	waited []time.Duration
}

func (c *quickClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *quickClock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	c.waited = append(c.waited, d)
	return ctx.Err()
}

func TestOIDCDevice(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	for name, typed := range map[string]map[string]string{"approved": alice(), "denied": {"abort": "yes"}} {
		t.Run(name, func(t *testing.T) {
			clock := &quickClock{}
			c := s.client(t, func(cfg *oauth.Config) { cfg.Now, cfg.Wait = clock.Now, clock.Wait })
			a := begin(t, c, "device")
			s.mu.Lock()
			s.polls, s.slow = 0, 1
			s.mu.Unlock()
			typed["user_code"] = a.UserCode
			decided := false
			started := clock.Now()
			cred, err := a.Wait(t.Context(), func(p oauth.Progress) {
				if p.UserCode != a.UserCode || p.Left <= 0 {
					t.Errorf("progress %v %v, want the code %s and some time", p.UserCode, p.Left, a.UserCode)
				}
				// One slow_down and two that are pending come first.
				if s.pollCount() >= 3 && !decided {
					decided = true
					if _, page := s.browse(t, a.URL, typed); page == "" {
						t.Error("the browser was led elsewhere")
					}
				}
			})
			switch {
			case name == "denied":
				if !errors.Is(err, oauth.ErrDenied) {
					t.Errorf("Wait = %v, want ErrDenied", err)
				}
			case err != nil || cred.Access.IsZero() || cred.Refresh.IsZero():
				t.Errorf("Wait = %v, %v, want tokens", cred, err)
			}
			// 1 s, and 6 s from the slow_down on.
			if took, want := clock.Now().Sub(started), 1*time.Second+6*time.Second*time.Duration(s.pollCount()-1); took < want {
				t.Errorf("%d polls took %v, want at least %v", s.pollCount(), took, want)
			}
		})
	}
}

func TestOIDCDeviceCodeExpires(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	c := s.client(t, func(cfg *oauth.Config) {
		e := cfg.Endpoints["device"]
		e.ClientID = "hasty"
		cfg.Endpoints["device"] = e
	})
	a := begin(t, c, "device")
	if _, err := a.Wait(t.Context(), nil); !errors.Is(err, oauth.ErrExpired) || s.pollCount() == 0 {
		t.Errorf("Wait = %v after %d polls, want ErrExpired by the server", err, s.pollCount())
	}
}
