package decisionlog_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/decisionlog"
	"opencode/policy"
	"opencode/redact"
	"opencode/store"
)

// received is an event as a collector of OPA's decision logs reads it. An
// unknown member is an error.
type received struct {
	Labels     map[string]string `json:"labels"`
	DecisionID string            `json:"decision_id"`
	Bundles    map[string]struct {
		Revision string `json:"revision"`
	} `json:"bundles"`
	Path        string         `json:"path"`
	Input       map[string]any `json:"input"`
	Result      map[string]any `json:"result"`
	Erased      []string       `json:"erased"`
	Masked      []string       `json:"masked"`
	Error       map[string]any `json:"error"`
	RequestedBy string         `json:"requested_by"`
	Timestamp   time.Time      `json:"timestamp"`
	Metrics     map[string]any `json:"metrics"`
}

// collector keeps the events that are sent to it.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	events   []received
	requests []*http.Request
	sizes    []int
	answer   func(n int, size int) int // the status of request n; 204 if nil
	text     bytes.Buffer              // all that was sent, as text
	got      chan struct{}             // an element for each request
}

func newCollector(tb testing.TB, answer func(n, size int) int) *collector {
	tb.Helper()
	c := &collector{answer: answer, got: make(chan struct{}, 10_000)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(w, r); err != nil {
			tb.Error(err)
		}
		c.got <- struct{}{}
	}))
	tb.Cleanup(c.Close)
	return c
}

func (c *collector) take(w http.ResponseWriter, r *http.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	c.requests = append(c.requests, r)
	c.sizes = append(c.sizes, len(body))
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("%s with %v", r.Method, r.Header)
	}
	if c.answer != nil {
		if code := c.answer(len(c.requests), len(body)); code != http.StatusNoContent {
			w.WriteHeader(code)
			return nil
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	c.text.Write(text)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var events []received
	if err := d.Decode(&events); err != nil {
		return errors.Join(err, errors.New(string(text)))
	}
	c.events = append(c.events, events...)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ids returns the ids of the events, in their order.
func (c *collector) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]string, 0, len(c.events))
	for _, e := range c.events {
		list = append(list, e.DecisionID)
	}
	return list
}

// masker is a policy of what to mask.
type masker func(event any) ([]any, error)

func (f masker) Mask(_ context.Context, event any) ([]any, error) { return f(event) }

func maskNothing(any) ([]any, error) { return nil, nil }

// config ships at once, and takes what it is not told.
func config(url string) decisionlog.Config {
	return decisionlog.Config{
		URL: url, Masker: masker(maskNothing), Redactor: redact.New(redact.Config{}),
		MinDelay: time.Millisecond, MaxDelay: time.Millisecond, FlushTimeout: time.Minute,
	}
}

func start(tb testing.TB, cfg decisionlog.Config) *decisionlog.Log {
	tb.Helper()
	l, err := decisionlog.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// finish closes the log, so that all is shipped that ever will be.
func finish(tb testing.TB, l *decisionlog.Log) policy.LogInfo {
	tb.Helper()
	if err := l.Close(tb.Context()); err != nil {
		tb.Error(err)
	}
	return l.Info()
}

// prompt is a decision about a command.
func prompt(id, command string) (*policy.Input, policy.Decision, store.DecisionRecord) {
	in := &policy.Input{
		Version: policy.Version, Kind: policy.KindPrompt, Principal: policy.Principal{Kind: policy.PrincipalToken, ID: "tok_1", Name: "ada"},
		Prompt: &policy.Prompt{Tool: "bash", Args: map[string]any{"command": command}},
	}
	d := policy.Decision{
		Effect: policy.Deny, Snapshot: "feed", Rules: []policy.Rule{{ID: "bash.banned_command", Message: "curl is banned", At: "bash.rego:3"}},
	}
	r := store.DecisionRecord{
		ID: id, Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Kind: "prompt", PrincipalID: "tok_1", SessionID: "ses_1",
		Subject: "bash", Effect: "deny", Rules: []string{"bash.banned_command"}, Snapshot: "feed", Duration: 42 * time.Microsecond,
	}
	return in, d, r
}

// request is a decision about a request.
func request(id string) (*policy.Input, policy.Decision, store.DecisionRecord) {
	in := &policy.Input{
		Version: policy.Version, Kind: policy.KindRequest,
		Request: &policy.Request{Method: "GET", Path: "/session", Remote: policy.Remote{IP: "192.0.2.7"}},
	}
	d := policy.Decision{Effect: policy.Allow, Snapshot: "feed", Rules: []policy.Rule{{ID: "request.permitted", Effect: policy.Allow, Message: "m"}}}
	return in, d, store.DecisionRecord{ID: id, Time: time.Unix(1, 0), Kind: "request", Effect: "allow", Snapshot: "feed"}
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
