//go:build amd64 || arm64

package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"opencode/agent/sandbox"
)

// standIn is a script that runs its command as a launcher does, by its name;
// launchers are the names. They are programs that Debian has no package of, or
// that need what the sandbox withholds: another user, a namespace, the
// processes of others, a daemon or a display.
const (
	standIn   = "testdata/standin.sh"
	launchers = `sudo doas su runuser sg pkexec gosu su-exec chpst setuidgid crontab
		chroot unshare nsenter bwrap firejail systemd-nspawn cgexec strace ltrace perf xvfb-run dbus-run-session dbus-launch
		cross-env concurrently nodemon caffeinate run-one catchsegv yarn pnpm uv poetry pipenv conda mise cargo torify screen`
)

// corpusRig is a rig with a stub for each banned program, which leaves a mark
// when it runs. What looks like the root directory of a machine with these
// programs is a directory of its own: nothing of the machine's own is run.
type corpusRig struct {
	*rig
	root  string // with usr/bin in it, where the stubs are
	names []string
}

// systemPath is where the programs of the machine are looked for.
const systemPath = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/games:/usr/lib/cargo/bin"

// applets are the banned programs in programs that are many in one.
const applets = "wget|nc|netcat|telnet|tftp|ftpget|ftpput"

// newCorpusRig returns a rig with stubs of these names; elf is a stub that is no
// script.
func newCorpusRig(t *testing.T, names []string, elf []byte) *corpusRig {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "opencode-corpus-") //nolint:usetesting // not in /tmp, of which a sandbox has one of its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r := newRigIn(t, dir, nil)
	host(t, r.sandbox, sandbox.Exec, sandbox.Write, sandbox.Network)
	root := filepath.Dir(r.home)
	c := &corpusRig{rig: r, root: root, names: names}
	chrome, homeBin := filepath.Join(root, "opt", "google", "chrome"), filepath.Join(r.home, "bin")
	r.bin = filepath.Join(root, "usr", "bin")
	for _, err := range []error{
		os.MkdirAll(r.bin, 0o700), os.MkdirAll(chrome, 0o700), os.Mkdir(homeBin, 0o700), os.Mkdir(c.at("launchers"), 0o700),
		os.RemoveAll(c.at("bin")), os.Symlink("usr/bin", c.at("bin")),
		os.Symlink(filepath.Join(chrome, "chrome"), filepath.Join(r.bin, "google-chrome")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.spec.Network, r.spec.DenyExec = false, slices.Clone(names)
	// What a program that opens terminals needs. The marks are what only stubs
	// and stand-ins write.
	r.spec.Write = append(r.spec.Write, "/dev/ptmx", "/dev/pts")
	r.spec.Create = []string{c.mark(), c.stood()}
	r.spec.Read = []string{c.root}

	if len(c.mark()) > len(placeholder) {
		t.Fatalf("%s: too long a path for a stub", c.mark())
	}
	elf = bytes.Replace(elf, []byte(placeholder), []byte(c.mark()+strings.Repeat("\x00", len(placeholder)-len(c.mark()))), 1)
	text := "#!/bin/sh\necho REACHED >>" + c.mark() + "\n"
	for _, name := range names {
		for _, dir := range []string{r.bin, homeBin} {
			switch name {
			case "google-chrome":
				continue
			case "curl", "wget", "nc": // what the loader and debuggers take is no script
				r.write(filepath.Join(dir, name), string(elf), 0o755)
			default:
				r.write(filepath.Join(dir, name), text, 0o755)
			}
		}
	}
	r.write(filepath.Join(chrome, "chrome"), text, 0o755)
	for _, whole := range []string{"busybox", "toybox"} {
		c.multiCall(whole)
	}
	script, err := os.ReadFile(standIn)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(launchers) {
		r.write(filepath.Join(c.at("launchers"), name), strings.Replace(string(script), "\n", "\necho x >>"+c.stood()+"\n", 1), 0o755)
	}
	r.path = strings.Join([]string{r.bin, homeBin, c.at("launchers"), filepath.Dir(goTool(t)), systemPath}, ":")
	c.fixture(t)
	t.Cleanup(c.kill)
	return c
}

// multiCall puts a stub in the place of a program that is many in one: it notes
// that a banned one of these is called, and hands all else on.
func (c *corpusRig) multiCall(whole string) {
	c.write(filepath.Join(c.bin, whole), fmt.Sprintf(`#!/bin/sh
name=${0##*/}
[ "$name" != %[1]s ] || name=$1
case $name in
%[2]s) echo REACHED >>%[3]s ;;
--install) for applet in wget nc; do ln -s "$0" "$3/$applet"; done ;;
*) exec /usr/bin/%[1]s "$@" ;;
esac
`, whole, applets, c.mark()), 0o755)
}

// at returns a path in what looks like the root directory.
func (c *corpusRig) at(name string) string { return filepath.Join(c.root, name) }

// mark is the file in which a stub notes that it has run, and stood the one in
// which a stand-in does.
func (c *corpusRig) mark() string  { return filepath.Join(c.home, "mark") }
func (c *corpusRig) stood() string { return filepath.Join(c.home, "stood") }

// fixture makes the directories with what the commands of the corpus work on:
// one for all, and one for those that work with git.
func (c *corpusRig) fixture(t *testing.T) {
	t.Helper()
	script, err := filepath.Abs("testdata/fixture.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"plain", "repository"} {
		if err := os.Mkdir(c.at(kind), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := c.command("bash", script, kind, filepath.Join(c.bin, "curl"))
		cmd.Dir = c.at(kind)
		if out, err := c.run(cmd, nil); err != nil {
			t.Fatalf("fixture: %v\n%s", err, out)
		}
	}
}

// anew fills the project anew for a command, and takes the marks away.
func (c *corpusRig) anew(t *testing.T, command string) {
	t.Helper()
	from := c.at("plain")
	if strings.Contains(command, "git") {
		from = c.at("repository")
	}
	if err := os.RemoveAll(c.project); err != nil {
		t.Fatal(err)
	}
	c.write(c.mark(), "", 0o600)
	c.write(c.stood(), "", 0o600)
	cmd := c.command("cp", "-a", from, c.project)
	cmd.Dir = c.root
	if out, err := c.run(cmd, nil); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// absolute finds what may be an absolute path or a pattern of one.
var absolute = regexp.MustCompile(`(^|[\s='"({;<>|])(/proc/self/root)?(/[\w.*?\[\]/{},-]+)`)

// placed returns a line of the corpus as a command text, in which the paths of
// banned programs are below the root directory of the rig.
func (c *corpusRig) placed(line string) string {
	text := strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(line)
	return absolute.ReplaceAllStringFunc(text, func(found string) string {
		parts := absolute.FindStringSubmatch(found)
		if !c.ours(parts[3]) {
			return found
		}
		return parts[1] + parts[2] + c.root + parts[3]
	})
}

// ours reports whether an absolute path, which may be a pattern, is that of a
// banned program or of the directory of programs.
func (c *corpusRig) ours(name string) bool {
	if clean := path.Clean(name); clean == "/usr/bin" || clean == "/bin" {
		return true
	}
	last := path.Base(name)
	braces := func(r rune) bool { return strings.ContainsRune("{},", r) }
	for _, one := range append(strings.FieldsFunc(last, braces), strings.Join(strings.FieldsFunc(last, braces), "")) {
		for _, banned := range append([]string{"busybox", "toybox"}, c.names...) {
			if ok, err := path.Match(one, banned); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// outcome is what came of a run.
type outcome struct {
	reached  bool
	standing bool          // through a stand-in
	took     time.Duration // until it was reached, or it ended
	after    bool          // it was reached when the command had ended
	out      string        // what it printed, if not on a terminal
}

// try runs a command of the corpus and waits until a stub has run, the command
// has ended or time is up; for what an ended command has left behind it waits as
// long as linger says.
func (c *corpusRig) try(t *testing.T, e entry, limit, linger time.Duration) outcome {
	t.Helper()
	c.anew(t, e.line)
	marked, stop := watch(t, c.mark())
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "--noprofile", "--norc", "-c", "--", c.placed(e.line))
	cmd.Dir, cmd.WaitDelay = c.project, 100*time.Millisecond
	cmd.Env = []string{
		"PATH=" + c.path, "HOME=" + c.home, "LC_ALL=C", "MANPATH=" + filepath.Join(c.project, "man"),
		"XDG_CACHE_HOME=" + c.project, "XDG_CONFIG_HOME=" + c.project, "XDG_DATA_HOME=" + c.project,
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	if e.terminal {
		defer onTerminal(t, cmd)()
	} else {
		cmd.Stdout, cmd.Stderr = &out, &out
	}
	release, _, err := c.sandbox.Prepare(cmd, c.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	defer c.kill()
	started := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ends does not matter
	}()
	var o outcome
	select {
	case <-marked:
	case <-ended:
		left, cancel := context.WithTimeout(ctx, linger)
		defer cancel()
		select {
		case <-marked:
			o.after = true
		case <-left.Done():
		}
	}
	o.took = time.Since(started)
	cancel()
	<-ended
	o.out, o.reached, o.standing = out.String(), written(t, c.mark()), written(t, c.stood())
	return o
}

// written reports whether there is something in a file.
func written(t *testing.T, file string) bool {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() > 0
}

// watch returns a channel that is closed when something is written to a file.
func watch(t *testing.T, file string) (marked <-chan struct{}, stop func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, file, unix.IN_MODIFY); err != nil {
		t.Fatal(errors.Join(err, events.Close()))
	}
	seen, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if n, err := events.Read(make([]byte, 4096)); err == nil && n > 0 {
			close(seen)
		}
	}()
	return seen, func() {
		_ = events.Close() // nothing was written
		<-done
	}
}

// onTerminal gives a command a terminal. Nobody types there, and what is printed
// is read and forgotten.
func onTerminal(t *testing.T, cmd *exec.Cmd) (closeAll func()) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(errors.Join(err, slave.Close(), master.Close()))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, master) // it ends with an error when the terminal is closed
	}()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.SysProcAttr.Setctty = true
	return func() {
		_ = errors.Join(slave.Close(), master.Close()) // nothing was written
		<-done
	}
}

// kill ends what commands have left behind, which could leave its mark on a
// later one: whatever has the home or works in the directories of the rig.
func (c *corpusRig) kill() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		inside := err == nil && strings.HasPrefix(dir, c.root+"/")
		if !inside {
			env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
			inside = err == nil && strings.Contains(string(env), "HOME="+c.home+"\x00")
		}
		if inside {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// placeholder is what stands in a stub for the path of its mark.
var placeholder = strings.Repeat("mark", 64)

// goTool is the program go.
func goTool(tb testing.TB) string {
	tb.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		tb.Fatal(err)
	}
	return tool
}

// elfStub builds a stub that is no script, for what the dynamic loader and
// debuggers take is none.
func elfStub(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "stub")
	cmd := exec.CommandContext(t.Context(), goTool(t), "build", "-buildmode=pie", "-ldflags=-s -w -X main.mark="+placeholder, "-o", out, "./testdata/stub")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("stub: %v\n%s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bannedNames returns the names that the default policy bans.
func bannedNames(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../policies/opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Banned map[string]any `json:"banned_commands"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range config.Banned {
		names = append(names, name)
	}
	return names
}
