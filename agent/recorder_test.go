package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// decisionsFake notes the batches that are put.
type decisionsFake struct {
	mu      sync.Mutex
	batches [][]string
	put     func(ctx context.Context) error
}

func (d *decisionsFake) PutDecisions(ctx context.Context, r []store.DecisionRecord) error {
	if d.put != nil {
		if err := d.put(ctx); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, one := range r {
		ids = append(ids, one.ID)
	}
	d.batches = append(d.batches, ids)
	return nil
}

func (*decisionsFake) HoldDecision(context.Context, string, store.Sandbox) error {
	return errors.New("not kept")
}

func (*decisionsFake) Decisions(context.Context, store.DecisionFilter) ([]store.DecisionRecord, error) {
	return nil, errors.New("not kept")
}

func (d *decisionsFake) sizes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sizes []int
	for _, b := range d.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

func record(i int) store.DecisionRecord { return store.DecisionRecord{ID: strconv.Itoa(i)} }

// TestRecorderWritesInBatches checks that records are written soon, many at a
// time, all and in order.
func TestRecorderWritesInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &decisionsFake{}
		r := agent.NewRecorder(d, nil)
		for i := range 300 {
			r.Put(record(i))
		}
		synctest.Wait()
		if got := len(slices.Concat(d.batches...)); got < 256 {
			t.Errorf("%d records at once, want a full batch", got)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if got := d.sizes(); len(slices.Concat(d.batches...)) != 300 || len(got) > 2 {
			t.Errorf("batches after a moment: %v, want all", got)
		}
		for i := range 10 {
			r.Put(record(300 + i))
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
		next := 0
		for _, id := range slices.Concat(d.batches...) {
			if id != strconv.Itoa(next) {
				t.Fatalf("record %s, want %d", id, next)
			}
			next++
		}
		if next != 310 {
			t.Errorf("%d records, want 310", next)
		}
	})
}

// TestRecorderCountsEqualDecisions checks that equal decisions which let a
// request pass are one record in a batch, and no others.
func TestRecorderCountsEqualDecisions(t *testing.T) {
	t.Parallel()
	db := openDB(t, t.TempDir())
	r := agent.NewRecorder(db, nil)
	same := store.DecisionRecord{Kind: "request", Effect: "allow", PrincipalID: "tok_1", Subject: "GET /path", Rules: []string{"a", "b"}, Snapshot: "s"}
	put := func(id string, change func(*store.DecisionRecord)) {
		d := same
		d.ID = id
		change(&d)
		r.Put(d)
	}
	differ := map[string]func(*store.DecisionRecord){
		"principal": func(d *store.DecisionRecord) { d.PrincipalID = "tok_2" },
		"subject":   func(d *store.DecisionRecord) { d.Subject = "GET /vcs" },
		"rules":     func(d *store.DecisionRecord) { d.Rules = []string{"a"} },
		"snapshot":  func(d *store.DecisionRecord) { d.Snapshot = "t" },
		"session":   func(d *store.DecisionRecord) { d.SessionID = "ses_1" },
		"kind":      func(d *store.DecisionRecord) { d.Kind = "prompt" },
		"effect":    func(d *store.DecisionRecord) { d.Effect = "deny" },
		"error":     func(d *store.DecisionRecord) { d.Error = "x" },
	}
	for i := range 100 {
		put("first_"+strconv.Itoa(i), func(*store.DecisionRecord) {})
	}
	for name, change := range differ {
		put(name, change)
	}
	put("again", differ["effect"])
	for i := range 50 {
		put("nobody_"+strconv.Itoa(i), func(d *store.DecisionRecord) { d.Effect, d.PrincipalID = "deny", "" })
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	put("next", func(*store.DecisionRecord) {})
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := 0
	seen := map[string]int{}
	for _, d := range must(db.Decisions(t.Context(), store.DecisionFilter{}))(t) {
		total += d.Count
		seen[d.ID] = d.Count
	}
	// A batch may have been written in between.
	if total != 160 || len(seen) > 15 || seen["first_99"] == 0 || seen["effect"] != 1 || seen["again"] != 1 || seen["next"] != 1 || seen["nobody_49"] == 0 {
		t.Errorf("recorded %v, %d in all, want 160", seen, total)
	}
}

// TestRecorderLosesNothing has many put while it closes: each record is written
// or said to be lost.
func TestRecorderLosesNothing(t *testing.T) {
	t.Parallel()
	for range 20 {
		d, log := &decisionsFake{}, &logBuffer{}
		r := agent.NewRecorder(d, slog.New(slog.NewTextHandler(log, nil)))
		var group sync.WaitGroup
		const putters, each = 8, 50
		started := make(chan struct{}, putters)
		for i := range putters {
			group.Go(func() {
				for k := range each {
					r.Put(record(i*each + k))
					if k == 0 {
						started <- struct{}{}
					}
				}
			})
		}
		<-started
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		written := len(slices.Concat(d.batches...))
		lost := strings.Count(log.String(), "decision not recorded: the recorder is closed")
		if written+lost != putters*each || written == 0 {
			t.Fatalf("%d written, %d said to be lost, want %d together", written, lost, putters*each)
		}
	}
}

// TestRecorderWaitsForASlowStore checks that a full queue slows down, and loses
// nothing.
func TestRecorderWaitsForASlowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		d := &decisionsFake{put: func(context.Context) error { <-gate; return nil }}
		r := agent.NewRecorder(d, nil)
		const count = 2*4096 + 100
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range count {
				r.Put(record(i))
			}
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("more was taken than can wait")
		default:
		}
		close(gate)
		<-done
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if written := len(slices.Concat(d.batches...)); written != count {
			t.Errorf("%d written, want %d", written, count)
		}
	})
}

// TestRecorderCloseIsBounded checks that a store which hangs holds nobody up for
// ever.
func TestRecorderCloseIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		d := &decisionsFake{put: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		r := agent.NewRecorder(d, slog.New(slog.NewTextHandler(log, nil)))
		r.Put(record(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v, want that its time is over", err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v, want that it ends", err)
		}
		if !strings.Contains(log.String(), "1 decisions are not recorded") {
			t.Errorf("log %s, want what is lost", log)
		}
	})
}

// gate returns a gate on a decider and a store of decisions.
func gate(t *testing.T, d policy.Decider, s store.Decisions, log *logBuffer) (*agent.Gate, *agent.Recorder) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	rec := agent.NewRecorder(s, logger)
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	return must(agent.NewGate(agent.GateConfig{Decider: d, Recorder: rec, IDs: store.NewIDs(nil, nil), Logger: logger}))(t), rec
}

func promptInput() *policy.Input {
	return policy.FromCall(time.Now(), person(), policy.Call{
		Tool: "bash", Args: map[string]any{"command": "echo very-private"}, Root: "/", Directory: "/", Session: &policy.Session{ID: "ses_1"},
	})
}

// allowing is a decider that allows everything.
func allowing(audit string) policy.Decider {
	return deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{
			Effect: policy.Allow, Rules: []policy.Rule{{ID: "a.yes", Effect: policy.Allow, Message: "m"}}, Snapshot: "snap",
			Obligations: policy.Obligations{TimeoutSeconds: 1, MaxOutputBytes: 1, Audit: audit},
		}, nil
	})
}

// countedIDs counts the identifiers that are made.
type countedIDs struct {
	*store.IDs
	made atomic.Int64
}

func (c *countedIDs) New(prefix string) string {
	c.made.Add(1)
	return c.IDs.New(prefix)
}

// TestGateCountsEqualRequests checks that equal requests are one record with the
// time of the last, and that a prompt, a denial and whatever is logged or shipped
// has its own.
func TestGateCountsEqualRequests(t *testing.T) {
	t.Parallel()
	request := policy.FromRequest(time.Now(), person(), policy.HTTP{Method: "GET", Path: "/x"})
	denying := deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{Effect: policy.Deny}, nil
	})
	for name, c := range map[string]struct {
		decider policy.Decider
		in      *policy.Input
		change  func(*agent.GateConfig)
		equal   bool
	}{
		"requests": {allowing(""), request, func(*agent.GateConfig) {}, true},
		"prompts":  {allowing(""), promptInput(), func(*agent.GateConfig) {}, false},
		"denials":  {denying, request, func(*agent.GateConfig) {}, false},
		"logged": {allowing(""), request, func(c *agent.GateConfig) {
			c.Logger = slog.New(slog.NewTextHandler(&logBuffer{}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}, false},
		"shipped": {allowing(""), request, func(c *agent.GateConfig) { c.Log = &shipped{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, made := openDB(t, t.TempDir()), &countedIDs{IDs: store.NewIDs(nil, nil)}
			rec := agent.NewRecorder(db, nil)
			cfg := agent.GateConfig{Decider: c.decider, Recorder: rec, IDs: made}
			c.change(&cfg)
			g := must(agent.NewGate(cfg))(t)
			const times = 50
			var last time.Time
			for range times {
				last = time.Now()
				_ = must(g.Decide(t.Context(), c.in))(t)
			}
			if err := rec.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			total := 0
			list := must(db.Decisions(t.Context(), store.DecisionFilter{}))(t)
			for _, d := range list {
				total += d.Count
			}
			// A batch may have been written in between.
			if total != times || c.equal != (made.made.Load() < times/2) || c.equal && int(made.made.Load()) != len(list) {
				t.Errorf("%d decisions in %d records, %d identifiers", total, len(list), made.made.Load())
			}
			if got := list[0].Time; got.Before(last.Truncate(time.Millisecond)) {
				t.Errorf("the newest record is of %v, want %v at least", got, last)
			}
		})
	}
}

// TestGateDeniesOnError checks that an error is a denial whatever the decision
// says beside it, and that it is recorded.
func TestGateDeniesOnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the engine is broken")
	d := deciderFunc(func(ctx context.Context, in *policy.Input) (policy.Decision, error) {
		got, _ := allowing("").Decide(ctx, in)
		return got, broken
	})
	db, log := openDB(t, t.TempDir()), &logBuffer{}
	g, rec := gate(t, d, db, log)
	for _, in := range []*policy.Input{promptInput(), policy.FromRequest(time.Now(), person(), policy.HTTP{Method: "GET", Path: "/x"})} {
		got, err := g.Decide(t.Context(), in)
		if !errors.Is(err, broken) || got.Effect != policy.Deny || got.Rules != nil || got.Obligations != (policy.Obligations{}) {
			t.Errorf("Decide = %+v, %v, want a denial and the error", got, err)
		}
	}
	if err := rec.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := must(db.Decisions(t.Context(), store.DecisionFilter{}))(t)
	if len(list) != 2 || list[0].Effect != "deny" || list[1].Effect != "deny" || list[1].Error != broken.Error() || list[0].Subject != "GET (unknown route)" || list[1].Subject != "bash" {
		t.Errorf("recorded %+v", list)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log %s", log)
	}
}

// TestGateReturnsAnErrorWithoutText checks that an error which says nothing is an
// error each time, also of somebody who is not known, whose denials are counted.
func TestGateReturnsAnErrorWithoutText(t *testing.T) {
	t.Parallel()
	d := deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{Effect: policy.Allow}, errors.New("")
	})
	rec := agent.NewRecorder(&decisionsFake{}, nil)
	t.Cleanup(func() { _ = rec.Close(context.Background()) })
	g := must(agent.NewGate(agent.GateConfig{Decider: d, Recorder: rec, IDs: store.NewIDs(nil, nil)}))(t)
	for range 20 {
		got, err := g.Decide(t.Context(), policy.FromRequest(time.Now(), policy.Anonymous(), policy.HTTP{Method: "GET", Path: "/x"}))
		if err == nil || got.Effect != policy.Deny {
			t.Fatalf("Decide = %+v, %v, want a denial and an error", got, err)
		}
	}
}

// TestGateDeniesWithoutARecord checks that what must be recorded and cannot be
// is denied: each prompt, and a request that the policy wants in full.
func TestGateDeniesWithoutARecord(t *testing.T) {
	t.Parallel()
	request := policy.FromRequest(time.Now(), person(), policy.HTTP{Method: "GET", Path: "/x"})
	for name, c := range map[string]struct {
		in     *policy.Input
		audit  string
		denied bool
	}{
		"prompt":            {promptInput(), "full", true},
		"prompt, brief":     {promptInput(), "brief", true},
		"prompt, not said":  {promptInput(), "", true},
		"request, full":     {request, "full", true},
		"request, brief":    {request, "brief", false},
		"request, not said": {request, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &decisionsFake{put: func(context.Context) error { return errDisk }}
			g, _ := gate(t, allowing(c.audit), d, &logBuffer{})
			got, err := g.Decide(t.Context(), c.in)
			if c.denied && (!errors.Is(err, errDisk) || got.Effect != policy.Deny || got.Obligations != (policy.Obligations{})) {
				t.Errorf("Decide = %+v, %v, want a denial", got, err)
			}
			if !c.denied && (err != nil || got.Effect != policy.Allow) {
				t.Errorf("Decide = %+v, %v, want it to be allowed", got, err)
			}
		})
	}
}

// TestGateRecordsForOneWhoIsGone checks that a decision is recorded also if
// nobody waits for it any more.
func TestGateRecordsForOneWhoIsGone(t *testing.T) {
	t.Parallel()
	db, log := openDB(t, t.TempDir()), &logBuffer{}
	g, _ := gate(t, allowing("full"), db, log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Decide(ctx, promptInput()); err != nil {
		t.Fatal(err)
	}
	list := must(db.Decisions(t.Context(), store.DecisionFilter{}))(t)
	if len(list) != 1 || list[0].SessionID != "ses_1" || list[0].PrincipalID != "tok_person" || list[0].Snapshot != "snap" || !slices.Equal(list[0].Rules, []string{"a.yes"}) {
		t.Errorf("recorded %+v", list)
	}
	if strings.Contains(log.String(), "very-private") || !strings.Contains(log.String(), "a.yes") {
		t.Errorf("log %s, want the rule and no argument", log)
	}
}

func TestNewGateWantsAll(t *testing.T) {
	t.Parallel()
	good := agent.GateConfig{Decider: allowing(""), Recorder: agent.NewRecorder(&decisionsFake{}, nil), IDs: store.NewIDs(nil, nil)}
	t.Cleanup(func() { _ = good.Recorder.Close(context.Background()) })
	if _, err := agent.NewGate(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*agent.GateConfig){
		"Decider":  func(c *agent.GateConfig) { c.Decider = nil },
		"Recorder": func(c *agent.GateConfig) { c.Recorder = nil },
		"IDs":      func(c *agent.GateConfig) { c.IDs = nil },
	} {
		c := good
		change(&c)
		if _, err := agent.NewGate(c); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}
