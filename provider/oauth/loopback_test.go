package oauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
)

func TestLoopback(t *testing.T) {
	t.Parallel()
	n := always(http.StatusOK, `{"access_token":"t","refresh_token":"r","expires_in":60}`)
	a := begin(t, newClient(t, n), "looped", oauth.Options{})
	redirect := query(t, a, "redirect_uri")
	if !strings.HasPrefix(redirect, "http://127.0.0.1:") || !strings.HasSuffix(redirect, "/auth/callback") || a.Paste {
		t.Fatalf("the redirect is %s", redirect)
	}
	state, code := query(t, a, "state"), fresh("code")
	good := "?code=" + code + "&state=" + state
	type want struct {
		method, target, host string
		status               int
	}
	for name, d := range map[string]want{
		"another path":          {"GET", strings.TrimSuffix(redirect, "callback") + "other" + good, "", 404},
		"the root":              {"GET", strings.TrimSuffix(redirect, "/auth/callback") + "/" + good, "", 404},
		"a deeper path":         {"GET", redirect + "/x" + good, "", 404},
		"a name that leads":     {"GET", redirect + good, "evil.example", 404},
		"a name with the port":  {"GET", redirect + good, "localhost:80", 404},
		"another method":        {"POST", redirect + good, "", 405},
		"wrong state":           {"GET", redirect + "?code=x&state=wrong", "", 400},
		"no state":              {"GET", redirect + "?code=x", "", 400},
		"state twice":           {"GET", redirect + good + "&state=" + state, "", 400},
		"code twice":            {"GET", redirect + good + "&code=x", "", 400},
		"error without a state": {"GET", redirect + "?error=access_denied", "", 400},
		"broken query":          {"GET", redirect + "?code=%zz&state=" + state, "", 400},
	} {
		status, page, header := fetch(t, d.method, d.target, d.host)
		if status != d.status || strings.Contains(page, code) || strings.Contains(page, state) || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s = %d %q, want %d without code and state, not to be stored", name, status, page, d.status)
		}
	}
	status, page, header := fetch(t, "GET", redirect+good, "")
	if status != 200 || strings.Contains(page, code) || strings.Contains(page, state) || !strings.Contains(page, "window.close()") ||
		!strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the redirect = %d %q %v", status, page, header)
	}
	if status, _, _ := fetch(t, "GET", redirect+good, ""); status != 404 {
		t.Errorf("the redirect again = %d, want 404", status)
	}
	cred, err := a.Wait(t.Context(), nil)
	if err != nil || cred.Access.Reveal() != "t" || n.sent[0].params(t).Get("code") != code || n.sent[0].params(t).Get("redirect_uri") != redirect {
		t.Errorf("Wait = %v, %v", cred, err)
	}
	closed(t, redirect)
}

func request(tb testing.TB, method, target, host string) *http.Request {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, target, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	req.Host = host
	return req
}

// closed fails the test if anybody answers there.
func closed(tb testing.TB, target string) {
	tb.Helper()
	res, err := http.DefaultClient.Do(request(tb, "GET", target, ""))
	if err == nil {
		_ = res.Body.Close()
		tb.Error("the port is still open")
	}
}

func fetch(tb testing.TB, method, target, host string) (status int, page string, header http.Header) {
	tb.Helper()
	res, err := http.DefaultClient.Do(request(tb, method, target, host))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

func TestLoopbackEndsInTime(t *testing.T) {
	t.Parallel()
	n := always(200, `{}`)
	c := newClient(t, n, func(cfg *oauth.Config) { cfg.LoginTime = 50 * time.Millisecond })
	if _, err := begin(t, c, "looped", oauth.Options{}).Wait(t.Context(), nil); !errors.Is(err, oauth.ErrExpired) || hint(err) == "" {
		t.Errorf("Wait = %v, want ErrExpired", err)
	}
	// Whoever never waits leaves no port open either.
	a := begin(t, c, "looped", oauth.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Wait(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait that was cancelled = %v", err)
	}
	closed(t, query(t, a, "redirect_uri"))
}

func TestLoopbackErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{"access_denied": oauth.ErrDenied, "server_error": nil, "what<b>is": nil} {
		a := begin(t, newClient(t, always(200, `{}`)), "looped", oauth.Options{})
		status, page, _ := fetch(t, "GET", query(t, a, "redirect_uri")+"?"+url.Values{"error": {code}, "state": {query(t, a, "state")}}.Encode(), "")
		_, err := a.Wait(t.Context(), nil)
		if err == nil || want != nil && !errors.Is(err, want) || strings.Contains(page+err.Error(), "<b>") || status != 200 {
			t.Errorf("error=%s: Wait = %v with page %q, want %v", code, err, page, want)
		}
	}
}
