package git_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/git"
)

func TestPatch(t *testing.T) {
	t.Parallel()
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}
	tests := map[string]struct {
		file, before, after string // "-" for no file
		want                git.FileDiff
	}{
		"added": {"a", "-", "1\n2\n", git.FileDiff{
			Additions: 2, Status: "added",
			Patch: "diff --git a/a b/a\nnew file mode 100644\n--- /dev/null\n+++ b/a\n@@ -0,0 +1,2 @@\n+1\n+2\n",
		}},
		"deleted": {"a", "1\n", "-", git.FileDiff{
			Deletions: 1, Status: "deleted",
			Patch: "diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n",
		}},
		"added empty": {"a", "-", "", git.FileDiff{Status: "added", Patch: "diff --git a/a b/a\nnew file mode 100644\n"}},
		"no newline": {"a b", "1\n2", "1\n3", git.FileDiff{
			Additions: 1, Deletions: 1, Status: "modified",
			Patch: "diff --git a/a b b/a b\n--- a/a b\t\n+++ b/a b\t\n@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+3\n\\ No newline at end of file\n",
		}},
		"odd name": {"a\n\"\\\t\xff", "-", "1\n", git.FileDiff{
			Additions: 1, Status: "added",
			Patch: "diff --git \"a/a\\n\\\"\\\\\\t\\377\" \"b/a\\n\\\"\\\\\\t\\377\"\nnew file mode 100644\n--- /dev/null\n" +
				"+++ \"b/a\\n\\\"\\\\\\t\\377\"\n@@ -0,0 +1 @@\n+1\n",
		}},
		"two hunks": {"a", lines(30), "x\n" + lines(20) + "y\n" + strings.TrimPrefix(lines(30), lines(20)), git.FileDiff{
			Additions: 2, Status: "modified",
			Patch: "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,3 +1,4 @@\n+x\n line 0\n line 1\n line 2\n" +
				"@@ -18,6 +19,7 @@\n line 17\n line 18\n line 19\n+y\n line 20\n line 21\n line 22\n",
		}},
		"one hunk": {"a", "1\n2\n3\n4\n5\n6\n7\n8\n", "0\n2\n3\n4\n5\n6\n7\n9\n", git.FileDiff{
			Additions: 2, Deletions: 2, Status: "modified",
			Patch: "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,8 +1,8 @@\n-1\n+0\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+9\n",
		}},
		"binary":       {"a", "a\x00", "b\x00", git.FileDiff{Status: "modified"}},
		"binary to be": {"a", "a\n", "b\x00", git.FileDiff{Status: "modified"}},
		"kind": {"a", "1\n", "-> x", git.FileDiff{
			Additions: 1, Deletions: 1, Status: "modified",
			Patch: "diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n" +
				"diff --git a/a b/a\nnew file mode 120000\n--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n",
		}},
		"too many lines": {"a", strings.Repeat("\n", 1_000_000), strings.Repeat("\n", 999_999) + "x", git.FileDiff{
			Additions: 1_000_000, Deletions: 1_000_000, Status: "modified",
		}},
		"too long": {"a", "-", lines(100_000), git.FileDiff{Additions: 100_000, Status: "added"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, root := newGit(t), t.TempDir()
			put := func(content string) string {
				remove(t, root, tt.file)
				if content != "-" {
					write(t, root, map[string]string{tt.file: content})
				}
				return track(t, g, root)
			}
			from := put(tt.before)
			to := put(tt.after)
			tt.want.File = tt.file
			if d := cmp.Diff([]git.FileDiff{tt.want}, diff(t, g, root, from, to)); d != "" {
				t.Errorf("Diff (-want +got):\n%s", d)
			}
			if got := diff(t, g, root, to, to); got == nil || len(got) != 0 {
				t.Errorf("Diff of a snapshot with itself = %+v, want an empty list", got)
			}
		})
	}
}

// Files that are hard to compare end in time, with a diff that is right if not
// short.
func TestHardToCompare(t *testing.T) {
	t.Parallel()
	g, root := newGit(t), t.TempDir()
	var a, b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&a, "%d\n", i*i%7)
		fmt.Fprintf(&b, "%d\n", i*i*i%11)
	}
	write(t, root, map[string]string{"a": a.String()})
	from := track(t, g, root)
	write(t, root, map[string]string{"a": b.String()})
	d := diff(t, g, root, from, track(t, g, root))
	if len(d) != 1 || d[0].Additions != d[0].Deletions || d[0].Additions == 0 {
		t.Errorf("Diff = %+v", d)
	}
}

// FuzzPatch holds patches against git apply, and counts against the patches.
func FuzzPatch(f *testing.F) {
	program(f)
	f.Add("1\n2\n3\n", "1\n3\n4")
	f.Add("", "x")
	f.Add("a\na\na\nb\nb\n", "b\na\na\nb\na\n")
	f.Add("a\r\n\n\nb", "a\n\nb\n")
	f.Add("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n6\n7\n8\n")
	g := newGit(f)
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, "\x00") || len(before)+len(after) > 10_000 || before == after {
			return // binary, long or equal
		}
		root := t.TempDir()
		path := filepath.Join(root, "f")
		put := func(text string) string {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return track(t, g, root)
		}
		from, to := put(before), put(after)
		d := diff(t, g, root, from, to)
		if len(d) != 1 {
			t.Fatalf("Diff = %+v, want one file", d)
		}
		put(before)
		if out, err := tryRun(t, root, d[0].Patch, "apply", "--whitespace=nowarn", "-"); err != nil {
			t.Fatalf("git apply: %v\n%s\n%s", err, out, d[0].Patch)
		}
		if got := read(t, root)["f"]; got != after {
			t.Errorf("patched = %q, want %q", got, after)
		}
		_, hunks, _ := strings.Cut(d[0].Patch, "\n@@")
		if plus, minus := strings.Count(hunks, "\n+"), strings.Count(hunks, "\n-"); plus != d[0].Additions || minus != d[0].Deletions {
			t.Errorf("counts = +%d -%d, the patch has +%d -%d", d[0].Additions, d[0].Deletions, plus, minus)
		}
	})
}
