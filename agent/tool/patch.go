package tool

import (
	"errors"
	"fmt"
	"strings"
)

// ErrPatch means that a patch cannot be read, or does not fit the files.
var ErrPatch = errors.New("is not a patch that can be applied")

const (
	// maxPatchBytes is how long a patch may be.
	maxPatchBytes = 4 << 20
	// devNull stands in a unified diff for a file that is not there.
	devNull = "/dev/null"
)

// Patch is what a patch text says.
type Patch struct{ files []filePatch }

// filePatch is what becomes of one file.
type filePatch struct {
	kind       ChangeKind // create, replace or delete
	path       string
	to         string // another name of a file that is replaced, "" if it stays
	content    string // of a new file of the own form
	executable bool   // of a new file
	hunks      []hunk
}

// hunk is a part of a file that changes.
type hunk struct {
	line   int      // where it begins, from 1; 0 if it is not known
	anchor []string // lines that come before it
	ops    []op
	atEnd  bool // it ends where the file does
	// Whether the last line is without its end, before and after.
	oldOpen, newOpen bool
}

// op is a line of a hunk: ' ' stays, '-' goes and '+' comes.
type op struct {
	sign byte
	text string
}

func (h *hunk) old() []string {
	var list []string
	for _, o := range h.ops {
		if o.sign != '+' {
			list = append(list, o.text)
		}
	}
	return list
}

// Paths returns the names of all files that the patch touches, as it spells
// them.
func (p *Patch) Paths() []string {
	var list []string
	for _, f := range p.files {
		list = append(list, f.path)
		if f.to != "" {
			list = append(list, f.to)
		}
	}
	return list
}

// ParsePatch reads a patch, in the form that begins with "*** Begin Patch" or
// as a unified diff. Nothing of it may be left over: what is not understood is
// an error, so that a patch never does less or other than it says.
func ParsePatch(text string) (*Patch, error) {
	if len(text) > maxPatchBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d", ErrPatch, len(text), maxPatchBytes)
	}
	lines := strings.Split(text, "\n")
	if n := len(lines) - 1; lines[n] == "" {
		lines = lines[:n]
	}
	first := 0
	for first < len(lines) && strings.TrimSpace(lines[first]) == "" {
		first++
	}
	r := &patchReader{lines: lines, at: first, crlf: len(lines) > 0}
	for _, line := range lines {
		r.crlf = r.crlf && strings.HasSuffix(line, "\r")
	}
	read := r.unified
	if first < len(lines) && strings.HasPrefix(lines[first], "*** ") {
		read = r.own
	}
	if err := read(); err != nil {
		return nil, fmt.Errorf("line %d: %w: %w", min(r.at+1, len(lines)), ErrPatch, err)
	}
	seen := map[string]bool{}
	p := &Patch{files: r.files}
	for _, name := range p.Paths() {
		if seen[name] {
			return nil, fmt.Errorf("%w: %q is named twice", ErrPatch, name)
		}
		seen[name] = true
	}
	if len(p.files) == 0 {
		return nil, fmt.Errorf("%w: it names no file; want \"*** Begin Patch\" or a unified diff", ErrPatch)
	}
	return p, nil
}

// patchReader reads a patch line by line.
type patchReader struct {
	lines []string
	at    int
	crlf  bool // the lines of the patch itself end in CR LF
	files []filePatch
}

func (r *patchReader) more() bool { return r.at < len(r.lines) }

// head returns the present line as a header, which has no blanks of its own at
// the end of the line.
func (r *patchReader) head() string { return strings.TrimRight(r.lines[r.at], "\r") }

// body returns a line as text of a file.
func (r *patchReader) body(line string) string {
	if r.crlf {
		return strings.TrimSuffix(line, "\r")
	}
	return line
}

// checkPatchName refuses a name that could be read in two ways.
func checkPatchName(name string) error {
	switch {
	case name == "" || name == devNull:
		return errors.New("a file without a name")
	case strings.ContainsAny(name, "\t\r\x00") || strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q has blanks at an end, or a tab in it", name)
	case strings.HasPrefix(name, `"`):
		return fmt.Errorf("the name %s is in quotes: write it plainly", name)
	}
	return nil
}

// own reads the form that has headers of its own.
func (r *patchReader) own() error {
	if r.head() != "*** Begin Patch" {
		return errors.New("want \"*** Begin Patch\"")
	}
	r.at++
	for r.more() {
		line := r.head()
		r.at++
		f := filePatch{}
		var err error
		switch name, ok := "", false; {
		case line == "*** End Patch":
			for ; r.more(); r.at++ {
				if strings.TrimSpace(r.lines[r.at]) != "" {
					return errors.New("text after the end of the patch")
				}
			}
			return nil
		case cutHeader(line, "*** Add File: ", &name, &ok):
			f.kind, f.path = ChangeCreate, name
			f.content, err = r.added()
		case cutHeader(line, "*** Delete File: ", &name, &ok):
			f.kind, f.path = ChangeDelete, name
		case cutHeader(line, "*** Update File: ", &name, &ok):
			f.kind, f.path = ChangeReplace, name
			if r.more() {
				cutHeader(r.head(), "*** Move to: ", &f.to, &ok)
				if ok {
					r.at++
					err = checkPatchName(f.to)
				}
			}
			if err == nil {
				err = r.ownHunks(&f)
			}
		case strings.TrimSpace(line) == "":
			continue
		default:
			r.at--
			return fmt.Errorf("%q is no header: want *** Add File, *** Update File, *** Delete File or *** End Patch", line)
		}
		if err = errors.Join(err, checkPatchName(f.path)); err != nil {
			return err
		}
		r.files = append(r.files, f)
	}
	return errors.New("want \"*** End Patch\" at the end")
}

// cutHeader reads a header. It reports whether the line is one.
func cutHeader(line, prefix string, name *string, ok *bool) bool {
	rest, found := strings.CutPrefix(line, prefix)
	if *ok = found; found {
		*name = rest
	}
	return found
}

// added reads the lines of a new file.
func (r *patchReader) added() (string, error) {
	var b strings.Builder
	for ; r.more() && !strings.HasPrefix(r.lines[r.at], "*** "); r.at++ {
		line, ok := strings.CutPrefix(r.lines[r.at], "+")
		if !ok {
			return "", errors.New("each line of a new file begins with +")
		}
		b.WriteString(r.body(line) + "\n")
	}
	return b.String(), nil
}

// ownHunks reads the parts of a file that change.
func (r *patchReader) ownHunks(f *filePatch) error {
	var h hunk
	end := func() {
		if len(h.ops) > 0 {
			f.hunks = append(f.hunks, h)
			h = hunk{}
		}
	}
	for ; r.more(); r.at++ {
		line := r.lines[r.at]
		switch {
		case r.head() == "*** End of File":
			h.atEnd = true
			end()
			continue
		case strings.HasPrefix(line, "*** "):
			end()
			return r.checkHunks(f, &h)
		case strings.HasPrefix(line, "@@"):
			end()
			if anchor := strings.TrimPrefix(strings.TrimPrefix(r.head(), "@@"), " "); strings.TrimSpace(anchor) != "" {
				h.anchor = append(h.anchor, anchor)
			}
		case line == "" || line == "\r" && r.crlf:
			h.ops = append(h.ops, op{' ', ""})
		case line[0] == ' ' || line[0] == '+' || line[0] == '-':
			h.ops = append(h.ops, op{line[0], r.body(line[1:])})
		default:
			return errors.New("a line of a hunk begins with a blank, + or -")
		}
	}
	end()
	return r.checkHunks(f, &h)
}

func (r *patchReader) checkHunks(f *filePatch, rest *hunk) error {
	if len(rest.anchor) > 0 {
		return errors.New("@@ with nothing to change after it")
	}
	if len(f.hunks) == 0 && f.to == "" {
		return errors.New("nothing of the file changes")
	}
	return nil
}
