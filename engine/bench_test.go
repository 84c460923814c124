package engine_test

import (
	"testing"

	"opencode/policy"
)

func BenchmarkDecideRequest(b *testing.B) {
	benchmarkDecide(b, request("GET", "/session/status", "read", "execute"))
}

func BenchmarkDecidePrompt(b *testing.B) {
	benchmarkDecide(b, bash([]string{"go", "test", "./..."}, []string{"git", "status"}, []string{"grep", "-r", "x"}))
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
