package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"opencode/store"
)

const (
	metaRenewed = "renewed"
	// forceEvery is how often a rejected token is renewed before its time: a
	// rejection often means "forbidden" and not "stale".
	forceEvery = time.Minute
)

// RefresherConfig is what a refresher works with.
type RefresherConfig struct {
	// Client asks for new tokens. Required.
	Client *Client
	// Store keeps them. Required.
	Store store.Credentials
	// Logger gets failures that did not matter; the default drops them.
	Logger *slog.Logger
}

// Refresher keeps stored credentials fresh. For one credential at most one
// refresh is under way in all processes that share the store, since a server
// that rotates refresh tokens takes the second use of one for theft and ends
// the session. New tokens are durable before anybody uses them, and a refresh
// that fails leaves what was there.
type Refresher struct {
	cfg    RefresherConfig
	now    func() time.Time
	logger *slog.Logger

	mu sync.Mutex
	// forced is when each credential was last renewed for a rejection, which
	// may have failed and left no trace in the store. Guarded by mu.
	forced map[store.CredentialKey]time.Time
	// unkept are credentials that a server gave and the store did not take. The
	// server has forgotten the ones before, so that the next attempt has to
	// keep these and not ask again. Guarded by mu.
	unkept map[store.CredentialKey]unkept
}

// unkept is a renewed credential, and the refresh token that it was got with.
type unkept struct {
	from store.SecretText
	cred store.Credential
}

// NewRefresher returns a refresher.
func NewRefresher(cfg RefresherConfig) (*Refresher, error) {
	if cfg.Client == nil || cfg.Store == nil {
		return nil, errors.New("refresher: needs a client and a store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Refresher{
		cfg: cfg, now: cfg.Client.cfg.Now, logger: cfg.Logger,
		forced: map[store.CredentialKey]time.Time{}, unkept: map[store.CredentialKey]unkept{},
	}, nil
}

// Fresh returns the credential, renewed if it ends within a minute. If that
// fails while the old one still has some life, it returns the old one.
func (r *Refresher) Fresh(ctx context.Context, provider, profile string) (store.Credential, error) {
	cred, err := r.cfg.Store.Credential(ctx, provider, profile)
	if err != nil {
		return store.Credential{}, err
	}
	if !r.due(cred) {
		return cred, nil
	}
	alive := !cred.Access.IsZero() && !cred.ExpiresWithin(r.now(), 0)
	if !r.cfg.Client.Renewable(cred) {
		if alive {
			return cred, nil
		}
		return store.Credential{}, hinted(fmt.Errorf("credential %s: is expired and %w", cred.CredentialKey, ErrNotRenewable), loginHint(cred))
	}
	renewed, err := r.renew(ctx, cred, r.due)
	if err != nil && alive && ctx.Err() == nil {
		r.logger.WarnContext(ctx, "credential was not renewed and is used to its end", "credential", cred.CredentialKey.String(), "error", err)
		return cred, nil
	}
	return renewed, err
}

// Force renews the credential whatever its state.
func (r *Refresher) Force(ctx context.Context, provider, profile string) (store.Credential, error) {
	cred, err := r.cfg.Store.Credential(ctx, provider, profile)
	if err != nil {
		return store.Credential{}, err
	}
	return r.renew(ctx, cred, func(store.Credential) bool { return true })
}

// Refresh renews the credential if it is due, or whatever its state with force,
// and reports whether it has new tokens. Unlike [Refresher.Fresh] it returns
// every failure: somebody asked for it. [ErrNotRenewable] is for one that only
// the user can replace.
func (r *Refresher) Refresh(ctx context.Context, key store.CredentialKey, force bool) (bool, error) {
	cred, err := r.cfg.Store.Credential(ctx, key.Provider, key.Profile)
	switch {
	case err != nil:
		return false, err
	case !r.cfg.Client.Renewable(cred):
		return false, hinted(fmt.Errorf("credential %s: %w", cred.CredentialKey, ErrNotRenewable), loginHint(cred))
	case !force && !r.due(cred):
		return false, nil
	}
	renewed, err := r.renew(ctx, cred, func(c store.Credential) bool { return force || r.due(c) })
	return err == nil && !renewed.Access.Equal(cred.Access), err
}

// Rejected is for a credential that the provider refused with 401 or 403. It
// returns the one to try next and true, or false if there is none: the
// credential was renewed for a rejection within the last minute, by whatever
// process, or cannot be renewed.
func (r *Refresher) Rejected(ctx context.Context, rejected store.Credential) (store.Credential, bool, error) {
	key := rejected.CredentialKey
	current, err := r.cfg.Store.Credential(ctx, key.Provider, key.Profile)
	if err != nil {
		return store.Credential{}, false, err
	}
	if current.Kind == store.CredentialOAuth && !current.Access.Equal(rejected.Access) {
		return current, true, nil
	}
	if !r.cfg.Client.Renewable(current) || !r.mayForce(current) {
		return store.Credential{}, false, nil
	}
	renewed, err := r.renew(ctx, current, func(c store.Credential) bool { return c.Access.Equal(rejected.Access) })
	if err != nil {
		return store.Credential{}, false, err
	}
	return renewed, !renewed.Access.Equal(rejected.Access), nil
}

// mayForce reports whether the credential was not renewed within the last
// minute, and counts the question as a renewal.
func (r *Refresher) mayForce(cred store.Credential) bool {
	now := r.now()
	if justBefore(now, renewedAt(cred)) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if justBefore(now, r.forced[cred.CredentialKey]) {
		return false
	}
	r.forced[cred.CredentialKey] = now
	return true
}

// due reports whether the credential has to be renewed before it is used. One
// that lives for less than a minute from its start is not renewed each time.
func (r *Refresher) due(cred store.Credential) bool {
	if cred.Kind != store.CredentialOAuth {
		return false
	}
	now := r.now()
	if cred.Access.IsZero() || cred.ExpiresWithin(now, 0) {
		return true
	}
	return cred.ExpiresWithin(now, refreshSkew) && !justBefore(now, renewedAt(cred))
}

// renew renews the credential while nobody else can, if what is stored by then
// still needs it.
func (r *Refresher) renew(ctx context.Context, cred store.Credential, needed func(store.Credential) bool) (store.Credential, error) {
	// Waiting for others can be given up. Once the server was asked, what it
	// answers must be kept: the old token may be worth nothing by then.
	bound, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	release := context.AfterFunc(ctx, cancel)
	defer release()
	rotates := hasRefresh(cred)
	updated, err := r.cfg.Store.UpdateCredential(bound, cred.CredentialKey, func(c *store.Credential) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !needed(*c) {
			return nil
		}
		if got, ok := r.gotBefore(*c); ok {
			*c = got
			return nil
		}
		asking := ctx
		if hasRefresh(*c) {
			if !release() {
				return context.Canceled
			}
			asking = bound
		}
		renewed, err := r.cfg.Client.Renew(asking, *c)
		if err != nil {
			return err
		}
		renewed = r.stamped(renewed)
		r.mu.Lock()
		r.unkept[c.CredentialKey] = unkept{c.Refresh, renewed}
		r.mu.Unlock()
		*c = renewed
		return nil
	})
	switch {
	case err == nil:
		r.mu.Lock()
		if kept, ok := r.unkept[cred.CredentialKey]; ok && kept.cred.Refresh.Equal(updated.Refresh) {
			delete(r.unkept, cred.CredentialKey)
		}
		r.mu.Unlock()
		return updated, nil
	case errors.Is(err, store.ErrReadOnly) && !rotates:
		// Another program renews these, and nothing is lost if they are not kept.
		return r.cfg.Client.Renew(ctx, cred)
	case errors.Is(err, store.ErrReadOnly):
		return store.Credential{}, hinted(fmt.Errorf("refresh %s: %w", cred.CredentialKey, err), "renew it where the store can be written: opencode auth refresh "+cred.Provider)
	}
	return store.Credential{}, fmt.Errorf("refresh %s: %w", cred.CredentialKey, err)
}

// gotBefore returns the credential that a server gave for this one and that the
// store did not take.
func (r *Refresher) gotBefore(cred store.Credential) (store.Credential, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, ok := r.unkept[cred.CredentialKey]
	if !ok || !hasRefresh(cred) || !u.from.Equal(cred.Refresh) || u.cred.Method != cred.Method {
		// The user has signed in again meanwhile, or another process renewed it.
		delete(r.unkept, cred.CredentialKey)
		return store.Credential{}, false
	}
	return u.cred, true
}

// stamped returns the credential with the time of its renewal, which all
// processes see.
func (r *Refresher) stamped(cred store.Credential) store.Credential {
	cred.Metadata = maps.Clone(cred.Metadata)
	if cred.Metadata == nil {
		cred.Metadata = map[string]string{}
	}
	cred.Metadata[metaRenewed] = strconv.FormatInt(r.now().UnixMilli(), 10)
	return cred
}

// renewedAt is when the credential was renewed, zero if that is not known.
func renewedAt(cred store.Credential) time.Time {
	ms, err := strconv.ParseInt(cred.Metadata[metaRenewed], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// justBefore reports whether at is in the minute before now. What is in the future
// was written by a clock that went wrong, and does not count.
func justBefore(now, at time.Time) bool {
	return !at.IsZero() && !at.After(now) && now.Sub(at) < forceEvery
}

// renewError says what to do about a refresh that was refused. The store keeps
// what it had.
func renewError(err error, cred store.Credential) error {
	if errors.Is(err, ErrGrant) || errors.Is(err, ErrDenied) {
		return hinted(fmt.Errorf("%w; the stored tokens were kept", err), loginHint(cred))
	}
	return err
}
