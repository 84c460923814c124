// Package storetest holds the contracts that every backend of package store
// must pass, as test suites that its own tests run.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"opencode/store"
)

// RunTokens tests the contract of [store.Tokens]. The function opens what is
// kept in a directory, which is empty at first; handles on the same directory
// share it, and each must see at once what another did.
func RunTokens(t *testing.T, open func(t *testing.T, dir string) store.Tokens) {
	for name, test := range map[string]func(t *testing.T, open func() store.Tokens){
		"empty":               testNoTokens,
		"round trip":          testTokenRoundTrip,
		"oldest first":        testTokenOrder,
		"exists":              testTokenExists,
		"refuses malformed":   testTokenMalformed,
		"copies":              testTokenCopies,
		"delete by id":        testDeleteTokenByID,
		"delete by name":      testDeleteTokenByName,
		"delete ambiguous":    testDeleteTokenAmbiguous,
		"delete empty name":   testDeleteTokenEmptyName,
		"id before name":      testDeleteTokenIDBeforeName,
		"touch":               testTouchToken,
		"touch never revives": testTouchDeletedToken,
		"cancelled":           testTokensCancelled,
		"parallel creates":    testParallelCreates,
		"parallel same id":    testParallelSameID,
		"parallel deletes":    testParallelDeletes,
		"parallel use":        testParallelUse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test(t, func() store.Tokens { return open(t, dir) })
		})
	}
}

// at is a moment that every backend can keep exactly.
func at(seconds int) time.Time {
	return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func token(n int) store.Token {
	return store.Token{
		ID:          fmt.Sprintf("tok_%04d", n),
		Name:        fmt.Sprintf("name-%d", n),
		Hash:        sha256.Sum256(fmt.Appendf(nil, "secret %d", n)),
		Permissions: []string{"read"},
		Created:     at(n),
		Expires:     at(n + 1000),
	}
}

func mustCreate(t *testing.T, s store.Tokens, tokens ...store.Token) {
	t.Helper()
	for _, tok := range tokens {
		if err := s.CreateToken(t.Context(), tok); err != nil {
			t.Fatalf("CreateToken(%s): %v", tok.ID, err)
		}
	}
}

func wantTokens(t *testing.T, s store.Tokens, want ...store.Token) {
	t.Helper()
	got, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatalf("Tokens: %v", err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Tokens differ (-want +got):\n%s", diff)
	}
}

func wantFound(t *testing.T, s store.Tokens, want store.Token) {
	t.Helper()
	got, err := s.TokenByHash(t.Context(), want.Hash)
	if err != nil {
		t.Fatalf("TokenByHash of %s: %v", want.ID, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("TokenByHash of %s differs (-want +got):\n%s", want.ID, diff)
	}
}

func wantGone(t *testing.T, s store.Tokens, tok store.Token) {
	t.Helper()
	got, err := s.TokenByHash(t.Context(), tok.Hash)
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("TokenByHash of %s = %v, %v, want ErrNotExist", tok.ID, got, err)
	}
	if diff := cmp.Diff(store.Token{}, got); diff != "" {
		t.Errorf("TokenByHash of %s gave a token beside its error: %s", tok.ID, diff)
	}
}

func testNoTokens(t *testing.T, open func() store.Tokens) {
	h := open()
	wantTokens(t, h)
	wantGone(t, h, token(1))
	wantGone(t, h, store.Token{ID: "the zero hash"})
	if _, err := h.DeleteToken(t.Context(), "tok_0001"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("DeleteToken of nothing = %v, want ErrNotExist", err)
	}
	if err := h.TouchToken(t.Context(), "tok_0001", at(1)); err != nil {
		t.Errorf("TouchToken of nothing = %v, want nil", err)
	}
	wantTokens(t, h)
}

func testTokenRoundTrip(t *testing.T, open func() store.Tokens) {
	h := open()
	full := token(1)
	full.Name = `a "name" <with> & 日本`
	full.Permissions = []string{"read", "write", "execute"}
	full.Attributes = map[string]string{"team": "web", "note.x_y-z": `"quoted" \ & ü`}
	full.LastUsed = at(7)
	never := token(2)
	never.Expires = time.Time{}
	bare := store.Token{ID: "tok_bare", Hash: sha256.Sum256([]byte("bare")), Created: at(3)}
	zoned := token(4)
	zoned.Created = zoned.Created.In(time.FixedZone("east", 2*60*60))
	zoned.Expires = zoned.Expires.In(time.FixedZone("west", -8*60*60))
	mustCreate(t, h, full, never, bare, zoned)

	for _, s := range []store.Tokens{h, open()} {
		wantTokens(t, s, full, never, bare, token(4))
		wantFound(t, s, full)
		wantFound(t, s, never)
		wantFound(t, s, bare)
	}
}

func testTokenOrder(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(2), token(3), token(1))
	wantTokens(t, h, token(1), token(2), token(3))
	wantTokens(t, open(), token(1), token(2), token(3))
}

func testTokenExists(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1))
	sameID := token(2)
	sameID.ID = token(1).ID
	sameHash := token(3)
	sameHash.Hash = token(1).Hash
	for _, s := range []store.Tokens{h, open()} {
		for _, tok := range []store.Token{sameID, sameHash} {
			if err := s.CreateToken(t.Context(), tok); !errors.Is(err, store.ErrExist) {
				t.Errorf("CreateToken(%s) again = %v, want ErrExist", tok.ID, err)
			}
		}
	}
	wantTokens(t, h, token(1))
	sameName := token(4)
	sameName.Name = token(1).Name
	mustCreate(t, h, sameName)
	wantTokens(t, h, token(1), sameName)
}

func testTokenMalformed(t *testing.T, open func() store.Tokens) {
	h := open()
	for name, spoil := range map[string]func(*store.Token){
		"no id":              func(t *store.Token) { t.ID = "" },
		"no hash":            func(t *store.Token) { t.Hash = [32]byte{} },
		"no creation":        func(t *store.Token) { t.Created = time.Time{} },
		"unknown permission": func(t *store.Token) { t.Permissions = []string{"read", "admin"} },
		"empty permission":   func(t *store.Token) { t.Permissions = []string{""} },
		"terminal control":   func(t *store.Token) { t.Name = "a\x1b[2Jb" },
		"newline":            func(t *store.Token) { t.Name = "a\nb" },
		"not UTF-8":          func(t *store.Token) { t.Name = "a\xff" },
		"control value":      func(t *store.Token) { t.Attributes = map[string]string{"k": "\x00"} },
		"empty key":          func(t *store.Token) { t.Attributes = map[string]string{"": "v"} },
		"year 10000":         func(t *store.Token) { t.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		tok := token(1)
		spoil(&tok)
		if err := h.CreateToken(t.Context(), tok); err == nil {
			t.Errorf("CreateToken accepts a token with %s", name)
		}
	}
	wantTokens(t, h)
}

func testTokenCopies(t *testing.T, open func() store.Tokens) {
	h := open()
	tok := token(1)
	tok.Attributes = map[string]string{"team": "web"}
	given := tok
	given.Permissions = slices.Clone(tok.Permissions)
	given.Attributes = map[string]string{"team": "web"}
	mustCreate(t, h, given)

	spoil := func(x store.Token) {
		x.Permissions[0] = "execute"
		x.Attributes["team"] = "admin"
	}
	spoil(given)
	got, err := h.TokenByHash(t.Context(), tok.Hash)
	if err != nil {
		t.Fatalf("TokenByHash: %v", err)
	}
	spoil(got)
	all, err := h.Tokens(t.Context())
	if err != nil {
		t.Fatalf("Tokens: %v", err)
	}
	spoil(all[0])
	wantFound(t, h, tok)
	wantTokens(t, h, tok)
}

func testDeleteTokenByID(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1), token(2), token(3))
	other := open()
	wantFound(t, other, token(2))
	got, err := h.DeleteToken(t.Context(), token(2).ID)
	if err != nil {
		t.Fatalf("DeleteToken: %v", err)
	}
	if diff := cmp.Diff(token(2), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("DeleteToken differs (-want +got):\n%s", diff)
	}
	for _, s := range []store.Tokens{h, other, open()} {
		wantGone(t, s, token(2))
		wantFound(t, s, token(1))
		wantTokens(t, s, token(1), token(3))
		if _, err := s.DeleteToken(t.Context(), token(2).ID); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("DeleteToken again = %v, want ErrNotExist", err)
		}
	}
}

func testDeleteTokenByName(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1), token(2))
	got, err := h.DeleteToken(t.Context(), "name-1")
	if err != nil || got.ID != token(1).ID {
		t.Fatalf("DeleteToken(name-1) = %s, %v, want %s", got.ID, err, token(1).ID)
	}
	wantGone(t, h, token(1))
	wantTokens(t, h, token(2))
	for _, name := range []string{"name", "NAME-2", "name-2 ", "tok_", "*"} {
		if _, err := h.DeleteToken(t.Context(), name); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("DeleteToken(%q) = %v, want ErrNotExist", name, err)
		}
	}
	wantTokens(t, h, token(2))
}

func testDeleteTokenAmbiguous(t *testing.T, open func() store.Tokens) {
	h := open()
	a, b := token(1), token(2)
	a.Name, b.Name = "ci", "ci"
	mustCreate(t, h, a, b)
	_, err := h.DeleteToken(t.Context(), "ci")
	if !errors.Is(err, store.ErrAmbiguous) {
		t.Fatalf("DeleteToken(ci) = %v, want ErrAmbiguous", err)
	}
	if !strings.Contains(err.Error(), a.ID) || !strings.Contains(err.Error(), b.ID) {
		t.Errorf("DeleteToken(ci) = %q, want both ids", err)
	}
	wantTokens(t, h, a, b)
	if _, err := h.DeleteToken(t.Context(), a.ID); err != nil {
		t.Fatalf("DeleteToken(%s): %v", a.ID, err)
	}
	if got, err := h.DeleteToken(t.Context(), "ci"); err != nil || got.ID != b.ID {
		t.Errorf("DeleteToken(ci) = %s, %v, want %s", got.ID, err, b.ID)
	}
}

func testDeleteTokenEmptyName(t *testing.T, open func() store.Tokens) {
	h := open()
	nameless := token(1)
	nameless.Name = ""
	mustCreate(t, h, nameless)
	if _, err := h.DeleteToken(t.Context(), ""); !errors.Is(err, store.ErrNotExist) {
		t.Errorf(`DeleteToken("") = %v, want ErrNotExist`, err)
	}
	wantTokens(t, h, nameless)
}

func testDeleteTokenIDBeforeName(t *testing.T, open func() store.Tokens) {
	h := open()
	mimic := token(1)
	mimic.Name = token(2).ID
	mustCreate(t, h, mimic, token(2))
	if got, err := h.DeleteToken(t.Context(), token(2).ID); err != nil || got.ID != token(2).ID {
		t.Errorf("DeleteToken(%s) = %s, %v, want the token with that id", token(2).ID, got.ID, err)
	}
	wantTokens(t, h, mimic)
}

func testTouchToken(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1), token(2))
	used := at(5000)
	if err := h.TouchToken(t.Context(), token(1).ID, used); err != nil {
		t.Fatalf("TouchToken: %v", err)
	}
	// A first use and one a day later are recorded by any coarseness.
	want := token(1)
	want.LastUsed = used
	wantTokens(t, open(), want, token(2))
	want.LastUsed = used.Add(24 * time.Hour)
	if err := h.TouchToken(t.Context(), token(1).ID, want.LastUsed); err != nil {
		t.Fatalf("TouchToken: %v", err)
	}
	if err := h.TouchToken(t.Context(), token(1).ID, used); err != nil {
		t.Fatalf("TouchToken with an earlier time: %v", err)
	}
	wantTokens(t, h, want, token(2))
	wantFound(t, open(), want)
}

func testTouchDeletedToken(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1), token(2))
	other := open()
	wantFound(t, other, token(1))
	if _, err := h.DeleteToken(t.Context(), token(1).ID); err != nil {
		t.Fatalf("DeleteToken: %v", err)
	}
	if err := other.TouchToken(t.Context(), token(1).ID, at(9000)); err != nil {
		t.Errorf("TouchToken of a deleted token = %v, want nil", err)
	}
	for _, s := range []store.Tokens{h, other, open()} {
		wantTokens(t, s, token(2))
		wantGone(t, s, token(1))
	}
}

func testTokensCancelled(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.CreateToken(ctx, token(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("CreateToken = %v, want context.Canceled", err)
	}
	if _, err := h.DeleteToken(ctx, token(1).ID); !errors.Is(err, context.Canceled) {
		t.Errorf("DeleteToken = %v, want context.Canceled", err)
	}
	wantTokens(t, h, token(1))
}

// parallel runs the function n times at once and returns what it returned.
func parallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func testParallelCreates(t *testing.T, open func() store.Tokens) {
	h := open()
	const n = 20
	handles := make([]store.Tokens, n)
	want := make([]store.Token, n)
	for i := range n {
		handles[i], want[i] = open(), token(i)
	}
	ctx := t.Context()
	if err := errors.Join(parallel(n, func(i int) error { return handles[i].CreateToken(ctx, want[i]) })...); err != nil {
		t.Errorf("CreateToken in parallel: %v", err)
	}
	wantTokens(t, h, want...)
	wantTokens(t, open(), want...)
	for i := range n {
		wantFound(t, handles[i], want[n-1-i])
	}
}

func testParallelSameID(t *testing.T, open func() store.Tokens) {
	h := open()
	const n = 10
	handles := make([]store.Tokens, n)
	for i := range n {
		handles[i] = open()
	}
	ctx := t.Context()
	errs := parallel(n, func(i int) error {
		tok := token(i)
		tok.ID = "tok_same"
		return handles[i].CreateToken(ctx, tok)
	})
	created := 0
	for _, err := range errs {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, store.ErrExist):
			t.Errorf("CreateToken in parallel = %v, want nil or ErrExist", err)
		}
	}
	if created != 1 {
		t.Errorf("%d of %d parallel creates of the same id succeeded, want 1", created, n)
	}
	if all, err := h.Tokens(ctx); err != nil || len(all) != 1 {
		t.Errorf("Tokens = %v, %v, want one", all, err)
	}
}

func testParallelDeletes(t *testing.T, open func() store.Tokens) {
	h := open()
	const n = 10
	mustCreate(t, h, token(1), token(2))
	handles := make([]store.Tokens, n)
	for i := range n {
		handles[i] = open()
	}
	ctx := t.Context()
	deleted := 0
	for _, err := range parallel(n, func(i int) error { _, err := handles[i].DeleteToken(ctx, "name-1"); return err }) {
		switch {
		case err == nil:
			deleted++
		case !errors.Is(err, store.ErrNotExist):
			t.Errorf("DeleteToken in parallel = %v, want nil or ErrNotExist", err)
		}
	}
	if deleted != 1 {
		t.Errorf("%d of %d parallel deletes succeeded, want 1", deleted, n)
	}
	wantTokens(t, h, token(2))
}

// testParallelUse looks up, touches, creates and deletes on the same handles at
// once. Token 0 stays and must be found at any moment.
func testParallelUse(t *testing.T, open func() store.Tokens) {
	h := open()
	mustCreate(t, h, token(0))
	handles := []store.Tokens{h, open()}
	ctx := t.Context()
	errs := parallel(12, func(i int) error {
		s := handles[i%len(handles)]
		if i < 4 {
			tok := token(100 + i)
			if err := s.CreateToken(ctx, tok); err != nil {
				return err
			}
			_, err := s.DeleteToken(ctx, tok.ID)
			return err
		}
		for n := range 50 {
			got, err := s.TokenByHash(ctx, token(0).Hash)
			if err != nil {
				return err
			}
			if got.ID != token(0).ID {
				return fmt.Errorf("TokenByHash = %s, want %s", got.ID, token(0).ID)
			}
			if n%10 != 0 {
				continue
			}
			if err := s.TouchToken(ctx, token(0).ID, at(100_000*i+n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Errorf("parallel use: %v", err)
	}
	// Those above may all have met a writer, which excuses them.
	if err := h.TouchToken(ctx, token(0).ID, at(10_000_000)); err != nil {
		t.Errorf("TouchToken: %v", err)
	}
	all, err := open().Tokens(ctx)
	if err != nil || len(all) != 1 || all[0].ID != token(0).ID || all[0].LastUsed.IsZero() {
		t.Errorf("Tokens = %v, %v, want the touched token 0 alone", all, err)
	}
}
