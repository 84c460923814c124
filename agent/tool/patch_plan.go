package tool

import (
	"fmt"
	"slices"
	"strings"
)

// PlanPatch plans what a patch says, of all its files or of none. The function
// nameOf gives the name in the tree for each name that the patch spells; it is
// asked for every file that is touched.
func (t *Tree) PlanPatch(p *Patch, nameOf func(name string) (string, error)) ([]Change, error) {
	var list []Change
	for i := range p.files {
		f := &p.files[i]
		name, err := nameOf(f.path)
		if err != nil {
			return nil, err
		}
		to := ""
		if f.to != "" {
			if to, err = nameOf(f.to); err != nil {
				return nil, err
			}
		}
		changes, err := t.planFile(f, name, to)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", f.path, err)
		}
		list = append(list, changes...)
	}
	return list, nil
}

func (t *Tree) planFile(f *filePatch, name, to string) ([]Change, error) {
	if f.kind == ChangeCreate {
		if err := t.missing(name); err != nil {
			return nil, err
		}
		content := []byte(f.content)
		if len(f.hunks) > 0 {
			var err error
			if content, err = f.apply(nil); err != nil {
				return nil, err
			}
		}
		c := Change{Kind: ChangeCreate, Path: name, After: content}
		if f.executable {
			c.mode = 0o111
		}
		return []Change{c}, nil
	}
	c, err := t.plan(name, false)
	if err != nil {
		return nil, err
	}
	if f.kind == ChangeDelete {
		if len(f.hunks) > 0 {
			left, err := f.apply(c.Before)
			if err != nil {
				return nil, err
			}
			if len(left) > 0 {
				return nil, fmt.Errorf("%w: the file holds more than the patch deletes", ErrPatch)
			}
		}
		c.Kind = ChangeDelete
		return []Change{c}, nil
	}
	c.After = c.Before
	if len(f.hunks) > 0 {
		if c.After, err = f.apply(c.Before); err != nil {
			return nil, err
		}
	}
	if len(c.After) > MaxFileBytes {
		return nil, fmt.Errorf("%w: it would have %d bytes", ErrTooLarge, len(c.After))
	}
	if to == "" || to == name {
		return []Change{c}, nil
	}
	if err := t.missing(to); err != nil {
		return nil, fmt.Errorf("%q: %w", to, err)
	}
	made := Change{Kind: ChangeCreate, Path: to, After: c.After, mode: c.mode}
	c.Kind, c.After = ChangeDelete, nil
	return []Change{made, c}, nil
}

// apply returns what the hunks make of the content of a file.
func (f *filePatch) apply(data []byte) ([]byte, error) {
	t, ok := newText(data)
	if !ok {
		return nil, ErrBinary
	}
	// Most patches that models write say nothing of a byte order mark, nor of
	// lines that end in CR LF. One that does is taken at its word.
	faithful := f.has(func(text string) bool { return strings.HasSuffix(text, "\r") })
	if faithful && t.crlf {
		t.body, t.crlf = strings.ReplaceAll(t.body, "\n", "\r\n"), false
	}
	if t.mark && f.has(func(text string) bool { return strings.HasPrefix(text, byteOrderMark) }) {
		t.body, t.mark = byteOrderMark+t.body, false
	}
	lines := strings.Split(t.body, "\n")
	ended := lines[len(lines)-1] == ""
	if ended {
		lines = lines[:len(lines)-1]
	}
	var out []string
	done, delta := 0, 0
	for i := range f.hunks {
		h := &f.hunks[i]
		start, err := h.find(lines, done, delta)
		if err != nil {
			return nil, fmt.Errorf("hunk %d of %d: %w", i+1, len(f.hunks), err)
		}
		if h.line > 0 {
			delta = start + 1 - h.line
		}
		out = append(out, lines[done:start]...)
		done = start
		end := ""
		if !faithful && start < len(lines) && strings.HasSuffix(lines[start], "\r") {
			end = "\r" // some lines end so, and those around are of them
		}
		for _, o := range h.ops {
			switch o.sign {
			case '+':
				out = append(out, o.text+end)
			case '-':
				done++
			default:
				out = append(out, lines[done])
				done++
			}
		}
		if h.oldOpen || h.newOpen {
			if done != len(lines) {
				return nil, fmt.Errorf("hunk %d of %d: %w: the file goes on after its last line", i+1, len(f.hunks), ErrPatch)
			}
			ended = !h.newOpen
		}
	}
	out = append(out, lines[done:]...)
	t.body = strings.Join(out, "\n")
	if ended && len(out) > 0 {
		t.body += "\n"
	}
	return t.data(), nil
}

// has reports whether a line of the hunks is such.
func (f *filePatch) has(is func(string) bool) bool {
	return slices.ContainsFunc(f.hunks, func(h hunk) bool {
		return slices.ContainsFunc(h.ops, func(o op) bool { return is(o.text) })
	})
}

// find returns where a hunk fits, at a line that is not before from. First the
// lines must be equal, then without the blanks at their ends, then without
// those at their beginnings.
func (h *hunk) find(lines []string, from, delta int) (int, error) {
	for _, anchor := range h.anchor {
		i := slices.IndexFunc(lines[from:], func(line string) bool { return trimBoth(line) == trimBoth(anchor) })
		if i < 0 {
			return 0, fmt.Errorf("%w: the line %q is not there", ErrPatch, anchor)
		}
		from += i + 1
	}
	old := h.old()
	if len(old) == 0 {
		return h.insertAt(lines, from, delta)
	}
	for _, fold := range []func(string) string{
		asIs, func(line string) string { return strings.TrimSuffix(line, "\r") }, trimEnd, trimBoth,
	} {
		at := windows(each(lines[from:], fold), each(old, fold), maxPlaces)
		for i := range at {
			at[i] += from
		}
		if h.atEnd {
			at = slices.DeleteFunc(at, func(i int) bool { return i+len(old) != len(lines) })
		}
		switch expected := h.line - 1 + delta; {
		case len(at) == 0:
			continue
		case h.line > 0 && slices.Contains(at, expected):
			return expected, nil
		case len(at) == 1, len(h.anchor) > 0:
			return at[0], nil
		}
		return 0, fmt.Errorf("%w: its lines are there more than once, first on the lines %d and %d: add lines around them, or @@ and a line before them",
			ErrPatch, at[0]+1, at[1]+1)
	}
	return 0, fmt.Errorf("%w: its lines are not in the file: %q", ErrPatch, shorten(old[0]))
}

// insertAt returns where lines come that stand for themselves.
func (h *hunk) insertAt(lines []string, from, delta int) (int, error) {
	switch at := h.line - 1 + delta; {
	case h.atEnd && h.line == 0:
		return len(lines), nil
	case h.line > 0 && at >= from && at <= len(lines):
		return at, nil
	case h.line > 0:
		return 0, fmt.Errorf("%w: the file has no line %d", ErrPatch, h.line)
	case len(h.anchor) > 0:
		return from, nil
	}
	return len(lines), nil
}

func asIs(line string) string { return line }

func shorten(line string) string {
	if len(line) <= 80 {
		return line
	}
	return strings.ToValidUTF8(line[:80], "") + "…"
}
