package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"opencode/policy"
)

func TestEffect(t *testing.T) {
	t.Parallel()
	var zero policy.Effect
	if zero != policy.Deny || zero.String() != "deny" {
		t.Errorf("the zero effect is %v", zero)
	}
	if policy.Deny >= policy.Ask || policy.Ask >= policy.Allow {
		t.Error("the effects are not in order of strictness")
	}
	for _, e := range []policy.Effect{policy.Deny, policy.Ask, policy.Allow} {
		text, err := e.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Effect
		if err := back.UnmarshalText(text); err != nil || back != e {
			t.Errorf("%s: read back as %v, error %v", text, back, err)
		}
	}
	for _, text := range []string{"", "Allow", "ALLOW", "allow ", "allowed", "yes", "true", "2", "none"} {
		e := policy.Allow
		if err := e.UnmarshalText([]byte(text)); err == nil || e != policy.Deny {
			t.Errorf("%q: read as %v, error %v, want an error and a denial", text, e, err)
		}
	}
	if got := policy.Effect(7).String(); got != "deny" {
		t.Errorf("an effect that does not exist is called %s", got)
	}
}

func allowed() policy.Decision {
	return policy.Decision{
		Effect:      policy.Allow,
		Rules:       []policy.Rule{{ID: "a.b", Effect: policy.Allow, Message: "m"}},
		Obligations: policy.Obligations{TimeoutSeconds: 1, MaxOutputBytes: 1, Audit: "full"},
	}
}

func asked() policy.Decision {
	d := allowed()
	d.Effect, d.Rules[0].Effect = policy.Ask, policy.Ask
	d.Obligations.Ask = &policy.AskTerms{TTLSeconds: 1, Approvers: []string{"execute"}}
	return d
}

func denied() policy.Decision {
	return policy.Decision{Rules: []policy.Rule{{ID: "a.b", Message: "no"}}}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const request, prompt = policy.KindRequest, policy.KindPrompt
	for name, row := range map[string]struct {
		decision policy.Decision
		change   func(*policy.Decision)
		kind     policy.Kind
		valid    bool
	}{
		"allowed prompt":             {allowed(), nil, prompt, true},
		"allowed request":            {allowed(), nil, request, true},
		"request without limits":     {allowed(), func(d *policy.Decision) { d.Obligations = policy.Obligations{} }, request, true},
		"asked prompt":               {asked(), nil, prompt, true},
		"denied prompt":              {denied(), nil, prompt, true},
		"denied request":             {denied(), nil, request, true},
		"zero decision":              {policy.Decision{}, nil, prompt, true},
		"ask that allows":            {asked(), func(d *policy.Decision) { d.Obligations.Ask.OnTimeout = policy.Allow }, prompt, true},
		"ask with a lease":           {asked(), func(d *policy.Decision) { d.Obligations.Ask.Always, d.Obligations.Ask.LeaseSeconds = []string{"x"}, 1 }, prompt, true},
		"allow for no kind":          {allowed(), nil, "", false},
		"allow for an unknown kind":  {allowed(), nil, "prompts", false},
		"effect that does not exist": {allowed(), func(d *policy.Decision) { d.Effect = 3 }, prompt, false},
		"asked request":              {asked(), nil, request, false},
		"no rules":                   {allowed(), func(d *policy.Decision) { d.Rules = nil }, prompt, false},
		"no id":                      {allowed(), func(d *policy.Decision) { d.Rules[0].ID = "" }, prompt, false},
		"no message":                 {allowed(), func(d *policy.Decision) { d.Rules[0].Message = "" }, prompt, false},
		"denial without a message":   {denied(), func(d *policy.Decision) { d.Rules[0].Message = "" }, prompt, false},
		"allow with a denial":        {allowed(), func(d *policy.Decision) { d.Rules[0].Effect = policy.Deny }, prompt, false},
		"allow with a question":      {allowed(), func(d *policy.Decision) { d.Rules[0].Effect = policy.Ask }, prompt, false},
		"ask with a denial":          {asked(), func(d *policy.Decision) { d.Rules[0].Effect = policy.Deny }, prompt, false},
		"allow with needs":           {allowed(), func(d *policy.Decision) { d.Needs = []string{"read"} }, prompt, false},
		"ask with needs":             {asked(), func(d *policy.Decision) { d.Needs = []string{"read"} }, prompt, false},
		"no timeout":                 {allowed(), func(d *policy.Decision) { d.Obligations.TimeoutSeconds = 0 }, prompt, false},
		"negative timeout":           {allowed(), func(d *policy.Decision) { d.Obligations.TimeoutSeconds = -1 }, prompt, false},
		"timeout above a day":        {allowed(), func(d *policy.Decision) { d.Obligations.TimeoutSeconds = 24*60*60 + 1 }, prompt, false},
		"no output":                  {allowed(), func(d *policy.Decision) { d.Obligations.MaxOutputBytes = 0 }, prompt, false},
		"output without end":         {allowed(), func(d *policy.Decision) { d.Obligations.MaxOutputBytes = 1<<31 - 1 }, prompt, false},
		"ask without limits":         {asked(), func(d *policy.Decision) { d.Obligations.TimeoutSeconds = 0 }, prompt, false},
		"ask without terms":          {asked(), func(d *policy.Decision) { d.Obligations.Ask = nil }, prompt, false},
		"terms without ask": {allowed(), func(d *policy.Decision) {
			d.Obligations.Ask = &policy.AskTerms{TTLSeconds: 1, Approvers: []string{"execute"}}
		}, prompt, false},
		"nobody named to answer":  {asked(), func(d *policy.Decision) { d.Obligations.Ask.Approvers = nil }, prompt, false},
		"no time to answer":       {asked(), func(d *policy.Decision) { d.Obligations.Ask.TTLSeconds = 0 }, prompt, false},
		"too much time to answer": {asked(), func(d *policy.Decision) { d.Obligations.Ask.TTLSeconds = 1<<31 - 1 }, prompt, false},
		"asked again for ever":    {asked(), func(d *policy.Decision) { d.Obligations.Ask.OnTimeout = policy.Ask }, prompt, false},
		"lease without an end":    {asked(), func(d *policy.Decision) { d.Obligations.Ask.Always = []string{"x"} }, prompt, false},
		"lease for ever": {asked(), func(d *policy.Decision) {
			d.Obligations.Ask.Always, d.Obligations.Ask.LeaseSeconds = []string{"x"}, 1<<31-1
		}, prompt, false},
		"unknown audit":             {allowed(), func(d *policy.Decision) { d.Obligations.Audit = "none" }, prompt, false},
		"denial with unknown audit": {denied(), func(d *policy.Decision) { d.Obligations.Audit = "off" }, prompt, false},
	} {
		d := row.decision
		if row.change != nil {
			row.change(&d)
		}
		if err := d.Validate(row.kind); (err == nil) != row.valid {
			t.Errorf("%s: Validate: error %v, want valid: %v", name, err, row.valid)
		}
	}
}

func TestDecisionErr(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		effect policy.Effect
		denies bool
	}{{policy.Allow, false}, {policy.Ask, false}, {policy.Deny, true}, {policy.Effect(7), true}} {
		err := policy.Decision{Effect: row.effect}.Err()
		if (err != nil) != row.denies || row.denies != errors.Is(err, policy.ErrDenied) {
			t.Errorf("effect %d: error %v, want a denial: %v", row.effect, err, row.denies)
		}
	}
}

func TestDeniedError(t *testing.T) {
	t.Parallel()
	d := policy.Decision{Rules: []policy.Rule{
		{ID: "a.one", Message: "first"},
		{ID: "a.ask", Effect: policy.Ask, Message: "question"},
		{ID: "a.two", Message: "second"},
	}}
	err := fmt.Errorf("tool bash: %w", d.Err())
	if want := "tool bash: denied by policy: first [a.one]; second [a.two]"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	var denied *policy.DeniedError
	if !errors.Is(err, policy.ErrDenied) || !errors.As(err, &denied) || len(denied.Decision.Rules) != 3 {
		t.Errorf("error %v is not the denial", err)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v is what it is not", err)
	}
	if want := "denied by policy: no rule allows it"; (policy.Decision{}).Err().Error() != want {
		t.Errorf("error %q, want %q", policy.Decision{}.Err(), want)
	}
}

func TestDecisionJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(policy.Decision{})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"effect":"deny","rules":[],"obligations":{}}`; string(b) != want {
		t.Errorf("the zero decision is %s, want %s", b, want)
	}
	if b, err = json.Marshal(asked()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"effect":"ask"`) || !strings.Contains(string(b), `"on_timeout":"deny"`) {
		t.Errorf("a question is %s", b)
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	p := policy.Principal{Permissions: []string{"read", "execute"}}
	for _, row := range []struct {
		wants []string
		has   bool
	}{
		{[]string{"read"}, true},
		{[]string{"read", "execute"}, true},
		{[]string{"execute", "execute"}, true},
		{[]string{"write"}, false},
		{[]string{"read", "write"}, false},
		{[]string{"READ"}, false},
		{[]string{""}, false},
		{nil, true},
	} {
		if got := p.Has(row.wants...); got != row.has {
			t.Errorf("Has(%q) = %v, want %v", row.wants, got, row.has)
		}
	}
	if (policy.Principal{}).Has("read") || policy.Anonymous().Has("read") || policy.Anonymous().Kind != policy.PrincipalAnonymous {
		t.Error("nobody may read")
	}
}

// TestSandboxIsValidated checks that a sandbox of the wrong shape is never
// carried out.
func TestSandboxIsValidated(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		sandbox policy.Sandbox
		problem string
	}{
		"nothing":         {policy.Sandbox{}, ""},
		"everything":      {policy.Sandbox{Network: true, Write: []string{"."}, Create: []string{"/x"}, Caches: []string{"$X"}, Read: []string{"~/x"}, Hide: []string{"~"}, DenyExec: []string{"google chrome"}, Require: policy.SandboxGuarantees(), Limits: policy.SandboxLimits{FileBytes: 1}}, ""},
		"an empty path":   {policy.Sandbox{Write: []string{""}}, "sandbox.write"},
		"a NUL":           {policy.Sandbox{Hide: []string{"a\x00"}}, "sandbox.hide"},
		"no file to make": {policy.Sandbox{Create: []string{""}}, "sandbox.create"},
		"no cache":        {policy.Sandbox{Caches: []string{""}}, "sandbox.caches"},
		"nothing to read": {policy.Sandbox{Read: []string{""}}, "sandbox.read"},
		"a path to ban":   {policy.Sandbox{DenyExec: []string{"/usr/bin/curl"}}, "sandbox.deny_exec"},
		"no name to ban":  {policy.Sandbox{DenyExec: []string{""}}, "sandbox.deny_exec"},
		"not known":       {policy.Sandbox{Require: []string{"everything"}}, "sandbox.require"},
		"a bound below 0": {policy.Sandbox{Limits: policy.SandboxLimits{Processes: -1}}, "sandbox.limits"},
	} {
		for _, d := range []policy.Decision{allowed(), asked(), denied()} {
			d.Obligations.Sandbox = &row.sandbox
			err := d.Validate(policy.KindPrompt)
			if (err == nil) != (row.problem == "") || err != nil && !strings.Contains(err.Error(), row.problem) {
				t.Errorf("%s: Validate = %v, want a problem with %q", name, err, row.problem)
			}
		}
	}
}
