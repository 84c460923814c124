package oauth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"opencode/store"
)

// verification is what OpenID Connect adds to a code flow.
type verification struct {
	issuer string
	nonce  string
	verify func(ctx context.Context, idToken, clientID, nonce string) (subject string, err error)
}

// beginCode starts an authorization code flow with PKCE.
func (c *Client) beginCode(m Method, e Endpoint, o Options, oidc *verification) (*Attempt, error) {
	verifier, state := oauth2.GenerateVerifier(), rand.Text()
	a := &Attempt{Method: m.ID, Paste: e.RedirectURL != "", Expires: c.cfg.Now().Add(c.cfg.LoginTime), now: c.cfg.Now}

	redirect := e.RedirectURL
	var l *loopback
	if !a.Paste {
		var err error
		if l, err = c.listen(e.RedirectPath, state, o.Port); err != nil {
			return nil, err
		}
		redirect = l.address
	}
	params := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for name, value := range e.Params {
		params = append(params, oauth2.SetAuthURLParam(name, value))
	}
	if e.DynamicClient {
		params = append(params, oauth2.SetAuthURLParam("agent_name_hint", c.product()), oauth2.SetAuthURLParam("ext_agent_host_id", "urn:uuid:"+newUUID()))
	}
	if oidc != nil {
		params = append(params, oauth2.SetAuthURLParam("nonce", oidc.nonce))
	}
	flow := oauth2.Config{ClientID: e.ClientID, RedirectURL: redirect, Scopes: e.Scopes, Endpoint: oauth2.Endpoint{AuthURL: e.AuthorizeURL}}
	a.URL = flow.AuthCodeURL(state, params...)

	exchange := func(ctx context.Context, code string, callback url.Values) (store.Credential, error) {
		if err := a.claim(); err != nil {
			return store.Credential{}, err
		}
		e := e
		if e.DynamicClient {
			e.ClientID = callback.Get("client_id")
			if e.ClientID == "" || len(e.ClientID) > maxClientID || !printable(e.ClientID) {
				return store.Credential{}, hinted(errors.New("the provider issued no client id"), "start again")
			}
		}
		if oidc != nil && callback.Has("iss") && callback.Get("iss") != oidc.issuer {
			return store.Credential{}, hinted(errors.New("the redirect came from another issuer"), "start again")
		}
		return c.exchange(ctx, m, e, o, oidc, code, redirect, verifier, state)
	}
	a.finish = func(ctx context.Context, pasted string) (store.Credential, error) {
		code, callback, err := parsePasted(pasted, state)
		if err != nil {
			return store.Credential{}, err
		}
		return exchange(ctx, code, callback)
	}
	if l != nil {
		a.close = l.close
		a.wait = func(ctx context.Context, _ func(Progress)) (store.Credential, error) {
			callback, err := l.wait(ctx)
			if err != nil {
				return store.Credential{}, err
			}
			return exchange(ctx, callback.Get("code"), callback)
		}
	}
	return a, nil
}

// exchange gets tokens for a code, and of them what the method keeps.
func (c *Client) exchange(ctx context.Context, m Method, e Endpoint, o Options, oidc *verification, code, redirect, verifier, state string) (store.Credential, error) {
	params := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "client_id": {e.ClientID},
		"redirect_uri": {redirect}, "code_verifier": {verifier},
	}
	if e.TokenState {
		params.Set("state", state)
	}
	t, err := c.requestTokens(ctx, "sign-in", e, params)
	if err != nil {
		return store.Credential{}, err
	}
	if e.KeyURL != "" {
		return c.createKey(ctx, m, e, o, t)
	}
	credential := t.credential(m, e, o.Profile, c.cfg.Now())
	if e.ClientID != m.ClientID {
		credential.Metadata[metaClientID] = e.ClientID
	}
	if oidc != nil {
		credential.Metadata[metaIssuer] = oidc.issuer
		if slices.Contains(e.Scopes, "openid") {
			subject, err := oidc.verify(ctx, t.idToken.Reveal(), e.ClientID, oidc.nonce)
			if err != nil {
				return store.Credential{}, err
			}
			credential.AccountID = subject
		}
	}
	return credential, valid(credential)
}

// createKey makes an API key with the tokens, which nobody needs after that.
func (c *Client) createKey(ctx context.Context, m Method, e Endpoint, o Options, t tokens) (store.Credential, error) {
	a, err := c.do(ctx, call{op: "create key", method: http.MethodPost, address: e.KeyURL, bearer: t.access, headers: e.TokenHeaders, params: url.Values{}, json: true})
	if err != nil {
		return store.Credential{}, err
	}
	credential, err := c.keyCredential(a, "raw_key", m, e, o)
	if err != nil {
		return store.Credential{}, err
	}
	if err := c.revokeTokens(ctx, e, e.ClientID, t.refresh, t.access); err != nil {
		c.logger.WarnContext(ctx, "the tokens that made the key were not revoked", "method", m.ID)
	}
	return credential, nil
}

// beginKey starts a flow that ends in an API key at once. It has no state, so
// that the path of the redirect is what nobody else knows.
func (c *Client) beginKey(m Method, e Endpoint, o Options) (*Attempt, error) {
	verifier := oauth2.GenerateVerifier()
	l, err := c.listen(strings.TrimSuffix(e.RedirectPath, "/")+"/"+rand.Text(), "", o.Port)
	if err != nil {
		return nil, err
	}
	u, err := parseURL(e.AuthorizeURL, c.cfg.PlainLoopback)
	if err != nil {
		l.close()
		return nil, err
	}
	query := u.Query()
	for name, value := range e.Params {
		query.Set(name, value)
	}
	query.Set("callback_url", l.address)
	query.Set("code_challenge", oauth2.S256ChallengeFromVerifier(verifier))
	query.Set("code_challenge_method", "S256")
	u.RawQuery = query.Encode()

	a := &Attempt{Method: m.ID, URL: u.String(), Expires: c.cfg.Now().Add(c.cfg.LoginTime), now: c.cfg.Now, close: l.close}
	exchange := func(ctx context.Context, code string) (store.Credential, error) {
		if err := a.claim(); err != nil {
			return store.Credential{}, err
		}
		answer, err := c.do(ctx, call{
			op: "sign-in", method: http.MethodPost, address: e.TokenURL, headers: e.TokenHeaders, json: true,
			params: url.Values{"code": {code}, "code_verifier": {verifier}, "code_challenge_method": {"S256"}},
		})
		if err != nil {
			return store.Credential{}, err
		}
		return c.keyCredential(answer, "key", m, e, o)
	}
	a.wait = func(ctx context.Context, _ func(Progress)) (store.Credential, error) {
		callback, err := l.wait(ctx)
		if err != nil {
			return store.Credential{}, err
		}
		return exchange(ctx, callback.Get("code"))
	}
	a.finish = func(ctx context.Context, pasted string) (store.Credential, error) {
		code, _, err := parsePasted(pasted, "")
		if err != nil {
			return store.Credential{}, err
		}
		return exchange(ctx, code)
	}
	return a, nil
}

// keyCredential reads an answer with an API key.
func (c *Client) keyCredential(a *answer, member string, m Method, e Endpoint, o Options) (store.Credential, error) {
	if err := a.check(); err != nil {
		return store.Credential{}, advice(err)
	}
	key, err := a.text(member, maxTokenBytes)
	if err != nil {
		return store.Credential{}, err
	}
	if key == "" || strings.Contains(key, " ") {
		return store.Credential{}, a.unusable("has no " + member)
	}
	credential := store.Credential{
		CredentialKey: store.CredentialKey{Provider: e.Provider, Profile: o.Profile}, Kind: store.CredentialAPI,
		Key: store.NewSecretText(key), Method: m.ID, Created: c.cfg.Now().Truncate(time.Millisecond),
	}
	return credential, valid(credential)
}

// valid makes sure that what comes out of a flow can be kept.
func valid(c store.Credential) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("sign-in: %w", err)
	}
	return nil
}

// product is the name of the program, without its version.
func (c *Client) product() string {
	name, _, _ := strings.Cut(c.cfg.UserAgent, "/")
	return name
}

// sameText compares in constant time.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// newUUID makes a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	// It never fails: package rand ends the program instead.
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
