//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets of what a filter sees of a call. Of an argument it loads the lower
// half, which on these processors comes first.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// refusedCalls are calls that commands do not need, and through which they
// could leave the sandbox or harm the host.
func refusedCalls() []uint32 {
	return append(archCalls(),
		// Other processes. Landlock holds these as well.
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
		unix.SYS_KCMP, unix.SYS_PROCESS_MADVISE, unix.SYS_MOVE_PAGES,
		// The kernel itself, and parts of it with a history of holes.
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_SYSLOG,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
		// Mounts and namespaces.
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_SETNS, unix.SYS_CHROOT,
		unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
		unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
		// The whole machine.
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
		unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_VHANGUP,
	)
}

// absentCalls are refused as if the kernel did not have them, so that programs
// do without: io_uring goes round filters, and what clone3 is asked for cannot
// be seen by one.
func absentCalls() []uint32 {
	return []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_CLONE3}
}

// Flags by which a process asks for namespaces.
const namespaceFlags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// cloneNewTime stands among the signals of clone, and is for unshare alone.
const cloneNewTime = unix.CLONE_NEWTIME

// Errors that refused calls end with.
const (
	notPermitted = uint32(unix.EPERM)
	notThere     = uint32(unix.ENOSYS)
	noFamily     = uint32(unix.EAFNOSUPPORT)
)

// maxFilter bounds a filter, as the kernel does.
const maxFilter = 4096

// filter is a filter of calls under construction. It is a list, not a set of
// jumps to labels: each refusal stands behind its own comparison, which keeps
// every jump short.
type filter struct{ code []unix.SockFilter }

func (f *filter) load(offset uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// jump compares what was loaded, and skips instructions.
func (f *filter) jump(condition uint16, value uint32, ifTrue, ifFalse uint8) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, Jt: ifTrue, Jf: ifFalse, K: value})
}

func (f *filter) end(result uint32) {
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result})
}

func refusal(errno uint32) uint32 { return unix.SECCOMP_RET_ERRNO | errno }

// refuse refuses a call whatever its arguments are.
func (f *filter) refuse(call uint32, errno uint32) {
	f.jump(unix.BPF_JEQ, call, 0, 1)
	f.end(refusal(errno))
}

// refuseBits refuses a call if an argument has one of the bits.
func (f *filter) refuseBits(call uint32, arg, bits uint32, errno uint32) {
	f.jump(unix.BPF_JEQ, call, 0, 4)
	f.load(offsetArgs + 8*arg)
	f.jump(unix.BPF_JSET, bits, 0, 1)
	f.end(refusal(errno))
	f.load(offsetNumber)
}

// refuseMasked refuses a call if the bits of an argument have a value.
func (f *filter) refuseMasked(call uint32, arg, mask, value uint32) {
	f.jump(unix.BPF_JEQ, call, 0, 5)
	f.load(offsetArgs + 8*arg)
	f.code = append(f.code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
	f.jump(unix.BPF_JEQ, value, 0, 1)
	f.end(refusal(notPermitted))
	f.load(offsetNumber)
}

// permitOnly refuses a call unless an argument has one of the values.
func (f *filter) permitOnly(call uint32, arg uint32, values []uint32, errno uint32) {
	n := uint8(len(values)) //nolint:gosec // G115: a handful
	f.jump(unix.BPF_JEQ, call, 0, n+3)
	f.load(offsetArgs + 8*arg)
	for i, v := range values {
		f.jump(unix.BPF_JEQ, v, n-uint8(i), 0)
	}
	f.end(refusal(errno))
	f.load(offsetNumber)
}

// newFilter returns the filter, with sockets of the network or without.
func newFilter(sockets bool) []unix.SockFilter {
	f := &filter{}
	// Calls of another processor's numbering would mean others than those below.
	f.load(offsetArch)
	f.jump(unix.BPF_JEQ, auditArch, 1, 0)
	f.end(unix.SECCOMP_RET_KILL_PROCESS)
	f.load(offsetNumber)
	if foreignFrom != 0 {
		f.jump(unix.BPF_JGE, foreignFrom, 0, 1)
		f.end(refusal(notThere))
	}
	for _, call := range refusedCalls() {
		f.refuse(call, notPermitted)
	}
	for _, call := range absentCalls() {
		f.refuse(call, notThere)
	}
	f.refuseBits(unix.SYS_CLONE, 0, namespaceFlags, notPermitted)
	f.refuseBits(unix.SYS_UNSHARE, 0, namespaceFlags|cloneNewTime, notPermitted)
	// Typing on a terminal for whoever reads from it.
	f.refuseMasked(unix.SYS_IOCTL, 1, 0xffffffff, unix.TIOCSTI)
	f.refuseMasked(unix.SYS_IOCTL, 1, 0xffffffff, unix.TIOCLINUX)
	// Nodes of devices.
	for _, kind := range []uint32{unix.S_IFBLK, unix.S_IFCHR} {
		f.refuseMasked(unix.SYS_MKNODAT, 2, unix.S_IFMT, kind)
		if callMknod != 0 {
			f.refuseMasked(callMknod, 1, unix.S_IFMT, kind)
		}
	}
	// Personalities that programs use: plain, 32 bits, asked for, without random
	// addresses.
	f.permitOnly(unix.SYS_PERSONALITY, 0, []uint32{0, 0x8, 0x20000, 0x20008, 0x40000, 0xffffffff}, notPermitted)
	// Limits are one's own alone.
	f.permitOnly(unix.SYS_PRLIMIT64, 0, []uint32{0}, notPermitted)
	families := []uint32{unix.AF_UNIX, unix.AF_NETLINK}
	if sockets {
		families = append(families, unix.AF_INET, unix.AF_INET6)
	}
	f.permitOnly(unix.SYS_SOCKET, 0, families, noFamily)
	f.end(unix.SECCOMP_RET_ALLOW)
	return f.code
}

// installFilter filters the calls of this thread and of what it becomes.
func installFilter(sockets bool) error {
	code := newFilter(sockets)
	if len(code) > maxFilter {
		return fmt.Errorf("seccomp: %d instructions, want at most %d", len(code), maxFilter)
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}                                                  //nolint:gosec // G115: bounded above
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))) //nolint:gosec // G103: the kernel reads the program through a pointer
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}
