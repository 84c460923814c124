package shell

import (
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

func (a *analysis) stmts(list []*syntax.Stmt, s scope) {
	for _, stmt := range list {
		if a.stopped {
			return
		}
		a.stmt(stmt, s)
	}
}

// stmt analyses one statement: its redirections, which the shell opens first,
// and its command.
func (a *analysis) stmt(stmt *syntax.Stmt, s scope) {
	if stmt == nil || !a.deeper(&s) {
		return
	}
	if stmt.Background || stmt.Coprocess || stmt.Disown {
		s = s.through("background").uncertain()
	}
	outer := s
	_, simple := stmt.Cmd.(*syntax.CallExpr)
	calls, redirects, files := len(a.command.Calls), len(a.command.Redirects), len(a.command.Files)
	a.redirects(stmt.Redirs, &s, !simple)
	switch c := stmt.Cmd.(type) {
	case nil:
	case *syntax.CallExpr:
		a.simple(c, s)
		a.remember(stmt, calls, redirects, files, s)
	case *syntax.BinaryCmd:
		a.binary(c, s)
	case *syntax.Block:
		a.stmts(c.Stmts, s)
	case *syntax.Subshell:
		if len(c.Stmts) == 0 {
			a.problem("holds an empty subshell") // the parser is too kind
		}
		a.stmts(c.Stmts, s.through("subshell").uncertain())
	case *syntax.IfClause:
		a.ifClause(c, s)
	case *syntax.WhileClause:
		a.stmts(c.Cond, s.again())
		a.stmts(c.Do, s.again())
	case *syntax.ForClause:
		a.forClause(c, s)
	case *syntax.CaseClause:
		a.word(c.Word, s)
		for _, item := range c.Items {
			for _, w := range item.Patterns {
				a.word(w, s)
			}
			a.stmts(item.Stmts, s.uncertain())
		}
	case *syntax.FuncDecl:
		// The parser takes functions that bash does not.
		if c.Name == nil || c.Body == nil || !isCompound(c.Body.Cmd) {
			a.problem("holds a function without a name or without a compound command")
		}
		inner := s.through("function").again()
		if c.Name != nil {
			inner.functions = slices.Concat(s.functions, []string{c.Name.Value})
			a.declareFunction(c, s)
		}
		a.stmt(c.Body, inner)
	case *syntax.TimeClause:
		a.stmt(c.Stmt, s.through("time"))
	case *syntax.CoprocClause:
		a.word(c.Name, s)
		if c.Name != nil {
			a.assigned(c.Name.Lit(), s)
		}
		a.stmt(c.Stmt, s.through("background").uncertain())
	case *syntax.DeclClause:
		a.declare(c, s)
	case *syntax.ArithmCmd:
		a.arith(c.X, s)
	case *syntax.LetClause:
		for _, x := range c.Exprs {
			a.arith(x, s)
		}
	case *syntax.TestClause:
		a.test(c.X, s)
	default:
		a.problem("holds a construct that is not known")
	}
	a.redirectWords(stmt.Redirs, outer)
}

// declareFunction remembers a function that uses its arguments.
func (a *analysis) declareFunction(c *syntax.FuncDecl, s scope) {
	from, to := int(c.Pos().Offset()), int(c.End().Offset())
	if from < 0 || to > len(s.src) || from > to || to-from > 64<<10 || c.Body == nil {
		return
	}
	text := s.src[from:to]
	for _, use := range []string{"$@", "$*", "${@", "${*", "$1", "${1", "$2", "${2", "$3"} {
		if strings.Contains(text, use) {
			if a.functions == nil {
				a.functions = map[string]declared{}
			}
			a.functions[c.Name.Value] = declared{c.Body, s.src, len(text)}
			return
		}
	}
}

// printedEscapes undoes the escapes that make lines of what is printed.
var printedEscapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t")

// prints returns what a stage of a pipeline, which is the calls since a place,
// writes, if it is a text that stands in the command.
func (a *analysis) prints(stmt *syntax.Stmt, since int, s scope) (arg, bool) {
	if len(a.command.Calls) <= since || stmt == nil {
		return arg{}, false
	}
	c := &a.command.Calls[since]
	if _, simple := stmt.Cmd.(*syntax.CallExpr); !simple {
		return arg{}, false
	}
	switch c.Name {
	case "echo", "printf":
		words := c.Argv[1:]
		for len(words) > 0 && strings.HasPrefix(words[0], "-") {
			words = words[1:]
		}
		if len(words) == 0 || c.Dynamic {
			return arg{}, false
		}
		if c.Name == "printf" {
			if strings.Contains(words[0], "%") {
				if text, known := formatted(words[0], words[1:]); known {
					return literal(text + "\n"), true
				}
			} else if strings.Contains(words[0], `\`) {
				return literal(ansiC(words[0]) + "\n"), true
			}
		} else if c.has("-e") {
			return literal(ansiC(strings.Join(words, " ")) + "\n"), true
		}
		return literal(printedEscapes.Replace(strings.Join(words, " ")) + "\n"), true
	case "cat", "tee":
		for _, r := range stmt.Redirs {
			switch r.Op {
			case syntax.Hdoc, syntax.DashHdoc:
				return a.heredoc(r, s), true
			case syntax.WordHdoc:
				return a.hereString(r.Word, s), true
			default:
			}
		}
		if s.stdin != nil {
			return *s.stdin, true
		}
	}
	return arg{}, false
}

// remember records the text that a simple command writes into a file: it may
// be run afterwards.
func (a *analysis) remember(stmt *syntax.Stmt, calls, redirects, files int, s scope) {
	text, known := a.prints(stmt, calls, s)
	if !known {
		return
	}
	keep := func(name string) {
		if a.scripts == nil {
			a.scripts = map[string]arg{}
		}
		a.spent += len(text.text)
		a.scripts[path.Clean(name)] = text
	}
	for _, r := range a.command.Redirects[redirects:] {
		if r.Access != "read" && !r.Dynamic {
			keep(r.Target)
		}
	}
	for _, f := range a.command.Files[files:] {
		if f.Access == write && !f.Dynamic {
			keep(f.Path)
		}
	}
}

// isCompound reports whether bash takes a command for the body of a function.
func isCompound(c syntax.Command) bool {
	switch c.(type) {
	case *syntax.Block, *syntax.Subshell, *syntax.IfClause, *syntax.WhileClause, *syntax.ForClause, *syntax.CaseClause, *syntax.ArithmCmd,
		*syntax.TestClause:
		return true
	}
	return false
}

// binary analyses a list or a pipeline. The parser nests them to the left, as
// deep as they are long.
func (a *analysis) binary(c *syntax.BinaryCmd, s scope) {
	isPipe := func(op syntax.BinCmdOperator) bool { return op == syntax.Pipe || op == syntax.PipeAll }
	pipe := isPipe(c.Op)
	rest := []*syntax.Stmt{c.Y}
	first := c.X
	for {
		next, ok := first.Cmd.(*syntax.BinaryCmd)
		if !ok || len(first.Redirs) > 0 || first.Background || isPipe(next.Op) != pipe {
			break
		}
		rest = append(rest, next.Y)
		first = next.X
	}
	if pipe {
		s = s.through("pipe").uncertain()
	}
	calls := len(a.command.Calls)
	a.stmt(first, s)
	var feed []arg
	previous := first
	for i := len(rest) - 1; i >= 0 && !a.stopped; i-- {
		inner := s.uncertain()
		if pipe {
			inner.stdin = nil
			if text, known := a.prints(previous, calls, s); known {
				inner.stdin, inner.shared = &text, true
			}
			previous = rest[i]
			feed = a.listed(feed, calls)
			inner.feed = feed
			calls = len(a.command.Calls)
		}
		a.stmt(rest[i], inner)
	}
}

func (a *analysis) ifClause(c *syntax.IfClause, s scope) {
	for first := true; c != nil; c, first = c.Else, false {
		if first {
			a.stmts(c.Cond, s)
		} else {
			a.stmts(c.Cond, s.uncertain())
		}
		a.stmts(c.Then, s.uncertain())
	}
}

func (a *analysis) forClause(c *syntax.ForClause, s scope) {
	switch loop := c.Loop.(type) {
	case *syntax.WordIter:
		if loop.Name != nil {
			a.assigned(loop.Name.Value, s)
			if syntax.ValidName(loop.Name.Value) {
				s.vars.at(loop.Name.Value).domain = a.domain(loop.Items, s)
			}
		}
		for _, w := range loop.Items {
			a.word(w, s)
		}
	case *syntax.CStyleLoop:
		a.arith(loop.Init, s)
		a.arith(loop.Cond, s)
		a.arith(loop.Post, s)
	}
	a.stmts(c.Do, s.again())
}

// maxDomain bounds the values that are followed of one variable.
const maxDomain = 32

// domain returns the values that a loop over words has, nil if one of them is
// not known.
func (a *analysis) domain(items []*syntax.Word, s scope) []arg {
	if len(items) == 0 || len(items) > maxDomain {
		return nil
	}
	values := a.args(items, s)
	for _, v := range values {
		if len(values) > maxDomain || !v.lit && (strings.Contains(v.text, unknown) || !v.home && !v.glob) {
			return nil
		}
	}
	return values
}

// reserved are the words that the parser takes for commands, and bash does not.
var reserved = map[string]bool{"in": true, "then": true, "else": true, "elif": true, "fi": true, "do": true, "done": true, "esac": true, "}": true}

// simple analyses a simple command: assignments and words.
func (a *analysis) simple(c *syntax.CallExpr, s scope) {
	for _, as := range c.Assigns {
		a.assign(as, s, len(c.Args) == 0)
	}
	if len(c.Args) == 0 {
		return
	}
	if word := c.Args[0].Lit(); reserved[word] {
		a.problem("holds the word " + word + " where a command should be")
	}
	args := a.args(c.Args, s)
	if a.stopped {
		return
	}
	a.call(args, s)
	for _, w := range c.Args {
		a.word(w, s)
	}
}

// declare analyses export, declare, local, readonly, typeset and nameref,
// which the parser knows as syntax.
func (a *analysis) declare(c *syntax.DeclClause, s scope) {
	args := []arg{literal(c.Variant.Value)}
	options := false
	var names []string
	for _, as := range c.Args {
		switch {
		case as.Naked && as.Name == nil:
			more := a.args([]*syntax.Word{as.Value}, s)
			args = append(args, more...)
			options = true
			for _, g := range more {
				// Quoted or computed, it is an assignment all the same.
				if name, _, ok := strings.Cut(g.text, "="); ok && syntax.ValidName(name) {
					names = append(names, name)
				} else if !g.lit {
					s.vars.loose = true
				}
			}
		case as.Naked:
			args = append(args, literal(as.Name.Value))
		default:
			args = append(args, a.assignArg(as, s))
		}
	}
	plain := !options && (c.Variant.Value == "export" || c.Variant.Value == "readonly" || c.Variant.Value == "declare")
	a.call(args, s)
	for _, as := range c.Args {
		switch {
		case as.Name == nil:
			a.word(as.Value, s)
		case as.Naked:
			a.assigned(as.Name.Value, s)
		default:
			a.assign(as, s, plain)
		}
	}
	for _, name := range names {
		a.assigned(name, s)
	}
}

// assignArg returns an assignment as the argument that it is to declare.
func (a *analysis) assignArg(as *syntax.Assign, s scope) arg {
	from, to := int(as.Pos().Offset()), int(as.End().Offset())
	written := unknown
	if 0 <= from && from <= to && to <= len(s.src) {
		written = s.src[from:to]
	}
	if as.Index == nil && as.Array == nil && !as.Append {
		value := literal("")
		if as.Value != nil {
			value = a.one(as.Value, s)
		}
		if value.lit {
			return literal(as.Name.Value + "=" + value.text)
		}
	}
	return arg{text: as.Name.Value + "=" + unknown, written: written}
}
