package redact

import "bytes"

// rest says how far a secret goes on after the part by which it was told.
type rest struct {
	how     restKind
	class   class // for restRun
	quote   byte  // for restQuoted
	slashes int   // for restQuoted: backslashes before each quote
	taken   int   // for restPEM
	inner   bool  // for restPEM: not on its first line any more
	fresh   bool  // for restPEM: at the start of a line
}

type restKind uint8

const (
	restNone   restKind = iota
	restRun             // to the end of the characters of a class
	restQuoted          // to the closing quote
	restBare            // to the end of a value without quotes
	restLine            // to the end of the line or a quote
	restPEM             // to the line that ends a private key
)

// skip returns where the secret ends, or how far it is known to go on.
func (r *rest) skip(l look, i int) (end int, done bool) {
	if r.how == restPEM {
		return r.skipPEM(l, i)
	}
	for ; i < len(l.data); i++ {
		over, more := r.ends(l, i)
		if more {
			return i, false
		}
		if over {
			return i, true
		}
	}
	return i, l.end
}

func (r *rest) ends(l look, i int) (over, more bool) {
	c := l.data[i]
	switch r.how {
	case restRun:
		if c == '.' && r.class&dot != 0 {
			// A full stop ends the sentence, not the token.
			if i+1 >= len(l.data) {
				return l.end, !l.end
			}
			return classOf(l.data[i+1])&r.class == 0, false
		}
		return classOf(c)&r.class == 0, false
	case restQuoted:
		return closes(l, i, r.quote, r.slashes)
	case restBare:
		return endsBare(l, i)
	case restLine:
		return endsLine(l, i)
	case restNone, restPEM:
	}
	return true, false
}

// closes reports whether a byte ends a quoted text: the quote, or as many
// backslashes before it as the opening one has. A new line ends it too, so that
// a quote that is never closed takes no more than its line.
func closes(l look, i int, quote byte, slashes int) (over, more bool) {
	c := l.data[i]
	if c == '\n' {
		return true, false
	}
	n := 0
	for b := l.before(i); n < len(b) && n < 32 && b[len(b)-1-n] == '\\'; {
		n++
	}
	if slashes == 0 || c != '\\' {
		return c == quote && n%2 == 0, false
	}
	if n > 0 {
		return false, false // the first of them was looked at
	}
	for j := i; j <= i+slashes; j++ {
		if j >= len(l.data) {
			return false, !l.end
		}
		if l.data[j] != '\\' {
			return l.data[j] == quote, false
		}
	}
	return false, false
}

// endsBare reports whether a byte ends a value that has no quotes. A character
// that may be part of a value ends it only if what follows begins something
// else.
func endsBare(l look, i int) (over, more bool) {
	switch c := l.data[i]; c {
	case ' ', '\t', '\n', '\r', '"', '\'', '`', '<', '>', 0, 0x1b:
		return true, false
	case '\\':
		// An escaped new line or quote in a text that is quoted as a whole.
		if i+1 >= len(l.data) {
			return l.end, !l.end
		}
		return bytes.IndexByte([]byte("nrt\"'\n\r"), l.data[i+1]) >= 0, false
	case ',', ';', '&', '|', ')', ']', '}':
		return endsPart(l, i+1)
	}
	return false, false
}

// endsPart reports whether something new begins: nothing, a space, a closing
// bracket, or a name with a sign of assignment behind it.
func endsPart(l look, i int) (over, more bool) {
	for j := i; j < i+48; j++ {
		if j >= len(l.data) {
			return l.end, !l.end
		}
		c := l.data[j]
		switch {
		case isSpace(c) || isQuote(c) || bytes.IndexByte([]byte(`,;)]}{[<>\&|`), c) >= 0:
			return j == i, false
		case c == '=' || c == ':':
			return j > i, false
		case classOf(c)&(url64|dot) == 0:
			return false, false
		}
	}
	return false, false
}

// endsLine reports whether a byte ends the value of a header.
func endsLine(l look, i int) (over, more bool) {
	switch c := l.data[i]; {
	case c == '\n' || c == '\r' || c == '"' && !inParameter(l, i) || c == '\'' || c == '`' || c == 0:
		return true, false
	case c == '\\':
		if i+1 >= len(l.data) {
			return l.end, !l.end
		}
		return bytes.IndexByte([]byte("nr\"'"), l.data[i+1]) >= 0, false
	}
	return false, false
}

// inParameter reports whether a quote belongs to a parameter of a header, such
// as response="…".
func inParameter(l look, i int) bool {
	b := l.lineBefore(i)
	if len(b) > 0 && b[len(b)-1] == '=' {
		return true
	}
	open := bytes.LastIndex(b, []byte(`="`))
	return open >= 0 && bytes.IndexByte(b[open+2:], '"') < 0
}

// The bounds of a private key.
const (
	maxPEM  = 64 << 10
	maxLine = 192
)

// skipPEM goes on to the end of a private key. A key that was cut off must not
// take with it what follows: a line that cannot belong to one ends it.
func (r *rest) skipPEM(l look, i int) (end int, done bool) {
	for i < len(l.data) {
		if r.taken > maxPEM {
			return i, true
		}
		if r.fresh {
			line := l.data[i:min(len(l.data), i+maxLine)]
			n := bytes.IndexByte(line, '\n')
			if n < 0 && len(line) < maxLine && !l.end {
				return i, false
			}
			if n >= 0 {
				line = line[:n]
			}
			if !pemLine(line) {
				return i, true
			}
			r.fresh = false
		}
		c := l.data[i]
		if c == '-' {
			yes, more := l.prefix(i, "-----END")
			if more {
				return i, false
			}
			if yes {
				last, more := pemEnd(l, i+len("-----END"))
				if more {
					return i, false
				}
				return last, true
			}
		}
		if c == '\n' {
			r.inner, r.fresh = true, true
		}
		i++
		r.taken++
	}
	return i, l.end
}

// pemEnd returns where the line that ends a key is over.
func pemEnd(l look, i int) (end int, more bool) {
	part := l.data[i:min(len(l.data), i+64)]
	if n := bytes.IndexByte(part, '\n'); n >= 0 {
		part = part[:n]
	} else if len(part) < 64 && !l.end && !bytes.Contains(part, []byte("-----")) {
		return 0, true
	}
	if n := bytes.Index(part, []byte("-----")); n >= 0 {
		return i + n + 5, false
	}
	return i + len(part), false
}

// pemLine reports whether a line may belong to a private key: base 64, a header
// or an end, behind the mark of a diff or a comment, the number of a line, or in
// the quotes of a program.
func pemLine(line []byte) bool {
	line = bytes.TrimSpace(bytes.Trim(line, "+-> |#*/\"'`,;\\: \t\r"))
	if n := bytes.IndexAny(line, ":|\t "); n > 0 && n < 7 && isNumber(string(line[:n])) {
		line = bytes.TrimSpace(line[n+1:])
	}
	if bytes.Contains(line, []byte("END ")) || bytes.Contains(line, []byte("KEY")) {
		return true
	}
	for _, header := range []string{"Proc-Type:", "DEK-Info:", "Version:", "Comment:", "Hash:", "Charset:"} {
		if bytes.HasPrefix(line, []byte(header)) {
			return true
		}
	}
	for _, c := range line {
		if classOf(c)&(std64|equal|dash|underscore) == 0 && bytes.IndexByte([]byte("\\\"'+,"), c) < 0 {
			return false
		}
	}
	return true
}
