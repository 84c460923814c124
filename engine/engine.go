// Package engine turns input documents into decisions by evaluating Rego.
//
// It loads the default policy and what teams add to it, compiles them against
// a reduced set of built-ins and the schema of the input, and keeps the result
// as an immutable snapshot behind an atomic pointer. A reload builds a new
// snapshot and swaps it in; on any error the old one stays.
//
// The package refuses rather than guesses: an error, a timeout, an undefined
// or malformed result and an engine without a snapshot all deny. It holds no
// rule of its own. An [Engine] is safe for concurrent use; deciding never
// waits for a reload.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"opencode/policy"
)

// Config says what policy to load.
type Config struct {
	// Default is the default policy, with its schemas. Required. The metadata of
	// its rules is for people: it must say nothing to the compiler.
	Default fs.FS
	// Checked says that Default is the policy of this program, which its tests hold
	// to every check of the compiler. Where nothing is added to it the checks are
	// not made again.
	Checked bool
	// Dirs are the directories and bundles (*.tar.gz) of teams, added to the
	// default.
	Dirs []string
	// Fetched are bundles as Dirs has them, that came from a server. They may hold
	// extensions only with Verification.
	Fetched []string
	// Only is a directory or bundle that replaces the default whole. It excludes
	// Dirs and Fetched.
	Only string
	// Verification, if it is not nil, refuses all in Dirs, Fetched and Only that is
	// no bundle with its signature.
	Verification *Verification
	// Timeout bounds one decision; the default is one second. Past it the
	// decision is a denial.
	Timeout time.Duration
	// CodeCache is a directory for the compiled code of extensions. Without one
	// they are compiled whenever a policy is loaded.
	CodeCache string
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

// Engine decides by the policy that it has loaded.
type Engine struct {
	cfg    Config
	snap   atomic.Pointer[snapshot]
	reload sync.Mutex // held while a snapshot is built, so that the last one wins
	keys   sync.Pool  // of keys, to be filled anew
}

var _ policy.Decider = (*Engine)(nil)

// errNoPolicy is what an engine without a snapshot answers.
var errNoPolicy = errors.New("no policy is loaded")

// errNoInput is the answer to a call without a context or an input.
var errNoInput = errors.New("policy: there is nothing to decide: the context or the input is nil")

// New returns an engine with the policy loaded.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	var errs []error
	if cfg.Default == nil {
		errs = append(errs, errors.New("engine: Default is required"))
	}
	if cfg.Only != "" && len(cfg.Dirs)+len(cfg.Fetched) > 0 {
		errs = append(errs, errors.New("a policy that replaces the default cannot be combined with one that adds to it"))
	}
	if cfg.Timeout < 0 {
		errs = append(errs, errors.New("engine: Timeout is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, keys: sync.Pool{New: newKey}}
	if _, err := e.Reload(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// Reload builds a snapshot from what is on disk now and swaps it in. It
// reports whether the policy has changed. On an error the old snapshot stays.
// While decisions are made beside it, it lets the heap of the process grow more
// before it is collected, by 256 MiB at most.
func (e *Engine) Reload(ctx context.Context) (changed bool, err error) {
	e.reload.Lock()
	defer e.reload.Unlock()
	src, err := e.cfg.sources(serving)
	if err != nil {
		return false, err
	}
	src.serves = true
	old := e.snap.Load()
	if old != nil && old.digest == src.digest() {
		return false, nil
	}
	if old != nil {
		defer spareCollector()()
	}
	snap, err := build(ctx, src)
	if err != nil {
		return false, err
	}
	e.snap.Store(snap)
	if old != nil {
		old.guests.retire()
	}
	return true, nil
}

// Close frees what was loaded with the policy, as soon as no decision uses it.
// It is for an engine that decides no more.
func (e *Engine) Close() {
	if snap := e.snap.Swap(nil); snap != nil {
		snap.guests.retire()
	}
}

// hold returns the snapshot in force, nil if there is none, whose guests stay
// until they are released.
func (e *Engine) hold() *snapshot {
	for {
		snap := e.snap.Load()
		if snap == nil || snap.guests.hold() {
			return snap
		}
	}
}

// Decide implements [policy.Decider]. On an error the decision denies.
func (e *Engine) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	snap := e.hold()
	if snap == nil {
		return policy.Decision{}, errNoPolicy
	}
	defer snap.guests.release()
	return e.decide(ctx, snap, in)
}

func (e *Engine) decide(ctx context.Context, snap *snapshot, in *policy.Input) (policy.Decision, error) {
	if ctx == nil || in == nil {
		return policy.Decision{Snapshot: snap.digest}, errNoInput
	}
	q := snap.queries[in.Kind]
	if q == nil {
		return e.evaluate(ctx, snap, in)
	}
	if q.impure != "" {
		q.decisions.bypasses.Add(1)
		return e.evaluate(ctx, snap, in)
	}
	k, _ := e.keys.Get().(*key)
	defer e.keys.Put(k)
	k.reset()
	q.reads.key(k, in)
	if k.isLost() {
		q.decisions.bypasses.Add(1)
		return e.evaluate(ctx, snap, in)
	}
	if d, ok := q.decisions.decision(k.bytes()); ok {
		return d, nil
	}
	d, err := e.evaluate(ctx, snap, in)
	if err == nil {
		q.decisions.keep(k.bytes(), d)
	}
	return d, err
}

// evaluate decides without the cache.
func (e *Engine) evaluate(ctx context.Context, snap *snapshot, in *policy.Input) (policy.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	d, err := snap.decide(ctx, in)
	if err != nil {
		return policy.Decision{Snapshot: snap.digest}, fmt.Errorf("policy %.12s: %w", snap.digest, err)
	}
	return d, nil
}

// Digest returns the digest of the policy in force, "" if there is none.
func (e *Engine) Digest() string {
	snap := e.snap.Load()
	if snap == nil {
		return ""
	}
	return snap.digest
}

// Info returns a description of the policy in force.
func (e *Engine) Info() policy.Info {
	snap := e.snap.Load()
	if snap == nil {
		return policy.Info{}
	}
	info := snap.info
	info.Extensions = snap.extensions.info()
	for _, q := range snap.queries {
		q.decisions.add(&info.Cache)
	}
	return info
}
