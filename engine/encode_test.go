package engine_test

import (
	"strings"
	"testing"

	"opencode/policy"
)

// TestExtensionIsAskedAboutTheVeryText denies where a text has no form in JSON:
// an extension would be asked about another one than that which takes effect.
func TestExtensionIsAskedAboutTheVeryText(t *testing.T) {
	t.Parallel()
	files := extended(t, true, "fine")
	files["a.rego"] = `package team.a

deny contains {"id": "a.other", "message": "m"} if ext.hostile.echo(input.prompt.command.calls[0].argv) == []
`
	e := team(t, files)
	for _, text := range []string{"a\xff", "\xc0\x80", "\"\xed\xa0\x80"} {
		d, err := e.Decide(t.Context(), bash([]string{"ls", text}))
		if err == nil || d.Effect != policy.Deny || !strings.Contains(err.Error(), "holds a text that is not UTF-8") {
			t.Errorf("Decide of %q = %v, %v; want an error", text, d.Effect, err)
		}
	}
	for _, text := range []string{"a", "\ufffd", "\x00\"\\é\u2028"} {
		if _, err := e.Decide(t.Context(), bash([]string{"ls", text})); err != nil {
			t.Errorf("Decide of %q: %v", text, err)
		}
	}
}
