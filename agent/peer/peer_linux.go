package peer

import (
	"errors"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"opencode/agent/tool/procfs"
)

// maxDepth bounds the climb. A chain that long is none that we understand.
const maxDepth = 1024

func check(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, err
	}
	p := Peer{UID: int(cred.Uid), PID: int(cred.Pid), Descendant: true}
	if p.PID <= 0 { // in a namespace that we do not see into
		return p, nil
	}
	pidfd, err := open(fd, p.PID)
	if err != nil {
		return p, nil // a process that is gone is a doubt and no failure
	}
	defer func() { _ = unix.Close(pidfd) }() // nothing was written
	p.Descendant = descends(p.PID, os.Getpid(), pidfd)
	return p, nil
}

// open returns a handle on the process at the other end. A kernel before 6.5
// has none from the time of the connect. Then the number is all there is, and
// the process that connected may have ended and left it to another one; that
// the check comes right after the accept is what makes it unlikely.
func open(fd, pid int) (int, error) {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return unix.PidfdOpen(pid, 0)
	}
	return pidfd, err
}

// descends reports whether the process, which pidfd holds, is ours or below us,
// or whether that cannot be told.
func descends(pid, self, pidfd int) bool {
	// Numbers in a /proc of another namespace are not ours.
	if link, err := os.Readlink("/proc/self"); err != nil || link != strconv.Itoa(self) {
		return true
	}
	first, ok := ancestors(pid)
	if !ok || slices.ContainsFunc(first, func(st procfs.Stat) bool { return st.PID == self }) {
		return true
	}
	// While we climbed, a parent can have died and its number been taken by
	// somebody else. A process whose parent died has another parent now, so the
	// same chain twice is the true one.
	again, ok := ancestors(pid)
	if !ok || !slices.Equal(first, again) {
		return true
	}
	// If it still lives, then it was itself all the time.
	return !lives(pidfd)
}

// ancestors returns a process and those above it up to the first of all, or
// false if the chain does not get there.
func ancestors(pid int) ([]procfs.Stat, bool) {
	var chain []procfs.Stat
	for range maxDepth {
		st, err := procfs.Read(pid)
		if err != nil {
			return nil, false
		}
		st.State = 0 // it changes all the time
		chain = append(chain, st)
		if pid == 1 {
			return chain, true
		}
		pid = st.Parent
		if pid <= 0 { // above it is a namespace that we do not see into
			return nil, false
		}
	}
	return nil, false
}

// lives reports whether the process that a handle stands for has not ended.
func lives(pidfd int) bool {
	if pidfd < 0 { // poll passes over these
		return false
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0) //nolint:gosec // G115: a file descriptor fits
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 0
	}
}
