package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"opencode/store"
)

func sharedTests() map[string]func(t *testing.T, open func() store.Store) {
	return map[string]func(t *testing.T, open func() store.Store){
		"handles share":          testHandlesShare,
		"parallel opens":         testParallelOpens,
		"parallel updates":       testParallelUpdates,
		"parallel session ids":   testParallelSessionIDs,
		"parallel answers":       testParallelAnswers,
		"parallel puts":          testParallelPuts,
		"parallel whole reads":   testParallelWholeReads,
		"parallel delete, put":   testParallelDeletePut,
		"cancelled":              testCancelled,
		"cancelled while queued": testCancelledWhileQueued,
		"close":                  testClose,
	}
}

func testHandlesShare(t *testing.T, open func() store.Store) {
	a, b := open(), open()
	mustSession(t, a, session("ses_1"))
	wantSession(t, b, session("ses_1"))
	mustPut(t, b, []store.Message{message("ses_1", "msg_1")}, []store.Part{toolPart("ses_1", "msg_1", "prt_1", "running")})
	got, err := a.Message(t.Context(), "ses_1", "msg_1")
	wantSame(t, "Message by the other handle", store.MessageParts{
		Message: message("ses_1", "msg_1"), Parts: []store.Part{toolPart("ses_1", "msg_1", "prt_1", "running")},
	}, got, err)
	mustAnswer(t, a, answer("ses_1", "per_1"), lease("ses_1", "lea_1"))
	wantLeases(t, b, "ses_1", at(5), lease("ses_1", "lea_1"))
	// A revocation counts everywhere at once.
	if err := b.DeleteLease(t.Context(), "lea_1"); err != nil {
		t.Fatalf("DeleteLease: %v", err)
	}
	wantLeases(t, a, "ses_1", at(5))
	if _, err := a.DeleteSession(t.Context(), "ses_1"); err != nil {
		t.Fatalf("DeleteSession: %v", err)
	}
	_, err = b.Session(t.Context(), "ses_1")
	wantErr(t, "Session by the other handle", err, store.ErrNotExist)
}

func testParallelOpens(t *testing.T, open func() store.Store) {
	const n = 6
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s := open()
			if err := s.CreateSession(t.Context(), session(fmt.Sprintf("ses_%d", i))); err != nil {
				t.Errorf("CreateSession: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := open().Sessions(t.Context(), store.SessionFilter{})
	if err != nil || len(got) != n {
		t.Errorf("Sessions = %v, %v, want %d", ids(got), err, n)
	}
}

func testParallelUpdates(t *testing.T, open func() store.Store) {
	const each = 15
	handles := []store.Store{open(), open()}
	first := session("ses_1")
	first.Title = "0"
	mustSession(t, handles[0], first)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range each {
				_, err := handles[i%2].UpdateSession(t.Context(), "ses_1", func(s *store.Session) error {
					n, err := strconv.Atoi(s.Title)
					s.Title = strconv.Itoa(n + 1)
					return err
				})
				if err != nil {
					t.Errorf("UpdateSession: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	first.Title = strconv.Itoa(4 * each)
	wantSession(t, handles[0], first)
	wantSession(t, handles[1], first)
}

// winners runs a function in parallel on two handles and returns how many runs
// succeeded. The others must fail with the sentinel.
func winners(t *testing.T, open func() store.Store, want error, do func(s store.Store, i int) error) int {
	t.Helper()
	handles := []store.Store{open(), open()}
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			err := do(handles[i%2], i)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, want) {
				t.Errorf("the loser got %v, want %v", err, want)
			}
		})
	}
	wg.Wait()
	return int(won.Load())
}

func testParallelSessionIDs(t *testing.T, open func() store.Store) {
	n := winners(t, open, store.ErrExist, func(s store.Store, _ int) error { return s.CreateSession(t.Context(), session("ses_1")) })
	if n != 1 {
		t.Errorf("%d calls created one session", n)
	}
}

func testParallelAnswers(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	n := winners(t, open, store.ErrExist, func(s store.Store, i int) error {
		return s.PutAnswer(t.Context(), answer("ses_1", "per_1"), []store.Approval{lease("ses_1", fmt.Sprintf("lea_%d", i))})
	})
	leases, err := s.Leases(t.Context(), "ses_1", at(5))
	if n != 1 || err != nil || len(leases) != 1 {
		t.Errorf("%d calls answered one question, with leases %v, %v", n, ids(leases), err)
	}
	n = winners(t, open, store.ErrNotExist, func(s store.Store, _ int) error { return s.DeleteLease(t.Context(), leases[0].ID) })
	if n != 1 {
		t.Errorf("%d calls revoked one lease", n)
	}
}

func testParallelPuts(t *testing.T, open func() store.Store) {
	const each = 10
	handles := []store.Store{open(), open()}
	mustSession(t, handles[0], session("ses_1"))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range each {
				id := fmt.Sprintf("%d_%d", i, j)
				m, p := message("ses_1", "msg_"+id), part("ses_1", "msg_"+id, "prt_"+id)
				if err := handles[i%2].PutMessage(t.Context(), []store.Message{m}, []store.Part{p}); err != nil {
					t.Errorf("PutMessage(%s): %v", m.ID, err)
				}
				// The writer sees its own write.
				if got, err := handles[i%2].Message(t.Context(), "ses_1", m.ID); err != nil || len(got.Parts) != 1 {
					t.Errorf("Message(%s) = %v, %v after it was put", m.ID, got, err)
				}
				if err := handles[i%2].PutDecisions(t.Context(), []store.DecisionRecord{decision(i*each + j)}); err != nil {
					t.Errorf("PutDecisions: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got, err := handles[0].Messages(t.Context(), "ses_1", 0, "")
	if err != nil || len(got) != 4*each {
		t.Errorf("Messages = %d, %v, want %d", len(got), err, 4*each)
	}
	decisions, err := handles[1].Decisions(t.Context(), store.DecisionFilter{})
	if err != nil || len(decisions) != 4*each {
		t.Errorf("Decisions = %d, %v, want %d", len(decisions), err, 4*each)
	}
}

// testParallelWholeReads replaces a message and its part together, and reads
// them meanwhile: they must be of one time.
func testParallelWholeReads(t *testing.T, open func() store.Store) {
	writer, reader := open(), open()
	mustSession(t, writer, session("ses_1"))
	put := func(n int) error {
		m, p := message("ses_1", "msg_1"), part("ses_1", "msg_1", "prt_1")
		m.Body, p.Body = object("n", strconv.Itoa(n)), object("n", strconv.Itoa(n))
		return writer.PutMessage(t.Context(), []store.Message{m}, []store.Part{p})
	}
	if err := put(0); err != nil {
		t.Fatalf("PutMessage: %v", err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for n := range 50 {
			if err := put(n); err != nil {
				t.Errorf("PutMessage: %v", err)
			}
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		got, err := reader.Messages(t.Context(), "ses_1", 0, "")
		if err != nil || len(got) != 1 || len(got[0].Parts) != 1 || string(got[0].Message.Body) != string(got[0].Parts[0].Body) {
			t.Fatalf("Messages = %v, %v, want a message and its part of one time", got, err)
		}
	}
	wg.Wait()
}

// testParallelDeletePut deletes a session while messages and sub-sessions are
// put into it. Nothing may be left of either.
func testParallelDeletePut(t *testing.T, open func() store.Store) {
	a, b := open(), open()
	for round := range 10 {
		id := fmt.Sprintf("ses_%d", round)
		mustSession(t, a, session(id))
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 5 {
				key := fmt.Sprintf("%d_%d", round, i)
				err := b.PutMessage(t.Context(), []store.Message{message(id, "msg_"+key)}, []store.Part{toolPart(id, "msg_"+key, "prt_"+key, "running")})
				if err != nil && !errors.Is(err, store.ErrNotExist) {
					t.Errorf("PutMessage: %v", err)
				}
				child := session("ses_child" + key)
				child.ParentID = id
				if err := b.CreateSession(t.Context(), child); err != nil && !errors.Is(err, store.ErrNotExist) {
					t.Errorf("CreateSession: %v", err)
				}
			}
		})
		if _, err := a.DeleteSession(t.Context(), id); err != nil {
			t.Errorf("DeleteSession: %v", err)
		}
		wg.Wait()
	}
	sessions, err := a.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", []string(nil), ids(sessions), err)
	parts, err := a.PartsByStatus(t.Context(), "running")
	wantSame(t, "PartsByStatus", []string(nil), ids(parts), err)
}

// calls returns one call of each method.
func calls(s store.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"CreateSession": func(ctx context.Context) error { return s.CreateSession(ctx, session("ses_new")) },
		"Session":       func(ctx context.Context) error { _, err := s.Session(ctx, "ses_1"); return err },
		"Sessions":      func(ctx context.Context) error { _, err := s.Sessions(ctx, store.SessionFilter{}); return err },
		"UpdateSession": func(ctx context.Context) error {
			_, err := s.UpdateSession(ctx, "ses_1", func(s *store.Session) error { s.Title = "new"; return nil })
			return err
		},
		"DeleteSession": func(ctx context.Context) error { _, err := s.DeleteSession(ctx, "ses_1"); return err },
		"PutMessage": func(ctx context.Context) error {
			return s.PutMessage(ctx, []store.Message{message("ses_1", "msg_new")}, nil)
		},
		"PutMessage of nothing":   func(ctx context.Context) error { return s.PutMessage(ctx, nil, nil) },
		"Messages":                func(ctx context.Context) error { _, err := s.Messages(ctx, "ses_1", 0, ""); return err },
		"Message":                 func(ctx context.Context) error { _, err := s.Message(ctx, "ses_1", "msg_1"); return err },
		"PartsByStatus":           func(ctx context.Context) error { _, err := s.PartsByStatus(ctx, "running"); return err },
		"PutAnswer":               func(ctx context.Context) error { return s.PutAnswer(ctx, answer("ses_1", "per_new"), nil) },
		"Answers":                 func(ctx context.Context) error { _, err := s.Answers(ctx, "ses_1"); return err },
		"Leases":                  func(ctx context.Context) error { _, err := s.Leases(ctx, "ses_1", at(5)); return err },
		"DeleteLease":             func(ctx context.Context) error { return s.DeleteLease(ctx, "lea_1") },
		"PutDecisions":            func(ctx context.Context) error { return s.PutDecisions(ctx, []store.DecisionRecord{decision(1)}) },
		"HoldDecision":            func(ctx context.Context) error { return s.HoldDecision(ctx, "dec_0001", store.Sandbox{}) },
		"PutDecisions of nothing": func(ctx context.Context) error { return s.PutDecisions(ctx, nil) },
		"Decisions": func(ctx context.Context) error {
			_, err := s.Decisions(ctx, store.DecisionFilter{Limit: 1})
			return err
		},
	}
}

func fill(t *testing.T, s store.Store) {
	t.Helper()
	mustSession(t, s, session("ses_1"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1")}, nil)
	mustAnswer(t, s, answer("ses_1", "per_1"), lease("ses_1", "lea_1"))
}

func wantFilled(t *testing.T, s store.Store) {
	t.Helper()
	sessions, err := s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", []store.Session{session("ses_1")}, sessions, err)
	wantMessages(t, s, "ses_1", store.MessageParts{Message: message("ses_1", "msg_1")})
	wantAnswers(t, s, "ses_1", answer("ses_1", "per_1"))
	wantLeases(t, s, "ses_1", at(5), lease("ses_1", "lea_1"))
	decisions, err := s.Decisions(t.Context(), store.DecisionFilter{})
	wantSame(t, "Decisions", []store.DecisionRecord{}, decisions, err)
}

func testCancelled(t *testing.T, open func() store.Store) {
	s := open()
	fill(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(s) {
		wantErr(t, name+" when cancelled", call(ctx), context.Canceled)
	}
	wantFilled(t, s)
}

// testCancelledWhileQueued lets a write wait behind one that does not end, of
// the same handle and of another, until its context does.
func testCancelledWhileQueued(t *testing.T, open func() store.Store) {
	s, other := open(), open()
	fill(t, s)
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.UpdateSession(t.Context(), "ses_1", func(*store.Session) error {
			close(inside)
			<-release
			return errStop
		})
		wantErr(t, "the write in front", err, errStop)
	})
	<-inside
	for _, h := range []store.Store{s, other} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := h.CreateSession(ctx, session("ses_queued"))
		wantErr(t, "CreateSession in the queue", err, context.DeadlineExceeded)
		cancel()
		// Who only reads need not wait.
		wantFilled(t, h)
	}
	close(release)
	wg.Wait()
	wantFilled(t, s)
	wantFilled(t, other)
}

func testClose(t *testing.T, open func() store.Store) {
	s, other := open(), open()
	fill(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for name, call := range calls(s) {
		if name == "PutMessage of nothing" || name == "PutDecisions of nothing" {
			continue
		}
		if err := call(t.Context()); err == nil {
			t.Errorf("%s succeeds on a closed store", name)
		}
	}
	wantFilled(t, other)
	if err := other.Close(); err != nil {
		t.Errorf("Close of the last handle: %v", err)
	}
	wantFilled(t, open())
}
