// Package distribution brings policy bundles from servers: from an HTTP server
// that speaks as OPA's bundle API, or from an OCI registry. The download itself
// is OPA's.
//
// A [Source] keeps the last good bundle in a file, and the path of that file is
// what the engine reads. A bundle takes its place only when it is whole, within
// its limits, verified and part of a policy that loads; a server that is away,
// or that sends anything else, changes nothing. Without a good bundle there is
// no source: [Open] refuses rather than let a server start with less policy
// than it was given.
//
// The methods of a [Source] are safe for concurrent use, but Run and Poll, which
// are for one goroutine.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"opencode/policy"
	"opencode/remote"
)

// Config says where a policy comes from.
type Config struct {
	// Source is the address: https://HOST/PATH or oci://REGISTRY/REPO:TAG, or
	// http:// and oci+http:// for this machine. Required.
	Source string
	// Dir is where bundles are kept, in a directory for each source. Required.
	Dir string
	// Check reports whether a policy with the bundle at that path in place of
	// the one in force would load. Required.
	Check func(ctx context.Context, path string) error
	// Verification has the keys for signatures. With it a bundle that is not
	// signed is refused; without it one that is signed is, since nobody could
	// say by whom.
	Verification *bundle.VerificationConfig
	// Credential is for the host of the source alone.
	Credential remote.Credential
	// AllowHTTP lets the source be on another machine without TLS.
	AllowHTTP bool
	// MinDelay and MaxDelay bound the time between two looks at the server. It
	// is drawn anew each time, so that many machines do not come at once. The
	// default is one to two minutes. After an error the time grows from a second
	// to MaxDelay.
	MinDelay, MaxDelay time.Duration
	// LongPoll is how long a server that can may wait with its answer until
	// there is a new bundle. The default is not at all.
	LongPoll time.Duration
	// Timeout bounds one download; the default is one minute.
	Timeout time.Duration
	// StartTimeout bounds the download of Open when there is a bundle to start
	// with; the default is ten seconds.
	StartTimeout time.Duration
	// MaxBytes bounds a bundle as it is sent; the default is 16 MiB.
	MaxBytes int64
	// Base carries requests out; see [remote.Config].
	Base   http.RoundTripper
	Logger *slog.Logger     // defaults to one that discards
	Now    func() time.Time // defaults to time.Now
}

// Source is a policy that comes from a server.
type Source struct {
	cfg     Config
	at      location
	keep    keep
	fetcher *fetcher

	mu     sync.Mutex
	status policy.SourceInfo
	failed string // the error that was reported last
	kept   kept
}

// ErrNoBundle means that there is nothing to start with: the server gave no
// good bundle, and none is kept.
var ErrNoBundle = errors.New("there is no good bundle to start with")

// Open takes the newest good bundle of a source: what the server has, or what
// was kept when it is away or what it has is refused.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	s, err := newSource(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("policy source %s: %w", s.at, err), s.Close())
	}
	return s, nil
}

func newSource(cfg Config) (*Source, error) {
	at, err := parseLocation(cfg.Source)
	errs := []error{err}
	if cfg.Dir == "" || cfg.Check == nil {
		errs = append(errs, errors.New("distribution: Dir and Check are required"))
	}
	for _, d := range []time.Duration{cfg.MinDelay, cfg.MaxDelay, cfg.LongPoll, cfg.Timeout, cfg.StartTimeout} {
		if d < 0 {
			errs = append(errs, errors.New("distribution: a time is negative"))
		}
	}
	cfg = cfg.withDefaults()
	if cfg.MaxDelay < cfg.MinDelay {
		errs = append(errs, fmt.Errorf("policy source: %v is the most between two looks, and less than the least, %v", cfg.MaxDelay, cfg.MinDelay))
	}
	if cfg.LongPoll > 0 && cfg.LongPoll < time.Second {
		errs = append(errs, fmt.Errorf("policy source: a server can wait for whole seconds, not for %v", cfg.LongPoll))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, at: at, keep: keep{dir: filepath.Join(cfg.Dir, at.name())}}
	s.status = policy.SourceInfo{Source: at.String()}
	s.fetcher, err = newFetcher(cfg, at)
	if err != nil {
		return nil, fmt.Errorf("policy source %s: %w", at, err)
	}
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.MinDelay == 0 {
		c.MinDelay = time.Minute
		if c.MaxDelay > 0 {
			c.MinDelay = min(c.MinDelay, c.MaxDelay)
		}
	}
	if c.MaxDelay == 0 {
		c.MaxDelay = 2 * c.MinDelay
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// load finds the bundle to start with.
func (s *Source) load(ctx context.Context) error {
	old, oldErr := s.start(ctx)
	switch {
	case oldErr == nil:
		s.set(old)
	case errors.Is(oldErr, os.ErrNotExist):
		oldErr = nil
	default:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kept policy is refused", slog.String("source", s.at.String()), slog.Any("error", oldErr))
	}
	fetch := ctx
	if old.sum != "" {
		var cancel context.CancelFunc
		fetch, cancel = context.WithTimeout(ctx, s.cfg.StartTimeout)
		defer cancel()
	}
	_, err := s.Poll(fetch, nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case old.sum == "":
		return errors.Join(ErrNoBundle, err, oldErr)
	}
	age := s.cfg.Now().Sub(old.confirmed).Round(time.Second)
	s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "starting with the policy that was kept; the server gives none",
		slog.String("source", s.at.String()), slog.String("revision", old.revision), slog.Duration("age", age))
	return nil
}

// start makes the directory, and returns the bundle that is kept there.
func (s *Source) start(ctx context.Context) (kept, error) {
	if err := s.keep.prepare(); err != nil {
		return kept{}, err
	}
	unlock, err := s.keep.lock(ctx)
	if err != nil {
		return kept{}, err
	}
	defer unlock()
	if err := s.keep.recover(); err != nil {
		return kept{}, err
	}
	return s.keep.read(s.cfg.Verification)
}

// Path is the file that holds the last good bundle. Its name ends in .tar.gz.
func (s *Source) Path() string { return s.keep.path() }

// Info describes the source.
func (s *Source) Info() policy.SourceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Close lets go of what the source holds. The kept bundle stays.
func (s *Source) Close() error { return s.fetcher.close() }

// Run looks at the server again and again until the context ends. Activate is
// called when there is a new bundle in the file; when it returns an error, the
// one before comes back.
func (s *Source) Run(ctx context.Context, activate func(context.Context) error) {
	failures := 0
	for {
		// The first look was that of Open.
		wait := s.delay(failures)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if _, err := s.Poll(ctx, activate); err != nil {
			failures++
		} else {
			failures = 0
		}
	}
}

// minGap is the least between two looks, also at a server that waits with its
// answers: one that does not, although it says so, would be asked without end.
const minGap = time.Second

func (s *Source) delay(failures int) time.Duration {
	lo, hi := s.cfg.MinDelay, s.cfg.MaxDelay
	switch {
	case failures > 0:
		// Half of it is left to chance, so that machines do not stay in step.
		hi = min(minGap<<min(failures, 20), s.cfg.MaxDelay)
		lo = hi / 2
	case s.fetcher.waits():
		return minGap
	}
	return max(lo+time.Duration(rand.Float64()*float64(hi-lo)), min(minGap, s.cfg.MinDelay)) //nolint:gosec // G404: spreads load, and is no secret
}

// Poll looks at the server once. It reports whether there is a new bundle in
// the file, and why there is none although there should be.
func (s *Source) Poll(ctx context.Context, activate func(context.Context) error) (changed bool, err error) {
	changed, err = s.poll(ctx, activate)
	if ctx.Err() != nil && err != nil && activate != nil {
		return false, err // the server stops, which is nothing to report
	}
	s.report(ctx, changed, err)
	return changed, err
}

func (s *Source) poll(ctx context.Context, activate func(context.Context) error) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout+s.cfg.LongPoll)
	defer cancel()
	s.mu.Lock()
	current := s.kept
	s.mu.Unlock()
	got, err := s.fetcher.fetch(bounded, current.etag)
	if err != nil {
		return false, err
	}
	if got == nil {
		if current.sum == "" {
			return false, errors.New("the server says that nothing has changed, and nothing was there")
		}
		return false, s.confirm(ctx, current)
	}
	got.confirmed = s.cfg.Now()
	if got.sum == current.sum {
		return false, s.confirm(ctx, *got)
	}
	if err := s.install(ctx, *got, activate); err != nil {
		// The next look asks for what differs from the bundle in force, so that
		// one which was refused is tried again: other parts of the policy may
		// have been the reason.
		s.fetcher.forget()
		return false, err
	}
	s.set(*got)
	return true, nil
}

// confirm notes that the server still has what is kept.
func (s *Source) confirm(ctx context.Context, k kept) error {
	k.confirmed = s.cfg.Now()
	unlock, err := s.keep.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.keep.note(k); err != nil {
		return err
	}
	s.set(k)
	return nil
}

// install puts a bundle in the place of the one before.
func (s *Source) install(ctx context.Context, k kept, activate func(context.Context) error) error {
	unlock, err := s.keep.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	candidate, err := s.keep.write(k)
	if err != nil {
		return err
	}
	if err := s.cfg.Check(ctx, candidate); err != nil {
		return errors.Join(fmt.Errorf("the bundle is refused: %w", err), os.Remove(candidate))
	}
	r, err := s.keep.replace(candidate, k)
	if err != nil {
		return err
	}
	if activate != nil {
		if err := activate(ctx); err != nil {
			return errors.Join(fmt.Errorf("the bundle is refused: %w", err), r.undo())
		}
	}
	return r.keepIt()
}

func (s *Source) set(k kept) {
	k.data = nil // what is on disk need not be in memory
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = k
	s.status.Revision, s.status.ETag, s.status.SHA256 = k.revision, k.etag, k.sum
	s.status.Confirmed = k.confirmed
}

// report logs what has changed: an error once, however often it comes back.
func (s *Source) report(ctx context.Context, changed bool, err error) {
	s.mu.Lock()
	last := s.failed
	s.failed, s.status.Error = "", ""
	if err != nil {
		s.failed = err.Error()
		s.status.Error = s.failed
	}
	now := s.status
	s.mu.Unlock()
	attrs := []slog.Attr{slog.String("source", now.Source), slog.String("revision", now.Revision)}
	switch {
	case err != nil && now.Error != last:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelError, "policy source; what was there stays in force", append(attrs, slog.Any("error", err))...)
	case err != nil:
	case changed:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "policy from source", append(attrs, slog.String("sha256", now.SHA256))...)
	case last != "":
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "policy source answers again", attrs...)
	}
}
