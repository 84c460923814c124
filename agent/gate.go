package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"opencode/agent/sandbox"
	"opencode/policy"
	"opencode/redact"
	"opencode/store"
)

// Gate decides and records. Both paths go through it: each HTTP request, and
// each thing that a tool is to do.
type Gate struct {
	cfg    GateConfig
	counts [gateKinds][gateOutcomes]atomic.Uint64
}

// The kinds and the outcomes that a gate counts.
const (
	countRequests = iota
	countPrompts
	gateKinds
)

const (
	countAllow = iota
	countAsk
	countDeny
	countError
	gateOutcomes
)

// Counts says how often a gate has decided what, since it was made.
type Counts struct {
	Allow uint64 `json:"allow"`
	Ask   uint64 `json:"ask"`
	Deny  uint64 `json:"deny"`
	// Errors are the denials for which policy gave no decision.
	Errors uint64 `json:"errors"`
}

// GateConfig is what a gate works with.
type GateConfig struct {
	Decider  policy.Decider // required
	Recorder *Recorder      // required
	IDs      IDs            // required
	// Redactor takes credentials out of what is recorded. Default: one that
	// knows no values of its own.
	Redactor *redact.Redactor
	// Log, if not nil, is told each decision that is recorded.
	Log    DecisionLog
	Logger *slog.Logger // defaults to one that discards
}

// DecisionLog takes decisions to where several machines have theirs. It must
// not wait, and keeps nothing of what it is given. Of an answer to a question
// there is no input.
type DecisionLog interface {
	Log(in *policy.Input, d policy.Decision, r store.DecisionRecord)
}

// NewGate returns a gate.
func NewGate(cfg GateConfig) (*Gate, error) {
	if cfg.Decider == nil || cfg.Recorder == nil || cfg.IDs == nil {
		return nil, errors.New("gate: Decider, Recorder and IDs are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Redactor == nil {
		cfg.Redactor = redact.New(redact.Config{})
	}
	return &Gate{cfg: cfg}, nil
}

// Counts returns how often the gate has decided what, by kind of input.
func (g *Gate) Counts() map[policy.Kind]Counts {
	list := map[policy.Kind]Counts{}
	for i, kind := range [gateKinds]policy.Kind{countRequests: policy.KindRequest, countPrompts: policy.KindPrompt} {
		c := &g.counts[i]
		list[kind] = Counts{Allow: c[countAllow].Load(), Ask: c[countAsk].Load(), Deny: c[countDeny].Load(), Errors: c[countError].Load()}
	}
	return list
}

// Decisions returns the records of decisions, newest first, with those that
// were made before the call.
func (a *Agent) Decisions(ctx context.Context, f store.DecisionFilter) ([]store.DecisionRecord, error) {
	if err := a.cfg.Gate.cfg.Recorder.Flush(ctx); err != nil {
		return nil, err
	}
	return a.cfg.Store.Decisions(ctx, f)
}

func (g *Gate) count(in *policy.Input, d policy.Decision, err error) {
	kind, outcome := countRequests, countDeny
	if in.Kind == policy.KindPrompt {
		kind = countPrompts
	}
	switch {
	case err != nil:
		outcome = countError
	case d.Effect == policy.Allow:
		outcome = countAllow
	case d.Effect == policy.Ask:
		outcome = countAsk
	}
	g.counts[kind][outcome].Add(1)
}

// Decide decides one input and records the decision. An error is always a
// denial, and so is a decision that cannot be recorded as it must be.
func (g *Gate) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	return g.decide(ctx, in, in.Kind == policy.KindPrompt)
}

// Filter is [Gate.Decide] for one of many things that may be shown or left out,
// such as the files that a search has found. Nothing happens that the record
// must come before, so that these are recorded in batches.
func (g *Gate) Filter(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	return g.decide(ctx, in, false)
}

func (g *Gate) decide(ctx context.Context, in *policy.Input, first bool) (policy.Decision, error) {
	start := time.Now()
	d, err := g.cfg.Decider.Decide(ctx, in)
	if err != nil {
		d.Effect = policy.Deny
	}
	r := store.DecisionRecord{
		Time: start, Kind: string(in.Kind), PrincipalID: in.Principal.ID,
		Subject: subject(in), Effect: d.Effect.String(), Snapshot: d.Snapshot, Duration: time.Since(start),
	}
	if in.Session != nil {
		r.SessionID = in.Session.ID
	}
	if len(d.Rules) > 0 {
		r.Rules = make([]string, len(d.Rules))
		for i := range d.Rules {
			r.Rules[i] = d.Rules[i].ID
		}
	}
	if err != nil {
		r.Error = g.cfg.Redactor.String(err.Error())
	}
	g.count(in, d, err)
	first = first || d.Obligations.Audit == "full"
	if err == nil && !first && g.cfg.Log == nil && !g.isLogged(ctx, &r) && g.cfg.Recorder.again(&r) {
		return d, nil // it needs no identifier: nobody is told of it alone
	}
	r.ID = g.cfg.IDs.New("dec")
	g.log(ctx, &r)
	if first {
		if recordErr := g.cfg.Recorder.PutNow(ctx, r); recordErr != nil {
			return policy.Decision{Snapshot: d.Snapshot}, fmt.Errorf("the decision cannot be recorded: %w", recordErr)
		}
	} else {
		g.cfg.Recorder.Put(r)
	}
	g.ship(in, d, r)
	if err != nil {
		return policy.Decision{Snapshot: d.Snapshot}, fmt.Errorf("decision: %w", err)
	}
	d.Record = r.ID
	return d, nil
}

// held records what a command is held to that a decision lets run.
func (g *Gate) held(ctx context.Context, d policy.Decision, report sandbox.Report) error {
	held := store.Sandbox{Held: map[string]string{}, Missing: map[string]string{}, Exempt: report.Exempt}
	for guarantee, by := range report.Held {
		held.Held[string(guarantee)] = by
	}
	for guarantee, why := range report.Missing {
		held.Missing[string(guarantee)] = why
	}
	return g.cfg.Recorder.HoldNow(ctx, d.Record, held)
}

// answered records the answer to a question that belongs to no session, among
// the decisions: the answers of sessions go with them.
func (g *Gate) answered(ctx context.Context, q *question, ans answer, principalID string, rules []string) error {
	effect := policy.Deny
	if outcome(q.decision, ans) == nil {
		effect = policy.Allow
	}
	r := store.DecisionRecord{
		ID: g.cfg.IDs.New("dec"), Time: q.asked, Kind: "answer", PrincipalID: principalID, SessionID: q.session.ID,
		Subject: q.permission.Permission + " " + string(ans.reply), Rules: rules, Effect: effect.String(), Snapshot: q.decision.Snapshot,
	}
	if err := g.cfg.Recorder.PutNow(ctx, r); err != nil {
		return err
	}
	d := q.decision
	d.Effect = effect
	g.ship(nil, d, r)
	return nil
}

func (g *Gate) ship(in *policy.Input, d policy.Decision, r store.DecisionRecord) {
	if g.cfg.Log != nil {
		g.cfg.Log.Log(in, d, r)
	}
}

// level is at which a decision is logged.
func level(r *store.DecisionRecord) slog.Level {
	switch {
	case r.Error != "":
		return slog.LevelError
	case r.Effect != "allow":
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (g *Gate) isLogged(ctx context.Context, r *store.DecisionRecord) bool {
	return g.cfg.Logger.Enabled(ctx, level(r))
}

func (g *Gate) log(ctx context.Context, r *store.DecisionRecord) {
	if !g.isLogged(ctx, r) {
		return
	}
	g.cfg.Logger.LogAttrs(ctx, level(r), "decision",
		slog.String("id", r.ID), slog.String("kind", r.Kind), slog.String("subject", r.Subject),
		slog.String("principal", r.PrincipalID), slog.String("session", r.SessionID), slog.String("effect", r.Effect),
		slog.Any("rules", r.Rules), slog.String("policy", r.Snapshot), slog.Duration("duration", r.Duration),
		slog.String("error", r.Error))
}

// subject names what was decided without its arguments.
func subject(in *policy.Input) string {
	switch {
	case in.Prompt != nil:
		return in.Prompt.Tool
	case in.Request != nil && in.Request.Route != nil:
		return in.Request.Method + " " + *in.Request.Route
	case in.Request != nil:
		return in.Request.Method + " (unknown route)"
	}
	return ""
}
