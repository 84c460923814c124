package tool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/tool"
)

// exchanges is how often a race is run.
const exchanges = 2000

// TestNothingLeaksInARace swaps a directory and a file for links and a pipe
// while others read: what they get is never from outside, nor from a file that
// the name did not stand for, and nobody waits for the pipe.
func TestNothingLeaksInARace(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		"d/f": "plain needle", "keep/f": "plain needle", "secret/f": "CANARY needle", "../outside/f": "CANARY needle", "x/f": "plain needle",
	})
	for name, target := range map[string]string{"out": "../outside", "in": "secret", "abs": filepath.Join(dir, "../outside"), "file": "../secret/f"} {
		put(t, dir, "links/"+name, "->"+target)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "links/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping, reading sync.WaitGroup
	swapping.Go(func() {
		at := func(name string) string { return filepath.Join(dir, name) }
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			evil := []string{"links/out", "links/in", "links/abs", "links/pipe"}[i%4]
			// The link is a link in the project itself, as it would be made.
			err := errors.Join(os.Rename(at("d"), at("away")), os.Rename(at(evil), at("d")), os.Rename(at("d"), at(evil)), os.Rename(at("away"), at("d")))
			evil = []string{"links/file", "links/pipe"}[i%2]
			err = errors.Join(err, os.Rename(at("x/f"), at("x-away")), os.Rename(at(evil), at("x/f")), os.Rename(at("x/f"), at(evil)), os.Rename(at("x-away"), at("x/f")))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	var mu sync.Mutex
	good := 0
	check := func(how, text string) {
		if strings.Contains(text, "CANARY") {
			t.Errorf("%s gives %q", how, text)
		}
		mu.Lock()
		good++
		mu.Unlock()
	}
	for _, name := range []string{"d/f", "x/f"} {
		reading.Go(func() {
			for range exchanges {
				if c, err := tree.Read(name, 100); err == nil {
					check("Read "+name, string(c.Data))
				}
			}
		})
	}
	reading.Go(func() {
		for range exchanges / 10 {
			for _, where := range []string{"d", "x"} {
				_, _ = tree.Search(t.Context(), tool.SearchQuery{Dir: where, Pattern: "needle", MaxLines: 1}, func(m tool.FileMatches) bool {
					check("Search", m.Lines[0].Text)
					return true
				})
			}
		}
	})
	reading.Wait()
	close(stop)
	swapping.Wait()
	if good == 0 {
		t.Error("nothing was ever read")
	}
}

// TestFollowingLeaks shows the hole that is closed: what follows links in the
// project gives the file that nobody has decided about.
func TestFollowingLeaks(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{".env": "CANARY", "a.txt": "->.env"})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if data, err := root.ReadFile("a.txt"); err != nil || string(data) != "CANARY" {
		t.Errorf("os.Root gives %q, %v: the attack is none", data, err)
	}
	if c, err := tree.Read("a.txt", 100); !errors.Is(err, tool.ErrLink) {
		t.Errorf("Read = %q, %v, want ErrLink", c.Data, err)
	}
}

// FuzzRead reads a name in a tree beside which stands a canary. What is read is
// in the tree, by a rule of its own: every file there says its name.
func FuzzRead(f *testing.F) {
	dir, tree := project(f, map[string]string{
		"a": "in:a", "d/b": "in:d/b", "d/e/c": "in:d/e/c", "sp ace": "in:sp ace", "...": "in:...", "d/..x": "in:d/..x",
		"../canary": "CANARY", "../projx/a": "CANARY", "up": "->..", "out": "->../canary", "root": "->/", "d/up": "->../..", "abs": "->a",
	})
	for _, seed := range []string{
		"a", "d/b", "d/e/c", "../canary", "..", "d/../../canary", "up/canary", "d/up/canary", "/etc/passwd", "root/etc/passwd", "a\x00",
		"%2e%2e/canary", "..\\canary", "d//b", "./a", "~", "\xff", "...", "d/..x", "", ".", dir + "/a", "../proj/a", "../projx/a", "a/.", "a/..", "abs",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := tree.Read(name, 100)
		if err == nil && string(c.Data) != "in:"+name {
			t.Errorf("Read(%q) = %q", name, c.Data)
		}
		if list, _, err := tree.List(name, 100); err == nil {
			for _, e := range list {
				if rest, ok := strings.CutPrefix(e.Path, name+"/"); name != "." && (!ok || strings.Contains(rest, "/")) || strings.Contains(e.Path, "canary") {
					t.Errorf("List(%q) has %q", name, e.Path)
				}
			}
		}
	})
}

// randomText returns lines of a, b and now and then c: an automaton that looks
// for what stood some bytes before has more states than it may remember.
func randomText(size int) string {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, size)
	for i := range text {
		text[i] = "abababababababac\n"[random.IntN(17)]
	}
	return string(text)
}

// TestSearchBeyondItsMemory searches for expressions that need more states than
// are remembered, in texts where that shows at any of their bytes.
func TestSearchBeyondItsMemory(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"x": ""})
	random := rand.New(rand.NewPCG(1, 2))
	for _, pattern := range []string{`(a|b)*a(a|b){16}c`, `a[ab]{14}c`, `a[ab]{10}[ac][ab]{3}c`} {
		plain := regexp.MustCompile(pattern)
		for range 8 {
			text := make([]byte, 200_000)
			for i := range text {
				text[i] = "ab"[random.IntN(2)]
				if random.IntN(400) == 0 {
					text[i] = "\n\n\n\nc"[random.IntN(5)]
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "x"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			var want, got []int
			for i, line := range strings.Split(string(text), "\n") {
				if plain.MatchString(line) {
					want = append(want, i+1)
				}
			}
			_, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: pattern, MaxLines: 1 << 20}, func(m tool.FileMatches) bool {
				for _, l := range m.Lines {
					got = append(got, l.Number)
				}
				return true
			})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: %v, lines (-want +got):\n%s", pattern, err, diff)
			}
		}
	}
}

// FuzzSearch searches one file for a pattern. What is found is checked against
// the file itself, line by line.
func FuzzSearch(f *testing.F) {
	dir, tree := project(f, map[string]string{"x": ""})
	for _, seed := range [][2]string{
		{"a", "b\na\n"},
		{"^a$", "a\r\na"},
		{"", "x\n\ny"},
		{`\bé`, "caf\xe9 é\n"},
		{`(?i)A|b`, "ab\nBA"},
		{`\z`, "a\nb"},
		{`(?-m)^b`, "a\nb"},
		{"[^a]", "a\nb\n"},
		{"x*", strings.Repeat("yx", 5000) + "\nx"},
		{"(?i)kelvin", "\u212Aelvin\nKELVIN\nkelvi\n"},
		{"one|three|(?:fi|si)x+", "two\nthree one\nxfixx\n\nthre\n"},
		{`\w+\s(?:foo|barbar){2,}`, "a foofoo\nbarbar\nx barbarfoo"},
		{"[\u00e0-\u00ff]{2}x", "\u00e9\u00e9x\n\xe9\xe9x\n\u00e9x"},
		{"^[ab]$|c\\b", "a\nab\ncc\ncd\n"},
		{"\uFFFDabc", "\xffabc\nabc\n"},
		{"", strings.Repeat("\x9c", 8210)},
		{"(a|b)*a(a|b){16}c", randomText(40_000)},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "x"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(data), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		found := map[int]bool{}
		_, err := tree.Search(t.Context(), tool.SearchQuery{Dir: ".", Pattern: text, MaxLines: 1 << 20}, func(m tool.FileMatches) bool {
			for _, l := range m.Lines {
				if l.Number < 1 || l.Number > len(lines) || l.Offset != int64(len(strings.Join(lines[:l.Number-1], ""))) {
					t.Fatalf("%q in %q: line %d at %d", text, data, l.Number, l.Offset)
				}
				want := strings.ToValidUTF8(lines[l.Number-1], "\uFFFD")
				if max(len(want), len(lines[l.Number-1])) <= 8<<10 && l.Text != want { // a long one is cut
					t.Fatalf("%q in %q: line %q, want %q", text, data, l.Text, want)
				}
				found[l.Number] = true
				at := 0
				for _, s := range l.Spans {
					if s.Start < at || s.End < s.Start || s.End > len(l.Text) {
						t.Fatalf("%q in %q: spans %v", text, data, l.Spans)
					}
					at = s.End
				}
				if len(l.Spans) == 0 {
					t.Fatalf("%q in %q: a line without a match", text, data)
				}
			}
			return true
		})
		if err != nil {
			if !errors.Is(err, tool.ErrPattern) {
				t.Fatal(err)
			}
			return
		}
		plain := regexp.MustCompile("(?m)" + text)
		for i, line := range lines {
			size := len(line)
			line = strings.ToValidUTF8(strings.TrimSuffix(line, "\n"), "\uFFFD")
			if want := plain.MatchString(line) && !strings.Contains(string(data), "\x00"); max(len(line), size) < 8<<10 && found[i+1] != want {
				t.Fatalf("%q in %q: line %d found %v, want %v", text, data, i+1, found[i+1], want)
			}
		}
	})
}

// tree5000 makes a project of 5,000 files of about 2 KB.
func tree5000(b *testing.B) *tool.Tree {
	b.Helper()
	files := map[string]string{".gitignore": "*.log\n/build/\nnode_modules/\n*.tmp\n"}
	for i := range 5000 {
		files[fmt.Sprintf("pkg%02d/sub%d/file%04d.go", i%50, i%4, i)] = strings.Repeat(fmt.Sprintf("func name%d() { return %d }\n", i, i), 70)
	}
	_, tree := project(b, files)
	return tree
}

func BenchmarkSearch5000(b *testing.B) {
	tree := tree5000(b)
	for name, pattern := range map[string]string{"nothing": "nowhere to be found", "expression": `name49\d\d\(\) .*499\d`, "any-case": `(?i)NOWHERE`} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := tree.Search(b.Context(), tool.SearchQuery{Dir: ".", Pattern: pattern, MaxLines: 10}, func(tool.FileMatches) bool { return true })
				if err != nil || c.Files < 5000 {
					b.Fatal(c, err)
				}
				b.SetBytes(c.Bytes)
			}
		})
	}
}

func BenchmarkFind5000(b *testing.B) {
	tree := tree5000(b)
	b.ReportAllocs()
	for b.Loop() {
		list, c, err := tree.Find(b.Context(), tool.FindQuery{Dir: ".", Text: "file4999", Files: true, Directories: true, Max: 150})
		if err != nil || len(list) == 0 {
			b.Fatal(c, err)
		}
	}
}
