package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

func TestPastedCode(t *testing.T) {
	t.Parallel()
	access, refresh := fresh("access"), fresh("refresh")
	n := always(http.StatusOK, fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":3600,"token_type":"Bearer"}`, access, refresh))
	c := newClient(t, n)
	a := begin(t, c, "pasted", oauth.Options{Profile: "work"})
	if !a.Paste || !a.Expires.Equal(start.Add(5*time.Minute)) {
		t.Errorf("Paste %v until %v, want a pasted code within 5 minutes", a.Paste, a.Expires)
	}
	for name, want := range map[string]string{
		"client_id": "client", "response_type": "code", "redirect_uri": "https://auth.example/code", "scope": "a b", "code_challenge_method": "S256",
	} {
		if got := query(t, a, name); got != want {
			t.Errorf("the address has %s=%q, want %q", name, got, want)
		}
	}
	code, state := fresh("code"), query(t, a, "state")
	if len(state) < 22 || len(query(t, a, "code_challenge")) != 43 {
		t.Errorf("state %q and challenge %q, want 128 random bits and a SHA-256", state, query(t, a, "code_challenge"))
	}
	cred, err := a.Finish(t.Context(), "  "+code+"#"+state+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if cred.Provider != "corp" || cred.Profile != "work" || cred.Kind != store.CredentialOAuth || cred.Method != "pasted" ||
		cred.Access.Reveal() != access || cred.Refresh.Reveal() != refresh || !cred.Expires.Equal(start.Add(time.Hour)) {
		t.Errorf("Finish = %v %q until %v, want the tokens that the server gave", cred, cred.Method, cred.Expires)
	}
	got := n.sent[0].params(t)
	verifier := got.Get("code_verifier")
	if len(verifier) < 43 || verifier == state || got.Get("state") != "" || got.Get("code") != code || got.Get("grant_type") != "authorization_code" ||
		got.Get("redirect_uri") != "https://auth.example/code" || got.Get("client_id") != "client" {
		t.Errorf("the server got %v", got)
	}
	if agent := n.sent[0].header.Get("User-Agent"); agent != "opencode" {
		t.Errorf("User-Agent = %q, want our own", agent)
	}
	if _, err := a.Finish(t.Context(), code+"#"+state); !errors.Is(err, oauth.ErrUsed) || n.count() != 1 {
		t.Errorf("Finish again = %v after %d requests, want ErrUsed after 1", err, n.count())
	}
}

func TestPastedTextThatIsNoCode(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		pasted string
		want   error
	}{
		"nothing":              {" \n", oauth.ErrCodeRequired},
		"another state":        {"code#other", oauth.ErrState},
		"an empty state":       {"code#", oauth.ErrState},
		"a state with more":    {"code#STATEx", oauth.ErrState},
		"a part of the state":  {"code#STAT", oauth.ErrState},
		"no code":              {"#STATE", oauth.ErrCodeRequired},
		"NUL":                  {"co\x00de#STATE", oauth.ErrCode},
		"two words":            {"co de#STATE", oauth.ErrCode},
		"escape sequence":      {"\x1b[2Jcode#STATE", oauth.ErrCode},
		"not ASCII":            {"cоde#STATE", oauth.ErrCode},
		"too long":             {strings.Repeat("a", 9<<10), oauth.ErrCode},
		"address, no state":    {"https://auth.example/code?code=x", oauth.ErrState},
		"address, wrong state": {"https://auth.example/code?code=x&state=other", oauth.ErrState},
		"address, two states":  {"https://auth.example/code?code=x&state=STATE&state=other", oauth.ErrCode},
		"address, no code":     {"https://auth.example/code?state=STATE", oauth.ErrCodeRequired},
		"address, denied":      {"https://auth.example/code?error=access_denied&state=STATE", oauth.ErrDenied},
		"address, broken":      {"https://auth.example/code?code=%zz&state=STATE", oauth.ErrCode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := always(http.StatusOK, `{"access_token":"t"}`)
			a := begin(t, newClient(t, n), "pasted", oauth.Options{})
			state := query(t, a, "state")
			_, err := a.Finish(t.Context(), strings.ReplaceAll(d.pasted, "STATE", state))
			if !errors.Is(err, d.want) || hint(err) == "" || n.count() != 0 {
				t.Errorf("Finish = %v (hint %q) after %d requests, want %v with a hint and none", err, hint(err), n.count(), d.want)
			}
			// A slip does not cost the attempt.
			if _, err := a.Finish(t.Context(), "https://auth.example/code?code=x&state="+state); err != nil {
				t.Errorf("Finish with the right text after it = %v", err)
			}
		})
	}
}

func TestAttemptEnds(t *testing.T) {
	t.Parallel()
	clock := newClock()
	n := always(http.StatusOK, `{"access_token":"t"}`)
	c := newClient(t, n, func(cfg *oauth.Config) { cfg.Now = clock.Now })
	a := begin(t, c, "pasted", oauth.Options{})
	clock.add(5 * time.Minute)
	if _, err := a.Finish(t.Context(), "code"); !errors.Is(err, oauth.ErrExpired) || n.count() != 0 {
		t.Errorf("Finish after 5 minutes = %v, want ErrExpired", err)
	}
	closed := begin(t, c, "pasted", oauth.Options{})
	closed.Close()
	if _, err := closed.Finish(t.Context(), "code"); !errors.Is(err, oauth.ErrUsed) || n.count() != 0 {
		t.Errorf("Finish after Close = %v, want ErrUsed", err)
	}
}

// answers that no server should give to a request for tokens.
func badAnswers() map[string]struct {
	status            int
	contentType, body string
	want              error
} {
	type bad = struct {
		status            int
		contentType, body string
		want              error
	}
	const secret = "SECRET"
	return map[string]bad{
		"HTML with 200":          {200, "text/html", `{"access_token":"SECRET"}`, oauth.ErrAnswer},
		"HTML error":             {500, "text/html", `<h1>SECRET</h1>`, nil},
		"empty":                  {200, "application/json", ``, oauth.ErrAnswer},
		"no object":              {200, "application/json", `["SECRET"]`, oauth.ErrAnswer},
		"null":                   {200, "application/json", `null`, oauth.ErrAnswer},
		"cut":                    {200, "application/json", `{"access_token":"SECRET`, oauth.ErrAnswer},
		"no token":               {200, "application/json", `{"other":"SECRET"}`, oauth.ErrAnswer},
		"empty token":            {200, "application/json", `{"access_token":""}`, oauth.ErrAnswer},
		"number for a token":     {200, "application/json", `{"access_token":17}`, oauth.ErrAnswer},
		"object for a token":     {200, "application/json", `{"access_token":{"a":"SECRET"}}`, oauth.ErrAnswer},
		"other case of the name": {200, "application/json", `{"ACCESS_TOKEN":"SECRET"}`, oauth.ErrAnswer},
		"NUL in the token":       {200, "application/json", `{"access_token":"SECRET\u0000"}`, oauth.ErrAnswer},
		"line break":             {200, "application/json", `{"access_token":"SECRET\r\nX-Evil: 1"}`, oauth.ErrAnswer},
		"blank":                  {200, "application/json", `{"access_token":"SECRET x"}`, oauth.ErrAnswer},
		"not ASCII":              {200, "application/json", `{"access_token":"SECRETé"}`, oauth.ErrAnswer},
		"number for refresh":     {200, "application/json", `{"access_token":"SECRET","refresh_token":1}`, oauth.ErrAnswer},
		"text for expires_in":    {200, "application/json", `{"access_token":"SECRET","expires_in":"soon"}`, oauth.ErrAnswer},
		"list for expires_in":    {200, "application/json", `{"access_token":"SECRET","expires_in":[1]}`, oauth.ErrAnswer},
		"negative expires_in":    {200, "application/json", `{"access_token":"SECRET","expires_in":-1}`, oauth.ErrAnswer},
		"token bound to a key":   {200, "application/json", `{"access_token":"SECRET","token_type":"DPoP"}`, oauth.ErrAnswer},
		"huge":                   {200, "application/json", `{"access_token":"` + strings.Repeat(secret, 1<<16) + `"}`, oauth.ErrAnswer},
		"padded":                 {200, "application/json", `{"access_token":"SECRET","x":"` + strings.Repeat("x", 300<<10) + `"}`, oauth.ErrAnswer},
		"padded with blanks":     {200, "application/json", `{"access_token":"SECRET"}` + strings.Repeat(" ", 300<<10), oauth.ErrAnswer},
		"redirect":               {302, "application/json", `{"access_token":"SECRET"}`, nil},
		"redirect that keeps":    {307, "application/json", `{"access_token":"SECRET"}`, nil},
		"no connection":          {0, "", "", nil},
		"error with 200":         {200, "application/json", `{"error":"access_denied","error_description":"SECRET"}`, oauth.ErrDenied},
		"invalid grant":          {400, "application/json", `{"error":"invalid_grant","error_description":"SECRET"}`, oauth.ErrGrant},
		"error of another type":  {400, "application/json", `{"error":{"type":"SECRET","message":"SECRET"}}`, nil},
		"error with a secret":    {400, "application/json", `{"error":"SECRET"}`, nil},
		"error and a token":      {200, "application/json", `{"error":"server_error","access_token":"SECRET"}`, nil},
		"too many requests":      {429, "application/json", `{"message":"SECRET"}`, nil},
	}
}

func TestTokenAnswersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, d := range badAnswers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &network{answer: func(*http.Request, int) (int, string, string) { return d.status, d.contentType, d.body }}
			a := begin(t, newClient(t, n), "pasted", oauth.Options{})
			code := fresh("code")
			cred, err := a.Finish(t.Context(), code)
			if err == nil || d.want != nil && !errors.Is(err, d.want) || len(cred.Secrets()) != 0 {
				t.Fatalf("Finish = %v, %v, want %v and no secret", cred, err, d.want)
			}
			if all := shows(err) + hint(err); strings.Contains(all, "SECRET") || strings.Contains(all, code) {
				t.Errorf("the error shows a secret: %s", all)
			}
			if hint(err) == "" {
				t.Errorf("%v has no hint", err)
			}
			if n.count() != 1 {
				t.Errorf("%d requests were made, want 1: nothing follows a redirect", n.count())
			}
		})
	}
}

// endless is a server that never stops.
type endless struct{}

func (endless) RoundTrip(r *http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader(`{"access_token":"t","x":"`), endless{})
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t, always(200, ``), func(cfg *oauth.Config) { cfg.HTTP = &http.Client{Transport: endless{}} })
	if _, err := begin(t, c, "pasted", oauth.Options{}).Finish(t.Context(), "code"); !errors.Is(err, oauth.ErrAnswer) {
		t.Errorf("Finish = %v, want ErrAnswer", err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		`3600`: start.Add(time.Hour), `"3600"`: start.Add(time.Hour), `1.5`: start.Add(1500 * time.Millisecond),
		`1e300`: start.Add(10 * 365 * 24 * time.Hour), `0`: {}, `null`: {},
	} {
		n := always(http.StatusOK, `{"access_token":"t","expires_in":`+text+`}`)
		cred, err := begin(t, newClient(t, n), "pasted", oauth.Options{}).Finish(t.Context(), "code")
		if err != nil || !cred.Expires.Equal(want) {
			t.Errorf("expires_in %s = %v, %v, want %v", text, cred.Expires, err, want)
		}
	}
}

func TestNoticeComesFirst(t *testing.T) {
	t.Parallel()
	n := always(http.StatusOK, `{"access_token":"t","refresh_token":"r","expires_in":60}`)
	c := newClient(t, n)
	restricted := 0
	for _, m := range c.Methods() {
		if m.Notice == "" {
			continue
		}
		restricted++
		_, err := c.Begin(t.Context(), m.ID, oauth.Options{})
		if !errors.Is(err, oauth.ErrNotice) || hint(err) != m.Notice {
			t.Errorf("Begin(%s) = %v (hint %q), want ErrNotice with the notice", m.ID, err, hint(err))
		}
	}
	if restricted != 2 {
		t.Errorf("%d methods have a notice, want those of Claude.ai: browser and session", restricted)
	}
	a := begin(t, c, "anthropic-claude", oauth.Options{Accepted: true})
	cred, err := a.Finish(t.Context(), "code#"+query(t, a, "state"))
	if err != nil {
		t.Fatal(err)
	}
	got := n.sent[0]
	params := got.params(t)
	if got.url != "https://platform.claude.com/v1/oauth/token" || got.header.Get("Content-Type") != "application/json" ||
		params.Get("state") != query(t, a, "state") || params.Get("client_id") != "9d1c250a-e61b-44d9-88ed-5944d1962f5e" ||
		!strings.HasPrefix(a.URL, "https://claude.ai/oauth/authorize?") || query(t, a, "code") != "true" {
		t.Errorf("%s got %s %v", a.URL, got.url, params)
	}
	if agent := got.header.Get("User-Agent"); agent != "opencode" || cred.Provider != "anthropic" {
		t.Errorf("User-Agent %q for %v, want nobody else's name", agent, cred)
	}
}

func TestOverrideKeepsNotice(t *testing.T) {
	t.Parallel()
	c := newClient(t, always(http.StatusOK, `{}`), func(cfg *oauth.Config) {
		cfg.Endpoints["anthropic-claude"] = oauth.Endpoint{Notice: "all is well", TokenURL: "https://gateway.example/token"}
	})
	m, err := c.Method("anthropic-claude")
	if err != nil || m.TokenURL != "https://gateway.example/token" || !strings.Contains(m.Notice, "does not permit") {
		t.Errorf("Method = %q with notice %q, %v, want the new address and the old notice", m.TokenURL, m.Notice, err)
	}
}

func TestConsoleEndsInKey(t *testing.T) {
	t.Parallel()
	access, key := fresh("access"), fresh("key")
	n := &network{answer: func(r *http.Request, _ int) (int, string, string) {
		if r.URL.Path == "/api/oauth/claude_cli/create_api_key" {
			return 200, "application/json", fmt.Sprintf(`{"raw_key":%q}`, key)
		}
		return 200, "application/json", fmt.Sprintf(`{"access_token":%q,"refresh_token":"r"}`, access)
	}}
	a := begin(t, newClient(t, n), "anthropic-console", oauth.Options{})
	cred, err := a.Finish(t.Context(), "code")
	if err != nil || cred.Kind != store.CredentialAPI || cred.Key.Reveal() != key || !cred.Access.IsZero() || !cred.Refresh.IsZero() {
		t.Errorf("Finish = %v, %v, want the key and no token", cred, err)
	}
	if got := n.sent[1].header.Get("Authorization"); got != "Bearer "+access {
		t.Errorf("the key was asked for with %q", got)
	}
}

func TestEnvironmentReplacesEndpoints(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"ANTHROPIC_CLIENT_ID": "mine", "ANTHROPIC_AUTH_URL": "https://a.example/x", "ANTHROPIC_TOKEN_URL": "https://t.example/y",
		"ANTHROPIC_REDIRECT_URI": "https://r.example/z", "ANTHROPIC_SCOPE": "one  two",
	}
	lookUp := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	c := newClient(t, always(200, `{}`), func(cfg *oauth.Config) { cfg.Env = lookUp })
	a := begin(t, c, "anthropic-claude", oauth.Options{Accepted: true})
	if !strings.HasPrefix(a.URL, "https://a.example/x?") || query(t, a, "client_id") != "mine" || query(t, a, "scope") != "one two" || query(t, a, "redirect_uri") != "https://r.example/z" {
		t.Errorf("the address is %s", a.URL)
	}
	env = map[string]string{"ANTHROPIC_CLIENT_ID": "  "}
	c = newClient(t, always(200, `{}`), func(cfg *oauth.Config) { cfg.Env = lookUp })
	if m, err := c.Method("anthropic-claude"); err != nil || m.ClientID == "" || strings.TrimSpace(m.ClientID) != m.ClientID {
		t.Errorf("a blank variable gave the client id %q, %v, want the embedded one", m.ClientID, err)
	}
	env = map[string]string{"ANTHROPIC_TOKEN_URL": "http://t.example/y"}
	if _, err := oauth.New(oauth.Config{Env: lookUp}); err == nil || !strings.Contains(err.Error(), "want https") {
		t.Errorf("New with a token address without TLS = %v, want an error", err)
	}
}

func TestEndpointsThatAreRefused(t *testing.T) {
	t.Parallel()
	good := endpoints()["pasted"]
	for name, change := range map[string]func(*oauth.Endpoint){
		"no TLS":          func(e *oauth.Endpoint) { e.TokenURL = "http://auth.example/token" },
		"password":        func(e *oauth.Endpoint) { e.TokenURL = "https://u:hunter2@auth.example/token" },
		"fragment":        func(e *oauth.Endpoint) { e.AuthorizeURL = "https://auth.example/#x" },
		"no host":         func(e *oauth.Endpoint) { e.AuthorizeURL = "https:///x" },
		"other scheme":    func(e *oauth.Endpoint) { e.AuthorizeURL = "javascript:alert(1)" },
		"flow":            func(e *oauth.Endpoint) { e.Flow = "password" },
		"body":            func(e *oauth.Endpoint) { e.TokenBody = "xml" },
		"credentials":     func(e *oauth.Endpoint) { e.TokenHeaders = map[string]string{"authorization": "x"} },
		"another's name":  func(e *oauth.Endpoint) { e.APIHeaders = map[string]string{"User-Agent": "claude-cli/2.0"} },
		"header injected": func(e *oauth.Endpoint) { e.APIHeaders = map[string]string{"X-A": "b\r\nX-B: c"} },
		"path":            func(e *oauth.Endpoint) { e.RedirectPath = "callback?x=1" },
		"no address":      func(e *oauth.Endpoint) { e.TokenURL = "" },
	} {
		e := good
		change(&e)
		_, err := oauth.New(oauth.Config{Endpoints: map[string]oauth.Endpoint{"x": e}})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: New = %v, want an error without the password", name, err)
		}
	}
	for _, text := range []string{``, `[]`, `{"x":{"token_uri":"https://a.example"}}`, `{} {}`, `{"x":{"scopes":"a"}}`} {
		if _, err := oauth.ParseEndpoints([]byte(text)); err == nil {
			t.Errorf("ParseEndpoints(%q) succeeded", text)
		}
	}
}

func TestChatGPTGetsItsClient(t *testing.T) {
	t.Parallel()
	n := always(http.StatusOK, `{"access_token":"t","refresh_token":"r","expires_in":60}`)
	c := newClient(t, n, func(cfg *oauth.Config) { cfg.UserAgent = "opencode/1.2" })
	a := begin(t, c, "openai-chatgpt", oauth.Options{})
	if query(t, a, "client_id") != "dynamic_agent_client" || query(t, a, "agent_name_hint") != "opencode" ||
		!strings.HasPrefix(query(t, a, "ext_agent_host_id"), "urn:uuid:") || query(t, a, "resource") != "https://api.openai.com/v1" {
		t.Errorf("the address is %s", a.URL)
	}
	fetch(t, "GET", query(t, a, "redirect_uri")+"?code=x&client_id=issued-7&state="+query(t, a, "state"), "")
	cred, err := a.Wait(t.Context(), nil)
	if err != nil || n.sent[0].params(t).Get("client_id") != "issued-7" {
		t.Fatalf("Wait = %v, %v, the server got %v", cred, err, n.sent[0].params(t))
	}
	if _, err := c.Renew(t.Context(), cred); err != nil || n.sent[1].params(t).Get("client_id") != "issued-7" {
		t.Errorf("Renew = %v, the server got %v, want the issued client", err, n.sent[1].params(t))
	}
	again := begin(t, c, "openai-chatgpt", oauth.Options{ClientID: "issued-7"})
	if query(t, again, "client_id") != "issued-7" || query(t, again, "agent_name_hint") != "" {
		t.Errorf("the second sign-in is %s, want the issued client", again.URL)
	}
	without := begin(t, c, "openai-chatgpt", oauth.Options{})
	fetch(t, "GET", query(t, without, "redirect_uri")+"?code=x&state="+query(t, without, "state"), "")
	if _, err := without.Wait(t.Context(), nil); err == nil || n.count() != 2 {
		t.Errorf("Wait without a client = %v", err)
	}
}

func TestOpenRouterGivesKey(t *testing.T) {
	t.Parallel()
	key := fresh("key")
	n := always(http.StatusOK, fmt.Sprintf(`{"key":%q}`, key))
	a := begin(t, newClient(t, n), "openrouter", oauth.Options{})
	back := query(t, a, "callback_url")
	if query(t, a, "code_challenge_method") != "S256" || query(t, a, "state") != "" {
		t.Errorf("the address is %s", a.URL)
	}
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := fetch(t, "GET", "http://"+u.Host+"/callback?code=x", ""); status != 404 {
		t.Errorf("a redirect that does not know the path = %d, want 404", status)
	}
	fetch(t, "GET", back+"?code=thecode", "")
	cred, err := a.Wait(t.Context(), nil)
	if err != nil || cred.Kind != store.CredentialAPI || cred.Key.Reveal() != key {
		t.Fatalf("Wait = %v, %v, want the key", cred, err)
	}
	if got := n.sent[0].params(t); got.Get("code") != "thecode" || len(got.Get("code_verifier")) < 43 || n.sent[0].url != "https://openrouter.ai/api/v1/auth/keys" {
		t.Errorf("the server got %v", got)
	}
}

func TestMethodThatNeedsAClient(t *testing.T) {
	t.Parallel()
	c, err := oauth.New(oauth.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context(), "github-copilot", oauth.Options{}); err == nil || !strings.Contains(hint(err), "OPENCODE_GITHUB_CLIENT_ID") {
		t.Errorf("Begin = %v (hint %q), want a hint that names the variable", err, hint(err))
	}
	if _, err := c.Begin(t.Context(), "nonsense", oauth.Options{}); !errors.Is(err, oauth.ErrMethod) || hint(err) == "" {
		t.Errorf("Begin of an unknown method = %v, want ErrMethod", err)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	n := always(200, `{"access_token":"t"}`)
	var opened, shown string
	c := newClient(t, n, func(cfg *oauth.Config) {
		cfg.Browser = func(_ context.Context, address string) error { opened = address; return errors.New("no browser") }
	})
	show := func(a *oauth.Attempt) { shown = a.URL }
	if _, err := c.Login(t.Context(), "pasted", oauth.Options{}, oauth.UI{Show: show}); err == nil || hint(err) == "" || shown != "" {
		t.Errorf("Login with nobody to paste = %v, want an error with a hint before anything", err)
	}
	cred, err := c.Login(t.Context(), "pasted", oauth.Options{}, oauth.UI{Show: show, Paste: func(context.Context) (string, error) { return "code", nil }})
	if err != nil || cred.Access.IsZero() || shown == "" || opened != shown {
		t.Errorf("Login = %v, %v after showing %q and opening %q", cred, err, shown, opened)
	}
}
