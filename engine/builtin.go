package engine

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// builtin is a function that a policy can call beside those of OPA: it belongs
// to what is loaded with the policy, and so to no table of all policies.
type builtin struct {
	decl *rego.Function
	call rego.BuiltinDyn
}

// declared is the function as a compiler knows it.
func (b builtin) declared() *ast.Builtin {
	return &ast.Builtin{Name: b.decl.Name, Description: b.decl.Description, Decl: b.decl.Decl, Nondeterministic: b.decl.Nondeterministic}
}

// option makes the function callable from a query of package rego.
func (b builtin) option() func(*rego.Rego) { return rego.FunctionDyn(b.decl, b.call) }

// forTest makes it callable from tests.
func (b builtin) forTest() *tester.Builtin {
	return &tester.Builtin{Decl: b.declared(), Func: b.option()}
}

// builtins are the functions of a snapshot.
type builtins []builtin

func (list builtins) options() []func(*rego.Rego) {
	opts := make([]func(*rego.Rego), 0, len(list))
	for _, b := range list {
		opts = append(opts, b.option())
	}
	return opts
}

// byName returns what makes the functions callable from a query of package
// topdown, nil if there are none.
func (list builtins) byName() map[string]*topdown.Builtin {
	if len(list) == 0 {
		return nil
	}
	functions := make(map[string]*topdown.Builtin, len(list))
	for _, b := range list {
		functions[b.decl.Name] = &topdown.Builtin{Decl: b.declared(), Func: b.topdown}
	}
	return functions
}

// topdown calls the function. Every error ends the decision: as undefined it
// would let a denial pass that hangs on it.
func (b builtin) topdown(bctx topdown.BuiltinContext, terms []*ast.Term, iter func(*ast.Term) error) error {
	result, err := b.call(bctx, terms)
	switch {
	case err != nil:
		if halt, ok := errors.AsType[*rego.HaltError](err); ok {
			err = halt
		}
		failed := &topdown.Error{Code: topdown.BuiltinErr, Message: b.decl.Name + ": " + err.Error(), Location: bctx.Location}
		return topdown.Halt{Err: failed.Wrap(err)}
	case result == nil:
		return nil
	}
	return iter(result)
}
