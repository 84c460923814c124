package tool

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// unified reads a unified diff, as git and diff -u write it.
func (r *patchReader) unified() error {
	var git gitHeader
	for r.more() {
		line := r.head()
		name, ok := "", false
		switch {
		case strings.HasPrefix(line, "--- "):
			f, err := r.unifiedFile(&git)
			if err != nil {
				return err
			}
			r.files = append(r.files, f)
			git = gitHeader{}
			continue
		case strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "@@ "):
			return errors.New("want a line that begins with --- first")
		case strings.HasPrefix(line, "diff --git "):
			if err := r.renamed(&git); err != nil {
				return err
			}
			git = gitHeader{open: true}
		case cutHeader(line, "new file mode ", &name, &ok):
			if name != "100644" && name != "100755" {
				return fmt.Errorf("a new file of the mode %s: want a plain file", name)
			}
			git.executable = name == "100755"
		case cutHeader(line, "deleted file mode ", &name, &ok):
			if !strings.HasPrefix(name, "100") {
				return fmt.Errorf("a file of the mode %s: want a plain file", name)
			}
		case cutHeader(line, "rename from ", &name, &ok):
			git.from = name
		case cutHeader(line, "rename to ", &name, &ok):
			git.to = name
		case strings.HasPrefix(line, "old mode "), strings.HasPrefix(line, "new mode "), strings.HasPrefix(line, "copy from "),
			strings.HasPrefix(line, "copy to "), strings.HasPrefix(line, "Binary files "), strings.HasPrefix(line, "GIT binary patch"):
			return fmt.Errorf("%q: want text that changes", line)
		case strings.HasPrefix(line, "index "), strings.HasPrefix(line, "similarity index "), strings.HasPrefix(line, "dissimilarity index "),
			strings.HasPrefix(line, "Index: "), strings.HasPrefix(line, "==="), strings.TrimSpace(line) == "", len(r.files) == 0 && !git.open:
			// What stands before the first file, and says nothing of any.
		case line == "-- ", line == "--":
			// The signature of a mail, with the version of git.
			if r.at+1 < len(r.lines) && strings.Trim(r.lines[r.at+1], "0123456789.\r") == "" {
				r.at++
			}
		default:
			return fmt.Errorf("%q is no part of a unified diff; are the counts of the hunk before it right?", line)
		}
		r.at++
	}
	return r.renamed(&git)
}

// gitHeader is what git says of a file before its hunks.
type gitHeader struct {
	open       bool // there is one, and no hunks yet
	from, to   string
	executable bool
}

// renamed ends the header of a file that has no hunks: it is renamed, or
// nothing of it is known.
func (r *patchReader) renamed(git *gitHeader) error {
	if !git.open && git.from == "" && git.to == "" {
		return nil
	}
	if git.from == "" || git.to == "" {
		return errors.New("a file of which nothing changes, or that is empty")
	}
	if err := errors.Join(checkPatchName(git.from), checkPatchName(git.to)); err != nil {
		return err
	}
	r.files = append(r.files, filePatch{kind: ChangeReplace, path: git.from, to: git.to})
	return nil
}

// unifiedFile reads the two names of a file and its hunks.
func (r *patchReader) unifiedFile(git *gitHeader) (filePatch, error) {
	var f filePatch
	from := patchName(strings.TrimPrefix(r.head(), "--- "), "a/")
	r.at++
	if !r.more() || !strings.HasPrefix(r.lines[r.at], "+++ ") {
		return f, errors.New("want a line that begins with +++")
	}
	to := patchName(strings.TrimPrefix(r.head(), "+++ "), "b/")
	r.at++
	switch {
	case from == devNull:
		f.kind, f.path, f.executable = ChangeCreate, to, git.executable
	case to == devNull:
		f.kind, f.path = ChangeDelete, from
	default:
		f.kind, f.path = ChangeReplace, from
		if to != from {
			f.to = to
		}
	}
	if err := checkPatchName(f.path); err != nil {
		return f, err
	}
	if f.to != "" {
		if err := checkPatchName(f.to); err != nil {
			return f, err
		}
	}
	if git.from != "" && (git.from != f.path || git.to != f.to) {
		return f, errors.New("the names of the file do not agree")
	}
	for r.more() && strings.HasPrefix(r.lines[r.at], "@@ ") {
		h, err := r.unifiedHunk()
		if err != nil {
			return f, err
		}
		f.hunks = append(f.hunks, h)
	}
	if len(f.hunks) == 0 {
		return f, errors.New("a file without hunks")
	}
	return f, nil
}

// patchName returns the name in a header: without the time after it, and
// without the letter that git puts before it.
func patchName(text, prefix string) string {
	name, _, _ := strings.Cut(text, "\t")
	return strings.TrimPrefix(name, prefix)
}

// hunkHeader reads "@@ -1,2 +3,4 @@".
func hunkHeader(line string) (from, olds, news int, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] != "@@" || fields[3] != "@@" {
		return 0, 0, 0, false
	}
	from, olds, okOld := span(fields[1], "-")
	_, news, okNew := span(fields[2], "+")
	return from, olds, news, okOld && okNew
}

// span reads "-1,2" or "-1".
func span(field, sign string) (start, count int, ok bool) {
	field, ok = strings.CutPrefix(field, sign)
	first, second, two := strings.Cut(field, ",")
	if !two {
		second = "1"
	}
	a, err := strconv.ParseUint(first, 10, 31)
	b, err2 := strconv.ParseUint(second, 10, 31)
	return int(a), int(b), ok && err == nil && err2 == nil
}

// unifiedHunk reads one hunk, as long as its header says.
func (r *patchReader) unifiedHunk() (hunk, error) {
	from, olds, news, ok := hunkHeader(r.head())
	if !ok {
		return hunk{}, errors.New("want a header such as @@ -1,2 +1,3 @@")
	}
	if olds == 0 {
		from++ // it names the line before
	}
	h := hunk{line: max(from, 1)}
	r.at++
	last := byte(0)
	for r.more() && (olds > 0 || news > 0 || strings.HasPrefix(r.lines[r.at], `\`)) {
		line := r.lines[r.at]
		sign := byte(' ')
		if line != "" && line != "\r" {
			sign, line = line[0], line[1:]
		}
		switch sign {
		case ' ':
			olds, news = olds-1, news-1
		case '-':
			olds--
		case '+':
			news--
		case '\\':
			if last == 0 {
				return h, errors.New("no line before it")
			}
			h.oldOpen = h.oldOpen || last != '+'
			h.newOpen = h.newOpen || last != '-'
			h.atEnd = true
			last = 0
			r.at++
			continue
		default:
			return h, errors.New("a line of a hunk begins with a blank, + or -")
		}
		if olds < 0 || news < 0 {
			return h, errors.New("the hunk has more lines than its header says")
		}
		last = sign
		h.ops = append(h.ops, op{sign, r.body(line)})
		r.at++
	}
	if olds > 0 || news > 0 {
		return h, errors.New("the hunk has fewer lines than its header says")
	}
	if len(h.ops) == 0 {
		return h, errors.New("a hunk without lines")
	}
	return h, nil
}
