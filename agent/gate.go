package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"opencode/policy"
	"opencode/store"
)

// Gate decides and records. Both paths go through it: each HTTP request, and
// each thing that a tool is to do.
type Gate struct {
	cfg GateConfig
}

// GateConfig is what a gate works with.
type GateConfig struct {
	Decider  policy.Decider // required
	Recorder *Recorder      // required
	IDs      IDs            // required
	Logger   *slog.Logger   // defaults to one that discards
}

// NewGate returns a gate.
func NewGate(cfg GateConfig) (*Gate, error) {
	if cfg.Decider == nil || cfg.Recorder == nil || cfg.IDs == nil {
		return nil, errors.New("gate: Decider, Recorder and IDs are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Gate{cfg: cfg}, nil
}

// Decide decides one input and records the decision. An error is always a
// denial, and so is a decision that cannot be recorded as it must be.
func (g *Gate) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	start := time.Now()
	d, err := g.cfg.Decider.Decide(ctx, in)
	if err != nil {
		d.Effect = policy.Deny
	}
	r := store.DecisionRecord{
		ID: g.cfg.IDs.New("dec"), Time: start, Kind: string(in.Kind), PrincipalID: in.Principal.ID,
		Subject: subject(in), Effect: d.Effect.String(), Snapshot: d.Snapshot, Duration: time.Since(start),
	}
	if in.Session != nil {
		r.SessionID = in.Session.ID
	}
	for _, rule := range d.Rules {
		r.Rules = append(r.Rules, rule.ID)
	}
	if err != nil {
		r.Error = err.Error()
	}
	g.log(ctx, r)
	if in.Kind == policy.KindPrompt || d.Obligations.Audit == "full" {
		if recordErr := g.cfg.Recorder.PutNow(ctx, r); recordErr != nil {
			return policy.Decision{Snapshot: d.Snapshot}, fmt.Errorf("the decision cannot be recorded: %w", recordErr)
		}
	} else {
		g.cfg.Recorder.Put(r)
	}
	if err != nil {
		return policy.Decision{Snapshot: d.Snapshot}, fmt.Errorf("decision: %w", err)
	}
	return d, nil
}

func (g *Gate) log(ctx context.Context, r store.DecisionRecord) {
	level := slog.LevelDebug
	switch {
	case r.Error != "":
		level = slog.LevelError
	case r.Effect != "allow":
		level = slog.LevelInfo
	}
	g.cfg.Logger.LogAttrs(ctx, level, "decision",
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
