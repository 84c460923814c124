package extension_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"opencode/extension"
	"opencode/extension/extensiontest"
)

// goGuest builds the example in Go.
func goGuest(b *testing.B) (extension.Manifest, []byte) {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "ticket")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "policies", "examples", "ticket", "ext", "ticket"))); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.CommandContext(b.Context(), "go", "generate", "-C", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	manifest, module, err := extension.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	manifest.SHA256 = extension.Sum(module)
	return manifest, module
}

func benchmarkCall(b *testing.B, m *extension.Module, function, args string) {
	b.Helper()
	for b.Loop() {
		if _, err := m.Call(b.Context(), function, []byte(args)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTinyGuest calls a module of 2 KB.
func BenchmarkTinyGuest(b *testing.B) {
	benchmarkCall(b, hostile(b, false, extension.Config{}), "fine", `["git", "commit"]`)
}

// BenchmarkTinyGuestFresh starts the module anew for each call.
func BenchmarkTinyGuestFresh(b *testing.B) {
	benchmarkCall(b, hostile(b, true, extension.Config{}), "fine", `["git", "commit"]`)
}

// BenchmarkGoGuest calls the example in Go, which parses its arguments, matches
// a regular expression and writes an object.
func BenchmarkGoGuest(b *testing.B) {
	manifest, module := goGuest(b)
	manifest.Limits.Time = time.Minute
	benchmarkCall(b, load(b, manifest, module, extension.Config{}), "commit", `[["git", "commit", "-am", "WEB-7: close the door"]]`)
}

// BenchmarkLoadGoGuest loads it, compiled anew and from the cache.
func BenchmarkLoadGoGuest(b *testing.B) {
	manifest, module := goGuest(b)
	for name, cfg := range map[string]extension.Config{
		"compiled": {}, "cached": {Cache: extension.NewCodeCache(filepath.Join(b.TempDir(), "code"))},
	} {
		b.Run(name, func(b *testing.B) {
			load(b, manifest, module, cfg)
			for b.Loop() {
				m, err := extension.Load(b.Context(), manifest, module, cfg)
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

// BenchmarkStopped calls functions that do not end by themselves, with a limit
// of 20 ms: the time above it is what stopping costs.
func BenchmarkStopped(b *testing.B) {
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
	manifest.Limits.Time = 20 * time.Millisecond
	m := load(b, manifest, module, extension.Config{})
	for _, function := range []string{"spins", "recurses", "fills"} {
		b.Run(function, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Call(b.Context(), function, []byte(`[0]`)); err == nil {
					b.Fatal("it ended by itself")
				}
			}
		})
	}
}
