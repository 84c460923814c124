package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"opencode/redact"
)

const (
	// maxShownBytes bounds a value that is shown.
	maxShownBytes = 200
	// maxShownValues bounds how many values a rule shows.
	maxShownValues = 40
)

// explainedValues looks up what conditions saw.
type explainedValues struct {
	input, data ast.Value
	redactor    *redact.Redactor
}

func (s *snapshot) explainedValues(ctx context.Context, input ast.Value) (*explainedValues, error) {
	data, err := s.store.Read(ctx, s.txn, storage.RootPath)
	if err != nil {
		return nil, fmt.Errorf("policy data: %w", err)
	}
	value, err := ast.InterfaceToValue(data)
	if err != nil {
		return nil, fmt.Errorf("policy data: %w", err)
	}
	return &explainedValues{input: input, data: value, redactor: redact.New(redact.Config{})}, nil
}

// of returns the values that the references in some conditions had, by how
// the references are written once their variables are known.
func (x *explainedValues) of(part ast.Body, locals *ast.ValueMap, names map[ast.Var]topdown.VarMetadata) map[string]string {
	out := map[string]string{}
	// The value of a rule is what the compiler bound it to.
	for _, e := range part {
		if !e.IsEquality() || len(e.Operands()) != 2 || locals == nil {
			continue
		}
		for i, side := range e.Operands() {
			ref, isRef := side.Value.(ast.Ref)
			v := locals.Get(e.Operand(1 - i).Value)
			if isRef && v != nil && ref.HasPrefix(ast.DefaultRootRef) && ref.IsGround() && len(out) < maxShownValues {
				name := strings.TrimPrefix(ref.String(), "data.")
				out[name] = x.shown(name, v)
			}
		}
	}
	for _, ref := range refsIn(part) {
		name, path, root := x.resolve(ref, locals, names)
		if root == nil || len(out) >= maxShownValues {
			continue
		}
		v, err := root.Find(path)
		switch {
		case err == nil:
			out[name] = x.shown(name, v)
		case ref.HasPrefix(ast.DefaultRootRef):
			// A rule, most likely, which is a step of its own.
		default:
			out[name] = "undefined"
		}
	}
	return out
}

// resolve returns how a reference reads with its variables filled in, the path
// that it takes, and the value in which. Without a value it leads nowhere that
// can be known.
func (x *explainedValues) resolve(ref ast.Ref, locals *ast.ValueMap, names map[ast.Var]topdown.VarMetadata) (string, ast.Ref, ast.Value) {
	var root ast.Value
	head := ref[0]
	switch {
	case ref.HasPrefix(ast.InputRootRef):
		root = x.input
	case ref.HasPrefix(ast.DefaultRootRef):
		root = x.data
	case locals != nil:
		root = locals.Get(head.Value)
		name, ok := head.Value.(ast.Var)
		meta, known := names[name]
		if !ok || !known || isGenerated(meta.Name) {
			return "", nil, nil
		}
		head = ast.VarTerm(string(meta.Name))
	}
	if root == nil || len(ref) < 2 {
		return "", nil, nil
	}
	shown := ast.Ref{head}
	for _, term := range ref[1:] {
		if _, ok := term.Value.(ast.Var); ok {
			if locals == nil {
				return "", nil, nil
			}
			v := locals.Get(term.Value)
			if v == nil {
				return "", nil, nil
			}
			term = ast.NewTerm(v)
		}
		if !term.IsGround() {
			return "", nil, nil
		}
		shown = append(shown, term)
	}
	return strings.TrimPrefix(shown.String(), "data."), shown[1:], root
}

// variables returns the variables that people gave a name. One that is an
// object or an array is left out: what is read of it is shown by itself.
func (x *explainedValues) variables(locals *ast.ValueMap, names map[ast.Var]topdown.VarMetadata) map[string]string {
	out := map[string]string{}
	if locals == nil {
		return out
	}
	locals.Iter(func(k, v ast.Value) bool {
		name, ok := k.(ast.Var)
		meta, known := names[name]
		if !ok || !known || isGenerated(meta.Name) || meta.Name == "" {
			return false
		}
		switch v.(type) {
		case ast.Object, *ast.Array, ast.Set:
			return false
		}
		out[string(meta.Name)] = x.shown(string(meta.Name), v)
		return len(out) >= maxShownValues
	})
	return out
}

func isGenerated(name ast.Var) bool {
	return strings.HasPrefix(string(name), "__") || strings.HasPrefix(string(name), "$")
}

// shown returns a value for people: without credentials, and not too long.
func (x *explainedValues) shown(name string, v ast.Value) string {
	text := oneLine(v.String())
	// The name counts too: what is assigned to a password is one.
	if _, found := x.redactor.Count(name + "=" + text); found > 0 {
		if clean, ok := strings.CutPrefix(x.redactor.String(name+"="+text), name+"="); ok {
			text = clean
		} else {
			text = "[redacted]"
		}
	}
	return bounded(text)
}

func bounded(text string) string {
	if len(text) <= maxShownBytes {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:maxShownBytes], ""), len(text))
}

// oneLine returns a text with every run of space as one.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// sameSource returns what the compiler made of the condition of which e is the
// part that failed: all expressions of the body that stand on its lines.
func sameSource(body ast.Body, e *ast.Expr) ast.Body {
	first := e.Location.Row
	last := first + bytes.Count(e.Location.Text, []byte("\n"))
	var part ast.Body
	for _, other := range body {
		if other.Location != nil && other.Location.Row >= first && other.Location.Row <= last {
			part = append(part, other)
		}
	}
	return part
}

// refsIn returns the references in some conditions, but for those in bodies of
// their own, whose variables are not those of the rule.
func refsIn(part ast.Body) []ast.Ref {
	var refs []ast.Ref
	visitor := ast.NewGenericVisitor(func(node any) bool {
		switch node := node.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			return true
		case *ast.Every:
			ast.WalkRefs(node.Domain, func(r ast.Ref) bool {
				refs = append(refs, r)
				return false
			})
			return true
		case ast.Ref:
			if len(node) > 1 {
				refs = append(refs, node)
			}
		}
		return false
	})
	for _, e := range part {
		if terms, ok := e.Terms.([]*ast.Term); ok && len(terms) > 0 {
			for _, t := range terms[1:] { // the first is the built-in or function
				visitor.Walk(t)
			}
			if name, ok := terms[0].Value.(ast.Ref); ok && name.HasPrefix(ast.DefaultRootRef) {
				refs = append(refs, name)
			}
			continue
		}
		visitor.Walk(e.Terms)
	}
	return refs
}
