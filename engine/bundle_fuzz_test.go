package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"reflect"
	"slices"
	"testing"

	"opencode/policies"
)

// FuzzBundle reads what claims to be a bundle, with a key and without, up to
// where its rules are compiled. Each file that is taken has one plain path, and
// is one that a directory could hold; with the key nothing is taken but what
// was signed, and from a server no extension without it.
//
// The input is the archive without its compression: a fuzzer that has to keep
// a checksum finds little.
func FuzzBundle(f *testing.F) {
	signing, verification := fuzzKeys(f)
	b, err := Build(f.Context(), BuildConfig{Default: policies.FS, Dir: "../policies/examples/ci-readonly", Signing: signing})
	if err != nil {
		f.Fatal(err)
	}
	signed, err := readArchiveBytes(b.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tarOf(f, signed))
	f.Add(tarOf(f, []archived{{"/a.rego", []byte("package team.a\n\ndeny contains 1\n")}, {"./team/a/data.yaml", []byte("x: 1\n")}}))
	f.Add(tarOf(f, []archived{
		{"/.manifest", []byte(`{"wasm": [{"entrypoint": "team/a/deny", "module": "/policy.wasm"}], "metadata": {"opencode": {"rules": {"a.b": {"team": "a", "at": "a.rego:1"}}}}}`)},
		{"/policy.wasm", []byte("\x00asm\x01\x00\x00\x00")},
		{"/a.rego", []byte("package team.a\n\nx := 1\n")},
	}))
	f.Add(tarOf(f, []archived{{"/../a.rego", []byte("package team.a\n")}, {"x/.manifest", []byte("{}")}}))
	f.Add(tarOf(f, []archived{{"/ext/x/manifest.json", []byte("{}")}, {"./ext/x/x.wasm", []byte("\x00asm\x01\x00\x00\x00")}, {"ext/x/main.go", nil}}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		var zipped bytes.Buffer
		w, err := gzip.NewWriterLevel(&zipped, gzip.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(archive); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := readArchiveBytes(zipped.Bytes())
		if err != nil {
			return
		}
		var seen []string
		for _, a := range files {
			if !fs.ValidPath(a.path) || slices.Contains(seen, a.path) {
				t.Errorf("holds the path %q after %q", a.path, seen)
			}
			seen = append(seen, a.path)
		}
		s := &sources{schemas: policies.FS}
		if err := s.addBundle("x.tar.gz", originTeam, false, files); err == nil {
			for _, f := range s.files {
				if !f.generated && (!s.wanted(f.rel) || !slices.Contains(seen, f.rel)) {
					t.Errorf("takes the file %q of %q", f.rel, seen)
				}
			}
			for _, e := range s.all()[len(s.files):] {
				if _, ok := extensionFile(e.rel); !ok || !slices.Contains(seen, e.rel) {
					t.Errorf("takes the file %q of an extension, of %q", e.rel, seen)
				}
			}
			for _, g := range s.guests {
				if len(g.teams) == 0 || !slices.Contains(seen, wasmFile) {
					t.Errorf("takes a module with %v of %q", g.teams, seen)
				}
			}
		}
		from := &sources{schemas: policies.FS}
		if err := from.addBundle("x.tar.gz", originTeam, true, files); err == nil && len(from.extensions) > 0 {
			t.Errorf("takes an extension from a server without a key: %q", seen)
		}
		by := &sources{schemas: policies.FS, verification: verification}
		if err := by.addBundle("x.tar.gz", originTeam, false, files); err != nil {
			return
		}
		for _, a := range files {
			same := func(b archived) bool { return a.path == b.path && (a.path == signaturesFile || sameDocument(a, b)) }
			if len(by.guests) == 0 && !slices.ContainsFunc(signed, same) {
				t.Errorf("takes %q, which was not signed", a.path)
			}
		}
	})
}

// tarOf makes an archive without compression.
func tarOf(tb testing.TB, files []archived) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: 0o600, Size: int64(len(f.data))}); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// sameDocument reports whether two files hold the same, as a signature has it.
func sameDocument(a, b archived) bool {
	if bytes.Equal(a.data, b.data) {
		return true
	}
	x, err := file{rel: "data.json", data: a.data}.jsonValue()
	if err != nil {
		return false
	}
	y, err := file{rel: "data.json", data: b.data}.jsonValue()
	return err == nil && reflect.DeepEqual(x, y)
}

// fuzzKeys returns the two halves of a key.
func fuzzKeys(tb testing.TB) (*Signing, *Verification) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := NewSigning(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "")
	if err != nil {
		tb.Fatal(err)
	}
	v, err := NewVerification(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "", "")
	if err != nil {
		tb.Fatal(err)
	}
	return s, v
}
