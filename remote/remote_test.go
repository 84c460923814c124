package remote_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/remote"
)

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := remote.ParseURL(text, "https", "http")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestPlain reaches no other machine without TLS, unless it was named so.
func TestPlain(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://example.com": true, "http://127.0.0.1:80": true, "http://127.9.9.9": true, "http://[::1]:8080": true,
		"http://localhost": true, "http://example.com": false, "http://192.168.0.1": false, "http://0.0.0.0": false,
		"http://localhost.example.com": false, "http://[::ffff:127.0.0.1]": true, "http://127.1": false, "http://2130706433": false,
	} {
		_, err := remote.New(remote.Config{Origin: parse(t, address)})
		if got := err == nil; got != want || err != nil && !errors.Is(err, remote.ErrPlain) {
			t.Errorf("New(%s) = %v, want that it works: %v", address, err, want)
		}
	}
	if _, err := remote.New(remote.Config{Origin: parse(t, "http://example.com"), AllowHTTP: true}); err != nil {
		t.Error(err)
	}
	if _, err := remote.New(remote.Config{}); err == nil {
		t.Error("New of nothing succeeds")
	}
}

// TestCredentialHeader reads a credential in each of its notations.
func TestCredentialHeader(t *testing.T) {
	for text, want := range map[string]string{
		"a-token": "Bearer a-token", "Bearer a-token\n": "Bearer a-token", "bearer  a-token": "Bearer a-token",
		"Basic ada:secret": "Basic YWRhOnNlY3JldA==", "basic ada:a b": "Basic YWRhOmEgYg==",
		"Basic ada": "", "": "", "a\nb": "", "Bearer": "Bearer Bearer", "a\x00b": "",
	} {
		if strings.Contains(text, "\x00") {
			continue // no environment holds it
		}
		t.Setenv("OPENCODE_TEST_CREDENTIAL", text)
		c, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); (err == nil) != (want != "") {
			t.Errorf("%q: Check = %v", text, err)
			continue
		}
		if want == "" {
			continue
		}
		seen := make(chan string, 1)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Authorization") }))
		tr, err := remote.New(remote.Config{Origin: parse(t, server.URL), Credential: c})
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: tr}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		if got := <-seen; got != want {
			t.Errorf("%q: Authorization %q, want %q", text, got, want)
		}
		server.Close()
		for _, secret := range c.Secrets() {
			if !strings.Contains(text, secret) {
				t.Errorf("%q: the secret %q", text, secret)
			}
		}
	}
}

// TestCredentialRefused takes no credential itself, and none that others read.
func TestCredentialRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a-token", "Bearer x", "env:", "file:", "env:A=B", "ENV:A"} {
		if c, err := remote.ParseCredential(text); err == nil || !c.IsZero() {
			t.Errorf("ParseCredential(%q) = %v, %v", text, c, err)
		}
	}
	for _, text := range []string{"", "env:A", "=env:A", "host=x", "https://host=env:A", "a@host=env:A"} {
		if _, c, err := remote.ParseHostCredential(text); err == nil || !c.IsZero() || strings.Contains(err.Error(), "host=x") {
			t.Errorf("ParseHostCredential(%q) = %v, %v", text, c, err)
		}
	}
	if host, c, err := remote.ParseHostCredential("Host.example.com:8443=file:/x=y"); err != nil || host != "host.example.com:8443" || c.String() != "file:/x=y" {
		t.Errorf("ParseHostCredential = %q, %v, %v", host, c, err)
	}
	dir := t.TempDir()
	for name, want := range map[string]string{"missing": "no such file", "open": "others can read it", ".": "not a regular file", "large": "is too large"} {
		path := filepath.Join(dir, name)
		switch name {
		case "open":
			if err := os.WriteFile(path, []byte("x"), 0o640); err != nil {
				t.Fatal(err)
			}
		case "large":
			if err := os.WriteFile(path, make([]byte, 1<<17), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := remote.ParseCredential("file:" + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check = %v, want an error with %q", name, err, want)
		}
	}
}

// TestBody ends a body that is too long with an error, and no other.
func TestBody(t *testing.T) {
	t.Parallel()
	for _, declared := range []bool{false, true} {
		for size, want := range map[int]bool{0: true, 99: true, 100: true, 101: false, 100_000: false} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if !declared {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = w.Write(make([]byte, size))
			}))
			tr, err := remote.New(remote.Config{Origin: parse(t, server.URL), MaxBytes: 100})
			if err != nil {
				t.Fatal(err)
			}
			n, err := get(t, &http.Client{Transport: tr}, server.URL)
			if got := err == nil; got != want || n > 100 || want && n != size || err != nil && !errors.Is(err, remote.ErrTooLarge) {
				t.Errorf("%d bytes, declared %v: read %d, %v", size, declared, n, err)
			}
			server.Close()
		}
	}
}

func get(t *testing.T, c *http.Client, address string) (int, error) {
	t.Helper()
	res, err := c.Get(address)
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(res.Body)
	return len(b), errors.Join(err, res.Body.Close())
}
