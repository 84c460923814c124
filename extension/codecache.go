package extension

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/tetratelabs/wazero"
)

// maxCacheBytes is how much compiled code is kept.
const maxCacheBytes = 256 << 20

// CodeCache keeps compiled code in a directory. What lies there is run as it
// is, by the process that decides: whoever can write there decides everything.
// It is used only if nobody but the user and root can.
type CodeCache struct{ dir string }

// NewCodeCache returns a cache in a directory, which is made when it is used.
func NewCodeCache(dir string) *CodeCache { return &CodeCache{dir: dir} }

// open returns the cache for one module, nil if there is none. An error says
// why the directory cannot be trusted.
func (c *CodeCache) open() (wazero.CompilationCache, error) {
	if c == nil || c.dir == "" {
		return nil, nil //nolint:nilnil // there is none, which is not an error
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(c.dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		err = checkTrusted(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := prune(dir); err != nil {
		return nil, err
	}
	return wazero.NewCompilationCacheWithDir(dir)
}

// clear removes what is in the cache.
func (c *CodeCache) clear() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = os.RemoveAll(filepath.Join(c.dir, e.Name())) // what stays is refused again
	}
}

// checkTrusted refuses a directory in which others can write, or which others
// can swap for one of theirs by writing above it.
func checkTrusted(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: has the mode %#o; `chmod 700` makes it private", dir, mode)
	}
	if owner(info) != os.Getuid() {
		return fmt.Errorf("%s: belongs to another user", dir)
	}
	for at := filepath.Dir(dir); ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		shared := info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0
		if uid := owner(info); shared || uid != 0 && uid != os.Getuid() {
			return fmt.Errorf("%s: other users can change what is in %s", dir, at)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // another process has replaced it
		case err != nil:
			return err
		case !e.IsDir() && !e.Type().IsRegular(), info.Mode().Perm()&0o022 != 0, owner(info) != os.Getuid():
			return fmt.Errorf("%s: is not a file of yours that only you can write; remove it", p)
		}
		return nil
	})
}

func owner(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

// prune removes the oldest files until the rest is not too much.
func prune(dir string) error {
	type file struct {
		path string
		info fs.FileInfo
	}
	var files []file
	total := int64(0)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files = append(files, file{p, info})
			total += info.Size()
		}
		return err
	})
	slices.SortFunc(files, func(a, b file) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	for _, f := range files {
		if total <= maxCacheBytes {
			break
		}
		total -= f.info.Size()
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}
