package tool

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// system is empty: here only process groups are known.
type system struct{}

// adopt has nothing to do: this system does not let a program adopt.
func (*Processes) adopt() error { return nil }

func (*Processes) disown() error { return nil }

// killStrays reports that no stray is known.
func (*Processes) killStrays() bool { return true }

// watch closes exited when the first process has ended, and leaves it unreaped.
func (p *Process) watch() {
	defer close(p.exited)
	queue, err := unix.Kqueue()
	if err != nil {
		return // the command is then ended at once
	}
	defer func() { _ = unix.Close(queue) }() // nothing was written
	var change unix.Kevent_t
	unix.SetKevent(&change, p.pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		_, err := unix.Kevent(queue, []unix.Kevent_t{change}, events, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// signal sends a signal to the command's process group. What left the group is
// not known here. The kernel does not find a group whose processes have all ended,
// reaped or not.
func (s *Processes) signal(p *Process, sig syscall.Signal) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.reaped {
		return 0
	}
	err := unix.Kill(-p.pid, sig)
	if p.hasExited() && err != nil {
		return 0
	}
	return 1
}

func startOf(int) uint64 { return 0 }

// shieldFiles has nothing to do for files that Go opened.
func shieldFiles() error { return nil }
