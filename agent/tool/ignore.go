package tool

import (
	"bytes"
	"io"
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
type ignores struct {
	patterns []gitignore.Pattern
	matcher  gitignore.Matcher
}

// match reports whether git does not look at a path, given as its names.
func (g *ignores) match(names []string, isDir bool) bool {
	return g != nil && g.matcher.Match(names, isDir)
}

// with returns the patterns that hold in a directory below, and whether some
// had to be left out.
func (g *ignores) with(h *handle, names []string, file string) (_ *ignores, cut bool) {
	lines, cut := ignoreLines(h, file)
	if len(lines) == 0 {
		return g, cut
	}
	next := &ignores{}
	if g != nil {
		next.patterns = append(next.patterns, g.patterns...)
	}
	for _, line := range lines {
		if len(next.patterns) == maxIgnorePatterns {
			cut = true
			break
		}
		next.patterns = append(next.patterns, gitignore.ParsePattern(line, names))
	}
	next.matcher = gitignore.NewMatcher(next.patterns)
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
// those of its own file. A directory that is ignored itself was named on
// purpose: nothing in it is ignored for the patterns above it if all is false.
func (t *Tree) ignoresOf(name string, all bool) (g *ignores, cut bool) {
	h := t.top.retain()
	defer func() { h.release() }()
	if git, err := h.child(gitDir); err == nil {
		if info, err := git.child("info"); err == nil {
			g, cut = g.with(info, nil, "exclude")
			info.release()
		}
		git.release()
	}
	if name == "." {
		return g, cut
	}
	names := strings.Split(name, "/")
	for i, part := range names {
		var more bool
		g, more = g.with(h, names[:i], ".gitignore")
		cut = cut || more
		if !all && g.match(names[:i+1], true) {
			g = nil
		}
		next, err := h.child(part)
		if err != nil {
			return g, cut
		}
		h.release()
		h = next
	}
	return g, cut
}
