package oauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// start is when the tests' clock starts.
var start = time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)

// clock moves when somebody waits.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	waited time.Duration
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.waited = c.now.Add(d), c.waited+d
	return ctx.Err()
}

// sent is a request that a server got.
type sent struct {
	method, url, body string
	header            http.Header
}

// params are those of a form or of a JSON object.
func (s sent) params(tb testing.TB) url.Values {
	tb.Helper()
	if strings.HasPrefix(s.header.Get("Content-Type"), "application/json") {
		var members map[string]string
		if err := json.Unmarshal([]byte(s.body), &members); err != nil {
			tb.Fatalf("body %q: %v", s.body, err)
		}
		values := url.Values{}
		for k, v := range members {
			values.Set(k, v)
		}
		return values
	}
	values, err := url.ParseQuery(s.body)
	if err != nil {
		tb.Fatal(err)
	}
	return values
}

// network answers requests without a network, and records them.
type network struct {
	mu     sync.Mutex
	answer func(r *http.Request, n int) (status int, contentType, body string)
	sent   []sent
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	n.sent = append(n.sent, sent{r.Method, r.URL.String(), string(body), r.Header.Clone()})
	count := len(n.sent)
	n.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	status, contentType, text := n.answer(r, count)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if status == 0 {
		return nil, fmt.Errorf("connection to %s refused", r.URL.Host)
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}, "Location": {"https://elsewhere.example/"}},
		Body: io.NopCloser(strings.NewReader(text)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func (n *network) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sent)
}

// always is a server with one answer.
func always(status int, body string) *network {
	return &network{answer: func(*http.Request, int) (int, string, string) { return status, "application/json", body }}
}

// endpoints are the tests' own.
func endpoints() map[string]oauth.Endpoint {
	return map[string]oauth.Endpoint{
		"pasted": {
			Provider: "corp", Flow: oauth.FlowCode, ClientID: "client", Scopes: []string{"a", "b"}, APIURL: "https://api.example/v1",
			AuthorizeURL: "https://auth.example/authorize", TokenURL: "https://auth.example/token", RevokeURL: "https://auth.example/revoke",
			RedirectURL: "https://auth.example/code",
		},
		"looped": {
			Provider: "corp", Flow: oauth.FlowCode, ClientID: "client", RedirectPath: "/auth/callback",
			AuthorizeURL: "https://auth.example/authorize", TokenURL: "https://auth.example/token",
		},
		"device": {
			Provider: "corp", Flow: oauth.FlowDevice, ClientID: "client", Scopes: []string{"a"},
			DeviceURL: "https://auth.example/device", TokenURL: "https://auth.example/token",
		},
		"github-copilot": {ClientID: "ours"},
	}
}

// newClient returns a client that reaches the network only.
func newClient(tb testing.TB, n *network, change ...func(*oauth.Config)) *oauth.Client {
	tb.Helper()
	c := newClock()
	cfg := oauth.Config{HTTP: &http.Client{Transport: n}, Now: c.Now, Wait: c.Wait, Endpoints: endpoints()}
	for _, f := range change {
		f(&cfg)
	}
	client, err := oauth.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

func begin(tb testing.TB, c *oauth.Client, method string, o oauth.Options) *oauth.Attempt {
	tb.Helper()
	a, err := c.Begin(tb.Context(), method, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return a
}

// query returns a parameter of the address that the user opens.
func query(tb testing.TB, a *oauth.Attempt, name string) string {
	tb.Helper()
	u, err := url.Parse(a.URL)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Query().Get(name)
}

// fresh makes a secret that no text can have by chance.
func fresh(what string) string { return what + "-" + rand.Text() }

// hint returns what an error says to do.
func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// shows returns everything that printing, logging and encoding makes of a
// value.
func shows(v any) string {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("value", "value", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("value", "value", v)
	encoded, err := json.Marshal(v)
	return fmt.Sprintf("%v %+v %#v %s %q %x %d %v %s %s", v, v, v, v, v, v, v, err, encoded, log.String())
}

// memory keeps credentials as the contract asks, without a file.
type memory struct {
	mu   sync.Mutex
	held map[store.CredentialKey]*held
	// readOnly makes every change fail.
	readOnly bool
	// full makes writing fail, after change was called.
	full bool
	// read is called after each reading, if it is set.
	read func()
	// writes counts the changes.
	writes int
}

type held struct {
	update sync.Mutex
	cred   store.Credential
}

var _ store.Credentials = (*memory)(nil)

func newMemory(creds ...store.Credential) *memory {
	m := &memory{held: map[store.CredentialKey]*held{}}
	for _, c := range creds {
		m.held[c.CredentialKey] = &held{cred: c}
	}
	return m
}

func (m *memory) find(key store.CredentialKey) (*held, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.held[key]
	if !ok {
		return nil, fmt.Errorf("credential %s: %w", key, store.ErrNotExist)
	}
	return h, nil
}

func (m *memory) Credentials(context.Context) ([]store.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []store.Credential
	for _, h := range m.held {
		list = append(list, h.cred)
	}
	return list, nil
}

func (m *memory) Credential(_ context.Context, provider, profile string) (store.Credential, error) {
	h, err := m.find(store.CredentialKey{Provider: provider, Profile: profile})
	if err != nil {
		return store.Credential{}, err
	}
	if m.read != nil {
		defer m.read()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return h.cred, nil
}

func (m *memory) PutCredential(_ context.Context, c store.Credential) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[c.CredentialKey] = &held{cred: c}
	return nil
}

func (m *memory) UpdateCredential(ctx context.Context, key store.CredentialKey, change func(*store.Credential) error) (store.Credential, error) {
	h, err := m.find(key)
	if err != nil {
		return store.Credential{}, err
	}
	if m.readOnly {
		return store.Credential{}, fmt.Errorf("credential %s: %w", key, store.ErrReadOnly)
	}
	h.update.Lock()
	defer h.update.Unlock()
	m.mu.Lock()
	c := h.cred
	m.mu.Unlock()
	if err := change(&c); err != nil {
		return store.Credential{}, fmt.Errorf("credential %s: %w", key, err)
	}
	// A write that heeds its context would lose what change got.
	if err := ctx.Err(); err != nil {
		return store.Credential{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return store.Credential{}, errors.New("no space left on device")
	}
	h.cred = c
	m.writes++
	return c, nil
}

func (m *memory) DeleteCredential(_ context.Context, key store.CredentialKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, key)
	return nil
}

// session is what Claude Code keeps, ending at a time.
func session(access string, expires time.Time) string {
	return fmt.Sprintf(`{"claudeAiOauth":{"accessToken":%q,"refreshToken":"rt-secret","expiresAt":%d,"scopes":["user:inference"],"subscriptionType":"max"}}`, access, expires.UnixMilli())
}
