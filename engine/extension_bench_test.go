package engine_test

import (
	"testing"

	"opencode/policy"
)

// BenchmarkDecideWithExtension decides about a command with a rule that calls a
// small module, and without the call.
func BenchmarkDecideWithExtension(b *testing.B) {
	for name, replaced := range map[string]bool{"called": false, "without": true} {
		b.Run(name, func(b *testing.B) {
			files := extended(b, false, "fine")
			if replaced {
				files["a.rego"] = "package team.a\n\ndeny contains {\"id\": \"a.fine\", \"message\": \"m\"} if {\n\tinput.principal\n}\n"
			}
			e := team(b, files)
			in := bash([]string{"git", "commit"})
			for b.Loop() {
				if d, err := e.Decide(b.Context(), in); err != nil || d.Effect != policy.Deny {
					b.Fatal(d, err)
				}
			}
		})
	}
}
