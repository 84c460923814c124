// Package agent runs sessions: it keeps their messages, carries out what a
// person or a model asks for, and tells subscribers what happens.
//
// Everything that has an effect goes through one gate. A tool never decides
// whether it may run; the agent asks policy before the first side effect and
// runs the tool under the obligations of the decision. A question that policy
// wants answered by a person has a deadline and ends on every path: answered,
// timed out, cancelled, or refused at once because nobody is there to answer.
//
// An [Agent] is safe for concurrent use. A session runs one turn at a time.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"opencode/agent/git"
	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/redact"
	"opencode/store"
)

// Errors of the agent.
var (
	// ErrBusy means that the session is running something already.
	ErrBusy = errors.New("is busy")
	// ErrInvalid means that what the caller sent cannot be used.
	ErrInvalid = errors.New("invalid")
	// ErrStopped means that the agent is shutting down.
	ErrStopped = errors.New("the server is stopping")
	// ErrAborted means that somebody aborted the turn.
	ErrAborted = errors.New("aborted")
	// ErrNoUndo means that what was changed cannot be put back.
	ErrNoUndo = errors.New("cannot be undone")
	// ErrNoProvider means that a model is needed and there is none.
	ErrNoProvider = errors.New("no provider is signed in on this server: sign in with `opencode auth login` on its machine; commands (!ls) work without")
	// ErrSandbox means that a decision cannot be carried out as it obliges.
	ErrSandbox = errors.New("the policy obliges to a sandbox that cannot be had")
)

// Bash runs a command. It is what package tool gives.
type Bash interface {
	Run(ctx context.Context, call tool.BashCall, lim tool.Limits, progress func(output string)) (tool.Result, error)
}

// Sandbox holds commands to what a decision obliges. It is what package sandbox
// gives.
type Sandbox interface {
	Host() sandbox.Host
	Check(spec sandbox.Spec) error
	Prepare(cmd *exec.Cmd, spec sandbox.Spec) (release func(), r sandbox.Report, err error)
}

// IDs makes identifiers that sort in time.
type IDs interface {
	New(prefix string) string
	NewDescending(prefix string) string
}

// Snapshots keeps the states of project directories. It is what package git
// gives.
type Snapshots interface {
	// Track keeps the present state of a directory and returns its id.
	Track(ctx context.Context, root string) (tree string, err error)
	// Diff returns what differs between two states.
	Diff(ctx context.Context, root, from, to string) ([]git.FileDiff, error)
	// Restore brings files, relative to the directory, to what they were.
	Restore(ctx context.Context, root, tree string, files []string) error
}

// Config is what an agent works with.
type Config struct {
	Store store.Store // required
	Gate  *Gate       // required
	Bash  Bash        // required
	IDs   IDs         // required
	// Snapshots lets what commands change be undone; without it nothing can.
	Snapshots Snapshots
	// Terminals starts terminals. Without it there are none.
	Terminals Terminals
	// Valid reports whether the token of a principal is still there and has not
	// expired: what outlives a request must end with it. Without it no token
	// gets a terminal.
	Valid func(ctx context.Context, p policy.Principal) bool
	// Sandbox carries out decisions that oblige to one. Without it they are
	// denied.
	Sandbox Sandbox
	// Directories are the project directories, real and absolute. Required.
	Directories []string
	// Version is shown in sessions.
	Version string
	// Recover closes what a crash left open. It must not be set while another
	// server works on the same store.
	Recover bool
	// Redactor takes credentials out of what is kept and published. Default:
	// one that knows no values of its own.
	Redactor *redact.Redactor
	Logger   *slog.Logger     // defaults to one that discards
	Now      func() time.Time // defaults to time.Now
}

// Agent runs sessions.
type Agent struct {
	cfg     Config
	events  *hub
	asks    *questions
	tickets *tickets
	looks   chan struct{} // holds one for each look at files that is running
	reads   readFiles
	// changing is held while files change.
	changing sync.Mutex

	mu      sync.Mutex
	stopped bool
	turns   map[string]*turn     // by session
	ptys    map[string]*ptyEntry // by id
	// noSnapshot says until when no snapshot of a project is tried.
	noSnapshot map[string]time.Time
	running    sync.WaitGroup
}

// turn is something that a session is running.
type turn struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// New returns an agent.
func New(ctx context.Context, cfg Config) (*Agent, error) {
	var errs []error
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Gate": cfg.Gate == nil, "Bash": cfg.Bash == nil,
		"IDs": cfg.IDs == nil, "Directories": len(cfg.Directories) == 0,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("agent: %s is required", name))
		}
	}
	for _, dir := range cfg.Directories {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			errs = append(errs, fmt.Errorf("agent: directory %q is not absolute and clean", dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Redactor == nil {
		cfg.Redactor = redact.New(redact.Config{})
	}
	a := &Agent{
		cfg: cfg, events: newHub(cfg.IDs), asks: newQuestions(), tickets: newTickets(), looks: make(chan struct{}, maxLooks),
		turns: map[string]*turn{}, ptys: map[string]*ptyEntry{}, noSnapshot: map[string]time.Time{},
	}
	if cfg.Recover {
		if err := a.recover(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Close aborts every turn, ends every terminal and waits for all to end, at
// most until the context ends. Subscriptions end as well.
func (a *Agent) Close(ctx context.Context) error {
	a.mu.Lock()
	a.stopped = true
	for _, t := range a.turns {
		t.cancel(ErrStopped)
	}
	for _, e := range a.ptys {
		e.cancel(ErrStopped)
	}
	a.mu.Unlock()
	defer a.events.close()
	done := make(chan struct{})
	go func() {
		a.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("agent: turns are still running: %w", ctx.Err())
	}
}

// Root returns the project directory that a directory is in.
func (a *Agent) Root(dir string) (string, bool) {
	best := ""
	for _, root := range a.cfg.Directories {
		if (dir == root || strings.HasPrefix(dir, strings.TrimSuffix(root, "/")+"/")) && len(root) > len(best) {
			best = root
		}
	}
	return best, best != ""
}

// Abort ends what a session is running, if anything, and waits until nothing
// of it is left.
func (a *Agent) Abort(ctx context.Context, sessionID string) error {
	t := a.cancelTurn(sessionID, ErrAborted)
	if t == nil {
		return nil
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cancelTurn cancels the turn of a session and returns it, nil if there is
// none.
func (a *Agent) cancelTurn(sessionID string, cause error) *turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.turns[sessionID]
	if t != nil {
		t.cancel(cause)
	}
	return t
}

// begin claims a session for one turn. The caller must call end.
func (a *Agent) begin(ctx context.Context, sessionID string) (_ context.Context, end func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopped:
		return nil, nil, ErrStopped
	case a.turns[sessionID] != nil:
		return nil, nil, fmt.Errorf("session %q: %w", sessionID, ErrBusy)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := &turn{cancel: cancel, done: make(chan struct{})}
	a.turns[sessionID] = t
	a.running.Add(1)
	return ctx, func() {
		a.mu.Lock()
		delete(a.turns, sessionID)
		a.mu.Unlock()
		cancel(nil)
		close(t.done)
		a.running.Done()
	}, nil
}
