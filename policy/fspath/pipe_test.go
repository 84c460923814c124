package fspath_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"opencode/policy/fspath"
)

// TestPipesAreNotWaitedFor looks for what patterns match where pipes stand in
// the place of directories: to open one would wait for whoever writes to it.
func TestPipesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "d/pipe"} {
		if err := syscall.Mkfifo(filepath.Join(root, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"pipe/*", "*/x*", "d/*/*", "**/x", "d/pipe/*.go"} {
		_ = fspath.Matches(root, root, pattern, fspath.Read)
		_ = fspath.ResolvePattern(root, root, pattern, fspath.Read)
	}
	if got := fspath.Below(root, root, "pipe", fspath.Walk{}); len(got) != 0 {
		t.Errorf("below a pipe: %+v, want nothing", got)
	}
}

// TestMatchesOfTooManyNames looks for what a pattern matches behind more names
// than are looked at: what is not seen may be a secret.
func TestMatchesOfTooManyNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	const most = 20
	for i := range most + 1 {
		name := filepath.Join(root, "a", strconv.Itoa(i))
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got := fspath.LookMatches(root, root, "*/*", fspath.Read, most+5); len(got) != 0 {
		t.Errorf("few names: %+v, want nothing", got)
	}
	for _, pattern := range []string{"*/*", "**/x", "a/*/y"} {
		got := fspath.LookMatches(root, root, pattern, fspath.Read, most)
		if len(got) != 1 || got[0].Class != "secret" || got[0].Raw != pattern || got[0].Problem != nil || !got[0].Inside {
			t.Errorf("%s: %+v, want that it may match a secret", pattern, got)
		}
	}
}
