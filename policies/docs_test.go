package policies_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"opencode/policies"
)

// TestRulesAreDocumented holds the table of rules in docs/policies.md against
// the rules of the default policy: the same ids, in both.
func TestRulesAreDocumented(t *testing.T) {
	t.Parallel()
	defined := map[string]bool{}
	literal := regexp.MustCompile(`"id": "([a-z_]+\.[a-z_]+)"`)
	err := fs.WalkDir(policies.FS, "opencode", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".rego") || strings.HasSuffix(p, "_test.rego") {
			return err
		}
		text, err := fs.ReadFile(policies.FS, p)
		for _, m := range literal.FindAllSubmatch(text, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Hints map[string]string `json:"hints"`
	}
	data, err := fs.ReadFile(policies.FS, "opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &config); err != nil || len(config.Hints) == 0 {
		t.Fatalf("%d hints, %v", len(config.Hints), err)
	}
	for id := range config.Hints {
		if !defined[id] {
			t.Errorf("there is a hint for the rule %s, which does not exist", id)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "docs", "policies.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+\\.[a-z_]+)` \\| (?:deny|ask|allow) \\|")
	var documented []string
	for _, m := range row.FindAllSubmatch(text, -1) {
		documented = append(documented, string(m[1]))
	}
	if len(defined) < 20 || len(documented) < 20 {
		t.Fatalf("found %d rules and %d rows: the test looks in the wrong place", len(defined), len(documented))
	}
	for id := range defined {
		if !slices.Contains(documented, id) {
			t.Errorf("rule %s is not in docs/policies.md", id)
		}
	}
	for i, id := range documented {
		if !defined[id] {
			t.Errorf("docs/policies.md has the rule %s, which does not exist", id)
		}
		if slices.Contains(documented[:i], id) {
			t.Errorf("docs/policies.md has the rule %s twice", id)
		}
	}
}
