package engine

import (
	"os"
	"path/filepath"
	"testing"

	"opencode/policies"
)

const reached = `package team.a

deny contains {"id": "a.method", "message": "m"} if {
	input.request.method == "POST"
	not _is_small
}

deny contains {"id": "a.segment", "message": "m"} if {
	every segment in input.request.segments {
		_kind(segment) == "odd"
	}
}

_is_small if input.request.bytes < 10

_is_small if input.request.bytes == 12

_kind(segment) := "odd" if {
	count(segment) == 3
} else := "even" if {
	count(segment) == 4
} else := "none"

level := count([s | some s in input.request.segments; _kind(s) == "odd"])
`

const reachedTest = `package team.a_test

import data.team.a

_in(method, bytes, segments) := {"kind": "request", "request": {"method": method, "bytes": bytes, "segments": segments}}

test_large if count(a.deny) == 1 with input as _in("POST", 100, ["even"])

test_small if count(a.deny) == 0 with input as _in("POST", 9, ["even"])

test_get if count(a.deny) == 0 with input as _in("GET", 100, ["even", "odd"])

test_odd if count(a.deny) == 1 with input as _in("GET", 1, ["odd", "abc"])

test_level if {
	level := a.level with input as _in("GET", 1, ["odd", "abc", "even", "none!"])
	level == 2
}
`

// TestMutantsNeedOnlyTheTestsThatReachThem holds the choice of tests by the
// lines that they evaluate to the run of all of them.
func TestMutantsNeedOnlyTheTestsThatReachThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.rego": reached, "a_test.rego": reachedTest} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := newMutator(t.Context(), MutateConfig{Config: Config{Default: policies.FS, Dirs: []string{dir}}})
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
	fewer := 0
	counts := map[mutantOutcome]int{}
	for i := range chosen {
		if mut := &chosen[i]; len(m.reaching(mut)) < len(all) {
			fewer++
		}
		counts[chosen[i].outcome]++
	}
	if fewer == 0 || counts[survived] == 0 || counts[killed] == 0 {
		t.Fatalf("%d mutants with fewer tests, outcomes %v: nothing is held to anything", fewer, counts)
	}
	for i := range chosen {
		mut := chosen[i]
		mut.outcome = survived
		m.reach[mut.module] = map[int][]int{mut.first: all}
		if err := m.test(t.Context(), &mut); err != nil {
			t.Fatal(err)
		}
		if mut.outcome != chosen[i].outcome {
			t.Errorf("line %d: %s %s -> %s: outcome %d, and %d with all tests", mut.Line, mut.Kind, mut.Original, mut.Mutated, chosen[i].outcome, mut.outcome)
		}
	}
}
