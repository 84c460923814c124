// Package regular reads files that may not be files: what stands at a path of
// the user's, or of somebody else's, can be a pipe that nobody writes, a device
// that never ends or a link to either, and can become one between two looks.
//
// So a path is opened first, without waiting and without taking a terminal, and
// then it is what was opened that has to be a regular file. It reads and
// changes nothing, keeps nothing and knows nothing of ours.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrNotRegular means that something else than a regular file is there.
var ErrNotRegular = errors.New("is not a regular file")

// ErrTooLarge means that a file is larger than the caller reads.
var ErrTooLarge = errors.New("is too large")

// sizeError is an [ErrTooLarge].
type sizeError struct {
	path  string
	limit int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("%s: is larger than %d bytes", e.path, e.limit)
}

func (*sizeError) Unwrap() error { return ErrTooLarge }

// Links says what to do with a symbolic link at the end of a path. Its zero
// value refuses one.
type Links bool

// What to do with links.
const (
	RefuseLinks Links = false
	FollowLinks Links = true
)

// Open opens a regular file for reading, and returns what is known of the open
// file. Errors name the path.
func Open(path string, links Links) (*os.File, fs.FileInfo, error) {
	f, err := open(path, links)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Read returns the content of a regular file of at most limit bytes. Errors
// name the path and repeat nothing of the content.
func Read(path string, links Links, limit int64) ([]byte, error) {
	f, _, err := Open(path, links)
	if err != nil {
		return nil, err
	}
	data, err := ReadOpen(f, limit)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return data, nil
}

// ReadOpen returns what is left of an open file, of at most limit bytes.
func ReadOpen(f *os.File, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, &sizeError{f.Name(), limit}
	}
	return data, nil
}
