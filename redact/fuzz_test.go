package redact_test

import (
	"strings"
	"testing"

	"opencode/redact"
)

// FuzzPieces demands that the pieces do not matter, and that nothing is left to
// find.
func FuzzPieces(f *testing.F) {
	r := source(6)
	for i, s := range tokens() {
		f.Add(strings.ReplaceAll(contexts()[i%len(contexts())], "§", s.make(r)), uint8(1), uint8(9))
	}
	for _, context := range assigned() {
		f.Add(strings.ReplaceAll(context, "§", values(r)[0]), uint8(2), uint8(1))
	}
	for _, text := range lookalikes(r) {
		f.Add(text, uint8(3), uint8(5))
	}
	f.Add(key(r, "PRIVATE"+" KEY", 4)+"\nand more\n", uint8(1), uint8(30))
	rd := redact.New(redact.Config{Known: func() []string { return []string{"known value 1", "known value 12", "wn value"} }})
	f.Fuzz(func(t *testing.T, in string, a, b uint8) {
		want, n := rd.Count(in)
		if n == 0 && want != in {
			t.Fatalf("Count(%q) = %q, 0", in, want)
		}
		if strings.Contains(want, "known value 1") {
			t.Fatalf("Count(%q) = %q, with a known value", in, want)
		}
		for _, sizes := range [][]int{{1}, {int(a), int(b)}} {
			if got, m := inPieces(t, rd, in, sizes...); got != want || m != n {
				t.Fatalf("%q in pieces of %v = %q, %d, want %q, %d", in, sizes, got, m, want, n)
			}
		}
	})
}

// FuzzPlanted puts a secret into any text, in one of the usual places: it must
// be gone, in any pieces. What is before and after it stays.
func FuzzPlanted(f *testing.F) {
	for i := range uint64(80) {
		f.Add(i, uint8(i), uint8(i/2), "before\n", "\nafter", uint8(7))
	}
	f.Add(uint64(1), uint8(1), uint8(1), "\"", "\"", uint8(1))
	f.Fuzz(func(t *testing.T, seed uint64, which, where uint8, before, after string, size uint8) {
		r := source(seed)
		var value, context string
		rd := redact.New(redact.Config{})
		switch which % 3 {
		case 0:
			value = draw(r, base64s+"!#$%^&*()_-=[]{};:,. ", 12)
			rd = redact.New(redact.Config{Known: func() []string { return []string{value} }})
			context = contexts()[int(where)%len(contexts())]
		case 1:
			list := tokens()
			value = list[int(where)%len(list)].make(r)
			context = contexts()[int(where/3)%len(contexts())]
		default:
			list := values(r)
			value = list[int(which)%len(list)]
			context = assigned()[int(where)%len(assigned())]
		}
		if strings.Contains(context, "://") && which%3 == 2 {
			// Before a host a slash is written otherwise, or it begins the path.
			value = strings.ReplaceAll(value, "/", "-")
		}
		// The text around it is on lines of its own: within a line it could make
		// the value part of something else, such as a longer word.
		in := before + "\n" + strings.ReplaceAll(context, "§", value) + "\n" + after
		if strings.Contains(before+"\n"+after, value) {
			return
		}
		got, n := rd.Count(in)
		if strings.Contains(got, value) || n == 0 {
			t.Fatalf("Count(%q) = %q, with %q", in, got, value)
		}
		if pieces, _ := inPieces(t, rd, in, int(size)); pieces != got {
			t.Fatalf("%q in pieces of %d = %q, want %q", in, size, pieces, got)
		}
	})
}

// FuzzClean makes texts of parts that hold no secret: nothing may change.
func FuzzClean(f *testing.F) {
	for i := range uint64(20) {
		f.Add(i, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		r := source(seed)
		list := lookalikes(r)
		var b strings.Builder
		for range 20 {
			b.WriteString(list[r.IntN(len(list))])
			b.WriteString([]string{"\n", "\n\n", "\r\n"}[r.IntN(3)])
		}
		rd := redact.New(redact.Config{})
		if got, n := rd.Count(b.String()); n != 0 {
			t.Fatalf("%d found: %s", n, firstDifference(got, b.String()))
		}
		if got, _ := inPieces(t, rd, b.String(), int(size)+1); got != b.String() {
			t.Fatalf("in pieces of %d: %s", int(size)+1, firstDifference(got, b.String()))
		}
	})
}
