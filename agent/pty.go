package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

// ErrLimit means that there are as many of something as there can be.
var ErrLimit = errors.New("limit reached")

// maxPTYs is how many terminals there can be at once, those that wait for a
// question included.
const maxPTYs = 64

// ptyRecheck is how often it is looked whether who made a terminal is still
// valid, so that a token which is deleted or expires ends it within a second.
const ptyRecheck = 500 * time.Millisecond

// Terminals starts commands on terminals. It is what package tool gives.
type Terminals interface {
	Shell() string
	Check(call tool.TerminalCall) error
	Start(call tool.TerminalCall) (*tool.Terminal, error)
}

// PTY is a terminal as the API shows it.
type PTY struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Command string   `json:"command"`
	Args    []string `json:"args"`
	Cwd     string   `json:"cwd"`
	Status  string   `json:"status"`
	PID     int      `json:"pid"`
	// Directory is the project directory that it belongs to.
	Directory string `json:"-"`
}

// PTYInput is what a caller may say of a new terminal.
type PTYInput struct {
	// Command is the program; empty means the user's shell.
	Command string
	Args    []string
	// Cwd is where it starts; empty means Directory.
	Cwd   string
	Title string
	Env   map[string]string
	// Directory is a real path in a project; empty means the first project.
	Directory string
	// SessionID is the session that the terminal belongs to and dies with, ""
	// if none.
	SessionID string
}

// PTYSize is the size of a terminal.
type PTYSize struct{ Rows, Cols int }

// ptyEntry is a terminal, or one that is being made. The agent's lock guards
// what changes.
type ptyEntry struct {
	info      PTY
	principal policy.Principal
	sessionID string
	cancel    context.CancelCauseFunc // ends it, whatever it waits for
	terminal  *tool.Terminal          // nil until it runs
	removed   bool                    // no exit is told of it
	done      chan struct{}           // closed when nothing of it is left
}

// CreatePTY starts a command on a terminal, through the gate. The context is
// that of whoever asked; it ends the question, not the terminal. The terminal
// lives until its command ends or somebody removes it, and no longer than its
// session, than whoever made it is valid, than policy lets it, and than the
// agent.
func (a *Agent) CreatePTY(ctx context.Context, p policy.Principal, in PTYInput) (PTY, error) {
	if a.cfg.Terminals == nil {
		return PTY{}, fmt.Errorf("pty: %w: this server has no terminals", ErrInvalid)
	}
	s, err := a.ptySession(ctx, in)
	if err != nil {
		return PTY{}, err
	}
	root, ok := a.Root(s.Directory)
	if !ok {
		return PTY{}, fmt.Errorf("directory %q: %w: is in no project of this server", s.Directory, ErrInvalid)
	}
	info := PTY{
		ID: a.cfg.IDs.New("pty"), Title: in.Title, Command: cmp.Or(in.Command, a.cfg.Terminals.Shell()), Args: slices.Clone(in.Args),
		Cwd: cmp.Or(in.Cwd, s.Directory), Status: "running", Directory: s.Directory,
	}
	if info.Title == "" {
		info.Title = "Terminal " + info.ID[len(info.ID)-4:]
	}
	if len(info.Args) == 0 && tool.IsLoginShell(info.Command) {
		info.Args = []string{"-l"}
	}
	if info.Args == nil {
		info.Args = []string{}
	}
	if !filepath.IsAbs(info.Cwd) {
		info.Cwd = filepath.Join(s.Directory, info.Cwd)
	}
	call := tool.TerminalCall{ID: info.ID, Command: info.Command, Args: info.Args, Directory: info.Cwd, Env: in.Env}
	if err := a.cfg.Terminals.Check(call); err != nil {
		return PTY{}, fmt.Errorf("pty: %w: %w", ErrInvalid, err)
	}
	e, life, err := a.reservePTY(p, info, in.SessionID)
	if err != nil {
		return PTY{}, err
	}
	// The question ends with whoever asks and with what ends the terminal.
	asking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(life, func() { stop(context.Cause(life)) })()

	d, err := a.pass(asking, ptyPrompt(s, root, p, info, in))
	if err == nil {
		err = asking.Err() // an answer may come with its end
	}
	if err == nil && !a.Valid(ctx, p) {
		err = fmt.Errorf("%w: the principal is no longer valid", policy.ErrDenied)
	}
	if err != nil {
		a.dropPTY(e)
		return PTY{}, err
	}
	call.Wrap = a.wrapper(ctx, d, root, func(r sandbox.Report) {
		a.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "a terminal is held", slog.String("pty", info.ID), slog.Any("sandbox", r))
	})
	return a.startPTY(ctx, life, e, call, time.Duration(d.Obligations.TimeoutSeconds)*time.Second)
}

// ptySession returns the session of a new terminal. One that belongs to no
// session gets the id of one that does not exist, under which its questions
// can be answered.
func (a *Agent) ptySession(ctx context.Context, in PTYInput) (store.Session, error) {
	if in.SessionID != "" {
		return a.Session(ctx, in.SessionID)
	}
	return store.Session{ID: a.cfg.IDs.NewDescending("ses"), Directory: cmp.Or(in.Directory, a.cfg.Directories[0])}, nil
}

func ptyPrompt(s store.Session, root string, p policy.Principal, info PTY, in PTYInput) prompt {
	words := make([]any, 0, len(info.Args))
	for _, word := range info.Args {
		words = append(words, word)
	}
	args := map[string]any{"command": info.Command, "args": words, "cwd": info.Cwd}
	if len(in.Env) > 0 {
		env := map[string]any{}
		for name, value := range in.Env {
			env[name] = value
		}
		args["env"] = env
	}
	return prompt{
		session: s, root: root, principal: p, tool: "pty", args: args, attended: true, alone: in.SessionID == "",
		patterns: []string{strings.Join(append([]string{info.Command}, info.Args...), " ")},
	}
}

// reservePTY takes a place for a terminal. The context ends when the terminal
// must.
func (a *Agent) reservePTY(p policy.Principal, info PTY, sessionID string) (*ptyEntry, context.Context, error) {
	life, cancel := context.WithCancelCause(context.Background())
	e := &ptyEntry{info: info, principal: p, sessionID: sessionID, cancel: cancel, done: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	switch {
	case a.stopped:
		err = ErrStopped
	case len(a.ptys) >= maxPTYs:
		err = fmt.Errorf("pty: %w: there are %d terminals, and there can be no more at once; remove one", ErrLimit, maxPTYs)
	}
	if err != nil {
		cancel(err)
		return nil, nil, err
	}
	a.ptys[info.ID] = e
	a.running.Add(1)
	return e, life, nil
}

// dropPTY gives the place of a terminal back of which nothing is left.
func (a *Agent) dropPTY(e *ptyEntry) {
	e.cancel(nil)
	a.mu.Lock()
	delete(a.ptys, e.info.ID)
	a.mu.Unlock()
	close(e.done)
	a.running.Done()
}

// startPTY starts the command of a terminal that has passed the gate.
func (a *Agent) startPTY(ctx, life context.Context, e *ptyEntry, call tool.TerminalCall, timeout time.Duration) (PTY, error) {
	if timeout <= 0 {
		a.dropPTY(e)
		return PTY{}, fmt.Errorf("pty: %w: the policy gives it no time", policy.ErrDenied)
	}
	term, err := a.cfg.Terminals.Start(call)
	if err != nil {
		a.dropPTY(e)
		if errors.Is(err, tool.ErrClosed) {
			return PTY{}, ErrStopped
		}
		if errors.Is(err, policy.ErrDenied) {
			return PTY{}, fmt.Errorf("pty: %w", err)
		}
		return PTY{}, fmt.Errorf("pty: %w: %w", ErrInvalid, err)
	}
	a.mu.Lock()
	e.info.PID = term.PID()
	e.terminal = term
	info := e.info
	a.mu.Unlock()
	a.publishPTY(info, "pty.created", map[string]any{"info": info})
	go a.attendPTY(life, e, timeout) // the terminal outlives the request; Close waits for it
	if e.sessionID != "" {
		// One that was deleted meanwhile has not seen this terminal.
		if _, err := a.Session(ctx, e.sessionID); err != nil {
			a.endPTY(e, err)
			<-e.done
			return PTY{}, err
		}
	}
	return info, nil
}

// attendPTY waits for the end of a terminal, or ends it.
func (a *Agent) attendPTY(life context.Context, e *ptyEntry, timeout time.Duration) {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	recheck := time.NewTicker(ptyRecheck)
	defer recheck.Stop()
	for running := true; running; {
		select {
		case <-e.terminal.Done():
			running = false
		case <-limit.C:
			a.endPTY(e, errors.New("the time limit of the policy was reached"))
		case <-recheck.C:
			if !a.Valid(life, e.principal) && life.Err() == nil {
				a.endPTY(e, errors.New("who made it is no longer valid"))
			}
		case <-life.Done():
			if err := e.terminal.Close(); err != nil {
				a.cfg.Logger.LogAttrs(life, slog.LevelError, "a terminal does not end", slog.String("pty", e.info.ID), slog.Any("error", err))
				<-e.terminal.Done()
			}
			running = false
		}
	}
	a.mu.Lock()
	removed, info := e.removed, e.info
	delete(a.ptys, info.ID)
	a.mu.Unlock()
	// As upstream has it: a terminal that ends is gone, and one that is removed
	// is not told to have ended.
	if removed {
		a.publishPTY(info, "pty.deleted", map[string]any{"id": info.ID})
	} else {
		a.publishPTY(info, "pty.exited", map[string]any{"id": info.ID, "exitCode": e.terminal.ExitCode()})
	}
	e.cancel(nil)
	close(e.done)
	a.running.Done()
}

// endPTY makes a terminal end. It does not wait.
func (a *Agent) endPTY(e *ptyEntry, cause error) {
	a.mu.Lock()
	e.removed = true
	a.mu.Unlock()
	e.cancel(cause)
}

func (a *Agent) publishPTY(info PTY, kind string, properties any) {
	a.publishAbout("/pty/"+info.ID, info.Directory, kind, properties)
}

// PTYs returns the terminals of a directory, the oldest first; of all
// directories if it is empty.
func (a *Agent) PTYs(directory string) []PTY {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []PTY{}
	for _, e := range a.ptys {
		if e.terminal != nil && !e.removed && (directory == "" || directory == e.info.Directory) {
			list = append(list, e.info)
		}
	}
	slices.SortFunc(list, func(x, y PTY) int { return cmp.Compare(x.ID, y.ID) })
	return list
}

// PTY returns a terminal, or [store.ErrNotExist]; also if it is not of that
// directory, unless that is empty.
func (a *Agent) PTY(directory, id string) (PTY, error) {
	e, err := a.ptyEntry(directory, id)
	if err != nil {
		return PTY{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return e.info, nil
}

func (a *Agent) ptyEntry(directory, id string) (*ptyEntry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.ptys[id]
	if e == nil || e.terminal == nil || e.removed || directory != "" && directory != e.info.Directory {
		return nil, fmt.Errorf("pty %q: %w", id, store.ErrNotExist)
	}
	return e, nil
}

// UpdatePTY changes the title of a terminal, if it is not empty, and its size,
// if it is not nil.
func (a *Agent) UpdatePTY(directory, id, title string, size *PTYSize) (PTY, error) {
	e, err := a.ptyEntry(directory, id)
	if err != nil {
		return PTY{}, err
	}
	if size != nil {
		switch err := e.terminal.Resize(size.Rows, size.Cols); {
		case errors.Is(err, tool.ErrEnded):
			return PTY{}, fmt.Errorf("pty %q: %w", id, store.ErrNotExist)
		case err != nil:
			return PTY{}, fmt.Errorf("pty: %w: %w", ErrInvalid, err)
		}
	}
	a.mu.Lock()
	e.info.Title = cmp.Or(title, e.info.Title)
	info := e.info
	a.mu.Unlock()
	a.publishPTY(info, "pty.updated", map[string]any{"info": info})
	return info, nil
}

// RemovePTY ends a terminal with all that it started, and waits for it.
func (a *Agent) RemovePTY(ctx context.Context, directory, id string) error {
	e, err := a.ptyEntry(directory, id)
	if err != nil {
		return err
	}
	a.endPTY(e, errors.New("removed"))
	return waitPTYs(ctx, []*ptyEntry{e})
}

// endSessionPTYs ends the terminals of sessions, those included that wait for
// an answer, and waits for them.
func (a *Agent) endSessionPTYs(ctx context.Context, sessions map[string]bool) error {
	a.mu.Lock()
	list := slices.DeleteFunc(slices.Collect(maps.Values(a.ptys)), func(e *ptyEntry) bool { return !sessions[e.sessionID] })
	a.mu.Unlock()
	for _, e := range list {
		a.endPTY(e, ErrAborted)
	}
	return waitPTYs(ctx, list)
}

func waitPTYs(ctx context.Context, list []*ptyEntry) error {
	for _, e := range list {
		select {
		case <-e.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ConnectPTY returns a terminal to type into and to read from. Only who made
// it may, and the user who runs the server: for everybody else it does not
// exist.
func (a *Agent) ConnectPTY(p policy.Principal, directory, id string) (*tool.Terminal, error) {
	e, err := a.ptyEntry(directory, id)
	if err != nil {
		return nil, err
	}
	if p.Kind != policy.PrincipalLocal && (p.Kind != e.principal.Kind || p.ID != e.principal.ID) {
		return nil, fmt.Errorf("pty %q: %w", id, store.ErrNotExist)
	}
	return e.terminal, nil
}

// Valid reports whether a principal is still one.
func (a *Agent) Valid(ctx context.Context, p policy.Principal) bool {
	switch p.Kind {
	case policy.PrincipalLocal:
		return true
	case policy.PrincipalToken:
		return a.cfg.Valid != nil && a.cfg.Valid(ctx, p)
	case policy.PrincipalAnonymous:
	}
	return false
}
