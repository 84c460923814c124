package file

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"opencode/store"
)

// BenchmarkTokenByHash looks up known tokens in random order, clock and checks
// of the file included. The tokens are put into memory past the file, which is
// why this is in the package.
func BenchmarkTokenByHash(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("tokens=%d", n), func(b *testing.B) {
			t, err := OpenTokens(TokensConfig{Path: filepath.Join(b.TempDir(), "none.json")})
			if err != nil {
				b.Fatal(err)
			}
			hashes := fill(b, t, n)
			ctx := b.Context()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := t.TokenByHash(ctx, hashes[i]); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(hashes) {
					i = 0
				}
			}
		})
	}
}

func BenchmarkTokenByHashUnknown(b *testing.B) {
	t, err := OpenTokens(TokensConfig{Path: filepath.Join(b.TempDir(), "none.json")})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, t, 10_000)
	ctx := b.Context()
	unknown := sha256.Sum256([]byte("unknown"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.TokenByHash(ctx, unknown); err == nil {
			b.Fatal("found")
		}
	}
}

// fill puts n tokens into memory as if they stood in the missing file, and
// returns their hashes in random order.
func fill(b *testing.B, t *Tokens, n int) [][32]byte {
	b.Helper()
	permissions := Permissions()
	tokens := make([]store.Token, n)
	hashes := make([][32]byte, n)
	for i := range tokens {
		hashes[i] = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		tokens[i] = store.Token{ID: fmt.Sprintf("tok_%016d", i), Hash: hashes[i], Permissions: permissions, Created: time.Unix(int64(i), 0)}
	}
	s, err := newSnapshot(tokens)
	if err != nil {
		b.Fatal(err)
	}
	s.missing = true
	t.install(s)
	mathrand.Shuffle(n, func(i, j int) { hashes[i], hashes[j] = hashes[j], hashes[i] })
	return hashes
}

func BenchmarkDecode(b *testing.B) {
	t, err := OpenTokens(TokensConfig{Path: filepath.Join(b.TempDir(), "none.json")})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, t, 10_000)
	data, err := encodeTokens(t.snap.Load().tokens)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := decodeTokens(data); err != nil {
			b.Fatal(err)
		}
	}
}
