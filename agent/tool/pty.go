package tool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Errors of a [Terminal].
var (
	// ErrEnded means that the command of a terminal has ended.
	ErrEnded = errors.New("the terminal has ended")
	// ErrNotRead means that the program in a terminal does not read what is
	// typed.
	ErrNotRead = errors.New("the program in the terminal does not read its input")
)

const (
	// maxTerminalArgs bounds the arguments and the variables of a terminal.
	maxTerminalArgs = 256
	// maxTerminalSize is the most rows or columns of a terminal.
	maxTerminalSize = 4096
	// defaultRows and defaultCols are the size of a terminal until its client
	// says another.
	defaultRows, defaultCols = 24, 80
	// typeTime is how long a program may leave what is typed unread.
	typeTime = 10 * time.Second
)

// TerminalsConfig configures [Terminals].
type TerminalsConfig struct {
	// Procs owns the commands. Required.
	Procs *Processes
	// Env returns the environment that [CleanEnv] cleans for each command.
	// Default: os.Environ.
	Env func() []string
	// Grace is how long a command has after it was asked to end, before it is
	// killed. Default: 500 ms.
	Grace time.Duration
	// Logger takes what is for the operator. Default: none.
	Logger *slog.Logger
}

// Terminals starts commands on pseudo-terminals.
type Terminals struct {
	procs *Processes
	env   func() []string
	grace time.Duration
	log   *slog.Logger
}

// TerminalCall is what a terminal is to run.
type TerminalCall struct {
	// ID is the call's id, which no other running call has. Required.
	ID string
	// Command is the program, a name or a path. Required.
	Command string
	Args    []string
	// Directory is where it starts, an absolute path. Required.
	Directory string
	// Env are variables that a client adds; [Terminals.Check] says which it may.
	Env map[string]string
	// Wrap, if not nil, changes the command before it starts.
	Wrap Wrapper
}

// NewTerminals returns a Terminals.
func NewTerminals(c TerminalsConfig) (*Terminals, error) {
	switch {
	case c.Procs == nil:
		return nil, errors.New("terminals: procs: not set")
	case c.Grace < 0:
		return nil, fmt.Errorf("terminals: grace: %v, want none or more", c.Grace)
	}
	t := &Terminals{procs: c.Procs, env: c.Env, grace: cmp.Or(c.Grace, closeGrace), log: c.Logger}
	if t.env == nil {
		t.env = os.Environ
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	return t, nil
}

// Shell returns the user's own shell: what $SHELL names if it is an absolute
// path of a program, else one that every system has.
func (t *Terminals) Shell() string {
	for _, entry := range t.env() {
		if path, ok := strings.CutPrefix(entry, "SHELL="); ok && isProgram(path) {
			return path
		}
	}
	if isProgram("/bin/bash") {
		return "/bin/bash"
	}
	return "/bin/sh"
}

// Check reports why a call cannot be started, before anybody is asked about
// it.
func (t *Terminals) Check(call TerminalCall) error {
	if call.Command == "" {
		return errors.New("command: empty")
	}
	if len(call.Args) > maxTerminalArgs {
		return fmt.Errorf("args: %d of them, want at most %d", len(call.Args), maxTerminalArgs)
	}
	size := 0
	for _, word := range append([]string{call.Command, call.Directory}, call.Args...) {
		if strings.ContainsRune(word, 0) {
			return errors.New("command: has a NUL byte in it")
		}
		size += len(word)
	}
	if size > maxCommand {
		return fmt.Errorf("command: %d bytes, want at most %d", size, maxCommand)
	}
	if err := checkEnv(call.Env); err != nil {
		return err
	}
	if !filepath.IsAbs(call.Directory) {
		return fmt.Errorf("directory %q: want an absolute path", call.Directory)
	}
	return nil
}

// checkEnv refuses variables that a client may not add.
func checkEnv(env map[string]string) error {
	if len(env) > maxTerminalArgs {
		return fmt.Errorf("env: %d variables, want at most %d", len(env), maxTerminalArgs)
	}
	var errs []error
	for name, value := range env {
		switch {
		case !clientVars[name]:
			errs = append(errs, fmt.Errorf("env: %q may not be set for a terminal: only variables that decide how output looks may", name))
		case !isPlain(value):
			errs = append(errs, fmt.Errorf("env: the value of %s looks like a credential or a function, or has a NUL byte in it", name))
		case len(value) > 4<<10:
			errs = append(errs, fmt.Errorf("env: the value of %s has %d bytes, want at most %d", name, len(value), 4<<10))
		}
	}
	return errors.Join(errs...)
}

// clientVars are the variables that a client may set for a terminal. Those that
// decide what runs, or where a program finds its files, are none of them.
var clientVars = names(`
	TERM COLORTERM TERM_PROGRAM TERM_PROGRAM_VERSION COLUMNS LINES NO_COLOR FORCE_COLOR CLICOLOR CLICOLOR_FORCE
	LANG LANGUAGE TZ LC_ALL LC_ADDRESS LC_COLLATE LC_CTYPE LC_IDENTIFICATION LC_MEASUREMENT LC_MESSAGES
	LC_MONETARY LC_NAME LC_NUMERIC LC_PAPER LC_TELEPHONE LC_TIME
	CI NODE_ENV RUST_BACKTRACE PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE OPENCODE_TERMINAL
`)

// terminalEnv returns the environment of a terminal's command. The last value
// of a name counts.
func terminalEnv(env []string, call TerminalCall) []string {
	env = append(CleanEnv(env), "TERM=xterm-256color", "OPENCODE_TERMINAL=1", "PWD="+call.Directory)
	for name, value := range call.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// Terminal is a command that runs on a pseudo-terminal. Its output is kept as
// valid UTF-8, the last 2 MiB of it, for readers that come and go; it never
// waits for any of them.
type Terminal struct {
	set     *Terminals
	process *Process
	release func() // gives back what the command was held with
	master  *os.File
	screen  *screen
	typing  chan struct{} // holds a value while somebody types
	done    chan struct{} // closed when the command and all that it started have ended
	code    int           // valid when done is closed

	mu     sync.Mutex // guards the master against use after its end
	closed bool
}

// Start starts a command on a terminal of its own. The terminal ends by itself
// when the command does; [Terminal.Close] ends both.
func (t *Terminals) Start(call TerminalCall) (*Terminal, error) {
	if err := t.Check(call); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	if info, err := os.Stat(call.Directory); err != nil {
		return nil, fmt.Errorf("terminal: directory: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("terminal: directory %q: %w", call.Directory, syscall.ENOTDIR)
	}
	program, err := programOf(call)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	master, slave, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	// The context does not end the command, since that would end its first
	// process alone; Close ends all of it.
	cmd := exec.CommandContext(context.Background(), program, call.Args...) //nolint:gosec // G204: running what it is given is what this tool is for
	cmd.Args[0] = call.Command
	cmd.Dir = call.Directory
	cmd.Env = terminalEnv(t.env(), call)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setctty: true}
	release := func() {}
	if call.Wrap != nil {
		if release, err = call.Wrap(cmd); err != nil {
			return nil, errors.Join(fmt.Errorf("terminal: %w", err), slave.Close(), master.Close())
		}
	}
	p, err := t.procs.Start(cmd, call.ID)
	_ = slave.Close() // the command has its own
	if err != nil {
		release()
		_ = master.Close() // nothing was written
		return nil, fmt.Errorf("terminal: %w", err)
	}
	term := &Terminal{
		set: t, process: p, release: release, master: master, screen: newScreen(),
		typing: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go term.run() // ends with the command; Done tells
	return term, nil
}

// programOf returns the file of the program: one that is named with a slash is
// found from where the terminal starts.
func programOf(call TerminalCall) (string, error) {
	if !strings.Contains(call.Command, "/") {
		return exec.LookPath(call.Command)
	}
	path := call.Command
	if !filepath.IsAbs(path) {
		path = filepath.Join(call.Directory, path)
	}
	return exec.LookPath(path)
}

// openTerminal opens a pseudo-terminal. Reads from the master and writes to it
// take deadlines.
func openTerminal() (master, slave *os.File, err error) {
	blocking, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = blocking.Close() }() // nothing was written
	if err := setSize(slave, defaultRows, defaultCols); err != nil {
		return nil, nil, errors.Join(err, slave.Close())
	}
	// It was opened for calls that block, which nothing could end.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Join(err, slave.Close())
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fd), slave.Close())
	}
	return os.NewFile(uintptr(fd), blocking.Name()), slave, nil
}

func setSize(f *os.File, rows, cols int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sizeErr error
	err = conn.Control(func(fd uintptr) {
		sizeErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(cols)}) //nolint:gosec // G115: the callers pass at most maxTerminalSize
	})
	return errors.Join(err, sizeErr)
}

// run takes the output until the command and all that it started have ended.
func (t *Terminal) run() {
	defer close(t.done)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer t.screen.finish()
		buf := make([]byte, 32<<10)
		for {
			n, err := t.master.Read(buf)
			t.screen.write(buf[:n])
			if err != nil {
				return // nobody has the other end any more, or its time is over
			}
		}
	}()
	state, err := t.process.Wait()
	t.release()
	// Whoever did not die may hold the terminal open.
	_ = t.master.SetReadDeadline(time.Now().Add(drainTime)) // the file takes deadlines
	<-drained
	t.mu.Lock()
	t.closed = true
	_ = t.master.Close() // all is read, and nobody is there to write to
	t.mu.Unlock()
	if t.code = -1; err != nil {
		t.set.log.Error("a terminal's end is not known", slog.Any("error", err))
		return
	}
	t.code, _ = status(state)
}

// PID returns the number of the command's first process.
func (t *Terminal) PID() int { return t.process.PID() }

// Done returns a channel that is closed when the command and all that it
// started have ended, and all output is there to read.
func (t *Terminal) Done() <-chan struct{} { return t.done }

// ExitCode returns how the command ended, as a shell tells it. It is for after
// [Terminal.Done].
func (t *Terminal) ExitCode() int {
	<-t.done
	return max(0, t.code)
}

// Close ends everything that belongs to the command and waits for it.
func (t *Terminal) Close() error {
	if err := t.process.Stop(t.set.grace); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	<-t.done
	return nil
}

// Write types into the terminal. It waits while the program does not read, for
// some seconds and at most until the context ends.
func (t *Terminal) Write(ctx context.Context, b []byte) error {
	select {
	case t.typing <- struct{}{}:
		defer func() { <-t.typing }()
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return ErrEnded
	}
	limit, cancel := context.WithTimeout(ctx, typeTime)
	defer cancel()
	if err := t.master.SetWriteDeadline(time.Time{}); err != nil {
		return ErrEnded
	}
	over := make(chan struct{})
	stop := context.AfterFunc(limit, func() {
		_ = t.master.SetWriteDeadline(time.Unix(1, 0)) // the file takes deadlines
		close(over)
	})
	_, err := t.master.Write(b)
	if !stop() {
		<-over // it must not end what is typed next
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrNotRead
	}
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

// Resize tells the program how large the terminal is now.
func (t *Terminal) Resize(rows, cols int) error {
	if rows < 1 || cols < 1 || rows > maxTerminalSize || cols > maxTerminalSize {
		return fmt.Errorf("size %d x %d: want 1 to %d", rows, cols, maxTerminalSize)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrEnded
	}
	return setSize(t.master, rows, cols)
}

// Attach returns a reader of the output from a cursor on: the number of UTF-16
// code units since the start, as clients count them. What is not kept any more
// is left out; [FromNow] reads only what comes. The caller must close it.
func (t *Terminal) Attach(cursor int64) *TerminalReader { return t.screen.attach(cursor) }

// FromNow is the cursor of a reader that does not want what was there before.
const FromNow = -1

func isProgram(path string) bool {
	if !filepath.IsAbs(path) {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
