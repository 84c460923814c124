package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"opencode/provider/oauth"
	"opencode/store"
)

const oidcVersion = "9.13.3"

// installOIDC fetches the server once per machine.
var installOIDC = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "opencode-e2e")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "oidc-provider-"+oidcVersion)
	lock := flock.New(dir+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	partial := dir + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.Mkdir(partial, 0o700)); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(partial, "package.json"), []byte(`{"private":true,"type":"module"}`), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "oidc-provider@"+oidcVersion)
	cmd.Dir = partial
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return dir, os.Rename(partial, dir)
})

// oidcServer is a certified OAuth server with a proxy before it, which does
// what that server does not, and watches.
type oidcServer struct {
	URL string

	mu sync.Mutex
	// Guarded by mu. refreshes counts the uses of each refresh token, polls the
	// requests for the tokens of a device, and slow how many of them are still
	// told to slow down.
	refreshes map[string]int
	polls     int
	slow      int
}

func startOIDC(tb testing.TB) *oidcServer {
	tb.Helper()
	requireE2E(tb)
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Fatalf("the tests of sign-in need node and npm: %v", err)
		}
	}
	packages, err := installOIDC()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tempDir(tb)
	script, err := os.ReadFile(filepath.Join("testdata", "oidc", "server.mjs"))
	if err != nil {
		tb.Fatal(err)
	}
	writeFiles(tb, dir, map[string]string{"server.mjs": string(script)})
	if err := os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		tb.Fatal(err)
	}

	s := &oidcServer{refreshes: map[string]int{}}
	target := make(chan *url.URL, 1)
	inner := sync.OnceValue(func() *url.URL { return <-target })
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(inner()); r.Out.Host = r.In.Host },
		ModifyResponse: hurry,
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" && s.answers(tb, w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(front.Close)
	s.URL = front.URL

	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	cmd := exec.CommandContext(ctx, "node", "server.mjs")
	cmd.Dir = dir
	cmd.Env = append(homeEnv(dir), "ISSUER="+s.URL)
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	started := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if _, address, ok := strings.Cut(lines.Text(), "listening on "); ok {
				started <- address
			}
		}
		_ = cmd.Wait() // it is killed, which is no error here
	}()
	tb.Cleanup(func() { cancel(); <-ended })
	select {
	case address := <-started:
		u, err := url.Parse(address)
		if err != nil {
			tb.Fatal(err)
		}
		target <- u
	case <-ended:
		tb.Fatalf("oidc-provider ended: %s", stderr.String())
	case <-time.After(startDeadline):
		tb.Fatalf("oidc-provider did not start: %s", stderr.String())
	}
	return s
}

// answers reads a request for tokens, and answers it if the proxy has to.
func (s *oidcServer) answers(tb testing.TB, w http.ResponseWriter, r *http.Request) bool {
	tb.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		tb.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch form.Get("grant_type") {
	case "refresh_token":
		s.refreshes[form.Get("refresh_token")]++
	case "urn:ietf:params:oauth:grant-type:device_code":
		s.polls++
		if s.slow > 0 {
			s.slow--
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"slow_down"}`)
			return true
		}
	}
	return false
}

// hurry lets device codes be polled for each second, and hides that some expire
// at once: the server has to say so itself.
func hurry(res *http.Response) error {
	if res.Request.URL.Path != "/device/auth" || res.StatusCode != http.StatusOK {
		return nil
	}
	var members map[string]any
	if err := errors.Join(json.NewDecoder(res.Body).Decode(&members), res.Body.Close()); err != nil {
		return err
	}
	members["interval"], members["expires_in"] = 1, 600
	body, err := json.Marshal(members)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

func (s *oidcServer) pollCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls
}

// client returns what signs in at the server.
func (s *oidcServer) client(tb testing.TB, change func(*oauth.Config)) *oauth.Client {
	tb.Helper()
	cfg := oauth.Config{PlainLoopback: true, Endpoints: oidcEndpoints(s.URL)}
	if change != nil {
		change(&cfg)
	}
	c, err := oauth.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// oidcEndpoints are the server's, as a configuration file would have them.
func oidcEndpoints(issuer string) map[string]oauth.Endpoint {
	scopes := []string{"openid", "offline_access"}
	consent := map[string]string{"prompt": "consent"}
	return map[string]oauth.Endpoint{
		"oidc": {ClientID: "native", Issuer: issuer},
		"pasted": {
			Provider: "corp", Flow: oauth.FlowCode, ClientID: "native", Scopes: scopes, Params: consent,
			AuthorizeURL: issuer + "/auth", TokenURL: issuer + "/token", RevokeURL: issuer + "/token/revocation",
			RedirectURL: "https://console.example/oauth/code/callback",
		},
		"device": {
			Provider: "corp", Flow: oauth.FlowDevice, ClientID: "native", Scopes: scopes,
			DeviceURL: issuer + "/device/auth", TokenURL: issuer + "/token",
		},
	}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`(?s)<input[^>]*>`)
	nameAttr = regexp.MustCompile(`name="([^"]*)"`)
	valAttr  = regexp.MustCompile(`value="([^"]*)"`)
)

// browse does what a user does in a browser: it opens the address, fills in
// every form that comes, and returns where it ended outside of the server, or
// the text of the page that has no form any more.
func (s *oidcServer) browse(tb testing.TB, address string, typed map[string]string) (outside *url.URL, page string) {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	method, body := http.MethodGet, url.Values(nil)
	over := false // an abort is the last thing that a user sends
	for range 30 {
		req, err := http.NewRequestWithContext(tb.Context(), method, address, strings.NewReader(body.Encode()))
		if err != nil {
			tb.Fatal(err)
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := browser.Do(req)
		if err != nil {
			tb.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			tb.Fatal(err)
		}
		if location := res.Header.Get("Location"); location != "" {
			next, err := req.URL.Parse(location)
			if err != nil {
				tb.Fatal(err)
			}
			if "http://"+next.Host != s.URL {
				return next, ""
			}
			method, address, body = http.MethodGet, next.String(), nil
			continue
		}
		form := formTag.FindSubmatch(text)
		if form == nil || over {
			return nil, string(text)
		}
		next, err := req.URL.Parse(html.UnescapeString(string(form[1])))
		if err != nil {
			tb.Fatal(err)
		}
		method, address, body = http.MethodPost, next.String(), url.Values{}
		for _, input := range inputTag.FindAll(form[2], -1) {
			name := nameAttr.FindSubmatch(input)
			if name == nil {
				continue
			}
			value := typed[string(name[1])]
			if v := valAttr.FindSubmatch(input); v != nil {
				value = html.UnescapeString(string(v[1]))
			}
			body.Set(string(name[1]), value)
		}
		if body.Has("confirm") && typed["abort"] != "" {
			body.Set("abort", typed["abort"])
			over = true
		}
	}
	tb.Fatal("the browser went in circles")
	return nil, ""
}

// alice is what a user types.
func alice() map[string]string { return map[string]string{"login": "alice", "password": "any"} }

// get opens an address as a browser does at the end.
func get(tb testing.TB, address string) (status int, page string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func begin(tb testing.TB, c *oauth.Client, method string) *oauth.Attempt {
	tb.Helper()
	a, err := c.Begin(tb.Context(), method, oauth.Options{Provider: "corp"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return a
}

// pasteText is what the provider's page shows at the end of a sign-in.
func (s *oidcServer) pasteText(tb testing.TB, a *oauth.Attempt) (code, state string) {
	tb.Helper()
	end, page := s.browse(tb, a.URL, alice())
	if end == nil || end.Host != "console.example" {
		tb.Fatalf("the browser ended at %v with %q, want the page that shows the code", end, page)
	}
	return end.Query().Get("code"), end.Query().Get("state")
}

func TestOIDCLoopback(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, func(cfg *oauth.Config) {
		cfg.Browser = func(_ context.Context, address string) error {
			end, page := s.browse(t, address, alice())
			if end == nil {
				return fmt.Errorf("the browser ended with %q", page)
			}
			forged := *end
			forged.RawQuery = url.Values{"code": {"stolen"}, "state": {"wrong"}}.Encode()
			if status, page := get(t, forged.String()); status != http.StatusBadRequest || strings.Contains(page, "stolen") {
				t.Errorf("a redirect with a wrong state = %d %q, want 400 without the code", status, page)
			}
			status, page := get(t, end.String())
			if status != http.StatusOK || strings.Contains(page, end.Query().Get("code")) || !strings.Contains(page, "window.close()") {
				t.Errorf("the redirect = %d %q, want a page without the code that closes itself", status, page)
			}
			return nil
		}
	})
	cred, err := c.Login(t.Context(), "oidc", oauth.Options{Provider: "corp"}, oauth.UI{})
	if err != nil {
		t.Fatal(err)
	}
	if cred.Provider != "corp" || cred.AccountID != "alice" || cred.Access.IsZero() || cred.Refresh.IsZero() || !cred.Expires.After(time.Now()) {
		t.Errorf("Login = %v for %q until %v, want alice's tokens", cred, cred.AccountID, cred.Expires)
	}
	renewed, err := c.Renew(t.Context(), cred)
	if err != nil || renewed.Refresh.Equal(cred.Refresh) || renewed.Access.Equal(cred.Access) {
		t.Fatalf("Renew = %v, %v, want two new tokens", renewed, err)
	}
	// The server takes the second use for theft, and ends the grant.
	if _, err := c.Renew(t.Context(), cred); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew with a used refresh token = %v, want ErrGrant", err)
	}
	if _, err := c.Renew(t.Context(), renewed); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew after reuse = %v, want ErrGrant: the server is expected to notice", err)
	}
}

func TestOIDCPastedCode(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, nil)
	first, second := begin(t, c, "pasted"), begin(t, c, "pasted")
	code, state := s.pasteText(t, first)

	if _, err := second.Finish(t.Context(), code+"#"+state); !errors.Is(err, oauth.ErrState) {
		t.Errorf("Finish with the state of another sign-in = %v, want ErrState", err)
	}
	cred, err := first.Finish(t.Context(), " "+code+"#"+state+"\n")
	if err != nil || cred.Refresh.IsZero() {
		t.Fatalf("Finish = %v, %v", cred, err)
	}
	if _, err := first.Finish(t.Context(), code+"#"+state); !errors.Is(err, oauth.ErrUsed) {
		t.Errorf("Finish again = %v, want ErrUsed", err)
	}

	// Somebody else's code in our sign-in, with our state: only PKCE is left.
	third := begin(t, c, "pasted")
	code, _ = s.pasteText(t, third)
	u, err := url.Parse(second.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Finish(t.Context(), code+"#"+u.Query().Get("state")); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Finish with a code that another verifier was for = %v, want ErrGrant", err)
	}

	// A bare code is taken too, and revocation ends what it gave.
	fourth := begin(t, c, "pasted")
	code, _ = s.pasteText(t, fourth)
	if cred, err = fourth.Finish(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if done, err := c.Revoke(t.Context(), cred); !done || err != nil {
		t.Errorf("Revoke = %v, %v, want true", done, err)
	}
	if _, err := c.Renew(t.Context(), cred); !errors.Is(err, oauth.ErrGrant) {
		t.Errorf("Renew of what was revoked = %v, want ErrGrant", err)
	}
}

func TestOIDCUserSaysNo(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, nil)
	a := begin(t, c, "oidc")
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(u.Query().Get("redirect_uri"))
	if err != nil {
		t.Fatal(err)
	}
	back.RawQuery = url.Values{"error": {"access_denied"}, "state": {u.Query().Get("state")}}.Encode()
	done := make(chan error, 1)
	go func() {
		_, err := a.Wait(t.Context(), nil)
		done <- err
	}()
	get(t, back.String())
	if err := <-done; !errors.Is(err, oauth.ErrDenied) {
		t.Errorf("Wait = %v, want ErrDenied", err)
	}
}

// quickClock is a clock that waiting moves on, so that nobody waits.
type quickClock struct {
	mu     sync.Mutex
	ahead  time.Duration
	waited []time.Duration
}

func (c *quickClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *quickClock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	c.waited = append(c.waited, d)
	return ctx.Err()
}

func TestOIDCDevice(t *testing.T) {
	s := startOIDC(t)
	for name, typed := range map[string]map[string]string{"approved": alice(), "denied": {"abort": "yes"}} {
		t.Run(name, func(t *testing.T) {
			clock := &quickClock{}
			c := s.client(t, func(cfg *oauth.Config) { cfg.Now, cfg.Wait = clock.Now, clock.Wait })
			a := begin(t, c, "device")
			s.mu.Lock()
			s.polls, s.slow = 0, 1
			s.mu.Unlock()
			typed["user_code"] = a.UserCode
			decided := false
			started := clock.Now()
			cred, err := a.Wait(t.Context(), func(p oauth.Progress) {
				if p.UserCode != a.UserCode || p.Left <= 0 {
					t.Errorf("progress %v %v, want the code %s and some time", p.UserCode, p.Left, a.UserCode)
				}
				// One slow_down and two that are pending come first.
				if s.pollCount() >= 3 && !decided {
					decided = true
					if _, page := s.browse(t, a.URL, typed); page == "" {
						t.Error("the browser was led elsewhere")
					}
				}
			})
			switch {
			case name == "denied":
				if !errors.Is(err, oauth.ErrDenied) {
					t.Errorf("Wait = %v, want ErrDenied", err)
				}
			case err != nil || cred.Access.IsZero() || cred.Refresh.IsZero():
				t.Errorf("Wait = %v, %v, want tokens", cred, err)
			}
			// 1 s, and 6 s from the slow_down on.
			if took, want := clock.Now().Sub(started), 1*time.Second+6*time.Second*time.Duration(s.pollCount()-1); took < want {
				t.Errorf("%d polls took %v, want at least %v", s.pollCount(), took, want)
			}
		})
	}
}

func TestOIDCDeviceCodeExpires(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, func(cfg *oauth.Config) {
		e := cfg.Endpoints["device"]
		e.ClientID = "hasty"
		cfg.Endpoints["device"] = e
	})
	a := begin(t, c, "device")
	if _, err := a.Wait(t.Context(), nil); !errors.Is(err, oauth.ErrExpired) || s.pollCount() == 0 {
		t.Errorf("Wait = %v after %d polls, want ErrExpired by the server", err, s.pollCount())
	}
}

// The environment of [TestRefreshHelper].
const (
	envRefreshDir    = "OPENCODE_E2E_REFRESH_DIR"
	envRefreshIssuer = "OPENCODE_E2E_REFRESH_ISSUER"
)

const (
	refreshers    = 8
	refreshesEach = 20
)

// TestOIDCManyRefreshers shows that the server's detection of reuse is never
// tripped, however many processes refresh at once.
func TestOIDCManyRefreshers(t *testing.T) {
	s := startOIDC(t)
	c := s.client(t, nil)
	a := begin(t, c, "pasted")
	code, state := s.pasteText(t, a)
	cred, err := a.Finish(t.Context(), code+"#"+state)
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	vault := &lockedFile{dir: dir}
	if err := vault.PutCredential(t.Context(), cred); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for range refreshers {
		running.Go(func() {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRefreshHelper$", "-test.count=1")
			cmd.Env = append(os.Environ(), envRefreshDir+"="+dir, envRefreshIssuer+"="+s.URL)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("a process failed: %v\n%s", err, out)
			}
		})
	}
	running.Wait()
	s.mu.Lock()
	for _, uses := range s.refreshes {
		if uses != 1 {
			t.Errorf("a refresh token was used %d times", uses)
		}
	}
	if got, want := len(s.refreshes), refreshers*refreshesEach; got != want {
		t.Errorf("the server saw %d refresh tokens, want %d", got, want)
	}
	s.mu.Unlock()
	last, err := vault.Credential(t.Context(), cred.Provider, cred.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), last); err != nil {
		t.Errorf("Renew of what is stored at the end: %v: the session is gone", err)
	}
}

// TestRefreshHelper is one of the processes of [TestOIDCManyRefreshers].
func TestRefreshHelper(t *testing.T) {
	dir := os.Getenv(envRefreshDir)
	if dir == "" {
		t.Skip("runs as a process of TestOIDCManyRefreshers only")
	}
	client, err := oauth.New(oauth.Config{PlainLoopback: true, Endpoints: oidcEndpoints(os.Getenv(envRefreshIssuer))})
	if err != nil {
		t.Fatal(err)
	}
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: &lockedFile{dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range refreshesEach {
		if _, err := r.Force(t.Context(), "corp", ""); err != nil {
			t.Fatalf("refresh %d: %v", i, err)
		}
	}
}

// lockedFile keeps one credential in a file, with a lock between processes, as
// the contract of the stores asks.
type lockedFile struct{ dir string }

var _ store.Credentials = (*lockedFile)(nil)

type fileEntry struct {
	Provider, Access, Refresh, Method string
	Expires                           time.Time
	Metadata                          map[string]string
}

func (f *lockedFile) path() string { return filepath.Join(f.dir, "credential.json") }

func (f *lockedFile) read() (store.Credential, error) {
	text, err := os.ReadFile(f.path())
	if err != nil {
		return store.Credential{}, err
	}
	var e fileEntry
	err = json.Unmarshal(text, &e)
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: e.Provider}, Kind: store.CredentialOAuth, Method: e.Method, Expires: e.Expires,
		Access: store.NewSecretText(e.Access), Refresh: store.NewSecretText(e.Refresh), Metadata: e.Metadata,
	}, err
}

func (f *lockedFile) write(c store.Credential) error {
	text, err := json.Marshal(fileEntry{c.Provider, c.Access.Reveal(), c.Refresh.Reveal(), c.Method, c.Expires, c.Metadata})
	if err != nil {
		return err
	}
	partial := f.path() + ".partial"
	return errors.Join(os.WriteFile(partial, text, 0o600), os.Rename(partial, f.path()))
}

func (f *lockedFile) locked(change func() error) error {
	lock := flock.New(f.path()+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	return errors.Join(change(), lock.Close())
}

func (f *lockedFile) Credentials(context.Context) ([]store.Credential, error) {
	c, err := f.read()
	return []store.Credential{c}, err
}

func (f *lockedFile) Credential(context.Context, string, string) (store.Credential, error) {
	return f.read()
}

func (f *lockedFile) PutCredential(_ context.Context, c store.Credential) error {
	return f.locked(func() error { return f.write(c) })
}

func (f *lockedFile) UpdateCredential(_ context.Context, _ store.CredentialKey, change func(*store.Credential) error) (store.Credential, error) {
	var c store.Credential
	err := f.locked(func() (err error) {
		if c, err = f.read(); err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		return f.write(c)
	})
	return c, err
}

func (f *lockedFile) DeleteCredential(context.Context, store.CredentialKey) error {
	return os.Remove(f.path())
}
