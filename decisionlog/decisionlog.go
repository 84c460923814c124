// Package decisionlog ships decisions to a collector, in the format of OPA's
// decision logs: JSON arrays of events, compressed by gzip, over HTTP.
//
// Shipping never holds a decision up and never changes one. What cannot be
// shipped waits in a buffer that is bounded in events and bytes; when that is
// full the oldest go, and are counted. What leaves the machine is without
// credentials, as far as they can be told, and without what the policy
// data.system.log.mask names. When it is not known what must be masked, the
// event goes without input and result.
//
// A [Log] is safe for concurrent use.
package decisionlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"opencode/policy"
	"opencode/redact"
	"opencode/remote"
	"opencode/store"
)

// Masker says what must be taken out of an event. An error means that nothing
// is known of it. It is what package engine gives.
type Masker interface {
	Mask(ctx context.Context, event any) ([]any, error)
}

// Config says where decisions go.
type Config struct {
	// URL is the address of the collector. Events go to URL/logs, or to URL if
	// its path has an element "logs" already. Required.
	URL string
	// Masker and Redactor are required: nothing leaves without them.
	Masker   Masker
	Redactor *redact.Redactor
	// Labels say which server it is that decides.
	Labels map[string]string
	// Revisions returns the revision of each part of the policy in force, by
	// its name. Default: none.
	Revisions func() map[string]string
	// Credential is for the host of the collector alone.
	Credential remote.Credential
	// AllowHTTP lets the collector be on another machine without TLS.
	AllowHTTP bool
	// MaxEvents and MaxBytes bound what waits. The defaults are 10,000 events
	// and 16 MiB.
	MaxEvents, MaxBytes int
	// ChunkBytes bounds the body of one request, compressed; the default is 32
	// KiB, as OPA's. It is halved when the collector says that it is too much.
	ChunkBytes int
	// MinDelay and MaxDelay bound the time between two deliveries, which is
	// drawn anew each time. The default is five to ten seconds. After a failure
	// the time grows from a second to a minute.
	MinDelay, MaxDelay time.Duration
	// FlushTimeout bounds the delivery of what waits when the log is closed; the
	// default is five seconds.
	FlushTimeout time.Duration
	// Base carries requests out; see [remote.Config].
	Base   http.RoundTripper
	Logger *slog.Logger // defaults to one that discards
}

const (
	defaultEvents = 10_000
	defaultBytes  = 16 << 20
	defaultChunk  = 32 << 10
	// minChunk is where halving ends.
	minChunk    = 1 << 10
	minDelay    = 5 * time.Second
	flushLimit  = 5 * time.Second
	sendTimeout = 30 * time.Second
	minBackoff  = time.Second
	maxBackoff  = time.Minute
	// reportEvery is how often losses are logged.
	reportEvery = time.Minute
	// maxAnswer bounds what is read of an answer, whose body says nothing.
	maxAnswer = 64 << 10
)

// Log ships decisions.
type Log struct {
	cfg       Config
	target    *url.URL
	transport *remote.Transport
	client    *http.Client
	wake      chan struct{} // tells that much waits
	stop      chan struct{}
	done      chan struct{}
	abort     context.CancelFunc // ends what is being sent

	// These are the worker's alone.
	chunkBytes int
	pending    []*entry // the oldest, which are not in the queue any more
	failing    string   // the failure that was logged last
	reported   policy.LogDrops
	erased     uint64
	maskError  string

	mu     sync.Mutex
	queue  queue
	info   policy.LogInfo
	closed bool
}

// New returns a log that ships until it is closed.
func New(cfg Config) (*Log, error) {
	l, err := newLog(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.abort = cancel
	go l.run(ctx)
	return l, nil
}

func newLog(cfg Config) (*Log, error) {
	target, err := remote.ParseURL(cfg.URL, "https", "http")
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("decision log: %w", err))
	}
	if cfg.Masker == nil || cfg.Redactor == nil {
		errs = append(errs, errors.New("decision log: Masker and Redactor are required"))
	}
	if cfg.MaxEvents < 0 || cfg.MaxBytes < 0 || cfg.ChunkBytes < 0 || cfg.MinDelay < 0 || cfg.MaxDelay < 0 || cfg.FlushTimeout < 0 {
		errs = append(errs, errors.New("decision log: a limit is negative"))
	}
	cfg = cfg.withDefaults()
	if cfg.ChunkBytes < minChunk {
		errs = append(errs, fmt.Errorf("decision log: %d bytes are too few for a request, want at least %d", cfg.ChunkBytes, minChunk))
	}
	if cfg.MaxDelay < cfg.MinDelay {
		errs = append(errs, errors.New("decision log: the most time between two deliveries is less than the least"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	transport, err := remote.New(remote.Config{
		Origin: target, Credential: cfg.Credential, AllowHTTP: cfg.AllowHTTP, MaxBytes: maxAnswer, Base: cfg.Base,
	})
	if err == nil {
		err = cfg.Credential.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	if !slices.Contains(strings.Split(target.Path, "/"), "logs") {
		target = target.JoinPath("logs")
	}
	return &Log{
		cfg: cfg, target: target, transport: transport, chunkBytes: cfg.ChunkBytes,
		client: &http.Client{
			Transport: transport,
			// What was said in confidence to one server is not for another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		queue: queue{maxEvents: cfg.MaxEvents, maxBytes: cfg.MaxBytes},
		info:  policy.LogInfo{URL: remote.Show(target)},
	}, nil
}

func (c Config) withDefaults() Config {
	if c.MaxEvents == 0 {
		c.MaxEvents = defaultEvents
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultBytes
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes = defaultChunk
	}
	if c.MinDelay == 0 {
		c.MinDelay = minDelay
		if c.MaxDelay > 0 {
			c.MinDelay = min(c.MinDelay, c.MaxDelay)
		}
	}
	if c.MaxDelay == 0 {
		c.MaxDelay = 2 * c.MinDelay
	}
	if c.FlushTimeout == 0 {
		c.FlushTimeout = flushLimit
	}
	if c.Revisions == nil {
		c.Revisions = func() map[string]string { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Log takes a decision to be shipped. It does not wait: what it takes is
// written down now, since the input belongs to the caller, and looked at later.
// Of an answer to a question there is no input.
func (l *Log) Log(in *policy.Input, d policy.Decision, r store.DecisionRecord) {
	e := &entry{record: r}
	var inErr, outErr error
	if in != nil {
		e.input, inErr = json.Marshal(in)
	} else {
		e.input, inErr = json.Marshal(answered{r.Kind, r.Subject, r.PrincipalID, r.SessionID})
	}
	e.result, outErr = json.Marshal(d)
	// Half of the buffer for one decision would push all others out.
	if inErr != nil || outErr != nil || e.size() > l.cfg.MaxBytes/2 {
		e.erase()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.erased {
		l.info.Erased++
	}
	if l.closed {
		l.info.Dropped.Stop++
		return
	}
	l.info.Dropped.Buffer += l.queue.push(e)
	if l.queue.bytes >= l.cfg.ChunkBytes {
		select {
		case l.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// answered is the input of an event that is an answer to a question.
type answered struct {
	Kind        string `json:"kind"`
	Subject     string `json:"subject"`
	PrincipalID string `json:"principal_id"`
	SessionID   string `json:"session_id"`
}

// Info counts what became of decisions.
func (l *Log) Info() policy.LogInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	info := l.info
	info.Waiting += l.queue.len()
	return info
}

// Close ships what waits, for as long as it may, and stops the log. What the
// collector did not take is logged and counted, and no error: the record of
// decisions is on this machine.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.mu.Unlock()
	limit := time.AfterFunc(l.cfg.FlushTimeout, l.abort)
	defer limit.Stop()
	stop := context.AfterFunc(ctx, l.abort)
	defer stop()
	<-l.done
	return nil
}

// run ships until the log is closed.
func (l *Log) run(ctx context.Context) {
	defer close(l.done)
	defer l.transport.CloseIdleConnections()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	failures := 0
	for {
		wait := time.NewTimer(l.delay(failures))
		wake := l.wake
		if failures > 0 {
			wake = nil // the buffer is there to wait in
		}
		select {
		case <-wait.C:
		case <-wake:
		case <-report.C:
			wait.Stop()
			l.report(ctx)
			continue
		case <-l.stop:
			wait.Stop()
			l.finish(ctx)
			return
		}
		wait.Stop()
		if l.deliver(ctx) {
			failures = 0
		} else {
			failures++
		}
	}
}

func (l *Log) delay(failures int) time.Duration {
	lo, hi := l.cfg.MinDelay, l.cfg.MaxDelay
	if failures > 0 {
		hi = min(minBackoff<<min(failures-1, 20), maxBackoff)
		lo = hi / 2
	}
	return lo + time.Duration(rand.Float64()*float64(hi-lo)) //nolint:gosec // G404: spreads load, and is no secret
}

// finish ships what waits, and counts what is left.
func (l *Log) finish(ctx context.Context) {
	l.deliver(ctx)
	l.mu.Lock()
	l.info.Dropped.Stop += uint64(l.queue.len() + len(l.pending)) //nolint:gosec // G115: a count
	l.info.Waiting = 0
	l.queue.clear()
	l.mu.Unlock()
	l.pending = nil
	l.report(context.WithoutCancel(ctx))
	l.abort()
}

// report logs what was lost since the last time.
func (l *Log) report(ctx context.Context) {
	info := l.Info()
	if info.Dropped == l.reported && info.Erased == l.erased {
		return
	}
	l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "decisions are missing at the collector",
		slog.Uint64("buffer", info.Dropped.Buffer-l.reported.Buffer),
		slog.Uint64("size", info.Dropped.Size-l.reported.Size),
		slog.Uint64("stop", info.Dropped.Stop-l.reported.Stop),
		slog.Uint64("erased", info.Erased-l.erased))
	l.reported, l.erased = info.Dropped, info.Erased
}
