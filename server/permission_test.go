package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
)

// TestQuestion follows a question from the asking to each answer of a person.
func TestQuestion(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"once", "always", "reject"} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			r := serve(t, options{})
			id := r.session()
			events := r.events(r.full, "")
			done := r.start(t.Context(), id, r.full, push)
			p := events.asked()
			checkShape(t, "PermissionRequest", p)
			if p.SessionID != id || p.Permission != "bash" || !slices.Equal(p.Patterns, []string{"echo ran", "git push"}) || !slices.Equal(p.Always, []string{"git push *"}) {
				t.Errorf("question %+v", p)
			}
			rules, _ := json.Marshal(p.Metadata["rules"])
			if !strings.Contains(string(rules), `"id":"bash.ask_command"`) || !strings.Contains(string(rules), "git push: publishes commits") ||
				!strings.Contains(string(rules), `bash.rego:`) || p.Metadata["command"] != push || p.Metadata["policy"] != r.engine.Info().Digest || p.Metadata["ttl_seconds"] != 300.0 {
				t.Errorf("metadata %v, want the rule and why", p.Metadata)
			}
			var list []agent.Permission
			r.json(http.MethodGet, "/permission", r.full, "", &list)
			if diff := cmp.Diff([]agent.Permission{p}, list); diff != "" {
				t.Errorf("listed (-asked +listed)\n%s", diff)
			}
			if _, state := r.lastState(id); state["status"] != "running" {
				t.Errorf("while it asks: %v", state)
			}
			if r.runs() != 0 {
				t.Fatal("it ran before the answer")
			}

			reply := `{"reply":"` + answer + `","message":"since I say so"}`
			if got := r.do(http.MethodPost, "/permission/"+p.ID+"/reply", r.full, reply); got.status != http.StatusOK || strings.TrimSpace(got.body) != "true" {
				t.Fatalf("reply = %d %s", got.status, got.body)
			}
			var told struct{ SessionID, RequestID, Reply string }
			if events.until("permission.replied", &told); told.SessionID != id || told.RequestID != p.ID || told.Reply != answer {
				t.Errorf("told %+v", told)
			}
			got := await(t, "the outcome", done)
			_, state := r.lastState(id)
			if answer == "reject" {
				e := got.failure(t)
				if got.status != http.StatusForbidden || e.Name != "PermissionRefusedError" || e.Data.Outcome != "reject" || r.runs() != 0 ||
					!strings.Contains(e.Data.Message, "rejected by a person: since I say so") || e.Data.Rules[0]["id"] != "bash.ask_command" {
					t.Errorf("%d %s, %d runs, want 403 and reject", got.status, got.body, r.runs())
				}
				if state["status"] != "error" || !strings.Contains(fmt.Sprint(state["metadata"]), "outcome:reject") || !strings.Contains(fmt.Sprint(state["error"]), "since I say so") {
					t.Errorf("stored %v", state)
				}
			} else if got.status != http.StatusOK || r.runs() != 1 || state["status"] != "completed" {
				t.Errorf("%d %s, %d runs, stored %v, want it to have run", got.status, got.body, r.runs(), state)
			}
			r.checkMessages(id)
			// A question is answered once.
			for _, again := range []string{"once", "reject"} {
				if got := r.answer(r.full, p.ID, again); got.status != http.StatusNotFound {
					t.Errorf("reply again = %d %s, want 404", got.status, got.body)
				}
			}
			answers := must(r.db.Answers(t.Context(), id))(t)
			if len(answers) != 1 || answers[0].Reply != answer || answers[0].PrincipalID == "" || answers[0].Message != "since I say so" || answers[0].ID != p.ID {
				t.Errorf("recorded %+v", answers)
			}
		})
	}
}

// ask runs a command and returns the question that it raises, nil if it ran
// without one.
func (r *rig) ask(events *stream, session, command string) (*agent.Permission, <-chan reply) {
	r.t.Helper()
	done := r.start(r.t.Context(), session, r.full, command)
	for {
		select {
		case got := <-done:
			if got.status != http.StatusOK {
				r.t.Errorf("%s = %d %s", command, got.status, got.body)
			}
			return nil, nil
		case block := <-events.blocks:
			var e struct {
				Type       string
				Properties agent.Permission
			}
			_ = json.Unmarshal([]byte(strings.TrimPrefix(block, "data: ")), &e)
			if e.Type == "permission.asked" && e.Properties.SessionID == session {
				return &e.Properties, done
			}
		case <-time.After(patience):
			r.t.Fatalf("%s: neither a question nor an answer", command)
		}
	}
}

// TestAlwaysCoversWhatWasAsked checks what an answer of always covers, and what
// it does not.
func TestAlwaysCoversWhatWasAsked(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id, other := r.session(), r.session()
	events := r.events(r.full, "")
	p, done := r.ask(events, id, push)
	if p == nil {
		t.Fatal("not asked")
	}
	if got := r.answer(r.full, p.ID, "always"); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := await(t, "the outcome", done); got.status != http.StatusOK || r.runs() != 1 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, c := range []struct {
		session, command string
		asked            bool
	}{
		{id, push, false},
		{id, "git push --dry-run origin x", false},
		{id, "sudo -n true", true},
		{id, "git push; sudo -n true", true},
		{id, "git push; $X", true},
		{id, "git push < <(git push", true},
		{other, "git push", true},
	} {
		p, done := r.ask(events, c.session, c.command)
		if (p != nil) != c.asked {
			t.Errorf("%s: asked %v, want %v", c.command, p, c.asked)
		}
		if p == nil {
			continue
		}
		if got := r.answer(r.full, p.ID, "reject"); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
		await(t, "the outcome", done)
	}
	// A lease is never above a denial.
	if got := r.shell(id, r.full, "git push; curl x"); got.status != http.StatusForbidden {
		t.Errorf("with curl: %d %s, want 403", got.status, got.body)
	}
	leases := must(r.db.Leases(t.Context(), id, time.Now()))(t)
	if len(leases) != 1 || leases[0].Tool != "bash" || leases[0].Rule != "bash.ask_command" || leases[0].Expires.Sub(leases[0].Created) != 8*time.Hour {
		t.Fatalf("leases %+v", leases)
	}
	if err := r.db.DeleteLease(t.Context(), leases[0].ID); err != nil {
		t.Fatal(err)
	}
	p, done = r.ask(events, id, push)
	if p == nil {
		t.Fatal("not asked after the lease was revoked")
	}
	r.answer(r.full, p.ID, "reject")
	await(t, "the outcome", done)
}

// TestAlwaysOfWhatCannotStand checks that an answer of always to a question
// that comes again each time counts once.
func TestAlwaysOfWhatCannotStand(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "")
	for range 2 {
		p, done := r.ask(events, id, "echo ran >> ran; $NOTHING git push")
		if p == nil || len(p.Always) != 0 {
			t.Fatalf("asked %v, want a question without always", p)
		}
		if got := r.answer(r.full, p.ID, "always"); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := await(t, "the outcome", done); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	for _, a := range must(r.db.Answers(t.Context(), id))(t) {
		if a.Reply != "once" {
			t.Errorf("recorded %s, want once", a.Reply)
		}
	}
	if leases := must(r.db.Leases(t.Context(), id, time.Now()))(t); len(leases) != 0 || r.runs() != 2 {
		t.Errorf("leases %v, %d runs, want none and 2", leases, r.runs())
	}
}

// TestWhoMayAnswer checks who cannot answer, that the question stays open
// meanwhile, and that an id means what it says.
func TestWhoMayAnswer(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id, other := r.session(), r.session()
	events := r.events(r.full, "")
	p, done := r.ask(events, id, push)
	if p == nil {
		t.Fatal("not asked")
	}
	got := r.answer(r.write, p.ID, "once")
	e := got.failure(t)
	if got.status != http.StatusForbidden || !slices.Equal(e.Data.Needs, []string{"execute"}) || !strings.Contains(e.Data.Message, "execute") {
		t.Errorf("without execute = %d %s, want 403 that names it", got.status, got.body)
	}
	for name, c := range map[string]struct {
		path, token, body string
		want              int
	}{
		"without a token":       {"/permission/" + p.ID + "/reply", "", `{"reply":"once"}`, 401},
		"to read":               {"/permission/" + p.ID + "/reply", r.read, `{"reply":"once"}`, 403},
		"unknown question":      {"/permission/per_unknown/reply", r.full, `{"reply":"once"}`, 404},
		"no question":           {"/permission/" + p.ID + "x/reply", r.full, `{"reply":"once"}`, 404},
		"older form, write":     {"/session/" + id + "/permissions/" + p.ID, r.write, `{"response":"once"}`, 403},
		"older form, session":   {"/session/" + other + "/permissions/" + p.ID, r.full, `{"response":"once"}`, 404},
		"older form, question":  {"/session/" + id + "/permissions/per_unknown", r.full, `{"response":"once"}`, 404},
		"older form, new body":  {"/session/" + id + "/permissions/" + p.ID, r.full, `{"reply":"once"}`, 400},
		"new form, older body":  {"/permission/" + p.ID + "/reply", r.full, `{"response":"once"}`, 400},
		"neither yes nor no":    {"/permission/" + p.ID + "/reply", r.full, `{"reply":"yes"}`, 400},
		"what only time says":   {"/permission/" + p.ID + "/reply", r.full, `{"reply":"timeout"}`, 400},
		"what nobody says":      {"/permission/" + p.ID + "/reply", r.full, `{"reply":"cancelled"}`, 400},
		"outside of a project":  {"/permission/" + p.ID + "/reply?directory=/etc", r.full, `{"reply":"once"}`, 403},
		"from a page elsewhere": {"/permission/" + p.ID + "/reply", "evil", `{"reply":"once"}`, 403},
	} {
		req := r.request(t.Context(), http.MethodPost, c.path, c.token, c.body)
		if c.token == "evil" {
			req.Header.Set("Authorization", "Bearer "+r.full)
			req.Header.Set("Origin", "https://evil.com")
		}
		if got := r.send(req); got.status != c.want {
			t.Errorf("%s = %d %s, want %d", name, got.status, got.body, c.want)
		}
	}
	if list := r.agent.Permissions(r.dir); len(list) != 1 || list[0].ID != p.ID || r.runs() != 0 {
		t.Fatalf("open are %v, %d runs, want the question as it was", list, r.runs())
	}
	if got := r.do(http.MethodPost, "/session/"+id+"/permissions/"+p.ID, r.full, `{"response":"once"}`); got.status != http.StatusOK {
		t.Errorf("older form = %d %s", got.status, got.body)
	}
	if got := await(t, "the outcome", done); got.status != http.StatusOK || r.runs() != 1 {
		t.Errorf("%d %s, %d runs", got.status, got.body, r.runs())
	}
}

// TestOneAnswerCounts has many answer at once, half with yes. Exactly one is
// told that it counts, and what happens is what it said.
func TestOneAnswerCounts(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "")
	for range 5 {
		before := r.runs()
		p, done := r.ask(events, id, push)
		if p == nil {
			t.Fatal("not asked")
		}
		type vote struct {
			with string
			got  reply
		}
		votes := make(chan vote)
		for i := range 8 {
			with := []string{"once", "reject"}[i%2]
			req := r.request(t.Context(), http.MethodPost, "/permission/"+p.ID+"/reply", r.full, `{"reply":"`+with+`"}`)
			go func() { votes <- vote{with, r.send(req)} }()
		}
		var winners []string
		for range 8 {
			switch v := await(t, "a reply", votes); v.got.status {
			case http.StatusOK:
				winners = append(winners, v.with)
			case http.StatusNotFound:
			default:
				t.Errorf("reply = %d %s, error %v", v.got.status, v.got.body, v.got.err)
			}
		}
		got := await(t, "the outcome", done)
		if len(winners) != 1 || (winners[0] == "once") != (got.status == http.StatusOK) || (r.runs() > before) != (got.status == http.StatusOK) {
			t.Errorf("winners %v, outcome %d, %d runs before and %d after", winners, got.status, before, r.runs())
		}
	}
}

// TestPolicyChangesWhileItAsks checks that a yes to an old question is no yes to
// a new one: what is denied by now is denied.
func TestPolicyChangesWhileItAsks(t *testing.T) {
	t.Parallel()
	const head = "package team.late\n\n"
	for name, c := range map[string]struct {
		rego string
		want int
		text string
	}{
		"denied by now":           {head + `deny contains {"id": "late.no", "message": "not any more"} if input.prompt.tool == "bash"` + "\n", 403, "late.no"},
		"asked for another":       {head + `ask contains {"id": "late.hm", "message": "really?", "always": []} if input.prompt.tool == "bash"` + "\n", 403, "the policy has changed"},
		"allowed by now":          {head + `allow contains {"id": "late.ok", "message": "fine"} if input.prompt.tool == "bash"` + "\n", 200, "late.ok"},
		"changed in other things": {head + `deny contains {"id": "late.no", "message": "m"} if input.prompt.tool == "pty"` + "\n", 200, "bash.ask_command"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, options{team: map[string]string{"late.rego": head + "x := 1\n"}})
			id := r.session()
			events := r.events(r.full, "")
			p, done := r.ask(events, id, push)
			if p == nil {
				t.Fatal("not asked")
			}
			r.writeTeam(map[string]string{"late.rego": c.rego})
			if changed, err := r.engine.Reload(t.Context()); !changed || err != nil {
				t.Fatalf("Reload = %v, %v", changed, err)
			}
			if got := r.answer(r.full, p.ID, "once"); got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			got := await(t, "the outcome", done)
			if got.status != c.want || !strings.Contains(got.body, c.text) || (r.runs() == 1) != (c.want == 200) {
				t.Errorf("%d %s, %d runs, want %d and %q", got.status, got.body, r.runs(), c.want, c.text)
			}
		})
	}
}
