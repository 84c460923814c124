package git_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

// ignoreRoot makes a repository of empty files.
func ignoreRoot(t *testing.T, paths []string) string {
	t.Helper()
	root := t.TempDir()
	for _, path := range paths {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, root, "init", "-q")
	return root
}

// ignoreCase holds the patterns of a .gitignore against git.
func ignoreCase(t *testing.T, root, patterns string) {
	t.Helper()
	write(t, root, map[string]string{".gitignore": patterns})
	out := run(t, root, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore")
	want := strings.FieldsFunc(out, func(r rune) bool { return r == 0 })
	if !slices.Contains(want, ".gitignore") {
		want = append(want, ".gitignore") // Ours is always kept.
	}
	slices.Sort(want)
	g := newGit(t)
	got := lsTree(t, g, root, track(t, g, root))
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("patterns %q (-git +snapshot):\n%s", patterns, d)
	}
}

func TestIgnoreAsGit(t *testing.T) {
	t.Parallel()
	program(t)
	paths := []string{
		"a", "b.o", "dir/b.o", "dir/a/x", "dir/sub/a/x", "build/x", "sub/build/x", "doc/a.txt", "doc/x/a.txt", "doc/x/y/a.txt", "#a", "!a",
		"a b", "a ", "a\\", "é", "[a]", "-", "]", "^", "A1", "z/-", "a*b", "a?b", "x/y/z/w", "foo/bar", "foo/bar2", "q/foo/bar", "\t",
	}
	root := ignoreRoot(t, paths)
	for _, patterns := range []string{
		"a", "/a", "a/", "*.o", "!*.o\n*.o", "*.o\n!dir/b.o", "dir/*\n!dir/a/", "build", "/build", "sub/build", "doc/*.txt", "doc/**/a.txt",
		"**/a.txt", "doc/**", "**/x/**", "x/**/w", "x/**/z/w", "**", "*", "*/*", "/*/", "/*\n!/dir", "#a", "\\#a", "\\!a", "!a", "a ", "a\\ ",
		"a b", "a\\\\", "a\\", "\\a", "[ab].o", "[!b].o", "[^b].o", "[a-c].o", "[]a]", "[]-a]", "[a-]", "[-]", "[!-]", "[[:alpha:]][[:digit:]]",
		"[[:foo:]]", "[[:alpha", "[a", "[", "[[]a]", "\\[a\\]", "a[*]b", "a\\*b", "a?b", "?", "??", "dir?b.o", "dir[/]b.o", "**a", "a**", "do**xt",
		"doc**a.txt", "doc/***/a.txt", "***", "foo/bar\r", "\xef\xbb\xbfa", "foo", "foo/*", "*foo/bar", "**/foo/bar", "/**/bar", "//a", "/", "//", "!",
		"!/", "é", "?é", "[é]", "[\\]]", "[\\\\]", "[^\\]]", "\t", " ", "a\x00b", "[--]", "[a-[]", "[[-a]", "[[:upper:]-z]1", "**/", "**/**/a", "x/**/", "a\n!a\na",
		"di**/x", "doc**/a.txt", "d**/x", "dir/**/x", "dir/**/a/", "**/sub/**/x", "**\\/x", "dir/**\\/x", "*a*", "*a*b*", "d*r/*",
	} {
		ignoreCase(t, root, patterns)
	}
}

func FuzzIgnoreAsGit(f *testing.F) {
	program(f)
	f.Add("*.o\n!/x/**/b\n", "x/y/b")
	f.Add("a**/[!b-d]\\*?", "a/e*f")
	f.Fuzz(func(t *testing.T, patterns, path string) {
		path = strings.Trim(path, "/")
		if path == "" || len(path) > 100 || !utf8.ValidString(path) || len(patterns) > 200 || !filepath.IsLocal(path) || filepath.Clean(path) != path ||
			strings.ContainsAny(path, "\x00") || strings.Contains(strings.ToLower(path), ".git") || strings.HasPrefix(path, ".gitignore") {
			return // no path to test with
		}
		ignoreCase(t, ignoreRoot(t, []string{path}), patterns)
	})
}

// A pattern that makes other matchers go back and forth for ever takes no
// time, and many patterns end with the context.
func TestIgnoreCannotHang(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	write(t, root, map[string]string{".gitignore": strings.Repeat("**/*a", 200) + "b\n" + strings.Repeat("*a", 500) + "b\n", strings.Repeat("a", 250): "1"})
	track(t, g, root)
	slow := newGit(t, func(c *git.Config) { c.Timeout = 50 * time.Millisecond })
	write(t, root, map[string]string{".gitignore": strings.Repeat(strings.Repeat("*a", 20)+"b\n", 24_000)})
	for _, name := range []string{"b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		write(t, root, map[string]string{strings.Repeat("a", 240) + name + "c": "1"})
	}
	if _, err := slow.Track(t.Context(), root); err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		t.Errorf("Track = %v, want %v", err, context.DeadlineExceeded)
	}
}
