package engine_test

import (
	"strconv"
	"testing"

	"opencode/engine"
	"opencode/policy"
)

func BenchmarkDecideRequest(b *testing.B) {
	benchmarkDecide(b, request("GET", "/session/status", "read", "execute"))
}

func BenchmarkDecidePrompt(b *testing.B) {
	benchmarkDecide(b, benchPrompt())
}

func benchmarkDecide(b *testing.B, in *policy.Input) {
	b.Helper()
	e := byDefault(b)
	if d, err := e.Decide(b.Context(), in); err != nil || d.Effect != policy.Allow {
		b.Fatalf("Decide = %v by %v, error %v, want allow", d.Effect, ids(d), err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Decide(b.Context(), in); err != nil || d.Effect != policy.Allow {
			b.Fatal(d.Effect, err)
		}
	}
}

// BenchmarkDecideAnew times decisions on inputs that were not decided before:
// each differs from the last where the policy looks.
func BenchmarkDecideAnew(b *testing.B) {
	e := byDefault(b)
	for name, next := range map[string]func(n int) *policy.Input{
		"request": func(n int) *policy.Input {
			in := request("GET", "/session/status", "read", "execute")
			in.Request.Segments = []string{"session", strconv.Itoa(n)}
			return in
		},
		"prompt": func(n int) *policy.Input {
			in := benchPrompt()
			in.Prompt.Command.Calls[0].Argv = []string{"go", strconv.Itoa(n)}
			return in
		},
	} {
		n := 0 // of all counts, which share what the engine keeps
		b.Run(name, func(b *testing.B) {
			decideAnew(b, e, policy.Allow, func() *policy.Input {
				n++
				return next(n)
			})
		})
	}
}

// decideAnew times decisions on inputs that are never the same, and fails if one
// of them was kept.
func decideAnew(b *testing.B, e *engine.Engine, want policy.Effect, next func() *policy.Input) {
	b.Helper()
	if d, err := e.Decide(b.Context(), next()); err != nil || d.Effect != want {
		b.Fatalf("Decide = %v by %v, error %v, want %v", d.Effect, ids(d), err, want)
	}
	before := e.Info().Cache
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Decide(b.Context(), next()); err != nil || d.Effect != want {
			b.Fatal(d.Effect, err)
		}
	}
	after := e.Info().Cache
	made := after.Misses + after.Bypasses - before.Misses - before.Bypasses
	if kept := after.Hits - before.Hits; kept != 0 || made != uint64(b.N) {
		b.Fatalf("of %d decisions %d were made and %d kept, want all made", b.N, made, kept)
	}
}

func benchPrompt() *policy.Input {
	in := bash([]string{"go", "test", "./..."}, []string{"git", "status"}, []string{"grep", "-r", "x"})
	in.Session = &policy.Session{ID: "ses_1", Agent: "build", Directory: "/p", Interactive: true}
	return in
}

func BenchmarkReload(b *testing.B) {
	files := map[string]string{"a.rego": "package team.a\n"}
	e := team(b, files)
	dir := e.Info().Files[len(e.Info().Files)-1]
	dir = dir[:len(dir)-len("/a.rego")]
	texts := [2]string{"package team.a\n\nx := 1\n", "package team.a\n\nx := 2\n"}
	n := 0
	reload := func() {
		files["a.rego"] = texts[n%2]
		n++
		writeFiles(b, dir, files)
		if changed, err := e.Reload(b.Context()); !changed || err != nil {
			b.Fatalf("Reload = %v, error %v, want a change", changed, err)
		}
	}
	reload()
	for b.Loop() {
		reload()
	}
}
