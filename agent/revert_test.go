package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"opencode/agent"
	"opencode/agent/git"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

// withSnapshots gives an agent snapshots.
func withSnapshots(t *testing.T) options {
	t.Helper()
	return options{snapshots: must(git.New(git.Config{Dir: t.TempDir()}))(t)}
}

// scripted makes the rig's shell understand "touch FILE TEXT", "rm FILE", and
// several of these.
func scripted(r *rig) {
	r.bash.run = func(_ context.Context, call tool.BashCall) (tool.Result, error) {
		for step := range strings.SplitSeq(call.Command, ";") {
			words := strings.Fields(step)
			if len(words) < 2 {
				continue
			}
			path := filepath.Join(call.Directory, words[1])
			switch words[0] {
			case "touch":
				if err := os.WriteFile(path, []byte(strings.Join(words[2:], " ")), 0o600); err != nil {
					return tool.Result{}, err
				}
			case "rm":
				if err := os.Remove(path); err != nil {
					return tool.Result{}, err
				}
			}
		}
		return tool.Result{Output: "done"}, nil
	}
}

// files returns the files of the project with their content.
func (r *rig) files() map[string]string {
	r.t.Helper()
	list := map[string]string{}
	for _, e := range must(os.ReadDir(r.dir))(r.t) {
		list[e.Name()] = string(must(os.ReadFile(filepath.Join(r.dir, e.Name())))(r.t))
	}
	return list
}

// users returns the ids of the messages of a person.
func (r *rig) users(session string) []string {
	r.t.Helper()
	var ids []string
	for _, m := range must(r.agent.Messages(context.Background(), session, 0, ""))(r.t) {
		if m.Message.Role == "user" {
			ids = append(ids, m.Message.ID)
		}
	}
	return ids
}

// run runs a command that must pass.
func (r *rig) mustRun(session, command string) {
	r.t.Helper()
	if got := r.shell(session, command); got.err != nil {
		r.t.Fatalf("%s: %v", command, got.err)
	}
}

func same(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// TestRevert undoes two commands one after the other, takes that back in two
// steps, and goes on from the middle.
func TestRevert(t *testing.T) {
	t.Parallel()
	r := newRig(t, withSnapshots(t))
	scripted(r)
	id := r.session()
	states := []map[string]string{{}}
	for _, command := range []string{"touch a one; touch b one", "touch a two; rm b; touch c two", "touch c three"} {
		r.mustRun(id, command)
		states = append(states, r.files())
	}
	users := r.users(id)
	// What a person changes meanwhile in another file is theirs.
	if err := os.WriteFile(filepath.Join(r.dir, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range states {
		states[i]["mine"] = "x"
	}
	sub := r.listen("")
	defer sub.Close()
	check := func(what string, s store.Session, err error, want map[string]string, upTo string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := r.files(); !same(got, want) {
			t.Fatalf("%s: files %v, want %v", what, got, want)
		}
		var reverted agent.Reverted
		if len(s.Revert) > 0 {
			if err := json.Unmarshal(s.Revert, &reverted); err != nil {
				t.Fatal(err)
			}
		}
		if reverted.MessageID != upTo || upTo != "" && (reverted.Snapshot == "" || !strings.Contains(reverted.Diff, "diff --git")) {
			t.Errorf("%s: revert %s, want up to %q", what, s.Revert, upTo)
		}
		var kinds []string
		for _, e := range sub.rest() {
			kinds = append(kinds, e.Type)
		}
		if !slices.Equal(kinds, []string{"session.updated", "session.diff"}) {
			t.Errorf("%s: events %v", what, kinds)
		}
	}
	ctx := t.Context()
	s, err := r.agent.Revert(ctx, person(), id, users[2], "")
	check("undo the last", s, err, states[2], users[2])
	s, err = r.agent.Revert(ctx, person(), id, users[0], "")
	check("undo all", s, err, states[0], users[0])
	s, err = r.agent.Revert(ctx, person(), id, users[1], "")
	check("redo the first", s, err, states[1], users[1])
	s, err = r.agent.Unrevert(ctx, person(), id)
	check("redo all", s, err, states[3], "")
	if s, err := r.agent.Unrevert(ctx, person(), id); err != nil || len(s.Revert) > 0 {
		t.Errorf("redo nothing: %v", err)
	}

	s, err = r.agent.Revert(ctx, person(), id, users[1], "")
	check("undo two", s, err, states[1], users[1])
	if got := r.users(id); !slices.Equal(got, users) {
		t.Errorf("messages %v are gone before the session goes on", got)
	}
	diffs := must(r.agent.Diff(ctx, id, ""))(t)
	if len(diffs) != 2 || diffs[0].File != "a" || diffs[1].File != "b" || diffs[0].Status != git.StatusAdded {
		t.Errorf("diff of what stands: %+v", diffs)
	}
	r.mustRun(id, "touch d four")
	states[1]["d"] = "four"
	if got := r.files(); !same(got, states[1]) {
		t.Errorf("files %v, want %v", got, states[1])
	}
	if got := r.users(id); len(got) != 2 || got[0] != users[0] || slices.Contains(users, got[1]) {
		t.Errorf("messages %v after %v", got, users)
	}
	if s := must(r.agent.Session(ctx, id))(t); len(s.Revert) > 0 {
		t.Errorf("still undone: %s", s.Revert)
	}
	removed := 0
	for _, e := range sub.rest() {
		if e.Type == "message.removed" {
			removed++
		}
	}
	if removed != 4 {
		t.Errorf("%d messages are said to be removed, want 4", removed)
	}
}

// TestRevertGoesThroughTheGate checks that undoing is a change of files like
// any other: policy sees the files and may refuse.
func TestRevertGoesThroughTheGate(t *testing.T) {
	t.Parallel()
	o := withSnapshots(t)
	o.team = map[string]string{"lock.rego": `# METADATA
# title: Lock
package team.lock

# METADATA
# title: Locked
deny contains {"id": "lock.locked", "message": "is locked"} if {
	input.prompt.tool == "revert"
	some path in input.prompt.paths
	path.relative == "locked"
	path.access == "write"
}
`}
	r := newRig(t, o)
	scripted(r)
	id := r.session()
	r.mustRun(id, "touch free x; touch locked x")
	r.mustRun(id, "touch other x")
	users := r.users(id)
	_, err := r.agent.Revert(t.Context(), person(), id, users[0], "")
	var denied *policy.DeniedError
	if !errors.As(err, &denied) || denied.Decision.Rules[0].ID != "lock.locked" {
		t.Errorf("error %v, want that the team denies", err)
	}
	want := map[string]string{"free": "x", "locked": "x", "other": "x"}
	if got := r.files(); !same(got, want) || len(must(r.agent.Session(t.Context(), id))(t).Revert) > 0 {
		t.Errorf("files %v, want nothing undone", got)
	}
	if _, err := r.agent.Revert(t.Context(), person(), id, users[1], ""); err != nil {
		t.Errorf("what is not locked: %v", err)
	}
	reader := person()
	reader.Permissions = []string{"read", "execute"}
	if _, err := r.agent.Unrevert(t.Context(), reader, id); !errors.As(err, &denied) || !slices.Contains(denied.Decision.Needs, "write") {
		t.Errorf("who may not write: %v", err)
	}
}

// TestRevertErrors checks what cannot be undone.
func TestRevertErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, withSnapshots(t))
	scripted(r)
	id, other := r.session(), r.session()
	r.mustRun(id, "touch a x")
	r.mustRun(other, "touch b x")
	users := r.users(id)
	for name, c := range map[string]struct {
		session, message, part string
		want                   error
	}{
		"no session":          {"ses_1", users[0], "", store.ErrNotExist},
		"no message":          {id, "msg_1", "", store.ErrNotExist},
		"of another session":  {other, users[0], "", store.ErrNotExist},
		"no part":             {id, users[0], "prt_1", store.ErrNotExist},
		"nothing is a thing ": {id, "", "", store.ErrNotExist},
	} {
		if _, err := r.agent.Revert(t.Context(), person(), c.session, c.message, c.part); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// A session that runs something is not undone under it.
	hold, held := make(chan struct{}), make(chan struct{})
	r.bash.run = func(context.Context, tool.BashCall) (tool.Result, error) {
		close(held)
		<-hold
		return tool.Result{}, nil
	}
	done := r.start(t.Context(), id, "true")
	<-held
	if _, err := r.agent.Revert(t.Context(), person(), id, users[0], ""); !errors.Is(err, agent.ErrBusy) {
		t.Errorf("while it runs: %v, want %v", err, agent.ErrBusy)
	}
	if got := r.agent.Busy(); !slices.Equal(got, []string{id}) {
		t.Errorf("busy %v", got)
	}
	close(hold)
	<-done
	if want := (map[string]string{"a": "x", "b": "x"}); !same(r.files(), want) {
		t.Errorf("files %v, want %v", r.files(), want)
	}
}

// TestWithoutSnapshots checks that commands run, and that messages can be
// undone, where changes cannot be kept.
func TestWithoutSnapshots(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	scripted(r)
	id := r.session()
	r.mustRun(id, "touch a x")
	s, err := r.agent.Revert(t.Context(), person(), id, r.users(id)[0], "")
	if err != nil || !strings.Contains(string(s.Revert), "messageID") {
		t.Errorf("Revert = %s, %v", s.Revert, err)
	}
	if want := (map[string]string{"a": "x"}); !same(r.files(), want) {
		t.Errorf("files %v, want %v", r.files(), want)
	}
}

// failing are snapshots that cannot be had.
type failing struct{ tried atomic.Int64 }

func (f *failing) Track(context.Context, string) (string, error) {
	f.tried.Add(1)
	return "", git.ErrTooLarge
}

func (*failing) Diff(context.Context, string, string, string) ([]git.FileDiff, error) {
	return nil, git.ErrNotExist
}

func (*failing) Restore(context.Context, string, string, []string) error { return git.ErrNotExist }

// TestNoSnapshotHoldsUpNobody checks that a project whose state cannot be kept
// is not walked again before each command.
func TestNoSnapshotHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := &failing{}
	r := newRig(t, options{snapshots: f})
	id := r.session()
	for range 3 {
		r.mustRun(id, "true")
	}
	if n := f.tried.Load(); n != 1 {
		t.Errorf("tried %d times, want once", n)
	}
	if !strings.Contains(r.log.String(), "cannot be undone") {
		t.Error("the log does not say so")
	}
}
