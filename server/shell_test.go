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
	for _, d := range must(r.db.Decisions(t.Context(), store.DecisionFilter{}))(t) {
		if strings.Contains(fmt.Sprint(d), "very-private") {
			t.Errorf("record %+v holds the command", d)
		}
		if d.Kind != string(policy.KindPrompt) {
			continue
		}
		if ran := d.Effect == "allow"; ran != (d.Sandbox != nil) || ran && len(d.Sandbox.Held)+len(d.Sandbox.Missing) == 0 {
			t.Errorf("record %+v of what the command was held to: %+v", d, d.Sandbox)
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
