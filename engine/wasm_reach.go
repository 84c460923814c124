package engine

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

// unsupported returns why tests say nothing of Wasm, by the places where they
// stand. What is compiled answers as a whole: a test cannot ask for a helper in
// it, nor replace data or functions in it, and a test that never asks it for
// anything would pass for both.
func (r *testRun) unsupported(src *sources) map[string]string {
	files := make(map[string]file, len(src.files))
	for _, f := range src.files {
		files[f.name] = f
	}
	reasons := map[string]string{}
	for name, m := range r.compiler.Modules {
		if !files[name].isTest() {
			continue
		}
		for _, rule := range m.Rules {
			if !strings.HasPrefix(rule.Head.Ref()[0].Value.String(), tester.TestPrefix) {
				continue
			}
			reach := &reach{graph: r.compiler.Graph, files: files, seen: map[*ast.Rule]bool{}}
			reach.rule(rule)
			switch {
			case reach.reason != "":
				reasons[position(rule.Location)] = reach.reason
			case !reach.asks:
				reasons[position(rule.Location)] = "it asks for no deny, ask, allow or obligations of a team, so that nothing of it runs in Wasm"
			}
		}
	}
	return reasons
}

// reach goes through what a test depends on.
type reach struct {
	graph *ast.Graph
	files map[string]file
	seen  map[*ast.Rule]bool
	// asks is whether a contribution is among it.
	asks   bool
	reason string
}

func (r *reach) rule(rule *ast.Rule) {
	if r.seen[rule] {
		return
	}
	r.seen[rule] = true
	ofTests := r.files[rule.Location.File].origin == originTeam
	for one := rule; one != nil; one = one.Else {
		if ofTests {
			r.mocks(one)
		}
		for node := range r.graph.Dependencies(one) {
			if dependency, ok := node.(*ast.Rule); ok {
				r.dependency(dependency, ofTests)
			}
		}
	}
}

// dependency goes on with a rule that another depends on. The default policy
// refers to all that is below team, and takes contributions alone.
func (r *reach) dependency(rule *ast.Rule, fromTests bool) {
	switch f := r.files[rule.Location.File]; {
	case !f.ofTeam():
		if fromTests || f.origin == originDefault {
			r.rule(rule)
		}
	case isContribution(rule):
		r.asks = true
	case fromTests:
		r.say("it uses %s, which is compiled in and cannot be asked for", strings.TrimPrefix(rule.Ref().GroundPrefix().String(), "data."))
	}
}

// mocks looks for what a test replaces. Only the input reaches a module.
func (r *reach) mocks(rule *ast.Rule) {
	ast.WalkWiths(rule, func(w *ast.With) bool {
		if ref, ok := w.Target.Value.(ast.Ref); !ok || !ref.HasPrefix(ast.InputRootRef) {
			r.say("it replaces %s by `with`, which does not reach what is compiled", strings.TrimPrefix(w.Target.String(), "data."))
		}
		return false
	})
}

// say keeps the first reason in the order of their text, so that it is always
// the same one.
func (r *reach) say(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); r.reason == "" || text < r.reason {
		r.reason = text
	}
}
