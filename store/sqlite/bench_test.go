package sqlite_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/sqlite"
)

func filled(b *testing.B, sessions int) *sqlite.Store {
	b.Helper()
	s := open(b, b.TempDir())
	for i := range sessions {
		err := s.CreateSession(b.Context(), store.Session{
			ID: fmt.Sprintf("ses_%04d", i), Slug: "quiet-river", ProjectID: "project", Directory: "/home/user/project",
			Title: "New session of a benchmark", Agent: "build", Version: "1.0.0", Created: time.UnixMilli(1), Updated: time.UnixMilli(int64(i + 1)),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkSession(b *testing.B) {
	s := filled(b, 34)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Session(b.Context(), "ses_0017"); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkSessions(b *testing.B, f store.SessionFilter) {
	b.Helper()
	s := filled(b, 34)
	b.ReportAllocs()
	for b.Loop() {
		if got, err := s.Sessions(b.Context(), f); err != nil || len(got) != 34 {
			b.Fatal(len(got), err)
		}
	}
}

func BenchmarkSessions34(b *testing.B) { benchmarkSessions(b, store.SessionFilter{}) }

func BenchmarkSessions34ByDirectory(b *testing.B) {
	benchmarkSessions(b, store.SessionFilter{Directory: "/home/user/project", Roots: true, Limit: 100})
}

func BenchmarkSessions34Parallel(b *testing.B) {
	s := filled(b, 34)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if got, err := s.Sessions(b.Context(), store.SessionFilter{}); err != nil || len(got) != 34 {
				b.Error(len(got), err)
				return
			}
		}
	})
}

func BenchmarkPutMessage(b *testing.B) {
	s := filled(b, 1)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		m := store.Message{ID: fmt.Sprintf("msg_%08d", n), SessionID: "ses_0000", Role: "user", Body: json.RawMessage(`{"role":"user"}`)}
		p := store.Part{ID: fmt.Sprintf("prt_%08d", n), MessageID: m.ID, SessionID: m.SessionID, Type: "text", Body: json.RawMessage(`{"text":"hello"}`)}
		if err := s.PutMessage(b.Context(), []store.Message{m}, []store.Part{p}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutDecisions100(b *testing.B) {
	s := filled(b, 1)
	batch := make([]store.DecisionRecord, 100)
	for i := range batch {
		batch[i] = store.DecisionRecord{
			ID: fmt.Sprintf("dec_%08d", i), Time: time.UnixMilli(1), Kind: "request", PrincipalID: "tok_0123456789abcdef",
			SessionID: "ses_0000", Subject: "GET /session/{sessionID}/message", Effect: "allow", Rules: []string{"request.read"},
			Snapshot: "0123456789abcdef", Duration: time.Millisecond,
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.PutDecisions(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
