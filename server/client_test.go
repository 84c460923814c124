package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"opencode/agent"
	"opencode/server"
)

// reply is what a request was answered with.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// errorBody is the one form of an error.
type errorBody struct {
	Name string `json:"name"`
	Data struct {
		Message string           `json:"message"`
		Rules   []map[string]any `json:"rules"`
		Needs   []string         `json:"needs"`
		Outcome string           `json:"outcome"`
		Policy  string           `json:"policy"`
		// ProviderID stands in the error of a provider that is not signed in.
		ProviderID string `json:"providerID"`
	} `json:"data"`
	// As errors of terminals have it beside.
	Tag     string `json:"_tag"`
	PtyID   string `json:"ptyID"`
	Message string `json:"message"`
}

// failure reads an error and checks its form: always JSON, of one shape, with
// the headers that hold for every answer.
func (p reply) failure(t *testing.T) errorBody {
	t.Helper()
	if p.err != nil {
		t.Fatal(p.err)
	}
	var e errorBody
	dec := json.NewDecoder(strings.NewReader(p.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || e.Name == "" || e.Data.Message == "" {
		t.Errorf("status %d, body %q is not an error: %v", p.status, p.body, err)
	}
	p.checkHeaders(t)
	return e
}

func (p reply) checkHeaders(tb testing.TB) {
	tb.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := p.header.Values(name); len(got) != 1 || got[0] != want {
			tb.Errorf("status %d: %s = %q, want %q", p.status, name, got, want)
		}
	}
}

// into reads a JSON answer of status 200.
func (p reply) into(tb testing.TB, v any) {
	tb.Helper()
	if p.err != nil {
		tb.Fatal(p.err)
	}
	if p.status != http.StatusOK {
		tb.Fatalf("status %d: %s", p.status, p.body)
	}
	if err := json.Unmarshal([]byte(p.body), v); err != nil {
		tb.Fatalf("body %q: %v", p.body, err)
	}
	p.checkHeaders(tb)
}

// request makes a request for the port, or for no port if it does not serve.
func (r *rig) request(ctx context.Context, method, target, token, body string) *http.Request {
	r.t.Helper()
	addr := r.addr
	if addr == "" {
		addr = "127.0.0.1:4096"
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := must(http.NewRequestWithContext(ctx, method, "http://"+addr+target, reader))(r.t)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// send sends a request over the port. Whatever is answered must be documented,
// and in the shape that clients know.
func (r *rig) send(req *http.Request) reply {
	res, err := r.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	b, err := io.ReadAll(res.Body)
	p := reply{res.StatusCode, res.Header, string(b), errors.Join(err, res.Body.Close())}
	if err := r.doc.check(r, req.Method, req.URL.RequestURI(), p); err != nil {
		r.t.Error(err)
	}
	if err := must(readPublishedAPI())(r.t).check(r, req.Method, req.URL.RequestURI(), p); err != nil {
		r.t.Error(err)
	}
	return p
}

// direct answers a request of the local user without a port.
func (r *rig) direct(method, target, body string) reply {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, "http://127.0.0.1"+target, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, server.WithLocal(req))
	return reply{w.Code, w.Header(), w.Body.String(), nil}
}

// do sends a request over the port.
func (r *rig) do(method, target, token, body string) reply {
	r.t.Helper()
	return r.send(r.request(r.t.Context(), method, target, token, body))
}

// raw sends text over a connection of its own and reads the answer.
func (r *rig) raw(text string) reply {
	r.t.Helper()
	conn := must((&net.Dialer{}).DialContext(r.t.Context(), "tcp", r.addr))(r.t)
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return reply{err: err}
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return reply{err: err}
	}
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b), errors.Join(err, res.Body.Close())}
}

// session makes a session and returns its id.
func (r *rig) session() string {
	r.t.Helper()
	var s struct{ ID string }
	r.do(http.MethodPost, "/session", r.full, "").into(r.t, &s)
	return s.ID
}

func shellBody(command string) string {
	b, err := json.Marshal(map[string]string{"agent": "build", "command": command})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// shell runs a command in a session and waits for its end.
func (r *rig) shell(session, token, command string) reply {
	r.t.Helper()
	return r.do(http.MethodPost, "/session/"+session+"/shell", token, shellBody(command))
}

// start runs a command in a session and does not wait.
func (r *rig) start(ctx context.Context, session, token, command string) <-chan reply {
	r.t.Helper()
	done := make(chan reply, 1)
	req := r.request(ctx, http.MethodPost, "/session/"+session+"/shell", token, shellBody(command))
	go func() { done <- r.send(req) }()
	return done
}

// await returns what a channel receives.
func await[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		tb.Fatalf("never: %s", what)
		panic("unreachable")
	}
}

// eventually waits for a condition that can only be looked at.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// event is one event of a stream.
type event struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Properties json.RawMessage `json:"properties"`
}

// stream is an open stream of events.
type stream struct {
	t      testing.TB
	header http.Header
	blocks chan string // each up to its empty line; closed at the end
}

// events opens a stream of events and reads the first.
func (r *rig) events(token, query string) *stream {
	r.t.Helper()
	req := r.request(r.t.Context(), http.MethodGet, "/event"+query, token, "")
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		r.t.Fatalf("GET /event: %d %s", res.StatusCode, b)
	}
	s := &stream{t: r.t, header: res.Header, blocks: make(chan string, 4096)}
	go func() {
		defer close(s.blocks)
		in := bufio.NewReader(res.Body)
		var block strings.Builder
		for {
			line, err := in.ReadString('\n')
			block.WriteString(line)
			if err != nil {
				return
			}
			if line == "\n" {
				s.blocks <- block.String()
				block.Reset()
			}
		}
	}()
	if e := s.next(); e.Type != "server.connected" {
		r.t.Fatalf("the first event is %s, want server.connected", e.Type)
	}
	return s
}

// next returns the next event; one without a type is the end of the stream.
func (s *stream) next() event {
	s.t.Helper()
	block := await(s.t, "an event", s.blocks)
	if block == "" {
		return event{}
	}
	text, ok := strings.CutPrefix(block, "data: ")
	text, ok2 := strings.CutSuffix(text, "\n\n")
	var e event
	if err := json.Unmarshal([]byte(text), &e); !ok || !ok2 || err != nil || strings.Contains(text, "\n") || e.ID == "" || e.Type == "" {
		s.t.Fatalf("event %q: want one line `data: JSON` and an empty one: %v", block, err)
	}
	return e
}

// until returns the next event of a type and reads its properties.
func (s *stream) until(kind string, properties any) {
	s.t.Helper()
	for {
		e := s.next()
		switch e.Type {
		case "":
			s.t.Fatalf("the stream ended before %s", kind)
		case kind:
			if properties != nil {
				if err := json.Unmarshal(e.Properties, properties); err != nil {
					s.t.Fatal(err)
				}
			}
			return
		}
	}
}

// asked waits for a question.
func (s *stream) asked() agent.Permission {
	s.t.Helper()
	var p agent.Permission
	s.until("permission.asked", &p)
	return p
}

// answer answers a question.
func (r *rig) answer(token, id, with string) reply {
	r.t.Helper()
	return r.do(http.MethodPost, "/permission/"+id+"/reply", token, `{"reply":"`+with+`"}`)
}
