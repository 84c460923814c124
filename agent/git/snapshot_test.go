package git_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]git.Config{
		"no directory":       {},
		"relative directory": {Dir: "x"},
		"relative program":   {Dir: t.TempDir(), Program: "git"},
		"negative size":      {Dir: t.TempDir(), MaxFileBytes: -1},
		"negative timeout":   {Dir: t.TempDir(), Timeout: -1},
	} {
		if _, err := git.New(cfg); !errors.Is(err, git.ErrInvalid) {
			t.Errorf("%s: New(%+v) = %v, want %v", name, cfg, err, git.ErrInvalid)
		}
	}
}

func TestSnapshotsArePrivate(t *testing.T) {
	t.Parallel()
	dir, root := filepath.Join(t.TempDir(), "s"), t.TempDir()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g := newGit(t, func(c *git.Config) { c.Dir = dir })
	write(t, root, map[string]string{"a": "1"})
	track(t, g, root)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	all := map[string]string{
		"keep": "k\n", "edit": "one\ntwo\n", "gone": "g\n", "dir/deep/gone": "d\n", "link": "-> keep", "broken": "-> /no/where",
		"file-to-dir": "f", "dir-to-file/x": "x", "link-to-file": "-> keep", "file-to-link": "f", "link-to-dir": "-> dir",
		"dir-to-link/x": "x", ".hidden": "h", "empty": "", "binary": "a\x00b", "outside": "-> ../../..",
		"crlf.bat": "a\r\nb\r\n", ".gitattributes": "* text eol=crlf working-tree-encoding=UTF-16 ident filter=x\n",
		"ident": "$Id$\n", "with space": "s\n",
	}
	tests := map[string]func(t *testing.T, root string){
		"nothing": func(*testing.T, string) {},
		"edit": func(t *testing.T, root string) {
			t.Helper()
			write(t, root, map[string]string{"edit": "one\n2\n", "binary": "a\x00c"})
		},
		"delete": func(t *testing.T, root string) {
			t.Helper()
			remove(t, root, "gone", "dir", "link", "empty", ".hidden", "outside")
		},
		"delete all": func(t *testing.T, root string) {
			t.Helper()
			for name := range all {
				remove(t, root, name)
			}
		},
		"add": func(t *testing.T, root string) {
			t.Helper()
			write(t, root, map[string]string{"new": "n", "new-dir/a/b": "n", "dir/more": "n", "new-link": "-> keep"})
		},
		"line ends": func(t *testing.T, root string) {
			t.Helper()
			write(t, root, map[string]string{"crlf.bat": "a\nb\n", "ident": "$Id: x$\n"})
		},
		"kinds": func(t *testing.T, root string) {
			t.Helper()
			remove(t, root, "file-to-dir", "dir-to-file", "link-to-file", "file-to-link", "link-to-dir", "dir-to-link")
			write(t, root, map[string]string{
				"file-to-dir/y": "y", "dir-to-file": "now a file", "link-to-file": "now a file", "file-to-link": "-> keep",
				"link-to-dir/z": "z", "dir-to-link": "-> dir",
			})
		},
		"links": func(t *testing.T, root string) {
			t.Helper()
			remove(t, root, "link", "broken")
			write(t, root, map[string]string{"link": "-> edit", "broken": "-> keep"})
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, root := newGit(t), t.TempDir()
			write(t, root, all)
			from := track(t, g, root)
			change(t, root)
			changed := read(t, root)
			to := track(t, g, root)
			if err := undo(t, g, root, from, to); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(all, read(t, root)); d != "" {
				t.Errorf("after undo (-want +got):\n%s", d)
			}
			if again := track(t, g, root); again != from {
				t.Errorf("Track after undo = %s, want %s; differs: %q", again, from, short(diff(t, g, root, from, again)))
			}
			if err := undo(t, g, root, to, from); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(changed, read(t, root)); d != "" {
				t.Errorf("after redo (-want +got):\n%s", d)
			}
		})
	}
}

func TestUndoRemovesEmptyDirectories(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"kept/a": "a"})
	if err := os.Mkdir(filepath.Join(root, "own"), 0o755); err != nil {
		t.Fatal(err)
	}
	from := track(t, g, root)
	write(t, root, map[string]string{"kept/new/x/y": "y", "new/z": "z"})
	if err := undo(t, g, root, from, track(t, g, root)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"kept": true, "own": true, "kept/new": false, "new": false} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil != want {
			t.Errorf("%s exists: %v, want %v", name, !want, want)
		}
	}
}

func TestUndoModes(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	modes := map[string]os.FileMode{"script": 0o755, "plain": 0o644, "secret": 0o600, "tool": 0o700}
	for name, mode := range modes {
		write(t, root, map[string]string{name: "x\n"})
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	from := track(t, g, root)
	remove(t, root, "secret", "tool")
	if err := os.Chmod(filepath.Join(root, "script"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "plain"), 0o755); err != nil {
		t.Fatal(err)
	}
	to := track(t, g, root)
	d := diff(t, g, root, from, to)
	if got, want := short(d), []string{"modified plain", "modified script", "deleted secret", "deleted tool"}; !cmp.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
	if want := "diff --git a/plain b/plain\nold mode 100644\nnew mode 100755\n"; d[0].Patch != want {
		t.Errorf("patch = %q, want %q", d[0].Patch, want)
	}
	if err := undo(t, g, root, from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range modes {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %v, want %v", name, got, want)
		}
	}
}

func TestOddNames(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	names := []string{
		"new\nline", `quo"te`, "tab\tname", "-rf", "--option", ":(glob)**", ":!x", "*", "[a]", `back\slash`, "a/-b/c ",
		" lead", "\xff\xfe", "é", ".restore-x", "HEAD", "a b", "#x", "!y", ".gitmodules", "..x", "x..", "GIT.git", "git~2",
	}
	want := map[string]string{}
	for _, name := range names {
		want[name] = "x\n"
	}
	empty := track(t, g, root)
	write(t, root, want)
	from := track(t, g, root)
	if got := diff(t, g, root, empty, from); len(got) != len(names) {
		t.Errorf("Diff lists %q, want %d files", short(got), len(names))
	}
	remove(t, root, names...)
	remove(t, root, "a")
	if to := track(t, g, root); to != empty {
		t.Errorf("Track of an empty directory = %s, want %s", to, empty)
	}
	if err := undo(t, g, root, from, empty); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(want, read(t, root)); d != "" {
		t.Errorf("after undo (-want +got):\n%s", d)
	}
	if err := undo(t, g, root, empty, from); err != nil {
		t.Error(err)
	}
	if got := read(t, root); len(got) != 0 {
		t.Errorf("after undo of adding: %q", got)
	}
}

func TestRestoreOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1", "b": "1"})
	from := track(t, g, root)
	write(t, root, map[string]string{"a": "2", "b": "2", "c": "2"})
	err := g.Restore(t.Context(), root, from, []string{"a", "a", "../x", "/etc/passwd", "", ".", "a/../b", "x\x00", "never"})
	if !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Restore = %v, want %v", err, git.ErrInvalid)
	}
	for _, name := range []string{`"../x"`, `"/etc/passwd"`, `""`, `"."`, `"a/../b"`, `"x\x00"`} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if d := cmp.Diff(map[string]string{"a": "1", "b": "2", "c": "2"}, read(t, root)); d != "" {
		t.Error(d)
	}
}

func TestIgnored(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{
		".gitignore": "*.log\n/build/\nnode_modules/\n!keep.log\n", "a.log": "1", "keep.log": "1", "build/x": "1",
		"sub/build/x": "1", "sub/node_modules/x": "1", "sub/.gitignore": "*\n", "sub/y": "1", "z": "1",
	})
	from := track(t, g, root)
	tree := lsTree(t, g, root, from)
	if want := []string{".gitignore", "keep.log", "sub/.gitignore", "z"}; !cmp.Equal(tree, want) {
		t.Errorf("snapshot holds %q, want %q", tree, want)
	}
	t.Run("what is ignored later stays", func(t *testing.T) {
		write(t, root, map[string]string{".gitignore": "*\n", "z": "2", "new": "1"})
		to := track(t, g, root)
		if got, want := short(diff(t, g, root, from, to)), []string{"modified .gitignore", "modified z"}; !cmp.Equal(got, want) {
			t.Errorf("Diff = %q, want %q", got, want)
		}
	})
	t.Run("what was ignored is not deleted", func(t *testing.T) {
		remove(t, root, ".gitignore", "sub/.gitignore", "new")
		write(t, root, map[string]string{"fresh/b": "1"})
		before := read(t, root)
		to := track(t, g, root)
		if got := short(diff(t, g, root, from, to)); !strings.Contains(strings.Join(got, "\n"), "added a.log") {
			t.Fatalf("Diff = %q does not show a.log", got)
		}
		err := undo(t, g, root, from, to)
		if !errors.Is(err, git.ErrUnknown) {
			t.Errorf("Restore = %v, want %v", err, git.ErrUnknown)
		}
		delete(before, "fresh/b")
		before["z"], before[".gitignore"] = "1", "*.log\n/build/\nnode_modules/\n!keep.log\n"
		before["sub/.gitignore"] = "*\n"
		if d := cmp.Diff(before, read(t, root)); d != "" {
			t.Errorf("after undo (-want +got):\n%s", d)
		}
	})
}

func lsTree(t *testing.T, g *git.Git, root, tree string) []string {
	t.Helper()
	files, err := g.Files(t.Context(), root, tree)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestNestedRepositoriesAreKept(t *testing.T) {
	t.Parallel()
	program(t)
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1", "nested/b": "1", "fresh/c": "1"})
	commit(t, filepath.Join(root, "nested"))
	run(t, filepath.Join(root, "fresh"), "init", "-q")
	write(t, root, map[string]string{"module/.git": "gitdir: ../elsewhere", "module/d": "1"})
	from := track(t, g, root)
	want := read(t, root)
	remove(t, root, "nested/b", "fresh/c", "module/d")
	if err := undo(t, g, root, from, track(t, g, root)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, read(t, root)); d != "" {
		t.Error(d)
	}
	if err := g.Restore(t.Context(), root, from, []string{"nested/.git/config", ".git", ".GIT/x", "module/.git", "GIT~1/x", ".git "}); !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Restore of .git = %v, want %v", err, git.ErrInvalid)
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	g, root := newGit(t, func(c *git.Config) { c.MaxFileBytes = 10 }), t.TempDir()
	write(t, root, map[string]string{"big": "12345678901", "small": "1234567890", "grows": "1", "same": "12345678901"})
	from := track(t, g, root)
	write(t, root, map[string]string{"big": "12345678902", "small": "x", "grows": "12345678901", "new": "12345678901"})
	to := track(t, g, root)
	d := diff(t, g, root, from, to)
	if got, want := short(d), []string{"modified big", "modified grows", "added new", "modified small"}; !cmp.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
	for _, f := range d {
		if (f.Patch == "") != (f.File != "small") {
			t.Errorf("patch of %s = %q", f.File, f.Patch)
		}
	}
	err := undo(t, g, root, from, to)
	if !errors.Is(err, git.ErrUnknown) || !strings.Contains(err.Error(), `"big"`) || strings.Contains(err.Error(), "grows") {
		t.Errorf("Restore = %v, want %v for big alone", err, git.ErrUnknown)
	}
	want := map[string]string{"big": "12345678902", "small": "1234567890", "grows": "1", "same": "12345678901"}
	if d := cmp.Diff(want, read(t, root)); d != "" {
		t.Errorf("after undo (-want +got):\n%s", d)
	}
}

func TestSnapshotsInsideTheProject(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	g := newGit(t, func(c *git.Config) { c.Dir = filepath.Join(root, "share", "snapshots") })
	write(t, root, map[string]string{"a": "1"})
	from := track(t, g, root)
	write(t, root, map[string]string{"a": "2"})
	to := track(t, g, root)
	if got, want := short(diff(t, g, root, from, to)), []string{"modified a"}; !cmp.Equal(got, want) {
		t.Errorf("Diff = %q, want %q", got, want)
	}
	if err := g.Restore(t.Context(), root, from, []string{"share/snapshots/x"}); !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Restore into the snapshots = %v, want %v", err, git.ErrInvalid)
	}
	if _, err := g.Track(t.Context(), filepath.Join(root, "share", "snapshots")); !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Track of the snapshots = %v, want %v", err, git.ErrInvalid)
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1"})
	tree := track(t, g, root)
	none := strings.Repeat("0", 64)
	for _, tt := range []struct {
		from string
		want error
	}{
		{"", git.ErrInvalid},
		{"HEAD", git.ErrInvalid},
		{"--output=x", git.ErrInvalid},
		{strings.ToUpper(tree), git.ErrInvalid},
		{none, git.ErrNotExist},
	} {
		if _, err := g.Diff(t.Context(), root, tt.from, tree); !errors.Is(err, tt.want) {
			t.Errorf("Diff from %q = %v, want %v", tt.from, err, tt.want)
		}
		if _, err := g.Diff(t.Context(), root, tree, tt.from); !errors.Is(err, tt.want) {
			t.Errorf("Diff to %q = %v, want %v", tt.from, err, tt.want)
		}
		if err := g.Restore(t.Context(), root, tt.from, []string{"a"}); !errors.Is(err, tt.want) {
			t.Errorf("Restore from %q = %v, want %v", tt.from, err, tt.want)
		}
	}
	if _, err := g.Track(t.Context(), "relative"); !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Track of a relative path = %v, want %v", err, git.ErrInvalid)
	}
	if _, err := g.Track(t.Context(), filepath.Join(root, "a")); !errors.Is(err, git.ErrInvalid) {
		t.Errorf("Track of a file = %v, want %v", err, git.ErrInvalid)
	}
	if d := cmp.Diff(map[string]string{"a": "1"}, read(t, root)); d != "" {
		t.Error(d)
	}
}

func TestConcurrentTrack(t *testing.T) {
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	shared := func(c *git.Config) { c.Dir = dir }
	// Two of them, as two processes would have.
	gits := []*git.Git{newGit(t, shared), newGit(t, shared)}
	write(t, root, map[string]string{"a": "1", "b/c": "2"})
	want := track(t, gits[0], root)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			got, err := gits[i%2].Track(t.Context(), root)
			if err != nil || got != want {
				t.Errorf("Track = %q, %v, want %q", got, err, want)
			}
		})
	}
	wg.Wait()
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{"a": "1"})
	tree := track(t, g, root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Track(ctx, root); !errors.Is(err, context.Canceled) {
		t.Errorf("Track = %v, want %v", err, context.Canceled)
	}
	if _, err := g.Diff(ctx, root, tree, tree); !errors.Is(err, context.Canceled) {
		t.Errorf("Diff = %v, want %v", err, context.Canceled)
	}
	write(t, root, map[string]string{"a": "2"})
	if err := g.Restore(ctx, root, tree, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Restore = %v, want %v", err, context.Canceled)
	}
	if _, err := g.Head(ctx, root); !errors.Is(err, context.Canceled) {
		t.Errorf("Head = %v, want %v", err, context.Canceled)
	}
	write(t, root, map[string]string{"a": "1"})
	if got := track(t, g, root); got != tree {
		t.Errorf("Track after a cancelled one = %s, want %s", got, tree)
	}
	short := newGit(t, func(c *git.Config) { c.Timeout = time.Nanosecond })
	if _, err := short.Track(t.Context(), root); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Track without time = %v, want %v", err, context.DeadlineExceeded)
	}
}
