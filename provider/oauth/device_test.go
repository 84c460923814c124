package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
)

const deviceAnswer = `{"device_code":"DC","user_code":"ABCD-1234","verification_uri":"https://auth.example/device","expires_in":900,"interval":5}`

// deviceNetwork answers the start with the first text and each poll with the
// next of the others, the last for ever.
func deviceNetwork(first string, polls ...string) *network {
	count := 0
	return &network{answer: func(r *http.Request, _ int) (int, string, string) {
		if !strings.HasSuffix(r.URL.Path, "/token") && !strings.HasSuffix(r.URL.Path, "/access_token") {
			return 200, "application/json", first
		}
		text := polls[min(count, len(polls)-1)]
		count++
		switch {
		case text == "":
			return 0, "", ""
		case strings.HasPrefix(text, "5"):
			return 503, "text/html", text
		case strings.Contains(text, "invalid"):
			return 400, "application/json", text
		}
		// GitHub reports errors with status 200.
		return 200, "application/json", text
	}}
}

const pending = `{"error":"authorization_pending"}`

func TestDevice(t *testing.T) {
	t.Parallel()
	const done = `{"access_token":"t","token_type":"bearer"}`
	for name, d := range map[string]struct {
		polls  []string
		want   error
		count  int
		waited time.Duration
	}{
		"at once":                 {[]string{done}, nil, 1, 5 * time.Second},
		"pending":                 {[]string{pending, pending, done}, nil, 3, 15 * time.Second},
		"slow_down":               {[]string{pending, `{"error":"slow_down"}`, pending, done}, nil, 4, (5 + 5 + 10 + 10) * time.Second},
		"slow_down with interval": {[]string{`{"error":"slow_down","interval":30}`, done}, nil, 2, (5 + 30) * time.Second},
		"slow_down, less":         {[]string{`{"error":"slow_down","interval":1}`, done}, nil, 2, (5 + 10) * time.Second},
		"slow_down, nonsense":     {[]string{`{"error":"slow_down","interval":"x"}`, done}, nil, 2, (5 + 10) * time.Second},
		"slow_down, years":        {[]string{`{"error":"slow_down","interval":1e9}`, done}, nil, 2, (5 + 120) * time.Second},
		"no network for a while":  {[]string{"", "", done}, nil, 3, (5 + 10 + 20) * time.Second},
		"server away":             {[]string{"503", pending, done}, nil, 3, (5 + 10 + 10) * time.Second},
		"denied":                  {[]string{pending, `{"error":"access_denied"}`}, oauth.ErrDenied, 2, 10 * time.Second},
		"expired":                 {[]string{pending, `{"error":"expired_token"}`}, oauth.ErrExpired, 2, 10 * time.Second},
		"not enabled":             {[]string{`{"error":"device_flow_disabled"}`}, nil, 1, 5 * time.Second},
		"nonsense":                {[]string{`{"token":"t"}`}, oauth.ErrAnswer, 1, 5 * time.Second},
		"never":                   {[]string{pending}, oauth.ErrExpired, 179, 900 * time.Second},
		"never a network":         {[]string{""}, oauth.ErrExpired, 11, 900 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			n := deviceNetwork(deviceAnswer, d.polls...)
			c := newClient(t, n, func(cfg *oauth.Config) { cfg.Now, cfg.Wait = clock.Now, clock.Wait })
			a := begin(t, c, "device", oauth.Options{})
			if a.UserCode != "ABCD-1234" || a.URL != "https://auth.example/device" || !a.Expires.Equal(start.Add(15*time.Minute)) {
				t.Fatalf("Begin = %q %q %v", a.UserCode, a.URL, a.Expires)
			}
			last := 901 * time.Second
			cred, err := a.Wait(t.Context(), func(p oauth.Progress) {
				if p.Left > last || last-p.Left > 2*time.Second || p.UserCode != a.UserCode {
					t.Errorf("progress from %v to %v with %q, want every second", last, p.Left, p.UserCode)
				}
				last = p.Left
			})
			ok := d.polls[len(d.polls)-1] == done
			if ok != (err == nil) || d.want != nil && !errors.Is(err, d.want) || ok && cred.Access.Reveal() != "t" || !ok && hint(err) == "" {
				t.Errorf("Wait = %v, %v (hint %q), want %v", cred, err, hint(err), d.want)
			}
			if n.count()-1 != d.count || clock.waited != d.waited {
				t.Errorf("%d polls in %v, want %d in %v", n.count()-1, clock.waited, d.count, d.waited)
			}
			if got := n.sent[1].params(t); got.Get("device_code") != "DC" || got.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" {
				t.Errorf("a poll was %v", got)
			}
		})
	}
}

func TestDeviceIsCancelled(t *testing.T) {
	t.Parallel()
	n := deviceNetwork(deviceAnswer, pending)
	a := begin(t, newClient(t, n), "device", oauth.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.Wait(ctx, func(p oauth.Progress) {
		if p.Left < 10*time.Minute {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want it cancelled", err)
	}
	if _, err := a.Wait(t.Context(), nil); !errors.Is(err, oauth.ErrUsed) {
		t.Errorf("Wait again = %v, want ErrUsed", err)
	}
}

func TestDeviceStartsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":                ``,
		"HTML":                 `<p>no</p>`,
		"no code":              `{"user_code":"A","verification_uri":"https://a.example","expires_in":9}`,
		"no user code":         `{"device_code":"A","verification_uri":"https://a.example","expires_in":9}`,
		"no address":           `{"device_code":"A","user_code":"A","expires_in":9}`,
		"no expiry":            `{"device_code":"A","user_code":"A","verification_uri":"https://a.example"}`,
		"expired":              `{"device_code":"A","user_code":"A","verification_uri":"https://a.example","expires_in":0}`,
		"number":               `{"device_code":1,"user_code":"A","verification_uri":"https://a.example","expires_in":9}`,
		"user code that moves": `{"device_code":"A","user_code":"A\u001b[2J","verification_uri":"https://a.example","expires_in":9}`,
		"long user code":       `{"device_code":"A","user_code":"` + strings.Repeat("A", 65) + `","verification_uri":"https://a.example","expires_in":9}`,
		"script":               `{"device_code":"A","user_code":"A","verification_uri":"javascript:alert(1)","expires_in":9}`,
		"file":                 `{"device_code":"A","user_code":"A","verification_uri":"file:///etc/passwd","expires_in":9}`,
		"option":               `{"device_code":"A","user_code":"A","verification_uri":"--version","expires_in":9}`,
		"plain":                `{"device_code":"A","user_code":"A","verification_uri":"http://a.example","expires_in":9}`,
		"denied":               `{"error":"unauthorized_client","error_description":"DC"}`,
	} {
		_, err := newClient(t, deviceNetwork(text, pending)).Begin(t.Context(), "device", oauth.Options{})
		if err == nil || hint(err) == "" || strings.Contains(err.Error(), "DC") {
			t.Errorf("%s: Begin = %v (hint %q), want an error with a hint", name, err, hint(err))
		}
	}
}

func TestCopilotEnterprise(t *testing.T) {
	t.Parallel()
	token := fresh("gho")
	n := deviceNetwork(deviceAnswer, fmt.Sprintf(`{"access_token":%q,"token_type":"bearer","scope":"read:user"}`, token))
	c := newClient(t, n)
	a := begin(t, c, "github-copilot", oauth.Options{Domain: "company.ghe.com"})
	cred, err := a.Wait(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Expires 0 is never, and other programs look for the token in both places.
	if !cred.Expires.IsZero() || cred.Refresh.Reveal() != token || cred.Access.Reveal() != token || cred.EnterpriseURL != "company.ghe.com" {
		t.Errorf("Wait = %v at %q until %v", cred, cred.EnterpriseURL, cred.Expires)
	}
	if n.sent[0].url != "https://company.ghe.com/login/device/code" || n.sent[1].url != "https://company.ghe.com/login/oauth/access_token" || n.sent[0].params(t).Get("client_id") != "ours" {
		t.Errorf("asked %s and %s", n.sent[0].url, n.sent[1].url)
	}
	if c.Renewable(cred) {
		t.Error("a token without a refresh token is called renewable")
	}
	for _, domain := range []string{"evil.example/x", "a b", "-x", "a..b", "u@h", "h:1:2"} {
		if _, err := c.Begin(t.Context(), "github-copilot", oauth.Options{Domain: domain}); err == nil {
			t.Errorf("Begin with the domain %q succeeded", domain)
		}
	}
	if _, err := c.Begin(t.Context(), "pasted", oauth.Options{Domain: "a.example"}); err == nil {
		t.Error("Begin with a domain for a method without one succeeded")
	}
}
