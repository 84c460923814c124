package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
	"opencode/store/sqlite"
)

// TestHubKeepsTheOrder has several publish at once. Each subscriber must see
// each event once, those of a publisher in order, and all in the same order.
func TestHubKeepsTheOrder(t *testing.T) {
	t.Parallel()
	const publishers, each, subscribers = 4, 200, 5 // fewer events than may wait
	h := newHub(store.NewIDs(nil, nil))
	subs := make([]*Subscription, subscribers)
	for i := range subs {
		subs[i] = h.subscribe(localPerson(), "")
	}
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			for i := range each {
				h.publish(Event{Directory: "/p"}, strconv.Itoa(p), i)
			}
		})
	}
	// Others come and go meanwhile.
	for range 3 {
		group.Go(func() {
			for range 50 {
				s := h.subscribe(localPerson(), "/p")
				for range rand.IntN(5) {
					s.Take()
					s.Delivered()
				}
				s.Close()
			}
		})
	}
	group.Wait()
	h.close()
	var first []string
	for n, s := range subs {
		next := map[string]int{}
		var all []string
		events, _ := s.Take()
		last := ""
		for _, e := range events {
			if string(e.Properties) != strconv.Itoa(next[e.Type]) || e.ID <= last {
				t.Fatalf("subscriber %d: event %s of publisher %s, want %d; id %s after %s", n, e.Properties, e.Type, next[e.Type], e.ID, last)
			}
			next[e.Type]++
			last = e.ID
			all = append(all, e.Type+"/"+e.ID)
		}
		if len(all) != publishers*each {
			t.Errorf("subscriber %d saw %d events, want %d", n, len(all), publishers*each)
		}
		if n == 0 {
			first = all
		} else if fmt.Sprint(all) != fmt.Sprint(first) {
			t.Errorf("subscriber %d saw another order than the first", n)
		}
	}
}

// TestHubDropsWhoDoesNotRead checks that one slow subscriber costs a bounded
// amount, learns why it ended, and disturbs nobody.
func TestHubDropsWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	h := newHub(store.NewIDs(nil, nil))
	slow, quick := h.subscribe(localPerson(), ""), h.subscribe(localPerson(), "")
	for i := range backlogEvents + 10 {
		h.publish(Event{}, "e", i)
		if events, ok := quick.Take(); !ok || len(events) != 1 || string(events[0].Properties) != strconv.Itoa(i) {
			t.Fatalf("events %v, want %d", events, i)
		}
		if dropped := slow.Reason() != ""; dropped != (i >= backlogEvents) {
			t.Fatalf("dropped %v after %d events", dropped, i+1)
		}
	}
	if events, ok := slow.Take(); ok || len(events) != 0 || slow.Reason() != "the client reads too slowly" || quick.Reason() != "" {
		t.Errorf("%d events, reasons %q and %q", len(events), slow.Reason(), quick.Reason())
	}
	big := h.subscribe(localPerson(), "")
	text := strings.Repeat("x", backlogBytes/10)
	count := 0
	for ; big.Reason() == ""; count++ {
		h.publish(Event{}, "e", text)
		quick.Take()
	}
	if count != 10 {
		t.Errorf("dropped after %d large events, want 10", count)
	}
	slow.Close() // again
	quick.Close()
	quick.Close()
	h.publish(Event{}, "e", nil) // to nobody
	if quick.Reason() != "closed" || h.attended("") {
		t.Errorf("reason %q, attended %v", quick.Reason(), h.attended(""))
	}
}

func TestHubKnowsWhoListens(t *testing.T) {
	t.Parallel()
	h := newHub(store.NewIDs(nil, nil))
	if h.attended("/p") {
		t.Error("attended by nobody")
	}
	one := h.subscribe(localPerson(), "/p")
	if !h.attended("/p") || h.attended("/p/sub") || h.attended("/") || h.attended("") {
		t.Error("one in /p attends another directory")
	}
	h.publish(Event{Directory: "/q"}, "1", nil)
	h.publish(Event{Directory: "/p"}, "2", nil)
	if events, _ := one.Take(); len(events) != 1 || events[0].Type != "2" {
		t.Errorf("events %v, want the second", events)
	}
	one.Close()
	all := h.subscribe(localPerson(), "")
	if !h.attended("/p") || !h.attended("/q") {
		t.Error("one for all directories attends none")
	}
	all.Close()
}

// TestCovered says what leases must be like to stand for an answer.
func TestCovered(t *testing.T) {
	t.Parallel()
	rule := func(id string, always ...string) policy.Rule {
		return policy.Rule{ID: id, Effect: policy.Ask, Message: "m", Always: always}
	}
	lease := func(rule, pattern string) store.Approval {
		return store.Approval{Tool: "bash", Rule: rule, Pattern: pattern}
	}
	terms := func(always ...string) *policy.AskTerms { return &policy.AskTerms{Always: always} }
	for name, c := range map[string]struct {
		effect policy.Effect // default ask
		rules  []policy.Rule
		terms  *policy.AskTerms
		leases []store.Approval
		want   bool
	}{
		"the same":              {rules: []policy.Rule{rule("r", "git push *")}, terms: terms("git push *"), leases: []store.Approval{lease("r", "git push *")}, want: true},
		"among others":          {rules: []policy.Rule{rule("r", "a")}, terms: terms("a"), leases: []store.Approval{lease("r", "b"), lease("r", "a")}, want: true},
		"two rules":             {rules: []policy.Rule{rule("r", "a"), rule("q", "b")}, terms: terms("a", "b"), leases: []store.Approval{lease("q", "b"), lease("r", "a")}, want: true},
		"two patterns":          {rules: []policy.Rule{rule("r", "a", "b")}, terms: terms("a", "b"), leases: []store.Approval{lease("r", "b"), lease("r", "a")}, want: true},
		"a rule beside it":      {rules: []policy.Rule{rule("r", "a"), {ID: "x", Effect: policy.Allow}}, terms: terms("a"), leases: []store.Approval{lease("r", "a")}, want: true},
		"no lease":              {rules: []policy.Rule{rule("r", "a")}, terms: terms("a")},
		"another pattern":       {rules: []policy.Rule{rule("r", "a")}, terms: terms("a"), leases: []store.Approval{lease("r", "b")}},
		"a pattern, not a glob": {rules: []policy.Rule{rule("r", "git push x")}, terms: terms("git push x"), leases: []store.Approval{lease("r", "git push *"), lease("r", "*")}},
		"another rule":          {rules: []policy.Rule{rule("r", "a")}, terms: terms("a"), leases: []store.Approval{lease("q", "a")}},
		"another tool":          {rules: []policy.Rule{rule("r", "a")}, terms: terms("a"), leases: []store.Approval{{Tool: "pty", Rule: "r", Pattern: "a"}}},
		"one of two rules":      {rules: []policy.Rule{rule("r", "a"), rule("q", "b")}, terms: terms("a", "b"), leases: []store.Approval{lease("r", "a")}},
		"one of two patterns":   {rules: []policy.Rule{rule("r", "a", "b")}, terms: terms("a", "b"), leases: []store.Approval{lease("r", "a")}},
		"a rule without always": {rules: []policy.Rule{rule("r", "a"), rule("q")}, terms: terms("a"), leases: []store.Approval{lease("r", "a"), lease("q", "")}},
		"a pattern struck":      {rules: []policy.Rule{rule("r", "a", "b")}, terms: terms("a"), leases: []store.Approval{lease("r", "a"), lease("r", "b")}},
		"all patterns struck":   {rules: []policy.Rule{rule("r", "a")}, terms: terms(), leases: []store.Approval{lease("r", "a")}},
		"no terms":              {rules: []policy.Rule{rule("r", "a")}, leases: []store.Approval{lease("r", "a")}},
		"no rules":              {terms: terms("a"), leases: []store.Approval{lease("r", "a")}},
		"no rule that asks":     {rules: []policy.Rule{{ID: "r", Effect: policy.Allow, Always: []string{"a"}}}, terms: terms("a"), leases: []store.Approval{lease("r", "a")}},
		"a denial":              {effect: policy.Deny, rules: []policy.Rule{rule("r", "a")}, terms: terms("a"), leases: []store.Approval{lease("r", "a")}},
	} {
		effect := policy.Ask
		if name == "a denial" {
			effect = c.effect
		}
		d := policy.Decision{Effect: effect, Rules: c.rules, Obligations: policy.Obligations{Ask: c.terms}}
		if got := covered(d, "bash", c.leases); got != c.want {
			t.Errorf("%s: covered %v, want %v", name, got, c.want)
		}
	}
	if covered(policy.Decision{}, "", []store.Approval{{}}) {
		t.Error("the zero decision is covered")
	}
}

// TestSameQuestion says when an answer to one question is one to another.
func TestSameQuestion(t *testing.T) {
	t.Parallel()
	rule := func(id, message string) policy.Rule { return policy.Rule{ID: id, Effect: policy.Ask, Message: message} }
	a, b := rule("a", "m"), rule("b", "m")
	for name, c := range map[string]struct {
		asked, now []policy.Rule
		want       bool
	}{
		"the same":        {[]policy.Rule{a, b}, []policy.Rule{b, a}, true},
		"less":            {[]policy.Rule{a, b}, []policy.Rule{a}, true},
		"more":            {[]policy.Rule{a}, []policy.Rule{a, b}, false},
		"another":         {[]policy.Rule{a}, []policy.Rule{b}, false},
		"another message": {[]policy.Rule{a}, []policy.Rule{rule("a", "n")}, false},
	} {
		if got := sameQuestion(policy.Decision{Rules: c.asked}, policy.Decision{Rules: c.now}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

type noBash struct{}

func (noBash) Run(context.Context, tool.BashCall, tool.Limits, func(string)) (tool.Result, error) {
	return tool.Result{}, nil
}

type decide func() policy.Decision

func (d decide) Decide(context.Context, *policy.Input) (policy.Decision, error) { return d(), nil }

// TestUnattended takes a call through the gate that no caller waits for, as one
// of a sub-agent will be. With nobody to ask the question ends at once, as the
// policy says; with a subscriber it is asked.
func TestUnattended(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		onTimeout  policy.Effect
		subscribed string // the directory of a subscriber, "-" for none
		want       string // the outcome, "" for a pass
		asked      bool
	}{
		"nobody, then deny":    {policy.Deny, "-", "unattended", false},
		"nobody, then allow":   {policy.Allow, "-", "", false},
		"somebody elsewhere":   {policy.Deny, "/elsewhere", "unattended", false},
		"somebody":             {policy.Deny, "/p", "cancelled", true},
		"somebody for all":     {policy.Deny, "", "cancelled", true},
		"somebody, then allow": {policy.Allow, "/p", "cancelled", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "server.db")})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			ids := store.NewIDs(nil, nil)
			rec := NewRecorder(db, nil)
			defer func() { _ = rec.Close(context.Background()) }()
			gate, err := NewGate(GateConfig{Recorder: rec, IDs: ids, Decider: decide(func() policy.Decision {
				return policy.Decision{
					Effect: policy.Ask, Rules: []policy.Rule{{ID: "a", Effect: policy.Ask, Message: "m"}},
					Obligations: policy.Obligations{TimeoutSeconds: 1, MaxOutputBytes: 1, Ask: &policy.AskTerms{TTLSeconds: 3600, OnTimeout: c.onTimeout}},
				}
			})})
			if err != nil {
				t.Fatal(err)
			}
			a, err := New(t.Context(), Config{Store: db, Gate: gate, Bash: noBash{}, IDs: ids, Directories: []string{"/p"}})
			if err != nil {
				t.Fatal(err)
			}
			s, err := a.CreateSession(t.Context(), SessionInput{})
			if err != nil {
				t.Fatal(err)
			}
			if c.subscribed != "-" {
				defer a.Subscribe(localPerson(), c.subscribed).Close()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() {
				_, err := a.pass(ctx, prompt{session: s, root: "/p", principal: localPerson(), tool: "bash", args: map[string]any{"command": "true"}})
				done <- err
			}()
			for c.asked && len(a.Permissions("")) == 0 {
				select {
				case err := <-done:
					t.Fatalf("not asked: %v", err)
				case <-time.After(time.Millisecond):
				}
			}
			if c.asked {
				cancel(ErrAborted)
			}
			select {
			case err = <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("it hangs")
			}
			refusedBy := ""
			if err != nil {
				refusedBy = fmt.Sprint(refusal(err)["outcome"])
			}
			if refusedBy != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			recorded := "unattended"
			if c.asked {
				recorded = "cancelled"
			}
			answers, err := db.Answers(t.Context(), s.ID)
			if err != nil || len(answers) != 1 || answers[0].Reply != recorded || answers[0].PrincipalID != "" {
				t.Errorf("recorded %+v, %v, want %s by nobody", answers, err, recorded)
			}
		})
	}
}

// forgetful is a store that records no answer.
type forgetful struct{ store.Store }

func (forgetful) PutAnswer(context.Context, store.Answer, []store.Approval) error {
	return errors.New("disk is full")
}

// TestUnattendedThatCannotBeRecorded checks that a policy which allows what
// nobody answers allows nothing that leaves no trace.
func TestUnattendedThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	a := &Agent{
		cfg:    Config{Store: forgetful{}, IDs: store.NewIDs(nil, nil), Logger: slog.New(slog.DiscardHandler), Now: time.Now},
		events: newHub(store.NewIDs(nil, nil)), asks: newQuestions(),
	}
	err := a.ask(t.Context(), prompt{session: store.Session{ID: "ses_1"}}, policy.Decision{
		Effect: policy.Ask, Obligations: policy.Obligations{Ask: &policy.AskTerms{TTLSeconds: 1, OnTimeout: policy.Allow}},
	})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("ask = %v, want a refusal", err)
	}
}

func localPerson() policy.Principal {
	return policy.Principal{Kind: policy.PrincipalLocal, ID: "local", Permissions: []string{"read", "write", "execute"}}
}

// TestLeasesOfOneAnswerCoverOthers checks that an answer of always answers the
// other questions of its session that it covers, and no others.
func TestLeasesOfOneAnswerCoverOthers(t *testing.T) {
	t.Parallel()
	qs := newQuestions()
	ask := func(id, session, rule, tool string, approvers ...string) *question {
		q := &question{
			session: store.Session{ID: session}, permission: Permission{ID: id, Permission: tool}, answer: make(chan answer, 1),
			decision: policy.Decision{
				Effect: policy.Ask, Rules: []policy.Rule{{ID: rule, Effect: policy.Ask, Always: []string{"p"}}},
				Obligations: policy.Obligations{Ask: &policy.AskTerms{Always: []string{"p"}, Approvers: approvers}},
			},
		}
		qs.open[id] = q
		return q
	}
	ask("per_yes", "ses_1", "r", "bash", "execute")
	ask("per_rule", "ses_1", "q", "bash", "execute")
	ask("per_tool", "ses_1", "r", "pty", "execute")
	ask("per_session", "ses_2", "r", "bash", "execute")
	ask("per_approver", "ses_1", "r", "bash", "execute", "root")
	ask("per_taken", "ses_1", "r", "bash").answered = true
	got := qs.claimCovered(localPerson(), "ses_1", []store.Approval{{Tool: "bash", Rule: "r", Pattern: "p"}})
	if len(got) != 1 || got[0].permission.ID != "per_yes" || !got[0].answered {
		t.Errorf("claimed %v, want per_yes", got)
	}
	for id, q := range qs.open {
		if q.answered != (id == "per_yes" || id == "per_taken") {
			t.Errorf("%s is answered %v", id, q.answered)
		}
	}
}

// TestArgumentsDoNotHideThePolicy checks that no argument of a tool stands in
// the place of what the policy says.
func TestArgumentsDoNotHideThePolicy(t *testing.T) {
	t.Parallel()
	args := map[string]any{"command": "x", "rules": "none", "policy": "mine", "ttl_seconds": 1, "on_timeout": "allow"}
	d := policy.Decision{Snapshot: "snap", Rules: []policy.Rule{{ID: "a"}}, Obligations: policy.Obligations{Ask: &policy.AskTerms{TTLSeconds: 9}}}
	b, err := json.Marshal(metadata(prompt{args: args}, d))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"command":"x","on_timeout":"deny","policy":"snap","reason":"asked by policy:  [a]","rules":[{"id":"a","effect":"deny","message":""}],"ttl_seconds":9}`
	if string(b) != want || args["rules"] != "none" {
		t.Errorf("metadata %s, want %s; the arguments are %v", b, want, args)
	}
	if metadata(prompt{}, d)["policy"] != "snap" {
		t.Error("no metadata without arguments")
	}
}
