package tool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opencode/redact"
)

// maxCommand is the longest command in bytes: Linux takes no argument of 128
// KiB or more, with the byte that ends it.
const maxCommand = 128<<10 - 1

const (
	// progressInterval is how often progress is told.
	progressInterval = 100 * time.Millisecond
	// lingerTime is how long what a command left behind may finish its output,
	// such as the tee in "make > >(tee log)".
	lingerTime = 100 * time.Millisecond
	// drainTime is how long the rest of the output is read after everything
	// that we could kill is dead.
	drainTime = time.Second
)

// BashConfig configures a [Bash].
type BashConfig struct {
	// Shell is the path of the shell. Default: /bin/bash if it is there, else
	// /bin/sh.
	Shell string
	// Env returns the environment that [CleanEnv] cleans for each command.
	// Default: os.Environ.
	Env func() []string
	// Procs owns the commands. Required.
	Procs *Processes
	// Grace is how long a command has after it was asked to end, before it is
	// killed. Default: 500 ms.
	Grace time.Duration
	// Redactor takes credentials out of the output before anything else sees
	// it. Default: one that knows no values of its own.
	Redactor *redact.Redactor
	// Logger takes what is for the operator. Default: none.
	Logger *slog.Logger
}

// Bash runs shell commands.
type Bash struct {
	shell  string
	args   []string
	env    func() []string
	procs  *Processes
	grace  time.Duration
	redact *redact.Redactor
	log    *slog.Logger
}

// BashCall is one call of the shell.
type BashCall struct {
	// ID is the call's id, which no other running call has. Required.
	ID string
	// Command is the text for the shell. Required.
	Command string
	// Directory is where it starts, an absolute path. Required.
	Directory string
	// Wrap, if not nil, changes the command before it starts.
	Wrap Wrapper
}

// NewBash returns a Bash.
func NewBash(c BashConfig) (*Bash, error) {
	b := &Bash{shell: c.Shell, env: c.Env, procs: c.Procs, grace: c.Grace, redact: c.Redactor, log: c.Logger}
	var errs []error
	if b.procs == nil {
		errs = append(errs, errors.New("procs: not set"))
	}
	if b.grace < 0 {
		errs = append(errs, fmt.Errorf("grace: %v, want none or more", b.grace))
	}
	if b.shell == "" {
		b.shell = "/bin/bash"
		if _, err := exec.LookPath(b.shell); err != nil {
			b.shell = "/bin/sh"
		}
	}
	if !filepath.IsAbs(b.shell) {
		errs = append(errs, fmt.Errorf("shell %q: want an absolute path", b.shell))
	} else if _, err := exec.LookPath(b.shell); err != nil {
		errs = append(errs, fmt.Errorf("shell: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("bash: %w", err)
	}
	if b.env == nil {
		b.env = os.Environ
	}
	if b.grace == 0 {
		b.grace = closeGrace
	}
	if b.redact == nil {
		b.redact = redact.New(redact.Config{})
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if filepath.Base(b.shell) == "bash" {
		b.args = []string{"--noprofile", "--norc"}
	}
	// Without "--" the shell would take a command that begins with "-" for
	// options of its own, which is not how policy read it.
	b.args = append(b.args, "-c", "--")
	return b, nil
}

// Run runs a command within its limits and returns what it did. A command that
// fails, is killed, or exceeds its limits is a result and no error; an error
// means that it was not run, or that its end is not known.
//
// The command has no terminal, reads nothing, and sees no credential of this
// program's environment. When Run returns, the command and all that it started
// are dead.
//
// Progress, if not nil, is called with the output so far whenever that has
// grown, at most every 100 ms, by one goroutine and not after Run has returned.
func (b *Bash) Run(ctx context.Context, call BashCall, lim Limits, progress func(output string)) (Result, error) {
	if err := checkCall(call, lim); err != nil {
		return Result{}, fmt.Errorf("bash: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("bash: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Result{}, fmt.Errorf("bash: %w", err)
	}
	defer func() { _ = r.Close() }() // nothing was written

	// The context does not end the command, since that would end its first
	// process alone; Stop ends all of it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), b.shell, append(slices.Clip(b.args), call.Command)...) //nolint:gosec // G204: running what it is given is what this tool is for
	cmd.Dir = call.Directory
	cmd.Env = commandEnv(b.env(), call.Directory)
	cmd.Stdout, cmd.Stderr = w, w
	if call.Wrap != nil {
		release, err := call.Wrap(cmd)
		if err != nil {
			_ = w.Close() // nothing was written
			return Result{}, fmt.Errorf("bash: %w", err)
		}
		defer release()
	}
	began := time.Now()
	timer := time.NewTimer(lim.Timeout)
	defer timer.Stop()
	p, err := b.procs.Start(cmd, call.ID)
	_ = w.Close() // nothing was written
	if err != nil {
		return Result{}, fmt.Errorf("bash: %w", err)
	}

	out := newRedacted(lim.MaxOutput, b.redact)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		drain(r, out)
	}()
	ended := make(chan struct{})
	told := tell(out, progress, ended)

	var res Result
	stopped := false
	select {
	case <-p.Exited():
		linger(ctx, drained)
	case <-ctx.Done():
		stopped = true
		res.TimedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
		res.Aborted = !res.TimedOut
	case <-timer.C:
		stopped, res.TimedOut = true, true
	case <-b.procs.Closing():
		stopped, res.Aborted = true, true
	}
	if stopped {
		err = p.Stop(b.grace)
	}
	if err != nil && !p.hasExited() {
		// Waiting would last until the kernel lets the process go.
		_ = r.SetReadDeadline(time.Now()) // a pipe takes deadlines
		err = fmt.Errorf("bash: %w", err)
	} else {
		var state *os.ProcessState
		state, err = p.Wait()
		_ = r.SetReadDeadline(time.Now().Add(drainTime)) // a pipe takes deadlines
		if err != nil {
			err = fmt.Errorf("bash: %w", err)
		} else {
			res.ExitCode, res.Signal = status(state)
		}
	}
	<-drained
	close(ended)
	<-told
	res.Output, res.Truncated = out.text()
	res.OutputBytes, res.Redacted = out.written(), out.found()
	res.Duration = time.Since(began)
	b.log.Debug("command ended", slog.String("call", call.ID), slog.Int("exit_code", res.ExitCode),
		slog.Int64("bytes", res.OutputBytes), slog.Duration("duration", res.Duration))
	return res, err
}

func checkCall(call BashCall, lim Limits) error {
	switch {
	case lim.Timeout <= 0:
		return errors.New("limits: no time to run")
	case lim.MaxOutput <= 0:
		return errors.New("limits: no output to keep")
	case strings.TrimSpace(call.Command) == "":
		return errors.New("command: empty")
	case strings.ContainsRune(call.Command, 0):
		return errors.New("command: has a NUL byte in it")
	case len(call.Command) > maxCommand:
		return fmt.Errorf("command: %d bytes, want at most %d; put a long script into a file", len(call.Command), maxCommand)
	case !filepath.IsAbs(call.Directory):
		return fmt.Errorf("directory %q: want an absolute path", call.Directory)
	case strings.ContainsRune(call.Directory, 0):
		return errors.New("directory: has a NUL byte in it")
	}
	info, err := os.Stat(call.Directory)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("directory %q: %w", call.Directory, syscall.ENOTDIR)
	}
	return nil
}

// drain reads a pipe to its end, whatever becomes of what it reads, so that no
// command ever waits for us.
func drain(r *os.File, out *redacted) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		_, _ = out.Write(buf[:n]) // never fails
		if err != nil {
			out.finish()
			return
		}
	}
}

// tell calls progress with the output while it grows, until the command has
// ended. A command can close its output and go on, so the end of that is no
// sign. It closes what it returns when it will not call any more.
func tell(out *redacted, progress func(string), ended <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	if progress == nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for seen := int64(0); ; {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			if n := out.written(); n != seen {
				seen = n
				text, _ := out.text()
				progress(text)
			}
		}
	}()
	return done
}

// linger waits a moment for the end of the output.
func linger(ctx context.Context, drained <-chan struct{}) {
	timer := time.NewTimer(lingerTime)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// status returns the exit code and the signal's name of a process that ended.
func status(state *os.ProcessState) (code int, sig string) {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal()), unix.SignalName(w.Signal())
	}
	return state.ExitCode(), ""
}
