package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

func TestNewWantsWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	g, _ := gate(t, allowing(""), r.db, &logBuffer{})
	good := agent.Config{Store: r.db, Gate: g, Bash: r.bash, IDs: r.ids, Directories: []string{r.dir}}
	if _, err := agent.New(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*agent.Config){
		"Store":                 func(c *agent.Config) { c.Store = nil },
		"Gate":                  func(c *agent.Config) { c.Gate = nil },
		"Bash":                  func(c *agent.Config) { c.Bash = nil },
		"IDs":                   func(c *agent.Config) { c.IDs = nil },
		"Directories":           func(c *agent.Config) { c.Directories = nil },
		`"proj" is not`:         func(c *agent.Config) { c.Directories = []string{r.dir, "proj"} },
		`"" is not`:             func(c *agent.Config) { c.Directories = []string{""} },
		`"/a/../b" is not`:      func(c *agent.Config) { c.Directories = []string{"/a/../b"} },
		`"/a/" is not`:          func(c *agent.Config) { c.Directories = []string{"/a/"} },
		"absolute and clean":    func(c *agent.Config) { c.Directories = []string{"./"} },
		"agent: Store is requi": func(c *agent.Config) { *c = agent.Config{} },
	} {
		c := good
		change(&c)
		if _, err := agent.New(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q", err, want)
		}
	}
	if _, err := agent.New(t.Context(), agent.Config{}); err == nil || strings.Count(err.Error(), "is required") != 5 {
		t.Errorf("New of nothing: %v, want all that is missing", err)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	g, _ := gate(t, allowing(""), r.db, &logBuffer{})
	build := func(dirs ...string) *agent.Agent {
		t.Helper()
		return must(agent.New(t.Context(), agent.Config{Store: r.db, Gate: g, Bash: r.bash, IDs: r.ids, Directories: dirs}))(t)
	}
	several, all := build("/p", "/p/inner", "/q"), build("/")
	for dir, want := range map[string]string{
		"/p": "/p", "/p/a": "/p", "/p/inner": "/p/inner", "/p/inner/a": "/p/inner", "/p/innermost": "/p", "/q/a/b": "/q",
		"/": "", "": "", "/pp": "", "/x": "", "p": "", "/P": "",
	} {
		if got, ok := several.Root(dir); got != want || ok != (want != "") {
			t.Errorf("Root(%q) = %q, %v, want %q", dir, got, ok, want)
		}
	}
	for _, dir := range []string{"/", "/a"} {
		if got, ok := all.Root(dir); got != "/" || !ok {
			t.Errorf("Root(%q) = %q, %v, want /", dir, got, ok)
		}
	}
	if _, err := several.CreateSession(t.Context(), agent.SessionInput{Directory: "/x"}); !errors.Is(err, agent.ErrInvalid) {
		t.Errorf("a session in no project: %v", err)
	}
}

// TestObligationsAreLimits checks that the limits of the decision are those of
// the command.
func TestObligationsAreLimits(t *testing.T) {
	t.Parallel()
	d := deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{
			Effect: policy.Allow, Rules: []policy.Rule{{ID: "a", Effect: policy.Allow, Message: "m"}},
			Obligations: policy.Obligations{TimeoutSeconds: 7, MaxOutputBytes: 99},
		}, nil
	})
	r := newRig(t, options{decider: d})
	if got := r.shell(r.session(), "true"); got.err != nil {
		t.Fatal(got.err)
	}
	if want := (tool.Limits{Timeout: 7 * time.Second, MaxOutput: 99}); r.bash.lims[0] != want || r.bash.runs[0].Directory != r.dir {
		t.Errorf("limits %+v in %s, want %+v", r.bash.lims[0], r.bash.runs[0].Directory, want)
	}
}

// obliged decides every prompt with an effect, under a sandbox.
func obliged(effect policy.Effect, s policy.Sandbox) policy.Decider {
	return deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		got := policy.Decision{
			Effect: effect, Rules: []policy.Rule{{ID: "a", Effect: effect, Message: "m"}},
			Obligations: policy.Obligations{TimeoutSeconds: 7, MaxOutputBytes: 99, Sandbox: &s},
		}
		if effect == policy.Ask {
			got.Obligations.Ask = &policy.AskTerms{TTLSeconds: 60}
		}
		return got, nil
	})
}

// TestNothingRunsWithoutItsSandbox checks that a decision which cannot be
// carried out as it obliges is not carried out, and that nobody is asked.
func TestNothingRunsWithoutItsSandbox(t *testing.T) {
	t.Parallel()
	lacks := fmt.Errorf("%w: it lacks exec", sandbox.ErrUnavailable)
	for _, effect := range []policy.Effect{policy.Allow, policy.Ask} {
		for name, o := range map[string]options{"none": {noSandbox: true}, "not enough": {sandbox: &boxFake{check: lacks}}} {
			o.decider = obliged(effect, policy.Sandbox{Network: true, Require: []string{"exec"}})
			r := newRig(t, o)
			id := r.session()
			got := r.shell(id, "true")
			if !errors.Is(got.err, agent.ErrSandbox) || !errors.Is(got.err, policy.ErrDenied) || len(r.bash.commands()) != 0 {
				t.Errorf("%s, %s: %v, ran %v, want a denial", effect, name, got.err, r.bash.commands())
			}
			if _, s := r.last(id); s.Status != "error" || !strings.Contains(s.Error, "sandbox") || (name == "none") == strings.Contains(s.Error, "it lacks exec") {
				t.Errorf("stored %+v", s)
			}
		}
	}
}

// TestSandboxIsCarriedOut checks that a command runs in the sandbox that the
// decision obliges to, and that what it is held to stands in its record.
func TestSandboxIsCarriedOut(t *testing.T) {
	t.Parallel()
	box := &boxFake{specs: make(chan sandbox.Spec, 1)}
	r := newRig(t, options{sandbox: box, decider: obliged(policy.Allow, policy.Sandbox{
		Network: true, Write: []string{"."}, Create: []string{"/c"}, Caches: []string{"~/c"}, Read: []string{"/r"}, Hide: []string{"~/.ssh"},
		DenyExec: []string{"curl"}, Require: []string{"exec"}, Limits: policy.SandboxLimits{FileBytes: 1, OpenFiles: 2, Processes: 3, MemoryBytes: 4},
	})})
	r.bash.run = func(_ context.Context, call tool.BashCall) (tool.Result, error) {
		release, err := call.Wrap(nil)
		if err != nil {
			return tool.Result{}, err
		}
		release()
		return tool.Result{Output: "ok"}, nil
	}
	id := r.session()
	if got := r.shell(id, "true"); got.err != nil {
		t.Fatal(got.err)
	}
	want := sandbox.Spec{
		Root: r.dir, Network: true, Write: []string{"."}, Create: []string{"/c"}, Caches: []string{"~/c"}, Read: []string{"/r"}, Hide: []string{"~/.ssh"},
		DenyExec: []string{"curl"}, Require: []sandbox.Guarantee{sandbox.Exec}, Limits: sandbox.Limits{FileBytes: 1, OpenFiles: 2, Processes: 3, MemoryBytes: 4},
	}
	if diff := cmp.Diff(want, <-box.specs); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	_, s := r.last(id)
	text := fmt.Sprint(s.Metadata["policy"])
	if !strings.Contains(text, "exec:a fake") || !strings.Contains(text, "network:not faked") {
		t.Errorf("stored %s, want what the command is held to", text)
	}
}

// TestEveryCommandIsWrapped checks that a decision with a sandbox reaches the
// tool, and that the default policy makes such decisions.
func TestEveryCommandIsWrapped(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: obliged(policy.Allow, policy.Sandbox{})})
	r.bash.run = func(_ context.Context, call tool.BashCall) (tool.Result, error) {
		if call.Wrap == nil {
			return tool.Result{}, errors.New("no wrapper")
		}
		return tool.Result{}, nil
	}
	if got := r.shell(r.session(), "true"); got.err != nil {
		t.Error(got.err)
	}
	plain := newRig(t, options{})
	plain.bash.run = func(_ context.Context, call tool.BashCall) (tool.Result, error) {
		if call.Wrap == nil {
			return tool.Result{}, errors.New("the default policy obliges to no sandbox")
		}
		return tool.Result{}, nil
	}
	if got := plain.shell(plain.session(), "true"); got.err != nil {
		t.Error(got.err)
	}
}

// TestPolicySeesTheHost checks that policy sees what the host can hold.
func TestPolicySeesTheHost(t *testing.T) {
	t.Parallel()
	hosts := make(chan *policy.Host, 1)
	d := deciderFunc(func(_ context.Context, in *policy.Input) (policy.Decision, error) {
		if in.Kind == policy.KindPrompt {
			hosts <- in.Host
		}
		return policy.Decision{}, nil
	})
	r := newRig(t, options{decider: d, sandbox: &boxFake{host: sandbox.Host{OS: "linux", Landlock: 7, Seccomp: true}}})
	r.shell(r.session(), "true")
	want := &policy.Host{OS: "linux", Sandbox: policy.HostSandbox{
		Holds: []string{"write", "read", "exec", "network", "signals", "memory", "calls"}, Landlock: 7, Seccomp: true,
	}}
	if diff := cmp.Diff(want, <-hosts); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

// TestUndecidedRunsNothing checks what is stored of a command about which policy
// could not decide: that it was denied, and nothing of why.
func TestUndecidedRunsNothing(t *testing.T) {
	t.Parallel()
	d := deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{Effect: policy.Allow}, errors.New("secret of the engine")
	})
	r := newRig(t, options{decider: d})
	id := r.session()
	got := r.shell(id, "true")
	_, s := r.last(id)
	if !errors.Is(got.err, policy.ErrDenied) || len(r.bash.commands()) != 0 || s.Status != "error" || !strings.Contains(s.Error, "could not decide") ||
		strings.Contains(s.Error, "secret") || !strings.Contains(r.log.String(), "secret of the engine") {
		t.Errorf("%v, ran %v, stored %+v", got.err, r.bash.commands(), s)
	}
}

// TestAskWithoutTermsIsDenied checks that a decision which cannot come from the
// engine is a denial all the same.
func TestAskWithoutTermsIsDenied(t *testing.T) {
	t.Parallel()
	d := deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		return policy.Decision{Effect: policy.Ask, Rules: []policy.Rule{{ID: "a", Effect: policy.Ask, Message: "m"}}}, nil
	})
	r := newRig(t, options{decider: d})
	if got := r.shell(r.session(), "true"); !errors.Is(got.err, policy.ErrDenied) || len(r.bash.commands()) != 0 {
		t.Errorf("%v, ran %v", got.err, r.bash.commands())
	}
}

// TestToolErrorsAreTold checks that what a tool says of itself reaches the
// session, and that its error is not taken for something else.
func TestToolErrorsAreTold(t *testing.T) {
	t.Parallel()
	broken := errors.New("bash: no such directory")
	r := newRig(t, options{})
	id := r.session()
	r.bash.run = func(context.Context, tool.BashCall) (tool.Result, error) { return tool.Result{}, broken }
	if got := r.shell(id, "true"); !errors.Is(got.err, broken) {
		t.Errorf("%v, want the tool's error", got.err)
	}
	message, s := r.last(id)
	if s.Status != "error" || s.Error != broken.Error() || strings.Contains(message, "MessageAbortedError") {
		t.Errorf("stored %+v in %s", s, message)
	}
	// One that stops since it was told to is an abort.
	entered := make(chan struct{})
	r.bash.run = func(ctx context.Context, _ tool.BashCall) (tool.Result, error) {
		close(entered)
		<-ctx.Done()
		return tool.Result{}, fmt.Errorf("bash: %w", ctx.Err())
	}
	done := r.start(t.Context(), id, "true")
	<-entered
	if err := r.agent.Abort(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !errors.Is(got.err, agent.ErrAborted) {
		t.Errorf("%v, want that it was aborted", got.err)
	}
	if message, s := r.last(id); !strings.Contains(message, "MessageAbortedError") || !strings.HasPrefix(s.Error, "aborted") {
		t.Errorf("stored %+v in %s, want that it was aborted", s, message)
	}
}

// patient is a store that writes no message before it is told to stop.
type patient struct {
	store.Store
	entered chan struct{}
}

func (p patient) PutMessage(ctx context.Context, _ []store.Message, _ []store.Part) error {
	p.entered <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// TestAbortBeforeTheCall aborts a command before its message is written.
func TestAbortBeforeTheCall(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	r := newRig(t, options{store: func(s store.Store) store.Store { return patient{s, entered} }})
	id := r.session()
	done := r.start(t.Context(), id, "true")
	<-entered
	if err := r.agent.Abort(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !errors.Is(got.err, agent.ErrAborted) || len(r.bash.commands()) != 0 {
		t.Errorf("%v, ran %v, want that it was aborted", got.err, r.bash.commands())
	}
}

// TestOutcomeThatCannotBeStored checks that a refusal stays one when the store
// fails, and that a success without a record is none.
func TestOutcomeThatCannotBeStored(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]error{"curl x": policy.ErrDenied, "true": errDisk} {
		r := newRig(t, options{store: func(s store.Store) store.Store { return &amnesiac{Store: s} }})
		got := r.shell(r.session(), command)
		if !errors.Is(got.err, want) || errors.Is(got.err, errDisk) != errors.Is(want, errDisk) {
			t.Errorf("%s: %v, want %v alone", command, got.err, want)
		}
		if !errors.Is(want, errDisk) && !strings.Contains(r.log.String(), "disk is full") {
			t.Errorf("%s: the log does not say that nothing was stored", command)
		}
	}
}

// amnesiac is a store that takes the messages of a call once, not its outcome.
type amnesiac struct {
	store.Store
	puts int
}

func (a *amnesiac) PutMessage(ctx context.Context, m []store.Message, p []store.Part) error {
	if a.puts++; a.puts > 1 {
		return errDisk
	}
	return a.Store.PutMessage(ctx, m, p)
}

// crashed is a store that takes nothing after the start of a call, as if the
// program had ended.
func crashedCall(t *testing.T) (*rig, string) {
	t.Helper()
	r := newRig(t, options{store: func(s store.Store) store.Store { return &amnesiac{Store: s} }})
	id := r.session()
	if got := r.shell(id, "true"); !errors.Is(got.err, errDisk) {
		t.Fatal(got.err)
	}
	if _, s := r.last(id); s.Status != "running" {
		t.Fatalf("stored %+v, want a call that runs", s)
	}
	return r, id
}

// TestRecover closes what a crash left open.
func TestRecover(t *testing.T) {
	t.Parallel()
	r, id := crashedCall(t)
	// Another server may be at work: without Recover nothing is touched.
	newRig(t, options{db: r.db, dir: r.dir})
	if _, s := r.last(id); s.Status != "running" {
		t.Fatalf("stored %+v, want it as it was", s)
	}
	next := newRig(t, options{db: r.db, dir: r.dir, recover: true})
	message, s := r.last(id)
	if s.Status != "error" || !strings.Contains(s.Error, "interrupted") || s.Time.End == 0 || !strings.Contains(fmt.Sprint(s.Metadata), "outcome:interrupted") ||
		!strings.Contains(message, "MessageAbortedError") || !strings.Contains(message, `"completed":`) {
		t.Errorf("stored %+v in %s, want that it was interrupted", s, message)
	}
	if open := must(r.db.PartsByStatus(t.Context(), "running", "pending"))(t); len(open) != 0 {
		t.Errorf("still open: %v", open)
	}
	if len(next.bash.commands()) != 0 {
		t.Error("what was interrupted ran again")
	}
	if got := next.shell(id, "true"); got.err != nil {
		t.Errorf("the session afterwards: %v", got.err)
	}
	again := newRig(t, options{db: r.db, dir: r.dir, recover: true})
	if strings.Contains(again.log.String(), "interrupted") {
		t.Error("recovered twice")
	}
}

// unreadable is a store that cannot be read at the start.
type unreadable struct{ store.Store }

func (unreadable) PartsByStatus(context.Context, ...string) ([]store.Part, error) {
	return nil, errDisk
}

func TestRecoverFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	g, _ := gate(t, allowing(""), r.db, &logBuffer{})
	_, err := agent.New(t.Context(), agent.Config{
		Store: unreadable{r.db}, Gate: g, Bash: r.bash, IDs: r.ids, Directories: []string{r.dir}, Recover: true,
	})
	if !errors.Is(err, errDisk) {
		t.Errorf("New: %v, want the store's error", err)
	}
}

// TestClose checks that nothing begins after Close, that all has ended when it
// returns, and that it waits no longer than it may.
func TestClose(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	sub := r.listen("")
	hold, held := make(chan struct{}), make(chan struct{})
	r.bash.run = func(ctx context.Context, _ tool.BashCall) (tool.Result, error) {
		close(held)
		<-ctx.Done()
		<-hold
		return tool.Result{Aborted: true}, nil
	}
	done := r.start(t.Context(), id, "true")
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.agent.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close while a turn hangs: %v, want that it is still running", err)
	}
	close(hold)
	if err := r.agent.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case got := <-done:
		if got.err != nil {
			t.Error(got.err)
		}
	case <-time.After(patience):
		t.Error("Close returned before the turn")
	}
	if got := r.shell(id, "true"); !errors.Is(got.err, agent.ErrStopped) {
		t.Errorf("afterwards: %v, want that it is stopping", got.err)
	}
	if events := sub.rest(); len(events) == 0 {
		t.Error("what happened before is lost")
	}
	if sub.Reason() != "the server is stopping" {
		t.Errorf("reason %q", sub.Reason())
	}
	late := r.listen("")
	if _, open := late.Take(); open || late.Reason() != "the server is stopping" {
		t.Errorf("a late subscription is open %v, %q", open, late.Reason())
	}
	late.Close()
}

// TestShellChecksItsInput checks what is refused before a message is written.
func TestShellChecksItsInput(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	for name, c := range map[string]struct {
		session string
		in      agent.ShellInput
		want    error
	}{
		"nothing":         {id, agent.ShellInput{}, agent.ErrInvalid},
		"spaces":          {id, agent.ShellInput{Command: " \t\n"}, agent.ErrInvalid},
		"NUL":             {id, agent.ShellInput{Command: "a\x00b"}, agent.ErrInvalid},
		"too long":        {id, agent.ShellInput{Command: strings.Repeat("x", 128<<10)}, agent.ErrInvalid},
		"message id":      {id, agent.ShellInput{Command: "true", MessageID: "prt_1"}, agent.ErrInvalid},
		"unknown session": {"ses_none", agent.ShellInput{Command: "true"}, store.ErrNotExist},
	} {
		if _, err := r.agent.Shell(t.Context(), person(), c.session, c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if list := must(r.db.Messages(t.Context(), id, 0, ""))(t); len(list) != 0 || len(r.bash.commands()) != 0 {
		t.Errorf("messages %v, ran %v, want none", list, r.bash.commands())
	}
	if got := r.shell(id, strings.Repeat("x", 128<<10-1)); len(got.message.Parts) != 1 {
		t.Errorf("the longest command: %v", got.err)
	}
}

// TestNobodyBehindACommand checks that the agent's own gate does not rely on
// that of the requests.
func TestNobodyBehindACommand(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	id := r.session()
	expired := person()
	expired.Expired = true
	for name, p := range map[string]policy.Principal{
		"zero": {}, "anonymous": policy.Anonymous(), "expired": expired,
		"without execute":           {Kind: policy.PrincipalToken, ID: "t", Permissions: []string{"read", "write"}},
		"anonymous with everything": {Kind: policy.PrincipalAnonymous, Permissions: []string{"read", "write", "execute"}},
	} {
		if _, err := r.agent.Shell(t.Context(), p, id, agent.ShellInput{Command: "true"}); !errors.Is(err, policy.ErrDenied) {
			t.Errorf("%s: %v, want a denial", name, err)
		}
	}
	if got := r.bash.commands(); len(got) != 0 {
		t.Errorf("ran %v", got)
	}
}

func TestParseReply(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"once": true, "always": true, "reject": true,
		"": false, "timeout": false, "cancelled": false, "unattended": false, "Once": false, "once\n": false, "yes": false,
	} {
		got, err := agent.ParseReply(text)
		if (err == nil) != ok || ok && string(got) != text || !ok && (got != "" || !errors.Is(err, agent.ErrInvalid)) {
			t.Errorf("ParseReply(%q) = %q, %v", text, got, err)
		}
	}
}

func TestRefusedErrorSaysHow(t *testing.T) {
	t.Parallel()
	d := policy.Decision{Rules: []policy.Rule{{ID: "a.b", Message: "it pushes"}}}
	for reply, want := range map[string]string{
		"reject":     "rejected by a person: no (asked because it pushes [a.b])",
		"timeout":    "nobody answered in time, and the policy then denies: no (asked because it pushes [a.b])",
		"cancelled":  "cancelled before anybody answered: no (asked because it pushes [a.b])",
		"unattended": "nobody is there to answer, and the policy then denies: no (asked because it pushes [a.b])",
	} {
		err := &agent.RefusedError{Decision: d, Reply: reply, Message: "no"}
		if err.Error() != want || !errors.Is(err, agent.ErrRefused) || errors.Is(err, policy.ErrDenied) {
			t.Errorf("%s: %q, want %q", reply, err, want)
		}
	}
}

// TestEventsAreJSON checks that each event of a command is one object, with an
// id of its own.
func TestEventsAreJSON(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	sub := r.listen(r.dir)
	defer sub.Close()
	id := r.session()
	if got := r.shell(id, "true"); got.err != nil {
		t.Fatal(got.err)
	}
	if err := r.agent.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range sub.rest() {
		var p struct{ SessionID string }
		if err := json.Unmarshal(e.Properties, &p); err != nil || p.SessionID != id || e.Resource != "/session/"+id || seen[e.ID] || !store.ValidID("evt", e.ID) {
			t.Errorf("event %+v: %v", e, err)
		}
		seen[e.ID] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d events", len(seen))
	}
}
