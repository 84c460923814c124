package tool_test

import (
	"os"
	"os/exec"
	"testing"
)

// BenchmarkRun measures what it costs to own a command: "exec" is the same
// command with os/exec alone.
func BenchmarkRun(b *testing.B) {
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), "/bin/bash", "--noprofile", "--norc", "-c", "true")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			if _, err := cmd.CombinedOutput(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bash", func(b *testing.B) {
		bash, c := newBash(b, nil), call(b, "true")
		for b.Loop() {
			if _, err := bash.Run(b.Context(), c, limits, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
