package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// only returns an engine whose whole policy gives one decision document, or
// the error of loading it.
func only(t *testing.T, document string) (*engine.Engine, error) {
	t.Helper()
	dir := writeDir(t, map[string]string{
		"request.rego": "package opencode.request\n\ndecision := " + document + "\n",
		"prompt.rego":  "package opencode.prompt\n\ndecision := " + document + "\n",
	})
	return engine.New(t.Context(), engine.Config{Default: policies.FS, Only: dir})
}

const (
	rules  = `"rules": [{"id": "a.b", "effect": "allow", "message": "m"}]`
	limits = `"timeout_seconds": 1, "max_output_bytes": 1`
	asks   = `"ttl_seconds": 1, "on_timeout": "deny", "always": [], "lease_seconds": 1, "approvers": ["execute"]`
)

func TestWellFormedDecisions(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		document string
		request  policy.Effect
		prompt   policy.Effect
	}{
		"allow": {`{"effect": "allow", ` + rules + `, "needs": [], "obligations": {` + limits + `, "audit": "full", "sandbox": {"network": false, "write": ["."], "read": [], "deny_exec": []}}}`, policy.Allow, policy.Allow},
		"ask":   {`{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {` + asks + `}}}`, policy.Deny, policy.Ask},
		"deny":  {`{"effect": "deny"}`, policy.Deny, policy.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := only(t, row.document)
			if err != nil {
				t.Fatal(err)
			}
			for kind, want := range map[policy.Kind]policy.Effect{policy.KindRequest: row.request, policy.KindPrompt: row.prompt} {
				d, err := e.Decide(t.Context(), &policy.Input{Kind: kind})
				if d.Effect != want || (err != nil) != (name == "ask" && kind == policy.KindRequest) {
					t.Errorf("%s: Decide = %v, error %v, want %v", kind, d.Effect, err, want)
				}
			}
		})
	}
}

func TestMalformedDecisionsDeny(t *testing.T) {
	t.Parallel()
	const both, prompts, requests = "both", "prompt", "request"
	for name, row := range map[string]struct{ kinds, document string }{
		"undefined":                {both, `"x" if input.principal.attributes.none`},
		"false":                    {both, `false`},
		"true":                     {both, `true`},
		"null":                     {both, `null`},
		"string":                   {both, `"allow"`},
		"array":                    {both, `["allow"]`},
		"set":                      {both, `{"effect", "allow"}`},
		"empty":                    {both, `{}`},
		"no effect":                {both, `{` + rules + `, "obligations": {` + limits + `}}`},
		"effect yes":               {both, `{"effect": "yes", ` + rules + `, "obligations": {` + limits + `}}`},
		"effect in capitals":       {both, `{"effect": "ALLOW", ` + rules + `, "obligations": {` + limits + `}}`},
		"effect empty":             {both, `{"effect": "", ` + rules + `, "obligations": {` + limits + `}}`},
		"effect true":              {both, `{"effect": true, ` + rules + `, "obligations": {` + limits + `}}`},
		"effect null":              {both, `{"effect": null, ` + rules + `, "obligations": {` + limits + `}}`},
		"effect a number":          {both, `{"effect": 2, ` + rules + `, "obligations": {` + limits + `}}`},
		"effect a list":            {both, `{"effect": ["allow"], ` + rules + `, "obligations": {` + limits + `}}`},
		"effect in another key":    {both, `{"effect": "allow", "Effect": "deny", ` + rules + `, "obligations": {` + limits + `}}`},
		"key that is no string":    {both, `{"effect": "allow", 1: 2, ` + rules + `, "obligations": {` + limits + `}}`},
		"no rules":                 {both, `{"effect": "allow", "obligations": {` + limits + `}}`},
		"empty rules":              {both, `{"effect": "allow", "rules": [], "obligations": {` + limits + `}}`},
		"rules null":               {both, `{"effect": "allow", "rules": null, "obligations": {` + limits + `}}`},
		"rules an object":          {both, `{"effect": "allow", "rules": {"a": 1}, "obligations": {` + limits + `}}`},
		"rules a set":              {both, `{"effect": "allow", "rules": {{"id": "a.b", "effect": "allow", "message": "m"}}, "obligations": {` + limits + `}}`},
		"rule a string":            {both, `{"effect": "allow", "rules": ["a.b"], "obligations": {` + limits + `}}`},
		"rule without id":          {both, `{"effect": "allow", "rules": [{"effect": "allow", "message": "m"}], "obligations": {` + limits + `}}`},
		"rule with empty id":       {both, `{"effect": "allow", "rules": [{"id": "", "effect": "allow", "message": "m"}], "obligations": {` + limits + `}}`},
		"rule without message":     {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow"}], "obligations": {` + limits + `}}`},
		"rule without effect":      {both, `{"effect": "allow", "rules": [{"id": "a.b", "message": "m"}], "obligations": {` + limits + `}}`},
		"rule with id a number":    {both, `{"effect": "allow", "rules": [{"id": 1, "effect": "allow", "message": "m"}], "obligations": {` + limits + `}}`},
		"rule with always a set":   {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": "m", "always": {"x"}}], "obligations": {` + limits + `}}`},
		"rule with a place":        {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": "m", "at": "x:1"}], "obligations": {` + limits + `}}`},
		"rule that denies":         {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "deny", "message": "m"}], "obligations": {` + limits + `}}`},
		"second rule denies":       {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": "m"}, {"id": "a.c", "effect": "deny", "message": "m"}], "obligations": {` + limits + `}}`},
		"rule that asks":           {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "ask", "message": "m"}], "obligations": {` + limits + `}}`},
		"ask with a denying rule":  {both, `{"effect": "ask", "rules": [{"id": "a.b", "effect": "deny", "message": "m"}], "obligations": {` + limits + `, "ask": {` + asks + `}}}`},
		"needs on allow":           {both, `{"effect": "allow", "needs": ["read"], ` + rules + `, "obligations": {` + limits + `}}`},
		"needs on ask":             {both, `{"effect": "ask", "needs": ["read"], ` + rules + `, "obligations": {` + limits + `, "ask": {` + asks + `}}}`},
		"needs a set":              {both, `{"effect": "allow", "needs": {"read"}, ` + rules + `, "obligations": {` + limits + `}}`},
		"needs a number":           {both, `{"effect": "allow", "needs": [1], ` + rules + `, "obligations": {` + limits + `}}`},
		"unknown member":           {both, `{"effect": "allow", "allow": true, ` + rules + `, "obligations": {` + limits + `}}`},
		"snapshot of its own":      {both, `{"effect": "allow", "snapshot": "x", ` + rules + `, "obligations": {` + limits + `}}`},
		"unknown in a rule":        {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": "m", "x": 1}], "obligations": {` + limits + `}}`},
		"unknown obligation":       {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "time_out": 1}}`},
		"unknown in ask":           {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {` + asks + `, "x": 1}}}`},
		"unknown in sandbox":       {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"networks": true}}}`},
		"network a string":         {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"network": "no"}}}`},
		"list with a reason":       {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"write": {".": "yes"}}}}`},
		"list with a number":       {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"deny_exec": {"curl": 1}}}}`},
		"unknown guarantee":        {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"require": ["all"]}}}`},
		"bound of 1.5":             {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"limits": {"file_bytes": 1.5}}}}`},
		"unknown bound":            {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"limits": {"files": 1}}}}`},
		"sandbox null":             {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": null}}`},
		"obligations a list":       {both, `{"effect": "allow", ` + rules + `, "obligations": []}`},
		"audit none":               {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "audit": "none"}}`},
		"timeout a string":         {both, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": "1", "max_output_bytes": 1}}`},
		"timeout 1.5":              {both, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 1.5, "max_output_bytes": 1}}`},
		"timeout beyond an int":    {both, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 1e30, "max_output_bytes": 1}}`},
		"ask terms on allow":       {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "ask": {` + asks + `}}}`},
		"no obligations":           {prompts, `{"effect": "allow", ` + rules + `}`},
		"no limits":                {prompts, `{"effect": "allow", ` + rules + `, "obligations": {}}`},
		"no timeout":               {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"max_output_bytes": 1}}`},
		"no output limit":          {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 1}}`},
		"timeout 0":                {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 0, "max_output_bytes": 1}}`},
		"timeout negative":         {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": -1, "max_output_bytes": 1}}`},
		"timeout of two days":      {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 172800, "max_output_bytes": 1}}`},
		"output negative":          {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 1, "max_output_bytes": -1}}`},
		"output of a gigabyte":     {prompts, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": 1, "max_output_bytes": 1073741824}}`},
		"ask about a request":      {requests, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {` + asks + `}}}`},
		"ask without terms":        {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `}}`},
		"ask with empty terms":     {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {}}}`},
		"ask without limits":       {both, `{"effect": "ask", ` + rules + `, "obligations": {"ask": {` + asks + `}}}`},
		"on_timeout ask":           {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": "ask", "approvers": ["execute"]}}}`},
		"on_timeout true":          {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": true, "approvers": ["execute"]}}}`},
		"time to answer 0":         {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 0, "on_timeout": "deny", "approvers": ["execute"]}}}`},
		"time to answer too long":  {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 9223372036854775807, "on_timeout": "deny", "approvers": ["execute"]}}}`},
		"always without a lease":   {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": "deny", "always": ["x"], "approvers": ["execute"]}}}`},
		"always for all time":      {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": "deny", "always": ["x"], "lease_seconds": 9223372036854775807, "approvers": ["execute"]}}}`},
		"nobody named to answer":   {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": "deny", "approvers": []}}}`},
		"approvers a string":       {both, `{"effect": "ask", ` + rules + `, "obligations": {` + limits + `, "ask": {"ttl_seconds": 1, "on_timeout": "deny", "approvers": "execute"}}}`},
		"built-in that fails":      {both, `{"effect": "allow", ` + rules + `, "obligations": {"timeout_seconds": to_number("x"), "max_output_bytes": 1}}`},
		"second value":             {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `}}` + "\n\ndecision := {\"effect\": \"deny\"} if input.version == 0"},
		"a set of two decisions":   {both, `{{"effect": "allow", ` + rules + `, "obligations": {` + limits + `}}, {"effect": "deny"}}`},
		"a list of decisions":      {both, `[x | some x in [{"effect": "allow"}]]`},
		"a rule nested in a rule":  {both, `{"effect": "allow", "rules": [[{"id": "a.b", "effect": "allow", "message": "m"}]], "obligations": {` + limits + `}}`},
		"an object for a sandbox":  {both, `{"effect": "allow", ` + rules + `, "obligations": {` + limits + `, "sandbox": {"write": {"a": "b"}}}}`},
		"a message that is a list": {both, `{"effect": "allow", "rules": [{"id": "a.b", "effect": "allow", "message": ["m"]}], "obligations": {` + limits + `}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := only(t, row.document)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []policy.Kind{policy.KindRequest, policy.KindPrompt} {
				if row.kinds != both && row.kinds != string(kind) {
					continue
				}
				d, err := e.Decide(t.Context(), &policy.Input{Kind: kind})
				if err == nil || d.Effect != policy.Deny || d.Err() == nil {
					t.Errorf("%s: Decide = %+v, error %v, want an error and a denial", kind, d, err)
				} else if !strings.HasPrefix(err.Error(), "policy "+e.Info().Digest[:12]+": ") {
					t.Errorf("%s: error %q does not name the policy", kind, err)
				}
				if d.Snapshot != e.Info().Digest || len(d.Rules) > 0 || d.Obligations != (policy.Obligations{}) {
					t.Errorf("%s: the denial carries %+v", kind, d)
				}
			}
		})
	}
}

// TestSandboxLists checks that the lists of a sandbox may be arrays, or objects
// in which false takes one out.
func TestSandboxLists(t *testing.T) {
	t.Parallel()
	e, err := only(t, `{"effect": "allow", `+rules+`, "obligations": {`+limits+`, "sandbox": {
		"network": true, "write": {".": true, "b": true, "a": true, "x": false}, "create": ["/c"], "caches": {}, "read": ["~/r"],
		"hide": {"~/.ssh": true}, "deny_exec": {"curl": "reason", "wget": true, "nc": false}, "require": ["exec"],
		"limits": {"file_bytes": 1, "open_files": 2, "processes": 3, "memory_bytes": 4}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Decide(t.Context(), &policy.Input{Kind: policy.KindPrompt})
	if err != nil {
		t.Fatal(err)
	}
	want := &policy.Sandbox{
		Network: true, Write: []string{".", "a", "b"}, Create: []string{"/c"}, Read: []string{"~/r"}, Hide: []string{"~/.ssh"},
		DenyExec: []string{"curl", "wget"}, Require: []string{"exec"},
		Limits: policy.SandboxLimits{FileBytes: 1, OpenFiles: 2, Processes: 3, MemoryBytes: 4},
	}
	if diff := cmp.Diff(want, d.Obligations.Sandbox); diff != "" {
		t.Errorf("sandbox (-want +got):\n%s", diff)
	}
}
