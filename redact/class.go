package redact

// class is a set of characters that tokens are made of.
type class uint8

const (
	upper class = 1 << iota
	lower
	digit
	underscore
	dash
	dot
	slash // and plus, which come with it in base 64
	equal

	letters  = upper | lower
	alnum    = letters | digit
	word     = alnum | underscore
	url64    = word | dash
	std64    = alnum | slash
	anyToken = url64 | dot | slash | equal
)

func classOf(c byte) class {
	switch {
	case 'a' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'Z':
		return upper
	case '0' <= c && c <= '9':
		return digit
	case c == '_':
		return underscore
	case c == '-':
		return dash
	case c == '.':
		return dot
	case c == '/' || c == '+':
		return slash
	case c == '=':
		return equal
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }
