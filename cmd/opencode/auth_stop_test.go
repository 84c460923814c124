package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestStoppedQuestion stops a program while it asks for a secret, and has it go
// on: the shell gets its terminal back, and the secret is not shown after that.
func TestStoppedQuestion(t *testing.T) {
	t.Parallel()
	const asks = "OPENCODE_TEST_ASKS"
	if os.Getenv(asks) != "" {
		con := newConsole(os.Stdin, os.Stderr)
		secret, err := con.Secret(t.Context(), "Secret", "--secret")
		con.close()
		fmt.Fprintf(os.Stderr, "read %d bytes, %v\n", len(secret.Reveal()), err)
		return
	}
	ptmx, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ptmx.Close() }() // a terminal of the test's own
	defer func() { _ = terminal.Close() }()
	mode := func() unix.Termios {
		mode, err := unix.IoctlGetTermios(int(terminal.Fd()), ttyGetMode)
		if err != nil {
			t.Fatal(err)
		}
		return *mode
	}
	shown := ""
	until := func(text string) {
		t.Helper()
		for !strings.Contains(shown, text) {
			b := make([]byte, 1024)
			n, err := ptmx.Read(b)
			if err != nil {
				t.Fatalf("the terminal shows %q, %v, want %q", shown, err, text)
			}
			shown += string(b[:n])
		}
		shown = ""
	}
	before := mode()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestStoppedQuestion$")
	cmd.Env = append(os.Environ(), asks+"=1")
	cmd.Stdin, cmd.Stderr = terminal, terminal
	// A group of its own, as a shell makes for a job.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		until("Secret (is not shown): ")
		if asking := mode(); asking.Lflag&(unix.ECHO|unix.ICANON) != 0 {
			t.Errorf("a question has the mode %+v: the secret shows", asking)
		}
		signal(syscall.SIGTSTP)
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("the program is not stopped: %v, %v", status, err)
		}
		if stopped := mode(); stopped != before {
			t.Errorf("the shell gets the mode %+v, want %+v", stopped, before)
		}
		signal(syscall.SIGCONT)
	}
	until("Secret (is not shown): ")
	if _, err := ptmx.WriteString("four\r"); err != nil {
		t.Fatal(err)
	}
	until("read 4 bytes, <nil>")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if after := mode(); after != before {
		t.Errorf("the terminal is left in mode %+v, want %+v", after, before)
	}
}
