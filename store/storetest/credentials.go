package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/store"
)

// RunCredentials tests the contract of [store.Credentials]. The function opens
// what is kept in a directory, which is empty at first; handles on the same
// directory share it, and each must see at once what another did.
func RunCredentials(t *testing.T, open func(t *testing.T, dir string) store.Credentials) {
	for name, test := range map[string]func(t *testing.T, open func() store.Credentials){
		"empty":             testNoCredentials,
		"round trip":        testCredentialRoundTrip,
		"profiles":          testCredentialProfiles,
		"replaces":          testPutCredentialReplaces,
		"refuses malformed": testCredentialMalformed,
		"copies":            testCredentialCopies,
		"update":            testUpdateCredential,
		"failed update":     testFailedUpdate,
		"delete":            testDeleteCredential,
		"cancelled":         testCredentialsCancelled,
		"updates in turn":   testRefreshersInTurn,
		"others go on":      testOthersGoOn,
		"parallel puts":     testParallelSignIns,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test(t, func() store.Credentials { return open(t, dir) })
		})
	}
}

func apiKey(provider string, n int) store.Credential {
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: provider},
		Kind:          store.CredentialAPI, Key: store.NewSecretText(fmt.Sprintf("key-%d", n)), Created: at(n),
	}
}

func oauth(provider string, n int) store.Credential {
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: provider},
		Kind:          store.CredentialOAuth, Access: store.NewSecretText(fmt.Sprintf("access-%d", n)),
		Refresh: store.NewSecretText(fmt.Sprintf("refresh-%d", n)), Expires: at(n),
	}
}

func mustPutCredential(t *testing.T, s store.Credentials, all ...store.Credential) {
	t.Helper()
	for _, c := range all {
		if err := s.PutCredential(t.Context(), c); err != nil {
			t.Fatalf("PutCredential(%v): %v", c, err)
		}
	}
}

func wantCredentials(t *testing.T, s store.Credentials, want ...store.Credential) {
	t.Helper()
	got, err := s.Credentials(t.Context())
	if err != nil {
		t.Fatalf("Credentials: %v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("Credentials = %v, want %v", got, want)
	}
	for i, c := range want {
		wantSameCredential(t, got[i], c)
		found, err := s.Credential(t.Context(), c.Provider, c.Profile)
		if err != nil {
			t.Fatalf("Credential(%v): %v", c.CredentialKey, err)
		}
		wantSameCredential(t, found, c)
	}
}

func wantSameCredential(t *testing.T, got, want store.Credential) {
	t.Helper()
	for i, s := range want.Secrets() {
		if all := got.Secrets(); len(all) <= i || !all[i].Equal(s) {
			t.Errorf("%v: secret %d differs", want, i)
		}
	}
	// Printing shows neither secrets nor, on purpose, most of the rest.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v differs:\n%s", want, diff)
	}
}

func testNoCredentials(t *testing.T, open func() store.Credentials) {
	h := open()
	wantCredentials(t, h)
	key := store.CredentialKey{Provider: "p"}
	_, err := h.Credential(t.Context(), "p", "")
	_, updateErr := h.UpdateCredential(t.Context(), key, func(*store.Credential) error {
		t.Error("change was called for nothing")
		return nil
	})
	for _, err := range []error{err, updateErr, h.DeleteCredential(t.Context(), key)} {
		if !errors.Is(err, store.ErrNotExist) {
			t.Errorf("error = %v, want ErrNotExist", err)
		}
	}
}

func testCredentialRoundTrip(t *testing.T, open func() store.Credentials) {
	h := open()
	key := apiKey("a", 1)
	key.Metadata = map[string]string{"region": `"eu" & <ü>`}
	full := oauth("b", 2)
	full.AccountID, full.EnterpriseURL, full.Method, full.Created = "acct", "git.example.com", "browser", at(9)
	forever := oauth("c", 3)
	forever.Expires, forever.Refresh = time.Time{}, store.SecretText{}
	gateway := store.Credential{
		CredentialKey: store.CredentialKey{Provider: "https://corp.example.com/x"},
		Kind:          store.CredentialWellKnown, EnvName: "CORP_TOKEN", Token: store.NewSecretText(`to"k\en<&>ü`),
	}
	mustPutCredential(t, h, gateway, forever, full, key)
	for _, s := range []store.Credentials{h, open()} {
		wantCredentials(t, s, key, full, forever, gateway)
	}
	if c, err := h.Credential(t.Context(), "https://corp.example.com/x/", store.DefaultProfile); err != nil || c.EnvName != "CORP_TOKEN" {
		t.Errorf("Credential with a slash and the name of the default profile = %v, %v", c, err)
	}
}

func testCredentialProfiles(t *testing.T, open func() store.Credentials) {
	h := open()
	home, work := apiKey("p", 1), apiKey("p", 2)
	home.Profile, work.Profile = store.DefaultProfile, "work"
	mustPutCredential(t, h, work, home)
	home.Profile = ""
	wantCredentials(t, open(), home, work)
	if err := h.DeleteCredential(t.Context(), home.CredentialKey); err != nil {
		t.Fatal(err)
	}
	wantCredentials(t, open(), work)
	if _, err := h.Credential(t.Context(), "p", ""); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("Credential of a profile that is gone = %v, want ErrNotExist", err)
	}
}

func testPutCredentialReplaces(t *testing.T, open func() store.Credentials) {
	h := open()
	first := oauth("p", 1)
	first.AccountID, first.Metadata = "old account", map[string]string{"old": "yes"}
	mustPutCredential(t, h, first, apiKey("q", 2))
	mustPutCredential(t, open(), apiKey("p", 3))
	wantCredentials(t, h, apiKey("p", 3), apiKey("q", 2))
}

func testCredentialMalformed(t *testing.T, open func() store.Credentials) {
	h := open()
	secret := "sk-very-secret"
	for name, spoil := range map[string]func(*store.Credential){
		"no provider":       func(c *store.Credential) { c.Provider = "" },
		"blank in provider": func(c *store.Credential) { c.Provider = "a b" },
		"hash in provider":  func(c *store.Credential) { c.Provider = "a#b" },
		"strange profile":   func(c *store.Credential) { c.Profile = "a/b" },
		"no kind":           func(c *store.Credential) { c.Kind = "" },
		"strange kind":      func(c *store.Credential) { c.Kind = "password" },
		"no key":            func(c *store.Credential) { c.Key = store.SecretText{} },
		"line break":        func(c *store.Credential) { c.Key = store.NewSecretText(secret + "\nX-Header: 1") },
		"control":           func(c *store.Credential) { c.Key = store.NewSecretText(secret + "\x1b") },
		"not UTF-8":         func(c *store.Credential) { c.Key = store.NewSecretText(secret + "\xff") },
		"too long":          func(c *store.Credential) { c.Key = store.NewSecretText(strings.Repeat(secret, 10_000)) },
		"two kinds":         func(c *store.Credential) { c.Access = store.NewSecretText(secret) },
		"control in fact":   func(c *store.Credential) { c.Metadata = map[string]string{"k": "\x00"} },
		"early":             func(c *store.Credential) { c.Created = at(0).AddDate(-60, 0, 0) },
		"late":              func(c *store.Credential) { c.Created = at(0).AddDate(9000, 0, 0) },
		"api that expires":  func(c *store.Credential) { c.Expires = at(1) },
	} {
		c := apiKey("p", 1)
		c.Key = store.NewSecretText(secret)
		spoil(&c)
		err := h.PutCredential(t.Context(), c)
		if !errors.Is(err, store.ErrCredential) || strings.Contains(err.Error(), secret[3:]) {
			t.Errorf("PutCredential with %s = %v, want ErrCredential without the secret", name, err)
		}
	}
	wantCredentials(t, h)
	mustPutCredential(t, h, oauth("p", 1))
	_, err := h.UpdateCredential(t.Context(), store.CredentialKey{Provider: "p"}, func(c *store.Credential) error {
		c.Provider = "q"
		return nil
	})
	if !errors.Is(err, store.ErrCredential) {
		t.Errorf("an update that makes it another's = %v, want ErrCredential", err)
	}
	wantCredentials(t, open(), oauth("p", 1))
}

func testCredentialCopies(t *testing.T, open func() store.Credentials) {
	h := open()
	c := apiKey("p", 1)
	c.Metadata = map[string]string{"k": "v"}
	mustPutCredential(t, h, c)
	got, err := h.Credential(t.Context(), "p", "")
	if err != nil {
		t.Fatal(err)
	}
	got.Metadata["k"] = "other"
	wantCredentials(t, h, c)
}

func testUpdateCredential(t *testing.T, open func() store.Credentials) {
	h := open()
	first := oauth("p", 1)
	first.AccountID, first.Metadata = "acct", map[string]string{"stays": "1", "goes": "2"}
	mustPutCredential(t, h, first, apiKey("q", 2))
	want := oauth("p", 5)
	want.AccountID, want.Metadata = "acct", map[string]string{"stays": "1", "new": "3"}
	got, err := open().UpdateCredential(t.Context(), first.CredentialKey, func(c *store.Credential) error {
		wantSameCredential(t, *c, first)
		c.Access, c.Refresh, c.Expires = want.Access, want.Refresh, want.Expires
		delete(c.Metadata, "goes")
		c.Metadata["new"] = "3"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSameCredential(t, got, want)
	for _, s := range []store.Credentials{h, open()} {
		wantCredentials(t, s, want, apiKey("q", 2))
	}
}

func testFailedUpdate(t *testing.T, open func() store.Credentials) {
	h := open()
	mustPutCredential(t, h, oauth("p", 1))
	failure := errors.New("the provider said no")
	_, err := h.UpdateCredential(t.Context(), store.CredentialKey{Provider: "p"}, func(c *store.Credential) error {
		c.Access = store.NewSecretText("other")
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("UpdateCredential = %v, want the error of change", err)
	}
	wantCredentials(t, open(), oauth("p", 1))
}

func testDeleteCredential(t *testing.T, open func() store.Credentials) {
	h := open()
	mustPutCredential(t, h, apiKey("p", 1), apiKey("q", 2))
	if err := open().DeleteCredential(t.Context(), store.CredentialKey{Provider: "p"}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []store.Credentials{h, open()} {
		wantCredentials(t, s, apiKey("q", 2))
	}
}

func testCredentialsCancelled(t *testing.T, open func() store.Credentials) {
	h := open()
	mustPutCredential(t, h, apiKey("p", 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key := store.CredentialKey{Provider: "p"}
	_, allErr := h.Credentials(ctx)
	_, oneErr := h.Credential(ctx, "p", "")
	_, updateErr := h.UpdateCredential(ctx, key, func(*store.Credential) error { t.Error("change was called"); return nil })
	for i, err := range []error{allErr, oneErr, updateErr, h.PutCredential(ctx, apiKey("p", 2)), h.DeleteCredential(ctx, key)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d = %v, want context.Canceled", i, err)
		}
	}
	wantCredentials(t, h, apiKey("p", 1))

	// What an update did to the world outside is kept, although nobody waits.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	mustPutCredential(t, h, oauth("o", 1))
	_, err := h.UpdateCredential(ctx, store.CredentialKey{Provider: "o"}, func(c *store.Credential) error {
		c.Access = store.NewSecretText("from the provider")
		cancel()
		return nil
	})
	if err != nil {
		t.Errorf("UpdateCredential cancelled after change = %v, want nil", err)
	}
	if c, err := open().Credential(t.Context(), "o", ""); err != nil || c.Access.Reveal() != "from the provider" {
		t.Errorf("Credential = %v, %v, want what the update wrote", c, err)
	}
}

// testRefreshersInTurn takes turns as refreshing does: whoever comes in must see
// what the one before wrote, and never what is no longer so.
func testRefreshersInTurn(t *testing.T, open func() store.Credentials) {
	h := open()
	mustPutCredential(t, h, oauth("p", 0))
	const n = 12
	handles := make([]store.Credentials, n)
	for i := range n {
		handles[i] = open()
	}
	var seen []string
	ctx := t.Context()
	errs := parallel(n, func(i int) error {
		_, err := handles[i].UpdateCredential(ctx, store.CredentialKey{Provider: "p"}, func(c *store.Credential) error {
			seen = append(seen, c.Refresh.Reveal()) // unguarded: the store takes care
			c.Refresh = store.NewSecretText(fmt.Sprintf("refresh-%d", len(seen)))
			return nil
		})
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, s := range seen {
		if want := fmt.Sprintf("refresh-%d", i); s != want {
			t.Errorf("update %d saw %s, want %s", i, s, want)
		}
	}
	if len(seen) != n {
		t.Errorf("%d updates, want %d", len(seen), n)
	}
}

// testOthersGoOn holds one credential up and changes another meanwhile.
func testOthersGoOn(t *testing.T, open func() store.Credentials) {
	h, other := open(), open()
	mustPutCredential(t, h, oauth("slow", 1), oauth("quick", 2))
	_, err := h.UpdateCredential(t.Context(), store.CredentialKey{Provider: "slow"}, func(c *store.Credential) error {
		mustPutCredential(t, other, oauth("quick", 3))
		c.Access = store.NewSecretText("renewed")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slow := oauth("slow", 1)
	slow.Access = store.NewSecretText("renewed")
	wantCredentials(t, h, oauth("quick", 3), slow)
}

func testParallelSignIns(t *testing.T, open func() store.Credentials) {
	const n = 12
	handles := make([]store.Credentials, n)
	var want []store.Credential
	for i := range n {
		handles[i] = open()
		want = append(want, apiKey(fmt.Sprintf("p%02d", i), i))
	}
	ctx := t.Context()
	if err := errors.Join(parallel(n, func(i int) error { return handles[i].PutCredential(ctx, want[i]) })...); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, func(a, b store.Credential) int { return strings.Compare(a.Provider, b.Provider) })
	wantCredentials(t, handles[0], want...)
}
