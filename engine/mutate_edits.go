package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// edit is one change to a rule.
type edit struct {
	kind              string
	at                *ast.Location
	original, mutated string
	// head says that it changes the head of the rule that stands at of.
	head  bool
	of    *ast.Location
	apply func()
}

// edits lists the changes to a rule of a module. The list depends on nothing
// but the rule, so that the same index is the same change in a copy.
func edits(m *ast.Module, i int) []edit {
	rule := m.Rules[i]
	l := &editList{}
	if rule.Default {
		l.add(edit{kind: "rule", at: rule.Location, original: headText(rule), mutated: "(removed)", head: true, of: rule.Location, apply: func() {
			m.Rules = slices.Delete(m.Rules, i, i+1)
		}})
	} else {
		// The rule stays, so that what refers to it compiles.
		l.add(edit{kind: "rule", at: rule.Location, original: headText(rule), mutated: "(removed)", head: true, of: rule.Location, apply: func() {
			rule.Body, rule.Else = ast.NewBody(ast.NewExpr(ast.BooleanTerm(false))), nil
		}})
	}
	for r := rule; r != nil; r = r.Else {
		l.of = r.Location
		l.headOf(r)
		if !r.Default {
			l.body(r.Body)
		}
		if branch := r.Else; branch != nil {
			l.add(edit{kind: "else", at: branch.Location, original: "else", mutated: "(removed)", head: true, of: branch.Location, apply: func() {
				r.Else = branch.Else
			}})
		}
	}
	return l.edits
}

func headText(rule *ast.Rule) string {
	if id, ok := ruleID(rule); ok {
		return fmt.Sprintf("%s %q", rule.Head.Ref(), id)
	}
	text := rule.Head.Ref().String()
	if len(rule.Head.Args) > 0 {
		text += ast.Call(append([]*ast.Term{ast.VarTerm("")}, rule.Head.Args...)).String()
	}
	return text
}

type editList struct {
	edits  []edit
	of     *ast.Location // of the rule or branch
	inHead bool
}

func (l *editList) add(e edit) {
	if e.at != nil {
		l.edits = append(l.edits, e)
	}
}

// headOf adds changes to the constants that a rule gives or takes, and to the
// conditions of comprehensions in what it gives.
func (l *editList) headOf(rule *ast.Rule) {
	h := rule.Head
	l.inHead = true
	for i, arg := range h.Args {
		l.constants(arg, func(t *ast.Term) { h.Args[i] = t })
	}
	if h.Key != nil {
		l.constants(h.Key, func(t *ast.Term) { h.Key = t })
	}
	if h.Value != nil {
		l.constants(h.Value, func(t *ast.Term) { h.Value = t })
	}
	l.inHead = false
	if h.Key != nil {
		l.nested(h.Key)
	}
	if h.Value != nil {
		l.nested(h.Value)
	}
}

func (l *editList) body(body ast.Body) {
	for _, e := range body {
		l.expr(e)
	}
}

// replace puts another expression in the place of one. The body that holds it
// need not be known for that.
func replace(e, by *ast.Expr) {
	at, index := e.Location, e.Index
	*e = *by
	e.Location, e.Index = at, index
}

// comparisons are the operators that are replaced, each by what differs from
// it at the boundary, and the number on its right by the one that differs on
// the other side of it.
var comparisons = map[string]struct {
	text, other, otherText string
	step                   int64
}{
	"equal": {"==", "neq", "!=", 1},
	"neq":   {"!=", "equal", "==", 1},
	"lt":    {"<", "lte", "<=", -1},
	"lte":   {"<=", "lt", "<", 1},
	"gt":    {">", "gte", ">=", 1},
	"gte":   {">=", "gt", ">", -1},
}

func (l *editList) expr(e *ast.Expr) {
	if e.Location == nil {
		return
	}
	text := string(e.Location.Text)
	switch terms := e.Terms.(type) {
	case *ast.SomeDecl:
		// It binds variables, without which nothing compiles.
		for _, s := range terms.Symbols {
			l.operands(s)
			l.nested(s)
		}
		return
	case *ast.Every:
		l.drop(e, text)
		l.nested(terms.Domain)
		l.body(terms.Body)
		return
	case *ast.Term:
		if terms.Equal(ast.BooleanTerm(true)) {
			return // nothing depends on it; of a rule without a body it stands nowhere
		}
		l.drop(e, text)
		l.negate(e, text)
		l.constants(terms, func(t *ast.Term) { e.Terms = t })
		l.nested(terms)
	case []*ast.Term:
		operator := terms[0].String()
		step := int64(1)
		if !e.IsAssignment() && operator != ast.Equality.Name {
			l.drop(e, text)
			l.negate(e, text)
		}
		if c, ok := comparisons[operator]; ok {
			step = c.step
			l.add(edit{kind: "operator", at: e.Location, original: text, mutated: fmt.Sprintf("%s %s %s", terms[1], c.otherText, terms[2]), apply: func() {
				terms[0] = ast.NewTerm(ast.Ref{ast.VarTerm(c.other)})
			}})
		}
		for i, t := range terms {
			if i > 0 && operator != ast.Sprintf.Name && operator != ast.Print.Name {
				l.constantsBy(t, step, func(t *ast.Term) { terms[i] = t })
			}
			l.nested(t)
		}
	}
}

func (l *editList) drop(e *ast.Expr, text string) {
	l.add(edit{kind: "drop", at: e.Location, original: text, mutated: "true", apply: func() {
		replace(e, ast.NewExpr(ast.BooleanTerm(true)))
	}})
}

func (l *editList) negate(e *ast.Expr, text string) {
	mutated := "not " + text
	if e.Negated {
		mutated = "without its not"
	}
	l.add(edit{kind: "negate", at: e.Location, original: text, mutated: mutated, apply: func() { e.Negated = !e.Negated }})
}

// operands adds changes to the operands of what `some … in …` is a call of.
func (l *editList) operands(t *ast.Term) {
	if call, ok := t.Value.(ast.Call); ok {
		for i := range call {
			if i > 0 {
				l.constants(call[i], func(t *ast.Term) { call[i] = t })
			}
		}
	}
}

// nested adds changes to the bodies of comprehensions in a term.
func (l *editList) nested(t *ast.Term) {
	ast.NewGenericVisitor(func(node any) bool {
		switch c := node.(type) {
		case *ast.ArrayComprehension:
			l.body(c.Body)
			l.nested(c.Term)
			return true
		case *ast.SetComprehension:
			l.body(c.Body)
			l.nested(c.Term)
			return true
		case *ast.ObjectComprehension:
			l.body(c.Body)
			l.nested(c.Key)
			l.nested(c.Value)
			return true
		}
		return false
	}).Walk(t)
}

func (l *editList) constants(t *ast.Term, set func(*ast.Term)) { l.constantsBy(t, 1, set) }

// constantsBy adds changes to the constants in a term. A container is built
// anew, since it may have hashed what it holds.
func (l *editList) constantsBy(t *ast.Term, step int64, set func(*ast.Term)) {
	swap := func(v ast.Value) {
		changed := &ast.Term{Value: v, Location: t.Location}
		l.add(edit{
			kind: "constant", at: t.Location, original: t.String(), mutated: changed.String(), head: l.inHead, of: l.of,
			apply: func() { set(changed) },
		})
	}
	at := func(v ast.Value) *ast.Term { return &ast.Term{Value: v, Location: t.Location} }
	switch v := t.Value.(type) {
	case ast.Boolean:
		// The true of a rule without a value stands nowhere.
		if t.Location != nil && string(t.Location.Text) == v.String() {
			swap(!v)
		}
	case ast.Number:
		if n, ok := v.Int64(); ok {
			swap(ast.Number(json.Number(strconv.FormatInt(n+step, 10))))
		}
	case ast.String:
		swap(v + "~")
	case *ast.Array:
		for i := range v.Len() {
			l.constants(v.Elem(i), func(changed *ast.Term) {
				var elems []*ast.Term
				v.Foreach(func(e *ast.Term) { elems = append(elems, e) })
				elems[i] = changed
				set(at(ast.NewArray(elems...)))
			})
		}
	case ast.Set:
		for i, e := range v.Slice() {
			l.constants(e, func(changed *ast.Term) {
				elems := slices.Clone(v.Slice())
				elems[i] = changed
				set(at(ast.NewSet(elems...)))
			})
		}
	case ast.Object:
		for _, key := range v.Keys() {
			if key.Equal(ast.StringTerm("id")) || key.Equal(ast.StringTerm("message")) {
				continue // for people; a test that misses the rule misses both
			}
			l.constants(v.Get(key), func(changed *ast.Term) {
				o := ast.NewObject()
				v.Foreach(func(k, old *ast.Term) {
					if k.Equal(key) {
						old = changed
					}
					o.Insert(k, old)
				})
				set(at(o))
			})
		}
	case ast.Call:
		if name := v[0].String(); name == ast.Sprintf.Name {
			return
		}
		for i := range v {
			if i > 0 {
				l.constants(v[i], func(changed *ast.Term) {
					call := slices.Clone(v)
					call[i] = changed
					set(at(call))
				})
			}
		}
	}
}
