package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The words of the TUI that the tests wait for.
const (
	homePrompt  = `Ask anything`
	inSession   = `project\s+tab agents`
	shellMode   = `esc exit shell mode`
	working     = `esc (again to )?interrupt`
	askDialog   = `Permission required`
	pushedAlone = `No configured push destination`
)

// tui is the TUI from npm, attached to a server.
type tui struct {
	*screen
	server *instance
}

// attach starts the TUI and waits for its prompt.
func attach(t *testing.T, s *instance) *tui {
	t.Helper()
	u := &tui{startTUI(t, s), s}
	u.wait(t, homePrompt)
	return u
}

func startTUI(t *testing.T, s *instance) *screen {
	t.Helper()
	return startScreen(t, clientEnv(t), s.Project, clientBinary(t), "attach", s.URL, "-p", s.Token, "--dir", s.Project)
}

// shell sends a command as a person does who types an exclamation mark first.
func (u *tui) shell(t *testing.T, command string) {
	t.Helper()
	u.waitGone(t, working)
	u.write(t, "!")
	looks := 0
	u.waitUntil(t, shellMode, func(text string) bool {
		// A key is lost that comes while the TUI changes from its home to a
		// session. Escape undoes one that only came late.
		if looks++; looks%100 == 0 {
			u.press(t, "Escape")
			u.write(t, "!")
		}
		return strings.Contains(text, shellMode)
	})
	u.write(t, command)
	u.wait(t, `(?m)^\s*┃\s+`+regexp.QuoteMeta(command)+`\s*$`)
	u.press(t, "Enter")
	u.waitGone(t, shellMode)
}

// slash runs one of the TUI's own commands.
func (u *tui) slash(t *testing.T, name string) {
	t.Helper()
	u.waitGone(t, working)
	u.write(t, "/"+name)
	// The list of commands stands above the prompt, which has the text too.
	u.wait(t, `(?m)^\s*┃\s*/`+name+`\s+[A-Z]`, `(?m)^\s*┃\s+/`+name+`\s*$`)
	u.press(t, "Enter")
	u.waitGone(t, `(?m)^\s*┃\s+/`+name+`\s*$`)
}

// session returns the only session of the server.
func (u *tui) session(t *testing.T) sessionInfo {
	t.Helper()
	all := call[[]sessionInfo](t, u.server, http.MethodGet, "/session", nil)
	if len(all) != 1 {
		t.Fatalf("GET /session = %v, want one session", all)
	}
	return all[0]
}

// shells returns the commands of the session with the state of each, in order.
func (u *tui) shells(t *testing.T) []shellState {
	t.Helper()
	messages := call[[]struct {
		Parts []struct {
			Type  string `json:"type"`
			State struct {
				Status string `json:"status"`
				Error  string `json:"error"`
				Input  struct {
					Command string `json:"command"`
				} `json:"input"`
			} `json:"state"`
		} `json:"parts"`
	}](t, u.server, http.MethodGet, "/session/"+u.session(t).ID+"/message", nil)
	var found []shellState
	for _, m := range messages {
		for _, p := range m.Parts {
			if p.Type == "tool" {
				found = append(found, shellState{p.State.Input.Command, p.State.Status})
			}
		}
	}
	return found
}

type sessionInfo struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

type shellState struct{ Command, Status string }

func TestTUIShowsOutput(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	u.shell(t, "ls")
	u.wait(t, `\$ ls`, `README\.md`, `main\.go`, `sub`)
	u.waitGone(t, working)
	if diff := cmp.Diff([]shellState{{"ls", "completed"}}, u.shells(t)); diff != "" {
		t.Errorf("commands at the server (-want +got):\n%s", diff)
	}
}

// TestTUIShowsDenial holds that a person sees which rule has denied a command.
func TestTUIShowsDenial(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	u.shell(t, "curl x")
	u.wait(t, `\$ curl x`, `bash\.banned_command`, `curl is banned`)
	if diff := cmp.Diff([]shellState{{"curl x", "error"}}, u.shells(t)); diff != "" {
		t.Errorf("commands at the server (-want +got):\n%s", diff)
	}
}

// TestTUIAsks holds that policy's question is the TUI's own dialog, says why it
// is asked, and that each answer does what it says.
func TestTUIAsks(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	ask := func() {
		t.Helper()
		u.shell(t, "git push")
		u.wait(t, askDialog, `\$ git push`, `Allow once\s+Allow always\s+Reject`, `publishes commits`, `bash\.ask_command`)
	}

	ask()
	u.press(t, "Right", "Right", "Enter")
	u.waitGone(t, askDialog)
	u.wait(t, `(?i)rejected`)
	if strings.Contains(u.text(t), pushedAlone) {
		t.Fatalf("the rejected command has run:\n%s", u.text(t))
	}

	ask()
	u.press(t, "Enter")
	u.wait(t, pushedAlone)

	// Once was once.
	ask()
	u.press(t, "Right", "Enter")
	u.wait(t, `Always allow`, `- git push`, `Confirm\s+Cancel`)
	u.press(t, "Enter")
	u.wait(t, `(?s)`+pushedAlone+`.*`+pushedAlone)

	u.shell(t, "git push")
	u.waitUntil(t, "the end of the fourth command", func(string) bool {
		all := u.shells(t)
		return len(all) == 4 && all[3].Status == "completed"
	})
	want := []shellState{{"git push", "error"}, {"git push", "completed"}, {"git push", "completed"}, {"git push", "completed"}}
	if diff := cmp.Diff(want, u.shells(t)); diff != "" {
		t.Errorf("commands at the server (-want +got):\n%s", diff)
	}
	if left := call[[]json.RawMessage](t, u.server, http.MethodGet, "/permission", nil); len(left) != 0 {
		t.Errorf("GET /permission = %s, want none left", left)
	}
	if text := u.text(t); strings.Contains(text, askDialog) {
		t.Errorf("the dialog is still there:\n%s", text)
	}
}

// TestTUITeamPolicy holds that a person reads the rules of their team, and that
// a question which nobody answers ends by itself: the dialog goes, and the
// command has not run.
func TestTUITeamPolicy(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{Policy: map[string]string{"team.rego": `package team.notes

ask contains {"id": "notes.ask_make", "message": "make is watched here"} if _calls("make")

deny contains {"id": "notes.deny_ls", "message": "use the tree view"} if _calls("ls")

obligations := {"ask": {"ttl_seconds": 5}}

_calls(name) if {
	some call in input.prompt.command.calls
	call.name == name
}
`}}))
	u.shell(t, "ls")
	u.wait(t, `\$ ls`, `use the tree view`, `notes\.deny_ls`)
	u.shell(t, "make")
	u.wait(t, askDialog, `make is watched here`, `notes\.ask_make`)
	u.waitGone(t, askDialog)
	u.wait(t, `nobody answered in time`)
	if diff := cmp.Diff([]shellState{{"ls", "error"}, {"make", "error"}}, u.shells(t)); diff != "" {
		t.Errorf("commands at the server (-want +got):\n%s", diff)
	}
}

// TestTUIFindsFiles holds that what follows an at sign is looked for in the
// project.
func TestTUIFindsFiles(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	u.write(t, "@not")
	u.wait(t, `(?m)^\s*┃\s*sub/notes\.txt\s*┃$`)
	u.press(t, "Enter")
	u.wait(t, `(?m)^\s*┃\s+@sub/notes\.txt\s*$`)
}

func TestTUIAborts(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	u.shell(t, "sleep 100")
	u.wait(t, `esc interrupt`)
	u.press(t, "Escape")
	u.wait(t, `esc again to interrupt`)
	u.press(t, "Escape")
	u.wait(t, `interrupted|aborted`)
	u.waitGone(t, working)
	// The session takes the next command.
	u.shell(t, "echo still here")
	u.wait(t, `(?m)^\s*┃\s+still here\s*$`)
}

func TestTUIUndoes(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	readme := filepath.Join(u.server.Project, "README.md")
	before := readFile(t, readme)
	made := filepath.Join(u.server.Project, "made.txt")

	u.shell(t, "echo more >> README.md; touch made.txt")
	u.wait(t, `\$ echo more`)
	u.waitGone(t, working)
	after := before + "more\n"
	if got := readFile(t, readme); got != after {
		t.Fatalf("README.md = %q, want %q", got, after)
	}

	u.slash(t, "undo")
	u.wait(t, `1 message reverted`)
	if got := readFile(t, readme); got != before {
		t.Errorf("README.md after /undo = %q, want %q", got, before)
	}
	if _, err := os.Stat(made); !os.IsNotExist(err) {
		t.Errorf("made.txt after /undo: %v, want that it does not exist", err)
	}

	u.slash(t, "redo")
	u.waitGone(t, `1 message reverted`)
	if got := readFile(t, readme); got != after {
		t.Errorf("README.md after /redo = %q, want %q", got, after)
	}
	if _, err := os.Stat(made); err != nil {
		t.Errorf("made.txt after /redo: %v", err)
	}
}

func TestTUISessions(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	for _, title := range []string{"the first of two", "the second of two"} {
		call[sessionInfo](t, s, http.MethodPost, "/session", map[string]string{"title": title})
	}
	u := attach(t, s)
	u.slash(t, "sessions")
	u.wait(t, `the first of two`, `the second of two`)
	u.write(t, "first")
	u.waitGone(t, `the second of two`)
	u.press(t, "Enter")
	u.waitGone(t, `the first of two|`+homePrompt)
	u.wait(t, inSession)

	u.slash(t, "rename")
	u.wait(t, `Rename Session`, `the first of two`)
	u.press(t, "C-u")
	u.waitGone(t, `the first of two`)
	u.write(t, "another name")
	u.wait(t, `another name`)
	u.press(t, "Enter")
	u.waitGone(t, `Rename Session`)
	u.slash(t, "sessions")
	u.wait(t, `● another name`, `the second of two`)

	var titles []string
	for _, info := range call[[]sessionInfo](t, s, http.MethodGet, "/session", nil) {
		titles = append(titles, info.Title)
	}
	if diff := cmp.Diff([]string{"another name", "the second of two"}, titles); diff != "" {
		t.Errorf("titles at the server (-want +got):\n%s", diff)
	}
}

// TestTUIWithoutModel holds that a person who has signed in nowhere reads what
// to do about it, and can go on working.
func TestTUIWithoutModel(t *testing.T) {
	t.Parallel()
	u := attach(t, startServer(t, serverOptions{}))
	u.write(t, "hello there")
	u.wait(t, `(?m)^\s*┃\s+hello there\s*$`)
	u.press(t, "Enter")
	u.wait(t, howToSignIn)
	u.wait(t, inSession)
	u.shell(t, "echo still here")
	u.wait(t, `(?m)^\s*┃\s+still here\s*$`)
}

func TestTUIWrongToken(t *testing.T) {
	t.Parallel()
	s := *startServer(t, serverOptions{})
	s.Token = "wrong"
	text, status := startTUI(t, &s).waitEnd(t)
	if status != "1" || !strings.Contains(text, "Error: unauthenticated") {
		t.Errorf("the TUI ended with %s, want 1 and why:\n%s", status, text)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
