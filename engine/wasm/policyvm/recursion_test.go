package policyvm_test

import (
	"strings"
	"testing"
	"time"

	"opencode/engine/wasm/policyvm"
)

// recursion is a module that at its start calls a function which calls itself
// twice, 40 deep: there is no loop in it at whose head it could be stopped.
const recursion = "\x00asm\x01\x00\x00\x00" +
	"\x01\x08\x02\x60\x00\x00\x60\x01\x7f\x00" + // types () and (i32)
	"\x03\x03\x02\x00\x01" + // a function of each
	"\x08\x01\x00" + // the first is the start
	"\x0a\x1e\x02" +
	"\x06\x00\x41\x28\x10\x01\x0b" + // f(40)
	"\x15\x00\x20\x00\x04\x40\x20\x00\x41\x01\x6b\x10\x01\x20\x00\x41\x01\x6b\x10\x01\x0b\x0b" // if n { f(n-1); f(n-1) }

// TestRecursionIsStopped holds a module that never loops to its time. Nothing
// else could run meanwhile: the garbage collector would wait for it.
func TestRecursionIsStopped(t *testing.T) {
	t.Parallel()
	_, err := policyvm.New(t.Context(), policyvm.Config{
		Module: []byte(recursion), LoadTimeout: 100 * time.Millisecond, Builtin: func(string) bool { return true },
	})
	if err == nil || !strings.Contains(err.Error(), "the Wasm module was stopped") {
		t.Errorf("New of a module that calls itself without end: %v, want it to be stopped", err)
	}
}

// TestGuardIsOutOfReach: what stops a module cannot be set back by it. In the
// binary format ours are the numbers after its own, which no valid module names.
func TestGuardIsOutOfReach(t *testing.T) {
	t.Parallel()
	// As above, 20 deep, and each call sets what is behind the module's globals.
	const resets = "\x00asm\x01\x00\x00\x00" +
		"\x01\x08\x02\x60\x00\x00\x60\x01\x7f\x00" +
		"\x03\x03\x02\x00\x01" +
		"\x08\x01\x00" +
		"\x0a\x26\x02" +
		"\x06\x00\x41\x14\x10\x01\x0b" +
		"\x1d\x00\x41\xff\xff\xff\xff\x07\x24\x01\x20\x00\x04\x40\x20\x00\x41\x01\x6b\x10\x01\x20\x00\x41\x01\x6b\x10\x01\x0b\x0b"
	_, err := policyvm.New(t.Context(), policyvm.Config{Module: []byte(resets), Builtin: func(string) bool { return true }})
	if err == nil || !strings.Contains(err.Error(), "it names number 1 of its 0 globals") {
		t.Errorf("New of a module that sets what counts its calls: %v, want it to be refused", err)
	}
}
