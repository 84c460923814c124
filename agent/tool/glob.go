package tool

import (
	"context"
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Glob yields the files whose paths below a directory match a pattern such as
// "**/*.go", in an order that is always the same, until yield returns false. It
// looks where git does. A pattern without a slash is matched with names.
func (t *Tree) Glob(ctx context.Context, dir, pattern string, yield func(name string) bool) (Coverage, error) {
	pattern, err := PathPattern(pattern)
	if err != nil {
		return Coverage{}, err
	}
	w := &walker{tree: t}
	w.visit = func(f *folder) bool {
		for _, it := range f.items {
			if it.kind != KindFile {
				continue
			}
			name := f.join(it.name)
			below := name
			if dir != "." {
				below = strings.TrimPrefix(name, dir+"/")
			}
			if doublestar.MatchUnvalidated(pattern, below) && !yield(name) {
				return false
			}
		}
		return true
	}
	err = w.walk(ctx, dir)
	return w.coverage, err
}

// PathPattern returns a pattern for paths: one without a slash is for names,
// wherever they are.
func PathPattern(pattern string) (string, error) {
	pattern = strings.TrimPrefix(pattern, "./")
	switch {
	case pattern == "" || len(pattern) > maxPatternBytes || strings.ContainsRune(pattern, 0) || !doublestar.ValidatePattern(pattern):
		return "", fmt.Errorf("pattern %q: %w", pattern[:min(len(pattern), 80)], ErrPattern)
	case !strings.Contains(pattern, "/"):
		pattern = "**/" + pattern
	}
	return pattern, nil
}

// NamePattern returns a pattern that matches only one name.
func NamePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`).Replace(name)
}
