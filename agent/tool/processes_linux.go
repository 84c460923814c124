package tool

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"opencode/agent/tool/procfs"
)

// system is what Linux needs to know to tell our processes from others.
type system struct {
	pid     int
	session int
	// foreign are the children that were there before us, with their start.
	foreign map[int]uint64
}

// adopt makes this program the parent of every descendant whose own parent
// dies, and starts the goroutine that reaps them.
func (s *Processes) adopt() error {
	owned, err := isSubreaper()
	if err != nil {
		return fmt.Errorf("child processes: %w", err)
	}
	if owned {
		return ErrOwned
	}
	self, err := procfs.Read(os.Getpid())
	if err != nil {
		return fmt.Errorf("child processes: %w", err)
	}
	s.system = system{pid: self.PID, session: self.Session, foreign: map[int]uint64{}}
	children, err := procfs.Children()
	if err != nil {
		return fmt.Errorf("child processes: %w", err)
	}
	for _, pid := range children {
		if st, err := procfs.Read(pid); err == nil {
			s.system.foreign[pid] = st.Start
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("child processes: %w", err)
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	s.reaper.Go(func() {
		defer signal.Stop(died)
		for {
			select {
			case <-died:
			case <-s.wake:
			case <-s.stop:
				return
			}
			s.sweep()
		}
	})
	return nil
}

// isSubreaper reports whether this program adopts its orphaned descendants.
func isSubreaper() (bool, error) {
	var on int32
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER,
		uintptr(unsafe.Pointer(&on)), 0) //nolint:gosec // G103: the kernel gives the answer through a pointer
	if errno != 0 {
		return false, errno
	}
	return on != 0, nil
}

// disown gives the adoption up.
func (s *Processes) disown() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("child processes: %w", err)
	}
	return nil
}

// watch closes exited when the first process has ended, and leaves it unreaped.
func (p *Process) watch() {
	defer close(p.exited)
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// sweep reaps the dead among the adopted, kills those that belong to no
// command, and returns how many of these there were.
func (s *Processes) sweep() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	roots, err := s.roots()
	if err != nil {
		s.log.Error("cannot list child processes", slog.Any("error", err))
		return 1
	}
	strays := 0
	for _, r := range roots {
		if s.candidate(r) {
			continue
		}
		strays++
		_ = unix.Kill(r.PID, unix.SIGKILL) // whoever counts on it looks again
	}
	return strays
}

// candidate reports whether an adopted process can belong to a command that
// runs.
func (s *Processes) candidate(r procfs.Stat) bool {
	for _, p := range s.tracked {
		if p.begun <= r.Start {
			return true
		}
	}
	return false
}

// killStrays kills the adopted processes that belong to no command, and reports
// whether none is left.
func (s *Processes) killStrays() bool {
	poll := newPoll()
	defer poll.stop()
	for range killRounds {
		if s.sweep() == 0 {
			return true
		}
		<-poll.next()
	}
	return false
}

// roots returns the processes that we adopted and that live, after reaping the
// dead ones. Each of our descendants is below one of these or below the first
// process of a command.
func (s *Processes) roots() ([]procfs.Stat, error) {
	for {
		children, err := procfs.Children()
		if err != nil {
			return nil, err
		}
		var roots []procfs.Stat
		reaped := false
		for _, pid := range children {
			if s.tracked[pid] != nil {
				continue
			}
			st, err := procfs.Read(pid)
			if procfs.Exhausted(err) {
				return nil, err
			}
			if err != nil || !s.adopted(st) {
				continue // one that os/exec started, and may have reaped
			}
			if st.State == 'Z' {
				// A process whose first thread has ended is shown as dead, too;
				// this does not take it then.
				if n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err == nil && n == pid {
					reaped = true
					continue
				}
			}
			roots = append(roots, st)
		}
		if !reaped {
			return roots, nil
		}
		// Between the look at the list and its death, the dead one may have left
		// us children that were not in the list.
	}
}

// adopted reports whether a child of ours came to us by the death of its
// parent. What os/exec starts without a session of its own is in ours, and no
// descendant of a command can get there.
func (s *Processes) adopted(st procfs.Stat) bool {
	start, foreign := s.system.foreign[st.PID]
	return st.Session != s.system.session && (!foreign || start != st.Start)
}

// signal sends a signal to everything that belongs to a command, and returns
// how many processes that were. With signal 0 it only counts.
func (s *Processes) signal(p *Process, sig syscall.Signal) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.reaped {
		return 0
	}
	if sig != 0 {
		_ = unix.Kill(-p.pid, sig) // at once for all, so that none forks away; counted below
	}
	exited := p.hasExited()
	roots, err := s.roots()
	if err != nil {
		s.log.Error("cannot list child processes", slog.Any("error", err))
		return 1
	}
	if exited && len(roots) == 0 {
		return 0
	}
	if sig == unix.SIGKILL {
		for _, r := range roots { // those that fork all the time: no time to lose
			if s.owner(r, nil).is(p) {
				_ = unix.Kill(r.PID, sig) // counted below
			}
		}
	}
	all, err := procfs.All()
	if err != nil {
		s.log.Error("cannot list processes", slog.Any("error", err))
		return 1
	}
	n := 0
	for _, st := range all {
		if st.PID == p.pid && exited {
			continue
		}
		owner := s.owner(st, all)
		switch {
		case owner.is(p):
			n++
			if sig != 0 && st.Group != p.pid {
				s.send(st, sig)
			}
		case owner.unknown:
			n++ // the next look will tell
		}
	}
	return n
}

// owner says which command a process belongs to.
type owner struct {
	process *Process
	// since is set if it can be any command that began at or before then.
	since uint64
	any   bool
	// unknown is set if the processes changed while we looked.
	unknown bool
}

func (o owner) is(p *Process) bool {
	return o.process == p && p != nil || o.any && p.begun <= o.since
}

// owner climbs from a process to the one that we adopted or started. Ancestry
// and session cannot be forged, so they go before the mark.
func (s *Processes) owner(st procfs.Stat, all map[int]procfs.Stat) owner {
	for range len(all) + 1 {
		if p := s.tracked[st.PID]; p != nil && st.Parent == s.system.pid {
			return owner{process: p}
		}
		if p := s.tracked[st.Session]; p != nil {
			return owner{process: p}
		}
		if st.PID == s.system.pid || st.Parent == 0 {
			return owner{}
		}
		if st.Parent == s.system.pid {
			return s.ownerOfRoot(st)
		}
		parent, ok := all[st.Parent]
		if !ok {
			break
		}
		st = parent
	}
	return owner{unknown: true}
}

func (s *Processes) ownerOfRoot(r procfs.Stat) owner {
	if !s.adopted(r) {
		return owner{}
	}
	if id, ok := procfs.Env(r.PID, callIDVar); ok {
		for _, p := range s.tracked {
			if p.callID == id && p.begun <= r.Start {
				return owner{process: p}
			}
		}
	}
	return owner{any: true, since: r.Start}
}

// send sends a signal to a process that was seen. The number of a child of
// ours cannot be taken by another meanwhile, since only we reap it; for others
// the kernel holds the process while we look again.
func (s *Processes) send(st procfs.Stat, sig syscall.Signal) {
	if st.Parent == s.system.pid {
		_ = unix.Kill(st.PID, sig) // it is counted again
		return
	}
	fd, err := unix.PidfdOpen(st.PID, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }() // nothing was written
	}
	now, readErr := procfs.Read(st.PID)
	if readErr != nil || now.Start != st.Start {
		return
	}
	if err != nil { // a kernel before 5.3, or no file descriptor left
		_ = unix.Kill(st.PID, sig) // it is counted again
		return
	}
	_ = unix.PidfdSendSignal(fd, sig, nil, 0) // it is counted again
}

// startOf returns when a process started. One that cannot be read counts as
// started at the beginning: then every stray can be its.
func startOf(pid int) uint64 {
	st, err := procfs.Read(pid)
	if err != nil {
		return 0
	}
	return st.Start
}

// shieldFiles keeps every file of this program from its children but for the
// three standard ones. Those that Go opened are kept anyway; this is for those
// that were handed to us.
func shieldFiles() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // a kernel before 5.11
	if err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
