package shell

import (
	"slices"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// unknown stands in a text for a part whose value is not known. A text that
// holds it can still be parsed.
const unknown = "${_}"

// maxBraces and maxWords bound the brace expressions of one word, each of
// which may double the number of arguments, and what they expand to. Beyond
// that the arguments count as not known.
const (
	maxBraces = 32
	maxWords  = 1000
)

// arg is one argument after expansion.
type arg struct {
	// text is the value. Where a part is not known it holds unknown.
	text string
	// lit reports that text is the value.
	lit bool
	// many reports that the argument may be none, or several.
	many bool
	// glob reports that many comes from file names only, each of which starts
	// with what stands before the pattern.
	glob bool
	// home reports that the only unknown part is a home directory in front.
	home bool
	// written is the argument as it is written, if it is not literal.
	written string
	// hidden reports that the argument is not written at all.
	hidden bool
	// origin says what the first unknown part can be, nil if it is not known.
	origin *origin
	// below reports that the argument stands for what is below it as well.
	below *Below
}

// origin holds the values that an unknown part can have. Of a loop's variable
// they hold as long as the loop is the only place that sets it.
type origin struct {
	values []arg
	loop   *variable
}

// among returns the origin of a part that has one of some values, nil for none.
func among(values ...arg) *origin {
	if values == nil {
		return nil
	}
	return &origin{values: values}
}

// prefix returns what is known of the argument's beginning.
func (g arg) prefix() string {
	if g.lit {
		return g.text
	}
	if g.home {
		return "~"
	}
	before, _, _ := strings.Cut(g.text, unknown)
	if g.glob {
		if i := strings.IndexAny(before, `*?[`); i >= 0 {
			before = before[:i]
		}
	}
	return before
}

// mayBeOption reports whether the argument, or one that it expands to, may
// start with a dash.
func (g arg) mayBeOption() bool {
	p := g.prefix()
	if p == "" {
		return !g.lit
	}
	return p[0] == '-' || g.many && !g.glob
}

// show returns the argument for people, who see a literal one as its value.
func (g arg) show() string {
	if g.lit || g.written == "" {
		return g.text
	}
	return g.written
}

// typed returns the argument as one would type it.
func (g arg) typed() string {
	if g.lit {
		return quote(g.text)
	}
	return g.show()
}

func literal(text string) arg { return arg{text: text, lit: true} }

// quote returns text as one would type it.
func quote(text string) string {
	if text == "" {
		return "''"
	}
	for i := range len(text) {
		if !isPlain(text[i]) {
			return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
		}
	}
	return text
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-_./:=,+@%^", c) >= 0 || c >= utf8.RuneSelf
}

// args expands words to arguments.
func (a *analysis) args(words []*syntax.Word, s scope) []arg {
	out := make([]arg, 0, len(words))
	for _, w := range words {
		if text, ok := plainText(w); ok {
			out = append(out, literal(text))
		} else {
			out = a.expandBraces(out, w, s)
		}
	}
	return out
}

func (a *analysis) expandBraces(out []arg, w *syntax.Word, s scope) []arg {
	braces := 0
	for _, p := range w.Parts {
		if l, ok := p.(*syntax.Lit); ok {
			braces += strings.Count(l.Value, "{")
		}
	}
	if braces == 0 {
		return append(out, a.fields(w, s, a.written(w, s))...)
	}
	written := a.written(w, s)
	tooMany := append(slices.Clip(out), arg{text: unknown, many: true, written: written})
	if braces > maxBraces {
		return tooMany
	}
	split := *w
	if !syntax.SplitBraces(&split) {
		return append(out, a.fields(w, s, written)...)
	}
	before := len(out)
	for word, err := range expand.BracesSeq(nil, &split) {
		a.spent += len(written)
		if err != nil || len(out)-before >= maxWords || a.spent > maxSpent {
			return tooMany
		}
		out = append(out, a.fields(word, s, written)...)
	}
	return out
}

// plainText returns the value of a word in which nothing is expanded and which
// is quoted as a whole or not at all: most are so.
func plainText(w *syntax.Word) (string, bool) {
	if len(w.Parts) != 1 {
		return "", false
	}
	switch p := w.Parts[0].(type) {
	case *syntax.Lit:
		return p.Value, !strings.ContainsAny(p.Value, "\\{~*?[")
	case *syntax.SglQuoted:
		return p.Value, !p.Dollar
	case *syntax.DblQuoted:
		if len(p.Parts) != 1 {
			return "", len(p.Parts) == 0
		}
		if l, ok := p.Parts[0].(*syntax.Lit); ok {
			return l.Value, strings.IndexByte(l.Value, '\\') < 0
		}
	}
	return "", false
}

// one expands a word that is not split: a value, a redirection's target.
func (a *analysis) one(w *syntax.Word, s scope) arg {
	if w != nil {
		if text, ok := plainText(w); ok {
			return literal(text)
		}
	}
	fields := a.args([]*syntax.Word{w}, s)
	switch len(fields) {
	case 0:
		return literal("")
	case 1:
		return fields[0]
	}
	written := a.written(w, s)
	return arg{text: unknown, many: true, written: written}
}

// written returns a word as it is written.
func (a *analysis) written(w *syntax.Word, s scope) string {
	from, to := int(w.Pos().Offset()), int(w.End().Offset())
	if from < 0 || to > len(s.src) || from > to {
		return unknown
	}
	return s.src[from:to]
}

// fields is the state of the expansion of one word.
type fields struct {
	out     []arg
	cur     strings.Builder
	started bool
	open    arg // the properties of the argument being built
}

func (f *fields) add(text string) {
	f.started = true
	f.cur.WriteString(text)
}

func (f *fields) addUnknown(many bool) {
	f.add(unknown)
	f.open.lit, f.open.home = false, false
	f.open.origin = nil
	if many {
		f.open.many, f.open.glob = true, false
	}
}

func (f *fields) flush() {
	if f.started {
		f.open.text = f.cur.String()
		f.out = append(f.out, f.open)
	}
	f.cur.Reset()
	f.started = false
	f.open = arg{lit: true, written: f.open.written}
}

// fields expands everything but braces.
func (a *analysis) fields(w *syntax.Word, s scope, written string) []arg {
	f := fields{open: arg{lit: true, written: written}}
	for i, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			f.unquoted(p.Value, i == 0, i+1 < len(w.Parts))
		case *syntax.SglQuoted:
			if p.Dollar {
				f.add(ansiC(p.Value))
			} else {
				f.add(p.Value)
			}
		case *syntax.DblQuoted:
			f.started = true
			a.quoted(&f, p.Parts, s)
		case *syntax.ParamExp:
			if elements, known := a.elements(p, s); known {
				f.list(elements, true)
				continue
			}
			if p.Param != nil && p.Param.Value == "IFS" && isPlainParameter(p) && s.vars.at("IFS").assigned == 0 {
				f.split(" ") // what it holds separates words
				continue
			}
			value, known := a.constant(p, s)
			if !known || strings.ContainsAny(value, `*?[\`) {
				f.parameter(p, true, s)
				continue
			}
			if ifs := s.vars.byName["IFS"]; ifs != nil && len(ifs.seen) > 0 {
				separators := ifs.seen[len(ifs.seen)-1].text
				value = strings.Join(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(separators, r) }), " ")
			}
			f.split(value)
		case *syntax.ArithmExp:
			f.addUnknown(false)
		case *syntax.ProcSubst:
			fresh := f.cur.Len() == 0
			f.addUnknown(false)
			if fresh {
				f.open.origin = among(literal("-")) // a pipe, no file
			}
		case *syntax.CmdSubst:
			f.substitution(p, true)
		default: // extended patterns
			f.addUnknown(true)
		}
	}
	f.flush()
	return f.out
}

// quoted expands what stands within double quotes.
func (a *analysis) quoted(f *fields, parts []syntax.WordPart, s scope) {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			f.add(unescapeQuoted(p.Value, "$`\"\\"))
		case *syntax.ParamExp:
			if elements, known := a.elements(p, s); known {
				f.list(elements, false)
				continue
			}
			if value, known := a.constant(p, s); known {
				f.add(value)
				continue
			}
			f.parameter(p, isList(p), s)
		case *syntax.CmdSubst:
			f.substitution(p, false)
		default:
			f.addUnknown(false)
		}
	}
}

// parameter adds the value of a variable that is not a constant. Of the home
// directory, the working directory and the variable of a loop it is known what
// the value can be.
func (f *fields) parameter(p *syntax.ParamExp, many bool, s scope) {
	fresh := !strings.Contains(f.cur.String(), unknown)
	if !fresh || p.Param == nil || !isPlainParameter(p) {
		f.addUnknown(many)
		if v := s.vars.elementOf(p); v != nil && fresh {
			f.open.origin = among(slices.Concat(v.seen, []arg{{text: unknown}})...)
		}
		if fresh && p.Exp != nil && p.Exp.Word != nil && p.Exp.Word.Lit() != "" {
			switch p.Exp.Op {
			case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AssignUnset, syntax.AssignUnsetOrNull, syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
				// What else it can be is not known.
				f.open.origin = among(literal(p.Exp.Word.Lit()), arg{text: unknown})
			default:
			}
		}
		return
	}
	switch v := s.vars.byName[p.Param.Value]; {
	case v != nil && v.domain != nil:
		f.addUnknown(many)
		f.open.origin = &origin{values: v.domain, loop: v}
	case p.Param.Value == "HOME":
		f.addUnknown(false)
		f.open.origin = among(arg{text: "~", home: true})
	case p.Param.Value == "PWD":
		f.addUnknown(false)
		f.open.origin = among(literal("."))
	default:
		f.addUnknown(many)
		if v := s.vars.lookup(p.Param.Value); v != nil {
			f.open.origin = among(slices.Concat(v.domain, v.seen, []arg{{text: unknown}})...)
		}
	}
}

// list adds the elements of an array or the positional parameters, each of
// which is an argument of its own, and is split if it is not quoted.
func (f *fields) list(elements []arg, split bool) {
	for i, e := range elements {
		if i > 0 {
			f.flush()
		}
		switch {
		case !e.lit:
			f.addUnknown(e.many || split)
			f.open.origin = e.origin
			if !strings.Contains(e.text, unknown) {
				f.open.origin = among(e)
			}
		case split && strings.ContainsAny(e.text, " \t\n"):
			f.split(e.text)
		default:
			f.add(e.text)
		}
	}
}

// isList reports whether a quoted parameter may be several arguments.
func isList(p *syntax.ParamExp) bool {
	if p.Param != nil && p.Param.Value == "@" || p.Names != 0 || p.Excl {
		return true
	}
	if w, ok := p.Index.(*syntax.Word); ok && w.Lit() == "@" {
		return true
	}
	return p.Exp != nil && p.Exp.Word != nil && holdsList(p.Exp.Word.Parts)
}

func holdsList(parts []syntax.WordPart) bool {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.ParamExp:
			if isList(p) {
				return true
			}
		case *syntax.DblQuoted:
			if holdsList(p.Parts) {
				return true
			}
		}
	}
	return false
}

// split adds the value of an unquoted variable, which the shell splits.
func (f *fields) split(value string) {
	for value != "" {
		i := strings.IndexAny(value, " \t\n")
		if i < 0 {
			f.add(value)
			return
		}
		if i > 0 {
			f.add(value[:i])
		}
		f.flush()
		value = strings.TrimLeft(value[i:], " \t\n")
	}
}

// unquoted adds literal text outside quotes: a backslash makes the next
// character literal, patterns and a leading tilde are not literal.
func (f *fields) unquoted(text string, first, more bool) {
	if first && strings.HasPrefix(text, "~") {
		f.open.lit, f.open.home = false, true
	}
	f.started = true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
			if i < len(text) {
				f.cur.WriteByte(text[i])
			}
			continue
		case c == '*' || c == '?' || c == '[' && (more || strings.IndexByte(text[i:], ']') > 0):
			if f.open.lit || f.open.home {
				f.open.glob = true
			}
			f.open.lit, f.open.home, f.open.many = false, false, true
		}
		f.cur.WriteByte(text[i])
	}
}

// unescapeQuoted undoes backslashes before the characters given.
func unescapeQuoted(text, special string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && strings.IndexByte(special, text[i+1]) >= 0 {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
