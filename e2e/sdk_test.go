package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSDK tells one story by both entry points of the SDK, to our server and to
// the original: what holds for both is judged by the same checks.
func TestSDK(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"v1", "v2"} {
		t.Run(entry+" with our server", func(t *testing.T) {
			s := startServer(t, serverOptions{})
			story := tellStory(t, s, entry)
			story.judge(t)
			story.judgePolicy(t)
		})
		t.Run(entry+" with the original", func(t *testing.T) {
			s := startUpstream(t, upstreamOptions{})
			// It would fetch ripgrep from the network to search.
			story := tellStory(t, s, entry, "NO_SEARCH=1")
			story.judge(t)
			if _, status := story.asked("push"); status != http.StatusOK {
				t.Errorf("push = %d, want 200: the original asks nobody", status)
			}
		})
	}
}

// sdkStory is what a run of testdata/sdk_story.mjs told.
type sdkStory struct {
	server *instance
	entry  string
	remote string
	steps  map[string]json.RawMessage
}

// tellStory runs the story in a copy of its scripts beside the SDK.
func tellStory(t *testing.T, s *instance, entry string, env ...string) *sdkStory {
	t.Helper()
	dir := tempDir(t)
	for _, name := range []string{"sdk_story.mjs", "sdk_v1.mjs", "sdk_v2.mjs"} {
		script, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, dir, map[string]string{name: string(script)})
	}
	if err := os.Symlink(filepath.Join(clientDir(t), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	story := &sdkStory{server: s, entry: entry, remote: filepath.Join(s.Project, ".git", "remote.git"), steps: map[string]json.RawMessage{}}
	writeFiles(t, s.Project, map[string]string{"hello.txt": "hello\na needle here\n"})
	runCommand(t, s.Env, s.Project, "git", "init", "--quiet", "--bare", story.remote)
	runCommand(t, s.Env, s.Project, "git", "remote", "add", "origin", story.remote)

	env = append(env, "BASE_URL="+s.URL, "PASSWORD="+s.Token, "DIRECTORY="+s.Project)
	// Node 20 has a WebSocket behind this flag; later ones have it anyway.
	stdout, stderr, code := execCommand(t, append(clientEnv(t), env...), dir,
		"node", "--no-warnings", "--experimental-websocket", "sdk_"+entry+".mjs")
	for line := range strings.Lines(stdout) {
		var step struct{ Step string }
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("the story told %q: %v", line, err)
		}
		story.steps[step.Step] = json.RawMessage(line)
	}
	if code != 0 {
		t.Fatalf("the story ended with %d after %v:\n%s\nserver:\n%s", code, story.told(), stderr, s.Log())
	}
	return story
}

func (s *sdkStory) told() []string {
	var names []string
	for name := range s.steps {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// step decodes what the story told of a step, into a value of its shape.
func step[T any](t *testing.T, s *sdkStory, name string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(s.steps[name], &v); err != nil {
		t.Errorf("step %s: %v in %s", name, err, s.steps[name])
	}
	return v
}

type sdkSession struct {
	ID, Title, Directory, ProjectID, Slug, ParentID string
	Time                                            struct{ Created, Updated int64 }
	Revert                                          *struct{ MessageID string }
}

type sdkPart struct {
	ID, SessionID, MessageID, Type, Tool string
	State                                struct {
		Status, Output, Error string
	}
}

type sdkMessage struct {
	Info struct {
		ID, SessionID, Role string
		Time                struct{ Created, Completed int64 }
	}
	Parts []sdkPart
}

type sdkEvent struct {
	ID, Type   string
	Properties struct {
		SessionID string
		Info      struct{ Role string }
		Part      sdkPart
		Status    json.RawMessage
		Reply     string
	}
}

// name says what an event is about, for the order of a turn.
func (e sdkEvent) name(t *testing.T) string {
	t.Helper()
	switch e.Type {
	case "message.updated":
		return e.Type + " " + e.Properties.Info.Role
	case "message.part.updated":
		return strings.TrimSpace(e.Type + " " + e.Properties.Part.Type + " " + e.Properties.Part.State.Status)
	case "session.status":
		var status struct{ Type string }
		if err := json.Unmarshal(e.Properties.Status, &status); err != nil {
			t.Errorf("session.status: %v in %s", err, e.Properties.Status)
		}
		return e.Type + " " + status.Type
	}
	return e.Type
}

type sdkTurn struct {
	Answer   sdkMessage
	Status   int
	Reply    bool
	Question *sdkQuestion
	Error    struct {
		Name string
		Data struct{ Outcome string }
	}
	Events []sdkEvent
}

type sdkQuestion struct {
	ID, SessionID, Permission string
	Patterns                  []string
	Tool                      *struct{ MessageID, CallID string }
}

func (s *sdkStory) asked(name string) (asked bool, status int) {
	var turn sdkTurn
	if err := json.Unmarshal(s.steps[name], &turn); err != nil {
		return false, 0
	}
	return turn.Question != nil, turn.Status
}

// judge checks what holds for both servers.
func (s *sdkStory) judge(t *testing.T) {
	t.Helper()
	s.judgeSessions(t)
	s.judgeTurns(t)
	s.judgeFiles(t)
	s.judgeTerminal(t)
}

func (s *sdkStory) judgeSessions(t *testing.T) {
	t.Helper()
	created := step[struct{ Session sdkSession }](t, s, "create").Session
	if !strings.HasPrefix(created.ID, "ses_") || created.Title != "made by the SDK" || created.Directory != s.server.Project ||
		created.Slug == "" || created.ProjectID == "" || created.Time.Created == 0 {
		t.Errorf("create = %+v", created)
	}
	if got := step[struct{ Session sdkSession }](t, s, "get").Session; !cmp.Equal(got, created) {
		t.Errorf("get differs from create: %s", cmp.Diff(created, got))
	}
	if list := step[struct{ Sessions []sdkSession }](t, s, "list").Sessions; len(list) != 1 || list[0].ID != created.ID {
		t.Errorf("list = %+v, want the one session", list)
	}
	fork := step[struct {
		Session  sdkSession
		Messages []sdkMessage
	}](t, s, "fork")
	messages := step[struct{ Messages []sdkMessage }](t, s, "messages").Messages
	if fork.Session.ID == created.ID || len(fork.Messages) != len(messages) {
		t.Errorf("fork = %+v with %d messages, want another session with %d", fork.Session, len(fork.Messages), len(messages))
	}
	for i, m := range fork.Messages {
		if m.Info.SessionID != fork.Session.ID || i < len(messages) && m.Info.ID == messages[i].Info.ID {
			t.Errorf("message %d of the fork = %+v, want one of its own", i, m.Info)
		}
	}
	children := step[struct {
		Child    sdkSession
		Children []sdkSession
	}](t, s, "children")
	if children.Child.ParentID != created.ID || len(children.Children) != 1 || children.Children[0].ID != children.Child.ID {
		t.Errorf("children = %+v", children)
	}
	reverted := step[struct{ Session sdkSession }](t, s, "revert").Session
	if reverted.Revert == nil || !slices.ContainsFunc(messages, func(m sdkMessage) bool { return m.Info.ID == reverted.Revert.MessageID }) {
		t.Errorf("revert = %+v, want one that names the message", reverted.Revert)
	}
	if back := step[struct{ Session sdkSession }](t, s, "unrevert").Session; back.Revert != nil || back.ID != created.ID {
		t.Errorf("unrevert = %+v, want no revert", back)
	}
	renamed := step[struct{ Session sdkSession }](t, s, "update").Session
	told := step[struct{ Info sdkSession }](t, s, "updated").Info
	if renamed.Title != "renamed by the SDK" || told.ID != created.ID {
		t.Errorf("update = %+v and the event of %+v", renamed, told)
	}
	if got := step[struct{ Aborted bool }](t, s, "abort"); !got.Aborted {
		t.Error("abort = false")
	}
	deleted := step[struct {
		Deleted bool
		Left    []string
	}](t, s, "delete")
	if !deleted.Deleted || slices.Contains(deleted.Left, created.ID) || slices.Contains(deleted.Left, children.Child.ID) ||
		!slices.Contains(deleted.Left, fork.Session.ID) {
		t.Errorf("delete = %+v, want the fork left of the session, its child and its fork", deleted)
	}
}

// judgeTurns checks the command that nobody is asked about, and what it left.
func (s *sdkStory) judgeTurns(t *testing.T) {
	t.Helper()
	shell := step[sdkTurn](t, s, "shell")
	if shell.Answer.Info.Role != "assistant" || shell.Answer.Info.Time.Completed == 0 || len(shell.Answer.Parts) != 1 ||
		shell.Answer.Parts[0].Tool != "bash" || shell.Answer.Parts[0].State.Status != "completed" ||
		!strings.Contains(shell.Answer.Parts[0].State.Output, "from-the-shell") {
		t.Errorf("shell = %+v", shell.Answer)
	}
	checkOrder(t, shell.Events, []string{
		"message.updated user", "message.part.updated text", "message.updated assistant", "message.part.updated tool running",
		"message.part.updated tool completed", "session.status idle", "session.idle",
	})
	checkOrder(t, shell.Events, []string{"session.status busy", "message.updated assistant"})

	messages := step[struct{ Messages []sdkMessage }](t, s, "messages").Messages
	if len(messages) != 6 {
		t.Fatalf("%d messages, want 6: one of the user and one of the assistant for each of three commands", len(messages))
	}
	for i, m := range messages {
		if want := []string{"user", "assistant"}[i%2]; m.Info.Role != want {
			t.Errorf("message %d is of the %s, want the %s", i, m.Info.Role, want)
		}
		if i > 0 && m.Info.ID <= messages[i-1].Info.ID {
			t.Errorf("message %d has the id %s, which is not after %s", i, m.Info.ID, messages[i-1].Info.ID)
		}
	}
	if diff := cmp.Diff(shell.Answer, messages[1]); diff != "" {
		t.Errorf("the message differs from the answer of the command: %s", diff)
	}
	if got := step[struct{ Message sdkMessage }](t, s, "message").Message; !cmp.Equal(got, messages[0]) {
		t.Errorf("message = %+v, want the first", got)
	}
	for _, name := range []string{"diff", "todo"} {
		if got := step[map[string]json.RawMessage](t, s, name)[name]; string(got) != "[]" {
			t.Errorf("%s = %s, want none", name, got)
		}
	}
}

func (s *sdkStory) judgeFiles(t *testing.T) {
	t.Helper()
	type node struct {
		Name, Path, Absolute, Type string
		Ignored                    bool
	}
	nodes := step[struct{ Nodes []node }](t, s, "file.list").Nodes
	for _, want := range []node{
		{Name: "hello.txt", Path: "hello.txt", Absolute: filepath.Join(s.server.Project, "hello.txt"), Type: "file"},
		{Name: "sub", Path: "sub/", Absolute: filepath.Join(s.server.Project, "sub"), Type: "directory"},
	} {
		if !slices.Contains(nodes, want) {
			t.Errorf("file.list = %+v, want %+v among them", nodes, want)
		}
	}
	read := step[struct {
		Content struct{ Type, Content string }
	}](t, s, "file.read").Content
	if read.Type != "text" || read.Content != "hello\na needle here" {
		t.Errorf("file.read = %+v, want the text without the newline at its end", read)
	}
}

func (s *sdkStory) judgeTerminal(t *testing.T) {
	t.Helper()
	type pty struct {
		ID, Title, Command, Status, Cwd string
		PID                             int
	}
	made := step[struct{ Pty pty }](t, s, "pty.create").Pty
	if !strings.HasPrefix(made.ID, "pty_") || made.Title != "the terminal" || made.Command != "/bin/sh" || made.Status != "running" ||
		made.Cwd != s.server.Project || made.PID <= 0 {
		t.Errorf("pty.create = %+v", made)
	}
	typed := step[struct {
		Sum, Size string
		Cursor    *int
	}](t, s, "pty.type")
	if typed.Sum != "42" || typed.Size != "41 113" || typed.Cursor == nil {
		t.Errorf("the terminal showed %+v, want 42, the size 41 113 and a cursor", typed)
	}
	if list := step[struct{ Ptys []pty }](t, s, "pty.list").Ptys; len(list) != 1 || list[0].ID != made.ID {
		t.Errorf("pty.list = %+v, want the one", list)
	}
	removed := step[struct {
		Removed bool
		Left    []pty
	}](t, s, "pty.remove")
	if !removed.Removed || len(removed.Left) != 0 {
		t.Errorf("pty.remove = %+v, want true and none left", removed)
	}
	if s.entry != "v2" {
		return
	}
	refused := step[struct{ Status int }](t, s, "pty.refused").Status
	if refused < 400 || refused > 499 {
		t.Errorf("the ticket that was used = %d, want a refusal", refused)
	}
}

// judgePolicy checks what only our server does: it asks, and it holds to the
// answer.
func (s *sdkStory) judgePolicy(t *testing.T) {
	t.Helper()
	push := step[sdkTurn](t, s, "push")
	if push.Question == nil || push.Question.Permission != "bash" || push.Question.Tool == nil || !push.Reply ||
		!cmp.Equal(push.Question.Patterns, []string{"git push origin HEAD:refs/heads/pushed"}) {
		t.Errorf("git push asked %+v, answered with %t", push.Question, push.Reply)
	}
	if push.Status != http.StatusOK || len(push.Answer.Parts) != 1 || push.Answer.Parts[0].State.Status != "completed" {
		t.Errorf("git push, once = %d %+v", push.Status, push.Answer)
	}
	checkOrder(t, push.Events, []string{
		"message.updated user", "session.status busy", "message.updated assistant", "permission.asked", "permission.replied",
		"message.part.updated tool completed", "session.status idle", "session.idle",
	})
	rejected := step[sdkTurn](t, s, "reject")
	if rejected.Question == nil || rejected.Status != http.StatusForbidden || rejected.Error.Name != "PermissionRefusedError" {
		t.Errorf("git push, rejected = %d %+v, asked %+v", rejected.Status, rejected.Error, rejected.Question)
	}
	// What matters is what arrived where it was pushed to.
	if got := runCommand(t, s.server.Env, s.remote, "git", "for-each-ref", "--format=%(refname)"); got != "refs/heads/pushed\n" {
		t.Errorf("the remote has %q, want what was approved and nothing else", got)
	}
	terminal := step[sdkTurn](t, s, "pty.create")
	if terminal.Question != nil {
		t.Errorf("pty.create asked %+v, want nothing: an interactive shell is the person's own", terminal.Question)
	}

	matches := step[struct {
		Matches []struct {
			Path, Lines struct{ Text string }
			LineNumber  int `json:"line_number"`
			Submatches  []struct {
				Match struct{ Text string }
				Start int
			}
		}
	}](t, s, "find.text").Matches
	if len(matches) != 1 || matches[0].Path.Text != "hello.txt" || matches[0].LineNumber != 2 || len(matches[0].Submatches) != 1 ||
		matches[0].Submatches[0].Match.Text != "needle" || matches[0].Submatches[0].Start != 2 {
		t.Errorf("find.text = %+v, want line 2 of hello.txt", matches)
	}
	if files := step[struct{ Files []string }](t, s, "find.files").Files; !slices.Contains(files, "hello.txt") {
		t.Errorf("find.files = %q, want hello.txt among them", files)
	}
	aborted := step[sdkTurn](t, s, "abort")
	if aborted.Status != http.StatusConflict && aborted.Status != http.StatusOK {
		t.Errorf("the aborted command = %d %+v", aborted.Status, aborted.Error)
	}
}

// checkOrder checks that the named events are there, each after the one before
// it, and that the ids of all ascend.
func checkOrder(t *testing.T, events []sdkEvent, want []string) {
	t.Helper()
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.name(t)
		if i > 0 && e.ID <= events[i-1].ID {
			t.Errorf("event %d has the id %s, which is not after %s", i, e.ID, events[i-1].ID)
		}
	}
	rest := names
	for _, name := range want {
		i := slices.Index(rest, name)
		if i < 0 {
			t.Errorf("events %s: %q is not where it must be", fmt.Sprintf("%q", names), name)
			return
		}
		rest = rest[i+1:]
	}
}
