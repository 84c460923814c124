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
