package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/policy"
	"opencode/policy/fspath"
)

func fromCall(t *testing.T, tool string, args map[string]any) *policy.Prompt {
	t.Helper()
	root := t.TempDir()
	in := policy.FromCall(time.Unix(0, 0), policy.Principal{}, policy.Call{Tool: tool, Args: args, Root: root, Directory: root, Session: &policy.Session{ID: "ses_1"}})
	if in.Version != policy.Version || in.Kind != policy.KindPrompt || in.Request != nil || in.Prompt.Tool != tool {
		t.Fatalf("FromCall(%s) = %+v", tool, in)
	}
	if in.Principal.Permissions == nil || in.Principal.Attributes == nil || in.Session.Approvals == nil || in.Prompt.Paths == nil {
		t.Fatalf("FromCall(%s) leaves out a list: %+v", tool, in)
	}
	return in.Prompt
}

// TestContentIsNotInTheInput: policy is told about text to be written, and
// neither it nor the record of its decisions ever holds it.
func TestContentIsNotInTheInput(t *testing.T) {
	t.Parallel()
	const text = "first line\nxyzzy\n"
	for name, row := range map[string]struct {
		tool string
		args map[string]any
		want policy.Content
	}{
		"write":          {"write", map[string]any{"filePath": "a", "content": text}, policy.Content{Bytes: 17, Lines: 2}},
		"write nothing":  {"write", map[string]any{"filePath": "a", "content": ""}, policy.Content{}},
		"no last line":   {"write", map[string]any{"filePath": "a", "content": "xyzzy"}, policy.Content{Bytes: 5, Lines: 1}},
		"edit":           {"edit", map[string]any{"filePath": "a", "oldString": text, "newString": "xyzzy"}, policy.Content{Bytes: 22, Lines: 3}},
		"multiedit":      {"multiedit", map[string]any{"filePath": "a", "edits": []any{map[string]any{"oldString": "xyzzy"}}}, policy.Content{Bytes: 23, Lines: 1}},
		"patch":          {"patch", map[string]any{"patchText": "*** Add File: a\n+xyzzy\n"}, policy.Content{Bytes: 23, Lines: 2}},
		"not a string":   {"write", map[string]any{"filePath": "a", "content": []any{"xyzzy"}}, policy.Content{Bytes: 9, Lines: 1}},
		"another tool":   {"teleport", map[string]any{"content": text}, policy.Content{Bytes: 17, Lines: 2}},
		"null and a map": {"edit", map[string]any{"filePath": "a", "oldString": nil, "newString": map[string]any{"x": "xyzzy"}}, policy.Content{Bytes: 17, Lines: 2}},
	} {
		before, err := json.Marshal(row.args)
		if err != nil {
			t.Fatal(err)
		}
		p := fromCall(t, row.tool, row.args)
		if p.Content == nil || *p.Content != row.want {
			t.Errorf("%s: content %+v, want %+v", name, p.Content, row.want)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "xyzzy") {
			t.Errorf("%s: the input holds the text: %s", name, b)
		}
		if after, err := json.Marshal(row.args); err != nil || string(after) != string(before) {
			t.Errorf("%s: FromCall changed the arguments to %s", name, after)
		}
	}
	if p := fromCall(t, "read", map[string]any{"filePath": "a"}); p.Content != nil {
		t.Errorf("read: content %+v, want none", p.Content)
	}
}

// TestPathsOfACall counts the files that each tool names, for reading and for
// writing; what they are is for package fspath to say.
func TestPathsOfACall(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		tool string
		args map[string]any
		want []string
	}{
		"read":                       {"read", map[string]any{"filePath": "a"}, []string{"read a"}},
		"read of nothing":            {"read", map[string]any{}, nil},
		"write":                      {"write", map[string]any{"filePath": "a", "content": "x"}, []string{"write a"}},
		"list":                       {"list", map[string]any{}, []string{"read ."}},
		"grep below":                 {"grep", map[string]any{"path": "b", "pattern": "x"}, []string{"read b"}},
		"glob with no path":          {"glob", map[string]any{"pattern": "/etc/*"}, []string{"read ."}},
		"move":                       {"move", map[string]any{"from": "a", "to": "b"}, []string{"write a", "write b"}},
		"path that is no text":       {"read", map[string]any{"filePath": 7.0}, []string{"read "}},
		"path that is null":          {"read", map[string]any{"filePath": nil}, []string{"read "}},
		"path that is a list":        {"list", map[string]any{"path": []any{"/etc"}}, []string{"read "}},
		"patch of its own form":      {"patch", map[string]any{"patchText": "*** Begin Patch\n*** Add File: a\n+x\n*** Update File: b\n*** Move to: c\n*** Delete File: d\n*** End Patch"}, []string{"write a", "write b", "write c", "write d"}},
		"patch as a unified diff":    {"patch", map[string]any{"patchText": "--- a/x.go\t2026-01-01\n+++ b/y.go\n@@ -1 +1 @@\n-x\n+y\n"}, []string{"write x.go", "write y.go"}},
		"patch that adds a file":     {"patch", map[string]any{"patchText": "--- /dev/null\r\n+++ b/y.go\r\n"}, []string{"write y.go"}},
		"patch without a file":       {"patch", map[string]any{"patchText": "hello"}, []string{"write "}},
		"patch that is no text":      {"patch", map[string]any{"patchText": []any{"*** Add File: a"}}, []string{"write "}},
		"command in a directory":     {"bash", map[string]any{"command": "", "workdir": "b"}, []string{"read b"}},
		"terminal in a directory":    {"pty", map[string]any{"command": "true", "cwd": "b"}, []string{"read b"}},
		"tool that is not known":     {"teleport", map[string]any{"filePath": "/etc"}, nil},
		"argument of another's name": {"read", map[string]any{"path": "/etc", "filePath": "a"}, []string{"read a"}},
	} {
		p := fromCall(t, row.tool, row.args)
		var got []string
		for _, path := range p.Paths {
			got = append(got, string(path.Access)+" "+path.Raw)
			if path.Raw == "" && path.Problem == nil {
				t.Errorf("%s: a path that cannot be known has no problem: %+v", name, path)
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s: paths (-want +got):\n%s", name, diff)
		}
	}
}

func TestCommandOfACall(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		tool  string
		args  map[string]any
		calls string // names and words, joined
		none  bool
	}{
		"bash":                        {tool: "bash", args: map[string]any{"command": "ls -l"}, calls: "ls -l"},
		"bash without text":           {tool: "bash", args: map[string]any{}, none: true},
		"bash with another type":      {tool: "bash", args: map[string]any{"command": []any{"ls"}}, none: true},
		"terminal":                    {tool: "pty", args: map[string]any{"command": "ls", "args": []any{"-l", "a b"}}, calls: "ls -l a b"},
		"terminal with odd words":     {tool: "pty", args: map[string]any{"command": "echo", "args": []any{"it's; curl $x"}}, calls: "echo it's; curl $x"},
		"terminal without a list":     {tool: "pty", args: map[string]any{"command": "sh"}, calls: "sh"},
		"terminal with null":          {tool: "pty", args: map[string]any{"command": "sh", "args": nil}, calls: "sh"},
		"terminal with text for list": {tool: "pty", args: map[string]any{"command": "sh", "args": "-c curl"}, none: true},
		"terminal with a number":      {tool: "pty", args: map[string]any{"command": "sh", "args": []any{7.0}}, none: true},
		"terminal without a command":  {tool: "pty", args: map[string]any{"args": []any{"x"}}, none: true},
		"another tool":                {tool: "read", args: map[string]any{"command": "curl"}, none: true},
	} {
		p := fromCall(t, row.tool, row.args)
		if row.none {
			if p.Command != nil {
				t.Errorf("%s: facts %+v, want none", name, p.Command)
			}
			continue
		}
		if p.Command == nil {
			t.Errorf("%s: no facts", name)
			continue
		}
		var got []string
		for _, call := range p.Command.Calls {
			got = append(got, strings.Join(call.Argv, " "))
		}
		if strings.Join(got, " | ") != row.calls {
			t.Errorf("%s: calls %q, want %q", name, got, row.calls)
		}
	}
}

// TestRedirectsAreFiles: what the shell itself opens is a file of the call,
// seen from the directory that the command starts in.
func TestRedirectsAreFiles(t *testing.T) {
	t.Parallel()
	p := fromCall(t, "bash", map[string]any{"command": "cat < in > ../out 2>> log <> both", "workdir": "/elsewhere"})
	got := map[string]bool{}
	for _, path := range p.Paths {
		got[string(path.Access)+" "+path.Raw] = true
		if strings.HasPrefix(path.Raw, "..") && path.Inside {
			t.Errorf("%+v: is taken for inside", path)
		}
	}
	for _, want := range []string{"read /elsewhere", "read in", "write ../out", "write log", "read both", "write both"} {
		if !got[want] {
			t.Errorf("paths %v lack %q", got, want)
		}
	}
	for _, path := range p.Paths {
		if path.Raw == "in" && (path.Inside || path.Access != fspath.Read) {
			t.Errorf("%+v: is not seen from where the command starts", path)
		}
	}
	if p := fromCall(t, "bash", map[string]any{"command": "ls > $x"}); len(p.Paths) > 0 || !p.Command.Redirects[0].Dynamic {
		t.Errorf("a target that cannot be known: %+v, %+v", p.Paths, p.Command)
	}
}

func TestSessionOfACall(t *testing.T) {
	t.Parallel()
	session := &policy.Session{ID: "ses_1", Depth: 2}
	in := policy.FromCall(time.Unix(0, 0), policy.Anonymous(), policy.Call{Tool: "x", Session: session})
	if in.Session == session || session.Approvals != nil || in.Session.Depth != 2 || in.Session.Approvals == nil {
		t.Errorf("session %+v of %+v", in.Session, session)
	}
	if in := policy.FromCall(time.Unix(0, 0), policy.Anonymous(), policy.Call{Tool: "x"}); in.Session != nil {
		t.Errorf("session %+v, want none", in.Session)
	}
}

// TestFilesOfACommand: what programs use by their arguments are files of the
// call, each once; what is not known is for a rule about the command.
func TestFilesOfACommand(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		"cat a; cat a; cp a b":             {"read a plain true", "write b plain true"},
		"cat .env":                         {"read .env secret true"},
		"rm -rf ../x":                      {"write ../x plain false"},
		"cat ~/.ssh/id_rsa":                {"read /nobody/.ssh/id_rsa secret false"},
		"tee $HOME/.bashrc":                {"write /nobody/.bashrc agent-config false"},
		"cat .e*":                          {"read .e* secret true"},
		"cat ~/.s*/id*":                    {"read /nobody/.s*/id* secret false"},
		`cat "$x"`:                         nil,
		"./x":                              {"read ./x plain true"},
		"bash /tmp/x.sh":                   {"read /tmp/x.sh plain false"},
		"/usr/bin/ls":                      nil,
		"ls ~ ..":                          nil,
		"cd /elsewhere; cat f":             {"read f plain true", "read /elsewhere/f plain false"},
		"HOME=/x; cat ~/f":                 nil,
		"cat x.go > out":                   {"write out plain true", "read x.go plain true"},
		"for f in .env x; do cat $f; done": {"read .env secret true", "read x plain true"},
	} {
		root := t.TempDir()
		in := policy.FromCall(time.Unix(0, 0), policy.Principal{}, policy.Call{
			Tool: "bash", Args: map[string]any{"command": command}, Root: root, Directory: root, Home: "/nobody",
		})
		var got []string
		for _, p := range in.Prompt.Paths {
			got = append(got, fmt.Sprint(p.Access, " ", p.Raw, " ", p.Class, " ", p.Inside))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: paths (-want +got):\n%s", command, diff)
		}
	}
}
