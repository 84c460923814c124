package tool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"opencode/agent/tool"
	"opencode/agent/tool/procfs"
)

func TestProcessesHaveOneOwner(t *testing.T) {
	t.Parallel()
	if s, err := tool.NewProcesses(nil); !errors.Is(err, tool.ErrOwned) || s != nil {
		t.Errorf("a second NewProcesses = %v, %v, want %v", s, err, tool.ErrOwned)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	ran := filepath.Join(t.TempDir(), "ran")
	for name, change := range map[string]func(*exec.Cmd){
		"inherited environment": func(c *exec.Cmd) { c.Env = nil },
		"output to a buffer":    func(c *exec.Cmd) { c.Stdout = &bytes.Buffer{} },
		"errors to a buffer":    func(c *exec.Cmd) { c.Stderr = &bytes.Buffer{} },
		"input from a reader":   func(c *exec.Cmd) { c.Stdin = strings.NewReader("x") },
		"group without session": func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} },
		"missing program":       func(c *exec.Cmd) { c.Path = "/no/such/program" },
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "touch "+ran)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		change(cmd)
		if p, err := procs.Start(cmd, "call_refused"); err == nil || p != nil {
			t.Errorf("%s: Start = %v, %v, want an error", name, p, err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a refused command ran")
	}
}

func TestWaitMayBeCalledTwice(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exit 3")
	cmd.Env = []string{}
	p, err := procs.Start(cmd, "call_wait_twice")
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if st, err := procfs.Read(p.PID()); err != nil || st.State != 'Z' || st.Session != p.PID() {
		t.Errorf("before Wait: %+v, %v, want the dead first process of a session", st, err)
	}
	for range 2 {
		state, err := p.Wait()
		if err != nil || state.ExitCode() != 3 {
			t.Errorf("Wait = %v, %v, want exit code 3", state, err)
		}
	}
	if err := p.Stop(0); err != nil {
		t.Errorf("Stop after Wait = %v", err)
	}
}

// TestOtherChildrenAreLeftAlone is about what other code starts with os/exec:
// it is neither killed nor is its exit status taken.
func TestOtherChildrenAreLeftAlone(t *testing.T) {
	t.Parallel()
	long := exec.CommandContext(t.Context(), program(t, "sleep"), marker(t, 1))
	if err := long.Start(); err != nil {
		t.Fatal(err)
	}
	b := newBash(t, nil)
	var group sync.WaitGroup
	for i := range 8 {
		c := call(t, "(setsid sleep 100 &) ; true")
		group.Go(func() {
			for n := range 5 {
				c := c
				c.ID += fmt.Sprintf("_%d_%d", i, n)
				if _, err := b.Run(t.Context(), c, limits, nil); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 10 {
				var exit *exec.ExitError
				err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exit 9").Run()
				if !errors.As(err, &exit) || exit.ExitCode() != 9 {
					t.Errorf("os/exec: %v, want exit status 9", err)
				}
			}
		})
	}
	group.Wait()
	if err := long.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other child: %v", err)
	}
	if err := long.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := long.Wait(); !errors.As(err, &exit) {
		t.Errorf("Wait of the other child = %v", err)
	}
}

// TestOrphansAreReaped is about what a running command lets go: a command that
// does so all day must not fill the table of processes.
func TestOrphansAreReaped(t *testing.T) {
	t.Parallel()
	c := call(t, "for i in 1 2 3 4 5; do (setsid sh -c 'echo $$ >>pids' &) ; done; until [ -e go ]; do sleep 0.01; done")
	done := make(chan error, 1)
	go func() {
		_, err := newBash(t, nil).Run(t.Context(), c, limits, nil)
		done <- err
	}()
	eventually(t, "all orphans reaped while the command runs", func() bool {
		b, err := os.ReadFile(filepath.Join(c.Directory, "pids"))
		pids := strings.Fields(string(b))
		if err != nil || len(pids) != 5 {
			return false
		}
		for _, field := range pids {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := procfs.Read(pid); err == nil && st.Parent == os.Getpid() {
				return false
			}
		}
		return true
	})
	if err := os.WriteFile(filepath.Join(c.Directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunLeavesNoZombie(t *testing.T) {
	t.Parallel()
	b := newBash(t, nil)
	for i := range 5 {
		c := call(t, "true & (setsid sleep 100 &) ; (setsid true &) ; (env -i $(command -v setsid) sleep 100 &)")
		c.ID += fmt.Sprintf("_%d", i)
		runWith(t, b, c, limits)
	}
	all, err := procfs.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range all {
		if st.Parent == os.Getpid() && st.State == 'Z' {
			eventually(t, fmt.Sprintf("%+v reaped", st), func() bool {
				now, err := procfs.Read(st.PID)
				return err != nil || now.Start != st.Start || now.State != 'Z'
			})
		}
	}
}

// TestCloseEndsEverything has a program of its own, since closing ends what all
// other tests here run.
func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"ask", "hurry"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			mark := marker(t, 2)
			args := []string{how}
			for _, command := range trees {
				args = append(args, fmt.Sprintf(command, mark))
			}
			cmd := childCommand(t.Context(), "close", args...)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var ready string
			if _, err := fmt.Fscanln(out, &ready); err != nil || ready != "up" {
				t.Fatalf("child said %q, %v", ready, err)
			}
			eventually(t, "all commands run", func() bool { return len(running(t, mark+"\x00")) >= len(trees) })
			if err := stdin.Close(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if left := running(t, mark); len(left) > 0 {
				t.Errorf("left running: %v", left)
			}
		})
	}
}

// TestGroupAloneIsNotEnough shows the hole that Processes closes: a daemon
// survives the death of its command's process group.
func TestGroupAloneIsNotEnough(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	command := fmt.Sprintf("(setsid sh -c 'echo $$ >%s; exec sleep 100' &) ; sleep 100", file)
	out, err := childCommand(t.Context(), "group", command, file).Output()
	if err != nil || string(out) != "survived\n" {
		t.Errorf("child said %q, %v, want the daemon to survive", out, err)
	}
}
