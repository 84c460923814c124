package engine

import (
	"path/filepath"
	"testing"

	"opencode/policies"
)

// TestMutantsNeedOnlyTheTestsThatReachThem holds the choice of tests by the
// lines that they evaluate to the run of all of them.
func TestMutantsNeedOnlyTheTestsThatReachThem(t *testing.T) {
	t.Parallel()
	m, err := newMutator(t.Context(), MutateConfig{Config: Config{
		Default: policies.FS, Dirs: []string{filepath.Join("..", "policies", "examples", "team")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, len(m.tests))
	for i := range all {
		all[i] = i
	}
	for i := range chosen {
		mut := &chosen[i]
		m.reach[mut.module] = map[int][]int{}
	}
	for i := range chosen {
		m.reach[chosen[i].module][chosen[i].first] = all
	}
	every, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(chosen) < 20 || len(chosen) != len(every) {
		t.Fatalf("%d and %d mutants, want as many, and some", len(chosen), len(every))
	}
	for i, mut := range chosen {
		if mut.outcome != every[i].outcome {
			t.Errorf("%s:%d: %s %s: outcome %d, want %d as with all tests", mut.File, mut.Line, mut.Kind, mut.Original, mut.outcome, every[i].outcome)
		}
	}
}
