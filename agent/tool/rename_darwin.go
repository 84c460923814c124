package tool

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames a file and does not replace another.
func renameNew(from *handle, name string, to *handle, toName string) error {
	_, err := retry(func() (int, error) {
		return 0, unix.RenameatxNp(from.fd, name, to.fd, toName, unix.RENAME_EXCL)
	})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return renameUnlessThere(from, name, to, toName)
	}
	return err
}
