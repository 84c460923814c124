package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"opencode/store"
)

// Recorder writes decisions to the store, in batches where they need not be
// written at once. Of decisions that are equal but for their time, and that let
// a request pass or refused one of somebody who is not known, a batch holds one
// record that says how many they are: whoever asks the same all day must not
// push everything else out of the record.
type Recorder struct {
	store  store.Decisions
	logger *slog.Logger
	wake   chan struct{} // asks for a batch to be written
	stop   chan struct{}
	done   chan struct{}

	writing sync.Mutex // held while a batch is written, so that they stay in order

	mu      sync.Mutex
	room    *sync.Cond // told when the batch was taken
	pending []store.DecisionRecord
	equal   map[recordKey]int // where in pending
	closed  bool
}

// recordKey is what equal decisions have in common.
type recordKey struct{ kind, effect, principal, session, subject, rules, snapshot string }

const (
	recordQueue = 4096
	recordBatch = 256
	recordEvery = 200 * time.Millisecond
	recordLimit = 10 * time.Second
)

// NewRecorder returns a recorder that runs until it is closed.
func NewRecorder(s store.Decisions, logger *slog.Logger) *Recorder {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{
		store: s, logger: logger, equal: map[recordKey]int{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.room = sync.NewCond(&r.mu)
	go r.run()
	return r
}

// Put records a decision soon. When many wait it waits itself: slowing down is
// better than losing a record.
func (r *Recorder) Put(d store.DecisionRecord) {
	key, isRequest := keyOf(&d)
	r.mu.Lock()
	defer r.mu.Unlock()
	d.Count = max(d.Count, 1)
	for {
		if r.closed {
			r.logger.Error("decision not recorded: the recorder is closed", slog.String("id", d.ID))
			return
		}
		if i, ok := r.equal[key]; ok && isRequest {
			d.Count += r.pending[i].Count
			r.pending[i] = d
			return
		}
		if len(r.pending) < recordQueue {
			break
		}
		r.room.Wait()
	}
	if isRequest {
		r.equal[key] = len(r.pending)
	}
	r.pending = append(r.pending, d)
	if len(r.pending) >= recordBatch {
		select {
		case r.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// again counts a decision with an equal one that waits to be written, and reports
// whether there was one.
func (r *Recorder) again(d *store.DecisionRecord) bool {
	key, isRequest := keyOf(d)
	if !isRequest {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := r.equal[key]
	if !ok || r.closed {
		return false
	}
	waiting := &r.pending[i]
	waiting.Count++
	waiting.Time, waiting.Duration = d.Time, d.Duration
	return true
}

// keyOf returns what a decision has in common with equal ones, and whether it
// may be counted with them: what let a request pass, and what refused one of
// somebody who is not known.
func keyOf(d *store.DecisionRecord) (recordKey, bool) {
	if d.Kind != "request" || d.Effect != "allow" && d.PrincipalID != "" || d.Error != "" {
		return recordKey{}, false
	}
	return recordKey{d.Kind, d.Effect, d.PrincipalID, d.SessionID, d.Subject, strings.Join(d.Rules, " "), d.Snapshot}, true
}

// PutNow records a decision before it returns.
func (r *Recorder) PutNow(ctx context.Context, d store.DecisionRecord) error {
	// Whoever is refused may be gone already; the record is made all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	d.Count = max(d.Count, 1)
	return r.store.PutDecisions(ctx, []store.DecisionRecord{d})
}

// HoldNow adds to a record, before it returns, what a command is held to.
func (r *Recorder) HoldNow(ctx context.Context, id string, held store.Sandbox) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	return r.store.HoldDecision(ctx, id, held)
}

// Flush writes what waits before it returns.
func (r *Recorder) Flush(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	batch := r.pending
	r.pending = nil
	clear(r.equal)
	r.room.Broadcast()
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	if err := r.store.PutDecisions(ctx, batch); err != nil {
		return fmt.Errorf("%d decisions are not recorded: %w", len(batch), err)
	}
	return nil
}

// Close writes what waits and stops the recorder.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		// Nothing is added from here on, so that what waits is all.
		r.closed = true
		r.room.Broadcast()
		close(r.stop)
	}
	r.mu.Unlock()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("recorder: records are still being written"), ctx.Err())
	}
}

func (r *Recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for stopped := false; !stopped; {
		select {
		case <-r.wake:
		case <-tick.C:
		case <-r.stop:
			stopped = true
		}
		if err := r.Flush(context.Background()); err != nil {
			r.logger.Error("decisions", slog.Any("error", err))
		}
	}
}
