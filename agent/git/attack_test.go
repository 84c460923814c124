//go:build unix

package git_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

// booby makes a repository in which everything that git can be made to run
// leaves a marker, and returns the directory of the markers.
func booby(t *testing.T, root string) string {
	t.Helper()
	markers := t.TempDir()
	script := func(name string) string {
		path := filepath.Join(root, ".git", "evil-"+name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n: >'"+filepath.Join(markers, name)+"'\ncat\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(t, root, map[string]string{"a.txt": "one\n", "sub/b.txt": "two\n", ".gitignore": "*.o\n"})
	commit(t, root)
	hooks := filepath.Join(root, ".git", "hooks")
	for _, hook := range []string{"post-index-change", "reference-transaction", "post-checkout", "pre-commit", "fsmonitor-watchman"} {
		data, err := os.ReadFile(script("hook-" + hook))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(hooks, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(hooks, hook), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = " + script("fsmonitor") +
		"\n\tpager = " + script("pager") + "\n\tsshCommand = " + script("ssh") + "\n\tworktree = /\n\teditor = " + script("editor") +
		"\n\tgitProxy = " + script("proxy") + "\n\talternateRefsCommand = " + script("alternate") + "\n\taskPass = " + script("askpass") +
		"\n[filter \"x\"]\n\tclean = " + script("clean") + "\n\tsmudge = " + script("smudge") +
		"\n[filter \"y\"]\n\tprocess = " + script("process") + "\n\trequired = true" +
		"\n[diff]\n\texternal = " + script("external") +
		"\n[diff \"x\"]\n\tcommand = " + script("command") + "\n\ttextconv = " + script("textconv") +
		"\n[alias]\n\tls-tree = !" + script("alias") + "\n\tcat-file = !" + script("alias2") +
		"\n[credential]\n\thelper = " + script("credential") + "\n[include]\n\tpath = " + filepath.Join(root, "more.config") +
		"\n[extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\tpromisor = true\n\turl = ext::" + script("remote") + "\n"
	write(t, root, map[string]string{
		".git/config": config, ".git/info/attributes": "* filter=x diff=x\n",
		".gitattributes": "* filter=x diff=x\nsub/* filter=y diff=x working-tree-encoding=UTF-16\n",
		"more.config":    "[core]\n\tfsmonitor = " + script("included") + "\n",
		"a.txt":          "changed\n", "new.txt": "n\n", ".gitmodules": "[submodule \"s\"]\n\tpath = s\n\turl = ext::" + script("submodule") + "\n",
	})
	remove(t, root, "sub/b.txt")
	return markers
}

func markersIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestNothingOfTheProjectRuns(t *testing.T) {
	program(t)
	root := t.TempDir()
	markers := booby(t, root)
	// A second one inside, which git would look into as a submodule.
	nested := filepath.Join(root, "nested")
	if err := os.Mkdir(nested, 0o755); err != nil {
		t.Fatal(err)
	}
	nestedMarkers := booby(t, nested)
	for name, value := range map[string]string{
		"GIT_EXTERNAL_DIFF": "touch " + filepath.Join(markers, "env-diff"), "GIT_DIR": nested, "GIT_WORK_TREE": "/",
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": "touch " + filepath.Join(markers, "env-config"),
		"GIT_CONFIG_PARAMETERS": "'core.fsmonitor=touch " + filepath.Join(markers, "env-params") + "'", "GIT_OBJECT_DIRECTORY": nested,
		"GIT_INDEX_FILE": "/dev/full", "GIT_TRACE": filepath.Join(markers, "env-trace"), "GIT_EXEC_PATH": nested,
	} {
		t.Setenv(name, value)
	}
	g := newGit(t)
	dot := filepath.Join(root, ".git")
	before := listing(t, dot)
	from := track(t, g, root)
	status, err := g.Status(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	want := []git.FileStatus{
		{Path: ".gitattributes", Added: 2, Status: git.StatusAdded},
		{Path: ".gitmodules", Added: 3, Status: git.StatusAdded},
		{Path: "a.txt", Added: 1, Removed: 1, Status: git.StatusModified},
		{Path: "more.config", Added: 2, Status: git.StatusAdded},
		{Path: "nested/", Status: git.StatusAdded},
		{Path: "new.txt", Added: 1, Status: git.StatusAdded},
		{Path: "sub/b.txt", Removed: 1, Status: git.StatusDeleted},
	}
	if d := cmp.Diff(want, status); d != "" {
		t.Errorf("Status (-want +got):\n%s", d)
	}
	write(t, root, map[string]string{"a.txt": "again\n", "nested/a.txt": "again\n", "fresh": "x"})
	to := track(t, g, root)
	if got, want := short(diff(t, g, root, from, to)), []string{"modified a.txt", "added fresh", "modified nested/a.txt"}; !cmp.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
	if err := undo(t, g, root, from, to); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{root, nested} {
		if h, err := g.Head(t.Context(), dir); err != nil || h.Branch != "trunk" || h.Root != dir {
			t.Errorf("Head(%q) = %+v, %v", dir, h, err)
		}
		if _, err := g.Status(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
	if err := g.Prune(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if got := append(markersIn(t, markers), markersIn(t, nestedMarkers)...); len(got) > 0 {
		t.Errorf("the project had these run: %q", got)
	}
	if d := cmp.Diff(before, listing(t, dot)); d != "" {
		t.Errorf("the repository was written to:\n%s", d)
	}
	// The traps work: git, started plainly, walks into some.
	for _, args := range [][]string{{"status"}, {"diff"}, {"add", "-A"}} {
		_, _ = tryRun(t, root, "", append([]string{"--work-tree=" + root}, args...)...) // It may well fail.
	}
	if got := markersIn(t, markers); len(got) < 2 {
		t.Errorf("plain git only ran %q: the test proves nothing", got)
	}
}

// listing tells the names, sizes and times of all files.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			out[path] = info.Mode().String() + " " + info.ModTime().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProgramOfTheProjectIsNotRun(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, map[string]string{"a": "1"})
	commit(t, root)
	marker := filepath.Join(t.TempDir(), "ran")
	fake := filepath.Join(root, "bin", "git")
	write(t, root, map[string]string{"bin/git": "#!/bin/sh\n: >" + marker + "\n"})
	if err := os.Chmod(fake, 0o755); err != nil {
		t.Fatal(err)
	}
	g := newGit(t, func(c *git.Config) { c.Program = fake })
	if _, err := g.Status(t.Context(), root); !errors.Is(err, git.ErrUnavailable) {
		t.Errorf("Status = %v, want %v", err, git.ErrUnavailable)
	}
	if _, err := os.Lstat(marker); err == nil {
		t.Error("the project's git ran")
	}
}

func TestRestoreFollowsNoLink(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"outside": "", "inside": "other", "up": ".."} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, root, outside := newGit(t), t.TempDir(), t.TempDir()
			if target == "" {
				target = outside
			}
			victims := map[string]string{"a": "victim", "deep/b": "victim"}
			write(t, outside, victims)
			write(t, root, map[string]string{"dir/a": "1", "dir/deep/b": "1", "other/a": "victim", "other/deep/b": "victim"})
			with := track(t, g, root)
			remove(t, root, "dir")
			without := track(t, g, root)
			write(t, root, map[string]string{"dir": "-> " + target})
			files := []string{"dir/a", "dir/deep/b"}
			if err := g.Restore(t.Context(), root, with, files); err == nil {
				t.Error("Restore through a link succeeds")
			}
			// What is below a link does not exist, and so is deleted already.
			if err := g.Restore(t.Context(), root, without, files); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(victims, read(t, outside)); d != "" {
				t.Errorf("outside (-want +got):\n%s", d)
			}
			want := map[string]string{"dir": "-> " + target, "other/a": "victim", "other/deep/b": "victim"}
			if d := cmp.Diff(want, read(t, root)); d != "" {
				t.Errorf("root (-want +got):\n%s", d)
			}
			// A link that is undone itself makes way.
			if err := g.Restore(t.Context(), root, with, append(files, "dir")); err != nil {
				t.Error(err)
			}
			if got := read(t, root)["dir/deep/b"]; got != "1" {
				t.Errorf("dir/deep/b = %q, want 1", got)
			}
		})
	}
}

func TestTrackFollowsNoLink(t *testing.T) {
	t.Parallel()
	g, root, outside := newGit(t), t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret": "s"})
	write(t, root, map[string]string{"dir": "-> " + outside, "file": "-> " + filepath.Join(outside, "secret"), ".gitignore": "-> " + outside + "/other"})
	tree := track(t, g, root)
	empty := track(t, g, outside)
	if tree == empty {
		t.Error("two different directories have one snapshot")
	}
	objects, err := filepath.Glob(filepath.Join(storeOf(t, g, root), "objects", "*", "*"))
	if err != nil || len(objects) != 4 {
		t.Errorf("the snapshot has %d objects, %v; want one for each link and the root", len(objects), err)
	}
}

// A directory is exchanged with a link all the time while it is read and
// restored. Whatever happens, nothing outside is read or written.
func TestSwappedDirectory(t *testing.T) {
	t.Parallel()
	g, root, outside := newGit(t), t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"a": "victim"})
	write(t, root, map[string]string{"dir/a": "1", "aside": "-> " + outside})
	tree := track(t, g, root)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		path := func(name string) string { return filepath.Join(root, name) }
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Errors are of no interest: the other side may have made a directory.
			_ = os.Rename(path("dir"), path("real"))
			_ = os.Rename(path("aside"), path("dir"))
			_ = os.Rename(path("dir"), path("aside"))
			_ = os.Rename(path("real"), path("dir"))
		}
	})
	var trees []string
	for range 100 {
		_ = g.Restore(t.Context(), root, tree, []string{"dir/a"}) // It may fail.
		if tree, err := g.Track(t.Context(), root); err == nil {
			trees = append(trees, tree)
		}
	}
	close(stop)
	wg.Wait()
	if d := cmp.Diff(map[string]string{"a": "victim"}, read(t, outside)); d != "" {
		t.Errorf("outside (-want +got):\n%s", d)
	}
	for _, other := range trees {
		for _, f := range diff(t, g, root, tree, other) {
			if strings.Contains(f.Patch, "+victim") {
				t.Fatalf("a snapshot holds what is outside: %s", f.Patch)
			}
		}
	}
}

func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1\n"})
	commit(t, root)
	for _, name := range []string{"pipe", ".gitignore", ".git/info/exclude"} {
		remove(t, root, name)
		if err := syscall.Mkfifo(filepath.Join(root, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	from := track(t, g, root)
	if _, err := g.Status(t.Context(), root); err != nil {
		t.Errorf("Status: %v", err)
	}
	remove(t, root, "pipe")
	to := track(t, g, root)
	if got, want := short(diff(t, g, root, from, to)), []string{"deleted pipe"}; !cmp.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
	write(t, root, map[string]string{"pipe": "now a file"})
	if err := g.Restore(t.Context(), root, from, []string{"pipe"}); !errors.Is(err, git.ErrUnknown) {
		t.Errorf("Restore of a pipe = %v, want %v", err, git.ErrUnknown)
	}
	for _, name := range []string{"HEAD", "refs/heads/trunk", "packed-refs"} {
		remove(t, root, ".git/"+name)
		if err := syscall.Mkfifo(filepath.Join(root, ".git", name), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Status(t.Context(), root); err == nil {
			t.Errorf("Status with a pipe for %s succeeds", name)
		}
		_, _ = g.Head(t.Context(), root) // It must come back.
		remove(t, root, ".git/"+name)
		write(t, root, map[string]string{".git/HEAD": "ref: refs/heads/trunk\n"})
	}
}

// Git opens objects by name, and would wait for the writer of a pipe.
func TestGitThatHangsIsEnded(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t, func(c *git.Config) { c.Timeout = 300 * time.Millisecond }), t.TempDir()
	write(t, root, map[string]string{"a": "1\n"})
	commit(t, root)
	id := strings.TrimSpace(run(t, root, "rev-parse", "HEAD"))
	object := filepath.Join(root, ".git", "objects", id[:2], id[2:])
	if err := os.Remove(object); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(object, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Status(t.Context(), root); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Status = %v, want %v", err, context.DeadlineExceeded)
	}
}

// A tree that is too deep is seen, if not kept.
func TestDeepDirectories(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	from := track(t, g, root)
	write(t, root, map[string]string{strings.Repeat("d/", 190) + "kept": "1", strings.Repeat("e/", 250) + "too deep": "1"})
	to := track(t, g, root)
	d := diff(t, g, root, from, to)
	if len(d) != 2 || !strings.HasSuffix(d[0].File, "/kept") || d[0].Patch == "" || strings.HasSuffix(d[1].File, "too deep") || d[1].Patch != "" {
		t.Errorf("Diff = %+v, want one file and one directory that is left out", d)
	}
}

func TestForeignRepositoriesAreNotRead(t *testing.T) {
	t.Parallel()
	program(t)
	g := newGit(t)
	private := t.TempDir()
	write(t, private, map[string]string{"private-name": "1"})
	commit(t, private)
	run(t, private, "worktree", "add", "-q", filepath.Join(t.TempDir(), "w"))
	for name, dot := range map[string]string{
		"a file":            "gitdir: " + filepath.Join(private, ".git") + "\n",
		"a worktree's file": "gitdir: " + filepath.Join(private, ".git", "worktrees", "w") + "\n",
		"a link":            "-> " + filepath.Join(private, ".git"),
		"garbage":           "\x00gitdir",
		"long":              "gitdir: " + strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, root, map[string]string{"mine": "1", ".git": dot})
			if h, err := g.Head(t.Context(), root); err != nil || h != (git.Head{}) {
				t.Errorf("Head = %+v, %v, want none", h, err)
			}
			if s, err := g.Status(t.Context(), root); err != nil || s == nil || len(s) != 0 {
				t.Errorf("Status = %+v, %v, want none", s, err)
			}
		})
	}
	t.Run("refs that lead out", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		write(t, root, map[string]string{"mine": "1"})
		commit(t, root)
		for _, head := range []string{
			"ref: ../../../../etc/passwd", "ref: refs/../../HEAD", "ref: refs/heads/out", "ref: /etc/passwd", "--help", "", strings.Repeat("g", 40),
		} {
			write(t, root, map[string]string{".git/HEAD": head})
			remove(t, root, ".git/refs/heads/out")
			write(t, root, map[string]string{".git/refs/heads/out": "-> " + filepath.Join(private, ".git", "refs", "heads", "trunk")})
			if s, err := g.Status(t.Context(), root); err == nil {
				t.Errorf("Status with HEAD %q = %+v, want an error", head, s)
			}
		}
	})
}
