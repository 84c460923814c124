package agent_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// TestFork copies a session up to a message and whole.
func TestFork(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	s := must(r.agent.CreateSession(t.Context(), agent.SessionInput{
		Title: "work", Agent: "plan", Restrictions: []agent.Restriction{{Permission: "bash", Pattern: "rm *", Action: "deny"}},
	}))(t)
	for range 3 {
		r.mustRun(s.ID, "true")
	}
	users := r.users(s.ID)
	whole := must(r.agent.Fork(t.Context(), s.ID, ""))(t)
	part := must(r.agent.Fork(t.Context(), s.ID, users[1]))(t)
	if whole.Title != "work (fork #1)" || part.ParentID != "" || part.Agent != "plan" || string(part.Restrictions) != string(s.Restrictions) {
		t.Errorf("forks %+v and %+v", whole, part)
	}
	if again := must(r.agent.Fork(t.Context(), whole.ID, ""))(t); again.Title != "work (fork #2)" {
		t.Errorf("title %q", again.Title)
	}
	from := must(r.agent.Messages(t.Context(), s.ID, 0, ""))(t)
	for id, count := range map[string]int{whole.ID: 6, part.ID: 2} {
		list := must(r.agent.Messages(t.Context(), id, 0, ""))(t)
		if len(list) != count {
			t.Fatalf("%d messages, want %d", len(list), count)
		}
		for i, m := range list {
			var info struct{ ID, SessionID, ParentID string }
			if err := json.Unmarshal(m.Message.Body, &info); err != nil {
				t.Fatal(err)
			}
			if info.ID != m.Message.ID || info.SessionID != id || m.Message.ID == from[i].Message.ID {
				t.Errorf("message %s of %s", m.Message.Body, id)
			}
			if m.Message.Role == "assistant" && info.ParentID != list[i-1].Message.ID {
				t.Errorf("the answer %s is to %s, want %s", info.ID, info.ParentID, list[i-1].Message.ID)
			}
			if len(m.Parts) != len(from[i].Parts) || strings.Contains(string(m.Parts[0].Body), from[i].Message.ID) {
				t.Errorf("parts %s", m.Parts[0].Body)
			}
		}
	}
	if _, err := r.agent.Fork(t.Context(), s.ID, "msg_1"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("before no message: %v", err)
	}
	if _, err := r.agent.Fork(t.Context(), "ses_1", ""); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("of no session: %v", err)
	}
	// A copy has none of the leases.
	if leases := must(r.db.Leases(t.Context(), whole.ID, whole.Created))(t); len(leases) != 0 {
		t.Errorf("leases %v", leases)
	}
}

// TestSubSessionsNarrow checks that restrictions reach everything below a
// session, also those that come later.
func TestSubSessionsNarrow(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	deny := func(pattern string) []agent.Restriction {
		return []agent.Restriction{{Permission: "bash", Pattern: pattern, Action: "deny"}}
	}
	model := &agent.SessionModel{ID: "m", ProviderID: "p"}
	top := must(r.agent.CreateSession(t.Context(), agent.SessionInput{Agent: "plan", Model: model, Restrictions: deny("ls*")}))(t)
	below := must(r.agent.CreateSession(t.Context(), agent.SessionInput{
		ParentID: top.ID, Restrictions: append(deny("id*"), agent.Restriction{Permission: "*", Pattern: "*", Action: "allow"}),
	}))(t)
	lowest := must(r.agent.CreateSession(t.Context(), agent.SessionInput{ParentID: below.ID, Agent: "build"}))(t)
	if below.Agent != "plan" || string(below.Model) != `{"id":"m","providerID":"p"}` || lowest.Agent != "build" || lowest.Directory != top.Directory {
		t.Errorf("sub-sessions %+v and %+v", below, lowest)
	}
	if got := must(r.agent.Children(t.Context(), top.ID))(t); len(got) != 1 || got[0].ID != below.ID {
		t.Errorf("children %v", got)
	}
	if _, err := r.agent.Restrict(t.Context(), top.ID, deny("date*")); err != nil {
		t.Fatal(err)
	}
	for command, ok := range map[string][]string{
		"true": {top.ID, below.ID, lowest.ID}, "ls -l": nil, "id": {top.ID}, "date": nil,
	} {
		for _, id := range []string{top.ID, below.ID, lowest.ID} {
			got := r.shell(id, command)
			if slices.Contains(ok, id) != (got.err == nil) || got.err != nil && !errors.Is(got.err, policy.ErrDenied) {
				t.Errorf("%s in %s: %v", command, id, got.err)
			}
		}
	}
	for name, bad := range map[string][]agent.Restriction{
		"action": {{Permission: "bash", Pattern: "*", Action: "maybe"}}, "no tool": {{Pattern: "*", Action: "deny"}},
		"no action": {{Permission: "bash", Pattern: "*"}}, "too many": many(257),
	} {
		if _, err := r.agent.Restrict(t.Context(), top.ID, bad); !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, agent.ErrInvalid)
		}
	}
	// What cannot be read binds all the more.
	if _, err := r.db.UpdateSession(t.Context(), top.ID, func(s *store.Session) error {
		s.Restrictions = json.RawMessage(`"x"`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := r.shell(lowest.ID, "true"); got.err == nil {
		t.Error("a session below one whose restrictions are broken runs commands")
	}
}

func many(n int) []agent.Restriction {
	var list []agent.Restriction
	for i := range n {
		list = append(list, agent.Restriction{Permission: "bash", Pattern: strings.Repeat("x", i), Action: "deny"})
	}
	return list
}

// TestPromptWithoutProvider checks that a message is kept, and answered with
// how to sign in.
func TestPromptWithoutProvider(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	sub := r.listen("")
	defer sub.Close()
	parts := func(list ...string) []json.RawMessage {
		var out []json.RawMessage
		for _, p := range list {
			out = append(out, json.RawMessage(p))
		}
		return out
	}
	m := must(r.agent.Prompt(t.Context(), id, agent.PromptInput{
		MessageID: "msg_mine", Model: agent.ModelRef{ProviderID: "p", ModelID: "m"},
		Parts: parts(`{"type":"text","text":"hello","sessionID":"ses_other"}`, `{"type":"file","mime":"text/plain","url":"file:///etc/passwd","id":"prt_mine"}`),
	}))(t)
	if !strings.Contains(string(m.Message.Body), "ProviderAuthError") || !strings.Contains(string(m.Message.Body), "opencode auth login") {
		t.Errorf("answer %s", m.Message.Body)
	}
	var kinds []string
	for _, e := range sub.rest() {
		kinds = append(kinds, e.Type)
	}
	want := []string{
		"message.updated", "message.part.updated", "message.part.updated", "session.status", "message.updated", "session.error",
		"session.updated", "session.status", "session.idle",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
	kept := must(r.agent.Message(t.Context(), id, "msg_mine"))(t)
	if len(kept.Parts) != 2 || strings.Contains(string(kept.Parts[0].Body)+string(kept.Parts[1].Body), "ses_other") || strings.Contains(string(kept.Parts[1].Body), "root:") {
		t.Errorf("kept %+v", kept)
	}
	for name, in := range map[string]agent.PromptInput{
		"no parts":    {},
		"no object":   {Parts: parts(`"x"`)},
		"no type":     {Parts: parts(`{}`)},
		"another":     {Parts: parts(`{"type":"tool"}`)},
		"no text":     {Parts: parts(`{"type":"text"}`)},
		"text, not":   {Parts: parts(`{"type":"text","text":1}`)},
		"part id":     {Parts: parts(`{"type":"text","text":"x","id":"../x"}`)},
		"message id":  {MessageID: "x", Parts: parts(`{"type":"text","text":"x"}`)},
		"null object": {Parts: parts(`null`)},
	} {
		if _, err := r.agent.Prompt(t.Context(), id, in); !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, agent.ErrInvalid)
		}
	}
	if _, err := r.agent.Prompt(t.Context(), id, agent.PromptInput{MessageID: "msg_mine", Parts: parts(`{"type":"text","text":"x"}`)}); !errors.Is(err, store.ErrExist) {
		t.Errorf("a message that is there: %v", err)
	}
	only := must(r.agent.Prompt(t.Context(), id, agent.PromptInput{NoReply: true, Parts: parts(`{"type":"text","text":"note"}`)}))(t)
	if only.Message.Role != "user" {
		t.Errorf("without reply: %s", only.Message.Body)
	}
	if err := r.agent.DeleteMessage(t.Context(), id, only.Message.ID); err != nil {
		t.Error(err)
	}
	if err := r.agent.DeleteMessage(t.Context(), id, only.Message.ID); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
}
