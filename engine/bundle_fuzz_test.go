package engine_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// FuzzBundle reads what claims to be a bundle, with a key and without. Whatever
// loads still denies what the default policy does not let anybody change, and
// nothing loads that the key has not signed.
func FuzzBundle(f *testing.F) {
	key := p256(f)
	signed := key.sign(f, "", false, example)
	verification := key.verification(f, "")
	for _, b := range [][]byte{
		signed, built(f, false, example),
		archiveOf(f, entry{name: "/a.rego", data: denial("a", "a.one")}),
		archiveOf(f, entry{name: "a.rego", data: "package team.a\n"}, entry{name: "./data.json", data: `{"team": {"a": {}}}`}),
		archiveOf(f, entry{name: "/../a.rego", data: "package team.a\n"}),
		archiveOf(f, entry{name: "/.manifest", data: `{"wasm": [{"entrypoint": "team/a/deny", "module": "/policy.wasm"}]}`}, entry{name: "/policy.wasm", data: "\x00asm\x01\x00\x00\x00"}),
	} {
		f.Add(unzipped(f, b))
	}
	anonymous := policy.FromRequest(time.Unix(1795188323, 0), policy.Anonymous(), policy.HTTP{Method: "POST", Path: "/session", Host: "127.0.0.1:4096"})
	f.Fuzz(func(t *testing.T, archive []byte) {
		path := filepath.Join(t.TempDir(), "policy.tar.gz")
		if err := os.WriteFile(path, gzipped(t, archive), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}})
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the bundle: %v", err)
			}
			return
		}
		for _, file := range e.Info().Files {
			if rest, ok := strings.CutPrefix(file, path); ok && (strings.Contains(rest, "..") || strings.Contains(rest, "//")) {
				t.Errorf("holds the file %q", file)
			}
		}
		if d, err := e.Decide(t.Context(), anonymous); err == nil && d.Effect != policy.Deny {
			t.Errorf("anybody may: %v by %v", d.Effect, ids(d))
		}
		if by, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}, Verification: verification}); err == nil {
			good, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{writeBundle(t, signed)}})
			if err != nil || by.Digest() != good.Digest() {
				t.Errorf("loads, and is not what was signed: %v", err)
			}
		}
	})
}

// unzipped returns the archive in a bundle: a fuzzer that has to keep a
// checksum finds little.
func unzipped(tb testing.TB, b []byte) []byte {
	tb.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	archive, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return archive
}
