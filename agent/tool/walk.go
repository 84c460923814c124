package tool

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxNames is how many names a walk looks at.
	maxNames = 250_000
	// maxDepth is how many directories a walk goes down; each is held open.
	maxDepth = 100
)

// Coverage says how much of a tree was looked at.
type Coverage struct {
	Names int // of files and directories
	Files int // whose text was looked at
	Bytes int64
	// Partial says why something was left out that would have been looked at,
	// "" if nothing was.
	Partial string
}

func (c *Coverage) partial(reason string) {
	if c.Partial == "" {
		c.Partial = reason
	}
}

// folder is a directory on a walk with what git looks at in it, by name.
type folder struct {
	handle *handle
	path   string
	items  []item
}

type item struct {
	name string
	kind Kind
}

// join returns the path of something in the directory.
func (f *folder) join(name string) string { return path.Join(f.path, name) }

// walker goes through a tree in an order that is always the same: what is in a
// directory by name, and then the directories in it by name.
type walker struct {
	tree *Tree
	// visit gets each directory, and returns whether to go on. It retains the
	// handle if it keeps it.
	visit    func(*folder) bool
	coverage Coverage
}

// walk goes through what is below a directory. It does not enter what git
// ignores, nor the directory of git itself, and follows no link.
func (w *walker) walk(ctx context.Context, dir string) error {
	h, err := w.tree.directory(dir)
	if err != nil {
		return err
	}
	defer h.release()
	g, ignored, cut := w.tree.ignoresOf(dir)
	if ignored {
		g = nil // it was named on purpose
	}
	if cut {
		w.coverage.partial("a file of ignored names is too long")
	}
	_, err = w.enter(ctx, h, dir, g, 0)
	return err
}

func (w *walker) enter(ctx context.Context, h *handle, dir string, g *ignores, depth int) (goOn bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	left := maxNames - w.coverage.Names
	if left <= 0 {
		w.coverage.partial("too many names")
		return false, nil
	}
	entries, more, err := h.entries(filepath.Join(w.tree.dir, dir), left)
	if err != nil {
		if depth == 0 {
			return false, err
		}
		w.coverage.partial("a directory cannot be read")
		return true, nil
	}
	if more {
		w.coverage.partial("too many names")
	}
	names := namesOf(dir)
	g, cut := g.with(h, len(names), ".gitignore")
	if cut {
		w.coverage.partial("a file of ignored names is too long")
	}
	w.coverage.Names += len(entries)
	f := &folder{handle: h, path: dir, items: w.items(ctx, entries, names, g)}
	if !w.visit(f) {
		return false, nil
	}
	for _, it := range f.items {
		if it.kind != KindDirectory {
			continue
		}
		if depth == maxDepth {
			w.coverage.partial("directories are too deep")
			break
		}
		child, err := h.child(it.name)
		if err != nil {
			// It is gone, has become something else or is not ours to read.
			w.coverage.partial("a directory cannot be read")
			continue
		}
		goOn, err := w.enter(ctx, child, f.join(it.name), g, depth+1)
		child.release()
		if err != nil || !goOn {
			return false, err
		}
	}
	return true, nil
}

// items returns what git looks at, by name.
func (w *walker) items(ctx context.Context, entries []os.DirEntry, names []string, g *ignores) []item {
	list := make([]item, 0, len(entries))
	full := append(slices.Clip(names), "")
	for i, e := range entries {
		if i%1024 == 1023 && ctx.Err() != nil {
			return nil
		}
		kind := kindOf(e.Type())
		full[len(names)] = e.Name()
		switch {
		case e.Name() == gitDir || kind == KindSpecial || g.match(full, kind == KindDirectory):
		case !utf8.ValidString(e.Name()):
			w.coverage.partial("a name is not UTF-8")
		default:
			list = append(list, item{e.Name(), kind})
		}
	}
	slices.SortFunc(list, func(a, b item) int { return strings.Compare(a.name, b.name) })
	return list
}
