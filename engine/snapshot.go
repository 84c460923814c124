package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"opencode/policy"
)

// snapshot is a policy ready to decide. It never changes, but for what it
// remembers.
type snapshot struct {
	cache  *cache
	digest string
	info   policy.Info
	at     map[string]string
	// hints are what rules say of what would be allowed, by their ids.
	hints map[string]string
	// txn reads the store; nothing ever writes to it.
	txn     storage.Transaction
	queries map[policy.Kind]rego.PreparedEvalQuery

	// compiler and store are what explanations look things up in.
	compiler *ast.Compiler
	store    storage.Store
}

// build makes a snapshot from the sources.
func build(ctx context.Context, src *sources) (*snapshot, error) {
	c, err := src.compile()
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObjectWithOpts(c.data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy data: %w", err)
	}
	s := &snapshot{
		cache:   newCache(),
		digest:  src.digest(),
		at:      c.at,
		hints:   c.hints(),
		txn:     txn,
		queries: map[policy.Kind]rego.PreparedEvalQuery{},
		info:    policy.Info{Entrypoints: map[policy.Kind]string{}, Loaded: time.Now()},
	}
	s.info.Digest = s.digest
	s.compiler, s.store = c.compiler, store
	for _, f := range src.files {
		s.info.Files = append(s.info.Files, f.name)
	}
	for _, e := range entrypoints {
		q, err := rego.New(
			rego.Query(e.ref),
			rego.Compiler(c.compiler),
			rego.Store(store),
			rego.Transaction(txn),
			// An error of a built-in would otherwise be undefined, and a denial
			// whose body is undefined does not deny.
			rego.StrictBuiltinErrors(true),
		).PrepareForEval(ctx)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", e.ref, compileErrors(err))
		}
		s.queries[e.kind] = q
		s.info.Entrypoints[e.kind] = e.ref
	}
	return s, nil
}

// hints returns data.opencode.config.hints, whose shape is checked by then.
func (c *compiled) hints() map[string]string {
	var list any = c.data
	for _, key := range []string{"opencode", "config", "hints"} {
		object, _ := list.(map[string]any)
		list = object[key]
	}
	object, _ := list.(map[string]any)
	hints := make(map[string]string, len(object))
	for id, hint := range object {
		if text, ok := hint.(string); ok {
			hints[id] = text
		}
	}
	return hints
}

// errUndefined means that the policy gave no decision.
var errUndefined = errors.New("the policy gives no decision: its entrypoint is undefined")

// decide evaluates one input. Whatever goes wrong is an error.
func (s *snapshot) decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	input, err := inputValue(in)
	if err != nil {
		return policy.Decision{}, err
	}
	return s.decideValue(ctx, in.Kind, input)
}

func (s *snapshot) decideValue(ctx context.Context, kind policy.Kind, input ast.Value) (policy.Decision, error) {
	term, err := s.eval(ctx, kind, input)
	if err != nil {
		return policy.Decision{}, err
	}
	d, err := decodeDecision(term)
	if err != nil {
		return policy.Decision{}, fmt.Errorf("malformed decision: %w", err)
	}
	d.Snapshot = s.digest
	for i := range d.Rules {
		rule := &d.Rules[i]
		rule.At = s.at[rule.ID]
		if rule.Effect == policy.Deny {
			rule.Hint = s.hints[rule.ID]
		}
	}
	if err := d.Validate(kind); err != nil {
		return policy.Decision{}, fmt.Errorf("malformed decision: %w", err)
	}
	return d, nil
}

func (s *snapshot) eval(ctx context.Context, kind policy.Kind, input ast.Value, opts ...rego.EvalOption) (*ast.Term, error) {
	q, ok := s.queries[kind]
	if !ok {
		return nil, fmt.Errorf("input: unknown kind %q", kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()

	var result *ast.Term
	rs, err := q.Eval(ctx, append([]rego.EvalOption{
		rego.EvalParsedInput(input),
		rego.EvalTransaction(s.txn),
		rego.EvalExternalCancel(cancel),
		// The result is read as a term: it needs no copy as JSON.
		rego.EvalGenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) {
			result = t
			return true, nil
		}),
	}, opts...)...)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("the decision took too long: %w", ctx.Err())
	case err != nil:
		return nil, compileErrors(err)
	case len(rs) != 1 || result == nil:
		return nil, errUndefined
	}
	return result, nil
}
