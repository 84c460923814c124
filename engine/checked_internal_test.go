package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policies"
)

// TestIdleStages holds what lets the default policy be compiled without the
// stages that only check, or find nothing to change in it.
func TestIdleStages(t *testing.T) {
	t.Parallel()
	whole := compileDefault(t, false)
	short := compileDefault(t, true)
	if len(whole.Modules) == 0 || len(whole.Modules) != len(short.Modules) {
		t.Fatalf("%d modules, and %d without the idle stages", len(whole.Modules), len(short.Modules))
	}
	for name, want := range whole.Modules {
		got := short.Modules[name]
		if got == nil || !want.Equal(got) {
			t.Errorf("%s: is compiled to something else", name)
			continue
		}
		for i, rule := range want.Rules {
			if diff := cmp.Diff(rule.String(), got.Rules[i].String()); diff != "" {
				t.Errorf("%s: rule %d (-with all stages +without):\n%s", name, i, diff)
			}
		}
	}
	if diff := cmp.Diff(whole.RewrittenVars, short.RewrittenVars); diff != "" {
		t.Errorf("rewritten variables (-with all stages +without):\n%s", diff)
	}
}

// TestChecksOfOthers checks that what is added to the default, or replaces it,
// is refused by each kind of check, however well the default is known.
func TestChecksOfOthers(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ rego, want string }{
		"type":      {"x if input.principal.nowhere == 1", "undefined ref: input.principal.nowhere"},
		"recursion": {"x if y\n\ny if x", "recursive"},
		"function":  {"x if nothing(1)", "undefined function"},
		"safety":    {"x if y == z", "unsafe"},
		"conflict":  {"x := 1\n\nx(y) := y", "conflict"},
	} {
		for _, pkg := range []string{"team.a", "opencode.request"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.rego"), []byte("package "+pkg+"\n\nimport rego.v1\n\n"+row.rego+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := Config{Default: policies.FS, Checked: true, Dirs: []string{dir}}
			if pkg != "team.a" {
				cfg.Dirs, cfg.Only = nil, dir
			}
			if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s in %s: error = %v, want %q", name, pkg, err, row.want)
			}
		}
	}
}

// TestIsDefault checks what makes a policy more than the default, wherever it
// came from.
func TestIsDefault(t *testing.T) {
	t.Parallel()
	ours := file{origin: originDefault, name: "a.rego"}
	if s := (&sources{files: []file{ours}}); !s.isDefault() {
		t.Error("the default is not taken for it")
	}
	for name, s := range map[string]*sources{
		"rules of a team": {files: []file{ours, {name: "b.rego"}}},
		"data of a team":  {files: []file{ours, {name: "data.json"}}},
		"a Wasm policy":   {files: []file{ours}, guests: make([]guestSource, 1)},
		"an extension":    {files: []file{ours}, extensions: map[string]*extensionSource{"a": nil}},
		"replaced":        {files: []file{ours}, only: true},
	} {
		if s.isDefault() {
			t.Errorf("%s: is taken for the default", name)
		}
	}
}

// compileDefault compiles the default policy as a server does.
func compileDefault(t *testing.T, checked bool) *ast.Compiler {
	t.Helper()
	src, err := Config{Default: policies.FS, Checked: checked}.sources(serving)
	if err != nil {
		t.Fatal(err)
	}
	src.serves = true
	c, err := src.compile()
	if err != nil {
		t.Fatal(err)
	}
	return c.compiler
}
