//go:build pkcs11 && cgo

package vault_test

import (
	"bytes"
	"io"
	"testing"

	"filippo.io/age/armor"
)

// unarmor returns the binary form of a file of age, whose header is lines.
func unarmor(t *testing.T, sealed []byte) string {
	t.Helper()
	raw, err := io.ReadAll(armor.NewReader(bytes.NewReader(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func rearmor(t *testing.T, raw string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := armor.NewWriter(&b)
	if _, err := io.WriteString(w, raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// flip changes the first character of base 64.
func flip(line string) string {
	if line[0] == 'A' {
		return "B" + line[1:]
	}
	return "A" + line[1:]
}
