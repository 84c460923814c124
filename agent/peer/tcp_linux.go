package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"opencode/agent/tool/procfs"
)

// passes is how often the descendants are looked through: a process that was
// only just made is in no list yet.
const passes = 2

func child(local, remote netip.AddrPort) (bool, error) {
	// Most of the time there is no command, and nothing to look for.
	pids, err := procfs.Children()
	if err != nil || len(pids) == 0 {
		return false, err
	}
	inode, err := socketOf(remote, local)
	if err != nil || inode == 0 {
		return false, err // it is on another machine, or in another network namespace
	}
	want := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	for range passes {
		found, err := heldBelow(os.Getpid(), want)
		if err != nil {
			return false, err
		}
		if found {
			// What this program holds itself a child holds only until it runs what
			// it was made for.
			return !holds(os.Getpid(), want), nil
		}
	}
	return false, nil
}

// heldBelow reports whether a process that descends from another has a file
// open.
func heldBelow(top int, want string) (bool, error) {
	next, seen := []int{top}, map[int]bool{top: true}
	for len(next) > 0 {
		pid := next[0]
		next = next[1:]
		children, err := procfs.ChildrenOf(pid)
		if err != nil && pid == top {
			return false, err
		}
		for _, pid := range children {
			if seen[pid] {
				continue
			}
			seen[pid] = true
			if holds(pid, want) {
				return true, nil
			}
			next = append(next, pid)
		}
	}
	return false, nil
}

// holds reports whether a process has a file open.
func holds(pid int, want string) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	names, err := os.ReadDir(dir)
	if err != nil {
		return false // it is gone
	}
	for _, name := range names {
		if link, err := os.Readlink(dir + name.Name()); err == nil && link == want {
			return true
		}
	}
	return false
}

// Shapes of the kernel's socket diagnosis, linux/inet_diag.h.
const (
	diagByFamily    = 20 // SOCK_DIAG_BY_FAMILY
	diagRequestSize = unix.NLMSG_HDRLEN + 56
	diagAnswerSize  = unix.NLMSG_HDRLEN + 72
	diagInode       = unix.NLMSG_HDRLEN + 68
)

// errDiag means that the kernel's answer does not have the known shape.
var errDiag = errors.New("socket diagnosis: unknown shape")

// socketOf returns the inode of the TCP socket of this machine whose own end is
// local, 0 if there is none.
func socketOf(local, remote netip.AddrPort) (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("socket diagnosis: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing is kept in it
	if err := unix.Sendto(fd, diagRequest(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("socket diagnosis: %w", err)
	}
	answer := make([]byte, 4096)
	n, from, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, fmt.Errorf("socket diagnosis: %w", err)
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 || n < unix.NLMSG_HDRLEN+4 {
		return 0, errDiag
	}
	switch kind := binary.NativeEndian.Uint16(answer[4:]); {
	case kind == unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))) //nolint:gosec // G115: the kernel gives it negative
		if errno == unix.ENOENT {
			return 0, nil
		}
		return 0, fmt.Errorf("socket diagnosis: %w", errno)
	case kind != diagByFamily || n < diagAnswerSize:
		return 0, errDiag
	}
	return binary.NativeEndian.Uint32(answer[diagInode:]), nil
}

// diagRequest asks for one TCP socket, by both its ends.
func diagRequest(local, remote netip.AddrPort) []byte {
	from, to := local.Addr().Unmap(), remote.Addr().Unmap()
	family := byte(unix.AF_INET)
	if !from.Is4() {
		family = unix.AF_INET6
	}
	b := make([]byte, 0, diagRequestSize)
	b = binary.NativeEndian.AppendUint32(b, diagRequestSize)
	b = binary.NativeEndian.AppendUint16(b, diagByFamily)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, 0) // number
	b = binary.NativeEndian.AppendUint32(b, 0) // of the kernel's choice
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // in any state
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, addr := range []netip.Addr{from, to} {
		var room [16]byte
		copy(room[:], addr.AsSlice())
		b = append(b, room[:]...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0)             // at any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // whatever its cookie
}
