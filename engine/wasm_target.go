package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Target is what runs the rules of teams in a test. The tests themselves, and
// the default policy, always run in Rego.
type Target string

// The targets of tests.
const (
	TargetRego Target = "rego"
	// TargetWasm compiles the rules of teams to Wasm, as [Build] does.
	TargetWasm Target = "wasm"
	// TargetBoth runs each test on both, and wants them to give the same.
	TargetBoth Target = "both"
)

// ErrNotOnWasm means that none of the tests can say anything of Wasm.
var ErrNotOnWasm = errors.New("no test can run on Wasm")

// on runs the tests on a target.
func (r *testRun) on(ctx context.Context, src *sources, target Target) (TestReport, error) {
	switch target {
	case "", TargetRego:
		return r.report(ctx, src)
	case TargetWasm, TargetBoth:
	default:
		return TestReport{}, fmt.Errorf("target %q: want rego, wasm or both", target)
	}
	both := target == TargetBoth
	onWasm, with, err := r.onWasm(ctx, src, both)
	if err != nil {
		return TestReport{}, err
	}
	defer onWasm.guests.retire()
	wasm, err := onWasm.report(ctx, with)
	if err != nil {
		return TestReport{}, err
	}
	reasons := r.unsupported(src)
	report := wasm
	if both {
		if report, err = r.report(ctx, src); err != nil {
			return TestReport{}, err
		}
		report.compare(wasm, reasons)
	}
	if err := report.markUnsupported(reasons, both); err != nil {
		return TestReport{}, err
	}
	return report, nil
}

// report runs the tests.
func (r *testRun) report(ctx context.Context, src *sources) (TestReport, error) {
	report := TestReport{Tests: []TestResult{}}
	if err := r.prepare(ctx, src); err != nil {
		return report, err
	}
	return report, r.all(ctx, &report)
}

// onWasm returns the same run with the contributions of teams compiled to
// Wasm, and its sources. If they are compared, each answer is held to that of
// the rules in Rego.
func (r *testRun) onWasm(ctx context.Context, src *sources, compared bool) (*testRun, *sources, error) {
	source, err := r.compileTeams(ctx, src)
	if err != nil {
		return nil, nil, err
	}
	with := *src
	with.guests = append(slices.Clone(src.guests), source)
	c := &compiled{modules: maps.Clone(r.modules), data: r.data, at: r.at, owner: r.owner}
	for _, f := range src.files {
		if m := c.modules[f.name]; m != nil && f.ofTeam() {
			c.modules[f.name] = withoutContributions(m)
		}
	}
	for team := range source.teams {
		name := source.name + ":team." + team
		if c.modules[name], err = ast.ParseModuleWithOpts(name, string(source.gatherer(team)), ast.ParserOptions{RegoVersion: ast.RegoV1}); err != nil {
			return nil, nil, err
		}
	}
	if c.compiler, err = with.compiler(); err != nil {
		return nil, nil, err
	}
	if c.compiler.WithStrict(false).Compile(c.modules); c.compiler.Failed() {
		return nil, nil, compileErrors(c.compiler.Errors)
	}
	guests, err := c.loadGuests(ctx, &with)
	if err != nil {
		return nil, nil, err
	}
	run := &testRun{compiled: c, filter: r.filter, cover: cover.New(), wanted: r.wanted, relaxed: true, guests: guests, extensions: r.extensions}
	askers := map[string]asker{}
	for _, a := range guests.answers {
		askers[a.entrypoint] = a
		if compared && a.name == source.name {
			if askers[a.entrypoint], err = r.compared(ctx, a); err != nil {
				guests.retire()
				return nil, nil, err
			}
		}
	}
	run.functions = append(builtins{askBuiltin(askers)}, r.extensions.builtins()...)
	return run, &with, nil
}

// compileTeams compiles what teams contribute in Rego.
func (r *testRun) compileTeams(ctx context.Context, src *sources) (guestSource, error) {
	b, entrypoints, err := r.bundle(ctx, src, true, "", func(f file) string { return f.name })
	switch {
	case errors.Is(err, errNothingToCompile):
		return guestSource{}, errors.New("--target: no directory holds a team's rules in Rego, so there is nothing to compile to Wasm")
	case err != nil:
		return guestSource{}, err
	}
	source := guestSource{name: "compiled to " + wasmFile, module: b.WasmModules[0].Raw, teams: map[string][]string{}}
	for _, e := range entrypoints {
		team, contribution, err := guestEntrypoint(e)
		if err != nil {
			return guestSource{}, err
		}
		source.teams[team] = append(source.teams[team], contribution)
	}
	return source, nil
}

// withoutContributions returns a module without the rules that Wasm answers.
func withoutContributions(m *ast.Module) *ast.Module {
	m = m.Copy()
	m.Annotations = nil
	m.Rules = slices.DeleteFunc(m.Rules, isContribution)
	return m
}

// isContribution reports whether a rule of a team takes part in decisions.
func isContribution(rule *ast.Rule) bool {
	path := packagePath(rule.Module)
	return len(path) == 2 && path[0] == "team" && slices.Contains(contributions, rule.Head.Ref()[0].Value.String())
}

// comparison answers from Wasm, and holds the answer to that of Rego.
type comparison struct {
	*answer
	query rego.PreparedEvalQuery
}

var _ asker = (*comparison)(nil)

// compared returns a comparison of an answer. Its query stays good as long as
// the run.
func (r *testRun) compared(ctx context.Context, a *answer) (*comparison, error) {
	query, err := rego.New(append(r.functions.options(),
		rego.Query("data."+strings.ReplaceAll(a.entrypoint, "/", ".")),
		rego.Compiler(r.compiler),
		rego.Store(r.newStore()),
		rego.StrictBuiltinErrors(true),
	)...).PrepareForEval(ctx)
	if err != nil {
		return nil, compileErrors(err)
	}
	return &comparison{a, query}, nil
}

func (c *comparison) ask(ctx context.Context, input ast.Value) (ast.Value, error) {
	got, wasmErr := c.answer.ask(ctx, input)
	var want ast.Value
	options := []rego.EvalOption{rego.EvalGenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) {
		want = t.Value
		return true, nil
	})}
	if input != nil {
		options = append(options, rego.EvalParsedInput(input))
	}
	_, regoErr := c.query.Eval(ctx, options...)
	switch {
	case regoErr != nil && wasmErr != nil:
		return nil, wasmErr
	case regoErr != nil:
		return nil, fmt.Errorf("%s differs: Wasm gives %s, Rego ends with: %w", c.entrypoint, show(got), regoErr)
	case wasmErr != nil:
		return nil, fmt.Errorf("%s differs: Rego gives %s, Wasm ends with: %w", c.entrypoint, show(want), wasmErr)
	case (want == nil) != (got == nil), want != nil && want.Compare(got) != 0:
		return nil, fmt.Errorf("%s differs: Rego gives %s, Wasm gives %s", c.entrypoint, show(want), show(got))
	}
	return got, nil
}

func show(v ast.Value) string {
	if v == nil {
		return "undefined"
	}
	return v.String()
}

// compare holds the results of Rego to those of Wasm, of tests that can run
// there.
func (r *TestReport) compare(wasm TestReport, reasons map[string]string) {
	key := func(t TestResult) string { return t.place() + " " + t.Package + "." + t.Name }
	others := make(map[string]TestResult, len(wasm.Tests))
	for _, t := range wasm.Tests {
		others[key(t)] = t
	}
	for i := range r.Tests {
		t := &r.Tests[i]
		other, ok := others[key(*t)]
		delete(others, key(*t))
		switch {
		case reasons[t.place()] != "":
		case !ok:
			t.Outcome, t.Error = Errored, "differs: it did not run on Wasm"
		case other.Outcome != t.Outcome || !slices.Equal(sorted(other.Cases), sorted(t.Cases)):
			t.Error = strings.TrimSpace(fmt.Sprintf("differs: %s on Rego, %s on Wasm. %s", t.Outcome, other.Outcome, cmp.Or(other.Error, t.Error)))
			t.Outcome = Errored
		case t.Outcome == Errored && other.Error != t.Error:
			t.Error = fmt.Sprintf("on Rego: %s; on Wasm: %s", t.Error, other.Error)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(others)) {
		t := others[key]
		t.Outcome, t.Error = Errored, "differs: it did not run on Rego"
		r.Tests = append(r.Tests, t)
	}
}

// place is where a test stands, as position has it.
func (t TestResult) place() string { return fmt.Sprintf("%s:%d", t.File, t.Line) }

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// markUnsupported marks the tests whose outcome says nothing of Wasm, by the
// places where they stand. With failures, which are those of Rego, one that fails
// stays a failure.
func (r *TestReport) markUnsupported(reasons map[string]string, failures bool) error {
	var lines []string
	ran := 0
	for i := range r.Tests {
		t := &r.Tests[i]
		reason := reasons[t.place()]
		switch {
		case t.Outcome == Skipped:
		case reason == "" || failures && (t.Outcome == Failed || t.Outcome == Errored):
			ran++
		default:
			*t = TestResult{Package: t.Package, Name: t.Name, File: t.File, Line: t.Line, Duration: t.Duration, Outcome: Unsupported, Unsupported: reason}
			lines = append(lines, fmt.Sprintf("%s: %s: %s", t.place(), t.Name, reason))
		}
	}
	if ran == 0 && len(lines) > 0 {
		return fmt.Errorf("%w:\n%s", ErrNotOnWasm, strings.Join(lines, "\n"))
	}
	return nil
}
