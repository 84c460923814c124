package git

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	snapshotIndex = "snapshot.index"
	// treesFile names the snapshots that were taken, and when.
	treesFile = "trees"
	// noteEvery is how often a snapshot that is taken again is noted again.
	noteEvery = time.Minute
)

// Track takes a snapshot of all files below root and returns its id, a tree of
// git. Only files that changed since the last one are read. When it is
// cancelled, the next one continues from what was done.
func (g *Git) Track(ctx context.Context, root string) (tree string, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	p, release, err := g.open(ctx, root)
	if err != nil {
		return "", fmt.Errorf("track: %w", err)
	}
	defer release()
	t := &tracker{git: g, store: p.store, next: index{}, now: time.Now()}
	if t.prev, err = p.store.loadIndex(snapshotIndex); err != nil {
		// Without it all files are read again, and ignored ones are dropped.
		g.cfg.Logger.Warn("snapshot index dropped", slog.String("root", p.path), slog.Any("error", err))
		t.prev = index{}
	}
	top, err := t.run(ctx, p.root)
	if err != nil {
		// What was read stays known. What was not reached stays as it was.
		maps.Copy(t.prev, t.next)
		return "", fmt.Errorf("track %q: %w", root, errors.Join(err, p.store.saveIndex(snapshotIndex, t.prev)))
	}
	if t.changed || len(t.next) != len(t.prev) {
		if err := p.store.saveIndex(snapshotIndex, t.next); err != nil {
			return "", fmt.Errorf("track %q: %w", root, err)
		}
	}
	if err := p.store.note(top, t.now); err != nil {
		return "", fmt.Errorf("track %q: %w", root, err)
	}
	return top.String(), nil
}

// tracker makes one snapshot.
type tracker struct {
	git        *Git
	store      *store
	prev, next index
	changed    bool // next is not prev
	now        time.Time
	dirs       []string // sorted paths of prev, made when first needed
	// entries are those of the directories that are being walked.
	entries map[string][]treeEntry
	top     id
}

func (t *tracker) run(ctx context.Context, root *os.Root) (id, error) {
	t.entries = map[string][]treeEntry{}
	s := scan{skip: t.git.dir, tracked: t.tracked, leaf: t.leaf, leave: t.leave, enter: func(*os.Root, string) bool { return true }}
	err := s.walk(ctx, root, nil)
	return t.top, err
}

// tracked reports whether a path is kept even if it is ignored: since the last
// snapshot holds it, or since it is a .gitignore. Those are kept all, also one
// that excludes itself, so that [Git.Restore] can tell what a snapshot ignored.
func (t *tracker) tracked(path string, isDir bool) bool {
	if !isDir && baseName(path) == ignoreName {
		return true
	}
	if k, ok := t.prev[path]; ok && k.mode&modeType != modeDir {
		return true
	}
	if !isDir {
		return false
	}
	if t.dirs == nil {
		t.dirs = make([]string, 0, len(t.prev))
		for p, k := range t.prev {
			if k.mode&modeType != modeDir {
				t.dirs = append(t.dirs, p)
			}
		}
		sort.Strings(t.dirs)
	}
	i := sort.SearchStrings(t.dirs, path+"/")
	return i < len(t.dirs) && strings.HasPrefix(t.dirs[i], path+"/")
}

// leaf records what is no directory.
func (t *tracker) leaf(dir *os.Root, path string, info fs.FileInfo) error {
	now := stampOf(info)
	k, ok := t.prev[path]
	if !ok || k.racy || k.stamp != now || k.mode&modeType == modeLeftOut || k.mode&modeType == modeDir {
		var err error
		if k, err = t.read(dir, path, info); err != nil {
			return err
		}
		t.changed = true
	}
	t.add(path, k)
	return nil
}

// add enters a path into the index and into the tree of its directory.
func (t *tracker) add(path string, k known) {
	t.next[path] = k
	parent := parentOf(path)
	t.entries[parent] = append(t.entries[parent], treeEntry{mode: k.mode, name: baseName(path), id: k.id})
}

func parentOf(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }

// read keeps the content of a file.
func (t *tracker) read(dir *os.Root, path string, info fs.FileInfo) (known, error) {
	name := baseName(path)
	at := time.Now()
	switch mode := info.Mode(); {
	case mode.IsRegular():
		data, got, err := readFile(dir, name, info, t.git.cfg.MaxFileBytes)
		if err != nil {
			// Too large, not for us to read, or changing right now.
			return leftOut(info), nil //nolint:nilerr // The other files must still be kept.
		}
		k := known{racy: true}
		if got != nil {
			info = got
			k.stamp = stampOf(got)
			k.racy = k.stamp.isRacy(at)
		}
		k.mode = modeFile | uint32(info.Mode().Perm())
		k.id, err = t.store.put("blob", data)
		return k, err
	case mode.Type() == fs.ModeSymlink:
		target, err := dir.Readlink(name)
		if err != nil {
			return leftOut(info), nil //nolint:nilerr // It is no link any more.
		}
		// A link cannot be read and stamped in one; the next time reads it again.
		k := known{mode: modeLink, stamp: stampOf(info), racy: true}
		if again, err := dir.Lstat(name); err == nil && stampOf(again) == k.stamp {
			k.racy = k.stamp.isRacy(at)
		}
		k.id, err = t.store.put("blob", []byte(target))
		return k, err
	}
	return leftOut(info), nil
}

// leftOut is the entry of what is not kept. Its id changes when the file does,
// as far as can be told from outside.
func leftOut(info fs.FileInfo) known {
	s := stampOf(info)
	b := binary.AppendUvarint(nil, uint64(s.mode))
	if t := info.Mode().Type(); t == 0 || t == fs.ModeDir {
		b = binary.AppendVarint(b, s.mtime)
		b = binary.AppendVarint(b, s.ctime)
		b = binary.AppendVarint(b, s.size)
		b = binary.AppendUvarint(b, s.ino)
	}
	return known{mode: modeLeftOut, id: objectID("left out", b), stamp: s}
}

// leave writes the tree of a directory. One without files is in no snapshot,
// as in git.
func (t *tracker) leave(path string) error {
	entries := t.entries[path]
	delete(t.entries, path)
	if len(entries) == 0 && path != "" {
		return nil
	}
	data := encodeTree(entries)
	k := known{mode: modeDir, id: objectID("tree", data)}
	// A tree that the last snapshot holds needs not be looked for. The name of
	// the root in the index is one that no file has.
	name := path
	if path == "" {
		name = "/"
	}
	if old, ok := t.prev[name]; !ok || old != k {
		if _, err := t.store.put("tree", data); err != nil {
			return err
		}
		t.changed = true
	}
	if path == "" {
		t.next[name] = k
		t.top = k.id
		return nil
	}
	t.add(path, k)
	return nil
}

// note records that a snapshot was taken. The file has one line for each: the
// time and the tree.
func (s *store) note(tree id, now time.Time) error {
	f, err := os.OpenFile(s.path(treesFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return err
	}
	err = note(f, tree, now)
	return errors.Join(err, f.Close())
}

func note(f *os.File, tree id, now time.Time) error {
	line := fmt.Sprintf("%012d %s\n", now.Unix(), tree)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// Lines have one length. A torn one is cut off.
	if torn := info.Size() % int64(len(line)); torn != 0 {
		if err := f.Truncate(info.Size() - torn); err != nil {
			return err
		}
	}
	if last := info.Size() - info.Size()%int64(len(line)) - int64(len(line)); last >= 0 {
		old := make([]byte, len(line))
		if _, err := f.ReadAt(old, last); err != nil {
			return err
		}
		at, name, err := parseNote(strings.TrimSuffix(string(old), "\n"))
		if err == nil && name == tree && now.Sub(at) < noteEvery && !now.Before(at) {
			return nil
		}
	}
	_, err = f.WriteString(line)
	return err
}

func parseNote(line string) (time.Time, id, error) {
	at, name, _ := strings.Cut(line, " ")
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return time.Time{}, id{}, fmt.Errorf("note of a snapshot: %w", err)
	}
	tree, err := parseID(name)
	return time.Unix(n, 0), tree, err
}
