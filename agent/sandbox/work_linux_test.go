//go:build amd64 || arm64

package sandbox_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"opencode/agent/sandbox"
)

// TestOrdinaryWork checks that who develops in the sandbox does not notice.
func TestOrdinaryWork(t *testing.T) {
	t.Parallel()
	const module = `printf 'module m\n\ngo 1.21\n' >go.mod; printf 'package m\n\nimport ("testing";"net/http/httptest";"net/http")\n\nfunc TestX(t *testing.T) { s := httptest.NewServer(http.NotFoundHandler()); defer s.Close(); if _, err := http.Get(s.URL); err != nil { t.Fatal(err) }; t.TempDir() }\n' >m_test.go; `
	for name, test := range map[string]struct{ program, script, want string }{
		"go build": {"go", `printf 'module m\n\ngo 1.21\n' >go.mod; printf 'package main\n\nfunc main() { println("fine") }\n' >main.go; go build -o m . && ./m`, "fine\n"},
		"go test":  {"go", module + `go test ./... | cut -c1-4`, "ok  \n"},
		"git": {"git", `git init -q . && git config user.name a && git config user.email a@b.invalid && touch x && git add . && git commit -qm m && git status --short && git log --oneline | wc -l &&
			git checkout -qb other && git mv x y && git commit -qam n && git rebase -q HEAD~1 && git stash list && git log -1 --format=%an`, "1\na\n"},
		"git with a configuration": {"git", `git init -q . && touch x && git add . && git commit -qm m && git log -1 --format=%an`, "from home\n"},
		"make":                     {"make", `printf 'all: x\n\t@cat x\nx:\n\t@echo fine >x\n' >Makefile; make`, "fine\n"},
		"cc":                       {"cc", `printf '#include <stdio.h>\nint main(){puts("fine");}\n' >x.c && cc -o x x.c && ./x`, "fine\n"},
		"python":                   {"python3", `printf 'import tempfile,subprocess,multiprocessing,json,ssl\ndef f(x): return x\nif __name__=="__main__":\n with tempfile.TemporaryFile() as t: t.write(b"x")\n print(multiprocessing.Pool(2).map(f,[1,2]))\n print(subprocess.check_output(["echo","fine"]).decode(),end="")\n' >x.py && python3 x.py`, "[1, 2]\nfine\n"},
		"python venv":              {"python3", `python3 -c 'import ensurepip' 2>/dev/null || { echo fine; exit; }; python3 -m venv --without-pip v && v/bin/python -c 'print("fine")'`, "fine\n"},
		"node":                     {"node", `printf 'const {execSync,fork}=require("child_process"); const w=require("worker_threads"); require("fs").writeFileSync("y","1"); console.log(execSync("echo fine").toString().trim())' >x.js && node x.js`, "fine\n"},
		"npm":                      {"npm", `printf '{"name":"x","version":"1.0.0","scripts":{"test":"node -e \\"console.log(1)\\""}}' >package.json && npm test --silent`, "1\n"},
		"temporary":                {"mktemp", `f=$(mktemp) && echo fine >"$f" && cat "$f" && mkdir "$TMPDIR/d" && mv "$f" . && ls "$TMPDIR"`, "fine\nd\n"},
		"devices":                  {"dd", `echo x >/dev/null && head -c 4 /dev/urandom | wc -c && echo fine >/dev/stdout && cat <(echo fine) && cat <<<fine`, "4\nfine\nfine\nfine\n"},
		"moving":                   {"mv", `mkdir -p a b && echo fine >a/x && mv a/x b/x && ln b/x a/y && mv b c && cat c/x a/y && rm -r a c`, "fine\nfine\n"},
		"processes":                {"ps", `sleep 100 & kill $! && wait $!; ps -o pid= -p $$ | wc -l`, "1\n"},
		"names":                    {"getent", `getent hosts localhost >/dev/null && getent passwd 0 | cut -d: -f1`, "root\n"},
		"sockets": {"python3", `python3 -c 'import socket
l=socket.socket(socket.AF_UNIX); l.bind("s"); l.listen(); c=socket.socket(socket.AF_UNIX); c.connect("s"); print("fine")'`, "fine\n"},
		"watching": {"python3", `python3 -c 'import select,os; p=select.epoll(); print("fine")'`, "fine\n"},
	} {
		for _, network := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "", false: " without network"}[network], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.path = "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"
				needs(t, test.program)
				r.write(filepath.Join(r.home, ".gitconfig"), "[user]\n\tname = from home\n\temail = a@b.invalid\n", 0o600)
				r.spec.Network = network
				r.spec.Read = []string{"~/.gitconfig"}
				r.spec.Caches = []string{"$GOCACHE", "~/.npm", "~/.cache/go-build"}
				env := []string{"GOFLAGS=-mod=mod", "GOTOOLCHAIN=local"}
				if cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output(); err == nil {
					env = append(env, "GOCACHE="+strings.TrimSpace(string(cache)))
				}
				if out, err := r.shell(test.script, &r.spec, env...); err != nil || out != test.want {
					t.Errorf("%v\n%s\nwant\n%s", err, out, test.want)
				}
			})
		}
	}
}

// TestWorkingTree checks that git works in a linked working tree, whose
// repository is elsewhere, and that a project cannot name another directory.
func TestWorkingTree(t *testing.T) {
	t.Parallel()
	needs(t, "git")
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Write)
	main := filepath.Join(filepath.Dir(r.project), "main")
	if out, err := r.shell(`rmdir "$PWD" && git init -q "$MAIN" && cd "$MAIN" && git config user.name a && git config user.email a@b.invalid && git commit -q --allow-empty -m m && git worktree add -q "$OLDPWD"`, nil, "MAIN="+main); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := r.shell(`touch x && git add x && git commit -qm n && git log --format=%s`, &r.spec); err != nil || out != "n\nm\n" {
		t.Errorf("%v\n%s", err, out)
	}
	r.write(filepath.Join(r.project, ".git"), "gitdir: "+filepath.Join(r.home, ".ssh")+"\n", 0o600)
	if out, err := r.shell(`cat ~/.ssh/id_rsa || echo x >~/.ssh/id_rsa`, &r.spec); err == nil {
		t.Errorf("a project that names another directory: %s", out)
	}
}

// TestGrants checks what the paths of a specification mean.
func TestGrants(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Write)
	r.spec.Write = []string{".", "~/granted", "~/none/x", "$UNSET", "$UNSET/x", ""}
	r.spec.Create = []string{"~/new", "~/none/y"}
	r.spec.Caches = []string{"~/cache/of/it", "$CACHE"}
	if err := os.Mkdir(filepath.Join(r.home, "granted"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := r.shell(`echo 1 >~/granted/x && echo 2 >~/new && echo 3 >~/cache/of/it/x && echo 4 >"$CACHE/x" && cat ~/granted/x ~/new ~/cache/of/it/x "$CACHE/x" && ! touch ~/x ~/none 2>/dev/null && ! touch /x 2>/dev/null`,
		&r.spec, "CACHE="+filepath.Join(r.home, "c"))
	if err != nil || out != "1\n2\n3\n4\n" {
		t.Errorf("%v\n%s", err, out)
	}
	// A link in a grant leads where it leads, and grants that.
	if err := os.Symlink(filepath.Join(r.home, "granted"), filepath.Join(r.home, "link")); err != nil {
		t.Fatal(err)
	}
	r.spec.Write = []string{".", "~/link"}
	if out, err := r.shell(`echo y >~/link/y && cat ~/granted/y`, &r.spec); err != nil || out != "y\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTemporaryDirectory checks that each command has its own, and that nothing
// of it is left.
func TestTemporaryDirectory(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	r := newRig(t, func(c *sandbox.Config) { c.Temp = temp })
	cmd := r.command("bash", "-c", `mkdir -p "$TMPDIR/a/b" && touch "$TMPDIR/a/b/c" && chmod 0 "$TMPDIR/a" && stat -c %a "$TMPDIR" && echo "$TMPDIR"`)
	out, err := r.run(cmd, &r.spec)
	if err != nil || !strings.HasPrefix(out, "700\n") {
		t.Errorf("%v\n%s", err, out)
	}
	// Nothing of it is left for the next one.
	if out, err := r.shell(`ls -A "$TMPDIR"`, &r.spec); err != nil || out != "" {
		t.Errorf("the next command finds %v\n%s", err, out)
	}
	if err := r.sandbox.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestLinkedWorkingTreeOfNothing has what a project says of its repository lead
// to what is never read to its end: the command starts all the same.
func TestLinkedWorkingTreeOfNothing(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(dir string) error{
		"a pipe":   func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "gitdir"), 0o600) },
		"a device": func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, "gitdir")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			elsewhere := t.TempDir()
			r.write(filepath.Join(r.project, ".git"), "gitdir: "+elsewhere+"\n", 0o600)
			if err := fill(elsewhere); err != nil {
				t.Fatal(err)
			}
			if out, err := r.shell("echo fine", &r.spec); err != nil || out != "fine\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestPrivateTemp checks that a project which is elsewhere has the directory for
// temporary files that all programs share to itself, with what it grants.
func TestPrivateTemp(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Write, sandbox.Sockets)
	if !r.sandbox.Host().Namespaces {
		missing(t, "namespaces")
	}
	if !strings.HasPrefix(r.project, "/tmp/") {
		missing(t, "temporary files in /tmp: TMPDIR puts them in "+os.TempDir())
	}
	var err error
	if r.project, err = os.MkdirTemp("/var/tmp", "project"); err != nil { //nolint:usetesting // it must not be where temporary files are
		missing(t, "directory but /tmp for a project: "+err.Error())
	}
	defer func() { _ = os.RemoveAll(r.project) }() // a temporary directory
	other := filepath.Join(r.home, "notes")        // below /tmp
	r.spec.Root = r.project
	for _, network := range []bool{true, false} {
		r.spec.Network = network
		r.path = "/usr/bin:/bin"
		out, err := r.shell(`echo $TMPDIR && ls -A /tmp /dev/shm && echo 1 >/tmp/x && cat /tmp/x && mktemp >/dev/null && echo 2 >/dev/shm/y && cat /dev/shm/y && echo 3 >z && cat z && pwd && cat "$OTHER"`,
			&r.spec, "OTHER="+other)
		want := "/tmp\n/dev/shm:\n\n/tmp:\n1\n2\n3\n" + r.project + "\n"
		if err == nil || !strings.HasPrefix(out, want) || strings.Contains(out, "REACHED") {
			t.Errorf("%v\n%s\nwant\n%s", err, out, want)
		}
		if _, err := os.Stat("/dev/shm/y"); err == nil {
			t.Error("shared memory is shared with all")
		}
	}
}

// TestLimits checks that resources are bounded.
func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.spec.Limits = sandbox.Limits{FileBytes: 4096, OpenFiles: 64}
	if out, err := r.shell(`head -c 100000 /dev/zero >x; stat -c %s x; ulimit -n; ulimit -Hc`, &r.spec); err != nil || !strings.HasSuffix(out, "4096\n64\n0\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEnvironment checks that a command sees its own environment and nothing of
// how it was started.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.spec.Read = []string{"/proc"}
	cmd := r.command("env")
	cmd.Env = []string{"A=1", "GODEBUG=x"}
	cmd.Args[0] = "name"
	out, err := r.run(cmd, &r.spec)
	if err != nil || !strings.HasPrefix(out, "A=1\nGODEBUG=x\nTMPDIR=/") || strings.Count(out, "\n") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := r.shell(`ls /proc/self/fd | wc -l; tr '\0' ' ' </proc/$$/cmdline | cut -c1-7`, &r.spec); err != nil || out != "4\nbash -c\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestExit checks that the end of a command is as it is without the sandbox.
func TestExit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, err := r.shell(`exit 7`, &r.spec)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit 7: %v", err)
	}
	_, err = r.shell(`kill -9 $$`, &r.spec)
	if !errors.As(err, &exit) {
		t.Fatalf("kill: %v", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("kill: %v", err)
	}
	// A program that is gone is not started as something else.
	cmd := r.command("bash", "-c", "echo REACHED")
	cmd.Path = filepath.Join(r.project, "gone")
	if out, err := r.run(cmd, &r.spec); !errors.As(err, &exit) || exit.ExitCode() != 126 || !strings.Contains(out, "opencode: error: sandbox: ") {
		t.Errorf("a program that is gone: %v\n%s", err, out)
	}
}

// TestPrepareRefuses checks what is not started.
func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for name, change := range map[string]func(*exec.Cmd, *sandbox.Spec){
		"no environment":      func(c *exec.Cmd, _ *sandbox.Spec) { c.Env = nil },
		"no root":             func(_ *exec.Cmd, s *sandbox.Spec) { s.Root = "" },
		"a relative root":     func(_ *exec.Cmd, s *sandbox.Spec) { s.Root = "x" },
		"a relative program":  func(c *exec.Cmd, _ *sandbox.Spec) { c.Path = "bash" },
		"files":               func(c *exec.Cmd, _ *sandbox.Spec) { c.ExtraFiles = []*os.File{os.Stdin} },
		"a guarantee unknown": func(_ *exec.Cmd, s *sandbox.Spec) { s.Require = []sandbox.Guarantee{"all"} },
		"an exempt program": func(_ *exec.Cmd, s *sandbox.Spec) {
			s.Require, s.DenyExec = []sandbox.Guarantee{sandbox.Exec}, []string{"bash"}
		},
		"a program not found": func(c *exec.Cmd, _ *sandbox.Spec) { c.Err = exec.ErrNotFound },
	} {
		cmd, spec := r.command("bash", "-c", "true"), r.spec
		change(cmd, &spec)
		path := cmd.Path
		release, _, err := r.sandbox.Prepare(cmd, spec)
		if err == nil || release != nil || cmd.Path != path {
			t.Errorf("%s: %v, want an error and the command as it was", name, err)
		}
		if strings.HasPrefix(name, "a guarantee") && !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, sandbox.ErrUnavailable)
		}
	}
	if _, err := sandbox.New(sandbox.Config{Hide: []string{"x"}}); err == nil {
		t.Error("a relative path to hide is taken")
	}
	if _, err := sandbox.New(sandbox.Config{Temp: "x"}); err == nil {
		t.Error("a relative temporary directory is taken")
	}
}

// TestRequired checks that a command can have what the host says it holds.
func TestRequired(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.spec.Network = false
	r.spec.Require = r.sandbox.Host().Holds()
	release, report, err := r.sandbox.Prepare(r.command("true"), r.spec)
	if err != nil {
		t.Fatal(err)
	}
	release()
	release()
	for _, g := range r.spec.Require {
		if report.Held[g] == "" {
			t.Errorf("%s is not held: %+v", g, report)
		}
	}
	for _, g := range sandbox.Guarantees() {
		if (report.Held[g] == "") == (report.Missing[g] == "") {
			t.Errorf("%s: %+v, want it either held or missing", g, report)
		}
	}
}

// BenchmarkStart measures a command without the sandbox and with it.
func BenchmarkStart(b *testing.B) {
	r := newRig(b, nil)
	r.spec.Caches = []string{"~/.cache/go-build"}
	r.spec.DenyExec = []string{"curl", "wget", "nc", "telnet", "firefox"}
	for name, spec := range map[string]*sandbox.Spec{
		"without":            nil,
		"sandbox":            &r.spec,
		"sandbox no network": {Root: r.project, Write: r.spec.Write, Caches: r.spec.Caches, DenyExec: r.spec.DenyExec},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "/bin/true")
				cmd.Dir = r.project
				cmd.Env = []string{"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "HOME=" + r.home}
				if out, err := r.run(cmd, spec); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
