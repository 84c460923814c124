// Command opencode is a coding-agent server in which policy decides
// everything, with the commands that manage its tokens and its policies.
//
// Results go to standard output and everything else to standard error. The
// exit code is 0 if all is done, 1 on an error, 2 if the command was called
// wrongly and 3 if policy denied.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"opencode/agent"
	"opencode/agent/sandbox"
	"opencode/policy"
)

func main() {
	// A command of an agent is started through this program, which gives up what
	// the command must not have. Nothing else may happen before.
	if sandbox.IsChild(os.Args) {
		os.Exit(sandbox.Child())
	}
	deferCollection(debug.SetGCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitDone = iota
	exitError
	exitUsage
	exitDenied
)

// run carries out one command and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCmd()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if !errors.Is(err, errSilent) {
		report(stderr, err)
		if code == exitUsage {
			fmt.Fprintf(stderr, "opencode: hint: `%s --help` shows how it is called\n", cmd.CommandPath())
		}
	}
	return code
}

// report prints an error, a line for each part of it, and the hint if there is
// one.
func report(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "opencode: error: %s\n", line)
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(stderr, "opencode: hint: %s\n", hint)
	}
}

func exitCode(err error) int {
	var usage *usageError
	switch {
	case errors.As(err, &usage), isCobraUsage(err):
		return exitUsage
	case errors.Is(err, policy.ErrDenied), errors.Is(err, agent.ErrRefused):
		return exitDenied
	}
	return exitError
}

// isCobraUsage recognises the errors that cobra returns without a type of
// their own.
func isCobraUsage(err error) bool {
	text := err.Error()
	for _, prefix := range []string{"unknown command ", "required flag(s) ", "accepts ", "requires at least ", "if any flags in the group "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// errSilent means that the command has said all there is to say.
var errSilent = errors.New("reported already")

// usageError reports that a command was called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hintedError carries what to do about an error.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *hintedError) Hint() string { return e.hint }

// hintOf returns what to do about an error, "" if nobody knows. Other packages
// have types of their own for it.
func hintOf(err error) string {
	type hinter interface {
		error
		Hint() string
	}
	if hinted, ok := errors.AsType[hinter](err); ok {
		return hinted.Hint()
	}
	return ""
}

func withHint(err error, hint string) error { return &hintedError{err, hint} }
