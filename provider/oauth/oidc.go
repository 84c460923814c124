package oauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
)

// beginOIDC starts a code flow with the endpoints that an issuer publishes.
func (c *Client) beginOIDC(ctx context.Context, m Method, e Endpoint, o Options) (*Attempt, error) {
	if o.Issuer != "" {
		e.Issuer = o.Issuer
	}
	found, e, err := c.discover(ctx, e)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Provider != "":
		e.Provider = o.Provider
	case e.Provider == "":
		e.Provider = e.Issuer
	}
	if e.AuthorizeURL == "" {
		return nil, hinted(fmt.Errorf("issuer %s: has no authorization endpoint", e.Issuer), "use the device method, or ask whoever runs the issuer")
	}
	return c.beginCode(m, e, o, &verification{
		issuer: e.Issuer, nonce: rand.Text(),
		verify: func(ctx context.Context, idToken, clientID, nonce string) (string, error) {
			return c.verifyIDToken(ctx, found, idToken, clientID, nonce)
		},
	})
}

// discover returns the issuer's document, and the endpoint with the addresses
// from it that the configuration does not give.
func (c *Client) discover(ctx context.Context, e Endpoint) (*oidc.Provider, Endpoint, error) {
	if e.Issuer == "" {
		return nil, e, hinted(errors.New("sign-in: no issuer"), "give the address of the issuer")
	}
	issuer, err := parseURL(e.Issuer, c.cfg.PlainLoopback)
	if err != nil {
		return nil, e, hinted(fmt.Errorf("issuer: %w", err), "give the address of the issuer, with https")
	}
	// An issuer elsewhere must not have secrets sent to a port of this machine.
	plain := issuer.Scheme == "http"
	// The provider keeps the client of this context for its keys, and of the
	// context nothing else.
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, c.boundedHTTP()), e.Issuer)
	if err != nil {
		// Its text repeats what the server wrote.
		return nil, e, hinted(fmt.Errorf("issuer %s: %w: no discovery document of this issuer", e.Issuer, ErrAnswer),
			"see that "+e.Issuer+"/.well-known/openid-configuration is there and names this very issuer")
	}
	var more struct {
		Revocation string   `json:"revocation_endpoint"`
		Methods    []string `json:"code_challenge_methods_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, e, fmt.Errorf("issuer %s: %w: members have the wrong types", e.Issuer, ErrAnswer)
	}
	if len(more.Methods) > 0 && !slices.Contains(more.Methods, "S256") {
		return nil, e, fmt.Errorf("issuer %s: does not support PKCE with S256", e.Issuer)
	}
	endpoints := found.Endpoint()
	for to, address := range map[*string]string{&e.AuthorizeURL: endpoints.AuthURL, &e.TokenURL: endpoints.TokenURL, &e.DeviceURL: endpoints.DeviceAuthURL, &e.RevokeURL: more.Revocation} {
		if *to != "" || address == "" {
			continue
		}
		if _, err := parseURL(address, plain); err != nil {
			return nil, e, fmt.Errorf("issuer %s: %w: an endpoint %w", e.Issuer, ErrAnswer, err)
		}
		*to = address
	}
	if e.TokenURL == "" {
		return nil, e, fmt.Errorf("issuer %s: %w: has no token endpoint", e.Issuer, ErrAnswer)
	}
	return found, e, nil
}

// verifyIDToken returns whose token it is, if the issuer signed it for this
// client and this attempt.
func (c *Client) verifyIDToken(ctx context.Context, found *oidc.Provider, idToken, clientID, nonce string) (string, error) {
	refused := hinted(fmt.Errorf("sign-in: %w: the ID token is not the issuer's for this sign-in", ErrAnswer), "start again; if it stays so, ask whoever runs the issuer")
	if idToken == "" {
		return "", refused
	}
	token, err := found.VerifierContext(oidc.ClientContext(ctx, c.boundedHTTP()), &oidc.Config{ClientID: clientID, Now: c.cfg.Now}).Verify(ctx, idToken)
	if err != nil || !sameText(token.Nonce, nonce) || !printable(token.Subject) || len(token.Subject) > maxClientID {
		return "", refused
	}
	return token.Subject, nil
}

// boundedHTTP is the client for a library that has no bounds.
func (c *Client) boundedHTTP() *http.Client {
	bounded := *c.http
	bounded.Transport = boundedTransport{c.http.Transport, c.cfg.UserAgent}
	return &bounded
}

// boundedTransport bounds what is read, for a library that has no bounds.
type boundedTransport struct {
	base      http.RoundTripper
	userAgent string
}

// RoundTrip implements http.RoundTripper.
func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", t.userAgent)
	res, err := base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswerBytes), res.Body}
	return res, nil
}
