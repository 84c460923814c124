package git

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Restore brings files, given by their paths relative to root, to what they are
// in a snapshot: made again, rewritten or deleted. Permission bits and links
// are restored too; directories are made as needed, and removed when the last
// file in them is deleted.
//
// It stays below root whatever the links there say: a directory on the way
// that has become a link is not followed. A path is deleted only if the snapshot
// shows that it was not there; one that was left out or ignored then is not
// known, gives [ErrUnknown] and is not touched. Each file is replaced in one
// step. The error names all files that could not be restored; the others are.
func (g *Git) Restore(ctx context.Context, root, tree string, files []string) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	p, release, err := g.open(ctx, root)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer release()
	top, err := p.store.top(tree)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r := &restorer{
		store: p.store, root: p.root, skip: g.dir, top: top,
		trees: map[id]map[string]treeEntry{}, ignores: map[string]*ignores{},
	}
	var errs []error
	fail := func(file string, err error) { errs = append(errs, fmt.Errorf("restore %q: %w", file, err)) }
	files = slices.Clone(files)
	slices.Sort(files)
	files = slices.Compact(files)
	// What is deleted goes first and from the bottom, since it can be in the
	// place of a directory or of a file to come.
	writes := map[string]treeEntry{}
	for _, file := range slices.Backward(files) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
		e, err := r.find(ctx, file)
		switch {
		case err != nil:
			fail(file, err)
		case e == nil:
			if err := r.remove(file); err != nil {
				fail(file, err)
			}
		default:
			writes[file] = *e
		}
	}
	for _, file := range files {
		e, ok := writes[file]
		if !ok {
			continue
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
		if err := r.write(file, e); err != nil {
			fail(file, err)
		}
	}
	return errors.Join(errs...)
}

// restorer brings files to what they are in one snapshot.
type restorer struct {
	store *store
	root  *os.Root
	skip  fs.FileInfo
	top   id
	// What has been read of the snapshot.
	trees   map[id]map[string]treeEntry
	ignores map[string]*ignores // by directory
}

// checkFile refuses paths that are not below root, and those of repositories.
func checkFile(file string) error {
	if !fs.ValidPath(strings.ToValidUTF8(file, "_")) || file == "." || strings.ContainsRune(file, 0) ||
		!filepath.IsLocal(filepath.FromSlash(file)) {
		return fmt.Errorf("%w: not a path below the root", ErrInvalid)
	}
	for name := range strings.SplitSeq(file, "/") {
		if isGitAnywhere(name) {
			return fmt.Errorf("%w: it belongs to a repository", ErrInvalid)
		}
	}
	return nil
}

func (r *restorer) tree(i id) (map[string]treeEntry, error) {
	if t, ok := r.trees[i]; ok {
		return t, nil
	}
	entries, err := r.store.tree(i)
	if err != nil {
		return nil, err
	}
	t := make(map[string]treeEntry, len(entries))
	for _, e := range entries {
		t[e.name] = e
	}
	r.trees[i] = t
	return t, nil
}

// find returns the entry of a file in the snapshot, nil if there was no such
// file.
func (r *restorer) find(ctx context.Context, file string) (*treeEntry, error) {
	if err := checkFile(file); err != nil {
		return nil, err
	}
	at := treeEntry{mode: modeDir, id: r.top}
	for name := range strings.SplitSeq(file, "/") {
		if at.mode&modeType == modeLeftOut {
			return nil, fmt.Errorf("%w: its directory could not be read", ErrUnknown)
		}
		if !at.isDir() {
			return nil, nil //nolint:nilnil // No file, no error. The way there was a file.
		}
		t, err := r.tree(at.id)
		if err != nil {
			return nil, err
		}
		e, ok := t[name]
		if !ok {
			return nil, r.absent(ctx, file)
		}
		at = e
	}
	switch at.mode & modeType {
	case modeFile, modeLink:
		return &at, nil
	case modeDir:
		return nil, nil //nolint:nilnil // A directory was there, so the file was not.
	}
	return nil, fmt.Errorf("%w: it was left out, since it was too large or no regular file", ErrUnknown)
}

// absent returns an error if a file that the snapshot does not hold could have
// been there, ignored. Otherwise who makes a .gitignore shorter would have
// an undo delete what it excluded.
func (r *restorer) absent(ctx context.Context, file string) error {
	ign, err := r.ignoresOf("", r.top)
	if err != nil {
		return err
	}
	at, inTree := r.top, true
	for i := 0; i <= len(file); i++ {
		if i < len(file) && file[i] != '/' {
			continue
		}
		path, isDir := file[:i], i < len(file)
		ignored, err := ign.match(ctx, path, isDir)
		if err != nil {
			return err
		}
		if ignored {
			return fmt.Errorf("%w: it was ignored", ErrUnknown)
		}
		if !isDir || !inTree {
			continue
		}
		t, err := r.tree(at)
		if err != nil {
			return err
		}
		e, ok := t[baseName(path)]
		if inTree = ok && e.isDir(); !inTree {
			continue // A directory that was not there had no .gitignore.
		}
		at = e.id
		if ign, err = r.ignoresOf(path, at); err != nil {
			return err
		}
	}
	return nil
}

// ignoresOf returns the patterns that applied in a directory of the snapshot.
func (r *restorer) ignoresOf(dir string, tree id) (*ignores, error) {
	if g, ok := r.ignores[dir]; ok {
		return g, nil
	}
	var above *ignores
	if dir != "" {
		above = r.ignores[parentOf(dir)] // absent goes from the top down.
	}
	t, err := r.tree(tree)
	if err != nil {
		return nil, err
	}
	e, ok := t[ignoreName]
	if ok && e.mode&modeType == modeLeftOut {
		return nil, fmt.Errorf("%w: the %s that applied was left out", ErrUnknown, ignoreName)
	}
	if ok && e.mode&modeType == modeFile {
		data, err := r.store.get("blob", e.id)
		if err != nil {
			return nil, err
		}
		above = above.with(dir, data)
	}
	r.ignores[dir] = above
	return above, nil
}

// errLink means that a directory on the way to a file is none.
var errLink = errors.New("is a link or a file, and a directory is needed")

// parent opens the directory of a file, component by component. With create it
// makes what is missing. It follows no link.
func (r *restorer) parent(file string, create bool) (*os.Root, error) {
	dir, err := r.root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	path := parentOf(file)
	if path == "" {
		return dir, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		next, err := r.child(dir, name, create)
		_ = dir.Close() // It holds no state.
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

func (r *restorer) child(dir *os.Root, name string, create bool) (*os.Root, error) {
	info, err := dir.Lstat(name)
	if create && errors.Is(err, fs.ErrNotExist) {
		// The directory is the project's, so the umask decides, as for git.
		if err := dir.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		info, err = dir.Lstat(name)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%q %w", name, errLink)
	}
	if os.SameFile(info, r.skip) {
		return nil, fmt.Errorf("%w: the snapshots are kept there", ErrInvalid)
	}
	return openDir(dir, name, info)
}

// remove deletes a file, and the directories that are empty then.
func (r *restorer) remove(file string) error {
	dir, err := r.parent(file, false)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLink) {
		return nil // Below what is no directory is no file.
	}
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // It holds no state.
	info, err := dir.Lstat(baseName(file))
	if err == nil && info.IsDir() {
		return nil // It is no file.
	}
	if err == nil {
		err = dir.Remove(baseName(file))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for path := parentOf(file); path != ""; path = parentOf(path) {
		up, err := r.parent(path, false)
		if err != nil {
			return nil // An empty directory more is no failure.
		}
		// Remove would remove a file or a link, too, that took the name.
		info, err := up.Lstat(baseName(path))
		if err == nil && info.IsDir() {
			err = up.Remove(baseName(path))
		}
		_ = up.Close() // It holds no state.
		if err != nil {
			return nil // It is not empty.
		}
	}
	return nil
}

// write makes a file or a link what it is in the snapshot.
func (r *restorer) write(file string, e treeEntry) error {
	data, err := r.store.get("blob", e.id)
	if err != nil {
		return err
	}
	dir, err := r.parent(file, true)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // It holds no state.
	name := baseName(file)
	temp := ".restore-" + rand.Text()
	if e.mode&modeType == modeLink {
		err = dir.Symlink(string(data), temp)
	} else {
		err = writeNew(dir, temp, data, fs.FileMode(e.mode&0o777))
	}
	if err == nil {
		err = replace(dir, temp, name)
	}
	if err != nil {
		if e := dir.Remove(temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		return err
	}
	return nil
}

// writeNew writes a file that does not exist yet.
func writeNew(dir *os.Root, name string, data []byte, mode fs.FileMode) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // By the file, so that no link can come between.
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replace gives a file its name. A directory in its place goes if it is empty.
func replace(dir *os.Root, temp, name string) error {
	err := dir.Rename(temp, name)
	if err == nil {
		return nil
	}
	info, e := dir.Lstat(name)
	if e != nil || !info.IsDir() {
		return err
	}
	if e := dir.Remove(name); e != nil {
		if errors.Is(e, syscall.ENOTEMPTY) || errors.Is(e, fs.ErrExist) {
			return errors.New("a directory that is not empty is in its place")
		}
		return e
	}
	return dir.Rename(temp, name)
}
