package tool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Errors of [Processes].
var (
	// ErrClosed means that the program is stopping and starts nothing more.
	ErrClosed = errors.New("child processes: closed")
	// ErrOwned means that the child processes of this program have an owner
	// already: two would take each other's for strays.
	ErrOwned = errors.New("child processes: have an owner already")
	// ErrSurvived means that a process is still there although everything was
	// done to kill it: it belongs to another user, or the kernel holds it.
	ErrSurvived = errors.New("does not die")
)

// callIDVar names the variable that marks what belongs to a call. It is no
// secret.
const callIDVar = "OPENCODE_CALL_ID"

// maxCallID bounds the length of a call's id.
const maxCallID = 256

// Bounds of ending a command.
const (
	// closeGrace is how long a process has after it was asked to end, when its
	// caller does not say.
	closeGrace = 500 * time.Millisecond
	// killRounds is how often what is left is looked up and killed: one that
	// forks all the time is caught with luck, so it takes several tries.
	killRounds = 250
	// pollFirst and pollLast are the pauses between two looks, doubling.
	pollFirst = 100 * time.Microsecond
	pollLast  = 20 * time.Millisecond
)

// Processes owns all child processes of this program, and whatever they start
// in turn. There can be one in a program.
//
// Every process that gets a session of its own must be started here: one that
// was started elsewhere is taken for a stray and killed. A process without a
// session of its own, as os/exec starts by default, is left alone.
//
// On Linux this program adopts every descendant whose parent died, so that
// none can leave by forking twice. What left its command's session, lost its
// parent and shows no mark of its call could be of any command that ran when it
// was started; it is killed with the first of these to end. Elsewhere only the
// process group of a command is killed.
type Processes struct {
	log     *slog.Logger
	system  system
	closing chan struct{} // closed when Close begins
	stop    chan struct{} // closed when Close has killed everything
	wake    chan struct{} // asks the reaper to look
	reaper  sync.WaitGroup

	// mu is held while a process is started and while one is reaped: what is
	// seen below it keeps its number.
	mu      sync.Mutex
	closed  bool
	tracked map[int]*Process // by number of the first process
}

// NewProcesses makes this program the owner of its child processes, until
// Close. It returns [ErrOwned] if there is an owner already.
func NewProcesses(logger *slog.Logger) (*Processes, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Processes{
		log:     logger,
		closing: make(chan struct{}),
		stop:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		tracked: map[int]*Process{},
	}
	if err := s.adopt(); err != nil {
		return nil, err
	}
	return s, nil
}

// Closing returns a channel that is closed when the program starts to stop.
func (s *Processes) Closing() <-chan struct{} { return s.closing }

// Start starts a command in a session of its own, as everything that belongs to
// the call with that id. No two calls that run may have the same id.
//
// The command's environment must be set: one that is nil would be this
// program's, with its secrets. Its streams must be nil or files, since anything
// else would make the end of the command wait for whoever holds the other end.
// The caller must call [Process.Wait].
func (s *Processes) Start(cmd *exec.Cmd, callID string) (*Process, error) {
	if err := checkStart(cmd, callID); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	cmd.Env = append(cmd.Env, callIDVar+"="+callID)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	for _, p := range s.tracked {
		if p.callID == callID {
			return nil, fmt.Errorf("start: call %q: already runs", callID)
		}
	}
	if err := shieldFiles(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	p := &Process{set: s, cmd: cmd, pid: cmd.Process.Pid, callID: callID, exited: make(chan struct{})}
	p.begun = startOf(p.pid)
	s.tracked[p.pid] = p
	go p.watch() // ends with the process; Wait waits for it
	return p, nil
}

func checkStart(cmd *exec.Cmd, callID string) error {
	switch {
	case callID == "":
		return errors.New("call id: empty")
	case len(callID) > maxCallID:
		return fmt.Errorf("call id: %d bytes, want at most %d", len(callID), maxCallID)
	case strings.IndexFunc(callID, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return fmt.Errorf("call id %q: want printable ASCII without spaces", callID)
	case cmd.Env == nil:
		return errors.New("environment: not set")
	case cmd.SysProcAttr != nil && cmd.SysProcAttr.Setpgid:
		return errors.New("process group: the session has one")
	}
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if _, ok := stream.(*os.File); stream != nil && !ok {
			return fmt.Errorf("stream %T: want a file", stream)
		}
	}
	return nil
}

// Close kills every process that is left, asking first unless ctx is done, and
// ends the ownership. It returns [ErrSurvived] if a process does not die; then
// the ownership stays, so that the process remains known as ours.
func (s *Processes) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	left := make([]*Process, 0, len(s.tracked))
	for _, p := range s.tracked {
		left = append(left, p)
	}
	s.mu.Unlock()
	close(s.closing)

	errs := make([]error, len(left))
	var group sync.WaitGroup
	for i, p := range left {
		group.Go(func() {
			if errs[i] = p.end(closeGrace, ctx.Done()); errs[i] == nil {
				_, errs[i] = p.Wait()
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !s.killStrays() {
		return fmt.Errorf("stray child process: %w", ErrSurvived)
	}
	close(s.stop)
	s.reaper.Wait()
	return s.disown()
}

// kick asks the reaper to look.
func (s *Processes) kick() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Process is a command that was started, with everything that it starts.
type Process struct {
	set    *Processes
	cmd    *exec.Cmd
	pid    int
	callID string
	begun  uint64
	// exited is closed when the first process has ended. It is not reaped
	// before Wait, so that until then its number, its group's and its session's
	// can be nobody else's.
	exited chan struct{}

	once   sync.Once
	state  *os.ProcessState
	err    error
	reaped bool // guarded by set.mu
}

// PID returns the number of the command's first process.
func (p *Process) PID() int { return p.pid }

// Exited returns a channel that is closed when the first process has ended.
// What it started may go on.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the whole command to end and kills what is left of it after the
// grace. It returns [ErrSurvived] if a process does not die.
func (p *Process) Stop(grace time.Duration) error { return p.end(grace, nil) }

// Wait waits for the first process to end, ends what it left behind, and
// returns how it ended. It may be called more than once.
func (p *Process) Wait() (*os.ProcessState, error) {
	p.once.Do(func() {
		<-p.exited
		if err := p.end(closeGrace, nil); err != nil {
			// The command has ended; that something else has not is for whoever
			// looks after the machine.
			p.set.log.Error("a process outlives its command", slog.String("call", p.callID), slog.Any("error", err))
		}
		p.set.mu.Lock()
		err := p.cmd.Wait()
		p.reaped = true
		delete(p.set.tracked, p.pid)
		p.set.mu.Unlock()
		p.set.kick()

		p.state = p.cmd.ProcessState
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.err = fmt.Errorf("wait: %w", err)
		}
	})
	return p.state, p.err
}

// end asks everything that belongs to the command to end, and kills what is
// left when the grace is over or hurry is closed.
func (p *Process) end(grace time.Duration, hurry <-chan struct{}) error {
	if p.set.signal(p, syscall.SIGTERM) == 0 {
		return nil
	}
	over := time.NewTimer(grace)
	defer over.Stop()
	poll := newPoll()
	defer poll.stop()
	for asking := true; asking; {
		select {
		case <-over.C:
			asking = false
		case <-hurry:
			asking = false
		case <-poll.next():
			if p.set.signal(p, 0) == 0 {
				return nil
			}
		}
	}
	poll.reset()
	for range killRounds {
		if p.set.signal(p, syscall.SIGKILL) == 0 {
			return nil
		}
		<-poll.next()
	}
	return fmt.Errorf("call %q: process %d: %w", p.callID, p.pid, ErrSurvived)
}

// hasExited reports whether the first process has ended.
func (p *Process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// poll paces looks at something that cannot be waited for: the first come
// quickly, the later ones slowly.
type poll struct {
	pause time.Duration
	timer *time.Timer
}

func newPoll() *poll { return &poll{pause: pollFirst, timer: time.NewTimer(pollFirst)} }

// next returns a channel that gets a value when it is time for the next look.
func (p *poll) next() <-chan time.Time {
	p.timer.Reset(p.pause)
	p.pause = min(2*p.pause, pollLast)
	return p.timer.C
}

func (p *poll) reset() { p.pause = pollFirst }

func (p *poll) stop() { p.timer.Stop() }
