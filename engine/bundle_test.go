package engine_test

import (
	"testing"

	"opencode/engine"
	"opencode/policies"
)

func TestZ(t *testing.T) {
	for _, wasm := range []bool{false, true} {
		b, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: "../policies/examples/team", Wasm: wasm})
		t.Log(len(b.Bytes), b.Teams, b.Files, b.Entrypoints, err)
		c, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: "../policies/examples/team", Wasm: wasm})
		t.Log(string(c.Bytes) == string(b.Bytes), err)
	}
}
