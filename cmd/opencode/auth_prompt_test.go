package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// openTerminal returns a console on a terminal of the test's own, what types on
// it, and its mode. What it shows is read and dropped.
func openTerminal(t *testing.T) (con console, ptmx *os.File, mode func() unix.Termios) {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, ptmx) // it ends with an error once the terminal is closed
	}()
	t.Cleanup(func() {
		if err := tty.Close(); err != nil {
			t.Error(err)
		}
		<-drained
		if err := ptmx.Close(); err != nil {
			t.Error(err)
		}
	})
	con = newConsole(tty, tty)
	if !con.Interactive() {
		t.Fatal("there is nobody to ask on a terminal")
	}
	return con, ptmx, func() unix.Termios {
		mode, err := unix.IoctlGetTermios(int(tty.Fd()), ttyGetMode)
		if err != nil {
			t.Fatal(err)
		}
		return *mode
	}
}

// TestQuestionsOnATerminal types the answers of all questions at once, as
// somebody who knows them does: each question takes its own and no more.
func TestQuestionsOnATerminal(t *testing.T) {
	t.Parallel()
	con, ptmx, mode := openTerminal(t)
	before := mode()
	answered, err := con.keys.tty.ask()
	if err != nil {
		t.Fatal(err)
	}
	answered()
	if quiet := mode(); quiet.Lflag&(unix.ECHO|unix.ICANON) != 0 || quiet.Lflag&unix.ISIG == 0 || quiet.Oflag != before.Oflag {
		t.Errorf("between questions the mode is %+v: what is typed ahead shows, or Ctrl-C does not interrupt", quiet)
	}
	back := con.lend()
	if lent := mode(); lent != before {
		t.Errorf("another program gets the mode %+v, want %+v", lent, before)
	}
	back()
	if quiet := mode(); quiet.Lflag&unix.ECHO != 0 {
		t.Errorf("after another program the mode is %+v: what is typed ahead shows", quiet)
	}
	if _, err := ptmx.WriteString("two\x1b[A\r" + "one\x15 a te\x7fext \x1b[200~\r" + "a sécret\r" + "what\r" + "yes\r" + "\r" + "rest"); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	chosen, err := con.Choose(ctx, "Which?", "--which", []option{{"number one", "1"}, {"number two", "2"}, {"two", "3"}, {"four", "4"}})
	if err != nil || chosen != "3" {
		t.Errorf("Choose = %q, %v, want what starts with the text before what has it", chosen, err)
	}
	text, err := con.Text(ctx, "What", "--what")
	if err != nil || text != "a text" {
		t.Errorf("Text = %q, %v", text, err)
	}
	secret, err := con.Secret(ctx, "Secret", "--secret")
	if err != nil || secret.Reveal() != "a sécret" {
		t.Errorf("Secret = %q, %v", secret.Reveal(), err)
	}
	for i, want := range []bool{true, false} {
		// The first is asked again, since its answer is neither yes nor no.
		if yes, err := con.Confirm(ctx, "Sure?", "--yes"); err != nil || yes != want {
			t.Errorf("Confirm %d = %v, %v, want %v", i, yes, err, want)
		}
	}
	con.close()
	if after := mode(); after != before {
		t.Errorf("the terminal is left in mode %+v, want %+v", after, before)
	}
	if _, err := con.Text(ctx, "What", "--what"); !errors.Is(err, errCancelled) {
		t.Errorf("a question after the end = %v, want errCancelled", err)
	}
}

// TestQuestionsAreCancelled ends a question in each way that leaves the program
// running.
func TestQuestionsAreCancelled(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		typed  string
		isOver bool
	}{
		"Ctrl-C":              {"x\x03", false},
		"Ctrl-D":              {"\x04", false},
		"Ctrl-D after a text": {"x\x04\x7f\x04", false},
		"cancelled":           {"x\r", true},
	} {
		for kind, ask := range map[string]func(context.Context, console) error{
			"Choose": func(ctx context.Context, c console) error {
				_, err := c.Choose(ctx, "Which?", "--which", []option{{"x", "x"}, {"y", "y"}})
				return err
			},
			"Secret": func(ctx context.Context, c console) error {
				_, err := c.Secret(ctx, "Secret", "--secret")
				return err
			},
			"Confirm": func(ctx context.Context, c console) error {
				_, err := c.Confirm(ctx, "Sure?", "--yes")
				return err
			},
		} {
			t.Run(name+" at "+kind, func(t *testing.T) {
				t.Parallel()
				con, ptmx, mode := openTerminal(t)
				before := mode()
				answered, err := con.keys.tty.ask()
				if err != nil {
					t.Fatal(err)
				}
				defer answered()
				if _, err := ptmx.WriteString(row.typed); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if row.isOver {
					cancel()
				}
				if err := ask(ctx, con); !errors.Is(err, errCancelled) {
					t.Errorf("%s = %v, want errCancelled", kind, err)
				}
				con.close()
				if after := mode(); after != before {
					t.Errorf("the terminal is left in mode %+v, want %+v", after, before)
				}
			})
		}
	}
}

// keysOf returns the keys of what is typed, up to its end.
func keysOf(t *testing.T, typed string) []key {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k := newKeyboard(r)
	k.typed = []byte(typed)
	var keys []key
	for {
		pressed, err := k.next(t.Context(), func() {})
		if errors.Is(err, errGone) {
			return keys
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, pressed)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string][]key{
		"aé\r\n":                     {{keyText, 'a'}, {keyText, 'é'}, {kind: keyEnter}, {kind: keyEnter}},
		"\x1b[A\x1bOB\x1b[5~\x1b[6~": {{kind: keyUp}, {kind: keyDown}, {kind: keyPageUp}, {kind: keyPageDown}},
		"\x1b[H\x1b[1~\x1b[F\x1b[4~": {{kind: keyHome}, {kind: keyHome}, {kind: keyEnd}, {kind: keyEnd}},
		"\x1b[?2026;2$yx":            {{}, {keyText, 'x'}},
		"\x1bxy":                     {{}, {keyText, 'y'}},
		"\x7f\b\x15\x03\x04":         {{kind: keyBackspace}, {kind: keyBackspace}, {kind: keyClear}, {kind: keyInterrupt}, {kind: keyEOF}},
		"\xc3\rx":                    {{}, {kind: keyEnter}, {keyText, 'x'}},
		"\x00\x1a\u202ex":            {{}, {}, {}, {keyText, 'x'}},
	} {
		if diff := cmp.Diff(want, keysOf(t, typed), cmp.AllowUnexported(key{})); diff != "" {
			t.Errorf("keys of %q (-want +got):\n%s", typed, diff)
		}
	}
}

// FuzzKeys holds that what a terminal sends never makes text that could control
// it, and that text without control characters is what is read.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"key\r", "\x1b[A", "\x1b[200~x\x1b[201~", "\xc3", "\x1b", "日本\x03"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		var got strings.Builder
		for _, pressed := range keysOf(t, typed) {
			if pressed.kind != keyText {
				continue
			}
			if !unicode.IsPrint(pressed.text) {
				t.Errorf("keys of %q have the text %q", typed, pressed.text)
			}
			got.WriteRune(pressed.text)
		}
		isPlain := !strings.ContainsFunc(typed, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
		if isPlain && got.String() != typed {
			t.Errorf("keys of %q have the text %q", typed, got.String())
		}
	})
}
