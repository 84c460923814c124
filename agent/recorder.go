package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"opencode/store"
)

// Recorder writes decisions to the store, in batches where they need not be
// written at once.
type Recorder struct {
	store  store.Decisions
	logger *slog.Logger
	queue  chan store.DecisionRecord
	stop   chan struct{}
	done   chan struct{}

	mu     sync.RWMutex // held for reading while a record enters the queue
	closed bool
}

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
		store: s, logger: logger,
		queue: make(chan store.DecisionRecord, recordQueue), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go r.run()
	return r
}

// Put records a decision soon. When many wait it waits itself: slowing down is
// better than losing a record.
func (r *Recorder) Put(d store.DecisionRecord) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		r.logger.Error("decision not recorded: the recorder is closed", slog.String("id", d.ID))
		return
	}
	r.queue <- d
}

// PutNow records a decision before it returns.
func (r *Recorder) PutNow(ctx context.Context, d store.DecisionRecord) error {
	// Whoever is refused may be gone already; the record is made all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	return r.store.PutDecisions(ctx, []store.DecisionRecord{d})
}

// Close writes what waits and stops the recorder.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closed {
		// Nothing enters the queue from here on, so that what is in it is all.
		r.closed = true
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
	batch := make([]store.DecisionRecord, 0, recordBatch)
	flush := func() {
		if len(batch) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), recordLimit)
		defer cancel()
		if err := r.store.PutDecisions(ctx, batch); err != nil {
			r.logger.Error("decisions not recorded", slog.Int("count", len(batch)), slog.Any("error", err))
		}
		batch = batch[:0]
	}
	for {
		select {
		case d := <-r.queue:
			if batch = append(batch, d); len(batch) == recordBatch {
				flush()
			}
		case <-tick.C:
			flush()
		case <-r.stop:
			for {
				select {
				case d := <-r.queue:
					if batch = append(batch, d); len(batch) == recordBatch {
						flush()
					}
				default:
					flush()
					return
				}
			}
		}
	}
}
