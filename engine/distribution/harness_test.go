package distribution_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"opencode/engine/distribution"
)

// module is a policy with a revision in it, so that bundles differ.
func module(n int) string {
	return fmt.Sprintf("package team.web\n\nrevision := %d\n", n)
}

// archive returns the files as they are sent.
func archive(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: "/" + name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), gz.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// plain returns a bundle that is not signed.
func plain(tb testing.TB, n int) []byte {
	tb.Helper()
	return archive(tb, map[string]string{
		".manifest": fmt.Sprintf(`{"revision":"r%d","roots":["team"]}`, n),
		"team.rego": module(n),
	})
}

// signer signs bundles with a key that it makes.
type signer struct {
	private string
	public  *bundle.VerificationConfig
}

func newSigner(tb testing.TB) signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	text := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return signer{
		private: text("PRIVATE KEY", private),
		public: bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{
			"team": {Key: text("PUBLIC KEY", public), Algorithm: "ES256"},
		}, "team", "", nil),
	}
}

// signed returns a bundle whose files are signed, and then changed by edit.
func (s signer) signed(tb testing.TB, n int, edit func(files map[string]string)) []byte {
	tb.Helper()
	files := map[string]string{
		".manifest": fmt.Sprintf(`{"revision":"r%d","roots":["team"]}`, n),
		"team.rego": module(n),
	}
	var list []bundle.FileInfo
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	for name, text := range files {
		var value any = []byte(text)
		if name == ".manifest" {
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				tb.Fatal(err)
			}
		}
		sum, err := hasher.HashFile(value)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, bundle.NewFile(name, hex.EncodeToString(sum), "SHA-256"))
	}
	token, err := bundle.GenerateSignedToken(list, bundle.NewSigningConfig(s.private, "ES256", ""), "team")
	if err != nil {
		tb.Fatal(err)
	}
	signatures, err := json.Marshal(map[string]any{"signatures": []string{token}})
	if err != nil {
		tb.Fatal(err)
	}
	files[".signatures.json"] = string(signatures)
	if edit != nil {
		edit(files)
	}
	return archive(tb, files)
}

// bundleServer is a server of one bundle.
type bundleServer struct {
	*httptest.Server

	mu       sync.Mutex
	body     []byte
	handler  http.HandlerFunc // instead, if not nil
	requests []*http.Request
	served   int // whole bundles
}

func newBundleServer(tb testing.TB, body []byte) *bundleServer {
	tb.Helper()
	s := &bundleServer{body: body}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	tb.Cleanup(s.Close)
	return s
}

func (s *bundleServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	body, handler := s.body, s.handler
	s.requests = append(s.requests, r.Clone(context.Background()))
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:4]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.mu.Lock()
	s.served++
	s.mu.Unlock()
	_, _ = w.Write(body)
}

// give makes the server have another bundle, or do something else.
func (s *bundleServer) give(body []byte, handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.handler = body, handler
}

func (s *bundleServer) counts() (requests, served int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests), s.served
}

func (s *bundleServer) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

// status answers with a status alone.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// accept is a check that any bundle passes.
func accept(context.Context, string) error { return nil }

// config returns the configuration of a source on a server.
func config(tb testing.TB, url string) distribution.Config {
	tb.Helper()
	return distribution.Config{Source: url, Dir: filepath.Join(tb.TempDir(), "policy"), Check: accept, Timeout: 20 * time.Second}
}

func open(tb testing.TB, cfg distribution.Config) *distribution.Source {
	tb.Helper()
	s, err := distribution.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// wantFile holds the file of a source to a bundle.
func wantFile(tb testing.TB, s *distribution.Source, want []byte) {
	tb.Helper()
	got, err := os.ReadFile(s.Path())
	if err != nil || !bytes.Equal(got, want) {
		tb.Errorf("%s holds %d bytes (%v), want the %d of the bundle", s.Path(), len(got), err, len(want))
	}
}

// wantError holds an error to a text.
func wantError(tb testing.TB, err error, part string) {
	tb.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		tb.Errorf("error %v, want one with %q", err, part)
	}
}

// logs is what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
