package policyvm

import (
	"context"
	"testing"
	"time"
)

// FuzzModule loads what claims to be a module. What is no policy does not load,
// and what it does at loading ends in time.
func FuzzModule(f *testing.F) {
	f.Add(environment(1, 2))
	f.Add(magic)
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x08\x02\x60\x00\x00\x60\x01\x7f\x00\x03\x03\x02\x00\x01\x08\x01\x00\x0a\x1e\x02" +
		"\x06\x00\x41\x28\x10\x01\x0b\x15\x00\x20\x00\x04\x40\x20\x00\x41\x01\x6b\x10\x01\x20\x00\x41\x01\x6b\x10\x01\x0b\x0b")) // calls itself
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x04\x04\x01\x70\x00\x01"))
	f.Fuzz(func(t *testing.T, module []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p, err := New(ctx, Config{Module: module, Builtin: func(string) bool { return false }, LoadTimeout: 50 * time.Millisecond})
		if err == nil {
			t.Errorf("loads as a policy: %v", p.Close())
		}
		if ctx.Err() != nil {
			t.Error("loading did not end in time")
		}
	})
}
