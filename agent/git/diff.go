package git

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"opencode/agent/linediff"
)

const (
	// maxPatch bounds the patch of one file, maxPatches those of a whole diff.
	// What would be longer is left out.
	maxPatch   = 256 << 10
	maxPatches = 8 << 20
	// binaryProbe is how much of a file is searched for a zero byte, as in git.
	binaryProbe = 8000
)

// What happened to a file.
const (
	StatusAdded    = "added"
	StatusDeleted  = "deleted"
	StatusModified = "modified"
)

// FileDiff is a file that differs between two snapshots.
type FileDiff struct {
	// File is relative to the root, with slashes. It need not be UTF-8, in
	// which case JSON cannot carry it as it is.
	File string `json:"file"`
	// Patch is a patch in the format of git. It is "" for a binary file, for
	// one that the snapshots leave out, and if it would be too long.
	Patch string `json:"patch"`
	// Additions and Deletions count lines; they are 0 for a binary file.
	Additions int    `json:"additions"`
	Deletions int    `json:"deletions"`
	Status    string `json:"status"` // StatusAdded, StatusDeleted or StatusModified
}

// Diff returns the files that differ between two snapshots of root, sorted by
// path. The length of patches is bounded, one by one and in all.
func (g *Git) Diff(ctx context.Context, root, from, to string) ([]FileDiff, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	p, release, err := g.open(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	defer release()
	a, err := p.store.top(from)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	b, err := p.store.top(to)
	if err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	d := differ{ctx: ctx, store: p.store, left: maxPatches, out: []FileDiff{}}
	if err := d.trees("", &treeEntry{mode: modeDir, id: a}, &treeEntry{mode: modeDir, id: b}); err != nil {
		return nil, fmt.Errorf("diff: %w", err)
	}
	return d.out, nil
}

// differ compares two trees.
type differ struct {
	ctx   context.Context //nolint:containedctx // It lives as long as one call.
	store *store
	left  int // bytes of patches that may still come
	out   []FileDiff
}

// trees compares two directories, either of which may be missing.
func (d *differ) trees(path string, a, b *treeEntry) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	if a != nil && b != nil && a.id == b.id {
		return nil
	}
	old, err := d.entries(a)
	if err != nil {
		return err
	}
	cur, err := d.entries(b)
	if err != nil {
		return err
	}
	// Both are sorted as git sorts them. A file and a directory of one name are
	// different entries.
	for len(old) > 0 || len(cur) > 0 {
		var x, y *treeEntry
		var order int
		switch {
		case len(old) == 0:
			order = 1
		case len(cur) == 0:
			order = -1
		default:
			order = strings.Compare(old[0].sortName(), cur[0].sortName())
		}
		if order <= 0 {
			x, old = &old[0], old[1:]
		}
		if order >= 0 {
			y, cur = &cur[0], cur[1:]
		}
		if err := d.entry(path, x, y); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) entries(e *treeEntry) ([]treeEntry, error) {
	if e == nil {
		return nil, nil
	}
	return d.store.tree(e.id)
}

// entry compares two entries of one name, either of which may be missing.
func (d *differ) entry(path string, a, b *treeEntry) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	e := a
	if e == nil {
		e = b
	}
	if path != "" {
		path += "/"
	}
	path += e.name
	if e.isDir() {
		return d.trees(path, a, b)
	}
	if a != nil && b != nil && a.id == b.id && a.mode == b.mode {
		return nil
	}
	f := FileDiff{File: path, Status: StatusModified}
	switch {
	case a == nil:
		f.Status = StatusAdded
	case b == nil:
		f.Status = StatusDeleted
	}
	oldSide, err := d.side(a)
	if err != nil {
		return err
	}
	newSide, err := d.side(b)
	if err != nil {
		return err
	}
	if !oldSide.binary && !newSide.binary {
		if err := f.compare(d.ctx, oldSide, newSide, min(d.left, maxPatch)); err != nil {
			return err
		}
		d.left -= len(f.Patch)
	}
	d.out = append(d.out, f)
	return nil
}

// side is one of two states of a file.
type side struct {
	mode   uint32 // 0 if there is no file
	data   []byte
	binary bool // or not known
}

func (d *differ) side(e *treeEntry) (side, error) {
	if e == nil {
		return side{}, nil
	}
	s := side{mode: e.mode}
	if e.mode&modeType == modeLeftOut {
		s.binary = true
		return s, nil
	}
	var err error
	s.data, err = d.store.get("blob", e.id)
	s.binary = isBinary(s.data)
	return s, err
}

func isBinary(data []byte) bool {
	return bytes.IndexByte(data[:min(len(data), binaryProbe)], 0) >= 0
}

// compare counts lines and makes the patch, if it has at most limit bytes.
func (f *FileDiff) compare(ctx context.Context, a, b side, limit int) error {
	if a.mode != 0 && b.mode != 0 && a.mode&modeType != b.mode&modeType {
		// As in git, a file that becomes a link goes, and the link comes.
		var gone, come FileDiff
		gone.File, come.File = f.File, f.File
		if err := gone.compare(ctx, a, side{}, limit); err != nil {
			return err
		}
		if err := come.compare(ctx, side{}, b, limit-len(gone.Patch)); err != nil {
			return err
		}
		f.Deletions, f.Additions = gone.Deletions, come.Additions
		if gone.Patch != "" && come.Patch != "" {
			f.Patch = gone.Patch + come.Patch
		}
		return nil
	}
	p, err := linediff.Compare(ctx, a.data, b.data)
	if err != nil {
		return err
	}
	f.Additions, f.Deletions = p.Counts()
	var out strings.Builder
	name := func(prefix string) string { return quoteName(prefix + f.File) }
	fmt.Fprintf(&out, "diff --git %s %s\n", name("a/"), name("b/"))
	oldName, newName := name("a/"), name("b/")
	switch {
	case a.mode == 0:
		fmt.Fprintf(&out, "new file mode %06o\n", b.mode)
		oldName = "/dev/null"
	case b.mode == 0:
		fmt.Fprintf(&out, "deleted file mode %06o\n", a.mode)
		newName = "/dev/null"
	case a.mode != b.mode:
		fmt.Fprintf(&out, "old mode %06o\nnew mode %06o\n", a.mode, b.mode)
	}
	if f.Additions+f.Deletions > 0 {
		// Git ends a name that has a space with a tab.
		fmt.Fprintf(&out, "--- %s\n+++ %s\n", endName(oldName), endName(newName))
		if !p.Write(&out, limit) {
			return nil
		}
	}
	if out.Len() <= limit {
		f.Patch = out.String()
	}
	return nil
}

func endName(name string) string {
	if strings.Contains(name, " ") && !strings.HasPrefix(name, `"`) {
		return name + "\t"
	}
	return name
}

// quoteName writes a name as git does in a patch: in quotes if it holds what
// could be taken for something else.
func quoteName(name string) string {
	plain := utf8.ValidString(name)
	for i := 0; plain && i < len(name); i++ {
		plain = name[i] >= ' ' && name[i] != '"' && name[i] != '\\' && name[i] != 0x7f
	}
	if plain {
		return name
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		switch c := name[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('\\')
			octal := strconv.FormatUint(uint64(c), 8)
			b.WriteString(strings.Repeat("0", 3-len(octal)) + octal)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
