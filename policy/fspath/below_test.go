package fspath_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/policy/fspath"
)

// secretTree is a project with secrets at several depths, links that lead out
// of it and a file with two names, beside a directory of other people's.
func secretTree(tb testing.TB) string {
	tb.Helper()
	base := tb.TempDir()
	for _, name := range []string{
		"out/notes", "out/id_rsa",
		"p/main.go", "p/.env", "p/.env.example", "p/src/a.go", "p/src/.npmrc", "p/src/deep/er/server.key", "p/.ssh/config", "p/node_modules/x/cert.pem", "p/same",
	} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	for link, to := range map[string]string{"src/notes": "../../out/notes", "src/key.txt": "../../out/id_rsa", "src/lost": "../../out/none", "src/self": "self", "src/up": "../../out", "src/b.go": "a.go"} {
		if err := os.Symlink(to, filepath.Join(base, "p", link)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(base, "out/notes"), filepath.Join(base, "p/src/linked")); err != nil {
		tb.Fatal(err)
	}
	return base
}

// raws returns the paths as they are shown, each once.
func raws(paths []fspath.Path) map[string]string {
	out := map[string]string{}
	for _, p := range paths {
		if p.Problem != nil {
			out[p.Raw] = *p.Problem
			continue
		}
		out[p.Raw] = fmt.Sprintf("%s inside=%v links=%d", p.Class, p.Inside, p.Links)
	}
	return out
}

func TestBelow(t *testing.T) {
	t.Parallel()
	base := secretTree(t)
	root := filepath.Join(base, "p")
	const one, dir = "secret inside=true links=1", "secret inside=true links=0"
	for _, tt := range []struct {
		raw  string
		walk fspath.Walk
		want map[string]string
	}{
		{".", fspath.Walk{}, map[string]string{"./.env": one, "./.ssh": dir, "./src/.npmrc": one, "./src/deep/er/server.key": one}},
		{"src", fspath.Walk{}, map[string]string{"src/.npmrc": one, "src/deep/er/server.key": one}},
		{"src/", fspath.Walk{Visible: true}, map[string]string{"src/deep/er/server.key": one}},
		{root, fspath.Walk{Visible: true}, map[string]string{root + "/src/deep/er/server.key": one}},
		{".", fspath.Walk{Names: []string{"*.go"}}, map[string]string{"./.ssh": dir}},
		{"src", fspath.Walk{Names: []string{"*.go", ".n*"}}, map[string]string{"src/.npmrc": one}},
		{".", fspath.Walk{Top: "s*"}, map[string]string{"./src/.npmrc": one, "./src/deep/er/server.key": one}},
		{".", fspath.Walk{Top: "*", Names: []string{"server.*"}}, map[string]string{"./src/deep/er/server.key": one}},
		{"src", fspath.Walk{Visible: true, Links: true}, map[string]string{
			"src/deep/er/server.key": one, "src/notes": "plain inside=false links=2", "src/key.txt": "secret inside=false links=1", "src/up": "plain inside=false links=0",
		}},
		{"main.go", fspath.Walk{}, map[string]string{}},
		{"..", fspath.Walk{}, map[string]string{}},
		{"none", fspath.Walk{}, map[string]string{}},
		{"src/up", fspath.Walk{}, map[string]string{}},
	} {
		if diff := cmp.Diff(tt.want, raws(fspath.Below(root, root, tt.raw, tt.walk))); diff != "" {
			t.Errorf("Below(%s, %+v) (-want +got):\n%s", tt.raw, tt.walk, diff)
		}
	}
}

// TestBelowManyNames: what is too much to be looked at may hold a secret.
func TestBelowManyNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for i := range 10 {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprint("d", i), "x", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for most, want := range map[int]map[string]string{29: {"./**": "secret inside=true links=0"}, 30: {}} {
		if diff := cmp.Diff(want, raws(fspath.LookBelow(root, root, ".", fspath.Walk{}, most))); diff != "" {
			t.Errorf("with %d of 30 names looked at (-want +got):\n%s", most, diff)
		}
	}
}

// TestUnreadNames: a directory that cannot be looked at, for a reason that is not
// also the command's, may hold a secret. Here its path is too long for the kernel;
// a command can go there step by step.
func TestUnreadNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	deep := strings.Repeat("/"+strings.Repeat("d", 200), 21)
	if err := dir.MkdirAll("."+deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dir.MkdirAll("unread", 0o000); err != nil {
		t.Fatal(err)
	}
	const want = "secret inside=true links="
	if got := raws(fspath.Below(root, root, ".", fspath.Walk{})); got["./**"] != want+"0" {
		t.Errorf("Below = %v, want a secret: not all names are read", got)
	}
	if got := raws(fspath.Matches(root, root, "**", fspath.Read)); got["**"] != want+"0" {
		t.Errorf("Matches(**) = %v, want a secret: not all names are read", got)
	}
	for dir, want := range map[string]string{root + deep: "secret", root + "/none": "plain", "/dev/null": "plain", root + "/unread": "plain"} {
		if got := fspath.ClassBelow(dir, root, root); got != want {
			t.Errorf("ClassBelow(%.40s …) = %s, want %s", dir, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	base := secretTree(t)
	root := filepath.Join(base, "p")
	const one = "secret inside=true links=1"
	for _, tt := range []struct {
		pattern string
		want    map[string]string
	}{
		{"*", map[string]string{}},
		{"src/*", map[string]string{
			"src/notes": "plain inside=false links=2", "src/key.txt": "secret inside=false links=1", "src/up": "plain inside=false links=0", "src/linked": "plain inside=true links=2",
		}},
		{"*/*.txt", map[string]string{"src/key.txt": "secret inside=false links=1"}},
		{"src/.[a-n]*", map[string]string{"src/.npmrc": one}},
		{".e*", map[string]string{".env": one}},
		{"src/*/*/*", map[string]string{"src/deep/er/server.key": one}},
		{"src/*/*", map[string]string{"src/up/id_rsa": "secret inside=false links=1"}},
		{"**/*.key", map[string]string{"src/deep/er/server.key": one}},
		{"src/**", map[string]string{
			"src/notes": "plain inside=false links=2", "src/key.txt": "secret inside=false links=1", "src/up": "plain inside=false links=0", "src/linked": "plain inside=true links=2",
			"src/deep/er/server.key": one,
		}},
		{"src/l*d", map[string]string{"src/linked": "plain inside=true links=2"}},
		{root + "/.en?", map[string]string{root + "/.env": one}},
		{"[", map[string]string{}},
		{"none/*", map[string]string{}},
		{"\x00*", map[string]string{}},
	} {
		got := raws(fspath.Matches(root, root, tt.pattern, fspath.Read))
		delete(got, "src/up/notes") // a third name of the same
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Matches(%q) (-want +got):\n%s", tt.pattern, diff)
		}
	}
}

func BenchmarkBelow(b *testing.B) {
	root := b.TempDir()
	for i := range 100 {
		dir := filepath.Join(root, fmt.Sprint("d", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		for j := range 9 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", j, ".go")), nil, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		fspath.Below(root, root, ".", fspath.Walk{})
	}
}
