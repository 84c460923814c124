package tool

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// FuzzScreen writes a text in parts of any size, and reads it from a cursor on:
// what comes is what follows that many UTF-16 code units, in whole characters.
func FuzzScreen(f *testing.F) {
	f.Add("aé😀z", uint8(1), int16(2), uint16(1))
	f.Add("😀😀", uint8(3), int16(1), uint16(9))
	f.Add("", uint8(1), int16(-1), uint16(0))
	f.Add("ab", uint8(1), int16(7), uint16(20000))
	f.Fuzz(func(t *testing.T, text string, part uint8, cursor int16, times uint16) {
		text = strings.Repeat(text, 1+int(times)%4000)
		if !utf8.ValidString(text) || len(text) > screenBlock*screenBlocks/2 {
			return
		}
		s := newScreen()
		half := len(text) / 2
		write := func(b string) {
			for size := max(1, int(part)); len(b) > 0; {
				n := min(size, len(b))
				s.write([]byte(b[:n]))
				b = b[n:]
			}
		}
		write(text[:half])
		r := s.attach(int64(cursor))
		// A character that is not there in whole is not there.
		there := text[:half-incomplete([]byte(text[:half]))]
		units := utf16.Encode([]rune(there))
		want := there
		switch {
		case cursor == FromNow || int(cursor) >= len(units):
			want = ""
		case cursor > 0:
			at := int(cursor)
			if utf16.IsSurrogate(rune(units[at])) && units[at] >= 0xdc00 {
				at++ // half of a character
			}
			want = string(utf16.Decode(units[at:]))
		}
		replay := take(t, r, func() bool { at, ok := r.Replayed(); return ok && at == int64(len(units)) })
		if replay != want {
			t.Fatalf("from %d: %q, want %q", cursor, replay, want)
		}
		write(text[half:])
		s.finish()
		if rest := take(t, r, func() bool { return false }); there+rest != text {
			t.Fatalf("then %q, want what follows %q of %q", rest, there, text)
		}
		if got := r.Cursor(); got != int64(len(utf16.Encode([]rune(text)))) {
			t.Fatalf("cursor %d at the end", got)
		}
	})
}

// take reads until done, or to the end.
func take(t *testing.T, r *TerminalReader, done func() bool) string {
	t.Helper()
	var text strings.Builder
	for !done() {
		part, err := r.take()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || part == "" || !utf8.ValidString(part) {
			t.Fatalf("part %q, %v", part, err)
		}
		text.WriteString(part)
	}
	return text.String()
}
