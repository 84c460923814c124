package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// BenchmarkDecideWhileReloading decides without a pause, alone, while another
// process loads a policy of 10,000 rules, and while it is loaded anew beside the
// decisions, in turn, and tells how long single decisions take. What the other
// process costs is the machine's: its processors share caches and memory. What was
// decided before and what is new take turns too, round by round, so that the one
// does not cool the caches for the other.
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
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	// Of each state: those decided before, and new ones.
	var alone, elsewhere, beside [2][]float64
	var loads []float64
	for generation := 1; b.Loop(); generation++ {
		kind := generation % 2
		writeFiles(b, dir, map[string]string{"many.rego": manyRules(rules, generation)})
		took := during(b, func() error {
			changed, err := e.Reload(b.Context())
			if err == nil && !changed {
				err = errors.New("nothing has changed")
			}
			return err
		}, func(ctx context.Context) { run(ctx, kind == 0, &beside[kind]) })
		loads = append(loads, float64(took.Milliseconds()))

		quiet, stop := context.WithTimeout(b.Context(), took)
		run(quiet, kind == 0, &alone[kind])
		stop()

		during(b, func() error {
			other := exec.CommandContext(b.Context(), program)
			other.Env = append(os.Environ(), envLoad+"="+dir)
			return other.Run()
		}, func(ctx context.Context) { run(ctx, kind == 0, &elsewhere[kind]) })
	}
	b.ReportMetric(0, "ns/op") // a round says nothing
	b.ReportMetric(percentile(loads, 50), "reload-ms")
	for kind, name := range [2]string{"kept", "anew"} {
		if len(alone[kind]) == 0 {
			b.Log("two rounds at least are needed for both kinds: -benchtime 10x")
			continue
		}
		for _, p := range []int{50, 99} {
			metric := fmt.Sprintf("%s-p%d", name, p)
			quiet := percentile(alone[kind], p)
			b.ReportMetric(quiet, metric+"-µs")
			b.ReportMetric(percentile(elsewhere[kind], p)/quiet, metric+"-elsewhere-ratio")
			b.ReportMetric(percentile(beside[kind], p)/quiet, metric+"-ratio")
		}
	}
}

// during does something beside work, which must end, and returns how long that took.
func during(b *testing.B, work func() error, do func(context.Context)) time.Duration {
	b.Helper()
	ctx, done := context.WithCancel(b.Context())
	var took time.Duration
	var err error
	go func() {
		defer done()
		start := time.Now()
		err = work()
		took = time.Since(start)
	}()
	do(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// percentile sorts a list and returns what p of a hundred are not above.
func percentile(list []float64, p int) float64 {
	slices.Sort(list)
	return list[(len(list)-1)*p/100]
}
