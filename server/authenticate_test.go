package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"opencode/server"
	"opencode/store"
)

// tokenStore lets a fake hold the methods that it does not need.
type tokenStore = store.Tokens

// tokensFake is a store of tokens that a test makes up.
type tokensFake struct {
	tokenStore
	byHash func(hash [32]byte) (store.Token, error)
	touch  func(id string) error
}

func (f tokensFake) TokenByHash(_ context.Context, hash [32]byte) (store.Token, error) {
	return f.byHash(hash)
}

func (f tokensFake) TouchToken(_ context.Context, id string, _ time.Time) error {
	if f.touch == nil {
		return nil
	}
	return f.touch(id)
}

// noLookUp fails the test when a token is looked up.
func noLookUp(t *testing.T) store.Tokens {
	t.Helper()
	return tokensFake{byHash: func([32]byte) (store.Token, error) {
		t.Error("a token was looked up")
		return store.Token{}, store.ErrNotExist
	}}
}

// local sends a request to the handler alone.
func (r *rig) local(req *http.Request) reply {
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return reply{status: w.Code, header: w.Header(), body: w.Body.String()}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// mistyped changes the last character of a token.
func mistyped(token string) string {
	last := "0"
	if strings.HasSuffix(token, last) {
		last = "1"
	}
	return token[:len(token)-1] + last
}

func TestCredentialForms(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	other := r.token("other", "read", "write", "execute")
	for name, c := range map[string]struct {
		headers []string
		query   string
		path    string // default /session
		method  string // default GET
		want    int
	}{
		"bearer":                        {headers: []string{"Bearer " + r.full}, want: 200},
		"bearer in lower case":          {headers: []string{"bearer " + r.full}, want: 200},
		"bearer in upper case":          {headers: []string{"BEARER " + r.full}, want: 200},
		"basic":                         {headers: []string{basic("opencode", r.full)}, want: 200},
		"basic, any user":               {headers: []string{basic("somebody else", r.full)}, want: 200},
		"basic, no user":                {headers: []string{basic("", r.full)}, want: 200},
		"basic in lower case":           {headers: []string{"b" + basic("x", r.full)[1:]}, want: 200},
		"none":                          {want: 401},
		"empty header":                  {headers: []string{""}, want: 401},
		"no scheme":                     {headers: []string{r.full}, want: 401},
		"unknown scheme":                {headers: []string{"Token " + r.full}, want: 401},
		"bearer of nothing":             {headers: []string{"Bearer "}, want: 401},
		"bearer with more behind":       {headers: []string{"Bearer " + r.full + " x"}, want: 401},
		"basic as bearer":               {headers: []string{"Bearer " + basic("x", r.full)[6:]}, want: 401},
		"basic, token as the user":      {headers: []string{basic(r.full, "")}, want: 401},
		"basic without a colon":         {headers: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(r.full))}, want: 401},
		"basic that is not base64":      {headers: []string{"Basic !!"}, want: 401},
		"the same token twice":          {headers: []string{"Bearer " + r.full, "Bearer " + r.full}, want: 401},
		"a good and a bad one":          {headers: []string{"Bearer " + r.full, "Bearer x"}, want: 401},
		"a bad and a good one":          {headers: []string{"Bearer x", "Bearer " + r.full}, want: 401},
		"unknown":                       {headers: []string{"Bearer " + must(store.NewSecret(strings.NewReader(strings.Repeat("x", 64))))(t).Reveal()}, want: 401},
		"in another case":               {headers: []string{"Bearer " + strings.ToUpper(r.full)}, want: 401},
		"query of an ordinary route":    {query: "?auth_token=" + r.full, want: 401},
		"query of a post":               {query: "?auth_token=" + r.full, path: "/event", method: http.MethodPost, want: 401},
		"query of head":                 {query: "?auth_token=" + r.full, path: "/event", method: http.MethodHead, want: 401},
		"query of a trick":              {query: "?auth_token=" + r.full, path: "/event/", want: 401},
		"query of an escaped trick":     {query: "?auth_token=" + r.full, path: "/%65vent", want: 404},
		"query, websocket elsewhere":    {query: "?auth_token=" + r.full, path: "/session", want: 401},
		"query of events, plain":        {query: "?auth_token=" + r.full, path: "/api/event", want: 404},
		"query of events, base64":       {query: "?auth_token=" + url.QueryEscape(basic("opencode", r.full)[6:]), path: "/api/event", want: 404},
		"query of events, base64, raw":  {query: "?auth_token=" + strings.TrimRight(basic("u", r.full)[6:], "="), path: "/api/event", want: 404},
		"query of events, bad":          {query: "?auth_token=" + mistyped(r.full), path: "/api/event", want: 401},
		"query of events, empty":        {query: "?auth_token=", path: "/api/event", want: 401},
		"query and header the same":     {headers: []string{"Bearer " + r.full}, query: "?auth_token=" + r.full, path: "/api/event", want: 404},
		"query and header differ":       {headers: []string{"Bearer " + r.full}, query: "?auth_token=" + other, path: "/api/event", want: 401},
		"queries that differ":           {query: "?auth_token=" + r.full + "&auth_token=" + other, path: "/api/event", want: 401},
		"query empty, header good":      {headers: []string{"Bearer " + r.full}, query: "?auth_token=", path: "/api/event", want: 401},
		"query bad, ignored elsewhere":  {headers: []string{"Bearer " + r.full}, query: "?auth_token=x", want: 200},
		"header of a proxy is no token": {path: "/session", query: "?access_token=" + r.full, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, method := c.path, c.method
			if path == "" {
				path = "/session"
			}
			if method == "" {
				method = http.MethodGet
			}
			req := r.request(t.Context(), method, path+c.query, "", "")
			if strings.Contains(name, "websocket") {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", "websocket")
			}
			for _, h := range c.headers {
				req.Header.Add("Authorization", h)
			}
			got := r.local(req)
			if got.status != c.want {
				t.Errorf("status %d %s, want %d", got.status, got.body, c.want)
			}
			if got.status == http.StatusUnauthorized && len(got.header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("WWW-Authenticate = %q, want Bearer and Basic", got.header.Values("WWW-Authenticate"))
			}
			if strings.Contains(got.body, r.full) || strings.Contains(r.log.String(), r.full) {
				t.Error("the token is shown")
			}
		})
	}
}

// TestMistypedTokenIsNotLookedUp checks that a wrong checksum is named, and
// found without the store.
func TestMistypedTokenIsNotLookedUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tokens: noLookUp(t)})
	for name, c := range map[string]struct{ header, want string }{
		"checksum": {"Bearer " + mistyped(r.full), "checksum"},
		"basic":    {basic("opencode", mistyped(r.full)), "checksum"},
		"no token": {"Bearer hunter2", "is not a token"},
		"short":    {"Bearer " + r.full[:10], "is not a token"},
		"none":     {"", ""},
	} {
		req := r.request(t.Context(), http.MethodGet, "/session", "", "")
		if c.header != "" {
			req.Header.Set("Authorization", c.header)
		}
		got := r.local(req)
		if e := got.failure(t); got.status != http.StatusUnauthorized || !strings.Contains(e.Data.Message, c.want) {
			t.Errorf("%s = %d %s, want 401 and %q", name, got.status, got.body, c.want)
		}
	}
}

func TestExpiredAndDeletedTokens(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	r := newRig(t, options{now: func() time.Time { return clock }})
	token := r.expiringToken("short", clock.Add(time.Hour), "read", "write", "execute")
	get := func(token string) reply {
		return r.local(r.request(t.Context(), http.MethodGet, "/session", token, ""))
	}
	if got := get(token); got.status != http.StatusOK {
		t.Fatalf("before its end = %d %s", got.status, got.body)
	}
	clock = clock.Add(time.Hour)
	got := get(token)
	if e := got.failure(t); got.status != http.StatusUnauthorized || len(got.header.Values("WWW-Authenticate")) != 2 || !strings.Contains(e.Data.Message, "expired") {
		t.Errorf("at its end = %d %s, want 401 that says so", got.status, got.body)
	}
	if got := get(r.full); got.status != http.StatusOK {
		t.Fatalf("before it is deleted = %d %s", got.status, got.body)
	}
	must(r.tokens.DeleteToken(t.Context(), "full"))(t)
	if got := get(r.full); got.status != http.StatusUnauthorized {
		t.Errorf("after it was deleted = %d %s, want 401", got.status, got.body)
	}
}

// TestTokenStoreFails checks that a store that does not answer lets nobody in,
// and says nothing of itself.
func TestTokenStoreFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tokens: tokensFake{byHash: func([32]byte) (store.Token, error) {
		return store.Token{}, errors.New("disk at /var/secret is on fire")
	}}})
	got := r.local(r.request(t.Context(), http.MethodGet, "/session", r.full, ""))
	if e := got.failure(t); got.status != http.StatusInternalServerError || strings.Contains(got.body, "fire") || e.Name != "UnknownError" {
		t.Errorf("%d %s, want 500 and nothing of the reason", got.status, got.body)
	}
	if !strings.Contains(r.log.String(), "on fire") {
		t.Error("the log does not say why")
	}
}

// TestTouchFailureIsNoRefusal checks that the use of a token need not be
// recorded, and that only the first failure is logged.
func TestTouchFailureIsNoRefusal(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tokens: tokensFake{
		byHash: func(hash [32]byte) (store.Token, error) {
			return store.Token{ID: "tok_1", Name: "n", Hash: hash, Permissions: []string{"read", "execute"}}, nil
		},
		touch: func(string) error { return errors.New("read-only file") },
	}})
	for range 3 {
		if got := r.local(r.request(t.Context(), http.MethodGet, "/session", r.full, "")); got.status != http.StatusOK {
			t.Fatalf("%d %s, want 200", got.status, got.body)
		}
	}
	if n := strings.Count(r.log.String(), "token use not recorded"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
}

// TestLocalUser checks that the user at the local socket needs no token, and
// that one who shows a bad token is not let in as the local user instead.
func TestLocalUser(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	get := func(token string) reply {
		return r.local(server.WithLocal(r.request(t.Context(), http.MethodGet, "/session", token, "")))
	}
	if got := get(""); got.status != http.StatusOK {
		t.Errorf("the local user = %d %s, want 200", got.status, got.body)
	}
	if got := get(mistyped(r.full)); got.status != http.StatusUnauthorized {
		t.Errorf("with a bad token = %d, want 401", got.status)
	}
	if got := get(r.none); got.status != http.StatusForbidden {
		t.Errorf("with a token that may nothing = %d, want 403", got.status)
	}
}

// TestAnonymousLearnsNothing checks that a 401 tells no rule, no policy and not
// whether the path is a route.
func TestAnonymousLearnsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	var first reply
	for _, path := range []string{"/session", "/session/ses_1", "/nope", "/", "/session/..", "/pty/pty_1/connect?ticket=x", "/session?directory=/etc"} {
		got := r.local(r.request(t.Context(), http.MethodGet, path, "", ""))
		e := got.failure(t)
		if got.status != http.StatusUnauthorized || e.Data.Rules != nil || e.Data.Needs != nil || e.Data.Policy != "" || strings.Contains(got.body, "request.") {
			t.Errorf("GET %s = %d %s, want 401 and nothing of the policy", path, got.status, got.body)
		}
		if first.body == "" {
			first = got
		}
		if got.body != first.body {
			t.Errorf("GET %s tells %s, /session %s: one can tell them apart", path, got.body, first.body)
		}
	}
}

func TestForbiddenNamesPermissionAndRule(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for _, c := range []struct {
		method, path, token string
		needs               []string
	}{
		{http.MethodGet, "/session", r.read, []string{"execute"}},
		{http.MethodPost, "/session", r.read, []string{"execute", "write"}},
		{http.MethodPost, "/session", r.none, []string{"execute", "write"}},
		{http.MethodGet, "/config", r.none, []string{"read"}},
		{http.MethodPost, "/permission/per_1/reply", r.read, []string{"write"}},
		{http.MethodPost, "/nope", r.read, []string{"write"}},
	} {
		got := r.local(r.request(t.Context(), c.method, c.path, c.token, ""))
		e := got.failure(t)
		rule := ""
		for _, fired := range e.Data.Rules {
			if fired["id"] == "request.missing_permission" {
				rule, _ = fired["at"].(string)
			}
		}
		if got.status != http.StatusForbidden || strings.Join(e.Data.Needs, " ") != strings.Join(c.needs, " ") || !strings.Contains(rule, "request.rego:") ||
			!strings.Contains(e.Data.Message, strings.Join(c.needs, ", ")) || e.Data.Policy != r.engine.Info().Digest || e.Name != "PermissionDeniedError" {
			t.Errorf("%s %s = %d %s, want 403 that names %q and its rule", c.method, c.path, got.status, got.body, c.needs)
		}
	}
}
