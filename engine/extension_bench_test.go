package engine_test

import (
	"strconv"
	"testing"

	"opencode/policy"
)

// BenchmarkDecideWithExtension decides about commands with a rule that calls a
// small module, and without the call. What such a module says is not kept, and
// neither is a decision here that could be.
func BenchmarkDecideWithExtension(b *testing.B) {
	for name, replaced := range map[string]bool{"called": false, "without": true} {
		b.Run(name, func(b *testing.B) {
			files := extended(b, false, "fine")
			if replaced {
				files["a.rego"] = "package team.a\n\ndeny contains {\"id\": \"a.fine\", \"message\": \"m\"} if {\n\tinput.principal\n}\n"
			}
			e := team(b, files)
			n := 0
			decideAnew(b, e, policy.Deny, func() *policy.Input {
				n++
				return bash([]string{"git", "commit", strconv.Itoa(n)})
			})
		})
	}
}
