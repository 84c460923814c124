package engine_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

// keyPair is a key of a test, in PEM.
type keyPair struct{ private, public []byte }

func pair(tb testing.TB, private crypto.Signer, err error) keyPair {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	a, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return keyPair{
		private: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a}),
		public:  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}),
	}
}

func p256(tb testing.TB) keyPair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return pair(tb, key, err)
}

func (k keyPair) sign(tb testing.TB, algorithm string, wasm bool, files map[string]string) []byte {
	tb.Helper()
	signing, err := engine.NewSigning(k.private, algorithm)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := engine.Build(tb.Context(), engine.BuildConfig{Default: policies.FS, Dir: writeDir(tb, files), Wasm: wasm, Signing: signing})
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes
}

func (k keyPair) verification(tb testing.TB, algorithm string) *engine.Verification {
	tb.Helper()
	v, err := engine.NewVerification(k.public, algorithm, "")
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func TestSignedBundles(t *testing.T) {
	t.Parallel()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	ed := pair(t, edwards, err)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	rs := pair(t, long, err)
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	es384 := pair(t, wide, err)
	for _, row := range []struct {
		name      string
		key       keyPair
		algorithm string
		wasm      bool
	}{
		{"ES256", p256(t), "", false},
		{"ES256 of Wasm", p256(t), "ES256", true},
		{"ES384", es384, "", false},
		{"RS256", rs, "", false},
		{"PS512", rs, "PS512", false},
		{"EdDSA", ed, "", false},
	} {
		path := writeBundle(t, row.key.sign(t, row.algorithm, row.wasm, example))
		e, err := loaded(t, path, row.key.verification(t, row.algorithm))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		unsigned, err := loaded(t, writeBundle(t, built(t, row.wasm, example)), nil)
		if err != nil || unsigned.Digest() != e.Digest() {
			t.Errorf("%s: the digest depends on the signature: %v", row.name, err)
		}
		if _, err := loaded(t, path, nil); err != nil {
			t.Errorf("%s: without a key: %v", row.name, err)
		}
	}
}

// token64 is a part of a JSON web token.
func token64(v any) string {
	b, ok := v.([]byte)
	if !ok {
		b, _ = json.Marshal(v)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestRefusedSignatures(t *testing.T) {
	t.Parallel()
	key, other := p256(t), p256(t)
	v := key.verification(t, "")
	good := key.sign(t, "", false, example)
	// payloadOf is what was signed.
	var payload []byte
	for _, e := range unpack(t, good) {
		if e.name == "/.signatures.json" {
			var s struct{ Signatures []string }
			if err := json.Unmarshal([]byte(e.data), &s); err != nil {
				t.Fatal(err)
			}
			var err error
			if payload, err = base64.RawURLEncoding.DecodeString(strings.Split(s.Signatures[0], ".")[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	signatures := func(b []byte, text string) []byte {
		return edit(t, b, func(e *entry) {
			if e.name == "/.signatures.json" {
				e.data = text
			}
		})
	}
	jwt := func(parts ...string) string {
		return `{"signatures": ["` + strings.Join(parts, ".") + `"]}`
	}
	hs256 := func(secret []byte) string {
		text := token64(map[string]any{"alg": "HS256", "kid": "default"}) + "." + token64(payload)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return jwt(text, token64(mac.Sum(nil)))
	}
	change := func(name, old, with string) []byte {
		found := false
		b := edit(t, good, func(e *entry) {
			if e.name == name {
				found = strings.Contains(e.data, old)
				e.data = strings.Replace(e.data, old, with, 1)
			}
		})
		if !found {
			t.Fatalf("%s does not hold %q", name, old)
		}
		return b
	}
	block, _ := pem.Decode(key.public)
	empty := key.sign(t, "", false, map[string]string{"a.rego": "package team.a\n\nx := 1\n"})
	for name, row := range map[string]struct {
		bundle []byte
		want   string
	}{
		"unsigned":           {built(t, false, example), "is not signed"},
		"no signature":       {signatures(good, `{"signatures": []}`), "missing JWT"},
		"two signatures":     {signatures(good, `{"signatures": ["a.b.c", "a.b.c"]}`), "multiple JWTs"},
		"no JSON":            {signatures(good, `{`), ".signatures.json"},
		"altered rule":       {change("/web.rego", "deny contains", "allow contains"), "is not what was signed: web.rego"},
		"altered data":       {change("/data.json", `"curl":false`, `"curl":true`), "is not what was signed: data.json"},
		"key given twice":    {change("/data.json", `"curl":false`, `"curl":false,"wget":false,"wget":1`), `"wget" is given twice`},
		"twice in manifest":  {change("/.manifest", `"revision":""`, `"revision":"x","revision":""`), `"revision" is given twice`},
		"altered manifest":   {change("/.manifest", `"revision":""`, `"revision":"x"`), "is not what was signed: .manifest"},
		"extra file":         {archiveOf(t, append(unpack(t, good), entry{name: "/x.rego", data: "package team.x\n\nx := 1\n"})...), "x.rego not included in bundle signature"},
		"extra text":         {archiveOf(t, append(unpack(t, good), entry{name: "/README", data: "x"})...), "README not included in bundle signature"},
		"missing file":       {archiveOf(t, unpack(t, good)[1:]...), "is missing"},
		"truncated":          {good[:len(good)*2/3], "damaged or truncated"},
		"another's key":      {other.sign(t, "", false, example), "its signature does not hold"},
		"another's bundle":   {signatures(good, string(signatureFile(t, empty))), "is not what was signed"},
		"altered signature":  {change("/.signatures.json", "ey", "eY"), "its signature does not hold"},
		"algorithm none":     {signatures(good, jwt(token64(map[string]any{"alg": "none", "kid": "default"}), token64(payload), "")), "its signature does not hold"},
		"HS256 by PEM":       {signatures(good, hs256(key.public)), "its signature does not hold"},
		"HS256 by trimmed":   {signatures(good, hs256(bytes.TrimSpace(key.public))), "its signature does not hold"},
		"HS256 by DER":       {signatures(good, hs256(block.Bytes)), "its signature does not hold"},
		"another verifier":   {signatures(good, `{"plugin": "x", "signatures": []}`), "missing JWT"},
		"signed by nobody":   {signatures(good, jwt(token64(map[string]any{"alg": "ES256"}), token64(payload), token64(make([]byte, 64)))), "its signature does not hold"},
		"signature in a dir": {archiveOf(t, append(unpack(t, built(t, false, example)), entry{name: "/x/.signatures.json", data: "{}"})...), "is not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeBundle(t, row.bundle)
			if _, err := loaded(t, path, v); err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("New = %v, want an error with %q that names the bundle", err, row.want)
			}
		})
	}
	if _, err := loaded(t, writeBundle(t, good), v); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if _, err := loaded(t, writeBundle(t, good), other.verification(t, "")); err == nil {
		t.Error("by the key of another: loads")
	}
	scoped, err := engine.NewVerification(key.public, "", "production")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loaded(t, writeBundle(t, good), scoped); err == nil || !strings.Contains(err.Error(), "scope") {
		t.Errorf("without the scope: %v", err)
	}
}

// signatureFile returns the signature of a bundle.
func signatureFile(tb testing.TB, b []byte) []byte {
	tb.Helper()
	for _, e := range unpack(tb, b) {
		if e.name == "/.signatures.json" {
			return []byte(e.data)
		}
	}
	tb.Fatal("the bundle has no signature")
	return nil
}

func TestVerificationWantsBundles(t *testing.T) {
	t.Parallel()
	key := p256(t)
	dir := writeDir(t, map[string]string{"web.tar.gz": string(key.sign(t, "", false, example))})
	if _, err := loaded(t, dir, nil); err != nil {
		t.Fatal(err)
	}
	_, err := loaded(t, dir, key.verification(t, ""))
	if err == nil || !strings.Contains(err.Error(), "opencode policy build "+dir) {
		t.Errorf("New of a directory = %v, want how to build a bundle", err)
	}
	_, err = engine.New(t.Context(), engine.Config{Default: policies.FS, Only: dir, Verification: key.verification(t, "")})
	if err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("New with a directory alone = %v, want that it is not signed", err)
	}
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Verification: key.verification(t, "")}); err != nil {
		t.Errorf("New of the default policy: %v", err)
	}
}

func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	key := p256(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	short := pair(t, weak, err)
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p224 := pair(t, odd, err)
	for name, row := range map[string]struct {
		key       []byte
		algorithm string
		want      string
	}{
		"nothing":           {nil, "", "is not a public key"},
		"text":              {[]byte("secret"), "", "is not a public key"},
		"shared secret":     {[]byte("secret"), "HS256", "is not a public key"},
		"private key":       {key.private, "", "is a private key"},
		"none":              {key.public, "none", `not by "none"`},
		"HS256 by a public": {key.public, "HS256", `not by "HS256"`},
		"another curve":     {key.public, "ES384", `not by "ES384"`},
		"another kind":      {key.public, "RS256", `not by "RS256"`},
		"short RSA":         {short.public, "", "1024 bits"},
		"old curve":         {p224.public, "", "P-224"},
		"damaged":           {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "", "asn1"},
		"something else":    {pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")}), "", `is "X509 CRL"`},
	} {
		if _, err := engine.NewVerification(row.key, row.algorithm, ""); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("NewVerification of %s: %v, want %q", name, err, row.want)
		}
	}
	for name, row := range map[string]struct {
		key       []byte
		algorithm string
		want      string
	}{
		"nothing":    {nil, "", "is not a private key"},
		"public key": {key.public, "", `is "PUBLIC KEY"`},
		"none":       {key.private, "none", `not by "none"`},
		"HS256":      {key.private, "HS256", `not by "HS256"`},
		"short RSA":  {short.private, "", "1024 bits"},
		"encrypted":  {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "", "is encrypted"},
	} {
		if _, err := engine.NewSigning(row.key, row.algorithm); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("NewSigning of %s: %v, want %q", name, err, row.want)
		}
	}
}

// TestSignedReload: a bundle that is replaced by one without a good signature
// leaves the old one in force.
func TestSignedReload(t *testing.T) {
	t.Parallel()
	key := p256(t)
	files := map[string]string{"a.rego": denial("a", "a.one")}
	path := writeBundle(t, key.sign(t, "", true, files))
	e, err := loaded(t, path, key.verification(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, strings.TrimSuffix(path, "/policy.tar.gz"), map[string]string{"policy.tar.gz": string(built(t, true, files))})
	if _, err := e.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("Reload of an unsigned bundle = %v", err)
	}
	wantDenial(t, e, "a.one")
	files["a.rego"] = denial("a", "a.two")
	writeFiles(t, strings.TrimSuffix(path, "/policy.tar.gz"), map[string]string{"policy.tar.gz": string(key.sign(t, "", true, files))})
	if changed, err := e.Reload(t.Context()); err != nil || !changed {
		t.Errorf("Reload of a signed bundle = %v, %v", changed, err)
	}
	wantDenial(t, e, "a.two")
}
