package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"opencode/agent"
	"opencode/agent/sandbox"
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
	if sandbox.IsChild(os.Args) {
		os.Exit(sandbox.Child())
	}
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
	t       testing.TB
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
	doc     *apiDoc // what the server documents
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

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// newRig puts a server together. It answers through ServeHTTP; serve opens its
// port.
func newRig(tb testing.TB, o options) *rig {
	tb.Helper()
	r := &rig{t: tb, log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	home := must(filepath.EvalSymlinks(tb.TempDir()))(tb)
	r.dir = filepath.Join(home, "proj")
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	if o.team == nil {
		r.engine = must(defaultEngine())(tb)
	} else {
		r.teamDir = filepath.Join(home, "policy")
		r.writeTeam(o.team)
		r.engine = must(engine.New(tb.Context(), engine.Config{Default: policies.FS, Dirs: []string{r.teamDir}}))(tb)
	}
	r.db = must(sqlite.Open(tb.Context(), sqlite.Config{Path: filepath.Join(home, "server.db")}))(tb)
	tb.Cleanup(func() { _ = r.db.Close() })
	// A negative interval looks at the file each time, so that no test waits.
	r.tokens = must(file.OpenTokens(file.TokensConfig{Path: filepath.Join(home, "auth-tokens.json"), CheckEvery: -1, TouchEvery: time.Hour}))(tb)
	r.full = r.token("full", "read", "write", "execute")
	r.read = r.token("read", "read")
	r.write = r.token("write", "read", "write")
	r.none = r.token("none")

	ids := store.NewIDs(time.Now, rand.Reader)
	recorder := agent.NewRecorder(r.db, logger)
	tb.Cleanup(func() { _ = recorder.Close(context.Background()) })
	gate := must(agent.NewGate(agent.GateConfig{Decider: r.engine, Recorder: recorder, IDs: ids, Logger: logger}))(tb)
	bash := must(tool.NewBash(tool.BashConfig{Procs: procs, Logger: logger}))(tb)
	tokens := o.tokens
	if tokens == nil {
		tokens = r.tokens
	}
	terminals := must(tool.NewTerminals(tool.TerminalsConfig{Procs: procs, Grace: 50 * time.Millisecond, Logger: logger}))(tb)
	box := must(sandbox.New(sandbox.Config{Hide: []string{filepath.Join(home, "server.db"), filepath.Join(home, "auth-tokens.json")}}))(tb)
	tb.Cleanup(func() { _ = box.Close() })
	ac := agent.Config{
		Terminals: terminals, Valid: server.Valid(tokens, o.now),
		Store: r.db, Gate: gate, Bash: bash, Sandbox: box, IDs: ids, Directories: []string{r.dir}, Version: "test", Logger: logger, Now: o.now,
	}
	if o.agent != nil {
		o.agent(&ac)
	}
	r.agent = must(agent.New(tb.Context(), ac))(tb)
	sc := server.Config{
		Agent: r.agent, Gate: gate, Tokens: tokens, Policy: r.engine, Directories: ac.Directories, Version: "test", Logger: logger, Now: o.now,
	}
	if o.change != nil {
		o.change(&sc)
	}
	r.server = must(server.New(sc))(tb)
	r.doc = readDoc(tb, r)
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
