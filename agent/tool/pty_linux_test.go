package tool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"opencode/agent/tool"
)

func newTerminals(tb testing.TB, env ...string) *tool.Terminals {
	tb.Helper()
	terms, err := tool.NewTerminals(tool.TerminalsConfig{
		Procs: procs, Grace: 50 * time.Millisecond,
		Env: func() []string { return append([]string{"PATH=" + os.Getenv("PATH"), "PS1=$ "}, env...) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return terms
}

// startTerminal runs a shell script on a terminal.
func startTerminal(tb testing.TB, script string) *tool.Terminal {
	tb.Helper()
	return startWords(tb, "/bin/sh", "-c", script)
}

func startWords(tb testing.TB, command string, args ...string) *tool.Terminal {
	tb.Helper()
	term, err := newTerminals(tb).Start(tool.TerminalCall{
		ID: "pty_" + strings.Map(idRune, tb.Name()), Command: command, Args: args, Directory: tb.TempDir(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := term.Close(); err != nil {
			tb.Error(err)
		}
	})
	return term
}

// console is a reader with what it has read.
type console struct {
	*tool.TerminalReader
	tb   testing.TB
	text string
	end  error
}

func attach(tb testing.TB, term *tool.Terminal, cursor int64) *console {
	tb.Helper()
	c := &console{TerminalReader: term.Attach(cursor), tb: tb}
	tb.Cleanup(c.Close)
	return c
}

// until reads until the text has been read, and returns all that was.
func (c *console) until(want string) string {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for c.end == nil && (want == "" || !strings.Contains(c.text, want)) {
		text, err := c.Next(ctx)
		if !utf8.ValidString(text) {
			c.tb.Fatalf("part %q is not valid UTF-8", text)
		}
		c.text += text
		c.end = err
	}
	if want != "" && !strings.Contains(c.text, want) {
		c.tb.Fatalf("never: %q; read %q, %v", want, c.text, c.end)
	}
	return c.text
}

// rest reads to the end.
func (c *console) rest() string {
	c.tb.Helper()
	text := c.until("")
	if !errors.Is(c.end, io.EOF) {
		c.tb.Fatalf("read %d bytes, %v, want the end", len(text), c.end)
	}
	return text
}

func typeText(tb testing.TB, term *tool.Terminal, text string) {
	tb.Helper()
	if err := term.Write(tb.Context(), []byte(text)); err != nil {
		tb.Fatalf("Write(%q): %v", text, err)
	}
}

func TestTerminalIsATerminal(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, `test -t 0 && test -t 1 && test -t 2 && : </dev/tty && echo "tty $TERM"
		f=$(sed -n 's/^flags:[^0-9]*//p' /proc/self/fdinfo/0); echo "nonblock $((0$f & 04000))"
		stty size; ls /proc/self/fd | wc -l; read line; stty size; echo "got $line"; exit 7`)
	c := attach(t, term, 0)
	c.until("24 80\r\n4")
	if err := term.Resize(33, 99); err != nil {
		t.Fatal(err)
	}
	typeText(t, term, "hällo\r")
	text := c.rest()
	for _, want := range []string{"tty xterm-256color\r\n", "nonblock 0\r\n", "33 99\r\n", "got hällo\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("output %q lacks %q", text, want)
		}
	}
	<-term.Done()
	if code := term.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if err := term.Resize(1, 1); !errors.Is(err, tool.ErrEnded) {
		t.Errorf("Resize after the end: %v", err)
	}
	if err := term.Write(t.Context(), []byte("x")); !errors.Is(err, tool.ErrEnded) {
		t.Errorf("Write after the end: %v", err)
	}
	if again := attach(t, term, 0).rest(); again != text {
		t.Errorf("after the end %q, want %q", again, text)
	}
}

func TestTerminalShell(t *testing.T) {
	t.Parallel()
	term := startWords(t, program(t, "bash"), "--norc", "--noprofile", "-i")
	c := attach(t, term, 0)
	c.until("bash-")
	typeText(t, term, "sleep 1000\r")
	eventually(t, "the job is in the foreground", func() bool { return len(running(t, "sleep\x001000\x00")) > 0 })
	typeText(t, term, "\x03")
	typeText(t, term, "echo code=$?\r")
	c.until("code=130")
	typeText(t, term, "exit 3\r")
	c.rest()
	if code := term.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

func TestTerminalSignalled(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, "kill -KILL $$")
	if code := term.ExitCode(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
}

// TestTerminalLeavesNothing closes a terminal, and lets one end, with a daemon
// that has left its session.
func TestTerminalLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"close", "exit"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			m := marker(t, 1)
			term := startTerminal(t, fmt.Sprintf(`(setsid sh -c '(trap "" TERM HUP; sleep %s) & exit' &) ; sleep %s & echo up; read x`, m, m))
			attach(t, term, 0).until("up")
			eventually(t, "both run", func() bool { return len(running(t, "sleep\x00"+m+"\x00")) == 2 })
			if end == "close" {
				if err := term.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				typeText(t, term, "\r")
				<-term.Done()
			}
			if left := running(t, "sleep\x00"+m+"\x00"); len(left) > 0 {
				t.Errorf("%v live on", left)
			}
		})
	}
}

func TestTerminalCursor(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, `stty -echo; printf 'a\303\251\360\237\230\200z'; read x; printf 'new'; read x`)
	first := attach(t, term, 0)
	first.until("z")
	for _, test := range []struct {
		cursor int64
		want   string
	}{
		{0, "aé😀z"}, {1, "é😀z"}, {2, "😀z"}, {3, "z"}, {4, "z"}, {5, ""}, {tool.FromNow, ""}, {99, ""}, {-7, "aé😀z"},
	} {
		c := attach(t, term, test.cursor)
		for {
			cursor, ok := c.Replayed()
			if ok {
				if cursor != 5 {
					t.Errorf("Attach(%d): cursor %d, want 5", test.cursor, cursor)
				}
				break
			}
			c.until(c.text + "z") // the last of what was there
		}
		if c.text != test.want || c.Cursor() != 5 {
			t.Errorf("Attach(%d) = %q, at %d, want %q, at 5", test.cursor, c.text, c.Cursor(), test.want)
		}
		if _, ok := c.Replayed(); ok {
			t.Error("Replayed tells it twice")
		}
	}
	late := attach(t, term, tool.FromNow)
	typeText(t, term, "\r")
	if late.until("new"); late.text != "new" {
		t.Errorf("from now on: %q, want new", late.text)
	}
}

// TestTerminalFlood prints much more than is kept, to a reader that keeps up
// and to one that does not read at all meanwhile.
func TestTerminalFlood(t *testing.T) {
	t.Parallel()
	const lines = 600_000 // of ten characters: three times what is kept
	term := startTerminal(t, fmt.Sprintf("stty -opost -echo; echo ready; read x; seq -f %%09.0f %d", lines))
	fast := attach(t, term, 0)
	slow := attach(t, term, 0)
	fast.until("ready\n")
	typeText(t, term, "\r")
	read, behind := 0, 0
	var last string
	for {
		text, err := fast.Next(t.Context())
		read += len(text)
		if text != "" {
			last = text
		}
		if errors.Is(err, tool.ErrBehind) {
			behind++
			continue
		}
		if err != nil {
			break
		}
	}
	<-term.Done()
	if end := fmt.Sprintf("%09d\n", lines); !strings.HasSuffix(last, end) || behind == 0 && read != lines*10 {
		t.Errorf("read %d bytes with %d gaps, the last %q", read, behind, last)
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, tool.ErrBehind) {
		t.Errorf("the slow reader: %v, want %v", err, tool.ErrBehind)
	}
	if at := slow.Cursor(); at < lines*10-2<<20 {
		t.Errorf("the slow reader goes on at %d", at)
	}
	kept := slow.rest()
	if !strings.HasSuffix(kept, last) || len(kept) > 2<<20 || len(kept) < 1900<<10 {
		t.Errorf("kept are %d bytes, want almost 2 MiB", len(kept))
	}
}

func TestTerminalInvalidText(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, `stty -opost; printf 'a\377b\360\237'; sleep 0.05; printf '\230\200c\303'`)
	if text := attach(t, term, 0).rest(); text != "a\uFFFDb😀c\uFFFD" {
		t.Errorf("read %q", text)
	}
}

// TestTerminalNotRead types at a program that does not read, until somebody
// gives up.
func TestTerminalNotRead(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, "stty raw -echo; echo up; exec sleep 1000")
	attach(t, term, 0).until("up")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	b, typed := bytes.Repeat([]byte("x"), 64<<10), 0
	var err error
	for ; err == nil && typed < 64; typed++ {
		err = term.Write(ctx, b)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Write number %d = %v, want the end of the context", typed, err)
	}
	// What is typed later is not ended by what was.
	if err := term.Write(ctx, nil); !errors.Is(err, context.DeadlineExceeded) && err != nil {
		t.Errorf("Write of nothing = %v", err)
	}
}

func TestTerminalEnvironment(t *testing.T) {
	t.Parallel()
	terms := newTerminals(t, "SECRET_TOKEN=x", "LD_PRELOAD=x", "LANG=C", "COLUMNS=1")
	term, err := terms.Start(tool.TerminalCall{
		ID: "pty_env", Command: program(t, "env"), Directory: "/", Env: map[string]string{"COLORTERM": "truecolor", "TERM": "vt100"},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := attach(t, term, 0).rest()
	for _, want := range []string{"TERM=vt100\r\n", "COLORTERM=truecolor\r\n", "LANG=C\r\n", "OPENCODE_TERMINAL=1\r\n", "PWD=/\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the environment lacks %q: %s", want, text)
		}
	}
	for _, not := range []string{"SECRET", "PRELOAD", "COLUMNS", "PS1"} {
		if strings.Contains(text, not) {
			t.Errorf("the environment has %s: %s", not, text)
		}
	}
}

func TestTerminalRefuses(t *testing.T) {
	t.Parallel()
	terms := newTerminals(t)
	dir := t.TempDir()
	for _, test := range []struct {
		name   string
		change func(*tool.TerminalCall)
		want   string
	}{
		{"no command", func(c *tool.TerminalCall) { c.Command = "" }, "empty"},
		{"NUL", func(c *tool.TerminalCall) { c.Args = []string{"a\x00b"} }, "NUL"},
		{"too many", func(c *tool.TerminalCall) { c.Args = make([]string, 257) }, "at most 256"},
		{"too long", func(c *tool.TerminalCall) { c.Args = []string{strings.Repeat("x", 128<<10)} }, "at most 131071"},
		{"relative", func(c *tool.TerminalCall) { c.Directory = "x" }, "absolute"},
		{"no directory", func(c *tool.TerminalCall) { c.Directory = dir + "/none" }, "no such file"},
		{"no program", func(c *tool.TerminalCall) { c.Command = "/no/such/program" }, "no such file"},
		{"file as directory", func(c *tool.TerminalCall) { c.Directory = "/dev/null" }, "not a directory"},
		{"PATH", func(c *tool.TerminalCall) { c.Env = map[string]string{"PATH": "."} }, `"PATH" may not`},
		{"HOME", func(c *tool.TerminalCall) { c.Env = map[string]string{"HOME": "."} }, `"HOME" may not`},
		{"LD_PRELOAD", func(c *tool.TerminalCall) { c.Env = map[string]string{"LD_PRELOAD": "x.so"} }, `"LD_PRELOAD" may not`},
		{"BASH_ENV", func(c *tool.TerminalCall) { c.Env = map[string]string{"BASH_ENV": "x"} }, `"BASH_ENV" may not`},
		{"ENV", func(c *tool.TerminalCall) { c.Env = map[string]string{"ENV": "x"} }, `"ENV" may not`},
		{"mark", func(c *tool.TerminalCall) { c.Env = map[string]string{"OPENCODE_CALL_ID": "x"} }, "may not"},
		{"forged name", func(c *tool.TerminalCall) { c.Env = map[string]string{"TERM=x\nPATH": "."} }, "may not"},
		{"function", func(c *tool.TerminalCall) { c.Env = map[string]string{"TERM": "() { :; }"} }, "looks like"},
		{"NUL in a value", func(c *tool.TerminalCall) { c.Env = map[string]string{"TERM": "a\x00PATH=."} }, "NUL"},
		{"long value", func(c *tool.TerminalCall) { c.Env = map[string]string{"TERM": strings.Repeat("x", 5<<10)} }, "at most 4096"},
	} {
		c := tool.TerminalCall{ID: "pty_refused", Command: "/bin/true", Directory: dir}
		test.change(&c)
		if _, err := terms.Start(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := tool.NewTerminals(tool.TerminalsConfig{}); err == nil {
		t.Error("NewTerminals without Procs: no error")
	}
}

func TestTerminalSizes(t *testing.T) {
	t.Parallel()
	term := startTerminal(t, "read x")
	for _, size := range [][2]int{{0, 1}, {1, 0}, {-1, 1}, {1 << 16, 1}, {1, 1 << 16}} {
		if err := term.Resize(size[0], size[1]); err == nil {
			t.Errorf("Resize(%v): no error", size)
		}
	}
}

func TestShells(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ shell, want string }{
		{"/bin/sh", "/bin/sh"}, {"sh", "/bin/bash"}, {"/no/such/shell", "/bin/bash"}, {"/tmp", "/bin/bash"}, {"", "/bin/bash"},
	} {
		if got := newTerminals(t, "SHELL="+test.shell).Shell(); got != test.want {
			t.Errorf("SHELL=%s: %s, want %s", test.shell, got, test.want)
		}
	}
	shells, err := tool.Shells()
	if err != nil || len(shells) == 0 {
		t.Fatalf("Shells() = %v, %v", shells, err)
	}
	found := false
	for _, s := range shells {
		found = found || s.Path == "/bin/sh" && s.Name == "sh" && s.Acceptable
	}
	if !found {
		t.Errorf("Shells() = %v, want /bin/sh among them", shells)
	}
	for path, want := range map[string]bool{"/bin/bash": true, "ZSH": true, "/bin/ls": false, "nu": false} {
		if tool.IsLoginShell(path) != want {
			t.Errorf("IsLoginShell(%s) = %v", path, !want)
		}
	}
}
