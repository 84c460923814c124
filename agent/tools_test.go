package agent_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
	"opencode/agent/git"
	"opencode/agent/tool"
	"opencode/policy"
)

// allowAll allows everything that is put to it.
func allowAll() policy.Decider {
	return deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		d := allow()
		d.Obligations.TimeoutSeconds, d.Obligations.MaxOutputBytes = 10, 30<<10
		return d, nil
	})
}

// args reads arguments as they come from a client.
func args(tb testing.TB, text string) map[string]any {
	tb.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return m
}

func (r *rig) tool(session, name, text string) (agent.ToolResult, error) {
	r.t.Helper()
	return r.agent.RunTool(r.t.Context(), person(), agent.ToolInput{SessionID: session, Name: name, Args: args(r.t, text)})
}

func (r *rig) file(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return "(" + err.Error()[strings.LastIndex(err.Error(), ":")+2:] + ")"
	}
	return string(data)
}

// TestTools runs each tool once.
func TestTools(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: allowAll()})
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	writeFiles(t, r.dir, map[string]string{"a.txt": "one\ntwo\nthree\n", "b.go": "package b\n", "i.png": png, "x.bin": "\x00\x01"})
	for _, row := range []struct {
		name, args string
		title      string
		output     string
	}{
		{"read", `{"filePath":"a.txt"}`, "a.txt", "<file>\n00001| one\n00002| two\n00003| three\n(end of the file, 3 lines)\n</file>"},
		{"read", `{"filePath":"a.txt","offset":2,"limit":1}`, "a.txt", "<file>\n00002| two\n(the file has 3 lines; go on with offset 3)\n</file>"},
		{"read", `{"filePath":"` + r.dir + `/a.txt","offset":3,"limit":null}`, "a.txt", "<file>\n00003| three\n(end of the file, 3 lines)\n</file>"},
		{"read", `{"filePath":"i.png"}`, "i.png", "The file is attached (image/png)."},
		{"list", `{}`, ".", "a.txt\nb.go\ni.png\nx.bin\n"},
		{"glob", `{"pattern":"*.go"}`, ".", r.dir + "/b.go\n"},
		{"glob", `{"pattern":"/etc/*"}`, ".", "(no file matches)\n"},
		{"glob", `{"pattern":"../**"}`, ".", "(no file matches)\n"},
		{"grep", `{"pattern":"t[wh]"}`, "t[wh]", r.dir + "/a.txt:\n  Line 2: two\n  Line 3: three\n"},
		{"grep", `{"pattern":"package|one","include":"*.go"}`, "package|one", r.dir + "/b.go:\n  Line 1: package b\n"},
		{"grep", `{"pattern":"package|one","path":"a.txt"}`, "package|one", r.dir + "/a.txt:\n  Line 1: one\n"},
		{"write", `{"filePath":"n/new.txt","content":"1\n"}`, "n/new.txt", "added " + r.dir + "/n/new.txt (+1 -0 lines)\n"},
		{"edit", `{"filePath":"a.txt","oldString":"two","newString":"2"}`, "a.txt", "modified " + r.dir + "/a.txt (+1 -1 lines)\n"},
		{"multiedit", `{"filePath":"a.txt","edits":[{"oldString":"one","newString":"1"},{"oldString":"1","newString":"1st"}]}`, "a.txt", "modified " + r.dir + "/a.txt (+1 -1 lines)\n"},
		{"patch", `{"patchText":"--- a/b.go\n+++ b/b.go\n@@ -1 +1 @@\n-package b\n+package c\n"}`, "b.go", "modified " + r.dir + "/b.go (+1 -1 lines)\n"},
		{"move", `{"from":"b.go","to":"c/c.go"}`, "b.go", "moved " + r.dir + "/b.go to " + r.dir + "/c/c.go\n"},
		{"delete", `{"filePath":"x.bin"}`, "x.bin", "deleted " + r.dir + "/x.bin\n"},
		{"bash", `{"command":"true","description":"d"}`, "d", "ok"},
	} {
		got, err := r.tool("", row.name, row.args)
		if err != nil || got.Title != row.title || got.Output != row.output {
			t.Errorf("%s %s = %q, %q, %v, want %q, %q", row.name, row.args, got.Title, got.Output, err, row.title, row.output)
		}
		if row.output == "The file is attached (image/png)." && (len(got.Attachments) != 1 || !strings.HasPrefix(got.Attachments[0].URL, "data:image/png;base64,")) {
			t.Errorf("attachments %+v", got.Attachments)
		}
	}
	for name, want := range map[string]string{
		"a.txt": "1st\n2\nthree\n", "n/new.txt": "1\n", "c/c.go": "package c\n", "b.go": "(no such file or directory)", "x.bin": "(no such file or directory)",
	} {
		if got := r.file(name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

// TestToolArguments sends what no tool takes. Policy is not even asked.
func TestToolArguments(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		t.Error("policy was asked")
		return policy.Decision{}, nil
	})})
	for _, row := range [][2]string{
		{"", `{}`},
		{"teleport", `{}`},
		{"pty", `{"command":"sh"}`},
		{"revert", `{}`},
		{"read", `{}`},
		{"read", `{"filePath":7}`},
		{"read", `{"filePath":null}`},
		{"read", `{"filePath":"a","path":"b"}`},
		{"read", `{"filePath":"a","offset":-1}`},
		{"read", `{"filePath":"a","limit":1.5}`},
		{"read", `{"filePath":"a","limit":"1"}`},
		{"read", `{"filePath":"a","limit":1e300}`},
		{"write", `{"filePath":"a"}`},
		{"write", `{"filePath":"a","content":["x"]}`},
		{"write", `{"filePath":"a","content":"x","mode":511}`},
		{"edit", `{"filePath":"a","oldString":"x"}`},
		{"edit", `{"filePath":"a","oldString":"x","newString":"y","replaceAll":"yes"}`},
		{"multiedit", `{"filePath":"a","edits":[]}`},
		{"multiedit", `{"filePath":"a","edits":[{"oldString":"x"}]}`},
		{"multiedit", `{"filePath":"a","edits":[{"oldString":"x","newString":"y","filePath":"/etc/passwd"}]}`},
		{"multiedit", `{"filePath":"a","edits":"x"}`},
		{"patch", `{}`},
		{"delete", `{"filePath":"a","recursive":true}`},
		{"move", `{"from":"a"}`},
		{"bash", `{"command":""}`},
		{"bash", `{"command":"a\u0000b"}`},
		{"bash", `{"command":"ls","env":{}}`},
		{"glob", `{"path":"."}`},
		{"grep", `{}`},
	} {
		if _, err := r.tool("", row[0], row[1]); !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%s %s: error %v, want ErrInvalid", row[0], row[1], err)
		}
	}
	if len(r.bash.commands()) > 0 {
		t.Error("something ran")
	}
}

// calls are one call of each tool, all of which would do something.
func calls() map[string]string {
	return map[string]string{
		"bash": `{"command":"true"}`, "read": `{"filePath":"a.txt"}`, "list": `{}`, "glob": `{"pattern":"*"}`, "grep": `{"pattern":"one"}`,
		"write": `{"filePath":"n","content":"1"}`, "edit": `{"filePath":"a.txt","oldString":"one","newString":"1"}`,
		"multiedit": `{"filePath":"a.txt","edits":[{"oldString":"one","newString":"1"}]}`,
		"patch":     `{"patchText":"*** Begin Patch\n*** Add File: n\n+1\n*** Delete File: a.txt\n*** End Patch"}`,
		"delete":    `{"filePath":"a.txt"}`, "move": `{"from":"a.txt","to":"n"}`,
	}
}

// TestToolsAreDecided lets each tool meet what is no permission: nothing
// happens.
func TestToolsAreDecided(t *testing.T) {
	t.Parallel()
	ask := policy.Decision{Effect: policy.Ask, Rules: []policy.Rule{{ID: "t.ask", Effect: policy.Ask, Message: "why"}}, Obligations: policy.Obligations{
		Audit: "brief", TimeoutSeconds: 1, MaxOutputBytes: 100,
		Ask: &policy.AskTerms{TTLSeconds: 1, OnTimeout: policy.Deny, Always: []string{}, Approvers: []string{"execute"}},
	}}
	noLimits := allow()
	for name, c := range map[string]struct {
		decision policy.Decision
		failure  error
		want     error
	}{
		"a denial":                   {policy.Decision{Rules: []policy.Rule{{ID: "t.deny"}}}, nil, policy.ErrDenied},
		"nothing":                    {policy.Decision{}, nil, policy.ErrDenied},
		"an error":                   {allow(), errors.New("broken"), policy.ErrDenied},
		"a question and nobody":      {ask, nil, agent.ErrRefused},
		"a permission of no effects": {noLimits, nil, policy.ErrDenied},
	} {
		r := newRig(t, options{decider: deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) { return c.decision, c.failure })})
		writeFiles(t, r.dir, map[string]string{"a.txt": "one\n"})
		for tool, text := range calls() {
			if name == "a permission of no effects" && tool == "bash" {
				continue // its own check
			}
			got, err := r.tool("", tool, text)
			if !errors.Is(err, c.want) || got.Output != "" {
				t.Errorf("%s, %s: %q, %v, want %v", name, tool, got.Output, err, c.want)
			}
		}
		if got := r.file("a.txt") + r.file("n"); got != "one\n(no such file or directory)" || len(r.bash.commands()) > 0 {
			t.Errorf("%s: files %q, commands %v", name, got, r.bash.commands())
		}
	}
}

// TestEditQuestion looks at the question about an edit as clients know it, and
// what an answer of always covers.
func TestEditQuestion(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	writeFiles(t, r.dir, map[string]string{"a.txt": "one\ntwo\n"})
	session := r.session()
	listener := r.listen(r.dir)
	run := func(name, text string) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := r.agent.RunTool(r.t.Context(), person(), agent.ToolInput{SessionID: session, Name: name, Args: args(t, text), Attended: true})
			done <- err
		}()
		return done
	}
	done := run("edit", `{"filePath":"a.txt","oldString":"one","newString":"1"}`)
	q := question(t, listener)
	file := filepath.Join(r.dir, "a.txt")
	wantDiff := "Index: " + file + "\n" + strings.Repeat("=", 67) + "\n--- " + file + "\n+++ " + file + "\n@@ -1,2 +1,2 @@\n-one\n+1\n two\n"
	if q.Permission != "edit" || cmp.Diff([]string{"a.txt"}, q.Patterns) != "" || q.Metadata["diff"] != wantDiff || q.Metadata["filepath"] != file || q.Tool == nil {
		t.Errorf("question %+v", q)
	}
	if _, ok := q.Metadata["newString"]; ok {
		t.Error("the question repeats the arguments")
	}
	if got := r.file("a.txt"); got != "one\ntwo\n" {
		t.Errorf("before the answer the file holds %q", got)
	}
	if err := r.agent.Answer(t.Context(), person(), session, q.ID, agent.Always, ""); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || r.file("a.txt") != "1\ntwo\n" {
		t.Errorf("after the answer: %v, %q", err, r.file("a.txt"))
	}
	// The same file again, by another tool of the same name for clients.
	if err := <-run("write", `{"filePath":"a.txt","content":"new\n"}`); err != nil || r.file("a.txt") != "new\n" {
		t.Errorf("write: %v, %q", err, r.file("a.txt"))
	}
	// A deletion is another thing.
	done = run("delete", `{"filePath":"a.txt"}`)
	q = question(t, listener)
	if q.Permission != "delete" {
		t.Errorf("question %+v", q)
	}
	if err := r.agent.Answer(t.Context(), person(), session, q.ID, agent.Reject, ""); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, <-done, "reject")
	if got := r.file("a.txt"); got != "new\n" {
		t.Errorf("after the rejection: %q", got)
	}
}

// TestChangedWhileAsked lets a file, and then a path, become another one while
// a person thinks.
func TestChangedWhileAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   error
	}{
		"the file": {func(t *testing.T, dir string) {
			t.Helper()
			writeFiles(t, dir, map[string]string{"d/a.txt": "one, by somebody else\n"})
		}, tool.ErrChanged},
		"the path": {func(t *testing.T, dir string) {
			t.Helper()
			if err := errors.Join(os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")), os.Symlink("other", filepath.Join(dir, "d"))); err != nil {
				t.Fatal(err)
			}
		}, agent.ErrRefused},
		"the path, to outside": {func(t *testing.T, dir string) {
			t.Helper()
			if err := errors.Join(os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")), os.Symlink("/tmp", filepath.Join(dir, "d"))); err != nil {
				t.Fatal(err)
			}
		}, policy.ErrDenied},
	} {
		r := newRig(t, options{})
		for _, d := range []string{"d", "other"} {
			if err := os.Mkdir(filepath.Join(r.dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		writeFiles(t, r.dir, map[string]string{"d/a.txt": "one\n", "other/a.txt": "one\n"})
		listener := r.listen(r.dir)
		done := make(chan error, 1)
		go func() {
			_, err := r.agent.RunTool(t.Context(), person(), agent.ToolInput{Name: "edit", Args: args(t, `{"filePath":"d/a.txt","oldString":"one","newString":"1"}`), Attended: true})
			done <- err
		}()
		q := question(t, listener)
		c.change(t, r.dir)
		if err := r.agent.Answer(t.Context(), person(), "", q.ID, agent.Once, ""); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if got := r.file("other/a.txt"); got != "one\n" {
			t.Errorf("%s: the other file holds %q", name, got)
		}
	}
}

// TestSecretsAreNotShown checks that a question about a file that holds secrets
// shows none of its lines.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	writeFiles(t, r.dir, map[string]string{".env": "KEY=hunter2\nMODE=a\n"})
	listener := r.listen(r.dir)
	for _, call := range [][3]string{
		{"edit", `{"filePath":".env","oldString":"MODE=a","newString":"MODE=b"}`, ".env"},
		{"patch", `{"patchText":"*** Begin Patch\n*** Update File: .env\n*** Move to: plain\n*** End Patch"}`, "plain"},
	} {
		done := make(chan error, 1)
		go func() {
			_, err := r.agent.RunTool(t.Context(), person(), agent.ToolInput{Name: call[0], Args: args(t, call[1]), Attended: true})
			done <- err
		}()
		q := question(t, listener)
		if text, err := json.Marshal(q); err != nil || strings.Contains(string(text), "hunter2") {
			t.Errorf("question %s, %v", text, err)
		}
		if err := r.agent.Answer(t.Context(), person(), "", q.ID, agent.Once, ""); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || r.file(call[2]) != "KEY=hunter2\nMODE=b\n" {
			t.Errorf("%s: %v, %q", call[0], err, r.file(call[2]))
		}
	}
}

// TestStaleFiles checks that a session does not change a file that somebody
// else has changed since it read it.
func TestStaleFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: allowAll()})
	writeFiles(t, r.dir, map[string]string{"a.txt": "one\n"})
	session, other := r.session(), r.session()
	edit := func(session, old, now string) error {
		_, err := r.tool(session, "edit", `{"filePath":"a.txt","oldString":"`+old+`","newString":"`+now+`"}`)
		return err
	}
	_, err := r.tool(session, "read", `{"filePath":"a.txt"}`)
	if err := errors.Join(err, edit(session, "one", "two"), edit(session, "two", "three")); err != nil {
		t.Fatal(err)
	}
	if err := edit(other, "three", "four"); err != nil {
		t.Errorf("a session that has not read it: %v", err)
	}
	for _, call := range [][2]string{
		{"edit", `{"filePath":"a.txt","oldString":"four","newString":"x"}`},
		{"write", `{"filePath":"a.txt","content":"x"}`},
		{"delete", `{"filePath":"a.txt"}`},
		{"patch", `{"patchText":"--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-four\n+x\n"}`},
	} {
		if _, err := r.tool(session, call[0], call[1]); !errors.Is(err, tool.ErrChanged) {
			t.Errorf("%s: error %v, want ErrChanged", call[0], err)
		}
	}
	if _, err := r.tool(session, "read", `{"filePath":"a.txt"}`); err != nil {
		t.Fatal(err)
	}
	if err := edit(session, "four", "five"); err != nil || r.file("a.txt") != "five\n" {
		t.Errorf("after it was read again: %v, %q", err, r.file("a.txt"))
	}
}

// TestUndoOfTools undoes what tools of a session have changed.
func TestUndoOfTools(t *testing.T) {
	t.Parallel()
	snapshots := must(git.New(git.Config{Dir: t.TempDir()}))(t)
	r := newRig(t, options{decider: allowAll(), snapshots: snapshots})
	writeFiles(t, r.dir, map[string]string{"a.txt": "one\n", "b.txt": "b\n"})
	session := r.session()
	for _, call := range [][2]string{
		{"edit", `{"filePath":"a.txt","oldString":"one","newString":"1"}`},
		{"patch", `{"patchText":"*** Begin Patch\n*** Add File: d/n\n+1\n*** Delete File: b.txt\n*** End Patch"}`},
	} {
		if _, err := r.tool(session, call[0], call[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.file("a.txt") + r.file("b.txt") + r.file("d/n"); got != "1\n(no such file or directory)1\n" {
		t.Fatalf("files %q", got)
	}
	messages := must(r.agent.Messages(t.Context(), session, 0, ""))(t)
	var state struct{ State state }
	last := messages[len(messages)-1]
	if err := json.Unmarshal(last.Parts[0].Body, &state); err != nil || state.State.Status != "completed" || state.State.Output == nil || state.State.Metadata["snapshot"] == nil || state.State.Metadata["diff"] == nil {
		t.Errorf("part %s, %v", last.Parts[0].Body, err)
	}
	if _, err := r.agent.Revert(t.Context(), person(), session, messages[0].Message.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := r.file("a.txt") + r.file("b.txt") + r.file("d/n"); got != "one\nb\n(no such file or directory)" {
		t.Errorf("after the undo: %q", got)
	}
}

// TestRefusedToolInSession checks that a refusal stands in the session.
func TestRefusedToolInSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	session := r.session()
	_, err := r.tool(session, "write", `{"filePath":"/etc/x","content":"1"}`)
	if !errors.Is(err, policy.ErrDenied) {
		t.Errorf("error %v", err)
	}
	if _, s := r.last(session); s.Status != "error" || !strings.Contains(s.Error, "path.outside") || s.Time.End == 0 {
		t.Errorf("state %+v", s)
	}
}

// TestReadOfSecretInSearch checks that searches leave out what policy does not
// let be read.
func TestReadOfSecretInSearch(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	writeFiles(t, r.dir, map[string]string{".env": "needle=1\n", "a.txt": "needle\n"})
	for name, text := range map[string]string{"grep": `{"pattern":"needle"}`, "glob": `{"pattern":"**"}`} {
		got, err := r.tool("", name, text)
		if err != nil || strings.Contains(got.Output, ".env") || !strings.Contains(got.Output, "a.txt") {
			t.Errorf("%s: %q, %v", name, got.Output, err)
		}
	}
}

// FuzzPatchPaths holds what a patch touches against the paths that policy was
// told of: whenever the tool understands a patch, they are the same.
func FuzzPatchPaths(f *testing.F) {
	for _, seed := range []string{
		"*** Begin Patch\n*** Add File: a\n+x\n*** Update File: b\n*** Move to: c\n@@\n-1\n+2\n*** Delete File: d\n*** End Patch",
		"--- a/x\n+++ b/y\n@@ -1,2 +1,2 @@\n--- z\n+++ w\n 1\n",
		"diff --git a/x b/y\nrename from x\nrename to y\n",
		"--- a/b/f\n+++ b/b/f\n@@ -1 +1 @@\n-x\n+y\n-- \n2.1\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-x\n+y\n",
		"--- /dev/null\n+++ b/n\t2026\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n",
		"\n *** x\n--- a/a\r\n+++ b/a\r\n@@ -1 +1 @@\r\n-x\r\n+y\r\n",
		"--- a//dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n",
		"*** Begin Patch\n*** Update File: a\n@@\n+*** Add File: b\n*** End Patch\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := tool.ParsePatch(text)
		if err != nil {
			return
		}
		in := policy.FromCall(time.Unix(0, 0), person(), policy.Call{
			Tool: "patch", Args: map[string]any{"patchText": text}, Root: "/nowhere", Directory: "/nowhere",
		})
		told := map[string]bool{}
		for _, path := range in.Prompt.Paths {
			told[path.Raw] = true
		}
		touched := map[string]bool{}
		for _, name := range p.Paths() {
			touched[name] = true
			if !told[name] {
				t.Errorf("%q touches %q, and policy was told of %v", text, name, told)
			}
		}
		// A name that is told and not touched could only make policy stricter,
		// but shows that the two read differently.
		for name := range told {
			if !touched[name] && name != "/dev/null" && !strings.HasPrefix(name, "//") {
				t.Logf("%q: policy was told of %q too", text, name)
			}
		}
	})
}

// TestToolsShowNoCredential reads and searches a file that holds one. What is
// in the file stays as it is.
func TestToolsShowNoCredential(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: allowAll()})
	secret := "ghp" + "_" + strings.ReplaceAll(rand.Text()+rand.Text(), "=", "")[:36]
	writeFiles(t, r.dir, map[string]string{"notes.txt": "token " + secret + " of the robot\n"})
	for name, in := range map[string]string{"read": `{"filePath":"notes.txt"}`, "grep": `{"pattern":"robot"}`} {
		got, err := r.tool("", name, in)
		if err != nil {
			t.Fatal(err)
		}
		shown := must(json.Marshal(got))(t)
		if strings.Contains(string(shown), secret) || !strings.Contains(got.Output, "[redacted") || !strings.Contains(got.Output, "of the robot") || got.Metadata["redacted"] != 1 {
			t.Errorf("%s shows %s", name, shown)
		}
	}
	if !strings.Contains(r.file("notes.txt"), secret) {
		t.Error("the file was changed")
	}
}
