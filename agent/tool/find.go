package tool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sahilm/fuzzy"
)

// maxFindQuery is the longest text that names are compared with.
const maxFindQuery = 256

// FindQuery says which names are wanted.
type FindQuery struct {
	// Dir is where to look.
	Dir string
	// Text is compared with the path below Dir: its letters must stand there
	// in this order, in any case. Empty fits every path.
	Text string
	// Files and Directories say what is wanted; a link counts as a file.
	Files, Directories bool
	// Max is how many to return. Required.
	Max int
}

// Find returns the entries whose paths fit best, the best first. Those that fit
// alike come by length and then by name.
func (t *Tree) Find(ctx context.Context, q FindQuery) ([]Entry, Coverage, error) {
	if len(q.Text) > maxFindQuery || strings.ContainsRune(q.Text, 0) {
		return nil, Coverage{}, fmt.Errorf("%w: want at most %d bytes without NUL", ErrPattern, maxFindQuery)
	}
	var best ranking
	best.most = q.Max
	w := &walker{tree: t}
	w.visit = func(f *folder) bool {
		paths := make([]string, 0, len(f.items))
		entries := make([]Entry, 0, len(f.items))
		for _, it := range f.items {
			isDir := it.kind == KindDirectory
			if isDir && !q.Directories || !isDir && !q.Files {
				continue
			}
			e := Entry{Path: f.join(it.name), Kind: it.kind}
			text := e.Path
			if q.Dir != "." {
				text = strings.TrimPrefix(text, q.Dir+"/")
			}
			if isDir {
				text += "/"
			}
			entries, paths = append(entries, e), append(paths, text)
		}
		if q.Text == "" {
			for i, e := range entries {
				best.add(ranked{entry: e, text: paths[i]})
			}
			return true
		}
		for _, m := range fuzzy.FindNoSort(q.Text, paths) {
			best.add(ranked{entry: entries[m.Index], text: m.Str, score: m.Score})
		}
		return true
	}
	err := w.walk(ctx, q.Dir)
	list := make([]Entry, 0, len(best.list))
	for _, r := range best.sorted() {
		list = append(list, r.entry)
	}
	return list, w.coverage, err
}

type ranked struct {
	entry Entry
	text  string
	score int
}

func (r ranked) compare(o ranked) int {
	return cmp.Or(cmp.Compare(o.score, r.score), cmp.Compare(len(r.text), len(o.text)), strings.Compare(r.text, o.text))
}

// ranking keeps the best of what it is given, and at most twice as many as are
// wanted.
type ranking struct {
	most int
	list []ranked
}

func (b *ranking) add(r ranked) {
	b.list = append(b.list, r)
	if len(b.list) >= 2*b.most+64 {
		b.sorted()
	}
}

func (b *ranking) sorted() []ranked {
	slices.SortFunc(b.list, ranked.compare)
	b.list = b.list[:min(len(b.list), b.most)]
	return b.list
}
