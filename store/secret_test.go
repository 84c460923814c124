package store_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"opencode/store"
)

// base62 orders its digits as the tokens do, which is not the order of
// big.Int.Text.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encode is an independent base 62 of fixed width.
func encode(v *big.Int, width int) string {
	v = new(big.Int).Set(v)
	digit, radix := new(big.Int), big.NewInt(62)
	out := make([]byte, width)
	for i := width - 1; i >= 0; i-- {
		v.DivMod(v, radix, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}

// decode is an independent reader of base 62.
func decode(s string) (*big.Int, bool) {
	v := new(big.Int)
	for _, c := range []byte(s) {
		d := strings.IndexByte(base62, c)
		if d < 0 {
			return nil, false
		}
		v.Mul(v, big.NewInt(62)).Add(v, big.NewInt(int64(d)))
	}
	return v, true
}

func withSum(body string) string {
	return body + encode(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
}

// oracle says what HashSecret must say, by another route.
func oracle(s string) error {
	body, ok := strings.CutPrefix(s, "oc_")
	if !ok || len(body) != 28 {
		return store.ErrNotToken
	}
	v, ok := decode(body[:22])
	if !ok || v.BitLen() > 128 {
		return store.ErrNotToken
	}
	if _, ok := decode(body[22:]); !ok {
		return store.ErrNotToken
	}
	if withSum("oc_"+body[:22]) != s {
		return store.ErrChecksum
	}
	return nil
}

func newSecret(tb testing.TB) store.Secret {
	tb.Helper()
	s, err := store.NewSecret(rand.Reader)
	if err != nil {
		tb.Fatalf("NewSecret: %v", err)
	}
	return s
}

func TestNewSecretEncodesTheRandomBits(t *testing.T) {
	t.Parallel()
	most := bytes.Repeat([]byte{0xff}, 16)
	for _, in := range [][]byte{make([]byte, 16), most, []byte("0123456789abcdef")} {
		s, err := store.NewSecret(bytes.NewReader(in))
		if err != nil {
			t.Fatalf("NewSecret(%x): %v", in, err)
		}
		want := withSum("oc_" + encode(new(big.Int).SetBytes(in), 22))
		if s.Reveal() != want {
			t.Errorf("NewSecret(%x) reveals %q, want %q", in, s.Reveal(), want)
		}
		if s.Hash() != sha256.Sum256([]byte(want)) {
			t.Errorf("Hash of %q is not the SHA-256 of its text", want)
		}
		if again, err := store.HashSecret(want); err != nil || again != s.Hash() {
			t.Errorf("HashSecret(%q) = %x, %v, want that of the token", want, again, err)
		}
	}
}

func TestTooFewRandomBits(t *testing.T) {
	t.Parallel()
	s, err := store.NewSecret(bytes.NewReader(make([]byte, 15)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || s.Reveal() != "" {
		t.Errorf("NewSecret of 15 bytes = %q, %v, want no token and an error", s.Reveal(), err)
	}
	id, err := store.NewTokenID(bytes.NewReader(nil))
	if !errors.Is(err, io.EOF) || id != "" {
		t.Errorf("NewTokenID of nothing = %q, %v, want no id and an error", id, err)
	}
}

func TestNewTokenID(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		id, err := store.NewTokenID(rand.Reader)
		if err != nil {
			t.Fatalf("NewTokenID: %v", err)
		}
		digits, ok := strings.CutPrefix(id, "tok_")
		if _, valid := decode(digits); !ok || len(digits) != 16 || !valid {
			t.Fatalf("NewTokenID = %q, want tok_ and 16 digits", id)
		}
		if seen[id] {
			t.Fatalf("NewTokenID gave %q twice", id)
		}
		seen[id] = true
	}
}

func TestHashSecretRefuses(t *testing.T) {
	t.Parallel()
	good := newSecret(t).Reveal()
	over := new(big.Int).Lsh(big.NewInt(1), 128)
	for name, row := range map[string]struct {
		in   string
		want error
	}{
		"nothing":           {"", store.ErrNotToken},
		"prefix alone":      {"oc_", store.ErrNotToken},
		"other prefix":      {"xx_" + good[3:], store.ErrNotToken},
		"upper-case prefix": {"OC_" + good[3:], store.ErrNotToken},
		"one lost":          {good[:len(good)-1], store.ErrNotToken},
		"one more":          {good + "0", store.ErrNotToken},
		"space around":      {" " + good[:len(good)-1], store.ErrNotToken},
		"newline at end":    {good[:len(good)-1] + "\n", store.ErrNotToken},
		"strange digit":     {good[:10] + "-" + good[11:], store.ErrNotToken},
		"two-byte digit":    {good[:10] + "é" + good[12:], store.ErrNotToken},
		"2^128":             {withSum("oc_" + encode(over, 22)), store.ErrNotToken},
		"most digits":       {withSum("oc_" + strings.Repeat("z", 22)), store.ErrNotToken},
	} {
		hash, err := store.HashSecret(row.in)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: HashSecret(%q) = %v, want %v", name, row.in, err, row.want)
		}
		if hash != [32]byte{} {
			t.Errorf("%s: HashSecret(%q) gave a hash beside its error", name, row.in)
		}
	}
}

// TestHashSecretFindsEveryTypo changes each character to each other digit and
// swaps each pair of neighbours: CRC-32 finds all of them.
func TestHashSecretFindsEveryTypo(t *testing.T) {
	t.Parallel()
	good := newSecret(t).Reveal()
	for i := 3; i < len(good); i++ {
		for _, c := range []byte(base62) {
			bad := good[:i] + string(c) + good[i+1:]
			if bad == good {
				continue
			}
			if _, err := store.HashSecret(bad); err == nil {
				t.Errorf("HashSecret accepts %q for %q", bad, good)
			}
		}
		if i > 3 && good[i] != good[i-1] {
			bad := good[:i-1] + good[i:i+1] + good[i-1:i] + good[i+1:]
			if _, err := store.HashSecret(bad); err == nil {
				t.Errorf("HashSecret accepts the swap %q for %q", bad, good)
			}
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := newSecret(t)
	raw := s.Reveal()
	type hidden struct{ secret store.Secret }
	type shown struct{ Secret store.Secret }

	var out strings.Builder
	for _, v := range []any{s, &s, hidden{s}, &hidden{s}, shown{s}, []store.Secret{s}, map[string]store.Secret{"k": s}, map[string]any{"k": hidden{s}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%10.3s", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("Marshal(%T): %v", v, err)
		}
		out.Write(b)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("token", "value", v)
		}
	}
	fmt.Fprintln(&out, s.String(), s.GoString(), s.LogValue())
	text, err := s.MarshalText()
	if err != nil {
		t.Fatalf("MarshalText: %v", err)
	}
	out.Write(text)

	for name, form := range map[string]string{
		"text": raw[3:], "hex": fmt.Sprintf("%x", raw[3:]), "HEX": fmt.Sprintf("%X", raw[3:]),
		"bytes": strings.Trim(fmt.Sprintf("%d", []byte(raw[3:])), "[]"), "go": strings.Trim(fmt.Sprintf("%#v", []byte(raw[3:])), "[]byte{}"),
	} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the token shows up as %s", name)
		}
	}
	for _, want := range []string{s.String(), s.GoString(), s.LogValue().String(), string(text), fmt.Sprintf("%v", s), fmt.Sprintf("%#v", s)} {
		if want != "[redacted]" {
			t.Errorf("the token prints as %q, want [redacted]", want)
		}
	}
}

func TestZeroSecretIsNoToken(t *testing.T) {
	t.Parallel()
	var s store.Secret
	if s.Reveal() != "" || s.Hash() != [32]byte{} || s.String() != "[redacted]" {
		t.Errorf("the zero Secret = %q, %x, %v, want nothing", s.Reveal(), s.Hash(), s)
	}
}

func FuzzHashSecret(f *testing.F) {
	good := withSum("oc_" + strings.Repeat("7", 22))
	f.Add(good)
	f.Add(good[:30])
	f.Add("")
	f.Add("oc_")
	f.Add(withSum("oc_" + strings.Repeat("z", 22)))
	f.Add(withSum("oc_" + encode(new(big.Int).Lsh(big.NewInt(1), 128), 22)))
	f.Fuzz(func(t *testing.T, in string) {
		// The text as it is, and made into the nearest thing to a token, so
		// that the fuzzer gets past length and checksum.
		body := "oc_" + (in + strings.Repeat("0", 22))[:22]
		for _, s := range []string{in, withSum(body), withSum(body)[:30] + "0"} {
			got, err := store.HashSecret(s)
			if want := oracle(s); !errors.Is(err, want) {
				t.Errorf("HashSecret(%q) = %v, want %v", s, err, want)
			}
			if err == nil && got != sha256.Sum256([]byte(s)) {
				t.Errorf("HashSecret(%q) = %x", s, got)
			}
		}
	})
}

func BenchmarkHashSecret(b *testing.B) {
	raw := newSecret(b).Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if hash, err := store.HashSecret(raw); err != nil || hash == [32]byte{} {
			b.Fatal(hash, err)
		}
	}
}
