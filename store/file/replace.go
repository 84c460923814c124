package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	dirMode  = 0o700
	fileMode = 0o600

	// lockRetry is how often a held lock is tried again. A write holds it for
	// a few milliseconds.
	lockRetry = 2 * time.Millisecond

	// maxLinks is where a chain of symbolic links counts as a loop.
	maxLinks = 40
)

var errBusy = errors.New("locked by another writer")

// lockWait says what to do while another writer has the lock.
type lockWait bool

const (
	tryLock     lockWait = false
	waitForLock lockWait = true
)

// lockFile takes the lock of the file at path, which is a file of its own
// since path itself is replaced. The lock goes with the process. It is never
// removed: two writers could then hold two locks of the same name. With
// tryLock the error is errBusy if another writer has it.
func lockFile(ctx context.Context, path string, wait lockWait) (unlock func(), err error) {
	l := flock.New(path+".lock", flock.SetPermissions(fileMode))
	var ok bool
	if wait {
		ok, err = l.TryLockContext(ctx, lockRetry)
	} else {
		ok, err = l.TryLock()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("lock %q: %w", l.Path(), err)
	case err != nil:
		return nil, fmt.Errorf("directory %q cannot be written: lock: %w", filepath.Dir(path), err)
	case !ok:
		return nil, errBusy
	}
	return func() {
		// Closing the file gives up the lock whatever Unlock says, and there is
		// nothing that a caller could do about it.
		_ = l.Close()
	}, nil
}

// Replace writes a small file that only its owner may read, and makes its
// directory if there is none, so that at any moment there is the whole old
// content or the whole new one.
func Replace(ctx context.Context, path string, data []byte) error {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	path, err := resolve(path)
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, path, waitForLock)
	if err != nil {
		return err
	}
	defer unlock()
	return replaceFile(path, data)
}

// replaceFile replaces the file at path, which must be locked, so that at any
// moment there is the whole old content or the whole new one.
func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = fmt.Errorf("directory %q cannot be written: %w", dir, err)
		}
	}()
	prefix := filepath.Base(path) + ".tmp-"
	if err := removeLeftovers(dir, prefix); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, prefix+"*")
	if err != nil {
		return err
	}
	if err := writeAndSync(f, data); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func writeAndSync(f *os.File, data []byte) error {
	err := f.Chmod(fileMode)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// removeLeftovers removes the temporary files of writers that died. Nobody
// else is writing, since the lock is held.
func removeLeftovers(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeDir makes a directory and those above it, durably.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// resolve follows path to the file that is to be replaced, which need not
// exist: what a link points to, not the link.
func resolve(path string) (string, error) {
	for range maxLinks {
		// Neither Dir nor Join of the link, which would take ".." for the parent
		// of a name that may be a link itself.
		parent, name := filepath.Split(path)
		dir, err := filepath.EvalSymlinks(parent)
		if err != nil {
			return "", fmt.Errorf("directory %q: %w", parent, err)
		}
		path = filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		link, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(link) {
			path = link
		} else {
			path = dir + string(filepath.Separator) + link
		}
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}
