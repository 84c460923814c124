package tool_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/tool"
)

// project makes a project of files by name. A name that ends in a slash is a
// directory, and text that starts with "->" a link.
func project(tb testing.TB, files map[string]string) (string, *tool.Tree) {
	tb.Helper()
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	dir = filepath.Join(dir, "proj")
	put(tb, dir, "./", "")
	for name, text := range files {
		put(tb, dir, name, text)
	}
	t, err := tool.OpenTree(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = t.Close() })
	return dir, t
}

func put(tb testing.TB, dir, name, text string) {
	tb.Helper()
	full := filepath.Join(dir, name)
	err := os.MkdirAll(filepath.Dir(full), 0o700)
	target, link := strings.CutPrefix(text, "->")
	switch {
	case err != nil:
	case strings.HasSuffix(name, "/"):
		err = os.MkdirAll(full, 0o700)
	case link:
		err = os.Symlink(target, full)
	default:
		err = os.WriteFile(full, []byte(text), 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	_, tree := project(t, map[string]string{
		"a.txt": "hello\n", "src/b.go": "package b\n", "img.png": png, "img.txt": png, "data": "\x00\x01", "latin": "caf\xe9\n", "empty": "",
		"page.bin": "<html><body>\xff", "v.svg": "<svg/>",
	})
	for name, want := range map[string]tool.Content{
		"a.txt":    {Data: []byte("hello\n"), MediaType: "text/plain; charset=utf-8"},
		"src/b.go": {Data: []byte("package b\n"), MediaType: "text/plain; charset=utf-8"},
		"v.svg":    {Data: []byte("<svg/>"), MediaType: "text/plain; charset=utf-8"},
		"empty":    {Data: []byte{}, MediaType: "text/plain; charset=utf-8"},
		"img.png":  {Data: []byte(png), Binary: true, MediaType: "image/png"},
		"img.txt":  {Data: []byte(png), Binary: true, MediaType: "image/png"},
		"data":     {Data: []byte("\x00\x01"), Binary: true, MediaType: "application/octet-stream"},
		"latin":    {Data: []byte("caf\xe9\n"), Binary: true, MediaType: "application/octet-stream"},
		"page.bin": {Data: []byte("<html><body>\xff"), Binary: true, MediaType: "application/octet-stream"},
	} {
		got, err := tree.Read(name, 1000)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Read(%q): %v (-want +got)\n%s", name, err, diff)
		}
	}
}

// TestOpensNothingElse asks for all that is no plain file of the tree.
func TestOpensNothingElse(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		"a.txt": "inside", "src/b.go": "inside", "big": strings.Repeat("x", 11),
		"../canary": "outside", "up": "->..", "out": "->../canary", "etc": "->/etc", "in": "->a.txt", "indir": "->src", "self": "->self",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"":             tool.ErrName,
		"..":           tool.ErrName,
		"../canary":    tool.ErrName,
		"src/../a.txt": tool.ErrName,
		"./a.txt":      tool.ErrName,
		"/etc/passwd":  tool.ErrName,
		"a.txt/":       tool.ErrName,
		"a.txt\x00":    tool.ErrName,
		"a\xff":        tool.ErrName,
		dir + "/a.txt": tool.ErrName,
		".":            tool.ErrNotFile,
		"src":          tool.ErrNotFile,
		"pipe":         tool.ErrNotFile,
		"a.txt/b":      tool.ErrNotDirectory,
		"pipe/b":       tool.ErrNotDirectory,
		"up/canary":    tool.ErrLink,
		"out":          tool.ErrLink,
		"etc/passwd":   tool.ErrLink,
		"in":           tool.ErrLink,
		"indir/b.go":   tool.ErrLink,
		"self":         tool.ErrLink,
		"nope":         fs.ErrNotExist,
		"nope/nope":    fs.ErrNotExist,
		"big":          tool.ErrTooLarge,
	} {
		if c, err := tree.Read(name, 10); !errors.Is(err, want) {
			t.Errorf("Read(%q) = %q, %v, want %v", name, c.Data, err, want)
		}
	}
	for name, want := range map[string]error{
		"a.txt": tool.ErrNotDirectory, "pipe": tool.ErrNotDirectory, "etc": tool.ErrLink, "indir": tool.ErrLink, "up": tool.ErrLink,
		"..": tool.ErrName, "/": tool.ErrName, "nope": fs.ErrNotExist,
	} {
		if list, _, err := tree.List(name, 10); !errors.Is(err, want) {
			t.Errorf("List(%q) = %v, %v, want %v", name, list, err, want)
		}
		if _, err := tree.Search(t.Context(), tool.SearchQuery{Dir: name, Pattern: "x", MaxLines: 1}, func(tool.FileMatches) bool { return true }); !errors.Is(err, want) {
			t.Errorf("Search in %q: %v, want %v", name, err, want)
		}
	}
	if _, err := tool.OpenTree(filepath.Join(dir, "etc")); err == nil {
		t.Error("OpenTree of a link opens where it leads")
	}
	if _, err := tool.OpenTree("proj"); !errors.Is(err, tool.ErrName) {
		t.Errorf("OpenTree of a relative path: %v", err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		".gitignore": "*.log\nbuild\n!keep.log\n/only\n# comment\n\nsp\\ ace\n", ".git/info/exclude": "excl*\n", ".git/HEAD": "x",
		"b.txt": "", "A.txt": "", "a.log": "", "keep.log": "", "excluded": "", "only": "", "build/out": "", "lnk": "->/etc", "sp ace": "",
		"sub/.gitignore": "*.tmp\n!a.log\n", "sub/x.tmp": "", "sub/a.log": "", "sub/only": "", "x.tmp": "", "bad\xff": "",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func(name string, most int) (list []string, partial bool) {
		t.Helper()
		entries, partial, err := tree.List(name, most)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			line := fmt.Sprintf("%s %d", e.Path, e.Kind)
			if e.Ignored {
				line += " ignored"
			}
			list = append(list, line)
		}
		return list, partial
	}
	top, partial := show(".", 100)
	want := []string{
		".git 2", "build 2 ignored", "sub 2", ".gitignore 1", "a.log 1 ignored", "A.txt 1", "b.txt 1", "excluded 1 ignored",
		"keep.log 1", "lnk 3", "only 1 ignored", "pipe 0", "sp ace 1 ignored", "x.tmp 1",
	}
	if diff := cmp.Diff(want, top); diff != "" || !partial {
		t.Errorf("the project, partial %v for a name that is not UTF-8 (-want +got)\n%s", partial, diff)
	}
	sub, partial := show("sub", 100)
	if diff := cmp.Diff([]string{"sub/.gitignore 1", "sub/a.log 1", "sub/only 1", "sub/x.tmp 1 ignored"}, sub); diff != "" || partial {
		t.Errorf("sub, partial %v (-want +got)\n%s", partial, diff)
	}
	if build, _ := show("build", 100); !cmp.Equal(build, []string{"build/out 1 ignored"}) {
		t.Errorf("build = %q", build)
	}
	if few, partial := show("sub", 2); len(few) != 2 || !partial {
		t.Errorf("at most 2 = %q, partial %v", few, partial)
	}
}

// search returns what a search finds as file:line:text.
func search(t *testing.T, tree *tool.Tree, q tool.SearchQuery) ([]string, tool.Coverage) {
	t.Helper()
	if q.Dir == "" {
		q.Dir = "."
	}
	if q.MaxLines == 0 {
		q.MaxLines = 10
	}
	list := []string{}
	c, err := tree.Search(t.Context(), q, func(m tool.FileMatches) bool {
		for _, l := range m.Lines {
			list = append(list, fmt.Sprintf("%s:%d:%d:%v:%s", m.Path, l.Number, l.Offset, l.Spans, l.Text))
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, c
}

func TestSearch(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		"a.txt": "one\nhello hello\nthree hello", "b/c.txt": "h\xc3\xa9llo hello\r\n", "b/d.go": "hello\n", ".hidden": "hello\n",
		"bin": "hello\x00", "late": strings.Repeat("x", 9<<10) + "\nhello\x00", "latin": "caf\xe9 hello\n", "z/.git/config": "hello",
		".gitignore": "ignored\n*.log\n", "ignored/x": "hello", "x.log": "hello", "lnk": "->a.txt", "dirlnk": "->b", "out": "->/etc",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		query tool.SearchQuery
		want  []string
	}{
		"plain": {tool.SearchQuery{Pattern: "hello"}, []string{
			".hidden:1:0:[{0 5}]:hello\n",
			"a.txt:2:4:[{0 5} {6 11}]:hello hello\n", "a.txt:3:16:[{6 11}]:three hello",
			"latin:1:0:[{7 12}]:caf\uFFFD hello\n",
			"b/c.txt:1:0:[{7 12}]:héllo hello\r\n", "b/d.go:1:0:[{0 5}]:hello\n",
		}},
		"ends of lines":    {tool.SearchQuery{Pattern: "^hello$"}, []string{".hidden:1:0:[{0 5}]:hello\n", "b/d.go:1:0:[{0 5}]:hello\n"}},
		"ends of text":     {tool.SearchQuery{Pattern: `\Athree`}, []string{"a.txt:3:16:[{0 5}]:three hello"}},
		"across lines":     {tool.SearchQuery{Pattern: `one\nhello`}, []string{}},
		"any case":         {tool.SearchQuery{Pattern: `(?i)ONE`}, []string{"a.txt:1:0:[{0 3}]:one\n"}},
		"directory":        {tool.SearchQuery{Pattern: "hello", Dir: "b", Include: "*.go"}, []string{"b/d.go:1:0:[{0 5}]:hello\n"}},
		"include":          {tool.SearchQuery{Pattern: "hello", Include: "**/*.go"}, []string{"b/d.go:1:0:[{0 5}]:hello\n"}},
		"named on purpose": {tool.SearchQuery{Pattern: "hello", Dir: "ignored"}, []string{"ignored/x:1:0:[{0 5}]:hello"}},
		"lines of a file":  {tool.SearchQuery{Pattern: "hello", Include: "a.txt", MaxLines: 1}, []string{"a.txt:2:4:[{0 5} {6 11}]:hello hello\n"}},
		"empty":            {tool.SearchQuery{Pattern: "", Include: "b/d.go"}, []string{"b/d.go:1:0:[{0 0} {1 1} {2 2} {3 3} {4 4} {5 5}]:hello\n"}},
		"nothing":          {tool.SearchQuery{Pattern: "nowhere"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, coverage := search(t, tree, c.query)
			if diff := cmp.Diff(c.want, got); diff != "" || coverage.Partial != "" {
				t.Errorf("partial %q (-want +got)\n%s", coverage.Partial, diff)
			}
		})
	}
	for _, pattern := range []string{"(", "a)(b", "*", strings.Repeat("a", 5000), "[a-z]{1000}{1000}", "(?:a{1000}){3}", `(.{100}){25}`} {
		if _, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: pattern, MaxLines: 1}, nil); !errors.Is(err, tool.ErrPattern) {
			t.Errorf("pattern %.20q: %v, want ErrPattern", pattern, err)
		}
	}
	if _, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: "x", Include: "[", MaxLines: 1}, nil); !errors.Is(err, tool.ErrPattern) {
		t.Errorf("include [: %v, want ErrPattern", err)
	}
	if _, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: "x"}, nil); err == nil {
		t.Error("no MaxLines is no error")
	}
}

// TestSearchIsStable finds the same in the same order while workers race, and
// ends when whoever asked has enough.
func TestSearchIsStable(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%02d/f%03d", i%7, i)] = strings.Repeat("x\n", i%50*40) + "needle\n"
	}
	_, tree := project(t, files)
	first, _ := search(t, tree, tool.SearchQuery{Pattern: "needle"})
	if len(first) != 300 {
		t.Fatalf("%d matches, want 300", len(first))
	}
	for range 5 {
		again, _ := search(t, tree, tool.SearchQuery{Pattern: "needle"})
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("another order\n%s", diff)
		}
	}
	count := 0
	c, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: "needle", MaxLines: 1}, func(tool.FileMatches) bool {
		count++
		return count < 3
	})
	if err != nil || count != 3 || c.Files == 300 {
		t.Errorf("an early end: %d files yielded of %d, %v", count, c.Files, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	count = 0
	_, err = tree.Search(ctx, tool.SearchQuery{Dir: ".", Pattern: "needle", MaxLines: 1}, func(tool.FileMatches) bool {
		count++
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) || count != 1 {
		t.Errorf("cancelled: %d files yielded, %v", count, err)
	}
}

// TestSearchIsBounded searches what would take a naive search for ever.
func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		"long":  strings.Repeat("a", 100<<10) + "needle\n",
		"wide":  strings.Repeat("a", 300) + "\n" + strings.Repeat("ab", 150) + "\n",
		"tail":  strings.Repeat("x\n", 3<<20) + "needle\n",
		"start": "needle\n" + strings.Repeat("x\n", 3<<20),
	})
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sparse.Truncate(1<<30), sparse.Close()); err != nil {
		t.Fatal(err)
	}
	got, c := search(t, tree, tool.SearchQuery{Pattern: "needle"})
	if diff := cmp.Diff([]string{"start:1:0:[{0 6}]:needle\n"}, got); diff != "" || c.Partial == "" {
		t.Errorf("partial %q (-want +got)\n%s", c.Partial, diff)
	}
	if _, err := tree.Read("sparse", 10<<20); !errors.Is(err, tool.ErrTooLarge) {
		t.Errorf("1 GB: %v, want ErrTooLarge", err)
	}
	for _, pattern := range []string{`(a+)+$`, `(a|aa)+b`, `(a*)*b`, `a{0,900}b`, `(.*)(.*)(.*)(.*)c`, `a.*y|a`} {
		_, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: pattern, Include: "wide", MaxLines: 10}, func(m tool.FileMatches) bool {
			for _, l := range m.Lines {
				if len(l.Text) > 8<<10 || len(l.Spans) > 100 {
					t.Errorf("%s: %d bytes, %d spans", pattern, len(l.Text), len(l.Spans))
				}
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	_, tree := project(t, map[string]string{
		"src/main.go": "", "src/deep/mainly.go": "", "many.txt": "", ".gitignore": "out/\n", "out/main.go": "", ".git/main": "", "empty/": "", "lnk": "->/etc",
	})
	for name, c := range map[string]struct {
		query tool.FindQuery
		want  []string
	}{
		"empty":            {tool.FindQuery{Files: true, Directories: true, Max: 4}, []string{"lnk", "src", "empty", "many.txt"}},
		"files":            {tool.FindQuery{Text: "main", Files: true, Max: 9}, []string{"src/main.go", "src/deep/mainly.go"}},
		"in any case":      {tool.FindQuery{Text: "MAIN", Files: true, Max: 1}, []string{"src/main.go"}},
		"directories":      {tool.FindQuery{Text: "e", Directories: true, Max: 9}, []string{"empty", "src/deep"}},
		"directory first":  {tool.FindQuery{Text: "src", Files: true, Directories: true, Max: 2}, []string{"src", "src/deep"}},
		"below":            {tool.FindQuery{Dir: "src", Text: "src", Files: true, Directories: true, Max: 9}, []string{}},
		"nothing":          {tool.FindQuery{Text: "main"}, []string{}},
		"the best of many": {tool.FindQuery{Text: "main.go", Files: true, Max: 1}, []string{"src/main.go"}},
	} {
		if c.query.Dir == "" {
			c.query.Dir = "."
		}
		entries, coverage, err := tree.Find(t.Context(), c.query)
		if err != nil || coverage.Partial != "" {
			t.Fatal(err, coverage)
		}
		got := []string{}
		for _, e := range entries {
			got = append(got, e.Path)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, text := range []string{"a\x00b", strings.Repeat("a", 300)} {
		if _, _, err := tree.Find(t.Context(), tool.FindQuery{Dir: ".", Text: text, Files: true, Max: 1}); !errors.Is(err, tool.ErrPattern) {
			t.Errorf("Find(%.9q): %v, want ErrPattern", text, err)
		}
	}
}

// TestDeepAndOddTrees walks what a walk must not be lost in.
func TestDeepAndOddTrees(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"loop/in": "->..", "loop/self": "->self", "x": "needle\n"})
	deep := strings.Repeat("d/", 150)
	put(t, dir, deep+"f", "needle\n")
	got, c := search(t, tree, tool.SearchQuery{Pattern: "needle"})
	if len(got) != 1 || c.Partial == "" {
		t.Errorf("%q, partial %q, want x alone and that directories are too deep", got, c.Partial)
	}
	put(t, dir, ".gitignore", strings.Repeat("*a*a*a*a*a*b\n", 3000))
	if _, c := search(t, tree, tool.SearchQuery{Pattern: "needle"}); c.Partial == "" {
		t.Error("more patterns than are tried, and nobody is told")
	}
}
