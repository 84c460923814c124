package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"opencode/policy"
	"opencode/store"
)

// Reply is an answer to a question.
type Reply string

// The answers. A person gives the first three; the others end a question that
// nobody answered.
const (
	Once      Reply = "once"
	Always    Reply = "always"
	Reject    Reply = "reject"
	timedOut  Reply = "timeout"
	cancelled Reply = "cancelled"
	// unattended ends a question that was not put, since nobody was there.
	unattended Reply = "unattended"
)

// ParseReply reads an answer that a person may give.
func ParseReply(s string) (Reply, error) {
	if r := Reply(s); r == Once || r == Always || r == Reject {
		return r, nil
	}
	return "", fmt.Errorf("reply %q: %w: want once, always or reject", s, ErrInvalid)
}

// RefusedError reports that policy asked and that the answer was not yes. It
// is apart from [policy.DeniedError]: there policy has refused by itself.
type RefusedError struct {
	Decision policy.Decision
	// Reply is reject, timeout, cancelled, or unattended if there was nobody
	// to ask.
	Reply string
	// Message is what the person who answered said.
	Message string
}

// Error says how the question ended and which rule raised it.
func (e *RefusedError) Error() string {
	var reasons []string
	text := "nobody is there to answer, and the policy then denies"
	switch e.Reply {
	case string(Reject):
		text = "rejected by a person"
	case string(timedOut):
		text = "nobody answered in time, and the policy then denies"
	case string(cancelled):
		text = "cancelled before anybody answered"
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	for _, r := range e.Decision.Rules {
		reasons = append(reasons, fmt.Sprintf(" (asked because %s [%s])", r.Message, r.ID))
	}
	return text + strings.Join(reasons, "")
}

// ErrRefused is what every [RefusedError] is, for errors.Is.
var ErrRefused = errors.New("refused")

// Is makes every RefusedError match [ErrRefused].
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Permission is a question that waits for an answer, as the API shows it.
type Permission struct {
	ID         string         `json:"id"`
	SessionID  string         `json:"sessionID"`
	Permission string         `json:"permission"`
	Patterns   []string       `json:"patterns"`
	Metadata   map[string]any `json:"metadata"`
	Always     []string       `json:"always"`
	Tool       *PermissionRef `json:"tool,omitempty"`
	// Directory is that of the session.
	Directory string `json:"-"`
}

// PermissionRef names the call that a question is about.
type PermissionRef struct {
	MessageID string `json:"messageID"`
	CallID    string `json:"callID"`
}

// questions are the questions that wait for an answer.
type questions struct {
	mu   sync.Mutex
	open map[string]*question
}

type question struct {
	session    store.Session
	permission Permission
	decision   policy.Decision
	asked      time.Time
	answered   bool        // somebody has claimed it
	over       bool        // whoever asked does not wait for a person any more
	alone      bool        // its session is only an id to answer under
	answer     chan answer // receives exactly one
}

type answer struct {
	reply   Reply
	message string
}

func newQuestions() *questions { return &questions{open: map[string]*question{}} }

// Permissions returns the questions of a directory that wait for an answer,
// oldest first; of all directories if it is empty.
func (a *Agent) Permissions(directory string) []Permission {
	a.asks.mu.Lock()
	defer a.asks.mu.Unlock()
	list := []Permission{}
	for _, q := range a.asks.open {
		if !q.answered && (directory == "" || q.session.Directory == directory) {
			list = append(list, q.permission)
		}
	}
	slices.SortFunc(list, func(x, y Permission) int { return cmp.Compare(x.ID, y.ID) })
	return list
}

// Answer answers a question. It returns [store.ErrNotExist] if no such question
// waits, in that session if one is given, and a [policy.DeniedError] if the
// policy wants more permissions of whoever answers.
func (a *Agent) Answer(ctx context.Context, p policy.Principal, sessionID, id string, reply Reply, message string) error {
	q, err := a.asks.claim(p, sessionID, id)
	if err != nil {
		return err
	}
	if reply == Always && len(wanted(q.decision)) == 0 {
		reply = Once // nothing that could stand for longer
	}
	leases := a.leases(q, p, reply)
	if err := a.settle(ctx, q, answer{reply, message}, p.ID, leases); err != nil {
		a.release(q)
		return err
	}
	if reply == Always {
		a.answerCovered(ctx, q.session, p)
	}
	return nil
}

// claim takes a question, so that nobody else can answer it.
func (s *questions) claim(p policy.Principal, sessionID, id string) (*question, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.open[id]
	if q == nil || q.answered || sessionID != "" && q.session.ID != sessionID {
		return nil, fmt.Errorf("permission %q: %w or is answered", id, store.ErrNotExist)
	}
	if terms := q.decision.Obligations.Ask; terms == nil || !p.Has(terms.Approvers...) {
		return nil, notApprover(q.decision, p)
	}
	q.answered = true
	return q, nil
}

// claimCovered takes the questions of a session that leases cover and that the
// principal may answer.
func (s *questions) claimCovered(p policy.Principal, sessionID string, leases []store.Approval) []*question {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*question
	for _, q := range s.open {
		terms := q.decision.Obligations.Ask
		if q.answered || q.session.ID != sessionID || terms == nil || !p.Has(terms.Approvers...) ||
			!covered(q.decision, q.permission.Permission, leases) {
			continue
		}
		q.answered = true
		list = append(list, q)
	}
	return list
}

// release gives a question back that could not be answered. If its time is over
// by now, then it ends here and unanswered.
func (a *Agent) release(q *question) {
	a.asks.mu.Lock()
	q.answered = q.over
	a.asks.mu.Unlock()
	if q.answered {
		a.finish(q, answer{reply: cancelled})
	}
}

func notApprover(d policy.Decision, p policy.Principal) error {
	denied := policy.Decision{Effect: policy.Deny, Snapshot: d.Snapshot}
	if d.Obligations.Ask != nil {
		for _, need := range d.Obligations.Ask.Approvers {
			if !p.Has(need) {
				denied.Needs = append(denied.Needs, need)
			}
		}
	}
	for _, r := range d.Rules {
		r.Effect = policy.Deny
		r.Message = fmt.Sprintf("answering this question needs the permissions %v", denied.Needs)
		denied.Rules = append(denied.Rules, r)
	}
	return &policy.DeniedError{Decision: denied}
}

// leases returns what an answer of always grants.
func (a *Agent) leases(q *question, p policy.Principal, reply Reply) []store.Approval {
	if reply != Always {
		return nil
	}
	now := a.cfg.Now()
	life := time.Duration(q.decision.Obligations.Ask.LeaseSeconds) * time.Second
	var list []store.Approval
	for _, want := range wanted(q.decision) {
		list = append(list, store.Approval{
			ID: a.cfg.IDs.New("lea"), SessionID: q.session.ID, Tool: q.permission.Permission,
			Rule: want.rule, Pattern: want.pattern, PrincipalID: p.ID, Created: now, Expires: now.Add(life),
		})
	}
	return list
}

// settle makes an answer durable and then hands it to whoever waits.
func (a *Agent) settle(ctx context.Context, q *question, ans answer, principalID string, leases []store.Approval) error {
	if err := a.record(ctx, q, ans, principalID, leases); err != nil {
		return err
	}
	a.finish(q, ans)
	return nil
}

// record makes an answer durable, with the leases that it grants.
func (a *Agent) record(ctx context.Context, q *question, ans answer, principalID string, leases []store.Approval) error {
	rules := make([]string, 0, len(q.decision.Rules))
	for _, r := range q.decision.Rules {
		rules = append(rules, r.ID)
	}
	if q.alone {
		return a.cfg.Gate.answered(ctx, q, ans, principalID, rules)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	return a.cfg.Store.PutAnswer(ctx, store.Answer{
		ID: q.permission.ID, SessionID: q.session.ID, Tool: q.permission.Permission, Rules: rules,
		Reply: string(ans.reply), PrincipalID: principalID, Message: ans.message, Asked: q.asked, Answered: a.cfg.Now(),
	}, leases)
}

// finish ends a question, tells subscribers, and hands the answer to whoever
// waits. Only who has claimed the question may call it.
func (a *Agent) finish(q *question, ans answer) {
	a.asks.mu.Lock()
	delete(a.asks.open, q.permission.ID)
	a.asks.mu.Unlock()
	shown := ans.reply
	if shown != Once && shown != Always {
		shown = Reject // clients know no other ends
	}
	a.publish(q.session, "permission.replied", map[string]any{
		"sessionID": q.session.ID, "requestID": q.permission.ID, "reply": shown,
	})
	q.answer <- ans
}

// answerCovered answers the other questions of a session that the leases now
// cover.
func (a *Agent) answerCovered(ctx context.Context, s store.Session, p policy.Principal) {
	leases, err := a.cfg.Store.Leases(ctx, s.ID, a.cfg.Now())
	if err != nil {
		a.cfg.Logger.ErrorContext(ctx, "leases", slog.Any("error", err))
		return
	}
	for _, q := range a.asks.claimCovered(p, s.ID, leases) {
		if err := a.settle(ctx, q, answer{reply: Once}, p.ID, nil); err != nil {
			a.release(q)
			a.cfg.Logger.ErrorContext(ctx, "answer", slog.Any("error", err))
		}
	}
}

// want is one thing that a lease must cover.
type want struct{ rule, pattern string }

// wanted returns what leases must cover so that a decision need not be asked
// about; nothing if no lease can.
func wanted(d policy.Decision) []want {
	if d.Effect != policy.Ask || d.Obligations.Ask == nil || len(d.Obligations.Ask.Always) == 0 {
		return nil
	}
	var list []want
	for _, r := range d.Rules {
		if r.Effect != policy.Ask {
			continue
		}
		if len(r.Always) == 0 {
			return nil
		}
		for _, pattern := range r.Always {
			// The policy may strike a pattern from the terms.
			if !slices.Contains(d.Obligations.Ask.Always, pattern) {
				return nil
			}
			list = append(list, want{r.ID, pattern})
		}
	}
	return list
}

// covered reports whether leases cover all that a decision asks about. A
// pattern is the policy's own name for what always covers and is compared as a
// whole: nothing here interprets it.
func covered(d policy.Decision, tool string, leases []store.Approval) bool {
	wants := wanted(d)
	for _, w := range wants {
		if !slices.ContainsFunc(leases, func(l store.Approval) bool {
			return l.Tool == tool && l.Rule == w.rule && l.Pattern == w.pattern
		}) {
			return false
		}
	}
	return len(wants) > 0
}

// ask puts a question to whoever may answer and waits. It returns nil exactly
// if the answer was yes.
func (a *Agent) ask(ctx context.Context, p prompt, d policy.Decision) error {
	terms := d.Obligations.Ask
	if terms == nil {
		return fmt.Errorf("%w: the policy asks without terms", policy.ErrDenied)
	}
	if p.alone {
		// There is no session that a lease could be for.
		once := *terms
		once.Always = nil
		terms, d.Obligations.Ask = &once, &once
	}
	q := &question{
		session: p.session, decision: d, asked: a.cfg.Now(), answer: make(chan answer, 1), alone: p.alone,
		permission: Permission{
			ID: a.cfg.IDs.New("per"), SessionID: p.session.ID, Permission: p.permission,
			Patterns: p.patterns, Always: terms.Always, Metadata: metadata(p, d), Directory: p.session.Directory,
		},
	}
	if p.ref != (PermissionRef{}) {
		q.permission.Tool = &p.ref
	}
	if q.permission.Always == nil {
		q.permission.Always = []string{}
	}
	if !p.attended && !a.events.attended(p.session.Directory, terms.Approvers...) {
		// Nobody is asked, and what the policy then wants is recorded as if
		// somebody had been: what cannot be recorded is refused.
		if err := a.record(ctx, q, answer{reply: unattended}, "", nil); err != nil {
			a.cfg.Logger.ErrorContext(ctx, "answer", slog.Any("error", err))
			return &RefusedError{Decision: d, Reply: string(unattended)}
		}
		return outcome(d, answer{reply: unattended})
	}
	if p.asking != nil {
		if err := p.asking(ctx, reasons(d)); err != nil {
			return ended(ctx, err)
		}
	}
	timer := time.NewTimer(time.Duration(terms.TTLSeconds) * time.Second)
	defer timer.Stop()
	// Below the lock nobody can answer, so that no subscriber sees the answer
	// before the question.
	a.asks.mu.Lock()
	a.asks.open[q.permission.ID] = q
	a.publish(p.session, "permission.asked", q.permission)
	a.asks.mu.Unlock()

	select {
	case ans := <-q.answer:
		return outcome(d, ans)
	case <-timer.C:
		return a.expire(ctx, q, timedOut)
	case <-ctx.Done():
		if err := a.expire(ctx, q, cancelled); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		return context.Cause(ctx)
	}
}

// expire ends a question that nobody has answered. If somebody is answering it
// at this moment, that answer counts.
func (a *Agent) expire(ctx context.Context, q *question, end Reply) error {
	a.asks.mu.Lock()
	lost := q.answered
	q.answered, q.over = true, true
	a.asks.mu.Unlock()
	if !lost {
		if err := a.settle(ctx, q, answer{reply: end}, "", nil); err != nil {
			// It ends all the same, and what cannot be recorded is refused.
			a.cfg.Logger.ErrorContext(ctx, "answer", slog.Any("error", err))
			a.finish(q, answer{reply: cancelled})
			return &RefusedError{Decision: q.decision, Reply: string(end)}
		}
	}
	return outcome(q.decision, <-q.answer)
}

func outcome(d policy.Decision, ans answer) error {
	switch {
	case ans.reply == Once, ans.reply == Always:
		return nil
	case (ans.reply == timedOut || ans.reply == unattended) && d.Obligations.Ask != nil && d.Obligations.Ask.OnTimeout == policy.Allow:
		return nil
	}
	return &RefusedError{Decision: d, Reply: string(ans.reply), Message: ans.message}
}
