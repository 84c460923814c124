//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// maxSlots is how many commands have the shared directory for temporary files
// to themselves at once. Others have one of their own elsewhere.
const maxSlots = 16

// slot is a set of private directories, for one command at a time.
type slot struct {
	dir string
	// walled reports that walls grant it, as they must if it is to lie over
	// another: they look at the directory itself and at those above the other.
	walled bool
}

// private is for temporary files.
func (s slot) private() string { return filepath.Join(s.dir, "tmp") }

// shared is for memory that the processes of a command share by name.
func (s slot) shared() string { return filepath.Join(s.dir, "shm") }

// empty is for hiding others.
func (s slot) empty() string { return filepath.Join(s.dir, "empty") }

func makeSlot(dir string) (slot, error) {
	s := slot{dir: dir}
	return s, errors.Join(os.Mkdir(s.private(), 0o700), os.Mkdir(s.shared(), 0o700), os.Mkdir(s.empty(), 0o500))
}

// slots are directories that are made once, and emptied after each command.
type slots struct {
	parent string // where they are made

	mu   sync.Mutex
	base string // holds the walled ones
	all  []slot
	free []slot
}

// walled returns all slots that walls must grant.
func (s *slots) walled() ([]slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.prepare()
}

// prepare makes the slots. It must be called below the lock.
func (s *slots) prepare() error {
	if s.base != "" {
		return nil
	}
	base, err := os.MkdirTemp(s.parent, "opencode-")
	if err != nil {
		return err
	}
	if base, err = filepath.EvalSymlinks(base); err != nil {
		return err
	}
	s.base = base
	for i := range maxSlots {
		dir := filepath.Join(base, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		made, err := makeSlot(dir)
		if err != nil {
			return err
		}
		made.walled = true
		s.all = append(s.all, made)
	}
	s.free = append(s.free, s.all...)
	return nil
}

// take returns a slot that is empty.
func (s *slots) take() (slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.prepare(); err != nil {
		return slot{}, err
	}
	for len(s.free) > 0 {
		last := s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		if _, err := os.Stat(last.private()); err == nil { // something may have tidied up
			return last, nil
		}
	}
	dir, err := os.MkdirTemp(s.parent, "opencode-")
	if err != nil {
		return slot{}, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return slot{}, err
	}
	return makeSlot(dir)
}

// put takes a slot back whose command and all that it started are dead. One
// that cannot be emptied is not used again.
func (s *slots) put(used slot) {
	if used.dir == "" {
		return
	}
	if !used.walled {
		_ = emptyOut(used.dir)
		_ = os.Remove(used.dir) // nothing counts on it
		return
	}
	if errors.Join(emptyOut(used.private()), emptyOut(used.shared())) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base != "" {
		s.free = append(s.free, used)
	}
}

// close removes all slots.
func (s *slots) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == "" {
		return nil
	}
	err := errors.Join(emptyOut(s.base), os.Remove(s.base))
	s.base, s.all, s.free = "", nil, nil
	return err
}

// emptyOut removes what is in a directory. A command can leave directories that
// nobody may change.
func emptyOut(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d == nil || !d.IsDir() {
			return nil
		}
		if err == nil && path == dir {
			return nil
		}
		_ = os.Chmod(path, 0o700) //nolint:gosec // G302, G122: a directory, and all that could race is dead
		return nil
	})
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
