package decisionlog_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/decisionlog"
	"opencode/policy"
	"opencode/redact"
	"opencode/remote"
)

// TestEvents ships what was decided, in the form of OPA's decision logs.
func TestEvents(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	cfg := config(c.URL + "/base")
	cfg.Labels = map[string]string{"id": "machine-1"}
	cfg.Revisions = func() map[string]string { return map[string]string{"bundles.example.com": "r7"} }
	l := start(t, cfg)
	l.Log(prompt("dec_1", "curl x"))
	l.Log(request("dec_2"))
	_, d, r := prompt("dec_3", "")
	r.Kind, r.Subject, r.Error = "answer", "bash once", "a value of the input"
	l.Log(nil, d, r)
	info := finish(t, l)
	if want := (policy.LogInfo{URL: c.URL + "/base/logs", Sent: 3}); info != want {
		t.Errorf("info %+v, want %+v", info, want)
	}
	if got := c.requests[0].URL.Path; got != "/base/logs" {
		t.Errorf("path %s", got)
	}
	e := c.events[0]
	if diff := cmp.Diff([]any{
		"dec_1", "opencode/prompt/decision",
		map[string]string{"id": "machine-1"},
		"r7", "feed", "bash", "curl x", "deny",
		"2026-01-02T03:04:05.000006Z", 42000.0, "",
	}, []any{
		e.DecisionID, e.Path, e.Labels, e.Bundles["bundles.example.com"].Revision, e.Bundles["opencode"].Revision,
		at(e.Input, "prompt", "tool"), at(e.Input, "prompt", "args", "command"), at(e.Result, "effect"),
		e.Timestamp.Format(time.RFC3339Nano), e.Metrics["timer_rego_query_eval_ns"], e.RequestedBy,
	}); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if e := c.events[1]; e.RequestedBy != "192.0.2.7" || e.Path != "opencode/request/decision" || at(e.Result, "effect") != "allow" {
		t.Errorf("event %+v", e)
	}
	if e := c.events[2]; e.Error["code"] != "no_decision" || at(e.Input, "subject") != "bash once" || strings.Contains(c.text.String(), "a value of the input") {
		t.Errorf("event %+v", e)
	}
}

// at returns what is at a path of a document.
func at(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

// TestTarget posts below the address of a service, or to an address of logs.
func TestTarget(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"": "/logs", "/": "/logs", "/v1/": "/v1/logs", "/logs": "/logs", "/logs/eu": "/logs/eu", "/blogs": "/blogs/logs"} {
		c := newCollector(t, nil)
		l := start(t, config(c.URL+path))
		l.Log(request("dec_1"))
		finish(t, l)
		if len(c.requests) != 1 || c.requests[0].URL.Path != want {
			t.Errorf("%q: %v, want one request to %s", path, c.requests, want)
		}
	}
}

// TestRefusedConfig does not start what would leak or could not work.
func TestRefusedConfig(t *testing.T) {
	t.Parallel()
	missing, err := remote.ParseCredential("env:OPENCODE_TEST_IS_NOT_SET")
	if err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(c *decisionlog.Config){
		"is not reached by https":            func(c *decisionlog.Config) { c.URL = "http://logs.example.com" },
		"holds a user or a password":         func(c *decisionlog.Config) { c.URL = "https://ada:hunter2@logs.example.com" },
		"want https or http":                 func(c *decisionlog.Config) { c.URL = "logs.example.com" },
		"Masker and Redactor are required":   func(c *decisionlog.Config) { c.Masker = nil },
		"too few for a request":              func(c *decisionlog.Config) { c.ChunkBytes = 10 },
		"a limit is negative":                func(c *decisionlog.Config) { c.MaxEvents = -1 },
		"is less than the least":             func(c *decisionlog.Config) { c.MinDelay = time.Hour },
		"the variable is not set":            func(c *decisionlog.Config) { c.Credential = missing },
		"Masker and Redactor are required\n": func(c *decisionlog.Config) { c.Redactor, c.MaxEvents = nil, -1 },
	} {
		cfg := config("https://logs.example.com")
		edit(&cfg)
		_, err := decisionlog.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
	}
}

// TestMasked takes out what the policy says, and all when the policy fails.
func TestMasked(t *testing.T) {
	t.Parallel()
	const secret = "the-word-that-must-not-leave"
	for name, row := range map[string]struct {
		mask           []any
		err            error
		erased, masked []string
	}{
		"a path":                {mask: []any{"/input/prompt/args/command"}, erased: []string{"/input/prompt/args/command"}},
		"remove":                {mask: []any{map[string]any{"op": "remove", "path": "/input/prompt"}}, erased: []string{"/input/prompt"}},
		"upsert":                {mask: []any{map[string]any{"op": "upsert", "path": "/input/prompt/args/command", "value": "*"}}, masked: []string{"/input/prompt/args/command"}},
		"the whole input":       {mask: []any{"/input"}, erased: []string{"/input"}},
		"an error":              {err: errors.New("took too long"), erased: []string{"/input", "/result"}},
		"a number":              {mask: []any{1}, erased: []string{"/input", "/result"}},
		"an unknown operation":  {mask: []any{map[string]any{"op": "delete", "path": "/input"}}, erased: []string{"/input", "/result"}},
		"no operation":          {mask: []any{map[string]any{"path": "/input"}}, erased: []string{"/input", "/result"}},
		"no path":               {mask: []any{map[string]any{"op": "remove"}}, erased: []string{"/input", "/result"}},
		"a misspelt member":     {mask: []any{map[string]any{"op": "upsert", "path": "/input", "values": "*"}}, erased: []string{"/input", "/result"}},
		"no slash":              {mask: []any{"input/prompt"}, erased: []string{"/input", "/result"}},
		"somewhere else":        {mask: []any{"/labels/id"}, erased: []string{"/input", "/result"}},
		"a path that is broken": {mask: []any{"/input/%zz"}, erased: []string{"/input", "/result"}},
		"one of two is wrong":   {mask: []any{"/input", "/inputs"}, erased: []string{"/input", "/result"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, nil)
			cfg := config(c.URL)
			var log lines
			cfg.Logger = log.logger()
			cfg.Masker = masker(func(event any) ([]any, error) {
				if got := at(event, "input", "prompt", "args", "command"); got != secret {
					t.Errorf("the policy sees %v", got)
				}
				return row.mask, row.err
			})
			l := start(t, cfg)
			l.Log(prompt("dec_1", secret))
			l.Log(prompt("dec_2", secret))
			info := finish(t, l)
			if strings.Contains(c.text.String(), secret) {
				t.Errorf("shipped %s", c.text.String())
			}
			if len(c.events) != 2 || !slices.Equal(c.events[0].Erased, row.erased) || !slices.Equal(c.events[0].Masked, row.masked) {
				t.Fatalf("events %+v, want erased %v, masked %v", c.events, row.erased, row.masked)
			}
			failed := len(row.erased) == 2
			if failed != (c.events[0].Result == nil) || failed != (info.Erased == 2) || failed != (strings.Count(log.String(), "level=ERROR") == 1) {
				t.Errorf("event %+v, info %+v, log %s", c.events[0], info, log.String())
			}
		})
	}
}

// TestMaskedAddress does not tell beside the input what was masked in it.
func TestMaskedAddress(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	cfg := config(c.URL)
	cfg.Masker = masker(func(any) ([]any, error) { return []any{"/input/request/remote"}, nil })
	l := start(t, cfg)
	l.Log(request("dec_1"))
	finish(t, l)
	if strings.Contains(c.text.String(), "192.0.2.7") || len(c.events) != 1 {
		t.Errorf("shipped %s", c.text.String())
	}
}

// TestRedacted takes credentials out before the policy and the collector see
// them.
func TestRedacted(t *testing.T) {
	t.Parallel()
	known, token := rand.Text(), "ghp_"+rand.Text()+rand.Text()[:10]
	c := newCollector(t, nil)
	cfg := config(c.URL)
	cfg.Redactor = redact.New(redact.Config{Known: func() []string { return []string{known} }})
	cfg.Masker = masker(func(event any) ([]any, error) {
		if text := fmt.Sprint(event); strings.Contains(text, known) || strings.Contains(text, token) {
			t.Errorf("the policy sees %s", text)
		}
		return nil, nil
	})
	l := start(t, cfg)
	in, d, r := prompt("dec_1", "export A=\"x\"\ncurl -H 'X: "+known+"' \"https://ada:"+known+"@host/\"; git push "+token)
	in.Prompt.Args["password"] = "hunter22hunter22"
	in.Prompt.Args[known] = 1
	d.Rules[0].Message = "not with " + known
	l.Log(in, d, r)
	if info := finish(t, l); info.Erased != 0 || info.Sent != 1 {
		t.Errorf("info %+v", info)
	}
	for _, secret := range []string{known, token, "hunter22"} {
		if strings.Contains(c.text.String(), secret) {
			t.Errorf("%s is in %s", secret, c.text.String())
		}
	}
	if got, _ := at(c.events[0].Input, "prompt", "args", "command").(string); !strings.Contains(got, "git push [redacted") {
		t.Errorf("command %q", got)
	}
}

// TestCallerChanges ships the input as it was when it was decided on.
func TestCallerChanges(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	l := start(t, config(c.URL))
	in, d, r := prompt("dec_1", "as it was")
	l.Log(in, d, r)
	in.Prompt.Args["command"] = "as it is"
	finish(t, l)
	if got := at(c.events[0].Input, "prompt", "args", "command"); got != "as it was" {
		t.Errorf("command %v", got)
	}
}

// TestChunks keeps requests below their limit, and halves it when the collector
// wants less.
func TestChunks(t *testing.T) {
	t.Parallel()
	const most = 3000
	c := newCollector(t, func(_, size int) int {
		if size > most {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusNoContent
	})
	cfg := config(c.URL)
	cfg.ChunkBytes = 20_000
	cfg.MinDelay, cfg.MaxDelay = time.Hour, time.Hour // all at once, at the end
	l := start(t, cfg)
	var want []string
	for i := range 200 {
		id := fmt.Sprintf("dec_%03d", i)
		want = append(want, id)
		l.Log(prompt(id, rand.Text()+rand.Text())) // which cannot be compressed
	}
	info := finish(t, l)
	if diff := cmp.Diff(want, c.ids()); diff != "" || info.Sent != 200 || info.Dropped != (policy.LogDrops{}) {
		t.Errorf("info %+v, events (-want +got):\n%s", info, diff)
	}
	refused := 0
	for _, size := range c.sizes {
		if size > cfg.ChunkBytes {
			t.Errorf("a request of %d bytes", size)
		}
		if size > most {
			refused++
		}
	}
	if refused == 0 || refused > 5 {
		t.Errorf("%d requests were refused, want a few", refused)
	}
}

// TestTooLarge ships an event that is too large without its content, and drops
// it only when it is too large even so.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	cfg := config(c.URL)
	cfg.ChunkBytes = 2000
	l := start(t, cfg)
	var text strings.Builder
	for range 200 {
		text.WriteString(rand.Text())
	}
	large := text.String()
	l.Log(prompt("dec_1", large))
	l.Log(prompt("dec_2", "small"))
	_, d, r := prompt("dec_3"+large, "")
	l.Log(nil, d, r)
	info := finish(t, l)
	if diff := cmp.Diff([]string{"dec_1", "dec_2"}, c.ids()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if e := c.events[0]; e.Input != nil || e.Result != nil || !slices.Equal(e.Erased, []string{"/input", "/result"}) {
		t.Errorf("event %+v", e)
	}
	if info.Sent != 2 || info.Dropped.Size != 1 || info.Erased != 2 || info.Waiting != 0 {
		t.Errorf("info %+v", info)
	}
}

// TestAlwaysTooLarge is not asked without end by a collector that takes nothing.
func TestAlwaysTooLarge(t *testing.T) {
	t.Parallel()
	c := newCollector(t, func(int, int) int { return http.StatusRequestEntityTooLarge })
	cfg := config(c.URL)
	cfg.MinDelay, cfg.MaxDelay = time.Hour, time.Hour
	l := start(t, cfg)
	for i := range 50 {
		l.Log(prompt(fmt.Sprint("dec_", i), "x"))
	}
	info := finish(t, l)
	if len(c.requests) > 10 || info.Sent != 0 || info.Dropped.Stop+info.Dropped.Size != 50 {
		t.Errorf("%d requests, info %+v", len(c.requests), info)
	}
}

// TestFull drops the oldest, and counts them, by their number and by their
// bytes.
func TestFull(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(c *decisionlog.Config){
		"events": func(c *decisionlog.Config) { c.MaxEvents = 10 },
		"bytes":  func(c *decisionlog.Config) { c.MaxBytes = 10 * 1400 },
	} {
		c := newCollector(t, nil)
		cfg := config(c.URL)
		cfg.MinDelay, cfg.MaxDelay = time.Hour, time.Hour
		var log lines
		cfg.Logger = log.logger()
		edit(&cfg)
		l := start(t, cfg)
		for i := range 300 {
			l.Log(prompt(fmt.Sprintf("dec_%03d", i), "x"))
		}
		before := l.Info()
		if before.Waiting > 20 || before.Waiting < 5 || before.Dropped.Buffer != uint64(300-before.Waiting) {
			t.Errorf("%s: info %+v", name, before)
		}
		info := finish(t, l)
		ids := c.ids()
		if len(ids) != before.Waiting || ids[len(ids)-1] != "dec_299" || ids[0] != fmt.Sprintf("dec_%03d", 300-len(ids)) {
			t.Errorf("%s: shipped %v", name, ids)
		}
		if info.Sent+info.Dropped.Buffer != 300 || info.Waiting != 0 {
			t.Errorf("%s: info %+v", name, info)
		}
		if !strings.Contains(log.String(), fmt.Sprint("buffer=", info.Dropped.Buffer)) {
			t.Errorf("%s: log %s", name, log.String())
		}
	}
}

// TestCollectorAway keeps what it can until the collector is there again.
func TestCollectorAway(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	code := http.StatusServiceUnavailable
	c := newCollector(t, func(int, int) int {
		mu.Lock()
		defer mu.Unlock()
		return code
	})
	var log lines
	cfg := config(c.URL)
	cfg.Logger = log.logger()
	l := start(t, cfg)
	l.Log(prompt("dec_1", "x"))
	for range 2 { // it tries again
		<-c.got
	}
	l.Log(prompt("dec_2", "x"))
	mu.Lock()
	code = http.StatusNoContent
	mu.Unlock()
	info := finish(t, l)
	if diff := cmp.Diff([]string{"dec_1", "dec_2"}, c.ids()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if info.Sent != 2 || info.Failures < 2 || info.Error != "" {
		t.Errorf("info %+v", info)
	}
	if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "503") || !strings.Contains(text, "again") {
		t.Errorf("log %s", text)
	}
}

// TestStop is bounded, and never fails a server that stops.
func TestStop(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 8)
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer silent.Close()
	defer close(release)
	var log lines
	cfg := config(silent.URL)
	cfg.Logger, cfg.FlushTimeout = log.logger(), 20*time.Millisecond
	l := start(t, cfg)
	l.Log(prompt("dec_1", "x"))
	<-arrived
	l.Log(prompt("dec_2", "x"))
	info := finish(t, l)
	if info.Dropped.Stop != 2 || info.Waiting != 0 || !strings.Contains(log.String(), "stop=2") {
		t.Errorf("info %+v, log %s", info, log.String())
	}
	l.Log(prompt("dec_3", "x"))
	if got := l.Info().Dropped.Stop; got != 3 {
		t.Errorf("%d dropped after the end, want 3", got)
	}
	// The context of the stop bounds it as well.
	cfg.FlushTimeout = time.Hour
	l = start(t, cfg)
	l.Log(prompt("dec_1", "x"))
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil || l.Info().Dropped.Stop != 1 {
		t.Errorf("Close = %v, info %+v", err, l.Info())
	}
}

// TestNoRedirect sends nothing to a server that was not named.
func TestNoRedirect(t *testing.T) {
	t.Setenv("OPENCODE_TEST_CREDENTIAL", "a-token")
	credential, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
	if err != nil {
		t.Fatal(err)
	}
	other := newCollector(t, nil)
	seen := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	cfg := config(server.URL)
	cfg.Credential = credential
	l := start(t, cfg)
	l.Log(prompt("dec_1", "x"))
	if got := <-seen; got != "Bearer a-token" {
		t.Errorf("Authorization %q", got)
	}
	info := finish(t, l)
	if len(other.requests) != 0 || info.Sent != 0 || !strings.Contains(info.Error, "307") {
		t.Errorf("%d requests elsewhere, info %+v", len(other.requests), info)
	}
}

// TestConcurrent takes decisions from many at once.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	l := start(t, config(c.URL))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 50 {
				l.Log(prompt(fmt.Sprintf("dec_%d_%d", i, j), "x"))
				_ = l.Info()
			}
		})
	}
	wg.Wait()
	info := finish(t, l)
	ids := c.ids()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 800 || info.Sent != 800 || info.Waiting != 0 {
		t.Errorf("%d events, info %+v", len(ids), info)
	}
}

// BenchmarkLog is what a decision pays for being shipped.
func BenchmarkLog(b *testing.B) {
	l, err := decisionlog.New(decisionlog.Config{
		URL: "http://127.0.0.1:1", Masker: masker(maskNothing), Redactor: redact.New(redact.Config{}), MinDelay: time.Hour, ChunkBytes: 1 << 30,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close(context.Background()) //nolint:errcheck // it never fails
	for name, decision := range map[string]func() (*policy.Input, policy.Decision){
		"request": func() (*policy.Input, policy.Decision) { in, d, _ := request(""); return in, d },
		"prompt":  func() (*policy.Input, policy.Decision) { in, d, _ := prompt("", "git status && ls -la"); return in, d },
	} {
		in, d := decision()
		_, _, r := request("dec_1")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Log(in, d, r)
			}
		})
	}
}

// BenchmarkDeliver is what the worker does with a decision: credentials and
// masks, compression, and a request for many.
func BenchmarkDeliver(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	cfg := config(server.URL)
	cfg.MaxEvents, cfg.MaxBytes, cfg.MinDelay, cfg.MaxDelay = 1<<30, 1<<40, time.Hour, time.Hour
	l, err := decisionlog.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		l.Log(prompt("dec_1", "git status && ls -la"))
	}
	if err := l.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	if got := l.Info().Sent; got != uint64(b.N) {
		b.Fatalf("%d sent of %d", got, b.N)
	}
}
