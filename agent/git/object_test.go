package git_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

func TestDamageHeals(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1\n", "b": "1\n"})
	from := track(t, g, root)
	store := storeOf(t, g, root)
	write(t, root, map[string]string{"a": "2\n"})
	to := track(t, g, root)
	// As a power failure leaves it: the name without the content.
	objects, err := filepath.Glob(filepath.Join(store, "objects", "*", "*"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, path := range objects {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Diff(t.Context(), root, from, to); err == nil {
		t.Fatal("Diff of damaged snapshots succeeds")
	}
	again := track(t, g, root)
	write(t, root, map[string]string{"a": "3\n", "b": "3\n"})
	if err := undo(t, g, root, again, track(t, g, root)); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(map[string]string{"a": "2\n", "b": "1\n"}, read(t, root)); d != "" {
		t.Error(d)
	}
}

// A snapshot is what git takes it for, down to the last object.
func TestGitReadsSnapshots(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1\n", "a.b/x": "2\n", "a-b/y": "3\n", "link": "-> a", "z/deep/er": "4\n"})
	tree := track(t, g, root)
	store := storeOf(t, g, root)
	if out := run(t, store, "--git-dir="+store, "fsck", "--full", "--strict", "--no-dangling"); out != "" && !strings.Contains(out, "unborn") {
		t.Errorf("git fsck: %s", out)
	}
	// An index of git's own must come to the same tree.
	if out := run(t, root, "--git-dir="+store, "--work-tree="+root, "add", "-A"); out != "" {
		t.Errorf("git add: %s", out)
	}
	if got := strings.TrimSpace(run(t, root, "--git-dir="+store, "--work-tree="+root, "-c", "core.bare=false", "write-tree")); got != tree {
		t.Errorf("git write-tree = %s, Track = %s", got, tree)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	g := newGit(t, func(c *git.Config) { c.Dir = dir })
	write(t, root, map[string]string{"a": "1"})
	old := track(t, g, root)
	write(t, root, map[string]string{"a": "2"})
	last := track(t, g, root)
	store := storeOf(t, g, root)
	if err := g.Prune(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Diff(t.Context(), root, old, last); err != nil {
		t.Errorf("Prune took a snapshot that is not old: %v", err)
	}
	// The note of the first snapshot becomes that of a year ago.
	notes, err := os.ReadFile(filepath.Join(store, "trees"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(notes), "\n")
	lines[0] = "000000000001" + lines[0][12:]
	if err := os.WriteFile(filepath.Join(store, "trees"), []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Prune(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Diff(t.Context(), root, old, last); !errors.Is(err, git.ErrNotExist) {
		t.Errorf("Diff from a pruned snapshot = %v, want %v", err, git.ErrNotExist)
	}
	write(t, root, map[string]string{"a": "3"})
	if err := g.Restore(t.Context(), root, last, []string{"a"}); err != nil {
		t.Errorf("Restore of a kept snapshot: %v", err)
	}
	if got := read(t, root)["a"]; got != "2" {
		t.Errorf("a = %q, want 2", got)
	}
	for _, name := range []string{"trees", "snapshot.index"} {
		path := filepath.Join(store, name)
		if name == "trees" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Prune(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(store); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unused repository is still there: %v", err)
	}
	track(t, g, root)
}
