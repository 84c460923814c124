//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"fmt"
	"os/exec"
	"runtime"
)

// selfPath is not used: nothing is started through this program here.
const selfPath = ""

// state is empty: here nothing is held.
type state struct{}

func newState(Config) state { return state{} }

func (*state) close() error { return nil }

// probe returns what the host gives: on this system nothing.
func probe(string) Host {
	return Host{OS: runtime.GOOS, Layers: []Layer{{
		Name: "sandbox", Detail: "not on " + runtime.GOOS + "/" + runtime.GOARCH,
		Stops: "nothing is held by the kernel here; the rules on commands are all there is",
		Hint:  "run the server on Linux, also in a virtual machine or a container",
	}}}
}

// Prepare leaves a command as it is, or refuses if a guarantee is required.
func (s *Sandbox) Prepare(cmd *exec.Cmd, spec Spec) (release func(), r Report, err error) {
	if err := checkPrepare(cmd, spec); err != nil {
		return nil, Report{}, fmt.Errorf("sandbox: %w", err)
	}
	r = s.report(spec)
	if err := spec.require(r); err != nil {
		return nil, Report{}, fmt.Errorf("sandbox: %w", err)
	}
	return func() {}, r, nil
}

// Child refuses: no command is started through this program here.
func Child() int { return exitCannot }

const exitCannot = 126
