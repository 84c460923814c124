package e2e_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// noModel is a configuration of the original in which nobody is signed in to
// any provider, as it is with ours at first.
const noModel = `{"disabled_providers":["opencode"]}`

// howToSignIn is in what a person reads who has no model. A program may break
// the lines.
const howToSignIn = `(?i)\bsign(ing)?[\s┃]+in\b`

// ended is how `opencode run` has ended.
type ended struct {
	stdout, stderr string
	code           int
}

// run runs `opencode run` of npm against a server, with the flags before the
// message.
func run(t *testing.T, s *instance, flags ...string) ended {
	t.Helper()
	args := append([]string{"run", "--attach", s.URL, "-p", s.Token, "--dir", s.Project}, flags...)
	stdout, stderr, code := execCommand(t, clientEnv(t), s.Project, clientBinary(t), append(args, "say hello")...)
	return ended{stdout, stderr, code}
}

// TestRun holds that `opencode run` behaves with ours as with the original where
// no model is needed, and that a run which needs one, of which there is none,
// ends as it does there, and is told what to do. The subtests build on each
// other: they count the sessions.
func TestRun(t *testing.T) {
	t.Parallel()
	ours, original := startServer(t, serverOptions{}), startUpstream(t, upstreamOptions{Config: noModel})
	both := []struct {
		name   string
		server *instance
	}{{"ours", ours}, {"the original", original}}

	for _, with := range both {
		for _, row := range []struct {
			name  string
			with  func(instance) instance
			flags []string
		}{
			{"a wrong password", func(s instance) instance { s.Token = "wrong"; return s }, nil},
			{"no such session", func(s instance) instance { return s }, []string{"--session", "ses_000000000000AAAAAAAAAAAAAA"}},
			{"nobody there", func(s instance) instance { s.URL = "http://127.0.0.1:" + freePort(t); return s }, nil},
		} {
			t.Run(row.name+" with "+with.name, func(t *testing.T) {
				s := row.with(*with.server)
				got := run(t, &s, row.flags...)
				if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "Session not found") {
					t.Errorf("exit %d, stdout %q, stderr %q, want 1 and that there is no session", got.code, got.stdout, got.stderr)
				}
				wantSessions(t, with.server, 0)
			})
		}
	}

	t.Run("outside of what ours was given", func(t *testing.T) {
		s := *ours
		s.Project = tempDir(t)
		got := run(t, &s)
		if got.code != 1 || !strings.Contains(got.stderr, "Error:") {
			t.Errorf("exit %d, stderr %q, want 1 and an error", got.code, got.stderr)
		}
		wantSessions(t, ours, 0)
	})

	for _, with := range both {
		t.Run("an error in JSON with "+with.name, func(t *testing.T) {
			got := run(t, with.server, "--format", "json")
			var event struct {
				Type      string `json:"type"`
				SessionID string `json:"sessionID"`
				Error     struct {
					Name string `json:"name"`
					Data struct {
						Message string `json:"message"`
					} `json:"data"`
				} `json:"error"`
			}
			line, _, _ := strings.Cut(got.stdout, "\n")
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatalf("stdout %q: %v", got.stdout, err)
			}
			if event.Type != "error" || event.Error.Name == "" || event.Error.Data.Message == "" || got.code != 1 {
				t.Errorf("exit %d, %+v, want exit 1 and an error with name and message", got.code, event)
			}
			if all := wantSessions(t, with.server, 1); event.SessionID != all[0].ID {
				t.Errorf("the error is about session %q, want %q", event.SessionID, all[0].ID)
			}
		})
	}

	for _, row := range []struct {
		name     string
		flags    func(t *testing.T, s *instance) []string
		sessions int // how many there are afterwards
	}{
		{"the last session", func(*testing.T, *instance) []string { return []string{"--continue"} }, 1},
		{"a new session", func(*testing.T, *instance) []string { return nil }, 2},
		{"a named session", func(t *testing.T, s *instance) []string {
			t.Helper()
			return []string{"--session", call[sessionInfo](t, s, http.MethodPost, "/session", map[string]any{}).ID}
		}, 3},
		{"a title", func(*testing.T, *instance) []string { return []string{"--title", "of the run"} }, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			want, got := run(t, original, row.flags(t, original)...), run(t, ours, row.flags(t, ours)...)
			if got.code != want.code || want.code == 0 {
				t.Errorf("exit %d with ours, %d with the original, want the same and not 0\n%s%s", got.code, want.code, got.stderr, want.stderr)
			}
			if want.stdout != "" || got.stdout != "" {
				t.Errorf("stdout %q with ours, %q with the original, want none", got.stdout, want.stdout)
			}
			if !strings.Contains(want.stderr, "Error:") || !strings.Contains(got.stderr, "Error:") {
				t.Errorf("stderr %q with ours, %q with the original, want an error", got.stderr, want.stderr)
			}
			if !regexp.MustCompile(howToSignIn).MatchString(got.stderr) {
				t.Errorf("stderr with ours = %q, want how to sign in", got.stderr)
			}
			wantSessions(t, ours, row.sessions)
			wantSessions(t, original, row.sessions)
		})
	}
	all := wantSessions(t, ours, 4)
	if !slices.ContainsFunc(all, func(s sessionInfo) bool { return s.Title == "of the run" }) {
		t.Errorf("sessions = %v, want the title of --title", all)
	}
}

// wantSessions returns the sessions of a server, of which there must be n.
func wantSessions(t *testing.T, s *instance, n int) []sessionInfo {
	t.Helper()
	all := call[[]sessionInfo](t, s, http.MethodGet, "/session", nil)
	if len(all) != n {
		t.Fatalf("GET /session = %v, want %d sessions", all, n)
	}
	return all
}
