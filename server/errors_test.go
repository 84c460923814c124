package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"opencode/agent"
	"opencode/server"
	"opencode/store"
)

// TestStatusOfEachError sends what cannot be answered. Every answer must be
// JSON of one form, with the headers that hold for all.
func TestStatusOfEachError(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	session := "/session/" + id
	shell := session + "/shell"
	for name, c := range map[string]struct {
		method, path, body, media string
		want                      int
		text                      string
	}{
		"unknown path":             {method: "GET", path: "/nope", want: 404, text: "not found"},
		"root":                     {method: "GET", path: "/", want: 404},
		"page":                     {method: "GET", path: "/index.html", want: 404},
		"unknown method of a path": {method: "PUT", path: "/session", want: 405},
		"unknown method":           {method: "PROPFIND", path: "/session", want: 405},
		"options":                  {method: "OPTIONS", path: "/session", want: 405},
		"trace":                    {method: "TRACE", path: "/session", want: 405},
		"unknown method, no path":  {method: "FROB", path: "/nope", want: 404},
		"method in lower case":     {method: "get", path: "/session", want: 405},
		"unknown session":          {method: "GET", path: "/session/ses_1", want: 404, text: "does not exist"},
		"delete unknown":           {method: "DELETE", path: "/session/ses_1", want: 404},
		"patch unknown":            {method: "PATCH", path: "/session/ses_1", body: `{}`, want: 404},
		"messages of unknown":      {method: "GET", path: "/session/ses_1/message", want: 404},
		"abort unknown":            {method: "POST", path: "/session/ses_1/abort", want: 404},
		"shell of unknown":         {method: "POST", path: "/session/ses_1/shell", body: `{"agent":"build","command":"true"}`, want: 404},
		"parent unknown":           {method: "POST", path: "/session", body: `{"parentID":"ses_1"}`, want: 404},
		"malformed":                {method: "POST", path: "/session", body: `{"title":`, want: 400},
		"not an object":            {method: "POST", path: "/session", body: `[]`, want: 400},
		"wrong type":               {method: "POST", path: "/session", body: `{"title":1}`, want: 400},
		"unknown member":           {method: "POST", path: "/session", body: `{"directory":"/etc"}`, want: 400, text: "unknown field"},
		"garbage behind":           {method: "POST", path: "/session", body: `{} {}`, want: 400, text: "more than one"},
		"brace behind":             {method: "POST", path: "/session", body: `{}}`, want: 400},
		"metadata is a list":       {method: "POST", path: "/session", body: `{"metadata":[]}`, want: 400, text: "metadata"},
		"metadata is null":         {method: "PATCH", path: session, body: `{"metadata":null}`, want: 400},
		"empty":                    {method: "PATCH", path: session, want: 400, text: "empty"},
		"spaces":                   {method: "PATCH", path: session, body: "  ", want: 400, text: "empty"},
		"no command":               {method: "POST", path: shell, body: `{"agent":"build"}`, want: 400, text: "command"},
		"command null":             {method: "POST", path: shell, body: `null`, want: 400, text: "command"},
		"command of spaces":        {method: "POST", path: shell, body: `{"agent":"build","command":" \n"}`, want: 400, text: "empty"},
		"command with NUL":         {method: "POST", path: shell, body: `{"agent":"build","command":"true\u0000"}`, want: 400, text: "NUL"},
		"command too long":         {method: "POST", path: shell, body: shellBody("true " + strings.Repeat("x", 128<<10)), want: 400, text: "at most"},
		"message id":               {method: "POST", path: shell, body: `{"agent":"build","command":"true","messageID":"../x"}`, want: 400, text: "messageID"},
		"reply of nothing":         {method: "POST", path: "/permission/per_1/reply", body: `{}`, want: 400, text: "once, always or reject"},
		"reply that ends":          {method: "POST", path: "/permission/per_1/reply", body: `{"reply":"timeout"}`, want: 400},
		"reply in upper case":      {method: "POST", path: "/permission/per_1/reply", body: `{"reply":"Once"}`, want: 400},
		"reply to nothing":         {method: "POST", path: "/permission/per_1/reply", body: `{"reply":"once"}`, want: 404},
		"older reply to nothing":   {method: "POST", path: session + "/permissions/per_1", body: `{"response":"once"}`, want: 404},
		"limit":                    {method: "GET", path: "/session?limit=-1", want: 400, text: "limit"},
		"limit of messages":        {method: "GET", path: session + "/message?limit=x", want: 400, text: "limit"},
		"start":                    {method: "GET", path: "/session?start=now", want: 400, text: "start"},
		"text":                     {method: "POST", path: "/session", body: `{}`, media: "text/plain", want: 415},
		"form":                     {method: "POST", path: "/session", body: `{}`, media: "application/x-www-form-urlencoded", want: 415},
		"no media type":            {method: "POST", path: "/session", body: `{}`, media: "-", want: 415},
		"two media types":          {method: "POST", path: "/session", body: `{}`, media: "text/plain, application/json", want: 415},
		"json by another name":     {method: "POST", path: "/session", body: `{}`, media: "application/json-patch+json", want: 415},
		"declared too large":       {method: "POST", path: "/session", body: strings.Repeat(" ", server.MaxBodyBytes+1), want: 413},
		"too large in the middle":  {method: "POST", path: "/session", body: `{"title":"` + strings.Repeat("x", server.MaxBodyBytes) + `"}`, media: "chunked", want: 413},
		"long path":                {method: "GET", path: "/" + strings.Repeat("x", 32<<10), want: 404},
		"long id":                  {method: "GET", path: "/session/" + strings.Repeat("x", 32<<10), want: 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := r.request(t.Context(), c.method, c.path, r.full, c.body)
			switch c.media {
			case "":
			case "-":
				req.Header.Del("Content-Type")
			case "chunked":
				req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(c.body))
			default:
				req.Header.Set("Content-Type", c.media)
			}
			got := r.send(req)
			e := got.failure(t)
			if got.status != c.want || !strings.Contains(e.Data.Message, c.text) {
				t.Errorf("%s %.60s = %d %.300s, want %d and %q", c.method, c.path, got.status, got.body, c.want, c.text)
			}
			if allow := got.header.Get("Allow"); (c.want == http.StatusMethodNotAllowed) != (allow == "GET, HEAD, POST") {
				t.Errorf("%s %.60s: Allow = %q", c.method, c.path, allow)
			}
		})
	}
}

func TestMediaTypesOfJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for _, media := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8"} {
		req := r.request(t.Context(), http.MethodPost, "/session", r.full, `{}`)
		req.Header.Set("Content-Type", media)
		if got := r.local(req); got.status != http.StatusOK {
			t.Errorf("%s = %d %s, want 200", media, got.status, got.body)
		}
	}
}

// TestGarbageOnTheWire sends what is hardly HTTP. What net/http cannot read it
// answers itself, as text and with status 400, 431, 501 or 505; everything that
// it can read gets an answer of ours.
func TestGarbageOnTheWire(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	head := "Host: 127.0.0.1\r\nAuthorization: Bearer " + r.full + "\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		text string
		ours bool
		want int
	}{
		"own method":             {"FROB-1 /session HTTP/1.1\r\n" + head + "\r\n", true, 405},
		"options of everything":  {"OPTIONS * HTTP/1.1\r\n" + head + "\r\n", true, 404},
		"asterisk":               {"GET * HTTP/1.1\r\n" + head + "\r\n", true, 404},
		"connect":                {"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + head + "\r\n", true, 404},
		"escapes that are right": {"GET /%F0%9F%92%A9/%00 HTTP/1.1\r\n" + head + "\r\n", true, 404},
		"upgrade":                {"GET /session HTTP/1.1\r\nUpgrade: websocket\r\n" + head + "\r\n", true, 200},
		"old protocol":           {"GET /session HTTP/1.0\r\n" + head + "\r\n", true, 200},
		"escape that is wrong":   {"GET /%zz HTTP/1.1\r\n" + head + "\r\n", false, 400},
		"no path":                {"GET  HTTP/1.1\r\n" + head + "\r\n", false, 400},
		"relative path":          {"GET session HTTP/1.1\r\n" + head + "\r\n", false, 400},
		"method with a brace":    {"G{T /session HTTP/1.1\r\n" + head + "\r\n", false, 400},
		"two hosts":              {"GET /session HTTP/1.1\r\nHost: evil.com\r\n" + head + "\r\n", false, 400},
		"no host":                {"GET /session HTTP/1.1\r\nConnection: close\r\n\r\n", false, 400},
		"space before the colon": {"GET /session HTTP/1.1\r\nX-A : b\r\n" + head + "\r\n", false, 400},
		"two lengths":            {"POST /session HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n" + head + "\r\n{}", false, 400},
		"length and chunks":      {"POST /session HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n" + head + "\r\n2\r\n{}\r\n0\r\n\r\n", true, 200},
		"own transfer encoding":  {"POST /session HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n" + head + "\r\n", false, 501},
		"header too large":       {"GET /session HTTP/1.1\r\nX-A: " + strings.Repeat("x", 80<<10) + "\r\n" + head + "\r\n", false, 431},
		"another protocol":       {"GET /session HTTP/2.0\r\n" + head + "\r\n", false, 505},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := r.raw(c.text)
			if got.err != nil || got.status != c.want {
				t.Fatalf("%d %s, error %v, want %d", got.status, got.body, got.err, c.want)
			}
			if c.ours {
				got.checkHeaders(t)
			}
			if strings.Contains(strings.ToLower(got.body), "<html") || strings.Contains(got.header.Get("Content-Type"), "html") {
				t.Errorf("HTML: %q", got.body)
			}
		})
	}
}

// TestHeadHasNoBody checks HEAD against GET.
func TestHeadHasNoBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for path, token := range map[string]string{"/global/health": "", "/session": r.full, "/session/ses_1": r.full, "/nope": r.full, "/config": ""} {
		get := r.local(r.request(t.Context(), http.MethodGet, path, token, ""))
		head := r.local(r.request(t.Context(), http.MethodHead, path, token, ""))
		if head.status != get.status || head.body != "" || get.body == "" {
			t.Errorf("HEAD %s = %d %q, GET = %d %q", path, head.status, head.body, get.status, get.body)
		}
	}
}

// panicking panics when a session is looked up.
type panicking struct{ store.Store }

func (panicking) Session(context.Context, string) (store.Session, error) {
	panic("secret of the panic")
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	r := serve(t, options{agent: func(c *agent.Config) { c.Store = panicking{c.Store} }})
	for range 2 {
		got := r.do(http.MethodGet, "/session/ses_1", r.full, "")
		e := got.failure(t)
		if got.status != http.StatusInternalServerError || e.Data.Message != "internal error; the server's log says more" {
			t.Fatalf("%d %s, want 500 and nothing of the reason", got.status, got.body)
		}
	}
	if log := r.log.String(); !strings.Contains(log, "secret of the panic") || !strings.Contains(log, "stack=") {
		t.Error("the log does not say why")
	}
	if got := r.do(http.MethodGet, "/session", r.full, ""); got.status != http.StatusOK {
		t.Errorf("afterwards %d %s, want 200", got.status, got.body)
	}
}

// failing is a store whose sessions cannot be read.
type failing struct{ store.Store }

var errDisk = errors.New("disk at /var/secret is on fire")

func (failing) Session(context.Context, string) (store.Session, error) {
	return store.Session{}, fmt.Errorf("session: %w", errDisk)
}

func TestInternalErrorsSayNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{agent: func(c *agent.Config) { c.Store = failing{c.Store} }})
	for _, c := range []struct{ method, path, body string }{
		{http.MethodGet, "/session/ses_1", ""},
		{http.MethodPost, "/session", `{"parentID":"ses_1"}`},
		{http.MethodPost, "/session/ses_1/shell", shellBody("true")},
		{http.MethodPost, "/session/ses_1/abort", ""},
		{http.MethodDelete, "/session/ses_1", ""},
	} {
		got := r.local(r.request(t.Context(), c.method, c.path, r.full, c.body))
		if e := got.failure(t); got.status != http.StatusInternalServerError || e.Name != "UnknownError" || strings.Contains(got.body, "fire") {
			t.Errorf("%s %s = %d %s, want 500 and nothing of the reason", c.method, c.path, got.status, got.body)
		}
	}
	if !strings.Contains(r.log.String(), "on fire") {
		t.Error("the log does not say why")
	}
}

// TestUndecidedIsDenied checks that a policy which cannot decide denies, and
// that why is for the log.
func TestUndecidedIsDenied(t *testing.T) {
	t.Parallel()
	// An engine of its own, which remembers no decision of another test.
	r := newRig(t, options{team: map[string]string{"a.rego": "package team.a\n"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no decision is made for whoever is gone
	got := r.local(r.request(ctx, http.MethodGet, "/global/health?never=asked", "", ""))
	e := got.failure(t)
	if got.status != http.StatusForbidden || !strings.Contains(e.Data.Message, "could not decide") || strings.Contains(got.body, "context") {
		t.Errorf("%d %s, want 403 and nothing of the reason", got.status, got.body)
	}
}

func TestNewWantsWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	_, err := server.New(server.Config{})
	if err == nil || !strings.Contains(err.Error(), "are required") {
		t.Errorf("New of nothing: %v", err)
	}
	good := server.Config{Agent: r.agent, Gate: must(agent.NewGate(agent.GateConfig{
		Decider: r.engine, Recorder: agent.NewRecorder(r.db, nil), IDs: store.NewIDs(nil, nil),
	}))(t), Tokens: r.tokens, Policy: r.engine, Directories: []string{r.dir}}
	if _, err := server.New(good); err != nil {
		t.Fatal(err)
	}
	for _, origin := range []string{"", "*", "null", "ide.example.com", "https://", "https://a/", "https://a/p", "https://a?x", "https://u@a", "//a"} {
		c := good
		c.Origins = []string{"https://a", origin}
		if _, err := server.New(c); err == nil || !strings.Contains(err.Error(), "origin") {
			t.Errorf("origin %q: %v, want an error", origin, err)
		}
	}
	for host, want := range map[string]bool{
		"": false, "a:80": false, "[::1]:80": false, "http://a": false, "a b": false, "a/b": false, ".": false,
		"a": true, "a.example.com.": true, "::1": true, "[fd00::1]": true, "10.0.0.1": true,
	} {
		c := good
		c.Hosts = []string{host}
		if _, err := server.New(c); (err == nil) != want {
			t.Errorf("host %q: %v, want it to be good %v", host, err, want)
		}
	}
}

// TestBodyIsNotReadBeforeTheGate sends a body that never comes to who may not
// send one.
func TestBodyIsNotReadBeforeTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for token, want := range map[string]int{"": 401, r.read: 403} {
		req := r.request(t.Context(), http.MethodPost, "/session", token, "{}")
		req.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
			t.Error("the body was read")
			return 0, io.EOF
		}))
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
