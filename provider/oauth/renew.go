package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"opencode/store"
)

// refreshSkew is how long before its end a token counts as ended: it has to
// last for the request, and clocks differ.
const refreshSkew = 60 * time.Second

// methodOf returns the method that a credential came by, with the client and
// the domain that it came with. One that another program wrote has no method,
// and is the provider's first that can renew.
func (c *Client) methodOf(cred store.Credential) (Method, error) {
	id := cred.Method
	if id == "" {
		switch cred.Provider {
		case "anthropic":
			id = "anthropic-claude"
		case "github-copilot", "github-copilot-enterprise":
			id = "github-copilot"
		default:
			return Method{}, hinted(fmt.Errorf("credential %s: %w: the method that it came by is not known", cred.CredentialKey, ErrNotRenewable), loginHint(cred))
		}
	}
	m, err := c.Method(id)
	if err != nil {
		return Method{}, err
	}
	if m.Endpoint, err = m.forDomain(enterpriseDomain(cred)); err != nil {
		return Method{}, fmt.Errorf("credential %s: %w", cred.CredentialKey, err)
	}
	if id := cred.Metadata[metaClientID]; id != "" {
		m.ClientID = id
	}
	if issuer := cred.Metadata[metaIssuer]; issuer != "" {
		m.Issuer = issuer
	}
	return m, nil
}

// enterpriseDomain is the domain of an enterprise, which programs have written
// with and without https://.
func enterpriseDomain(cred store.Credential) string {
	domain := strings.TrimPrefix(strings.TrimPrefix(cred.EnterpriseURL, "https://"), "http://")
	domain, _, _ = strings.Cut(domain, "/")
	return domain
}

// loginHint is what helps when nothing else does.
func loginHint(cred store.Credential) string {
	hint := "sign in again: opencode auth login " + cred.Provider
	if cred.Method != "" {
		hint += " --method " + cred.Method
	}
	if cred.Profile != "" {
		hint += " --profile " + cred.Profile
	}
	return hint
}

// Renewable reports whether there is anything to renew the credential with.
func (c *Client) Renewable(cred store.Credential) bool {
	m, err := c.methodOf(cred)
	if err != nil || cred.Kind != store.CredentialOAuth {
		return false
	}
	return m.Flow == FlowSession || m.Flow == FlowProfile || hasRefresh(cred)
}

// hasRefresh reports whether there is a refresh token. Where the access token
// never ends, programs write it in the place of the other as well.
func hasRefresh(cred store.Credential) bool {
	return !cred.Refresh.IsZero() && !cred.Refresh.Equal(cred.Access)
}

// Renew returns the credential with new tokens, and does not keep it anywhere:
// a server that rotates has by then forgotten the old ones. Use a [Refresher],
// which does.
func (c *Client) Renew(ctx context.Context, cred store.Credential) (store.Credential, error) {
	if cred.Kind != store.CredentialOAuth {
		return store.Credential{}, fmt.Errorf("credential %s: %w: it is no OAuth credential", cred.CredentialKey, ErrNotRenewable)
	}
	m, err := c.methodOf(cred)
	if err != nil {
		return store.Credential{}, err
	}
	renewed := cred
	switch m.Flow {
	case FlowSession:
		got, err := c.sessionOf(ctx, m, cred.Profile, cred.Access)
		if err != nil {
			return store.Credential{}, err
		}
		renewed.Access, renewed.Expires = got.Access, got.Expires
		return renewed, nil
	case FlowProfile:
		got, err := c.profileCredential(m, cred.Profile, cred.Metadata[metaCLIProfile])
		if err != nil {
			return store.Credential{}, err
		}
		if got.Access.Equal(cred.Access) {
			return store.Credential{}, hinted(fmt.Errorf("credential %s: %w: the CLI has no newer token", cred.CredentialKey, ErrNotRenewable), "run `ant auth login` and try again")
		}
		renewed.Access, renewed.Expires = got.Access, got.Expires
		return renewed, nil
	case FlowCode, FlowOIDC, FlowDevice, FlowKey:
	}
	if !hasRefresh(cred) || m.TokenURL == "" && m.Issuer == "" {
		return store.Credential{}, hinted(fmt.Errorf("credential %s: %w: it has no refresh token", cred.CredentialKey, ErrNotRenewable), loginHint(cred))
	}
	if m.Flow == FlowOIDC {
		if _, m.Endpoint, err = c.discover(ctx, m.Endpoint); err != nil {
			return store.Credential{}, err
		}
	}
	t, err := c.requestTokens(ctx, "refresh", m.Endpoint, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {cred.Refresh.Reveal()}, "client_id": {m.ClientID},
	})
	if err != nil {
		return store.Credential{}, renewError(err, cred)
	}
	renewed.Access, renewed.Expires = t.access, t.expires
	if !t.refresh.IsZero() {
		renewed.Refresh = t.refresh
	}
	return renewed, valid(renewed)
}

// Revoke tells the provider that the credential is not used any more. It
// reports false where the provider offers no such thing.
func (c *Client) Revoke(ctx context.Context, cred store.Credential) (bool, error) {
	if cred.Kind != store.CredentialOAuth || cred.Method == "" {
		return false, nil
	}
	m, err := c.methodOf(cred)
	if err != nil {
		return false, err
	}
	if m.Flow == FlowSession || m.Flow == FlowProfile {
		// The session is another program's, which would be signed out.
		return false, nil
	}
	if m.Flow == FlowOIDC {
		if _, m.Endpoint, err = c.discover(ctx, m.Endpoint); err != nil {
			return false, err
		}
	}
	if m.RevokeURL == "" {
		return false, nil
	}
	return true, c.revokeTokens(ctx, m.Endpoint, m.ClientID, cred.Refresh, cred.Access)
}

// revokeTokens revokes as RFC 7009 says. The refresh token goes first: with it
// most servers end all that came of it.
func (c *Client) revokeTokens(ctx context.Context, e Endpoint, clientID string, refresh, access store.SecretText) error {
	if e.RevokeURL == "" {
		return nil
	}
	for _, token := range []struct {
		hint string
		text store.SecretText
	}{{"refresh_token", refresh}, {"access_token", access}} {
		if token.text.IsZero() {
			continue
		}
		a, err := c.do(ctx, call{
			op: "revoke", method: http.MethodPost, address: e.RevokeURL, headers: e.TokenHeaders,
			params: url.Values{"token": {token.text.Reveal()}, "token_type_hint": {token.hint}, "client_id": {clientID}},
		})
		if err != nil {
			return err
		}
		// The answer to a revocation has no body that matters.
		if a.status < 200 || a.status >= 300 {
			return advice(a.check())
		}
	}
	return nil
}
