package git_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opencode/agent/git"
)

func newGit(t testing.TB, change ...func(*git.Config)) *git.Git {
	t.Helper()
	cfg := git.Config{Dir: filepath.Join(t.TempDir(), "snapshots")}
	for _, f := range change {
		f(&cfg)
	}
	g, err := git.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// write makes files; the value is the content, or after "-> " a link's target.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t testing.TB, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns all files below root as write takes them, without .git.
func read(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			out[name] = "-> " + target
			return err
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			out[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func track(t testing.TB, g *git.Git, root string) string {
	t.Helper()
	tree, err := g.Track(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func diff(t testing.TB, g *git.Git, root, from, to string) []git.FileDiff {
	t.Helper()
	d, err := g.Diff(t.Context(), root, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// undo restores all that differs between two snapshots.
func undo(t testing.TB, g *git.Git, root, from, to string) error {
	t.Helper()
	var files []string
	for _, d := range diff(t, g, root, from, to) {
		files = append(files, d.File)
	}
	return g.Restore(t.Context(), root, from, files)
}

// short tells a diff in a line each.
func short(diffs []git.FileDiff) []string {
	out := []string{}
	for _, d := range diffs {
		out = append(out, d.Status+" "+d.File)
	}
	return out
}

func program(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	return path
}

// run runs git, as its user would.
func run(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := tryRun(t, dir, "", args...)
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return out
}

func tryRun(t testing.TB, dir, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commit makes root a repository with all its files committed.
func commit(t testing.TB, root string) {
	t.Helper()
	run(t, root, "init", "-q", "-b", "trunk")
	run(t, root, "add", "-A")
	run(t, root, "commit", "-q", "--allow-empty", "-m", "first")
}

// storeOf returns the snapshot repository of a root.
func storeOf(t testing.TB, g *git.Git, root string) string {
	t.Helper()
	path, err := g.StoreOf(root)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
