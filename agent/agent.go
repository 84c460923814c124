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
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
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

// Config is what an agent works with.
type Config struct {
	Store store.Store // required
	Gate  *Gate       // required
	Bash  Bash        // required
	IDs   IDs         // required
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
	Logger  *slog.Logger     // defaults to one that discards
	Now     func() time.Time // defaults to time.Now
}

// Agent runs sessions.
type Agent struct {
	cfg    Config
	events *hub
	asks   *questions

	mu      sync.Mutex
	stopped bool
	turns   map[string]*turn // by session
	running sync.WaitGroup
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
	a := &Agent{cfg: cfg, events: newHub(cfg.IDs), asks: newQuestions(), turns: map[string]*turn{}}
	if cfg.Recover {
		if err := a.recover(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Close aborts every turn and waits for all to end, at most until the context
// ends. Subscriptions end as well.
func (a *Agent) Close(ctx context.Context) error {
	a.mu.Lock()
	a.stopped = true
	for _, t := range a.turns {
		t.cancel(ErrStopped)
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

// SessionInput is what a caller may say of a new session.
type SessionInput struct {
	ParentID string
	Title    string
	Agent    string
	Metadata json.RawMessage
	// Directory is a real path in a project; empty means the first project.
	Directory string
}

// CreateSession starts a session. It starts with no approval, and nothing that
// the caller says can give it one.
func (a *Agent) CreateSession(ctx context.Context, in SessionInput) (store.Session, error) {
	now := a.cfg.Now()
	dir := cmp.Or(in.Directory, a.cfg.Directories[0])
	if in.ParentID != "" {
		parent, err := a.Session(ctx, in.ParentID)
		if err != nil {
			return store.Session{}, err
		}
		// A sub-session works where its parent does.
		dir = parent.Directory
	}
	root, ok := a.Root(dir)
	if !ok {
		return store.Session{}, fmt.Errorf("directory %q: %w: is in no project of this server", dir, ErrInvalid)
	}
	id := a.cfg.IDs.NewDescending("ses")
	s := store.Session{
		ID: id, Slug: slug(id), ProjectID: projectID(root), Directory: dir, ParentID: in.ParentID,
		Title: cmp.Or(in.Title, "New session - "+now.UTC().Format("2006-01-02T15:04:05.000Z")),
		Agent: cmp.Or(in.Agent, "build"), Version: a.cfg.Version, Metadata: in.Metadata,
		Created: now, Updated: now,
	}
	if err := a.cfg.Store.CreateSession(ctx, s); err != nil {
		return store.Session{}, err
	}
	a.publishSession("session.created", s)
	return s, nil
}

// Session returns a session. Those of projects that this agent does not work in
// are in the same store and do not exist here.
func (a *Agent) Session(ctx context.Context, id string) (store.Session, error) {
	s, err := a.cfg.Store.Session(ctx, id)
	if err != nil {
		return store.Session{}, err
	}
	return s, a.own(s)
}

// own returns [store.ErrNotExist] for a session of another project.
func (a *Agent) own(s store.Session) error {
	if _, ok := a.Root(s.Directory); !ok {
		return fmt.Errorf("session %q: %w", s.ID, store.ErrNotExist)
	}
	return nil
}

// Sessions returns the selected sessions, the last updated first.
func (a *Agent) Sessions(ctx context.Context, f store.SessionFilter) ([]store.Session, error) {
	limit := f.Limit
	f.Limit = 0 // it counts what is left of the list
	list, err := a.cfg.Store.Sessions(ctx, f)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s store.Session) bool { return a.own(s) != nil })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// UpdateSession changes a session.
func (a *Agent) UpdateSession(ctx context.Context, id string, change func(*store.Session)) (store.Session, error) {
	s, err := a.cfg.Store.UpdateSession(ctx, id, func(s *store.Session) error {
		if err := a.own(*s); err != nil {
			return err
		}
		change(s)
		s.Updated = a.cfg.Now()
		return nil
	})
	if err != nil {
		return store.Session{}, err
	}
	a.publishSession("session.updated", s)
	return s, nil
}

// DeleteSession aborts what a session and its sub-sessions run, and removes
// them.
func (a *Agent) DeleteSession(ctx context.Context, id string) error {
	s, err := a.Session(ctx, id)
	if err != nil {
		return err
	}
	tree := []store.Session{s}
	for i := 0; i < len(tree); i++ {
		children, err := a.cfg.Store.Sessions(ctx, store.SessionFilter{ParentID: tree[i].ID})
		if err != nil {
			return err
		}
		tree = append(tree, children...)
	}
	for _, s := range tree {
		if err := a.Abort(ctx, s.ID); err != nil {
			return err
		}
	}
	removed, err := a.cfg.Store.DeleteSession(ctx, id)
	if err != nil {
		return err
	}
	for _, s := range tree {
		a.publishSession("session.deleted", s)
	}
	// What began in between has lost its session and must not go on.
	for _, id := range removed {
		if err := a.Abort(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// Messages returns the last messages of a session, oldest first.
func (a *Agent) Messages(ctx context.Context, sessionID string, limit int, before string) ([]store.MessageParts, error) {
	if _, err := a.Session(ctx, sessionID); err != nil {
		return nil, err
	}
	return a.cfg.Store.Messages(ctx, sessionID, limit, before)
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

// depth returns how many sessions are above one, and its parent.
func (a *Agent) depth(ctx context.Context, s store.Session) (int, *string, error) {
	if s.ParentID == "" {
		return 0, nil, nil
	}
	parent := s.ParentID
	depth := 0
	for s.ParentID != "" {
		var err error
		if s, err = a.cfg.Store.Session(ctx, s.ParentID); err != nil {
			return 0, nil, err
		}
		if depth++; depth > 64 {
			return 0, nil, fmt.Errorf("session %q: %w: more than 64 sessions are above it", s.ID, ErrInvalid)
		}
	}
	return depth, &parent, nil
}

// facts returns what policy sees of a session.
func (a *Agent) facts(ctx context.Context, s store.Session, attended bool) (*policy.Session, []store.Approval, error) {
	depth, parent, err := a.depth(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	leases, err := a.cfg.Store.Leases(ctx, s.ID, a.cfg.Now())
	if err != nil {
		return nil, nil, err
	}
	f := &policy.Session{
		ID: s.ID, Parent: parent, Depth: depth, Agent: s.Agent, Directory: s.Directory,
		Interactive: attended, Approvals: []policy.Approval{},
	}
	for _, l := range leases {
		f.Approvals = append(f.Approvals, policy.Approval{Tool: l.Tool, Pattern: l.Pattern})
	}
	return f, leases, nil
}

// projectID names a project by its directory.
func projectID(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:20])
}

// slug makes a name that people can tell apart from the end of an id.
func slug(id string) string {
	first := [...]string{"brave", "calm", "clever", "eager", "gentle", "happy", "kind", "lively", "lucky", "mellow", "neat", "quick", "quiet", "sunny", "swift", "witty"}
	second := [...]string{"brook", "cedar", "cloud", "comet", "delta", "ember", "field", "forest", "garden", "harbor", "island", "lantern", "meadow", "river", "summit", "willow"}
	sum := sha256.Sum256([]byte(id))
	return first[sum[0]%16] + "-" + second[sum[1]%16]
}
