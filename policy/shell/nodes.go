package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// word analyses what a word runs while it is expanded.
func (a *analysis) word(w *syntax.Word, s scope) {
	if w == nil {
		return
	}
	a.parts(w.Parts, s)
}

func (a *analysis) parts(parts []syntax.WordPart, s scope) {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit, *syntax.SglQuoted, *syntax.ExtGlob, *syntax.BraceExp:
			// An extended pattern is left as text by the parser.
			if g, ok := p.(*syntax.ExtGlob); ok && strings.ContainsAny(g.Pattern.Value, "$`<>") {
				a.dynamic()
			}
		case *syntax.DblQuoted:
			a.parts(p.Parts, s)
		case *syntax.CmdSubst:
			a.nested(p.Stmts, s.through("substitution").uncertain())
		case *syntax.ProcSubst:
			a.nested(p.Stmts, s.through("substitution").uncertain())
		case *syntax.ArithmExp:
			a.arith(p.X, s)
		case *syntax.ParamExp:
			a.param(p, s)
		default:
			a.problem("holds an expansion that is not known")
		}
	}
}

func (a *analysis) nested(list []*syntax.Stmt, s scope) {
	s.shared = true
	if a.deeper(&s) {
		a.stmts(list, s)
	}
}

func (a *analysis) param(p *syntax.ParamExp, s scope) {
	if p.Short && p.Index == nil || !a.deeper(&s) {
		return
	}
	if p.Index != nil {
		a.arith(p.Index, s)
	}
	if p.Slice != nil {
		a.arith(p.Slice.Offset, s)
		a.arith(p.Slice.Length, s)
	}
	if p.Repl != nil {
		a.word(p.Repl.Orig, s)
		a.word(p.Repl.With, s)
	}
	if p.Excl {
		// What the value names may be an element with a computed index.
		a.arithmetic = true
	}
	if p.Exp == nil {
		return
	}
	a.word(p.Exp.Word, s)
	switch p.Exp.Op {
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		if p.Param != nil {
			a.assigned(p.Param.Value, s)
		}
	case syntax.OtherParamOps:
		// A value that is expanded as a prompt may hold commands.
		if p.Exp.Word != nil && p.Exp.Word.Lit() == "P" {
			a.dynamic()
			if v := s.vars.lookup(p.Param.Value); v != nil {
				for _, value := range v.seen {
					a.expansion(value.text, s)
				}
			}
		}
	default:
	}
}

// arith analyses an arithmetic expression.
func (a *analysis) arith(x syntax.ArithmExpr, s scope) {
	if x == nil || !a.deeper(&s) {
		return
	}
	switch x := x.(type) {
	case *syntax.Word:
		if x == nil {
			return
		}
		if strings.Trim(x.Lit(), "0123456789@*") != "" || x.Lit() == "" {
			a.arithmetic = true
		}
		if x.Lit() == "" {
			// Quoted or put together, it is expanded before it is evaluated.
			if text := a.one(x, s).text; hidesCommand(text) {
				a.hide(text, s)
			}
		}
		a.word(x, s)
	case *syntax.BinaryArithm:
		a.binaryArith(x, s)
	case *syntax.UnaryArithm:
		if w, ok := x.X.(*syntax.Word); ok && (x.Op == syntax.Inc || x.Op == syntax.Dec) {
			a.arithTarget(w, s)
		}
		a.arith(x.X, s)
	case *syntax.ParenArithm:
		a.arith(x.X, s)
	default:
		a.problem("holds arithmetic that is not known")
	}
}

// binaryArith walks down the left side in a loop: it is as deep as the
// expression is long.
func (a *analysis) binaryArith(x *syntax.BinaryArithm, s scope) {
	for !a.stopped {
		switch x.Op {
		case syntax.Assgn, syntax.AddAssgn, syntax.SubAssgn, syntax.MulAssgn, syntax.QuoAssgn, syntax.RemAssgn, syntax.AndAssgn,
			syntax.OrAssgn, syntax.XorAssgn, syntax.ShlAssgn, syntax.ShrAssgn, syntax.AndBoolAssgn, syntax.OrBoolAssgn,
			syntax.XorBoolAssgn, syntax.PowAssgn:
			if w, ok := x.X.(*syntax.Word); ok {
				a.arithTarget(w, s)
			}
		default:
		}
		a.arith(x.Y, s)
		next, ok := x.X.(*syntax.BinaryArithm)
		if !ok {
			a.arith(x.X, s)
			return
		}
		x = next
	}
}

// arithTarget records the variable that arithmetic sets.
func (a *analysis) arithTarget(w *syntax.Word, s scope) {
	if len(w.Parts) == 1 {
		switch p := w.Parts[0].(type) {
		case *syntax.Lit:
			name, _, _ := strings.Cut(p.Value, "[")
			a.assigned(name, s)
			return
		case *syntax.ParamExp:
			if p.Short || p.Param != nil {
				a.assigned(p.Param.Value, s)
				return
			}
		}
	}
	s.vars.loose = true
}

// test analyses the inside of [[ ]].
func (a *analysis) test(x syntax.TestExpr, s scope) {
	if x == nil || !a.deeper(&s) {
		return
	}
	switch x := x.(type) {
	case *syntax.Word:
		a.word(x, s)
	case *syntax.BinaryTest:
		switch x.Op {
		case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
			a.computed(x.X, s)
			a.computed(x.Y, s)
		default:
		}
		a.test(x.X, s)
		a.test(x.Y, s)
	case *syntax.UnaryTest:
		if x.Op == syntax.TsVarSet || x.Op == syntax.TsRefVar {
			a.computed(x.X, s)
		}
		a.test(x.X, s)
	case *syntax.ParenTest:
		a.test(x.X, s)
	default:
		a.problem("holds a test that is not known")
	}
}

// computed records an operand that bash evaluates as arithmetic.
func (a *analysis) computed(x syntax.TestExpr, s scope) {
	a.arithmetic = true
	if w, ok := x.(*syntax.Word); ok {
		if text := a.one(w, s).text; hidesCommand(text) {
			a.hide(text, s)
		}
	}
}

// hidesCommand reports whether a value, evaluated as arithmetic, would run a
// command: bash expands the index of an array element once more.
func hidesCommand(value string) bool {
	return strings.Contains(value, "[") && (strings.Contains(value, "$(") || strings.Contains(value, "`"))
}
