package server_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/agent"
	"opencode/policy"
	"opencode/server"
	"opencode/store"
	"opencode/store/sqlite"
)

// allowing is a policy that allows everything and looks at nothing. It keeps
// the route that it was asked about.
type allowing struct {
	mu    sync.Mutex
	route string
}

func (a *allowing) Decide(_ context.Context, in *policy.Input) (policy.Decision, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.route = ""
	if in.Request.Route != nil {
		a.route = *in.Request.Route
	}
	return policy.Decision{Effect: policy.Allow, Obligations: policy.Obligations{Audit: "brief"}}, nil
}

// told returns the route that policy was told of last, "" if none.
func (a *allowing) told() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.route
}

// serveAllowing serves under a policy that allows everything.
func serveAllowing(t *testing.T) (*rig, *allowing) {
	t.Helper()
	decider := &allowing{}
	r := serve(t, options{change: func(c *server.Config) {
		records := must(sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "records.db")}))(t)
		t.Cleanup(func() { _ = records.Close() })
		recorder := agent.NewRecorder(records, c.Logger)
		t.Cleanup(func() { _ = recorder.Close(context.Background()) })
		c.Gate = must(agent.NewGate(agent.GateConfig{Decider: decider, Recorder: recorder, IDs: store.NewIDs(time.Now, rand.Reader)}))(t)
	}})
	return r, decider
}

// TestNoRouteNoHandler checks that what matches no route for policy reaches no
// handler either, also when policy allows it: the router by itself would find
// one for some of these.
func TestNoRouteNoHandler(t *testing.T) {
	t.Parallel()
	r, decider := serveAllowing(t)
	id := r.session()
	escaped := fmt.Sprintf("%%%x", id[0]) + id[1:]
	for _, method := range []string{"GET", "HEAD", "DELETE", "PATCH", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "FROB", "get", "delete"} {
		for _, target := range []string{
			"/session/" + escaped, "/session/" + id + "%2f", "/session/" + id + "%5c", "/session/" + id + "%00", "/session/" + id + "%0a",
			"/session/%2e", "/session/%2e%2e", "/session/..", "/session/.", "/session/" + id + "/", "/session//" + id, "//session/" + id,
			"/%73ession", "/%73ession/" + id, "/session/" + escaped + "/message", "/session/" + id + "/messag%65", "/session/" + id + "%2fmessage",
			"/session/%ff", "/session/%c0%af", "/session/" + id + "\\", "/api/fs/read/%2e%2e/x", "/api/fs/read/a%2fb", "/api/fs/read//etc/passwd",
			"/api/fs/read/../x", "/api/fs/read/", "/auth/%61nthropic", "/pty/%70ty_1/connect", "*", "http://127.0.0.1", "/SESSION/" + id, "/session%3f/" + id,
		} {
			got := r.raw(method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			switch {
			case got.err != nil:
				t.Errorf("%s %s: %v", method, target, got.err)
			case method == http.MethodConnect && got.status == http.StatusForbidden:
				// Its target is a host, which is not the server's own.
			case got.status == http.StatusBadRequest && got.header.Get("X-Frame-Options") == "":
				// net/http takes it for no request at all.
			case got.status != http.StatusNotFound:
				t.Errorf("%s %s = %d %s, want 404", method, target, got.status, got.body)
			case decider.told() != "":
				t.Errorf("%s %s: policy was told of %s, and nothing is there", method, target, decider.told())
			}
		}
	}
	if got := r.do(http.MethodGet, "/session/"+id, "", ""); got.status != http.StatusOK {
		t.Errorf("the session is gone: %d %s", got.status, got.body)
	}
}

// TestRouteOfPolicyIsTheHandlers asks for paths with what must be escaped in a
// parameter, and wants the answer of the route that policy was told of, with
// its own parameters.
func TestRouteOfPolicyIsTheHandlers(t *testing.T) {
	t.Parallel()
	r, decider := serveAllowing(t)
	id := r.session()
	for _, c := range []struct {
		method, target, route string
		status                int
		part                  string // of the body
	}{
		{"GET", "/session/" + id, "/session/{sessionID}", 200, id},
		{"HEAD", "/session/" + id, "/session/{sessionID}", 200, ""},
		{"GET", "/session/status", "/session/status", 200, "{}"},
		{"HEAD", "/session/status", "/session/status", 200, ""},
		{"GET", "/session/a%20b", "/session/{sessionID}", 404, `a b`},
		{"GET", "/session/status%20", "/session/{sessionID}", 404, `status `},
		{"GET", "/session/" + id + "/message?x=%2f..%2f", "/session/{sessionID}/message", 200, "[]"},
		{"GET", "/session/" + id + "/message/m%3F1", "/session/{sessionID}/message/{messageID}", 404, `m?1`},
		{"GET", "/session/" + id + "/message/m%25%32f", "", 404, ""},
		{"GET", "/session/{sessionID}", "/session/{sessionID}", 404, "{sessionID}"}, // what is read is escaped
		{"GET", "/session/*", "/session/{sessionID}", 404, "*"},
		{"GET", "/api/fs/read/a/b%20c", "/api/fs/read/*", 403, "missing_permission"},
		{"GET", "/question", "/question", 200, "[]"},
		{"POST", "/question/one/reply", "/question/{requestID}/reply", 404, "one"},
		{"POST", "/question/two/reject", "/question/{requestID}/reject", 404, "two"},
		{"OPTIONS", "/session/" + id, "", 404, ""},
		{"POST", "/session/" + id + "?_method=DELETE", "", 404, ""},
	} {
		got := r.raw(c.method + " " + c.target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n")
		if got.err != nil || got.status != c.status || !strings.Contains(got.body, c.part) || decider.told() != c.route {
			t.Errorf("%s %s = %d %s, error %v, by the route %q; want %d with %q, by %q",
				c.method, c.target, got.status, got.body, got.err, decider.told(), c.status, c.part, c.route)
		}
	}
	if got := r.do(http.MethodGet, "/session/"+id, "", ""); got.status != http.StatusOK {
		t.Errorf("the session is gone: %d %s", got.status, got.body)
	}
}

// TestParametersAreTheRequestsOwn asks at the same time for what differs only in
// its parameters, some of it refused and some of it long, and wants each to be
// answered with its own.
func TestParametersAreTheRequestsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	ctx, cancel := context.WithCancel(t.Context())
	var all, streams sync.WaitGroup
	for range 4 {
		streams.Go(func() {
			r.server.ServeHTTP(discard{http.Header{}}, server.WithLocal(r.request(ctx, http.MethodGet, "/event", "", "")))
		})
	}
	for worker := range 6 {
		all.Go(func() {
			for i := range 60 {
				name := fmt.Sprintf("x%d-%d", worker, i)
				got := r.local(r.request(t.Context(), http.MethodPost, "/question/"+name+"/reply", r.full, ""))
				if got.status != http.StatusNotFound || !strings.Contains(got.body, `\"`+name+`\"`) {
					t.Errorf("%s: %d %s", name, got.status, got.body)
				}
				_ = r.local(r.request(t.Context(), http.MethodGet, "/session/"+name+"/message/other", r.none, ""))
			}
		})
	}
	all.Wait()
	cancel()
	streams.Wait()
}

// discard takes an answer that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header            { return d.header }
func (discard) Write(b []byte) (int, error)      { return len(b), nil }
func (discard) WriteHeader(int)                  {}
func (discard) Flush()                           {}
func (discard) SetWriteDeadline(time.Time) error { return nil }

// TestRequestsShareNoRoom checks that requests which are answered at the same time,
// one after the other in the same room, see nothing of each other.
func TestRequestsShareNoRoom(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	ids := make([]string, 8)
	for i := range ids {
		var s struct{ ID string }
		r.do(http.MethodPost, "/session", r.full, `{}`).into(t, &s)
		ids[i] = s.ID
	}
	var group sync.WaitGroup
	for i, id := range ids {
		group.Go(func() {
			for n := range 40 {
				token, path, want := r.full, "/session/"+id, http.StatusOK
				switch (i + n) % 4 {
				case 1:
					token, want = r.none, http.StatusForbidden
				case 2:
					path, want = "/session/"+id+"/none", http.StatusNotFound
				}
				got := r.do(http.MethodGet, path, token, "")
				if got.status != want || want == http.StatusOK && !strings.Contains(got.body, `"id":"`+id+`"`) {
					t.Errorf("GET %s = %d %s, want %d", path, got.status, got.body, want)
				}
			}
		})
	}
	group.Wait()
}
