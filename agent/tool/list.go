package tool

import (
	"cmp"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// List returns what is in a directory, at most so many entries: directories
// first, then the rest, each by name. A name that is not UTF-8 cannot be told
// and is left out. It reports whether something is missing.
func (t *Tree) List(dir string, most int) (list []Entry, partial bool, err error) {
	h, err := t.directory(dir)
	if err != nil {
		return nil, false, err
	}
	defer h.release()
	entries, partial, err := h.entries(filepath.Join(t.dir, dir), most)
	if err != nil {
		return nil, false, &fs.PathError{Op: "list", Path: dir, Err: err}
	}
	g, ignored, cut := t.ignoresOf(dir)
	names := namesOf(dir)
	g, more := g.with(h, len(names), ".gitignore")
	partial = partial || cut || more
	list = make([]Entry, 0, len(entries))
	for _, e := range entries {
		if !utf8.ValidString(e.Name()) {
			partial = true
			continue
		}
		kind := kindOf(e.Type())
		list = append(list, Entry{
			Path: path.Join(dir, e.Name()), Kind: kind,
			Ignored: ignored || e.Name() != gitDir && g.match(append(slices.Clip(names), e.Name()), kind == KindDirectory),
		})
	}
	slices.SortFunc(list, func(a, b Entry) int {
		if x, y := a.Kind == KindDirectory, b.Kind == KindDirectory; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(strings.ToLower(a.Path), strings.ToLower(b.Path)), strings.Compare(a.Path, b.Path))
	})
	return list, partial, nil
}

// namesOf returns the names in the path of a directory.
func namesOf(dir string) []string {
	if dir == "." {
		return nil
	}
	return strings.Split(dir, "/")
}
