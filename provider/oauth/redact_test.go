package oauth_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// TestNothingShowsSecrets signs in, renews, fails and signs out with secrets
// that no text has by chance, and looks for each in everything that can be
// printed, logged or encoded on the way.
func TestNothingShowsSecrets(t *testing.T) {
	t.Parallel()
	access, refresh, code, key, chained := fresh("access"), fresh("refresh"), fresh("code"), fresh("key"), fresh("chained")
	renewed, rotated, device := fresh("renewed"), fresh("rotated"), fresh("device")
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	bad := false
	n := &network{answer: func(r *http.Request, _ int) (int, string, string) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		switch {
		case bad:
			// The worst of servers repeats all that it got.
			return 400, "application/json", fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":%q}`, r.Form.Get("refresh_token"), r.Form.Encode(), r.Header)
		case strings.HasSuffix(r.URL.Path, "/create_api_key"):
			return 200, "application/json", fmt.Sprintf(`{"raw_key":%q}`, key)
		case strings.HasSuffix(r.URL.Path, "/copilot_internal/v2/token"):
			return 200, "application/json", fmt.Sprintf(`{"token":%q,"refresh_in":60}`, chained)
		case r.URL.Path == "/device":
			return 200, "application/json", strings.Replace(deviceAnswer, "DC", device, 1)
		case r.Form.Get("grant_type") == "refresh_token":
			return 200, "application/json", fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":60}`, renewed, rotated)
		}
		return 200, "application/json", fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":60}`, access, refresh)
	}}
	clock := newClock()
	c := newClient(t, n, func(cfg *oauth.Config) { cfg.Logger, cfg.Now, cfg.Wait = logger, clock.Now, clock.Wait })
	var seen []any
	see := func(values ...any) { seen = append(seen, values...) }

	a := begin(t, c, "pasted", oauth.Options{})
	cred, err := a.Finish(t.Context(), code+"#"+query(t, a, "state"))
	if err != nil {
		t.Fatal(err)
	}
	console := begin(t, c, "anthropic-console", oauth.Options{})
	api, err := console.Finish(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	d := begin(t, c, "device", oauth.Options{})
	polled, err := d.Wait(t.Context(), func(p oauth.Progress) { see(p) })
	if err != nil {
		t.Fatal(err)
	}
	vault := newMemory(cred)
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: c, Store: vault, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Force(t.Context(), "corp", "")
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(t, r, oauth.SourceConfig{Provider: "corp"})
	mark, err := s.Apply(t.Context(), http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	gh := copilot("")
	gh.Access, gh.Refresh = store.NewSecretText(access), store.NewSecretText(access)
	ghRefresher := newRefresher(t, n, newMemory(gh), clock)
	ghSource := newSource(t, ghRefresher, oauth.SourceConfig{Provider: "github-copilot"})
	if _, err := ghSource.Apply(t.Context(), http.Header{}); err != nil {
		t.Fatal(err)
	}
	see(a, *c, c, cred, &cred, api, d, polled, again, r, s, mark, ghSource, ghRefresher, c.Methods(), oauth.Config{}, vault)

	bad = true
	clock.add(2 * time.Minute)
	for _, err := range []error{
		func() error { _, err := r.Fresh(t.Context(), "corp", ""); return err }(),
		func() error { _, err := r.Force(t.Context(), "corp", ""); return err }(),
		func() error { _, _, err := r.Rejected(t.Context(), again); return err }(),
		func() error { _, err := ghSource.Apply(t.Context(), http.Header{}); return err }(),
		func() error { _, err := c.Revoke(t.Context(), again); return err }(),
		func() error {
			_, err := begin(t, c, "pasted", oauth.Options{}).Finish(t.Context(), code)
			return err
		}(),
		func() error {
			_, err := begin(t, c, "pasted", oauth.Options{}).Finish(t.Context(), code+"#wrong")
			return err
		}(),
	} {
		if err == nil {
			t.Error("a request that was refused gave no error")
			continue
		}
		see(err, hint(err))
		if server, ok := errors.AsType[*oauth.ServerError](err); ok {
			see(*server)
		}
	}
	var all strings.Builder
	for _, v := range seen {
		all.WriteString(shows(v))
	}
	all.WriteString(log.String())
	for _, secret := range []string{access, refresh, code, key, chained, renewed, rotated, device} {
		if i := strings.Index(all.String(), secret); i >= 0 {
			t.Errorf("%s is shown: …%s…", secret[:8], all.String()[max(0, i-200):i+10])
		}
	}
	// The test can fail: the secrets are all there.
	for _, c := range []store.Credential{cred, api, polled, again} {
		if len(c.Secrets()) == 0 {
			t.Errorf("%v has no secret", c)
		}
	}
}
