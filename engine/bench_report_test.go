package engine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

func TestBench(t *testing.T) {
	t.Parallel()
	var done []int
	r, err := engine.Bench(t.Context(), engine.BenchConfig{
		Config: engine.Config{Default: policies.FS, Timeout: time.Minute}, Count: 2,
		Progress: func(n, total int) {
			if done = append(done, n); n > total {
				t.Errorf("%d of %d inputs done", n, total)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	inputs := engine.BenchInputs()
	if len(r.Inputs) != len(inputs) || len(done) != len(inputs) {
		t.Fatalf("%d inputs, %d times progress, want %d", len(r.Inputs), len(done), len(inputs))
	}
	effects := map[policy.Kind]map[policy.Effect]bool{policy.KindRequest: {}, policy.KindPrompt: {}}
	for i, in := range r.Inputs {
		if in.Name != inputs[i].Name || len(in.Rules) == 0 {
			t.Errorf("input %d is %+v, want %s and the rules that decide", i, in, inputs[i].Name)
		}
		effects[in.Kind][in.Effect] = true
		if in.Miss.Samples != 2 || in.Miss.Median <= 0 || in.Miss.P99 < in.Miss.Median {
			t.Errorf("%s: evaluation %+v", in.Name, in.Miss)
		}
		if in.Hit != nil && (in.Hit.Samples != 2 || in.Hit.Median <= 0) {
			t.Errorf("%s: hit %+v", in.Name, *in.Hit)
		}
		if in.Kind == policy.KindRequest && in.Hit == nil {
			t.Errorf("%s: is not kept", in.Name)
		}
	}
	for kind, want := range map[policy.Kind][]policy.Effect{
		policy.KindRequest: {policy.Allow, policy.Deny}, policy.KindPrompt: {policy.Allow, policy.Ask, policy.Deny},
	} {
		for _, effect := range want {
			if !effects[kind][effect] {
				t.Errorf("no %s of the set gets %v, so the set is not representative", kind, effect)
			}
		}
		c := r.Cache[kind]
		if c.Decisions == 0 || c.Hits+c.Misses+c.Bypasses != c.Decisions || c.Rate != float64(c.Hits)/float64(c.Decisions) {
			t.Errorf("cache of %s: %+v", kind, c)
		}
	}
	if len(r.Rules) == 0 || len(r.Rules) > 10 {
		t.Fatalf("%d rules, want the ten most expensive", len(r.Rules))
	}
	for _, rule := range r.Rules {
		file, _, _ := strings.Cut(rule.At, ":")
		if !strings.HasSuffix(file, ".rego") || !strings.HasPrefix(rule.Hottest, file+":") || rule.Share <= 0 || rule.Share > 1 || rule.Evaluations <= 0 {
			t.Errorf("rule %+v", rule)
		}
	}
}

// TestBenchFindsTheExpensiveRule plants one that does a thousand times what
// others do.
func TestBenchFindsTheExpensiveRule(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"slow.rego": `package team.a

deny contains {"id": "a.slow", "message": "slow"} if {
	some x in numbers.range(1, 1000)
	x * x == input.prompt.content.bytes
}
`})
	inputs := slices.DeleteFunc(engine.BenchInputs(), func(in engine.BenchInput) bool { return in.Name != "bash: ls -la" })
	if len(inputs) != 1 {
		t.Fatalf("%d inputs, want one", len(inputs))
	}
	inputs[0].Input.Prompt.Content = &policy.Content{Bytes: 7}
	r, err := engine.Bench(t.Context(), engine.BenchConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: time.Minute}, Count: 1, Inputs: inputs})
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "slow.rego")
	if first := r.Rules[0]; first.At != want+":3" || first.ID != "a.slow" || first.Evaluations < 1000 || first.Share < 0.5 {
		t.Errorf("most expensive is %+v, want the rule at %s:3", first, want)
	}
}

func TestBenchNeedsDecisions(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"} if to_number(input.principal.id) > 3\n"})
	cfg := engine.BenchConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}}, Count: 1}
	if _, err := engine.Bench(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "bash: git push: policy") {
		t.Errorf("error %v, want one for each input that is not decided", err)
	}
	for _, bad := range []engine.BenchConfig{{Count: -1}, {Time: -1}} {
		bad.Config = engine.Config{Default: policies.FS}
		if _, err := engine.Bench(t.Context(), bad); err == nil {
			t.Errorf("Bench(%+v) has no error", bad)
		}
	}
	if _, err := engine.Bench(t.Context(), engine.BenchConfig{Config: engine.Config{Default: policies.FS, Only: "nowhere"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}

func TestBenchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	_, err := engine.Bench(ctx, engine.BenchConfig{
		Config: engine.Config{Default: policies.FS, Timeout: time.Minute}, Count: 1,
		Progress: func(done, _ int) {
			if last = done; done == 2 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || last != 2 {
		t.Errorf("error %v after %d inputs, want %v after 2", err, last, context.Canceled)
	}
}
