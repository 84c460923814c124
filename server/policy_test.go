package server_test

import (
	"net/http"
	"slices"
	"testing"

	"opencode/agent/sandbox"
)

// TestPolicy reads what the policy in force is and what it has decided.
func TestPolicy(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	if got := r.shell(id, r.full, "curl x"); got.status != http.StatusForbidden {
		t.Fatal(got.body)
	}
	if got := r.do(http.MethodGet, "/session", r.read, ""); got.status != http.StatusForbidden {
		t.Fatal(got.body)
	}
	var p struct {
		Digest      string
		Files       []string
		Entrypoints map[string]string
		Cache       map[string]int
		Decisions   map[string]map[string]int
	}
	r.json(http.MethodGet, "/policy", r.read, "", &p)
	if p.Digest != r.engine.Digest() || len(p.Files) < 5 || p.Entrypoints["prompt"] != "data.opencode.prompt.decision" {
		t.Errorf("policy %+v", p)
	}
	if p.Decisions["prompt"]["deny"] != 1 || p.Decisions["request"]["deny"] != 1 || p.Decisions["request"]["allow"] < 3 || p.Cache["misses"] == 0 {
		t.Errorf("decisions %v, cache %v", p.Decisions, p.Cache)
	}
	// The decision that a request of now is allowed is not recorded yet, and
	// those before it are.
	for range 3 {
		r.json(http.MethodGet, "/permission", r.read, "", new([]any))
	}
	type decision struct {
		Kind, PrincipalID, SessionID, Subject, Effect, Policy string
		Rules                                                 []string
		Count                                                 int
	}
	list := func(query string) []decision {
		t.Helper()
		var list []decision
		r.json(http.MethodGet, "/policy/decision"+query, r.read, "", &list)
		return list
	}
	denied := list("?effect=deny&kind=prompt")
	if len(denied) != 1 || denied[0].Subject != "bash" || denied[0].SessionID != id || !slices.Equal(denied[0].Rules, []string{"bash.banned_command"}) || denied[0].Policy != p.Digest {
		t.Errorf("denied %+v", denied)
	}
	if got := list("?rule=request.missing_permission"); len(got) != 1 || got[0].Subject != "GET /session" || got[0].Effect != "deny" {
		t.Errorf("by rule %+v", got)
	}
	asked := 0
	for _, d := range list("?subject=GET+%2Fpermission&limit=1000") {
		asked += d.Count
	}
	if asked != 3 {
		t.Errorf("%d requests for the questions are recorded, want 3", asked)
	}
	if got := list("?limit=1"); len(got) != 1 {
		t.Errorf("%d, want 1", len(got))
	}
	if got := list("?principal=nobody"); len(got) != 0 {
		t.Errorf("of nobody: %+v", got)
	}
	for _, query := range []string{"?kind=x", "?effect=maybe", "?since=x", "?limit=-1", "?limit=x"} {
		if got := r.do(http.MethodGet, "/policy/decision"+query, r.read, ""); got.status != http.StatusBadRequest {
			t.Errorf("%s = %d %s, want 400", query, got.status, got.body)
		}
	}
}

// TestDecisionShowsTheSandbox: the record of a command that ran says what it was
// held to, and no other does.
func TestDecisionShowsTheSandbox(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	r.shell(id, r.full, "echo x")
	r.shell(id, r.full, "curl x")
	var list []struct {
		Effect  string
		Sandbox *struct {
			Held, Missing map[string]string
			Exempt        []string
		}
	}
	r.json(http.MethodGet, "/policy/decision?kind=prompt", r.read, "", &list)
	if len(list) != 2 || list[0].Effect != "deny" || list[0].Sandbox != nil {
		t.Fatalf("decisions %+v, want a denial without a sandbox last", list)
	}
	held := list[1].Sandbox
	if held == nil || held.Exempt == nil {
		t.Fatalf("the record of a command that ran shows the sandbox %+v", held)
	}
	for _, g := range sandbox.Guarantees() {
		if by, why := held.Held[string(g)], held.Missing[string(g)]; (by == "") == (why == "") {
			t.Errorf("%s is held by %q and missing because of %q, want one of them", g, by, why)
		}
	}
}
