//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// probe looks what the kernel gives to this user. To see whether namespaces can
// be made it starts the program for a moment.
func probe(program string) Host {
	h := Host{OS: runtime.GOOS}
	version, err := ll.LandlockGetABIVersion()
	if err == nil {
		h.Landlock = version
	}
	h.Seccomp = hasSeccomp()
	nsErr := tryNamespaces(program)
	h.Namespaces = nsErr == nil
	h.Layers = layers(h, err, nsErr)
	return h
}

func layers(h Host, landlockErr, nsErr error) []Layer {
	version := fmt.Sprintf("version %d", h.Landlock)
	if h.Landlock == 0 {
		version = "not in this kernel"
		if errors.Is(landlockErr, unix.EOPNOTSUPP) {
			version = "switched off at boot"
		}
	}
	landlock := func(name string, from int, stops string) Layer {
		l := Layer{Name: name, Present: h.Landlock >= from, Detail: version, Stops: stops}
		if !l.Present {
			l.Hint = fmt.Sprintf("a kernel with Landlock %d or newer, with landlock in its lsm= list", from)
		}
		return l
	}
	filter := Layer{Name: "seccomp", Present: h.Seccomp, Stops: "mount, bpf, ptrace, io_uring and other calls that commands do not need; sockets of the network where there are no namespaces"}
	if !h.Seccomp {
		filter.Detail, filter.Hint = "not in this kernel", "a kernel with CONFIG_SECCOMP_FILTER"
	}
	spaces := Layer{Name: "namespaces", Present: h.Namespaces, Stops: "the network but for a loopback of its own; sockets of other programs; a shared /tmp"}
	if nsErr != nil {
		spaces.Detail = nsErr.Error()
		spaces.Hint = "let this user make user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns; in a container, its seccomp profile"
	}
	return []Layer{
		landlock("landlock files", 3, "writing and reading outside of what is granted; banned programs, under any name"),
		landlock("landlock network", 4, "TCP, where there are no namespaces"),
		landlock("landlock scopes", 6, "signals to other processes; their abstract sockets"),
		landlock("landlock sockets", 9, "sockets of other programs in the file system"),
		filter,
		spaces,
		{Name: "no new privileges", Present: true, Stops: "sudo, su and every other program that raises rights"},
		{Name: "limits", Present: true, Stops: "core files; what the policy bounds"},
	}
}

// hasSeccomp asks for a filter without giving one: a kernel that knows filters
// complains of the address.
func hasSeccomp() bool {
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	return errors.Is(err, unix.EFAULT)
}

func isRoot() bool { return os.Geteuid() == 0 && hasCapability(unix.CAP_SYS_ADMIN) }

func hasCapability(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	return unix.Capget(&header, &have[0]) == nil && have[c/32].Effective&(1<<(c%32)) != 0
}

// tryNamespaces starts a process in namespaces of its own, as a command would
// be, and lets it mount in them: some hosts let a user make namespaces that are
// good for nothing.
func tryNamespaces(program string) error {
	attr := &syscall.SysProcAttr{}
	p := preparation{sandbox: &Sandbox{host: Host{Namespaces: true}}}
	p.plan.Mounts = []mount{{From: os.DevNull, Over: os.DevNull}}
	p.namespaces(attr)
	f, err := p.plan.file()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()        // nothing is lost
	cmd := exec.Command(program, childName) //nolint:noctx // it ends by itself at once
	cmd.Env, cmd.SysProcAttr, cmd.ExtraFiles = []string{}, attr, []*os.File{f}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		return errors.New(strings.TrimPrefix(strings.TrimSpace(string(out)), "opencode: error: sandbox: "))
	}
	return err
}
