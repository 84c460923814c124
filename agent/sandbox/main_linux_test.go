//go:build amd64 || arm64

package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"opencode/agent/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.IsChild(os.Args) {
		os.Exit(sandbox.Child())
	}
	if os.Getenv("SANDBOX_TEST_ATTACK") != "" {
		os.Exit(attack(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// attack does from within a sandbox what no program at hand does.
func attack(args []string) int {
	var err error
	switch args[0] {
	case "abstract":
		var c net.Conn
		if c, err = net.Dial("unix", "@"+args[1]); err == nil {
			err = c.Close()
		}
	case "unix", "tcp":
		var c net.Conn
		if c, err = net.Dial(args[0], args[1]); err == nil {
			err = c.Close()
		}
	case "memfd":
		err = execFromMemory(args[1])
	case "ptrace":
		err = attach(args[1])
	case "call32":
		err = call32()
	default:
		err = fmt.Errorf("attack %q: not known", args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("REACHED")
	return 0
}

// missing skips a test for lack of a part of the machine, unless every machine
// that runs it must have it.
func missing(tb testing.TB, part string) {
	tb.Helper()
	if os.Getenv("OPENCODE_TEST_E2E") == "1" {
		tb.Fatalf("this machine has no %s", part)
	}
	tb.Skipf("NOT TESTED: this machine has no %s", part)
}

// host skips a test on a host that does not hold what it is about, unless every
// host that runs it must.
func host(tb testing.TB, s *sandbox.Sandbox, wants ...sandbox.Guarantee) {
	tb.Helper()
	for _, g := range wants {
		if slices.Contains(s.Host().Holds(), g) {
			continue
		}
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			tb.Fatalf("this host does not hold %s: %+v", g, s.Host())
		}
		tb.Skipf("NOT TESTED: this host does not hold %s: %+v", g, s.Host())
	}
}

// rig is a home with secrets, a project, and programs of which one is banned.
type rig struct {
	tb      testing.TB
	sandbox *sandbox.Sandbox
	home    string
	project string
	bin     string
	spec    sandbox.Spec
	path    string
	before  string // a script that fills the project
}

// stub is the banned program. It says that it has been reached.
const stub = "#!/bin/sh\necho REACHED\n"

func newRig(tb testing.TB, change func(*sandbox.Config)) *rig {
	tb.Helper()
	return newRigIn(tb, tb.TempDir(), change)
}

// newRigIn returns a rig in a directory.
func newRigIn(tb testing.TB, dir string, change func(*sandbox.Config)) *rig {
	tb.Helper()
	base, err := filepath.EvalSymlinks(dir)
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, home: filepath.Join(base, "home"), project: filepath.Join(base, "home", "src", "app"), bin: filepath.Join(base, "bin")}
	for _, dir := range []string{r.project, r.bin, filepath.Join(r.home, ".ssh"), filepath.Join(base, "server")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	r.write(filepath.Join(r.home, ".ssh", "id_rsa"), "REACHED\n", 0o600)
	r.write(filepath.Join(r.home, "notes"), "REACHED\n", 0o600)
	r.write(filepath.Join(base, "server", "auth-tokens.json"), "REACHED\n", 0o600)
	r.write(filepath.Join(r.bin, "curl"), stub, 0o755)
	r.write(filepath.Join(r.bin, "harmless"), "#!/bin/sh\necho fine\n", 0o755)
	c := sandbox.Config{Hide: []string{filepath.Join(base, "server")}}
	if change != nil {
		change(&c)
	}
	if r.sandbox, err = sandbox.New(c); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.sandbox.Close(); err != nil {
			tb.Error(err)
		}
	})
	r.path = r.bin + ":/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"
	r.spec = sandbox.Spec{Root: r.project, Network: true, Write: []string{"."}, DenyExec: []string{"curl"}, Hide: []string{"~/.ssh"}}
	return r
}

func (r *rig) write(path, text string, mode os.FileMode) {
	r.tb.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.tb.Fatal(err)
	}
}

// server is what the server has for itself.
func (r *rig) server(name string) string { return filepath.Join(filepath.Dir(r.home), "server", name) }

// command returns a command with the environment of the rig.
func (r *rig) command(args ...string) *exec.Cmd {
	r.tb.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		r.tb.Fatal(err)
	}
	cmd := exec.CommandContext(r.tb.Context(), path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = r.project
	cmd.Env = []string{"PATH=" + r.path, "HOME=" + r.home, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// run runs a command, in the sandbox or without, and returns what it printed.
func (r *rig) run(cmd *exec.Cmd, spec *sandbox.Spec) (string, error) {
	r.tb.Helper()
	if spec != nil {
		release, _, err := r.sandbox.Prepare(cmd, *spec)
		if err != nil {
			r.tb.Fatal(err)
		}
		defer release()
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// shell runs a script, in the sandbox or without.
func (r *rig) shell(script string, spec *sandbox.Spec, env ...string) (string, error) {
	r.tb.Helper()
	cmd := r.command("bash", "-c", script)
	cmd.Env = append(cmd.Env, env...)
	return r.run(cmd, spec)
}

// pair checks that a script reaches what it is after without the sandbox, and
// that it does not with it.
func (r *rig) pair(script string, env ...string) {
	r.tb.Helper()
	r.empty()
	if out, err := r.shell(script, nil, env...); !strings.Contains(out, "REACHED") {
		r.tb.Errorf("without the sandbox %q does not reach it, so it shows nothing: %v\n%s", script, err, out)
	}
	r.empty()
	if out, err := r.shell(script, &r.spec, env...); strings.Contains(out, "REACHED") {
		r.tb.Errorf("in the sandbox %q reaches it: %v\n%s", script, err, out)
	}
}

// empty empties the project: what one run has left would be reached by the next.
func (r *rig) empty() {
	r.tb.Helper()
	if err := errors.Join(os.RemoveAll(r.project), os.Mkdir(r.project, 0o700)); err != nil {
		r.tb.Fatal(err)
	}
	if r.before == "" {
		return
	}
	if out, err := r.shell(r.before, nil); err != nil {
		r.tb.Fatalf("%v\n%s", err, out)
	}
}

func needs(tb testing.TB, program string) {
	tb.Helper()
	if _, err := exec.LookPath(program); err != nil {
		missing(tb, program)
	}
}
