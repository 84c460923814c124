// Package sanitize turns the output of programs into text that is safe to show
// to people, on a terminal or elsewhere.
//
// What comes out is valid UTF-8 in which "\n" and "\t" are the only control
// characters and in which no character is invisible or reorders others: escape
// sequences go as a whole (CSI, OSC with whatever they set, copy or link, DCS,
// SOS, PM, APC, in their 7-bit and their C1 form), and so do all other control
// characters, the bidirectional and zero-width characters, tags and stray
// variation selectors. A carriage return that would let a line be written over
// becomes a line feed, so that everything a program wrote can be read. Bytes
// that are not UTF-8 become U+FFFD, one for each run of them.
//
// A string sequence that is never ended stops at the end of its line: it must
// not hide what follows. The result does not depend on how the input is cut
// into pieces, and sanitising it again changes nothing.
//
// The package does not look for credentials, and does not keep what it takes
// away. A [Filter] and a [Writer] are for one goroutine; the functions are safe
// for concurrent use.
package sanitize

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// state says what the next character belongs to.
type state uint8

const (
	ground     state = iota
	escape           // after ESC
	escapeMore       // after ESC and an intermediate byte
	csi              // in a control sequence
	text             // in a string sequence: OSC, DCS, SOS, PM, APC
	textEscape       // after ESC in a string sequence
)

// Filter sanitises a stream. Its zero value is ready, and its size does not
// grow with the input.
type Filter struct {
	carry   [utf8.UTFMax]byte // the start of a character whose rest has not come
	carried int
	state   state
	cr      bool // a carriage return waits for what follows it
	invalid bool // the last thing written stands for invalid bytes
	base    bool // a variation selector may follow
}

// Append appends the sanitised form of src to dst. What src leaves open waits
// for the next call.
func (f *Filter) Append(dst, src []byte) []byte {
	for f.carried > 0 && len(src) > 0 {
		f.carry[f.carried] = src[0]
		f.carried++
		src = src[1:]
		if !utf8.FullRune(f.carry[:f.carried]) {
			continue
		}
		// The character may have ended before its last byte, if that begins
		// another one: what is left over is looked at again.
		held := f.carry
		rest := held[:f.carried]
		f.carried = 0
		for len(rest) > 0 {
			if !utf8.FullRune(rest) {
				f.carried = copy(f.carry[:], rest)
				break
			}
			r, n := utf8.DecodeRune(rest)
			dst = f.put(dst, r, n)
			rest = rest[n:]
		}
	}
	for len(src) > 0 {
		if n := plain(src); n > 0 && f.state == ground {
			if f.cr {
				f.cr = false
				if src[0] != '\n' {
					dst = append(dst, '\n')
				}
			}
			dst = append(dst, src[:n]...)
			f.invalid, f.base = false, src[n-1] > ' '
			src = src[n:]
			continue
		}
		if c := src[0]; f.state == ground && c == 0x1b && len(src) > 1 && src[1] == '[' {
			f.state, src = csi, src[2:]
			continue
		}
		if f.state == csi || f.state == text {
			if n := f.swallowed(src); n > 0 {
				src = src[n:]
				continue
			}
		}
		if !utf8.FullRune(src) {
			f.carried = copy(f.carry[:], src)
			break
		}
		r, n := utf8.DecodeRune(src)
		dst = f.put(dst, r, n)
		src = src[n:]
	}
	return dst
}

// Finish appends what waits for more input, and makes the filter new.
func (f *Filter) Finish(dst []byte) []byte {
	rest := f.carry[:f.carried]
	f.carried = 0
	for len(rest) > 0 {
		r, n := utf8.DecodeRune(rest)
		dst = f.put(dst, r, n)
		rest = rest[n:]
	}
	if f.cr {
		dst = append(dst, '\n')
	}
	*f = Filter{}
	return dst
}

// plain returns how many bytes at the start of b stand for themselves.
func plain(b []byte) int {
	for i, c := range b {
		if (c < ' ' && c != '\n' && c != '\t') || c >= 0x7f {
			return i
		}
	}
	return len(b)
}

// swallowed returns how many bytes at the start of b go without an end of the
// sequence that they are in.
func (f *Filter) swallowed(b []byte) int {
	for i, c := range b {
		if f.state == csi && (c < ' ' || c > '?') || f.state == text && (c < ' ' || c >= 0x7f) {
			return i
		}
	}
	return len(b)
}

// put takes one character of n bytes. The result of a state that a character
// does not fit is that the character is looked at as if nothing stood before it.
func (f *Filter) put(dst []byte, r rune, n int) []byte {
	switch f.state {
	case escape, escapeMore:
		first := f.state == escape
		f.state = ground
		switch {
		case first && r == '[':
			f.state = csi
			return dst
		case first && (r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_' || r == 'k'):
			f.state = text // "k" sets a title in screen and tmux
			return dst
		case ' ' <= r && r <= '/':
			f.state = escapeMore
			return dst
		case '0' <= r && r <= '~':
			return dst
		}
	case csi:
		if ' ' <= r && r <= '?' {
			return dst
		}
		f.state = ground
		if '@' <= r && r <= '~' {
			return dst
		}
	case text, textEscape:
		if f.state == textEscape && r == '\\' {
			f.state = ground
			return dst
		}
		if f.state == textEscape {
			// ESC ends the string and begins something else.
			f.state = escape
			return f.put(dst, r, n)
		}
		switch r {
		case 0x1b:
			f.state = textEscape
			return dst
		case 0x07, 0x18, 0x1a, 0x9c: // BEL, CAN, SUB, ST
			f.state = ground
			return dst
		case '\n', '\r':
			f.state = ground
		default:
			return dst
		}
	case ground:
	}
	return f.ground(dst, r, n)
}

// ground takes one character that belongs to no sequence.
func (f *Filter) ground(dst []byte, r rune, n int) []byte {
	switch {
	case r == '\r':
		f.cr = true
		return dst
	case r == 0x1b:
		f.state = escape
		return dst
	case r == 0x9b:
		f.state = csi
		return dst
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f:
		f.state = text
		return dst
	case r == '\n' || isBreak(r):
		f.cr, f.invalid, f.base = false, false, false
		return append(dst, '\n')
	case r == utf8.RuneError && n <= 1 || unicode.Is(unicode.Noncharacter_Code_Point, r):
		if f.invalid {
			return dst
		}
		dst = f.lineFeed(dst)
		f.invalid, f.base = true, false
		return append(dst, "\uFFFD"...)
	case (r == 0xfe0e || r == 0xfe0f) && f.base:
		// They choose between the text and the picture of a character.
		f.base = false
		return utf8.AppendRune(dst, r)
	case !Plain(r):
		return dst
	}
	dst = f.lineFeed(dst)
	f.invalid, f.base = false, r > ' '
	return utf8.AppendRune(dst, r)
}

// lineFeed writes the line feed that a carriage return has become.
func (f *Filter) lineFeed(dst []byte) []byte {
	if f.cr {
		f.cr = false
		return append(dst, '\n')
	}
	return dst
}

// isBreak reports whether a character other than "\n" begins a new line.
func isBreak(r rune) bool {
	return r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029
}

// Plain reports whether a character can be shown as it is: it is neither a
// control character other than "\n" and "\t", nor invisible, nor one that
// changes the order of others.
func Plain(r rune) bool {
	switch {
	case r < 0x7f:
		return r >= ' ' || r == '\n' || r == '\t'
	case r < 0xa0:
		return false
	case r == 0xad:
		return false
	case r < 0x300, 0x370 <= r && r < 0x600, 0x900 <= r && r < 0x115f, 0x2070 <= r && r < 0x3164, 0x3165 <= r && r < 0xd800, 0x1f000 <= r && r < 0x1fb00:
		return true // most of what is written, without a look-up
	}
	return utf8.ValidRune(r) &&
		!unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) &&
		!unicode.Is(unicode.Noncharacter_Code_Point, r) &&
		(r < 0xe0000 || r > 0xe0fff) // tags and what is set aside for their like
}

// Bytes returns the sanitised form of b.
func Bytes(b []byte) []byte {
	var f Filter
	return f.Finish(f.Append(make([]byte, 0, len(b)), b))
}

// String returns the sanitised form of s.
func String(s string) string {
	if isPlain(s) {
		return s
	}
	return string(Bytes([]byte(s)))
}

// Needed reports whether sanitising s would change it.
func Needed(s string) bool { return !isPlain(s) && String(s) != s }

func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\n' && c != '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

// Writer sanitises what is written to it. The caller must close it.
type Writer struct {
	w      io.Writer
	filter Filter
	buf    []byte
	err    error
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write takes the next part. After an error it takes nothing more.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), 32<<10)] // what bounds the buffer
		rest = rest[len(part):]
		if err := w.flush(w.filter.Append(w.buf[:0], part)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Close writes what was waiting for more. It does not close the writer below.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	return w.flush(w.filter.Finish(w.buf[:0]))
}

func (w *Writer) flush(b []byte) error {
	w.buf = b[:0]
	if len(b) > 0 {
		_, w.err = w.w.Write(b)
	}
	return w.err
}
