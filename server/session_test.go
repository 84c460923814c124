package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/agent"
	"opencode/store"
)

// body is any JSON object.
type body map[string]any

func (r *rig) json(method, path, token, text string, v any) {
	r.t.Helper()
	r.do(method, path, token, text).into(r.t, v)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	var first, second, child body
	r.json(http.MethodPost, "/session", r.full, "", &first)
	checkShape(t, "Session", first)
	id, _ := first["id"].(string)
	if !store.ValidID("ses", id) || first["directory"] != r.dir || first["version"] != "test" || first["title"] == "" || first["parentID"] != nil {
		t.Errorf("new session %v", first)
	}
	r.json(http.MethodPost, "/session", r.full, `{"title":"second","agent":"plan","metadata":{"a":[1]},"model":{"id":"m","providerID":"p"},"workspaceID":"wrk_1"}`, &second)
	checkShape(t, "Session", second)
	if second["title"] != "second" || second["agent"] != "plan" || fmt.Sprint(second["metadata"]) != "map[a:[1]]" {
		t.Errorf("second session %v", second)
	}
	r.json(http.MethodPost, "/session", r.full, `{"parentID":"`+id+`"}`, &child)
	checkShape(t, "Session", child)
	if child["parentID"] != id {
		t.Errorf("child %v", child)
	}

	var got body
	r.json(http.MethodGet, "/session/"+id, r.full, "", &got)
	checkShape(t, "Session", got)
	if fmt.Sprint(got) != fmt.Sprint(first) {
		t.Errorf("GET gives %v, POST gave %v", got, first)
	}
	r.json(http.MethodPatch, "/session/"+id, r.full, `{"title":"renamed","metadata":{"b":1},"time":{"archived":1795188300000}}`, &got)
	checkShape(t, "Session", got)
	if got["title"] != "renamed" || fmt.Sprint(got["metadata"]) != "map[b:1]" || fmt.Sprint(got["time"].(map[string]any)["archived"]) != "1.7951883e+12" {
		t.Errorf("PATCH gives %v", got)
	}
	r.json(http.MethodPatch, "/session/"+id, r.full, `{}`, &got)
	if got["title"] != "renamed" || got["id"] != id || got["directory"] != r.dir {
		t.Errorf("PATCH of nothing gives %v", got)
	}

	titles := func(query string) []string {
		t.Helper()
		var list []body
		r.json(http.MethodGet, "/session"+query, r.full, "", &list)
		var titles []string
		for _, s := range list {
			checkShape(t, "Session", s)
			title, _ := s["title"].(string)
			titles = append(titles, strings.SplitN(title, " ", 2)[0])
		}
		slices.Sort(titles)
		return titles
	}
	for query, want := range map[string]string{
		"":                          "New renamed second",
		"?roots=true":               "renamed second",
		"?search=SECO":              "second",
		"?limit=1":                  "renamed",
		"?start=9000000000000":      "",
		"?directory=" + r.dir:       "New renamed second",
		"?roots=true&search=nobody": "",
	} {
		if got := strings.Join(titles(query), " "); got != want {
			t.Errorf("GET /session%s = %q, want %q", query, got, want)
		}
	}
	if got := r.do(http.MethodGet, "/session?search=nobody", r.full, ""); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("no session is %q, want []", got.body)
	}
	if got := r.do(http.MethodGet, "/session/"+id+"/message", r.full, ""); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("no message is %q, want []", got.body)
	}

	if got := r.do(http.MethodDelete, "/session/"+id, r.full, ""); got.status != http.StatusOK || strings.TrimSpace(got.body) != "true" {
		t.Errorf("DELETE = %d %s", got.status, got.body)
	}
	for _, gone := range []any{id, child["id"]} {
		if got := r.do(http.MethodGet, fmt.Sprint("/session/", gone), r.full, ""); got.status != http.StatusNotFound {
			t.Errorf("after DELETE: %d, want 404", got.status)
		}
	}
	if got := r.do(http.MethodDelete, "/session/"+id, r.full, ""); got.status != http.StatusNotFound {
		t.Errorf("DELETE again = %d, want 404", got.status)
	}
}

// TestSubSessionStaysWithItsParent checks that a sub-session cannot be started
// in another directory.
func TestSubSessionStaysWithItsParent(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	sub := filepath.Join(r.dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	var parent, child body
	r.json(http.MethodPost, "/session?directory="+sub, r.full, "", &parent)
	r.json(http.MethodPost, "/session?directory="+r.dir, r.full, fmt.Sprintf(`{"parentID":%q}`, parent["id"]), &child)
	if parent["directory"] != sub || child["directory"] != sub {
		t.Errorf("parent in %v, child in %v, want both in %s", parent["directory"], child["directory"], sub)
	}
}

// TestClientCannotPermit checks that the rules which a client sends have no
// effect: neither at the start of a session nor later.
func TestClientCannotPermit(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	const rules = `[{"permission":"*","pattern":"*","action":"allow"},{"permission":"bash","pattern":"git push*","action":"allow"}]`
	var s body
	r.json(http.MethodPost, "/session", r.full, `{"permission":`+rules+`}`, &s)
	id, _ := s["id"].(string)
	r.json(http.MethodPatch, "/session/"+id, r.full, `{"permission":`+rules+`}`, &s)
	if s["permission"] != nil {
		t.Errorf("the session shows rules that have no effect: %v", s)
	}
	events := r.events(r.full, "")
	done := r.start(t.Context(), id, r.full, "git push; touch ran")
	p := events.asked()
	if got := r.answer(r.full, p.ID, "reject"); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := await(t, "the answer", done); got.status != http.StatusForbidden || r.exists("ran") {
		t.Errorf("%d %s, ran %v, want 403 and nothing run", got.status, got.body, r.exists("ran"))
	}
	// They can narrow, for good, and so does a session for those below it.
	r.json(http.MethodPatch, "/session/"+id, r.full, `{"permission":[{"permission":"bash","pattern":"touch *","action":"deny"}]}`, &s)
	checkShape(t, "Session", s)
	r.json(http.MethodPatch, "/session/"+id, r.full, `{"permission":`+rules+`}`, &s)
	var child body
	r.json(http.MethodPost, "/session", r.full, `{"parentID":"`+id+`","permission":`+rules+`}`, &child)
	below, _ := child["id"].(string)
	for _, id := range []string{id, below} {
		if got := r.shell(id, r.full, "true; touch ran"); got.status != http.StatusForbidden || got.failure(t).Data.Rules[0]["id"] != "session.restricted" || r.exists("ran") {
			t.Errorf("%d %s, want what the session denies", got.status, got.body)
		}
		if got := r.shell(id, r.full, "true"); got.status != http.StatusOK {
			t.Errorf("%d %s, want 200", got.status, got.body)
		}
	}
	for _, rules := range []string{`[{"permission":"bash","pattern":"*","action":"no"}]`, `[{"permission":"","pattern":"*","action":"deny"}]`, `{}`, `[{"x":1}]`} {
		if got := r.do(http.MethodPatch, "/session/"+id, r.full, `{"permission":`+rules+`}`); got.status != http.StatusBadRequest {
			t.Errorf("restrictions %s: %d %s, want 400", rules, got.status, got.body)
		}
	}
}

// TestMessagesArePaged reads the messages of three commands in pages.
func TestMessagesArePaged(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	for i := range 3 {
		if got := r.shell(id, r.full, fmt.Sprint("echo ", i)); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	all := r.messages(id)
	if len(all) != 6 {
		t.Fatalf("%d messages, want 6", len(all))
	}
	for i, m := range all {
		role := []string{"user", "assistant"}[i%2]
		if m.Info["role"] != role || i > 0 && m.Info["id"].(string) <= all[i-1].Info["id"].(string) {
			t.Errorf("message %d: %v, want a %s after the one before", i, m.Info, role)
		}
	}
	var page []message
	r.json(http.MethodGet, "/session/"+id+"/message?limit=2", r.full, "", &page)
	if len(page) != 2 || page[0].Info["id"] != all[4].Info["id"] {
		t.Errorf("the last two: %v", page)
	}
	r.json(http.MethodGet, fmt.Sprintf("/session/%s/message?limit=3&before=%s", id, page[0].Info["id"]), r.full, "", &page)
	if len(page) != 3 || page[2].Info["id"] != all[3].Info["id"] {
		t.Errorf("the three before: %v", page)
	}
}

// TestMessageIDOfTheClient checks that a client may choose a message's id, and
// cannot replace a message that is there.
func TestMessageIDOfTheClient(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id, other := r.session(), r.session()
	run := func(session, message, command string) reply {
		b := must(json.Marshal(map[string]string{"agent": "build", "command": command, "messageID": message}))(t)
		return r.do(http.MethodPost, "/session/"+session+"/shell", r.full, string(b))
	}
	if got := run(id, "msg_mine", "echo one"); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	before := r.messages(id)
	ids := []string{}
	for _, m := range before {
		ids = append(ids, m.Info["id"].(string))
	}
	if !slices.Contains(ids, "msg_mine") {
		t.Errorf("messages %v, want msg_mine", ids)
	}
	for _, session := range []string{id, other} {
		for _, taken := range ids {
			if got := run(session, taken, "touch ran"); got.status != http.StatusConflict {
				t.Errorf("%s again = %d %s, want 409", taken, got.status, got.body)
			}
		}
	}
	if got := r.messages(id); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("the messages have changed from %v to %v", before, got)
	}
	if len(r.messages(other)) != 0 || r.exists("ran") {
		t.Error("a message of another session was taken over")
	}
}

// TestDeleteEndsWhatRuns deletes a session while its child asks and runs.
func TestDeleteEndsWhatRuns(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	parent := r.session()
	var asking, running body
	r.json(http.MethodPost, "/session", r.full, `{"parentID":"`+parent+`"}`, &asking)
	r.json(http.MethodPost, "/session", r.full, `{"parentID":"`+parent+`"}`, &running)
	events := r.events(r.full, "")
	asked := r.start(t.Context(), fmt.Sprint(asking["id"]), r.full, "git push; touch ran")
	question := events.asked()
	ran := r.start(t.Context(), fmt.Sprint(running["id"]), r.full, "touch started; sleep 1000")
	eventually(t, "the command starts", func() bool { return r.exists("started") })
	if got := r.do(http.MethodDelete, "/session/"+parent, r.full, ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := await(t, "the end of the question", asked); got.status != http.StatusForbidden {
		t.Errorf("the question ends with %d %s, want 403", got.status, got.body)
	}
	if got := await(t, "the end of the command", ran); got.status != http.StatusOK || !strings.Contains(got.body, "[killed: aborted]") {
		t.Errorf("the command ends with %d %s, want it to be killed", got.status, got.body)
	}
	var replied struct{ RequestID, Reply string }
	if events.until("permission.replied", &replied); replied.RequestID != question.ID || replied.Reply != "reject" {
		t.Errorf("replied %+v, want reject", replied)
	}
	gone := map[string]bool{}
	for range 3 {
		var e struct{ SessionID string }
		events.until("session.deleted", &e)
		gone[e.SessionID] = true
	}
	if !gone[parent] || len(gone) != 3 {
		t.Errorf("deleted %v, want the session and both below it", gone)
	}
	if list := r.agent.Permissions(""); len(list) != 0 || r.exists("ran") {
		t.Errorf("left: %v, ran %v", list, r.exists("ran"))
	}
}

// TestSessionOfAnotherProject checks that a session in a directory that this
// server was not started for does not exist here, though the database knows it.
func TestSessionOfAnotherProject(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	other := must(filepath.EvalSymlinks(t.TempDir()))(t)
	now := time.Now()
	err := r.db.CreateSession(t.Context(), store.Session{
		ID: "ses_other", Slug: "s", ProjectID: "p", Directory: other, Title: "t", Agent: "build", Version: "1", Created: now, Updated: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body string }{
		{http.MethodGet, "/session/ses_other", ""},
		{http.MethodPatch, "/session/ses_other", `{"title":"mine"}`},
		{http.MethodDelete, "/session/ses_other", ""},
		{http.MethodGet, "/session/ses_other/message", ""},
		{http.MethodPost, "/session/ses_other/shell", `{"agent":"build","command":"touch ran"}`},
		{http.MethodPost, "/session/ses_other/abort", ""},
		{http.MethodPost, "/session", `{"parentID":"ses_other"}`},
	} {
		if got := r.do(c.method, c.path, r.full, c.body); got.status != http.StatusNotFound {
			t.Errorf("%s %s = %d %s, want 404", c.method, c.path, got.status, got.body)
		}
	}
	if got := r.do(http.MethodGet, "/session?limit=1", r.full, ""); got.status != http.StatusOK || strings.Contains(got.body, "ses_other") {
		t.Errorf("list = %d %s, want it without the session", got.status, got.body)
	}
	if s, err := r.db.Session(t.Context(), "ses_other"); err != nil || s.Title != "t" {
		t.Errorf("afterwards it is %+v, %v, want it as it was", s, err)
	}
	if list := must(os.ReadDir(other))(t); len(list) != 0 {
		t.Errorf("%v was made", list)
	}
}

// TestTooDeep checks that sessions cannot be nested until they are too many to
// count.
func TestTooDeep(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	for range 65 {
		s, err := r.agent.CreateSession(t.Context(), agent.SessionInput{ParentID: id})
		if err != nil {
			t.Fatal(err)
		}
		id = s.ID
	}
	if got := r.shell(id, r.full, "touch ran"); got.status != http.StatusBadRequest || r.exists("ran") {
		t.Errorf("%d %s, ran %v, want 400 and nothing run", got.status, got.body, r.exists("ran"))
	}
}
