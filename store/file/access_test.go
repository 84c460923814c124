package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/file"
)

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	create(t, open(t, config(dir)), token(1))
	for path, want := range map[string]os.FileMode{
		filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, name): 0o600, filepath.Join(dir, name+".lock"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("the mode of %s is %o, want %o", path, got, want)
		}
	}
}

func TestFileThatOthersCanChangeIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666, 0o660} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		s := open(t, config(dir))
		create(t, s, token(1))
		// Only the mode changes, of a file that is old enough not to be read
		// again without a reason: neither size nor time nor inode.
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		if _, err := s.TokenByHash(t.Context(), token(1).Hash); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		before := read(t, path)
		_, findErr := s.TokenByHash(t.Context(), token(1).Hash)
		_, openErr := file.OpenTokens(config(dir))
		for _, err := range []error{findErr, openErr, s.CreateToken(t.Context(), token(2))} {
			if !errors.Is(err, file.ErrUnsafe) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprintf("%#o", mode)) {
				t.Errorf("mode %o: %v, want ErrUnsafe that names the file and the mode", mode, err)
			}
		}
		if read(t, path) != before {
			t.Errorf("mode %o: the file was changed", mode)
		}
	}
}

func TestDirectoryThatAllCanChangeIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	create(t, open(t, config(dir)), token(1))
	for mode, want := range map[os.FileMode]error{0o777: file.ErrUnsafe, 0o777 | os.ModeSticky: nil, 0o755: nil} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := file.OpenTokens(config(dir)); !errors.Is(err, want) {
			t.Errorf("directory of mode %v: OpenTokens = %v, want %v", mode, err, want)
		}
	}
}

func TestReadableFileIsTightened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	write(t, path, `{"version":1,"tokens":[]}`, 0o644)
	var log bytes.Buffer
	cfg := config(dir)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, cfg)
	if !strings.Contains(log.String(), "token file can be read by other users") {
		t.Errorf("the log is %q, want a warning", log.String())
	}
	create(t, s, token(1))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v, %v, want 0600", info.Mode(), err)
	}
}

func TestNotARegularFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := file.OpenTokens(config(dir)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("OpenTokens of a directory = %v, want ErrCorrupt", err)
	}
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	t.Parallel()
	top := filepath.Join(t.TempDir(), "home")
	s := open(t, config(filepath.Join(top, "opencode")))
	// A file in the place of the directory, which stops root as well.
	write(t, top, "", 0o600)
	if err := s.CreateToken(t.Context(), token(1)); err == nil || !strings.Contains(err.Error(), top) {
		t.Errorf("CreateToken = %v, want an error that names %s", err, top)
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("TokenByHash = %v, want an error other than ErrNotExist", err)
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, config(dir))
	create(t, s, token(1))
	before := read(t, filepath.Join(dir, name))
	// A directory in the place of the lock, which stops root as well.
	lock := filepath.Join(dir, name+".lock")
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	_, deleteErr := s.DeleteToken(t.Context(), token(1).ID)
	for op, err := range map[string]error{
		"CreateToken": s.CreateToken(t.Context(), token(2)),
		"DeleteToken": deleteErr,
		"TouchToken":  s.TouchToken(t.Context(), token(1).ID, start),
	} {
		if want := fmt.Sprintf("directory %q cannot be written", dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, want an error that says %s", op, err, want)
		}
	}
	if read(t, filepath.Join(dir, name)) != before {
		t.Errorf("the file was changed without the lock")
	}
	if _, err := s.TokenByHash(t.Context(), token(1).Hash); err != nil {
		t.Errorf("TokenByHash where nothing can be written: %v", err)
	}
}

func TestLinkIsFollowedAndKept(t *testing.T) {
	t.Parallel()
	for what, link := range map[string]func(t *testing.T, home, target string) string{
		"absolute": func(_ *testing.T, _, target string) string { return target },
		"relative": func(_ *testing.T, _, _ string) string { return "../dotfiles/tokens.json" },
		"through a linked directory": func(t *testing.T, home, target string) string {
			t.Helper()
			if err := os.MkdirAll(filepath.Join(filepath.Dir(target), "deep"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(filepath.Dir(target), "deep"), filepath.Join(home, "away")); err != nil {
				t.Fatal(err)
			}
			return "away/../tokens.json"
		},
		"chain": func(t *testing.T, home, target string) string {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(home, "next")); err != nil {
				t.Fatal(err)
			}
			return "next"
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			home, target := filepath.Join(top, "home"), filepath.Join(top, "dotfiles", "tokens.json")
			if err := errors.Join(os.Mkdir(home, 0o700), os.Mkdir(filepath.Dir(target), 0o700)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(home, name)
			if err := os.Symlink(link(t, home, target), path); err != nil {
				t.Fatal(err)
			}
			s := open(t, config(home))
			create(t, s, token(1), token(2))
			info, err := os.Lstat(path)
			if err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link is now %v, %v", info.Mode(), err)
			}
			if info, err := os.Lstat(target); err != nil || !info.Mode().IsRegular() {
				t.Fatalf("the target is %v, %v, want a regular file", info, err)
			}
			// Both names have the same lock.
			direct := open(t, file.TokensConfig{Path: target, CheckEvery: -1})
			create(t, direct, token(3))
			if all, err := s.Tokens(t.Context()); err != nil || len(all) != 3 {
				t.Errorf("Tokens = %d, %v, want 3", len(all), err)
			}
			if _, err := os.Stat(target + ".lock"); err != nil {
				t.Errorf("the lock is not beside the target: %v", err)
			}
		})
	}
}

func TestLinkLoop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink(name, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if _, err := file.OpenTokens(config(dir)); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("OpenTokens of a loop = %v, want an error", err)
	}
}

func TestLeftoversOfDeadWritersAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leftover, other := filepath.Join(dir, name+".tmp-123"), filepath.Join(dir, "other.tmp-123")
	write(t, leftover, "half", 0o600)
	write(t, other, "mine", 0o600)
	create(t, open(t, config(dir)), token(1))
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if got := read(t, other); got != "mine" {
		t.Errorf("another file was changed to %q", got)
	}
}
