package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each hole that was seen in the original has a test of its number, which runs
// the same probe there and here: the original must show the hole, so that the
// probe is known to find it, and our server must not. The holes in the API
// itself are in holes_http_test.go.

// startOriginal starts the original with the scripted model and permissions.
func startOriginal(t *testing.T, permission map[string]any, env ...string) *instance {
	t.Helper()
	model := startModel(t)
	return startUpstream(t, upstreamOptions{Config: modelConfig(t, model, "no-key", permission), Env: env})
}

// banRm is a policy that bans rm, as the rule "rm *" does in the original.
func banRm() map[string]string {
	return map[string]string{"data.json": `{"opencode": {"config": {"banned_commands": {"rm": "rm"}}}}`}
}

// denyCommands is a policy that denies everything that runs.
func denyCommands() map[string]string {
	return map[string]string{"nothing.rego": `package team.nothing

deny contains {"id": "nothing.runs", "message": "nothing may run"} if {
	input.prompt.tool in {"bash", "pty"}
}
`}
}

// approverProbe looks for a credential of the server in its environment and
// asks the server with it, as a program that wants to approve itself would.
const approverProbe = `
printf 'found %s\n' "$(env | grep -c '^OPENCODE_SERVER_PASSWORD=')"
exec 3<>/dev/tcp/127.0.0.1/"$1"
printf 'GET /permission HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAuthorization: Basic %s\r\nConnection: close\r\n\r\n' \
	"$1" "$(printf 'opencode:%s' "$OPENCODE_SERVER_PASSWORD" | base64 | tr -d '\n')" >&3
head -n 1 <&3
`

func TestHole01ToolsInheritTheServersPassword(t *testing.T) {
	t.Parallel()
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"bash": "allow"})
		writeFiles(t, s.Project, map[string]string{"probe.sh": approverProbe})
		id := newSession(t, s, nil)
		during(t, s, "reject", prompt(s, id, bashCall("bash probe.sh "+port(t, s))))
		if got := lastTool(t, s, id); !strings.Contains(got.Output, "found 1") || !strings.Contains(got.Output, "HTTP/1.1 200 OK") {
			t.Errorf("the probe got %+v, want in by the password", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{Env: []string{"OPENCODE_SERVER_PASSWORD=of-the-server", "ANTHROPIC_API_KEY=of-the-provider"}})
		// What the server holds in its own environment would do as well.
		writeFiles(t, s.Project, map[string]string{"probe.sh": "trap '' PIPE\n" + approverProbe + `
env
"$2" permission list; printf 'local %s\n' "$?"
`})
		id := newSession(t, s, nil)
		command := "bash probe.sh " + port(t, s) + " " + serverBinary(t)
		// A person lets it run, and still it gets nowhere.
		if got, asked := during(t, s, "once", shell(s, id, command)); got.status != http.StatusOK {
			t.Fatalf("shell = %d %s, asked %v", got.status, got.body, asked)
		}
		out := lastTool(t, s, id).Output
		if !strings.Contains(out, "found 0") || strings.Contains(out, "HTTP/1.1") {
			t.Errorf("the probe got %s, want no credential and no answer", out)
		}
		for _, secret := range []string{s.Token, "of-the-server", "of-the-provider"} {
			if strings.Contains(out, secret) {
				t.Errorf("the environment of the command holds %q:\n%s", secret, out)
			}
		}
		if !strings.Contains(out, "local ") || strings.Contains(out, "local 0") {
			t.Errorf("the local socket let the command in:\n%s", out)
		}
		// The same command lets a person in, who is no descendant of the server.
		runCommand(t, s.Env, s.Project, serverBinary(t), "permission", "list")
	})
}

// port is the port of a server.
func port(t *testing.T, s *instance) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// openPty is the act of a person that starts a program in a terminal.
func openPty(s *instance, command string, args ...string) act {
	return func(ctx context.Context) (answer, error) {
		return send(ctx, s, http.MethodPost, "/pty", map[string]any{"command": command, "args": append([]string{}, args...)})
	}
}

func TestHole02ShellAndPtyAskNobody(t *testing.T) {
	t.Parallel()
	const byShell, byPty = "by-shell", "by-pty"
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"*": "deny", "bash": "deny"})
		stream := openEvents(t, s)
		got, asked := during(t, s, "reject", shell(s, newSession(t, s, nil), "touch "+byShell))
		if got.status != http.StatusOK || len(asked) != 0 || !exists(t, s, byShell) {
			t.Errorf("shell = %d, asked %v, made it: %t; want that it ran", got.status, asked, exists(t, s, byShell))
		}
		if got, asked = during(t, s, "reject", openPty(s, "touch", byPty)); got.status != http.StatusOK || len(asked) != 0 {
			t.Errorf("pty = %d, asked %v; want that it ran", got.status, asked)
		}
		if stream.until(t, "pty.exited"); !exists(t, s, byPty) {
			t.Error("pty: it did not run")
		}
	})
	for name, tc := range map[string]struct {
		policy map[string]string
		reply  string
		asked  bool
	}{
		"ours, denied by policy": {policy: denyCommands(), reply: "once"},
		"ours, asked":            {reply: "reject", asked: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, serverOptions{Policy: tc.policy})
			acts := map[string]act{
				byShell: shell(s, newSession(t, s, nil), "touch "+byShell+"; git push"),
				byPty:   openPty(s, "/bin/sh", "-c", "touch "+byPty+"; git push"),
			}
			if !tc.asked {
				// A shell to type into is started unasked where policy allows it.
				acts["interactive"] = openPty(s, "/bin/sh")
			}
			for file, a := range acts {
				got, asked := during(t, s, tc.reply, a)
				if got.status != http.StatusForbidden || len(asked) > 0 != tc.asked || exists(t, s, file) {
					t.Errorf("%s = %d %s, asked %v, made it: %t; want 403", file, got.status, got.body, asked, exists(t, s, file))
				}
			}
			if left := call[[]struct{ ID string }](t, s, http.MethodGet, "/pty", nil); len(left) != 0 {
				t.Errorf("terminals = %v, want none", left)
			}
		})
	}
}

// exists reports whether the project has a file.
func exists(t *testing.T, s *instance, name string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(s.Project, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestHole03ClientSwitchesAsksOff(t *testing.T) {
	t.Parallel()
	everything := map[string]any{"permission": []any{
		map[string]string{"permission": "*", "pattern": "*", "action": "allow"},
		map[string]string{"permission": "bash", "pattern": "*", "action": "allow"},
	}}
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"bash": "ask"})
		if _, asked := during(t, s, "reject", prompt(s, newSession(t, s, nil), bashCall("touch asked"))); len(asked) != 1 || exists(t, s, "asked") {
			t.Errorf("without rules of the client: asked %v, made it: %t; want to be asked", asked, exists(t, s, "asked"))
		}
		if _, asked := during(t, s, "reject", prompt(s, newSession(t, s, everything), bashCall("touch unasked"))); len(asked) != 0 || !exists(t, s, "unasked") {
			t.Errorf("with rules of the client: asked %v, made it: %t; want that it ran", asked, exists(t, s, "unasked"))
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		made := newSession(t, s, everything)
		changed := newSession(t, s, nil)
		if got := mustSend(t, s, http.MethodPatch, "/session/"+changed, everything); got.status >= http.StatusInternalServerError {
			t.Errorf("PATCH with rules = %d %s", got.status, got.body)
		}
		for _, id := range []string{made, changed} {
			got, asked := during(t, s, "reject", shell(s, id, "touch unasked; git push"))
			if got.status != http.StatusForbidden || len(asked) != 1 || exists(t, s, "unasked") {
				t.Errorf("with rules of the client = %d %s, asked %v, made it: %t; want to be asked", got.status, got.body, asked, exists(t, s, "unasked"))
			}
		}
		// The other way round a client's rules count.
		narrow := newSession(t, s, map[string]any{"permission": []any{
			map[string]string{"permission": "bash", "pattern": "*", "action": "deny"},
		}})
		if got, asked := during(t, s, "once", shell(s, narrow, "touch denied")); got.status != http.StatusForbidden || len(asked) != 0 || exists(t, s, "denied") {
			t.Errorf("with a denial of the client = %d %s, asked %v, made it: %t; want a denial", got.status, got.body, asked, exists(t, s, "denied"))
		}
	})
}

func TestHole08DenyIsEvaded(t *testing.T) {
	t.Parallel()
	evasions := []string{"/bin/rm victim", `sh -c "rm victim"`, `env sh -c 'r""m victim'`, "find victim -exec /bin/rm {} +"}
	t.Run("the original lets a denied program run", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"bash": map[string]string{"*": "allow", "rm *": "deny"}})
		id := newSession(t, s, nil)
		writeFiles(t, s.Project, map[string]string{"victim": ""})
		during(t, s, "reject", prompt(s, id, bashCall("rm victim")))
		if got := lastTool(t, s, id); got.Status != "error" || !exists(t, s, "victim") {
			t.Errorf("rm = %+v, want that the rule holds for its plain form", got)
		}
		for _, command := range evasions[:2] {
			writeFiles(t, s.Project, map[string]string{"victim": ""})
			if _, asked := during(t, s, "reject", prompt(s, id, bashCall(command))); len(asked) != 0 || exists(t, s, "victim") {
				t.Errorf("%s: asked %v, still there: %t; want it gone", command, asked, exists(t, s, "victim"))
			}
		}
	})
	t.Run("ours does not", func(t *testing.T) {
		s := startServer(t, serverOptions{Policy: banRm()})
		writeFiles(t, s.Project, map[string]string{"victim": ""})
		id := newSession(t, s, nil)
		for _, command := range append(evasions, "rm victim") {
			got, asked := during(t, s, "once", shell(s, id, command))
			if got.status != http.StatusForbidden || len(asked) != 0 || !exists(t, s, "victim") {
				t.Errorf("%s = %d %s, asked %v, still there: %t; want a denial", command, got.status, got.body, asked, exists(t, s, "victim"))
			}
		}
	})
}

func TestHole08WritesOutsideAskNothing(t *testing.T) {
	t.Parallel()
	// Each command writes the file that is named by the last of its words.
	commands := map[string]func(path string) string{
		"redirection": func(path string) string { return "echo x > " + path },
		"interpreter": func(path string) string { return `node -e "require('fs').writeFileSync('` + path + `', 'x')"` },
	}
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"bash": "allow", "edit": "ask", "external_directory": "ask"})
		for name, command := range commands {
			outside := filepath.Join(tempDir(t), "written")
			_, asked := during(t, s, "reject", prompt(s, newSession(t, s, nil), bashCall(command(outside))))
			if _, err := os.Stat(outside); err != nil || len(asked) != 0 {
				t.Errorf("%s: asked %v, %v; want it written", name, asked, err)
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		for name, command := range commands {
			outside := filepath.Join(tempDir(t), "written")
			got, asked := during(t, s, "reject", shell(s, newSession(t, s, nil), command(outside)))
			if _, err := os.Stat(outside); !errors.Is(err, fs.ErrNotExist) || got.status != http.StatusForbidden {
				t.Errorf("%s = %d %s, asked %v, %v; want nothing written", name, got.status, got.body, asked, err)
			}
		}
	})
}

func TestHole08AlwaysApprovesEverything(t *testing.T) {
	t.Parallel()
	write := func(name string) string {
		return toolCall("write", map[string]string{"filePath": name, "content": "x"})
	}
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"edit": "ask"})
		one, other := newSession(t, s, nil), newSession(t, s, nil)
		if _, asked := during(t, s, "always", prompt(s, one, write("a.txt"))); len(asked) != 1 {
			t.Fatalf("the first edit: asked %v, want once", asked)
		}
		if _, asked := during(t, s, "reject", prompt(s, other, write("b.txt"))); len(asked) != 0 || !exists(t, s, "b.txt") {
			t.Errorf("another edit of another session: asked %v, made it: %t; want that it ran", asked, exists(t, s, "b.txt"))
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		one, other := newSession(t, s, nil), newSession(t, s, nil)
		if _, asked := during(t, s, "always", shell(s, one, "git push a")); len(asked) != 1 {
			t.Fatalf("the first push: asked %v, want once", asked)
		}
		if _, asked := during(t, s, "reject", shell(s, one, "git push b")); len(asked) != 0 {
			t.Errorf("another push of the session: asked %v, want what always covers to pass", asked)
		}
		for _, tc := range []struct{ id, command string }{
			{other, "git push a"}, {one, "sudo true"}, {one, "git push a; sudo true"},
		} {
			got, asked := during(t, s, "reject", shell(s, tc.id, tc.command))
			if got.status != http.StatusForbidden || len(asked) != 1 {
				t.Errorf("%s = %d %s, asked %v; want to be asked", tc.command, got.status, got.body, asked)
			}
		}
	})
}

// A question that nobody can answer any more must be gone. Both ends of it are
// looked at: the turn is aborted, or whoever waits for it goes away.
func TestHole09AskOutlivesAbort(t *testing.T) {
	t.Parallel()
	t.Run("the original", func(t *testing.T) {
		s := startOriginal(t, map[string]any{"bash": "ask"})
		stream := openEvents(t, s)
		id := newSession(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := prompt(s, id, bashCall("touch x")).start(ctx)
		left := stream.asked(t)
		cancel()
		<-done
		call[bool](t, s, http.MethodPost, "/session/"+id+"/abort", nil)
		stream.until(t, "session.idle")
		if got := questions(t, s); !cmp.Equal(got, []question{left}) {
			t.Errorf("questions after the end = %v, want the one that nobody waits for", got)
		}
	})
	t.Run("ours, aborted", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		stream := openEvents(t, s)
		id := newSession(t, s, nil)
		done := shell(s, id, "git push").start(t.Context())
		stream.asked(t)
		call[bool](t, s, http.MethodPost, "/session/"+id+"/abort", nil)
		if got := questions(t, s); len(got) != 0 {
			t.Errorf("questions after the abort = %v, want none", got)
		}
		select {
		case got := <-done:
			if got.err != nil || got.status < 400 || got.status > 499 {
				t.Errorf("the command = %d %s, %v; want its refusal", got.status, got.body, got.err)
			}
		case <-time.After(patience):
			t.Error("the command still waits")
		}
	})
	t.Run("ours, gone away", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		stream := openEvents(t, s)
		id := newSession(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := shell(s, id, "git push").start(ctx)
		stream.asked(t)
		cancel()
		<-done
		stream.until(t, "session.idle")
		if got := questions(t, s); len(got) != 0 {
			t.Errorf("questions after the client went away = %v, want none", got)
		}
		if got, _ := during(t, s, "reject", shell(s, id, "true")); got.status != http.StatusOK {
			t.Errorf("the next command = %d %s, want 200: the session is free", got.status, got.body)
		}
	})
}

// basicToken is the value of auth_token for a user and a token.
func basicToken(token string) string {
	return base64.StdEncoding.EncodeToString([]byte("opencode:" + token))
}

// decoded is the body of an answer as JSON.
func decoded[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}
