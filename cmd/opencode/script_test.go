package main_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the driver that the database is written with

	"opencode/agent/sandbox"
)

// patience bounds every wait. Nothing waits this long unless it has failed.
const patience = 30 * time.Second

// TestScripts runs the stories in testdata/script with the program as it is
// built for users.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "opencode"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	repo, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	goCache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_RUNTIME_DIR", "")
			// A story that builds a program need not build Go's library for it.
			env.Setenv("GOCACHE", strings.TrimSpace(string(goCache)))
			env.Setenv("GOPROXY", "off")
			// The keyring of whoever runs the tests is theirs.
			env.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("REPO", repo)
			env.Values[serverKey{}] = new(serverProcess)
			if err := os.Mkdir(home, 0o700); !errors.Is(err, os.ErrExist) {
				return err
			}
			return nil
		},
		// held: this host holds commands to what a sandbox needs.
		Condition: func(name string) (bool, error) {
			if name != "held" {
				return false, fmt.Errorf("condition %q: not known", name)
			}
			box, err := sandbox.New(sandbox.Config{Program: filepath.Join(bin, "opencode")})
			if err != nil {
				return false, err
			}
			err = box.Check(sandbox.Spec{Require: []sandbox.Guarantee{sandbox.Write, sandbox.Read, sandbox.Exec}})
			if err != nil && os.Getenv("OPENCODE_TEST_E2E") == "1" {
				return false, err
			}
			return err == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":  cmdServe,
			"stop":   cmdStop,
			"http":   cmdHTTP,
			"answer": cmdAnswer,
			"await":  cmdAwait,
			"getvar": cmdGetVar,
			"expire": cmdExpire,
			"newer":  cmdNewer,
			"code":   cmdCode,

			"keypair": cmdKeyPair,
			"guest":   cmdGuest,
			"bundles": cmdBundles,
		},
	})
}

type serverKey struct{}

// serverProcess is the server of one story, and the requests that wait for it.
type serverProcess struct {
	cmd     *exec.Cmd
	exited  chan error
	pending map[string]chan reply
}

type reply struct {
	text string
	err  error
}

func server(ts *testscript.TestScript) *serverProcess {
	s, ok := ts.Value(serverKey{}).(*serverProcess)
	if !ok {
		ts.Fatalf("no server")
	}
	return s
}

// cmdServe starts `opencode serve` on a free port and waits until it listens.
// It sets URL; what the server prints is in serve.out and serve.err.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve cannot be negated")
	}
	s := server(ts)
	s.pending = map[string]chan reply{}
	stderr, err := os.Create(ts.MkAbs("serve.err"))
	ts.Check(err)
	bin, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "opencode"))
	ts.Check(err)
	s.cmd = exec.Command(bin, append([]string{"serve", "--port", "0"}, args...)...)
	s.cmd.Dir, s.cmd.Stderr = ts.Getenv("WORK"), stderr
	for _, name := range []string{"HOME", "PATH", "WORK"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	s.exited = make(chan error, 1)
	lines := bufio.NewScanner(stdout)
	var out bytes.Buffer
	for lines.Scan() {
		fmt.Fprintln(&out, lines.Text())
		if strings.HasPrefix(lines.Text(), "tokens ") {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		s.exited <- errors.Join(s.cmd.Wait(), stderr.Close())
	}()
	ts.Defer(func() { _ = s.cmd.Process.Kill() })
	ts.Check(os.WriteFile(ts.MkAbs("serve.out"), out.Bytes(), 0o600))
	url := regexp.MustCompile(`http://\S+`).FindString(out.String())
	if url == "" {
		ts.Fatalf("the server did not say where it listens: %s%s", out.String(), ts.ReadFile("serve.err"))
	}
	ts.Setenv("URL", url)
}

// cmdStop asks the server to end and wants it to do so cleanly.
func cmdStop(ts *testscript.TestScript, neg bool, _ []string) {
	if neg {
		ts.Fatalf("stop cannot be negated")
	}
	s := server(ts)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.exited:
		ts.Check(err)
	case <-time.After(patience):
		ts.Fatalf("the server did not end")
	}
}

// cmdHTTP makes a request and prints the status and the body:
// http [-bg NAME | -wait NAME | -until STATUS] METHOD PATH TOKEN [BODY].
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("http cannot be negated: match the status")
	}
	s := server(ts)
	background := ""
	if len(args) > 1 && args[0] == "-wait" {
		select {
		case r := <-s.pending[args[1]]:
			ts.Check(r.err)
			fmt.Fprintf(ts.Stdout(), "%s", r.text)
		case <-time.After(patience):
			ts.Fatalf("request %s got no answer", args[1])
		}
		return
	}
	if len(args) > 1 && args[0] == "-until" {
		var r reply
		poll(ts, "status "+args[1], func() bool {
			r = request(ts.Getenv("URL"), args[2], args[3], args[4], "")
			return r.err == nil && strings.HasPrefix(r.text, args[1]+"\n")
		})
		fmt.Fprintf(ts.Stdout(), "%s", r.text)
		return
	}
	if len(args) > 1 && args[0] == "-bg" {
		background, args = args[1], args[2:]
	}
	if len(args) < 3 {
		ts.Fatalf("usage: http [-bg NAME | -wait NAME] METHOD PATH TOKEN [BODY]")
	}
	body := ""
	if len(args) > 3 {
		body = args[3]
	}
	url := ts.Getenv("URL")
	send := func() reply { return request(url, args[0], args[1], args[2], body) }
	if background == "" {
		r := send()
		ts.Check(r.err)
		fmt.Fprintf(ts.Stdout(), "%s", r.text)
		return
	}
	ch := make(chan reply, 1)
	s.pending[background] = ch
	go func() { ch <- send() }()
}

func request(url, method, path, token, body string) reply {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(resp.Body)
	return reply{text: fmt.Sprintf("%d\n%s", resp.StatusCode, b), err: err}
}

// poll calls f until it returns true.
func poll(ts *testscript.TestScript, what string, f func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("waited in vain for %s", what)
		}
	}
}

// cmdAnswer waits for a question and answers it: answer TOKEN REPLY.
func cmdAnswer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: answer TOKEN REPLY")
	}
	url := ts.Getenv("URL")
	var questions []struct {
		ID       string `json:"id"`
		Metadata struct {
			Rules []struct{ ID string } `json:"rules"`
		} `json:"metadata"`
	}
	poll(ts, "a question", func() bool {
		r := request(url, http.MethodGet, "/permission", args[0], "")
		ts.Check(r.err)
		_, body, _ := strings.Cut(r.text, "\n")
		ts.Check(json.Unmarshal([]byte(body), &questions))
		return len(questions) > 0
	})
	r := request(url, http.MethodPost, "/permission/"+questions[0].ID+"/reply", args[0], `{"reply":"`+args[1]+`"}`)
	ts.Check(r.err)
	for _, rule := range questions[0].Metadata.Rules {
		fmt.Fprintln(ts.Stdout(), "asked by", rule.ID)
	}
	fmt.Fprintf(ts.Stdout(), "%s", r.text)
}

// cmdAwait waits until a file matches: await FILE REGEXP.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	re := regexp.MustCompile(args[1])
	poll(ts, args[1]+" in "+args[0], func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && re.Match(b)
	})
}

// cmdGetVar sets a variable to a member of the JSON that the last command
// printed: getvar VARIABLE MEMBER.
func cmdGetVar(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: getvar VARIABLE MEMBER")
	}
	text := ts.ReadFile("stdout")
	if i := strings.Index(text, "{"); i >= 0 {
		text = text[i:]
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(text), &object))
	value, ok := object[args[1]].(string)
	if !ok {
		ts.Fatalf("no member %s in %s", args[1], text)
	}
	ts.Setenv(args[0], value)
}

// cmdExpire moves the whole life of the token with that name into the past.
func cmdExpire(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expire NAME")
	}
	path := filepath.Join(ts.Getenv("HOME"), ".config", "opencode", "auth-tokens.json")
	b, err := os.ReadFile(path)
	ts.Check(err)
	var doc struct {
		Version int              `json:"version"`
		Tokens  []map[string]any `json:"tokens"`
	}
	ts.Check(json.Unmarshal(b, &doc))
	for _, token := range doc.Tokens {
		if token["name"] == args[0] {
			token["created"], token["expires"] = "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"
		}
	}
	b, err = json.Marshal(doc)
	ts.Check(err)
	ts.Check(os.WriteFile(path+".new", b, 0o600))
	ts.Check(os.Rename(path+".new", path))
}

// cmdCode runs a program and wants an exit code: code N PROGRAM [ARGS...].
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARGS...]")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// cmdNewer makes a database look as if a newer version had written it.
func cmdNewer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: newer FILE")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.ExecContext(context.Background(), "PRAGMA user_version = 1000")
	ts.Check(errors.Join(err, db.Close()))
}
