package git

import (
	"bytes"
	"context"
	"strings"
)

const (
	ignoreName = ".gitignore"
	// maxIgnoreFile bounds a .gitignore; a larger one has no effect.
	maxIgnoreFile = 1 << 20
	// maxPattern bounds one pattern; a longer one has no effect.
	maxPattern = 4096
)

// pattern is one line of a .gitignore.
type pattern struct {
	negated  bool
	dirOnly  bool
	baseOnly bool   // matches the last component of a path
	literal  string // the whole pattern, if tokens is nil
	tokens   []token
}

// ignores holds the patterns that apply in a directory: its own, and those of
// the directories above it. A nil one ignores nothing.
type ignores struct {
	above    *ignores
	dir      string // with a slash at its end; "" for the root
	patterns []pattern
}

// with returns the patterns that apply in dir, given the content of its
// .gitignore.
func (g *ignores) with(dir string, content []byte) *ignores {
	patterns := parseIgnore(content)
	if len(patterns) == 0 {
		return g
	}
	if dir != "" {
		dir += "/"
	}
	return &ignores{above: g, dir: dir, patterns: patterns}
}

// match reports whether the patterns exclude a path. The caller has made sure
// that they exclude no directory above it: nothing below such a directory can
// be included again. It stops with the context, since the patterns are written
// by an attacker.
func (g *ignores) match(ctx context.Context, path string, isDir bool) (bool, error) {
	base := path[strings.LastIndexByte(path, '/')+1:]
	for ; g != nil; g = g.above {
		name := strings.TrimPrefix(path, g.dir)
		for i := len(g.patterns) - 1; i >= 0; i-- {
			p := &g.patterns[i]
			if p.dirOnly && !isDir {
				continue
			}
			text := name
			if p.baseOnly {
				text = base
			}
			if p.tokens == nil {
				if text == p.literal {
					return !p.negated, nil
				}
				continue
			}
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			if matchTokens(p.tokens, text) {
				return !p.negated, nil
			}
		}
	}
	return false, nil
}

func parseIgnore(content []byte) []pattern {
	if len(content) > maxIgnoreFile {
		return nil
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	var out []pattern
	for len(content) > 0 {
		var line []byte
		line, content, _ = bytes.Cut(content, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		line, _, _ = bytes.Cut(line, []byte{0})
		if len(line) == 0 || line[0] == '#' || len(line) > maxPattern {
			continue
		}
		if p, ok := parsePattern(trimSpaces(string(line))); ok {
			out = append(out, p)
		}
	}
	return out
}

// trimSpaces removes the spaces at the end that no backslash protects.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

func parsePattern(text string) (pattern, bool) {
	var p pattern
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		p.negated, text = true, rest
	}
	if rest, ok := strings.CutSuffix(text, "/"); ok {
		p.dirOnly, text = true, rest
	}
	p.baseOnly = !strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return p, false
	}
	if !strings.ContainsAny(text, `*?[\`) {
		p.literal = text
		return p, true
	}
	var ok bool
	p.tokens, ok = parseTokens(text)
	return p, ok
}

// tokenKind says what a token of a pattern matches.
type tokenKind int

const (
	oneOf    tokenKind = iota // a byte of a set
	anyName                   // * : bytes other than a slash
	anyPath                   // ** at the end: any bytes
	anyDirs                   // **/ : nothing, or any bytes and a slash
	oneExact                  // this byte
)

type token struct {
	kind  tokenKind
	exact byte
	set   *[256]bool
}

// parseTokens parses a pattern. One that git would never match is not ok.
func parseTokens(text string) ([]token, bool) {
	var out []token
	// Git compares what comes before the first wildcard on its own, so that
	// ** right after it counts as the start of a pattern.
	first := strings.IndexAny(text, `*?[\`)
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '*':
			end := i
			for end < len(text) && text[end] == '*' {
				end++
			}
			opens := i == first || text[i-1] == '/'
			switch {
			case end-i >= 2 && opens && end == len(text):
				out = append(out, token{kind: anyPath})
			case end-i >= 2 && opens && text[end] == '/':
				out = append(out, token{kind: anyDirs})
				end++
			case end-i >= 2 && opens && strings.HasPrefix(text[end:], `\/`):
				// Git takes an escaped slash for a slash here, but one that
				// stands for no directory is not left out.
				out = append(out, token{kind: anyPath})
			default:
				out = append(out, token{kind: anyName})
			}
			i = end
		case '?':
			set := new([256]bool)
			for b := range set {
				set[b] = b != '/'
			}
			out = append(out, token{kind: oneOf, set: set})
			i++
		case '[':
			set, n, ok := parseSet(text[i:])
			if !ok {
				return nil, false
			}
			set['/'] = false
			out = append(out, token{kind: oneOf, set: set})
			i += n
		case '\\':
			if i++; i == len(text) {
				return nil, false
			}
			out = append(out, token{kind: oneExact, exact: text[i]})
			i++
		default:
			out = append(out, token{kind: oneExact, exact: c})
			i++
		}
	}
	return out, true
}

// parseSet parses a bracket expression at the start of text and returns its
// length.
func parseSet(text string) (*[256]bool, int, bool) {
	set := new([256]bool)
	i := 1
	negated := i < len(text) && (text[i] == '!' || text[i] == '^')
	if negated {
		i++
	}
	prev := -1 // what a range could start with
	for first := true; ; first = false {
		if i >= len(text) {
			return nil, 0, false
		}
		c := text[i]
		switch {
		case c == ']' && !first:
			if negated {
				for b := range set {
					set[b] = !set[b]
				}
			}
			return set, i + 1, true
		case c == '-' && prev >= 0 && i+1 < len(text) && text[i+1] != ']':
			i++
			if text[i] == '\\' {
				if i++; i == len(text) {
					return nil, 0, false
				}
			}
			for b := prev; b <= int(text[i]); b++ {
				set[b] = true
			}
			prev = -1
			i++
		case c == '[' && i+1 < len(text) && text[i+1] == ':':
			end := strings.IndexByte(text[i+2:], ']')
			if end < 0 {
				return nil, 0, false
			}
			if name := text[i+2 : i+2+end]; !strings.HasSuffix(name, ":") || name == "" {
				// Not a class after all: the bracket stands for itself.
				set['['] = true
				prev = '['
				i++
				continue
			} else if !addClass(set, strings.TrimSuffix(name, ":")) {
				return nil, 0, false
			}
			prev = -1
			i += 2 + end + 1
		default:
			if c == '\\' {
				if i++; i == len(text) {
					return nil, 0, false
				}
				c = text[i]
			}
			set[c] = true
			prev = int(c)
			i++
		}
	}
}

// addClass adds a class such as "alpha" of the C locale.
func addClass(set *[256]bool, name string) bool {
	in := func(b byte, low, high byte) bool { return low <= b && b <= high }
	var has func(b byte) bool
	digit := func(b byte) bool { return in(b, '0', '9') }
	upper := func(b byte) bool { return in(b, 'A', 'Z') }
	lower := func(b byte) bool { return in(b, 'a', 'z') }
	graph := func(b byte) bool { return in(b, '!', '~') }
	alnum := func(b byte) bool { return digit(b) || upper(b) || lower(b) }
	switch name {
	case "alnum":
		has = alnum
	case "alpha":
		has = func(b byte) bool { return upper(b) || lower(b) }
	case "blank":
		has = func(b byte) bool { return b == ' ' || b == '\t' }
	case "cntrl":
		has = func(b byte) bool { return b < ' ' || b == 0x7f }
	case "digit":
		has = digit
	case "graph":
		has = graph
	case "lower":
		has = lower
	case "print":
		has = func(b byte) bool { return in(b, ' ', '~') }
	case "punct":
		has = func(b byte) bool { return graph(b) && !alnum(b) }
	case "space":
		has = func(b byte) bool { return b == ' ' || in(b, '\t', '\r') }
	case "upper":
		has = upper
	case "xdigit":
		has = func(b byte) bool { return digit(b) || in(b, 'a', 'f') || in(b, 'A', 'F') }
	default:
		return false
	}
	for b := range set {
		if has(byte(b)) {
			set[b] = true
		}
	}
	return true
}

// matchTokens reports whether the tokens match the whole text. It takes time in
// proportion to the product of their lengths, whatever the pattern: it follows
// all the ways to match at once and never goes back.
func matchTokens(tokens []token, text string) bool {
	var short [128]bool
	at := short[:] // at[j]: the tokens so far match text[:j]
	if len(text)+1 > len(at) {
		at = make([]bool, len(text)+1)
	}
	at = at[:len(text)+1]
	at[0] = true
	for _, t := range tokens {
		alive := false
		switch t.kind {
		case oneExact, oneOf:
			for j := len(text); j > 0; j-- {
				c := text[j-1]
				at[j] = at[j-1] && (t.kind == oneExact && c == t.exact || t.kind == oneOf && t.set[c])
				alive = alive || at[j]
			}
			at[0] = false
		case anyName:
			for j := 0; j <= len(text); j++ {
				at[j] = at[j] || j > 0 && at[j-1] && text[j-1] != '/'
				alive = alive || at[j]
			}
		case anyPath:
			for j := 0; j <= len(text); j++ {
				at[j] = at[j] || j > 0 && at[j-1]
				alive = alive || at[j]
			}
		case anyDirs:
			before := false // a match ends somewhere before
			for j := 0; j <= len(text); j++ {
				was := at[j]
				at[j] = was || j > 0 && before && text[j-1] == '/'
				before = before || was
				alive = alive || at[j]
			}
		}
		if !alive {
			return false
		}
	}
	return at[len(text)]
}
