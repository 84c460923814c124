package shell

import (
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// variables are those of one shell. A variable that is set once, certainly and
// to a literal value is a constant; whether that was so is known at the end of
// the text, since a loop or a function may come back to an earlier place.
type variables struct {
	byName map[string]*variable
	// loose reports that variables are set whose names are not known.
	loose bool
	// positional are the positional parameters, nil if they are not known, and
	// set counts how often they are.
	positional []arg
	set        int
	// zero is the name that the shell was given.
	zero *arg
	// parent are the variables of the shell that started this one.
	parent *variables
}

type variable struct {
	value    string
	known    bool
	assigned int
	// calls and redirects are the places in the facts where the value is used.
	used      bool
	calls     []int
	redirects []int
	// domain are the values that a loop gives it, and files the places in the
	// facts that depend on it.
	domain []arg
	files  []int
	// list are the elements of an array that is set once.
	list []arg
	// seen are literal values that it may have, among others.
	seen []arg
}

// maxSeen bounds the values that are remembered of one variable.
const maxSeen = 8

// remember records a value that a variable may have.
func (v *variables) remember(name, value string) {
	if at := v.at(name); value != "" && len(at.seen) < maxSeen {
		at.seen = append(at.seen, literal(value))
	}
}

// elementOf returns the variable of which a parameter stands for an element or
// for a value that is computed with, or that it names by another's value; nil
// if there is none.
func (v *variables) elementOf(p *syntax.ParamExp) *variable {
	if p.Param == nil || p.Length || p.Names != 0 {
		return nil
	}
	name := p.Param.Value
	if p.Excl {
		at := v.lookup(name)
		if at == nil || len(at.seen) == 0 {
			return nil
		}
		name = at.seen[len(at.seen)-1].text
	}
	if found := v.lookup(name); found != nil && len(found.seen) > 0 {
		return found
	}
	return nil
}

// lookup returns the variable of a name, of this shell or of one that started
// it, nil if there is none.
func (v *variables) lookup(name string) *variable {
	for depth := 0; v != nil && depth < maxDepth; depth++ {
		if found := v.byName[name]; found != nil && (found.domain != nil || found.seen != nil) {
			return found
		}
		v = v.parent
	}
	return nil
}

// hiddenCommand is a value that would run a command if it were evaluated as
// arithmetic.
type hiddenCommand struct {
	text string
	s    scope
}

// shifting are the variables that have values of their own.
var shifting = map[string]bool{
	"_": true, "RANDOM": true, "SRANDOM": true, "SECONDS": true, "LINENO": true, "HISTCMD": true, "EPOCHSECONDS": true,
	"EPOCHREALTIME": true, "DIRSTACK": true, "FUNCNAME": true, "GROUPS": true, "PPID": true, "UID": true, "EUID": true,
	"PIPESTATUS": true, "PWD": true, "OLDPWD": true, "OPTIND": true, "OPTARG": true, "REPLY": true, "MAPFILE": true, "COPROC": true,
	"IFS": true, "SHELLOPTS": true,
}

// variables returns the variables of a new shell.
func (a *analysis) variables() *variables {
	v := &variables{}
	a.tables = append(a.tables, v)
	return v
}

func (v *variables) at(name string) *variable {
	if v.byName == nil {
		v.byName = map[string]*variable{}
	}
	if v.byName[name] == nil {
		v.byName[name] = &variable{}
	}
	return v.byName[name]
}

// assigned records that a variable is set to something.
func (a *analysis) assigned(name string, s scope) {
	if !syntax.ValidName(name) {
		return
	}
	if a.seen == nil {
		a.seen = map[string]bool{}
	}
	if !a.seen[name] {
		a.seen[name] = true
		a.command.Assigns = append(a.command.Assigns, name)
	}
	s.vars.at(name).assigned++
}

// assign analyses an assignment. It makes a constant if it is plain: of the
// shell itself, without attributes.
func (a *analysis) assign(as *syntax.Assign, s scope, plain bool) {
	name := as.Name.Value
	a.assigned(name, s)
	if as.Index != nil {
		a.arith(as.Index, s)
	}
	if as.Array != nil {
		for _, e := range as.Array.Elems {
			a.arith(e.Index, s)
			a.word(e.Value, s)
			if e.Value != nil {
				if value := a.one(e.Value, s); value.lit {
					s.vars.remember(name, value.text)
				}
			}
		}
		if plain && !s.maybe && !as.Append && as.Index == nil && s.vars.at(name).assigned == 1 && !shifting[name] && !strings.HasPrefix(name, "BASH") {
			s.vars.at(name).list = a.arrayOf(as.Array, s)
		}
	}
	constant := plain && !s.maybe && !as.Append && as.Index == nil && as.Array == nil && !shifting[name] && !strings.HasPrefix(name, "BASH")
	value, lit := "", true
	if as.Value != nil {
		// A value is neither split nor expanded to file names.
		fields := a.fields(as.Value, s, "")
		switch {
		case len(fields) == 1:
			value, lit = fields[0].text, fields[0].lit && !strings.Contains(fields[0].text, ":~")
		case len(fields) > 1:
			lit = false
			var texts []string
			for _, f := range fields {
				if f.lit {
					texts = append(texts, f.text)
				}
			}
			s.vars.remember(name, strings.Join(texts, " "))
		}
		if hidesCommand(value) {
			a.hide(value, s)
		}
		a.commandVariable(name, arg{text: value, lit: lit}, s)
	}
	if name == "BASH_CMDS" || name == "BASH_ALIASES" {
		a.tableOfCommands(as, s)
	}
	if lit && as.Array == nil {
		s.vars.remember(name, value)
	}
	if v := s.vars.at(name); constant && lit && v.assigned == 1 {
		v.value, v.known = value, true
	}
	a.word(as.Value, s)
}

func isPlainParameter(p *syntax.ParamExp) bool {
	return !p.Excl && !p.Length && !p.Width && !p.IsSet && p.Index == nil && p.Slice == nil && p.Repl == nil && p.Names == 0 &&
		p.Exp == nil && len(p.Modifiers) == 0 && p.Flags == nil
}

// elementCost is what an element counts besides its text: it takes memory even
// if it is empty.
const elementCost = 64

// elements returns the elements of an array that is a constant, or the
// positional parameters, if the parameter stands for them.
func (a *analysis) elements(p *syntax.ParamExp, s scope) ([]arg, bool) {
	if a.stopped || p.Param == nil || p.Excl || p.Length || p.Slice != nil || p.Repl != nil || p.Exp != nil || p.Names != 0 {
		return nil, false
	}
	list, name := s.vars.positional, p.Param.Value
	var index string
	switch {
	case name == "0" && p.Index == nil:
		if s.vars.zero == nil {
			return nil, false
		}
		return []arg{*s.vars.zero}, true
	case p.Index != nil:
		w, ok := p.Index.(*syntax.Word)
		v := s.vars.byName[name]
		if !ok || v == nil || v.list == nil || v.assigned != 1 || s.vars.loose {
			return nil, false
		}
		list, index = v.list, w.Lit()
		v.use(a)
	case list == nil || s.vars.set > 1:
		return nil, false
	case name == "@" || name == "*":
		index = "@"
	default:
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 {
			return nil, false
		}
		index = strconv.Itoa(n - 1)
	}
	for _, e := range list {
		a.spent += len(e.text) + elementCost
	}
	if a.spent > maxSpent {
		a.refuse("expands to too much text")
		return nil, false
	}
	if index == "@" || index == "*" {
		return list, true
	}
	n, err := strconv.Atoi(index)
	if err != nil || n < 0 || n >= len(list) {
		return nil, err == nil && n >= 0
	}
	return list[n : n+1], true
}

// use records that the value is used for what comes next in the facts.
func (v *variable) use(a *analysis) {
	v.used = true
	v.calls = append(v.calls, len(a.command.Calls))
	v.redirects = append(v.redirects, len(a.command.Redirects))
}

// constant returns the value of a parameter if it is a constant.
func (a *analysis) constant(p *syntax.ParamExp, s scope) (string, bool) {
	if p.Param == nil || !isPlainParameter(p) && !isPure(p) {
		return "", false
	}
	v := s.vars.byName[p.Param.Value]
	if v == nil || !v.known || v.assigned != 1 || s.vars.loose {
		return "", false
	}
	a.spent += len(v.value)
	if a.spent > maxSpent {
		a.refuse("expands to too much text")
		return "", false
	}
	v.use(a)
	if isPlainParameter(p) {
		return v.value, true
	}
	if len(v.value) > maxComputed || p.End().Offset()-p.Pos().Offset() > maxComputed {
		return "", false
	}
	env := expand.FuncEnviron(func(name string) string {
		if name == p.Param.Value {
			return v.value
		}
		return ""
	})
	text, err := expand.Literal(&expand.Config{Env: env}, &syntax.Word{Parts: []syntax.WordPart{p}})
	return text, err == nil
}

// arrayOf returns the elements of an array, nil if they do not follow each
// other.
func (a *analysis) arrayOf(x *syntax.ArrayExpr, s scope) []arg {
	words := make([]*syntax.Word, 0, len(x.Elems))
	for _, e := range x.Elems {
		if e.Index != nil || e.Value == nil {
			return nil
		}
		words = append(words, e.Value)
	}
	return a.args(words, s)
}

// maxComputed bounds the values that are computed with: a replacement may be
// as long for each character.
const maxComputed = 256

// isPure reports whether an expansion computes its value from nothing but the
// parameter's value and literal text.
func isPure(p *syntax.ParamExp) bool {
	if p.Excl || p.Length || p.Width || p.IsSet || p.Index != nil || p.Names != 0 || len(p.Modifiers) > 0 || p.Flags != nil {
		return false
	}
	isNumber := func(x syntax.ArithmExpr) bool {
		w, ok := x.(*syntax.Word)
		return x == nil || ok && w.Lit() != "" && strings.Trim(w.Lit(), "0123456789") == ""
	}
	isText := func(w *syntax.Word) bool { return w == nil || len(w.Parts) == 0 || w.Lit() != "" }
	switch {
	case p.Slice != nil:
		return isNumber(p.Slice.Offset) && isNumber(p.Slice.Length)
	case p.Repl != nil:
		return isText(p.Repl.Orig) && isText(p.Repl.With)
	case p.Exp != nil:
		switch p.Exp.Op {
		case syntax.RemSmallPrefix, syntax.RemLargePrefix, syntax.RemSmallSuffix, syntax.RemLargeSuffix, syntax.UpperFirst, syntax.UpperAll,
			syntax.LowerFirst, syntax.LowerAll, syntax.DefaultUnset, syntax.DefaultUnsetOrNull:
			return isText(p.Exp.Word)
		default:
		}
	}
	return false
}

// hide records a value that arithmetic would run a command of.
func (a *analysis) hide(text string, s scope) {
	a.hidden = true
	if len(a.values) < maxCalls {
		a.values = append(a.values, hiddenCommand{text, s})
	}
}

// expansion analyses the commands that the expansion of a text runs.
func (a *analysis) expansion(text string, s scope) {
	s.vars = a.variables()
	a.evaluate(arg{text: "[[ -n \"" + strings.ReplaceAll(text, `"`, "") + "\" ]]"}, s.again())
}

// commandVariables are the variables whose value is a command text, which the
// shell or a program that it starts runs.
var commandVariables = map[string]bool{
	"PROMPT_COMMAND": true, "GIT_SSH_COMMAND": true, "GIT_SSH": true, "GIT_PAGER": true, "GIT_EDITOR": true, "GIT_SEQUENCE_EDITOR": true,
	"GIT_EXTERNAL_DIFF": true, "GIT_PROXY_COMMAND": true, "GIT_ASKPASS": true, "SSH_ASKPASS": true, "PAGER": true, "MANPAGER": true,
	"EDITOR": true, "VISUAL": true, "FCEDIT": true, "BROWSER": true, "RSYNC_RSH": true, "TAR_OPTIONS": true, "LESSOPEN": true,
	"LESSCLOSE": true, "RUSTC_WRAPPER": true, "RUSTC_WORKSPACE_WRAPPER": true, "RUSTC": true, "CC": true, "CXX": true, "MAKEFLAGS": true,
	"SHELL": true, "SUDO_ASKPASS": true, "FZF_DEFAULT_COMMAND": true, "RSYNC_CONNECT_PROG": true, "CVS_RSH": true, "CARGO_BUILD_RUSTC_WRAPPER": true,
}

// commandVariable follows the value of a variable that holds a command.
func (a *analysis) commandVariable(name string, value arg, s scope) {
	if len(name) == 3 && strings.HasPrefix(name, "PS") && strings.ContainsAny(value.text, "$`") {
		a.dynamic() // a prompt is expanded whenever it is shown: PS4 by set -x
		a.expansion(value.text, s.through(name))
		return
	}
	if strings.HasPrefix(name, "BASH_FUNC_") {
		a.dynamic() // a function that a shell takes over
		a.evaluate(arg{text: "f " + value.text}, a.child(s.through(name)))
		return
	}
	// CARGO_TARGET_<TRIPLE>_RUNNER and _LINKER are those of one platform.
	target := strings.HasPrefix(name, "CARGO_TARGET_") && (strings.HasSuffix(name, "_RUNNER") || strings.HasSuffix(name, "_LINKER"))
	if !commandVariables[name] && !target || value.text == "" {
		return
	}
	inner := a.child(s.through(name))
	inner.maybe, inner.replayed = true, true
	text := strings.TrimPrefix(value.text, "|")
	if name == "MAKEFLAGS" || name == "TAR_OPTIONS" {
		program := map[string]string{"MAKEFLAGS": "make ", "TAR_OPTIONS": "tar "}[name]
		text = program + text
	}
	a.evaluate(arg{text: text, lit: value.lit}, inner)
}

// tableOfCommands follows what is put into the shell's own tables of programs
// and aliases.
func (a *analysis) tableOfCommands(as *syntax.Assign, s scope) {
	a.dynamic()
	words := []*syntax.Word{as.Value}
	if as.Array != nil {
		words = nil
		for _, e := range as.Array.Elems {
			words = append(words, e.Value)
		}
	}
	for _, w := range words {
		if w != nil {
			program := a.one(w, s)
			inner := a.child(s.through(as.Name.Value).again())
			if program.lit {
				a.evaluate(program, inner)
			} else {
				a.call([]arg{program}, inner)
			}
		}
	}
}

// evaluators are the builtins that evaluate an array index in an argument.
var evaluators = map[string]bool{
	"test": true, "[": true, "unset": true, "printf": true, "read": true, "declare": true, "typeset": true, "local": true, "export": true,
	"readonly": true, "let": true, "wait": true, "getopts": true, "mapfile": true, "readarray": true,
}

// effects records what a builtin does to variables and to the directory.
func (a *analysis) effects(name string, args []arg, s scope) {
	for _, g := range args[1:] {
		if !hidesCommand(g.text) {
			continue
		}
		a.hide(g.text, s)
		if evaluators[name] {
			a.dynamic()
			a.expansion(g.text, s)
		}
	}
	switch name {
	case "cd", "pushd", "popd", "chdir":
		a.dirs.cd(name, args[1:])
	case "read", "mapfile", "readarray", "getopts", "unset", "wait", "select":
		// The names stand among options and their values: taking a value for
		// a name only makes a constant doubtful.
		a.names(args[1:], s, name != "unset" && name != "wait")
		if s.stdin != nil && s.stdin.lit {
			for _, g := range args[1:] {
				if syntax.ValidName(g.text) {
					s.vars.remember(g.text, strings.TrimSpace(s.stdin.text))
				}
			}
		}
	case "printf":
		if i := slices.IndexFunc(args, func(g arg) bool { return strings.HasPrefix(g.text, "-v") }); i == 1 {
			text := strings.TrimPrefix(args[1].text, "-v")
			if text == "" && len(args) > 2 {
				text = args[2].text
			}
			a.name(text, s)
			if last := args[len(args)-1]; last.lit && syntax.ValidName(text) {
				s.vars.remember(text, last.text)
			}
			if values := a.printfValues(args, text); values != "" && syntax.ValidName(text) {
				s.vars.remember(text, values)
			}
		} else if len(args) > 1 && args[1].mayBeOption() && !args[1].lit {
			s.vars.loose = true
		}
	case "export", "readonly", "declare", "typeset", "local", "nameref":
		for _, g := range args[1:] {
			switch {
			case strings.HasPrefix(g.text, "-") && strings.Contains(g.text, "i"):
				a.arithmetic = true // the values are evaluated
				s.vars.loose = s.vars.loose || strings.Contains(g.text, "n")
			case strings.HasPrefix(g.text, "-") && (!g.lit || strings.Contains(g.text, "n")), g.many:
				s.vars.loose = true
			default:
				name, _, _ := strings.Cut(g.text, "=")
				s.vars.doubt(strings.TrimSuffix(name, "+"))
			}
		}
	case "set":
		a.positional(args[1:], s)
	case "shift":
		s.vars.set = 2
	case "let":
		a.arithmetic = true
		s.vars.loose = true
	}
}

// printfValues returns what printf -v puts into a variable, "" if that is not
// known.
func (a *analysis) printfValues(args []arg, name string) string {
	var words []string
	for i, g := range args[1:] {
		switch {
		case !g.lit:
			return ""
		case len(words) > 0 || i > 1 || !strings.HasPrefix(g.text, "-v") && g.text != name:
			words = append(words, g.text)
		}
	}
	if len(words) < 2 {
		return ""
	}
	text, _ := formatted(words[0], words[1:])
	return text
}

// positional records that the positional parameters are set.
func (a *analysis) positional(args []arg, s scope) {
	for i, g := range args {
		switch {
		case g.lit && g.text == "--":
			s.vars.set++
			s.vars.positional = args[i+1:]
			if s.maybe {
				s.vars.set++
			}
			return
		case !g.lit || g.text == "" || g.text[0] != '-' && g.text[0] != '+':
			s.vars.set = 2
			return
		case g.text == "-o" || g.text == "+o":
			return
		}
	}
}

// doubt makes sure that a variable is no constant, unless it is set only once
// and that is still to come.
func (v *variables) doubt(name string) {
	name, _, _ = strings.Cut(name, "[")
	if found := v.byName[name]; found != nil && (found.known || found.list != nil || found.domain != nil) {
		found.assigned++
	}
}

// names records the variables that a builtin sets.
func (a *analysis) names(args []arg, s scope, sets bool) {
	for _, g := range args {
		switch {
		case !g.lit:
			s.vars.loose = true
		case sets:
			a.name(g.text, s)
		default:
			s.vars.doubt(g.text)
		}
	}
}

func (a *analysis) name(text string, s scope) {
	text, _, _ = strings.Cut(text, "[")
	if text == "" || strings.Contains(text, unknown) {
		s.vars.loose = true
		return
	}
	a.assigned(text, s)
}
