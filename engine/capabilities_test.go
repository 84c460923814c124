package engine

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBuiltins: what policies may use changes with a version of OPA only where
// a review sees it.
func TestBuiltins(t *testing.T) {
	t.Parallel()
	var names []string
	for _, b := range capabilities().Builtins {
		names = append(names, b.Name)
		if b.Nondeterministic {
			t.Errorf("%s: may be used, but is not deterministic", b.Name)
		}
	}
	slices.Sort(names)
	golden := filepath.Join("testdata", "builtins.golden")
	text := strings.Join(names, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("built-ins that policies may use (-reviewed +now):\n%s", diff)
	}
}

// TestRefusedBuiltinsExist: a name that OPA does not know refuses nothing.
func TestRefusedBuiltinsExist(t *testing.T) {
	t.Parallel()
	for _, name := range refused {
		if !slices.ContainsFunc(ast.CapabilitiesForThisVersion().Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			t.Errorf("%s: is refused, but is no built-in", name)
		}
		if slices.ContainsFunc(capabilities().Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			t.Errorf("%s: is refused, but may be used", name)
		}
	}
}
