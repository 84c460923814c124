package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tty is the terminal that answers are typed on, from the first question to the
// end of the command. In between nothing reads from it, so that what is typed
// ahead waits for the question that it answers, and nothing is shown of it,
// since that may be a secret.
type tty struct {
	file *os.File

	mu sync.Mutex
	// former is the mode that the terminal had, nil while it is in that. Guarded
	// by mu.
	former *unix.Termios
	// now is the mode that it has meanwhile. Guarded by mu.
	now unix.Termios
	// forget ends what restores the mode when a signal kills or stops. Guarded by mu.
	forget func()
	// over is set once the command has ended. A question that is still open
	// then, as that for a code nobody waits for any more, is dropped.
	over atomic.Bool
	// resumed is set when the program was stopped and goes on: the shell has
	// written over the question.
	resumed atomic.Bool
}

// ask makes the terminal give each key at once, Ctrl-C as well. The function
// that it returns has Ctrl-C interrupt again.
func (t *tty) ask() (answered func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over.Load() {
		return nil, errCancelled
	}
	if t.former == nil {
		if t.former, err = unix.IoctlGetTermios(t.fd(), ttyGetMode); err != nil {
			return nil, fmt.Errorf("the terminal: %w", err)
		}
		t.forget = t.restoreWhenKilled()
	}
	if err := t.change(keyMode(*t.former, false)); err != nil {
		return nil, err
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.former != nil {
			_ = t.change(keyMode(*t.former, true)) // a terminal that is gone needs no mode
		}
	}, nil
}

// lend gives the terminal to another program in its former mode, until the
// function that it returns is called.
func (t *tty) lend() (back func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.former == nil {
		return func() {}
	}
	_ = t.change(*t.former) // the program does what it can
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.former != nil {
			_ = t.change(keyMode(*t.former, true)) // the next question sets it
		}
	}
}

// close gives the terminal its former mode. What was typed and not asked for is
// dropped: the shell would run it, and it may be the rest of a secret.
func (t *tty) close() {
	t.over.Store(true)
	t.mu.Lock()
	if t.former == nil {
		t.mu.Unlock()
		return
	}
	_ = t.set(ttySetAndDrop, *t.former) // a terminal that is gone needs no mode
	t.former = nil
	forget := t.forget
	t.mu.Unlock()
	// What it waits for may wait for the lock.
	forget()
}

// change sets the mode. The lock must be held.
func (t *tty) change(mode unix.Termios) error {
	t.now = mode
	return t.set(ttySetMode, mode)
}

// stop stops the program as SIGTSTP does, with the terminal in its former mode
// meanwhile: not every shell sets its own, and none sets ours when it lets the
// program go on, so that a secret would be shown as it is typed.
func (t *tty) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.former != nil {
		_ = t.set(ttySetMode, *t.former) // a terminal that is gone needs no mode
	}
	if hasJobControl() {
		resumed := make(chan os.Signal, 1)
		signal.Notify(resumed, syscall.SIGCONT)
		defer signal.Stop(resumed)
		// The runtime does not give SIGTSTP back what it does by default.
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) // to oneself it cannot fail
		<-resumed
	}
	if t.former != nil {
		_ = t.set(ttySetMode, t.now) // as above
		t.resumed.Store(true)
	}
}

// hasJobControl reports whether there is a shell that can have a program go on
// which was stopped. Without one, SIGTSTP stops nobody.
func hasJobControl() bool {
	parent := os.Getppid()
	theirs, err := unix.Getsid(parent)
	ours, ownErr := unix.Getsid(0)
	group, groupErr := syscall.Getpgid(parent)
	return err == nil && ownErr == nil && groupErr == nil && theirs == ours && group != syscall.Getpgrp()
}

// restoreWhenKilled restores the mode before a signal kills or stops the program
// that the program does not handle. The function that it returns ends that.
func (t *tty) restoreWhenKilled() (end func()) {
	killers := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGQUIT} {
		// One that the user has ignored, as nohup does, stays so.
		if !signal.Ignored(s) {
			signal.Notify(killers, s)
		}
	}
	stops := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(stops, syscall.SIGTSTP)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	former := *t.former
	go func() {
		defer close(ended)
		for {
			select {
			case s := <-killers:
				_ = t.set(ttySetAndDrop, former) // a terminal that is gone needs no mode
				signal.Reset(s)
				if number, ok := s.(syscall.Signal); ok {
					_ = syscall.Kill(os.Getpid(), number) // to oneself it cannot fail
				}
				return
			case <-stops:
				t.stop()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(killers)
		defer signal.Stop(stops)
		close(done)
		<-ended
	}
}

// readable waits for a key for at most the time.
func (t *tty) readable(limit time.Duration) (bool, error) {
	var set unix.FdSet
	set.Set(t.fd())
	at := unix.NsecToTimeval(limit.Nanoseconds())
	n, err := unix.Select(t.fd()+1, &set, nil, nil, &at)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// read reads what there is. It returns no error but errGone, and that of a read.
func (t *tty) read(p []byte) (int, error) {
	n, err := unix.Read(t.fd(), p)
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		return 0, nil
	case errors.Is(err, unix.EIO), err == nil && n == 0:
		return 0, errGone
	case err != nil:
		return 0, fmt.Errorf("the terminal: %w", err)
	}
	return n, nil
}

func (t *tty) fd() int { return int(t.file.Fd()) }

func (t *tty) set(how uint, mode unix.Termios) error {
	for {
		err := unix.IoctlSetTermios(t.fd(), how, &mode)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("the terminal: %w", err)
		}
		return nil
	}
}

// keyMode returns the mode in which keys come one by one and are not shown.
// What is printed looks as ever.
func keyMode(mode unix.Termios, interrupts bool) unix.Termios {
	mode.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR | unix.ISTRIP | unix.IXON
	mode.Lflag &^= unix.ICANON | unix.ECHO | unix.ECHONL
	if !interrupts {
		mode.Lflag &^= unix.ISIG | unix.IEXTEN
	}
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return mode
}
