package git_test

import (
	"fmt"
	"strings"
	"testing"
)

// project makes 2,000 files in 100 directories.
func project(b *testing.B) string {
	b.Helper()
	root := b.TempDir()
	files := map[string]string{".gitignore": "*.o\nnode_modules/\n/build/\n*.log\n.env\n"}
	for i := range 2000 {
		files[fmt.Sprintf("dir%d/sub%d/file%d.go", i%10, i%100, i)] = strings.Repeat(fmt.Sprintf("line %d\n", i), 200)
	}
	write(b, root, files)
	return root
}

func BenchmarkTrackFirst(b *testing.B) {
	root := project(b)
	for b.Loop() {
		b.StopTimer()
		g := newGit(b)
		b.StartTimer()
		track(b, g, root)
	}
}

func BenchmarkTrackUnchanged(b *testing.B) {
	g, root := newGit(b), project(b)
	track(b, g, root)
	for b.Loop() {
		track(b, g, root)
	}
}

func BenchmarkTrackChanged(b *testing.B) {
	g, root := newGit(b), project(b)
	track(b, g, root)
	n := 0
	for b.Loop() {
		n++
		write(b, root, map[string]string{"dir0/sub0/file0.go": fmt.Sprintf("changed %d\n", n)})
		track(b, g, root)
	}
}

func BenchmarkDiffAndRestore(b *testing.B) {
	g, root := newGit(b), project(b)
	from := track(b, g, root)
	write(b, root, map[string]string{"dir0/sub0/file0.go": "changed\n"})
	to := track(b, g, root)
	for b.Loop() {
		if err := undo(b, g, root, from, to); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatusUnchanged(b *testing.B) {
	g, root := newGit(b), project(b)
	commit(b, root)
	for b.Loop() {
		if s, err := g.Status(b.Context(), root); err != nil || len(s) > 0 {
			b.Fatal(s, err)
		}
	}
}
