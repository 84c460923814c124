package git_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

func status(t *testing.T, g *git.Git, dir string) []git.FileStatus {
	t.Helper()
	out, err := g.Status(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStatus(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t, func(c *git.Config) { c.MaxFileBytes = 1000 }), t.TempDir()
	big := strings.Repeat("0123456789\n", 200)
	write(t, root, map[string]string{
		"same": "s\n", "edit": "one\ntwo\nthree\n", "gone": "a\nb\n", "mode": "m\n", "kind": "k\n", "link": "-> same", "bin": "a\x00b",
		"odd\nname": "o\n", "-x": "x\n", "ign.log": "1\n", "big": big, "big2": big, "d/e": "1\n", "last": "no newline",
	})
	commit(t, root)
	if got := status(t, g, root); len(got) != 0 {
		t.Errorf("Status of a clean tree = %+v", got)
	}
	remove(t, root, "gone", "kind", "link", "odd\nname", "d")
	write(t, root, map[string]string{
		".gitignore": "*.log\n", "ign.log": "1\n2\n", "other.log": "no", "edit": "one\n2\nthree\nfour\n", "kind": "-> same", "link": "-> edit",
		"bin": "a\x00c", "new/deep": "1\n2\n", "excluded": "no", ".git/info/exclude": "/excluded\n", "d": "1\n", "last": "no newline\n",
		"big": "x" + big[1:], "big2": big + "x", "-x": "y\n", "large": big,
	})
	if err := os.Chmod(filepath.Join(root, "mode"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := []git.FileStatus{
		{Path: "-x", Added: 1, Removed: 1, Status: "modified"},
		{Path: ".gitignore", Added: 1, Status: "added"},
		{Path: "big", Status: "modified"},
		{Path: "big2", Status: "modified"},
		{Path: "bin", Status: "modified"},
		{Path: "d", Added: 1, Status: "added"},
		{Path: "d/e", Removed: 1, Status: "deleted"},
		{Path: "edit", Added: 2, Removed: 1, Status: "modified"},
		{Path: "gone", Removed: 2, Status: "deleted"},
		{Path: "ign.log", Added: 1, Status: "modified"},
		{Path: "kind", Added: 1, Removed: 1, Status: "modified"},
		{Path: "large", Status: "added"},
		{Path: "last", Added: 1, Removed: 1, Status: "modified"},
		{Path: "link", Added: 1, Removed: 1, Status: "modified"},
		{Path: "mode", Status: "modified"},
		{Path: "new/deep", Added: 2, Status: "added"},
		{Path: "odd\nname", Removed: 1, Status: "deleted"},
	}
	for range 2 { // The second time the files are known already.
		if d := cmp.Diff(want, status(t, g, filepath.Join(root, "new"))); d != "" {
			t.Errorf("Status (-want +got):\n%s", d)
		}
	}
	run(t, root, "pack-refs", "--all")
	run(t, root, "gc", "-q")
	if d := cmp.Diff(want, status(t, g, root)); d != "" {
		t.Errorf("Status of a packed repository (-want +got):\n%s", d)
	}
}

func TestStatusOfRepositories(t *testing.T) {
	t.Parallel()
	program(t)
	tests := map[string]struct {
		make func(t *testing.T, root string) string // returns the directory to ask about
		want []git.FileStatus
	}{
		"none": {func(_ *testing.T, root string) string { return root }, []git.FileStatus{}},
		"no commit": {func(t *testing.T, root string) string {
			t.Helper()
			run(t, root, "init", "-q")
			return root
		}, []git.FileStatus{{Path: "a", Added: 1, Status: "added"}}},
		"SHA-256": {func(t *testing.T, root string) string {
			t.Helper()
			run(t, root, "init", "-q", "--object-format=sha256")
			commit(t, root)
			write(t, root, map[string]string{"a": "2\n"})
			return root
		}, []git.FileStatus{{Path: "a", Added: 1, Removed: 1, Status: "modified"}}},
		"detached": {func(t *testing.T, root string) string {
			t.Helper()
			commit(t, root)
			run(t, root, "checkout", "-q", "--detach")
			remove(t, root, "a")
			return root
		}, []git.FileStatus{{Path: "a", Removed: 1, Status: "deleted"}}},
		"worktree": {func(t *testing.T, root string) string {
			t.Helper()
			commit(t, root)
			dir := filepath.Join(t.TempDir(), "tree")
			run(t, root, "worktree", "add", "-q", dir)
			write(t, dir, map[string]string{"b": "1\n"})
			return dir
		}, []git.FileStatus{{Path: "b", Added: 1, Status: "added"}}},
		"shared objects": {func(t *testing.T, root string) string {
			t.Helper()
			commit(t, root)
			dir := filepath.Join(t.TempDir(), "clone")
			run(t, root, "clone", "-q", "--shared", root, dir)
			write(t, dir, map[string]string{"b": "1\n"})
			return dir
		}, []git.FileStatus{{Path: "b", Added: 1, Status: "added"}}},
		"a colon and a quote in the path": {func(t *testing.T, root string) string {
			t.Helper()
			dir := filepath.Join(root, `a:"b`)
			write(t, dir, map[string]string{"a": "1\n"})
			commit(t, dir)
			write(t, dir, map[string]string{"a": "1\n2\n"})
			return dir
		}, []git.FileStatus{{Path: "a", Added: 1, Status: "modified"}}},
		"submodule": {func(t *testing.T, root string) string {
			t.Helper()
			commit(t, root)
			super := filepath.Join(t.TempDir(), "super")
			write(t, super, map[string]string{"s": "1\n"})
			commit(t, super)
			run(t, super, "-c", "protocol.file.allow=always", "submodule", "-q", "add", root, "module")
			run(t, super, "commit", "-q", "-m", "module")
			write(t, super, map[string]string{"module/a": "2\n", "module/new": "1\n"})
			return super
		}, []git.FileStatus{}},
		"in a submodule": {func(t *testing.T, root string) string {
			t.Helper()
			commit(t, root)
			super := filepath.Join(t.TempDir(), "super")
			write(t, super, map[string]string{"s": "1\n"})
			commit(t, super)
			run(t, super, "-c", "protocol.file.allow=always", "submodule", "-q", "add", root, "module")
			write(t, super, map[string]string{"module/new": "1\n"})
			return filepath.Join(super, "module")
		}, []git.FileStatus{{Path: "new", Added: 1, Status: "added"}}},
		"a .git in a directory that is committed": {func(t *testing.T, root string) string {
			t.Helper()
			write(t, root, map[string]string{"src/x": "1\n"})
			commit(t, root)
			write(t, root, map[string]string{"src/.git/HEAD": "ref: refs/heads/x\n", "src/x": "2\n", "src/new": "1\n"})
			return root
		}, []git.FileStatus{{Path: "src/new", Added: 1, Status: "added"}, {Path: "src/x", Added: 1, Removed: 1, Status: "modified"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "root")
			write(t, root, map[string]string{"a": "1\n"})
			if d := cmp.Diff(tt.want, status(t, newGit(t), tt.make(t, root))); d != "" {
				t.Errorf("Status (-want +got):\n%s", d)
			}
		})
	}
}

// A repository that is made anew in another format is not compared with what
// is known of the old one.
func TestStatusAfterChangeOfFormat(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1\n"})
	commit(t, root)
	mtime := func() string {
		info, err := os.Stat(filepath.Join(root, "a"))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime().String()
	}
	before := mtime()
	for range 2 {
		status(t, g, root)
	}
	remove(t, root, ".git")
	run(t, root, "init", "-q", "--object-format=sha256")
	commit(t, root)
	if got := status(t, g, root); len(got) > 0 || mtime() != before {
		t.Errorf("Status = %+v", got)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t), t.TempDir()
	head := func(dir string) git.Head {
		t.Helper()
		h, err := g.Head(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	write(t, root, map[string]string{"sub/dir/a": "1\n"})
	sub := filepath.Join(root, "sub", "dir")
	if got := head(sub); got != (git.Head{}) {
		t.Errorf("Head without a repository = %+v", got)
	}
	run(t, root, "init", "-q", "-b", "feature/x")
	want := git.Head{Root: root, Branch: "feature/x", IsRepo: true}
	if got := head(sub); got != want {
		t.Errorf("Head before the first commit = %+v, want %+v", got, want)
	}
	run(t, root, "add", "-A")
	run(t, root, "commit", "-q", "-m", "first")
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, root, "clone", "-q", root, clone)
	run(t, clone, "checkout", "-q", "-b", "mine")
	want = git.Head{Root: clone, Branch: "mine", DefaultBranch: "feature/x", IsRepo: true}
	if got := head(clone); got != want {
		t.Errorf("Head of a clone = %+v, want %+v", got, want)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	run(t, clone, "worktree", "add", "-q", "-b", "other", tree)
	want = git.Head{Root: tree, Branch: "other", DefaultBranch: "feature/x", IsRepo: true}
	if got := head(filepath.Join(tree, "sub")); got != want {
		t.Errorf("Head of a worktree = %+v, want %+v", got, want)
	}
	run(t, clone, "checkout", "-q", "--detach")
	want = git.Head{Root: clone, DefaultBranch: "feature/x", IsRepo: true}
	if got := head(clone); got != want {
		t.Errorf("Head of a detached clone = %+v, want %+v", got, want)
	}
	inside := t.TempDir()
	run(t, inside, "init", "-q", "-b", "sep", "--separate-git-dir="+filepath.Join(inside, "data"))
	want = git.Head{Root: inside, Branch: "sep", IsRepo: true}
	if got := head(inside); got != want {
		t.Errorf("Head with a git directory of another name inside = %+v, want %+v", got, want)
	}
	if _, err := g.Head(t.Context(), filepath.Join(root, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Head of what does not exist = %v, want %v", err, os.ErrNotExist)
	}
}

func TestReftables(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1\n"})
	commit(t, root)
	write(t, root, map[string]string{".git/HEAD": "ref: refs/heads/.invalid\n"})
	if h, err := g.Head(t.Context(), root); err != nil || !h.IsRepo || h.Branch != "" {
		t.Errorf("Head = %+v, %v, want a repository without branch", h, err)
	}
	if _, err := g.Status(t.Context(), root); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Status = %v, want %v", err, errors.ErrUnsupported)
	}
}

func TestWithoutGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, program := range map[string]string{"not in PATH": "", "not there": filepath.Join(t.TempDir(), "git")} {
		g, root := newGit(t, func(c *git.Config) { c.Program = program }), t.TempDir()
		write(t, root, map[string]string{
			"a": "1", ".git/HEAD": "ref: refs/heads/x\n", ".git/refs/heads/x": strings.Repeat("1", 40), ".git/objects/x": "",
		})
		_, err := g.Status(t.Context(), root)
		if !errors.Is(err, git.ErrUnavailable) || !strings.Contains(err.Error(), "install git") {
			t.Errorf("%s: Status = %v, want %v", name, err, git.ErrUnavailable)
		}
		if h, err := g.Head(t.Context(), root); err != nil || h.Branch != "x" {
			t.Errorf("%s: Head = %+v, %v", name, h, err)
		}
		from := track(t, g, root)
		write(t, root, map[string]string{"a": "2"})
		if err := undo(t, g, root, from, track(t, g, root)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := read(t, root)["a"]; got != "1" {
			t.Errorf("%s: a = %q after undo, want 1", name, got)
		}
	}
}
