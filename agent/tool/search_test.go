package tool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSearchContainsPanic breaks what the workers of a search work with: the
// search fails, it shows nothing more, and the program goes on.
func TestSearchContainsPanic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "f"), []byte("needle\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	for name, p := range map[string]*pattern{
		"an expression that is missing": {steps: 1},
		"no steps to divide by":         {re: mustCompile(t, "needle").re},
	} {
		found := 0
		_, err := tree.search(t.Context(), SearchQuery{Dir: ".", MaxLines: 1}, p, func(FileMatches) bool {
			found++
			return true
		})
		if err == nil || !strings.Contains(err.Error(), "panic") || found > 0 {
			t.Errorf("%s: %d files, error %v, want none and an error", name, found, err)
		}
	}
	// Nor does it wait for those that have stopped.
	found := 0
	_, err = tree.search(t.Context(), SearchQuery{Dir: ".", MaxLines: 1}, mustCompile(t, "needle"), func(FileMatches) bool {
		found++
		return true
	})
	if err != nil || found != 3 {
		t.Errorf("afterwards: %d files, error %v, want 3", found, err)
	}
}

func mustCompile(t *testing.T, text string) *pattern {
	t.Helper()
	p, err := compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
