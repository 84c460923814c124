package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/bits"
)

// A token reads oc_<22 digits><6 digits>: 128 random bits, and the CRC-32 of
// everything before it, both big-endian base 62 of fixed width. The checksum
// tells a mistyped token from an unknown one without a look-up, and lets
// scanners find leaked tokens; it is no protection against anybody.
const (
	SecretPrefix = "oc_"
	secretDigits = 22 // 62^22 > 2^128
	sumDigits    = 6  // 62^6 > 2^32
	sumStart     = len(SecretPrefix) + secretDigits
	secretLen    = sumStart + sumDigits

	tokenIDPrefix = "tok_"
	tokenIDDigits = 16

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	redacted = "[redacted]"
)

// Errors of [HashSecret]. Neither they nor what wraps them repeats the text.
var (
	ErrNotToken = errors.New("is not a token")
	ErrChecksum = errors.New("token checksum is wrong: a character was mistyped or lost")
)

// Secret is a raw access token. Everything that prints, logs or encodes it
// shows "[redacted]"; only [Secret.Reveal] gives it away. Its zero value is no
// token: it reveals nothing and its hash is zero, which no store keeps.
type Secret struct {
	// raw is behind a function because package fmt reads unexported fields
	// past all methods when a Secret is itself in one, and follows a pointer
	// for a verb that does not fit. Of a function it can show the address only.
	raw func() [secretLen]byte
}

// NewSecret makes a token from 128 bits of rand, which must be fit for
// secrets, as crypto/rand.Reader is.
func NewSecret(rand io.Reader) (Secret, error) {
	hi, lo, err := random128(rand)
	if err != nil {
		return Secret{}, fmt.Errorf("new token: %w", err)
	}
	var raw [secretLen]byte
	copy(raw[:], SecretPrefix)
	putBase62(raw[len(SecretPrefix):sumStart], hi, lo)
	putBase62(raw[sumStart:], 0, uint64(crc32.ChecksumIEEE(raw[:sumStart])))
	return newSecret(raw), nil
}

// HashSecret returns the hash of a raw token, as [Secret.Hash] does. It returns
// [ErrNotToken] if the text does not have the form of one, and [ErrChecksum] if
// it has the form but not the checksum. Neither needs a look-up.
func HashSecret(s string) ([32]byte, error) {
	if len(s) != secretLen || s[:len(SecretPrefix)] != SecretPrefix {
		return [32]byte{}, ErrNotToken
	}
	var raw [secretLen]byte
	copy(raw[:], s)
	if !fits128(raw[len(SecretPrefix):sumStart]) || !fits128(raw[sumStart:]) {
		return [32]byte{}, ErrNotToken
	}
	var sum [sumDigits]byte
	putBase62(sum[:], 0, uint64(crc32.ChecksumIEEE(raw[:sumStart])))
	if sum != [sumDigits]byte(raw[sumStart:]) {
		return [32]byte{}, ErrChecksum
	}
	return sha256.Sum256(raw[:]), nil
}

// NewTokenID makes an identifier for a token. It is not secret and says
// nothing about the token's secret.
func NewTokenID(rand io.Reader) (string, error) {
	hi, lo, err := random128(rand)
	if err != nil {
		return "", fmt.Errorf("new token id: %w", err)
	}
	var digits [secretDigits]byte
	putBase62(digits[:], hi, lo)
	return tokenIDPrefix + string(digits[secretDigits-tokenIDDigits:]), nil
}

// Reveal returns the raw token, which is to be shown to its owner once and to
// nobody else.
func (s Secret) Reveal() string {
	if s.raw == nil {
		return ""
	}
	raw := s.raw()
	return string(raw[:])
}

// Hash returns the SHA-256 of the raw token, by which a store finds it. A
// plain hash will do, since 128 random bits cannot be guessed.
func (s Secret) Hash() [32]byte {
	if s.raw == nil {
		return [32]byte{}
	}
	raw := s.raw()
	return sha256.Sum256(raw[:])
}

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format implements fmt.Formatter, so that no verb shows the token.
func (Secret) Format(f fmt.State, _ rune) {
	// The state keeps its own errors, and there is nobody to tell.
	_, _ = io.WriteString(f, redacted)
}

func newSecret(raw [secretLen]byte) Secret {
	return Secret{raw: func() [secretLen]byte { return raw }}
}

func random128(rand io.Reader) (hi, lo uint64, err error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return 0, 0, fmt.Errorf("random bits: %w", err)
	}
	for _, c := range b[:8] {
		hi = hi<<8 | uint64(c)
	}
	for _, c := range b[8:] {
		lo = lo<<8 | uint64(c)
	}
	return hi, lo, nil
}

// putBase62 fills dst with the last len(dst) digits of hi<<64 | lo.
func putBase62(dst []byte, hi, lo uint64) {
	// Ten digits at a time, which fit one word: dividing two words is slow, and
	// by a variable too.
	for end := len(dst); end > 0; end -= wordDigits {
		var word uint64
		hi, word = hi/wordBase, hi%wordBase
		lo, word = bits.Div64(word, lo, wordBase)
		for i := end - 1; i >= max(end-wordDigits, 0); i-- {
			dst[i] = alphabet[word%62]
			word /= 62
		}
	}
}

// wordBase is 62 to the power of wordDigits.
const (
	wordDigits = 10
	wordBase   = 839_299_365_868_340_224
)

// fits128 reports whether the digits are base 62 and their value is below
// 2^128. A greater value would be a second spelling of nothing that
// [NewSecret] makes.
func fits128(digits []byte) bool {
	var hi, lo uint64
	for len(digits) > 0 {
		// As many digits at a time as fit one word.
		n := min(len(digits), wordDigits)
		var word uint64
		base := uint64(1)
		for _, c := range digits[:n] {
			d, ok := digitValue(c)
			if !ok {
				return false
			}
			word, base = word*62+d, base*62
		}
		digits = digits[n:]
		over, high := bits.Mul64(hi, base)
		carry, low := bits.Mul64(lo, base)
		var c1, c2 uint64
		lo, c1 = bits.Add64(low, word, 0)
		hi, c2 = bits.Add64(high, carry, c1)
		if over|c2 != 0 {
			return false
		}
	}
	return true
}

func digitValue(c byte) (uint64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'A' <= c && c <= 'Z':
		return uint64(c-'A') + 10, true
	case 'a' <= c && c <= 'z':
		return uint64(c-'a') + 36, true
	}
	return 0, false
}
