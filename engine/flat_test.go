package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"opencode/policies"
	"opencode/policy"
)

// listsOf returns a snapshot whose lists have n more entries each, and inputs
// of both kinds with n leases.
func listsOf(tb testing.TB, n int) (*snapshot, map[string]*policy.Input) {
	tb.Helper()
	routes, banned, asked := map[string]any{}, map[string]any{}, map[string]any{}
	for i := range n {
		routes[fmt.Sprintf("/more/%d/{id}", i)] = map[string]bool{"GET": true}
		banned[fmt.Sprintf("program%d", i)] = "program"
		asked[fmt.Sprintf("program%d sub", i)] = "a reason"
	}
	data, err := json.Marshal(map[string]any{"opencode": map[string]any{"config": map[string]any{
		"routes": routes, "banned_commands": banned, "ask_commands": asked,
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "data.json"), data, 0o600); err != nil {
		tb.Fatal(err)
	}
	e, err := New(tb.Context(), Config{Default: policies.FS, Dirs: []string{dir}, Timeout: time.Minute})
	if err != nil {
		tb.Fatal(err)
	}
	inputs := map[string]*policy.Input{"request": basesOfInputs()[1]()}
	prompts := map[string]int{"command": 5, "question": 6, "reading": 9}
	for name, i := range prompts {
		in := basesOfInputs()[i]()
		for i := range n / 10 {
			in.Session.Approvals = append(in.Session.Approvals, policy.Approval{Tool: "bash", Pattern: fmt.Sprintf("program%d *", i)})
		}
		inputs[name] = in
	}
	return e.snap.Load(), inputs
}

// TestDecisionsAreFlat: what a decision allocates, and hence what it does, does
// not grow with the lists of the policy, nor with leases nobody looks at.
func TestDecisionsAreFlat(t *testing.T) { //nolint:paralleltest // allocations are those of the whole process
	cost := func(n int) map[string]float64 {
		snap, inputs := listsOf(t, n)
		costs := map[string]float64{}
		for name, in := range inputs {
			costs[name] = testing.AllocsPerRun(20, func() {
				if d, err := snap.decide(t.Context(), in); err != nil || d.Effect == policy.Deny {
					t.Fatalf("%s: %v %+v, error %v", name, d.Effect, d.Rules, err)
				}
			})
		}
		return costs
	}
	few, many := cost(10), cost(10_000)
	for name := range few {
		if many[name] > few[name]*1.2 {
			t.Errorf("%s: %v allocations with 10,000 of each, %v with 10", name, many[name], few[name])
		}
	}
}

// BenchmarkFlat times decisions that are not kept, with few and many entries
// in each list, in one run.
func BenchmarkFlat(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		snap, inputs := listsOf(b, n)
		for name, in := range inputs {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if d, err := snap.decide(b.Context(), in); err != nil || d.Effect == policy.Deny {
						b.Fatal(d.Effect, err)
					}
				}
			})
		}
	}
}
