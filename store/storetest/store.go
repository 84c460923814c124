package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"opencode/store"
)

// Run tests the contract of [store.Store]. The function opens what is kept in
// a directory, which is empty at first, and closes it when its test ends;
// handles on the same directory share it, and each must see at once what
// another did.
func Run(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	for _, tests := range []map[string]func(t *testing.T, open func() store.Store){
		sessionTests(), messageTests(), approvalTests(), decisionTests(), sharedTests(),
	} {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				test(t, func() store.Store { return open(t, dir) })
			})
		}
	}
}

// errStop is what a test's own function fails with.
var errStop = errors.New("stop here")

func session(id string) store.Session {
	return store.Session{
		ID: id, Slug: "slug-" + id, ProjectID: "project", Directory: "/p", Title: "title of " + id, Agent: "build",
		Version: "1.2.3", Created: at(0), Updated: at(1),
	}
}

func message(sessionID, id string) store.Message {
	return store.Message{ID: id, SessionID: sessionID, Role: "user", Created: at(2), Body: object("id", id)}
}

func part(sessionID, messageID, id string) store.Part {
	return store.Part{ID: id, MessageID: messageID, SessionID: sessionID, Type: "text", Body: object("text", id)}
}

func toolPart(sessionID, messageID, id, status string) store.Part {
	p := part(sessionID, messageID, id)
	p.Type = "tool"
	p.Body = json.RawMessage(fmt.Sprintf(`{"id":%q,"type":"tool","state":{"input":{},"status":%q}}`, id, status))
	return p
}

func answer(sessionID, id string) store.Answer {
	return store.Answer{
		ID: id, SessionID: sessionID, Tool: "bash", Rules: []string{"bash.ask", "bash.other"}, Reply: "always",
		PrincipalID: "tok_1", Message: "go on", Asked: at(3), Answered: at(4),
	}
}

func lease(sessionID, id string) store.Approval {
	return store.Approval{
		ID: id, SessionID: sessionID, Tool: "bash", Rule: "bash.ask", Pattern: "git *", PrincipalID: "tok_1",
		Created: at(4), Expires: at(100),
	}
}

func object(key, value string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{%q:%q}`, key, value))
}

func mustSession(t *testing.T, s store.Store, sessions ...store.Session) {
	t.Helper()
	for _, session := range sessions {
		if err := s.CreateSession(t.Context(), session); err != nil {
			t.Fatalf("CreateSession(%q): %v", session.ID, err)
		}
	}
}

func mustPut(t *testing.T, s store.Store, m []store.Message, p []store.Part) {
	t.Helper()
	if err := s.PutMessage(t.Context(), m, p); err != nil {
		t.Fatalf("PutMessage(%v, %v): %v", ids(m), ids(p), err)
	}
}

func mustAnswer(t *testing.T, s store.Store, a store.Answer, leases ...store.Approval) {
	t.Helper()
	if err := s.PutAnswer(t.Context(), a, leases); err != nil {
		t.Fatalf("PutAnswer(%q, %v): %v", a.ID, ids(leases), err)
	}
}

// wantErr fails the test unless the error is that sentinel.
func wantErr(t *testing.T, call string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", call, err, want)
	}
}

// wantSame fails the test unless the call succeeded with that result. Nil and
// empty are the same.
func wantSame(t *testing.T, call string, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", call, err)
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", call, diff)
	}
}

func wantSession(t *testing.T, s store.Store, want store.Session) {
	t.Helper()
	got, err := s.Session(t.Context(), want.ID)
	wantSame(t, "Session("+want.ID+")", want, got, err)
}

func wantMessages(t *testing.T, s store.Store, sessionID string, want ...store.MessageParts) {
	t.Helper()
	got, err := s.Messages(t.Context(), sessionID, 0, "")
	wantSame(t, "Messages("+sessionID+")", want, got, err)
}

func wantAnswers(t *testing.T, s store.Store, sessionID string, want ...store.Answer) {
	t.Helper()
	got, err := s.Answers(t.Context(), sessionID)
	wantSame(t, "Answers("+sessionID+")", want, got, err)
}

func wantLeases(t *testing.T, s store.Store, sessionID string, when time.Time, want ...store.Approval) {
	t.Helper()
	got, err := s.Leases(t.Context(), sessionID, when)
	wantSame(t, fmt.Sprintf("Leases(%s, %v)", sessionID, when), want, got, err)
}

// ids returns the identifiers of what has them, in order.
func ids[T store.Session | store.Message | store.Part | store.MessageParts | store.Answer | store.Approval | store.DecisionRecord](list []T) []string {
	var out []string
	for _, item := range list {
		switch item := any(item).(type) {
		case store.Session:
			out = append(out, item.ID)
		case store.Message:
			out = append(out, item.ID)
		case store.Part:
			out = append(out, item.ID)
		case store.MessageParts:
			out = append(out, item.Message.ID)
		case store.Answer:
			out = append(out, item.ID)
		case store.Approval:
			out = append(out, item.ID)
		case store.DecisionRecord:
			out = append(out, item.ID)
		}
	}
	return out
}
