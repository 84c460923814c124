// Package file keeps small things in files that people may read and back up:
// access tokens, as JSON.
//
// Changing a file means: take the lock beside it, read it again, write a new
// file in the same directory, sync it, rename it over the old one and sync the
// directory. So a reader needs no lock and never sees half a file, and a
// process that dies at any moment loses nothing that it had acknowledged.
//
// What cannot be read in full is not used in part: a file that is malformed,
// newer than this program or open to changes by other users gives an error
// for every look-up, and is never overwritten.
//
// Everything here is safe for concurrent use, by goroutines, by several
// handles and by several processes. There are no goroutines of its own.
package file

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"opencode/store"
)

// Defaults of [TokensConfig].
const (
	defaultCheckEvery = 5 * time.Millisecond
	defaultTouchEvery = time.Minute
)

// errUnchanged makes [Tokens.update] leave the file alone.
var errUnchanged = errors.New("nothing to change")

// TokensConfig says where and how tokens are kept.
type TokensConfig struct {
	// Path is the file. Required. It and its directory are made when the first
	// token is. If it is a symbolic link, what it points to is replaced, not
	// the link.
	Path string
	// CheckEvery is how old a look at the file may be before a look-up takes
	// another, and so the longest that a deleted token still works in another
	// process. The default is 5 ms; a negative value looks each time.
	CheckEvery time.Duration
	// TouchEvery is how coarse Token.LastUsed is. The default is one minute; a
	// negative value records every use.
	TouchEvery time.Duration
	// Now is the clock; the default is time.Now.
	Now func() time.Time
	// Logger gets warnings; the default discards them.
	Logger *slog.Logger
}

// Tokens keeps access tokens in a file. Make one with [OpenTokens].
type Tokens struct {
	path       string
	checkEvery time.Duration
	touchEvery time.Duration
	now        func() time.Time
	log        *slog.Logger

	// opened is what checked counts from, so that checked can use the
	// monotonic clock.
	opened time.Time
	// checked is when the last look at the file began.
	checked atomic.Int64
	snap    atomic.Pointer[snapshot]

	// mu lets one goroutine at a time look at the file. It is never held while
	// waiting for another process.
	mu sync.Mutex
}

var _ store.Tokens = (*Tokens)(nil)

// OpenTokens returns the tokens in a file, which need not exist. A file that
// exists and cannot be used is an error.
func OpenTokens(cfg TokensConfig) (*Tokens, error) {
	if cfg.Path == "" {
		return nil, errors.New("open tokens: Path is required")
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open tokens: %w", err)
	}
	t := &Tokens{path: path, checkEvery: cfg.CheckEvery, touchEvery: cfg.TouchEvery, now: cfg.Now, log: cfg.Logger}
	if t.checkEvery == 0 {
		t.checkEvery = defaultCheckEvery
	}
	if t.touchEvery == 0 {
		t.touchEvery = defaultTouchEvery
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.opened = t.now()
	t.snap.Store(&snapshot{err: errUnread})
	if s := t.look(); s.err != nil {
		return nil, s.err
	}
	return t, nil
}

// CreateToken implements [store.Tokens].
func (t *Tokens) CreateToken(ctx context.Context, token store.Token) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create token %q: %w", token.ID, err)
	}
	token = normal(token)
	if err := validate(token); err != nil {
		return fmt.Errorf("create token %q: %w", token.ID, err)
	}
	dir := filepath.Dir(t.path)
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("create token %q: directory %q cannot be made: %w", token.ID, dir, err)
	}
	err := t.update(ctx, waitForLock, func(s *snapshot) ([]store.Token, error) {
		if _, ok := s.byID[token.ID]; ok {
			return nil, fmt.Errorf("id: %w", store.ErrExist)
		}
		if _, ok := s.byHash[token.Hash]; ok {
			return nil, fmt.Errorf("hash: %w", store.ErrExist)
		}
		return append(slices.Clip(s.tokens), token), nil
	})
	if err != nil {
		return fmt.Errorf("create token %q: %w", token.ID, err)
	}
	return nil
}

// Tokens implements [store.Tokens].
func (t *Tokens) Tokens(ctx context.Context) ([]store.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	s := t.look()
	if s.err != nil {
		return nil, s.err
	}
	out := make([]store.Token, len(s.tokens))
	for i := range s.tokens {
		out[i] = clone(&s.tokens[i])
	}
	return out, nil
}

// errNoToken is made once: a look-up of an unknown token should cost no more
// than that of a known one.
var errNoToken = fmt.Errorf("token with that hash: %w", store.ErrNotExist)

// TokenByHash implements [store.Tokens].
//
// It sees a token that another process made at once, and one that it deleted at
// most TokensConfig.CheckEvery later.
func (t *Tokens) TokenByHash(ctx context.Context, hash [32]byte) (store.Token, error) {
	if err := ctx.Err(); err != nil {
		return store.Token{}, fmt.Errorf("token: %w", err)
	}
	s := t.current()
	if s.err != nil {
		return store.Token{}, s.err
	}
	i, ok := s.lookUp(hash)
	if !ok {
		// It may have been made since the last look, and whoever just made it
		// expects it to work.
		if s = t.look(); s.err != nil {
			return store.Token{}, s.err
		}
		if i, ok = s.lookUp(hash); !ok {
			return store.Token{}, errNoToken
		}
	}
	return clone(&s.tokens[i]), nil
}

func (s *snapshot) lookUp(hash [32]byte) (int32, bool) {
	i, ok := s.byHash[hash]
	return i, ok && subtle.ConstantTimeCompare(s.tokens[i].Hash[:], hash[:]) == 1
}

// DeleteToken implements [store.Tokens].
func (t *Tokens) DeleteToken(ctx context.Context, idOrName string) (store.Token, error) {
	if err := ctx.Err(); err != nil {
		return store.Token{}, fmt.Errorf("delete token %q: %w", idOrName, err)
	}
	// What is not there needs no lock, and so no directory that can be written.
	s := t.look()
	if s.err != nil {
		return store.Token{}, s.err
	}
	if _, err := s.find(idOrName); err != nil {
		return store.Token{}, fmt.Errorf("token %q: %w", idOrName, err)
	}
	var gone store.Token
	err := t.update(ctx, waitForLock, func(s *snapshot) ([]store.Token, error) {
		i, err := s.find(idOrName)
		if err != nil {
			return nil, err
		}
		gone = clone(&s.tokens[i])
		return slices.Delete(slices.Clone(s.tokens), int(i), int(i)+1), nil
	})
	if err != nil {
		return store.Token{}, fmt.Errorf("delete token %q: %w", idOrName, err)
	}
	return gone, nil
}

// TouchToken implements [store.Tokens].
//
// It is made to be called for each request: it writes once in
// TokensConfig.TouchEvery for each token, and skips that too while another
// writer has the lock.
func (t *Tokens) TouchToken(ctx context.Context, id string, at time.Time) error {
	// What was read last will do: a use that was recorded since is no reason to
	// record another.
	s := t.snap.Load()
	if s.err != nil {
		return s.err
	}
	if _, due := t.due(s, id, at); !due {
		return nil
	}
	err := t.update(ctx, tryLock, func(s *snapshot) ([]store.Token, error) {
		// The token may have been deleted or touched by now, and must neither
		// come back nor be written again.
		i, due := t.due(s, id, at)
		if !due {
			return nil, errUnchanged
		}
		tokens := slices.Clone(s.tokens)
		tokens[i].LastUsed = at
		tokens[i] = normal(tokens[i])
		return tokens, validate(tokens[i])
	})
	if err != nil {
		return fmt.Errorf("touch token %q: %w", id, err)
	}
	return nil
}

// due finds a token and says whether its last use is to be recorded.
func (t *Tokens) due(s *snapshot, id string, at time.Time) (int32, bool) {
	i, ok := s.byID[id]
	if !ok {
		return 0, false
	}
	last := s.tokens[i].LastUsed
	return i, at.After(last) && (last.IsZero() || at.Sub(last) >= t.touchEvery)
}

// find finds a token by its id, or else by its name. No name is "": a token
// without a name is found by its id only.
func (s *snapshot) find(idOrName string) (int32, error) {
	if i, ok := s.byID[idOrName]; ok {
		return i, nil
	}
	var ids []string
	for i := range s.tokens {
		if idOrName != "" && s.tokens[i].Name == idOrName {
			ids = append(ids, s.tokens[i].ID)
		}
	}
	switch len(ids) {
	case 0:
		return 0, fmt.Errorf("%w; nothing was changed", store.ErrNotExist)
	case 1:
		return s.byID[ids[0]], nil
	}
	return 0, fmt.Errorf("%w: it is the name of %s; nothing was changed", store.ErrAmbiguous, strings.Join(ids, ", "))
}

// clone copies a token, so that no caller can change what others look up.
func clone(t *store.Token) store.Token {
	c := *t
	c.Permissions = slices.Clone(t.Permissions)
	c.Attributes = maps.Clone(t.Attributes)
	return c
}

// normal returns a copy of a token as it reads after a round through the file.
func normal(t store.Token) store.Token {
	t = clone(&t)
	if len(t.Permissions) == 0 {
		t.Permissions = nil
	}
	if len(t.Attributes) == 0 {
		t.Attributes = nil
	}
	for _, p := range []*time.Time{&t.Created, &t.Expires, &t.LastUsed} {
		*p = p.Round(0).UTC()
	}
	return t
}
