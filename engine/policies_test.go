package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

// TestDefaultAndExamples holds the policies that we publish to what we ask of
// those of others.
func TestDefaultAndExamples(t *testing.T) {
	t.Parallel()
	configs := map[string]engine.Config{"default": {Default: policies.FS}}
	examples := filepath.Join("..", "policies", "examples")
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		// One with an extension needs its module built, as the scripts of
		// cmd/opencode do.
		if _, err := os.Stat(filepath.Join(examples, e.Name(), "ext")); e.IsDir() && os.IsNotExist(err) {
			configs[e.Name()] = engine.Config{Default: policies.FS, Dirs: []string{filepath.Join(examples, e.Name())}}
		}
	}
	if len(configs) < 2 {
		t.Fatalf("%s: holds no example", examples)
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := engine.Test(t.Context(), engine.TestConfig{Config: cfg, Coverage: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range report.Tests {
				if r.Outcome != engine.Passed {
					t.Errorf("%s:%d: %s: %s %v %s %s", r.File, r.Line, r.Name, r.Outcome, r.Cases, r.Failed, r.Error)
				}
			}
			if report.Coverage.Percent != 100 {
				t.Errorf("coverage is %v: %+v", report.Coverage.Percent, report.Coverage.Files)
			}
			findings, err := engine.Lint(cfg)
			if err != nil || len(findings) > 0 {
				t.Errorf("Lint: error %v, findings:\n%s", err, strings.Join(findings, "\n"))
			}
		})
	}
}
