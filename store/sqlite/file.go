package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"opencode/store"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// othersMode are the bits that somebody other than the owner could use.
	othersMode = 0o077
)

// prepareFile makes the file and its directory, private to the owner, if they
// do not exist. SQLite gives its log and index the mode of the file.
func prepareFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createFile(path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	case info.Size() == 1:
		// SQLite takes it for an empty database, and would write over it.
		return fmt.Errorf("database %q %w: it is one byte", path, store.ErrCorrupt)
	}
	return nil
}

// createFile makes an empty file, which SQLite takes for an empty database. It
// comes about under another name, and its name is never opened here: closing
// it would drop every lock that the process holds on the file by then, and
// another handle may be at work already.
func createFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // an empty file left behind harms nobody
	if err := errors.Join(temp.Chmod(fileMode), temp.Close()); err != nil {
		return err
	}
	// Linking, unlike renaming, does not replace what another process has made
	// since.
	err = os.Link(temp.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	// The file system has no links. Nobody but us has the file open yet, or
	// somebody has only just opened it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode) //nolint:gosec // the path is the operator's configuration
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// restrictFiles takes from everybody else the right to read and write the
// files of the database.
func (s *Store) restrictFiles() error {
	for _, path := range []string{s.path, s.path + "-wal", s.path + "-shm"} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&othersMode == 0 {
			continue
		}
		err = os.Chmod(path, info.Mode().Perm()&^othersMode)
		if errors.Is(err, fs.ErrNotExist) {
			// The last other handle has just taken its log away.
			continue
		}
		if err != nil {
			return err
		}
		s.log.Warn("database was open to other users", "path", path, "mode", info.Mode().Perm().String())
	}
	return nil
}
