package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.make\", \"message\": \"m\"} if {\n\tsome call in input.prompt.command.calls\n\tcall.name == \"make\"\n}\n"})
	d, x, err := e.Explain(t.Context(), bash([]string{"curl", "x"}, []string{"make"}))
	if err != nil || strings.Join(ids(d), " ") != "a.make bash.banned_command" {
		t.Fatalf("Explain = %v by %v, error %v, want a denial by both rules", d.Effect, ids(d), err)
	}
	byPlace := map[string]engine.Step{}
	for _, s := range x.Steps {
		if s.At == "" || s.Rule == "" {
			t.Errorf("step %+v says nothing", s)
		}
		byPlace[s.At] = s
	}
	want := map[string][2]string{
		"a.make":              {"call.name", `"make"`},
		"bash.banned_command": {"program", `"curl"`},
	}
	for _, r := range d.Rules {
		s, ok := byPlace[r.At]
		if !ok || !strings.HasPrefix(s.Rule, "data.") || s.ID != r.ID {
			t.Errorf("%s at %s: step %+v, want one of this rule", r.ID, r.At, s)
			continue
		}
		if w := want[r.ID]; s.Values[w[0]] != w[1] {
			t.Errorf("%s: values %v, want %s = %s", r.ID, s.Values, w[0], w[1])
		}
	}
	_, allowed, err := e.Explain(t.Context(), bash([]string{"ls"}))
	if err != nil || len(allowed.Unmet) > 0 {
		t.Fatalf("Explain: unmet %v, error %v, want none of a decision that allows", allowed.Unmet, err)
	}
	for _, s := range allowed.Steps {
		if strings.Contains(s.At, "a.rego") {
			t.Errorf("step %+v of a rule that did not hold", s)
		}
	}
}

// conditions returns the chain of conditions that lead to one, with its values.
func conditions(list []engine.Unmet, last string) ([]string, map[string]string) {
	for _, u := range list {
		if u.Condition == last {
			return []string{u.Condition}, u.Values
		}
		if chain, values := conditions(u.Because, last); chain != nil {
			return append([]string{u.Condition}, chain...), values
		}
	}
	return nil, nil
}

func TestExplainSaysWhatWouldHaveAllowed(t *testing.T) {
	t.Parallel()
	expired := request("GET", "/config", "read")
	expired.Principal.Expired = true
	d, x, err := byDefault(t).Explain(t.Context(), expired)
	if err != nil || d.Effect != policy.Deny {
		t.Fatalf("Explain = %v, error %v, want a denial", d.Effect, err)
	}
	chain, values := conditions(x.Unmet, "input.principal.expired == false")
	if len(chain) == 0 {
		t.Fatalf("unmet %+v, want the condition on input.principal.expired", x.Unmet)
	}
	if diff := cmp.Diff(map[string]string{"input.principal.expired": "true"}, values); diff != "" {
		t.Errorf("values of the condition (-want +got):\n%s", diff)
	}
	for _, u := range x.Unmet {
		if strings.Contains(u.Condition, "segment") {
			t.Errorf("unmet %+v, which comes after the first that did not hold", u)
		}
	}
}

func TestExplainSaysWhyANegationHeld(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": `package team.a

deny contains {"id": "a.hours", "message": "not at night"} if not _is_day

_is_day if {
	input.time.hour >= 8
	input.time.weekday == "nobody"
}
`})
	in := request("GET", "/config", "read")
	in.Time.Hour = 3
	_, x, err := e.Explain(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	chain, values := conditions(x.Unmet, "input.time.hour >= 8")
	if diff := cmp.Diff([]string{"input.time.hour >= 8"}, chain); diff != "" {
		t.Errorf("chain to the condition (-want +got):\n%s", diff)
	}
	if values["input.time.hour"] != "3" {
		t.Errorf("values %v, want the hour", values)
	}
}

func TestExplainOfAPolicyWithoutAllow(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": `package opencode.request

decision := {"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": "m"}], "needs": [], "obligations": {"audit": "brief"}} if {
	input.principal.attributes.team == "web"
} else := {"effect": "deny", "rules": [], "needs": [], "obligations": {"audit": "brief"}}
`, "b.rego": "package opencode.prompt\n\ndecision := {}\n"})
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Only: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, x, err := e.Explain(t.Context(), request("GET", "/config"))
	if err != nil || d.Effect != policy.Deny {
		t.Fatalf("Explain = %v, error %v, want a denial", d.Effect, err)
	}
	_, values := conditions(x.Unmet, `input.principal.attributes.team == "web"`)
	if values["input.principal.attributes.team"] != "undefined" {
		t.Errorf("unmet %+v, want the member that is missing", x.Unmet)
	}
}

// TestExplainShowsNoCredential puts one where each part of an explanation
// quotes it, and makes it longer than what is shown.
func TestExplainShowsNoCredential(t *testing.T) {
	t.Parallel()
	secret := "ghp_" + strings.Repeat("9fK2xQ7v", 4) + "Lm4R"
	e := team(t, map[string]string{"a.rego": `package team.a

deny contains {"id": "a.word", "message": "m"} if {
	some call in input.prompt.command.calls
	some word in call.argv
	contains(word, "Bearer")
	not _is_fine(word)
}

_is_fine(word) if {
	text := concat(" ", [word, word])
	startswith(text, "x")
}
`})
	in := bash([]string{"x", "Authorization: Bearer " + secret}, []string{"y", strings.Repeat("long ", 1000)})
	d, x, err := e.Explain(t.Context(), in)
	if err != nil || d.Effect != policy.Deny {
		t.Fatalf("Explain = %v, error %v, want a denial", d.Effect, err)
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), secret) {
		t.Errorf("explanation holds the credential:\n%s", b)
	}
	if !strings.Contains(string(b), "[redacted:") {
		t.Errorf("explanation holds no trace of the credential, so it shows nothing here:\n%s", b)
	}
	for _, s := range x.Steps {
		for name, v := range s.Values {
			if len(v) > 300 {
				t.Errorf("%s: %s has %d bytes", s.At, name, len(v))
			}
		}
	}
}

func TestExplainIsBounded(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": `package team.a

deny contains {"id": "a.many", "message": "m"} if {
	every n in numbers.range(1, 600) {
		_is_positive(n)
	}
}

_is_positive(n) if n > 0
`})
	_, x, err := e.Explain(t.Context(), request("GET", "/config", "read"))
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Steps) != 500 || x.Omitted < 100 {
		t.Errorf("%d steps, %d omitted, want 500 and the rest counted", len(x.Steps), x.Omitted)
	}
}
