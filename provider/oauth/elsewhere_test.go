package oauth_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"opencode/provider/oauth"
)

// TestServersElsewhereNameNoLoopback shows that the permission for plain http
// to this machine is the user's, and not one for what a server answers.
func TestServersElsewhereNameNoLoopback(t *testing.T) {
	t.Parallel()
	plain := func(cfg *oauth.Config) { cfg.PlainLoopback = true }
	for _, member := range []string{"authorization_endpoint", "token_endpoint", "revocation_endpoint"} {
		i := newIssuer(t)
		i.document[member] = "http://127.0.0.1:8080/x"
		c := newClient(t, &i.network, plain)
		_, err := c.Begin(t.Context(), "oidc", oauth.Options{Issuer: "https://id.example", ClientID: "client"})
		if !errors.Is(err, oauth.ErrAnswer) || !strings.Contains(err.Error(), "want https") {
			t.Errorf("Begin with a %s on this machine = %v, want ErrAnswer", member, err)
		}
	}
	c := newClient(t, always(200, strings.Replace(deviceAnswer, "https://", "http://127.0.0.1:8080/", 1)), plain)
	if _, err := c.Begin(t.Context(), "device", oauth.Options{}); !errors.Is(err, oauth.ErrAnswer) {
		t.Errorf("Begin with a verification_uri on this machine = %v, want ErrAnswer", err)
	}
}

// TestAddressOfBrowserElsewhere finishes a sign-in by redirect with the address
// that the browser on another machine could not load.
func TestAddressOfBrowserElsewhere(t *testing.T) {
	t.Parallel()
	c := newClient(t, always(200, `{"access_token":"t"}`))
	var shown *oauth.Attempt
	ui := oauth.UI{Elsewhere: true, Show: func(a *oauth.Attempt) { shown = a }}
	if _, err := c.Login(t.Context(), "looped", oauth.Options{}, ui); err == nil || hint(err) == "" {
		t.Errorf("Login with nobody to paste = %v, want an error and a hint", err)
	}
	ui.Paste = func(ctx context.Context) (string, error) {
		return query(t, shown, "redirect_uri") + "?code=c&state=" + query(t, shown, "state"), ctx.Err()
	}
	cred, err := c.Login(t.Context(), "looped", oauth.Options{}, ui)
	if err != nil || cred.Access.Reveal() != "t" {
		t.Errorf("Login = %v, %v", cred, err)
	}
}
