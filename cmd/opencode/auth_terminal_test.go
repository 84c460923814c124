package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// step is what a user does on a terminal: types once something is seen. What is
// typed may need what was seen.
type step struct {
	see  string
	text func(screen string) string
}

func types(text string) func(string) string { return func(string) string { return text } }

// onTerminal runs a command below `auth` on a terminal, and returns all that it
// showed there and how it ended.
func onTerminal(t *testing.T, steps []step, args ...string) (screen string, err error) {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(ptmx.Close(), tty.Close()) }()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 40, Cols: 400}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan []byte)
	go func() {
		defer close(shown)
		for {
			b := make([]byte, 4096)
			n, err := ptmx.Read(b)
			if err != nil {
				return
			}
			shown <- b[:n]
		}
	}()
	cmd := authCommand(newSignIn())
	cmd.SetIn(tty)
	cmd.SetErr(tty)
	cmd.SetOut(io.Discard)
	cmd.SetArgs(args)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(t.Context()) }()
	var seen bytes.Buffer
	for since := 0; ; {
		if len(steps) > 0 && strings.Contains(seen.String()[since:], steps[0].see) {
			typed := steps[0].text(seen.String())
			since, steps = seen.Len(), steps[1:]
			if _, err := io.WriteString(ptmx, typed); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case b := <-shown:
			seen.Write(b)
		case err := <-ended:
			if len(steps) > 0 {
				t.Fatalf("auth %q ended with %v before %q was seen in %q", args, err, steps[0].see, seen.String())
			}
			return seen.String(), err
		case <-time.After(authPatience):
			t.Fatalf("auth %q: no end; the screen has %q", args, seen.String())
		}
	}
}

// TestOAuthOnATerminal answers what flags would answer elsewhere.
func TestOAuthOnATerminal(t *testing.T) {
	data := signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	const question = "Sign in by this method all the same?"

	// Somebody in a hurry says no.
	_, err := onTerminal(t, []step{{question, types("\r")}}, "login", "corp", "--method", "restricted", "--no-browser")
	if !errors.Is(err, errCancelled) {
		t.Errorf("login with an empty answer = %v, want that it was cancelled", err)
	}
	s.wellKnown = `{"auth":{"command":["touch","` + filepath.Join(t.TempDir(), "ran") + `"],"env":"CORP_TOKEN"}}`
	if _, err := onTerminal(t, []step{{"Run it?", types("\r")}}, "login", s.URL+"/gateway"); !errors.Is(err, errCancelled) {
		t.Errorf("login to a gateway with an empty answer = %v, want that it was cancelled", err)
	}
	// Ctrl-C is no answer.
	if _, err := onTerminal(t, []step{{question, types("\x03")}}, "login", "corp", "--method", "restricted", "--no-browser"); err == nil {
		t.Error("login that was interrupted succeeded")
	}
	if _, err := os.Stat(filepath.Join(data, "auth.json.age")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store: %v, want none", err)
	}

	address := regexp.MustCompile(addressPattern)
	code := "code-of-the-page"
	screen, err := onTerminal(t, []step{
		{question, types("y")},
		{"Code\x1b[m", func(screen string) string {
			return "http://127.0.0.1/callback?code=" + code + "&state=" + parameter(t, address.FindStringSubmatch(screen)[1], "state") + "\r"
		}},
	}, "login", "corp", "--method", "restricted", "--paste", "--no-browser")
	if err != nil || !strings.Contains(screen, "notice: The vendor does not permit this.") {
		t.Fatalf("login = %v, %q", err, screen)
	}
	if strings.Contains(screen, code) {
		t.Error("what is pasted is shown")
	}

	// Which way is a question too; the restricted one is the last of it.
	screen, err = onTerminal(t, []step{{"How do you want to sign in to corp?", types("\x03")}}, "login", "corp")
	if err == nil || strings.Index(screen, "API key") > strings.Index(screen, "restricted by the provider") {
		t.Errorf("login = %v, %q", err, screen)
	}

	// A device code is one line that changes.
	screen, err = onTerminal(t, nil, "login", "corp", "--method", "device", "--no-browser")
	if err != nil || !strings.Contains(screen, "\r\x1b[Kcode ABCD-1234, 1") {
		t.Errorf("login = %v, %q, want a line with the code and the time left", err, screen)
	}
}
