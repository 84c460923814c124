package engine

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reading is what a query can read of its input, found in the compiled rules.
// It may say too much and never too little: a decision is kept under what the
// query reads, so whatever is missing here would be a decision on one input
// given for another.
type reading struct {
	paths *pathSet
	// impure says what makes the answer depend on more than input and data, ""
	// if nothing does. The paths are then the whole input.
	impure string
}

// pathSet is a set of places in a document: the document itself, or places
// below its members. A set without either says only that the document is there.
type pathSet struct {
	whole   bool
	members map[string]*pathSet
}

// add adds the place at a path, with all below it.
func (p *pathSet) add(path []string) { p.at(path).whole = true }

// at returns the set of what is below a path, which is then known to be there.
func (p *pathSet) at(path []string) *pathSet {
	for _, name := range path {
		next := p.members[name]
		if next == nil {
			next = &pathSet{}
			if p.members == nil {
				p.members = map[string]*pathSet{}
			}
			p.members[name] = next
		}
		p = next
	}
	return p
}

// of returns the set of what is below a member, nil if nothing is.
func (p *pathSet) of(name string) *pathSet {
	if p.whole {
		return p
	}
	return p.members[name]
}

// list returns the places, in order, as text: "input" for all, "input.x?" for
// whether there is an x.
func (p *pathSet) list() []string {
	var list []string
	var walk func(p *pathSet, at string)
	walk = func(p *pathSet, at string) {
		switch {
		case p.whole:
			list = append(list, at)
		case len(p.members) == 0 && at != "input":
			list = append(list, at+"?")
		default:
			for name, below := range p.members {
				walk(below, at+"."+name)
			}
		}
	}
	walk(p, "input")
	slices.Sort(list)
	return list
}

// reads finds what a query for a place in the data can read of the input. It
// follows every rule that the query can reach, as if each could be reached with
// the input as it came: what `with` puts in place of something only makes
// that more than is read.
func reads(c *ast.Compiler, entrypoint ast.Ref, pure func(builtin string) bool) reading {
	r := &reader{pure: pure, rules: indexRules(c), visited: map[string]bool{}, seen: map[*ast.Rule]bool{}, paths: &pathSet{}}
	r.ref(entrypoint)
	for len(r.queue) > 0 {
		rule := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		r.rule(rule)
	}
	if r.impure != "" {
		return reading{paths: &pathSet{whole: true}, impure: r.impure}
	}
	return reading{paths: r.paths}
}

type reader struct {
	pure    func(string) bool
	rules   *ruleTree
	queue   []*ast.Rule
	seen    map[*ast.Rule]bool
	visited map[string]bool // refs to data that were followed
	paths   *pathSet
	impure  string
}

// rule walks a rule with its else branches.
func (r *reader) rule(rule *ast.Rule) {
	for ; rule != nil; rule = rule.Else {
		// The name of a rule is no part of what it reads; its keys are.
		for _, term := range rule.Head.Ref()[1:] {
			r.walk(term)
		}
		r.walk(rule.Head.Args)
		if rule.Head.Key != nil {
			r.walk(rule.Head.Key)
		}
		if rule.Head.Value != nil {
			r.walk(rule.Head.Value)
		}
		r.walk(rule.Body)
	}
}

func (r *reader) walk(x any) { ast.NewGenericVisitor(r.visit).Walk(x) }

// visit reports whether it has seen to all below x.
func (r *reader) visit(x any) bool {
	switch x := x.(type) {
	case *ast.Expr:
		return r.expr(x)
	case ast.Call:
		r.call(x[0])
		r.terms(x[1:])
		return true
	case ast.Ref:
		r.ref(x)
		return true
	case ast.Var:
		if x.Equal(ast.InputRootDocument.Value) || x.Equal(ast.DefaultRootDocument.Value) {
			r.ref(ast.Ref{ast.NewTerm(x)})
		}
	case *ast.With:
		r.with(x)
		return true
	}
	return false
}

func (r *reader) terms(terms []*ast.Term) {
	for _, t := range terms {
		r.walk(t)
	}
}

// expr walks an expression.
func (r *reader) expr(x *ast.Expr) bool {
	switch terms := x.Terms.(type) {
	case []*ast.Term:
		// The first term is what is called.
		r.call(terms[0])
		r.terms(terms[1:])
	case *ast.Term:
		// A place that stands alone is asked for being there and not false. What
		// has members is never false.
		if ref, ok := terms.Value.(ast.Ref); ok && ref[0].Equal(ast.InputRootDocument) && len(x.With) == 0 {
			if path, all := constantPath(ref); all {
				r.paths.at(path)
				return true
			}
		}
		r.walk(terms)
	case *ast.SomeDecl, *ast.Every, *ast.Not, *ast.LogicalAnd, *ast.LogicalOr:
		r.walk(terms)
	default:
		r.give("an expression of a form that is not known")
	}
	for _, w := range x.With {
		r.with(w)
	}
	return true
}

// call follows what an operator stands for: a function, or a built-in.
func (r *reader) call(operator *ast.Term) {
	ref, ok := operator.Value.(ast.Ref)
	if !ok {
		r.give("a call of something that has no name")
		return
	}
	if ref[0].Equal(ast.DefaultRootDocument) {
		r.ref(ref)
		return
	}
	if name := ref.String(); !r.pure(name) {
		r.give("the built-in " + name)
	}
}

// with walks what stands in place of something else. Reads of what is replaced
// are counted as they stand; the place itself counts as read too, since what is
// around it comes from the input as it was.
func (r *reader) with(w *ast.With) {
	if name := w.Value.Value.String(); r.mayBeBuiltin(w.Value.Value) && !r.pure(name) {
		r.give("with " + name)
	}
	r.walk(w.Target)
	r.walk(w.Value)
}

// mayBeBuiltin reports whether a value in place of something else may be the
// name of a built-in, which looks like a variable or a reference into one.
func (*reader) mayBeBuiltin(v ast.Value) bool {
	switch v := v.(type) {
	case ast.Var:
		return ast.BuiltinMap[string(v)] != nil
	case ast.Ref:
		head, ok := v[0].Value.(ast.Var)
		return ok && !v[0].Equal(ast.InputRootDocument) && !v[0].Equal(ast.DefaultRootDocument) && !head.IsGenerated()
	}
	return false
}

// ref follows a reference. Its operands can hold references of their own.
func (r *reader) ref(ref ast.Ref) {
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		path, _ := constantPath(ref)
		r.paths.add(path)
	case ref[0].Equal(ast.DefaultRootDocument):
		r.data(ref)
	default:
		r.walk(ref[0].Value)
	}
	r.terms(ref[1:])
}

// wasmRoot is the place in the data below which Wasm policies answer. They
// have no rules to look into.
const wasmRoot = "wasm"

// data queues the rules that a reference into the data can mean: those at its
// place, above it and below it.
func (r *reader) data(ref ast.Ref) {
	key := dataKey(ref)
	if r.visited[key] {
		return
	}
	r.visited[key] = true
	if len(ref) == 1 {
		r.give("a reference to all of data")
		return
	}
	if name, ok := ref[1].Value.(ast.String); !ok || name == wasmRoot {
		r.give("the reference " + ref.String() + ", which may be answered by Wasm")
		return
	}
	r.rules.each(ref[1:], func(rule *ast.Rule) {
		if !r.seen[rule] {
			r.seen[rule] = true
			r.queue = append(r.queue, rule)
		}
	})
}

func (r *reader) give(reason string) {
	if r.impure == "" {
		r.impure = reason
	}
}

// constantPath returns the names in a reference up to the first part that is
// not one, and whether all of them are.
func constantPath(ref ast.Ref) (path []string, all bool) {
	for _, term := range ref[1:] {
		name, ok := term.Value.(ast.String)
		if !ok {
			return path, false
		}
		path = append(path, string(name))
	}
	return path, true
}

// dataKey is equal for references that mean the same rules.
func dataKey(ref ast.Ref) string {
	var b strings.Builder
	for _, term := range ref {
		if s, ok := term.Value.(ast.String); ok {
			b.WriteString(s.String())
		} else {
			b.WriteByte('_')
		}
		b.WriteByte('.')
	}
	return b.String()
}

// ruleTree holds rules by the parts of their names. A part that is not a
// string may be any.
type ruleTree struct {
	rules   []*ast.Rule
	named   map[string]*ruleTree
	dynamic *ruleTree
}

func indexRules(c *ast.Compiler) *ruleTree {
	root := &ruleTree{}
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			node := root
			for _, term := range rule.Ref()[1:] {
				node = node.child(term)
			}
			node.rules = append(node.rules, rule)
		}
	}
	return root
}

func (t *ruleTree) child(term *ast.Term) *ruleTree {
	name, ok := term.Value.(ast.String)
	if !ok {
		if t.dynamic == nil {
			t.dynamic = &ruleTree{}
		}
		return t.dynamic
	}
	next := t.named[string(name)]
	if next == nil {
		next = &ruleTree{}
		if t.named == nil {
			t.named = map[string]*ruleTree{}
		}
		t.named[string(name)] = next
	}
	return next
}

// each calls f for the rules that the rest of a reference can mean.
func (t *ruleTree) each(rest ast.Ref, f func(*ast.Rule)) {
	if t == nil {
		return
	}
	for _, rule := range t.rules {
		f(rule)
	}
	var name ast.String
	fixed := false
	if len(rest) > 0 {
		name, fixed = rest[0].Value.(ast.String)
		rest = rest[1:]
	}
	t.dynamic.each(rest, f)
	if fixed {
		t.named[string(name)].each(rest, f)
		return
	}
	for _, below := range t.named {
		below.each(rest, f)
	}
}
