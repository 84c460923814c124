package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/huh/v2"
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
	return console{in, stderr}
}

// Say implements ui.
func (c console) Say(format string, args ...any) {
	fmt.Fprintf(c.out, "opencode: "+format+"\n", args...)
}

// Interactive implements ui.
func (c console) Interactive() bool { return c.in != nil }

// Choose implements ui.
func (c console) Choose(ctx context.Context, question, flag string, options []option) (string, error) {
	choices := make([]huh.Option[string], 0, len(options))
	for _, o := range options {
		choices = append(choices, huh.NewOption(o.label, o.value))
	}
	var answer string
	field := huh.NewSelect[string]().Title(question).Options(choices...).Value(&answer).Height(min(len(options)+2, 12)).Filtering(len(options) > 12)
	return answer, c.ask(ctx, field, question, flag)
}

// Text implements ui.
func (c console) Text(ctx context.Context, question, flag string) (string, error) {
	var answer string
	err := c.ask(ctx, huh.NewInput().Title(question).Value(&answer), question, flag)
	return strings.TrimSpace(answer), err
}

// Secret implements ui.
func (c console) Secret(ctx context.Context, question, flag string) (store.SecretText, error) {
	var answer string
	// Not even the length is shown.
	err := c.ask(ctx, huh.NewInput().Title(question).EchoMode(huh.EchoModeNone).Value(&answer), question, flag)
	return store.NewSecretText(strings.TrimSpace(answer)), err
}

// Confirm implements ui.
func (c console) Confirm(ctx context.Context, question, flag string) (bool, error) {
	var answer bool
	err := c.ask(ctx, huh.NewConfirm().Title(question).Value(&answer), question, flag)
	return answer, err
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

func (c console) ask(ctx context.Context, field huh.Field, question, flag string) error {
	if c.in == nil {
		return usagef("%s: there is no terminal to ask on; want %s", strings.TrimRight(question, "?:"), flag)
	}
	err := huh.NewForm(huh.NewGroup(field)).WithShowHelp(false).WithInput(c.in).WithOutput(c.out).RunWithContext(ctx)
	if errors.Is(err, huh.ErrUserAborted) {
		return errors.New("cancelled; nothing was changed")
	}
	return err
}
