package policies_test

import (
	"slices"
	"testing"

	"opencode/policy"
)

// TestLaunched decides commands in which another program runs a banned one: each
// is denied, and as banned.
func TestLaunched(t *testing.T) {
	t.Parallel()
	e := defaultEngine(t)
	root := t.TempDir()
	commands := corpus(t, "launched")
	if len(commands) < 350 {
		t.Errorf("the corpus holds %d commands, want more", len(commands))
	}
	for _, command := range commands {
		d := decideCommand(t, e, root, command)
		if d.Effect != policy.Deny || !slices.ContainsFunc(d.Rules, func(r policy.Rule) bool { return r.ID == "bash.banned_command" }) {
			t.Errorf("%q is %s by %v, want denied as banned", command, d.Effect, d.Rules)
		}
	}
}
