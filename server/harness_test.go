package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/agent"
	"opencode/agent/tool"
	"opencode/engine"
	"opencode/policies"
	"opencode/server"
	"opencode/store"
	"opencode/store/file"
	"opencode/store/sqlite"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// procs owns the children of the test program: there can be one owner.
var procs *tool.Processes

func TestMain(m *testing.M) {
	if socket := os.Getenv(childSocket); socket != "" {
		os.Exit(child(socket))
	}
	var err error
	procs, err = tool.NewProcesses(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// patience bounds a wait for what must happen.
const patience = 20 * time.Second

// defaultEngine decides by the default policy. It keeps nothing between
// decisions, so that tests can share it.
var defaultEngine = sync.OnceValues(func() (*engine.Engine, error) {
	return engine.New(context.Background(), engine.Config{Default: policies.FS})
})

// options say how a rig differs from the plain one.
type options struct {
	// team is a team's policy: files by name.
	team map[string]string
	// tokens replaces the file of tokens.
	tokens store.Tokens
	now    func() time.Time
	// change has the last word on the server's configuration.
	change func(*server.Config)
	// agent has the last word on the agent's.
	agent func(*agent.Config)
}

// rig is a server with everything that is below it, as the program wires it.
type rig struct {
	t       *testing.T
	dir     string // the project
	teamDir string
	engine  *engine.Engine
	db      *sqlite.Store
	tokens  *file.Tokens
	agent   *agent.Agent
	server  *server.Server
	addr    string // of the port, once it serves
	socket  string // of the local socket, once it serves
	client  *http.Client
	log     *logBuffer
	// Tokens by what they may do.
	full, read, write, none string

	stop    context.CancelFunc
	stopped chan error
}

// logBuffer holds what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newRig puts a server together. It answers through ServeHTTP; serve opens its
// port.
func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	home := must(filepath.EvalSymlinks(t.TempDir()))(t)
	r.dir = filepath.Join(home, "proj")
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if o.team == nil {
		r.engine = must(defaultEngine())(t)
	} else {
		r.teamDir = filepath.Join(home, "policy")
		r.writeTeam(o.team)
		r.engine = must(engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{r.teamDir}}))(t)
	}
	r.db = must(sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(home, "server.db")}))(t)
	t.Cleanup(func() { _ = r.db.Close() })
	// A negative interval looks at the file each time, so that no test waits.
	r.tokens = must(file.OpenTokens(file.TokensConfig{Path: filepath.Join(home, "auth-tokens.json"), CheckEvery: -1, TouchEvery: time.Hour}))(t)
	r.full = r.token("full", "read", "write", "execute")
	r.read = r.token("read", "read")
	r.write = r.token("write", "read", "write")
	r.none = r.token("none")

	ids := store.NewIDs(time.Now, rand.Reader)
	recorder := agent.NewRecorder(r.db, logger)
	t.Cleanup(func() { _ = recorder.Close(context.Background()) })
	gate := must(agent.NewGate(agent.GateConfig{Decider: r.engine, Recorder: recorder, IDs: ids, Logger: logger}))(t)
	bash := must(tool.NewBash(tool.BashConfig{Procs: procs, Logger: logger}))(t)
	ac := agent.Config{
		Store: r.db, Gate: gate, Bash: bash, IDs: ids, Directories: []string{r.dir}, Version: "test", Logger: logger, Now: o.now,
	}
	if o.agent != nil {
		o.agent(&ac)
	}
	r.agent = must(agent.New(t.Context(), ac))(t)
	sc := server.Config{
		Agent: r.agent, Gate: gate, Tokens: r.tokens, Directories: ac.Directories, Version: "test", Logger: logger, Now: o.now,
	}
	if o.tokens != nil {
		sc.Tokens = o.tokens
	}
	if o.change != nil {
		o.change(&sc)
	}
	r.server = must(server.New(sc))(t)
	return r
}

// serve makes a rig and serves it on a port and on a local socket.
func serve(t *testing.T, o options) *rig {
	t.Helper()
	r := newRig(t, o)
	port := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	// The name of a socket must be short.
	sockets := must(os.MkdirTemp("", "oc"))(t) //nolint:usetesting // t.TempDir is too long a name for a socket
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	r.socket = filepath.Join(sockets, "s")
	local := must((&net.ListenConfig{}).Listen(t.Context(), "unix", r.socket))(t)
	r.addr = port.Addr().String()
	r.client = &http.Client{Transport: &http.Transport{}}
	ctx, cancel := context.WithCancel(context.Background())
	r.stopped = make(chan error, 1)
	r.stop = cancel
	go func() { r.stopped <- r.server.Serve(ctx, patience, port, local) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		select {
		case err := <-r.stopped:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
	})
	return r
}

// shutdown stops the server and waits until it has stopped.
func (r *rig) shutdown() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.stopped:
		if err != nil {
			r.t.Errorf("Serve: %v", err)
		}
		r.stopped <- nil // for the cleanup
	case <-time.After(patience):
		r.t.Fatal("the server does not stop")
	}
}

func (r *rig) writeTeam(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.teamDir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// token makes a token that never expires.
func (r *rig) token(name string, permissions ...string) string {
	r.t.Helper()
	return r.expiringToken(name, time.Time{}, permissions...)
}

func (r *rig) expiringToken(name string, expires time.Time, permissions ...string) string {
	r.t.Helper()
	secret := must(store.NewSecret(rand.Reader))(r.t)
	id := must(store.NewTokenID(rand.Reader))(r.t)
	if permissions == nil {
		permissions = []string{}
	}
	err := r.tokens.CreateToken(r.t.Context(), store.Token{
		ID: id, Name: name, Hash: secret.Hash(), Permissions: permissions, Created: time.Now(), Expires: expires,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret.Reveal()
}

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
	} `json:"data"`
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

func (p reply) checkHeaders(t *testing.T) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := p.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("status %d: %s = %q, want %q", p.status, name, got, want)
		}
	}
}

// into reads a JSON answer of status 200.
func (p reply) into(t *testing.T, v any) {
	t.Helper()
	if p.err != nil {
		t.Fatal(p.err)
	}
	if p.status != http.StatusOK {
		t.Fatalf("status %d: %s", p.status, p.body)
	}
	if err := json.Unmarshal([]byte(p.body), v); err != nil {
		t.Fatalf("body %q: %v", p.body, err)
	}
	p.checkHeaders(t)
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

// send sends a request over the port.
func (r *rig) send(req *http.Request) reply {
	res, err := r.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(b), errors.Join(err, res.Body.Close())}
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
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
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
	t      *testing.T
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

// message is a message with its parts.
type message struct {
	Info  map[string]any   `json:"info"`
	Parts []map[string]any `json:"parts"`
}

// messages returns the messages of a session.
func (r *rig) messages(session string) []message {
	r.t.Helper()
	var list []message
	r.do(http.MethodGet, "/session/"+session+"/message", r.full, "").into(r.t, &list)
	return list
}

// lastState returns the state of the last call of a session.
func (r *rig) lastState(session string) (info, state map[string]any) {
	r.t.Helper()
	list := r.messages(session)
	if len(list) == 0 {
		r.t.Fatal("no message")
	}
	last := list[len(list)-1]
	state, ok := last.Parts[len(last.Parts)-1]["state"].(map[string]any)
	if !ok {
		r.t.Fatalf("no state in %v", last.Parts)
	}
	return last.Info, state
}

// exists reports whether a file is in the project.
func (r *rig) exists(name string) bool {
	_, err := os.Stat(filepath.Join(r.dir, name))
	return err == nil
}
