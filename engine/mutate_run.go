package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// mutantTestLimit bounds one test of a mutant. What it takes longer is noticed.
const mutantTestLimit = 10 * time.Second

// mutator tests the mutants of one policy.
type mutator struct {
	cfg     MutateConfig
	schema  *ast.SchemaSet
	modules map[string]*ast.Module
	// subjects are the names of the modules that are mutated, testing those of
	// the modules that hold tests.
	subjects []string
	testing  map[string]bool
	claims   []*claim
	// uses lists, by module, the modules that it refers to.
	uses  map[string][]string
	store storage.Store
	txn   storage.Transaction
	// capabilities are what the policy may use, and functions those of them that
	// come with it.
	capabilities *ast.Capabilities
	functions    builtins
	guests       *guests
	extensions   extensions

	tests []mutantTest // the quick ones first
	// reach lists the tests that evaluate a line of a file, in order.
	reach map[string]map[int][]int

	mu      sync.Mutex
	killers map[string][]int // by rule, the last one first
	done    int
}

// mutantTest is a test, by where it stands.
type mutantTest struct {
	at   string // the location
	file string
	took time.Duration
}

func newMutator(ctx context.Context, cfg MutateConfig) (*mutator, error) {
	if cfg.Parallel == 0 {
		cfg.Parallel = 2
	}
	if cfg.Parallel < 0 {
		return nil, errors.New("engine: Parallel is negative")
	}
	tested := cfg.tested()
	if cfg.WithDefault {
		tested = everything
	}
	src, err := cfg.sources(func(f file) bool { return !strings.HasSuffix(f.rel, "_test.rego") || tested(f) })
	if err != nil {
		return nil, err
	}
	c, err := src.compile()
	if err != nil {
		return nil, err
	}
	schema, err := src.schema("input")
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
	m := &mutator{
		cfg: cfg, modules: c.modules, schema: ast.NewSchemaSet(), testing: map[string]bool{},
		reach: map[string]map[int][]int{}, killers: map[string][]int{},
		store:        inmem.NewFromObjectWithOpts(c.data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false)),
		capabilities: src.capabilities(), functions: append(guests.builtins(), ext.builtins()...), guests: guests, extensions: ext,
	}
	if err := m.prepare(ctx, src, schema, tested); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// close frees what came with the policy.
func (m *mutator) close() {
	m.guests.retire()
	m.extensions.close()
}

func (m *mutator) prepare(ctx context.Context, src *sources, schema any, tested func(file) bool) (err error) {
	m.schema.Put(ast.SchemaRootRef, schema)
	for _, f := range src.files {
		switch {
		case !f.isRego():
		case strings.HasSuffix(f.rel, "_test.rego"):
			m.testing[f.name] = true
		case tested(f) && !f.isTest():
			m.subjects = append(m.subjects, f.name)
		}
	}
	slices.Sort(m.subjects)
	if m.claims, err = m.readClaims(); err != nil {
		return err
	}
	if m.txn, err = m.store.NewTransaction(ctx); err != nil {
		return fmt.Errorf("policy data: %w", err)
	}
	return m.baseline(ctx)
}

// baseline runs all tests as the policy is, and then each once more to see
// which lines it evaluates.
func (m *mutator) baseline(ctx context.Context) error {
	compiler, err := m.compile(ctx, m.modules)
	if err != nil {
		return compileErrors(err)
	}
	results, err := m.runner(compiler).SetParallel(m.cfg.Parallel).SetTimeout(testLimit).RunTests(ctx, m.txn)
	if err != nil {
		return compileErrors(err)
	}
	failed := 0
	for t := range results {
		if t.Location == nil || t.Skip || !m.testing[t.Location.File] {
			continue
		}
		if !t.Pass() {
			failed++
		}
		m.tests = append(m.tests, mutantTest{at: t.Location.String(), file: t.Location.File, took: t.Duration})
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed > 0:
		return fmt.Errorf("%w: %d of %d", ErrTestsFail, failed, len(m.tests))
	case len(m.tests) == 0:
		return ErrNoTests
	}
	m.uses = usesOf(compiler)
	slices.SortFunc(m.tests, func(a, b mutantTest) int { return cmp.Or(cmp.Compare(a.took, b.took), cmp.Compare(a.at, b.at)) })
	// A mutant that does not compile must be so by its change alone.
	for _, name := range slices.Sorted(maps.Keys(m.modules)) {
		if _, err := m.compile(ctx, m.needed(nil, name)); err != nil {
			return fmt.Errorf("%s: cannot be compiled without what it does not use, such as tests that refer to tests: %w", name, compileErrors(err))
		}
	}
	refs := testRefs(compiler)
	for i, t := range m.tests {
		lines := lineTracer{}
		q, err := rego.New(append(m.functions.options(),
			rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(refs[t.at])))), rego.Compiler(compiler),
			rego.Store(m.store), rego.Transaction(m.txn),
		)...).PrepareForEval(ctx)
		if err == nil {
			// What an index or an early exit passes over may matter in a mutant.
			_, err = q.Eval(ctx, rego.EvalTransaction(m.txn), rego.EvalQueryTracer(lines), rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false))
		}
		if err != nil {
			return compileErrors(err)
		}
		for at := range lines {
			if m.reach[at.file] == nil {
				m.reach[at.file] = map[int][]int{}
			}
			m.reach[at.file][at.row] = append(m.reach[at.file][at.row], i)
		}
	}
	return nil
}

// compile compiles modules as for tests. It is not strict: what a mutant does
// not use is no error.
func (m *mutator) compile(ctx context.Context, modules map[string]*ast.Module) (*ast.Compiler, error) {
	compiler := ast.NewCompiler().
		WithCapabilities(m.capabilities).
		WithSchemas(m.schema).
		WithUseTypeCheckAnnotations(true).
		WithKeepModules(false).
		WithDefaultRegoVersion(ast.RegoV1)
	// The runner compiles in a way that finds tests with cases. No test has no
	// name, so that is all that it does here.
	results, err := m.runner(compiler).SetModules(modules).Filter("^$").RunTests(ctx, m.txn)
	if err != nil {
		return nil, err
	}
	for range results {
		continue // there is none, and the runner must end
	}
	return compiler, nil
}

func (m *mutator) runner(compiler *ast.Compiler) *tester.Runner {
	functions := make([]*tester.Builtin, 0, len(m.functions))
	for _, f := range m.functions {
		functions = append(functions, f.forTest())
	}
	return tester.NewRunner().AddCustomBuiltins(functions).SetCompiler(compiler).SetStore(m.store).SetTimeout(mutantTestLimit).SetParallel(1).
		CapturePrintOutput(false).RaiseBuiltinErrors(true)
}

// testRefs returns the paths of all tests by where they stand.
func testRefs(compiler *ast.Compiler) map[string]ast.Ref {
	refs := map[string]ast.Ref{}
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			ref := rule.Head.Ref().GroundPrefix()
			i := slices.IndexFunc(ref, func(t *ast.Term) bool {
				switch v := t.Value.(type) {
				case ast.Var:
					return strings.HasPrefix(string(v), tester.TestPrefix)
				case ast.String:
					return strings.HasPrefix(string(v), tester.TestPrefix)
				}
				return false
			})
			if i >= 0 {
				refs[rule.Location.String()] = module.Package.Path.Extend(ref[:i+1])
			}
		}
	}
	return refs
}

// line is a line of a file.
type line struct {
	file string
	row  int
}

// lineTracer gathers the lines that a query evaluates.
type lineTracer map[line]bool

var _ topdown.QueryTracer = lineTracer{}

func (lineTracer) Enabled() bool { return true }

func (lineTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

func (t lineTracer) TraceEvent(event topdown.Event) {
	var at *ast.Location
	switch node := event.Node.(type) {
	case *ast.Expr:
		at = node.Location
	case *ast.Rule:
		at = node.Location
	}
	if at != nil {
		t[line{at.File, at.Row}] = true
	}
}

// reaching returns the tests that may notice a mutant, in an order in which it
// is likely to be noticed soon: first those that noticed another change to the
// same rule, then the quick ones.
func (m *mutator) reaching(mut *mutant) []int {
	tests := map[int]bool{}
	for row := mut.first; row <= mut.last; row++ {
		for _, i := range m.reach[mut.module][row] {
			tests[i] = true
		}
	}
	order := slices.Sorted(maps.Keys(tests))
	m.mu.Lock()
	defer m.mu.Unlock()
	var first []int
	for _, i := range m.killers[mut.key()] {
		if tests[i] {
			first = append(first, i)
		}
	}
	return append(first, slices.DeleteFunc(order, func(i int) bool { return slices.Contains(first, i) })...)
}

func (mut *mutant) key() string { return fmt.Sprint(mut.module, mut.rule) }

func (m *mutator) run(ctx context.Context) ([]mutant, error) {
	mutants := m.mutants()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *mutant)
	var wg sync.WaitGroup
	for range m.cfg.Parallel {
		wg.Go(func() {
			for mut := range next {
				if err := m.test(ctx, mut); err != nil {
					cancel(err)
				}
				m.progress(len(mutants))
			}
		})
	}
feed:
	for i := range mutants {
		select {
		case next <- &mutants[i]:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return mutants, context.Cause(ctx)
}

func (m *mutator) progress(total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if m.cfg.Progress != nil {
		m.cfg.Progress(m.done, total)
	}
}

// test compiles a mutant and runs the tests that reach it, up to the first
// that notices.
func (m *mutator) test(ctx context.Context, mut *mutant) error {
	order := m.reaching(mut)
	mut.Reached = len(order) > 0
	modules := m.needed(order, mut.module)
	modules[mut.module] = m.apply(mut)
	compiler, err := m.compile(ctx, modules)
	if err != nil {
		mut.outcome = invalid
		return ctx.Err()
	}
	refs := testRefs(compiler)
	for _, i := range order {
		outcome, err := m.one(ctx, compiler, refs[m.tests[i].at])
		if err != nil {
			return err
		}
		if outcome != survived {
			mut.outcome = outcome
			m.mu.Lock()
			m.killers[mut.key()] = append([]int{i}, slices.DeleteFunc(m.killers[mut.key()], func(k int) bool { return k == i })...)
			m.mu.Unlock()
			break
		}
	}
	return nil
}

// needed returns the modules that some tests of a module reach, without the
// tests that are not to be run. What nothing refers to need not be compiled.
func (m *mutator) needed(order []int, module string) map[string]*ast.Module {
	wanted := map[string]bool{}
	modules := map[string]*ast.Module{}
	todo := []string{module}
	for _, i := range order {
		wanted[m.tests[i].at] = true
		todo = append(todo, m.tests[i].file)
	}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if modules[name] == nil {
			modules[name] = m.modules[name]
			todo = append(todo, m.uses[name]...)
		}
	}
	for name, module := range modules {
		if !m.testing[name] {
			continue
		}
		less := *module
		less.Annotations = nil
		// What is no test stays: tests of other files may use it.
		less.Rules = slices.DeleteFunc(slices.Clone(less.Rules), func(rule *ast.Rule) bool {
			return isTestRule(rule) && !wanted[rule.Location.String()]
		})
		modules[name] = &less
	}
	return modules
}

// usesOf finds out which modules refer to which. A reference reaches what
// stands below it, and what it leads through.
func usesOf(compiler *ast.Compiler) map[string][]string {
	uses := map[string][]string{}
	for name, module := range compiler.Modules {
		found := map[string]bool{}
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			if !ref.HasPrefix(ast.DefaultRootRef) {
				return false
			}
			prefix := ref.ConstantPrefix()
			for other, m := range compiler.Modules {
				if m.Package.Path.HasPrefix(prefix) || prefix.HasPrefix(m.Package.Path) {
					found[other] = true
				}
			}
			return false
		})
		uses[name] = slices.Sorted(maps.Keys(found))
	}
	return uses
}

func isTestRule(rule *ast.Rule) bool {
	name := rule.Head.Ref()[0].String()
	return strings.HasPrefix(name, tester.TestPrefix) || strings.HasPrefix(name, tester.SkipTestPrefix)
}

// one runs a test of a mutant.
func (m *mutator) one(ctx context.Context, compiler *ast.Compiler, ref ast.Ref) (mutantOutcome, error) {
	results, err := m.runner(compiler).SetPrefixMatchers(ref).RunTests(ctx, m.txn)
	if err != nil {
		return survived, compileErrors(err)
	}
	outcome, ran := survived, false
	for t := range results {
		if t.Package+"."+t.Name != ref.String() {
			continue // its name begins alike
		}
		ran = true
		switch {
		case t.Error != nil && topdown.IsCancel(t.Error):
			outcome = timedOut
		case !t.Pass():
			outcome = killed
		}
	}
	if err := ctx.Err(); err != nil {
		return survived, err
	}
	if !ran {
		return survived, fmt.Errorf("test %s was not run", ref)
	}
	return outcome, nil
}
