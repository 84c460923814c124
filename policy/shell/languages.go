package shell

import "strings"

// awk tells what a program for awk does besides text: it starts at what could
// be a command or a file, wherever it stands.
func awk(text string) language {
	var out language
	if strings.Contains(text, "system") || strings.Contains(text, "getline") || strings.Contains(text, "@") && awkExtension(text) {
		out.opaque = true
	}
	previous := byte('\n') // the last character that is not a blank
	printing := false      // since the last print there was no end of statement
	depth := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == ' ' || c == '\t':
			continue
		case c == '\\':
			i++ // a line that goes on
			continue
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
			previous, printing = '\n', false
			continue
		case c == '"':
			i = skipTo(text, i+1, '"')
		case c == '/' && strings.IndexByte("(,{;~!&|\n}", previous) >= 0:
			i = skipTo(text, i+1, '/')
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ';' || c == '\n' || c == '{' || c == '}':
			printing, depth = false, 0
		case c == 'p' && strings.HasPrefix(text[i:], "print"):
			printing, depth = true, 0
		case c == '|':
			if i+1 < len(text) && text[i+1] == '|' {
				i++
			} else {
				out.opaque = true
			}
		case c == '>' && printing && depth <= 0:
			if i+1 < len(text) && text[i+1] == '>' {
				i++
			}
			name, end, ok := awkString(text, i+1)
			if !ok {
				out.opaque = true
				continue
			}
			out.writes = append(out.writes, name)
			i, c = end, '"'
		}
		previous = c
	}
	return out
}

// awkExtension reports whether an at sign may load or call something.
func awkExtension(text string) bool {
	for _, word := range []string{"@include", "@load", "@ include", "@ load", "@namespace"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	// A call through a variable: @name(.
	for rest := text; ; {
		i := strings.IndexByte(rest, '@')
		if i < 0 {
			return false
		}
		rest = strings.TrimLeft(rest[i+1:], " \t")
		n := 0
		for n < len(rest) && (isPlain(rest[n]) && strings.IndexByte("-./:=,+@%^", rest[n]) < 0) {
			n++
		}
		if n > 0 && n < len(rest) && rest[n] == '(' {
			return true
		}
	}
}

// skipTo returns the place of the next delimiter that has no backslash.
func skipTo(text string, i int, delimiter byte) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case delimiter:
			return i
		}
	}
	return i
}

// awkString returns the string at a place if it is the whole of an expression.
func awkString(text string, i int) (value string, end int, ok bool) {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	if i >= len(text) || text[i] != '"' {
		return "", 0, false
	}
	end = skipTo(text, i+1, '"')
	if end >= len(text) || strings.Contains(text[i:end], `\`) {
		return "", 0, false
	}
	after := strings.TrimLeft(text[end+1:], " \t")
	if after != "" && strings.IndexByte(";}\n", after[0]) < 0 {
		return "", 0, false
	}
	return text[i+1 : end], end, true
}

// sed tells what a script for sed does besides text.
func sed(text string) language {
	r := &sedReader{text: text}
	for r.at < len(r.text) && !r.out.opaque {
		r.command()
	}
	return r.out
}

// sedReader reads a script. What it does not know is opaque.
type sedReader struct {
	text string
	at   int
	out  language
}

func (r *sedReader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return '\n'
}

func (r *sedReader) blanks(set string) {
	for r.at < len(r.text) && strings.IndexByte(set, r.text[r.at]) >= 0 {
		r.at++
	}
}

// address skips one address and reports whether there was one.
func (r *sedReader) address() bool {
	switch c := r.peek(); {
	case '0' <= c && c <= '9' || c == '+' || c == '~':
		r.at++
		r.blanks("0123456789~+")
	case c == '$':
		r.at++
	case c == '/':
		r.at = skipTo(r.text, r.at+1, '/') + 1
		r.blanks("IM")
	case c == '\\' && r.at+1 < len(r.text):
		r.at = skipTo(r.text, r.at+2, r.text[r.at+1]) + 1
		r.blanks("IM")
	default:
		return false
	}
	return true
}

func (r *sedReader) line() string {
	end := strings.IndexByte(r.text[r.at:], '\n')
	if end < 0 {
		end = len(r.text) - r.at
	}
	line := r.text[r.at : r.at+end]
	r.at += end
	return line
}

func (r *sedReader) command() {
	r.blanks(" \t\n;")
	if r.at >= len(r.text) {
		return
	}
	if r.address() {
		r.blanks(" \t")
		if r.peek() == ',' {
			r.at++
			r.blanks(" \t")
			if !r.address() {
				r.out.opaque = true
				return
			}
		}
	}
	r.blanks(" \t!")
	c := r.peek()
	r.at++
	switch {
	case strings.IndexByte("{}=dDgGhHnNpPxzF", c) >= 0:
	case strings.IndexByte("qQlL", c) >= 0:
		r.blanks(" \t0123456789")
	case strings.IndexByte("btT:", c) >= 0:
		for r.at < len(r.text) && strings.IndexByte("\n;}", r.text[r.at]) < 0 {
			r.at++
		}
	case c == '#':
		r.line()
	case strings.IndexByte("aic", c) >= 0:
		for line := r.line(); strings.HasSuffix(line, `\`) && r.at < len(r.text); line = r.line() {
			r.at++
		}
	case c == 'y' || c == 's':
		r.substitute(c)
	case c == 'r' || c == 'R':
		r.out.reads = append(r.out.reads, strings.TrimLeft(r.line(), " \t"))
	case c == 'w' || c == 'W':
		r.out.writes = append(r.out.writes, strings.TrimLeft(r.line(), " \t"))
	case c == 'e':
		text := strings.TrimLeft(r.line(), " \t")
		r.out.opaque = true // without a text it runs what it reads
		if text != "" {
			r.out.commands = append(r.out.commands, text)
		}
	default:
		r.out.opaque = true
	}
}

func (r *sedReader) substitute(command byte) {
	if r.at >= len(r.text) {
		r.out.opaque = true
		return
	}
	delimiter := r.text[r.at]
	middle := skipTo(r.text, r.at+1, delimiter)
	end := skipTo(r.text, middle+1, delimiter)
	if end >= len(r.text) {
		r.out.opaque = true
		return
	}
	replacement := r.text[middle+1 : end]
	r.at = end + 1
	if command == 'y' {
		return
	}
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case strings.IndexByte("gpiImM0123456789", c) >= 0:
			r.at++
		case c == 'w':
			r.at++
			r.out.writes = append(r.out.writes, strings.TrimLeft(r.line(), " \t"))
			return
		case c == 'e':
			r.out.opaque = true
			r.out.commands = append(r.out.commands, replacement)
			r.at++
		case strings.IndexByte(" \t\n;}#", c) >= 0:
			return
		default:
			r.out.opaque = true
			return
		}
	}
}
