package engine_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
)

// mutated runs the mutation tests of a team's policy.
func mutated(t *testing.T, files map[string]string) (engine.MutationReport, error) {
	t.Helper()
	return engine.Mutate(t.Context(), engine.MutateConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{writeDir(t, files)}}})
}

// survivors returns the survivors as "line kind original -> mutated".
func survivors(list []engine.Mutation) []string {
	out := []string{}
	for _, m := range list {
		text := m.Kind + " " + m.Original + " -> " + m.Mutated
		if !m.Reached {
			text += " (not reached)"
		}
		out = append(out, text)
	}
	return out
}

const weighed = `package team.a

deny contains {"id": "a.large", "message": "too large"} if {
	input.request.bytes > 10
	input.request.method == "POST"
}

level := "high" if {
	input.request.bytes >= 100
} else := "low"

names := [name | some name in input.request.segments; name != "x"]

_unused if input.kind == "request"
`

const weighedTest = `package team.a_test

import data.team.a

_bytes(n) := {"kind": "request", "request": {"bytes": n, "method": "POST", "segments": ["x", "y"]}}

test_denied if count(a.deny) == 1 with input as _bytes(11)
`

func TestMutate(t *testing.T) {
	t.Parallel()
	report, err := mutated(t, map[string]string{"a.rego": weighed, "a_test.rego": weighedTest})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`drop input.request.bytes > 10 -> true`,
		`operator input.request.bytes > 10 -> input.request.bytes >= 10`,
		`drop input.request.method == "POST" -> true`,
		`rule level -> (removed) (not reached)`,
		`constant "high" -> "high~" (not reached)`,
		`drop input.request.bytes >= 100 -> true (not reached)`,
		`negate input.request.bytes >= 100 -> not input.request.bytes >= 100 (not reached)`,
		`operator input.request.bytes >= 100 -> input.request.bytes > 100 (not reached)`,
		`constant 100 -> 99 (not reached)`,
		`else else -> (removed) (not reached)`,
		`constant "low" -> "low~" (not reached)`,
		`rule names -> (removed) (not reached)`,
		`drop name != "x" -> true (not reached)`,
		`negate name != "x" -> not name != "x" (not reached)`,
		`operator name != "x" -> name == "x" (not reached)`,
		`constant "x" -> "x~" (not reached)`,
		`rule _unused -> (removed) (not reached)`,
		`drop input.kind == "request" -> true (not reached)`,
		`negate input.kind == "request" -> not input.kind == "request" (not reached)`,
		`operator input.kind == "request" -> input.kind != "request" (not reached)`,
		`constant "request" -> "request~" (not reached)`,
	}
	sorted := cmp.Transformer("set", func(list []string) map[string]int {
		set := map[string]int{}
		for _, s := range list {
			set[s]++
		}
		return set
	})
	if diff := cmp.Diff(want, survivors(report.Survivors), sorted); diff != "" {
		t.Errorf("survivors (-want +got):\n%s", diff)
	}
	// Of the denial: the rule, both conditions negated, both operators but the
	// one at the boundary, and both constants.
	if report.Killed != 6 || report.Total != report.Killed+len(want) || report.Tests != 1 {
		t.Errorf("%d killed of %d by %d tests, want 6 of %d by 1", report.Killed, report.Total, report.Tests, 6+len(want))
	}
	for _, m := range report.Survivors {
		if !strings.HasSuffix(m.File, "a.rego") || m.Line == 0 || !strings.HasPrefix(m.Rule, "team.a.") {
			t.Errorf("survivor %+v says not where it is", m)
		}
	}
}

const weighedFully = weighedTest + `
test_at_the_limit if count(a.deny) == 0 with input as _bytes(10)

test_other_method if count(a.deny) == 0 with input as object.union(_bytes(11), {"request": {"method": "GET"}})

test_level[name] if {
	some name, row in {"low": [99, "low"], "high": [100, "high"]}
	level := a.level with input as _bytes(row[0])
	level == row[1]
}

test_names if {
	names := a.names with input as _bytes(1)
	names == ["y"]
}
`

func TestMutateNoticesAll(t *testing.T) {
	t.Parallel()
	policy, _, _ := strings.Cut(weighed, "_unused")
	report, err := mutated(t, map[string]string{"a.rego": policy, "a_test.rego": weighedFully})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{}, survivors(report.Survivors)); diff != "" || report.Score != 100 {
		t.Errorf("score %v, survivors (-want +got):\n%s", report.Score, diff)
	}
}

func TestMutateEquivalent(t *testing.T) {
	t.Parallel()
	marked := strings.Replace(weighed, "\tinput.request.bytes > 10\n",
		"\t# mutate: equivalent drop because the proxy bounds the size\n\tinput.request.bytes > 10\n", 1) +
		"\n# mutate: equivalent because nothing stands below\n"
	report, err := mutated(t, map[string]string{"a.rego": marked, "a_test.rego": weighedTest})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"drop input.request.bytes > 10 -> true"}, survivors(report.Equivalent)); diff != "" {
		t.Errorf("equivalent (-want +got):\n%s", diff)
	}
	if len(report.Equivalent) == 1 && report.Equivalent[0].Reason != "the proxy bounds the size" {
		t.Errorf("reason %q", report.Equivalent[0].Reason)
	}
	if len(report.Unused) != 1 || !strings.HasSuffix(report.Unused[0], "a.rego:17") {
		t.Errorf("unused comments %v, want the one at the end", report.Unused)
	}
	for _, comment := range []string{"mutate: equivalent", "mutate: equivalent always because x", "mutate: equal because x", "mutate: equivalent because"} {
		if _, err := mutated(t, map[string]string{"a.rego": weighed + "\n# " + comment + "\n", "a_test.rego": weighedTest}); err == nil || !strings.Contains(err.Error(), "a.rego:16: want `# mutate:") {
			t.Errorf("%q: error %v, want one that says what is wanted", comment, err)
		}
	}
}

// smallDefault is a default policy of one condition, with a test.
func smallDefault(t *testing.T) fstest.MapFS {
	t.Helper()
	deny := `decision := {"effect": "deny", "rules": [], "needs": [], "obligations": {"audit": "brief"}}`
	files := fstest.MapFS{
		"opencode/request/request.rego": {Data: []byte("package opencode.request\n\n" + deny + " if input.version == 1\n")},
		"opencode/request/request_test.rego": {Data: []byte("package opencode.request_test\n\nimport data.opencode.request\n\n" +
			"test_it if request.decision.effect == \"deny\" with input as {\"version\": 1}\n")},
		"opencode/prompt/prompt.rego": {Data: []byte("package opencode.prompt\n\n" + deny + "\n")},
	}
	for _, name := range []string{"schemas/input.json", "schemas/config.json"} {
		b, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	return files
}

// filesOf returns the last elements of the files that survivors are in.
func filesOf(list []engine.Mutation) map[string]bool {
	files := map[string]bool{}
	for _, m := range list {
		files[filepath.Base(m.File)] = true
	}
	return files
}

func TestMutateTheDefaultPolicy(t *testing.T) {
	t.Parallel()
	cfg := engine.MutateConfig{Config: engine.Config{Default: smallDefault(t)}}
	alone, err := engine.Mutate(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if alone.Tests != 1 || alone.Killed == 0 || !cmp.Equal(filesOf(alone.Survivors), map[string]bool{"request.rego": true, "prompt.rego": true}) {
		t.Errorf("without a directory: %+v", alone)
	}
	cfg.Dirs = []string{writeDir(t, map[string]string{"a.rego": weighed, "a_test.rego": weighedTest})}
	team, err := engine.Mutate(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.WithDefault = true
	both, err := engine.Mutate(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if team.Tests != 1 || !cmp.Equal(filesOf(team.Survivors), map[string]bool{"a.rego": true}) {
		t.Errorf("of the team alone: %d tests, survivors in %v", team.Tests, filesOf(team.Survivors))
	}
	if both.Tests != 2 || both.Total != team.Total+alone.Total || both.Killed != team.Killed+alone.Killed {
		t.Errorf("of both: %d tests, %d of %d killed, want 2 and the sum of %d of %d and %d of %d",
			both.Tests, both.Killed, both.Total, team.Killed, team.Total, alone.Killed, alone.Total)
	}
}

func TestMutateNeedsTestsThatPass(t *testing.T) {
	t.Parallel()
	if _, err := mutated(t, map[string]string{"a.rego": weighed}); !errors.Is(err, engine.ErrNoTests) {
		t.Errorf("without tests: error %v, want %v", err, engine.ErrNoTests)
	}
	failing := weighedTest + "\ntest_wrong if a.level == \"x\" with input as _bytes(1)\n"
	if _, err := mutated(t, map[string]string{"a.rego": weighed, "a_test.rego": failing}); !errors.Is(err, engine.ErrTestsFail) {
		t.Errorf("with a test that fails: error %v, want %v", err, engine.ErrTestsFail)
	}
}

func TestMutateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	cfg := engine.MutateConfig{
		Config: engine.Config{Default: policies.FS, Dirs: []string{writeDir(t, map[string]string{"a.rego": weighed, "a_test.rego": weighedTest})}},
		Progress: func(done, total int) {
			if last = done; done == 3 {
				cancel()
			}
			if done > total {
				t.Errorf("%d of %d done", done, total)
			}
		},
	}
	if _, err := engine.Mutate(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if last < 3 || last > 10 {
		t.Errorf("went on to %d after the end at 3", last)
	}
}
