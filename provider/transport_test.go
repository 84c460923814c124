package provider_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"opencode/provider"
)

// fakeSource gives one token after another.
type fakeSource struct {
	mu     sync.Mutex
	serial byte
	limit  byte
	renews int
	err    error
}

func (s *fakeSource) Apply(_ context.Context, h http.Header) ([32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Set("Authorization", fmt.Sprintf("Bearer token-%d", s.serial))
	return [32]byte{s.serial + 1}, s.err
}

func (s *fakeSource) Renew(_ context.Context, mark [32]byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renews++
	switch {
	case mark != [32]byte{s.serial + 1}:
		return true, nil
	case s.serial >= s.limit:
		return false, nil
	}
	s.serial++
	return true, nil
}

// recorder is a server that notes what it gets and answers by a function.
type recorder struct {
	*httptest.Server

	mu   sync.Mutex
	seen []string
}

func newRecorder(tb testing.TB, answer func(w http.ResponseWriter, r *http.Request)) *recorder {
	tb.Helper()
	rec := &recorder{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Error(err)
		}
		rec.mu.Lock()
		rec.seen = append(rec.seen, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body)))
		rec.mu.Unlock()
		answer(w, r)
	}))
	tb.Cleanup(rec.Close)
	return rec
}

func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.seen...)
}

func newTransport(tb testing.TB, source provider.CredentialSource, base string, log *bytes.Buffer) *http.Client {
	tb.Helper()
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tr, err := provider.NewTransport(provider.TransportConfig{Source: source, BaseURL: base, PlainLoopback: true, Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

// send returns the status of the answer and its text.
func send(tb testing.TB, c *http.Client, method, address string, body io.Reader) (status int, text string, err error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, address, body)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	read, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		tb.Fatal(err)
	}
	if strings.Contains(fmt.Sprint(req.Header, res.Request.Header), "token-") {
		tb.Error("the request that the caller sees has the credential")
	}
	return res.StatusCode, string(read), nil
}

// onlyFor answers 200 to one token and the status to all others.
func onlyFor(token string, status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(status)
		}
		_, _ = io.WriteString(w, "answer") // the client sees what is missing
	}
}

func TestTransportRenewsOnce(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		accepts string
		status  int
		limit   byte
		body    func() io.Reader
		want    int
		seen    []string
		renews  int
	}{
		"good": {"token-0", 401, 9, nil, 200, []string{"/x Bearer token-0"}, 0},
		"401":  {"token-1", 401, 9, nil, 200, []string{"/x Bearer token-0", "/x Bearer token-1"}, 1},
		"403":  {"token-1", 403, 9, nil, 200, []string{"/x Bearer token-0", "/x Bearer token-1"}, 1},
		"body that can be had again": {
			"token-1", 401, 9, func() io.Reader { return strings.NewReader("hello") }, 200,
			[]string{"/x Bearer token-0 hello", "/x Bearer token-1 hello"},
			1,
		},
		"body that cannot": {
			"token-1", 401, 9, func() io.Reader { return io.MultiReader(strings.NewReader("hello")) }, 401, []string{"/x Bearer token-0 hello"}, 0,
		},
		"refused again":   {"none", 401, 9, nil, 401, []string{"/x Bearer token-0", "/x Bearer token-1"}, 1},
		"nothing to send": {"none", 403, 0, nil, 403, []string{"/x Bearer token-0"}, 1},
		"another status":  {"none", 429, 9, nil, 429, []string{"/x Bearer token-0"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRecorder(t, onlyFor(d.accepts, d.status))
			source := &fakeSource{limit: d.limit}
			var log bytes.Buffer
			c := newTransport(t, source, s.URL+"/v1", &log)
			var body io.Reader
			if d.body != nil {
				body = d.body()
			}
			status, text, err := send(t, c, http.MethodPost, s.URL+"/x?secret=1", body)
			if err != nil || status != d.want || text != "answer" || fmt.Sprint(s.got()) != fmt.Sprint(d.seen) || source.renews != d.renews {
				t.Errorf("%d, %q, %v after %q and %d renewals, want %d after %q and %d", status, text, err, s.got(), source.renews, d.want, d.seen, d.renews)
			}
			if strings.Contains(log.String(), "token-") || strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "hello") {
				t.Errorf("the log is %s", log.String())
			}
		})
	}
}

func TestTransportManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newRecorder(t, onlyFor("token-1", 401))
	source := &fakeSource{limit: 1}
	c := newTransport(t, source, s.URL, &bytes.Buffer{})
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("body"))
			if err != nil {
				t.Error(err)
				return
			}
			res, err := c.Do(req)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%v, %v, want 200", res, err)
				return
			}
			_ = res.Body.Close()
		})
	}
	running.Wait()
}

func TestTransportKeepsToItsHost(t *testing.T) {
	t.Parallel()
	other := newRecorder(t, func(http.ResponseWriter, *http.Request) {})
	var home *recorder
	home = newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/caught", http.StatusTemporaryRedirect)
		case "/around":
			http.Redirect(w, r, home.URL+"/back", http.StatusFound)
		}
	})
	c := newTransport(t, &fakeSource{}, home.URL, &bytes.Buffer{})
	for _, address := range []string{home.URL + "/away", home.URL + "/around", other.URL + "/direct"} {
		if _, _, err := send(t, c, http.MethodGet, address, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"/away Bearer token-0", "/around Bearer token-0", "/back"}; fmt.Sprint(home.got()) != fmt.Sprint(want) {
		t.Errorf("its host got %q, want %q", home.got(), want)
	}
	if want := []string{"/caught", "/direct"}; fmt.Sprint(other.got()) != fmt.Sprint(want) {
		t.Errorf("another host got %q, want %q", other.got(), want)
	}
}

// spy answers all requests, and notes what they were.
type spy struct{ seen []string }

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	s.seen = append(s.seen, r.URL.String()+" "+r.Header.Get("Authorization"))
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

func TestTransportNamesHostsInOneWay(t *testing.T) {
	t.Parallel()
	for address, with := range map[string]bool{
		"https://api.example/x":               true,
		"https://api.example:443/x":           true,
		"https://API.Example./x":              true,
		"https://api.example:8443/x":          false,
		"https://api.example.evil.example/x":  false,
		"https://evil.example/api.example":    false,
		"https://api.example@evil.example/x":  false,
		"https://sub.api.example/x":           false,
		"http://api.example/x":                false,
		"https://evil.example/?api.example":   false,
		"https://evil.example#@api.example/x": false,
	} {
		base := &spy{}
		tr, err := provider.NewTransport(provider.TransportConfig{Base: base, Source: &fakeSource{}, BaseURL: "https://api.example/v1"})
		if err != nil {
			t.Fatal(err)
		}
		status, _, err := send(t, &http.Client{Transport: tr}, http.MethodGet, address, nil)
		if err != nil || status != http.StatusOK || strings.HasSuffix(base.seen[0], "Bearer token-0") != with {
			t.Errorf("%s: %d, %v, sent %q, want a credential: %v", address, status, err, base.seen, with)
		}
	}
	base := &spy{}
	tr, err := provider.NewTransport(provider.TransportConfig{Base: base, Source: &fakeSource{}, BaseURL: "https://api.example/v1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := send(t, &http.Client{Transport: tr}, http.MethodPost, "http://api.example:443/x", strings.NewReader("x")); !errors.Is(err, provider.ErrPlain) || len(base.seen) != 0 {
		t.Errorf("without TLS: %v after %q, want ErrPlain after none", err, base.seen)
	}
}

func TestTransportFailures(t *testing.T) {
	t.Parallel()
	base := &spy{}
	broken := errors.New("no credential")
	tr, err := provider.NewTransport(provider.TransportConfig{Base: base, Source: &fakeSource{err: broken}, BaseURL: "https://api.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := send(t, &http.Client{Transport: tr}, http.MethodGet, "https://api.example/x", nil); !errors.Is(err, broken) || len(base.seen) != 0 {
		t.Errorf("without a credential: %v after %q, want the error and no request", err, base.seen)
	}
	for _, cfg := range []provider.TransportConfig{
		{},
		{BaseURL: "https://api.example"},
		{Source: &fakeSource{}},
		{Source: &fakeSource{}, BaseURL: "http://api.example"},
		{Source: &fakeSource{}, BaseURL: "http://127.0.0.1:1"},
		{Source: &fakeSource{}, BaseURL: "http://api.example", PlainLoopback: true},
		{Source: &fakeSource{}, BaseURL: "https://u:hunter2@api.example"},
		{Source: &fakeSource{}, BaseURL: "https://%zz/hunter2"},
	} {
		if _, err := provider.NewTransport(cfg); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("NewTransport(%q) = %v, want an error", cfg.BaseURL, err)
		}
	}
}
