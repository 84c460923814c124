package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// MutateConfig says which policy to mutate.
type MutateConfig struct {
	Config
	// WithDefault mutates the default policy too, and runs its tests. It is
	// what is mutated anyway if there is no directory.
	WithDefault bool
	// Parallel is how many mutants are tested at a time. Default: 2.
	Parallel int
	// Progress, if not nil, is told how many mutants are done, one call at a time.
	Progress func(done, total int)
}

// Mutation is a change to a policy that its tests should notice.
type Mutation struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Rule string `json:"rule"`
	// Kind is drop, negate, operator, constant, rule or else.
	Kind     string `json:"kind"`
	Original string `json:"original"`
	Mutated  string `json:"mutated"`
	// Reached says whether any test evaluates what was changed.
	Reached bool `json:"reached"`
	// Reason says why it changes nothing, if a comment claims so.
	Reason string `json:"reason,omitempty"`
}

// MutationReport says which conditions of a policy no test would miss.
type MutationReport struct {
	// Total counts the mutants that a test could have noticed.
	Total  int `json:"total"`
	Killed int `json:"killed"`
	// TimedOut counts those of the killed that a test gave up on.
	TimedOut int `json:"timed_out"`
	// Invalid counts changes that do not compile; they count for nothing.
	Invalid int `json:"invalid"`
	// Score is how many percent of all mutants were killed.
	Score     float64    `json:"score"`
	Survivors []Mutation `json:"survivors"`
	// Equivalent are survivors that a comment claims to change nothing.
	Equivalent []Mutation `json:"equivalent"`
	// Unused are the places of such comments that excuse no survivor.
	Unused []string `json:"unused"`
	// Tests is how many tests were there to notice.
	Tests int `json:"tests"`
}

// ErrTestsFail means that a policy cannot be mutated since its tests fail as it is.
var ErrTestsFail = errors.New("the tests fail before anything is changed")

// Mutate changes one thing after the other in a policy, in memory, and runs
// the tests that reach it. A change that no test notices is a condition that
// could be lost without notice.
func Mutate(ctx context.Context, cfg MutateConfig) (MutationReport, error) {
	m, err := newMutator(ctx, cfg)
	if err != nil {
		return MutationReport{}, err
	}
	defer m.close()
	results, err := m.run(ctx)
	if err != nil {
		return MutationReport{}, err
	}
	return m.report(results), nil
}

// mutant is a change, and where to make it.
type mutant struct {
	Mutation
	module string
	rule   int // index in the module
	edit   int // index among the rule's edits
	// rows are the lines whose evaluation may show the change.
	first, last int
	outcome     mutantOutcome
}

// mutantOutcome is what became of a mutant. Its zero value is a survivor.
type mutantOutcome uint8

const (
	survived mutantOutcome = iota
	killed
	timedOut
	invalid
)

// mutants lists the changes to the files under test.
func (m *mutator) mutants() []mutant {
	var out []mutant
	for _, name := range m.subjects {
		module := m.modules[name]
		for i, rule := range module.Rules {
			for k, e := range edits(module, i) {
				text := string(e.at.Text)
				mut := mutant{
					module: name, rule: i, edit: k, first: e.at.Row, last: e.at.Row + strings.Count(text, "\n"),
					Mutation: Mutation{
						File: name, Line: e.at.Row, Rule: strings.TrimPrefix(rulePath(rule), "data."),
						Kind: e.kind, Original: bounded(oneLine(e.original)), Mutated: bounded(oneLine(e.mutated)),
					},
				}
				if e.head {
					// A head is evaluated with its rule.
					mut.first, mut.last = e.of.Row, e.of.Row
				}
				out = append(out, mut)
			}
		}
	}
	return out
}

func (m *mutator) report(mutants []mutant) MutationReport {
	r := MutationReport{Survivors: []Mutation{}, Equivalent: []Mutation{}, Unused: []string{}, Tests: len(m.tests)}
	for _, mut := range mutants {
		switch mut.outcome {
		case invalid:
			r.Invalid++
		case timedOut:
			r.TimedOut++
			r.Killed++
		case killed:
			r.Killed++
		case survived:
			if c := m.claimOn(mut.Mutation); c != nil {
				c.used = true
				mut.Reason = c.reason
				r.Equivalent = append(r.Equivalent, mut.Mutation)
				continue
			}
			r.Survivors = append(r.Survivors, mut.Mutation)
		}
	}
	for _, c := range m.claims {
		if !c.used {
			r.Unused = append(r.Unused, fmt.Sprintf("%s:%d", c.file, c.line))
		}
	}
	r.Total = r.Killed + len(r.Survivors)
	r.Score = 100
	if r.Total > 0 {
		r.Score = 100 * float64(r.Killed) / float64(r.Total)
	}
	byPlace := func(a, b Mutation) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Kind, b.Kind))
	}
	slices.SortStableFunc(r.Survivors, byPlace)
	slices.SortStableFunc(r.Equivalent, byPlace)
	return r
}

// claim is a comment that says that mutants of a line change nothing.
type claim struct {
	file   string
	line   int      // of the comment
	kinds  []string // none means all
	reason string
	used   bool
}

// claimForm is what such a comment looks like.
var claimForm = regexp.MustCompile(`^\s*mutate: equivalent((?: (?:drop|negate|operator|constant|rule|else))*) because (\S.*)$`)

// readClaims reads the comments of the files under test. A comment that is almost
// one would excuse nothing, in silence, so it is an error.
func (m *mutator) readClaims() ([]*claim, error) {
	var claims []*claim
	var errs []error
	for _, name := range m.subjects {
		for _, c := range m.modules[name].Comments {
			text := string(c.Text)
			if !strings.HasPrefix(strings.TrimSpace(text), "mutate:") {
				continue
			}
			parts := claimForm.FindStringSubmatch(text)
			if parts == nil {
				errs = append(errs, fmt.Errorf("%s: want `# mutate: equivalent [drop|negate|operator|constant|rule|else]... because REASON`", position(c.Location)))
				continue
			}
			claims = append(claims, &claim{file: name, line: c.Location.Row, kinds: strings.Fields(parts[1]), reason: parts[2]})
		}
	}
	return claims, errors.Join(errs...)
}

// claimOn returns the claim about a mutant: on its line or on the one above.
func (m *mutator) claimOn(mut Mutation) *claim {
	for _, c := range m.claims {
		if c.file == mut.File && (c.line == mut.Line || c.line == mut.Line-1) &&
			(len(c.kinds) == 0 || slices.Contains(c.kinds, mut.Kind)) {
			return c
		}
	}
	return nil
}

// apply returns the module with the change of a mutant made.
func (m *mutator) apply(mut *mutant) *ast.Module {
	module := m.modules[mut.module].Copy()
	edits(module, mut.rule)[mut.edit].apply()
	return module
}
