package shell

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// variables are those of one shell. A variable that is set once, certainly and
// to a literal value is a constant; whether that was so is known at the end of
// the text, since a loop or a function may come back to an earlier place.
type variables struct {
	byName map[string]*variable
	// loose reports that variables are set whose names are not known.
	loose bool
}

type variable struct {
	value    string
	known    bool
	assigned int
	// calls and redirects are the places in the facts where the value is used.
	used      bool
	calls     []int
	redirects []int
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
		}
		if hidesCommand(value) {
			a.hidden = true
		}
	}
	if len(name) == 3 && strings.HasPrefix(name, "PS") && strings.ContainsAny(value, "$`") {
		a.dynamic() // a prompt is expanded whenever it is shown: PS4 by set -x
	}
	if v := s.vars.at(name); constant && lit && v.assigned == 1 {
		v.value, v.known = value, true
	}
	a.word(as.Value, s)
}

// constant returns the value of a parameter if it is a constant.
func (a *analysis) constant(p *syntax.ParamExp, s scope) (string, bool) {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.IsSet || p.Index != nil || p.Slice != nil || p.Repl != nil || p.Names != 0 ||
		p.Exp != nil || len(p.Modifiers) > 0 || p.Flags != nil {
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
	v.used = true
	v.calls = append(v.calls, len(a.command.Calls))
	v.redirects = append(v.redirects, len(a.command.Redirects))
	return v.value, true
}

// settle judges, with the whole text read, what had to be assumed on the way.
func (a *analysis) settle() {
	if a.arithmetic && a.hidden {
		a.dynamic()
	}
	for _, table := range a.tables {
		ifs := table.byName["IFS"] != nil
		for _, v := range table.byName {
			if !v.used || v.assigned == 1 && !table.loose && !ifs {
				continue
			}
			a.dynamic()
			for _, i := range v.calls {
				if i < len(a.command.Calls) {
					a.command.Calls[i].Dynamic = true
				}
			}
			for _, i := range v.redirects {
				if i < len(a.command.Redirects) {
					a.command.Redirects[i].Dynamic = true
				}
			}
		}
	}
	for _, l := range a.late {
		if l.changes != a.dirs.changes {
			a.command.Redirects[l.index].Dynamic = true
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
		a.hidden = true
		if evaluators[name] {
			a.dynamic()
		}
	}
	switch name {
	case "cd", "pushd", "popd", "chdir":
		a.dirs.cd(name, args[1:])
	case "read", "mapfile", "readarray", "getopts", "unset", "wait", "select":
		// The names stand among options and their values: taking a value for
		// a name only makes a constant doubtful.
		a.names(args[1:], s, name != "unset" && name != "wait")
	case "printf":
		if i := slices.IndexFunc(args, func(g arg) bool { return strings.HasPrefix(g.text, "-v") }); i == 1 {
			text := strings.TrimPrefix(args[1].text, "-v")
			if text == "" && len(args) > 2 {
				text = args[2].text
			}
			a.name(text, s)
		} else if len(args) > 1 && args[1].mayBeOption() && !args[1].lit {
			s.vars.loose = true
		}
	case "export", "readonly", "declare", "typeset", "local", "nameref":
		for _, g := range args[1:] {
			switch {
			case strings.HasPrefix(g.text, "-") && (!g.lit || strings.Contains(g.text, "n")), g.many:
				s.vars.loose = true
			default:
				name, _, _ := strings.Cut(g.text, "=")
				s.vars.doubt(strings.TrimSuffix(name, "+"))
			}
		}
	case "let":
		a.arithmetic = true
		s.vars.loose = true
	}
}

// doubt makes sure that a variable is no constant, unless it is set only once
// and that is still to come.
func (v *variables) doubt(name string) {
	if found := v.byName[name]; found != nil && found.known {
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
