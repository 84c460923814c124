// Package e2e_test runs the unmodified clients that people use, the opencode
// TUI, `opencode run` and the SDK from npm, against the real binary.
//
// Nothing runs unless OPENCODE_TEST_E2E is 1, so that `go test ./...` needs
// nothing but Go. When it is 1, a part of the machine that is missing fails the
// tests. The npm packages are fetched once per machine; after that no test
// reaches the network, and what the clients would fetch on their own is led to
// a closed port.
//
// A test starts with [startServer], or [startUpstream] to show what the
// original does, and talks to either through the same [instance].
package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

const (
	upstreamVersion = "1.18.33"
	sdkVersion      = "1.19.3"

	// startDeadline and stopDeadline bound a server's start and end. They are
	// far from what either takes, for machines that are busy.
	startDeadline = 60 * time.Second
	stopDeadline  = 30 * time.Second
)

// scratch is a directory for this process, which [TestMain] makes and removes.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "oc-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// requireE2E skips the test unless the end-to-end tests were asked for. Every
// function of the harness that starts something calls it.
func requireE2E(tb testing.TB) {
	tb.Helper()
	if os.Getenv("OPENCODE_TEST_E2E") != "1" {
		tb.Skip("SKIPPED: OPENCODE_TEST_E2E=1 runs this test; it needs node, npm, tmux and git")
	}
}

var buildServer = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "opencode")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/opencode")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// serverBinary returns the path of our opencode.
func serverBinary(tb testing.TB) string {
	tb.Helper()
	requireE2E(tb)
	path, err := buildServer()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var installClients = sync.OnceValues(func() (string, error) {
	var missing []error
	for _, tool := range []string{"git", "node", "npm", "tmux"} {
		_, err := exec.LookPath(tool)
		missing = append(missing, err)
	}
	if err := errors.Join(missing...); err != nil {
		return "", fmt.Errorf("the end-to-end tests need git, node, npm and tmux: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "opencode-e2e")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, upstreamVersion+"-"+sdkVersion)
	lock := flock.New(dir+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(filepath.Join(dir, "opencode")); err == nil {
		return dir, nil
	}
	// The directory gets its name by a rename once all of it is there.
	partial := dir + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(dir), os.Mkdir(partial, 0o700)); err != nil {
		return "", err
	}
	if err := installInto(partial); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
})

// installInto installs the packages, and links the binary that runs on this
// machine: npm brings several, for processors with and without AVX2.
func installInto(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true,"type":"module"}`), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
		"opencode-ai@"+upstreamVersion, "@opencode-ai/sdk@"+sdkVersion)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install: %w\n%s", err, out)
	}
	arch := strings.NewReplacer("amd64", "x64").Replace(runtime.GOARCH)
	var tried []error
	for _, variant := range []string{"", "-baseline", "-musl", "-baseline-musl"} {
		path := filepath.Join("node_modules", "opencode-"+runtime.GOOS+"-"+arch+variant, "bin", "opencode")
		version := exec.Command(filepath.Join(dir, path), "--version")
		version.Env = append(homeEnv(filepath.Join(dir, "home")), quietEnv()...)
		out, err := version.Output()
		if err == nil && strings.TrimSpace(string(out)) == upstreamVersion {
			return os.Symlink(path, filepath.Join(dir, "opencode"))
		}
		tried = append(tried, fmt.Errorf("%s: %q: %w", path, out, err))
	}
	return fmt.Errorf("no opencode binary runs: %w", errors.Join(tried...))
}

// clientBinary returns the path of the opencode from npm.
func clientBinary(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(clientDir(tb), "opencode")
}

// clientDir returns the directory whose node_modules hold opencode-ai and
// @opencode-ai/sdk. It is shared with other runs: nothing is written there.
func clientDir(tb testing.TB) string {
	tb.Helper()
	requireE2E(tb)
	dir, err := installClients()
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// instance is a running server, ours or the original.
type instance struct {
	// URL has no slash at its end.
	URL string
	// Token is the password of Basic authentication for the user opencode, and
	// with our server a bearer token too.
	Token string
	// Project is the directory that the server works in, a git repository.
	Project string
	// Env is the environment of the server. Its directories are its own.
	Env []string
	PID int
	// Stop ends the server by SIGTERM and waits for its end, which must be clean
	// with ours. The end of the test calls it too.
	Stop func()
	// Log returns what the server wrote to standard error so far.
	Log func() string
}

// serverOptions change how [startServer] starts a server. The zero value is
// the default policy and a token with all permissions.
type serverOptions struct {
	// Policy holds the files of the directory for --policy, by their names.
	Policy map[string]string
	// Flags come after `opencode serve --port 0 --directory PROJECT`.
	Flags []string
	// Permissions of the token. The default is read, write and execute.
	Permissions []string
	// Env is added to the environment of the server.
	Env []string
}

// startServer starts our server on a free port, with a home and a project of
// its own.
func startServer(tb testing.TB, o serverOptions) *instance {
	tb.Helper()
	binary := serverBinary(tb)
	dir := tempDir(tb)
	s := &instance{Project: newProject(tb, dir), Env: append(homeEnv(dir), o.Env...)}
	if o.Permissions == nil {
		o.Permissions = []string{"read", "write", "execute"}
	}
	s.Token = s.createToken(tb, o.Permissions...)
	args := append([]string{"serve", "--port", "0", "--directory", s.Project}, o.Flags...)
	if o.Policy != nil {
		policy := filepath.Join(dir, "policy")
		writeFiles(tb, policy, o.Policy)
		args = append(args, "--policy", policy)
	}
	s.start(tb, true, binary, args...)
	return s
}

// createToken makes another token for our server, which sees it within a
// second, and at once when it is made before the start.
func (s *instance) createToken(tb testing.TB, permissions ...string) string {
	tb.Helper()
	out := runCommand(tb, s.Env, s.Project, serverBinary(tb), "auth", "token", "create", "--json",
		"--permissions", strings.Join(permissions, ","))
	var created struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(out), &created); err != nil || created.Token == "" {
		tb.Fatalf("auth token create: %v: no token", err)
	}
	return created.Token
}

// upstreamOptions change how [startUpstream] starts the original.
type upstreamOptions struct {
	// Config is the text of the project's opencode.json, if any.
	Config string
	// Flags come after `opencode serve --port N`.
	Flags []string
	// Env is added to the environment of the server.
	Env []string
}

// startUpstream starts the original server from npm.
func startUpstream(tb testing.TB, o upstreamOptions) *instance {
	tb.Helper()
	binary := clientBinary(tb)
	dir := tempDir(tb)
	s := &instance{Project: newProject(tb, dir), Token: rand.Text()}
	if o.Config != "" {
		writeFiles(tb, s.Project, map[string]string{"opencode.json": o.Config})
	}
	s.Env = append(homeEnv(dir), quietEnv()...)
	s.Env = append(s.Env, "OPENCODE_SERVER_PASSWORD="+s.Token)
	s.Env = append(s.Env, o.Env...)
	// It takes 0 for its usual port, which another server may have.
	args := append([]string{"serve", "--port", freePort(tb)}, o.Flags...)
	s.start(tb, false, binary, args...)
	return s
}

// start runs the command until the end of the test, and waits for the line
// that names its address.
func (s *instance) start(tb testing.TB, mustEndCleanly bool, binary string, args ...string) {
	tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), binary, args...)
	cmd.Dir, cmd.Env = s.Project, s.Env
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s.PID, s.Log = cmd.Process.Pid, stderr.String

	address := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
				select {
				case address <- url:
				default:
				}
			}
		}
		ended <- cmd.Wait()
	}()
	s.Stop = sync.OnceFunc(func() {
		// It may have ended already, which Wait tells.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if mustEndCleanly && err != nil {
				tb.Errorf("server ended with %v:\n%s", err, stderr.String())
			}
		case <-time.After(stopDeadline):
			_ = cmd.Process.Kill()
			tb.Errorf("server did not end within %v of SIGTERM, killed: %v\n%s", stopDeadline, <-ended, stderr.String())
		}
	})
	tb.Cleanup(s.Stop)
	select {
	case s.URL = <-address:
	case err := <-ended:
		ended <- err
		tb.Fatalf("server ended before it listened: %v\n%s", err, stderr.String())
	case <-time.After(startDeadline):
		tb.Fatalf("server did not listen within %v:\n%s", startDeadline, stderr.String())
	}
}

// request sends one request with the token and the project's directory, and
// returns status and body. A body that is nil is not sent; any other is
// encoded as JSON.
func (s *instance) request(tb testing.TB, method, path string, body any) (status int, answer []byte) {
	tb.Helper()
	return s.requestAs(tb, s.Token, method, path, body)
}

// requestAs is request with another token. An empty one sends none.
func (s *instance) requestAs(tb testing.TB, token, method, path string, body any) (status int, answer []byte) {
	tb.Helper()
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			tb.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(tb.Context(), method, s.URL+path, reader)
	if err != nil {
		tb.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Opencode-Directory", url.PathEscape(s.Project))
	if token != "" {
		req.SetBasicAuth("opencode", token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, answer
}

// call is request for an answer that must be 200, decoded into T.
func call[T any](tb testing.TB, s *instance, method, path string, body any) T {
	tb.Helper()
	status, answer := s.request(tb, method, path, body)
	if status != http.StatusOK {
		tb.Fatalf("%s %s = %d %s, want 200", method, path, status, answer)
	}
	var v T
	if err := json.Unmarshal(answer, &v); err != nil {
		tb.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
	return v
}

// lockedBuffer is a buffer that is written and read at the same time.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
