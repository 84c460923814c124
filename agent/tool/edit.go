package tool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Errors of edits.
var (
	// ErrNotFound means that the text that is to be replaced is not there.
	ErrNotFound = errors.New("is not in the file")
	// ErrAmbiguous means that it is there more than once.
	ErrAmbiguous = errors.New("is in the file more than once")
)

const (
	// maxEdits is how many edits are made of one file at once.
	maxEdits = 1000
	// maxPlaces is how many places of a text are told apart.
	maxPlaces = 100
	// maxCompared is how many lines are looked at to compare indentations.
	maxCompared = 5_000_000
)

// Edit replaces a text in a file.
type Edit struct {
	// Old is the text as it is. It must be there exactly once, unless All is
	// set.
	Old string
	// New is what it becomes.
	New string
	// All replaces each place.
	All bool
}

// PlanEdit plans edits of one file, each made on what those before it made: all
// of them or none. A file that is not there can be made by a first edit whose
// Old is empty.
func (t *Tree) PlanEdit(name string, edits []Edit) (Change, error) {
	if len(edits) == 0 || len(edits) > maxEdits {
		return Change{}, fmt.Errorf("%q: %w: %d edits, want 1 to %d", name, ErrChange, len(edits), maxEdits)
	}
	c, err := t.plan(name, edits[0].Old == "")
	if err != nil {
		return Change{}, err
	}
	if c.After, err = ApplyEdits(c.Before, edits); err != nil {
		return Change{}, fmt.Errorf("%q: %w", name, err)
	}
	if len(c.After) > MaxFileBytes {
		return Change{}, fmt.Errorf("%q: %w: it would have %d bytes, at most %d", name, ErrTooLarge, len(c.After), MaxFileBytes)
	}
	return c, nil
}

// plan reads a file that is to be changed by what it holds. If it may be
// missing, then it is made.
func (t *Tree) plan(name string, mayBeMissing bool) (Change, error) {
	l, err := t.load(name, MaxFileBytes)
	switch {
	case mayBeMissing && isMissing(err):
		return Change{Kind: ChangeCreate, Path: name}, nil
	case err != nil:
		return Change{}, err
	case l.data == nil:
		return Change{}, fmt.Errorf("%q: %w: at most %d bytes are edited", name, ErrTooLarge, MaxFileBytes)
	}
	return Change{Kind: ChangeReplace, Path: name, Before: l.data, stamp: l.stamp, mode: l.mode}, nil
}

// ApplyEdits returns what edits make of the content of a file. Its byte order
// mark, the ends of its lines and a missing last one stay as they are.
//
// The text to replace is looked for as it is; if it is not there, by lines
// without what is blank at their ends; then with all lines moved by the same
// indentation; then without any; and at last as what its escape sequences mean.
// The first of these that finds it decides. It must find it exactly once: else
// the error says how often it is there and what to add.
func ApplyEdits(data []byte, edits []Edit) ([]byte, error) {
	t, ok := newText(data)
	if !ok {
		return nil, ErrBinary
	}
	for i, e := range edits {
		body, err := t.replace(e)
		if err != nil {
			if len(edits) > 1 {
				err = fmt.Errorf("edit %d of %d: %w", i+1, len(edits), err)
			}
			return nil, err
		}
		if len(body) > 2*MaxFileBytes {
			return nil, fmt.Errorf("%w: it would have %d bytes", ErrTooLarge, len(body))
		}
		t.body = body
	}
	return t.data(), nil
}

// replace makes one edit.
func (t text) replace(e Edit) (string, error) {
	e.Old, e.New = t.adapt(e.Old), t.adapt(e.New)
	switch {
	case e.Old == e.New:
		return "", fmt.Errorf("%w: oldString and newString are the same", ErrChange)
	case e.Old == "" && t.body != "":
		return "", fmt.Errorf("%w: oldString is empty, which only makes a new file: give the text to replace, or write the whole file", ErrChange)
	case e.Old == "":
		return e.New, nil
	}
	if body, found, err := t.attempt(e); found {
		return body, err
	}
	// Models escape once too often: then both texts are.
	if old := unescape(e.Old); old != e.Old && old != "" {
		if body, found, err := t.attempt(Edit{Old: old, New: unescape(e.New), All: e.All}); found {
			return body, err
		}
	}
	return "", fmt.Errorf("oldString %w: read it again and copy the text as it is", ErrNotFound)
}

// attempt looks for the text, exactly and then by lines.
func (t text) attempt(e Edit) (body string, found bool, err error) {
	if at := places(t.body, e.Old); len(at) > 0 {
		if e.All {
			if n := strings.Count(t.body, e.Old); n*(len(e.New)-len(e.Old)) > 2*MaxFileBytes {
				return "", true, fmt.Errorf("%w: %d times %d bytes", ErrTooLarge, n, len(e.New))
			}
			return strings.ReplaceAll(t.body, e.Old, e.New), true, nil
		}
		if len(at) > 1 {
			lines := make([]int, len(at))
			for i, offset := range at {
				lines[i] = 1 + strings.Count(t.body[:offset], "\n")
			}
			return "", true, ambiguous(lines)
		}
		return t.body[:at[0]] + e.New + t.body[at[0]+len(e.Old):], true, nil
	}
	return t.byLines(e)
}

// places returns the offsets of a text, overlaps included.
func places(body, old string) []int {
	var at []int
	for from := 0; len(at) < maxPlaces; {
		i := strings.Index(body[from:], old)
		if i < 0 {
			break
		}
		at = append(at, from+i)
		from += i + 1
	}
	return at
}

func ambiguous(lines []int) error {
	count := strconv.Itoa(len(lines))
	if len(lines) >= maxPlaces {
		count = "at least " + count
	}
	var shown []string
	for _, n := range lines[:min(len(lines), 5)] {
		shown = append(shown, strconv.Itoa(n))
	}
	if len(lines) > 5 {
		shown = append(shown, "…")
	}
	return fmt.Errorf("oldString %w: it is there %s times, on the lines %s; add lines around it until it is there once, or set replaceAll",
		ErrAmbiguous, count, strings.Join(shown, ", "))
}

// byLines looks for whole lines, with less and less regard for blanks.
func (t text) byLines(e Edit) (body string, found bool, err error) {
	oldText, whole := strings.CutSuffix(e.Old, "\n")
	newText := e.New
	if whole {
		newText = strings.TrimSuffix(newText, "\n")
	}
	old, lines := strings.Split(oldText, "\n"), strings.Split(t.body, "\n")
	if trimBoth(strings.Join(old, "")) == "" {
		return "", false, nil // blank lines are everywhere
	}
	at := windows(each(lines, trimEnd), each(old, trimEnd), maxPlaces)
	if len(at) == 0 {
		at = windows(each(lines, trimBoth), each(old, trimBoth), maxPlaces)
		if len(at)*len(old) <= maxCompared {
			same := slices.DeleteFunc(slices.Clone(at), func(i int) bool { return !isShifted(lines[i:i+len(old)], old) })
			if len(same) > 0 {
				at = same
			}
		}
	}
	switch {
	case len(at) == 0:
		return "", false, nil
	case len(at) > 1 && !e.All:
		for i := range at {
			at[i]++
		}
		return "", true, ambiguous(at)
	case len(at) >= maxPlaces:
		return "", true, fmt.Errorf("oldString %w: there are %d places or more that are like it, but none is equal: give the text as it is", ErrAmbiguous, maxPlaces)
	}
	var out []string
	from := 0
	for _, i := range at {
		if i < from {
			return "", true, fmt.Errorf("oldString %w: two places overlap", ErrAmbiguous)
		}
		out = append(out, lines[from:i]...)
		from = i + len(old)
		if !whole || e.New != "" {
			out = append(out, fitted(lines[i:from], old, strings.Split(newText, "\n"))...)
		}
	}
	out = append(out, lines[from:]...)
	return strings.Join(out, "\n"), true, nil
}

// isShifted reports whether all lines differ by the same indentation.
func isShifted(lines, old []string) bool {
	from, to := commonIndent(old), commonIndent(lines)
	for i, line := range lines {
		if trimBoth(line) == "" {
			continue
		}
		if line[len(to):len(indentOf(line))] != old[i][len(from):len(indentOf(old[i]))] {
			return false
		}
	}
	return true
}

// fitted returns new lines with the indentation and the line ends of those
// that they replace. What old and new have in common at both ends stays as it
// is in the file.
func fitted(lines, old, now []string) []string {
	head := 0
	for head < len(old) && head < len(now) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(now)-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	// What each indentation of old is in the file, if it is always the same.
	indents := map[string]string{}
	unclear := map[string]bool{}
	for i, line := range old {
		if trimBoth(line) == "" {
			continue
		}
		from, to := indentOf(line), indentOf(lines[i])
		if had, ok := indents[from]; ok && had != to {
			unclear[from] = true
		}
		indents[from] = to
	}
	from, to := commonIndent(old), commonIndent(lines)
	end := ""
	if strings.HasSuffix(lines[0], "\r") {
		end = "\r"
	}
	out := slices.Clone(lines[:head])
	for i, line := range now[head : len(now)-tail] {
		indent := indentOf(line)
		switch known, ok := indents[indent]; {
		case trimBoth(line) == "":
		case len(now) == len(old) && indent == indentOf(old[head+i]):
			line = indentOf(lines[head+i]) + line[len(indent):] // one line for one
		case ok && !unclear[indent]:
			line = known + line[len(indent):]
		case strings.HasPrefix(indent, from):
			line = to + line[len(from):]
		}
		if !strings.HasSuffix(line, "\r") {
			line += end
		}
		out = append(out, line)
	}
	return append(out, lines[len(lines)-tail:]...)
}

// unescape returns what escape sequences mean.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '"', '\'', '`', '\\', '$', '\n':
			b.WriteByte(s[i])
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
