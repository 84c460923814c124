package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
)

// maskEngine returns an engine with a policy of what is masked.
func maskEngine(t *testing.T, files map[string]string) (*engine.Engine, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: 500 * time.Millisecond})
}

// event is what would be shipped.
func event(tool string) map[string]any {
	return map[string]any{
		"decision_id": "dec_1",
		"path":        "opencode/prompt/decision",
		"input":       map[string]any{"kind": "prompt", "prompt": map[string]any{"tool": tool, "args": map[string]any{"command": "ls"}}},
		"result":      map[string]any{"effect": "allow"},
	}
}

// TestMask asks the policy of a team what is not to be shipped.
func TestMask(t *testing.T) {
	t.Parallel()
	e, err := maskEngine(t, map[string]string{
		"mask.rego": `package system.log

mask contains "/input/prompt/args" if input.input.prompt.tool == "bash"

mask contains {"op": "upsert", "path": "/input/principal/name", "value": data.team.privacy.stand_in}
`,
		"data.json": `{"team": {"privacy": {"stand_in": "somebody"}}}`,
		"team.rego": `package team.privacy

deny contains {"id": "privacy.never", "message": "never"} if input.prompt.tool == "nothing"
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	stand := map[string]any{"op": "upsert", "path": "/input/principal/name", "value": "somebody"}
	for tool, want := range map[string][]any{"bash": {"/input/prompt/args", stand}, "read": {stand}} {
		got, err := e.Mask(t.Context(), event(tool))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Mask of %s: %v, (-want +got)\n%s", tool, err, diff)
		}
	}
	plain, err := engine.New(t.Context(), engine.Config{Default: policies.FS})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := plain.Mask(t.Context(), event("bash")); err != nil || len(got) != 0 {
		t.Errorf("Mask without a policy = %v, %v, want nothing", got, err)
	}
	if got, err := new(engine.Engine).Mask(t.Context(), event("bash")); !errors.Is(err, engine.ErrMask) {
		t.Errorf("Mask without an engine = %v, %v, want an error", got, err)
	}
}

// TestMaskFails: what goes wrong in the policy is an error, never no mask.
func TestMaskFails(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"an error of a built-in": {`mask contains "/input" if to_number(input.path) == 1`, "to_number"},
		"a conflict": {`mask contains f(input.path)

f(x) := "/input" if x != ""

f(x) := "/result" if x != "y"`, "conflict"},
		"too long": {`mask contains "/input" if {
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i + j == -1
}`, "took too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := maskEngine(t, map[string]string{"mask.rego": "package system.log\n\n" + row.text + "\n"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Mask(t.Context(), event("bash"))
			if !errors.Is(err, engine.ErrMask) || !regexp.MustCompile(row.want).MatchString(err.Error()) || got != nil {
				t.Errorf("Mask = %v, %v, want an error with %q", got, err, row.want)
			}
		})
	}
}

// TestMaskRefused holds a team to what is asked of the package, and to that
// package.
func TestMaskRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"mask as a value":      {"package system.log\n\nmask := [\"/input\"]\n", `a\.rego:3: mask must be a set`},
		"mask as a condition":  {"package system.log\n\nmask if input.path == \"x\"\n", `a\.rego:3: mask must be a set`},
		"mask of parts":        {"package system.log\n\nmask.x contains 1\n", `a\.rego:3: mask must be a set`},
		"default mask":         {"package system.log\n\ndefault mask := []\n", `a\.rego:3: mask must be a set`},
		"drop":                 {"package system.log\n\ndrop if input.path == \"x\"\n", `a\.rego:3: system\.log\.drop is not asked`},
		"the network":          {"package system.log\n\nmask contains x if x := http.send({\"url\": \"http://127.0.0.1\", \"method\": \"GET\"}).body\n", `a\.rego:3: .*http\.send`},
		"system":               {"package system\n\nlog.mask contains \"/input\"\n", `a\.rego:1: package system: a team's package`},
		"below":                {"package system.log.more\n\nx := 1\n", `a\.rego:1: package system\.log\.more: a team's package`},
		"who may call":         {"package system.authz\n\nallow := true\n", `a\.rego:1: package system\.authz: a team's package`},
		"a name that looks so": {"package system[\"log.mask\"]\n\nx := 1\n", `a\.rego:1: package system\.log\.mask: a team's package`},
	} {
		_, err := maskEngine(t, map[string]string{"a.rego": row.text})
		if err == nil || !regexp.MustCompile(row.want).MatchString(err.Error()) {
			t.Errorf("%s: error %v, want %s", name, err, row.want)
		}
	}
	// The input of decisions is still checked.
	_, err := maskEngine(t, map[string]string{
		"mask.rego": "package system.log\n\nmask contains \"/input\"\n",
		"team.rego": "package team.a\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"} if input.input.kind == \"prompt\"\n",
	})
	if err == nil || !regexp.MustCompile(`team\.rego:3: .*input\.input`).MatchString(err.Error()) {
		t.Errorf("error %v, want that there is no input.input", err)
	}
}

// TestMaskTested runs a team's tests of what it masks.
func TestMaskTested(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"mask.rego": "package system.log\n\nmask contains \"/input/prompt/args\" if input.input.prompt.tool == \"bash\"\n",
		"mask_test.rego": `package team.mask_test

test_bash if "/input/prompt/args" in data.system.log.mask with input as {"input": {"prompt": {"tool": "bash"}}}

test_other if count(data.system.log.mask) == 0 with input as {"input": {"prompt": {"tool": "read"}}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := engine.Test(t.Context(), engine.TestConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}}, Coverage: true})
	if err != nil || report.Count(engine.Passed) != 2 || len(report.Tests) != 2 {
		t.Fatalf("Test = %+v, %v, want two that pass", report, err)
	}
	if report.Coverage == nil || report.Coverage.Percent != 100 {
		t.Errorf("coverage %+v, want all", report.Coverage)
	}
}
