package shell

import (
	"slices"
	"strings"
)

// code is the effect of a program that runs a text in a language of its own.
const code = "code"

// interpreter says how a program that runs programs in a language of its own
// is told which.
type interpreter struct {
	// code are the options whose value is the program, with their dashes: a
	// single letter may stand in a bundle.
	code []string
	// values are the short options, and longValues the long ones, with another
	// value.
	values     string
	longValues []string
	// module are the options after which the program is named elsewhere.
	module []string
	// quiet are the options with which nothing is run.
	quiet []string
	// program says that the first operand is the program itself unless one of
	// file or code is used, and analyze whether such a program is known to touch
	// nothing else.
	program bool
	file    []string
	analyze func(string) language
	// subcommands are those whose operands are no script.
	subcommands []string
	// idle says that without a script nothing is read from standard input.
	idle bool
	// flags are the long options with one dash that have no value.
	flags []string
	// escapes are the texts by which a program leaves a language that is
	// otherwise its own.
	escapes []string
}

// language is what is known of a program in a language of its own.
type language struct {
	// commands are the command texts that it runs, and files those that it
	// opens.
	commands []string
	reads    []string
	writes   []string
	// opaque reports that it may do more than that.
	opaque bool
}

// interpreters are the programs that run a language of their own. It is data.
var interpreters = map[string]*interpreter{
	"python":  {code: []string{"-c"}, values: "WXQ", longValues: []string{"--check-hash-based-pycs"}, module: []string{"-m"}, quiet: []string{"-V", "--version", "-h", "--help"}},
	"pypy":    {code: []string{"-c"}, values: "WXQ", module: []string{"-m"}, quiet: []string{"-V", "--version", "-h", "--help"}},
	"ipython": {code: []string{"-c"}, module: []string{"-m"}, quiet: []string{"--version", "--help"}},
	"perl":    {code: []string{"-e", "-E"}, values: "", quiet: []string{"-v", "-V", "--version", "--help"}},
	"raku":    {code: []string{"-e"}, values: "IM", quiet: []string{"-v", "--version", "--help"}},
	"ruby":    {code: []string{"-e"}, values: "IrCX", quiet: []string{"-v", "--version", "-h", "--help"}},
	"irb":     {code: []string{"-e"}, values: "Ir", quiet: []string{"-v", "--version"}},
	"node": {
		code: []string{"-e", "-p", "--eval", "--print"}, values: "rC", quiet: []string{"-v", "--version", "-h", "--help"},
		longValues: []string{"--require", "--import", "--loader", "--experimental-loader", "--conditions", "--env-file"}, module: []string{"--test", "--run"},
	},
	"nodejs": {code: []string{"-e", "-p", "--eval", "--print"}, values: "rC", longValues: []string{"--require", "--import", "--loader"}, quiet: []string{"-v", "--version"}},
	"bun": {
		code: []string{"-e", "-p", "--eval", "--print"}, values: "r", quiet: []string{"-v", "--version", "-h", "--help"}, longValues: []string{"--preload", "--cwd", "--config"},
		subcommands: []string{"run", "test", "build", "install", "add", "remove", "update", "x", "create", "init", "link", "unlink", "pm", "outdated", "publish", "upgrade", "i", "repl", "exec"}, idle: true,
	},
	"deno": {
		quiet: []string{"-V", "--version", "-h", "--help"}, idle: true,
		subcommands: []string{"run", "test", "fmt", "lint", "check", "task", "compile", "cache", "install", "add", "info", "doc", "bench", "publish", "serve", "upgrade", "eval", "repl"},
	},
	"php":     {code: []string{"-r", "-R", "-B", "-E"}, values: "cdztS", quiet: []string{"-v", "--version", "-h", "--help", "-i", "-m", "-l"}, longValues: []string{"--define"}, module: []string{"-S"}},
	"lua":     {code: []string{"-e"}, values: "l", quiet: []string{"-v"}},
	"luajit":  {code: []string{"-e"}, values: "lj", quiet: []string{"-v"}},
	"r":       {code: []string{"-e"}, values: "fg", longValues: []string{"--file", "--gui", "--encoding"}, quiet: []string{"--version", "--help"}, subcommands: []string{"CMD"}},
	"rscript": {code: []string{"-e"}, quiet: []string{"--version", "--help"}},
	"julia":   {code: []string{"-e", "-E", "--eval", "--print"}, values: "LJtpH", quiet: []string{"-v", "--version", "-h", "--help"}},
	"groovy":  {code: []string{"-e"}, quiet: []string{"-v", "--version"}},
	"scala":   {code: []string{"-e"}, quiet: []string{"-version", "--version"}},
	"elixir":  {code: []string{"-e", "--eval", "--rpc-eval"}, values: "rS", quiet: []string{"-v", "--version"}},
	"erl":     {code: []string{"-eval", "-run", "-s"}, quiet: []string{"-version"}},
	"ghc":     {code: []string{"-e"}, idle: true, values: "o"}, "ghci": {code: []string{"-e"}},
	"guile":  {code: []string{"-c"}, values: "lesL", quiet: []string{"-v", "--version"}},
	"racket": {code: []string{"-e"}, values: "tlpr", quiet: []string{"-v", "--version"}},
	"sbcl":   {code: []string{"--eval"}, longValues: []string{"--load", "--core"}, quiet: []string{"--version", "--help"}},
	"octave": {code: []string{"--eval"}, quiet: []string{"-v", "--version"}},
	"tclsh":  {}, "wish": {}, "expect": {code: []string{"-c"}, values: "f"},
	"osascript": {code: []string{"-e"}, values: "l"},
	"jshell":    {}, "swift": {code: []string{"-e"}, idle: true}, "gnuplot": {code: []string{"-e"}},
	"emacs": {code: []string{"--eval", "-eval", "--execute", "-f", "--funcall"}, idle: true, values: "lLqT"},
	"gdb":   {code: []string{"-ex", "-eval-command", "--eval-command", "-iex"}, values: "xpcd", flags: []string{"-nx", "-nh", "-batch", "-quiet", "-silent", "-tui"}, idle: true},
	"lldb":  {code: []string{"-o", "-O", "--one-line"}, values: "spn", idle: true},
	"ex":    {code: []string{"-c"}, idle: true}, "ed": {idle: true}, "dc": {code: []string{"-e", "--expression"}, values: "f"}, "m4": {values: "DUI"},
	"sqlite3": {program: false, idle: true, escapes: []string{".shell", ".system", ".load", ".import", ".output", ".once", ".read", ".excel", ".save", ".backup", ".open", "load_extension(", "writefile(", "readfile(", "edit("}},
	"psql":    {idle: true, escapes: []string{`\!`, `\copy`, `\o`, `\i`, `\g`, `\w`}},
	"mysql":   {idle: true, escapes: []string{`\!`, "system", "source", `\.`, "tee"}},
	"jq":      {idle: true}, "bc": {idle: true},
	"awk": awkInterpreter, "gawk": awkInterpreter, "mawk": awkInterpreter, "nawk": awkInterpreter, "original-awk": awkInterpreter,
	"sed": sedInterpreter, "gsed": sedInterpreter,
}

var (
	awkInterpreter = &interpreter{
		program: true, code: []string{"-e", "--source"}, file: []string{"-f", "--file", "-E", "--exec", "-i", "--include", "-l", "--load"}, values: "FvfeilEW",
		longValues: []string{"--field-separator", "--assign", "--file", "--source", "--exec", "--include", "--load"}, analyze: awk, idle: true,
		quiet: []string{"--version", "-V", "--help"},
	}
	sedInterpreter = &interpreter{
		program: true, code: []string{"-e", "--expression"}, file: []string{"-f", "--file"}, values: "efl",
		longValues: []string{"--expression", "--file", "--line-length"}, analyze: sed, idle: true, quiet: []string{"--version", "--help"},
	}
)

// codeModules are the modules of Python that run code.
var codeModules = map[string]bool{"code": true, "pdb": true, "timeit": true, "idlelib": true, "asyncio": true, "runpy": true, "trace": true}

// versionless returns the name of a program without the version behind it:
// python3.11 is python.
func versionless(name string) string {
	trimmed := strings.TrimRight(name, "0123456789.-")
	if trimmed == "" || trimmed == name {
		return name
	}
	if _, ok := launchers[name]; ok {
		return name
	}
	if _, ok := interpreters[name]; ok {
		return name
	}
	if _, ok := subcommanders[name]; ok {
		return name
	}
	if _, ok := operations[name]; ok {
		return name
	}
	if _, ok := consequences[name]; ok {
		return name
	}
	return trimmed
}

// interpreter looks for a program in a language of its own among the
// arguments, and for one on standard input.
func (a *analysis) interpreter(p *performed, s scope) {
	l := interpreters[p.name]
	if l == nil {
		return
	}
	in := l.look(p.args[1:])
	switch {
	case in.quiet:
		return
	case p.key() == "deno eval":
		if rest := p.rest(); len(rest) > 0 {
			a.program(l, rest[len(rest)-1], p, s)
		}
		return
	case l.escapes != nil:
		for _, g := range p.args[1:] {
			a.escape(l, g, p, s)
		}
		if s.stdin != nil {
			a.escape(l, *s.stdin, p, s)
		} else if slices.Contains(s.via, "pipe") {
			p.runs(arg{})
		}
		return
	case in.input && (s.stdin == nil || s.shared):
		p.runs(arg{})
		return
	case in.input:
		a.program(l, *s.stdin, p, s)
		for _, t := range in.texts {
			a.program(l, t, p, s)
		}
		return
	case len(in.texts) > 0:
		for _, t := range in.texts {
			a.program(l, t, p, s)
		}
		return
	case in.module:
		rest := p.args[1+in.after:]
		if in.attached != "" {
			rest = slices.Concat([]arg{literal(in.attached)}, rest)
		}
		if len(rest) > 0 && codeModules[rest[0].text] {
			p.runs(arg{})
		} else if len(rest) > 0 && p.call.Name != "" && (l == interpreters["python"] || l == interpreters["pypy"]) {
			p.module = rest
		}
		return
	case p.name == "ed" || p.name == "ex":
		if s.stdin != nil {
			a.embedded(s.stdin.text, p, s)
		}
		return
	case in.script != nil && !isStdin(*in.script):
		return
	case in.script == nil && l.idle:
		return
	case s.stdin != nil && !s.shared:
		a.program(l, *s.stdin, p, s)
	default:
		p.runs(arg{})
	}
}

// escape finds lines by which a program leaves its own language.
func (a *analysis) escape(l *interpreter, g arg, p *performed, s scope) {
	for _, e := range l.escapes {
		if strings.Contains(g.text, e) {
			p.runs(g)
			a.embedded(g.text, p, s)
			return
		}
	}
}

// isStdin reports whether a script is what stands on standard input.
func isStdin(g arg) bool { return g.text == "-" || g.lit && isStream(g.text) }

// told is what an interpreter's arguments say.
type told struct {
	texts         []arg
	module, quiet bool
	script        *arg
	// input reports that the program stands on standard input.
	input bool
	// after is the place behind the option that names a module, and attached
	// the name if it is in the same argument.
	after    int
	attached string
}

// look reads the arguments of an interpreter up to its script.
func (l *interpreter) look(args []arg) told {
	var out told
	file := false
	for i := 0; i < len(args); i++ {
		g := args[i]
		text := g.text
		if len(text) > 1 && strings.HasPrefix(text, "-") && text != "--" {
			if slices.Contains(l.quiet, text) {
				out.quiet = len(out.texts) == 0 && i == 0
				continue
			}
			if slices.Contains(l.flags, text) {
				continue
			}
			name, value, attached := strings.Cut(text, "=")
			if strings.HasPrefix(text, "--") || len(name) > 2 && (slices.Contains(l.code, name) || slices.Contains(l.longValues, name)) {
				if slices.Contains(l.file, name) {
					file = true
					v := arg{text: value, lit: g.lit}
					if !attached && i+1 < len(args) {
						v = args[i+1]
					}
					out.input = out.input || isStdin(v)
				}
				switch {
				case slices.Contains(l.code, name):
					v := arg{text: value, lit: g.lit}
					if !attached && i+1 < len(args) {
						i++
						v = args[i]
					}
					out.texts = append(out.texts, v)
				case slices.Contains(l.module, name):
					out.module = true
				case slices.Contains(l.longValues, name) && !attached:
					i++
				}
				continue
			}
			i = l.bundle(&out, &file, args, i)
			if out.module {
				out.after = i + 1
				return out
			}
			continue
		}
		if text == "--" {
			continue
		}
		if l.program && !file && len(out.texts) == 0 {
			out.texts = append(out.texts, g)
			return out
		}
		if out.script == nil {
			out.script = &args[i]
		}
		if !l.program {
			return out
		}
	}
	return out
}

// bundle reads a bundle of short options, and returns the place of the last
// argument that is a part of it.
func (l *interpreter) bundle(out *told, file *bool, args []arg, i int) int {
	g := args[i]
	for j := 1; j < len(g.text); j++ {
		option := "-" + g.text[j:j+1]
		rest := arg{text: g.text[j+1:], lit: g.lit}
		next := func() arg {
			if rest.text != "" {
				return rest
			}
			if i+1 < len(args) {
				i++
				return args[i]
			}
			return literal("")
		}
		switch {
		case slices.Contains(l.code, option):
			v := next()
			out.texts = append(out.texts, v)
			return i
		case slices.Contains(l.module, option):
			out.module, out.attached = true, rest.text
			return i
		case slices.Contains(l.file, option):
			*file = true
			out.input = out.input || isStdin(next())
			return i
		case strings.IndexByte(l.values, g.text[j]) >= 0:
			next()
			return i
		case (g.text[j] == 'M' || g.text[j] == 'm' || g.text[j] == 'I') && l.takesRest():
			return i
		}
	}
	return i
}

// takesRest reports whether -M, -m and -I take the rest of their argument: it
// does so in Perl, which alone has two options for code.
func (l *interpreter) takesRest() bool {
	return slices.Contains(l.code, "-E") && slices.Contains(l.code, "-e") && l.longValues == nil
}

// program records a program in a language of its own. One that is known to
// touch nothing else is none.
func (a *analysis) program(l *interpreter, text arg, p *performed, s scope) {
	if l.analyze == nil {
		p.runs(text)
		a.embedded(text.text, p, s)
		return
	}
	found := l.analyze(text.text)
	if found.opaque || !text.lit {
		p.runs(text)
		a.embedded(text.text, p, s)
		a.handed(p, s)
	}
	for _, c := range found.commands {
		a.evaluate(literal(c), a.child(s.through(p.call.Name)))
	}
	for _, f := range found.reads {
		a.file(literal(f), File{Access: read, By: p.call.Name}, s)
	}
	for _, f := range found.writes {
		a.file(literal(f), File{Access: write, By: p.call.Name}, s)
	}
}

// handed follows what a program may run that is no part of it: values that it
// is given, and its input.
func (a *analysis) handed(p *performed, s scope) {
	for i, g := range p.args {
		if _, value, ok := strings.Cut(g.text, "="); ok && (strings.HasPrefix(g.text, "-v") || i > 0 && (p.args[i-1].text == "-v" || p.args[i-1].text == "--assign")) {
			a.evaluate(arg{text: value}, a.child(s.through(p.call.Name)))
		}
	}
	if s.stdin != nil {
		a.evaluate(arg{text: s.stdin.text}, a.child(s.through(p.call.Name)))
	}
}

// embedded follows the commands that stand plainly in a program.
func (a *analysis) embedded(text string, p *performed, s scope) {
	a.spent += len(text)
	if a.spent > maxSpent {
		a.refuse("too much text within text")
		return
	}
	if strings.Contains(text, "do shell script ") {
		text = strings.ReplaceAll(text, "do shell script ", "system ") // AppleScript
	}
	for _, command := range embedded(text) {
		// It is no certain fact that it runs, so that it proves nothing.
		a.evaluate(arg{text: command}, a.child(s.through(p.call.Name)))
	}
}

// runs records that the call runs a program in a language of its own.
func (p *performed) runs(text arg) {
	p.effect(code)
	value := ""
	if text.lit {
		value = text.text
	}
	if p.call.Code == nil || *p.call.Code == "" {
		p.call.Code = &value
	}
}

// script records the script of an interpreter as a file.
func (a *analysis) script(l *interpreter, p *performed, s scope) {
	in := l.look(p.args[1:])
	if in.script == nil || isStdin(*in.script) || len(in.texts) > 0 || slices.Contains(l.subcommands, in.script.text) || l.escapes != nil {
		return
	}
	a.file(*in.script, File{Access: execute, By: p.call.Name}, s)
	for _, g := range p.args[1:] {
		if !strings.HasPrefix(g.text, "-") && g.text != in.script.text {
			a.guessed(g, p, s) // what the script is told
		}
	}
}
