package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"opencode/agent"
)

// follow reads a stream of events into a channel of lines, and returns once the
// first has come.
func (r *rig) follow(ctx context.Context, path, token string) <-chan string {
	r.t.Helper()
	res, err := r.client.Do(r.request(ctx, http.MethodGet, path, token, ""))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s = %d", path, res.StatusCode)
	}
	lines := make(chan string, 4096)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(res.Body)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			if text, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				lines <- text
			}
		}
	}()
	if first := await(r.t, "the first event", lines); !strings.Contains(first, "server.connected") {
		r.t.Fatalf("the first event is %s", first)
	}
	return lines
}

// untilTitle collects what a stream shows until a session has a title.
func untilTitle(t *testing.T, lines <-chan string, title string) []string {
	t.Helper()
	var seen []string
	for {
		line := await(t, "the title "+title, lines)
		seen = append(seen, line)
		if line == "" || strings.Contains(line, `"title":"`+title+`"`) {
			return seen
		}
	}
}

// TestStreamsShowWhatMayBeRead has a team keep a session from one token. Its
// streams show all but that session; those of another token show it, and one
// that may read no session sees none.
func TestStreamsShowWhatMayBeRead(t *testing.T) {
	t.Parallel()
	r := serve(t, options{team: map[string]string{"a.rego": `package team.a

deny contains {"id": "a.private", "message": "is private"} if {
	input.principal.name == "guest"
	input.request.segments[1] == lower(data.team.lists.secret)
}
`, "data.json": `{"team":{"lists":{"secret":"none"}}}`}})
	guest := r.token("guest", "read", "write", "execute")
	secret, open := r.session(), r.session()
	r.writeTeam(map[string]string{"data.json": `{"team":{"lists":{"secret":"` + secret + `"}}}`})
	if _, err := r.engine.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.do(http.MethodGet, "/session/"+secret, guest, ""); got.status != http.StatusForbidden {
		t.Fatalf("the guest reads the session: %d %s", got.status, got.body)
	}
	for token, shown := range map[string]bool{r.full: true, guest: false} {
		got := r.do(http.MethodGet, "/session", token, "")
		if got.status != http.StatusOK || strings.Contains(got.body, secret) != shown || !strings.Contains(got.body, open) {
			t.Errorf("the list shows the session %v, want %v: %d %s", !shown, shown, got.status, got.body)
		}
	}
	type watched struct {
		path, token string
		secret      bool
	}
	streams := map[watched]<-chan string{}
	for _, path := range []string{"/event", "/global/event"} {
		streams[watched{path, r.full, true}] = r.follow(t.Context(), path, r.full)
		streams[watched{path, guest, false}] = r.follow(t.Context(), path, guest)
	}
	none := r.follow(t.Context(), "/global/event", r.read)
	for i, id := range []string{secret, open, secret} {
		if got := r.shell(id, r.full, "echo secret"); got.status == 0 {
			t.Fatal(got.err)
		}
		if got := r.do(http.MethodPatch, "/session/"+id, r.full, fmt.Sprintf(`{"title":"title %d"}`, i)); got.status != http.StatusOK {
			t.Fatal(got.body)
		}
	}
	if got := r.do(http.MethodPatch, "/session/"+open, r.full, `{"title":"the last"}`); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	for w, lines := range streams {
		seen := strings.Join(untilTitle(t, lines, "the last"), "\n")
		if shown := strings.Contains(seen, secret); shown != w.secret || !strings.Contains(seen, open) {
			t.Errorf("%s: shows the session %v, want %v:\n%s", w.path, shown, w.secret, seen)
		}
	}
	// What may be shown follows the policy while the stream stands.
	r.writeTeam(map[string]string{"data.json": `{"team":{"lists":{"secret":"none"}}}`})
	if _, err := r.engine.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.do(http.MethodPatch, "/session/"+secret, r.full, `{"title":"no secret"}`); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	for _, lines := range streams {
		untilTitle(t, lines, "no secret")
	}
	must(r.tokens.DeleteToken(t.Context(), "read"))(t)
	for line := range none {
		if strings.Contains(line, "ses_") {
			t.Errorf("who may read no session sees %s", line)
		}
	}
}

// TestGlobalEventsAreWrapped checks the form of the stream of all directories.
func TestGlobalEventsAreWrapped(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	lines := r.follow(t.Context(), "/global/event", r.full)
	id := r.session()
	var e struct {
		Directory, Project string
		Payload            event
	}
	if err := json.Unmarshal([]byte(await(t, "an event", lines)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Directory != r.dir || e.Project != agent.ProjectID(r.dir) || e.Payload.Type != "session.created" || !strings.Contains(string(e.Payload.Properties), id) {
		t.Errorf("event %+v", e)
	}
}

// countingWriter counts the events that were written to it and flushed.
type countingWriter struct {
	flushed
	marks atomic.Int64
	mark  string
}

func (c *countingWriter) Flush() {
	text := c.String()
	c.marks.Store(int64(strings.Count(text, c.mark)))
}

// TestEventsComeBeforeTheAnswer checks that whoever makes a call and listens
// has received the events about it when the call is answered: some clients
// leave then.
func TestEventsComeBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	ctx, cancel := context.WithCancel(t.Context())
	streams := []*countingWriter{}
	ended := make(chan struct{}, 3)
	for range 3 {
		w := &countingWriter{flushed: flushed{header: http.Header{}}, mark: `"type":"session.created"`}
		streams = append(streams, w)
		go func() {
			r.server.ServeHTTP(w, localRequest(ctx))
			ended <- struct{}{}
		}()
	}
	for _, w := range streams {
		eventually(t, "the stream stands", func() bool { return strings.Contains(w.String(), "server.connected") })
	}
	for i := range int64(50) {
		if got := r.direct(http.MethodPost, "/session", ""); got.status != http.StatusOK {
			t.Fatal(got.body)
		}
		for n, w := range streams {
			if seen := w.marks.Load(); seen != i+1 {
				t.Fatalf("stream %d has shown %d sessions when the call that made the session %d was answered", n, seen, i+1)
			}
		}
	}
	cancel()
	for range streams {
		await(t, "the end", ended)
	}
}

// TestWhoDoesNotReadWaitsAlone checks that a client which does not read its
// stream delays no other's calls, and its own only so long.
func TestWhoDoesNotReadWaitsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	w := &flushed{header: http.Header{}, entered: make(chan struct{}, 1), block: make(chan struct{})}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		r.server.ServeHTTP(w, localRequest(ctx))
	}()
	await(t, "the first event", w.entered)
	other := make(chan reply, 1)
	go func() {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/session", http.NoBody)
		req.Header.Set("Authorization", "Bearer "+r.full)
		rec := httptest.NewRecorder()
		r.server.ServeHTTP(rec, req)
		other <- reply{status: rec.Code, body: rec.Body.String()}
	}()
	if got := await(t, "the answer to another", other); got.status != http.StatusOK {
		t.Error(got.body)
	}
	if got := r.direct(http.MethodPost, "/session", ""); got.status != http.StatusOK {
		t.Error(got.body)
	}
	cancel()
	close(w.block)
	await(t, "the end", done)
}
