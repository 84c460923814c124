package shell

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// added are the arguments that a launcher adds to those that are written.
var added = arg{text: unknown, many: true, hidden: true, written: "..."}

// call records a program that would run, and follows it if it runs others.
func (a *analysis) call(args []arg, s scope) {
	if len(args) > 1 && args[0].lit && args[0].text == "--" {
		args = args[1:] // the end of the options of time
	}
	if len(args) == 0 || !a.deeper(&s) {
		return
	}
	if n := len(s.via); n > 0 && s.via[n-1] == "time" && len(args[0].text) > 1 && args[0].text[0] == '-' {
		// Options of the program of that name, which the shell's own has not.
		l := launchers["time"]
		a.words(l, a.invocation(l, args, s), s)
		return
	}
	if len(a.command.Calls) >= maxCalls {
		a.refuse("runs too many programs")
		return
	}
	size := 0
	for _, g := range args {
		size += len(g.text) + 1
	}
	if a.spent += size; a.spent > maxSpent {
		a.refuse("runs programs with too many arguments")
		return
	}
	c := Call{Argv: make([]string, 0, len(args)), Via: s.via, Effects: []string{}}
	if c.Via == nil {
		c.Via = []string{}
	}
	var text strings.Builder
	text.Grow(size)
	for i, g := range args {
		c.Dynamic = c.Dynamic || !g.lit
		if g.hidden && i > 0 {
			continue
		}
		if i > 0 {
			text.WriteByte(' ')
		}
		c.Argv = append(c.Argv, g.show())
		text.WriteString(g.typed())
	}
	c.Text = text.String()
	var known bool
	c.Name, c.Path, known = program(args[0])
	if !known {
		a.dynamic()
	}
	if c.Name == "" && a.candidates(args, s) {
		return
	}
	if c.Name == "" && args[0].origin == nil {
		a.emptied(args, s)
	}
	at := 0
	// The suffix is that of a program of Windows, which WSL runs.
	name := versionless(strings.TrimSuffix(strings.ToLower(c.Name), ".exe"))
	if sub := subcommanders[name]; sub != nil {
		var unsure bool
		c.Subcommand, at, unsure = sub.subcommand(args)
		if unsure {
			// An option or another subcommand may run any program.
			a.dynamic()
		}
		c.Operand = operand(args, at)
	}
	c.Plain = strings.TrimSuffix(plain(c.Name), ".exe")
	if c.Name == "" && args[0].glob && !strings.Contains(args[0].text, unknown) {
		c.Plain = plain(args[0].text[strings.LastIndexByte(args[0].text, '/')+1:])
	}
	p := &performed{call: &c, args: args, name: name, at: at}
	if c.Name != "" {
		p.effects()
		a.interpreter(p, s)
	}
	a.command.Calls = append(a.command.Calls, c)
	if c.Name == "" {
		return
	}
	if slices.Contains(s.functions, c.Name) && (slices.Contains(s.via, "background") || slices.Contains(s.via, "pipe")) {
		p.effect(destroys) // a function that starts itself never ends
		a.command.Calls[len(a.command.Calls)-1].Effects = c.Effects
	}
	a.function(c.Name, args, s)
	a.files(p, s)
	a.hooks(p, s)
	if a.stopped {
		return
	}
	a.effects(c.Name, args, s)
	a.launch(c.Name, name, args, s)
}

// candidates records a call for each program that an unknown name can be, and
// reports whether there are any.
func (a *analysis) candidates(args []arg, s scope) bool {
	if args[0].origin == nil {
		return false
	}
	found := false
	for _, v := range args[0].values() {
		if v.lit && v.text != "" && v.below == nil && !a.stopped && !strings.ContainsAny(v.text, "*?[") {
			found = true
			v.text, _, _ = strings.Cut(v.text, " ")
			a.call(slices.Concat([]arg{v}, args[1:]), s)
			if n := len(a.command.Calls); n > 0 {
				a.command.Calls[n-1].Dynamic = true
			}
		}
	}
	return found
}

// emptied records a call of what a name is if its unknown parts are empty, as
// variables are that are not set: c${x}url is curl.
func (a *analysis) emptied(args []arg, s scope) {
	name := strings.ReplaceAll(args[0].text, unknown, "")
	if name == "" || name == args[0].text || strings.ContainsAny(name, "*?[") {
		return
	}
	a.call(slices.Concat([]arg{literal(name)}, args[1:]), s)
	if n := len(a.command.Calls); n > 0 {
		a.command.Calls[n-1].Dynamic = true
	}
}

// declared is a function of the text that uses its arguments.
type declared struct {
	body *syntax.Stmt
	src  string
	size int
}

// function follows a call of a function with its arguments. What does not
// depend on them was followed where it is declared.
func (a *analysis) function(name string, args []arg, s scope) {
	f, ok := a.functions[name]
	if !ok || slices.Contains(s.functions, name) {
		return
	}
	a.spent += 4 * f.size // it is read again, and its arguments with it
	if a.spent > maxSpent {
		a.refuse("too much text within text")
		return
	}
	outer, set := s.vars.positional, s.vars.set
	inner := s.through("function").again()
	inner.src = f.src
	inner.functions = slices.Concat(s.functions, []string{name})
	inner.vars.positional, inner.vars.set = args[1:], 1
	a.stmt(f.body, inner)
	s.vars.positional, s.vars.set = outer, set
}

// program returns the name and the path of a program, and whether they are
// certain. The name is certain if all behind the last slash is literal.
func program(g arg) (name, path string, known bool) {
	text := g.text
	if g.many {
		return "", "", false
	}
	trimmed := strings.TrimRight(text, "/")
	i := strings.LastIndexByte(trimmed, '/')
	name = trimmed[i+1:]
	if !g.lit && (i < 0 || strings.Contains(name, "$")) {
		return "", "", false
	}
	if strings.Contains(text, "/") {
		path = g.show()
	}
	return name, path, g.lit || g.home
}

// launch follows a program to those that it runs.
func (a *analysis) launch(name, known string, args []arg, s scope) {
	a.alias(name, args, s)
	if known == "git" {
		a.git(args, s)
	}
	l := launchers[known]
	if l == nil {
		return
	}
	outer := s
	s = s.through(name)
	switch l.form {
	case formShell:
		a.shell(l, args[1:], s)
		return
	case formForeign:
		if len(args) != 2 || args[1].text != "--version" && args[1].text != "--help" {
			a.dynamic()
		}
		return
	case formMarked:
		a.marked(l, args[1:], s)
		return
	case formSource:
		a.dynamic()
		s.vars.loose = true
		a.dirs.lose()
		return
	default:
	}
	in := a.invocation(l, args[1:], s)
	if in.unsure {
		a.dynamic()
	}
	if in.quiet || a.stopped {
		return
	}
	if l.moves {
		a.dirs.lose()
	}
	switch l.form {
	case formWords:
		a.words(l, in, s)
	case formText:
		if known == "eval" {
			a.evaluate(join(in.rest), s)
			for _, g := range in.rest {
				for _, v := range g.values() {
					if !g.lit && v.lit {
						a.evaluate(arg{text: v.text}, s) // one of those that it may be
					}
				}
			}
			return
		}
		if l.each {
			for _, text := range in.rest {
				a.evaluate(text, a.child(s))
			}
			return
		}
		if l.remote {
			if len(in.rest) > 0 {
				a.elsewhere(func(b *analysis) { b.evaluate(join(in.rest), b.child(s)) })
			}
			return
		}
		a.evaluate(join(in.rest), a.child(s))
	case formOption:
		a.option(l, in, s)
	case formParallel:
		a.parallel(in.rest, s)
	case formTrap:
		a.trap(in.rest, s.again())
	case formAlias:
		a.define(in.rest, outer, s)
	default:
	}
}

// child returns the scope of a new shell.
func (a *analysis) child(s scope) scope {
	parent := s.vars
	s.vars = a.variables()
	s.vars.parent = parent
	s.maybe = false
	s.shared = true
	return s
}

// evaluate analyses a command text that may not be wholly known.
func (a *analysis) evaluate(text arg, s scope) {
	if text.lit {
		a.text(text.text, s)
		return
	}
	a.dynamic()
	s.vars.loose = true
	a.dirs.lose()
	// What is known of it still names programs, but proves nothing by itself.
	parsed, problem := a.command.Parsed, a.command.Problem
	a.text(text.text, s)
	if !a.stopped {
		a.command.Parsed, a.command.Problem = parsed, problem
	}
}

// join returns arguments joined by spaces, as eval and watch join them.
func join(args []arg) arg {
	out := arg{lit: true}
	texts := make([]string, len(args))
	for i, g := range args {
		texts[i] = g.text
		out.lit = out.lit && g.lit
	}
	out.text = strings.Join(texts, " ")
	return out
}

// words follows a launcher whose operands are an argument vector.
func (a *analysis) words(l *launcher, in invocation, s scope) {
	rest := in.rest
	for _, program := range in.programs {
		a.elsewhere(func(b *analysis) { b.call([]arg{program}, s) })
	}
	if len(rest) == 0 {
		if l.needs || in.shell {
			a.input(s) // a shell that reads its standard input
		}
		return
	}
	if l.appends {
		s.stdin = nil
		if len(in.replace) > 0 {
			rest = replaced(rest, in.replace, s.feed)
		} else {
			g := added
			g.origin = among(s.feed...)
			rest = append(slices.Clip(rest), g)
		}
		s.feed = nil
	}
	switch {
	case l.single && (len(rest) == 1 || strings.Contains(rest[0].text, " ")):
		a.evaluate(rest[0], a.child(s))
		return
	case l.remote:
		a.elsewhere(func(b *analysis) { b.call(rest, s) })
		return
	}
	a.call(rest, s)
}

// elsewhere follows what runs on another machine or in a container: which
// programs those are is a fact, which files and variables is none of here.
func (a *analysis) elsewhere(follow func(*analysis)) {
	b := &analysis{command: Command{Parsed: true}, parser: a.parser, spent: a.spent}
	follow(b)
	a.parser, a.spent = b.parser, b.spent
	switch {
	case b.stopped:
		a.refuse(*b.command.Problem)
	case len(a.command.Calls)+len(b.command.Calls) > maxCalls:
		a.refuse("runs too many programs")
	default:
		a.command.Calls = append(a.command.Calls, b.command.Calls...)
	}
}

// replaced returns arguments in which a string stands for unknown text, of
// which the values may be known.
func replaced(args []arg, by []string, domain []arg) []arg {
	out := slices.Clone(args)
	for i, g := range out {
		for _, r := range by {
			if r != "" && strings.Contains(g.text, r) {
				out[i].written = g.show()
				if out[i].lit {
					out[i].origin = among(domain...)
				}
				out[i].text = strings.ReplaceAll(out[i].text, r, unknown)
				out[i].lit, out[i].home = false, false
			}
		}
	}
	return out
}

// option follows a launcher that takes a command text as an option.
func (a *analysis) option(l *launcher, in invocation, s scope) {
	for _, p := range in.programs {
		a.dynamic() // it runs under another name
		a.call([]arg{p}, s)
	}
	for _, t := range in.texts {
		a.evaluate(t, a.child(s))
	}
	switch {
	case l.inert || len(in.texts) > 0 && (l.shellArgs || len(in.rest) == 0):
	case l.shellArgs && !in.words:
		a.shell(posixShell, in.rest, s)
	case len(in.rest) > 0:
		a.call(in.rest, s)
	case l.needs:
		a.input(s)
	}
}

// input follows a shell that reads its standard input.
func (a *analysis) input(s scope) {
	a.dynamic()
	if s.stdin != nil {
		a.evaluate(*s.stdin, a.child(s))
	}
}

// marked follows a launcher that takes argument vectors between marks.
func (a *analysis) marked(l *launcher, args []arg, s scope) {
	domain := found(args)
	for i := 0; i < len(args) && !a.stopped; i++ {
		g := args[i]
		if g.many && g.mayBeOption() {
			a.dynamic()
		}
		if !g.lit || !slices.Contains(l.markers, g.text) {
			continue
		}
		end := i + 1
		for end < len(args) && args[end].text != ";" && (args[end].text != "+" || args[end-1].text != "{}") {
			end++
		}
		inner := replaced(args[i+1:end], []string{"{}"}, domain)
		if l.appends && !slices.ContainsFunc(inner, func(g arg) bool { return !g.lit }) {
			g := added
			g.origin = among(domain...)
			inner = append(inner, g)
		}
		if strings.HasSuffix(g.text, "dir") {
			a.dirs.lose()
		}
		a.call(inner, s)
		i = end
	}
}

// shell follows a shell: -c with a text, a script file, or standard input.
func (a *analysis) shell(l *launcher, args []arg, s scope) {
	hasText, stdin := false, false
options:
	for len(args) > 0 {
		g := args[0]
		p := g.prefix()
		switch {
		case !g.lit && (p == "" || g.many) && hasText && !g.many:
			break options
		case !g.lit && g.mayBeOption():
			a.dynamic()
			if p == "" {
				break options
			}
			args = args[1:]
		case g.text == "--" || g.text == "-":
			args = args[1:]
			break options
		case strings.HasPrefix(g.text, "--"):
			name, _, attached := strings.Cut(g.text[2:], "=")
			if slices.Contains(l.quiet, name) {
				return
			}
			takes := slices.Contains(l.longValues, name)
			if takes {
				a.dynamic() // a script to be read first
			} else if !slices.Contains(l.longFlags, name) {
				a.dynamic()
			}
			args = args[1:]
			if takes && !attached && len(args) > 0 {
				args = args[1:]
			}
		case len(g.text) > 1 && (g.text[0] == '-' || g.text[0] == '+'):
			args = args[1:]
			for _, c := range g.text[1:] {
				switch {
				case c == 'c':
					hasText = true
				case c == 's':
					stdin = true
				case strings.ContainsRune(l.values, c):
					if len(args) > 0 {
						if args[0].many {
							a.dynamic()
						}
						args = args[1:]
					}
				case !strings.ContainsRune(l.flags, c):
					a.dynamic()
				}
			}
		default:
			break options
		}
	}
	inner := a.child(s)
	inner.shared = s.shared
	switch {
	case hasText && len(args) == 0:
	case hasText:
		inner.shared = true
		if args[0].many {
			a.dynamic()
		}
		if len(args) > 1 {
			inner.vars.zero, inner.vars.positional, inner.vars.set = &args[1], args[2:], 1
		}
		a.evaluate(args[0], inner)
	case len(args) > 0 && !stdin && !isStream(args[0].text):
		for _, v := range args[0].values() {
			if v.text == "-" || strings.Contains(v.text, unknown) || !v.lit && !v.home {
				a.dynamic()
			}
		}
		a.file(args[0], File{Access: execute, By: s.via[len(s.via)-1]}, s)
	case s.stdin == nil || s.shared:
		a.dynamic()
		if s.stdin != nil {
			a.evaluate(*s.stdin, inner)
		}
	default:
		a.evaluate(*s.stdin, inner)
	}
}

// isStream reports whether a script's path names what the shell has open.
func isStream(path string) bool {
	return strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/") || strings.Contains(path, "/../") || strings.Contains(path, "//")
}

// trap follows the text that a trap runs.
func (a *analysis) trap(rest []arg, s scope) {
	if len(rest) > 0 && rest[0].many {
		a.dynamic()
	}
	if len(rest) < 2 || rest[0].lit && (rest[0].text == "" || rest[0].text == "-") {
		return
	}
	a.evaluate(rest[0], s)
}
