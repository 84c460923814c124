package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"opencode/provider/oauth"
)

// signer is a user who signs in at the real server with the real program.
type signer struct {
	server *oidcServer
	dir    string
	env    []string
}

func newSigner(t *testing.T, s *oidcServer) *signer {
	t.Helper()
	u := &signer{server: s, dir: tempDir(t)}
	endpoints := oidcEndpoints(s.URL)
	hasty := endpoints["device"]
	hasty.ClientID = "hasty"
	endpoints["hasty"] = hasty
	config, err := json.Marshal(map[string]any{"endpoints": endpoints})
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, u.dir, map[string]string{"config/opencode/opencode.json": string(config)})
	u.env = homeEnv(u.dir)
	return u
}

// auth runs a command below `auth` to its end.
func (u *signer) auth(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return execCommand(t, u.env, u.dir, serverBinary(t), append([]string{"auth"}, args...)...)
}

func (u *signer) mustAuth(t *testing.T, args ...string) string {
	t.Helper()
	out, stderr, code := u.auth(t, args...)
	if code != 0 {
		t.Fatalf("auth %q: exit %d: %s", args, code, stderr)
	}
	return out
}

// attempt is a sign-in under way.
type attempt struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout lockedBuffer
	stderr lockedBuffer
	ended  chan struct{}
}

// login starts a sign-in.
func (u *signer) login(t *testing.T, args ...string) *attempt {
	t.Helper()
	a := &attempt{ended: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	a.cmd = exec.CommandContext(ctx, serverBinary(t), append([]string{"auth", "login"}, args...)...)
	a.cmd.Env, a.cmd.Dir, a.cmd.Stdout, a.cmd.Stderr = u.env, u.dir, &a.stdout, &a.stderr
	var err error
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.ended)
		_ = a.cmd.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() { cancel(); <-a.ended })
	return a
}

// find waits until the program says what matches, and returns the first group.
func (a *attempt) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for over := false; ; {
		if m := re.FindStringSubmatch(a.stderr.String()); m != nil {
			return m[1]
		}
		if over {
			t.Fatalf("login ended before it said %q: %s", pattern, a.stderr.String())
		}
		select {
		case <-a.ended:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (a *attempt) address(t *testing.T) string {
	t.Helper()
	return a.find(t, `open this address in a browser: (\S+)`)
}

// end waits for the end and returns the exit code.
func (a *attempt) end() int {
	<-a.ended
	return a.cmd.ProcessState.ExitCode()
}

// fails waits for the end, which must be an error that says what and what to do.
func (a *attempt) fails(t *testing.T, want string) {
	t.Helper()
	if code := a.end(); code != 1 || !strings.Contains(a.stderr.String(), want) || !strings.Contains(a.stderr.String(), "opencode: hint: ") {
		t.Errorf("login ended with %d and %q, want 1, %q and a hint", code, a.stderr.String(), want)
	}
}

func queryOf(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// TestCommandSignsInByDiscovery signs in to an issuer that nothing is known of
// but its address, in a browser that the program opens, and goes through the
// life of what it got.
func TestCommandSignsInByDiscovery(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	u := newSigner(t, s)
	writeFiles(t, u.dir, map[string]string{"browser": "#!/bin/sh\nprintf %s \"$1\" >" + filepath.Join(u.dir, "opened") + "\n"})
	if err := os.Chmod(filepath.Join(u.dir, "browser"), 0o700); err != nil {
		t.Fatal(err)
	}
	u.env = append(u.env, "BROWSER="+filepath.Join(u.dir, "browser"))
	a := u.login(t, "gateway", "--issuer", s.URL, "--client-id", "native")
	address := a.address(t)
	end, page := s.browse(t, address, alice())
	if end == nil {
		t.Fatalf("the browser ended with %q", page)
	}
	forged := *end
	forged.RawQuery = url.Values{"code": {end.Query().Get("code")}, "state": {"wrong"}}.Encode()
	if status, _ := get(t, forged.String()); status != http.StatusBadRequest {
		t.Errorf("a redirect with a wrong state = %d, want 400", status)
	}
	if status, _ := get(t, end.String()); status != http.StatusOK {
		t.Errorf("the redirect = %d, want 200", status)
	}
	if code := a.end(); code != 0 || !strings.Contains(a.stdout.String(), "signed in to gateway (gateway) with oidc") {
		t.Fatalf("login ended with %d: %s%s", code, a.stdout.String(), a.stderr.String())
	}
	if opened, err := os.ReadFile(filepath.Join(u.dir, "opened")); err != nil || string(opened) != address {
		t.Errorf("the browser got %q, %v, want %q", opened, err, address)
	}
	var status struct {
		Connected  bool
		Credential struct {
			Kind, Method, Account string
			Renewable             bool
		}
	}
	if err := json.Unmarshal([]byte(u.mustAuth(t, "status", "gateway", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	if c := status.Credential; !status.Connected || c.Kind != "oauth" || c.Method != "oidc" || c.Account != "alice" || !c.Renewable {
		t.Errorf("status = %+v", status)
	}
	before := u.mustAuth(t, "token-for", "gateway", "--reveal", "--yes")
	if out := u.mustAuth(t, "refresh", "gateway", "--force"); out != "gateway is renewed\n" {
		t.Errorf("refresh = %q", out)
	}
	if after := u.mustAuth(t, "token-for", "gateway", "--reveal", "--yes"); after == before || len(after) < 20 {
		t.Error("the access token is the old one after a refresh")
	}
	// What is revoked at the server is worth nothing to whoever has a copy.
	kept := credentialStore(t, u.dir)
	copied, err := kept.Credential(t.Context(), "gateway", "")
	if err != nil {
		t.Fatal(err)
	}
	u.mustAuth(t, "logout", "gateway")
	if _, err := s.client(t, nil).Renew(t.Context(), copied); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew of a copy after logout = %v, want ErrGrant", err)
	}
	// Nothing but its credential knew of this provider.
	if _, stderr, code := u.auth(t, "refresh", "gateway"); code != 2 || !strings.Contains(stderr, `provider "gateway": is not known`) {
		t.Errorf("refresh after logout = %d %s", code, stderr)
	}
}

func TestCommandTakesPastedCodes(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	u := newSigner(t, s)
	// shown is what the provider's page shows at the end of a sign-in.
	shown := func(a *attempt) (code, state string) {
		end, page := s.browse(t, a.address(t), alice())
		if end == nil || end.Host != "console.example" {
			t.Fatalf("the browser ended at %v with %q", end, page)
		}
		return end.Query().Get("code"), end.Query().Get("state")
	}
	paste := func(a *attempt, text string) {
		if _, err := io.WriteString(a.stdin, text+"\n"); err != nil {
			t.Error(err)
		}
	}
	pasted := []string{"corp", "--method", "pasted", "--stdin", "--no-browser"}

	// The code of one sign-in in another: by its own state, and by ours, where
	// only PKCE is left to notice.
	first, second, third := u.login(t, pasted...), u.login(t, pasted...), u.login(t, pasted...)
	code, state := shown(first)
	paste(second, code+"#"+state)
	second.fails(t, "Authorization state mismatch.")
	paste(third, code+"#"+queryOf(t, third.address(t), "state"))
	third.fails(t, "refused with invalid_grant")
	first.stdin.Close() //nolint:errcheck // it is to see the end of its input
	first.fails(t, "Authorization code required.")
	if out := u.mustAuth(t, "list", "--json"); !strings.Contains(out, `"credentials": []`) {
		t.Errorf("something is stored: %s", out)
	}

	fourth := u.login(t, pasted...)
	code, state = shown(fourth)
	paste(fourth, "  "+code+"#"+state)
	if code := fourth.end(); code != 0 {
		t.Fatalf("login ended with %d: %s", code, fourth.stderr.String())
	}
	// A browser on another machine: the address where it ends is pasted.
	fifth := u.login(t, "corp", "--method", "oidc", "--issuer", s.URL, "--stdin", "--no-browser", "--profile", "remote")
	end, page := s.browse(t, fifth.address(t), alice())
	if end == nil {
		t.Fatalf("the browser ended with %q", page)
	}
	paste(fifth, end.String())
	if code := fifth.end(); code != 0 {
		t.Fatalf("login ended with %d: %s", code, fifth.stderr.String())
	}
	if out := u.mustAuth(t, "refresh", "--all", "--force"); out != "corp is renewed\ncorp#remote is renewed\n" {
		t.Errorf("refresh --all = %q", out)
	}
}

func TestCommandTakesDeviceCodes(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	u := newSigner(t, s)
	for _, d := range []struct {
		name, method string
		typed        map[string]string
		want         string
	}{
		{"approved", "device", alice(), ""},
		{"denied", "device", map[string]string{"abort": "yes"}, "refused with access_denied"},
		{"expired", "hasty", nil, "refused with expired_token"},
	} {
		s.mu.Lock()
		s.polls, s.slow = 0, 0
		if d.name == "approved" {
			s.slow = 1
		}
		s.mu.Unlock()
		started := time.Now()
		a := u.login(t, "corp", "--method", d.method, "--no-browser")
		address, code := a.address(t), a.find(t, `enter the code (\S+)`)
		a.find(t, `(code \S+, \d+:\d\d left)`)
		if d.typed != nil {
			// One that is pending comes first, and a slow_down before it.
			for polls := s.pollCount(); polls < 2; polls = s.pollCount() {
				select {
				case <-a.ended:
					t.Fatalf("%s: login ended early: %s", d.name, a.stderr.String())
				case <-time.After(50 * time.Millisecond):
				}
			}
			d.typed["user_code"] = code
			if _, page := s.browse(t, address, d.typed); page == "" {
				t.Errorf("%s: the browser was led elsewhere", d.name)
			}
		}
		if d.want != "" {
			a.fails(t, d.want)
			continue
		}
		if code := a.end(); code != 0 {
			t.Fatalf("%s: login ended with %d: %s", d.name, code, a.stderr.String())
		}
		// 1 s, and 6 s from the slow_down on, twice at least.
		if took := time.Since(started); took < 13*time.Second {
			t.Errorf("%s: %d polls within %v: the server said to slow down", d.name, s.pollCount(), took)
		}
		u.mustAuth(t, "refresh", "corp", "--force")
	}
}

// TestCommandIsInterrupted ends sign-ins by the signal of Ctrl-C. The port is
// closed, nothing is stored, and the exit code tells.
func TestCommandIsInterrupted(t *testing.T) {
	t.Parallel()
	s := startOIDC(t)
	u := newSigner(t, s)
	for _, args := range [][]string{
		{"corp", "--issuer", s.URL, "--no-browser"},
		{"corp", "--method", "pasted", "--stdin", "--no-browser"},
		{"corp", "--method", "device", "--no-browser"},
	} {
		a := u.login(t, args...)
		address := a.address(t)
		if err := a.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := a.end(); code != 1 || !strings.Contains(a.stderr.String(), "cancelled; nothing was changed") {
			t.Errorf("login %q ended with %d: %s", args, code, a.stderr.String())
		}
		if back, err := url.Parse(queryOf(t, address, "redirect_uri")); err == nil && back.Hostname() == "127.0.0.1" {
			if res, err := http.Get(back.String()); err == nil {
				_ = res.Body.Close()
				t.Errorf("login %q: the port is still open", args)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(u.dir, "data", "opencode", "auth.json.age")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store: %v, want none", err)
	}
}
