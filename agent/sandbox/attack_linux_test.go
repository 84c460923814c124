//go:build amd64 || arm64

package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"opencode/agent/sandbox"
)

// execFromMemory copies a program into memory and runs it there.
func execFromMemory(path string) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("x", 0)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, program); err != nil {
		return err
	}
	return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"x"}, os.Environ())
}

func attach(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	if err := unix.PtraceSeize(n); err != nil {
		return err
	}
	return nil
}

// TestBannedProgram runs a banned program in every way that a shell, a loader
// and an interpreter know.
func TestBannedProgram(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"name":          `curl`,
		"path":          `"$BIN/curl"`,
		"dots":          `"$BIN/../bin/./curl"`,
		"copy":          `cp "$BIN/curl" x; chmod +x x; ./x`,
		"copy by cat":   `cat "$BIN/curl" >x; chmod +x x; ./x`,
		"copy by shell": `t=$(<"$BIN/curl"); printf '%s\n' "$t" >x; chmod +x x; ./x`,
		"copy by dd":    `dd if="$BIN/curl" of=x status=none; chmod +x x; ./x`,
		"copy by tar":   `tar -cf - -C "$BIN" curl | tar -xf - && ./curl`,
		"link":          `ln -s "$BIN/curl" x; ./x`,
		"hard link":     `ln "$BIN/curl" x; ./x`,
		"move":          `mv "$BIN/curl" x; ./x; r=$?; mv x "$BIN/curl"; exit $r`,
		"interpreter":   `sh "$BIN/curl"`,
		"source":        `. "$BIN/curl"`,
		"input":         `sh <"$BIN/curl"`,
		"descriptor":    `exec 9<"$BIN/curl"; sh /proc/self/fd/9`,
		"root":          `/proc/self/root"$BIN/curl"`,
		"cwd":           `cd "$BIN"; /proc/self/cwd/curl`,
		"python":        `python3 -c 'import os,sys; os.execv(os.environ["BIN"]+"/curl",["curl"])'`,
		"python copy":   `python3 -c 'import os,shutil; shutil.copy(os.environ["BIN"]+"/curl","x")'; ./x`,
		"perl":          `perl -e 'exec "$ENV{BIN}/curl"'`,
		"make":          `printf 'all:\n\t@curl\n' >Makefile; make`,
		"env":           `env -i "$BIN/curl"`,
		"find":          `find "$BIN" -name 'cur?' -exec {} \;`,
		"hash":          `hash -p "$BIN/curl" ls; ls`,
		"library":       `other=$(echo l r u c | tr -d ' ' | rev); "$BIN/$other"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			host(t, r.sandbox, sandbox.Exec)
			r.pair(script, "BIN="+r.bin)
		})
	}
}

// TestBannedBinary does the same with a program that a loader can start.
func TestBannedBinary(t *testing.T) {
	t.Parallel()
	loader, err := filepath.Glob("/lib*/ld-linux-*.so.*")
	if err != nil || len(loader) == 0 {
		missing(t, "a loader in /lib")
	}
	for name, script := range map[string]string{
		"loader":      loader[0] + ` "$BIN/curl" REACHED`,
		"loader copy": `cp ` + loader[0] + ` ld; ./ld "$BIN/curl" REACHED`,
		"memory":      `SANDBOX_TEST_ATTACK=1 "$SELF" memfd "$BIN/curl"`,
		"alias":       `"$BIN/alternative" REACHED`,
		"same file":   `"$BIN/innocent" REACHED`,
		"behind":      `"$BIN/../lib/curl-7" REACHED`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			host(t, r.sandbox, sandbox.Exec)
			echo, err := os.ReadFile("/bin/echo")
			if err != nil {
				t.Fatal(err)
			}
			if name == "memory" {
				echo = []byte(stub)
			}
			lib := filepath.Join(filepath.Dir(r.bin), "lib")
			if err := os.Mkdir(lib, 0o755); err != nil {
				t.Fatal(err)
			}
			curl := filepath.Join(r.bin, "curl")
			if err := os.Remove(curl); err != nil {
				t.Fatal(err)
			}
			// The banned name is a link, as for alternatives of a program; the file
			// has a second name of its own.
			r.write(filepath.Join(lib, "curl-7"), string(echo), 0o755)
			for _, err := range []error{
				os.Symlink("../lib/curl-7", curl), os.Symlink("curl", filepath.Join(r.bin, "alternative")),
				os.Link(filepath.Join(lib, "curl-7"), filepath.Join(r.bin, "innocent")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			r.spec.Read = []string{lib, self(t)}
			r.pair(script, "BIN="+r.bin, "SELF="+self(t))
		})
	}
}

// self returns the test program, which can be run as an attacker.
func self(tb testing.TB) string {
	tb.Helper()
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestOtherProgramsRun checks that what stands beside a banned program is as it
// was.
func TestOtherProgramsRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Exec)
	out, err := r.shell(`harmless && ls "$BIN" && echo "a mention of curl"`, &r.spec, "BIN="+r.bin)
	if err != nil || out != "fine\ncurl\nharmless\na mention of curl\n" {
		t.Errorf("%v\n%s", err, out)
	}
	// A program that is new, and one that takes the place of a banned one.
	r.write(filepath.Join(r.bin, "new"), "#!/bin/sh\necho new\n", 0o755)
	if out, err := r.shell(`new`, &r.spec); err != nil || out != "new\n" {
		t.Errorf("a new program: %v\n%s", err, out)
	}
	r.write(filepath.Join(r.bin, "wget"), stub, 0o755)
	r.spec.DenyExec = append(r.spec.DenyExec, "wget")
	r.pair(`wget`)
}

// TestFiles checks that files are read and written only where they may be.
func TestFiles(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"secret":              `cat ~/.ssh/id_rsa`,
		"home":                `cat ~/notes`,
		"by link":             `ln -sf ~/.ssh/id_rsa x; cat x`,
		"hard link":           `ln -f ~/.ssh/id_rsa x; cat x`,
		"move":                `mv ~/.ssh x && cat x/id_rsa; r=$?; mv x ~/.ssh; exit $r`,
		"root":                `cat /proc/self/root"$HOME/.ssh/id_rsa"`,
		"the server's":        `cat "$SERVER/auth-tokens.json"`,
		"write":               `echo REACHED >~/outside; cat ~/outside; rm ~/outside`,
		"append":              `echo x >>~/notes && echo REACHED`,
		"cut":                 `truncate -s 8 ~/notes && echo REACHED`,
		"remove":              `touch ~/gone 2>/dev/null; rm ~/notes && echo REACHED; printf 'REACHED\n' >~/notes`,
		"directory":           `mkdir ~/d && rmdir ~/d && echo REACHED`,
		"link outside":        `ln -s / ~/l && rm ~/l && echo REACHED`,
		"shell configuration": `echo x >>~/.bashrc && rm ~/.bashrc && echo REACHED`,
		"system":              `f=/etc/oc-sandbox-$$; [ -w /etc ] || exec echo REACHED >~/x; touch $f && rm $f && echo REACHED`,
	} {
		if name == "system" && os.Geteuid() != 0 {
			continue // only root can write there anyway
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			host(t, r.sandbox, sandbox.Write, sandbox.Read)
			r.pair(script, "SERVER="+filepath.Dir(r.server("x")))
		})
	}
}

// TestMetadata checks that a command cannot change what is about files outside,
// which Landlock leaves open.
func TestMetadata(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"mode":      `chmod 640 ~/.ssh/id_rsa && echo REACHED`,
		"time":      `touch -d 2001-01-01 ~/notes && echo REACHED`,
		"directory": `chmod 755 ~/.ssh && echo REACHED`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			host(t, r.sandbox, sandbox.Write, sandbox.Sockets)
			if !r.sandbox.Host().Namespaces {
				missing(t, "namespaces")
			}
			r.pair(script)
		})
	}
}

// TestProtected checks that a command cannot change what decides, although it
// is in its project, nor move it away.
func TestProtected(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"change":   `echo x >>conf/team/policy/a && echo REACHED`,
		"add":      `touch conf/team/policy/b && echo REACHED`,
		"remove":   `rm conf/team/policy/a && echo REACHED`,
		"move":     `mv conf/team/policy x && echo REACHED`,
		"move up":  `mv conf/team x && echo REACHED`,
		"move top": `mv conf x && echo REACHED`,
		"mode":     `chmod 777 conf/team/policy/a && echo REACHED`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			dir := filepath.Join(r.project, "conf", "team", "policy")
			r.before = `mkdir -p conf/team/policy && echo a >conf/team/policy/a`
			var err error
			if r.sandbox, err = sandbox.New(sandbox.Config{Protect: []string{dir}}); err != nil {
				t.Fatal(err)
			}
			if !r.sandbox.Host().Namespaces {
				missing(t, "namespaces")
			}
			r.pair(script)
			if out, err := r.shell(`cat conf/team/policy/a && touch conf/x conf/team/y`, &r.spec); err != nil {
				t.Errorf("what is around it: %v\n%s", err, out)
			}
		})
	}
}

// TestTerminals checks that a command cannot open the terminals of others.
func TestTerminals(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Write)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "terminal that can be opened: "+err.Error())
	}
	defer func() { _ = master.Close() }() // nothing was written
	number, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	script := `exec 9<>` + name + ` && echo REACHED`
	r.pair(script)
	// Its own it can.
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slave.Close() }() // nothing was written
	cmd := r.command("bash", "-c", script+` >x; tty >>x`)
	cmd.Stdin = slave
	release, _, err := r.sandbox.Prepare(cmd, r.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if out, err := os.ReadFile(filepath.Join(r.project, "x")); err != nil || string(out) != "REACHED\n"+name+"\n" {
		t.Errorf("its own terminal: %q, %v", out, err)
	}
}

// TestHidden checks that what is hidden stays so in a project that has it in
// it, as if somebody worked in the home directory.
func TestHidden(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Read)
	r.spec.Root = r.home
	for _, script := range []string{`cat ~/.ssh/id_rsa`, `cp -r ~/.ssh x; cat x/id_rsa`, `mv ~/.ssh x; cat x/id_rsa; mv x ~/.ssh`, `cp ~/.ssh/id_rsa x && cat x`, `echo REACHED >~/.ssh/id_rsa && cat ~/.ssh/id_rsa`} {
		r.pair(script)
	}
	// What somebody agreed to is not hidden.
	r.spec.Read = []string{"~/.ssh/id_rsa"}
	if out, err := r.shell(`cat ~/.ssh/id_rsa`, &r.spec); out != "REACHED\n" {
		t.Errorf("a file that was granted: %v\n%s", err, out)
	}
	// What the server keeps for itself is, whatever was agreed to.
	r.spec.Read = []string{r.server("auth-tokens.json")}
	r.pair(`cat ` + r.server("auth-tokens.json"))
}

// TestHiddenIsReplaced replaces a hidden file, while a command runs, by one that was
// beside it when the command started.
func TestHiddenIsReplaced(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"%s.tmp-1", "%s.next", ".%s.swp", "%s~", "n%s"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *sandbox.Config) { c.Hide[0] = filepath.Join(c.Hide[0], "auth-tokens.json") })
			host(t, r.sandbox, sandbox.Read)
			path := r.server("auth-tokens.json")
			next := filepath.Join(filepath.Dir(path), fmt.Sprintf(form, filepath.Base(path)))
			other := filepath.Join(filepath.Dir(path), "other")
			started, proceed := filepath.Join(r.project, "started"), filepath.Join(r.project, "proceed")
			if err := errors.Join(os.WriteFile(next, []byte("REACHED"), 0o600), os.WriteFile(other, []byte("other\n"), 0o600),
				unix.Mkfifo(started, 0o600), unix.Mkfifo(proceed, 0o600)); err != nil {
				t.Fatal(err)
			}
			r.spec.Read = []string{filepath.Dir(path)}
			var replaced error
			var replacing sync.WaitGroup
			replacing.Go(func() {
				_, err := os.ReadFile(started)
				replaced = errors.Join(err, os.Rename(next, path), os.WriteFile(proceed, []byte("\n"), 0o600))
			})
			out, err := r.shell(`echo >`+started+`; read x <`+proceed+`; cat `+path+` 2>/dev/null; cat `+other, &r.spec)
			replacing.Wait()
			if err != nil || replaced != nil || out != "other\n" {
				t.Errorf("%v, %v, %q, want what is beside it and nothing of it", err, replaced, out)
			}
		})
	}
}

// TestHiddenWhileReplaced starts commands while what is hidden from them is
// written anew and renamed over and over, as the server does with its own files.
// Each command starts, and none sees what one of the files holds.
func TestHiddenWhileReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *sandbox.Config) { c.Hide[0] = filepath.Join(c.Hide[0], "auth-tokens.json") })
	host(t, r.sandbox, sandbox.Read)
	path := r.server("auth-tokens.json")
	r.spec.Read = []string{filepath.Dir(path)}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for next := path + ".next"; ; {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(os.WriteFile(next, []byte("REACHED"), 0o600), os.Rename(next, path)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 60 {
		out, err := r.shell(`for i in 1 2 3 4 5; do cat `+path+` 2>/dev/null; done; echo ran`, &r.spec)
		if err != nil || out != "ran\n" {
			t.Errorf("%v, %q, want that it runs and sees nothing", err, out)
		}
	}
	close(stop)
	writing.Wait()
}

// TestOtherProcesses checks that a command cannot look into, stop or steer what
// is outside.
func TestOtherProcesses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		holds  sandbox.Guarantee
		script string
	}{
		"environment":  {sandbox.Memory, `tr '\0' '\n' </proc/$OTHER/environ`},
		"files":        {sandbox.Memory, `readlink /proc/$OTHER/fd/0 && echo REACHED`},
		"memory":       {sandbox.Memory, `exec 9</proc/$OTHER/mem && echo REACHED`},
		"root of it":   {sandbox.Memory, `ls /proc/$OTHER/root/ && echo REACHED`},
		"ptrace":       {sandbox.Memory, `SANDBOX_TEST_ATTACK=1 "$SELF" ptrace $OTHER`},
		"signal":       {sandbox.Signals, `kill -CONT $OTHER && echo REACHED`},
		"limits":       {sandbox.Calls, `prlimit --pid $OTHER --nofile=10 && echo REACHED`},
		"signal group": {sandbox.Signals, `kill -CONT -- -$OTHER && echo REACHED`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			host(t, r.sandbox, test.holds)
			other := r.command("sleep", "1000")
			other.Env = []string{"SECRET=REACHED"}
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Wait() }()         // killed
			defer func() { _ = other.Process.Kill() }() // it may have been killed
			r.spec.Read = []string{self(t)}
			r.pair(test.script, "OTHER="+strconv.Itoa(other.Process.Pid), "SELF="+self(t))
		})
	}
}

// TestSockets checks that the sockets of other programs are out of reach, with
// the network or without.
func TestSockets(t *testing.T) {
	t.Parallel()
	for _, network := range []bool{true, false} {
		for _, kind := range []string{"unix", "elsewhere", "abstract", "tcp"} {
			if kind == "tcp" && network {
				continue // that is the network
			}
			t.Run(fmt.Sprintf("%s network %v", kind, network), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				host(t, r.sandbox, sandbox.Sockets, sandbox.Network)
				protocol, address := kind, r.server("s")
				switch kind {
				case "abstract":
					protocol, address = "unix", "@oc-"+strconv.Itoa(os.Getpid())+strings.Repeat("x", 1+len(t.Name()))
				case "elsewhere":
					protocol, address = "unix", filepath.Join(r.home, "other's")
				case "tcp":
					address = "127.0.0.1:0"
				}
				l, err := (&net.ListenConfig{}).Listen(context.Background(), protocol, address)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = l.Close() }() // nothing was written
				to := strings.TrimPrefix(l.Addr().String(), "@")
				r.spec.Network = network
				r.spec.Read = []string{self(t)}
				r.pair(`SANDBOX_TEST_ATTACK=1 "$SELF" `+strings.ReplaceAll(kind, "elsewhere", "unix")+` "$TO"`, "SELF="+self(t), "TO="+to)
			})
		}
	}
}

// TestOwnNetwork checks that the tests of a project can talk to themselves
// without a network.
func TestOwnNetwork(t *testing.T) {
	t.Parallel()
	needs(t, "python3")
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Network, sandbox.Sockets)
	r.spec.Network = false
	out, err := r.shell(`python3 -c 'import socket
l=socket.socket(); l.bind(("127.0.0.1",0)); l.listen()
c=socket.create_connection(l.getsockname()); l.accept(); print("fine")
try:
  socket.create_connection(("192.0.2.1",80),timeout=5); print("REACHED")
except OSError as e: print(e.errno)'`, &r.spec)
	if err != nil || out != "fine\n"+strconv.Itoa(int(unix.ENETUNREACH))+"\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCalls checks that calls which commands do not need are refused, also
// under the numbers of another interface.
func TestCalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Calls)
	r.spec.Read = []string{self(t)}
	for _, script := range []string{`unshare -r true && echo REACHED`, `unshare -rm mount -t tmpfs none /mnt && echo REACHED`} {
		if out, err := r.shell(script, nil); err != nil {
			t.Logf("NOT TESTED: %q: %v\n%s", script, err, out)
			continue
		}
		r.pair(script)
	}
	// The call table of another processor is another program.
	out, err := r.shell(`SANDBOX_TEST_ATTACK=1 "$SELF" call32; echo $?`, &r.spec, "SELF="+self(t))
	if strings.Contains(out, "REACHED") || err != nil {
		t.Errorf("a call by another number: %v\n%s", err, out)
	}
	out, err = r.shell(`grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; ulimit -c`, &r.spec)
	if err != nil || out != "NoNewPrivs:\t1\nSeccomp:\t2\n0\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if os.Geteuid() != 0 {
		return
	}
	out, err = r.shell(`grep -E '^Cap(Prm|Eff|Bnd|Inh|Amb):' /proc/self/status`, &r.spec)
	for line := range strings.Lines(out) {
		_, bits, _ := strings.Cut(strings.TrimSpace(line), "\t")
		caps, parseErr := strconv.ParseUint(bits, 16, 64)
		if parseErr != nil || caps&(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_SYS_PTRACE|1<<unix.CAP_NET_ADMIN|1<<unix.CAP_SYS_MODULE|1<<unix.CAP_DAC_READ_SEARCH) != 0 {
			t.Errorf("root keeps %q: %v", line, err)
		}
	}
}

// TestDescendants checks that nothing gets out by starting something else.
func TestDescendants(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Read)
	r.pair(`(setsid sh -c 'cat ~/.ssh/id_rsa' &) | cat`)
	r.pair(`env -i HOME="$HOME" sh -c 'exec sh -c "cat ~/.ssh/id_rsa"'`)
}

// TestAsNobody runs the tests of this package once more without the rights of
// root, which holds namespaces to other rules.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can become somebody else; this package was tested without the rights of root already")
	}
	dir := t.TempDir()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "test")
	if err := os.WriteFile(exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chown(temp, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	skip := "TestAsNobody|Corpus$|TestStandIns" // their data is in the project, which nobody may not read
	if os.Getenv("OPENCODE_TEST_E2E") != "1" {
		skip += "|TestOrdinaryWork/go_" // nobody has no cache, and compiles everything
	}
	args := []string{"-test.timeout=5m", "-test.v", "-test.skip=" + skip}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = temp
	cmd.Env = []string{"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "TMPDIR=" + temp, "HOME=" + temp, "OPENCODE_TEST_E2E=" + os.Getenv("OPENCODE_TEST_E2E")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "NOT TESTED") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
