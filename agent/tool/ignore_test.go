package tool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/tool"
)

// TestIgnored holds what is ignored against what `git check-ignore` says of the
// same files.
func TestIgnored(t *testing.T) {
	t.Parallel()
	_, tree := project(t, map[string]string{
		".gitignore": strings.Join([]string{
			"*.log", "!keep.log", "/root.txt", "dir/", "name", "a?c", "[xy]z", "*~", "doc/*.txt", "**/deep", "\\#hash", "\\!bang", "trail  ", "*.tar.gz", "lit.e*al", "crlf\r",
		}, "\n"),
		"x.log": "", "keep.log": "", "sub/x.log": "", "root.txt": "", "sub/root.txt": "", "sub/dir/f": "", "dir": "", "name/f": "", "sub/name": "", "names": "",
		"abc": "", "ac": "", "xz": "", "zz": "", "f~": "", "doc/a.txt": "", "doc/sub/a.txt": "", "a/b/deep": "", "#hash": "", "!bang": "", "trail": "",
		"x.tar.gz": "", "tar.gz": "", "lit.eral": "", "liter": "", "crlf": "", "log": "", ".log": "",
		"sub/.gitignore": "!x.log\nonly\n/here\n", "sub/only": "", "only": "", "sub/here": "", "sub/sub/here": "", "sub/sub/only": "",
	})
	got := map[string]bool{}
	var look func(dir string)
	look = func(dir string) {
		list, _, err := tree.List(dir, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Ignored {
				got[e.Path] = true
			}
			if e.Kind == tool.KindDirectory {
				look(e.Path)
			}
		}
	}
	look(".")
	want := map[string]bool{}
	for _, name := range []string{
		"x.log", "root.txt", "sub/dir", "sub/dir/f", "name", "name/f", "sub/name", "abc", "xz", "f~", "doc/a.txt", "a/b/deep", "#hash", "!bang", "trail",
		"x.tar.gz", "lit.eral", "crlf", ".log", "sub/only", "sub/here", "sub/sub/only",
	} {
		want[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ignored (-want +got)\n%s", diff)
	}
	// A search sees what is not ignored.
	seen := map[string]bool{}
	if _, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: "", MaxLines: 1}, func(m tool.FileMatches) bool {
		seen[m.Path] = true
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		if got[name] {
			t.Errorf("%s is ignored and searched", name)
		}
	}
}

func BenchmarkFindManyPatterns(b *testing.B) {
	files := map[string]string{".gitignore": ""}
	for i := range 400 {
		files[".gitignore"] += fmt.Sprintf("*.ext%d\nname%d/\n", i, i)
	}
	for i := range 5000 {
		files[fmt.Sprintf("pkg%02d/sub%d/file%04d.go", i%50, i%4, i)] = ""
	}
	_, tree := project(b, files)
	for b.Loop() {
		if _, _, err := tree.Find(b.Context(), tool.FindQuery{Dir: ".", Text: "file", Files: true, Max: 30}); err != nil {
			b.Fatal(err)
		}
	}
}
