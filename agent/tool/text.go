package tool

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

const byteOrderMark = "\ufeff"

// text is the text of a file without what an edit keeps as it is: its byte
// order mark, and the way in which its lines end.
type text struct {
	body string
	mark bool // it starts with a byte order mark
	crlf bool // each line ends in CR LF, which is LF in body
}

// newText reads a file. It reports false for one that is no text in UTF-8.
func newText(data []byte) (text, bool) {
	if isBinary(data) || !utf8.Valid(data) {
		return text{}, false
	}
	var t text
	t.body, t.mark = strings.CutPrefix(string(data), byteOrderMark)
	if n := strings.Count(t.body, "\r\n"); n > 0 && n == strings.Count(t.body, "\n") {
		t.crlf = true
		t.body = strings.ReplaceAll(t.body, "\r\n", "\n")
	}
	return t, true
}

// data returns what the file holds.
func (t text) data() []byte {
	var b bytes.Buffer
	if t.mark {
		b.WriteString(byteOrderMark)
	}
	if t.crlf {
		b.WriteString(strings.ReplaceAll(t.body, "\n", "\r\n"))
	} else {
		b.WriteString(t.body)
	}
	return b.Bytes()
}

// adapt gives a text that somebody sends the way in which the lines of the file
// end, since models do not know it.
func (t text) adapt(s string) string {
	if t.mark {
		s = strings.TrimPrefix(s, byteOrderMark)
	}
	if t.crlf || !strings.Contains(t.body, "\r\n") {
		s = strings.ReplaceAll(s, "\r\n", "\n")
	}
	return s
}

// windows returns where the needle stands in the list, overlaps included, at
// most so many. It takes time in proportion to both.
func windows(list, needle []string, most int) []int {
	if len(needle) == 0 || len(needle) > len(list) {
		return nil
	}
	// border[i] is the length of the longest proper beginning of the needle
	// that also ends its first i+1 members.
	border := make([]int, len(needle))
	for i, k := 1, 0; i < len(needle); i++ {
		for k > 0 && needle[i] != needle[k] {
			k = border[k-1]
		}
		if needle[i] == needle[k] {
			k++
		}
		border[i] = k
	}
	var found []int
	for i, k := 0, 0; i < len(list) && len(found) < most; i++ {
		for k > 0 && list[i] != needle[k] {
			k = border[k-1]
		}
		if list[i] == needle[k] {
			k++
		}
		if k == len(needle) {
			found = append(found, i+1-k)
			k = border[k-1]
		}
	}
	return found
}

// each returns what f makes of each line.
func each(lines []string, f func(string) string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = f(line)
	}
	return out
}

const blanks = " \t\r\v\f\u00a0"

func trimEnd(line string) string { return strings.TrimRight(line, blanks) }

func trimBoth(line string) string { return strings.Trim(line, blanks) }

// indentOf returns the blanks at the beginning of a line.
func indentOf(line string) string { return line[:len(line)-len(strings.TrimLeft(line, blanks))] }

// commonIndent returns the blanks with which all lines begin that are not
// blank.
func commonIndent(lines []string) string {
	common, found := "", false
	for _, line := range lines {
		if trimBoth(line) == "" {
			continue
		}
		indent := indentOf(line)
		if !found {
			common, found = indent, true
		}
		n := 0
		for n < len(common) && n < len(indent) && common[n] == indent[n] {
			n++
		}
		common = common[:n]
	}
	return common
}
