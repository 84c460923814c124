package file_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"opencode/store"
	"opencode/store/file"
	"opencode/store/storetest"
)

const name = "auth-tokens.json"

func config(dir string) file.TokensConfig {
	return file.TokensConfig{Path: filepath.Join(dir, name), CheckEvery: -1}
}

func open(tb testing.TB, cfg file.TokensConfig) *file.Tokens {
	tb.Helper()
	s, err := file.OpenTokens(cfg)
	if err != nil {
		tb.Fatalf("OpenTokens: %v", err)
	}
	return s
}

func token(n int) store.Token {
	return store.Token{
		ID:          fmt.Sprintf("tok_%04d", n),
		Name:        fmt.Sprintf("name-%d", n),
		Hash:        sha256.Sum256(fmt.Appendf(nil, "secret %d", n)),
		Permissions: []string{"read"},
		Created:     start.Add(time.Duration(n) * time.Second),
	}
}

var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func create(tb testing.TB, s store.Tokens, tokens ...store.Token) {
	tb.Helper()
	for _, tok := range tokens {
		if err := s.CreateToken(tb.Context(), tok); err != nil {
			tb.Fatalf("CreateToken(%s): %v", tok.ID, err)
		}
	}
}

func write(tb testing.TB, path, text string, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	// Against the umask.
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestTokensContract(t *testing.T) {
	t.Parallel()
	storetest.RunTokens(t, func(t *testing.T, dir string) store.Tokens {
		t.Helper()
		return open(t, config(dir))
	})
}

func TestOpenTokensNeedsAPath(t *testing.T) {
	t.Parallel()
	if s, err := file.OpenTokens(file.TokensConfig{}); err == nil || s != nil {
		t.Errorf("OpenTokens without a path = %v, %v, want an error", s, err)
	}
}

func TestReadingMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	s := open(t, config(dir))
	if all, err := s.Tokens(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Tokens = %v, %v, want none", all, err)
	}
	if _, err := s.DeleteToken(t.Context(), "x"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("DeleteToken = %v, want ErrNotExist", err)
	}
	if err := s.TouchToken(t.Context(), "x", start); err != nil {
		t.Errorf("TouchToken = %v, want nil", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestChangesOfOthersAreSeenAfterCheckEvery(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &clock{at: start}
	server := open(t, file.TokensConfig{Path: filepath.Join(dir, name), Now: c.now, CheckEvery: 100 * time.Millisecond})
	find := func(n int) bool {
		t.Helper()
		_, err := server.TokenByHash(t.Context(), token(n).Hash)
		if err != nil && !errors.Is(err, store.ErrNotExist) {
			t.Fatalf("TokenByHash: %v", err)
		}
		return err == nil
	}
	cli := open(t, config(dir))
	create(t, cli, token(1))
	if !find(1) {
		t.Errorf("the new token is not seen at once")
	}
	if _, err := cli.DeleteToken(t.Context(), token(1).ID); err != nil {
		t.Fatal(err)
	}
	c.add(99 * time.Millisecond)
	if !find(1) {
		t.Errorf("the file was looked at again within 100 ms")
	}
	c.add(time.Millisecond)
	if find(1) {
		t.Errorf("the deleted token still works after 100 ms")
	}
	create(t, server, token(2))
	if !find(2) {
		t.Errorf("a token of its own is not seen at once")
	}
	if _, err := cli.DeleteToken(t.Context(), token(2).ID); err != nil {
		t.Fatal(err)
	}
	c.add(-time.Hour)
	if find(2) {
		t.Errorf("a clock that was set back keeps the deleted token alive")
	}
	create(t, cli, token(3))
	c.add(time.Second)
	if !find(3) {
		t.Fatal("the new token is not seen")
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	c.add(time.Second)
	if find(3) {
		t.Errorf("a token of a removed file still works")
	}
}

// TestChangeWithoutATrace replaces one token by another in place, so that
// inode, size, time and mode stay: only the content tells.
func TestChangeWithoutATrace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	s := open(t, config(dir))
	create(t, s, token(1))
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := token(2)
	was, is := fmt.Sprintf("%x", token(1).Hash), fmt.Sprintf("%x", other.Hash)
	write(t, path, strings.Replace(read(t, path), was, is, 1), 0o600)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("TokenByHash of the old token = %v, want ErrNotExist", err)
	}
	if _, err := s.TokenByHash(t.Context(), other.Hash); err != nil {
		t.Errorf("TokenByHash of the new token: %v", err)
	}
}

// TestReplacedFileOfTheSameSizeAndTime does the same by a rename, with a time
// far in the past: the inode tells.
func TestReplacedFileOfTheSameSizeAndTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	s := open(t, config(dir))
	create(t, s, token(1))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(dir, "next")
	was, is := fmt.Sprintf("%x", token(1).Hash), fmt.Sprintf("%x", token(2).Hash)
	write(t, next, strings.Replace(read(t, path), was, is, 1), 0o600)
	if err := errors.Join(os.Chtimes(next, old, old), os.Rename(next, path)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("TokenByHash of the old token = %v, want ErrNotExist", err)
	}
}

func TestTouchIsCoarse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, config(dir))
	create(t, s, token(1))
	used := start.Add(time.Hour)
	for _, row := range []struct {
		at   time.Time
		want time.Time
	}{
		{used, used},
		{used.Add(59 * time.Second), used},
		{used.Add(-time.Hour), used},
		{used.Add(time.Minute), used.Add(time.Minute)},
		{used.Add(time.Minute + time.Second), used.Add(time.Minute)},
	} {
		before, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		had, err := s.TokenByHash(t.Context(), token(1).Hash)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.TouchToken(t.Context(), token(1).ID, row.at); err != nil {
			t.Fatalf("TouchToken(%v): %v", row.at, err)
		}
		all, err := open(t, config(dir)).Tokens(t.Context())
		if err != nil || len(all) != 1 || !all[0].LastUsed.Equal(row.want) {
			t.Errorf("after TouchToken(%v): %v, %v, want last used %v", row.at, all, err, row.want)
		}
		after, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if wrote := !os.SameFile(before, after); wrote != !had.LastUsed.Equal(row.want) {
			t.Errorf("TouchToken(%v) wrote: %v", row.at, wrote)
		}
	}
}

func TestTouchOfADeletedTokenWithAnOldView(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config(dir)
	cfg.CheckEvery = time.Hour
	create(t, open(t, config(dir)), token(1), token(2))
	server := open(t, cfg)
	if _, err := open(t, config(dir)).DeleteToken(t.Context(), token(1).ID); err != nil {
		t.Fatal(err)
	}
	if _, err := server.TokenByHash(t.Context(), token(1).Hash); err != nil {
		t.Fatalf("the view is not old: %v", err)
	}
	if err := server.TouchToken(t.Context(), token(1).ID, start); err != nil {
		t.Errorf("TouchToken = %v, want nil", err)
	}
	if all, err := open(t, config(dir)).Tokens(t.Context()); err != nil || len(all) != 1 || all[0].ID != token(2).ID || !all[0].LastUsed.IsZero() {
		t.Errorf("Tokens = %v, %v, want the other one alone and not touched", all, err)
	}
	if _, err := server.TokenByHash(t.Context(), token(1).Hash); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("TokenByHash after the touch = %v, want ErrNotExist", err)
	}
}

func TestBusyLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, config(dir))
	create(t, s, token(1))
	l := flock.New(filepath.Join(dir, name+".lock"))
	if ok, err := l.TryLock(); err != nil || !ok {
		t.Fatalf("TryLock = %v, %v", ok, err)
	}
	before := read(t, filepath.Join(dir, name))
	if err := s.TouchToken(t.Context(), token(1).ID, start.Add(time.Hour)); err != nil {
		t.Errorf("TouchToken while the lock is busy = %v, want nil", err)
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); err != nil {
		t.Errorf("TokenByHash while the lock is busy: %v", err)
	}
	synctest.Test(t, func(t *testing.T) { // the time is up only when it waits for the lock
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := s.CreateToken(ctx, token(2)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), l.Path()) {
			t.Errorf("CreateToken while the lock is busy = %v, want DeadlineExceeded that names the lock", err)
		}
	})
	if read(t, filepath.Join(dir, name)) != before {
		t.Errorf("the file was written without the lock")
	}
	waited := make(chan error)
	go func() { waited <- s.CreateToken(context.WithoutCancel(t.Context()), token(2)) }()
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("CreateToken after the lock was free: %v", err)
	}
}
