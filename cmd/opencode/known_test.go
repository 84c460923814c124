package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"opencode/redact"
	"opencode/store"
)

// newKnown returns what is known of a home of its own.
func newKnown(t *testing.T) (*knownSecrets, string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", envAuthContent} {
		t.Setenv(name, "")
	}
	c, err := newKnownSecrets(func() []string { return []string{"MY_TOKEN=of-the-environment", "PATH=/usr/bin"} })
	if err != nil {
		t.Fatal(err)
	}
	return c, filepath.Join(home, ".local", "share", "opencode", "auth.json")
}

// TestKnownSecretsOfEachKind takes in entries of each kind.
func TestKnownSecretsOfEachKind(t *testing.T) {
	c, _ := newKnown(t)
	c.add([]byte(`{
		"a": {"type": "api", "key": "an-api-key", "method": "by-a-method", "metadata": {"m": "metadata-text"}, "created": 1},
		"b": {"type": "oauth", "access": "an-access-token", "refresh": "a-refresh-token", "expires": 5, "accountId": "an-account", "more": ["something-else"]},
		"https://gw": {"type": "wellknown", "key": "A_VARIABLE", "token": "a-gateway-token"},
		"c": {"type": "of-tomorrow", "deep": {"text": "an-unknown-secret"}},
		"d": "a-bare-text"
	}`))
	want := []string{"a-bare-text", "a-gateway-token", "a-refresh-token", "an-access-token", "an-api-key", "an-unknown-secret", "of-the-environment", "something-else"}
	if got := c.values(); !slices.Equal(got, want) {
		t.Errorf("values = %q, want %q", got, want)
	}
	c.add([]byte(`no JSON`))
	c.add([]byte(`{"a": {"type": "api", "key": "the-next-key"}}`))
	if got := c.values(); len(got) != len(want)+1 || !slices.Contains(got, "the-next-key") || !slices.Contains(got, "an-api-key") {
		t.Errorf("values = %q, want those before and the next", got)
	}
}

// TestKnownSecretsAreBounded renews one credential for longer than anything
// runs, or as somebody does who may write and wants to fill the memory.
func TestKnownSecretsAreBounded(t *testing.T) {
	c, _ := newKnown(t)
	renewed := func(i int) string { return fmt.Sprintf("%d-%s", i, strings.Repeat("x", 4000)) }
	for i := range 1000 {
		c.add(fmt.Appendf(nil, `{"stays": {"type": "api", "key": "what-stays"}, "a": {"type": "oauth", "access": %q, "refresh": "r-%d"}}`, renewed(i), i))
	}
	list := c.values()
	size := 0
	for _, value := range list {
		size += len(value)
	}
	if size > 1<<20 {
		t.Errorf("%d values have %d bytes", len(list), size)
	}
	for _, value := range []string{"of-the-environment", "what-stays", renewed(999), renewed(998), renewed(900), "r-999", "r-900"} {
		if !slices.Contains(list, value) {
			t.Errorf("%.12s is not known", value)
		}
	}
	if slices.Contains(list, renewed(0)) {
		t.Error("the oldest is known still")
	}
	// What is kept now is known, however much it is.
	entries := map[string]map[string]string{}
	for i := range 1000 {
		entries[strconv.Itoa(i)] = map[string]string{"type": "api", "key": renewed(i)}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	c.add(text)
	list = c.values()
	for i := range 1000 {
		if _, found := slices.BinarySearch(list, renewed(i)); !found {
			t.Fatalf("key %d is not known", i)
		}
	}
}

// TestKnownSecretsReadThemselves has a store that logs while it is read, and
// whose log asks for the values.
func TestKnownSecretsReadThemselves(t *testing.T) {
	c, path := newKnown(t)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(`{}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	redactor := redact.New(redact.Config{Known: c.values})
	logger := slog.New(redact.NewHandler(slog.NewTextHandler(&out, nil), redactor))
	c.follow(logger)
	reads := 0
	c.read = func(context.Context) error {
		reads++
		c.add([]byte(`{"a": {"type": "api", "key": "what-was-read"}}`))
		logger.Info("while what-was-read is read")
		return store.ErrLocked
	}
	for range 3 {
		logger.Info("what-was-read")
	}
	if strings.Contains(out.String(), "what-was-read") || reads != 1 {
		t.Errorf("%d reads, want 1; log %s", reads, out.String())
	}
	if strings.Count(out.String(), "credentials cannot be read") != 1 {
		t.Errorf("the log says not once what is wrong: %s", out.String())
	}
}

// TestKnownSecretsAtOnce logs from everywhere while the files change.
func TestKnownSecretsAtOnce(t *testing.T) {
	c, _ := newKnown(t)
	logger := slog.New(slog.DiscardHandler)
	c.follow(logger)
	kept, err := openFiles(console{}, logger, protectionFlags{}, c.add)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 5 {
				key := "key-of-" + strings.Repeat("x", i+1)
				one := store.Credential{CredentialKey: store.CredentialKey{Provider: key}, Kind: store.CredentialAPI, Key: store.NewSecretText(key)}
				if err := kept.store.PutCredential(t.Context(), one); err != nil {
					t.Error(err)
				}
				// What one has kept is known to that one at once.
				if !slices.Contains(c.values(), key) {
					t.Errorf("%s is not known", key)
				}
			}
		})
	}
	all.Wait()
}
