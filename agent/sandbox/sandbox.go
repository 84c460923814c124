// Package sandbox holds a child process to what a decision obliges, with what
// the kernel of the host gives: Landlock for files, programs, signals and
// abstract sockets, a seccomp filter for dangerous calls, and namespaces for
// the network and for what only hiding keeps out of reach.
//
// A command is started through this program itself: [Sandbox.Prepare] rewrites
// it into a call of the entry that [IsChild] recognises and [Child] carries
// out, which gives up every right that the command must not have and then
// becomes the command. What the command is to be never stands in arguments or
// environment; it is handed over in memory. If a right cannot be given up as
// planned, the command does not start.
//
// The package never claims what the host does not hold: [Host.Holds] says which
// guarantees there are and what gives each, a [Report] which of them one
// command has, and a [Spec] can require some, without which nothing starts.
//
// It decides nothing, and imports nothing of ours. A Sandbox is safe for
// concurrent use.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnavailable means that the host, or the kind of command, does not allow a
// guarantee that is required.
var ErrUnavailable = errors.New("not available")

// Guarantee is something that a sandbox holds.
type Guarantee string

// The guarantees. Each has a name that policies use.
const (
	// Write: files are made and changed only where the specification says.
	Write Guarantee = "write"
	// Read: files are read only where the specification says, and hidden ones
	// nowhere.
	Read Guarantee = "read"
	// Exec: the banned programs are neither run nor read, under any name.
	Exec Guarantee = "exec"
	// Network: no network, if the specification gives none.
	Network Guarantee = "network"
	// Sockets: no sockets of other programs in the file system or the abstract
	// namespace.
	Sockets Guarantee = "sockets"
	// Signals: no signals to processes outside of the sandbox.
	Signals Guarantee = "signals"
	// Memory: no look into processes outside of the sandbox: environment,
	// memory, open files.
	Memory Guarantee = "memory"
	// Calls: no calls to the kernel that commands do not need, such as mount,
	// bpf, ptrace and io_uring, and no new privileges.
	Calls Guarantee = "calls"
)

// Guarantees are all of them, in the order in which they are shown.
func Guarantees() []Guarantee {
	return []Guarantee{Write, Read, Exec, Network, Sockets, Signals, Memory, Calls}
}

// Host says what the kernel gives.
type Host struct {
	// OS is the name of the system.
	OS string `json:"os"`
	// Landlock is the version of its interface, 0 if there is none.
	Landlock int `json:"landlock"`
	// Seccomp reports whether calls can be filtered.
	Seccomp bool `json:"seccomp"`
	// Namespaces reports whether this user can make namespaces.
	Namespaces bool `json:"namespaces"`
	// Layers are the layers with what each gives, present or not.
	Layers []Layer `json:"layers"`
}

// Layer is one means of the kernel.
type Layer struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	// Detail is the version, or why it is not there.
	Detail string `json:"detail,omitempty"`
	// Stops says what it gives.
	Stops string `json:"stops"`
	// Hint says how to get it, if it is not there.
	Hint string `json:"hint,omitempty"`
}

// Holds returns the guarantees that a command without network can have here.
func (h Host) Holds() []Guarantee {
	var list []Guarantee
	for _, g := range Guarantees() {
		if h.by(g, false) != "" {
			list = append(list, g)
		}
	}
	return list
}

// by returns what holds a guarantee, or "" if nothing does.
func (h Host) by(g Guarantee, network bool) string {
	landlock := fmt.Sprintf("landlock %d", h.Landlock)
	switch g {
	case Write:
		switch { // before version 3, any file can be cut short
		case h.Landlock >= 3 && h.Namespaces:
			return landlock + ", mount namespace"
		case h.Landlock >= 3:
			return landlock
		}
	case Read, Exec, Memory:
		if h.Landlock >= 1 {
			return landlock
		}
	case Network:
		switch {
		case network:
			return "not wanted"
		case h.Namespaces:
			return "network namespace"
		case h.Seccomp:
			return "seccomp"
		}
	case Sockets:
		switch {
		case h.Landlock >= 9:
			return landlock
		case h.Namespaces && h.Landlock >= 6:
			return "mount namespace, " + landlock
		}
	case Signals:
		if h.Landlock >= 6 {
			return landlock
		}
	case Calls:
		if h.Seccomp {
			return "seccomp"
		}
	}
	return ""
}

// Spec says what a command may reach. Its zero value reaches the system's
// programs and libraries, and nothing else.
//
// A path may be absolute, begin with "~/" for the home directory or with the
// name of a variable of the command's environment ("$GOCACHE"), or be relative
// to Root. One whose variable is not set does not count.
type Spec struct {
	// Root is the project directory, absolute. Required.
	Root string `json:"root"`
	// Network permits the network.
	Network bool `json:"network"`
	// Write are files and directories that may be changed, if they are there.
	Write []string `json:"write"`
	// Create are files that may be changed, and are made if they are missing: a
	// right on a file cannot be had before there is one.
	Create []string `json:"create"`
	// Caches are directories that may be changed and are made if they are
	// missing.
	Caches []string `json:"caches"`
	// Read are files and directories that may be read and run.
	Read []string `json:"read"`
	// Hide are files and directories that may not be read, whatever else says
	// so, unless Read or Write names them or something in them.
	Hide []string `json:"hide"`
	// DenyExec are the names of programs that may be neither run nor read.
	DenyExec []string `json:"deny_exec"`
	// Require are the guarantees without which the command must not start.
	Require []Guarantee `json:"require"`
	// Limits bound what it uses; a zero is no limit.
	Limits Limits `json:"limits"`
}

// Limits are bounds on the resources of each process.
type Limits struct {
	// FileBytes is how large a file can become.
	FileBytes uint64 `json:"file_bytes"`
	// OpenFiles is how many files are open at once.
	OpenFiles uint64 `json:"open_files"`
	// Processes is how many processes the user has.
	Processes uint64 `json:"processes"`
	// MemoryBytes is how much address space there is.
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Report says what one command is held to.
type Report struct {
	// Held are the guarantees that it has, with what gives each.
	Held map[Guarantee]string `json:"held"`
	// Missing are the guarantees that it has not, with the reason.
	Missing map[Guarantee]string `json:"missing,omitempty"`
	// Exempt are banned programs that it can run all the same, because they
	// are in one file with something that it cannot do without.
	Exempt []string `json:"exempt,omitempty"`
}

// Config is what a sandbox works with.
type Config struct {
	// Hide are absolute paths that no command may reach, whatever a
	// specification says: what this program keeps for itself.
	Hide []string
	// Protect are absolute paths that no command may change, although they may be
	// in a project: what decides. Where there are no namespaces, it does not hold.
	Protect []string
	// Temp is where private directories for temporary files are made. Default:
	// the system's.
	Temp string
	// Program is this program, which must call [Child]. Default: the running
	// one.
	Program string
}

// Sandbox prepares commands.
type Sandbox struct {
	cfg  Config
	host Host
	state
}

// New returns a sandbox, after a look at what the host gives.
func New(cfg Config) (*Sandbox, error) {
	for _, path := range slices.Concat(cfg.Hide, cfg.Protect) {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("sandbox: %q: want an absolute path", path)
		}
	}
	if cfg.Temp == "" {
		cfg.Temp = os.TempDir()
	}
	if !filepath.IsAbs(cfg.Temp) {
		return nil, fmt.Errorf("sandbox: temp %q: want an absolute path", cfg.Temp)
	}
	if cfg.Program == "" {
		cfg.Program = selfPath
	}
	return &Sandbox{cfg: cfg, host: probe(cfg.Program), state: newState(cfg)}, nil
}

// Close removes what the sandbox has made. No command may run in it any more.
func (s *Sandbox) Close() error { return s.close() }

// Host returns what the host gives.
func (s *Sandbox) Host() Host { return s.host }

// Check returns the error that a command with this specification would get
// because the host lacks a guarantee, so that it can be refused before anybody
// is asked about it.
func (s *Sandbox) Check(spec Spec) error {
	return spec.require(s.report(spec))
}

// report says what the host gives a command.
func (s *Sandbox) report(spec Spec) Report {
	r := Report{Held: map[Guarantee]string{}, Missing: map[Guarantee]string{}}
	for _, g := range Guarantees() {
		if by := s.host.by(g, spec.Network); by != "" {
			r.Held[g] = by
		} else {
			r.Missing[g] = "not on this host"
		}
	}
	return r
}

// require returns an error that names what is required and not held.
func (s Spec) require(r Report) error {
	var lacks []string
	for _, g := range s.Require {
		if _, ok := r.Held[g]; !ok {
			reason, known := r.Missing[g]
			if !known {
				reason = "not known"
			}
			lacks = append(lacks, fmt.Sprintf("%s (%s)", g, reason))
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	slices.Sort(lacks)
	return fmt.Errorf("%w: it lacks %s", ErrUnavailable, strings.Join(slices.Compact(lacks), ", "))
}

func checkPrepare(cmd *exec.Cmd, spec Spec) error {
	switch {
	case cmd.Env == nil:
		return errors.New("environment: not set")
	case len(cmd.ExtraFiles) > 0:
		return errors.New("extra files: not supported")
	case !filepath.IsAbs(spec.Root):
		return fmt.Errorf("root %q: want an absolute path", spec.Root)
	case !filepath.IsAbs(cmd.Path):
		return fmt.Errorf("program %q: want an absolute path", cmd.Path)
	case cmd.Err != nil:
		return cmd.Err
	}
	return nil
}

// childName is the argument by which this program knows that it is to become a
// command.
const childName = "__sandbox"

// IsChild reports whether a program with these arguments is to call [Child] and
// do nothing else.
func IsChild(args []string) bool { return len(args) == 2 && args[1] == childName }
