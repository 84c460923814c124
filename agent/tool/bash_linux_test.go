package tool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"opencode/agent/tool"
)

func TestRunResults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, command string
		want          tool.Result
	}{
		{"success", "true", tool.Result{}},
		{"exit code", "echo a; exit 7", tool.Result{Output: "a\n", OutputBytes: 2, ExitCode: 7}},
		{"both streams in order", "echo a; echo b >&2; echo c", tool.Result{Output: "a\nb\nc\n", OutputBytes: 6}},
		{"signal", "kill -KILL $$", tool.Result{ExitCode: 137, Signal: "SIGKILL"}},
		{"kills its own group", "kill -TERM 0; sleep 100", tool.Result{ExitCode: 143, Signal: "SIGTERM"}},
		{"not found", "no-such-program-4242 2>/dev/null", tool.Result{ExitCode: 127}},
		{"stdin is empty", "cat; echo $?", tool.Result{Output: "0\n", OutputBytes: 2}},
		{"begins with a dash", "-c 'echo no' 2>/dev/null; echo yes", tool.Result{Output: "yes\n", OutputBytes: 4}},
		{"invalid UTF-8", `printf 'a\377b'`, tool.Result{Output: "a\uFFFDb", OutputBytes: 3}},
		{"no terminal", "(: </dev/tty) 2>/dev/null || echo none", tool.Result{Output: "none\n", OutputBytes: 5}},
		{"blocking output", `f=$(sed -n 's/^flags:[^0-9]*//p' /proc/self/fdinfo/1); echo $((0$f & 04000))`, tool.Result{Output: "0\n", OutputBytes: 2}},
		{"process substitution", `echo a > >(cat; echo b)`, tool.Result{Output: "a\nb\n", OutputBytes: 4}},
		{"the longest command", "true #" + strings.Repeat("x", 128<<10-7), tool.Result{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := run(t, test.command)
			res.Duration = 0
			if diff := cmp.Diff(test.want, res); diff != "" {
				t.Errorf("Run(%.50q): (-want +got)\n%s", test.command, diff)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := tool.BashCall{ID: "call_refused", Command: "touch " + filepath.Join(dir, "ran"), Directory: dir}
	for _, test := range []struct {
		name   string
		change func(*tool.BashCall, *tool.Limits)
		want   string
	}{
		{"zero limits", func(_ *tool.BashCall, l *tool.Limits) { *l = tool.Limits{} }, "no time"},
		{"no output", func(_ *tool.BashCall, l *tool.Limits) { l.MaxOutput = 0 }, "no output"},
		{"negative time", func(_ *tool.BashCall, l *tool.Limits) { l.Timeout = -1 }, "no time"},
		{"zero call", func(c *tool.BashCall, _ *tool.Limits) { *c = tool.BashCall{} }, "empty"},
		{"blank command", func(c *tool.BashCall, _ *tool.Limits) { c.Command = " \n" }, "empty"},
		{"NUL", func(c *tool.BashCall, _ *tool.Limits) { c.Command += "\x00; true" }, "NUL"},
		{"too long", func(c *tool.BashCall, _ *tool.Limits) { c.Command += strings.Repeat(" ", 128<<10) }, "want at most 131071"},
		{"no id", func(c *tool.BashCall, _ *tool.Limits) { c.ID = "" }, "call id: empty"},
		{"id with a NUL", func(c *tool.BashCall, _ *tool.Limits) { c.ID = "a\x00b" }, "printable"},
		{"id too long", func(c *tool.BashCall, _ *tool.Limits) { c.ID = strings.Repeat("x", 257) }, "at most 256"},
		{"no directory", func(c *tool.BashCall, _ *tool.Limits) { c.Directory = "" }, "absolute"},
		{"relative directory", func(c *tool.BashCall, _ *tool.Limits) { c.Directory = "." }, "absolute"},
		{"missing directory", func(c *tool.BashCall, _ *tool.Limits) { c.Directory = filepath.Join(dir, "none") }, "no such file"},
		{"directory is a file", func(c *tool.BashCall, _ *tool.Limits) { c.Directory = file }, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, lim := ok, limits
			test.change(&c, &lim)
			_, err := newBash(t, nil).Run(t.Context(), c, lim, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Run = %v, want an error with %q", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Error("the command ran")
			}
		})
	}
}

func TestRunRefusesWhenAborted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := call(t, "touch ran")
	if _, err := newBash(t, nil).Run(ctx, c, limits, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(filepath.Join(c.Directory, "ran")); err == nil {
		t.Error("the command ran")
	}
}

func TestRunRefusesAnIDInUse(t *testing.T) {
	t.Parallel()
	b, first := newBash(t, nil), call(t, "echo ready; sleep "+marker(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	var once sync.Once
	go func() {
		_, err := b.Run(ctx, first, limits, func(string) { once.Do(func() { close(ready) }) })
		done <- err
	}()
	<-ready
	second := first
	second.Command = "true"
	if _, err := b.Run(t.Context(), second, limits, nil); err == nil || !strings.Contains(err.Error(), "already runs") {
		t.Errorf("Run with an id in use = %v, want an error", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if res := runWith(t, b, second, limits); res.ExitCode != 0 {
		t.Errorf("Run with an id that is free again = %+v", res)
	}
}

func TestNewBashRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]tool.BashConfig{
		"zero":           {},
		"relative shell": {Procs: procs, Shell: "bash"},
		"missing shell":  {Procs: procs, Shell: "/no/such/shell"},
		"negative grace": {Procs: procs, Grace: -time.Second},
	} {
		if b, err := tool.NewBash(c); err == nil || b != nil {
			t.Errorf("NewBash(%s) = %v, %v, want an error", name, b, err)
		}
	}
}

// trees are commands whose processes try to outlive them. Each runs for ever
// unless it is ended, and %s is the argument that its processes show.
var trees = map[string]string{
	"one process":        "sleep %[1]s",
	"children":           "sleep %[1]s & sleep %[1]s & wait",
	"pipe":               "sleep %[1]s | cat | sleep %[1]s",
	"session of its own": "setsid sleep %[1]s & wait",
	"waited for session": "setsid -w sleep %[1]s",
	"forked twice":       "(setsid sleep %[1]s &) ; sleep %[1]s",
	"nohup":              "nohup sleep %[1]s >/dev/null 2>&1 & wait",
	"deaf to SIGTERM":    "trap '' TERM; sleep %[1]s; sleep %[1]s",
	"deaf daemon":        `(setsid bash -c "trap '' TERM HUP INT; while :; do sleep %[1]s; done" &) ; sleep %[1]s`,
	"unmarked daemon":    "(env -i setsid sleep %[1]s &) ; sleep %[1]s",
	"wrongly marked":     "(OPENCODE_CALL_ID=call_of_another setsid sleep %[1]s &) ; sleep %[1]s",
	"group of its own":   "set -m; sleep %[1]s & wait",
	"sessions below":     `(setsid bash -c 'sleep %[1]s & (setsid sleep %[1]s &) ; wait' &) ; sleep %[1]s`,
	"closed output":      "exec >/dev/null 2>&1; (setsid sleep %[1]s &) ; sleep %[1]s",
}

func TestRunEndsTheWholeTree(t *testing.T) {
	t.Parallel()
	for name, command := range trees {
		for _, how := range []string{"timeout", "abort", "deadline"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				mark := marker(t, 2)
				b := newBash(t, func(c *tool.BashConfig) { c.Grace = 50 * time.Millisecond })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				lim := limits
				switch how {
				case "timeout":
					lim.Timeout = 150 * time.Millisecond
				case "deadline":
					ctx, cancel = context.WithTimeout(ctx, 150*time.Millisecond)
					defer cancel()
				case "abort":
					go func() {
						ticker := time.NewTicker(2 * time.Millisecond)
						defer ticker.Stop()
						for len(running(t, mark+"\x00")) == 0 && ctx.Err() == nil {
							<-ticker.C
						}
						cancel()
					}()
				}
				res, err := b.Run(ctx, call(t, fmt.Sprintf(command, mark)), lim, nil)
				if err != nil {
					t.Fatal(err)
				}
				if res.TimedOut != (how != "abort") || res.Aborted != (how == "abort") || res.ExitCode == 0 {
					t.Errorf("Run = %+v, want it to tell of the %s", res, how)
				}
				if left := running(t, mark); len(left) > 0 {
					t.Errorf("left running: %v", left)
				}
			})
		}
	}
}

func TestRunEndsWhatIsLeftBehind(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"background":            "sleep %[1]s & echo done",
		"several":               "for i in 1 2 3 4 5; do sleep %[1]s & done; echo done",
		"silent":                "sleep %[1]s >/dev/null 2>&1 & echo done",
		"nohup":                 "nohup sleep %[1]s >/dev/null 2>&1 & echo done",
		"disowned":              "sleep %[1]s & disown; echo done",
		"session":               "setsid sleep %[1]s & echo done",
		"daemon":                "(setsid sleep %[1]s >/dev/null 2>&1 &) ; echo done",
		"unmarked daemon":       "(env -i $(command -v setsid) $(command -v sleep) %[1]s >/dev/null 2>&1 &) ; echo done",
		"wrongly marked daemon": "(OPENCODE_CALL_ID=x setsid sleep %[1]s &) ; echo done",
		"deaf daemon":           `(setsid bash -c "trap '' TERM; while :; do sleep %[1]s; done" &) ; echo done`,
		"group of its own":      "set -m; sleep %[1]s & echo done",
		"stopped":               "sleep %[1]s & kill -STOP $!; echo done",
		"tree":                  `(setsid bash -c 'setsid sleep %[1]s & setsid sleep %[1]s & wait' &) ; echo done`,
		"holds the output":      "(setsid bash -c 'sleep %[1]s' &) ; echo done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := marker(t, 3)
			res := run(t, fmt.Sprintf(command, mark))
			if res.ExitCode != 0 || res.Output != "done\n" || res.TimedOut {
				t.Errorf("Run = %+v, want it done", res)
			}
			if left := running(t, mark); len(left) > 0 {
				t.Errorf("left running: %v", left)
			}
		})
	}
}

// TestRunEndsOneThatForksAllTheTime is about a process that is never there long
// enough to be looked at: each ends as soon as it has started the next one.
func TestRunEndsOneThatForksAllTheTime(t *testing.T) {
	t.Parallel()
	mark := marker(t, 4)
	c := call(t, "./chain "+mark+" >/dev/null 2>&1 & until [ -e ran ] && [ $(wc -l <ran) -ge 5 ]; do sleep 0.01; done")
	chain := "#!/bin/bash\necho >>ran\nsetsid env -i ./chain $1 &\nexit 0\n"
	if err := os.WriteFile(filepath.Join(c.Directory, "chain"), []byte(chain), 0o700); err != nil {
		t.Fatal(err)
	}
	runWith(t, newBash(t, nil), c, limits)
	if left := running(t, mark); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestRunLeavesOtherCommandsAlone(t *testing.T) {
	t.Parallel()
	b, mark := newBash(t, nil), marker(t, 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := call(t, fmt.Sprintf("(setsid sleep %[1]s &) ; set -m; sleep %[1]s & setsid sleep %[1]s & wait", mark))
	done := make(chan error, 1)
	go func() {
		_, err := b.Run(ctx, slow, limits, nil)
		done <- err
	}()
	eventually(t, "three processes", func() bool { return len(running(t, mark+"\x00")) == 3 })
	for i := range 10 {
		quick := call(t, "(setsid sleep 100 &) ; sleep 100 &")
		quick.ID += fmt.Sprintf("_%d", i)
		runWith(t, b, quick, limits)
	}
	if n := len(running(t, mark+"\x00")); n != 3 {
		t.Errorf("%d processes of the other command are left, want 3", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left := running(t, mark); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestRunInParallel(t *testing.T) {
	t.Parallel()
	b := newBash(t, nil)
	mark := marker(t, 6)
	var group sync.WaitGroup
	for i := range 50 {
		c := call(t, fmt.Sprintf("echo %d; (setsid sleep %s &) ; sleep %s & exit %d", i, mark, mark, i))
		c.ID += fmt.Sprintf("_%d", i)
		group.Go(func() {
			res, err := b.Run(t.Context(), c, limits, nil)
			if err != nil || res.ExitCode != i || res.Output != fmt.Sprintf("%d\n", i) {
				t.Errorf("Run %d = %+v, %v", i, res, err)
			}
		})
	}
	group.Wait()
	if left := running(t, mark); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestRunBoundsOutput(t *testing.T) {
	t.Parallel()
	const size = 10 << 20
	res := run(t, fmt.Sprintf("echo first; head -c %d /dev/zero | tr '\\0' x; echo; echo last", size))
	if want := int64(size + len("first\n\nlast\n")); res.OutputBytes != want || !res.Truncated {
		t.Errorf("OutputBytes = %d, Truncated = %v, want %d, true", res.OutputBytes, res.Truncated, want)
	}
	notice := fmt.Sprintf("\n[output cut: %d bytes in all, %d kept]\n", res.OutputBytes, limits.MaxOutput)
	head, tail, ok := strings.Cut(res.Output, notice)
	if !ok || len(head)+len(tail) != limits.MaxOutput {
		t.Fatalf("Output of %d bytes, want %q in it and %d others", len(res.Output), notice, limits.MaxOutput)
	}
	if !strings.HasPrefix(head, "first\nxxx") || !strings.HasSuffix(tail, "xxx\nlast\n") {
		t.Errorf("Output = %.10q … %q, want the first and the last part", head, tail[len(tail)-10:])
	}
}

func TestRunDrainsWhatNeverEnds(t *testing.T) {
	t.Parallel()
	lim := tool.Limits{Timeout: time.Minute, MaxOutput: 1000}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	longest := 0
	res, err := newBash(t, nil).Run(ctx, call(t, "yes"), lim, func(output string) {
		longest = max(longest, len(output))
		cancel()
	})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Aborted || !res.Truncated || res.OutputBytes <= int64(lim.MaxOutput) {
		t.Errorf("Run(yes): aborted %v, truncated %v, of %d", res.Aborted, res.Truncated, res.OutputBytes)
	}
	if most := lim.MaxOutput + 100; len(res.Output) > most || longest > most {
		t.Errorf("Run(yes) kept %d and told %d bytes, want at most %d", len(res.Output), longest, most)
	}
}

func TestRunTellsProgress(t *testing.T) {
	t.Parallel()
	c := call(t, "printf a; until [ -e go ]; do sleep 0.01; done; printf b")
	var told []string
	began := time.Now()
	res, err := newBash(t, nil).Run(t.Context(), c, limits, func(output string) {
		told = append(told, output)
		if err := os.WriteFile(filepath.Join(c.Directory, "go"), nil, 0o600); err != nil {
			t.Error(err)
		}
	})
	if err != nil || res.Output != "ab" {
		t.Fatalf("Run = %+v, %v", res, err)
	}
	if len(told) == 0 || told[0] != "a" {
		t.Errorf("progress = %q, want a first", told)
	}
	if most := int(time.Since(began)/(100*time.Millisecond)) + 1; len(told) > most {
		t.Errorf("progress was told %d times, want at most %d", len(told), most)
	}
}

// TestRunLeaksNoFile also hands down a file that is not closed on exec, as
// whoever starts the server can.
func TestRunLeaksNoFile(t *testing.T) {
	t.Parallel()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	open, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(open) }()
	res := run(t, "exec ls /proc/self/fd")
	if want := "0\n1\n2\n3\n"; res.Output != want { // 3 is the folder that ls reads
		t.Errorf("files of a command = %q, want %q", res.Output, want)
	}
}

func TestRunCleansTheEnvironment(t *testing.T) {
	t.Parallel()
	secret := "value-that-must-not-show"
	b := newBash(t, func(c *tool.BashConfig) {
		c.Env = func() []string {
			return []string{
				"PATH=" + os.Getenv("PATH"), "LANG=C", "PAGER=less",
				"OPENCODE_SERVER_PASSWORD=" + secret, "ANTHROPIC_API_KEY=" + secret, "BASH_FUNC_ls%%=() { echo " + secret + "; }",
				"BASH_ENV=/tmp/" + secret, "LD_PRELOAD=/tmp/" + secret, "GOPROXY=https://u:" + secret + "@host/",
			}
		}
	})
	c := call(t, "env")
	res := runWith(t, b, c, limits)
	if strings.Contains(res.Output, secret) {
		t.Errorf("env = %s", res.Output)
	}
	for _, want := range []string{"LANG=C", "PAGER=cat", "GIT_PAGER=cat", "GIT_TERMINAL_PROMPT=0", "OPENCODE_CALL_ID=" + c.ID, "PWD=" + c.Directory} {
		if !strings.Contains("\n"+res.Output, "\n"+want+"\n") {
			t.Errorf("env lacks %s:\n%s", want, res.Output)
		}
	}
}

// TestWrapper checks that a command is changed before it starts, that its
// wrapper is told of its end, and that nothing runs when the wrapper fails.
func TestWrapper(t *testing.T) {
	t.Parallel()
	b := newBash(t, nil)
	c := call(t, "echo $WRAPPED; sleep 100 & echo $! >pid")
	var running []string
	c.Wrap = func(cmd *exec.Cmd) (func(), error) {
		cmd.Env = append(cmd.Env, "WRAPPED=yes")
		return func() {
			pid, err := os.ReadFile(filepath.Join(c.Directory, "pid"))
			if err == nil {
				_, err = os.Stat("/proc/" + strings.TrimSpace(string(pid)))
			}
			running = append(running, strconv.FormatBool(errors.Is(err, os.ErrNotExist)))
		}, nil
	}
	res, err := b.Run(t.Context(), c, limits, nil)
	if err != nil || res.Output != "yes\n" {
		t.Errorf("Run = %+v, %v", res, err)
	}
	if diff := cmp.Diff([]string{"true"}, running); diff != "" {
		t.Errorf("everything is dead when the wrapper is told (-want +got):\n%s", diff)
	}
	failed := errors.New("no")
	c.Command = "touch ran"
	c.Wrap = func(*exec.Cmd) (func(), error) { return nil, failed }
	if _, err := b.Run(t.Context(), c, limits, nil); !errors.Is(err, failed) {
		t.Errorf("Run = %v, want %v", err, failed)
	}
	if _, err := os.Stat(filepath.Join(c.Directory, "ran")); err == nil {
		t.Error("it ran although its wrapper failed")
	}
}
