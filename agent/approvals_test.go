package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// The questions below stand for as long as the policy says, which only
// synctest can wait for.

// TestUnansweredQuestionEnds checks that a question ends when its time is over,
// not before, and that the policy then denies.
func TestUnansweredQuestionEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		team map[string]string
		ttl  time.Duration
	}{
		"default":   {nil, 300 * time.Second},
		"of a team": {map[string]string{"q.rego": "package team.q\n\nobligations := {\"ask\": {\"ttl_seconds\": 7}}\n"}, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, options{team: c.team})
				id := r.session()
				sub := r.listen("")
				defer sub.Close()
				began := time.Now()
				done := r.start(t.Context(), id, "git push")
				p := question(t, sub)
				time.Sleep(c.ttl - time.Millisecond)
				synctest.Wait()
				if list := r.agent.Permissions(r.dir); len(list) != 1 || list[0].ID != p.ID {
					t.Fatalf("open just before the end: %v", list)
				}
				got := <-done
				if took := time.Since(began); took != c.ttl {
					t.Errorf("it stood for %s, want %s", took, c.ttl)
				}
				if text := wantRefused(t, got.err, "timeout"); !strings.Contains(text, "nobody answered in time") || !strings.Contains(text, "[bash.ask_command]") {
					t.Errorf("error %q, want how it ended and the rule", text)
				}
				if errors.Is(got.err, policy.ErrDenied) {
					t.Error("a question without an answer is a denial by policy")
				}
				if list := r.agent.Permissions(""); len(list) != 0 || len(r.bash.commands()) != 0 {
					t.Errorf("open %v, ran %v", list, r.bash.commands())
				}
				if err := r.agent.Answer(t.Context(), person(), "", p.ID, agent.Once, ""); !errors.Is(err, store.ErrNotExist) {
					t.Errorf("answer afterwards: %v", err)
				}
				if _, s := r.last(id); s.Status != "error" || !strings.Contains(fmt.Sprint(s.Metadata["refusal"]), "outcome:timeout") {
					t.Errorf("stored %+v", s)
				}
				if got := r.answers(id); !slices.Equal(got, []string{"timeout"}) {
					t.Errorf("recorded %v", got)
				}
			})
		})
	}
}

// allowOnTimeout is a team's wish that silence is a yes.
var allowOnTimeout = map[string]string{"data.json": `{"opencode":{"config":{"ask":{"on_timeout":"allow"}}}}`}

// TestSilenceMayBeYes checks that the policy can let a command run when nobody
// answers, and that a denial by then still counts.
func TestSilenceMayBeYes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, options{team: allowOnTimeout})
		id := r.session()
		began := time.Now()
		if got := r.shell(id, "git push"); got.err != nil || time.Since(began) != 300*time.Second {
			t.Errorf("error %v after %s, want none after 5m", got.err, time.Since(began))
		}
		if got := r.bash.commands(); !slices.Equal(got, []string{"git push"}) {
			t.Errorf("ran %v", got)
		}
		if got := r.answers(id); !slices.Equal(got, []string{"timeout"}) {
			t.Errorf("recorded %v", got)
		}
	})
}

// TestCancelledQuestionIsNoYes checks that a caller who leaves gets no yes from
// a policy that takes silence for one.
func TestCancelledQuestionIsNoYes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, options{team: allowOnTimeout})
		id := r.session()
		ctx, cancel := context.WithCancel(t.Context())
		done := r.start(ctx, id, "git push")
		synctest.Wait()
		cancel()
		got := <-done
		_ = wantRefused(t, got.err, "cancelled")
		if !errors.Is(got.err, context.Canceled) || len(r.bash.commands()) != 0 {
			t.Errorf("error %v, ran %v", got.err, r.bash.commands())
		}
		if got := r.answers(id); !slices.Equal(got, []string{"cancelled"}) {
			t.Errorf("recorded %v", got)
		}
	})
}

// TestLeaseExpires lets the life of an answer of always pass.
func TestLeaseExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, options{team: map[string]string{"q.rego": "package team.q\n\nobligations := {\"ask\": {\"lease_seconds\": 60}}\n"}})
		id := r.session()
		sub := r.listen(r.dir)
		defer sub.Close()
		done := r.start(t.Context(), id, "git push")
		p := question(t, sub)
		if err := r.agent.Answer(t.Context(), person(), id, p.ID, agent.Always, ""); err != nil {
			t.Fatal(err)
		}
		granted := time.Now()
		if got := <-done; got.err != nil {
			t.Fatal(got.err)
		}
		time.Sleep(time.Until(granted.Add(60*time.Second - time.Millisecond)))
		if got := r.shell(id, "git push"); got.err != nil || len(r.bash.commands()) != 2 {
			t.Errorf("within its life: %v, ran %v", got.err, r.bash.commands())
		}
		time.Sleep(time.Until(granted.Add(60 * time.Second)))
		done = r.start(t.Context(), id, "git push")
		synctest.Wait()
		if list := r.agent.Permissions(""); len(list) != 1 {
			t.Errorf("after its life: open %v, want a question", list)
		}
		if got := <-done; got.err == nil || len(r.bash.commands()) != 2 {
			t.Errorf("after its life: %v, ran %v", got.err, r.bash.commands())
		}
	})
}

// TestLeaseSurvivesARestart answers with always, and asks another agent on the
// same database.
func TestLeaseSurvivesARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	sub := r.listen("")
	defer sub.Close()
	done := r.start(t.Context(), id, "git push")
	if err := r.agent.Answer(t.Context(), person(), "", question(t, sub).ID, agent.Always, ""); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil {
		t.Fatal(got.err)
	}
	if err := r.agent.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := newRig(t, options{db: r.db, dir: r.dir, recover: true})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got := <-next.start(ctx, id, "git push origin"); got.err != nil || len(next.bash.commands()) != 1 {
		t.Errorf("after the restart: %v, ran %v", got.err, next.bash.commands())
	}
}

// stubborn is a store that does not take answers as long as it fails.
type stubborn struct {
	store.Store
	fails   *atomic.Bool
	entered chan struct{}
	leave   chan struct{}
}

var errDisk = errors.New("disk is full")

func (s stubborn) PutAnswer(ctx context.Context, a store.Answer, leases []store.Approval) error {
	if s.fails.Load() {
		if s.entered != nil {
			s.entered <- struct{}{}
			<-s.leave
		}
		return errDisk
	}
	return s.Store.PutAnswer(ctx, a, leases)
}

// TestAnswerThatCannotBeStored checks that a yes which is not durable is none,
// and that the question can be answered again.
func TestAnswerThatCannotBeStored(t *testing.T) {
	t.Parallel()
	fails := &atomic.Bool{}
	r := newRig(t, options{store: func(s store.Store) store.Store { return stubborn{Store: s, fails: fails} }})
	id := r.session()
	sub := r.listen("")
	defer sub.Close()
	done := r.start(t.Context(), id, "git push")
	p := question(t, sub)
	fails.Store(true)
	if err := r.agent.Answer(t.Context(), person(), "", p.ID, agent.Once, ""); !errors.Is(err, errDisk) {
		t.Fatalf("Answer: %v, want the store's error", err)
	}
	if list := r.agent.Permissions(""); len(list) != 1 || len(r.bash.commands()) != 0 {
		t.Fatalf("open %v, ran %v", list, r.bash.commands())
	}
	fails.Store(false)
	if err := r.agent.Answer(t.Context(), person(), "", p.ID, agent.Once, ""); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil || len(r.bash.commands()) != 1 {
		t.Errorf("%v, ran %v", got.err, r.bash.commands())
	}
}

// slow is a store that lets a test hold up an answer.
type slow struct {
	store.Store
	entered chan struct{}
	leave   chan struct{}
}

func (s slow) PutAnswer(ctx context.Context, a store.Answer, leases []store.Approval) error {
	s.entered <- struct{}{}
	<-s.leave
	return s.Store.PutAnswer(ctx, a, leases)
}

// TestQuestionIsClaimed checks that nobody can answer what somebody is
// answering, and that it is not listed meanwhile.
func TestQuestionIsClaimed(t *testing.T) {
	t.Parallel()
	s := slow{entered: make(chan struct{}, 1), leave: make(chan struct{})}
	r := newRig(t, options{store: func(inner store.Store) store.Store { s.Store = inner; return s }})
	id := r.session()
	sub := r.listen("")
	defer sub.Close()
	done := r.start(t.Context(), id, "git push")
	p := question(t, sub)
	first := make(chan error, 1)
	go func() { first <- r.agent.Answer(t.Context(), person(), "", p.ID, agent.Reject, "") }()
	<-s.entered
	second := make(chan error, 1)
	go func() { second <- r.agent.Answer(t.Context(), person(), "", p.ID, agent.Once, "") }()
	select {
	case err := <-second:
		if !errors.Is(err, store.ErrNotExist) {
			t.Errorf("the second answer: %v, want that there is no such question", err)
		}
	case <-s.entered:
		t.Error("two answer at once")
	}
	if list := r.agent.Permissions(""); len(list) != 0 {
		t.Errorf("listed %v while somebody answers", list)
	}
	close(s.leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	_ = wantRefused(t, (<-done).err, "reject")
}

// TestEndThatCannotBeStored checks that a question whose end the store does not
// take ends all the same, as a refusal, and that subscribers learn of it. The
// policy would take silence for a yes; one without a record is none.
func TestEndThatCannotBeStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fails := &atomic.Bool{}
		r := newRig(t, options{team: allowOnTimeout, store: func(s store.Store) store.Store { return stubborn{Store: s, fails: fails} }})
		fails.Store(true)
		id := r.session()
		sub := r.listen("")
		defer sub.Close()
		got := r.shell(id, "git push")
		_ = wantRefused(t, got.err, "timeout")
		if list := r.agent.Permissions(""); len(list) != 0 || len(r.bash.commands()) != 0 {
			t.Errorf("open %v, ran %v", list, r.bash.commands())
		}
		replied := false
		for _, e := range sub.rest() {
			replied = replied || e.Type == "permission.replied" && strings.Contains(string(e.Properties), `"reject"`)
		}
		if !replied || !strings.Contains(r.log.String(), "disk is full") {
			t.Errorf("replied %v, log %s", replied, r.log)
		}
	})
}

// TestTimeIsOverWhileTheAnswerFails lets the time of a question pass while the
// store still thinks about an answer, which it then does not take.
func TestTimeIsOverWhileTheAnswerFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fails := &atomic.Bool{}
		s := stubborn{fails: fails, entered: make(chan struct{}), leave: make(chan struct{})}
		r := newRig(t, options{store: func(inner store.Store) store.Store { s.Store = inner; return s }})
		id := r.session()
		done := r.start(t.Context(), id, "git push")
		synctest.Wait()
		p := r.agent.Permissions("")[0]
		fails.Store(true)
		answered := make(chan error, 1)
		go func() { answered <- r.agent.Answer(t.Context(), person(), "", p.ID, agent.Once, "") }()
		<-s.entered
		time.Sleep(301 * time.Second)
		synctest.Wait()
		select {
		case got := <-done:
			t.Fatalf("ended with %v while somebody was answering", got.err)
		default:
		}
		close(s.leave)
		if err := <-answered; !errors.Is(err, errDisk) {
			t.Errorf("Answer: %v, want the store's error", err)
		}
		_ = wantRefused(t, (<-done).err, "cancelled")
		if list := r.agent.Permissions(""); len(list) != 0 || len(r.bash.commands()) != 0 {
			t.Errorf("open %v, ran %v", list, r.bash.commands())
		}
	})
}

// asking is a decider that asks on terms of its own.
func asking(rules []policy.Rule, terms policy.AskTerms) policy.Decider {
	return deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		terms := terms
		return policy.Decision{
			Effect: policy.Ask, Rules: rules, Snapshot: "snap",
			Obligations: policy.Obligations{TimeoutSeconds: 1, MaxOutputBytes: 1, Ask: &terms},
		}, nil
	})
}

// TestAlwaysThatCoversNotAll checks that an answer of always to a question of
// which a part cannot stand counts once, and grants nothing.
func TestAlwaysThatCoversNotAll(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]policy.Rule{
		"a rule without always":  {{ID: "a", Effect: policy.Ask, Message: "m", Always: []string{"x"}}, {ID: "b", Effect: policy.Ask, Message: "m"}},
		"a pattern struck":       {{ID: "a", Effect: policy.Ask, Message: "m", Always: []string{"x", "y"}}},
		"patterns of another":    {{ID: "a", Effect: policy.Ask, Message: "m", Always: []string{"y"}}},
		"no rule that asks":      {{ID: "a", Effect: policy.Allow, Message: "m", Always: []string{"x"}}},
		"a pattern with a space": {{ID: "a", Effect: policy.Ask, Message: "m", Always: []string{"x "}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{decider: asking(rules, policy.AskTerms{TTLSeconds: 60, Always: []string{"x"}, LeaseSeconds: 60})})
			id := r.session()
			sub := r.listen("")
			defer sub.Close()
			for range 2 {
				done := r.start(t.Context(), id, "true")
				if err := r.agent.Answer(t.Context(), person(), "", question(t, sub).ID, agent.Always, ""); err != nil {
					t.Fatal(err)
				}
				if got := <-done; got.err != nil {
					t.Fatal(got.err)
				}
			}
			leases := must(r.db.Leases(t.Context(), id, time.Now()))(t)
			if got := r.answers(id); len(leases) != 0 || !slices.Equal(got, []string{"once", "once"}) {
				t.Errorf("leases %v, recorded %v", leases, got)
			}
		})
	}
}

// TestApprovers checks that the terms say who may answer, and that whoever may
// not is told what is missing.
func TestApprovers(t *testing.T) {
	t.Parallel()
	rules := []policy.Rule{{ID: "a.b", Effect: policy.Ask, Message: "m"}}
	r := newRig(t, options{decider: asking(rules, policy.AskTerms{TTLSeconds: 60, Approvers: []string{"execute", "approve"}})})
	id := r.session()
	sub := r.listen("")
	defer sub.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := r.start(ctx, id, "true")
	p := question(t, sub)
	for missing, who := range map[string]policy.Principal{
		"approve":         person(),
		"execute":         {Kind: policy.PrincipalToken, Permissions: []string{"approve"}},
		"execute approve": policy.Anonymous(),
	} {
		err := r.agent.Answer(t.Context(), who, "", p.ID, agent.Once, "")
		var denied *policy.DeniedError
		if !errors.As(err, &denied) || strings.Join(denied.Decision.Needs, " ") != missing || denied.Decision.Rules[0].ID != "a.b" || denied.Decision.Effect != policy.Deny {
			t.Errorf("Answer by %v: %v, want that it lacks %q", who.Permissions, err, missing)
		}
	}
	if list := r.agent.Permissions(""); len(list) != 1 {
		t.Errorf("open %v, want the question", list)
	}
	cancel()
	_ = wantRefused(t, (<-done).err, "cancelled")
}

// TestQuestionShowsThePolicy checks that what a question shows of the
// policy is the policy's.
func TestQuestionShowsThePolicy(t *testing.T) {
	t.Parallel()
	rules := []policy.Rule{{ID: "a.b", Effect: policy.Ask, Message: "because", At: "f.rego:1"}}
	r := newRig(t, options{decider: asking(rules, policy.AskTerms{TTLSeconds: 60})})
	sub := r.listen("")
	defer sub.Close()
	id := r.session()
	ctx, cancel := context.WithCancel(t.Context())
	done := r.start(ctx, id, `echo '"rules":[]'`)
	p := question(t, sub)
	b := must(json.Marshal(p.Metadata))(t)
	want := `{"command":"echo '\"rules\":[]'","on_timeout":"deny","policy":"snap","reason":"asked by policy: because [a.b]","rules":[{"at":"f.rego:1","effect":"ask","id":"a.b","message":"because"}],"ttl_seconds":60}`
	if string(b) != want || p.Always == nil {
		t.Errorf("metadata\n%s, want\n%s; always %v", b, want, p.Always)
	}
	cancel()
	<-done
}

// TestAskedComesBeforeReplied has somebody answer who polls: no subscriber may
// see the answer before the question.
func TestAskedComesBeforeReplied(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	for range 20 {
		sub := r.listen("")
		done := r.start(t.Context(), id, "git push")
		for {
			list := r.agent.Permissions("")
			if len(list) == 0 {
				runtime.Gosched()
				continue
			}
			if err := r.agent.Answer(t.Context(), person(), "", list[0].ID, agent.Reject, ""); err != nil {
				t.Fatal(err)
			}
			break
		}
		<-done
		var kinds []string
		for _, e := range sub.rest() {
			if strings.HasPrefix(e.Type, "permission.") {
				kinds = append(kinds, e.Type)
			}
		}
		if !slices.Equal(kinds, []string{"permission.asked", "permission.replied"}) {
			t.Fatalf("events %v", kinds)
		}
		sub.Close()
	}
}
