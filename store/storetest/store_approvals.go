package storetest

import (
	"fmt"
	"testing"
	"time"

	"opencode/store"
)

func approvalTests() map[string]func(t *testing.T, open func() store.Store) {
	return map[string]func(t *testing.T, open func() store.Store){
		"answer round trip":     testAnswerRoundTrip,
		"answer order":          testAnswerOrder,
		"answer twice":          testAnswerTwice,
		"answer without":        testAnswerWithout,
		"answer all or nothing": testAnswerAtomic,
		"lease expiry":          testLeaseExpiry,
		"lease order":           testLeaseOrder,
		"lease delete":          testLeaseDelete,
	}
}

func decisionTests() map[string]func(t *testing.T, open func() store.Store) {
	return map[string]func(t *testing.T, open func() store.Store){
		"decision round trip": testDecisionRoundTrip,
		"decision order":      testDecisionOrder,
		"decision filter":     testDecisionFilter,
	}
}

func testAnswerRoundTrip(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	full := answer("ses_1", "per_1")
	full.Message = "no, 'because'\n\x00 \"é\""
	full.Rules = []string{"", `"`, "a,b", "é"}
	full.Answered = full.Answered.Add(time.Millisecond)
	bare := store.Answer{ID: "per_2", SessionID: "ses_1", Reply: "timeout", Asked: at(5), Answered: at(6)}
	l := lease("ses_1", "lea_1")
	l.Pattern = "git * 'x' % _ \\ \""
	mustAnswer(t, s, full, l)
	mustAnswer(t, s, bare)
	for _, h := range []store.Store{s, open()} {
		wantAnswers(t, h, "ses_1", full, bare)
		wantLeases(t, h, "ses_1", at(5), l)
		wantAnswers(t, h, "ses_2")
		wantLeases(t, h, "ses_2", at(5))
	}
}

func testAnswerOrder(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	var want []store.Answer
	for i, id := range []string{"per_c", "per_a", "per_b"} {
		a := answer("ses_1", id)
		a.Asked, a.Answered = at(10*i), at(10*i+1)
		mustAnswer(t, s, a)
		mustAnswer(t, s, answer("ses_2", id+"2"))
		want = append(want, a)
	}
	wantAnswers(t, s, "ses_1", want...)
}

func testAnswerTwice(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	first := answer("ses_1", "per_1")
	first.Reply = "reject"
	mustAnswer(t, s, first)
	for _, sessionID := range []string{"ses_1", "ses_2"} {
		err := s.PutAnswer(t.Context(), answer(sessionID, "per_1"), []store.Approval{lease(sessionID, "lea_1")})
		wantErr(t, "PutAnswer again in "+sessionID, err, store.ErrExist)
		wantLeases(t, s, sessionID, at(5))
	}
	wantAnswers(t, s, "ses_1", first)
	wantAnswers(t, s, "ses_2")
}

func testAnswerWithout(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	wantErr(t, "PutAnswer without its session", s.PutAnswer(t.Context(), answer("ses_2", "per_1"), nil), store.ErrNotExist)
	if err := s.PutAnswer(t.Context(), answer("ses_1", ""), nil); err == nil {
		t.Error("PutAnswer accepts an answer without an id")
	}
	wantAnswers(t, s, "ses_1")
	wantAnswers(t, s, "ses_2")
}

func testAnswerAtomic(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	mustAnswer(t, s, answer("ses_1", "per_1"), lease("ses_1", "lea_1"))
	for name, bad := range map[string]store.Approval{
		"a taken id": lease("ses_1", "lea_1"), "the same id": lease("ses_1", "lea_2"), "no session": lease("ses_none", "lea_3"),
		"no id": lease("ses_1", ""),
	} {
		err := s.PutAnswer(t.Context(), answer("ses_1", "per_2"), []store.Approval{lease("ses_1", "lea_2"), bad})
		if err == nil {
			t.Errorf("PutAnswer accepts a lease with %s", name)
		}
		wantAnswers(t, s, "ses_1", answer("ses_1", "per_1"))
		wantLeases(t, s, "ses_1", at(5), lease("ses_1", "lea_1"))
	}
	// The question stands, so it can still be answered.
	mustAnswer(t, s, answer("ses_1", "per_2"), lease("ses_1", "lea_2"))
}

func testLeaseExpiry(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	short, long, never := lease("ses_1", "lea_1"), lease("ses_1", "lea_2"), lease("ses_1", "lea_3")
	short.Expires, long.Expires = at(10), at(20)
	never.Expires = time.Time{}
	mustAnswer(t, s, answer("ses_1", "per_1"), short, long, never)
	wantLeases(t, s, "ses_1", at(9), short, long)
	wantLeases(t, s, "ses_1", at(10).Add(-time.Millisecond), short, long)
	wantLeases(t, s, "ses_1", at(10), long)
	wantLeases(t, s, "ses_1", at(20).Add(-time.Millisecond).In(time.FixedZone("west", -3600)), long)
	wantLeases(t, s, "ses_1", at(20))
	wantLeases(t, s, "ses_1", at(1e6))
	if got, err := s.Leases(t.Context(), "ses_1", time.Time{}); err == nil {
		t.Errorf("Leases at no time = %v, want an error", ids(got))
	}
}

func testLeaseOrder(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	var leases []store.Approval
	for i, id := range []string{"lea_c", "lea_a", "lea_b"} {
		l := lease("ses_1", id)
		l.Created = at(i)
		leases = append(leases, l)
	}
	mustAnswer(t, s, answer("ses_1", "per_1"), leases[2], leases[0])
	mustAnswer(t, s, answer("ses_1", "per_2"), leases[1])
	wantLeases(t, s, "ses_1", at(5), leases...)
}

func testLeaseDelete(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	mustAnswer(t, s, answer("ses_1", "per_1"), lease("ses_1", "lea_1"), lease("ses_1", "lea_2"))
	for _, id := range []string{"", "lea_", "lea_3", "%", "per_1"} {
		wantErr(t, fmt.Sprintf("DeleteLease(%q)", id), s.DeleteLease(t.Context(), id), store.ErrNotExist)
	}
	if err := s.DeleteLease(t.Context(), "lea_1"); err != nil {
		t.Fatalf("DeleteLease: %v", err)
	}
	for _, h := range []store.Store{s, open()} {
		wantLeases(t, h, "ses_1", at(5), lease("ses_1", "lea_2"))
		// What was answered stays answered.
		wantAnswers(t, h, "ses_1", answer("ses_1", "per_1"))
	}
	wantErr(t, "DeleteLease again", s.DeleteLease(t.Context(), "lea_1"), store.ErrNotExist)
}

func decision(n int) store.DecisionRecord {
	return store.DecisionRecord{
		ID: fmt.Sprintf("dec_%04d", n), Time: at(n), Kind: "request", PrincipalID: "tok_1", SessionID: "ses_1",
		Subject: "GET /session/{sessionID}", Effect: "allow", Rules: []string{"request.read"}, Snapshot: "abc",
		Duration: 12345 * time.Nanosecond, Count: 1,
	}
}

func testDecisionRoundTrip(t *testing.T, open func() store.Store) {
	s := open()
	got, err := s.Decisions(t.Context(), store.DecisionFilter{})
	wantSame(t, "Decisions of nothing", []store.DecisionRecord{}, got, err)
	// No session need exist: the record is there for good.
	full := decision(1)
	full.Rules = []string{"a", `b"`, "é"}
	full.Error = "no policy\nis 'loaded'\x00"
	bare := store.DecisionRecord{ID: "dec_bare", Effect: "deny", Count: 1}
	if err := s.PutDecisions(t.Context(), []store.DecisionRecord{full, bare}); err != nil {
		t.Fatalf("PutDecisions: %v", err)
	}
	if err := s.PutDecisions(t.Context(), nil); err != nil {
		t.Errorf("PutDecisions of nothing: %v", err)
	}
	for _, h := range []store.Store{s, open()} {
		got, err := h.Decisions(t.Context(), store.DecisionFilter{Limit: 10})
		wantSame(t, "Decisions", []store.DecisionRecord{bare, full}, got, err)
	}
	held := store.Sandbox{Held: map[string]string{"read": "Landlock 1"}, Missing: map[string]string{"sockets": "no 'namespaces'\x00"}, Exempt: []string{"nc"}}
	if err := s.HoldDecision(t.Context(), bare.ID, held); err != nil {
		t.Fatalf("HoldDecision: %v", err)
	}
	bare.Sandbox = &held
	wantErr(t, "HoldDecision of none", s.HoldDecision(t.Context(), "dec_none", held), store.ErrNotExist)
	put := decision(2)
	put.Sandbox = &store.Sandbox{}
	if err := s.PutDecisions(t.Context(), []store.DecisionRecord{put}); err != nil {
		t.Fatalf("PutDecisions of what has run: %v", err)
	}
	got, err = open().Decisions(t.Context(), store.DecisionFilter{Limit: 10})
	wantSame(t, "Decisions after one was held", []store.DecisionRecord{put, bare, full}, got, err)
	mustSession(t, s, session("ses_1"))
	if _, err := s.DeleteSession(t.Context(), "ses_1"); err != nil {
		t.Fatalf("DeleteSession: %v", err)
	}
	got, err = s.Decisions(t.Context(), store.DecisionFilter{Limit: 10})
	wantSame(t, "Decisions after the session", []store.DecisionRecord{put, bare, full}, got, err)
}

func testDecisionOrder(t *testing.T, open func() store.Store) {
	const batches, each = 5, 7
	s := open()
	var newest []string
	for b := range batches {
		var batch []store.DecisionRecord
		for i := range each {
			d := decision(b*each + i)
			batch = append(batch, d)
			newest = append([]string{d.ID}, newest...)
		}
		if err := s.PutDecisions(t.Context(), batch); err != nil {
			t.Fatalf("PutDecisions: %v", err)
		}
	}
	for limit, want := range map[int][]string{0: newest, 1: newest[:1], 8: newest[:8], batches * each: newest, 1000: newest} {
		got, err := s.Decisions(t.Context(), store.DecisionFilter{Limit: limit})
		wantSame(t, fmt.Sprintf("Decisions(%d)", limit), want, ids(got), err)
	}
	if got, err := s.Decisions(t.Context(), store.DecisionFilter{Limit: -1}); err == nil {
		t.Errorf("Decisions(-1) = %v, want an error", ids(got))
	}
}

func testDecisionFilter(t *testing.T, open func() store.Store) {
	s := open()
	one, two, three := decision(1), decision(2), decision(3)
	one.Kind, one.Subject, one.Rules = "prompt", "bash", []string{"a.b", "c.d"}
	two.Effect, two.PrincipalID, two.Count = "deny", "tok_2", 40
	three.SessionID = "ses_3"
	if err := s.PutDecisions(t.Context(), []store.DecisionRecord{one, two, three}); err != nil {
		t.Fatalf("PutDecisions: %v", err)
	}
	for name, c := range map[string]struct {
		filter store.DecisionFilter
		want   []store.DecisionRecord
	}{
		"all":         {store.DecisionFilter{}, []store.DecisionRecord{three, two, one}},
		"kind":        {store.DecisionFilter{Kind: "prompt"}, []store.DecisionRecord{one}},
		"effect":      {store.DecisionFilter{Effect: "deny"}, []store.DecisionRecord{two}},
		"principal":   {store.DecisionFilter{PrincipalID: "tok_2"}, []store.DecisionRecord{two}},
		"session":     {store.DecisionFilter{SessionID: "ses_3"}, []store.DecisionRecord{three}},
		"subject":     {store.DecisionFilter{Subject: "bash"}, []store.DecisionRecord{one}},
		"rule":        {store.DecisionFilter{Rule: "c.d"}, []store.DecisionRecord{one}},
		"part of one": {store.DecisionFilter{Rule: "c."}, []store.DecisionRecord{}},
		"since":       {store.DecisionFilter{Since: at(2)}, []store.DecisionRecord{three, two}},
		"two":         {store.DecisionFilter{Effect: "allow", Since: at(2)}, []store.DecisionRecord{three}},
		"limit":       {store.DecisionFilter{Effect: "allow", Limit: 1}, []store.DecisionRecord{three}},
		"quotes":      {store.DecisionFilter{Subject: "' OR 1=1 --"}, []store.DecisionRecord{}},
	} {
		got, err := s.Decisions(t.Context(), c.filter)
		wantSame(t, "Decisions by "+name, c.want, got, err)
	}
}
