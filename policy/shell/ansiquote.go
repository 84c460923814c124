package shell

import (
	"strconv"
	"strings"
)

var ansiEscapes = map[byte]byte{
	'a': '\a', 'b': '\b', 'e': 0x1b, 'E': 0x1b, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
	'\\': '\\', '\'': '\'', '"': '"', '?': '?',
}

// ansiC decodes the inside of $'...'. A NUL ends it, as it does in bash.
func ansiC(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			i++
			continue
		}
		c := text[i+1]
		i += 2
		var base, most int
		switch {
		case '0' <= c && c <= '7':
			base, most = 8, 3
			i--
		case c == 'x':
			base, most = 16, 2
		case c == 'u':
			base, most = 16, 4
		case c == 'U':
			base, most = 16, 8
		case c == 'c' && i < len(text):
			if text[i] == '?' {
				c = 0x7f
			} else {
				c = text[i] & 0x1f
			}
			i++
			if c == 0 {
				return b.String()
			}
			b.WriteByte(c)
			continue
		default:
			if plain, ok := ansiEscapes[c]; ok {
				b.WriteByte(plain)
			} else {
				b.WriteByte('\\')
				b.WriteByte(c)
			}
			continue
		}
		braced := c == 'x' && i < len(text) && text[i] == '{'
		if braced {
			i, most = i+1, 8
		}
		n := 0
		for n < most && i+n < len(text) && isDigit(text[i+n], base) {
			n++
		}
		if n == 0 {
			b.WriteByte('\\')
			b.WriteByte(c)
			if braced {
				b.WriteByte('{')
			}
			continue
		}
		v, err := strconv.ParseUint(text[i:i+n], base, 32)
		i += n
		if braced && i < len(text) && text[i] == '}' {
			i++
		}
		isByte := base == 8 || c == 'x'
		switch {
		case err != nil || v == 0 || isByte && v&0xff == 0:
			return b.String()
		case isByte:
			b.WriteByte(byte(v & 0xff))
		default:
			b.WriteRune(rune(v & 0x7fffffff))
		}
	}
	return b.String()
}

func isDigit(c byte, base int) bool {
	if base == 8 {
		return '0' <= c && c <= '7'
	}
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
