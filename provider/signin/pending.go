package signin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

const (
	// pendingTime is how long a sign-in that a client began may take.
	pendingTime = 5 * time.Minute
	// maxPending and maxOwned bound how many there are, of all and of one
	// owner: each may hold a port.
	maxPending = 32
	maxOwned   = 4
)

// Errors of [Pending].
var (
	// ErrNoAttempt means that the owner has begun no such sign-in, or that it
	// is over.
	ErrNoAttempt = errors.New("no such sign-in is under way; start again")
	// ErrTooMany means that too many sign-ins are under way.
	ErrTooMany = errors.New("too many sign-ins are under way; finish one, or wait some minutes")
	// ErrStopped means that the server is about to end.
	ErrStopped = errors.New("the server stops")
)

// Pending are the sign-ins that clients of a server have begun and not
// finished. Each belongs to whoever began it, is for one provider and one
// method, works once and ends after five minutes. It is safe for concurrent
// use; make one with [Service.NewPending], and close it.
type Pending struct {
	service *Service

	mu sync.Mutex
	// entries are guarded by mu; nil once it is closed.
	entries map[pendingKey]*pendingEntry
}

// pendingKey names a sign-in: an owner has one for each provider.
type pendingKey struct{ owner, provider string }

type pendingEntry struct {
	attempt *oauth.Attempt
	begun   time.Time
	expires time.Time
	// waiting end the calls that wait for it; guarded by the mu of Pending.
	waiting []context.CancelFunc
}

// Begun is what the user needs to go on with a sign-in.
type Begun struct {
	// URL is for the user's browser.
	URL string
	// UserCode is what the user has to enter there, if anything.
	UserCode string
	// Paste reports whether [Pending.Finish] needs what the browser shows.
	Paste bool
}

// NewPending returns no sign-ins.
func (s *Service) NewPending() *Pending {
	return &Pending{service: s, entries: map[pendingKey]*pendingEntry{}}
}

// Begin starts a sign-in for the owner, in the place of one that the owner had
// begun for the same provider. It makes sure first that what comes of it could
// be kept.
func (p *Pending) Begin(ctx context.Context, owner, provider, method string, o oauth.Options) (Begun, error) {
	if err := p.room(owner, provider); err != nil {
		return Begun{}, err
	}
	if err := p.service.writable(ctx, provider); err != nil {
		return Begun{}, err
	}
	begun := p.service.now()
	attempt, err := p.service.client.Begin(ctx, method, o)
	if err != nil {
		return Begun{}, err
	}
	expires := begun.Add(pendingTime)
	if !attempt.Expires.IsZero() && attempt.Expires.Before(expires) {
		expires = attempt.Expires
	}
	if err := p.add(pendingKey{owner, provider}, &pendingEntry{attempt: attempt, begun: begun, expires: expires}); err != nil {
		attempt.Close()
		return Begun{}, err
	}
	return Begun{URL: attempt.URL, UserCode: attempt.UserCode, Paste: attempt.Paste}, nil
}

// Finish ends a sign-in of the owner and keeps the credential: with what the
// user pasted, or, if that is empty, by waiting until the user is done in the
// browser. After a mistake in what was pasted the owner can try again; anything
// else ends the sign-in.
func (p *Pending) Finish(ctx context.Context, owner, provider, method, pasted string) (store.Credential, error) {
	key := pendingKey{owner, provider}
	p.close(p.expired())
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	entry, err := p.join(key, method, cancel)
	if err != nil {
		return store.Credential{}, err
	}
	waiting, done := context.WithTimeout(waiting, entry.expires.Sub(p.service.now()))
	defer done()
	var c store.Credential
	switch {
	case pasted != "":
		c, err = entry.attempt.Finish(waiting, pasted)
	case entry.attempt.Paste:
		err = oauth.ErrCodeRequired
	default:
		c, err = entry.attempt.Wait(waiting, nil)
	}
	if errors.Is(err, oauth.ErrCode) || errors.Is(err, oauth.ErrCodeRequired) || pasted != "" && errors.Is(err, oauth.ErrState) {
		return store.Credential{}, err
	}
	over := p.remove(key, entry)
	entry.attempt.Close()
	switch {
	case err == nil:
		return p.service.Keep(ctx, c, provider, "")
	case over != nil:
		return store.Credential{}, over
	case ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded):
		return store.Credential{}, oauth.ErrExpired
	}
	return store.Credential{}, err
}

// join returns the entry, which ends by cancel as well from now on.
func (p *Pending) join(key pendingKey, method string, cancel context.CancelFunc) (*pendingEntry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.entries[key]
	switch {
	case p.entries == nil:
		return nil, ErrStopped
	case entry == nil || entry.attempt.Method != method:
		return nil, ErrNoAttempt
	}
	entry.waiting = append(entry.waiting, cancel)
	return entry, nil
}

// Close ends all sign-ins, and whoever waits for one. It may be called more
// than once.
func (p *Pending) Close() {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.entries))
	p.entries = nil
	p.mu.Unlock()
	p.close(all)
}

// room sees whether there is room for one more, before anything is begun.
func (p *Pending) room(owner, provider string) error {
	p.close(p.expired())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.entries == nil {
		return ErrStopped
	}
	if _, ok := p.entries[pendingKey{owner, provider}]; !ok && len(p.entries) >= maxPending && len(p.owned(owner)) == 0 {
		return ErrTooMany
	}
	return nil
}

// owned returns the keys of an owner, the oldest first.
func (p *Pending) owned(owner string) []pendingKey {
	var keys []pendingKey
	for key := range p.entries {
		if key.owner == owner {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b pendingKey) int { return p.entries[a].begun.Compare(p.entries[b].begun) })
	return keys
}

// add adds an entry. The oldest of the same owner makes room for it.
func (p *Pending) add(key pendingKey, entry *pendingEntry) error {
	p.mu.Lock()
	if p.entries == nil {
		p.mu.Unlock()
		return ErrStopped
	}
	var over []*pendingEntry
	drop := func(key pendingKey) {
		over = append(over, p.entries[key])
		delete(p.entries, key)
	}
	owned := p.owned(key.owner)
	switch _, ok := p.entries[key]; {
	case ok:
		drop(key)
	case len(owned) >= maxOwned || len(owned) > 0 && len(p.entries) >= maxPending:
		drop(owned[0])
	case len(p.entries) >= maxPending:
		p.mu.Unlock()
		return ErrTooMany
	}
	p.entries[key] = entry
	p.mu.Unlock()
	p.close(over)
	return nil
}

// remove takes an entry out, and returns why somebody else had done so.
func (p *Pending) remove(key pendingKey, entry *pendingEntry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.entries == nil:
		return ErrStopped
	case p.entries[key] != entry:
		return ErrNoAttempt
	}
	delete(p.entries, key)
	return nil
}

// expired takes out what is over.
func (p *Pending) expired() []*pendingEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.service.now()
	var over []*pendingEntry
	for key, e := range p.entries {
		if !now.Before(e.expires) {
			over = append(over, e)
			delete(p.entries, key)
		}
	}
	return over
}

// close ends sign-ins that are not among the entries any more: whoever waits
// for one, and the port of it.
func (*Pending) close(entries []*pendingEntry) {
	for _, e := range entries {
		for _, cancel := range e.waiting {
			cancel()
		}
		e.attempt.Close()
	}
}

// errUntouched ends a change that is not to be made.
var errUntouched = errors.New("is not changed")

// writable sees whether a credential of the provider could be kept: nobody
// should go through a sign-in for nothing.
func (s *Service) writable(ctx context.Context, provider string) error {
	key, err := store.NewCredentialKey(provider, "")
	if err != nil {
		return err
	}
	_, err = s.store.UpdateCredential(ctx, key, func(*store.Credential) error { return errUntouched })
	if err == nil || errors.Is(err, errUntouched) || errors.Is(err, store.ErrNotExist) || errors.Is(err, store.ErrUnknown) {
		return nil
	}
	return fmt.Errorf("sign-in: %w", err)
}
