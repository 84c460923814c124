package agent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"opencode/agent"
	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
	"opencode/store"
	"opencode/store/sqlite"
)

func TestMain(m *testing.M) {
	// What lasts must not begin within a synctest of its own.
	if _, err := defaultEngine(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// patience bounds a wait for what must happen.
const patience = 20 * time.Second

// defaultEngine decides by the default policy. It keeps nothing between
// decisions, so that tests can share it.
var defaultEngine = sync.OnceValues(func() (*engine.Engine, error) {
	return engine.New(context.Background(), engine.Config{Default: policies.FS})
})

// deciderFunc is a decider that a test makes up.
type deciderFunc func(ctx context.Context, in *policy.Input) (policy.Decision, error)

func (f deciderFunc) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	return f(ctx, in)
}

// bashFake notes what it is told to run.
type bashFake struct {
	mu   sync.Mutex
	runs []tool.BashCall
	lims []tool.Limits
	// run replaces what a command does.
	run func(ctx context.Context, call tool.BashCall) (tool.Result, error)
}

func (b *bashFake) Run(ctx context.Context, call tool.BashCall, lim tool.Limits, progress func(string)) (tool.Result, error) {
	b.mu.Lock()
	b.runs = append(b.runs, call)
	b.lims = append(b.lims, lim)
	b.mu.Unlock()
	if b.run != nil {
		return b.run(ctx, call)
	}
	progress("o")
	return tool.Result{Output: "ok"}, nil
}

// boxFake is a sandbox that holds what its host says and changes nothing.
type boxFake struct {
	host  sandbox.Host
	check error
	specs chan sandbox.Spec
}

func (b *boxFake) Host() sandbox.Host { return b.host }

func (b *boxFake) Check(sandbox.Spec) error { return b.check }

func (b *boxFake) Prepare(_ *exec.Cmd, spec sandbox.Spec) (func(), sandbox.Report, error) {
	if b.specs != nil {
		b.specs <- spec
	}
	return func() {}, sandbox.Report{
		Held:    map[sandbox.Guarantee]string{sandbox.Exec: "a fake"},
		Missing: map[sandbox.Guarantee]string{sandbox.Network: "not faked"},
	}, b.check
}

// commands returns what was run.
func (b *bashFake) commands() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []string{}
	for _, c := range b.runs {
		list = append(list, c.Command)
	}
	return list
}

// rig is an agent on a real store and the real engine. Only its commands are
// not real.
type rig struct {
	t     *testing.T
	dir   string
	db    *sqlite.Store
	store store.Store
	bash  *bashFake
	agent *agent.Agent
	log   *logBuffer
	ids   *store.IDs
}

// options say how a rig differs from the plain one.
type options struct {
	// team is a team's policy: files by name.
	team    map[string]string
	decider policy.Decider
	// store wraps the store of the agent and of the recorder.
	store func(store.Store) store.Store
	// db is a database that is there already.
	db      *sqlite.Store
	dir     string
	recover bool
	// snapshots are none unless they are given.
	snapshots agent.Snapshots
	// sandbox is what holds commands; a fake if it is nil.
	sandbox   agent.Sandbox
	noSandbox bool
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

func openDB(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	db := must(sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "server.db")}))(t)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, db: o.db, dir: o.dir, bash: &bashFake{}, log: &logBuffer{}}
	if r.dir == "" {
		r.dir = must(filepath.EvalSymlinks(t.TempDir()))(t)
	}
	if r.db == nil {
		r.db = openDB(t, t.TempDir())
	}
	r.store = r.db
	if o.store != nil {
		r.store = o.store(r.db)
	}
	decider := o.decider
	switch {
	case decider != nil:
	case o.team != nil:
		dir := t.TempDir()
		writeFiles(t, dir, o.team)
		decider = must(engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}}))(t)
	default:
		decider = must(defaultEngine())(t)
	}
	logger := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.ids = store.NewIDs(time.Now, rand.Reader)
	recorder := agent.NewRecorder(r.store, logger)
	t.Cleanup(func() { _ = recorder.Close(context.Background()) })
	gate := must(agent.NewGate(agent.GateConfig{Decider: decider, Recorder: recorder, IDs: r.ids, Logger: logger}))(t)
	if o.sandbox == nil && !o.noSandbox {
		o.sandbox = &boxFake{}
	}
	r.agent = must(agent.New(t.Context(), agent.Config{
		Store: r.store, Gate: gate, Bash: r.bash, Sandbox: o.sandbox, IDs: r.ids, Directories: []string{r.dir}, Version: "test", Recover: o.recover, Logger: logger,
		Snapshots: o.snapshots,
	}))(t)
	t.Cleanup(func() { _ = r.agent.Close(context.Background()) })
	return r
}

// person is somebody who may do everything.
func person() policy.Principal {
	return policy.Principal{Kind: policy.PrincipalToken, ID: "tok_person", Name: "person", Permissions: []string{"read", "write", "execute"}}
}

func (r *rig) session() string {
	r.t.Helper()
	return must(r.agent.CreateSession(r.t.Context(), agent.SessionInput{}))(r.t).ID
}

// outcome is how a command ended.
type outcome struct {
	message store.MessageParts
	err     error
}

// start runs a command and does not wait.
func (r *rig) start(ctx context.Context, session, command string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		m, err := r.agent.Shell(ctx, person(), session, agent.ShellInput{Command: command, Agent: "build"})
		done <- outcome{m, err}
	}()
	return done
}

func (r *rig) shell(session, command string) outcome {
	r.t.Helper()
	return <-r.start(r.t.Context(), session, command)
}

// state is the state of a call.
type state struct {
	Status   string         `json:"status"`
	Output   *string        `json:"output"`
	Error    string         `json:"error"`
	Metadata map[string]any `json:"metadata"`
	Time     struct {
		Start int64 `json:"start"`
		End   int64 `json:"end"`
	} `json:"time"`
}

// last returns the last stored message of a session and the state of its call.
func (r *rig) last(session string) (message string, s state) {
	r.t.Helper()
	list := must(r.db.Messages(context.Background(), session, 1, ""))(r.t)
	if len(list) != 1 || len(list[0].Parts) != 1 {
		r.t.Fatalf("messages %v", list)
	}
	var part struct{ State state }
	if err := json.Unmarshal(list[0].Parts[0].Body, &part); err != nil {
		r.t.Fatal(err)
	}
	return string(list[0].Message.Body), part.State
}

// listener is a subscription with what it has received and not looked at yet.
type listener struct {
	*agent.Subscription
	queue []agent.Event
}

// listen subscribes somebody who may answer.
func (r *rig) listen(directory string) *listener {
	return &listener{Subscription: r.agent.Subscribe(person(), directory)}
}

// rest returns what has arrived.
func (l *listener) rest() []agent.Event {
	events, _ := l.Take()
	l.Delivered()
	events = append(l.queue, events...)
	l.queue = nil
	return events
}

// question waits for the next question of a subscription.
func question(t *testing.T, l *listener) agent.Permission {
	t.Helper()
	for {
		events, ok := l.Take()
		l.Delivered()
		l.queue = append(l.queue, events...)
		for len(l.queue) > 0 {
			e := l.queue[0]
			l.queue = l.queue[1:]
			if e.Type != "permission.asked" {
				continue
			}
			var p agent.Permission
			if err := json.Unmarshal(e.Properties, &p); err != nil {
				t.Fatal(err)
			}
			return p
		}
		if !ok {
			t.Fatalf("the subscription ended: %s", l.Reason())
		}
		select {
		case <-l.Ready():
		case <-time.After(patience):
			t.Fatal("never: a question")
		}
	}
}

// wantRefused checks that an error is a refusal with that outcome, and returns
// what it says.
func wantRefused(t *testing.T, err error, reply string) string {
	t.Helper()
	var refused *agent.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, agent.ErrRefused) || refused.Reply != reply {
		t.Fatalf("error %v, want a refusal by %s", err, reply)
	}
	return refused.Error()
}

// answers returns the replies that were recorded.
func (r *rig) answers(session string) []string {
	r.t.Helper()
	list := []string{}
	for _, a := range must(r.db.Answers(context.Background(), session))(r.t) {
		list = append(list, a.Reply)
	}
	return list
}
