package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/provider"
	"opencode/provider/signin"
	"opencode/server"
	"opencode/store"
	"opencode/store/file"
)

// idp is a provider to sign in to: groq, which has no methods of its own.
type idp struct {
	*httptest.Server

	mu sync.Mutex
	// issued are the secrets that it gave.
	issued secrets
	// granted lets a device code succeed.
	granted chan struct{}
	// codes are those that were exchanged, and revoked the tokens that ended.
	codes, revoked []string
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{issued: secrets{}, granted: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		code := r.FormValue("code") + r.FormValue("device_code")
		if strings.HasPrefix(code, "bad") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"no %s"}`, code)
			return
		}
		if r.FormValue("device_code") != "" {
			select {
			case <-p.granted:
			default:
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"authorization_pending"}`)
				return
			}
		}
		p.codes = append(p.codes, code)
		fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"token_type":"bearer","expires_in":3600}`,
			p.issued.at("an issued access token"), p.issued.at("an issued refresh token"))
	})
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprintf(w, `{"device_code":%q,"user_code":"ABCD-1234","verification_uri":"http://127.0.0.1/enter","expires_in":900,"interval":1}`, p.issued.at("a device code"))
	})
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.revoked = append(p.revoked, r.FormValue("token"))
		w.WriteHeader(http.StatusOK)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// The methods of groq, in the order of GET /provider/auth.
const (
	byPaste = iota
	byLoopback
	byDevice
	byNotice
	byKey
)

// find reports each secret in a text, of those that the provider gave and of
// those that it got.
func (p *idp) find(t *testing.T, s secrets, where, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.find(t, where, text)
	p.issued.find(t, where, text)
}

// endpoints are what the user's configuration says of groq.
func (p *idp) endpoints() []byte {
	all := map[string]map[string]any{}
	for id, more := range map[string]map[string]any{
		"groq-1-paste":    {"flow": "code", "redirect_url": "https://id.example/shown"},
		"groq-2-loopback": {"flow": "code", "redirect_path": "/back"},
		"groq-3-device":   {"flow": "device", "device_url": p.URL + "/device"},
		"groq-4-notice":   {"flow": "code", "redirect_url": "https://id.example/shown", "notice": "Think twice."},
		// Both are the machine's user's, and not offered.
		"groq-5-session": {"flow": "session"},
		"groq-6-nobody":  {"flow": "device", "device_url": p.URL + "/device", "client_id": ""},
	} {
		all[id] = map[string]any{"provider": "groq", "label": "by " + id}
		if more["flow"] != "session" {
			all[id]["token_url"], all[id]["revoke_url"], all[id]["client_id"] = p.URL+"/token", p.URL+"/revoke", "cli"
		}
		if more["flow"] == "code" {
			all[id]["authorize_url"] = p.URL + "/authorize"
		}
		maps.Copy(all[id], more)
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return b
}

// signInRig is a server that signs in, and where it keeps what it gets.
type signInRig struct {
	*rig
	idp   *idp
	kept  *file.Credentials
	path  string
	clock *testClock
}

// testClock is the server's clock, which a test can move on.
type testClock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
}

func newSignInRig(t *testing.T) *signInRig {
	t.Helper()
	r := &signInRig{idp: newIDP(t), path: filepath.Join(t.TempDir(), "auth.json"), clock: &testClock{}}
	r.kept = must(file.OpenCredentials(file.CredentialsConfig{Path: r.path}))(t)
	providers := must(provider.New(provider.Config{Connected: connected(t, r.path)}))(t)
	service := must(signin.New(signin.Config{Store: r.kept, Endpoints: r.idp.endpoints(), Home: t.TempDir(), Now: r.clock.now}))(t)
	r.rig = serve(t, options{change: func(cfg *server.Config) {
		cfg.Providers, cfg.Credentials, cfg.SignIn = providers, r.kept, service
	}})
	return r
}

// connected returns the ids that GET /provider calls connected.
func (r *signInRig) connected() string {
	r.t.Helper()
	var body struct{ Connected []string }
	r.do(http.MethodGet, "/provider", r.full, "").into(r.t, &body)
	return strings.Join(body.Connected, " ")
}

type authorization struct{ URL, Method, Instructions string }

func (r *signInRig) authorize(token string, method int, inputs string) authorization {
	r.t.Helper()
	var a authorization
	r.do(http.MethodPost, "/provider/groq/oauth/authorize", token, fmt.Sprintf(`{"method":%d%s}`, method, inputs)).into(r.t, &a)
	return a
}

func (r *signInRig) callback(token string, method int, code string) reply {
	r.t.Helper()
	body := must(json.Marshal(map[string]any{"method": method, "code": code}))(r.t)
	return r.do(http.MethodPost, "/provider/groq/oauth/callback", token, string(body))
}

func (a authorization) query(t *testing.T, name string) string {
	t.Helper()
	return must(url.Parse(a.URL))(t).Query().Get(name)
}

// wantFailure holds an answer against the published error.
func (p reply) wantFailure(t *testing.T, what string, status int, name string) {
	t.Helper()
	if e := p.failure(t); p.status != status || e.Name != name {
		t.Errorf("%s = %d %s, want %d %s", what, p.status, p.body, status, name)
	}
}

func TestAuthSetAndRemove(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	key := s.at("a key")
	if got := r.connected(); got != "" {
		t.Fatalf("connected %q", got)
	}
	var ok bool
	r.do(http.MethodPut, "/auth/mistral", r.write, `{"type":"api","key":"`+key+`","metadata":{"region":"eu"}}`).into(t, &ok)
	c, err := r.kept.Credential(t.Context(), "mistral", "")
	if !ok || err != nil || c.Key.Reveal() != key || c.Method != "api" || c.Metadata["region"] != "eu" || c.Created.IsZero() {
		t.Errorf("PUT = %v, kept %+v, %v", ok, c, err)
	}
	access, refresh := s.at("an access token"), s.at("a refresh token")
	r.do(http.MethodPut, "/auth/openai", r.full,
		`{"type":"oauth","access":"`+access+`","refresh":"`+refresh+`","expires":4102444800000,"accountId":"acct"}`).into(t, &ok)
	c, err = r.kept.Credential(t.Context(), "openai", "")
	if err != nil || c.Access.Reveal() != access || c.Refresh.Reveal() != refresh || c.Expires.UnixMilli() != 4102444800000 || c.AccountID != "acct" {
		t.Errorf("kept %+v, %v", c, err)
	}
	// Signed in without a restart.
	if got := r.connected(); got != "mistral openai" {
		t.Errorf("connected %q, want mistral openai", got)
	}
	// As often as it is asked for.
	for range 2 {
		r.do(http.MethodDelete, "/auth/mistral", r.write, "").into(t, &ok)
	}
	if got := r.connected(); got != "openai" {
		t.Errorf("connected %q after DELETE, want openai", got)
	}
	r.idp.find(t, s, "the log", r.log.String())
}

// TestAuthIsRefused sends what is no credential, or may not be kept. Nothing of
// it comes back.
func TestAuthIsRefused(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	secret := func() string { return s.at("a secret of a refused body") }
	long := strings.Repeat("x", 70<<10)
	for what, body := range map[string]string{
		"nothing":                 "",
		"no JSON":                 `{"type":"api","key":` + secret(),
		"a number":                `{"type":"api","key":98765432101234567890}`,
		"another type of value":   `{"type":"api","key":["` + secret() + `"]}`,
		"an unknown member":       `{"type":"api","key":"k","` + secret() + `":1}`,
		"two values":              `{"type":"api","key":"` + secret() + `"} {}`,
		"no type":                 `{"key":"` + secret() + `"}`,
		"an unknown type":         `{"type":"` + secret() + `","key":"k"}`,
		"an empty key":            `{"type":"api","key":""}`,
		"a line break":            `{"type":"api","key":"` + secret() + `\r\nX-Evil: 1"}`,
		"a key too long":          `{"type":"api","key":"` + long + `"}`,
		"a key and tokens":        `{"type":"api","key":"` + secret() + `","access":"` + secret() + `"}`,
		"tokens and a key":        `{"type":"oauth","key":"` + secret() + `","access":"` + secret() + `"}`,
		"no tokens":               `{"type":"oauth","refresh":"","access":"","expires":1}`,
		"a time before all":       `{"type":"oauth","access":"` + secret() + `","expires":-1}`,
		"a time after all":        `{"type":"oauth","access":"` + secret() + `","expires":9007199254740991}`,
		"metadata beside tokens":  `{"type":"oauth","access":"` + secret() + `","metadata":{"client_id":"x"}}`,
		"a gateway's variable":    `{"type":"wellknown","key":"LD_PRELOAD","token":"` + secret() + `"}`,
		"an account with control": `{"type":"oauth","access":"` + secret() + `","accountId":"\u001b[2J"}`,
	} {
		got := r.do(http.MethodPut, "/auth/groq", r.full, body)
		if e := got.failure(t); got.status != http.StatusBadRequest || e.Name != "BadRequest" {
			t.Errorf("%s = %d %s, want 400", what, got.status, got.body)
		}
		s.find(t, what, got.body)
		if strings.Contains(got.body, "98765432101234567890") {
			t.Errorf("%s is repeated: %s", what, got.body)
		}
	}
	huge := r.do(http.MethodPut, "/auth/groq", r.full, `{"type":"api","key":"`+strings.Repeat("x", 300<<10)+`"}`)
	huge.wantFailure(t, "a huge body", http.StatusRequestEntityTooLarge, "PayloadTooLargeError")
	good := `{"type":"api","key":"` + secret() + `"}`
	for _, id := range []string{"none", "a%23b", "https:%2F%2Fcorp.example", "https%3A%2F%2Fcorp.example", "corp.example:8080", "a%20b", "%2e%2e", "a%00b", "a/"} {
		if got := r.do(http.MethodPut, "/auth/"+id, r.full, good); got.status < 400 || got.status >= 500 {
			t.Errorf("PUT /auth/%s = %d %s, want it refused", id, got.status, got.body)
		}
	}
	for what, c := range map[string]struct {
		token  string
		status int
	}{"nobody": {"", 401}, "no permission": {r.none, 403}, "who may read": {r.read, 403}} {
		for _, req := range [][2]string{
			{http.MethodPut, "/auth/groq"},
			{http.MethodDelete, "/auth/groq"},
			{http.MethodPost, "/provider/groq/oauth/authorize"},
			{http.MethodPost, "/provider/groq/oauth/callback"},
		} {
			if got := r.do(req[0], req[1], c.token, good); got.status != c.status {
				t.Errorf("%s %s by %s = %d, want %d", req[0], req[1], what, got.status, c.status)
			}
		}
	}
	if _, err := os.Stat(r.path); !os.IsNotExist(err) {
		t.Errorf("something was kept: %v", err)
	}
	r.idp.find(t, s, "the log", r.log.String())
}

// TestAuthMethods shows what clients are offered.
func TestAuthMethods(t *testing.T) {
	t.Parallel()
	r := newSignInRig(t)
	var all map[string][]struct {
		Type, Label string
		Prompts     []struct {
			Type, Key, Message string
			Options            []struct{ Label, Value string }
		}
	}
	r.do(http.MethodGet, "/provider/auth", r.read, "").into(t, &all)
	var labels []string
	for _, m := range all["groq"] {
		labels = append(labels, m.Type+" "+m.Label)
	}
	want := "oauth by groq-1-paste, oauth by groq-2-loopback, oauth by groq-3-device, oauth by groq-4-notice, api API key"
	if got := strings.Join(labels, ", "); got != want {
		t.Fatalf("methods of groq %s, want %s", got, want)
	}
	notice := all["groq"][byNotice]
	if len(notice.Prompts) != 1 || notice.Prompts[0].Message != "Think twice." || notice.Prompts[0].Type != "select" || notice.Prompts[0].Options[0].Value != "no" {
		t.Errorf("the notice is asked as %+v", notice.Prompts)
	}
	if got := all["mistral"]; len(got) != 1 || got[0].Type != "api" {
		t.Errorf("methods of mistral %+v, want a key", got)
	}
	// What Anthropic restricts comes last but for the key, with its notice; what
	// is the machine's user's own does not come at all.
	if got := all["anthropic"]; len(got) != 3 || len(got[0].Prompts) != 0 || len(got[1].Prompts) != 1 {
		t.Errorf("methods of anthropic %+v", got)
	}
}

func TestSignInByPaste(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	a := r.authorize(r.write, byPaste, "")
	if a.Method != "code" || !strings.HasPrefix(a.URL, r.idp.URL+"/authorize?") || a.Instructions == "" {
		t.Fatalf("authorize = %+v", a)
	}
	state := a.query(t, "state")
	r.callback(r.write, byPaste, "").wantFailure(t, "no code", 400, "ProviderAuthOauthCodeMissing")
	r.callback(r.write, byPaste, s.at("a code")+"#of-another").wantFailure(t, "the state of another", 400, "ProviderAuthOauthCallbackFailed")
	r.callback(r.write, byPaste, "two words").wantFailure(t, "no code at all", 400, "ProviderAuthOauthCallbackFailed")
	r.callback(r.write, byLoopback, s.at("a code")).wantFailure(t, "another method", 400, "ProviderAuthOauthMissing")
	// Nobody else ends it, whatever they know.
	r.callback(r.full, byPaste, s.at("a code")+"#"+state).wantFailure(t, "another principal", 400, "ProviderAuthOauthMissing")
	code := s.at("a code")
	var ok bool
	r.callback(r.write, byPaste, code+"#"+state).into(t, &ok)
	c, err := r.kept.Credential(t.Context(), "groq", "")
	if !ok || err != nil || c.Kind != store.CredentialOAuth || c.Method != "groq-1-paste" || r.connected() != "groq" {
		t.Errorf("callback = %v, kept %v, %v", ok, c, err)
	}
	r.callback(r.write, byPaste, code+"#"+state).wantFailure(t, "the second time", 400, "ProviderAuthOauthMissing")
	if len(r.idp.codes) != 1 || r.idp.codes[0] != code {
		t.Errorf("the provider got the codes %q", r.idp.codes)
	}
	// Signing out tells the provider.
	r.do(http.MethodDelete, "/auth/groq", r.write, "").into(t, &ok)
	if len(r.idp.revoked) != 2 || r.idp.revoked[0] != c.Refresh.Reveal() || r.connected() != "" {
		t.Errorf("revoked %q", r.idp.revoked)
	}

	// A code that the provider refuses ends it.
	bad := "bad-" + s.at("a code")
	r.authorize(r.write, byPaste, "")
	r.callback(r.write, byPaste, bad).wantFailure(t, "a refused code", 400, "ProviderAuthOauthCallbackFailed")
	r.callback(r.write, byPaste, bad).wantFailure(t, "a refused code again", 400, "ProviderAuthOauthMissing")
	// The newest attempt counts, and the time of each is limited.
	old := r.authorize(r.write, byPaste, "")
	r.authorize(r.write, byPaste, "")
	r.callback(r.write, byPaste, s.at("a code")+"#"+old.query(t, "state")).wantFailure(t, "a replaced attempt", 400, "ProviderAuthOauthCallbackFailed")
	r.clock.add(5 * time.Minute)
	r.callback(r.write, byPaste, s.at("a code")).wantFailure(t, "after five minutes", 400, "ProviderAuthOauthMissing")
	r.idp.find(t, s, "the log", r.log.String())
}

func TestSignInByLoopback(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	browse := func(a authorization, code string) int {
		t.Helper()
		target := a.query(t, "redirect_uri") + "?code=" + code + "&state=" + a.query(t, "state")
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))(t)
		res, err := r.client.Do(req)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	a := r.authorize(r.full, byLoopback, "")
	if a.Method != "auto" || !strings.HasPrefix(a.query(t, "redirect_uri"), "http://127.0.0.1:") {
		t.Fatalf("authorize = %+v", a)
	}
	done := make(chan reply, 1)
	go func() { done <- r.callback(r.full, byLoopback, "") }()
	if status := browse(a, s.at("a code")); status != http.StatusOK {
		t.Fatalf("the redirect = %d", status)
	}
	var ok bool
	(<-done).into(t, &ok)
	if !ok || r.connected() != "groq" {
		t.Errorf("callback = %v, connected %q", ok, r.connected())
	}
	if status := browse(a, s.at("a code")); status != 0 {
		t.Errorf("the port still answers: %d", status)
	}
	// From another machine the address is pasted.
	a = r.authorize(r.full, byLoopback, "")
	r.callback(r.full, byLoopback, a.query(t, "redirect_uri")+"?code="+s.at("a code")+"&state="+a.query(t, "state")).into(t, &ok)
	// A denial by the user is told.
	a = r.authorize(r.full, byLoopback, "")
	go func() { done <- r.callback(r.full, byLoopback, "") }()
	browse(a, "&error=access_denied")
	(<-done).wantFailure(t, "a denial", 400, "ProviderAuthOauthCallbackFailed")
	r.idp.find(t, s, "the log", r.log.String())
}

func TestSignInByDevice(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	a := r.authorize(r.full, byDevice, "")
	if a.Method != "auto" || a.URL != "http://127.0.0.1/enter" || !strings.Contains(a.Instructions, "ABCD-1234") {
		t.Fatalf("authorize = %+v", a)
	}
	close(r.idp.granted)
	var ok bool
	r.callback(r.full, byDevice, "").into(t, &ok)
	if !ok || r.connected() != "groq" {
		t.Errorf("callback = %v", ok)
	}
	r.callback(r.full, byDevice, "").wantFailure(t, "the second time", 400, "ProviderAuthOauthMissing")
	r.idp.find(t, s, "the log", r.log.String())
}

func TestSignInIsRefused(t *testing.T) {
	t.Parallel()
	r := newSignInRig(t)
	authorize := func(id, body string) reply {
		return r.do(http.MethodPost, "/provider/"+id+"/oauth/authorize", r.full, body)
	}
	notice := authorize("groq", fmt.Sprintf(`{"method":%d}`, byNotice))
	notice.wantFailure(t, "a notice that nobody accepted", 400, "ProviderAuthValidationFailed")
	if !strings.Contains(notice.body, "Think twice.") || !strings.Contains(notice.body, `"providerID":"groq"`) {
		t.Errorf("the notice is not shown: %s", notice.body)
	}
	authorize("groq", fmt.Sprintf(`{"method":%d,"inputs":{"accept":"no"}}`, byNotice)).wantFailure(t, "no", 400, "ProviderAuthValidationFailed")
	if a := r.authorize(r.full, byNotice, `,"inputs":{"accept":"yes"}`); a.Method != "code" {
		t.Errorf("authorize = %+v", a)
	}
	for _, index := range []int{-1, byKey, byKey + 1, 1 << 40} {
		authorize("groq", fmt.Sprintf(`{"method":%d}`, index)).wantFailure(t, fmt.Sprint("method ", index), 400, "ProviderAuthValidationFailed")
	}
	authorize("mistral", `{"method":0}`).wantFailure(t, "a provider with keys only", 400, "ProviderAuthValidationFailed")
	authorize("groq", `{"method":"0"}`).wantFailure(t, "no number", 400, "BadRequest")
	authorize("groq", `{"method":0,"more":1}`).wantFailure(t, "an unknown member", 400, "BadRequest")
	r.callback(r.full, byPaste, "code").wantFailure(t, "what was not begun", 400, "ProviderAuthOauthMissing")
}

// TestSignInReadOnly asks for a sign-in that could not be kept.
func TestSignInReadOnly(t *testing.T) {
	t.Parallel()
	idp := newIDP(t)
	fixed := must(file.ParseCredentials(`{"openai":{"type":"api","key":"k"}}`))(t)
	service := must(signin.New(signin.Config{Store: fixed, Endpoints: idp.endpoints()}))(t)
	r := serve(t, options{change: func(cfg *server.Config) { cfg.Credentials, cfg.SignIn = fixed, service }})
	for _, c := range [][3]string{
		{http.MethodPut, "/auth/groq", `{"type":"api","key":"k"}`},
		{http.MethodDelete, "/auth/openai", ""},
		{http.MethodPost, "/provider/groq/oauth/authorize", `{"method":0}`},
	} {
		r.do(c[0], c[1], r.full, c[2]).wantFailure(t, c[0]+" "+c[1], http.StatusConflict, "ReadOnlyError")
	}
}

// TestSignInEndsWithTheServer stops the server while a client waits.
func TestSignInEndsWithTheServer(t *testing.T) {
	t.Parallel()
	r := newSignInRig(t)
	a := r.authorize(r.full, byLoopback, "")
	r.authorize(r.write, byDevice, "")
	done, read := make(chan reply, 2), make(chan struct{}, 2)
	for token, method := range map[string]int{r.full: byLoopback, r.write: byDevice} {
		// The server asks for the body once it is in the handler.
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { read <- struct{}{} }})
		req := r.request(ctx, http.MethodPost, "/provider/groq/oauth/callback", token, fmt.Sprintf(`{"method":%d}`, method))
		req.Header.Set("Expect", "100-continue")
		go func() { done <- r.send(req) }()
	}
	for range 2 {
		<-read
	}
	r.shutdown()
	for range 2 {
		(<-done).wantFailure(t, "a sign-in that the server left", http.StatusServiceUnavailable, "ServiceUnavailableError")
	}
	if conn, err := http.Get(a.query(t, "redirect_uri")); err == nil {
		_ = conn.Body.Close()
		t.Error("the port still answers")
	}
}

// TestSignInEndsWithItsToken deletes the token of a client that waits: nobody
// may finish what it has begun.
func TestSignInEndsWithItsToken(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]int{"loopback": byLoopback, "device": byDevice} {
		r := newSignInRig(t)
		a := r.authorize(r.write, method, "")
		done, read := make(chan reply, 1), make(chan struct{})
		// The server asks for the body once it is in the handler.
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(read) }})
		req := r.request(ctx, http.MethodPost, "/provider/groq/oauth/callback", r.write, fmt.Sprintf(`{"method":%d}`, method))
		req.Header.Set("Expect", "100-continue")
		go func() { done <- r.send(req) }()
		<-read
		must(r.tokens.DeleteToken(t.Context(), "write"))(t)
		(<-done).wantFailure(t, name+" by a token that was deleted", http.StatusUnauthorized, "UnauthorizedError")
		if address := a.query(t, "redirect_uri"); address != "" {
			if res, err := http.Get(address); err == nil {
				_ = res.Body.Close()
				t.Errorf("%s: the port still answers", name)
			}
		}
		if got := r.connected(); got != "" {
			t.Errorf("%s: connected %q, want nothing", name, got)
		}
	}
}

// TestNoCredentialLeaves signs in in each way while all events are read, and
// looks for every secret in everything that is kept and said but the store.
func TestNoCredentialLeaves(t *testing.T) {
	t.Parallel()
	s := secrets{}
	r := newSignInRig(t)
	var said strings.Builder
	note := func(p reply) reply { said.WriteString(p.body + fmt.Sprint(p.header)); return p }

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := r.client.Do(r.request(ctx, http.MethodGet, "/global/event", r.full, "")) //nolint:bodyclose // closed by who reads it
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
		}
		_ = stream.Body.Close()
		events <- all.String()
	}()

	note(r.do(http.MethodPut, "/auth/mistral", r.full, `{"type":"api","key":"`+s.at("a key")+`","metadata":{"m":"`+s.at("metadata")+`"}}`))
	note(r.do(http.MethodPut, "/auth/openai", r.full, `{"type":"oauth","access":"`+s.at("access")+`","refresh":"`+s.at("refresh")+`","accountId":"`+s.at("account")+`"}`))
	note(r.do(http.MethodPut, "/auth/mistral", r.full, `{"type":"api","key":`+s.at("a broken body")))
	note(r.do(http.MethodPut, "/auth/mistral", r.read, `{"type":"api","key":"`+s.at("a denied body")+`"}`))
	r.authorize(r.full, byPaste, "")
	note(r.callback(r.full, byPaste, "bad-"+s.at("a refused code")))
	r.authorize(r.full, byPaste, "")
	note(r.callback(r.full, byPaste, s.at("a code")))
	close(r.idp.granted)
	r.authorize(r.full, byDevice, "")
	note(r.callback(r.full, byDevice, ""))
	session := r.session()
	note(r.shell(session, r.full, "echo shown"))
	for _, path := range []string{"/provider", "/provider/auth", "/config", "/config/providers", "/api/provider", "/policy/decision?limit=1000", "/session/" + session + "/message"} {
		note(r.do(http.MethodGet, path, r.full, ""))
	}
	note(r.do(http.MethodDelete, "/auth/openai", r.full, ""))
	r.shutdown()
	cancel()
	said.WriteString(<-events)
	if !strings.Contains(said.String(), "/auth/{providerID}") || !strings.Contains(said.String(), "server.connected") || !strings.Contains(said.String(), "shown") {
		t.Errorf("the test looks at too little:\n%.3000s", said.String())
	}
	r.idp.find(t, s, "what was said", said.String())
	r.idp.find(t, s, "the log", r.log.String())
	if !strings.Contains(r.log.String(), "signed in") {
		t.Error("the log does not say who signed in")
	}
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(r.dir)
	err = filepath.WalkDir(home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		r.idp.find(t, s, path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "server.db")); err != nil {
		t.Errorf("no database was looked at: %v", err)
	}
	// The store itself has them.
	text := string(must(os.ReadFile(r.path))(t))
	found := 0
	for v := range r.idp.issued {
		if strings.Contains(text, v) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("the store has %d of the tokens, want 2:\n%s", found, text)
	}
}
