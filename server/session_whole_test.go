package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/agent"
	"opencode/agent/git"
	"opencode/server"
)

// withSnapshots lets the rig undo what commands change, and know branches.
func withSnapshots(t *testing.T) options {
	t.Helper()
	g := must(git.New(git.Config{Dir: t.TempDir()}))(t)
	return options{
		agent:  func(c *agent.Config) { c.Snapshots = g },
		change: func(c *server.Config) { c.Repositories = g },
	}
}

// TestSessionsWhole follows a session over HTTP from its start to its end.
// Every answer is held against the document and the published shapes.
func TestSessionsWhole(t *testing.T) {
	t.Parallel()
	r := serve(t, withSnapshots(t))
	id := r.session()
	var child, fork, s body
	r.json(http.MethodPost, "/session", r.full, `{"parentID":"`+id+`"}`, &child)
	var list []body
	if r.json(http.MethodGet, "/session/"+id+"/children", r.full, "", &list); len(list) != 1 || list[0]["id"] != child["id"] {
		t.Errorf("children %v", list)
	}
	if r.json(http.MethodGet, "/session?roots=true&directory="+r.dir, r.full, "", &list); len(list) != 1 || list[0]["id"] != id {
		t.Errorf("roots %v", list)
	}
	if r.json(http.MethodGet, "/session?scope=project", r.full, "", &list); len(list) != 2 {
		t.Errorf("of the project %v", list)
	}
	if r.json(http.MethodGet, "/session?path=sub", r.full, "", &list); len(list) != 0 {
		t.Errorf("below %v", list)
	}
	for _, query := range []string{"scope=all", "path=..", "path=/etc", "path=a/../../b"} {
		if got := r.do(http.MethodGet, "/session?"+query, r.full, ""); got.status != http.StatusBadRequest {
			t.Errorf("%s = %d %s, want 400", query, got.status, got.body)
		}
	}

	if got := r.shell(id, r.full, "echo one > a; mkdir d; echo two > d/b"); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	if got := r.shell(id, r.full, "rm a; echo three > d/b"); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	var messages []struct {
		Info  struct{ ID, Role string }
		Parts []body
	}
	r.json(http.MethodGet, "/session/"+id+"/message", r.full, "", &messages)
	if len(messages) != 4 || len(messages[3].Parts) != 2 || messages[3].Parts[1]["type"] != "patch" {
		t.Fatalf("messages %+v", messages)
	}
	second := messages[2].Info.ID
	r.json(http.MethodGet, "/session/"+id+"/message/"+second, r.full, "", &s)
	var diffs []git.FileDiff
	r.json(http.MethodGet, "/session/"+id+"/diff", r.full, "", &diffs)
	if len(diffs) != 2 && len(diffs) != 1 {
		t.Errorf("diff %+v", diffs)
	}
	r.json(http.MethodGet, "/session/"+id+"/diff?messageID="+second, r.full, "", &diffs)
	if len(diffs) != 2 || diffs[0].File != "a" || diffs[0].Status != "deleted" || diffs[1].File != "d/b" || !strings.Contains(diffs[1].Patch, "+three") {
		t.Errorf("diff of a message %+v", diffs)
	}
	r.json(http.MethodPost, "/session/"+id+"/revert", r.full, `{"messageID":"`+second+`"}`, &s)
	if text, err := os.ReadFile(filepath.Join(r.dir, "d", "b")); string(text) != "two\n" || !r.exists("a") {
		t.Errorf("undone: %q, %v", text, err)
	}
	r.json(http.MethodPost, "/session/"+id+"/unrevert", r.full, "", &s)
	if text, err := os.ReadFile(filepath.Join(r.dir, "d", "b")); string(text) != "three\n" || r.exists("a") {
		t.Errorf("redone: %q, %v", text, err)
	}
	r.json(http.MethodPost, "/session/"+id+"/fork", r.full, `{"messageID":"`+second+`"}`, &fork)
	copied, _ := fork["id"].(string)
	if r.json(http.MethodGet, "/session/"+copied+"/message", r.full, "", &messages); len(messages) != 2 {
		t.Errorf("the copy has %d messages", len(messages))
	}
	r.json(http.MethodGet, "/session/"+id+"/todo", r.full, "", &list)
	r.json(http.MethodGet, "/session/status", r.full, "", &s)
	r.json(http.MethodDelete, "/session/"+id+"/message/"+second, r.full, "", new(bool))
	if got := r.do(http.MethodGet, "/session/"+id+"/message/"+second, r.full, ""); got.status != http.StatusNotFound {
		t.Errorf("a message that is gone: %d", got.status)
	}

	for path, send := range map[string]string{
		"message": `{"parts":[{"type":"text","text":"hello"}]}`, "prompt_async": `{"parts":[{"type":"text","text":"hello"}]}`,
		"summarize": `{"providerID":"p","modelID":"m"}`, "init": `{"providerID":"p","modelID":"m","messageID":"msg_1"}`,
		"command": `{"command":"review","arguments":""}`,
	} {
		got := r.do(http.MethodPost, "/session/"+id+"/"+path, r.full, send)
		if e := got.failure(t); got.status != http.StatusBadRequest || e.Name != "ProviderAuthError" || !strings.Contains(e.Data.Message, "opencode auth login") {
			t.Errorf("%s = %d %s, want how to sign in", path, got.status, got.body)
		}
	}
	if got := r.do(http.MethodPost, "/session/"+id+"/prompt_async", r.full, `{"noReply":true,"parts":[{"type":"text","text":"a note"}]}`); got.status != http.StatusNoContent || got.body != "" {
		t.Errorf("prompt_async = %d %s, want 204", got.status, got.body)
	}
	var vcs body
	r.json(http.MethodGet, "/vcs", r.read, "", &vcs)
	r.json(http.MethodGet, "/file/status", r.read, "", &list)
	if len(vcs) != 0 || len(list) != 0 {
		t.Errorf("no repository has %v and %v", vcs, list)
	}
	for _, path := range []string{"", "/children", "/todo", "/diff", "/message", "/message/msg_1"} {
		if got := r.do(http.MethodGet, "/session/ses_none"+path, r.full, ""); got.status != http.StatusNotFound {
			t.Errorf("GET %s of no session = %d", path, got.status)
		}
	}
}
