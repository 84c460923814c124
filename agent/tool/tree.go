package tool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Errors of what reads files.
var (
	// ErrLink means that a link stands where a file or a directory was: what a
	// path led to has changed since somebody looked.
	ErrLink = errors.New("is a link")
	// ErrNotFile means that it is a directory, a device, a pipe or a socket.
	ErrNotFile = errors.New("is not a file that holds data")
	// ErrNotDirectory means that it is something else.
	ErrNotDirectory = errors.New("is not a directory")
	// ErrTooLarge means that it is more than is read at once.
	ErrTooLarge = errors.New("is too large")
	// ErrName means that a name cannot be that of a file in a [Tree].
	ErrName = errors.New("is not a plain path")
	// ErrPattern means that a pattern cannot be searched for.
	ErrPattern = errors.New("is not a pattern that can be searched for")
)

// Kind says what an entry of a directory is.
type Kind uint8

// The kinds of entries.
const (
	KindSpecial Kind = iota // a device, a pipe or a socket
	KindFile
	KindDirectory
	KindLink
)

func kindOf(mode fs.FileMode) Kind {
	switch {
	case mode.IsRegular():
		return KindFile
	case mode.IsDir():
		return KindDirectory
	case mode&fs.ModeSymlink != 0:
		return KindLink
	}
	return KindSpecial
}

// Entry is a file or a directory of a [Tree].
type Entry struct {
	// Path is relative to the tree, with slashes.
	Path string
	Kind Kind
	// Ignored reports that git does not look at it.
	Ignored bool
}

// Tree reads the files below one directory, and nothing else.
//
// A name is a path below that directory as it is when every link has been
// followed, with slashes; "." is the directory itself. It is walked one
// directory handle at a time, and no link is followed: [os.Root] would follow
// those that stay inside, to a file that nobody has decided about. A device, a
// pipe or a socket is not opened.
type Tree struct {
	dir string
	top *handle
}

// OpenTree returns the files below a directory. The caller must call Close.
func OpenTree(dir string) (*Tree, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("directory %q: %w", dir, ErrName)
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Tree{dir: dir, top: newHandle(fd)}, nil
}

// Close ends the use of the tree.
func (t *Tree) Close() error {
	t.top.release()
	return nil
}

// handle is an open directory. Whoever holds it releases it once.
type handle struct {
	fd   int
	refs atomic.Int32
}

func newHandle(fd int) *handle {
	h := &handle{fd: fd}
	h.refs.Store(1)
	return h
}

func (h *handle) retain() *handle {
	h.refs.Add(1)
	return h
}

func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		_ = unix.Close(h.fd) // it was only read
	}
}

// kind looks at one name of the directory, and at a link itself.
func (h *handle) kind(name string) (Kind, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return kindOfStat(&st), err
}

func kindOfStat(st *unix.Stat_t) Kind {
	switch uint32(st.Mode) & unix.S_IFMT { //nolint:unconvert // its type differs between systems
	case unix.S_IFREG:
		return KindFile
	case unix.S_IFDIR:
		return KindDirectory
	case unix.S_IFLNK:
		return KindLink
	}
	return KindSpecial
}

// open opens one name of the directory for reading. It does not wait, as a pipe
// would make it, and follows no link.
func (h *handle) open(name string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(h.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
	})
}

// child opens a directory in the directory.
func (h *handle) child(name string) (*handle, error) {
	fd, err := h.open(name, unix.O_DIRECTORY)
	if err == nil {
		return newHandle(fd), nil
	}
	if kind, statErr := h.kind(name); statErr == nil && kind != KindDirectory {
		if kind == KindLink {
			return nil, ErrLink
		}
		return nil, ErrNotDirectory
	}
	return nil, err
}

// file opens a file in the directory, if it holds data. It looks before it
// opens, since to open a device can have an effect, and again afterwards.
func (h *handle) file(name, shown string) (*os.File, int64, error) {
	switch kind, err := h.kind(name); {
	case err != nil:
		return nil, 0, err
	case kind == KindLink:
		return nil, 0, ErrLink
	case kind != KindFile:
		return nil, 0, ErrNotFile
	}
	fd, err := h.open(name, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, 0, ErrLink
	case errors.Is(err, unix.ENXIO):
		return nil, 0, ErrNotFile
	case err != nil:
		return nil, 0, err
	}
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstat(fd, &st) }); err != nil || kindOfStat(&st) != KindFile {
		_ = unix.Close(fd)
		if err == nil {
			err = ErrNotFile
		}
		return nil, 0, err
	}
	return os.NewFile(uintptr(fd), shown), st.Size, nil
}

// entries returns what is in the directory in no order, at most so many, and
// whether there is more.
func (h *handle) entries(shown string, most int) (list []os.DirEntry, more bool, err error) {
	fd, err := h.open(".", unix.O_DIRECTORY)
	if err != nil {
		return nil, false, err
	}
	f := os.NewFile(uintptr(fd), shown)
	defer func() { _ = f.Close() }()
	list, err = f.ReadDir(most + 1)
	if len(list) > most {
		return list[:most], true, nil
	}
	if len(list) > 0 {
		// The end is an error only when nothing is left.
		return list, false, nil
	}
	return nil, false, ignoreEOF(err)
}

// directory opens the directory of that name.
func (t *Tree) directory(name string) (*handle, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("%q: %w", name, ErrName)
	}
	h := t.top.retain()
	if name == "." {
		return h, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		next, err := h.child(part)
		h.release()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		h = next
	}
	return h, nil
}

// file opens the file of that name and returns its size.
func (t *Tree) file(name string) (*os.File, int64, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return nil, 0, fmt.Errorf("%q: %w", name, ErrName)
	}
	if name == "." {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: ErrNotFile}
	}
	h, err := t.directory(path.Dir(name))
	if err != nil {
		return nil, 0, err
	}
	defer h.release()
	f, size, err := h.file(path.Base(name), name)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, size, nil
}

// retry repeats what a signal has interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
