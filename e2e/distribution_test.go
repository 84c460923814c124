package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// opaPeerVersion is the version of OPA that ours must understand, and be
// understood by.
const opaPeerVersion = "v1.22.0"

// peerDeadline bounds what two programs do with each other. It is far from what
// it takes, for machines that are busy.
const peerDeadline = 60 * time.Second

var installOPAPeer = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "opencode-e2e", "opa-"+opaPeerVersion)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	lock := flock.New(dir+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	path := filepath.Join(dir, "opa")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	partial := dir + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(dir), os.Mkdir(partial, 0o700)); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "install", "github.com/open-policy-agent/opa@"+opaPeerVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+partial, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install opa: %w\n%s", err, out)
	}
	return path, os.Rename(partial, dir)
})

// opaPeer returns the path of a real opa.
func opaPeer(t *testing.T) string {
	t.Helper()
	requireE2E(t)
	path, err := installOPAPeer()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// peerPolicy denies a request for one path, and masks who asks and where.
func peerPolicy(path string) map[string]string {
	return map[string]string{
		"team.rego": `package team.peer

deny contains {"id": "peer.closed", "message": "is closed"} if input.request.path == "` + path + `"
`,
		"mask.rego": `package system.log

mask contains "/input/principal/name"

mask contains {"op": "upsert", "path": "/input/request/host", "value": "somewhere"}
`,
	}
}

// buildBundle makes a bundle with `opa build`.
func buildBundle(t *testing.T, revision, closed string) []byte {
	t.Helper()
	dir := tempDir(t)
	writeFiles(t, filepath.Join(dir, "policy"), peerPolicy(closed))
	runCommand(t, homeEnv(dir), filepath.Join(dir, "policy"), opaPeer(t), "build", "-b", ".", "-o", filepath.Join(dir, "bundle.tar.gz"), "--revision", revision)
	b, err := os.ReadFile(filepath.Join(dir, "bundle.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bundleHost serves one bundle, with an etag, to whoever has the credential.
type bundleHost struct {
	*httptest.Server

	mu         sync.Mutex
	body       []byte
	credential string
	known      chan string // the etag that each request knows already
}

func startBundleHost(t *testing.T, body []byte) *bundleHost {
	t.Helper()
	h := &bundleHost{body: body, credential: "Bearer " + rand.Text(), known: make(chan string, 1000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if r.Header.Get("Authorization") != h.credential || r.URL.Path != "/team/bundle.tar.gz" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		etag := etagOf(h.body)
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Type", "application/gzip")
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
		} else {
			_, _ = w.Write(h.body)
		}
		select {
		case h.known <- r.Header.Get("If-None-Match"):
		default: // nobody looks
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

func (h *bundleHost) give(body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.body = body
}

// wait waits until somebody asks who has the bundle in force already.
func (h *bundleHost) wait(t *testing.T, body []byte) {
	t.Helper()
	limit := time.After(peerDeadline)
	for {
		select {
		case known := <-h.known:
			if known == etagOf(body) {
				return
			}
		case <-limit:
			t.Fatal("nobody has the bundle")
		}
	}
}

func hostOf(address string) string { return strings.TrimPrefix(address, "http://") }

// TestBundleOfPeer loads what `opa build` makes from a server, takes the next
// one without a restart, and starts with the last one when the server is away.
func TestBundleOfPeer(t *testing.T) {
	t.Parallel()
	one, two := buildBundle(t, "r1", "/path"), buildBundle(t, "r2", "/agent")
	host := startBundleHost(t, one)
	flags := []string{
		"--policy", host.URL + "/team/bundle.tar.gz", "--policy-poll", "1s",
		"--remote-credential", hostOf(host.URL) + "=env:BUNDLE_TOKEN",
	}
	s := startServer(t, serverOptions{Flags: flags, Env: []string{"BUNDLE_TOKEN=" + host.credential}})
	wantRevision(t, s, "r1", false)
	wantStatus(t, s, map[string]int{"/path": http.StatusForbidden, "/agent": http.StatusOK})

	host.give(two)
	host.wait(t, two)
	wantRevision(t, s, "r2", false)
	wantStatus(t, s, map[string]int{"/path": http.StatusOK, "/agent": http.StatusForbidden})

	// What does not load changes nothing.
	host.give(buildBundleOf(t, map[string]string{"a.rego": "package opencode.request\n\nis_public := true\n"}))
	host.wait(t, two)
	host.wait(t, two)
	wantStatus(t, s, map[string]int{"/path": http.StatusOK, "/agent": http.StatusForbidden})
	wantRevision(t, s, "r2", true)
	s.Stop()
	if n := strings.Count(s.Log(), "a team's package must be"); n != 1 {
		t.Errorf("the log tells %d times what is wrong with the bundle, want once:\n%s", n, s.Log())
	}

	host.Close()
	again := &instance{Project: s.Project, Env: s.Env, Token: s.Token}
	again.start(t, true, serverBinary(t), append([]string{"serve", "--port", "0", "--directory", s.Project}, flags...)...)
	wantStatus(t, again, map[string]int{"/path": http.StatusOK, "/agent": http.StatusForbidden})
	wantRevision(t, again, "r2", true)
	again.Stop()
	if log := again.Log(); !strings.Contains(log, "starting with the policy that was kept") || strings.Contains(log+s.Log(), strings.TrimPrefix(host.credential, "Bearer ")) {
		t.Errorf("log:\n%s", log)
	}

	// Nothing is kept for another user, who does not start.
	dir := tempDir(t)
	_, stderr, code := execCommand(t, append(homeEnv(dir), "BUNDLE_TOKEN="+host.credential), dir, serverBinary(t), append([]string{"serve", "--port", "0"}, flags...)...)
	if code != 1 || !strings.Contains(stderr, "no good bundle to start with") || !strings.Contains(stderr, "hint:") {
		t.Errorf("exit %d without a bundle:\n%s", code, stderr)
	}
}

func buildBundleOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := tempDir(t)
	writeFiles(t, filepath.Join(dir, "policy"), files)
	runCommand(t, homeEnv(dir), filepath.Join(dir, "policy"), opaPeer(t), "build", "-b", ".", "-o", filepath.Join(dir, "bundle.tar.gz"))
	b, err := os.ReadFile(filepath.Join(dir, "bundle.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sourcesBody is the part of GET /policy that this file is about.
type sourcesBody struct {
	Sources []struct {
		Source, Revision, ETag, SHA256, Error string
	}
	DecisionLog struct {
		URL            string
		Sent, Failures int
		Dropped        map[string]int
		Waiting        int
		Error          string
		Erased         int
	}
}

func wantRevision(t *testing.T, s *instance, revision string, hasError bool) {
	t.Helper()
	p := call[sourcesBody](t, s, http.MethodGet, "/policy", nil)
	if len(p.Sources) != 1 || p.Sources[0].Revision != revision || (p.Sources[0].Error != "") != hasError {
		t.Fatalf("sources %+v, want revision %s, an error: %v", p.Sources, revision, hasError)
	}
}

func wantStatus(t *testing.T, s *instance, want map[string]int) {
	t.Helper()
	for path, want := range want {
		if got, body := s.request(t, http.MethodGet, path, nil); got != want {
			t.Errorf("GET %s = %d %s, want %d", path, got, body, want)
		}
	}
}

// peerEvent has the members of an event of OPA's decision logs. Its decoder
// refuses any other.
type peerEvent struct {
	Labels              map[string]string     `json:"labels"`
	DecisionID          string                `json:"decision_id"`
	BatchDecisionID     string                `json:"batch_decision_id"`
	TraceID             string                `json:"trace_id"`
	SpanID              string                `json:"span_id"`
	Revision            string                `json:"revision"`
	Bundles             map[string]peerBundle `json:"bundles"`
	Path                string                `json:"path"`
	Query               string                `json:"query"`
	Input               map[string]any        `json:"input"`
	Result              any                   `json:"result"`
	IntermediateResults map[string]any        `json:"intermediate_results"`
	MappedResult        any                   `json:"mapped_result"`
	NDBuiltinCache      any                   `json:"nd_builtin_cache"`
	Erased              []string              `json:"erased"`
	Masked              []string              `json:"masked"`
	Error               map[string]any        `json:"error"`
	RequestedBy         string                `json:"requested_by"`
	Timestamp           time.Time             `json:"timestamp"`
	Metrics             map[string]any        `json:"metrics"`
	RequestID           uint64                `json:"req_id"`
	RuleLabels          []map[string]any      `json:"rule_labels"`
	RequestContext      map[string]any        `json:"request_context"`
	Custom              map[string]any        `json:"custom"`
}

type peerBundle struct {
	Revision string `json:"revision"`
}

// peerCollector takes the decision logs of several programs, by the credential
// that each shows.
type peerCollector struct {
	*httptest.Server

	mu     sync.Mutex
	events map[string][]peerEvent
	raw    map[string][]map[string]any
	came   chan struct{}
}

func startPeerCollector(t *testing.T) *peerCollector {
	t.Helper()
	c := &peerCollector{events: map[string][]peerEvent{}, raw: map[string][]map[string]any{}, came: make(chan struct{}, 1)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(r); err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case c.came <- struct{}{}:
		default: // it is known already
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *peerCollector) take(r *http.Request) error {
	who, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/logs" || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	var events []peerEvent
	var raw []map[string]any
	if err := errors.Join(strict.Decode(&events), json.Unmarshal(text, &raw)); err != nil {
		return fmt.Errorf("%s: %w in %s", who, err, text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[who] = append(c.events[who], events...)
	c.raw[who] = append(c.raw[who], raw...)
	return nil
}

// wait returns the first event of somebody that is as wanted.
func (c *peerCollector) wait(t *testing.T, who string, wanted func(peerEvent) bool) (peerEvent, map[string]any) {
	t.Helper()
	limit := time.After(peerDeadline)
	for {
		c.mu.Lock()
		i := slices.IndexFunc(c.events[who], wanted)
		if i >= 0 {
			defer c.mu.Unlock()
			return c.events[who][i], c.raw[who][i]
		}
		c.mu.Unlock()
		select {
		case <-c.came:
		case <-limit:
			t.Fatalf("no such event of %s", who)
		}
	}
}

// TestDecisionLogOfPeer lets a real OPA and ours take one bundle from one
// server and ship to one collector, and holds ours to the form of OPA's.
func TestDecisionLogOfPeer(t *testing.T) {
	t.Parallel()
	bundle := buildBundle(t, "r1", "/path")
	host := startBundleHost(t, bundle)
	collector := startPeerCollector(t)
	address := startOPAPeer(t, host, collector)
	s := startServer(t, serverOptions{
		Flags: []string{
			"--policy", host.URL + "/team/bundle.tar.gz",
			"--remote-credential", hostOf(host.URL) + "=env:BUNDLE_TOKEN", "--remote-credential", hostOf(collector.URL) + "=env:COLLECTOR_TOKEN",
			"--decision-log", collector.URL, "--decision-log-label", "team=peer",
		},
		Env: []string{"BUNDLE_TOKEN=" + host.credential, "COLLECTOR_TOKEN=ours"},
	})
	wantStatus(t, s, map[string]int{"/path": http.StatusForbidden})
	ours, oursRaw := collector.wait(t, "ours", func(e peerEvent) bool {
		return e.Path == "opencode/request/decision" && member(e.Input, "request", "path") == "/path"
	})
	ask(t, address, `{"input": {"principal": {"name": "ada"}, "request": {"path": "/path", "host": "example.com"}}}`)
	theirs, theirsRaw := collector.wait(t, "theirs", func(e peerEvent) bool { return e.Path == "team/peer/deny" })

	for name, value := range oursRaw {
		other, ok := theirsRaw[name]
		if ok && reflect.TypeOf(other) != reflect.TypeOf(value) && name != "result" {
			t.Errorf("member %s is %T with ours, %T with OPA's", name, value, other)
		}
	}
	for _, name := range []string{"labels", "decision_id", "bundles", "path", "input", "result", "erased", "masked", "timestamp", "metrics"} {
		if oursRaw[name] == nil || theirsRaw[name] == nil {
			t.Errorf("member %s: %v with ours, %v with OPA's, want both", name, oursRaw[name], theirsRaw[name])
		}
	}
	if !slices.Equal(ours.Erased, theirs.Erased) || !slices.Equal(ours.Masked, theirs.Masked) || len(ours.Erased) != 1 || len(ours.Masked) != 1 {
		t.Errorf("erased %v, masked %v with ours, %v, %v with OPA's", ours.Erased, ours.Masked, theirs.Erased, theirs.Masked)
	}
	for who, e := range map[string]peerEvent{"ours": ours, "theirs": theirs} {
		if member(e.Input, "principal", "name") != nil || member(e.Input, "request", "host") != "somewhere" {
			t.Errorf("%s: the input is not masked: %v", who, e.Input)
		}
		if e.DecisionID == "" || e.Timestamp.IsZero() || e.Labels["id"] == "" || e.Labels["version"] == "" || len(e.Metrics) == 0 || len(e.Bundles) == 0 {
			t.Errorf("%s: %+v", who, e)
		}
	}
	if got := ours.Bundles[host.URL+"/team/bundle.tar.gz"].Revision; got != "r1" || ours.Labels["team"] != "peer" {
		t.Errorf("revision %q, labels %v", got, ours.Labels)
	}
	if got := member(ours.Result, "effect"); got != "deny" {
		t.Errorf("result %v", ours.Result)
	}
	p := call[sourcesBody](t, s, http.MethodGet, "/policy", nil)
	if p.DecisionLog.URL != collector.URL+"/logs" || p.DecisionLog.Sent == 0 || p.DecisionLog.Error != "" {
		t.Errorf("decision log %+v", p.DecisionLog)
	}
	// What was decided last is shipped before the server ends.
	wantStatus(t, s, map[string]int{"/agent": http.StatusOK})
	s.Stop()
	collector.wait(t, "ours", func(e peerEvent) bool { return member(e.Input, "request", "path") == "/agent" })
}

func member(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

// startOPAPeer runs a real OPA with a bundle and a collector, and returns its
// address once it has the bundle.
func startOPAPeer(t *testing.T, host *bundleHost, collector *peerCollector) string {
	t.Helper()
	dir := tempDir(t)
	config, err := json.Marshal(map[string]any{
		"services": map[string]any{
			"bundles": map[string]any{"url": host.URL, "credentials": map[string]any{"bearer": map[string]any{"token": strings.TrimPrefix(host.credential, "Bearer ")}}},
			"logs":    map[string]any{"url": collector.URL, "credentials": map[string]any{"bearer": map[string]any{"token": "theirs"}}},
		},
		"bundles":       map[string]any{"team": map[string]any{"service": "bundles", "resource": "team/bundle.tar.gz"}},
		"decision_logs": map[string]any{"service": "logs", "reporting": map[string]any{"min_delay_seconds": 1, "max_delay_seconds": 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"opa.json": string(config)})
	address := "http://127.0.0.1:" + freePort(t)
	var log lockedBuffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), opaPeer(t), "run", "--server", "--addr", hostOf(address),
		"--config-file", filepath.Join(dir, "opa.json"), "--disable-telemetry", "--log-level", "error")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, homeEnv(dir), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("opa:\n%s", log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), peerDeadline)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health?bundles", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return address
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("opa has no bundle: %v\n%s", err, log.String())
		}
	}
}

// ask puts a question to OPA.
func ask(t *testing.T, address, input string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/v1/data/team/peer/deny", strings.NewReader(input))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("peer.closed")) {
		t.Fatalf("opa: %v, %d %s", err, res.StatusCode, body)
	}
}
