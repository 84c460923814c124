//go:build unix

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkAccess returns [ErrUnsafe] if another user could change the file, by
// its mode, as its owner, or by replacing it. Root may serve anybody's file.
func checkAccess(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: its mode is %#o, want 0600", ErrUnsafe, info.Mode().Perm())
	}
	euid := os.Geteuid()
	if st, ok := info.Sys().(*syscall.Stat_t); ok && euid != 0 && st.Uid != 0 && int(st.Uid) != euid {
		return fmt.Errorf("%w: it belongs to user %d", ErrUnsafe, st.Uid)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(target)
	parent, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if parent.Mode().Perm()&0o002 != 0 && parent.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: the mode of its directory is %#o, want 0700", ErrUnsafe, parent.Mode().Perm())
	}
	return nil
}

func isReadableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o044 != 0 }

// syncDir makes a change of the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func isOpenToOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
