package sanitize_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"opencode/sanitize"
)

func TestString(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ in, want string }{
		"plain":                        {"a b\n\tc", "a b\n\tc"},
		"colour":                       {"\x1b[1;31mred\x1b[0m", "red"},
		"colour with colons":           {"\x1b[38:2::1:2:3mx", "x"},
		"private CSI":                  {"\x1b[?1049h\x1b[>4;1mx\x1b[2 q", "x"},
		"title, ended by BEL":          {"\x1b]0;title\x07x", "x"},
		"link":                         {"\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"},
		"clipboard":                    {"\x1b]52;c;bHMK\x1b\\x", "x"},
		"C1 clipboard":                 {"\u009d52;c;bHMK\u009cx", "x"},
		"C1 CSI":                       {"\u009b31mx", "x"},
		"DCS":                          {"\x1bP1$r0m\x1b\\x", "x"},
		"APC, PM, SOS":                 {"\x1b_a\x1b\\\x1b^b\x1b\\\x1bXc\x1b\\x", "x"},
		"title of screen":              {"\x1bktitle\x1b\\x", "x"},
		"character set":                {"\x1b(0x\x1b(B\x1b#8y", "xy"},
		"reset":                        {"\x1bcx", "x"},
		"string without an end":        {"\x1b]0;hidden\nshown", "\nshown"},
		"string ended by CAN":          {"\x1b]0;a\x18x", "x"},
		"string ended by a sequence":   {"\x1b]0;a\x1b[31mx", "x"},
		"control inside CSI":           {"\x1b[3\n1mx", "\n1mx"},
		"ESC ESC":                      {"\x1b\x1b[31mx", "x"},
		"ESC at the end":               {"x\x1b", "x"},
		"CRLF":                         {"a\r\nb\r\r\nc", "a\nb\nc"},
		"overwritten line":             {"curl evil\rls       ", "curl evil\nls       "},
		"progress":                     {"10%\r\x1b[K20%\r", "10%\n20%\n"},
		"backspace":                    {"ab\b\bc", "abc"},
		"BEL, NUL, DEL":                {"a\x07\x00\x7fb", "ab"},
		"VT, FF, NEL, LS, PS":          {"a\vb\fc\u0085d\u2028e\u2029f", "a\nb\nc\nd\ne\nf"},
		"bidi":                         {"a\u202eb\u2066c\u2069\u200f\u061cd", "abcd"},
		"zero width":                   {"l\u200bs\u200d\u2060\ufeff\u00ad", "ls"},
		"tags":                         {"a\U000e0041\U000e007f\U000e0001b", "ab"},
		"hidden in selectors":          {"a\U000e0100\U000e01ef\ufe00\ufe01b", "ab"},
		"picture of a character":       {"\u2714\ufe0f\ufe0f \ufe0fx", "\u2714\ufe0f x"},
		"fillers":                      {"a\u3164\u115f\u034f\u180eb", "ab"},
		"invalid UTF-8":                {"a\xff\xfeb\xc3", "a\uFFFDb\uFFFD"},
		"raw C1 byte":                  {"\x9b31mx", "\uFFFD31mx"},
		"overlong, surrogate":          {"\xc0\x9b[\xed\xa0\x80", "\uFFFD[\uFFFD"},
		"noncharacter":                 {"a\uffffb", "a\uFFFDb"},
		"letters of many scripts":      {"日本 العربية ñ ü 🙂 \ue0b0", "日本 العربية ñ ü 🙂 \ue0b0"},
		"sequence split by zero width": {"\x1b\u200b[31mx", "[31mx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := sanitize.String(row.in); got != row.want {
				t.Errorf("String(%q) = %q, want %q", row.in, got, row.want)
			}
			if got := sanitize.Needed(row.in); got != (row.in != row.want) {
				t.Errorf("Needed(%q) = %v", row.in, got)
			}
		})
	}
}

// TestPlain holds what is known without a look-up against the tables.
func TestPlain(t *testing.T) {
	t.Parallel()
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		bad := !utf8.ValidRune(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point) || 0xe0000 <= r && r < 0xe1000
		if sanitize.Plain(r) == bad {
			t.Fatalf("Plain(%U) = %v", r, !bad)
		}
	}
}

func TestWriterStopsAtAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	w := sanitize.NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := w.Write([]byte("a")); !errors.Is(err, broken) {
		t.Errorf("Write = %v, want %v", err, broken)
	}
	if _, err := w.Write([]byte("\x1b")); !errors.Is(err, broken) {
		t.Errorf("second Write = %v, want %v", err, broken)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close = %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func FuzzSanitize(f *testing.F) {
	for _, s := range []string{
		"", "plain\ttext\n", "\x1b[31mred\x1b[0m\r\n", "\x1b]8;;http://x\x07a\x1b]52;c;eA==\x1b\\", "\u009b1m\u009d0;t\u009c",
		"\x1bPq\x1b\x1b\\", "a\xe2\x80", "\xe2\x1b[31m", "\xf0\x9f\x99\x82\ufe0f", "\U000e0041\u202e\u200b", "a\rb\r\r\n", "\xf0\x9f\xff\xf0\x9f",
	} {
		f.Add([]byte(s), uint8(1), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, a, b uint8) {
		got := sanitize.Bytes(in)
		if !utf8.Valid(got) {
			t.Fatalf("Bytes(%q) = %q, not UTF-8", in, got)
		}
		previous := ' '
		for _, r := range string(got) {
			// The categories are looked up here; what is graphic and takes no
			// place is listed by hand.
			if r != '\n' && r != '\t' && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Zl, unicode.Zp) ||
				strings.ContainsRune("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0", r) || 0xfe00 <= r && r < 0xfe0e || 0xe0000 <= r && r < 0xe1000) {
				t.Fatalf("Bytes(%q) = %q, with %U", in, got, r)
			}
			if (r == 0xfe0e || r == 0xfe0f) && (previous == 0xfe0e || previous == 0xfe0f || previous <= ' ') {
				t.Fatalf("Bytes(%q) = %q, a selector after nothing", in, got)
			}
			previous = r
		}
		if again := sanitize.Bytes(got); !bytes.Equal(again, got) {
			t.Fatalf("Bytes(%q) = %q, and again %q", in, got, again)
		}
		if s := sanitize.String(string(in)); s != string(got) {
			t.Fatalf("String(%q) = %q, Bytes gives %q", in, s, got)
		}
		// Pieces of a and b bytes in turn, and of one byte.
		for _, sizes := range [][2]int{{int(a%7) + 1, int(b) + 1}, {1, 1}} {
			var out bytes.Buffer
			w := sanitize.NewWriter(&out)
			for rest, i := in, 0; len(rest) > 0; i++ {
				n := min(sizes[i%2], len(rest))
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("Write = %d, %v", m, err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), got) {
				t.Fatalf("%q in pieces of %v = %q, in one %q", in, sizes, out.Bytes(), got)
			}
		}
		// Text that is safe stays.
		if plain := strings.Map(func(r rune) rune {
			if 0x20 <= r && r < 0x7f || r == '\n' || r == '\t' || 0x4e00 <= r && r < 0x9000 {
				return r
			}
			return -1
		}, string(in)); sanitize.String(plain) != plain {
			t.Fatalf("String(%q) = %q", plain, sanitize.String(plain))
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	for name, line := range map[string]string{
		"plain":  "ok  \topencode/agent/tool\t1.234s  coverage: 91.2% of statements\n",
		"colour": "\x1b[32mok\x1b[0m  \x1b[1mopencode/agent/tool\x1b[0m 1.234s\r\n",
		"wide":   "日本語のテキスト 🙂 ünïcödé\n",
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(strings.Repeat(line, 1<<20/len(line)))
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				w := sanitize.NewWriter(writerFunc(func(p []byte) (int, error) { return len(p), nil }))
				if _, err := w.Write(in); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
