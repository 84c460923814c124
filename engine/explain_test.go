package engine_test

import (
	"strings"
	"testing"

	"opencode/engine"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.make\", \"message\": \"m\"} if {\n\tsome call in input.prompt.command.calls\n\tcall.name == \"make\"\n}\n"})
	d, steps, err := e.Explain(t.Context(), bash([]string{"curl", "x"}, []string{"make"}))
	if err != nil || strings.Join(ids(d), " ") != "a.make bash.banned_command" {
		t.Fatalf("Explain = %v by %v, error %v, want a denial by both rules", d.Effect, ids(d), err)
	}
	byPlace := map[string]engine.Step{}
	for _, s := range steps {
		if s.At == "" || s.Rule == "" {
			t.Errorf("step %+v says nothing", s)
		}
		byPlace[s.At] = s
	}
	for _, r := range d.Rules {
		s, ok := byPlace[r.At]
		if !ok || !strings.HasPrefix(s.Rule, "data.") {
			t.Errorf("%s at %s: no step there", r.ID, r.At)
			continue
		}
		if r.ID == "bash.banned_command" && s.Values["program"] != `"curl"` {
			t.Errorf("%s: values %v, want the program", r.ID, s.Values)
		}
	}
	_, allowed, err := e.Explain(t.Context(), bash([]string{"ls"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range allowed {
		if strings.Contains(s.At, "a.rego") {
			t.Errorf("step %+v of a rule that did not fire", s)
		}
	}
}
