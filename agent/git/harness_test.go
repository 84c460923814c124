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

func newGit(tb testing.TB, change ...func(*git.Config)) *git.Git {
	tb.Helper()
	cfg := git.Config{Dir: filepath.Join(tb.TempDir(), "snapshots")}
	for _, f := range change {
		f(&cfg)
	}
	g, err := git.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// write makes files; the value is the content, or after "-> " a link's target.
func write(tb testing.TB, root string, files map[string]string) {
	tb.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				tb.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

func remove(tb testing.TB, root string, names ...string) {
	tb.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			tb.Fatal(err)
		}
	}
}

// read returns all files below root as write takes them, without .git.
func read(tb testing.TB, root string) map[string]string {
	tb.Helper()
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
		tb.Fatal(err)
	}
	return out
}

func track(tb testing.TB, g *git.Git, root string) string {
	tb.Helper()
	tree, err := g.Track(tb.Context(), root)
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

func diff(tb testing.TB, g *git.Git, root, from, to string) []git.FileDiff {
	tb.Helper()
	d, err := g.Diff(tb.Context(), root, from, to)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// undo restores all that differs between two snapshots.
func undo(tb testing.TB, g *git.Git, root, from, to string) error {
	tb.Helper()
	var files []string
	for _, d := range diff(tb, g, root, from, to) {
		files = append(files, d.File)
	}
	return g.Restore(tb.Context(), root, from, files)
}

// short tells a diff in a line each.
func short(diffs []git.FileDiff) []string {
	out := []string{}
	for _, d := range diffs {
		out = append(out, d.Status+" "+d.File)
	}
	return out
}

func program(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			tb.Fatal("no git: install the package git")
		}
		tb.Skip("SKIPPED: no git; snapshots are NOT tested. Install the package git.")
	}
	return path
}

// run runs git, as its user would.
func run(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	out, err := tryRun(tb, dir, "", args...)
	if err != nil {
		tb.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return out
}

func tryRun(tb testing.TB, dir, stdin string, args ...string) (string, error) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program(tb), args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commit makes root a repository with all its files committed.
func commit(tb testing.TB, root string) {
	tb.Helper()
	run(tb, root, "init", "-q", "-b", "trunk")
	run(tb, root, "add", "-A")
	run(tb, root, "commit", "-q", "--allow-empty", "-m", "first")
}

// storeOf returns the snapshot repository of a root.
func storeOf(tb testing.TB, g *git.Git, root string) string {
	tb.Helper()
	path, err := g.StoreOf(root)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
