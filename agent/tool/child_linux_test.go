package tool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"opencode/agent/tool"
	"opencode/agent/tool/procfs"
)

// childCommand returns this test program as a program of its own, which does
// what is named. Its standard input is open until the test closes it.
func childCommand(ctx context.Context, what string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{what}, args...)...)
	cmd.Env = append(os.Environ(), "TOOL_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// child is what the test program does as a child of itself.
func child(args []string) int {
	var err error
	switch args[0] {
	case "close":
		err = closeWhileRunning(args[1:])
	case "group":
		err = killGroupOnly(args[1], args[2])
	default:
		err = fmt.Errorf("unknown: %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// closeWhileRunning runs each command, says when all are up, and closes the owner of all when its
// standard input ends. With "hurry" first, there is no time to ask.
func closeWhileRunning(args []string) error {
	procs, err := tool.NewProcesses(nil)
	if err != nil {
		return err
	}
	b, err := tool.NewBash(tool.BashConfig{Procs: procs, Grace: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := args[0] == "hurry"
	type end struct {
		res tool.Result
		err error
	}
	ends, up := make(chan end), make(chan struct{})
	for i, command := range args[1:] {
		go func() {
			c := tool.BashCall{ID: fmt.Sprintf("call_%d", i), Command: "echo up; " + command, Directory: os.TempDir()}
			var once sync.Once
			res, err := b.Run(ctx, c, limits, func(string) { once.Do(func() { up <- struct{}{} }) })
			ends <- end{res, err}
		}()
	}
	for range args[1:] {
		<-up
	}
	fmt.Println("up")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	closeCtx, cancelClose := context.WithCancel(ctx)
	defer cancelClose()
	if hurry {
		cancelClose()
	}
	if err := procs.Close(closeCtx); err != nil {
		return err
	}
	for range args[1:] {
		if e := <-ends; e.err != nil || !e.res.Aborted {
			return fmt.Errorf("run = %+v, %w, want it aborted", e.res, e.err)
		}
	}
	c := tool.BashCall{ID: "call_late", Command: "true", Directory: os.TempDir()}
	if _, err := b.Run(ctx, c, limits, nil); err == nil {
		return errors.New("run after Close: no error")
	}
	again, err := tool.NewProcesses(nil)
	if err != nil {
		return fmt.Errorf("a new owner after Close: %w", err)
	}
	return again.Close(ctx)
}

// killGroupOnly runs a command that writes the number of its daemon to a file,
// kills the command's process group, and says whether the daemon lives. It
// adopts the daemon only so that the test, which started us, does not.
func killGroupOnly(command, file string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid, ticker := 0, time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for pid == 0 {
		<-ticker.C
		if b, err := os.ReadFile(file); err == nil {
			_, _ = fmt.Sscanf(string(b), "%d\n", &pid) // else it is not written yet
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	_ = cmd.Wait() // it was killed
	if st, err := procfs.Read(pid); err == nil && st.State != 'Z' {
		fmt.Println("survived")
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
