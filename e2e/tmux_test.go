package e2e_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// screenDeadline bounds the wait for something to appear on a screen.
const screenDeadline = 60 * time.Second

// afterEnd runs a program and says how it has ended. Then it stays, so that
// what the program said last can be read. It holds a pipe open, as all does that
// it has started.
const afterEnd = `exec 3>"$0"; "$@"; echo "the program has ended with $?"; exec cat`

// hasEnded matches what afterEnd says.
var hasEnded = regexp.MustCompile(`(?m)^the program has ended with (\d+)$`)

// screen is a terminal of 120 by 40 characters with a program in it. It is a
// tmux server of its own, which ends with the test.
type screen struct {
	socket string
	env    []string
}

// startScreen runs a command in a new terminal.
func startScreen(t *testing.T, env []string, dir, name string, args ...string) *screen {
	t.Helper()
	own := tempDir(t)
	x := &screen{socket: filepath.Join(own, "tmux"), env: env}
	path := filepath.Join(own, "alive")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	alive, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-c", dir, "--", "sh", "-c", afterEnd, path, name}
	x.tmux(t, append(argv, args...)...)
	t.Cleanup(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "tmux", "-S", x.socket, "kill-server")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("tmux kill-server: %v: %s", err, out)
		}
		// Whatever still ran would write to directories that are removed next.
		err := alive.SetReadDeadline(time.Now().Add(stopDeadline))
		if _, readErr := io.Copy(io.Discard, alive); err != nil || readErr != nil {
			t.Errorf("%s outlives its terminal: %v, %v", name, err, readErr)
		}
		if err := alive.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// press sends keys by their tmux names, such as Enter, Escape and C-u.
func (x *screen) press(t *testing.T, keys ...string) {
	t.Helper()
	x.tmux(t, append([]string{"send-keys"}, keys...)...)
}

// write types the text.
func (x *screen) write(t *testing.T, text string) {
	t.Helper()
	x.tmux(t, "send-keys", "-l", "--", text)
}

// text returns what the screen shows.
func (x *screen) text(t *testing.T) string {
	t.Helper()
	return x.tmux(t, "capture-pane", "-p")
}

// waitEnd waits until the program has ended, and returns what it has said and
// its exit status.
func (x *screen) waitEnd(t *testing.T) (text, status string) {
	t.Helper()
	text = x.wait(t, hasEnded.String())
	return text, hasEnded.FindStringSubmatch(text)[1]
}

// wait waits until the screen shows what matches all patterns, and returns it.
func (x *screen) wait(t *testing.T, patterns ...string) string {
	t.Helper()
	return x.waitUntil(t, strings.Join(patterns, " and "), func(text string) bool {
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(text) {
				return false
			}
		}
		return true
	})
}

// waitGone waits until the screen shows nothing that matches the pattern.
func (x *screen) waitGone(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	return x.waitUntil(t, "no "+pattern, func(text string) bool { return !re.MatchString(text) })
}

// waitUntil looks at the screen again and again, as a terminal tells nobody
// that it has changed, until it shows what it should.
func (x *screen) waitUntil(t *testing.T, what string, shown func(text string) bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), screenDeadline)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		text := x.text(t)
		switch {
		case shown(text):
			return text
		case hasEnded.MatchString(text):
			t.Fatalf("the screen does not show %s:\n%s", what, text)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("the screen does not show %s within %v:\n%s", what, screenDeadline, text)
		}
	}
}

func (x *screen) tmux(t *testing.T, args ...string) string {
	t.Helper()
	return runCommand(t, x.env, "", "tmux", append([]string{"-u", "-S", x.socket}, args...)...)
}
