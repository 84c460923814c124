package tool_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"opencode/agent/linediff"
	"opencode/agent/tool"
)

func TestApplyEdits(t *testing.T) {
	t.Parallel()
	one := func(old, now string) []tool.Edit { return []tool.Edit{{Old: old, New: now}} }
	all := func(old, now string) []tool.Edit { return []tool.Edit{{Old: old, New: now, All: true}} }
	for name, row := range map[string]struct {
		text  string
		edits []tool.Edit
		want  string
		err   error
	}{
		// Exactly.
		"exact":                           {"one two\n", one("two", "2"), "one 2\n", nil},
		"exact of several lines":          {"a\nb\nc\n", one("a\nb\n", "x\n"), "x\nc\n", nil},
		"exact that joins lines":          {"a\nb\nc\n", one("a\n", "x"), "xb\nc\n", nil},
		"exact is preferred to others":    {"  a\na\n", one("\na\n", "\nb\n"), "  a\nb\n", nil},
		"exact removes":                   {"a\nb\n", one("b\n", ""), "a\n", nil},
		"twice":                           {"a\na\n", one("a", "b"), "", tool.ErrAmbiguous},
		"twice, overlapping":              {"aaa", one("aa", "b"), "", tool.ErrAmbiguous},
		"twice, all":                      {"a\na\n", all("a", "b"), "b\nb\n", nil},
		"once, all":                       {"a\nc\n", all("a", "b"), "b\nc\n", nil},
		"not there":                       {"a\n", one("z", "b"), "", tool.ErrNotFound},
		"not there, all":                  {"a\n", all("z", "b"), "", tool.ErrNotFound},
		"the same":                        {"a\n", one("a", "a"), "", tool.ErrChange},
		"nothing to look for":             {"a\n", one("", "b"), "", tool.ErrChange},
		"nothing to look for in nothing":  {"", one("", "b\n"), "b\n", nil},
		"no text":                         {"a\x00", one("a", "b"), "", tool.ErrBinary},
		"not UTF-8":                       {"a\xff", one("a", "b"), "", tool.ErrBinary},
		"a dollar is no reference":        {"x\n", one("x", "$1 $& \\1"), "$1 $& \\1\n", nil},
		"a part of a line is only exact":  {"foo  bar\n", one("foo bar", "x"), "", tool.ErrNotFound},
		"letters of another case are not": {"Foo\n", one("foo", "x"), "", tool.ErrNotFound},

		// By lines without the blanks at their ends.
		"blanks at the end in the file": {"a  \nb\t\nc\n", one("a\nb\n", "x\ny\n"), "x\ny\nc\n", nil},
		"blanks at the end in old":      {"a\nb\nc\n", one("a  \nb ", "x\ny"), "x\ny\nc\n", nil},
		"blank lines are not searched":  {"a\n\nb\n", one("  ", "x"), "", tool.ErrNotFound},
		"lines removed":                 {"a \nb\nc\n", one("a\nb\n", ""), "c\n", nil},
		"twice with blanks at the end":  {"a \nx\na\t\nx\n", one("a\nx", "b\nx"), "", tool.ErrAmbiguous},
		"all with blanks at the end":    {"a \nx\na\t\nx\n", all("a\nx", "b\nx"), "b\nx\nb\nx\n", nil},

		// Indentation.
		"moved right": {
			"func f() {\n\tif x {\n\t\treturn\n\t}\n}\n", one("if x {\n\treturn\n}", "if y {\n\tpanic(1)\n}"),
			"func f() {\n\tif y {\n\t\tpanic(1)\n\t}\n}\n", nil,
		},
		"moved left": {"a:\n  b:\n    c\n", one("    b:\n      c", "    b:\n      d\n      e"), "a:\n  b:\n    d\n    e\n", nil},
		"blanks for tabs": {
			"{\n\ta\n\t\tb\n}\n", one("    a\n        b", "    a\n        c\n    d"), "{\n\ta\n\t\tc\n\td\n}\n", nil,
		},
		"one of two has the same shape": {
			"  if x {\n    y\n  }\n  if x {\n  y\n  }\n", one("if x {\n  y\n}", "if x {\n  z\n}"),
			"  if x {\n    z\n  }\n  if x {\n  y\n  }\n", nil,
		},
		"each line trimmed":         {"a\n\tb\n  c\n", one("  a\nb\nc", "a\nd\nc"), "a\n\td\n  c\n", nil},
		"twice without indentation": {"\ta\n\tb\n\t\ta\n\t\tb\n", one("  a\n  b", "c"), "", tool.ErrAmbiguous},
		"what stays keeps its own":  {"\tx := 1  \n\ty\n", one("x := 1\ny", "x := 1\nz"), "\tx := 1  \n\tz\n", nil},

		// Escapes.
		"escaped lines":            {"a\nb\n", one(`a\nb`, `a\nc`), "a\nc\n", nil},
		"escaped quotes":           {"say(\"hi\\n\")\n", one(`say(\"hi\\n\")`, `say(\"ho\\n\")`), "say(\"ho\\n\")\n", nil},
		"escaped twice":            {"a\nb\na\nb\n", one(`a\nb`, "c"), "", tool.ErrAmbiguous},
		"a path of another system": {`c:\new` + "\n", one(`c:\new`, `c:\old`), `c:\old` + "\n", nil},
		"an escape that is there":  {"\"a\\tb\"\n", one(`a\tb`, `c\td`), "\"c\\td\"\n", nil},

		// What stays as it is.
		"CR LF":                        {"a\r\nb\r\nc\r\n", one("a\nb\n", "x\ny\nz\n"), "x\r\ny\r\nz\r\nc\r\n", nil},
		"CR LF in both":                {"a\r\nb\r\n", one("a\r\nb", "x\r\ny"), "x\r\ny\r\n", nil},
		"CR LF only in old":            {"a\nb\n", one("a\r\nb", "x\r\ny"), "x\ny\n", nil},
		"mixed ends":                   {"a\r\nb\nc\r\n", one("b", "x"), "a\r\nx\nc\r\n", nil},
		"mixed ends by lines":          {"a\r\nb\r\nc\n", one("a\nb", "x\ny"), "x\r\ny\r\nc\n", nil},
		"no last line end":             {"a\nb", one("a", "x"), "x\nb", nil},
		"no last line end, last line":  {"a\n  b", one("a\nb", "a\nc"), "a\n  c", nil},
		"byte order mark":              {"\ufeffa\nb\n", one("a\nb", "x"), "\ufeffx\n", nil},
		"byte order mark in old":       {"\ufeffa\nb\n", one("\ufeffa", "\ufeffx"), "\ufeffx\nb\n", nil},
		"byte order mark and CR LF":    {"\ufeffa\r\nb\r\n", one("a\nb", "x\ny"), "\ufeffx\r\ny\r\n", nil},
		"form feed and other blanks":   {"a\f\nb\u00a0\n", one("a\nb", "x\ny"), "x\ny\n", nil},
		"a carriage return in a line":  {"a\rb\n", one("a\rb", "x"), "x\n", nil},
		"everything":                   {"a\n", one("a\n", ""), "", nil},
		"a line that is its own end":   {"\n\n\n", one("\n\n\n", "x\n"), "x\n", nil},
		"replacing with what is there": {"a b\n", one("a", "a a"), "a a b\n", nil},

		// Several.
		"several":               {"a\nb\n", []tool.Edit{{Old: "a", New: "b2"}, {Old: "b2", New: "c"}}, "c\nb\n", nil},
		"several, one of them":  {"a\nb\n", []tool.Edit{{Old: "a", New: "x"}, {Old: "zz", New: "y"}}, "", tool.ErrNotFound},
		"several, made twice":   {"a\nb\n", []tool.Edit{{Old: "a", New: "b"}, {Old: "b", New: "y"}}, "", tool.ErrAmbiguous},
		"several with one mark": {"\ufeffa\r\n", []tool.Edit{{Old: "a", New: "b\nc"}, {Old: "b\nc", New: "d"}}, "\ufeffd\r\n", nil},
	} {
		got, err := tool.ApplyEdits([]byte(row.text), row.edits)
		if !errors.Is(err, row.err) || string(got) != row.want {
			t.Errorf("%s: ApplyEdits(%q, %+v) = %q, %v, want %q, %v", name, row.text, row.edits, got, err, row.want, row.err)
		}
	}
}

// TestAmbiguousSaysMore checks what a model can do about an edit that fits
// several places.
func TestAmbiguousSaysMore(t *testing.T) {
	t.Parallel()
	_, err := tool.ApplyEdits([]byte("x\na\ny\na\n"), []tool.Edit{{Old: "a", New: "b"}})
	for _, want := range []string{"2 times", "lines 2, 4", "replaceAll", "add lines"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	many := bytes.Repeat([]byte("a\n"), 1000)
	if _, err := tool.ApplyEdits(many, []tool.Edit{{Old: "a", New: "b"}}); err == nil || !strings.Contains(err.Error(), "at least 100 times") {
		t.Errorf("error %v, want a bound", err)
	}
}

// TestHardEdits makes edits that a careless search would take for ever over.
func TestHardEdits(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("a\n", 200_000)
	for name, edit := range map[string]tool.Edit{
		"half of it and another line": {Old: strings.Repeat(" a\n", 100_000) + "b"},
		"half of it":                  {Old: strings.Repeat(" a\n", 100_000)},
		"all of many":                 {Old: "a", New: strings.Repeat("b", 10_000), All: true},
		"overlapping":                 {Old: strings.Repeat("a\n", 100_000)},
	} {
		if _, err := tool.ApplyEdits([]byte(big), []tool.Edit{edit}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// patched applies the hunks of a unified diff to a text, as the format is
// defined: it looks for nothing.
func patched(text, diff string) (string, error) {
	old := strings.SplitAfter(text, "\n")
	if old[len(old)-1] == "" {
		old = old[:len(old)-1]
	}
	var out strings.Builder
	at := 0
	lines := strings.SplitAfter(diff, "\n")
	for i := 0; i < len(lines) && lines[i] != ""; i++ {
		line := lines[i]
		if strings.HasPrefix(line, "@@") {
			var from int
			if _, err := fmt.Sscanf(line, "@@ -%d", &from); err != nil {
				return "", err
			}
			if strings.Contains(strings.Fields(line)[1], ",0") {
				from++
			}
			for ; at < from-1; at++ {
				out.WriteString(old[at])
			}
			continue
		}
		body := line[1:]
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], `\`) {
			body = strings.TrimSuffix(body, "\n")
			i++
		}
		if line[0] != '+' {
			if at >= len(old) || old[at] != body {
				return "", fmt.Errorf("line %d is not %q", at, body)
			}
			at++
		}
		if line[0] != '-' {
			out.WriteString(body)
		}
	}
	for ; at < len(old); at++ {
		out.WriteString(old[at])
	}
	return out.String(), nil
}

// FuzzEdit makes an edit. The diff of what it did, applied to the old text by a
// program of its own, gives the new one; where the text is there exactly once
// the result is the plain replacement; and what no edit changes stays: the byte
// order mark and the way in which lines end.
func FuzzEdit(f *testing.F) {
	f.Add("one\ntwo\n", "one", "1", false)
	f.Add("\ta\n\tb\n", "a\nb", "a\nc", false)
	f.Add("a\r\nb\r\n", "a\nb", "x\ny", false)
	f.Add("\ufeffa\nb", "b", "", false)
	f.Add("a \na\n", "a", "b", true)
	f.Add("a\nb\n", `a\nb`, `c\td`, false)
	f.Add("  if x {\n    y\n  }\n", "if x {\n  y\n}\n", "z\n", false)
	f.Fuzz(func(t *testing.T, text, old, now string, all bool) {
		if len(text)+len(old)+len(now) > 1<<14 {
			return // long
		}
		got, err := tool.ApplyEdits([]byte(text), []tool.Edit{{Old: old, New: now, All: all}})
		if err != nil {
			if got != nil {
				t.Errorf("%q with an error", got)
			}
			if strings.Count(text, old) == 1 && old != "" && old != now && !strings.ContainsAny(text+old+now, "\r\x00\ufeff") && errors.Is(err, tool.ErrNotFound) {
				t.Errorf("ApplyEdits(%q, %q, %q): %v", text, old, now, err)
			}
			return
		}
		d, err := linediff.Compare(t.Context(), []byte(text), got)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if !d.Write(&b, 1<<20) {
			t.Fatal("the diff does not fit")
		}
		if again, err := patched(text, b.String()); err != nil || again != string(got) {
			t.Errorf("the diff gives %q, %v, want %q:\n%s", again, err, got, b.String())
		}
		plain := !strings.ContainsAny(text+old+now, "\r\ufeff")
		if plain && strings.Count(text, old) == 1 && old != "" && string(got) != strings.Replace(text, old, now, 1) {
			t.Errorf("ApplyEdits(%q, %q, %q) = %q", text, old, now, got)
		}
		if plain && all && strings.Contains(text, old) && old != "" && string(got) != strings.ReplaceAll(text, old, now) {
			t.Errorf("ApplyEdits(%q, %q, %q, all) = %q", text, old, now, got)
		}
		if strings.HasPrefix(text, "\ufeff") && !strings.HasPrefix(string(got), "\ufeff") {
			t.Errorf("the byte order mark of %q is gone: %q", text, got)
		}
		if n := strings.Count(text, "\r\n"); n > 0 && n == strings.Count(text, "\n") && strings.Count(string(got), "\r\n") != strings.Count(string(got), "\n") {
			t.Errorf("the line ends of %q are mixed: %q", text, got)
		}
	})
}
