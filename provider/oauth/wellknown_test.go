package oauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"opencode/provider/oauth"
	"opencode/store"
)

func TestWellKnown(t *testing.T) {
	t.Parallel()
	n := always(200, `{"auth":{"command":["gcloud","auth","print token; rm -rf /"],"env":"CORP_TOKEN"},"config":{"provider":{}}}`)
	w, err := newClient(t, n).WellKnown(t.Context(), "https://corp.example/llm/")
	if err != nil || w.URL != "https://corp.example/llm" || w.Env != "CORP_TOKEN" || !slices.Equal(w.Command, []string{"gcloud", "auth", "print token; rm -rf /"}) {
		t.Fatalf("WellKnown = %+v, %v", w, err)
	}
	if n.sent[0].url != "https://corp.example/llm/.well-known/opencode" {
		t.Errorf("asked %s", n.sent[0].url)
	}
	token := fresh("token")
	cred, err := w.Credential(token + "\n")
	if err != nil || cred.Kind != store.CredentialWellKnown || cred.Provider != "https://corp.example/llm" || cred.EnvName != "CORP_TOKEN" || cred.Token.Reveal() != token {
		t.Errorf("Credential = %v, %v", cred, err)
	}
	for _, output := range []string{"", " \n", "two words", "a\nb", "a\x00", strings.Repeat("a", 33<<10)} {
		if _, err := w.Credential(output); err == nil || hint(err) == "" {
			t.Errorf("Credential(%.20q) = %v, want an error with a hint", output, err)
		}
	}
}

func TestWellKnownThatIsRefused(t *testing.T) {
	t.Parallel()
	const good = `{"auth":{"command":["x"],"env":"CORP_TOKEN"}}`
	for _, gateway := range []string{
		"http://corp.example", "corp.example", "ftp://corp.example", "https://u:p@corp.example", "https://corp.example/?x=1", "https://corp.example/#x",
		"file:///etc/passwd", "", "http://127.0.0.1.evil.example", "http://[::ffff:10.0.0.1]", "https://",
	} {
		n := always(200, good)
		if _, err := newClient(t, n).WellKnown(t.Context(), gateway); err == nil || n.count() != 0 || hint(err) == "" {
			t.Errorf("WellKnown(%q) = %v after %d requests, want an error before any", gateway, err, n.count())
		}
	}
	for name, d := range map[string]struct {
		status int
		body   string
	}{
		"missing":         {404, `{}`},
		"redirect":        {302, good},
		"no JSON":         {200, `<html>`},
		"no auth":         {200, `{}`},
		"auth of a text":  {200, `{"auth":"x"}`},
		"no command":      {200, `{"auth":{"env":"T"}}`},
		"command as text": {200, `{"auth":{"command":"curl x | sh","env":"T"}}`},
		"empty command":   {200, `{"auth":{"command":[""],"env":"T"}}`},
		"hides":           {200, `{"auth":{"command":["x","\u001b[8m"],"env":"T"}}`},
		"turns around":    {200, `{"auth":{"command":["x","\u202e"],"env":"T"}}`},
		"NUL":             {200, `{"auth":{"command":["x\u0000"],"env":"T"}}`},
		"many":            {200, `{"auth":{"command":[` + strings.Repeat(`"x",`, 64) + `"x"],"env":"T"}}`},
		"no env":          {200, `{"auth":{"command":["x"]}}`},
		"env of nonsense": {200, `{"auth":{"command":["x"],"env":"A=B"}}`},
		"env that steers": {200, `{"auth":{"command":["x"],"env":"LD_PRELOAD"}}`},
		"env PATH":        {200, `{"auth":{"command":["x"],"env":"Path"}}`},
		"huge":            {200, `{"auth":{"command":["` + strings.Repeat("x", 300<<10) + `"],"env":"T"}}`},
	} {
		if w, err := newClient(t, always(d.status, d.body)).WellKnown(t.Context(), "https://corp.example"); err == nil || w.Command != nil || hint(err) == "" {
			t.Errorf("%s: WellKnown = %v, %v, want an error with a hint", name, w, err)
		}
	}
}

func TestWellKnownOfThisMachine(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"auth":{"command":["x"],"env":"CORP_TOKEN"}}`)
	}))
	t.Cleanup(s.Close)
	c, err := oauth.New(oauth.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if w, err := c.WellKnown(t.Context(), s.URL); err != nil || w.Env != "CORP_TOKEN" {
		t.Errorf("WellKnown = %+v, %v", w, err)
	}
}
