package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/profiler"

	"opencode/policy"
)

// BenchConfig says what to measure.
type BenchConfig struct {
	Config
	// Inputs are decided about. Default: [BenchInputs].
	Inputs []BenchInput
	// Count is how many decisions of each kind are timed for an input.
	// Default: 300.
	Count int
	// Time, if positive, bounds the time for an input instead.
	Time time.Duration
	// Progress, if not nil, is told how many inputs are done.
	Progress func(done, total int)
}

// BenchInput is an input document with a name for people.
type BenchInput struct {
	Name  string
	Input *policy.Input
}

// BenchReport says what decisions of a policy cost.
type BenchReport struct {
	Digest string       `json:"digest"`
	Inputs []InputBench `json:"inputs"`
	// Cache is what the cache did with the inputs when who asks, in which
	// session and when changes as it does in use.
	Cache map[policy.Kind]CacheBench `json:"cache"`
	// Rules are the rules by the time that they take, the most expensive first.
	Rules []RuleCost `json:"rules"`
}

// InputBench is what the decision on one input costs.
type InputBench struct {
	Name   string        `json:"name"`
	Kind   policy.Kind   `json:"kind"`
	Effect policy.Effect `json:"effect"`
	Rules  []string      `json:"rules"`
	// Hit is the cost of a decision that is remembered; nil if it is not kept.
	Hit *Timing `json:"hit"`
	// Miss is the cost of an evaluation.
	Miss Timing `json:"miss"`
}

// Timing is what one thing costs, in nanoseconds.
type Timing struct {
	Median float64 `json:"median_ns"`
	P99    float64 `json:"p99_ns"`
	// Samples were timed, each of Batch decisions, whose mean it is.
	Samples int `json:"samples"`
	Batch   int `json:"batch"`
}

// CacheBench counts what the cache did.
type CacheBench struct {
	Decisions uint64 `json:"decisions"`
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	// Bypasses are the decisions for which the cache was not asked.
	Bypasses uint64  `json:"bypasses"`
	Rate     float64 `json:"hit_rate"`
}

// RuleCost is what a rule takes of the time of evaluations.
type RuleCost struct {
	At   string `json:"at"`
	Rule string `json:"rule"`
	ID   string `json:"id,omitempty"`
	// Share is its part of the time of all evaluations, 0 to 1. It is measured
	// with a tracer, which costs more than what it measures: compare shares.
	Share float64 `json:"share"`
	// Evaluations counts how often an expression of the rule was evaluated, for
	// one decision on each input.
	Evaluations float64 `json:"evaluations"`
	// Hottest is the line of the rule that takes most.
	Hottest string `json:"hottest"`
}

const (
	benchCount = 300
	// hitBatch makes a sample of remembered decisions longer than what the
	// clock takes.
	hitBatch = 100
	// benchRounds is how often the inputs are decided about to see what the
	// cache does, and profileRounds to see what rules take.
	benchRounds   = 60
	profileRounds = 10
)

// Bench measures the decisions of a policy. Each input is decided about once
// before anything is timed, and that must succeed.
func Bench(ctx context.Context, cfg BenchConfig) (BenchReport, error) {
	if cfg.Count < 0 || cfg.Time < 0 {
		return BenchReport{}, errors.New("engine: Count or Time is negative")
	}
	if cfg.Count == 0 {
		cfg.Count = benchCount
	}
	if len(cfg.Inputs) == 0 {
		cfg.Inputs = BenchInputs()
	}
	e, err := New(ctx, cfg.Config)
	if err != nil {
		return BenchReport{}, err
	}
	defer e.Close()
	b := &bench{cfg: cfg, engine: e, snap: e.snap.Load()}
	r := BenchReport{Digest: b.snap.digest, Inputs: []InputBench{}}
	var errs []error
	for _, in := range cfg.Inputs {
		if _, err := e.Decide(ctx, in.Input); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", in.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return BenchReport{}, err
	}
	for i, in := range cfg.Inputs {
		one, err := b.input(ctx, in)
		if err != nil {
			return BenchReport{}, fmt.Errorf("%s: %w", in.Name, err)
		}
		r.Inputs = append(r.Inputs, one)
		if cfg.Progress != nil {
			cfg.Progress(i+1, len(cfg.Inputs))
		}
	}
	if r.Cache, err = b.cache(ctx); err != nil {
		return BenchReport{}, err
	}
	if r.Rules, err = b.profile(ctx); err != nil {
		return BenchReport{}, err
	}
	return r, nil
}

type bench struct {
	cfg    BenchConfig
	engine *Engine
	snap   *snapshot
}

// input measures one input. Every answer must be the first one again.
func (b *bench) input(ctx context.Context, in BenchInput) (InputBench, error) {
	first, err := b.engine.Decide(ctx, in.Input)
	if err != nil {
		return InputBench{}, err
	}
	out := InputBench{Name: in.Name, Kind: in.Input.Kind, Effect: first.Effect, Rules: []string{}}
	for _, r := range first.Rules {
		out.Rules = append(out.Rules, r.ID)
	}
	out.Miss, err = b.timing(ctx, 1, func() error {
		limit, cancel := context.WithTimeout(ctx, b.engine.cfg.Timeout)
		defer cancel()
		d, err := b.snap.decide(limit, in.Input)
		return same(d, err, first)
	})
	if err != nil {
		return out, err
	}
	again := func() error {
		d, err := b.engine.Decide(ctx, in.Input)
		return same(d, err, first)
	}
	before := b.engine.Info().Cache.Hits
	if err := again(); err != nil || b.engine.Info().Cache.Hits == before {
		return out, err
	}
	hit, err := b.timing(ctx, hitBatch, again)
	out.Hit = &hit
	return out, err
}

// same checks an answer without looking at all of it, so that the check costs
// next to nothing.
func same(d policy.Decision, err error, first policy.Decision) error {
	switch {
	case err != nil:
		return err
	case d.Effect != first.Effect || len(d.Rules) != len(first.Rules):
		return fmt.Errorf("decides %v by %d rules, and before %v by %d", d.Effect, len(d.Rules), first.Effect, len(first.Rules))
	}
	return nil
}

// timing times f, so many times in each sample.
func (b *bench) timing(ctx context.Context, batch int, f func() error) (Timing, error) {
	t := Timing{Batch: batch}
	var took []float64
	// What runs first fills caches of the machine.
	for range 3 {
		if err := f(); err != nil {
			return t, err
		}
	}
	// The two timings of an input share its time.
	end := time.Now().Add(b.cfg.Time / 2)
	for more := true; more; {
		began := time.Now()
		for range batch {
			if err := f(); err != nil {
				return t, err
			}
		}
		now := time.Now()
		took = append(took, float64(now.Sub(began).Nanoseconds())/float64(batch))
		if err := ctx.Err(); err != nil {
			return t, err
		}
		if more = len(took) < b.cfg.Count; b.cfg.Time > 0 {
			more = now.Before(end)
		}
	}
	slices.Sort(took)
	t.Samples, t.Median, t.P99 = len(took), took[len(took)/2], took[len(took)*99/100]
	return t, nil
}

// cache decides about all inputs in turn, with what changes from one to the
// next in use: the time, the session, who asks. A policy that looks at these
// has them in the key, and its decisions are remembered less.
func (b *bench) cache(ctx context.Context) (map[policy.Kind]CacheBench, error) {
	e, err := New(ctx, b.cfg.Config)
	if err != nil {
		return nil, err
	}
	out := map[policy.Kind]CacheBench{}
	for round := range benchRounds {
		for _, in := range b.cfg.Inputs {
			before := e.Info().Cache
			if _, err := e.Decide(ctx, varied(in.Input, round)); err != nil {
				return nil, fmt.Errorf("%s: %w", in.Name, err)
			}
			after := e.Info().Cache
			c := out[in.Input.Kind]
			c.Decisions++
			c.Hits += after.Hits - before.Hits
			c.Misses += after.Misses - before.Misses
			out[in.Input.Kind] = c
		}
	}
	for kind, c := range out {
		c.Bypasses = c.Decisions - c.Hits - c.Misses
		c.Rate = float64(c.Hits) / float64(c.Decisions)
		out[kind] = c
	}
	return out, nil
}

// varied returns an input as it would be in another minute, for another of
// three tokens and in another of five sessions.
func varied(in *policy.Input, round int) *policy.Input {
	other := *in
	other.Time.Unix += int64(60 * (round / 6))
	if other.Principal.ID != "" {
		other.Principal.ID += fmt.Sprintf("_%d", round%3)
	}
	if in.Session != nil {
		session := *in.Session
		session.ID += fmt.Sprintf("_%d", round%5)
		other.Session = &session
	}
	return &other
}

// maxRuleCosts bounds how many rules are named.
const maxRuleCosts = 10

// profile evaluates each input with OPA's profiler, in runs of their own.
func (b *bench) profile(ctx context.Context) ([]RuleCost, error) {
	index := newRuleIndex(b.snap)
	costs := map[*ast.Rule]*ruleTime{}
	for _, in := range b.cfg.Inputs {
		input, err := inputValue(in.Input)
		if err != nil {
			return nil, err
		}
		entry := ast.MustParseRef(b.snap.info.Entrypoints[in.Input.Kind])
		rounds := map[*ast.Rule]map[int][]int64{}
		for range profileRounds {
			p := profiler.New()
			if err := b.snap.trace(ctx, entry, input, p); err != nil {
				return nil, fmt.Errorf("%s: %w", in.Name, err)
			}
			for name, file := range p.ReportByFile().Files {
				for _, stat := range file.Result {
					rule := index.at(name, stat.Location.Row)
					if rule == nil {
						continue // the query itself
					}
					if costs[rule] == nil {
						costs[rule] = &ruleTime{rows: map[int]int64{}}
					}
					if rounds[rule] == nil {
						rounds[rule] = map[int][]int64{}
					}
					costs[rule].evaluations += stat.NumEval
					rounds[rule][stat.Location.Row] = append(rounds[rule][stat.Location.Row], stat.ExprTimeNs)
				}
			}
		}
		// A round in which the machine did something else says nothing.
		for rule, rows := range rounds {
			for row, took := range rows {
				slices.Sort(took)
				costs[rule].rows[row] += took[len(took)/2]
			}
		}
	}
	total := int64(0)
	for _, c := range costs {
		for _, ns := range c.rows {
			c.ns += ns
		}
		total += c.ns
	}
	out := []RuleCost{}
	for rule, c := range costs {
		at := position(rule.Location)
		hottest := slices.MaxFunc(slices.Sorted(maps.Keys(c.rows)), func(a, b int) int { return cmp.Compare(c.rows[a], c.rows[b]) })
		out = append(out, RuleCost{
			At: at, Rule: strings.TrimPrefix(rulePath(rule), "data."), ID: index.ids[at],
			Share:       float64(c.ns) / float64(max(total, 1)),
			Evaluations: float64(c.evaluations) / float64(profileRounds*len(b.cfg.Inputs)),
			Hottest:     fmt.Sprintf("%s:%d", rule.Location.File, hottest),
		})
	}
	slices.SortFunc(out, func(a, b RuleCost) int { return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.At, b.At)) })
	return out[:min(len(out), maxRuleCosts)], nil
}

// ruleTime is what a rule took.
type ruleTime struct {
	ns          int64
	evaluations int
	rows        map[int]int64
}

// ruleIndex finds the rule that a line belongs to.
type ruleIndex struct {
	rules map[string][]*ast.Rule // by file, in order
	ids   map[string]string      // by position
}

func newRuleIndex(s *snapshot) *ruleIndex {
	x := &ruleIndex{rules: map[string][]*ast.Rule{}, ids: map[string]string{}}
	for id, at := range s.at {
		x.ids[at] = id
	}
	for name, m := range s.compiler.Modules {
		rules := slices.Clone(m.Rules)
		slices.SortFunc(rules, func(a, b *ast.Rule) int { return cmp.Compare(a.Location.Row, b.Location.Row) })
		x.rules[name] = rules
	}
	return x
}

func (x *ruleIndex) at(file string, row int) *ast.Rule {
	var found *ast.Rule
	for _, rule := range x.rules[file] {
		if rule.Location.Row > row {
			break
		}
		found = rule
	}
	return found
}
