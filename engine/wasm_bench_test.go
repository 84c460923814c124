package engine_test

import (
	"strconv"
	"testing"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// BenchmarkTeam decides prompts with a team's rules in Rego and in Wasm. None was
// decided before.
func BenchmarkTeam(b *testing.B) {
	for _, row := range []struct {
		name string
		wasm bool
	}{{"rego", false}, {"wasm", true}} {
		b.Run(row.name, func(b *testing.B) {
			e, err := loaded(b, writeBundle(b, built(b, row.wasm, example)), nil)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			decideAnew(b, e, policy.Ask, func() *policy.Input {
				n++
				return bash([]string{"git", "push", "origin", strconv.Itoa(n)})
			})
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
