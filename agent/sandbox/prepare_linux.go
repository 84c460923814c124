//go:build amd64 || arm64

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfPath leads a child of ours to our own program, also if another has been
// installed in its place.
const selfPath = "/proc/self/exe"

// plan is what a child does to itself before it becomes the command. It comes
// from this program alone.
type plan struct {
	// Path is the program, empty if it is only to be seen whether the namespaces
	// can be had.
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env"`
	// Unshare are the namespaces that it makes itself, which only root can.
	Unshare int `json:"unshare"`
	// Loopback wants the loopback of a network namespace of its own.
	Loopback bool `json:"loopback"`
	// Mounts are put over what is not to be reached.
	Mounts []mount `json:"mounts"`
	Limits Limits  `json:"limits"`
	// KeepCaps wants the capabilities that root's programs need on files.
	KeepCaps bool `json:"keep_caps"`
	// Rulesets is how many rulesets follow as open files.
	Rulesets int `json:"rulesets"`
	// Filter wants the filter of calls.
	Filter bool `json:"filter"`
	// Sockets permits sockets of the network.
	Sockets bool `json:"sockets"`
}

// mount puts one file or directory over another, or over itself to give it
// rights of its own.
type mount struct {
	From string `json:"from"`
	Over string `json:"over"`
	// Write permits changes in it: all else can only be read, down to the modes
	// and times of files, which Landlock does not hold.
	Write bool `json:"write"`
}

// Prepare rewrites a command, which must not have been started, into one that
// runs as the specification says. The caller may set SysProcAttr before, and
// streams if one is a terminal, and must call release when the command and all that it
// started are dead, or when it did not start.
//
// The command's environment gets a TMPDIR, which is empty and private, and is
// removed on release.
func (s *Sandbox) Prepare(cmd *exec.Cmd, spec Spec) (release func(), r Report, err error) {
	if err := checkPrepare(cmd, spec); err != nil {
		return nil, Report{}, fmt.Errorf("sandbox: %w", err)
	}
	if err := s.Check(spec); err != nil {
		return nil, Report{}, fmt.Errorf("sandbox: %w", err)
	}
	p := preparation{sandbox: s, spec: spec, paths: expander{root: spec.Root, env: cmd.Env}, report: s.report(spec)}
	if err := p.prepare(cmd); err != nil {
		p.release()
		return nil, Report{}, fmt.Errorf("sandbox: %w", err)
	}
	return sync.OnceFunc(p.release), p.report, nil
}

// state is what a sandbox keeps between commands.
type state struct {
	walls
	slots slots
}

func newState(c Config) state { return state{slots: slots{parent: c.Temp}} }

func (s *state) close() error {
	s.drop()
	return s.slots.close()
}

// preparation is the work on one command.
type preparation struct {
	sandbox *Sandbox
	spec    Spec
	paths   expander
	report  Report
	plan    plan
	grants  grants
	hidden  []string // real
	slot    slot     // given back on release
	files   []*os.File
}

func (p *preparation) prepare(cmd *exec.Cmd) error {
	var err error
	if p.slot, err = p.sandbox.slots.take(); err != nil {
		return err
	}
	if err := p.grant(cmd); err != nil {
		return err
	}
	p.hide()
	if err := p.landlock(cmd.Path); err != nil {
		return err
	}
	if err := p.spec.require(p.report); err != nil {
		return err
	}
	p.plan.Path, p.plan.Args = cmd.Path, cmd.Args
	p.plan.Env = append(slices.Clone(cmd.Env), "TMPDIR="+p.tmpdir())
	p.plan.Limits = p.spec.Limits
	p.plan.Filter = p.sandbox.host.Seccomp
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	p.namespaces(cmd.SysProcAttr)
	file, err := p.plan.file()
	if err != nil {
		return err
	}
	p.files = slices.Insert(p.files, 0, file)
	cmd.ExtraFiles = p.files
	cmd.Path, cmd.Args = p.sandbox.cfg.Program, []string{"opencode", childName}
	// What stands in the environment of our own program would be read by its
	// start; the command's comes with the plan.
	cmd.Env = []string{}
	return nil
}

// release closes and removes what belongs to the command.
func (p *preparation) release() {
	for _, f := range p.files {
		_ = f.Close() // nothing was written
	}
	p.sandbox.slots.put(p.slot)
}

// tmpdir is where the command finds its private directory.
func (p *preparation) tmpdir() string {
	for _, m := range p.plan.Mounts {
		if m.From == p.slot.private() && m.Over != m.From {
			return m.Over
		}
	}
	return p.slot.private()
}

// grant gathers what the command may reach.
func (p *preparation) grant(cmd *exec.Cmd) error {
	write := p.paths.all(p.spec.Write)
	for _, path := range p.paths.all(p.spec.Caches) {
		// What is not there yet would be made by the first program that uses it.
		if err := os.MkdirAll(path, 0o700); err != nil {
			continue // then it is not granted either
		}
		write = append(write, path)
	}
	for _, path := range p.paths.all(p.spec.Create) {
		if err := makeFile(path); err != nil {
			return err
		}
		write = append(write, path)
	}
	write = append(write, gitDirs(p.spec.Root)...)
	write = append(write, p.slot.private(), p.slot.shared())
	write = append(write, strings.Fields(systemWrite)...)
	if !p.sandbox.host.Namespaces {
		write = append(write, "/dev/shm")
	}
	write = append(write, terminals(cmd)...)
	p.grants.write = existing(write)

	read := strings.Fields(systemRead + " " + systemLinks)
	read = append(read, p.paths.all(p.spec.Read)...)
	read = append(read, p.paths.searchPath()...)
	read = append(read, p.spec.Root, cmd.Path)
	p.grants.read = existing(read)
	return nil
}

// terminals returns the terminal that a command is given, which it may open by
// its name. It may open no other: the user types on those.
func terminals(cmd *exec.Cmd) []string {
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if f, ok := stream.(*os.File); ok && f != nil && strings.HasPrefix(f.Name(), "/dev/pts/") {
			return []string{f.Name()}
		}
	}
	return nil
}

// makeFile makes a file that is granted and not there, since a right on it
// cannot be had before. Its directory must be there.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // G304: what policy granted
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EROFS):
		return nil // then nothing new can be there
	}
	return err
}

// hide gathers what is hidden although something around it is granted.
func (p *preparation) hide() {
	named := existing(slices.Concat(p.paths.all(p.spec.Write), p.paths.all(p.spec.Create), p.paths.all(p.spec.Read)))
	granted := slices.Concat(p.grants.read, p.grants.write)
	ours := existing(p.sandbox.cfg.Hide)
	wanted := append(p.paths.all(p.spec.Hide), strings.Fields(systemHide)...)
	for _, path := range append(existing(wanted), ours...) {
		isOurs := slices.Contains(ours, path)
		lifted := slices.ContainsFunc(named, func(n string) bool { return within(n, path) })
		volatile := within(path, "/proc") || within(path, "/sys")
		if !volatile && withinAny(path, granted) && (isOurs || !lifted && readable(path)) {
			p.hidden = append(p.hidden, path)
		}
	}
	if p.sandbox.host.Namespaces {
		p.mount(slices.Concat(ours, p.sockets(named)))
	}
}

// sockets returns what is to be covered because of the sockets in it, which
// only newer versions of Landlock hold: what is hidden, also where no file could
// be read anyway, and what other programs listen on at this moment.
func (p *preparation) sockets(named []string) []string {
	var list []string
	for _, path := range existing(append(p.paths.all(p.spec.Hide), strings.Fields(systemSockets)...)) {
		if !slices.ContainsFunc(named, func(n string) bool { return within(n, path) }) {
			list = append(list, path)
		}
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		list = append(list, existing([]string{dir})...)
	}
	for _, path := range existing(listening()) {
		if !withinAny(path, p.grants.write) && !withinAny(path, strings.Fields(systemLookup)) && !withinAny(path, list) {
			list = append(list, path)
		}
	}
	return list
}

// mount plans what is put over what, covering more than what is hidden. The
// order counts: what comes later lies over what came before.
func (p *preparation) mount(more []string) {
	var open []string
	for _, path := range slices.Sorted(slices.Values(p.grants.write)) {
		if !within(path, "/dev") && !within(path, p.slot.dir) && !withinAny(path, open) {
			open = append(open, path)
		}
	}
	kept := existing(p.sandbox.cfg.Protect)
	for _, path := range kept {
		// A mount cannot be moved away, but the directory that it is in can be,
		// unless that is one as well.
		for dir := filepath.Dir(path); withinAny(dir, open) && !slices.Contains(open, dir); dir = filepath.Dir(dir) {
			open = append(open, dir)
		}
	}
	slices.Sort(open)
	for _, path := range open {
		p.plan.Mounts = append(p.plan.Mounts, mount{From: path, Over: path, Write: true})
	}
	for _, path := range kept {
		p.plan.Mounts = append(p.plan.Mounts, mount{From: path, Over: path})
	}
	over := slices.Concat(p.hidden, more, existing(strings.Fields(systemKernel)))
	slices.Sort(over)
	// A mount hides the grants below it.
	keep := append(existing(append(p.paths.all(p.spec.Write), p.paths.all(p.spec.Create)...)), p.spec.Root, p.slot.dir)
	last := ""
	for _, path := range slices.Compact(over) {
		if last != "" && within(path, last) || slices.ContainsFunc(keep, func(k string) bool { return within(k, path) }) {
			continue
		}
		last = path
		p.plan.Mounts = append(p.plan.Mounts, mount{From: p.cover(path), Over: path})
	}
	for _, path := range existing([]string{"/dev/shm"}) {
		p.plan.Mounts = append(p.plan.Mounts, mount{From: p.slot.shared(), Over: path, Write: true})
	}
	p.privateTemp()
}

// cover is what is put over something to hide it.
func (p *preparation) cover(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return p.slot.empty()
	}
	return os.DevNull
}

// privateTemp puts the private directory over the one that all programs share,
// where the sockets of others are. If something in there is granted, then it
// stays, and the private directory keeps its own name.
func (p *preparation) privateTemp() {
	shared := existing([]string{"/tmp"})
	if len(shared) == 0 || !p.slot.walled {
		p.plan.Mounts = append(p.plan.Mounts, mount{From: p.slot.private(), Over: p.slot.private(), Write: true})
		return
	}
	for _, path := range slices.Concat(p.grants.write, p.grants.read) {
		if within(path, shared[0]) && !within(path, p.slot.dir) {
			p.plan.Mounts = append(p.plan.Mounts, mount{From: p.slot.private(), Over: p.slot.private(), Write: true})
			return
		}
	}
	p.plan.Mounts = append(p.plan.Mounts, mount{From: p.slot.private(), Over: shared[0], Write: true})
}

// landlock makes the rulesets.
func (p *preparation) landlock(program string) error {
	host := p.sandbox.host
	if host.Landlock == 0 {
		return nil
	}
	rules, err := p.grants.rules(host, p.spec.Network)
	if err != nil {
		return err
	}
	p.files = append(p.files, rules.file)
	var banned []string
	if len(p.spec.DenyExec) > 0 {
		dirs := append(p.paths.searchPath(), strings.Fields(systemPrograms)...)
		found := p.sandbox.programs(p.spec.DenyExec, dirs, []string{program, "/bin/sh"})
		banned = found.paths
		if p.report.Exempt = found.exempt; len(found.exempt) > 0 {
			delete(p.report.Held, Exec)
			p.report.Missing[Exec] = "in one file with the shell: " + strings.Join(found.exempt, ", ")
		}
	}
	if len(p.hidden)+len(banned) > 0 {
		wall, err := p.sandbox.around(host.Landlock, p.hidden, banned, &p.sandbox.slots)
		if err != nil {
			return err
		}
		p.files = append(p.files, wall)
	}
	p.plan.Rulesets = len(p.files)
	return nil
}

// namespaces plans the namespaces. Root makes them without one for users: with
// it, root would lose the files of others.
func (p *preparation) namespaces(attr *syscall.SysProcAttr) {
	host := p.sandbox.host
	p.plan.Sockets = p.spec.Network
	p.plan.KeepCaps = true
	if !host.Namespaces {
		p.plan.Mounts = nil
		return
	}
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWIPC
	if !p.spec.Network {
		flags |= unix.CLONE_NEWNET
		p.plan.Loopback, p.plan.Sockets = true, true // it has none but its own
	}
	if isRoot() {
		p.plan.Unshare = flags
		return
	}
	p.plan.KeepCaps = false
	attr.Cloneflags |= uintptr(flags | unix.CLONE_NEWUSER)
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	// What the child does in its namespaces before it gives all of it up.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
}

// file returns the plan as a file in memory that no path leads to.
func (p plan) file() (*os.File, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("opencode-sandbox", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate("opencode-sandbox", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	f := os.NewFile(uintptr(fd), "plan")
	if _, err := f.Write(text); err != nil {
		return nil, errors.Join(fmt.Errorf("plan: %w", err), f.Close())
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("plan: %w", err), f.Close())
	}
	return f, nil
}

// String names what is held, for the log.
func (r Report) String() string {
	held := slices.Sorted(maps.Keys(r.Held))
	words := make([]string, len(held))
	for i, g := range held {
		words[i] = string(g)
	}
	return strings.Join(words, " ")
}
