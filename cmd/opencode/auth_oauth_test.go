package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// authServer is an OAuth server whose tokens are random. Every secret that it
// gives is noted.
type authServer struct {
	*httptest.Server

	mu sync.Mutex
	// The rest is guarded by mu. secrets is all that was given out, refreshed
	// counts the uses of each refresh token, revoked are the tokens of
	// revocations, and refuse is the error of all requests for tokens.
	secrets   []string
	refreshed map[string]int
	revoked   []string
	refuse    string
	wellKnown string
	polls     int
}

func (s *authServer) secret(what string) string {
	text := what + "-" + rand.Text()
	s.secrets = append(s.secrets, text)
	return text
}

func newAuthServer(tb testing.TB) *authServer {
	tb.Helper()
	s := &authServer{refreshed: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := r.ParseForm(); err != nil {
			tb.Error(err)
		}
		answer := func(status int, v any) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if err := json.NewEncoder(w).Encode(v); err != nil {
				tb.Error(err)
			}
		}
		switch {
		case r.URL.Path == "/gateway/.well-known/opencode":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, s.wellKnown)
		case r.URL.Path == "/device":
			answer(http.StatusOK, map[string]any{
				"device_code": s.secret("device"), "user_code": "ABCD-1234", "verification_uri": s.URL + "/enter", "expires_in": 900, "interval": 1,
			})
		case r.URL.Path == "/revoke":
			s.revoked = append(s.revoked, r.Form.Get("token"))
		case r.URL.Path == "/key":
			answer(http.StatusOK, map[string]any{"raw_key": s.secret("key")})
		case r.URL.Path == "/chain":
			answer(http.StatusOK, map[string]any{"token": s.secret("chained"), "refresh_in": 1500})
		case s.refuse != "":
			// The worst of servers repeats all that it got.
			answer(http.StatusBadRequest, map[string]any{"error": s.refuse, "error_description": r.Form.Encode()})
		case r.Form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:device_code" && s.polls == 0:
			s.polls++
			answer(http.StatusOK, map[string]any{"error": "authorization_pending"})
		default:
			if t := r.Form.Get("refresh_token"); t != "" {
				s.refreshed[t]++
			}
			answer(http.StatusOK, map[string]any{"access_token": s.secret("access"), "refresh_token": s.secret("refresh"), "expires_in": 3600})
		}
	}))
	tb.Cleanup(s.Close)
	return s
}

// configure writes a configuration file whose methods lead to the server.
func (s *authServer) configure(tb testing.TB) {
	tb.Helper()
	code := map[string]any{
		"provider": "corp", "flow": "code", "client_id": "cli", "authorize_url": s.URL + "/authorize", "token_url": s.URL + "/token",
		"revoke_url": s.URL + "/revoke",
	}
	with := func(name, value string) map[string]any {
		more := maps.Clone(code)
		more[name] = value
		return more
	}
	writeConfig(tb, map[string]any{"endpoints": map[string]any{
		"looped":     code,
		"pasted":     with("redirect_url", "https://console.example/code"),
		"restricted": with("notice", "The vendor does not permit this."),
		"console":    with("key_url", s.URL+"/key"),
		"chained":    with("chain_url", s.URL+"/chain"),
		"device":     map[string]any{"provider": "corp", "flow": "device", "client_id": "cli", "device_url": s.URL + "/device", "token_url": s.URL + "/token"},
	}})
}

func writeConfig(tb testing.TB, config any) {
	tb.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "opencode")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "opencode.json"), text, 0o600)); err != nil {
		tb.Fatal(err)
	}
}

// started is a command that runs, with what it prints to standard error.
type started struct {
	stop  context.CancelFunc
	stdin *io.PipeWriter
	ended chan error
	out   bytes.Buffer

	mu     sync.Mutex
	stderr bytes.Buffer
	wrote  chan struct{}
}

func (s *started) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stderr.Write(p)
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *started) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// startAuth runs a command below `auth` beside the test.
func startAuth(tb testing.TB, args ...string) *started {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	read, write := io.Pipe()
	s := &started{stop: cancel, stdin: write, ended: make(chan error, 1), wrote: make(chan struct{}, 1)}
	cmd := authCommand(newSignIn())
	cmd.SetIn(read)
	cmd.SetOut(&s.out)
	cmd.SetErr(s)
	cmd.SetArgs(args)
	go func() { s.ended <- cmd.ExecuteContext(ctx) }()
	tb.Cleanup(func() { cancel(); _ = write.Close() })
	return s
}

// find waits until standard error matches, and returns the first group.
func (s *started) find(tb testing.TB, pattern string) string {
	tb.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if m := re.FindStringSubmatch(s.text()); m != nil {
			return m[1]
		}
		select {
		case <-s.wrote:
		case err := <-s.ended:
			tb.Fatalf("ended with %v before %q; stderr %q", err, pattern, s.text())
		case <-time.After(authPatience):
			tb.Fatalf("nothing matches %q in %q", pattern, s.text())
		}
	}
}

// end waits for the end of the command.
func (s *started) end(tb testing.TB) error {
	tb.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(authPatience):
		tb.Fatalf("no end; stderr %q", s.text())
		return nil
	}
}

// authPatience bounds every wait. Nothing waits this long unless it has failed.
const authPatience = 30 * time.Second

const addressPattern = `open this address in a browser: (\S+)`

// parameter returns a parameter of an address.
func parameter(tb testing.TB, address, name string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Query().Get(name)
}

// redirect does what the browser does at the end, and returns the status.
func redirect(tb testing.TB, address string, query url.Values) int {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address+"?"+query.Encode(), http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestLoginByRedirect(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	login := startAuth(t, "login", "corp", "--method", "looped", "--no-browser")
	address := login.find(t, addressPattern)
	back, state := parameter(t, address, "redirect_uri"), parameter(t, address, "state")
	if status := redirect(t, back, url.Values{"code": {"c"}, "state": {"wrong"}}); status != http.StatusBadRequest {
		t.Errorf("a redirect with a wrong state = %d, want 400", status)
	}
	if status := redirect(t, back, url.Values{"code": {"c"}, "state": {state}}); status != http.StatusOK {
		t.Errorf("the redirect = %d, want 200", status)
	}
	if err := login.end(t); err != nil || !strings.Contains(login.out.String(), "signed in to corp (corp) with looped") {
		t.Fatalf("login = %v, %q, %q", err, login.out.String(), login.text())
	}
	out, _ := mustAuth(t, newSignIn(), "", "status", "corp", "--json")
	var status statusView
	if err := json.Unmarshal([]byte(out), &status); err != nil || !status.Connected || !status.Credential.Renewable || status.Credential.Kind != "oauth" || status.Credential.Source != "store" {
		t.Errorf("status = %s, %v", out, err)
	}
	// The life of it: renewed, read by a script, rotated, revoked.
	if out, _ := mustAuth(t, newSignIn(), "", "refresh", "corp"); out != "corp is not due\n" {
		t.Errorf("refresh = %q", out)
	}
	if out, _ := mustAuth(t, newSignIn(), "", "refresh", "--all", "--force"); out != "corp is renewed\n" {
		t.Errorf("refresh --all --force = %q", out)
	}
	token, _ := mustAuth(t, newSignIn(), "", "token-for", "corp", "--reveal", "--yes")
	if token != s.secrets[2]+"\n" {
		t.Errorf("token-for = %q, want the renewed access token", token)
	}
	if out, _ := mustAuth(t, newSignIn(), "", "rotate", "--older-than", "30d"); strings.Contains(out, "corp is renewed") {
		t.Errorf("rotate --older-than 30d renewed what is new: %q", out)
	}
	if out, _ := mustAuth(t, newSignIn(), "", "rotate"); !strings.Contains(out, "the store has a new key\n") || !strings.Contains(out, "corp is renewed\n") {
		t.Errorf("rotate = %q", out)
	}
	for token, uses := range s.refreshed {
		if uses != 1 {
			t.Errorf("%s was used %d times", token[:7], uses)
		}
	}
	mustAuth(t, newSignIn(), "", "logout", "corp")
	if len(s.revoked) != 2 || s.revoked[0] != s.secrets[5] || s.revoked[1] != s.secrets[4] {
		t.Errorf("%d tokens were revoked, want the newest two, the refresh token first", len(s.revoked))
	}
	if _, _, err := execAuth(t, newSignIn(), "", "status", "corp"); err == nil || exitCode(err) != exitError {
		t.Errorf("status after logout = %v", err)
	}
}

// TestLoginIsInterrupted stops a sign-in while it waits for the browser, and
// one that waits for a code. Neither leaves anything behind.
func TestLoginIsInterrupted(t *testing.T) {
	data := signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	for _, args := range [][]string{
		{"login", "corp", "--method", "looped", "--no-browser"},
		{"login", "corp", "--method", "pasted", "--no-browser", "--stdin"},
		{"login", "corp", "--method", "looped", "--no-browser", "--stdin"},
		{"login", "corp", "--method", "device", "--no-browser"},
	} {
		login := startAuth(t, args...)
		back := parameter(t, login.find(t, addressPattern), "redirect_uri")
		login.stop()
		if err := login.end(t); !errors.Is(err, errCancelled) {
			t.Errorf("auth %q = %v, want that it was cancelled", args, err)
		}
		if u, err := url.Parse(back); err == nil && u.Hostname() == "127.0.0.1" {
			if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host); err == nil {
				_ = conn.Close()
				t.Errorf("auth %q: the port is still open", args)
			}
		}
	}
	// A key that nobody types is given up as well.
	login := startAuth(t, "login", "groq", "--stdin")
	login.stop()
	if err := login.end(t); err == nil {
		t.Error("login --stdin that was stopped succeeded")
	}
	for _, name := range []string{"auth.json", "auth.json.age"} {
		if _, err := os.Stat(filepath.Join(data, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want that nothing is stored", name, err)
		}
	}
}

func TestLoginByPastedCode(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	for name, d := range map[string]struct{ method, paste, want string }{
		"code and state": {"pasted", "c#STATE", ""},
		"code alone":     {"pasted", "c", ""},
		"wrong state":    {"pasted", "c#other", "Authorization state mismatch."},
		"nothing":        {"pasted", "", "Authorization code required."},
		"blanks":         {"pasted", "a b", "is no authorization code"},
		"address":        {"looped", "http://127.0.0.1:1/callback?code=c&state=STATE", ""},
		"other address":  {"looped", "http://127.0.0.1:1/callback?code=c&state=x", "Authorization state mismatch."},
		"denied":         {"looped", "http://127.0.0.1:1/callback?error=access_denied&state=STATE", "refused with access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			login := startAuth(t, "login", "corp", "--method", d.method, "--no-browser", "--stdin", "--profile", "p"+strconv.Itoa(len(d.paste)))
			state := parameter(t, login.find(t, addressPattern), "state")
			go func() { _, _ = io.WriteString(login.stdin, strings.ReplaceAll(d.paste, "STATE", state)+"\n") }()
			err := login.end(t)
			if d.want == "" && err != nil {
				t.Errorf("login = %v", err)
			}
			if d.want != "" && (err == nil || !strings.Contains(err.Error(), d.want) || hintOf(err) == "") {
				t.Errorf("login = %v (%s), want %q and a hint", err, hintOf(err), d.want)
			}
		})
	}
}

func TestLoginByDeviceCode(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	login := startAuth(t, "login", "corp", "--method", "device", "--no-browser")
	if code := login.find(t, `enter the code (\S+)`); code != "ABCD-1234" {
		t.Errorf("code %q", code)
	}
	login.find(t, `(code ABCD-1234, 1[45]:\d\d left)`)
	if err := login.end(t); err != nil {
		t.Fatalf("login = %v, %q", err, login.text())
	}
	s.refuse = "access_denied"
	if _, _, err := execAuth(t, newSignIn(), "", "login", "corp", "--method", "device", "--no-browser"); err == nil || !strings.Contains(hintOf(err), "allow the access") {
		t.Errorf("login that is denied = %v (%s)", err, hintOf(err))
	}
}

// TestLoginMakesAKey ends in an API key, and revokes what it was made with.
func TestLoginMakesAKey(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	login := startAuth(t, "login", "corp", "--method", "console", "--no-browser", "--stdin")
	state := parameter(t, login.find(t, addressPattern), "state")
	go func() { _, _ = fmt.Fprintf(login.stdin, "http://127.0.0.1/callback?code=c&state=%s\n", state) }()
	if err := login.end(t); err != nil {
		t.Fatal(err)
	}
	token, _ := mustAuth(t, newSignIn(), "", "token-for", "corp", "--reveal", "--yes")
	if !strings.HasPrefix(token, "key-") || len(s.revoked) != 2 {
		t.Errorf("token-for = %q after %d revocations, want the key and 2", token, len(s.revoked))
	}
	if _, errOut := mustAuth(t, newSignIn(), "", "rotate"); !strings.Contains(errOut, "warning: corp (api) is 0 days old: make a new one at the provider") {
		t.Errorf("rotate says %q, want a warning about the key", errOut)
	}
}

func TestRestrictedMethodIsOptIn(t *testing.T) {
	data := signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	_, errOut, err := execAuth(t, newSignIn(), "", "login", "corp", "--method", "restricted", "--no-browser")
	if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), "want --accept-provider-terms") || !strings.Contains(errOut, "notice: The vendor does not permit this.") {
		t.Errorf("login = %v, %q, want the notice and the flag", err, errOut)
	}
	if strings.Contains(errOut, "open this address") {
		t.Error("the sign-in began before the notice was accepted")
	}
	// An answer to another question is none to this.
	if _, _, err := execAuth(t, newSignIn(), "", "login", "corp", "--method", "restricted", "--no-browser", "--yes", "--force"); err == nil {
		t.Error("--yes and --force accept the notice")
	}
	if _, err := os.Stat(filepath.Join(data, "auth.json.age")); err == nil {
		t.Error("something is stored")
	}
	login := startAuth(t, "login", "corp", "--method", "restricted", "--no-browser", "--accept-provider-terms", "--stdin")
	state := parameter(t, login.find(t, addressPattern), "state")
	if !strings.Contains(login.text(), "notice: The vendor") {
		t.Error("the notice is not shown to who accepts it by a flag")
	}
	go func() { _, _ = io.WriteString(login.stdin, "c#"+state+"\n") }()
	if err := login.end(t); err != nil {
		t.Error(err)
	}
	// The configuration cannot take the notice away.
	writeConfig(t, map[string]any{"endpoints": map[string]any{"anthropic-claude": map[string]any{"notice": ""}}})
	if _, errOut, err := execAuth(t, newSignIn(), "", "login", "anthropic", "--method", "anthropic-claude", "--no-browser", "--stdin"); err == nil || !strings.Contains(errOut, "Anthropic does not permit") {
		t.Errorf("login without a notice = %v, %q", err, errOut)
	}
}

// TestNobodyToAsk shows that what needs a person is an error that names the
// flag, before anything is begun.
func TestNobodyToAsk(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	s.wellKnown = `{"auth":{"command":["true"],"env":"CORP_TOKEN"}}`
	for _, d := range []struct {
		args []string
		want string
	}{
		{[]string{"login"}, "want opencode auth login PROVIDER"},
		{[]string{"login", "corp"}, "want --method api|chained|console|device|looped|pasted|restricted"},
		{[]string{"login", "corp", "--method", "pasted"}, "want --stdin"},
		{[]string{"login", "corp", "--method", "looped", "--paste"}, "want --stdin"},
		{[]string{"login", s.URL + "/gateway"}, "want --yes"},
		{[]string{"login", "corp", "--method", "looped", "--port", "70000"}, "--port 70000"},
		{[]string{"token-for", "corp"}, "want --reveal"},
		{[]string{"token-for", "corp", "--reveal"}, "want --yes"},
		{[]string{"token-for", "corp", "--yes"}, "want --reveal"},
		{[]string{"refresh"}, "or --all"},
	} {
		_, errOut, err := execAuth(t, newSignIn(), "", d.args...)
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), d.want) {
			t.Errorf("auth %q = %v, want a usage error with %q", d.args, err, d.want)
		}
		if strings.Contains(errOut, "open this address") {
			t.Errorf("auth %q began a sign-in", d.args)
		}
	}
}

func TestTokenForIsWhatIsSent(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	login := startAuth(t, "login", "corp", "--method", "chained", "--no-browser", "--stdin")
	state := parameter(t, login.find(t, addressPattern), "state")
	go func() { _, _ = io.WriteString(login.stdin, "c#"+state+"\n") }()
	if err := login.end(t); err != nil {
		t.Fatal(err)
	}
	if token, _ := mustAuth(t, newSignIn(), "", "token-for", "corp", "--reveal", "--yes"); !strings.HasPrefix(token, "chained-") {
		t.Errorf("token-for = %q, want the short-lived token", token)
	}
	if _, _, err := execAuth(t, newSignIn(), "", "token-for", "groq", "--reveal", "--yes"); err == nil || !strings.Contains(err.Error(), "not signed in") {
		t.Errorf("token-for of nobody = %v", err)
	}
}

// TestRefusedRefreshKeepsTheOldEntry also says what to do.
func TestRefusedRefreshKeepsTheOldEntry(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	login := startAuth(t, "login", "corp", "--method", "pasted", "--no-browser", "--stdin", "--profile", "work")
	login.find(t, addressPattern)
	go func() { _, _ = io.WriteString(login.stdin, "c\n") }()
	if err := login.end(t); err != nil {
		t.Fatal(err)
	}
	s.refuse = "invalid_grant"
	_, _, err := execAuth(t, newSignIn(), "", "refresh", "corp", "--profile", "work", "--force")
	if err == nil || !strings.Contains(err.Error(), "the stored tokens were kept") || hintOf(err) != "sign in again: opencode auth login corp --method pasted --profile work" {
		t.Errorf("refresh = %v (%s)", err, hintOf(err))
	}
	if token, _ := mustAuth(t, newSignIn(), "", "token-for", "corp", "--profile", "work", "--reveal", "--yes"); token != s.secrets[0]+"\n" {
		t.Errorf("token-for = %q, want the old token", token)
	}
	if out, _ := mustAuth(t, newSignIn(), "", "list"); !strings.Contains(out, "corp      work     oauth  pasted") {
		t.Errorf("list = %q", out)
	}
}

// TestEndpointsAreChecked shows mistakes in the file, and addresses that would
// show a secret to the network.
func TestEndpointsAreChecked(t *testing.T) {
	signInHome(t)
	for text, want := range map[string]string{
		`{"anthropic-claude": {"token_url": "http://evil.example/token"}}`: "want https",
		`{"x": {"flow": "magic"}}`:      "flow: want one of",
		`{"x": {"client_secret": "s"}}`: "unknown field",
	} {
		var endpoints any
		if err := json.Unmarshal([]byte(text), &endpoints); err != nil {
			t.Fatal(err)
		}
		writeConfig(t, map[string]any{"endpoints": endpoints})
		for _, args := range [][]string{{"login", "corp", "--method", "x"}, {"status", "anthropic"}, {"providers"}} {
			_, _, err := execAuth(t, newSignIn(), "", args...)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(hintOf(err), "opencode.json") {
				t.Errorf("auth %q with %s = %v (%s), want %q", args, text, err, hintOf(err), want)
			}
		}
	}
	writeConfig(t, map[string]any{})
	t.Setenv("ANTHROPIC_TOKEN_URL", "http://evil.example/token")
	if _, _, err := execAuth(t, newSignIn(), "", "refresh", "--all"); err != nil {
		t.Errorf("refresh --all of nothing = %v", err)
	}
	_, _, err := execAuth(t, newSignIn(), "", "login", "anthropic", "--method", "anthropic-claude", "--accept-provider-terms", "--stdin")
	if err == nil || !strings.Contains(err.Error(), "token_url: http://evil.example: want https") {
		t.Errorf("login with a token URL on plain http = %v", err)
	}
}

// TestNoSecretInAnyAuthCommand runs every command below `auth`, in plain and
// encrypted stores, with a server that works and with one that refuses and
// repeats all that it was sent, and looks for each secret in all that is said.
func TestNoSecretInAnyAuthCommand(t *testing.T) {
	data := signInHome(t)
	passphrase := "passphrase-" + rand.Text()
	t.Setenv(envAuthPassphrase, passphrase)
	s := newAuthServer(t)
	s.configure(t)
	gateway := "gateway-" + rand.Text()
	s.wellKnown = fmt.Sprintf(`{"auth":{"command":[%q],"env":"CORP_TOKEN"}}`, script(t, "login", "echo "+gateway))
	key, code := "gsk_"+rand.Text(), "code-"+rand.Text()
	s.secrets = append(s.secrets, gateway, key, code, passphrase)
	ran := map[string]bool{}
	var all strings.Builder
	said := func(out, errOut string, err error) {
		all.WriteString(out + errOut)
		if err != nil {
			report(&all, err)
			fmt.Fprintf(&all, "%v %+v %#v %q\n", err, err, err, err)
		}
	}
	run := func(stdin string, args ...string) {
		ran[args[0]] = true
		said(execAuth(t, newSignIn(), stdin, args...))
	}
	login := func(method, profile, pasted string) {
		l := startAuth(t, "login", "corp", "--method", method, "--profile", profile, "--no-browser", "--accept-provider-terms", "--stdin")
		state := parameter(t, l.find(t, addressPattern), "state")
		go func() { _, _ = io.WriteString(l.stdin, strings.ReplaceAll(pasted, "STATE", state)+"\n") }()
		err := l.end(t)
		said(l.out.String(), l.text(), err)
	}
	for _, protection := range []string{"plain", "keyfile"} {
		t.Setenv(envAuthProtection, protection)
		s.mu.Lock()
		s.refuse = ""
		s.mu.Unlock()
		login("pasted", "", code+"#STATE")
		login("chained", "chained", "http://127.0.0.1/?code="+code+"&state=STATE")
		login("console", "key", "http://127.0.0.1/?code="+code+"&state=STATE")
		login("restricted", "restricted", "http://127.0.0.1/?code="+code+"&state=STATE")
		run(key, "login", "groq", "--stdin")
		run("", "login", s.URL+"/gateway", "--yes")
		for _, refuse := range []string{"", "invalid_grant"} {
			s.mu.Lock()
			s.refuse = refuse
			s.mu.Unlock()
			for _, args := range [][]string{
				{"list"},
				{"list", "--json"},
				{"status", "corp"},
				{"status", "corp", "--json"},
				{"status", "groq", "--json"},
				{"status", s.URL + "/gateway", "--json"},
				{"providers", "corp"},
				{"providers", "--json"},
				{"refresh", "corp", "--force"},
				{"refresh", "--all", "--force"},
				{"rotate"},
				{"token-for", "corp"},
				{"token-for", "corp", "--profile", "key", "--reveal"},
			} {
				run("", args...)
			}
		}
		login("pasted", "more", code+"#STATE")
		login("pasted", "more", code+"#wrong")
		login("pasted", "more", code+" "+code)
		run("", "logout", "corp", "--profile", "restricted")
		switch protection {
		case "plain":
			run("", "encrypt", "--protection", "keyfile")
			run("", "rekey")
			run("", "decrypt", "--yes")
			run("", "encrypt", "--protection", "keyfile")
		case "keyfile":
			// A second each is what a passphrase costs.
			run("", "rekey", "--protection", "passphrase")
			run("", "list", "--json")
		}
	}
	text, err := os.ReadFile(filepath.Join(data, "auth.json.age"))
	if err != nil {
		t.Fatal(err)
	}
	all.Write(text)
	for _, cmd := range authCommand(newSignIn()).Commands() {
		if !ran[cmd.Name()] {
			t.Errorf("auth %s was not run", cmd.Name())
		}
	}
	for _, secret := range s.secrets {
		if i := strings.Index(all.String(), secret); i >= 0 {
			t.Errorf("a secret is shown after %q", all.String()[max(i-200, 0):i])
		}
	}
	for _, want := range []string{"is renewed", "the stored tokens were kept", "signed in to corp", "Authorization state mismatch.", `"method": "chained"`, "want --yes"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nothing says %q: the test did not test", want)
		}
	}
	if len(s.secrets) < 20 {
		t.Errorf("%d secrets: the test did not test", len(s.secrets))
	}
}
