package tool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/tool"
)

// change plans one change and makes it.
func change(tree *tool.Tree, plan func(*tool.Tree) (tool.Change, error)) error {
	c, err := plan(tree)
	if err != nil {
		return err
	}
	return tree.Apply([]tool.Change{c})
}

// effects are one of each tool on a name.
func effects(name string) map[string]func(*tool.Tree) (tool.Change, error) {
	return map[string]func(*tool.Tree) (tool.Change, error){
		"write": func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite(name, []byte("new\n")) },
		"edit": func(t *tool.Tree) (tool.Change, error) {
			return t.PlanEdit(name, []tool.Edit{{Old: "CANARY", New: "x"}})
		},
		"make":      func(t *tool.Tree) (tool.Change, error) { return t.PlanEdit(name, []tool.Edit{{New: "x"}}) },
		"delete":    func(t *tool.Tree) (tool.Change, error) { return t.PlanDelete(name) },
		"move from": func(t *tool.Tree) (tool.Change, error) { return t.PlanMove(name, "moved") },
		"move to":   func(t *tool.Tree) (tool.Change, error) { return t.PlanMove("plain", name) },
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"a": "1\n", "gone": "x", "old": "y"})
	for name, plan := range map[string]func(*tool.Tree) (tool.Change, error){
		"replaced": func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("a", []byte("2\n")) },
		"made":     func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("d/e/f", []byte{}) },
		"edited": func(t *tool.Tree) (tool.Change, error) {
			return t.PlanEdit("n", []tool.Edit{{New: "n\n"}, {Old: "n", New: "m"}})
		},
		"deleted": func(t *tool.Tree) (tool.Change, error) { return t.PlanDelete("gone") },
		"moved":   func(t *tool.Tree) (tool.Change, error) { return t.PlanMove("old", "g/new") },
	} {
		if err := change(tree, plan); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := map[string]string{"a": "2\n", "d/e/f": "", "n": "m\n", "g/new": "y"}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestModesStay checks that a file that is replaced keeps its mode, and that
// another name of it keeps what it held.
func TestModesStay(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"../outside": "CANARY\n"})
	for _, mode := range []os.FileMode{0o600, 0o644, 0o755, 0o400, 0o111 | 0o600} {
		put(t, dir, "f", "one\n")
		if err := os.Chmod(filepath.Join(dir, "f"), mode); err != nil {
			t.Fatal(err)
		}
		err := change(tree, func(t *tool.Tree) (tool.Change, error) { return t.PlanEdit("f", []tool.Edit{{Old: "one", New: "two"}}) })
		info, statErr := os.Stat(filepath.Join(dir, "f"))
		if err := errors.Join(err, statErr); err != nil || info.Mode() != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
		if err := os.Remove(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "../outside"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := change(tree, func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("hard", []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "../outside")); string(data) != "CANARY\n" {
		t.Errorf("the file outside holds %q, %v", data, err)
	}
}

// TestRefusedChanges checks what no change is made of.
func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"plain": "p\n", "d/": "", "link": "->plain", "dangling": "->nowhere", "up": "->..", "../canary": "CANARY"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, filepath.Dir(dir))
	for name, want := range map[string]error{
		"link": tool.ErrLink, "dangling": tool.ErrLink, "up/canary": tool.ErrLink, "up/new": tool.ErrLink, "up": tool.ErrLink,
		"pipe": nil, "d": nil, "plain/x": tool.ErrNotDirectory, "pipe/x": tool.ErrNotDirectory,
		"..": tool.ErrName, "../canary": tool.ErrName, "/canary": tool.ErrName, "": tool.ErrName, "d//x": tool.ErrName, "./x": tool.ErrName, "a\x00b": tool.ErrName,
		".": nil, strings.Repeat("x", 300): nil, strings.Repeat("x/", 3000) + "x": nil,
	} {
		for how, plan := range effects(name) {
			err := change(tree, plan)
			if err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s %.40q: error %v, want %v", how, name, err, want)
			}
		}
	}
	for name, changes := range map[string][]tool.Change{
		"nothing":         nil,
		"the zero change": {{Path: "plain"}},
		"a name twice":    {{Kind: tool.ChangeCreate, Path: "n"}, {Kind: tool.ChangeCreate, Path: "n"}},
		"a move and more": {{Kind: tool.ChangeCreate, Path: "n"}, {Kind: tool.ChangeMove, Path: "plain", To: "m"}},
		"no such kind":    {{Kind: 9, Path: "plain"}},
		"not as planned":  {{Kind: tool.ChangeReplace, Path: "plain", Before: []byte("q\n")}},
	} {
		if err := tree.Apply(changes); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := tree.PlanWrite("big", make([]byte, tool.MaxFileBytes+1)); !errors.Is(err, tool.ErrTooLarge) {
		t.Errorf("too much: %v", err)
	}
	if diff := cmp.Diff(before, contents(t, filepath.Dir(dir))); diff != "" {
		t.Errorf("something has changed (-before +after)\n%s", diff)
	}
}

// TestAllOrNone lets the last of several changes fail, and one that comes when
// others have been made.
func TestAllOrNone(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"a": "1\n", "b": "2\n", "c": "3\n", "d/x": "4\n"})
	if err := os.Chmod(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	plans := func() []tool.Change {
		var list []tool.Change
		for _, plan := range []func(*tool.Tree) (tool.Change, error){
			func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("n/m", []byte("new")) },
			func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("a", []byte("new")) },
			func(t *tool.Tree) (tool.Change, error) { return t.PlanDelete("b") },
			func(t *tool.Tree) (tool.Change, error) { return t.PlanDelete("c") },
		} {
			list = append(list, must(plan(tree))(t))
		}
		return list
	}
	changes := append(plans(), tool.Change{Kind: tool.ChangeReplace, Path: "d/x", Before: []byte("other"), After: []byte("new")})
	if err := tree.Apply(changes); !errors.Is(err, tool.ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	// A file that two changes make is seen only when the first is made: a
	// directory stands where the second wants its file.
	changes = append(plans(),
		tool.Change{Kind: tool.ChangeCreate, Path: "z", After: []byte("new")},
		tool.Change{Kind: tool.ChangeCreate, Path: "z/y", After: []byte("new")})
	if err := tree.Apply(changes); err == nil {
		t.Error("no error for a file in a file")
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("late (-before +after)\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v after it was put back", info.Mode(), err)
	}
	if err := tree.Apply(plans()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "new", "n/m": "new", "d/x": "4\n"}, contents(t, dir)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestChangedSincePlanned lets somebody else change a file in between.
func TestChangedSincePlanned(t *testing.T) {
	t.Parallel()
	for how, plan := range effects("f") {
		if how == "make" || how == "move to" {
			continue
		}
		dir, tree := project(t, map[string]string{"f": "CANARY\n", "plain": ""})
		c := must(plan(tree))(t)
		put(t, dir, "f", "CANARY, and more\n")
		if err := tree.Apply([]tool.Change{c}); !errors.Is(err, tool.ErrChanged) {
			t.Errorf("%s: error %v, want ErrChanged", how, err)
		}
		if diff := cmp.Diff(map[string]string{"f": "CANARY, and more\n", "plain": ""}, contents(t, dir)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", how, diff)
		}
	}
	dir, tree := project(t, map[string]string{"plain": "p"})
	for _, how := range []string{"make", "move to"} {
		c := must(effects("f")[how](tree))(t)
		put(t, dir, "f", "somebody's")
		if err := tree.Apply([]tool.Change{c}); !errors.Is(err, tool.ErrExist) {
			t.Errorf("%s: error %v, want ErrExist", how, err)
		}
		if err := os.Remove(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadersSeeWholeFiles replaces a file while others read it: they see one
// of its contents, whole.
func TestReadersSeeWholeFiles(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 100_000), strings.Repeat("b", 200_000)
	_, tree := project(t, map[string]string{"f": a})
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := tree.Read("f", 1<<20); err != nil || string(c.Data) != a && string(c.Data) != b {
					t.Errorf("read %d bytes, %v", len(c.Data), err)
					return
				}
			}
		})
	}
	for i := range 100 {
		text := []string{b, a}[i%2]
		if err := change(tree, func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("f", []byte(text)) }); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	reading.Wait()
}

// TestNothingChangesOutsideInARace swaps a directory and a file for links that
// lead out while others write: nothing outside ever changes, and nothing that
// the name did not stand for.
func TestNothingChangesOutsideInARace(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{
		"d/f": "in\n", "keep/x": "in\n", "plain": "p\n", "../outside/f": "CANARY\n", "secret/f": "CANARY\n", "x": "in\n", "../file": "CANARY\n",
		"links/out": "->../outside", "links/in": "->secret", "links/file": "->../file",
	})
	outside := contents(t, filepath.Join(dir, "../outside"))
	stop := make(chan struct{})
	var swapping, writing sync.WaitGroup
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, dir, "links/abs", "->"+filepath.Join(dir, "../outside"))
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			evil := []string{"links/out", "links/in", "links/abs"}[i%3]
			_ = os.Rename(at("d"), at("away"))
			_ = os.Rename(at(evil), at("d"))
			_ = os.Rename(at("d"), at(evil))
			_ = os.Rename(at("away"), at("d"))
			// A write may have made the file anew in between.
			_ = os.Rename(at("x"), at("x-away"))
			_ = os.Rename(at("links/file"), at("x"))
			_ = os.Rename(at("x"), at("links/file"))
			_ = os.Rename(at("x-away"), at("x"))
			if fi, err := os.Lstat(at("d")); err == nil && fi.IsDir() && i%64 == 0 {
				_ = os.RemoveAll(at("away")) // a directory was made in its place
			}
		}
	})
	var mu sync.Mutex
	made := 0
	for worker := range 3 {
		writing.Go(func() {
			for range 30 {
				for _, name := range []string{"d/f", fmt.Sprintf("d/new%d", worker), "x"} {
					for how, plan := range effects(name) {
						if strings.HasPrefix(how, "move") {
							continue
						}
						if err := change(tree, plan); err == nil {
							mu.Lock()
							made++
							mu.Unlock()
						}
					}
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	swapping.Wait()
	if made == 0 {
		t.Error("nothing was ever changed")
	}
	if diff := cmp.Diff(outside, contents(t, filepath.Join(dir, "../outside"))); diff != "" {
		t.Errorf("outside (-before +after)\n%s", diff)
	}
	for _, name := range []string{"secret/f", "../file"} {
		if data, err := os.ReadFile(at(name)); string(data) != "CANARY\n" {
			t.Errorf("%s holds %q, %v", name, data, err)
		}
	}
}

// TestOrdinaryWritesLeave shows the hole that is closed: what writes through
// the links of a project changes the file outside.
func TestOrdinaryWritesLeave(t *testing.T) {
	t.Parallel()
	dir, tree := project(t, map[string]string{"../canary": "CANARY", "l": "->../canary"})
	if err := os.WriteFile(filepath.Join(dir, "l"), []byte("overwritten"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "../canary")); string(data) != "overwritten" {
		t.Errorf("the attack is none: %q", data)
	}
	if err := change(tree, effects("l")["write"]); !errors.Is(err, tool.ErrLink) {
		t.Errorf("error %v, want ErrLink", err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func BenchmarkWrite(b *testing.B) {
	_, tree := project(b, nil)
	text := []byte(strings.Repeat("a line of text\n", 500))
	for b.Loop() {
		if err := change(tree, func(t *tool.Tree) (tool.Change, error) { return t.PlanWrite("f", text) }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEdit(b *testing.B) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "\tline %d of a file\n", i)
	}
	for name, edit := range map[string]tool.Edit{
		"exact":       {Old: "line 19000 of a file", New: "x"},
		"indentation": {Old: "line 19000 of a file\nline 19001 of a file", New: "x"},
		"not there":   {Old: "line x", New: "y"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = tool.ApplyEdits([]byte(text.String()), []tool.Edit{edit})
			}
		})
	}
}
