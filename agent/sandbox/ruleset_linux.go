//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rights on files. What a directory is granted holds for all that is in it.
const (
	rightsFile = ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSReadFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
	rightsRead = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSReadDir
	rightsAll  = rightsRead | ll.AccessFSWriteFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeChar | ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo |
		ll.AccessFSMakeBlock | ll.AccessFSMakeSym | ll.AccessFSRefer | ll.AccessFSTruncate | ll.AccessFSIoctlDev |
		ll.AccessFSResolveUnix
	// rightsData are nodes of devices left out: nobody needs to make one.
	rightsData = rightsAll &^ (ll.AccessFSMakeChar | ll.AccessFSMakeBlock)
	// rightsWall are those that a wall is about. Moving is among them because
	// the kernel forbids it wherever it is not granted.
	rightsWall = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer
)

// known returns the rights that a version of Landlock knows.
func known(version int) uint64 {
	switch {
	case version >= 9:
		return 1<<17 - 1
	case version >= 5:
		return 1<<16 - 1
	case version >= 3:
		return 1<<15 - 1
	case version == 2:
		return 1<<14 - 1
	case version == 1:
		return 1<<13 - 1
	}
	return 0
}

// ruleset is a set of rules that a process can give itself.
type ruleset struct {
	file    *os.File
	handled uint64
}

func newRuleset(attr ll.RulesetAttr) (*ruleset, error) {
	fd, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return nil, fmt.Errorf("landlock ruleset: %w", err)
	}
	unix.CloseOnExec(fd)
	return &ruleset{file: os.NewFile(uintptr(fd), "landlock"), handled: attr.HandledAccessFS}, nil
}

// grant grants rights on a file or a directory with all that is in it. The path
// must be real: one that is a link meanwhile is not followed, and one that is
// gone is not granted.
func (r *ruleset) grant(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("landlock rule for %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("landlock rule for %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil // where it leads is granted or not by itself
	case unix.S_IFDIR:
	default:
		rights &= rightsFile
	}
	if rights &= r.handled; rights == 0 {
		return nil
	}
	if err := ll.LandlockAddPathBeneathRule(int(r.file.Fd()), &ll.PathBeneathAttr{AllowedAccess: rights, ParentFd: fd}, 0); err != nil {
		return fmt.Errorf("landlock rule for %s: %w", path, err)
	}
	return nil
}

// grants are what one command may do with files.
type grants struct {
	read, write []string // real paths
}

// rules returns the rules that hold a command to the grants.
func (g grants) rules(h Host, network bool) (*ruleset, error) {
	attr := ll.RulesetAttr{HandledAccessFS: rightsAll & known(h.Landlock)}
	if !network && !h.Namespaces && h.Landlock >= 4 {
		attr.HandledAccessNet = ll.AccessNetBindTCP | ll.AccessNetConnectTCP
	}
	if h.Landlock >= 6 {
		attr.Scoped = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
	}
	r, err := newRuleset(attr)
	if err != nil {
		return nil, err
	}
	for _, path := range g.read {
		err = errors.Join(err, r.grant(path, rightsRead))
	}
	for _, path := range g.write {
		err = errors.Join(err, r.grant(path, rightsData))
	}
	if err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return r, nil
}

// walls keeps rulesets that grant everything but some files. A rule can only
// grant, and what is granted for a directory holds for all that is in it; so a
// wall grants each neighbour of what it keeps out, and of each directory above.
// That takes a rule for each program of the host, which is why it is kept.
type walls struct {
	mu   sync.Mutex
	list []*wall // the last used first
	// searched is the last search for banned programs.
	searched *search
}

// maxWalls is how many walls are kept: one for each project, more or less.
const maxWalls = 8

type wall struct {
	key   string
	rules *ruleset
	dirs  stamps // of what was listed
}

// stamps are the states in which directories were seen.
type stamps map[string]stamp

type stamp struct {
	id          file
	sec, nsec   int64
	csec, cnsec int64
}

func stampOf(path string) stamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return stamp{}
	}
	return stamp{
		id:  file{dev: uint64(st.Dev), ino: st.Ino},                                                              //nolint:unconvert,nolintlint // Dev is narrower on some systems
		sec: int64(st.Mtim.Sec), nsec: int64(st.Mtim.Nsec), csec: int64(st.Ctim.Sec), cnsec: int64(st.Ctim.Nsec), //nolint:unconvert,nolintlint // narrower on some systems
	}
}

// fresh reports whether every directory is as it was.
func (s stamps) fresh() bool {
	for path, seen := range s {
		if stampOf(path) != seen {
			return false
		}
	}
	return true
}

// search is a search for banned programs and what it found.
type search struct {
	key   string
	dirs  stamps
	found programs
}

// programs returns the files of banned programs, as they are now.
func (w *walls) programs(names, dirs, needed []string) programs {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := strings.Join(names, "\x00") + "\x01" + strings.Join(dirs, "\x00") + "\x01" + strings.Join(needed, "\x00")
	if s := w.searched; s != nil && s.key == key && s.dirs.fresh() {
		return s.found
	}
	s := &search{key: key, dirs: stamps{}}
	for _, dir := range dirs {
		s.dirs[dir] = stampOf(dir)
	}
	s.found = findPrograms(names, dirs, needed)
	for _, path := range s.found.paths {
		s.dirs[path] = stampOf(path)
	}
	w.searched = s
	return s.found
}

// around returns a ruleset that keeps out what is hidden and what is banned, which
// must be real paths. The caller must close it.
func (w *walls) around(version int, hidden, banned []string, s *slots) (*os.File, error) {
	hidden, banned = ordered(hidden), ordered(banned)
	key := strings.Join(hidden, "\x00") + "\x01" + strings.Join(banned, "\x00")
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, old := range w.list {
		if old.key != key {
			continue
		}
		w.list = slices.Delete(w.list, i, i+1)
		if old.dirs.fresh() {
			w.list = slices.Insert(w.list, 0, old)
			return duplicate(old.rules.file)
		}
		_ = old.rules.file.Close() // nothing was written
		break
	}
	granted, err := s.walled()
	if err != nil {
		return nil, err
	}
	built, err := buildWall(version, key, hidden, banned, granted)
	if err != nil {
		return nil, err
	}
	if len(w.list) == maxWalls {
		_ = w.list[maxWalls-1].rules.file.Close() // nothing was written
		w.list = w.list[:maxWalls-1]
	}
	w.list = slices.Insert(w.list, 0, built)
	return duplicate(built.rules.file)
}

// ordered returns a list in order and without repetitions.
func ordered(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// duplicate returns a file of its own, so that the end of a wall that is kept
// does not take it from a command that is about to start.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("landlock ruleset: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func buildWall(version int, key string, hidden, banned []string, granted []slot) (*wall, error) {
	r, err := newRuleset(ll.RulesetAttr{HandledAccessFS: rightsWall & known(version)})
	if err != nil {
		return nil, err
	}
	w := &wall{key: key, rules: r, dirs: stamps{}}
	b := builder{wall: w, keep: map[string]bool{}, pass: map[string]bool{}, beside: map[string][]string{}}
	for _, path := range slices.Concat(hidden, banned) {
		b.keep[path] = true
		for dir := filepath.Dir(path); !b.pass[dir]; dir = filepath.Dir(dir) {
			b.pass[dir] = true
		}
	}
	for _, path := range hidden {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			b.beside[filepath.Dir(path)] = append(b.beside[filepath.Dir(path)], filepath.Base(path))
		}
	}
	err = b.grantAround("/")
	for _, s := range granted {
		err = errors.Join(err, r.grant(s.private(), rightsWall), r.grant(s.shared(), rightsWall))
	}
	if err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return w, nil
}

// builder builds a wall.
type builder struct {
	wall *wall
	// keep is what is kept out, and pass are the directories that it is in.
	keep, pass map[string]bool
	// beside are the names of hidden files, by their directories.
	beside map[string][]string
}

// grantAround grants what is in a directory but for what is to be kept out.
func (b *builder) grantAround(dir string) error {
	b.wall.dirs[dir] = stampOf(dir) // before the look: a later change is seen
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("landlock rules below %s: %w", dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case b.keep[path], e.Type()&fs.ModeSymlink != 0, !e.IsDir() && b.isCopy(dir, e.Name()):
		case b.pass[path]:
			if err := b.grantAround(path); err != nil {
				return err
			}
		default:
			if err := b.wall.rules.grant(path, rightsWall); err != nil {
				return err
			}
		}
	}
	return nil
}

// isCopy reports whether a file is named after a hidden one beside it. It may be
// what will replace that: what is granted stays so under its new name, and a mount
// goes with the file that it lies over.
func (b *builder) isCopy(dir, name string) bool {
	return slices.ContainsFunc(b.beside[dir], func(hidden string) bool { return strings.Contains(name, hidden) })
}

// drop forgets all walls.
func (w *walls) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, old := range w.list {
		_ = old.rules.file.Close() // nothing was written
	}
	w.list = nil
}
