package engine_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

// onTarget runs the tests of a policy and returns what came of each.
func onTarget(tb testing.TB, target engine.Target, dir string) (map[string]engine.TestResult, error) {
	tb.Helper()
	report, err := engine.Test(tb.Context(), engine.TestConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}}, Target: target})
	results := map[string]engine.TestResult{}
	for _, t := range report.Tests {
		results[t.Name] = t
	}
	return results, err
}

// targets has tests of each sort.
var targets = map[string]string{
	"web.rego": example["web.rego"], "data.json": example["data.json"],
	"web_test.rego": `package team.web_test

import data.opencode.prompt
import data.opencode.request
import data.opencode.testing
import data.team.web

test_decision if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
	decision.effect == "ask"
	some rule in decision.rules
	rule.id == "web.push"
}

test_contribution if {
	count(web.deny) == 1 with input as testing.prompt("edit", {}, [testing.file("deploy/x", "write")])
	web.obligations.timeout_seconds == 77 with input as {"kind": "prompt"}
}

test_undefined if {
	not web.obligations with input as {"kind": "request"}
	count(web.deny) == 0
}

test_cases[name] if {
	some name, argv in {"push": ["git", "push"], "trusted": ["ssh", "x"]}
	decision := prompt.decision with input as testing.bash([argv])
	decision.effect == {"push": "ask", "trusted": "allow"}[name]
}

test_request if {
	decision := request.decision with input as testing.request("DELETE", "/session/{sessionID}", ["read", "write", "execute"])
	decision.effect == "deny"
}

test_fails if {
	count(web.deny) == 7 with input as {"request": {"method": "DELETE"}}
}

test_helper if web._is_below("a/b", "a")

test_helper_of_a_helper if _below

_below if web._is_below("a/b", "a")

test_mocked_data if {
	count(web.deny) == 0 with input as testing.prompt("edit", {}, [testing.file("deploy/x", "write")])
		with data.team.web.config.protected as {}
}

test_mocked_helper if {
	count(web.deny) == 0 with input as testing.prompt("edit", {}, [testing.file("deploy/x", "write")])
		with web._is_below as _never
}

_never(_, _) := false

test_mocked_builtin if {
	count(web.ask) == 1 with input as testing.bash([["x"]])
		with glob.match as _always
}

_always(_, _, _) := true

test_nothing if 1 + 1 == 2

todo_test_later if false
`,
}

func TestTargets(t *testing.T) {
	t.Parallel()
	const (
		uses    = "it uses team.web._is_below"
		mocks   = "it replaces "
		nothing = "it asks for no deny"
	)
	want := map[string]engine.Outcome{
		"test_decision": engine.Passed, "test_contribution": engine.Passed, "test_undefined": engine.Passed, "test_cases": engine.Passed,
		"test_request": engine.Passed, "test_fails": engine.Failed, "test_helper": engine.Passed, "test_helper_of_a_helper": engine.Passed,
		"test_mocked_data": engine.Passed, "test_mocked_helper": engine.Passed, "test_mocked_builtin": engine.Passed,
		"test_nothing": engine.Passed, "todo_test_later": engine.Skipped,
	}
	onWasm := maps.Clone(want)
	reasons := map[string]string{
		"test_helper": uses, "test_helper_of_a_helper": uses, "test_mocked_data": mocks, "test_mocked_helper": mocks,
		"test_mocked_builtin": mocks, "test_nothing": nothing,
	}
	for name := range reasons {
		onWasm[name] = engine.Unsupported
	}
	dir := writeDir(t, targets)
	for target, want := range map[engine.Target]map[string]engine.Outcome{
		"": want, engine.TargetRego: want, engine.TargetWasm: onWasm, engine.TargetBoth: onWasm,
	} {
		got, err := onTarget(t, target, dir)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d results, want %d", target, len(got), len(want))
		}
		for name, outcome := range want {
			r := got[name]
			if r.Outcome != outcome {
				t.Errorf("%s: %s: %s %s %s, want %s", target, name, r.Outcome, r.Error, r.Unsupported, outcome)
			}
			if outcome == engine.Unsupported && !strings.HasPrefix(r.Unsupported, reasons[name]) {
				t.Errorf("%s: %s: unsupported because %q, want %q", target, name, r.Unsupported, reasons[name])
			}
		}
	}
}

// TestTargetBothFindsADifference: the two engines do not agree on everything.
// Rego adds with other numbers than Wasm. The tests, which pass on each
// of them alone, say so on both, and so does an error that one of them passes
// over.
func TestTargetBothFindsADifference(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{
		"a.rego": `package team.a

ask contains {"id": "a.sum", "message": "m"} if input.prompt.args.x + 0.1 + 0.2 == 1.3

ask contains {"id": "a.text", "message": "m"} if json.unmarshal(input.prompt.args.text).x == 1
`,
		"a_test.rego": `package team.a_test

import data.opencode.prompt
import data.opencode.testing

test_same if {
	decision := prompt.decision with input as testing.prompt("edit", {"x": 7, "text": "{\"x\": 1}"}, [])
	decision.effect == "ask"
}

test_sum if {
	decision := prompt.decision with input as testing.prompt("edit", {"x": 1}, [])
	decision.effect == "ask"
}

test_text if {
	decision := prompt.decision with input as testing.prompt("edit", {"text": "{"}, [])
	decision.effect == "ask"
}
`,
	})
	for target, want := range map[engine.Target]map[string]engine.Outcome{
		engine.TargetRego: {"test_same": engine.Passed, "test_sum": engine.Passed, "test_text": engine.Errored},
		engine.TargetWasm: {"test_same": engine.Passed, "test_sum": engine.Passed, "test_text": engine.Passed},
		engine.TargetBoth: {"test_same": engine.Passed, "test_sum": engine.Errored, "test_text": engine.Errored},
	} {
		got, err := onTarget(t, target, dir)
		if err != nil {
			t.Fatal(err)
		}
		for name, outcome := range want {
			if got[name].Outcome != outcome {
				t.Errorf("%s: %s: %s %s, want %s", target, name, got[name].Outcome, got[name].Error, outcome)
			}
		}
		if target != engine.TargetBoth {
			continue
		}
		for name, want := range map[string]string{
			"test_sum":  `team/a/ask differs: Rego gives set(), Wasm gives {{"id": "a.sum", "message": "m"}}`,
			"test_text": `team/a/ask differs: Wasm gives set(), Rego ends with: `,
		} {
			if !strings.Contains(got[name].Error, want) {
				t.Errorf("%s: %s, want %q", name, got[name].Error, want)
			}
		}
	}
}

func TestTargetsThatCannotRun(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		target engine.Target
		files  map[string]string
		want   string
	}{
		"another target":  {"js", targets, "want rego, wasm or both"},
		"no rules":        {engine.TargetWasm, map[string]string{"data.json": `{"team": {"a": {"x": 1}}}`, "a_test.rego": "package team.a_test\n\ntest_x if true\n"}, "nothing to compile to Wasm"},
		"a Wasm bundle":   {engine.TargetBoth, map[string]string{"a.tar.gz": string(built(t, true, example)), "a_test.rego": "package team.a_test\n\ntest_x if true\n"}, "nothing to compile to Wasm"},
		"no test for it":  {engine.TargetWasm, map[string]string{"a.rego": denial("a", "a.one"), "a_test.rego": "package team.a_test\n\ntest_x if true\n"}, "test_x: it asks for no deny"},
		"no test at all":  {engine.TargetBoth, map[string]string{"a.rego": denial("a", "a.one")}, "no test was run"},
		"beyond the team": {engine.TargetWasm, map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.x\", \"message\": \"m\"} if count(data.opencode.request.allow) == 0\n", "a_test.rego": "package team.a_test\n\ntest_x if true\n"}, "a rule of the default policy"},
	} {
		_, err := onTarget(t, row.target, writeDir(t, row.files))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	_, err := onTarget(t, engine.TargetWasm, writeDir(t, map[string]string{"a.rego": denial("a", "a.one"), "a_test.rego": "package team.a_test\n\ntest_x if true\n"}))
	if !errors.Is(err, engine.ErrNotOnWasm) {
		t.Errorf("no test for it: %v", err)
	}
}

// TestOfAWasmBundle: tests beside a Wasm bundle ask it.
func TestOfAWasmBundle(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"web.tar.gz": string(built(t, true, example)), "web_test.rego": example["web_test.rego"]})
	got, err := onTarget(t, engine.TargetRego, dir)
	if err != nil || got["test_push"].Outcome != engine.Passed {
		t.Errorf("Test = %v, error %v", got, err)
	}
}

func TestTargetsOfTheExamples(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"team", "attributes", "ci-readonly"} {
		got, err := onTarget(t, engine.TargetBoth, "../policies/examples/"+dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		for name, r := range got {
			if r.Outcome != engine.Passed {
				t.Errorf("%s: %s: %s %s%s", dir, name, r.Outcome, r.Error, r.Unsupported)
			}
		}
	}
}
