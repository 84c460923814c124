package shell

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxReplace bounds the strings that stand for unknown text in one call.
const maxReplace = 4

// invocation is what a launcher's arguments say.
type invocation struct {
	// rest is the argument vector, or the operands.
	rest []arg
	// texts and programs are the values of options that are run.
	texts, programs []arg
	// replace are the strings that stand for unknown text.
	replace []string
	// unsure reports that rest may start elsewhere.
	unsure bool
	// quiet reports that nothing is run.
	quiet bool
	// shell reports that a shell is run if there is no command.
	shell bool
	// words reports that rest is an argument vector, not arguments of a shell.
	words bool
}

// invocation reads the arguments of a launcher.
func (a *analysis) invocation(l *launcher, args []arg, s scope) invocation {
	var in invocation
	operands, options := l.operands, true
	for len(args) > 0 && !a.stopped {
		g := args[0]
		switch {
		case options && g.lit && g.text == "--":
			options = false
			args = args[1:]
		case options && g.mayBeOption() && (strings.HasPrefix(g.prefix(), "-") && (g.text != "-" || strings.Contains(l.flags, "-"))):
			in.unsure = in.unsure || g.many
			args = a.readOption(&in, l, args, s)
		case g.many && operands > 0:
			// It may bring options, operands and a command of its own.
			in.unsure = true
			operands--
			args = args[1:]
		case l.assigns && isAssignment(g):
			name, value, _ := strings.Cut(g.text, "=")
			a.assigned(name, s)
			if g.lit && syntax.ValidName(name) {
				s.vars.remember(name, value)
			}
			a.commandVariable(name, arg{text: value, lit: g.lit}, s)
			args = args[1:]
		case operands > 0 && !in.words:
			operands--
			args = args[1:]
		case l.permutes && !in.words:
			in.rest = append(in.rest, g)
			args = args[1:]
		default:
			in.rest = append(in.rest, args...)
			return in
		}
	}
	return in
}

func isAssignment(g arg) bool {
	name, _, ok := strings.Cut(g.prefix(), "=")
	return ok && name != ""
}

// readOption reads the option that args start with, and returns what follows.
func (a *analysis) readOption(in *invocation, l *launcher, args []arg, s scope) []arg {
	g, rest := args[0], args[1:]
	next := func() arg {
		if len(rest) == 0 {
			return literal("")
		}
		v := rest[0]
		rest = rest[1:]
		in.unsure = in.unsure || v.many
		return v
	}
	if long, ok := strings.CutPrefix(g.text, "--"); ok {
		name, text, attached := strings.Cut(long, "=")
		full, takes, known := l.long(name)
		in.unsure = in.unsure || !known
		value := arg{text: text, lit: g.lit}
		if takes && !attached {
			value = next()
		}
		if slices.Contains(l.pairs, full) {
			next()
		}
		return a.meet(in, l, full, value, rest, s)
	}
	if g.text == "-" {
		return rest
	}
	for i := 1; i < len(g.text); i++ {
		c := g.text[i]
		option := g.text[i : i+1]
		attached := arg{text: g.text[i+1:], lit: g.lit}
		switch {
		case strings.IndexByte(l.values, c) >= 0:
			if attached.text == "" {
				attached = next()
			}
			return a.meet(in, l, option, attached, rest, s)
		case strings.IndexByte(l.optional, c) >= 0:
			return a.meet(in, l, option, attached, rest, s)
		case l.digits && '0' <= c && c <= '9':
		case strings.IndexByte(l.flags, c) >= 0 && c != '-':
			rest = a.meet(in, l, option, literal(""), rest, s)
		default:
			in.unsure = true
			return rest
		}
	}
	return rest
}

// meet records an option that was read, with its value.
func (a *analysis) meet(in *invocation, l *launcher, option string, value arg, rest []arg, s scope) []arg {
	in.quiet = in.quiet || slices.Contains(l.quiet, option)
	in.shell = in.shell || slices.Contains(l.shell, option)
	in.words = in.words || slices.Contains(l.words, option)
	if slices.Contains(l.text, option) {
		in.texts = append(in.texts, value)
	}
	if slices.Contains(l.program, option) {
		in.programs = append(in.programs, value)
	}
	if slices.Contains(l.replace, option) {
		if value.text == "" {
			value.text = "{}"
		}
		// The last one counts; the others are kept in case they do not.
		if len(in.replace) < maxReplace {
			in.replace = append(in.replace, value.text)
		}
		in.unsure = in.unsure || !value.lit || len(in.replace) == maxReplace
	}
	if slices.Contains(l.chdir, option) {
		a.dirs.change(value)
	}
	if slices.Contains(l.split, option) {
		words, sure := splitString(value)
		in.unsure = in.unsure || !sure
		a.spent += len(value.text) + len(rest)
		if a.spent > maxSpent {
			a.refuse("too much text within text")
			return nil
		}
		for _, w := range words {
			if w.lit && strings.Contains(w.text, "=") {
				name, value, _ := strings.Cut(w.text, "=")
				if !strings.HasPrefix(name, "-") {
					a.assigned(name, s)
					a.commandVariable(name, arg{text: value, lit: true}, s)
				}
			}
		}
		return append(words, rest...)
	}
	return rest
}

// long finds a long option by its name or by the beginning of it.
func (l *launcher) long(name string) (full string, takes, known bool) {
	if slices.Contains(l.longValues, name) || slices.Contains(l.pairs, name) {
		return name, true, true
	}
	if slices.Contains(l.longFlags, name) {
		return name, false, true
	}
	found := 0
	for _, v := range l.longValues {
		if strings.HasPrefix(v, name) {
			full, takes = v, true
			found++
		}
	}
	for _, f := range l.longFlags {
		if strings.HasPrefix(f, name) {
			full, takes = f, false
			found++
		}
	}
	if found != 1 {
		return name, false, false
	}
	return full, takes, true
}

// splitString splits a text as env -S does. It is not sure of what depends on
// the environment, nor of escapes that it does not know.
func splitString(g arg) (words []arg, sure bool) {
	sure = g.lit
	var cur strings.Builder
	started := false
	lit := g.lit
	flush := func() {
		if started {
			words = append(words, arg{text: cur.String(), lit: lit, written: cur.String()})
		}
		cur.Reset()
		started = false
	}
	var quoted byte
	for i := 0; i < len(g.text); i++ {
		c := g.text[i]
		switch {
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == 0 && (c == '\'' || c == '"'):
			quoted, started = c, true
		case quoted == 0 && strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			flush()
		case quoted == 0 && c == '#' && !started:
			return words, sure
		case c == '$' && quoted != '\'':
			started, sure, lit = true, false, false
			cur.WriteByte(c)
		case c == '\\' && i+1 < len(g.text) && (quoted != '\'' || g.text[i+1] == '\'' || g.text[i+1] == '\\'):
			i++
			switch e := g.text[i]; {
			case e == '_' && quoted == 0:
				flush()
				continue
			case e == '_':
				cur.WriteByte(' ')
			case e == 'c':
				flush()
				return words, sure
			case strings.IndexByte("ntrvf", e) >= 0:
				cur.WriteByte(ansiEscapes[e])
			default:
				cur.WriteByte(e)
			}
			started = true
		default:
			started = true
			cur.WriteByte(c)
		}
	}
	flush()
	return words, sure
}
