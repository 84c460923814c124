package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
)

// issuer is an OpenID Connect issuer that can be told to lie.
type issuer struct {
	network

	key      *ecdsa.PrivateKey
	document map[string]any
	claims   map[string]any
	sign     *ecdsa.PrivateKey
}

func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	i := &issuer{key: key, sign: key}
	i.document = map[string]any{
		"issuer": "https://id.example", "authorization_endpoint": "https://id.example/auth", "token_endpoint": "https://id.example/token",
		"jwks_uri": "https://id.example/keys", "revocation_endpoint": "https://id.example/revoke",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
	}
	i.claims = map[string]any{"iss": "https://id.example", "aud": "client", "sub": "alice", "exp": start.Add(time.Hour).Unix(), "iat": start.Unix()}
	i.answer = func(r *http.Request, _ int) (int, string, string) {
		var body any
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			body = i.document
		case "/keys":
			public, err := key.PublicKey.Bytes()
			if err != nil {
				tb.Error(err)
			}
			body = map[string]any{"keys": []any{map[string]string{
				"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": encode(public[1:33]), "y": encode(public[33:65]),
			}}}
		case "/token":
			body = map[string]any{"access_token": "access", "refresh_token": "refresh", "expires_in": 60, "id_token": i.token(tb)}
		}
		text, err := json.Marshal(body)
		if err != nil {
			tb.Error(err)
		}
		return 200, "application/json", string(text)
	}
	return i
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (i *issuer) token(tb testing.TB) string {
	tb.Helper()
	claims, err := json.Marshal(i.claims)
	if err != nil {
		tb.Fatal(err)
	}
	text := encode([]byte(`{"alg":"ES256","kid":"1"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.sign, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + encode(append(fixed(r), fixed(s)...))
}

func fixed(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func TestIssuer(t *testing.T) {
	t.Parallel()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]struct {
		lie  func(*issuer)
		more string
		ok   bool
	}{
		"honest":           {func(*issuer) {}, "&iss=https%3A%2F%2Fid.example", true},
		"another issuer":   {func(*issuer) {}, "&iss=https%3A%2F%2Fevil.example", false},
		"another nonce":    {func(i *issuer) { i.claims["nonce"] = "other" }, "", false},
		"another client":   {func(i *issuer) { i.claims["aud"] = "other" }, "", false},
		"another key":      {func(i *issuer) { i.sign = other }, "", false},
		"over":             {func(i *issuer) { i.claims["exp"] = start.Add(-time.Hour).Unix() }, "", false},
		"subject that is ": {func(i *issuer) { i.claims["sub"] = "a\x1b[2J" }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			c := newClient(t, &i.network, func(cfg *oauth.Config) { cfg.Endpoints["oidc"] = oauth.Endpoint{ClientID: "client"} })
			a := begin(t, c, "oidc", oauth.Options{Issuer: "https://id.example", Provider: "corp"})
			i.claims["nonce"] = query(t, a, "nonce")
			d.lie(i)
			fetch(t, "GET", query(t, a, "redirect_uri")+"?code=x&state="+query(t, a, "state")+d.more, "")
			cred, err := a.Wait(t.Context(), nil)
			if (err == nil) != d.ok || err != nil && (hint(err) == "" || !cred.Access.IsZero()) {
				t.Fatalf("Wait = %v, %v, want success %v", cred, err, d.ok)
			}
			if !d.ok {
				return
			}
			if cred.AccountID != "alice" || cred.Provider != "corp" {
				t.Errorf("Wait = %v of %q", cred, cred.AccountID)
			}
			if renewed, err := c.Renew(t.Context(), cred); err != nil || renewed.Access.IsZero() {
				t.Errorf("Renew = %v, %v", renewed, err)
			}
			if done, err := c.Revoke(t.Context(), cred); !done || err != nil {
				t.Errorf("Revoke = %v, %v", done, err)
			}
		})
	}
}

func TestIssuersThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"another's name":   func(d map[string]any) { d["issuer"] = "https://evil.example" },
		"no TLS":           func(d map[string]any) { d["token_endpoint"] = "http://id.example/token" },
		"script":           func(d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" },
		"password":         func(d map[string]any) { d["token_endpoint"] = "https://u:hunter2@id.example/token" },
		"no token":         func(d map[string]any) { delete(d, "token_endpoint") },
		"no authorization": func(d map[string]any) { delete(d, "authorization_endpoint") },
		"plain challenges": func(d map[string]any) { d["code_challenge_methods_supported"] = []string{"plain"} },
		"wrong types":      func(d map[string]any) { d["revocation_endpoint"] = 7 },
		"wrong type":       func(d map[string]any) { d["token_endpoint"] = []string{"hunter2"} },
	} {
		i := newIssuer(t)
		change(i.document)
		c := newClient(t, &i.network, func(cfg *oauth.Config) { cfg.Endpoints["oidc"] = oauth.Endpoint{ClientID: "client"} })
		a, err := c.Begin(t.Context(), "oidc", oauth.Options{Issuer: "https://id.example"})
		if err == nil || a != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: Begin = %v, %v, want an error", name, a, err)
		}
	}
	for name, answer := range map[string]func(*http.Request, int) (int, string, string){
		"HTML":     func(*http.Request, int) (int, string, string) { return 200, "text/html", "<h1>hunter2</h1>" },
		"error":    func(*http.Request, int) (int, string, string) { return 500, "text/plain", "hunter2" },
		"redirect": func(*http.Request, int) (int, string, string) { return 302, "application/json", `{}` },
		"huge": func(*http.Request, int) (int, string, string) {
			return 200, "application/json", `{"issuer":"https://id.example","x":"` + strings.Repeat("hunter2", 1<<17) + `"}`
		},
		"away": func(*http.Request, int) (int, string, string) { return 0, "", "" },
	} {
		n := &network{answer: answer}
		c := newClient(t, n, func(cfg *oauth.Config) { cfg.Endpoints["oidc"] = oauth.Endpoint{ClientID: "client"} })
		if _, err := c.Begin(t.Context(), "oidc", oauth.Options{Issuer: "https://id.example"}); !errors.Is(err, oauth.ErrAnswer) || hint(err) == "" || strings.Contains(fmt.Sprint(err, hint(err)), "hunter2") || n.count() != 1 {
			t.Errorf("%s: Begin = %v after %d requests, want ErrAnswer after 1", name, err, n.count())
		}
	}
	c := newClient(t, always(200, `{}`), func(cfg *oauth.Config) { cfg.Endpoints["oidc"] = oauth.Endpoint{ClientID: "client"} })
	for _, text := range []string{"", "http://id.example", "https://u:hunter2@id.example"} {
		if _, err := c.Begin(t.Context(), "oidc", oauth.Options{Issuer: text}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Begin with the issuer %q = %v, want an error", text, err)
		}
	}
}
