package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"opencode/store"
)

// ui is how a method of sign-in talks with the user. Every question names the
// flag that answers it; without a terminal that flag is what the error asks for,
// and nothing waits.
type ui interface {
	// Say prints a line beside the result.
	Say(format string, args ...any)
	// Interactive reports whether there is somebody to ask.
	Interactive() bool
	// Choose asks for one of the options and returns its value.
	Choose(ctx context.Context, question, flag string, options []option) (string, error)
	// Text asks for a text that may be seen.
	Text(ctx context.Context, question, flag string) (string, error)
	// Secret asks for a text and does not show it.
	Secret(ctx context.Context, question, flag string) (store.SecretText, error)
	// Confirm asks for a yes; the answer of somebody in a hurry is no.
	Confirm(ctx context.Context, question, flag string) (bool, error)
	// Progress returns what shows how far a wait is, with the time that is
	// left, and what ends the showing.
	Progress() (show func(left time.Duration, text string), end func())
}

// option is one answer of several.
type option struct{ label, value string }

// console is the terminal that the program was started on, if it was.
type console struct {
	in  *os.File // nil if there is nobody to ask
	out io.Writer
	// keys are those of in.
	keys *keyboard
}

var _ ui = console{}

// newConsole returns the terminal. There is one if both what the user types and
// what the user is asked go to one; results may go elsewhere.
func newConsole(stdin io.Reader, stderr io.Writer) console {
	in, ok := stdin.(*os.File)
	out, alsoOK := stderr.(*os.File)
	if !ok || !alsoOK || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return console{out: stderr}
	}
	return console{in, stderr, newKeyboard(in)}
}

// Say implements ui.
func (c console) Say(format string, args ...any) {
	fmt.Fprintf(c.out, "opencode: "+format+"\n", args...)
}

// Interactive implements ui.
func (c console) Interactive() bool { return c.in != nil }

// Choose implements ui.
func (c console) Choose(ctx context.Context, question, flag string, options []option) (string, error) {
	if err := c.asks(question, flag); err != nil {
		return "", err
	}
	return c.keys.choose(ctx, c.out, question, options)
}

// Text implements ui.
func (c console) Text(ctx context.Context, question, flag string) (string, error) {
	if err := c.asks(question, flag); err != nil {
		return "", err
	}
	return c.keys.line(ctx, c.out, question+": ", func(text string) string { return text })
}

// Secret implements ui.
func (c console) Secret(ctx context.Context, question, flag string) (store.SecretText, error) {
	if err := c.asks(question, flag); err != nil {
		return store.SecretText{}, err
	}
	// Not even the length is shown.
	text, err := c.keys.line(ctx, c.out, question+" (is not shown): ", func(string) string { return "" })
	return store.NewSecretText(text), err
}

// Confirm implements ui.
func (c console) Confirm(ctx context.Context, question, flag string) (bool, error) {
	if err := c.asks(question, flag); err != nil {
		return false, err
	}
	for {
		text, err := c.keys.line(ctx, c.out, question+" [y/N] ", func(text string) string { return text })
		if err != nil {
			return false, err
		}
		switch strings.ToLower(text) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
	}
}

// Progress implements ui. On a terminal it is one line that changes; elsewhere a
// line each minute, for a log.
func (c console) Progress() (show func(left time.Duration, text string), end func()) {
	shown := ""
	if c.in == nil {
		return func(left time.Duration, text string) {
			if minute := left.Truncate(time.Minute).String(); minute != shown {
				shown = minute
				c.Say("%s", text)
			}
		}, func() {}
	}
	return func(_ time.Duration, text string) {
			if text != shown {
				shown = text
				fmt.Fprintf(c.out, "\r\x1b[K%s", text)
			}
		}, func() {
			if shown != "" {
				fmt.Fprint(c.out, "\r\x1b[K")
			}
		}
}

// asks refuses a question that nobody can answer.
func (c console) asks(question, flag string) error {
	if c.in == nil {
		return usagef("%s: there is no terminal to ask on; want %s", strings.TrimRight(question, "?:"), flag)
	}
	return nil
}

// lend gives the terminal to another program until back is called.
func (c console) lend() (back func()) {
	if c.keys == nil {
		return func() {}
	}
	return c.keys.tty.lend()
}

// close leaves the terminal as it was before the first question.
func (c console) close() {
	if c.keys != nil {
		c.keys.tty.close()
	}
}
