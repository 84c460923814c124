package tool_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/linediff"
	"opencode/agent/tool"
)

// same is the name in the tree of a patch that names files as they are there.
func same(name string) (string, error) { return name, nil }

// applyPatch carries a patch out.
func applyPatch(tree *tool.Tree, text string) error {
	p, err := tool.ParsePatch(text)
	if err != nil {
		return err
	}
	changes, err := tree.PlanPatch(p, same)
	if err != nil {
		return err
	}
	return tree.Apply(changes)
}

// contents returns the files below a directory, and directories that are empty.
func contents(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case e.IsDir():
			if list, err := os.ReadDir(path); err != nil || len(list) > 0 {
				return err
			}
			files[name+"/"] = ""
		case e.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			files[name] = "->" + to
			return err
		case !e.Type().IsRegular():
			files[name] = e.Type().String()
		default:
			data, err := os.ReadFile(path)
			files[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func TestPatch(t *testing.T) {
	t.Parallel()
	begin := func(s string) string { return "*** Begin Patch\n" + s + "*** End Patch\n" }
	for name, row := range map[string]struct {
		files map[string]string
		patch string
		want  map[string]string // "" removes
		err   error
	}{
		// The form with headers of its own.
		"add":                          {nil, begin("*** Add File: d/e/n\n+1\n+2\n"), map[string]string{"d/e/n": "1\n2\n"}, nil},
		"add nothing":                  {nil, begin("*** Add File: n\n"), map[string]string{"n": ""}, nil},
		"add what is":                  {map[string]string{"n": "x"}, begin("*** Add File: n\n+1\n"), nil, tool.ErrExist},
		"delete":                       {map[string]string{"a": "x", "b": "y"}, begin("*** Delete File: a\n"), map[string]string{"a": "-"}, nil},
		"delete what isn't":            {nil, begin("*** Delete File: a\n"), nil, os.ErrNotExist},
		"update":                       {map[string]string{"a": "1\n2\n3\n"}, begin("*** Update File: a\n@@\n 1\n-2\n+x\n 3\n"), map[string]string{"a": "1\nx\n3\n"}, nil},
		"update without @@":            {map[string]string{"a": "1\n2\n3\n"}, begin("*** Update File: a\n 1\n-2\n+x\n 3\n"), map[string]string{"a": "1\nx\n3\n"}, nil},
		"twice in the file":            {map[string]string{"a": "1\n2\n1\n2\n"}, begin("*** Update File: a\n@@\n 1\n-2\n+x\n"), nil, tool.ErrPatch},
		"after an anchor":              {map[string]string{"a": "f\n1\n2\ng\n1\n2\n"}, begin("*** Update File: a\n@@ g\n 1\n-2\n+x\n"), map[string]string{"a": "f\n1\n2\ng\n1\nx\n"}, nil},
		"no such anchor":               {map[string]string{"a": "1\n2\n"}, begin("*** Update File: a\n@@ zz\n 1\n-2\n+x\n"), nil, tool.ErrPatch},
		"two hunks":                    {map[string]string{"a": "1\n2\n3\n4\n"}, begin("*** Update File: a\n@@\n-1\n+x\n@@\n-4\n+y\n"), map[string]string{"a": "x\n2\n3\ny\n"}, nil},
		"hunks in the wrong order":     {map[string]string{"a": "1\n2\n3\n4\n"}, begin("*** Update File: a\n@@\n-4\n+x\n@@\n-1\n+y\n"), nil, tool.ErrPatch},
		"at the end":                   {map[string]string{"a": "1\n2\n1\n"}, begin("*** Update File: a\n@@\n-1\n+x\n*** End of File\n"), map[string]string{"a": "1\n2\nx\n"}, nil},
		"appended":                     {map[string]string{"a": "1\n"}, begin("*** Update File: a\n@@\n+x\n"), map[string]string{"a": "1\nx\n"}, nil},
		"after a line":                 {map[string]string{"a": "1\n2\n"}, begin("*** Update File: a\n@@ 1\n+x\n"), map[string]string{"a": "1\nx\n2\n"}, nil},
		"blanks differ":                {map[string]string{"a": "\t1  \n\t2\n"}, begin("*** Update File: a\n@@\n 1\n-2\n+\tx\n"), map[string]string{"a": "\t1  \n\tx\n"}, nil},
		"CR LF":                        {map[string]string{"a": "1\r\n2\r\n"}, begin("*** Update File: a\n@@\n 1\n-2\n+x\n"), map[string]string{"a": "1\r\nx\r\n"}, nil},
		"mixed ends":                   {map[string]string{"a": "1\r\n2\r\n3\n"}, begin("*** Update File: a\n@@\n 1\n-2\n+x\n"), map[string]string{"a": "1\r\nx\r\n3\n"}, nil},
		"mark and no end":              {map[string]string{"a": "\ufeff1\n2"}, begin("*** Update File: a\n@@\n-1\n+x\n 2\n"), map[string]string{"a": "\ufeffx\n2"}, nil},
		"CR LF in the patch":           {map[string]string{"a": "1\n2\n"}, strings.ReplaceAll(begin("*** Update File: a\n@@\n 1\n-2\n+x\n"), "\n", "\r\n"), map[string]string{"a": "1\nx\n"}, nil},
		"moved":                        {map[string]string{"a": "1\n"}, begin("*** Update File: a\n*** Move to: d/b\n@@\n-1\n+x\n"), map[string]string{"a": "-", "d/b": "x\n"}, nil},
		"moved as it is":               {map[string]string{"a": "1\n"}, begin("*** Update File: a\n*** Move to: b\n"), map[string]string{"a": "-", "b": "1\n"}, nil},
		"moved onto another":           {map[string]string{"a": "1\n", "b": "2"}, begin("*** Update File: a\n*** Move to: b\n@@\n-1\n+x\n"), nil, tool.ErrExist},
		"three files":                  {map[string]string{"a": "1\n", "b": "2\n"}, begin("*** Add File: c\n+3\n*** Update File: a\n-1\n+x\n*** Delete File: b\n"), map[string]string{"a": "x\n", "b": "-", "c": "3\n"}, nil},
		"one of three fails":           {map[string]string{"a": "1\n", "b": "2\n"}, begin("*** Add File: c\n+3\n*** Delete File: b\n*** Update File: a\n-zz\n+x\n"), nil, tool.ErrPatch},
		"a file twice":                 {map[string]string{"a": "1\n2\n"}, begin("*** Update File: a\n-1\n+x\n*** Update File: a\n-2\n+y\n"), nil, tool.ErrPatch},
		"no end":                       {map[string]string{"a": "1\n"}, "*** Begin Patch\n*** Delete File: a\n", nil, tool.ErrPatch},
		"more after the end":           {map[string]string{"a": "1\n"}, begin("*** Delete File: a\n") + "*** Delete File: b\n", nil, tool.ErrPatch},
		"no beginning":                 {map[string]string{"a": "1\n"}, "*** Delete File: a\n*** End Patch\n", nil, tool.ErrPatch},
		"unknown header":               {map[string]string{"a": "1\n"}, begin("*** Chmod File: a\n"), nil, tool.ErrPatch},
		"empty name":                   {nil, begin("*** Add File: \n+1\n"), nil, tool.ErrPatch},
		"blank at the end of the name": {nil, begin("*** Add File: a \n+1\n"), nil, tool.ErrPatch},
		"no change":                    {map[string]string{"a": "1\n"}, begin("*** Update File: a\n"), nil, tool.ErrPatch},
		"nothing":                      {nil, begin(""), nil, tool.ErrPatch},
		"not text":                     {map[string]string{"a": "1\x00\n"}, begin("*** Update File: a\n-1\n+x\n"), nil, tool.ErrBinary},
		"through a link":               {map[string]string{"a": "1\n", "l": "->a"}, begin("*** Update File: l\n-1\n+x\n"), nil, tool.ErrLink},
		"add through a link":           {map[string]string{"d/": "", "l": "->d"}, begin("*** Add File: l/x\n+1\n"), nil, tool.ErrLink},
		"add onto a link to nowhere":   {map[string]string{"l": "->nowhere"}, begin("*** Add File: l\n+1\n"), nil, tool.ErrLink},
		"out of the tree":              {nil, begin("*** Add File: ../x\n+1\n"), nil, tool.ErrName},
		"absolute":                     {nil, begin("*** Add File: /tmp/x\n+1\n"), nil, tool.ErrName},

		// Unified diffs.
		"unified":                                {map[string]string{"a": "1\n2\n3\n"}, "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n 1\n-2\n+x\n 3\n", map[string]string{"a": "1\nx\n3\n"}, nil},
		"unified of git":                         {map[string]string{"a": "1\n"}, "diff --git a/a b/a\nindex 1..2 100644\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+x\n", map[string]string{"a": "x\n"}, nil},
		"unified of a directory b":               {map[string]string{"b/f": "1\n", "f": "1\n"}, "--- a/b/f\n+++ b/b/f\n@@ -1 +1 @@\n-1\n+x\n", map[string]string{"b/f": "x\n"}, nil},
		"unified at another line":                {map[string]string{"a": "0\n0\n1\n2\n"}, "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n 1\n-2\n+x\n", map[string]string{"a": "0\n0\n1\nx\n"}, nil},
		"unified at the line that it says":       {map[string]string{"a": "1\n1\n1\n"}, "--- a/a\n+++ b/a\n@@ -2 +2 @@\n-1\n+x\n", map[string]string{"a": "1\nx\n1\n"}, nil},
		"unified at a line that it does not say": {map[string]string{"a": "0\n1\n1\n"}, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+x\n", nil, tool.ErrPatch},
		"unified, added":                         {nil, "--- /dev/null\n+++ b/d/n\n@@ -0,0 +1,2 @@\n+1\n+2\n", map[string]string{"d/n": "1\n2\n"}, nil},
		"unified, added open":                    {nil, "--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+1\n\\ No newline at end of file\n", map[string]string{"n": "1"}, nil},
		"unified, deleted":                       {map[string]string{"a": "1\n"}, "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", map[string]string{"a": "-"}, nil},
		"unified, deleted in part":               {map[string]string{"a": "1\n2\n"}, "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", nil, tool.ErrPatch},
		"unified, renamed":                       {map[string]string{"a": "1\n"}, "diff --git a/a b/n\nsimilarity index 100%\nrename from a\nrename to n\n", map[string]string{"a": "-", "n": "1\n"}, nil},
		"unified, renamed and changed":           {map[string]string{"a": "1\n2\n"}, "diff --git a/a b/n\nrename from a\nrename to n\n--- a/a\n+++ b/n\n@@ -1,2 +1,2 @@\n 1\n-2\n+x\n", map[string]string{"a": "-", "n": "1\nx\n"}, nil},
		"unified, renamed otherwise":             {map[string]string{"a": "1\n", "b": "1\n"}, "diff --git a/a b/n\nrename from b\nrename to n\n--- a/a\n+++ b/n\n@@ -1 +1 @@\n-1\n+x\n", nil, tool.ErrPatch},
		"unified, a line like a header":          {map[string]string{"a": "-- x\n2\n"}, "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n--- x\n+++ y\n 2\n", map[string]string{"a": "++ y\n2\n"}, nil},
		"unified, open before":                   {map[string]string{"a": "1"}, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+1\n", map[string]string{"a": "1\n"}, nil},
		"unified, open after":                    {map[string]string{"a": "1\n"}, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+1\n\\ No newline at end of file\n", map[string]string{"a": "1"}, nil},
		"unified, CR LF":                         {map[string]string{"a": "1\r\n2\r\n"}, "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n 1\r\n-2\r\n+x\r\n", map[string]string{"a": "1\r\nx\r\n"}, nil},
		"unified, times":                         {map[string]string{"a": "1\n"}, "--- a\t2026-01-01\n+++ a\t2026-01-02\n@@ -1 +1 @@\n-1\n+x\n", map[string]string{"a": "x\n"}, nil},
		"unified with a mail around it":          {map[string]string{"a": "1\n"}, "From: x\n\nSubject: y\n---\n a | 2 +-\n\ndiff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+x\n-- \n2.40.1\n", map[string]string{"a": "x\n"}, nil},
		"unified, few lines":                     {map[string]string{"a": "1\n"}, "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n-1\n+x\n", nil, tool.ErrPatch},
		"unified, many lines":                    {map[string]string{"a": "1\n2\n"}, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+x\n-2\n", nil, tool.ErrPatch},
		"unified, no hunk":                       {map[string]string{"a": "1\n"}, "--- a/a\n+++ b/a\n", nil, tool.ErrPatch},
		"unified, a mode":                        {map[string]string{"a": "1\n"}, "diff --git a/a b/a\nold mode 100644\nnew mode 100755\n", nil, tool.ErrPatch},
		"unified, a link":                        {nil, "diff --git a/a b/a\nnew file mode 120000\n--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+/etc/passwd\n", nil, tool.ErrPatch},
		"unified, binary":                        {nil, "diff --git a/a b/a\nBinary files a/a and b/a differ\n", nil, tool.ErrPatch},
		"unified, copied":                        {map[string]string{"a": "1\n"}, "diff --git a/a b/n\ncopy from a\ncopy to n\n", nil, tool.ErrPatch},
		"unified, empty file":                    {nil, "diff --git a/a b/a\nnew file mode 100644\nindex 0..1\n", nil, tool.ErrPatch},
		"unified, name in quotes":                {nil, "--- /dev/null\n+++ \"b/\\303\\244\"\n@@ -0,0 +1 @@\n+1\n", nil, tool.ErrPatch},
		"unified out of the tree":                {nil, "--- /dev/null\n+++ b/../../x\n@@ -0,0 +1 @@\n+1\n", nil, tool.ErrName},
		"no patch":                               {nil, "hello\n", nil, tool.ErrPatch},
		"nothing at all":                         {nil, "", nil, tool.ErrPatch},
	} {
		dir, tree := project(t, row.files)
		want := contents(t, dir)
		for name, text := range row.want {
			want[name] = text
			if text == "-" {
				delete(want, name)
			}
		}
		if len(want) > 1 {
			delete(want, "./") // it was empty
		}
		err := applyPatch(tree, row.patch)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: error %v, want %v", name, err, row.err)
		}
		got := contents(t, dir)
		if row.want != nil {
			delete(got, "./")
			delete(want, "./")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestExecutableOfPatch makes a file that a patch says can be run.
func TestExecutableOfPatch(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, nil)
	err := applyPatch(tree, "diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+1\n")
	info, statErr := os.Stat(filepath.Join(dir, "x"))
	if err := errors.Join(err, statErr); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// FuzzPatchOfDiff applies the diff of two texts as a patch: it gives the second.
func FuzzPatchOfDiff(f *testing.F) {
	f.Add("1\n2\n3\n", "1\n3\n4")
	f.Add("", "x")
	f.Add("a\r\nb\r\n", "a\r\nc\n")
	f.Add("\ufeffa\nb", "\ufeffb\nb\n")
	f.Add("1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n", "1\n1\n1\n1\n1\n2\n1\n1\n1\n1\n1\n")
	dir, tree := project(f, nil)
	f.Fuzz(func(t *testing.T, before, after string) {
		if before == after || before == "" || strings.ContainsRune(before+after, 0) || len(before)+len(after) > 1<<14 || !isUTF8(before, after) {
			return // nothing to patch
		}
		put(t, dir, "f", "")
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := linediff.Compare(t.Context(), []byte(before), []byte(after))
		if err != nil {
			t.Fatal(err)
		}
		b := strings.Builder{}
		b.WriteString("--- a/f\n+++ b/f\n")
		if !d.Write(&b, 1<<20) {
			t.Fatal("the diff does not fit")
		}
		if err := applyPatch(tree, b.String()); err != nil {
			t.Fatalf("%v\n%q", err, b.String())
		}
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		want := after
		if n := strings.Count(before, "\r\n"); !strings.Contains(b.String(), "\r\n") && n > 0 {
			return // a patch that does not say how lines end takes the file's way
		}
		if string(got) != want {
			t.Errorf("%q patched = %q, want %q:\n%s", before, got, want, b.String())
		}
	})
}

func isUTF8(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return strings.ToValidUTF8(s, "") != s })
}
