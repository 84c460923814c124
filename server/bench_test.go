package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"opencode/agent"
	"opencode/agent/tool"
	"opencode/server"
	"opencode/store"
	"opencode/store/file"
	"opencode/store/sqlite"
)

// noBash runs nothing: the requests that are measured run no command.
type noBash struct{}

func (noBash) Run(context.Context, tool.BashCall, tool.Limits, func(string)) (tool.Result, error) {
	return tool.Result{}, errors.New("not to be run")
}

// benchServer puts a server together as the program does, with a token that may
// do everything and as many sessions as there are in the comparison.
func benchServer(b *testing.B, sessions int) (*server.Server, string) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	eng, err := defaultEngine()
	check(err)
	db, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(dir, "server.db")})
	check(err)
	b.Cleanup(func() { _ = db.Close() })
	tokens, err := file.OpenTokens(file.TokensConfig{Path: filepath.Join(dir, "auth-tokens.json")})
	check(err)
	secret, err := store.NewSecret(rand.Reader)
	check(err)
	id, err := store.NewTokenID(rand.Reader)
	check(err)
	check(tokens.CreateToken(b.Context(), store.Token{
		ID: id, Name: "bench", Hash: secret.Hash(), Permissions: []string{"read", "write", "execute"}, Created: time.Now(),
	}))
	ids := store.NewIDs(nil, nil)
	recorder := agent.NewRecorder(db, nil)
	b.Cleanup(func() { _ = recorder.Close(context.Background()) })
	gate, err := agent.NewGate(agent.GateConfig{Decider: eng, Recorder: recorder, IDs: ids})
	check(err)
	ag, err := agent.New(b.Context(), agent.Config{Store: db, Gate: gate, Bash: noBash{}, IDs: ids, Directories: []string{dir}, Version: "bench"})
	check(err)
	for range sessions {
		_, err := ag.CreateSession(b.Context(), agent.SessionInput{})
		check(err)
	}
	s, err := server.New(server.Config{Agent: ag, Gate: gate, Tokens: tokens, Policy: eng, Directories: []string{dir}, Version: "bench"})
	check(err)
	return s, secret.Reveal()
}

// BenchmarkRequest measures a request through the whole server, and the same
// request at the router alone: no Host, Origin, token, decision or record.
func BenchmarkRequest(b *testing.B) {
	s, token := benchServer(b, 34)
	for _, path := range []string{"/path", "/session", "/session/status"} {
		for name, h := range map[string]http.Handler{"gated": s, "router": s.Mux()} {
			b.Run(path[1:]+"/"+name, func(b *testing.B) {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1:4096"+path, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK || w.Body.Len() < 2 {
					b.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
				}
				b.ReportAllocs()
				for b.Loop() {
					w.Body.Reset()
					h.ServeHTTP(w, r)
				}
			})
		}
	}
}
