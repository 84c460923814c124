package tool

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors of what changes files.
var (
	// ErrExist means that a file is there where a new one was to be.
	ErrExist = errors.New("exists already")
	// ErrChanged means that a file is not what it was when its change was
	// planned.
	ErrChanged = errors.New("has changed since it was read: read it again")
	// ErrBinary means that a file is not text in UTF-8 and cannot be edited.
	ErrBinary = errors.New("is not text in UTF-8")
	// ErrChange means that changes cannot be made as they are described.
	ErrChange = errors.New("cannot be changed so")
)

// MaxFileBytes is how large a file may be that is edited or written.
const MaxFileBytes = 10 << 20

// maxChanges is how many files change at once.
const maxChanges = 1000

// ChangeKind says what becomes of a file.
type ChangeKind uint8

// The kinds of changes. The zero value is none, and is refused.
const (
	ChangeNone ChangeKind = iota
	// ChangeCreate makes a file where none is, with the directories above it.
	ChangeCreate
	// ChangeReplace gives a file other content. Its mode stays.
	ChangeReplace
	// ChangeDelete removes a file.
	ChangeDelete
	// ChangeMove gives a file another name. It is always the only change.
	ChangeMove
)

// Change is what is to become of one file, as it was planned from what the file
// held then. The plans of a [Tree] make it and [Tree.Apply] carries it out, if
// the file is still the same.
type Change struct {
	Kind ChangeKind
	Path string // in the tree
	// To is the new name, in the tree, of a file that is moved.
	To string
	// Before is what the file holds; nil if there is none, or if it was not
	// read since it is large or no text.
	Before []byte
	// After is what it is to hold.
	After []byte

	stamp      stamp  // of the file as it was planned
	mode       uint32 // of the file; of a new one only whether it is executable
	identified bool   // by its stamp, not by its content
}

// stamp tells one state of a file from another, as far as can be told without
// reading it.
type stamp struct {
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Mtim)} //nolint:unconvert // the types differ between systems
}

// loaded is a file as it was read for a plan.
type loaded struct {
	data  []byte // nil if it has more than was to be read
	stamp stamp
	mode  uint32
}

// load reads a file for a plan. More than so many bytes are not read.
func (t *Tree) load(name string, most int64) (loaded, error) {
	f, size, err := t.file(name)
	if err != nil {
		return loaded{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return loaded{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	l := loaded{stamp: stampOf(&st), mode: uint32(st.Mode)} //nolint:unconvert // its type differs between systems
	if size > most {
		return l, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return loaded{}, fmt.Errorf("read: %w", err)
	}
	if int64(len(data)) <= most {
		l.data = data
	}
	return l, nil
}

// Apply carries out changes that were planned, all or none: each file is first
// written beside the one that it replaces, and takes its name when all are. If
// one of them fails after others have taken theirs, then those are put back. A
// file that is not as it was planned is [ErrChanged].
//
// A reader sees the old file or the new, whole. No link is followed and no
// directory is entered that has become one; what a name leads to outside the
// tree is never touched. A file with several names gets its own content under
// this one.
func (t *Tree) Apply(changes []Change) error {
	if err := t.checkChanges(changes); err != nil {
		return err
	}
	a := &application{tree: t}
	defer a.release()
	for i := range changes {
		if err := a.stage(&changes[i]); err != nil {
			return a.fail(changes[i].Path, err)
		}
	}
	for _, s := range a.staged {
		if err := s.check(); err != nil {
			return a.fail(s.change.Path, err)
		}
	}
	// Deletions come last, since they are the hardest to put back.
	slices.SortStableFunc(a.staged, func(x, y *staged) int {
		return int(x.change.Kind) - int(y.change.Kind)
	})
	for _, s := range a.staged {
		if err := s.commit(); err != nil {
			return a.fail(s.change.Path, err)
		}
		s.done = true
	}
	a.kept = true
	return nil
}

func (t *Tree) checkChanges(changes []Change) error {
	if len(changes) == 0 || len(changes) > maxChanges {
		return fmt.Errorf("%w: %d files, want 1 to %d", ErrChange, len(changes), maxChanges)
	}
	seen := map[string]bool{}
	for _, c := range changes {
		names := []string{c.Path}
		switch c.Kind {
		case ChangeCreate, ChangeReplace, ChangeDelete:
			if c.identified && len(changes) > 1 {
				return fmt.Errorf("%q: %w: among others, what it holds must be known", c.Path, ErrChange)
			}
		case ChangeMove:
			if len(changes) > 1 {
				return fmt.Errorf("%w: a move among other changes", ErrChange)
			}
			names = append(names, c.To)
		default:
			return fmt.Errorf("%q: %w: no change is named", c.Path, ErrChange)
		}
		for _, name := range names {
			if err := t.checkName(name); err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("%q: %w: it is named twice", name, ErrChange)
			}
			seen[name] = true
		}
	}
	return nil
}

// checkName refuses what cannot be the name of a file. One that is longer than
// what the system opens could be made piece by piece, and then not be removed.
func (t *Tree) checkName(name string) error {
	switch {
	case !fs.ValidPath(name) || strings.ContainsRune(name, 0):
		return fmt.Errorf("%q: %w", name, ErrName)
	case len(t.dir)+1+len(name) >= unix.PathMax:
		return fmt.Errorf("%.80q: %w: it is too long", name, ErrName)
	case name == ".":
		return fmt.Errorf("%q: %w", name, ErrNotFile)
	}
	return nil
}

// application is the carrying out of changes.
type application struct {
	tree   *Tree
	staged []*staged
	made   []madeDir
	kept   bool // what was made is in use
}

// madeDir is a directory that was made for a new file.
type madeDir struct {
	parent *handle
	name   string
}

// staged is a change on its way.
type staged struct {
	change *Change
	dir    *handle // that the file is in
	name   string
	to     *handle // that a moved file goes to
	toName string
	temp   string // the new file in dir, until it takes its name
	inode  uint64 // of the new file
	done   bool
}

// stage opens the directory of a file and writes the new file beside it.
func (a *application) stage(c *Change) error {
	s := &staged{change: c, name: path.Base(c.Path)}
	var err error
	if c.Kind == ChangeCreate {
		s.dir, err = a.makeDirectory(path.Dir(c.Path))
	} else {
		s.dir, err = a.tree.directory(path.Dir(c.Path))
	}
	if err != nil {
		return err
	}
	a.staged = append(a.staged, s)
	if c.Kind == ChangeMove {
		s.toName = path.Base(c.To)
		if s.to, err = a.makeDirectory(path.Dir(c.To)); err != nil {
			return err
		}
	}
	if err := s.check(); err != nil {
		return err
	}
	switch c.Kind {
	case ChangeCreate:
		mode := uint32(0o666)
		if c.mode&0o111 != 0 {
			mode = 0o777
		}
		s.temp, s.inode, err = s.dir.writeTemp(c.After, mode, nil)
	case ChangeReplace:
		var st unix.Stat_t
		if st, err = s.dir.stat(s.name); err == nil {
			s.temp, s.inode, err = s.dir.writeTemp(c.After, 0o600, &st)
		}
	default:
	}
	return err
}

// makeDirectory opens a directory, and makes what is missing of it.
func (a *application) makeDirectory(name string) (*handle, error) {
	h := a.tree.top.retain()
	if name == "." {
		return h, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		next, err := h.child(part)
		if errors.Is(err, fs.ErrNotExist) {
			_, err = retry(func() (int, error) { return 0, unix.Mkdirat(h.fd, part, 0o777) })
			if err == nil {
				a.made = append(a.made, madeDir{h.retain(), part})
			}
			if err == nil || errors.Is(err, fs.ErrExist) {
				next, err = h.child(part)
			}
		}
		h.release()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		h = next
	}
	return h, nil
}

// check reports whether the file still is as it was planned.
func (s *staged) check() error {
	c := s.change
	if c.Kind == ChangeCreate {
		return s.dir.absent(s.name)
	}
	if c.Kind == ChangeMove {
		if err := s.to.absent(s.toName); err != nil {
			return fmt.Errorf("%q: %w", c.To, err)
		}
	}
	f, size, err := s.dir.file(s.name, c.Path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	if c.identified {
		var st unix.Stat_t
		if _, err := retry(func() (int, error) { return 0, unix.Fstat(int(f.Fd()), &st) }); err != nil {
			return err
		}
		if stampOf(&st) != c.stamp {
			return ErrChanged
		}
		return nil
	}
	if size != int64(len(c.Before)) {
		return ErrChanged
	}
	data, err := io.ReadAll(io.LimitReader(f, size+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(data, c.Before) {
		return ErrChanged
	}
	return nil
}

// commit lets the change take effect.
func (s *staged) commit() error {
	if err := s.check(); err != nil {
		return err
	}
	switch s.change.Kind {
	case ChangeCreate:
		if err := renameNew(s.dir, s.temp, s.dir, s.name); err != nil {
			return existing(err)
		}
		s.temp = ""
	case ChangeReplace:
		if _, err := retry(func() (int, error) { return 0, unix.Renameat(s.dir.fd, s.temp, s.dir.fd, s.name) }); err != nil {
			return err
		}
		s.temp = ""
	case ChangeDelete:
		return s.dir.unlink(s.name)
	case ChangeMove:
		return existing(renameNew(s.dir, s.name, s.to, s.toName))
	default:
		return ErrChange
	}
	return nil
}

func existing(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return ErrExist
	}
	return err
}

// undo puts back what a change has done.
func (s *staged) undo() error {
	c := s.change
	switch c.Kind {
	case ChangeCreate:
		// What somebody has put in its place stays.
		if st, err := s.dir.stat(s.name); err == nil && st.Ino == s.inode {
			return s.dir.unlink(s.name)
		}
	case ChangeReplace:
		st, err := s.dir.stat(s.name)
		if err != nil {
			return err
		}
		if st.Ino != s.inode {
			return ErrChanged
		}
		temp, _, err := s.dir.writeTemp(c.Before, 0o600, &st)
		if err != nil {
			return err
		}
		if _, err := retry(func() (int, error) { return 0, unix.Renameat(s.dir.fd, temp, s.dir.fd, s.name) }); err != nil {
			return errors.Join(err, s.dir.unlink(temp))
		}
	case ChangeDelete:
		if c.identified {
			return ErrChange // it was not read, and is always the only change
		}
		temp, _, err := s.dir.writeTemp(c.Before, c.mode&0o777, nil)
		if err != nil {
			return err
		}
		if err := renameNew(s.dir, temp, s.dir, s.name); err != nil {
			return errors.Join(err, s.dir.unlink(temp))
		}
	default:
	}
	return nil
}

// fail puts everything back and returns why.
func (a *application) fail(name string, err error) error {
	err = &fs.PathError{Op: "change", Path: name, Err: err}
	for _, s := range slices.Backward(a.staged) {
		if !s.done {
			continue
		}
		if undoErr := s.undo(); undoErr != nil {
			err = errors.Join(err, fmt.Errorf("%q cannot be put back: %w", s.change.Path, undoErr))
		}
	}
	return err
}

// release removes what is not in use and closes the rest.
func (a *application) release() {
	for _, s := range a.staged {
		if s.temp != "" {
			_ = s.dir.unlink(s.temp) // nobody knows its name
		}
		s.dir.release()
		if s.to != nil {
			s.to.release()
		}
	}
	for _, m := range slices.Backward(a.made) {
		if !a.kept {
			// One that others have put something in stays.
			_, _ = retry(func() (int, error) { return 0, unix.Unlinkat(m.parent.fd, m.name, unix.AT_REMOVEDIR) })
		}
		m.parent.release()
	}
}

// stat looks at one name of the directory, and at a link itself.
func (h *handle) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// absent returns nil if the directory has nothing of that name.
func (h *handle) absent(name string) error {
	switch kind, err := h.kind(name); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case kind == KindLink:
		return ErrLink
	}
	return ErrExist
}

func (h *handle) unlink(name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(h.fd, name, 0) })
	return err
}

// writeTemp writes a new file under a name that nobody knows. It gets the owner
// and the mode of another, if one is given.
func (h *handle) writeTemp(data []byte, mode uint32, like *unix.Stat_t) (name string, inode uint64, err error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	name = ".opencode-" + hex.EncodeToString(random[:]) + ".tmp"
	fd, err := retry(func() (int, error) {
		return unix.Openat(h.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
	if err != nil {
		return "", 0, err
	}
	f := os.NewFile(uintptr(fd), name)
	err = func() error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		inode = st.Ino
		if like != nil {
			if st.Uid != like.Uid || st.Gid != like.Gid {
				if err := unix.Fchown(fd, int(like.Uid), int(like.Gid)); err != nil {
					return fmt.Errorf("its owner cannot be kept: %w", err)
				}
			}
			if err := unix.Fchmod(fd, uint32(like.Mode)&0o777); err != nil { //nolint:unconvert // its type differs between systems
				return err
			}
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return f.Sync()
	}()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, errors.Join(err, h.unlink(name))
	}
	return name, inode, nil
}

// renameUnlessThere is a rename for file systems that cannot refuse to replace.
func renameUnlessThere(from *handle, name string, to *handle, toName string) error {
	if err := to.absent(toName); err != nil {
		return err
	}
	_, err := retry(func() (int, error) { return 0, unix.Renameat(from.fd, name, to.fd, toName) })
	return err
}
