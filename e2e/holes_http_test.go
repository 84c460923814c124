package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestHole04CallerPicksTheRoot(t *testing.T) {
	t.Parallel()
	const secret = "not for the callers"
	outside := func(t *testing.T) string {
		t.Helper()
		dir := tempDir(t)
		writeFiles(t, dir, map[string]string{"passwd": secret})
		return dir
	}
	t.Run("the original", func(t *testing.T) {
		s, dir := startUpstream(t, upstreamOptions{}), outside(t)
		got := mustSend(t, s, http.MethodGet, "/file/content?path=passwd&directory="+url.QueryEscape(dir), nil)
		if got.status != http.StatusOK || !strings.Contains(string(got.body), secret) {
			t.Errorf("file/content = %d %s, want the file", got.status, got.body)
		}
	})
	t.Run("ours", func(t *testing.T) {
		s, dir := startServer(t, serverOptions{}), outside(t)
		if err := os.Symlink(dir, filepath.Join(s.Project, "link")); err != nil {
			t.Fatal(err)
		}
		if got := mustSend(t, s, http.MethodGet, "/file/content?path=README.md", nil); got.status != http.StatusOK ||
			!strings.Contains(string(got.body), "A project to test with.") {
			t.Errorf("a file of the project = %d %s, want it", got.status, got.body)
		}
		up := strings.Repeat("../", 20)
		escaped, other := url.QueryEscape(dir), withHeader("X-Opencode-Directory", url.PathEscape(dir))
		for _, tc := range []struct {
			path   string
			change func(*http.Request)
		}{
			{path: "/file/content?path=passwd&directory=" + escaped},
			{path: "/file/content?path=passwd&directory=" + url.QueryEscape(s.Project+"/"+up+dir)},
			{path: "/file/content?path=passwd&directory=" + url.QueryEscape(filepath.Join(s.Project, "link"))},
			{path: "/file/content?path=passwd", change: other},
			{path: "/file/content?path=passwd&directory=" + url.QueryEscape(s.Project) + "&directory=" + escaped},
			{path: "/file/content?path=passwd&location%5Bdirectory%5D=" + escaped},
			{path: "/file/content?path=link/passwd"},
			{path: "/file/content?path=" + escaped + "/passwd"},
			{path: "/file/content?path=" + url.QueryEscape(up+dir+"/passwd")},
			{path: "/file?path=.&directory=" + escaped},
			{path: "/file?path=link"},
			{path: "/file?path=" + url.QueryEscape(up+dir)},
			{path: "/find?pattern=callers&directory=" + escaped},
			{path: "/find?pattern=callers"},
			{path: "/find/file?query=passwd&directory=" + escaped},
			{path: "/find/file?query=passwd"},
			{path: "/api/fs/find?query=passwd&location%5Bdirectory%5D=" + escaped},
			{path: "/session?directory=" + escaped},
		} {
			change := tc.change
			if change == nil {
				change = func(*http.Request) {}
			}
			got := mustSend(t, s, http.MethodGet, tc.path, nil, change)
			if strings.Contains(string(got.body), secret) || strings.Contains(string(got.body), `"passwd`) {
				t.Errorf("GET %s = %d %s, want nothing of outside", tc.path, got.status, got.body)
			}
			if got.status == http.StatusOK && (strings.Contains(tc.path, escaped) || tc.change != nil) {
				t.Errorf("GET %s = 200 %s, want a refusal", tc.path, got.body)
			}
		}
	})
}

func TestHole05ProviderKeysInClear(t *testing.T) {
	t.Parallel()
	const key = "key-of-the-provider"
	config := func(t *testing.T) string {
		t.Helper()
		return modelConfig(t, startModel(t), key, map[string]any{})
	}
	paths := []string{"/config", "/provider"}
	t.Run("the original", func(t *testing.T) {
		s := startUpstream(t, upstreamOptions{Config: config(t)})
		for _, path := range paths {
			if got := mustSend(t, s, http.MethodGet, path, nil); got.status != http.StatusOK || !strings.Contains(string(got.body), key) {
				t.Errorf("GET %s = %d, shows the key: %t; want it shown", path, got.status, strings.Contains(string(got.body), key))
			}
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{Env: []string{"ANTHROPIC_API_KEY=" + key, "OPENAI_API_KEY=" + key}})
		// Wherever the original has keys: they are found or not, and never shown.
		writeFiles(t, s.Project, map[string]string{"opencode.json": config(t)})
		base := filepath.Dir(s.Project)
		writeFiles(t, base, map[string]string{
			"config/opencode/opencode.json": config(t),
			"data/opencode/auth.json":       `{"anthropic": {"type": "api", "key": "` + key + `"}}`,
		})
		for _, path := range append(paths, "/config/providers", "/provider/auth", "/global/config", "/path", "/agent", "/mcp") {
			got := mustSend(t, s, http.MethodGet, path, nil)
			if got.status != http.StatusOK || strings.Contains(string(got.body), key) {
				t.Errorf("GET %s = %d %s, want 200 without the key", path, got.status, got.body)
			}
		}
		for _, path := range []string{"/file/content?path=opencode.json", "/find?pattern=key-of-the-prov"} {
			// The key in a file of the project is the project's: shown as that.
			if got := mustSend(t, s, http.MethodGet, path, nil); got.status != http.StatusOK {
				t.Errorf("GET %s = %d %s, want 200", path, got.status, got.body)
			}
		}
	})
}

// dialTerminal opens the WebSocket of a terminal.
func dialTerminal(ctx context.Context, s *instance, id string, query url.Values, header http.Header) (*websocket.Conn, int, error) {
	conn, res, err := websocket.Dial(ctx, s.URL+"/pty/"+id+"/connect?"+query.Encode(), &websocket.DialOptions{HTTPHeader: header})
	status := 0
	if res != nil {
		status = res.StatusCode
		if res.Body != nil && err != nil {
			_ = res.Body.Close()
		}
	}
	return conn, status, err
}

// basicHeader is the header with the credential of a server.
func basicHeader(s *instance) http.Header {
	return http.Header{"Authorization": {"Basic " + basicToken(s.Token)}}
}

// newTerminal makes a terminal and returns its id.
func newTerminal(t *testing.T, s *instance) string {
	t.Helper()
	got, _ := during(t, s, "once", openPty(s, "/bin/sh"))
	if got.status != http.StatusOK {
		t.Fatalf("POST /pty = %d %s, want 200", got.status, got.body)
	}
	return decoded[struct{ ID string }](t, got).ID
}

func TestHole06NoHostOrOriginCheck(t *testing.T) {
	t.Parallel()
	const origin = "http://evil.example"
	// probe returns the statuses of a request under another Host, of a change
	// from a foreign Origin, and of a WebSocket from there.
	probe := func(t *testing.T, s *instance) (host, change, socket int) {
		t.Helper()
		id := newTerminal(t, s)
		host = mustSend(t, s, http.MethodGet, "/session", nil, withHeader("Host", "evil.example:"+port(t, s))).status
		change = mustSend(t, s, http.MethodPost, "/session", map[string]string{"title": "evil"}, withHeader("Origin", origin)).status
		header := basicHeader(s)
		conn, socket, err := dialTerminal(t.Context(), s, id, nil, header)
		if err != nil {
			t.Fatalf("WebSocket without an Origin = %d, %v; want it open", socket, err)
		}
		_ = conn.CloseNow()
		header.Set("Origin", origin)
		conn, socket, err = dialTerminal(t.Context(), s, id, nil, header)
		if err == nil {
			_ = conn.CloseNow()
		}
		return host, change, socket
	}
	evil := func(t *testing.T, s *instance) bool {
		t.Helper()
		got := mustSend(t, s, http.MethodGet, "/session", nil)
		return strings.Contains(string(got.body), `"evil"`)
	}
	t.Run("the original", func(t *testing.T) {
		s := startUpstream(t, upstreamOptions{})
		host, change, socket := probe(t, s)
		if host != http.StatusOK || change != http.StatusOK || socket != http.StatusSwitchingProtocols || !evil(t, s) {
			t.Errorf("Host %d, Origin %d, WebSocket %d, done: %t; want all through", host, change, socket, evil(t, s))
		}
	})
	t.Run("ours", func(t *testing.T) {
		s := startServer(t, serverOptions{})
		host, change, socket := probe(t, s)
		if host != http.StatusForbidden || change != http.StatusForbidden || socket != http.StatusForbidden || evil(t, s) {
			t.Errorf("Host %d, Origin %d, WebSocket %d, done: %t; want 403 of each, and nothing done", host, change, socket, evil(t, s))
		}
	})
}

func TestHole07TicketURLBootsAProject(t *testing.T) {
	t.Parallel()
	// probe opens terminals with a ticket of its own making and no credential:
	// one that exists, one that does not, and one in a directory of its choice.
	probe := func(t *testing.T, s *instance, dir string) (there, missing answer) {
		t.Helper()
		const none = "pty_1f98ffb5e001jRtEdf4uvznT2K"
		connect := func(id, dir string) answer {
			query := url.Values{"ticket": {"of-its-own-making"}, "directory": {dir}}
			return mustSend(t, s, http.MethodGet, "/pty/"+id+"/connect?"+query.Encode(), nil, withoutCredentials)
		}
		id := newTerminal(t, s)
		connect(none, dir)
		return connect(id, s.Project), connect(none, s.Project)
	}
	project := func(t *testing.T) string {
		t.Helper()
		dir := newProject(t, tempDir(t))
		// It runs as soon as the project is booted.
		writeFiles(t, dir, map[string]string{
			"opencode.json": `{"plugin": ["./boot.js"]}`,
			"boot.js": `import { writeFileSync } from "fs"
export const Boot = async () => { writeFileSync(new URL("booted", import.meta.url), "x"); return {} }
`,
		})
		return dir
	}
	t.Run("the original", func(t *testing.T) {
		// A project with a plugin has it fetch a package first: let that fail at once.
		s, dir := startUpstream(t, upstreamOptions{Env: []string{"npm_config_fetch_retries=0"}}), project(t)
		there, missing := probe(t, s, dir)
		if there.status != http.StatusForbidden || missing.status != http.StatusNotFound {
			t.Errorf("a terminal = %d, none = %d; want 403 and 404, which tell them apart", there.status, missing.status)
		}
		if got := mustSend(t, s, http.MethodGet, "/project", nil); !strings.Contains(string(got.body), dir) {
			t.Errorf("projects = %s, want the one of the caller's choice", got.body)
		}
		if _, err := os.Stat(filepath.Join(dir, "booted")); err != nil {
			t.Errorf("%v; want that the project's own code ran", err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		s, dir := startServer(t, serverOptions{}), project(t)
		there, missing := probe(t, s, dir)
		if there.status != http.StatusUnauthorized || missing.status != there.status || string(missing.body) != string(there.body) {
			t.Errorf("a terminal = %d %s, none = %d %s; want 401 of both, and no difference", there.status, there.body, missing.status, missing.body)
		}
		if got := mustSend(t, s, http.MethodGet, "/project", nil); got.status != http.StatusOK || strings.Contains(string(got.body), dir) {
			t.Errorf("GET /project = %d %s, want nothing of the caller's choice", got.status, got.body)
		}
		if _, err := os.Stat(filepath.Join(dir, "booted")); err == nil {
			t.Error("the project's own code ran")
		}
	})
}

// TestTicketOpensOneTerminalOnce holds on both: a ticket is no way around the
// credential for anything but what it was made for.
func TestTicketOpensOneTerminalOnce(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *instance{
		"the original": func(t *testing.T) *instance {
			t.Helper()
			return startUpstream(t, upstreamOptions{})
		},
		"ours": func(t *testing.T) *instance {
			t.Helper()
			return startServer(t, serverOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			one, other := newTerminal(t, s), newTerminal(t, s)
			if got := mustSend(t, s, http.MethodPost, "/pty/"+one+"/connect-token", nil); got.status != http.StatusForbidden {
				t.Errorf("connect-token without the header of a program = %d %s, want 403", got.status, got.body)
			}
			ticket := func() url.Values {
				got := mustSend(t, s, http.MethodPost, "/pty/"+one+"/connect-token", nil, withHeader("X-Opencode-Ticket", "1"))
				made := decoded[struct {
					Ticket    string
					ExpiresIn int `json:"expires_in"`
				}](t, got)
				if got.status != http.StatusOK || made.Ticket == "" || made.ExpiresIn != 60 {
					t.Fatalf("connect-token = %d %s, want a ticket for 60 s", got.status, got.body)
				}
				return url.Values{"ticket": {made.Ticket}, "directory": {s.Project}}
			}
			open := func(id string, query url.Values) int {
				conn, status, err := dialTerminal(t.Context(), s, id, query, nil)
				if err == nil {
					_ = conn.CloseNow()
				}
				return status
			}
			if status := open(other, ticket()); status < 400 || status > 499 {
				t.Errorf("the ticket of another terminal = %d, want a refusal", status)
			}
			mine := ticket()
			if status := open(one, mine); status != http.StatusSwitchingProtocols {
				t.Errorf("the ticket = %d, want 101", status)
			}
			if status := open(one, mine); status < 400 || status > 499 {
				t.Errorf("the ticket for the second time = %d, want a refusal", status)
			}
		})
	}
}

func TestHole09UnknownPathsAnswerHTML(t *testing.T) {
	t.Parallel()
	probe := func(t *testing.T, s *instance) map[string]answer {
		t.Helper()
		got := map[string]answer{}
		for _, path := range []string{"/nowhere", "/session/", "/sessions", "/pty/x/y/z"} {
			got[path] = mustSend(t, s, http.MethodGet, path, nil)
		}
		return got
	}
	t.Run("the original", func(t *testing.T) {
		s := startUpstream(t, upstreamOptions{Env: []string{"OPENCODE_DISABLE_EMBEDDED_WEB_UI=false"}})
		if got := probe(t, s)["/nowhere"]; got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("an unknown path = %d %s, want 200 and HTML", got.status, got.header.Get("Content-Type"))
		}
	})
	t.Run("ours", func(t *testing.T) {
		for path, got := range probe(t, startServer(t, serverOptions{})) {
			if got.status < 400 || got.status > 499 || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("GET %s = %d %s %s, want a refusal in JSON", path, got.status, got.header.Get("Content-Type"), got.body)
			}
			if problem := decoded[struct{ Name string }](t, got); problem.Name == "" {
				t.Errorf("GET %s = %s, want a name", path, got.body)
			}
		}
	})
}

// earlyAnswer is how long a request that came early may take once others are
// answered. The original's takes for ever.
const earlyAnswer = 5 * time.Second

func TestHole10RequestBeforeReadinessHangs(t *testing.T) {
	t.Parallel()
	t.Run("the original", func(t *testing.T) {
		binary, dir := clientBinary(t), tempDir(t)
		s := &instance{Project: newProject(t, dir), Token: "password", Env: append(homeEnv(dir), quietEnv()...)}
		s.Env = append(s.Env, "OPENCODE_SERVER_PASSWORD="+s.Token)
		if status, err := requestEarly(t, s, binary, "serve", "--port"); err == nil {
			t.Errorf("the early request = %s, want that it hangs", status)
		}
	})
	t.Run("ours", func(t *testing.T) {
		binary, dir := serverBinary(t), tempDir(t)
		s := &instance{Project: newProject(t, dir), Env: homeEnv(dir)}
		s.Token = s.createToken(t, "read", "write", "execute")
		if status, err := requestEarly(t, s, binary, "serve", "--directory", s.Project, "--port"); err != nil || status != "HTTP/1.1 200 OK" {
			t.Errorf("the early request = %q, %v; want 200", status, err)
		}
	})
}

// requestEarly starts a server on a port that it appends to the arguments, and
// sends a request the moment that the port takes connections. It returns the
// status line, or the error if there was none after another request, sent when
// the server said that it listens, had been answered.
func requestEarly(t *testing.T, s *instance, binary string, args ...string) (status string, err error) {
	t.Helper()
	free := freePort(t)
	address := "127.0.0.1:" + free
	type dialed struct {
		conn net.Conn
		err  error
	}
	sent := make(chan dialed, 1)
	ctx, cancel := context.WithTimeout(t.Context(), startDeadline)
	defer cancel()
	go func() {
		conn, err := dialUntil(ctx, address)
		if err == nil {
			_, err = fmt.Fprintf(conn, "GET /session HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n\r\n", address, basicToken(s.Token))
		}
		sent <- dialed{conn, err}
	}()
	s.start(t, false, binary, append(args, free)...)
	early := <-sent
	if early.err != nil {
		t.Fatal(early.err)
	}
	defer func() { _ = early.conn.Close() }()
	if got := mustSend(t, s, http.MethodGet, "/session", nil); got.status != http.StatusOK {
		t.Fatalf("GET /session = %d %s, want 200", got.status, got.body)
	}
	if err := early.conn.SetReadDeadline(time.Now().Add(earlyAnswer)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(early.conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// dialUntil connects as soon as somebody listens.
func dialUntil(ctx context.Context, address string) (net.Conn, error) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
