package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
)

// tested returns the configuration of a team's directory, and a function that
// runs its tests.
func tested(t *testing.T, files map[string]string) (engine.TestConfig, string) {
	t.Helper()
	dir := writeDir(t, files)
	return engine.TestConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}}}, dir
}

const subject = `package team.a

is_big(x) if x > 10

size := 3

names := ["x", "y"]

is_missing if input.principal.attributes.x == "y"
`

func TestOutcomes(t *testing.T) {
	t.Parallel()
	cfg, dir := tested(t, map[string]string{
		"a.rego": subject,
		"a_test.rego": `package team.a_test

import data.opencode.prompt
import data.opencode.testing
import data.team.a

test_passes if a.size == 3

test_equal if {
	a.size == 3
	a.size == 4
}

test_unequal if a.size != 3

test_call if a.is_big(a.size)

test_less if a.size > count(a.names) + 1

test_undefined if a.is_missing

test_not if not a.size == 3

test_value if a.size

test_with if {
	decision := prompt.decision with input as testing.bash([["curl"]])
	decision.effect == "allow"
}

test_with_in_place if prompt.decision.effect == "allow" with input as testing.bash([["curl"]])

test_error if to_number("x") == 1

test_false := false

todo_test_later if a.size == 5

test_prints if {
	print("size is", a.size)
	a.size == 3
}

helper if a.size == 5
`,
	})
	report, err := engine.Test(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Outcome                      engine.Outcome
		Line                         int
		Failed, At, Actual, Expected string
		Error, Output                string
	}
	got := map[string]outcome{}
	file := filepath.Join(dir, "a_test.rego")
	for _, r := range report.Tests {
		if r.File != file || r.Package != "team.a_test" || (r.Duration <= 0) != (r.Outcome == engine.Skipped) {
			t.Errorf("%+v", r)
		}
		got[r.Name] = outcome{
			r.Outcome, r.Line, r.Failed, strings.TrimPrefix(r.FailedAt, file+":"), r.Actual, r.Expected,
			strings.TrimPrefix(r.Error, file+":"), r.Output,
		}
	}
	want := map[string]outcome{
		"test_passes":        {Outcome: engine.Passed, Line: 7},
		"test_equal":         {Outcome: engine.Failed, Line: 9, Failed: "a.size == 4", At: "11", Actual: "3", Expected: "4"},
		"test_unequal":       {Outcome: engine.Failed, Line: 14, Failed: "a.size != 3", At: "14", Actual: "3", Expected: "3"},
		"test_call":          {Outcome: engine.Failed, Line: 16, Failed: "a.is_big(a.size)", At: "16"},
		"test_less":          {Outcome: engine.Failed, Line: 18, Failed: "a.size > count(a.names) + 1", At: "18", Actual: "3", Expected: "3"},
		"test_undefined":     {Outcome: engine.Failed, Line: 20, Failed: "a.is_missing", At: "20"},
		"test_not":           {Outcome: engine.Failed, Line: 22, Failed: "not a.size == 3", At: "22"},
		"test_value":         {Outcome: engine.Passed, Line: 24},
		"test_with":          {Outcome: engine.Failed, Line: 26, Failed: `decision.effect == "allow"`, At: "28", Actual: `"deny"`, Expected: `"allow"`},
		"test_with_in_place": {Outcome: engine.Failed, Line: 31, Failed: `prompt.decision.effect == "allow" with input as testing.bash([["curl"]])`, At: "31", Actual: `"deny"`, Expected: `"allow"`},
		"test_error":         {Outcome: engine.Errored, Line: 33, Error: `33: to_number: `},
		"test_false":         {Outcome: engine.Failed, Line: 35},
		"todo_test_later":    {Outcome: engine.Skipped, Line: 37},
		"test_prints":        {Outcome: engine.Passed, Line: 39, Output: "size is 3\n"},
	}
	if e := got["test_error"]; strings.HasPrefix(e.Error, "33: ") && strings.Contains(e.Error, "to_number") {
		e.Error = want["test_error"].Error
		got["test_error"] = e
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for outcome, want := range map[engine.Outcome]int{engine.Passed: 3, engine.Failed: 9, engine.Errored: 1, engine.Skipped: 1} {
		if got := report.Count(outcome); got != want {
			t.Errorf("Count(%s) = %d, want %d", outcome, got, want)
		}
	}
	if report.Coverage != nil {
		t.Error("coverage was measured, but nobody asked")
	}
}

func TestCases(t *testing.T) {
	t.Parallel()
	cfg, _ := tested(t, map[string]string{
		"a.rego": subject,
		"a_test.rego": `package team.a_test

import data.team.a

test_all_hold[name] if {
	some name, x in {"eleven": 11, "twelve": 12}
	a.is_big(x)
}

test_some_fail[name] if {
	some name, x in {"one": 1, "eleven": 11, "two": 2}
	a.is_big(x)
}

test_nested[group][name] if {
	some group, cases in {"g": {"one": 1, "eleven": 11}, "h": {"twelve": 12}}
	some name, x in cases
	a.is_big(x)
}

test_no_case[name] if {
	some name, x in object.filter({"eleven": 11}, ["twelve"])
	a.is_big(x)
}

test_never_reached[name] if {
	a.is_missing
	some name, x in {"eleven": 11}
	a.is_big(x)
}
`,
	})
	report, err := engine.Test(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Outcome engine.Outcome
		Cases   []string
		Error   string
	}
	got := map[string]outcome{}
	for _, r := range report.Tests {
		got[r.Name] = outcome{r.Outcome, r.Cases, r.Error}
	}
	want := map[string]outcome{
		"test_all_hold":      {Outcome: engine.Passed},
		"test_some_fail":     {Outcome: engine.Failed, Cases: []string{"one", "two"}},
		"test_nested":        {Outcome: engine.Failed, Cases: []string{"g/one"}},
		"test_no_case":       {Outcome: engine.Errored, Error: "no case was run"},
		"test_never_reached": {Outcome: engine.Errored, Error: "no case was run"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestRunSelects(t *testing.T) {
	t.Parallel()
	cfg, dir := tested(t, map[string]string{
		"a.rego":      subject,
		"a_test.rego": "package team.a_test\n\nimport data.team.a\n\ntest_one if a.size == 3\n\ntest_two if a.size == 3\n\ntodo_test_three if a.size == 3\n",
	})
	for run, want := range map[string]int{"": 3, "test_one": 1, "a_test\\.test_t": 1, "team": 3} {
		cfg.Run = run
		report, err := engine.Test(t.Context(), cfg)
		if err != nil || len(report.Tests) != want {
			t.Errorf("Run %q: %d tests, error %v, want %d", run, len(report.Tests), err, want)
		}
	}
	for _, run := range []string{"test_four", "todo_test_three", "opencode"} {
		cfg.Run = run
		if report, err := engine.Test(t.Context(), cfg); !errors.Is(err, engine.ErrNoTests) {
			t.Errorf("Run %q: %d tests, error %v, want %v", run, len(report.Tests), err, engine.ErrNoTests)
		}
	}
	cfg.Run = "("
	if _, err := engine.Test(t.Context(), cfg); err == nil || errors.Is(err, engine.ErrNoTests) {
		t.Errorf("Run %q: error %v, want one about the expression", cfg.Run, err)
	}
	cfg.Run = ""
	if err := os.Remove(filepath.Join(dir, "a_test.rego")); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Test(t.Context(), cfg); !errors.Is(err, engine.ErrNoTests) {
		t.Errorf("no tests: error %v, want %v", err, engine.ErrNoTests)
	}
	writeFiles(t, dir, map[string]string{"a_test.rego": "package opencode.prompt_test\n\ntest_x if 1 == 1\n"})
	if _, err := engine.Test(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "must be team.<name>") {
		t.Errorf("test in a package of the default: error %v", err)
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	cfg, dir := tested(t, map[string]string{
		"a.rego":      "package team.a\n\nis_big(x) if x > 10\n\nis_small(x) if {\n\tx < 3\n\tx >= 0\n}\n",
		"b.rego":      "package team.b\n\nsize := 3 if input.version == 1\n",
		"a_test.rego": "package team.a_test\n\nimport data.team.a\nimport data.team.b\n\ntest_big if a.is_big(11)\n\ntest_size if b.size == 3 with input as {\"version\": 1}\n",
	})
	cfg.Coverage = true
	report, err := engine.Test(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Coverage.Files) != 2 {
		t.Fatalf("coverage of %+v, want the two files of the team", report.Coverage.Files)
	}
	a, b := report.Coverage.Files[0], report.Coverage.Files[1]
	if want := []engine.Lines{{First: 5, Last: 7}}; a.File != filepath.Join(dir, "a.rego") || !cmp.Equal(a.NotCovered, want) || a.Percent >= 100 || a.Percent <= 0 {
		t.Errorf("coverage of the first file: %+v, want the lines %v not covered", a, want)
	}
	if b.Percent != 100 || len(b.NotCovered) > 0 {
		t.Errorf("coverage of the second file: %+v, want all of it", b)
	}
	if p := report.Coverage.Percent; p >= b.Percent || p <= a.Percent {
		t.Errorf("coverage %v, want it between %v and %v", p, a.Percent, b.Percent)
	}
}

func TestTestsSeeWhatServes(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"built-in":      {"a_test.rego": "package team.a_test\n\ntest_x if time.now_ns() > 0\n"},
		"schema":        {"a.rego": "package team.a\n\nx if input.promt.tool == \"x\"\n", "a_test.rego": "package team.a_test\n\ntest_x if 1 == 1\n"},
		"configuration": {"data.json": `{"opencode": {"config": {"x": 1}}}`, "a_test.rego": "package team.a_test\n\ntest_x if 1 == 1\n"},
	} {
		cfg, _ := tested(t, files)
		if _, err := engine.Test(t.Context(), cfg); err == nil {
			t.Errorf("%s: Test took what New refuses", name)
		}
		if _, err := engine.Lint(cfg.Config); err == nil {
			t.Errorf("%s: Lint took what New refuses", name)
		}
	}
	cfg, _ := tested(t, map[string]string{
		"data.json":   `{"opencode": {"config": {"banned_commands": {"make": "make"}}}}`,
		"a_test.rego": "package team.a_test\n\nimport data.opencode.prompt\nimport data.opencode.testing\n\ntest_make if prompt.decision.effect == \"deny\" with input as testing.bash([[\"make\"]])\n",
	})
	if report, err := engine.Test(t.Context(), cfg); err != nil || report.Count(engine.Passed) != 1 {
		t.Errorf("a test of configuration: %+v, error %v", report, err)
	}
}
