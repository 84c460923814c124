package engine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"
)

// Verification says whose signature makes a bundle good.
type Verification struct {
	key, algorithm, scope string
}

// keyID is the name of the one key that there is; what a signature says of its
// key chooses nothing.
const keyID = "default"

// minRSABits is the shortest RSA key.
const minRSABits = 2048

// NewVerification reads a public key, or a certificate, in PEM. The algorithm
// follows from the key if it is empty; a shared secret is none, since whoever
// verifies could sign. The scope is what the signature must say, if anything.
func NewVerification(key []byte, algorithm, scope string) (*Verification, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("is not a public key in PEM")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = certificate.PublicKey
		}
	default:
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("is a private key; whoever verifies needs the public one: `openssl pkey -in FILE -pubout` prints it")
		}
		return nil, fmt.Errorf("is %q, want a public key or a certificate", block.Type)
	}
	if err != nil {
		return nil, err
	}
	if algorithm, err = keyAlgorithm(public, algorithm); err != nil {
		return nil, err
	}
	return &Verification{key: string(pem.EncodeToMemory(block)), algorithm: algorithm, scope: scope}, nil
}

// keyAlgorithm returns the algorithm of signatures by a key, which is the one
// that is wanted, if any is.
func keyAlgorithm(public any, want string) (string, error) {
	var fits []string
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return "", fmt.Errorf("is an RSA key of %d bits, want %d at least", k.N.BitLen(), minRSABits)
		}
		fits = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		name, ok := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
		if !ok {
			return "", fmt.Errorf("is on the curve %s, want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
		fits = []string{name}
	case ed25519.PublicKey:
		fits = []string{"EdDSA"}
	default:
		return "", fmt.Errorf("is a key of a kind (%T) that signs no bundles", public)
	}
	switch {
	case want == "":
		return fits[0], nil
	case slices.Contains(fits, want):
		return want, nil
	}
	return "", fmt.Errorf("signs by %s, not by %q", strings.Join(fits, ", "), want)
}

// Config returns what OPA verifies a bundle by, nil if nothing need be signed.
func (v *Verification) Config() *bundle.VerificationConfig {
	if v == nil {
		return nil
	}
	return bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{
		keyID: {Key: v.key, Algorithm: v.algorithm},
	}, keyID, v.scope, nil)
}

// verify holds the files of a bundle to its signature: all of them, and no
// other.
func (v *Verification) verify(files []archived) error {
	i := slices.IndexFunc(files, func(a archived) bool { return a.path == signaturesFile })
	if i < 0 {
		return fmt.Errorf("is not signed: it has no %s; `opencode policy build` signs with --signing-key", signaturesFile)
	}
	var signatures bundle.SignaturesConfig
	if err := json.Unmarshal(files[i].data, &signatures); err != nil {
		return fmt.Errorf("%s: %w", signaturesFile, err)
	}
	config := v.Config()
	// A bundle may name another verifier than this one, and may not have it.
	signed, err := new(bundle.DefaultVerifier).VerifyBundleSignature(signatures, config)
	if err != nil {
		return fmt.Errorf("its signature does not hold for this key and %s: %w", v.algorithm, err)
	}
	for _, f := range signed {
		switch bundle.HashingAlgorithm(f.Algorithm) {
		case bundle.SHA256, bundle.SHA384, bundle.SHA512, bundle.SHA512256:
		default:
			return fmt.Errorf("%s: %s is hashed by %q, want SHA-256, SHA-384 or SHA-512", signaturesFile, f.Name, f.Algorithm)
		}
	}
	for _, f := range files {
		if f.path == signaturesFile {
			continue
		}
		if err := checkStructured(f); err != nil {
			return err
		}
		if err := bundle.VerifyBundleFile(f.path, *bytes.NewBuffer(f.data), signed); err != nil {
			return fmt.Errorf("is not what was signed: %w", err)
		}
	}
	if len(signed) > 0 {
		return fmt.Errorf("is not what was signed: %s is missing", strings.Join(util.KeysSorted(signed), ", "))
	}
	return nil
}

// checkStructured refuses a document whose hash does not say all that is in
// it: it is taken of the members, of which the last of one name counts.
func checkStructured(f archived) error {
	if !bundle.IsStructuredDoc(f.path) {
		return nil
	}
	document := file{name: f.path, rel: f.path, data: f.data}
	if f.path == manifestFile {
		document.rel = "manifest.json"
	}
	_, err := document.value()
	return err
}
