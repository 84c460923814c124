package tool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/agent/tool"
)

// compareBytes is how large the tree is that is searched.
const compareBytes = 100 << 20

// TestSearchBesideRipgrep searches one tree of 100 MB with ripgrep and with
// [tool.Tree.Search], in turns, and wants the same lines of both. It says how
// many times as long ours takes; a figure that noise could change fails nothing.
// It needs OPENCODE_TEST_COMPARE=1, since it takes a minute.
func TestSearchBesideRipgrep(t *testing.T) {
	if os.Getenv("OPENCODE_TEST_COMPARE") != "1" {
		t.Skip("SKIPPED: OPENCODE_TEST_COMPARE=1 compares the search with ripgrep, which must be installed; it takes a minute and all processors")
	}
	ripgrep, err := exec.LookPath("rg")
	if err != nil {
		t.Fatal("ripgrep is not installed, and OPENCODE_TEST_COMPARE=1 wants it")
	}
	dir := sourceTree(t)
	tree, err := tool.OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })

	const rounds = 7
	for _, pattern := range []string{
		`ErrUnexpectedEOF`,
		`zzNotThereAtAll`,
		`func \(\w+ \*?Buffer\) \w+`,
		`\bunsafe\.Pointer\b`,
		`(?i)deadlock`,
		`Fprintf|Sscanf|Appendln`,
		`[a-z]+Error\b`,
		`^\s+defer \w+\.Unlock\(\)$`,
		`\d{4}-\d{2}-\d{2}`,
	} {
		t.Run(pattern, func(t *testing.T) {
			var ours, theirs []time.Duration
			for range rounds {
				start := time.Now()
				got := searchLines(t, tree, pattern)
				ours = append(ours, time.Since(start))

				start = time.Now()
				want := ripgrepLines(t, ripgrep, dir, pattern)
				theirs = append(theirs, time.Since(start))
				if got != want {
					t.Fatalf("%d lines, and ripgrep %d", got, want)
				}
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			a, b := ours[rounds/2], theirs[rounds/2]
			t.Logf("ours %v, ripgrep %v: %.2f times", a.Round(time.Millisecond), b.Round(time.Millisecond), float64(a)/float64(b))
		})
	}
}

func searchLines(t *testing.T, tree *tool.Tree, pattern string) (lines int) {
	t.Helper()
	query := tool.SearchQuery{Dir: ".", Pattern: pattern, MaxLines: 1 << 20}
	covered, err := tree.Search(t.Context(), query, func(m tool.FileMatches) bool {
		lines += len(m.Lines)
		return true
	})
	if err != nil || covered.Partial != "" {
		t.Fatalf("%v, in part: %q", err, covered.Partial)
	}
	return lines
}

func ripgrepLines(t *testing.T, ripgrep, dir, pattern string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), ripgrep, "--no-config", "--line-number", "--no-heading", "--hidden", "--color", "never", "--regexp", pattern, ".")
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	return bytes.Count(out, []byte("\n"))
}

// sourceTree returns a tree of Go source of the size that is compared, made of
// copies of what the toolchain itself comes with. Files whose lines the two
// would read in different ways are left out.
func sourceTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // SA1019: any large tree of text will do
	size := 0
	for n := 0; size < compareBytes; n++ {
		before := size
		err := filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(name, ".go") || size >= compareBytes {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil || !plainText(text) {
				return err
			}
			rel, err := filepath.Rel(from, name)
			if err != nil {
				return err
			}
			to := filepath.Join(dir, fmt.Sprintf("copy%d", n), rel)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return err
			}
			size += len(text)
			return os.WriteFile(to, text, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if size == before {
			t.Fatalf("no source below %s", from)
		}
	}
	return dir
}

// plainText reports whether a text is UTF-8 without NUL, with no line too long
// to be searched whole.
func plainText(text []byte) bool {
	if bytes.IndexByte(text, 0) >= 0 || bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) || !bytes.Equal(bytes.ToValidUTF8(text, nil), text) {
		return false
	}
	for line := range bytes.Lines(text) {
		if len(line) > 8<<10 {
			return false
		}
	}
	return true
}
