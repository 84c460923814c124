// Package tool holds the effects that an agent can have: running a command,
// reading and changing files. Each tool is a pure effect.
//
// A tool never asks whether it may. It cannot, since this package imports
// nothing of ours, and so knows neither policies nor people. Whoever calls a
// tool has decided before; the [Limits] are what that decision obliges the
// tool to, and their zero value refuses to run.
//
// Whatever a tool starts is dead when it returns. That promise is kept by
// [Processes], which owns every child process of this program. It ends with
// the program: if the program itself is killed, its commands live on.
//
// Everything here is safe for concurrent use unless it says otherwise.
package tool

import (
	"os/exec"
	"time"
)

// Wrapper changes a command before it starts, such as into one that the kernel
// holds to what was decided. What it returns must be called when the command
// and all that it started are dead, or when it did not start. A command is not
// started if its wrapper fails.
type Wrapper func(cmd *exec.Cmd) (release func(), err error)

// Limits bound one run of a tool. The zero value refuses to run.
type Limits struct {
	// Timeout is how long it may take. Required.
	Timeout time.Duration
	// MaxOutput is how many bytes of its output are kept. Required.
	MaxOutput int
}

// Result is what a command did.
type Result struct {
	// Output is what it printed, both streams in order, as valid UTF-8. If it
	// is longer than the limit, then a line in the middle says what is missing.
	Output string
	// ExitCode is the exit status, or 128 plus the number of the signal that
	// ended the command.
	ExitCode int
	// Signal is the name of the signal that ended the command, else "".
	Signal string
	// Truncated reports that Output is not all of it.
	Truncated bool
	// TimedOut reports that the command was ended because its time was over.
	TimedOut bool
	// Aborted reports that the command was ended because its caller, or the
	// whole program, stopped.
	Aborted bool
	// Duration is how long it took.
	Duration time.Duration
	// OutputBytes is how many bytes the command printed.
	OutputBytes int64
	// Redacted is how many credentials were taken out of it.
	Redacted int
}
