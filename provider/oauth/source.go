package oauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"opencode/store"
)

// SourceConfig says which credential a source gives, and how.
type SourceConfig struct {
	// Provider and Profile name the credential.
	Provider, Profile string
	// KeyHeader is the header for an API key, as "x-api-key"; the default is
	// Authorization with Bearer.
	KeyHeader string
}

// Source puts one stored credential on requests, always fresh. It is what
// provider.Transport calls.
type Source struct {
	r   *Refresher
	cfg SourceConfig

	mu sync.Mutex
	// The rest is guarded by mu. used are the credentials that requests under
	// way were sent with, by their marks: the newest and the one before.
	used [2]usedCredential
	// chained is the short-lived token that the stored one gave.
	chained chainToken
	// direct means that the provider gives no such tokens.
	direct bool
	forced time.Time
}

type usedCredential struct {
	mark [sha256.Size]byte
	cred store.Credential
}

// chainToken is a short-lived token for another. from is the mark of that.
type chainToken struct {
	access store.SecretText
	renew  time.Time
	api    string
	from   [sha256.Size]byte
}

// Source returns the source of a credential. It need not exist yet.
func (r *Refresher) Source(cfg SourceConfig) (*Source, error) {
	if cfg.Provider == "" {
		return nil, errors.New("source: names no provider")
	}
	if cfg.KeyHeader != "" && !headerName().MatchString(cfg.KeyHeader) {
		return nil, fmt.Errorf("source: %q is not the name of a header", cfg.KeyHeader)
	}
	return &Source{r: r, cfg: cfg}, nil
}

// Apply sets the headers that the credential needs, and removes those of any
// other. It returns a mark of what it used, for [Source.Renew].
func (s *Source) Apply(ctx context.Context, h http.Header) (mark [32]byte, err error) {
	cred, err := s.r.Fresh(ctx, s.cfg.Provider, s.cfg.Profile)
	if err != nil {
		return mark, err
	}
	secret, m, err := s.secret(ctx, cred)
	if err != nil {
		return mark, err
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		h.Del(name)
	}
	if cred.Kind == store.CredentialAPI && s.cfg.KeyHeader != "" {
		h.Set(s.cfg.KeyHeader, secret.Reveal())
	} else {
		h.Set("Authorization", "Bearer "+secret.Reveal())
	}
	if cred.Kind == store.CredentialOAuth {
		for name, value := range m.APIHeaders {
			addValue(h, name, value)
		}
	}
	return s.remember(cred, secret), nil
}

// Renew is for a request that was refused with 401 or 403. It reports whether
// another one is worth it.
func (s *Source) Renew(ctx context.Context, mark [32]byte) (bool, error) {
	s.mu.Lock()
	var cred store.Credential
	found := false
	for _, u := range s.used {
		if u.mark == mark && mark != [32]byte{} {
			cred, found = u.cred, true
		}
	}
	chained, renewChain := !s.chained.access.IsZero(), false
	if found && chained {
		if markOf(s.chained.access) != mark {
			s.mu.Unlock()
			return true, nil
		}
		if now := s.r.now(); !justBefore(now, s.forced) {
			s.forced, s.chained, renewChain = now, chainToken{}, true
		}
	}
	s.mu.Unlock()
	if !found || chained {
		return renewChain, nil
	}
	_, again, err := s.r.Rejected(ctx, cred)
	return again, err
}

// BaseURL is where the credential is for, "" if the method does not say.
func (s *Source) BaseURL(ctx context.Context) (string, error) {
	cred, err := s.r.Fresh(ctx, s.cfg.Provider, s.cfg.Profile)
	if err != nil {
		return "", err
	}
	m, err := s.r.cfg.Client.methodOf(cred)
	if err != nil {
		return "", nil
	}
	if _, _, err := s.secret(ctx, cred); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chained.api != "" {
		return s.chained.api, nil
	}
	return m.APIURL, nil
}

// remember keeps what a mark stands for.
func (s *Source) remember(cred store.Credential, secret store.SecretText) [sha256.Size]byte {
	mark := markOf(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[0].mark != mark {
		s.used[1] = s.used[0]
		s.used[0] = usedCredential{mark, cred}
	}
	return mark
}

func markOf(secret store.SecretText) [sha256.Size]byte { return sha256.Sum256([]byte(secret.Reveal())) }

// secret returns what is sent for the credential.
func (s *Source) secret(ctx context.Context, cred store.Credential) (store.SecretText, Method, error) {
	switch cred.Kind {
	case store.CredentialAPI:
		return cred.Key, Method{}, nil
	case store.CredentialWellKnown:
		return cred.Token, Method{}, nil
	case store.CredentialOAuth:
	default:
		return store.SecretText{}, Method{}, fmt.Errorf("credential %s: %w", cred.CredentialKey, store.ErrCredential)
	}
	// What another program signed in to is sent as it is, as long as it lasts.
	m, err := s.r.cfg.Client.methodOf(cred)
	if err != nil || m.ChainURL == "" {
		return cred.Access, m, nil //nolint:nilerr // a token needs no method to be sent
	}
	secret, err := s.chain(ctx, cred, m)
	return secret, m, err
}

// chain returns the short-lived token for the stored one. Nothing rotates
// here, so that each process may have its own.
func (s *Source) chain(ctx context.Context, cred store.Credential, m Method) (store.SecretText, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := markOf(cred.Access)
	if s.chained.from != from {
		s.chained, s.direct = chainToken{}, false
	}
	now := s.r.now()
	switch {
	case s.direct:
		return cred.Access, nil
	case !s.chained.access.IsZero() && now.Before(s.chained.renew):
		return s.chained.access, nil
	}
	c := s.r.cfg.Client
	a, err := c.do(ctx, call{op: "token for the API", method: http.MethodGet, address: m.ChainURL, bearer: cred.Access})
	if err != nil {
		return store.SecretText{}, err
	}
	switch a.status {
	case http.StatusNotFound:
		// For this client the provider takes the token itself.
		s.direct, s.chained = true, chainToken{from: from}
		return cred.Access, nil
	case http.StatusUnauthorized:
		return store.SecretText{}, hinted(a.check(), loginHint(cred))
	case http.StatusForbidden:
		return store.SecretText{}, hinted(a.check(), "see that the account has a subscription that covers this, and that its organisation permits it")
	}
	got, err := a.chained(now, m)
	if err != nil {
		return store.SecretText{}, err
	}
	got.from = from
	s.chained = got
	return got.access, nil
}

// chained reads a short-lived token. Its life counts from now by preference:
// the provider's clock is not ours.
func (a *answer) chained(now time.Time, m Method) (chainToken, error) {
	if err := a.check(); err != nil {
		return chainToken{}, advice(err)
	}
	text, err := a.text("token", maxTokenBytes)
	if err != nil {
		return chainToken{}, err
	}
	if text == "" || strings.Contains(text, " ") {
		return chainToken{}, a.unusable("has no token")
	}
	t := chainToken{access: store.NewSecretText(text), renew: now}
	in, ok, err := a.number("refresh_in")
	if err != nil {
		return chainToken{}, err
	}
	at, hasEnd, err := a.number("expires_at")
	if err != nil {
		return chainToken{}, err
	}
	switch {
	case ok && in > 0:
		t.renew = lifeFrom(now, in)
	case hasEnd && at > 0 && at < 1<<40:
		t.renew = time.Unix(int64(at), 0).Add(-refreshSkew)
	}
	endpoints := &answer{call: a.call, host: a.host, status: a.status, members: decodeObject(a.members["endpoints"], "")}
	if t.api, err = endpoints.text("api", 2<<10); err != nil || !sameSite(t.api, m.APIURL) {
		// The token must not go where the answer alone says.
		t.api = ""
	}
	return t, nil
}

// sameSite reports whether an address is https and below the parent of the
// other's host.
func sameSite(address, other string) bool {
	u, err := parseURL(address, false)
	o, otherErr := parseURL(other, false)
	if err != nil || otherErr != nil || u.Port() != o.Port() {
		return false
	}
	_, parent, _ := strings.Cut(o.Hostname(), ".")
	return u.Hostname() == o.Hostname() || strings.Contains(parent, ".") && strings.HasSuffix(u.Hostname(), "."+parent)
}

// addValue adds to a header that may hold a list, unless it is there.
func addValue(h http.Header, name, value string) {
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(item) == value {
				return
			}
		}
	}
	if had := h.Get(name); had != "" {
		value = had + "," + value
	}
	h.Set(name, value)
}
