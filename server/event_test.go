package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"opencode/agent"
	"opencode/server"
	"opencode/store"
)

// TestStream checks the wire form: stream.next holds each event to one line.
func TestStream(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	s := r.events(r.full, "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
	} {
		if got := s.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	var made struct {
		SessionID string
		Info      body
	}
	title := "two\nlines\r\n\r\ndata: {}\u2028"
	b := must(json.Marshal(body{"title": title}))(t)
	var created body
	r.json(http.MethodPost, "/session", r.full, string(b), &created)
	s.until("session.created", &made)
	checkShape(t, "Session", made.Info)
	if made.SessionID != created["id"] || made.Info["title"] != title {
		t.Errorf("event %+v, want the session %v", made, created)
	}
	if got := r.do(http.MethodHead, "/event", r.full, ""); got.status != http.StatusOK || got.body != "" {
		t.Errorf("HEAD = %d %q", got.status, got.body)
	}
}

// TestStreamTakesTheTokenFromTheQuery opens streams as a browser must.
func TestStreamTakesTheTokenFromTheQuery(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for _, value := range []string{r.full, r.read, basic("opencode", r.full)[6:], strings.TrimRight(basic("u", r.full)[6:], "=")} {
		r.events("", "?auth_token="+value)
	}
	if strings.Contains(r.log.String(), r.full) || strings.Contains(r.log.String(), basic("opencode", r.full)[6:]) {
		t.Error("the log holds the token")
	}
}

// TestStreamOfADirectory checks that a stream shows what happens in its
// directory, and no other.
func TestStreamOfADirectory(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	sub := filepath.Join(r.dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	all, one := r.events(r.full, ""), r.events(r.full, "?directory="+sub)
	var first, second body
	r.json(http.MethodPost, "/session", r.full, "", &first)
	r.json(http.MethodPost, "/session?directory="+sub, r.full, "", &second)
	var made struct{ SessionID string }
	if all.until("session.created", &made); made.SessionID != first["id"] {
		t.Errorf("of all: %v, want %v", made, first)
	}
	if one.until("session.created", &made); made.SessionID != second["id"] {
		t.Errorf("of the directory: %v, want %v", made, second)
	}
}

// TestStreamsEndOnShutdown checks that streams do not hold the server up.
func TestStreamsEndOnShutdown(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	streams := []*stream{r.events(r.full, ""), r.events(r.read, ""), r.events(r.full, "?directory="+r.dir)}
	r.shutdown()
	for _, s := range streams {
		for e := s.next(); e.Type != ""; e = s.next() {
			if e.Type != "server.dropped" {
				t.Errorf("event %s while the server stops", e.Type)
			}
		}
	}
}

// TestStreamEndsWithItsToken checks that who lost the token sees no more.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	s := r.events(r.read, "")
	must(r.tokens.DeleteToken(t.Context(), "read"))(t)
	var dropped struct{ Reason string }
	if s.until("server.dropped", &dropped); !strings.Contains(dropped.Reason, "no longer valid") {
		t.Errorf("dropped since %q", dropped.Reason)
	}
	if e := s.next(); e.Type != "" {
		t.Errorf("afterwards: %s", e.Type)
	}
}

// flushed is an answer whose writes a test can look at while it goes on.
type flushed struct {
	mu     sync.Mutex
	header http.Header
	text   strings.Builder
	// If block is not nil, writes wait until it is closed, and the first is
	// told to entered.
	entered chan struct{}
	block   chan struct{}
}

func (f *flushed) Header() http.Header { return f.header }

func (*flushed) WriteHeader(int) {}

func (*flushed) Flush() {}

func (f *flushed) Write(p []byte) (int, error) {
	if f.block != nil {
		select {
		case f.entered <- struct{}{}:
		default:
		}
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

func (f *flushed) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

// localRequest asks for the events as the local user, whom nothing has to be
// looked up for.
func localRequest(ctx context.Context) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/event", http.NoBody)
	if err != nil {
		panic(err)
	}
	return server.WithLocal(req)
}

// TestHeartbeat lets the time between two heartbeats pass.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, options{})
		ctx, cancel := context.WithCancel(t.Context())
		w := &flushed{header: http.Header{}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.server.ServeHTTP(w, localRequest(ctx))
		}()
		for beats := range 4 {
			synctest.Wait()
			if got := strings.Count(w.String(), `"type":"server.heartbeat"`); got != beats {
				t.Errorf("%d heartbeats after %s, want %d", got, time.Duration(beats)*server.Heartbeat, beats)
			}
			time.Sleep(server.Heartbeat)
		}
		cancel()
		<-done
		if got := w.String(); strings.Contains(got, "server.dropped") {
			t.Errorf("the client left and was told: %s", got)
		}
	})
}

// TestSlowClientIsDropped has a client that does not read while more happens
// than may wait for it, and then reads why its stream ended.
func TestSlowClientIsDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	w := &flushed{header: http.Header{}, entered: make(chan struct{}, 1), block: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.server.ServeHTTP(w, localRequest(t.Context()))
	}()
	await(t, "the first event", w.entered)
	session, err := r.agent.CreateSession(t.Context(), agent.SessionInput{})
	if err != nil {
		t.Fatal(err)
	}
	large := json.RawMessage(`{"note":"` + strings.Repeat("x", 1<<20) + `"}`)
	for range 9 {
		if _, err := r.agent.UpdateSession(t.Context(), session.ID, func(s *store.Session) { s.Metadata = large }); err != nil {
			t.Fatal(err)
		}
	}
	close(w.block)
	await(t, "the end of the stream", done)
	if got := w.String(); !strings.HasSuffix(got, "\n\n") || !strings.Contains(got, `"type":"server.dropped","properties":{"reason":"the client reads too slowly"}`) {
		t.Errorf("the stream ends with %s", got[max(0, len(got)-300):])
	}
}
