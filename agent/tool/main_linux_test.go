package tool_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"opencode/agent/tool"
)

// procs owns the children of the test program: there can be one owner.
var procs *tool.Processes

func TestMain(m *testing.M) {
	if os.Getenv("TOOL_TEST_CHILD") != "" {
		os.Exit(child(os.Args[1:]))
	}
	var err error
	procs, err = tool.NewProcesses(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// limits are generous, so that only what a test is about can exceed them.
var limits = tool.Limits{Timeout: time.Minute, MaxOutput: 30 << 10}

func newBash(tb testing.TB, change func(*tool.BashConfig)) *tool.Bash {
	tb.Helper()
	c := tool.BashConfig{Procs: procs, Env: func() []string { return []string{"PATH=" + os.Getenv("PATH")} }}
	if change != nil {
		change(&c)
	}
	b, err := tool.NewBash(c)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// call returns a call with an id that no other test has.
func call(tb testing.TB, command string) tool.BashCall {
	tb.Helper()
	return tool.BashCall{ID: "call_" + strings.Map(idRune, tb.Name()), Command: command, Directory: tb.TempDir()}
}

func idRune(r rune) rune {
	if r <= ' ' || r > '~' {
		return '_'
	}
	return r
}

func run(t *testing.T, command string) tool.Result {
	t.Helper()
	return runWith(t, newBash(t, nil), call(t, command), limits)
}

func runWith(t *testing.T, b *tool.Bash, c tool.BashCall, lim tool.Limits) tool.Result {
	t.Helper()
	res, err := b.Run(t.Context(), c, lim, nil)
	if err != nil {
		t.Fatalf("Run(%q): %v", c.Command, err)
	}
	return res
}

// marker returns an argument for sleep that no other process has.
func marker(tb testing.TB, n int) string {
	tb.Helper()
	sum := uint32(2166136261)
	for _, b := range []byte(tb.Name()) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("31%d.%d%d", n, os.Getpid(), sum)
}

// running returns the numbers of the living processes that have the text
// anywhere in their command line. A NUL at its end makes it the end of an
// argument, which leaves out the shell that was given the whole command.
func running(tb testing.TB, arg string) []int {
	tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no processes to look at: %v", err)
	}
	var pids []int
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(b), arg) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				tb.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// eventually waits for a condition that only can be looked at.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			tb.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}

// program returns the path of a program that a test needs.
func program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
