package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TestConfig says which tests of a policy to run.
type TestConfig struct {
	Config
	// Run selects tests by package and name; empty means all.
	Run string
	// Coverage measures which lines the tests reach, in Rego.
	Coverage bool
	// Target is what runs the rules of teams; Rego if it is empty.
	Target Target
}

// Outcome is how a test ended.
type Outcome string

// The outcomes of a test.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "fail"
	Errored Outcome = "error"
	Skipped Outcome = "skip"
	// Unsupported is a test that cannot say anything of Wasm.
	Unsupported Outcome = "unsupported"
)

// TestResult is the result of one test.
type TestResult struct {
	Package  string        `json:"package"`
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Outcome  Outcome       `json:"outcome"`
	Duration time.Duration `json:"duration_ns"`
	// Failed is the expression that does not hold, and where it stands.
	Failed   string `json:"failed,omitempty"`
	FailedAt string `json:"failed_at,omitempty"`
	// Expected and Actual are the two sides of a comparison that failed.
	Expected string `json:"expected,omitempty"`
	Actual   string `json:"actual,omitempty"`
	Error    string `json:"error,omitempty"`
	// Cases are the names of the cases that failed, of a test that has cases.
	Cases []string `json:"cases,omitempty"`
	// Output is what the test printed.
	Output string `json:"output,omitempty"`
	// Unsupported is why the test cannot run on Wasm.
	Unsupported string `json:"unsupported,omitempty"`
}

// FileCoverage says which lines of a file no test reached.
type FileCoverage struct {
	File       string  `json:"file"`
	Percent    float64 `json:"percent"`
	NotCovered []Lines `json:"not_covered"`
}

// Lines is a range of lines, both ends included.
type Lines struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// TestReport is the outcome of a test run.
type TestReport struct {
	Tests []TestResult `json:"tests"`
	// Coverage is nil unless it was asked for.
	Coverage *Coverage `json:"coverage,omitempty"`
}

// Coverage says how much of the tested policy the tests reach.
type Coverage struct {
	Percent float64        `json:"percent"`
	Files   []FileCoverage `json:"files"`
}

// Count returns the number of tests with that outcome.
func (r TestReport) Count(o Outcome) int {
	n := 0
	for _, t := range r.Tests {
		if t.Outcome == o {
			n++
		}
	}
	return n
}

// ErrNoTests means that there was nothing to run, which is never a success.
var ErrNoTests = errors.New("no test was run")

// testLimit bounds one test.
const testLimit = 30 * time.Second

// Test runs the tests of a policy with the compiler, the checks and the data
// of [New]. It tests what the directories hold, or the default policy if there
// are none.
func Test(ctx context.Context, cfg TestConfig) (TestReport, error) {
	filter, err := regexp.Compile(cfg.Run)
	if err != nil {
		return TestReport{}, fmt.Errorf("which tests to run: %w", err)
	}
	tested := cfg.tested()
	src, err := cfg.sources(func(f file) bool {
		return !strings.HasSuffix(f.rel, "_test.rego") || tested(f)
	})
	if err != nil {
		return TestReport{}, err
	}
	c, err := src.compile()
	if err != nil {
		return TestReport{}, err
	}
	guests, err := c.loadGuests(ctx, src)
	if err != nil {
		return TestReport{}, err
	}
	defer guests.retire()
	ext, err := src.loadExtensions(ctx)
	if err != nil {
		return TestReport{}, err
	}
	defer ext.close()
	run := &testRun{compiled: c, filter: filter, cover: cover.New(), guests: guests, extensions: ext}
	run.functions = append(guests.builtins(), ext.builtins()...)
	for _, f := range src.files {
		if !f.isRego() || !tested(f) {
			continue
		}
		for _, rule := range run.compiler.Modules[f.name].Rules {
			run.wanted = append(run.wanted, rule.Location.String())
		}
	}
	report, err := run.on(ctx, src, cfg.Target)
	if err != nil {
		return TestReport{}, err
	}
	if report.Count(Passed)+report.Count(Failed)+report.Count(Errored) == 0 {
		return TestReport{}, ErrNoTests
	}
	if cfg.Coverage {
		report.Coverage = run.coverage(src, tested)
	}
	return report, nil
}

// tested returns which files are under test.
func (c Config) tested() func(file) bool {
	if c.Only == "" && len(c.Dirs) == 0 {
		return everything
	}
	return func(f file) bool { return f.dir != "" }
}

// testRun is one run of the tests of a policy.
type testRun struct {
	*compiled
	filter *regexp.Regexp
	cover  *cover.Cover
	runner *tester.Runner
	store  storage.Store
	txn    storage.Transaction
	wanted []string // locations of the tests of files under test
	// guests are what answers for teams in Wasm, and functions what they and
	// extensions let a query call.
	guests    *guests
	functions builtins
	// relaxed passes over what strict compilation refuses, of modules that have
	// passed it before a part of them was taken out.
	relaxed    bool
	extensions extensions
}

func (r *testRun) prepare(ctx context.Context, src *sources) error {
	compiler, err := src.compiler()
	if err != nil {
		return err
	}
	r.store = r.newStore()
	if r.txn, err = r.store.NewTransaction(ctx); err != nil {
		return fmt.Errorf("policy data: %w", err)
	}
	functions := make([]*tester.Builtin, 0, len(r.functions))
	for _, f := range r.functions {
		functions = append(functions, f.forTest())
	}
	r.runner = tester.NewRunner().
		AddCustomBuiltins(functions).
		SetCompiler(compiler.WithEnablePrintStatements(true).WithStrict(!r.relaxed)).
		SetStore(r.store).
		SetModules(r.modules).
		SetTimeout(testLimit).
		SetParallel(1).
		CapturePrintOutput(true).
		RaiseBuiltinErrors(true).
		SetCoverageQueryTracer(r.cover).
		SetCoverageRuns([]cover.Kind{cover.KindIndexExcluded, cover.KindEarlyExit}).
		Filter(r.filter.String())
	return nil
}

func (r *testRun) newStore() storage.Store {
	return inmem.NewFromObjectWithOpts(r.data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
}

func (r *testRun) all(ctx context.Context, report *TestReport) error {
	results, err := r.runner.RunTests(ctx, r.txn)
	if err != nil {
		return compileErrors(err)
	}
	for t := range results {
		if t.Location == nil || !slices.Contains(r.wanted, t.Location.String()) {
			continue
		}
		report.Tests = append(report.Tests, r.result(ctx, t))
	}
	slices.SortFunc(report.Tests, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return ctx.Err()
}

func (r *testRun) result(ctx context.Context, t *tester.Result) TestResult {
	out := TestResult{
		Package: strings.TrimPrefix(t.Package, "data."), Name: t.Name,
		File: t.Location.File, Line: t.Location.Row,
		Outcome: Passed, Duration: t.Duration, Output: string(t.Output),
	}
	switch {
	case t.Skip:
		out.Outcome = Skipped
	case t.Error != nil:
		out.Outcome, out.Error = Errored, compileErrors(t.Error).Error()
	case t.Fail:
		out.Outcome, out.Cases = Failed, failedCases(t)
		r.explain(ctx, t.Location, &out)
	case r.hasCases(t.Location) && len(t.SubResults) == 0:
		// Nothing was checked, which must not look like a check that held.
		out.Outcome, out.Error = Errored, "no case was run"
	}
	return out
}

// failedCases returns the names of the cases of a test that did not hold.
func failedCases(t *tester.Result) []string {
	var names []string
	for path, sub := range t.SubResults.Iter {
		if sub.Fail && len(sub.SubResults) == 0 {
			names = append(names, strings.Join(path, "/"))
		}
	}
	return names
}

// rule returns the rule at a place, as it is written, or nil.
func (r *testRun) rule(at *ast.Location) *ast.Rule {
	m := r.modules[at.File]
	i := slices.IndexFunc(m.Rules, func(rule *ast.Rule) bool { return rule.Location.Row == at.Row && rule.Location.Col == at.Col })
	if i < 0 {
		return nil
	}
	return m.Rules[i]
}

// hasCases reports whether the test at a place is one with named cases.
func (r *testRun) hasCases(at *ast.Location) bool {
	rule := r.rule(at)
	return rule != nil && rule.Head.DocKind() == ast.PartialObjectDoc
}

// explain finds the first expression of a failed test that does not hold, and
// the values of its two sides if it compares. It evaluates ever longer parts of
// the test's body, as it is written.
func (r *testRun) explain(ctx context.Context, at *ast.Location, out *TestResult) {
	rule := r.rule(at)
	if rule == nil {
		return
	}
	m, body := r.modules[at.File], rule.Body
	for n := range body {
		if rs, err := r.query(ctx, m, body[:n+1]); err != nil || holds(rs) {
			continue
		}
		failed := body[n]
		out.Failed, out.FailedAt = strings.TrimSpace(string(failed.Location.Text)), position(failed.Location)
		if failed.IsCall() && len(failed.Operands()) == 2 && !failed.Negated {
			out.Actual = r.value(ctx, m, body[:n], failed, 0)
			out.Expected = r.value(ctx, m, body[:n], failed, 1)
		}
		return
	}
}

// holds reports whether a query has an answer in which nothing is false.
func holds(rs rego.ResultSet) bool {
	return slices.ContainsFunc(rs, func(r rego.Result) bool {
		return !slices.ContainsFunc(r.Expressions, func(e *rego.ExpressionValue) bool { return e.Value == false })
	})
}

// value evaluates one side of a comparison, with the modifiers of the whole.
func (r *testRun) value(ctx context.Context, m *ast.Module, before ast.Body, e *ast.Expr, operand int) string {
	result := ast.VarTerm("__value")
	side := ast.Assign.Expr(result, e.Operand(operand))
	side.With = e.With
	rs, err := r.query(ctx, m, append(slices.Clone(before), side))
	if err != nil {
		return compileErrors(err).Error()
	}
	if len(rs) == 0 {
		return "undefined"
	}
	v, err := ast.InterfaceToValue(rs[0].Bindings["__value"])
	if err != nil {
		return err.Error()
	}
	return v.String()
}

func (r *testRun) query(ctx context.Context, m *ast.Module, body ast.Body) (rego.ResultSet, error) {
	copied := body.Copy()
	for i, e := range copied {
		e.Index = i
	}
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	imports := make([]string, 0, len(m.Imports))
	for _, i := range m.Imports {
		imports = append(imports, strings.TrimPrefix(i.String(), "import "))
	}
	return rego.New(append(r.functions.options(),
		rego.ParsedQuery(copied),
		rego.Package(m.Package.Path[1:].String()),
		rego.ParsedPackage(m.Package),
		rego.Imports(imports),
		rego.Compiler(r.compiler),
		rego.Store(r.store),
		rego.Transaction(r.txn),
		rego.StrictBuiltinErrors(true),
	)...).Eval(ctx)
}

func (r *testRun) coverage(src *sources, tested func(file) bool) *Coverage {
	modules := map[string]*ast.Module{}
	for _, f := range src.files {
		if f.isRego() && tested(f) && !f.isTest() && !f.generated {
			modules[f.name] = r.modules[f.name]
		}
	}
	report := r.cover.Report(modules)
	out := &Coverage{Files: []FileCoverage{}}
	covered, lines := 0, 0
	for name, f := range report.Files {
		if modules[name] == nil {
			continue // a test, or what the tests use
		}
		covered += f.CoveredLines
		lines += f.CoveredLines + f.NotCoveredLines
		fc := FileCoverage{File: name, Percent: f.Coverage, NotCovered: []Lines{}}
		slices.SortFunc(f.NotCovered, func(a, b cover.Range) int { return cmp.Compare(a.Start.Row, b.Start.Row) })
		for _, r := range f.NotCovered {
			if last := len(fc.NotCovered) - 1; last >= 0 && r.Start.Row <= fc.NotCovered[last].Last+1 {
				fc.NotCovered[last].Last = max(fc.NotCovered[last].Last, r.End.Row)
				continue
			}
			fc.NotCovered = append(fc.NotCovered, Lines{First: r.Start.Row, Last: r.End.Row})
		}
		out.Files = append(out.Files, fc)
	}
	if lines > 0 {
		out.Percent = 100 * float64(covered) / float64(lines)
	}
	slices.SortFunc(out.Files, func(a, b FileCoverage) int { return cmp.Compare(a.File, b.File) })
	return out
}

var _ topdown.QueryTracer = (*cover.Cover)(nil)
