package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// manyRules is a team's policy of n rules, each about another path.
func manyRules(n, generation int) string {
	var b strings.Builder
	b.WriteString("package team.many\n")
	for i := range n {
		fmt.Fprintf(&b, "\ndeny contains {\"id\": \"many.rule_%d\", \"message\": \"generation %d\"} if input.request.path == \"/closed/%d\"\n", i, generation, i)
	}
	return b.String()
}

// BenchmarkDecideWhileReloading decides without a pause, alone and while a
// policy of 10,000 rules is loaded anew beside it, in turn, and tells how long
// single decisions take. What was decided before and what is new take turns too,
// round by round, so that the one does not cool the caches for the other.
func BenchmarkDecideWhileReloading(b *testing.B) {
	const rules = 10_000
	dir := writeDir(b, map[string]string{"many.rego": manyRules(rules, 0)})
	e, err := engine.New(b.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	decide := func(in *policy.Input, want policy.Effect) time.Duration {
		start := time.Now()
		d, err := e.Decide(b.Context(), in)
		took := time.Since(start)
		if err != nil || d.Effect != want {
			b.Fatalf("Decide(%s) = %v by %v, error %v, want %v", in.Request.Path, d.Effect, ids(d), err, want)
		}
		return took
	}
	closed := request("GET", "/session/status", "read", "execute")
	closed.Request.Path = "/closed/" + strconv.Itoa(rules-1)
	decide(closed, policy.Deny)

	known, fresh := request("GET", "/session/status", "read", "execute"), 0
	run := func(ctx context.Context, isKept bool, times *[]float64) {
		for ctx.Err() == nil {
			in := known
			if !isKept {
				fresh++
				in = request("GET", "/session/status", "read", "execute")
				in.Request.Path = "/open/" + strconv.Itoa(fresh)
			}
			*times = append(*times, float64(decide(in, policy.Allow).Nanoseconds())/1e3)
		}
	}
	var alone, beside [2][]float64 // by kind: those decided before, and new ones
	var loads []float64
	for generation := 1; b.Loop(); generation++ {
		writeFiles(b, dir, map[string]string{"many.rego": manyRules(rules, generation)})
		loading, loaded := context.WithCancel(b.Context())
		var took time.Duration
		var reloadErr error
		go func() {
			defer loaded()
			start := time.Now()
			var changed bool
			if changed, reloadErr = e.Reload(b.Context()); reloadErr == nil && !changed {
				reloadErr = context.Canceled
			}
			took = time.Since(start)
		}()
		kind := generation % 2
		run(loading, kind == 0, &beside[kind])
		if reloadErr != nil {
			b.Fatal(reloadErr)
		}
		loads = append(loads, float64(took.Milliseconds()))

		quiet, stop := context.WithTimeout(b.Context(), took)
		run(quiet, kind == 0, &alone[kind])
		stop()
	}
	b.ReportMetric(0, "ns/op") // a round says nothing
	b.ReportMetric(percentile(loads, 50), "reload-ms")
	for kind, name := range [2]string{"kept", "anew"} {
		if len(alone[kind]) == 0 || len(beside[kind]) == 0 {
			b.Log("two rounds at least are needed for both kinds: -benchtime 10x")
			continue
		}
		for _, p := range []int{50, 99} {
			metric := fmt.Sprintf("%s-p%d", name, p)
			quiet, loading := percentile(alone[kind], p), percentile(beside[kind], p)
			b.ReportMetric(quiet, metric+"-µs")
			b.ReportMetric(loading, metric+"-reloading-µs")
			b.ReportMetric(loading/quiet, metric+"-ratio")
		}
	}
}

// percentile sorts a list and returns what p of a hundred are not above.
func percentile(list []float64, p int) float64 {
	slices.Sort(list)
	return list[(len(list)-1)*p/100]
}
