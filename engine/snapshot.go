package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/cache"

	"opencode/policy"
)

// snapshot is a policy ready to decide. It never changes, but for what it
// remembers.
type snapshot struct {
	digest string
	// mask is nil if no policy says what is not to be shipped.
	mask *rego.PreparedEvalQuery
	info policy.Info
	at   map[string]string
	// hints are what rules say of what would be allowed, by their ids.
	hints    map[string]string
	compiler *ast.Compiler
	store    storage.Store
	// txn reads the store; nothing ever writes to it.
	txn     storage.Transaction
	queries map[policy.Kind]*query
	decoder decoder
	// values keeps what built-ins make of their arguments, such as patterns.
	values cache.InterQueryValueCache
	// guests are the Wasm modules that decisionVar for teams, nil if there are none.
	guests *guests
	// extensions are the modules that the policy can call. They are closed when
	// nothing refers to them any more: neither the snapshot nor a decision.
	extensions extensions
	// builtins are what guests and extensions let the policy call, and functions
	// the same as its queries want it.
	builtins  builtins
	functions map[string]*topdown.Builtin
}

// query decides inputs of one kind.
type query struct {
	body     ast.Body
	compiler ast.QueryCompiler
	// reads is what the query can read of an input, and all that it is given.
	reads shape[policy.Input]
	// impure says why decisions are not kept, "" if they are.
	impure    string
	decisions *decisions
}

// patternsKept is how many patterns of globs and regular expressions are kept.
const patternsKept = 4096

// build makes a snapshot from the sources.
func build(ctx context.Context, src *sources) (*snapshot, error) {
	c, err := src.compile()
	if err != nil {
		return nil, err
	}
	guests, err := c.loadGuests(ctx, src)
	if err != nil {
		return nil, err
	}
	ext, err := src.loadExtensions(ctx)
	if err != nil {
		guests.retire()
		return nil, err
	}
	s, err := c.snapshot(ctx, src, guests, ext)
	if err != nil {
		guests.retire()
		return nil, err
	}
	return s, nil
}

// snapshot prepares the queries of a policy.
func (c *compiled) snapshot(ctx context.Context, src *sources, guests *guests, ext extensions) (*snapshot, error) {
	store := inmem.NewFromObjectWithOpts(c.data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy data: %w", err)
	}
	kept := patternsKept
	functions := append(guests.builtins(), ext.builtins()...)
	s := &snapshot{
		digest:   src.digest(),
		at:       c.at,
		hints:    c.hints(),
		compiler: c.compiler,
		store:    store,
		txn:      txn,
		queries:  map[policy.Kind]*query{},
		values: cache.NewInterQueryValueCache(ctx, &cache.Config{
			InterQueryBuiltinValueCache: cache.InterQueryBuiltinValueCacheConfig{MaxNumEntries: &kept},
		}),
		info:       policy.Info{Entrypoints: map[policy.Kind]string{}, Reads: map[policy.Kind]policy.Reads{}, Loaded: time.Now()},
		guests:     guests,
		extensions: ext,
		builtins:   functions,
		functions:  functions.byName(),
	}
	s.info.Digest = s.digest
	for _, f := range src.all() {
		s.info.Files = append(s.info.Files, f.name)
	}
	if config, err := store.Read(ctx, txn, storage.Path{"opencode", "config"}); err == nil {
		if config, ok := config.(ast.Object); ok {
			for _, name := range []string{"sandbox", "banned_commands"} {
				if list := config.Get(ast.StringTerm(name)); list != nil {
					s.decoder.learn(list.Value)
				}
			}
		}
	}
	for _, e := range entrypoints {
		ref, err := ast.ParseRef(e.ref)
		if err != nil {
			return nil, err
		}
		q := &query{compiler: c.compiler.QueryCompiler(), decisions: newDecisions()}
		if q.body, err = q.compiler.Compile(ast.NewBody(ast.Equality.Expr(ast.VarTerm(decisionVar), ast.NewTerm(ref)))); err != nil {
			return nil, fmt.Errorf("policy %s: %w", e.ref, compileErrors(err))
		}
		r := reads(c.compiler, ref, func(name string) bool { return isPure(name) || c.pure[name] })
		q.reads, q.impure = inputShape().narrow(r.paths), r.impure
		s.queries[e.kind] = q
		s.info.Entrypoints[e.kind] = e.ref
		s.info.Reads[e.kind] = policy.Reads{Input: r.paths.list(), Uncached: r.impure}
	}
	if s.mask, err = prepareMask(ctx, c.compiler, store, txn, functions); err != nil {
		return nil, err
	}
	return s, nil
}

// decisionVar is the variable of a query that holds the decision.
const decisionVar = "decision"

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

// errUnknownKind means that no query decides inputs of a kind.
var errUnknownKind = errors.New("input: unknown kind")

// decide evaluates one input, of which it takes what the query reads. Whatever
// goes wrong is an error.
func (s *snapshot) decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	q := s.queries[in.Kind]
	if q == nil {
		return policy.Decision{}, fmt.Errorf("%w %q", errUnknownKind, in.Kind)
	}
	input, err := q.reads.term(in)
	if err != nil {
		return policy.Decision{}, err
	}
	return s.decideValue(ctx, in.Kind, input.Value)
}

func (s *snapshot) decideValue(ctx context.Context, kind policy.Kind, input ast.Value) (policy.Decision, error) {
	term, err := s.eval(ctx, kind, input)
	if err != nil {
		return policy.Decision{}, err
	}
	d, err := s.decoder.decision(term)
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
	if err := s.decoder.validate(d, kind); err != nil {
		return policy.Decision{}, fmt.Errorf("malformed decision: %w", err)
	}
	return d, nil
}

func (s *snapshot) eval(ctx context.Context, kind policy.Kind, input ast.Value, tracers ...topdown.QueryTracer) (*ast.Term, error) {
	q := s.queries[kind]
	if q == nil {
		return nil, fmt.Errorf("%w %q", errUnknownKind, kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = s.guests.session(ctx)
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	eval := topdown.NewQuery(q.body).
		WithQueryCompiler(q.compiler).
		WithCompiler(s.compiler).
		WithStore(s.store).
		WithTransaction(s.txn).
		WithInput(ast.NewTerm(input)).
		WithCancel(cancel).
		WithMetrics(metrics.NoOp()).
		WithTime(s.info.Loaded).
		WithInterQueryBuiltinValueCache(s.values).
		WithBuiltins(s.functions).
		// An error of a built-in would otherwise be undefined, and a denial
		// whose body is undefined does not deny.
		WithStrictBuiltinErrors(true)
	for _, tracer := range tracers {
		eval = eval.WithQueryTracer(tracer)
	}
	var result *ast.Term
	results := 0
	err := eval.Iter(ctx, func(r topdown.QueryResult) error {
		result = r[decisionVar]
		results++
		return nil
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("the decision took too long: %w", ctx.Err())
	case err != nil:
		return nil, compileErrors(err)
	case results != 1 || result == nil || result.Equal(ast.InternedTerm(false)):
		return nil, errUndefined
	}
	return result, nil
}
