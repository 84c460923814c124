package oauth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"opencode/store"
)

const (
	maxTokenBytes = 32 << 10
	// maxLife is the longest life of a token that is believed.
	maxLife = 10 * 365 * 24 * time.Hour
)

// tokens are what a server gives for a code, a device or a refresh token.
type tokens struct {
	access, refresh, idToken store.SecretText
	expires                  time.Time // zero is never
}

// requestTokens asks for tokens with the parameters, and with those that the
// endpoint adds.
func (c *Client) requestTokens(ctx context.Context, op string, e Endpoint, params url.Values) (tokens, error) {
	asked := c.cfg.Now()
	a, err := c.do(ctx, call{
		op: op, method: http.MethodPost, address: e.TokenURL, headers: e.TokenHeaders,
		params: params, json: e.TokenBody == "json",
	})
	if err != nil {
		return tokens{}, err
	}
	return a.tokens(asked)
}

// tokens reads an answer with tokens, whose life counts from when they were
// asked for: rather too short than too long.
func (a *answer) tokens(asked time.Time) (tokens, error) {
	if err := a.check(); err != nil {
		return tokens{}, advice(err)
	}
	var t tokens
	for name, to := range map[string]*store.SecretText{"access_token": &t.access, "refresh_token": &t.refresh, "id_token": &t.idToken} {
		s, err := a.text(name, maxTokenBytes)
		if err != nil {
			return tokens{}, err
		}
		if strings.Contains(s, " ") {
			return tokens{}, a.unusable(name + " has blanks")
		}
		*to = store.NewSecretText(s)
	}
	if t.access.IsZero() {
		return tokens{}, a.unusable("has no access_token")
	}
	kind, err := a.text("token_type", 64)
	if err != nil {
		return tokens{}, err
	}
	if kind != "" && !strings.EqualFold(kind, "bearer") {
		// A token bound to a key is worth nothing without the proof of it.
		return tokens{}, a.unusable("the token is no bearer token")
	}
	seconds, ok, err := a.number("expires_in")
	switch {
	case err != nil:
		return tokens{}, err
	case seconds < 0:
		return tokens{}, a.unusable("expires_in is negative")
	case ok && seconds > 0:
		t.expires = lifeFrom(asked, seconds)
	}
	return t, nil
}

// lifeFrom adds seconds to a time, in the milliseconds that stores keep.
func lifeFrom(at time.Time, seconds float64) time.Time {
	life := maxLife
	if seconds < maxLife.Seconds() {
		life = time.Duration(seconds * float64(time.Second))
	}
	return at.Add(life).Truncate(time.Millisecond)
}

// credential makes a credential of tokens. The caller adds what the method
// needs again.
func (t tokens) credential(m Method, e Endpoint, profile string, now time.Time) store.Credential {
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: e.Provider, Profile: profile},
		Kind:          store.CredentialOAuth, Access: t.access, Refresh: t.refresh, Expires: t.expires,
		Method: m.ID, Created: now.Truncate(time.Millisecond), Metadata: map[string]string{},
	}
}
