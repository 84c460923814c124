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
