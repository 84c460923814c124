package tool

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

const (
	gitDir = ".git"
	// maxIgnoreBytes is how much of one file of patterns is read.
	maxIgnoreBytes = 64 << 10
	// maxIgnorePatterns is how many patterns hold in one directory: each is
	// tried on each name.
	maxIgnorePatterns = 2000
)

// ignores are the patterns that hold in one directory, the later ones stronger.
type ignores struct{ rules []ignoreRule }

// ignoreRule is one pattern. Most patterns are a plain name or end in one, and
// are told apart from most names without matching.
type ignoreRule struct {
	pattern gitignore.Pattern
	// depth is how many directories are above the one that the pattern is of.
	depth int
	// name reports that the pattern is compared with names, not with paths.
	name bool
	// literal is the whole name, or its end if prefix is true; "" if the
	// pattern is another.
	literal string
	prefix  bool
}

func newIgnoreRule(line string, depth int) ignoreRule {
	r := ignoreRule{pattern: gitignore.ParsePattern(line, nil), depth: depth}
	text := strings.TrimSuffix(strings.TrimRight(strings.TrimPrefix(line, "!"), " "), "/")
	if r.name = !strings.Contains(text, "/"); !r.name {
		return r
	}
	text, r.prefix = strings.CutPrefix(text, "*")
	if !strings.ContainsAny(text, `*?[\`) {
		r.literal = text
	}
	return r
}

func (r *ignoreRule) match(names []string, isDir bool) gitignore.MatchResult {
	if !r.name {
		return r.pattern.Match(names[r.depth:], isDir)
	}
	last := names[len(names)-1:]
	if fits := last[0] == r.literal || r.prefix && strings.HasSuffix(last[0], r.literal); r.literal != "" && !fits {
		return gitignore.NoMatch
	}
	return r.pattern.Match(last, isDir)
}

// match reports whether git does not look at a path, given as its names, for a
// pattern that fits it. What is above it is not looked at.
func (g *ignores) match(names []string, isDir bool) bool {
	if g == nil {
		return false
	}
	for i := range slices.Backward(g.rules) {
		if result := g.rules[i].match(names, isDir); result != gitignore.NoMatch {
			return result == gitignore.Exclude
		}
	}
	return false
}

// with returns the patterns that hold in a directory so deep, and whether some
// had to be left out.
func (g *ignores) with(h *handle, depth int, file string) (_ *ignores, cut bool) {
	lines, cut := ignoreLines(h, file)
	if len(lines) == 0 {
		return g, cut
	}
	next := &ignores{}
	if g != nil {
		next.rules = append(next.rules, g.rules...)
	}
	for _, line := range lines {
		if len(next.rules) == maxIgnorePatterns {
			cut = true
			break
		}
		next.rules = append(next.rules, newIgnoreRule(line, depth))
	}
	return next, cut
}

// ignoreLines returns the patterns of a file of a directory, none if there is
// no such file.
func ignoreLines(h *handle, name string) (lines []string, cut bool) {
	f, size, err := h.file(name, name)
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes))
	if err != nil {
		return nil, true
	}
	if cut = size > int64(len(data)); cut {
		// The last line may be a part of one.
		data = data[:bytes.LastIndexByte(data, '\n')+1]
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, cut
}

// ignoresOf returns the patterns that hold in a directory of the tree, without
// those of its own file, and whether it is below what they ignore.
func (t *Tree) ignoresOf(name string) (g *ignores, ignored, cut bool) {
	h := t.top.retain()
	defer func() { h.release() }()
	if git, err := h.child(gitDir); err == nil {
		if info, err := git.child("info"); err == nil {
			g, cut = g.with(info, 0, "exclude")
			info.release()
		}
		git.release()
	}
	names := namesOf(name)
	for i, part := range names {
		var more bool
		g, more = g.with(h, i, ".gitignore")
		cut = cut || more
		ignored = ignored || g.match(names[:i+1], true)
		next, err := h.child(part)
		if err != nil {
			return g, ignored, cut
		}
		h.release()
		h = next
	}
	return g, ignored, cut
}
