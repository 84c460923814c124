package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// push is a command that the default policy asks about, and which shows in the
// project that it ran.
const push = "echo ran >> ran; git push"

// runs returns how often push has run.
func (r *rig) runs() int {
	b, err := os.ReadFile(filepath.Join(r.dir, "ran"))
	if err != nil {
		return 0
	}
	return strings.Count(string(b), "ran\n")
}

// checkMessages holds the messages of a session against the published schemas.
func (r *rig) checkMessages(session string) {
	r.t.Helper()
	for _, m := range r.messages(session) {
		name := map[any]string{"user": "UserMessage", "assistant": "AssistantMessage"}[m.Info["role"]]
		checkShape(r.t, name, m.Info)
		for _, p := range m.Parts {
			checkShape(r.t, map[any]string{"text": "TextPart", "tool": "ToolPart"}[p["type"]], p)
		}
	}
}

// TestAllowedCommand runs what policy allows and looks at everything that tells
// of it: the answer, the stored messages, and the events, which are all sent
// before the answer.
func TestAllowedCommand(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "?directory="+r.dir)
	var got message
	r.json(http.MethodPost, "/session/"+id+"/shell", r.full,
		`{"agent":"plan","command":"echo out; echo err >&2; exit 3","model":{"providerID":"p","modelID":"m"},"variant":"high"}`, &got)
	checkShape(t, "AssistantMessage", got.Info)
	if len(got.Parts) != 1 {
		t.Fatalf("parts %v, want one", got.Parts)
	}
	checkShape(t, "ToolPart", got.Parts[0])
	if got.Info["agent"] != "plan" || got.Info["modelID"] != "m" || got.Info["providerID"] != "p" || got.Info["error"] != nil ||
		fmt.Sprint(got.Info["path"]) != fmt.Sprintf("map[cwd:%s root:%s]", r.dir, r.dir) {
		t.Errorf("message %v", got.Info)
	}
	state, _ := got.Parts[0]["state"].(map[string]any)
	meta, _ := state["metadata"].(map[string]any)
	if state["status"] != "completed" || state["output"] != "out\nerr\n" || meta["exit"] != 3.0 || meta["truncated"] != false {
		t.Errorf("state %v", state)
	}
	if p, _ := meta["policy"].(map[string]any); p["effect"] != "allow" || p["snapshot"] != r.engine.Info().Digest || !strings.Contains(fmt.Sprint(p["rules"]), "bash.understood") {
		t.Errorf("policy in the metadata: %v", meta["policy"])
	}
	stored := r.messages(id)
	if len(stored) != 2 || fmt.Sprint(stored[1]) != fmt.Sprint(got) || stored[0].Info["id"] != got.Info["parentID"] {
		t.Errorf("stored %v, answered %v", stored, got)
	}
	r.checkMessages(id)

	var kinds []string
	for len(kinds) == 0 || kinds[len(kinds)-1] != "session.idle" {
		e := events.next()
		if e.Type == "message.part.updated" {
			var p struct {
				Part map[string]any
			}
			if err := json.Unmarshal(e.Properties, &p); err != nil {
				t.Fatal(err)
			}
			if state, ok := p.Part["state"].(map[string]any); ok {
				e.Type += " " + fmt.Sprint(state["status"])
				if meta, ok := state["metadata"].(map[string]any); ok && state["status"] == "running" && meta["output"] != nil {
					continue // how often progress is told is a matter of time
				}
			}
		}
		kinds = append(kinds, e.Type)
	}
	want := []string{
		"message.updated", "message.part.updated", "session.status", "message.updated", "message.part.updated running",
		"message.part.updated completed", "message.updated", "session.updated", "session.status", "session.idle",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("events\n%q, want\n%q", kinds, want)
	}
}

func TestDeniedCommand(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	for _, command := range []string{
		"touch ran; curl http://127.0.0.1:1/", "touch ran; sh -c 'wget x'", `touch ran; c\url x`, "touch ran; echo x > /etc/nope",
		"touch ran; env -i /usr/bin/curl x", "touch ran; cat < /etc/passwd",
	} {
		got := r.shell(id, r.full, command)
		e := got.failure(t)
		if got.status != http.StatusForbidden || e.Name != "PermissionDeniedError" || len(e.Data.Rules) == 0 || e.Data.Outcome != "" || e.Data.Policy != r.engine.Info().Digest {
			t.Errorf("%s = %d %s, want 403 that names the rule", command, got.status, got.body)
			continue
		}
		rule := e.Data.Rules[0]
		if want := map[bool]string{true: "path.outside", false: "bash.banned_command"}[strings.Contains(command, "/etc")]; rule["id"] != want || rule["effect"] != "deny" ||
			!strings.Contains(fmt.Sprint(rule["at"]), ".rego:") || !strings.Contains(e.Data.Message, fmt.Sprint(rule["message"])) {
			t.Errorf("%s: %v, want %s and where it stands", command, rule, want)
		}
		info, state := r.lastState(id)
		if state["status"] != "error" || !strings.Contains(fmt.Sprint(state["error"]), fmt.Sprint(rule["id"])) || info["error"] != nil ||
			!strings.Contains(fmt.Sprint(state["metadata"]), "outcome:denied") {
			t.Errorf("%s: stored %v in %v", command, state, info)
		}
	}
	r.checkMessages(id)
	if r.exists("ran") {
		t.Error("a part of a denied command ran")
	}
	if n := len(r.agent.Permissions("")); n != 0 {
		t.Errorf("%d questions, want none", n)
	}
}

// TestNobodyRunsWithoutExecute checks that execute is needed at the door.
func TestNobodyRunsWithoutExecute(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	for _, token := range []string{"", r.none, r.read, r.write, r.token("x", "execute"), r.token("wx", "read", "execute")} {
		if got := r.shell(id, token, push); got.status != http.StatusUnauthorized && got.status != http.StatusForbidden {
			t.Errorf("%d %s, want a refusal", got.status, got.body)
		}
	}
	if n := len(r.messages(id)); n != 0 || r.runs() != 0 {
		t.Errorf("%d messages, %d runs, want none", n, r.runs())
	}
}

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
			if p.SessionID != id || p.Permission != "bash" || !slices.Equal(p.Patterns, []string{push}) || !slices.Equal(p.Always, []string{"git push *"}) {
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

// TestBusySession checks that a session does one thing at a time, also while it
// asks.
func TestBusySession(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "")
	p, done := r.ask(events, id, push)
	if p == nil {
		t.Fatal("not asked")
	}
	got := r.shell(id, r.full, "touch second")
	if e := got.failure(t); got.status != http.StatusConflict || e.Name != "SessionBusyError" || r.exists("second") {
		t.Errorf("%d %s, want 409", got.status, got.body)
	}
	if n := len(r.messages(id)); n != 2 {
		t.Errorf("%d messages, want those of the first command", n)
	}
	if got := r.shell(r.session(), r.full, "touch other"); got.status != http.StatusOK || !r.exists("other") {
		t.Errorf("another session = %d %s, want 200", got.status, got.body)
	}
	r.answer(r.full, p.ID, "reject")
	await(t, "the outcome", done)
	if got := r.shell(id, r.full, "touch second"); got.status != http.StatusOK || !r.exists("second") {
		t.Errorf("afterwards = %d %s, want 200", got.status, got.body)
	}
}

// TestCallerGoesAway checks that nothing goes on for a caller who is gone:
// neither its question nor its command.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "")
	ctx, leave := context.WithCancel(t.Context())
	done := r.start(ctx, id, r.full, push)
	p := events.asked()
	leave()
	if got := await(t, "the caller leaves", done); got.err == nil {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var told struct{ RequestID, Reply string }
	if events.until("permission.replied", &told); told.RequestID != p.ID || told.Reply != "reject" {
		t.Errorf("told %+v, want that it is over", told)
	}
	events.until("session.idle", nil)
	if got := r.answer(r.full, p.ID, "once"); got.status != http.StatusNotFound {
		t.Errorf("reply = %d %s, want 404", got.status, got.body)
	}
	info, state := r.lastState(id)
	if state["status"] != "error" || !strings.Contains(fmt.Sprint(state["metadata"]), "outcome:cancelled") || !strings.Contains(fmt.Sprint(info["error"]), "MessageAbortedError") {
		t.Errorf("stored %v in %v", state, info)
	}
	answers := must(r.db.Answers(t.Context(), id))(t)
	if len(answers) != 1 || answers[0].Reply != "cancelled" || answers[0].PrincipalID != "" {
		t.Errorf("recorded %+v", answers)
	}

	ctx, leave = context.WithCancel(t.Context())
	done = r.start(ctx, id, r.full, "touch started; sleep 1000; touch ran")
	eventually(t, "the command starts", func() bool { return r.exists("started") })
	leave()
	await(t, "the caller leaves", done)
	events.until("session.idle", nil)
	info, state = r.lastState(id)
	if !strings.Contains(fmt.Sprint(state["output"]), "[killed: aborted]") || !strings.Contains(fmt.Sprint(info["error"]), "MessageAbortedError") || r.exists("ran") || r.runs() != 0 {
		t.Errorf("stored %v in %v, want that it was killed", state, info)
	}
	r.checkMessages(id)
}

func TestAbort(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	events := r.events(r.full, "")
	abort := func() {
		t.Helper()
		if got := r.do(http.MethodPost, "/session/"+id+"/abort", r.full, "{}"); got.status != http.StatusOK || strings.TrimSpace(got.body) != "true" {
			t.Errorf("abort = %d %s", got.status, got.body)
		}
	}
	abort() // of nothing
	p, done := r.ask(events, id, push)
	if p == nil {
		t.Fatal("not asked")
	}
	abort()
	// When abort has answered, nothing is left.
	if list := r.agent.Permissions(""); len(list) != 0 {
		t.Errorf("open after the abort: %v", list)
	}
	got := await(t, "the outcome", done)
	if e := got.failure(t); got.status != http.StatusForbidden || e.Data.Outcome != "cancelled" || strings.Contains(e.Data.Message, "\n") {
		t.Errorf("%d %s, want 403 and cancelled", got.status, got.body)
	}
	if info, _ := r.lastState(id); !strings.Contains(fmt.Sprint(info["error"]), "MessageAbortedError") {
		t.Errorf("stored %v, want that it was aborted", info)
	}

	done = r.start(t.Context(), id, r.full, "touch started; sleep 1000; touch ran")
	eventually(t, "the command starts", func() bool { return r.exists("started") })
	abort()
	if got := r.shell(id, r.full, "true"); got.status != http.StatusOK {
		t.Errorf("after the abort: %d %s, want a session that is free", got.status, got.body)
	}
	if got := await(t, "the outcome", done); got.status != http.StatusOK || !strings.Contains(got.body, "[killed: aborted]") || r.exists("ran") {
		t.Errorf("%d %s, want that it was killed", got.status, got.body)
	}
	if r.runs() != 0 {
		t.Error("what was aborted ran")
	}
	r.checkMessages(id)
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

// TestTokenEndsWithWhatItBegan deletes a token while its command asks, and
// another while its command runs.
func TestTokenEndsWithWhatItBegan(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id, other := r.session(), r.session()
	events := r.events(r.full, "")
	short := r.token("short", "read", "write", "execute")
	asking := r.start(t.Context(), id, short, push)
	events.asked()
	running := r.start(t.Context(), other, short, "touch started; sleep 1000; touch ran")
	eventually(t, "the command starts", func() bool { return r.exists("started") })
	must(r.tokens.DeleteToken(t.Context(), "short"))(t)
	for name, done := range map[string]<-chan reply{"question": asking, "command": running} {
		if got := await(t, "the end of the "+name, done); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s, want 401", name, got.status, got.body)
		}
	}
	if list := r.agent.Permissions(""); len(list) != 0 || r.runs() != 0 || r.exists("ran") {
		t.Errorf("left: %v, %d runs", list, r.runs())
	}
	for _, session := range []string{id, other} {
		if info, _ := r.lastState(session); !strings.Contains(fmt.Sprint(info["error"]), "MessageAbortedError") {
			t.Errorf("stored %v, want that it was aborted", info)
		}
		r.checkMessages(session)
	}
}

// TestShutdown stops the server while one command asks and another runs.
func TestShutdown(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id, other := r.session(), r.session()
	events := r.events(r.full, "")
	asking := r.start(t.Context(), id, r.full, push)
	events.asked()
	running := r.start(t.Context(), other, r.full, "touch started; sleep 1000; touch ran")
	eventually(t, "the command starts", func() bool { return r.exists("started") })
	r.shutdown()
	if got := await(t, "the end of the question", asking); got.status != http.StatusForbidden && got.status != http.StatusServiceUnavailable {
		t.Errorf("question: %d %s, error %v", got.status, got.body, got.err)
	}
	if got := await(t, "the end of the command", running); got.status != http.StatusOK || !strings.Contains(got.body, "[killed: aborted]") {
		t.Errorf("command: %d %s, error %v", got.status, got.body, got.err)
	}
	for block := range events.blocks {
		_ = block // the stream ends
	}
	for _, session := range []string{id, other} {
		list := must(r.db.Messages(t.Context(), session, 0, ""))(t)
		if len(list) != 2 || !strings.Contains(string(list[1].Message.Body), "MessageAbortedError") || strings.Contains(string(list[1].Parts[0].Body), `"running"`) {
			t.Errorf("stored %s", list[len(list)-1].Parts[0].Body)
		}
	}
	if open := must(r.db.PartsByStatus(t.Context(), "running", "pending"))(t); len(open) != 0 || r.runs() != 0 || r.exists("ran") {
		t.Errorf("left open: %v, %d runs", open, r.runs())
	}
	if _, err := r.agent.Shell(t.Context(), policy.Principal{}, id, agent.ShellInput{Command: "true"}); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("Shell afterwards: %v", err)
	}
}

// TestDecisionsAreRecorded checks that what was decided about a command is kept
// before it runs, without its text.
func TestDecisionsAreRecorded(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	r.shell(id, r.full, "curl very-private")
	r.shell(id, r.full, "echo very-private")
	var effects []string
	for _, d := range must(r.db.Decisions(t.Context(), 0))(t) {
		if strings.Contains(fmt.Sprint(d), "very-private") {
			t.Errorf("record %+v holds the command", d)
		}
		if d.Kind != string(policy.KindPrompt) {
			continue
		}
		effects = append(effects, d.Effect+" "+strings.Join(d.Rules, ","))
		if d.SessionID != id || d.Subject != "bash" || !strings.HasPrefix(d.PrincipalID, "tok_") || d.Snapshot != r.engine.Info().Digest || !store.ValidID("dec", d.ID) {
			t.Errorf("record %+v", d)
		}
	}
	if want := []string{"allow bash.understood", "deny bash.banned_command"}; !slices.Equal(effects, want) {
		t.Errorf("recorded %q, want %q", effects, want)
	}
}

// TestLimitsOfThePolicy checks that a command is cut at the limits that a team
// obliges to.
func TestLimitsOfThePolicy(t *testing.T) {
	t.Parallel()
	r := serve(t, options{team: map[string]string{"l.rego": "package team.l\n\nobligations := {\"timeout_seconds\": 1, \"max_output_bytes\": 2000}\n"}})
	id := r.session()
	got := r.shell(id, r.full, "for i in 1 2 3 4 5 6 7 8 9; do printf '%0500d\n' $i; done")
	if _, state := r.lastState(id); got.status != http.StatusOK || len(fmt.Sprint(state["output"])) > 2200 || !strings.Contains(fmt.Sprint(state["metadata"]), "truncated:true") {
		t.Errorf("%d, stored %v", got.status, state)
	}
	if got := r.shell(id, r.full, "sleep 1000"); got.status != http.StatusOK || !strings.Contains(got.body, "the time limit of the policy was reached after 1s") {
		t.Errorf("%d %s, want that it was killed at the limit", got.status, got.body)
	}
	r.checkMessages(id)
}
