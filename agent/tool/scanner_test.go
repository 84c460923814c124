package tool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent/tool"
)

// matchedLines returns the numbers of the lines of each file that a search
// finds.
func matchedLines(ctx context.Context, tree *tool.Tree, pattern string) (map[string][]int, error) {
	found := map[string][]int{}
	_, err := tree.Search(ctx, tool.SearchQuery{Dir: ".", Pattern: pattern, MaxLines: 1 << 20}, func(m tool.FileMatches) bool {
		for _, l := range m.Lines {
			found[m.Path] = append(found[m.Path], l.Number)
		}
		return true
	})
	return found, err
}

// plainLines is [matchedLines] by the expression alone, line by line.
func plainLines(re *regexp.Regexp, files map[string]string) map[string][]int {
	found := map[string][]int{}
	for name, text := range files {
		if strings.Contains(text, "\x00") {
			continue // binary
		}
		number := 0
		for line := range strings.Lines(text) {
			number++
			line = strings.ToValidUTF8(line[:min(len(line), 8<<10)], "\uFFFD")
			if re.MatchString(strings.TrimSuffix(line, "\n")) {
				found[name] = append(found[name], number)
			}
		}
	}
	return found
}

// TestSearchUnevenLanes searches texts that cannot be split into parts of about
// the same length, since one line is most of them, for an expression that needs
// more states than are remembered: while one part is read to its end, what is
// known of the others must stand.
func TestSearchUnevenLanes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	ab := func(n int) string {
		text := make([]byte, n)
		for i := range text {
			text[i] = "ab"[random.IntN(2)]
		}
		return string(text)
	}
	files := map[string]string{}
	for i := range 12 {
		var lines []string
		for range 3 + random.IntN(4) {
			lines = append(lines, ab(random.IntN(800))+[]string{"", "c", "ac" + ab(15)}[random.IntN(3)])
		}
		lines[random.IntN(2)] = ab(20_000 + random.IntN(8000))
		files[fmt.Sprintf("f%02d", i)] = strings.Join(lines, "\n")
	}
	_, tree := project(t, files)
	for _, pattern := range []string{`a[ab]{15}c`, `(a|b)*a(a|b){16}c`} {
		got, err := matchedLines(t.Context(), tree, pattern)
		if diff := cmp.Diff(plainLines(regexp.MustCompile("(?m)"+pattern), files), got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", pattern, err, diff)
		}
	}
}

// patternMaker makes expressions of all that the syntax has.
type patternMaker struct{ *rand.Rand }

func (m patternMaker) one(list ...string) string { return list[m.IntN(len(list))] }

func (m patternMaker) atom(depth int) string {
	switch m.IntN(9) {
	case 0, 1, 2:
		return m.one("a", "b", "k", "K", "s", "S", "ſ", "\u212A", "é", "É", "ß", "世", "\uFFFD", " ", "-", "_", "0", `\r`, `\x{17f}`, `\Qa.b\E`, "abc", "kelvin", "aab", `\.`)
	case 3:
		return m.one(".", `\w`, `\W`, `\s`, `\S`, `\d`, `\pL`, `\PL`, `\p{Lu}`, "[[:alpha:]]", "[[:^upper:]]", `[^\x00-\x7f]`, "[^a]", "[ab]", "[a-ks]",
			"[^\n]", "[é-世]", `[^\w]`, `[\x00-\x{10FFFF}]`, `[^\x00-\x{10FFFF}]`, "[k-k]", `[\t-é]`, "\n")
	case 4:
		return m.one("^", "$", `\A`, `\z`, `\b`, `\B`, "(?:)", "^$", `\b\B`, "$^")
	}
	if depth == 0 {
		return m.one("a", "b", "")
	}
	switch m.IntN(4) {
	case 0:
		return "(" + m.expression(depth-1) + ")"
	case 1:
		return m.one("(?i:", "(?s:", "(?U:", "(?m:", "(?-m:", "(?is-m:", "(?:", "(?P<n"+strconv.Itoa(m.IntN(1<<30))+">") + m.expression(depth-1) + ")"
	case 2:
		return "(?:" + m.expression(depth-1) + m.one("|", "||", "|a|") + m.expression(depth-1) + ")"
	}
	return "(?:" + m.expression(depth-1) + ")" + m.one("*", "+", "?", "*?", "+?", "??", "{2}", "{0}", "{0,3}", "{2,}", "{1,9}?", "{17}", "{3,40}")
}

func (m patternMaker) expression(depth int) string {
	var b strings.Builder
	b.WriteString(m.one("", "", "", "", "(?i)", "(?U)", "(?s)", "(?-m)"))
	for range 1 + m.IntN(4) {
		b.WriteString(m.atom(depth))
		if m.IntN(12) == 0 {
			b.WriteByte('|')
		}
	}
	return b.String()
}

// TestSearchLikeExpressions searches small and large texts of every shape for
// expressions of every shape, and wants what the expressions find by themselves.
func TestSearchLikeExpressions(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	pieces := []string{
		"a", "a", "b", "b", "ab", "k", "K", "s", "S", "ſ", "\u212A", "é", "É", "ß", "世", "\uFFFD", " ", "-", "_", "0", ".", "\t", "abc", "kelvin", "aab", "a.b",
		"\xff", "\xe4\xb8", "\xc3", "\x80\x80", "\n", "\n", "\n", "\r\n", "\r", "\n\n", "\u2028",
	}
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()[:n] // in the midst of a character, at times
	}
	files := map[string]string{"nul": "a\x00b\na", "late-nul": text(10_000) + "\x00a\n"}
	for n := range 70 {
		files[fmt.Sprintf("small%02d", n)] = text(n)
	}
	files["blank"] = strings.Repeat("\n", 50)
	files["middle"], files["large"] = text(1500), text(34_000)
	files["long"] = "b\nx" + strings.Repeat("ab ", 2800) + "kelvin\nabc"
	files["exact"] = strings.Repeat("a", 8<<10-1) + "k\nb"
	_, tree := project(t, files)

	maker := patternMaker{rand.New(rand.NewPCG(7, 8))}
	tried := 0
	for range 200 {
		pattern := maker.expression(2)
		re, err := regexp.Compile("(?m)" + pattern)
		if err != nil {
			continue
		}
		got, err := matchedLines(t.Context(), tree, pattern)
		if errors.Is(err, tool.ErrPattern) {
			continue
		}
		tried++
		if want := plainLines(re, files); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%q: %v (-want +got):\n%s", pattern, err, cmp.Diff(want, got))
		}
	}
	if tried < 120 {
		t.Errorf("only %d expressions were tried", tried)
	}
}
