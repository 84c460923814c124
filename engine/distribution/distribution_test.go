package distribution_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/engine/distribution"
	"opencode/remote"
)

// TestNewBundle takes a bundle, is told that it has not changed, and takes the
// next.
func TestNewBundle(t *testing.T) {
	t.Parallel()
	one, two := plain(t, 1), plain(t, 2)
	server := newBundleServer(t, one)
	s := open(t, config(t, server.URL+"/team/bundle.tar.gz"))
	wantFile(t, s, one)
	if info := s.Info(); info.Revision != "r1" || info.ETag == "" || info.Error != "" || info.Confirmed.IsZero() || len(info.SHA256) != 64 {
		t.Errorf("info %+v", info)
	}
	activated := 0
	activate := func(context.Context) error { activated++; return nil }
	for range 3 {
		if changed, err := s.Poll(t.Context(), activate); changed || err != nil {
			t.Fatalf("Poll = %v, %v of what has not changed", changed, err)
		}
	}
	if requests, served := server.counts(); requests != 4 || served != 1 || activated != 0 {
		t.Errorf("%d requests, %d bundles, %d activations, want 4, 1, 0", requests, served, activated)
	}
	server.give(two, nil)
	if changed, err := s.Poll(t.Context(), activate); !changed || err != nil || activated != 1 {
		t.Errorf("Poll = %v, %v, %d activations of a new bundle", changed, err, activated)
	}
	wantFile(t, s, two)
	if got := s.Info().Revision; got != "r2" {
		t.Errorf("revision %q, want r2", got)
	}
	wantModes(t, filepath.Dir(s.Path()))
}

// wantModes holds what is kept to the user alone, and to the files that belong
// there.
func wantModes(t *testing.T, dir string) {
	t.Helper()
	names := map[string]bool{"bundle.tar.gz": true, "bundle.json": true, "lock": true}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !d.IsDir() && !names[d.Name()] {
			t.Errorf("%s was left", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestart asks with the etag of what is kept, and gets no bundle again.
func TestRestart(t *testing.T) {
	t.Parallel()
	one := plain(t, 1)
	server := newBundleServer(t, one)
	cfg := config(t, server.URL+"/bundle.tar.gz")
	open(t, cfg)
	wantFile(t, open(t, cfg), one)
	if requests, served := server.counts(); requests != 2 || served != 1 {
		t.Errorf("%d requests, %d bundles, want 2, 1", requests, served)
	}
	// What is known belongs to another file: the whole is asked for.
	s := open(t, cfg)
	if err := os.WriteFile(s.Path(), plain(t, 9), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, open(t, cfg), one)
}

// TestServerAway starts with what is kept, and refuses to start without.
func TestServerAway(t *testing.T) {
	t.Parallel()
	one := plain(t, 1)
	server := newBundleServer(t, one)
	cfg := config(t, server.URL+"/bundle.tar.gz")
	empty := cfg
	empty.Dir = t.TempDir()
	started := time.Now()
	open(t, cfg)
	server.Close()

	if s, err := distribution.Open(t.Context(), empty); !errors.Is(err, distribution.ErrNoBundle) {
		t.Errorf("Open = %v, %v with nothing kept and the server away, want ErrNoBundle", s, err)
	}
	var log logs
	cfg.Logger = log.logger()
	cfg.Now = func() time.Time { return started.Add(90 * time.Hour) }
	s := open(t, cfg)
	wantFile(t, s, one)
	if got := log.String(); !strings.Contains(got, "starting with the policy that was kept") || !strings.Contains(got, "revision=r1") || !strings.Contains(got, "age=89h59m") && !strings.Contains(got, "age=90h0m0s") {
		t.Errorf("log %q, want a warning with revision and age", got)
	}
	if info := s.Info(); info.Error == "" || info.Revision != "r1" {
		t.Errorf("info %+v, want the revision and an error", info)
	}
	for range 5 {
		if _, err := s.Poll(t.Context(), nil); err == nil {
			t.Fatal("Poll succeeds with the server away")
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors logged, want 1: %s", n, log.String())
	}
}

// TestRefused holds that what is no good bundle changes nothing, and is told
// once.
func TestRefused(t *testing.T) {
	t.Parallel()
	key, other := newSigner(t), newSigner(t)
	good := key.signed(t, 1, nil)
	next := key.signed(t, 2, nil)
	for _, row := range []struct {
		name    string
		body    []byte
		handler http.HandlerFunc
		want    string
	}{
		{"not signed", plain(t, 2), nil, "missing .signatures.json"},
		{"signed by somebody else", other.signed(t, 2, nil), nil, "verify"},
		{"altered", key.signed(t, 2, func(f map[string]string) { f["team.rego"] = module(3) }), nil, "digest mismatch"},
		{"with another file", key.signed(t, 2, func(f map[string]string) { f["more.rego"] = "package team.more" }), nil, "more.rego"},
		{"without a file", key.signed(t, 2, func(f map[string]string) { delete(f, "team.rego") }), nil, "team.rego"},
		{"cut off", next[:len(next)/2], nil, "unexpected EOF"},
		{"no archive", []byte("<html><body>it works</body></html>"), nil, "gzip"},
		{"empty", []byte{}, nil, "EOF"},
		{"a change of a bundle", archive(t, map[string]string{"patch.json": delta}), nil, "delta"},
		{"unauthorized", nil, status(http.StatusUnauthorized), "401"},
		{"forbidden", nil, status(http.StatusForbidden), "403"},
		{"not found", nil, status(http.StatusNotFound), "404"},
		{"broken", nil, status(http.StatusInternalServerError), "500"},
		{"a loop of redirects", nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, "redirects"},
		{"a redirect away from TLS", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://bundles.example.com/bundle.tar.gz", http.StatusFound)
		}, "is not reached by https"},
		{"a connection that breaks", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(next[:10])
		}, "EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server := newBundleServer(t, good)
			cfg := config(t, server.URL+"/bundle.tar.gz")
			cfg.Verification = key.public
			var log logs
			cfg.Logger = log.logger()
			s := open(t, cfg)
			server.give(row.body, row.handler)
			for range 3 {
				changed, err := s.Poll(t.Context(), func(context.Context) error {
					t.Error("activated")
					return nil
				})
				if changed {
					t.Error("Poll reports a change")
				}
				wantError(t, err, row.want)
			}
			wantFile(t, s, good)
			wantModes(t, filepath.Dir(s.Path()))
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
				t.Errorf("%d errors logged, want 1: %s", n, log.String())
			}
			if info := s.Info(); info.Revision != "r1" || !strings.Contains(info.Error, row.want) {
				t.Errorf("info %+v", info)
			}
			// The server comes to its senses.
			server.give(next, nil)
			if changed, err := s.Poll(t.Context(), accept2); !changed || err != nil {
				t.Errorf("Poll = %v, %v of a good bundle", changed, err)
			}
			wantFile(t, s, next)
			if info := s.Info(); info.Error != "" || info.Revision != "r2" {
				t.Errorf("info %+v", info)
			}
			// Nothing but a good one is ever started with.
			empty := cfg
			empty.Dir = t.TempDir()
			server.give(row.body, row.handler)
			if _, err := distribution.Open(t.Context(), empty); !errors.Is(err, distribution.ErrNoBundle) {
				t.Errorf("Open = %v, want ErrNoBundle", err)
			}
			if _, err := os.Stat(filepath.Join(empty.Dir, filepath.Base(filepath.Dir(s.Path())), "bundle.tar.gz")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a bundle was kept: %v", err)
			}
		})
	}
}

// delta is what a server may send instead of a whole bundle.
const delta = `{"data":[{"op":"upsert","path":"/team/x","value":1}]}`

// TestDelta refuses a change of a bundle where nothing need be signed.
func TestDelta(t *testing.T) {
	t.Parallel()
	server := newBundleServer(t, archive(t, map[string]string{"patch.json": delta}))
	_, err := distribution.Open(t.Context(), config(t, server.URL+"/bundle.tar.gz"))
	wantError(t, err, "is a change of a bundle")
}

func accept2(context.Context) error { return nil }

// TestSignedWithoutKey refuses a signature that nobody can verify.
func TestSignedWithoutKey(t *testing.T) {
	t.Parallel()
	server := newBundleServer(t, newSigner(t).signed(t, 1, nil))
	_, err := distribution.Open(t.Context(), config(t, server.URL+"/bundle.tar.gz"))
	wantError(t, err, "verification key not provided")
}

// TestKeptIsVerified does not start with a kept bundle that is not signed by
// the key of now.
func TestKeptIsVerified(t *testing.T) {
	t.Parallel()
	server := newBundleServer(t, plain(t, 1))
	cfg := config(t, server.URL+"/bundle.tar.gz")
	open(t, cfg)
	server.Close()
	cfg.Verification = newSigner(t).public
	_, err := distribution.Open(t.Context(), cfg)
	if !errors.Is(err, distribution.ErrNoBundle) {
		t.Errorf("Open = %v, want ErrNoBundle", err)
	}
	wantError(t, err, "missing .signatures.json")
}

// TestDoesNotLoad keeps the bundle before when the new one is good and the
// policy with it is not.
func TestDoesNotLoad(t *testing.T) {
	t.Parallel()
	one, two := plain(t, 1), plain(t, 2)
	bad := errors.New("team.rego:3: var x is unsafe")
	for _, row := range []struct {
		name            string
		check, activate error
	}{{"in the check", bad, nil}, {"when it is activated", nil, bad}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server := newBundleServer(t, one)
			var log logs
			cfg := config(t, server.URL+"/bundle.tar.gz")
			cfg.Logger = log.logger()
			checkErr, activateErr := error(nil), row.activate
			cfg.Check = func(_ context.Context, path string) error {
				if b, err := os.ReadFile(path); err != nil || !strings.HasSuffix(path, ".tar.gz") || len(b) == 0 {
					t.Errorf("check of %s: %v", path, err)
				}
				return checkErr
			}
			s := open(t, cfg)
			checkErr = row.check
			server.give(two, nil)
			for range 3 {
				_, err := s.Poll(t.Context(), func(context.Context) error {
					wantFile(t, s, two)
					return activateErr
				})
				if !errors.Is(err, bad) {
					t.Errorf("Poll = %v, want what is wrong", err)
				}
				wantFile(t, s, one)
			}
			wantModes(t, filepath.Dir(s.Path()))
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
				t.Errorf("%d errors logged, want 1: %s", n, log.String())
			}
			// Something else was wrong, and is not any more.
			checkErr, activateErr = nil, nil
			if changed, err := s.Poll(t.Context(), accept2); !changed || err != nil {
				t.Errorf("Poll = %v, %v", changed, err)
			}
			wantFile(t, s, two)
			if !strings.Contains(log.String(), "revision=r2") {
				t.Errorf("log %s", log.String())
			}
		})
	}
}

// TestDiedInBetween starts with the bundle that is known to have been in force.
func TestDiedInBetween(t *testing.T) {
	t.Parallel()
	one, two := plain(t, 1), plain(t, 2)
	server := newBundleServer(t, one)
	cfg := config(t, server.URL+"/bundle.tar.gz")
	s := open(t, cfg)
	server.give(two, nil)
	dir := filepath.Dir(s.Path())
	saved := t.TempDir()
	if _, err := s.Poll(t.Context(), func(context.Context) error {
		return os.CopyFS(saved, os.DirFS(dir)) // what a server that dies now leaves
	}); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, ".new-1"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	wantFile(t, again, one)
	if got := again.Info().Revision; got != "r1" {
		t.Errorf("revision %q, want r1", got)
	}
	if _, err := os.Stat(filepath.Join(dir, ".new-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of the dead is left: %v", err)
	}
}

// TestFlapping goes back and forth, and always has a good bundle.
func TestFlapping(t *testing.T) {
	t.Parallel()
	bundles := [][]byte{plain(t, 0), plain(t, 1)}
	server := newBundleServer(t, bundles[0])
	s := open(t, config(t, server.URL+"/bundle.tar.gz"))
	for i := range 20 {
		want := bundles[i%2]
		server.give(want, nil)
		if i%3 == 1 {
			server.give(nil, status(http.StatusBadGateway))
			if _, err := s.Poll(t.Context(), accept2); err == nil {
				t.Fatal("no error")
			}
			server.give(want, nil)
		}
		if _, err := s.Poll(t.Context(), accept2); err != nil {
			t.Fatal(err)
		}
		wantFile(t, s, want)
		if got := s.Info().Revision; got != fmt.Sprintf("r%d", i%2) {
			t.Errorf("round %d: revision %s", i, got)
		}
	}
}

// TestLimits refuses what is too large as it is sent, in one file, or unpacked.
func TestLimits(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	zeros := strings.Repeat(" ", 17<<20)
	// Each part alone is within the limits.
	part := archive(t, map[string]string{"data.json": zeros[:15<<20]})
	many := bytes.Repeat(part, 9)
	sparse, err := os.ReadFile("../testdata/sparse.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		body    []byte
		handler http.HandlerFunc
		want    string
	}{
		{"one file", archive(t, map[string]string{"data.json": zeros}), nil, "exceeds configured size_limit_bytes"},
		{"unpacked", many, nil, "when it is unpacked"},
		{"sparse", sparse, nil, "when it is unpacked"},
		{"declared", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "17000000")
			w.WriteHeader(http.StatusOK)
		}, "more than 16777216 bytes"},
		{"without end", nil, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "more than 16777216 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server := newBundleServer(t, good)
			s := open(t, config(t, server.URL+"/bundle.tar.gz"))
			server.give(row.body, row.handler)
			_, err := s.Poll(t.Context(), accept2)
			wantError(t, err, row.want)
			wantFile(t, s, good)
		})
	}
}

// TestSlow gives up on a server that sends nothing, or one byte after the other.
func TestSlow(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	for _, send := range []bool{false, true} {
		server := newBundleServer(t, good)
		cfg := config(t, server.URL+"/bundle.tar.gz")
		s := open(t, cfg)
		arrived := make(chan struct{})
		server.give(nil, func(w http.ResponseWriter, r *http.Request) {
			if send {
				_, _ = w.Write(good[:1])
				_ = http.NewResponseController(w).Flush()
			}
			close(arrived)
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		if _, err := s.Poll(ctx, accept2); !errors.Is(err, context.Canceled) {
			t.Errorf("Poll = %v, want that it ended", err)
		}
		wantFile(t, s, good)
	}
}

// TestTimeout ends a download by itself.
func TestTimeout(t *testing.T) {
	t.Parallel()
	server := newBundleServer(t, nil)
	server.give(nil, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cfg := config(t, server.URL+"/bundle.tar.gz")
	cfg.Timeout = 20 * time.Millisecond
	_, err := distribution.Open(t.Context(), cfg)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, distribution.ErrNoBundle) {
		t.Errorf("Open = %v, want a deadline", err)
	}
}

// TestCredential goes to the server that it is for, whoever redirects to whom.
func TestCredential(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	other := newBundleServer(t, good)
	server := newBundleServer(t, good)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("Bearer first-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	credential, err := remote.ParseCredential("file:" + file)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, server.URL+"/bundle.tar.gz")
	cfg.Credential = credential
	s := open(t, cfg)
	if got := server.last().Header.Get("Authorization"); got != "Bearer first-token" {
		t.Errorf("Authorization %q", got)
	}
	// It is read again each time.
	if err := os.WriteFile(file, []byte("Basic ada:secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Poll(t.Context(), accept2); err != nil {
		t.Fatal(err)
	}
	if user, password, ok := server.last().BasicAuth(); !ok || user != "ada" || password != "secret" {
		t.Errorf("Basic %q %q", user, password)
	}
	// Plain HTTP to another port is refused at once: it is another server.
	server.give(nil, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err = s.Poll(t.Context(), accept2)
	wantError(t, err, "is not reached by https")
	if n, _ := other.counts(); n != 0 {
		t.Errorf("%d requests to the other server", n)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = s.Poll(t.Context(), accept2)
	wantError(t, err, "others can read it")
}

// TestRedirect follows to another host over TLS, without the credential.
func TestRedirect(t *testing.T) {
	t.Setenv("OPENCODE_TEST_CREDENTIAL", "Bearer a-token")
	good := plain(t, 1)
	seen := make(chan http.Header, 1)
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Clone()
		_, _ = w.Write(good)
	}))
	defer other.Close()
	credential, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
	if err != nil {
		t.Fatal(err)
	}
	server := newBundleServer(t, nil)
	server.give(nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer a-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, other.URL+"/b?signature=secret-query", http.StatusTemporaryRedirect)
	})
	cfg := config(t, server.URL+"/bundle.tar.gz")
	cfg.Credential, cfg.Base = credential, other.Client().Transport
	s := open(t, cfg)
	wantFile(t, s, good)
	header := <-seen
	for _, name := range []string{"Authorization", "Cookie", "Referer"} {
		if got := header.Get(name); got != "" {
			t.Errorf("%s %q reached the other host", name, got)
		}
	}
	other.Close()
	var log logs
	cfg.Logger = log.logger()
	_, err = open(t, cfg).Poll(t.Context(), accept2)
	if err == nil || strings.Contains(err.Error()+log.String(), "secret-query") || strings.Contains(err.Error()+log.String(), "a-token") {
		t.Errorf("error %v, log %s: want one without the address and the token", err, log.String())
	}
}

// TestAddress refuses what is not the address of a bundle, without quoting
// what may be a credential.
func TestAddress(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ source, want string }{
		{"https://bundles.example.com", "names no bundle"},
		{"https://bundles.example.com/", "names no bundle"},
		{"https:///bundle.tar.gz", "has no host"},
		{"https://ada:hunter2@bundles.example.com/b.tar.gz", "holds a user or a password"},
		{"https://bundles.example.com/b.tar.gz#x", "has a fragment"},
		{"http://bundles.example.com/b.tar.gz", "is not reached by https"},
		{"http://127.0.0.1.example.com/b.tar.gz", "is not reached by https"},
		{"http://169.254.169.254/b.tar.gz", "is not reached by https"},
		{"oci+http://registry.example.com/a/b:1", "is not reached by https"},
		{"ftp://bundles.example.com/b.tar.gz", "want https"},
		{"file:///etc/passwd", "want https"},
		{"oci://registry.example.com/team/policy", "neither a tag nor a digest"},
		{"oci://registry.example.com/team/../policy:1", "no name of a repository"},
		{"oci://registry.example.com/team/policy:", "no name of a tag"},
		{"oci://registry.example.com/team/policy@sha256:12", "64 hexadecimal digits"},
		{"oci://registry.example.com/team/policy@sha512:12", "64 hexadecimal digits"},
		{"oci://registry.example.com/a:1?x=y", "has a query"},
		{"https://bundles.example.com/%zz", "is not a URL"},
	} {
		_, err := distribution.Open(t.Context(), distribution.Config{Source: row.source, Dir: t.TempDir(), Check: accept})
		wantError(t, err, row.want)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v quotes the password", err)
		}
	}
	if _, err := distribution.Open(t.Context(), distribution.Config{}); err == nil {
		t.Error("Open of nothing succeeds")
	}
}

// TestAllowedHTTP sends no credential over plain HTTP to another machine, also
// where that is allowed.
func TestAllowedHTTP(t *testing.T) {
	t.Setenv("OPENCODE_TEST_CREDENTIAL", "a-token")
	credential, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
	if err != nil {
		t.Fatal(err)
	}
	good := plain(t, 1)
	cfg := config(t, "http://bundles.example.com/bundle.tar.gz")
	cfg.AllowHTTP, cfg.Credential = true, credential
	cfg.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("Authorization %q", got)
		}
		return answer(r, http.StatusOK, good, nil), nil
	})
	wantFile(t, open(t, cfg), good)
}
