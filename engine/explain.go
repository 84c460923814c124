package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"opencode/policy"
)

// Step is a rule that took part in a decision because its body held.
type Step struct {
	At string `json:"at"`
	// Rule is the path of the rule, and ID the id that it gives, if any.
	Rule string `json:"rule"`
	ID   string `json:"id,omitempty"`
	// Values are what the rule saw: the members of input and data in its
	// conditions, and its variables. Each is bounded in length, and credentials
	// are taken out.
	Values map[string]string `json:"values,omitempty"`
}

// Unmet is a condition that kept a rule from holding.
type Unmet struct {
	// At is where the condition stands, in the rule.
	At        string `json:"at"`
	Rule      string `json:"rule"`
	ID        string `json:"id,omitempty"`
	Condition string `json:"condition"`
	// Values are what the condition saw, as those of a [Step].
	Values map[string]string `json:"values,omitempty"`
	// Because are the conditions of the rules that the condition asks for.
	Because []Unmet `json:"because,omitempty"`
}

// Explanation says what led to a decision.
type Explanation struct {
	// Steps are the rules that held, in the order in which they did.
	Steps []Step `json:"steps"`
	// Unmet are, unless the decision allows, the first conditions that did not
	// hold of whatever would have allowed it.
	Unmet []Unmet `json:"unmet,omitempty"`
	// Omitted counts the steps that are left out because there are too many.
	Omitted int `json:"omitted,omitempty"`
}

const (
	// explainSlack is how much longer than a decision its explanation may take.
	// It is traced, and tries rules that the index would pass over.
	explainSlack = 10
	maxSteps     = 500
	maxFrames    = 100_000
	maxUnmet     = 50
)

// Explain decides as [Engine.Decide] does, once more and with a tracer, and
// returns what led to the decision.
func (e *Engine) Explain(ctx context.Context, in *policy.Input) (policy.Decision, Explanation, error) {
	snap := e.hold()
	if snap == nil {
		return policy.Decision{}, Explanation{}, errNoPolicy
	}
	defer snap.guests.release()
	d, err := e.decide(ctx, snap, in)
	if err != nil {
		return d, Explanation{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, explainSlack*e.cfg.Timeout)
	defer cancel()
	x, err := snap.explain(ctx, in, d)
	if err != nil {
		return d, Explanation{}, fmt.Errorf("policy %.12s: %w", snap.digest, err)
	}
	return d, x, nil
}

func (s *snapshot) explain(ctx context.Context, in *policy.Input, d policy.Decision) (Explanation, error) {
	input, err := inputValue(in)
	if err != nil {
		return Explanation{}, err
	}
	values, err := s.explainedValues(ctx, input)
	if err != nil {
		return Explanation{}, err
	}
	t := &stepTracer{
		values: values, compiler: s.compiler, ids: map[string]string{},
		frames: map[uint64]*frame{}, of: map[*ast.Rule][]*frame{}, seen: map[string]bool{},
	}
	for id, at := range s.at {
		t.ids[at] = id
	}
	entry := ast.MustParseRef(s.info.Entrypoints[in.Kind])
	// Rules that the index passes over would not show which condition failed.
	if err := s.trace(ctx, entry, input, t, rego.EvalRuleIndexing(false)); err != nil {
		return Explanation{}, err
	}
	x := Explanation{Steps: t.steps, Omitted: t.omitted}
	if d.Effect == policy.Allow {
		return x, nil
	}
	roots := s.compiler.GetRulesExact(entry)
	allow := entry[:len(entry)-1].Append(ast.StringTerm("allow"))
	if rules := s.compiler.GetRulesExact(allow); len(rules) > 0 {
		roots = append(roots, rules...)
		// A denial is decided before anybody asks for what would allow.
		t.quiet = true
		clear(t.frames) // each query numbers anew
		if err := s.trace(ctx, allow, input, t, rego.EvalRuleIndexing(false)); err != nil {
			return Explanation{}, err
		}
	}
	u := &unmetRules{tracer: t, seen: map[*ast.Rule]bool{}}
	x.Unmet = append(u.of(t.negated(d)), u.of(roots)...)
	return x, nil
}

// trace evaluates a rule with a tracer.
func (s *snapshot) trace(ctx context.Context, rule ast.Ref, input ast.Value, t topdown.QueryTracer, opts ...rego.EvalOption) error {
	ctx = s.guests.session(ctx)
	q, err := rego.New(append(s.builtins.options(),
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(rule)))), rego.Compiler(s.compiler), rego.Store(s.store),
		rego.Transaction(s.txn), rego.StrictBuiltinErrors(true),
	)...).PrepareForEval(ctx)
	if err == nil {
		_, err = q.Eval(ctx, append(opts, rego.EvalParsedInput(input), rego.EvalTransaction(s.txn), rego.EvalQueryTracer(t))...)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("the explanation took too long: %w", ctx.Err())
	case err != nil:
		return compileErrors(err)
	}
	return nil
}

// frame is one evaluation of the body of a rule.
type frame struct {
	held bool
	// failed is the furthest condition that was reached and did not hold, with
	// the variables as they were then.
	failed *ast.Expr
	locals *ast.ValueMap
	names  map[ast.Var]topdown.VarMetadata
}

// stepTracer follows a query through the bodies of rules.
type stepTracer struct {
	values *explainedValues
	// compiler is where rules are found by their path.
	compiler *ast.Compiler
	ids      map[string]string // of the rules, by position
	frames   map[uint64]*frame // by query
	of       map[*ast.Rule][]*frame
	steps    []Step
	seen     map[string]bool
	omitted  int
	quiet    bool // no more steps
}

var _ topdown.QueryTracer = (*stepTracer)(nil)

func (*stepTracer) Enabled() bool { return true }

func (*stepTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

func (t *stepTracer) TraceEvent(event topdown.Event) {
	switch node := event.Node.(type) {
	case *ast.Rule:
		switch event.Op { //nolint:exhaustive // a string of OPA's, of which these two matter
		case topdown.EnterOp:
			if len(t.frames) < maxFrames {
				f := &frame{}
				t.frames[event.QueryID] = f
				t.of[node] = append(t.of[node], f)
			}
		case topdown.ExitOp:
			if f := t.frames[event.QueryID]; f != nil {
				f.held = true
			}
			t.step(node, event)
		}
	case *ast.Expr:
		f := t.frames[event.QueryID]
		if event.Op == topdown.FailOp && f != nil && !f.held && (f.failed == nil || node.Index > f.failed.Index) {
			f.failed, f.locals, f.names = node, event.Locals, event.LocalMetadata
		}
	}
}

func (t *stepTracer) step(rule *ast.Rule, event topdown.Event) {
	if rule.Location == nil || t.quiet {
		return
	}
	step := Step{At: position(rule.Location), Rule: rulePath(rule)}
	step.ID = t.id(rule)
	step.Values = t.values.of(rule.Body, event.Locals, event.LocalMetadata)
	for name, v := range t.values.variables(event.Locals, event.LocalMetadata) {
		if _, ok := step.Values[name]; !ok {
			step.Values[name] = v
		}
	}
	parts := []string{step.At}
	for _, name := range slices.Sorted(maps.Keys(step.Values)) {
		parts = append(parts, name, step.Values[name])
	}
	key := strings.Join(parts, "\n")
	switch {
	case t.seen[key]:
	case len(t.steps) == maxSteps:
		t.omitted++
	default:
		t.seen[key] = true
		t.steps = append(t.steps, step)
	}
}

// negated returns the rules that did not hold and by that let one of the
// decision's rules hold: a denial is often `not _condition`.
func (t *stepTracer) negated(d policy.Decision) []*ast.Rule {
	var rules []*ast.Rule
	for rule := range t.of {
		if !slices.ContainsFunc(d.Rules, func(r policy.Rule) bool { return r.ID == t.id(rule) }) {
			continue
		}
		for _, e := range rule.Body {
			if !e.Negated {
				continue
			}
			for _, ref := range refsIn(ast.Body{e}) {
				rules = append(rules, t.compiler.GetRulesExact(ref.ConstantPrefix())...)
			}
		}
	}
	slices.SortFunc(rules, func(a, b *ast.Rule) int { return a.Location.Compare(b.Location) })
	return rules
}

// id returns the id that a rule gives: as it is written, or else as it was
// found at its place before the compiler moved it into the body.
func (t *stepTracer) id(rule *ast.Rule) string {
	if id, ok := ruleID(rule); ok {
		return id
	}
	return t.ids[position(rule.Location)]
}

// rulePath returns the path of a rule.
func rulePath(rule *ast.Rule) string {
	return rule.Ref().GroundPrefix().String()
}

// unmetRules gathers why rules did not hold.
type unmetRules struct {
	tracer *stepTracer
	seen   map[*ast.Rule]bool
	count  int
}

// of returns the first failed condition of each rule that was tried in vain,
// and, of the rules that it asks for, theirs.
func (u *unmetRules) of(rules []*ast.Rule) []Unmet {
	var out []Unmet
	for _, rule := range rules {
		for ; rule != nil; rule = rule.Else {
			if u.seen[rule] {
				continue
			}
			u.seen[rule] = true
			reported := map[string]bool{}
			for _, f := range u.tracer.of[rule] {
				if f.held || f.failed == nil || f.failed.Location == nil || u.count >= maxUnmet {
					continue
				}
				one := u.one(rule, f)
				if key := fmt.Sprint(one.At, one.Values); !reported[key] {
					reported[key] = true
					u.count++
					out = append(out, one)
				}
			}
		}
	}
	return out
}

func (u *unmetRules) one(rule *ast.Rule, f *frame) Unmet {
	part := sameSource(rule.Body, f.failed)
	out := Unmet{
		At: position(f.failed.Location), Rule: rulePath(rule), ID: u.tracer.id(rule),
		Condition: oneLine(string(f.failed.Location.Text)),
		Values:    u.tracer.values.of(part, f.locals, f.names),
	}
	if f.failed.Negated {
		return out // it failed because something held, which is a step
	}
	for _, ref := range refsIn(part) {
		rules := u.tracer.compiler.GetRulesExact(ref.ConstantPrefix())
		if len(rules) > 0 && !u.anyHeld(rules) {
			out.Because = append(out.Because, u.of(rules)...)
		}
	}
	return out
}

func (u *unmetRules) anyHeld(rules []*ast.Rule) bool {
	for _, rule := range rules {
		for ; rule != nil; rule = rule.Else {
			for _, f := range u.tracer.of[rule] {
				if f.held {
					return true
				}
			}
		}
	}
	return false
}
