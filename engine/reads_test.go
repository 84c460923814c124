package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
)

// readsOf analyses a module of package p with the entrypoint p.decision.
func readsOf(t *testing.T, text string) reading {
	t.Helper()
	m, err := ast.ParseModuleWithOpts("p.rego", "package p\n\n"+text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	c := ast.NewCompiler().WithDefaultRegoVersion(ast.RegoV1)
	c.Compile(map[string]*ast.Module{"p.rego": m})
	if c.Failed() {
		t.Fatal(c.Errors)
	}
	return reads(c, ast.MustParseRef("data.p.decision"), isPure)
}

// TestReads holds the analysis to policies that read in every way there is.
func TestReads(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want string // places, or "!" and the reason
	}{
		"nothing":                          {`decision := 1`, ""},
		"a place":                          {`decision := 1 if input.request.method == "GET"`, "input.request.method"},
		"another name for it":              {`decision := 1 if input["request"].method == "GET"`, "input.request.method"},
		"places below a place":             {`decision := 1 if { input.a.b; input.a == 2 }`, "input.a"},
		"the value":                        {`decision := input.x.y`, "input.x.y"},
		"only whether there":               {`decision := 1 if input.session`, "input.session?"},
		"whether not there":                {`decision := 1 if not input.session`, "input.session?"},
		"there and a member":               {`decision := 1 if { input.session; input.session.id == "x" }`, "input.session.id"},
		"there, with":                      {`decision := 1 if { input.session with input.session as false }`, "input.session"},
		"index":                            {`decision := 1 if input.list[0].x == 2`, "input.list"},
		"some":                             {`decision := 1 if { some x in input.list; x.y == 2 }`, "input.list"},
		"wildcard":                         {`decision := 1 if input.list[_].x.y == 2`, "input.list"},
		"dynamic key":                      {`decision := 1 if { k := "x"; input[k] == 2 }`, "input"},
		"dynamic key below":                {`decision := 1 if { some k in ["x"]; input.a[k].b == 2 }`, "input.a"},
		"key from the input":               {`decision := 1 if data.q[input.a.b] == 2`, "input.a.b"},
		"key from the input, in the input": {`decision := 1 if input.m[input.k] == 2`, "input.k input.m"},
		"the input itself":                 {`decision := 1 if { x := input; x.a == 2 }`, "input"},
		"an object of it":                  {`decision := 1 if { x := {"i": input.a}; x.i.b == 2 }`, "input.a"},
		"a pattern":                        {`decision := 1 if { {"a": x} = input.m; x == 2 }`, "input.m"},
		"walk":                             {`decision := 1 if { walk(input, [_, v]); v == 2 }`, "input"},
		"walk below":                       {`decision := 1 if { walk(input.a.b, [_, v]); v == 2 }`, "input.a.b"},
		"object.get":                       {`decision := 1 if object.get(input.a, ["b", "c"], 0) == 2`, "input.a"},
		"json.filter":                      {`decision := 1 if json.filter(input, ["a/b"]) == {}`, "input"},
		"function of the input":            {"decision := 1 if f(input)\nf(x) if x.a == 2", "input"},
		"function of a place":              {"decision := 1 if f(input.a)\nf(x) if x.b == 2", "input.a"},
		"function that reads":              {"decision := 1 if f(3)\nf(x) if x == input.a", "input.a"},
		"function by its head":             {"decision := 1 if f(3, 4)\nf(3, x) := x if input.a", "input.a?"},
		"else":                             {"decision := 1 if input.a else := 2 if input.b.c == 1 else := input.d", "input.a? input.b.c input.d"},
		"default":                          {"default decision := 1\ndecision := 2 if input.a == 1", "input.a"},
		"rule of a rule":                   {"decision := x if y\nx := input.a\ny if z\nz if input.b == 1", "input.a input.b"},
		"rule nobody asks":                 {"decision := 1\nx := input.a", ""},
		"set":                              {"decision := 1 if \"a\" in s\ns contains input.a\ns contains \"x\" if input.b == 1", "input.a input.b"},
		"partial object":                   {"decision := o.k\no[input.a] := input.b if input.c == 1", "input.a input.b input.c"},
		"nested partial object":            {"decision := o.k.l\no.k[input.a] := input.b", "input.a input.b"},
		"other partial object":             {"decision := o.k\no.k := input.a\no.l := input.b", "input.a"},
		"comprehension":                    {"decision := [x | some x in input.l; x == input.a.b]", "input.a.b input.l"},
		"object comprehension":             {"decision := {k: input.a | some k in input.l}", "input.a input.l"},
		"every":                            {"decision := 1 if every x in input.l { x == input.a }", "input.a input.l"},
		"not":                              {"decision := 1 if not f\nf if input.a == 1", "input.a"},
		"with value":                       {"decision := 1 if x with input.a as input.b\nx if input.c == 1", "input.a input.b input.c"},
		"with the input":                   {"decision := 1 if x with input as input.b\nx if input.c == 1", "input"},
		"with data":                        {"decision := 1 if data.q == 1 with data.q as input.a", "input.a"},
		"with a function":                  {"decision := 1 if f(1) with f as g\nf(_) := 1\ng(_) := input.a", "input.a"},
		"with a pure built-in":             {"decision := 1 if f(1) with f as is_number\nf(_) := 1", ""},
		"with an impure one":               {"decision := 1 if f(\"a\") with f as uuid.rfc4122\nf(_) := 1", "!with uuid.rfc4122"},
		"impure":                           {"decision := 1 if time.now_ns() > input.a", "!the built-in time.now_ns"},
		"impure, far away":                 {"decision := 1 if x\nx := [y | y := f(1)]\nf(_) := rand.intn(\"a\", 3)", "!the built-in rand.intn"},
		"not marked by OPA":                {"decision := 1 if crypto.x509.parse_and_verify_certificates(input.a)[0]", "!the built-in crypto.x509.parse_and_verify_certificates"},
		"impure, nobody asks":              {"decision := 1\nx := time.now_ns()", ""},
		"wasm":                             {"decision := 1 if data.wasm.x.y == 1", "!the reference data.wasm.x.y"},
		"wasm by name":                     {"decision := 1 if data[input.a].y == 1", "!the reference data"},
		"template":                         {"decision := sprintf(\"%v\", [input.a.b])", "input.a.b"},
		"template string":                  {"decision := $`x{input.a.b}`", "input.a.b"},
		"key of an object":                 {`decision := {input.a: 1}`, "input.a"},
		"key of a comprehension":           {`decision := {input.a: v | v := 1}`, "input.a"},
		"default function":                 {"decision := f(1)\ndefault f(_) := 2\nf(x) := x if input.a == x", "input.a"},
		"with what reads":                  {"decision := 1 if x with data.q as y\nx if data.q\ny := input.a", "input.a"},
		"with a built-in of a place":       {"decision := 1 if count([1]) == 2 with count as input.a", "input.a"},
		"with a built-in by what reads":    {"decision := 1 if count([1]) == 2 with count as f\nf(_) := input.a", "input.a"},
		"path from the input":              {`decision := 1 if object.get({}, input.path, 0) == 2`, "input.path"},
		"schema":                           {`decision := 1 if json.match_schema(input.a, {})[0]`, "!the built-in json.match_schema"},
		"print":                            {"decision := 1 if { print(input.a); true }", ""},
		"own metadata":                     {"# METADATA\n# title: t\ndecision := rego.metadata.rule().title", ""},
		"package as an object":             {"decision := count(data.p.q)\nq.a := input.a\nq[k] := 1 if some k in input.b", "input.a input.b"},
		"chained keys":                     {"decision := 1 if input.a[input.b[input.c]] == 1", "input.a input.b input.c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := readsOf(t, row.text)
			if reason, isReason := strings.CutPrefix(row.want, "!"); isReason {
				if !strings.HasPrefix(r.impure, reason) || r.impure == "" || !r.paths.whole {
					t.Fatalf("%q, whole %v, want %q and all", r.impure, r.paths.whole, reason)
				}
				return
			}
			if diff := cmp.Diff(strings.Fields(row.want), r.paths.list()); diff != "" && (row.want != "" || len(r.paths.list()) > 0) || r.impure != "" {
				t.Fatalf("%s (-want +got)\n%s", r.impure, diff)
			}
		})
	}
}

// TestReadsAcrossTeams follows a reference with a name of a team's choice.
func TestReadsAcrossTeams(t *testing.T) {
	t.Parallel()
	modules := map[string]*ast.Module{}
	for name, text := range map[string]string{
		"p": "package p\n\ndecision := {x | some name; some x in data.team[name].deny}",
		"a": "package team.a\n\ndeny contains 1 if input.a.b == 1\n\nhelper := input.unread",
		"b": "package team.b\n\ndeny contains x if { some x in f(input.c) }\n\nf(x) := x.y",
		"c": "package team.c.d\n\ndeny contains 1 if input.e",
		"d": "package other\n\ndeny contains 1 if input.z",
	} {
		modules[name] = ast.MustParseModuleWithOpts(text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	}
	c := ast.NewCompiler().WithDefaultRegoVersion(ast.RegoV1)
	c.Compile(modules)
	if c.Failed() {
		t.Fatal(c.Errors)
	}
	got := reads(c, ast.MustParseRef("data.p.decision"), isPure).paths.list()
	if want := []string{"input.a.b", "input.c"}; !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestPureBuiltinsAreKnown holds the list of pure built-ins to those that there
// are, and to what OPA itself says of them.
func TestPureBuiltinsAreKnown(t *testing.T) {
	t.Parallel()
	var impure []string
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		switch {
		case b.Nondeterministic && isPure(b.Name):
			t.Errorf("%s is not deterministic", b.Name)
		case !isPure(b.Name):
			impure = append(impure, b.Name)
		}
	}
	for _, name := range []string{"http.send", "time.now_ns", "rand.intn", "uuid.rfc4122", "opa.runtime", "trace", "print", "crypto.x509.parse_and_verify_certificates"} {
		if !slices.Contains(impure, name) {
			t.Errorf("%s counts as pure", name)
		}
	}
	for _, name := range []string{"ext.mod.fn", "", "http", "time.now"} {
		if isPure(name) {
			t.Errorf("%s counts as pure", name)
		}
	}
}
