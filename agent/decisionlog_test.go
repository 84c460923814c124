package agent_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// shipped notes the decisions that are shipped.
type shipped struct {
	mu   sync.Mutex
	list []store.DecisionRecord
	in   []*policy.Input
	d    []policy.Decision
}

func (s *shipped) Log(in *policy.Input, d policy.Decision, r store.DecisionRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.in, s.d = append(s.list, r), append(s.in, in), append(s.d, d)
}

// TestDecisionsAreShipped tells the log each decision that is recorded, with
// what was decided on, and none that is not.
func TestDecisionsAreShipped(t *testing.T) {
	t.Parallel()
	var log shipped
	var recordErr, decideErr error
	rec := agent.NewRecorder(&decisionsFake{put: func(context.Context) error { return recordErr }}, nil)
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	gate := must(agent.NewGate(agent.GateConfig{
		Decider: deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
			d := policy.Decision{Effect: policy.Allow, Snapshot: "feed", Rules: []policy.Rule{{ID: "a.b", Effect: policy.Allow, Message: "m"}}}
			return d, decideErr
		}),
		Recorder: rec, IDs: store.NewIDs(nil, nil), Log: &log,
	}))(t)
	request := policy.FromRequest(time.Now(), person(), policy.HTTP{Method: "GET", Path: "/session"})
	for _, in := range []*policy.Input{request, promptInput()} {
		if _, err := gate.Decide(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	decideErr = errors.New("took too long")
	if _, err := gate.Decide(t.Context(), promptInput()); err == nil {
		t.Error("no error")
	}
	if err := rec.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	recordErr = errors.New("the disk is full")
	if _, err := gate.Decide(t.Context(), promptInput()); !errors.Is(err, recordErr) {
		t.Errorf("error %v, want that it cannot be recorded", err)
	}
	if len(log.list) != 3 || log.in[0] != request || log.d[1].Effect != policy.Allow || log.list[1].Kind != "prompt" || log.list[1].Snapshot != "feed" {
		t.Fatalf("shipped %+v", log.list)
	}
	if got := log.list[2]; got.Error == "" || got.Effect != "deny" || log.d[2].Effect != policy.Deny {
		t.Errorf("shipped %+v, %+v, want a denial with an error", got, log.d[2])
	}
}
