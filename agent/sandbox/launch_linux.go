//go:build amd64 || arm64

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// exitCannot is the exit code of a child that did not become its command, as
// shells have it for what cannot be run.
const exitCannot = 126

// planFD is the open file with the plan; the rulesets follow it.
const planFD = 3

// maxPlan bounds a plan: what Linux takes as arguments and environment, twice
// over for their JSON.
const maxPlan = 16 << 20

// Child gives up what a plan says and becomes the command. It returns only if
// that is not possible, or if there is no command, and then the exit code.
//
// All that it gives up belongs to the thread, and what is executed takes over
// the rights of the thread that executes it; so it does not matter what other
// threads the runtime has.
func Child() int {
	runtime.LockOSThread()
	err := become()
	if err == nil {
		return 0 // it was only to be seen whether it can be done
	}
	fmt.Fprintf(os.Stderr, "opencode: error: sandbox: %v\n", err)
	return exitCannot
}

func become() error {
	p, err := readPlan()
	if err != nil {
		return err
	}
	if err := p.isolate(); err != nil {
		return err
	}
	if p.Path == "" {
		return nil
	}
	if err := setLimits(p.Limits); err != nil {
		return err
	}
	if err := dropCapabilities(p.KeepCaps); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	for i := range p.Rulesets {
		fd := planFD + 1 + i
		if err := ll.LandlockRestrictSelf(fd, 0); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
		_ = unix.Close(fd) // nothing was written
	}
	if p.Filter {
		if err := installFilter(p.Sockets); err != nil {
			return err
		}
	}
	// Nothing that this program was handed by mistake reaches the command.
	if err := unix.CloseRange(planFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) { // a kernel before 5.11
		return fmt.Errorf("open files: %w", err)
	}
	// The environment of this program has what its parent adds to mark it.
	return fmt.Errorf("%s: %w", p.Path, syscall.Exec(p.Path, p.Args, append(p.Env, os.Environ()...))) //nolint:gosec // G204: running what it is given is what this is for
}

func readPlan() (plan, error) {
	f := os.NewFile(planFD, "plan")
	if f == nil {
		return plan{}, errors.New("no plan: this is not for calling by hand")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPlan))
	_ = f.Close() // nothing was written
	if err != nil {
		return plan{}, errors.New("no plan: this is not for calling by hand")
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return plan{}, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// isolate enters the namespaces and puts the mounts over what is hidden.
func (p plan) isolate() error {
	if p.Unshare != 0 {
		if err := unix.Unshare(p.Unshare); err != nil {
			return fmt.Errorf("namespaces: %w", err)
		}
	}
	if p.Loopback {
		if err := raiseLoopback(); err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
	}
	if len(p.Mounts) == 0 {
		return nil
	}
	dir, err := unix.Getwd()
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// First what is to keep rights of its own, then the rest loses the right to
	// be changed, and then comes what lies over it.
	var own, over []mount
	for _, m := range p.Mounts {
		if m.From == m.Over {
			own = append(own, m)
		} else {
			over = append(over, m)
		}
	}
	for _, m := range own {
		if err := bind(m); err != nil {
			return err
		}
	}
	// What this process is in is below the new mounts by now.
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	if err := setReadOnly("/", true); err != nil {
		return fmt.Errorf("mounts to read only: %w", err)
	}
	for _, m := range own { // what protects lies within what opens, and comes later
		if err := setReadOnly(m.Over, !m.Write); err != nil {
			return fmt.Errorf("mount %s: %w", m.Over, err)
		}
	}
	for _, m := range over {
		if err := bind(m); err != nil {
			return err
		}
		if !m.Write {
			continue
		}
		if err := setReadOnly(m.Over, false); err != nil {
			return fmt.Errorf("mount %s: %w", m.Over, err)
		}
	}
	return nil
}

// mountTries is how often a mount is tried over what others replace meanwhile.
const mountTries = 100

// bind carries out a mount, unless what it is to lie over has gone.
func bind(m mount) error {
	var err error
	for range mountTries {
		if err = unix.Mount(m.From, m.Over, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			return nil
		}
		_, gone := os.Lstat(m.Over)
		if m.From != m.Over && !m.Write && errors.Is(gone, fs.ErrNotExist) {
			return nil // a socket can go at any time
		}
		// What is written whole and then renamed is there at any time, and yet
		// what a mount has found may be gone before it lies over it.
		if gone != nil || !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return fmt.Errorf("mount %s: %w", m.Over, err)
}

// setReadOnly closes a mount and those in it to changes, or opens them. What
// was closed before this program came is not ours to open.
func setReadOnly(path string, closed bool) error {
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if closed {
		attr = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	}
	err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &attr)
	if errors.Is(err, unix.ENOSYS) {
		return nil // a kernel before 5.12: Landlock alone holds what is written
	}
	if !closed && errors.Is(err, unix.EPERM) {
		err = unix.MountSetattr(unix.AT_FDCWD, path, 0, &attr)
	}
	if !closed && errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// raiseLoopback switches the loopback of a new network namespace on, so that
// the tests of a project can talk to themselves.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request))) //nolint:gosec // G103: the kernel reads the request through a pointer
	if errno != 0 {
		return errno
	}
	return nil
}

// setLimits bounds resources. There is never a core file: it would hold what
// was in memory.
func setLimits(l Limits) error {
	zero := uint64(0)
	for _, limit := range []struct {
		name     string
		resource int
		value    *uint64
	}{
		{"core", unix.RLIMIT_CORE, &zero},
		{"file size", unix.RLIMIT_FSIZE, nonZero(l.FileBytes)},
		{"open files", unix.RLIMIT_NOFILE, nonZero(l.OpenFiles)},
		{"processes", unix.RLIMIT_NPROC, nonZero(l.Processes)},
		{"memory", unix.RLIMIT_AS, nonZero(l.MemoryBytes)},
	} {
		if limit.value == nil {
			continue
		}
		var old unix.Rlimit
		if err := unix.Getrlimit(limit.resource, &old); err != nil {
			return fmt.Errorf("limit of %s: %w", limit.name, err)
		}
		most := min(*limit.value, old.Max)
		if err := unix.Setrlimit(limit.resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit of %s: %w", limit.name, err)
		}
	}
	return nil
}

func nonZero(v uint64) *uint64 {
	if v == 0 {
		return nil
	}
	return &v
}

// rootCaps are the capabilities that root keeps: those on files and on its own
// processes, which installing and building need.
var rootCaps = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SETFCAP,
}

// dropCapabilities gives capabilities up for good: with no new privileges,
// nothing brings them back.
func dropCapabilities(keep bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if have[0].Permitted|have[1].Permitted == 0 {
		return nil
	}
	var kept [2]uint32
	for c := range unix.CAP_LAST_CAP + 1 {
		if keep && slices.Contains(rootCaps, c) {
			kept[c/32] |= 1 << (c % 32)
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) { // not known, or not ours to drop
			return fmt.Errorf("capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("capabilities: %w", err)
	}
	for i := range have {
		have[i].Permitted &= kept[i]
		have[i].Effective &= kept[i]
		have[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &have[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}
