package engine_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

const header = "# METADATA\n# title: A\n# description: Shows what is found.\npackage team.a\n\n"

func TestLint(t *testing.T) {
	t.Parallel()
	negation := func(expression string) map[string]string {
		return map[string]string{"a.rego": header + "deny contains {\"id\": \"a.b\", \"message\": \"m\"} if {\n\t" + expression +
			"\n}\n\n_set := {\"x\", \"y\"}\n\n_map := {\"x\": true}\n\n_names := {\"x\": \"y\"}\n\n_is_any(v) if count(v) > 0\n\n_helper if input.kind == \"prompt\"\n\n_is_x(v) if v == \"x\"\n"}
	}
	const undefined = `a\.rego:7: not .*: is undefined, not true, if a value in it is missing`
	for name, row := range map[string]struct {
		files map[string]string
		want  string // a regular expression for the only finding, or none
	}{
		"nothing":                       {map[string]string{"a.rego": header + "x := 1\n"}, `a\.rego:6: rule x has no METADATA`},
		"internal rule":                 {map[string]string{"a.rego": header + "_x := 1\n"}, ""},
		"contribution":                  {map[string]string{"a.rego": header + "deny contains {\"id\": \"a.b\", \"message\": \"m\"} if input.version == 1\n"}, ""},
		"package without metadata":      {map[string]string{"a.rego": "package team.a\n\n_x := 1\n"}, `a\.rego:1: the package has no METADATA`},
		"format":                        {map[string]string{"a.rego": header + "_x  :=  1\n"}, `a\.rego:6: is not formatted`},
		"package of another file":       {map[string]string{"b.rego": header + "_x := 1\n"}, `b\.rego:4: package team\.a: the file's place wants team\.b`},
		"package of the folder":         {map[string]string{"a/b.rego": header + "_x := 1\n"}, ""},
		"package of folder and file":    {map[string]string{"a/b.rego": strings.ReplaceAll(header, "team.a", "team.a.b") + "_x := 1\n"}, ""},
		"package of another folder":     {map[string]string{"c/b.rego": header + "_x := 1\n"}, `b\.rego:4: package team\.a: the file's place wants team\.c\.b or team\.c`},
		"id with capitals":              {map[string]string{"a.rego": header + "deny contains {\"id\": \"a.noPush\", \"message\": \"m\"} if input.version == 1\n"}, `a\.rego:6: rule id "a\.noPush": want area\.snake_case`},
		"id without an area":            {map[string]string{"a.rego": header + "deny contains {\"id\": \"push\", \"message\": \"m\"} if input.version == 1\n"}, `a\.rego:6: rule id "push": want area\.snake_case`},
		"id that is not literal":        {map[string]string{"a.rego": header + "deny contains {\"id\": input.kind, \"message\": \"m\"} if input.version == 1\n"}, `a\.rego:6: deny has no literal id`},
		"test outside of a test's file": {map[string]string{"a.rego": header + "test_x if input.version == 1\n"}, `a\.rego:6: (test_x: a test belongs in a file|rule test_x has no METADATA)`},

		"not a call of a built-in":       {negation(`not startswith(input.request.path, "/x")`), undefined},
		"not in, of a reference":         {negation(`not input.prompt.tool in {"bash", "pty"}`), undefined},
		"not in, of a set":               {negation(`not "x" in input.principal.permissions`), undefined},
		"not a function of input":        {negation(`not _is_x(input.kind)`), undefined},
		"not a look-up by input":         {negation(`not _map[input.kind]`), undefined},
		"not data by input":              {negation(`not data.team.a.config[input.kind]`), undefined},
		"not equal to a call":            {negation(`not lower(input.kind) == "prompt"`), undefined},
		"not less":                       {negation(`not input.version > 1`), undefined},
		"not equal to a look-up":         {negation(`not input.kind == _names[input.request.method]`), undefined},
		"not a function of a list":       {negation(`not _is_any([input.kind])`), undefined},
		"not a call within a call":       {negation(`not startswith(lower("X"), "x")`), undefined},
		"not equal to a list":            {negation(`not input.principal.permissions == [input.kind]`), undefined},
		"not sprintf":                    {negation(`not sprintf("%s", [input.kind]) == "x"`), undefined},
		"not a helper":                   {negation(`not _helper`), ""},
		"not equal":                      {negation(`not input.request.directory.inside == true`), ""},
		"not equal to another":           {negation(`not input.request.method == input.request.path`), ""},
		"not a reference":                {negation(`not input.request.canonical`), ""},
		"not a function of a variable":   {negation("some v in _set\n\tnot _is_x(v)"), ""},
		"not a look-up by a variable":    {negation("some v in _set\n\tnot _map[v]"), ""},
		"not in, of a variable":          {negation("some v in _set\n\tnot v in {\"x\"}"), ""},
		"not a count of a comprehension": {negation(`not _is_any({p | some p in input.principal.permissions})`), ""},
		"call that is not negated":       {negation(`startswith(input.request.path, "/x")`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings, err := engine.Lint(engine.Config{Default: policies.FS, Dirs: []string{writeDir(t, row.files)}})
			if err != nil {
				t.Fatal(err)
			}
			if row.want == "" {
				if len(findings) > 0 {
					t.Errorf("Lint = %q, want nothing", findings)
				}
				return
			}
			for _, f := range findings {
				if !regexp.MustCompile(row.want).MatchString(f) {
					t.Errorf("Lint found %q, want what matches %q alone", f, row.want)
				}
			}
			if len(findings) == 0 {
				t.Errorf("Lint found nothing, want what matches %q", row.want)
			}
		})
	}
}

// TestNegationPitfallIsReal shows what the finding is about: the denial of a
// request without the member does not deny.
func TestNegationPitfallIsReal(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": header +
		"deny contains {\"id\": \"a.b\", \"message\": \"m\"} if not startswith(input.principal.attributes.role, \"ci\")\n"})
	in := request("GET", "/config", "read")
	if d, err := e.Decide(t.Context(), in); err != nil || d.Err() != nil {
		t.Errorf("without the attribute: %v by %v, error %v, want that the rule says nothing", d.Effect, ids(d), err)
	}
	in.Principal.Attributes = map[string]string{"role": "x"}
	if d, err := e.Decide(t.Context(), in); err != nil || d.Err() == nil {
		t.Errorf("with the attribute: %v, error %v, want a denial", d.Effect, err)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	got, err := engine.Format("a.rego", []byte("package team.a\nx  :=  1\n"))
	if want := "package team.a\n\nx := 1\n"; err != nil || string(got) != want {
		t.Errorf("Format = %q, error %v, want %q", got, err, want)
	}
	if _, err := engine.Format("a.rego", []byte("package team.a\n\nx :=\n")); err == nil || !strings.Contains(err.Error(), "a.rego:") {
		t.Errorf("Format of broken text: error %v, want file and line", err)
	}
}

// TestLintWantsMetadataOfEachRule checks that a rule with an id needs a title of
// its own where the whole policy is replaced, whatever its set has.
func TestLintWantsMetadataOfEachRule(t *testing.T) {
	t.Parallel()
	const text = `# METADATA
# title: Requests
# description: Refuses all.
package opencode.request

# METADATA
# title: Denials
# description: All of them.
# scope: document

# METADATA
# title: One
# description: The first.
deny contains {"id": "request.one", "message": "no"}

deny contains {"id": "request.two", "message": "no"}

# METADATA
# title: Decision
# description: Denies.
decision := {"effect": "deny", "rules": []}
`
	dir := t.TempDir()
	for name, content := range map[string]string{
		"opencode/request/request.rego": text,
		"opencode/prompt/prompt.rego":   "# METADATA\n# title: Prompts\n# description: Refuses all.\npackage opencode.prompt\n\n# METADATA\n# title: Decision\n# description: Denies.\ndecision := {\"effect\": \"deny\", \"rules\": []}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := engine.Lint(engine.Config{Default: policies.FS, Only: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || !strings.Contains(findings[0], "request.rego:16: rule request.two has no METADATA of its own") {
		t.Errorf("Lint = %q, want a finding about request.two alone", findings)
	}
}
