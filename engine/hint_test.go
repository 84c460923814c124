package engine_test

import (
	"errors"
	"strings"
	"testing"

	"opencode/policy"
)

// TestDenialSaysWhatIsAllowed checks that a denial carries the hint of its
// rule, the default's and a team's, and that nothing else does.
func TestDenialSaysWhatIsAllowed(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{
		"a.rego": `package team.a

deny contains {"id": "a.no", "message": "no"} if input.prompt.command.calls[0].name == "id"
`,
		"data.json": `{"opencode":{"config":{"hints":{"a.no":"ask the team","bash.ask_command":"unused"}}}}`,
	})
	for command, want := range map[string]string{
		"curl": "(work without it: what is in the project can be read and built, and a person can fetch what is missing)",
		"id":   "no [a.no] (ask the team)",
	} {
		d, err := e.Decide(t.Context(), bash([]string{command}))
		if err != nil {
			t.Fatal(err)
		}
		var denied *policy.DeniedError
		if err := d.Err(); !errors.As(err, &denied) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
	d, err := e.Decide(t.Context(), bash([]string{"git", "push"}))
	if err != nil || d.Effect != policy.Ask || d.Rules[0].Hint != "" {
		t.Errorf("a question has a hint: %+v, %v", d, err)
	}
}
