package shell_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/policy/shell"
)

// stubs are programs that say their name and nothing else.
var stubs = []string{"curl", "wget", "nc", "telnet"}

// findBash returns bash, which is the judge of what a command means.
func findBash(tb testing.TB) string {
	tb.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			tb.Fatal("no bash: install the package bash")
		}
		tb.Skip("SKIPPED: no bash; what commands mean is NOT held against it. Install the package bash.")
	}
	return bash
}

// TestWhatBashRuns runs evasions in bash, with stubs in front of every other
// program. What really ran must be among the calls that were found.
func TestWhatBashRuns(t *testing.T) {
	t.Parallel()
	bash := findBash(t)
	bin := t.TempDir()
	for _, name := range stubs {
		// The directory is told by the stub's own path, so that copies and
		// links of it say the same.
		text := "#!" + bash + "\necho " + name + " >> " + filepath.Join(bin, "ran.$STUB_RUN") + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("testdata/run.txt")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "# ") {
			continue
		}
		src := strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(line)
		id := strings.Repeat("x", i+1)
		names := runStubs(t, bash, bin, id, src)
		if len(names) == 0 {
			t.Errorf("%q runs no stub: the case shows nothing", src)
			continue
		}
		ran++
		var found []string
		for _, call := range shell.Analyze(src).Calls {
			found = append(found, call.Name)
		}
		for _, name := range names {
			if !slices.Contains(found, name) {
				t.Errorf("%q runs %s, but only %q were found", src, name, found)
			}
		}
	}
	if ran < 80 {
		t.Errorf("%d cases were run, want more", ran)
	}
}

// runStubs runs a text in a directory of its own and returns the stubs that it
// ran.
func runStubs(t *testing.T, bash, bin, id, src string) []string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "--norc", "--noprofile", "-c", src)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + dir, "STUB_RUN=" + id, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C"}
	cmd.Stdin = strings.NewReader("")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // many of them end with an error
	text, err := os.ReadFile(filepath.Join(bin, "ran."+id))
	if err != nil {
		return nil
	}
	names := strings.Fields(string(text))
	slices.Sort(names)
	return slices.Compact(names)
}

// FuzzParsedLikeBash holds the parser against bash: what bash refuses must not
// count as understood. Bash only reads the text.
func FuzzParsedLikeBash(f *testing.F) {
	bash := findBash(f)
	for i, e := range examples(f) {
		if i%20 == 0 {
			f.Add(e.src)
		}
	}
	f.Fuzz(func(t *testing.T, src string) {
		// Extended patterns are left: bash takes them after shopt -s extglob.
		if len(src) > 4096 || strings.ContainsAny(src, "!@+?*") && strings.Contains(src, "(") || !shell.Analyze(src).Parsed {
			return
		}
		cmd := exec.CommandContext(t.Context(), bash, "--norc", "-n", "-c", "--", src)
		cmd.Env = []string{"LC_ALL=C.UTF-8"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("Analyze(%q) is parsed, but bash refuses it: %s", src, out)
		}
	})
}
