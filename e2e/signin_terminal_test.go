//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a terminal with our program in it, as its controlling one. The
// test is whoever sits there.
type terminal struct {
	cmd       *exec.Cmd
	ptmx, tty *os.File
	before    unix.Termios
	output    chan []byte
	ended     chan struct{}
	seen      []byte
	// at is how much of seen was waited for.
	at int
}

// startTerminal runs a command of the program on a new terminal.
func startTerminal(t *testing.T, env []string, name string, args ...string) *terminal {
	t.Helper()
	requireE2E(t)
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	// The file that came blocks while it is read, and would not close.
	fd, err := unix.FcntlInt(ptmx.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err := errors.Join(err, ptmx.Close()); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	ptmx = os.NewFile(uintptr(fd), "ptmx")
	x := &terminal{cmd: exec.CommandContext(t.Context(), name, args...), ptmx: ptmx, tty: tty, output: make(chan []byte), ended: make(chan struct{})}
	x.resize(t, 24, 100)
	x.before = x.mode(t)
	x.cmd.Env = env
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = tty, tty, tty
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.ended)
		_ = x.cmd.Wait() // the state of the process says it all
	}()
	go func() {
		defer close(x.output)
		for {
			b := make([]byte, 4096)
			n, err := ptmx.Read(b)
			if err != nil {
				return
			}
			select {
			case x.output <- b[:n]:
			case <-t.Context().Done():
				return
			}
		}
	}()
	t.Cleanup(func() { _ = errors.Join(x.hangUp(), x.cmd.Process.Kill()) }) // they may have ended before
	return x
}

// resize gives the terminal a size; none is one that it does not know.
func (x *terminal) resize(t *testing.T, rows, columns uint16) {
	t.Helper()
	if err := pty.Setsize(x.tty, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(x.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}

// write types the text.
func (x *terminal) write(t *testing.T, text string) {
	t.Helper()
	if _, err := x.ptmx.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// wait waits until the terminal has shown the text, after what was waited for
// before.
func (x *terminal) wait(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), screenDeadline)
	defer cancel()
	for {
		if i := bytes.Index(x.seen[x.at:], []byte(text)); i >= 0 {
			x.at += i + len(text)
			return
		}
		select {
		case b, ok := <-x.output:
			if x.seen = append(x.seen, b...); !ok {
				t.Fatalf("the terminal is closed and has not shown %q after %q", text, x.seen)
			}
		case <-ctx.Done():
			t.Fatalf("the terminal does not show %q after %q", text, x.seen)
		}
	}
}

// end waits for the end of the program, and returns its exit code, -1 after a
// signal.
func (x *terminal) end(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stopDeadline)
	defer cancel()
	for output := x.output; ; {
		select {
		case b, ok := <-output:
			if x.seen = append(x.seen, b...); !ok {
				output = nil
			}
		case <-x.ended:
			return x.cmd.ProcessState.ExitCode()
		case <-ctx.Done():
			t.Fatalf("the program does not end; the terminal has %q", x.seen)
		}
	}
}

// restored checks that the terminal is as it was before the program.
func (x *terminal) restored(t *testing.T) {
	t.Helper()
	if mode := x.mode(t); mode != x.before {
		t.Errorf("the terminal is left in mode %+v, want %+v", mode, x.before)
	}
}

// hangUp closes the terminal.
func (x *terminal) hangUp() error { return errors.Join(x.tty.Close(), x.ptmx.Close()) }

const (
	howQuestion = "How do you want to sign in to OpenAI?"
	keyQuestion = "API key for OpenAI"
)

// TestSignInTerminal answers the questions that `auth login` asks one after the
// other, many at the same time. What is typed as soon as there is a question, or
// before, belongs to it and is not shown.
func TestSignInTerminal(t *testing.T) {
	t.Parallel()
	binary := serverBinary(t)
	login := func(t *testing.T, answer func(x *terminal, key string), args ...string) {
		t.Helper()
		key := "sk-proj-" + rand.Text() + rand.Text()
		env := append(clientEnv(t), "OPENCODE_AUTH_PROTECTION=plain")
		x := startTerminal(t, env, binary, append([]string{"auth", "login"}, args...)...)
		answer(x, key)
		x.wait(t, "signed in to OpenAI (openai) with api")
		if code := x.end(t); code != 0 {
			t.Errorf("exit code %d after %q", code, x.seen)
		}
		x.restored(t)
		if bytes.Contains(x.seen, []byte(key[8:])) {
			t.Errorf("the key is shown: %q", x.seen)
		}
		if kept, _, _ := execCommand(t, env, "", binary, "auth", "token-for", "openai", "--reveal", "--yes"); kept != key+"\n" {
			t.Errorf("kept %q, want %q", kept, key)
		}
	}
	for i := range 20 {
		t.Run(fmt.Sprint("as asked ", i), func(t *testing.T) {
			t.Parallel()
			login(t, func(x *terminal, key string) {
				x.wait(t, howQuestion)
				x.write(t, "\r")
				x.wait(t, keyQuestion)
				x.write(t, key+"\r")
			}, "openai")
		})
	}
	t.Run("ahead", func(t *testing.T) {
		t.Parallel()
		login(t, func(x *terminal, key string) {
			x.wait(t, "Which provider?")
			x.write(t, "openai\rapi\r"+key+"\r")
		})
	})
	t.Run("resized", func(t *testing.T) {
		t.Parallel()
		login(t, func(x *terminal, key string) {
			x.wait(t, "Which provider?")
			for i := range uint16(20) {
				x.resize(t, 2+i, 10+6*i)
				x.write(t, "\x1b[B")
			}
			x.write(t, "OpenAI (openai)")
			x.wait(t, "> OpenAI (openai)")
			x.write(t, "\r")
			x.wait(t, howQuestion)
			x.write(t, "\r")
			x.wait(t, keyQuestion)
			x.write(t, key[:20])
			x.resize(t, 0, 0)
			x.write(t, key[20:]+"\r")
		})
	})
}

// TestSignInTerminalEnds ends the program at each question, in every way that
// there is. It does not hang, changes nothing and leaves the terminal as it was.
func TestSignInTerminalEnds(t *testing.T) {
	t.Parallel()
	binary := serverBinary(t)
	kill := func(s syscall.Signal) func(*testing.T, *terminal) {
		return func(t *testing.T, x *terminal) {
			t.Helper()
			if err := x.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	keys := func(text string) func(*testing.T, *terminal) {
		return func(t *testing.T, x *terminal) { t.Helper(); x.write(t, text) }
	}
	hangUp := func(t *testing.T, x *terminal) {
		t.Helper()
		if err := x.hangUp(); err != nil {
			t.Fatal(err)
		}
	}
	for name, way := range map[string]struct {
		do     func(*testing.T, *terminal)
		prefix []string
		codes  []int
	}{
		"Ctrl-C":  {keys("\x03"), nil, []int{1}},
		"Ctrl-D":  {keys("\x04"), nil, []int{1}},
		"SIGINT":  {kill(syscall.SIGINT), nil, []int{1}},
		"SIGTERM": {kill(syscall.SIGTERM), nil, []int{1}},
		"SIGHUP":  {kill(syscall.SIGHUP), nil, []int{-1}},
		"SIGQUIT": {kill(syscall.SIGQUIT), nil, []int{2}},
		// The signal and the end of the input come at the same time.
		"hang-up":           {hangUp, nil, []int{-1, 1}},
		"hang-up and nohup": {hangUp, []string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`}, []int{1}},
	} {
		for _, question := range []string{"Which provider?", howQuestion, keyQuestion} {
			t.Run(name+" at "+question, func(t *testing.T) {
				t.Parallel()
				env := clientEnv(t)
				argv := slices.Concat(way.prefix, []string{binary, "auth", "login"})
				x := startTerminal(t, env, argv[0], argv[1:]...)
				x.wait(t, "Which provider?")
				if question != "Which provider?" {
					x.write(t, "openai\r")
					x.wait(t, howQuestion)
				}
				if question == keyQuestion {
					x.write(t, "\r")
					x.wait(t, keyQuestion)
				}
				way.do(t, x)
				if code := x.end(t); !slices.Contains(way.codes, code) {
					t.Errorf("exit code %d, want one of %d; the terminal has %q", code, way.codes, x.seen)
				}
				if !strings.HasPrefix(name, "hang-up") {
					x.restored(t)
				}
				if stdout, _, code := execCommand(t, env, "", binary, "auth", "status", "openai"); code != 1 {
					t.Errorf("status ends with %d: %s", code, stdout)
				}
			})
		}
	}
}

// TestSignInTerminalCode says yes to the notice of a provider and pastes the
// code that the browser shows. An impatient Enter is a no.
func TestSignInTerminalCode(t *testing.T) {
	t.Parallel()
	binary := serverBinary(t)
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"an-access-token-not-to-be-shown","refresh_token":"a-refresh-token-not-to-be-shown","expires_in":3600}`)
	}))
	t.Cleanup(idp.Close)
	env := append(clientEnv(t), "ANTHROPIC_AUTH_URL="+idp.URL+"/authorize", "ANTHROPIC_TOKEN_URL="+idp.URL+"/token")
	args := []string{"auth", "login", "anthropic", "--method", "anthropic-claude", "--no-browser"}

	x := startTerminal(t, env, binary, args...)
	x.wait(t, "Sign in by this method all the same? [y/N]")
	x.write(t, "\r")
	x.wait(t, "cancelled; nothing was changed")
	if code := x.end(t); code != 1 {
		t.Errorf("a no ends with %d", code)
	}
	x.restored(t)

	x = startTerminal(t, env, binary, args...)
	x.wait(t, "Sign in by this method all the same? [y/N]")
	x.write(t, "y\r")
	x.wait(t, "Code (is not shown)")
	_, rest, _ := bytes.Cut(x.seen, []byte("open this address in a browser: "))
	address, _, _ := bytes.Cut(rest, []byte("\r\n"))
	x.write(t, "a-code-not-to-be-shown#"+queryOf(t, string(address), "state")+"\r")
	x.wait(t, "signed in to Anthropic")
	if code := x.end(t); code != 0 {
		t.Errorf("exit code %d after %q", code, x.seen)
	}
	x.restored(t)
	if bytes.Contains(x.seen, []byte("not-to-be-shown")) {
		t.Errorf("a secret is shown: %q", x.seen)
	}
}

// TestSignInScreen shows what somebody sees, by tmux, and that `stty -g` says
// the same before and after.
func TestSignInScreen(t *testing.T) {
	requireE2E(t)
	t.Parallel()
	dir := tempDir(t)
	env := clientEnv(t)
	x := startScreen(t, env, dir, "sh", "-c", `stty -g >before; "$0" "$@"; code=$?; stty -g >after; exit $code`, serverBinary(t), "auth", "login")
	x.wait(t, `(?m)^Which provider\?`, `(?m)^  1 of \d+; type to search`)
	x.write(t, "openrou")
	x.wait(t, `(?m)^Which provider\? openrou$`, `(?m)^> OpenRouter \(openrouter\)$`)
	x.tmux(t, "resize-window", "-x", "50", "-y", "8")
	x.press(t, "Escape")
	x.wait(t, `(?m)^Which provider\?$`)
	x.write(t, "openai")
	x.press(t, "Down", "Up")
	x.wait(t, `(?m)^> OpenAI \(openai\)$`)
	x.press(t, "Enter")
	x.wait(t, `(?m)^Which provider\? OpenAI \(openai\)\nHow do you want to sign in to OpenAI\?\n> API key$`)
	x.press(t, "Down")
	x.wait(t, `(?m)^> Sign in with ChatGPT$`)
	x.press(t, "Up", "Enter")
	x.wait(t, `(?m)^How do you want to sign in to OpenAI\? API key\nAPI key for OpenAI \(is not shown\):`)
	x.write(t, "sk-proj-not-to-be-shown-"+rand.Text())
	x.press(t, "Enter")
	text, status := x.waitEnd(t)
	if status != "0" || strings.Contains(text, "not-to-be-shown") || !strings.Contains(text, "signed in to OpenAI") {
		t.Errorf("it ends with %s:\n%s", status, text)
	}
	before, err := os.ReadFile(filepath.Join(dir, "before"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "after"))
	if err != nil || !bytes.Equal(before, after) || len(before) == 0 {
		t.Errorf("stty -g says %q, and said %q before: %v", after, before, err)
	}
}
