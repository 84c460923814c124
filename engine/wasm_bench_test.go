package engine_test

import (
	"testing"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// BenchmarkTeam decides a prompt with a team's rules in Rego and in Wasm.
func BenchmarkTeam(b *testing.B) {
	in := bash([]string{"git", "push"})
	for _, row := range []struct {
		name string
		wasm bool
	}{{"rego", false}, {"wasm", true}} {
		b.Run(row.name, func(b *testing.B) {
			e, err := loaded(b, writeBundle(b, built(b, row.wasm, example)), nil)
			if err != nil {
				b.Fatal(err)
			}
			if d, err := e.Decide(b.Context(), in); err != nil || d.Effect != policy.Ask {
				b.Fatalf("Decide = %v, %v", d.Effect, err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoadTeam loads the default policy with a team's bundle.
func BenchmarkLoadTeam(b *testing.B) {
	for _, row := range []struct {
		name string
		wasm bool
	}{{"rego", false}, {"wasm", true}} {
		b.Run(row.name, func(b *testing.B) {
			path := writeBundle(b, built(b, row.wasm, example))
			for b.Loop() {
				if _, err := engine.New(b.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
