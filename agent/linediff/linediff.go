// Package linediff tells which lines differ between two texts, and writes that
// as the hunks of a unified diff.
//
// It takes bounded time and memory, whatever the texts are: for two that are
// made to be hard to compare the answer is right, if not short. It reads and
// changes nothing else, and its functions are safe for concurrent use.
package linediff

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	// contextLines surround a change in a patch.
	contextLines = 3
	// maxEdits bounds what is searched for the shortest way from one part of a
	// file to another. Beyond it, lines that both sides have once part the
	// rest; without any, one side replaces the other. So time and memory stay
	// in bounds for files made to be hard to compare.
	maxEdits = 1000
	// maxSteps bounds the work for one pair of files.
	maxSteps = 20_000_000
	// maxLines bounds the lines of a file that is compared line by line. One
	// with more is taken as replaced, without a patch: a file of nothing but
	// line ends would need a hundred times its size.
	maxLines = 200_000
)

// edit says that lines a0 to a1 of the old side become lines b0 to b1 of the
// new one.
type edit struct{ a0, a1, b0, b1 int }

// Diff holds the differences of two texts, as [Compare] found them.
type Diff struct {
	a, b  [][]byte // lines, each with its newline
	edits []edit   // sorted, not touching each other
	whole bool     // one replaces the other, and the lines are not there
}

func splitLines(text []byte) [][]byte {
	if len(text) == 0 {
		return nil
	}
	return slices.Collect(bytes.Lines(text))
}

// Count returns the number of lines of a text, with one at its end that is not
// ended.
func Count(text []byte) int {
	n := bytes.Count(text, []byte{'\n'})
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}

// Compare finds what differs. The only error is that of the context.
func Compare(ctx context.Context, a, b []byte) (*Diff, error) {
	if n, m := Count(a), Count(b); max(n, m) > maxLines {
		return &Diff{edits: []edit{{0, n, 0, m}}, whole: true}, nil
	}
	d := &Diff{a: splitLines(a), b: splitLines(b)}
	numbers := map[string]int{}
	number := func(lines [][]byte) []int {
		out := make([]int, len(lines))
		for i, line := range lines {
			n, ok := numbers[string(line)]
			if !ok {
				n = len(numbers)
				numbers[string(line)] = n
			}
			out[i] = n
		}
		return out
	}
	c := comparer{ctx: ctx, a: number(d.a), b: number(d.b), steps: maxSteps}
	c.lines = len(numbers)
	c.part(0, len(c.a), 0, len(c.b), true)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.edits = c.edits
	return d, nil
}

// Counts returns how many lines were added and removed.
func (d *Diff) Counts() (added, removed int) {
	for _, e := range d.edits {
		added += e.b1 - e.b0
		removed += e.a1 - e.a0
	}
	return added, removed
}

// Write writes the hunks. It reports whether they fit in limit bytes.
func (d *Diff) Write(out *strings.Builder, limit int) bool {
	if d.whole {
		return false
	}
	for i := 0; i < len(d.edits); {
		// Edits with few lines between them share a hunk.
		last := i
		for last+1 < len(d.edits) && d.edits[last+1].a0-d.edits[last].a1 <= 2*contextLines {
			last++
		}
		first := d.edits[i]
		before := min(contextLines, first.a0)
		after := min(contextLines, len(d.a)-d.edits[last].a1)
		a0, a1 := first.a0-before, d.edits[last].a1+after
		b0, b1 := first.b0-before, d.edits[last].b1+after
		fmt.Fprintf(out, "@@ -%s +%s @@\n", span(a0, a1), span(b0, b1))
		at := a0
		for _, e := range d.edits[i : last+1] {
			ok := writeLines(out, ' ', d.a[at:e.a0], limit) && writeLines(out, '-', d.a[e.a0:e.a1], limit) &&
				writeLines(out, '+', d.b[e.b0:e.b1], limit)
			if !ok {
				return false
			}
			at = e.a1
		}
		if !writeLines(out, ' ', d.a[at:a1], limit) {
			return false
		}
		i = last + 1
	}
	return true
}

// span writes the lines from (counted from 0) up to to.
func span(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprintf("%d", from+1) //nolint:perfsprint // It reads like its neighbors.
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func writeLines(out *strings.Builder, sign byte, lines [][]byte, limit int) bool {
	for _, line := range lines {
		if out.Len()+len(line) > limit {
			return false
		}
		out.WriteByte(sign)
		out.Write(line)
		if line[len(line)-1] != '\n' {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
	return true
}

// comparer finds edits between two sequences of line numbers.
type comparer struct {
	ctx   context.Context //nolint:containedctx // It lives as long as one call.
	a, b  []int
	lines int // numbers are below this
	steps int // how much may still be done
	edits []edit
}

// part compares a[a0:a1] with b[b0:b1].
func (c *comparer) part(a0, a1, b0, b1 int, split bool) {
	for a0 < a1 && b0 < b1 && c.a[a0] == c.b[b0] {
		a0, b0 = a0+1, b0+1
	}
	for a0 < a1 && b0 < b1 && c.a[a1-1] == c.b[b1-1] {
		a1, b1 = a1-1, b1-1
	}
	if a0 == a1 || b0 == b1 {
		c.add(edit{a0, a1, b0, b1})
		return
	}
	if c.shortest(a0, a1, b0, b1) {
		return
	}
	if !split {
		c.add(edit{a0, a1, b0, b1})
		return
	}
	for _, m := range append(c.anchors(a0, a1, b0, b1), [2]int{a1, b1}) {
		c.part(a0, m[0], b0, m[1], false)
		a0, b0 = min(m[0]+1, a1), min(m[1]+1, b1)
	}
}

// add appends an edit; one that touches the last is joined to it.
func (c *comparer) add(e edit) {
	if e.a0 == e.a1 && e.b0 == e.b1 {
		return
	}
	if n := len(c.edits) - 1; n >= 0 && c.edits[n].a1 == e.a0 && c.edits[n].b1 == e.b0 {
		c.edits[n].a1, c.edits[n].b1 = e.a1, e.b1
		return
	}
	c.edits = append(c.edits, e)
}

// shortest adds the fewest edits, as Myers' algorithm finds them, unless there
// are too many of them.
func (c *comparer) shortest(a0, a1, b0, b1 int) bool {
	n, m := a1-a0, b1-b0
	limit := min(n+m, maxEdits)
	// reach[k+limit+1] is how far along a the diagonal k (a minus b) got.
	reach := make([]int32, 2*limit+3)
	var trace [][]int32
	for d := 0; d <= limit; d++ {
		if c.ctx.Err() != nil {
			return false
		}
		if c.steps -= d + 1; c.steps < 0 {
			return false
		}
		for k := -d; k <= d; k += 2 {
			at := k + limit + 1
			var x int
			if k == -d || k != d && reach[at-1] < reach[at+1] {
				x = int(reach[at+1])
			} else {
				x = int(reach[at-1]) + 1
			}
			y := x - k
			start := x
			for x < n && y < m && c.a[a0+x] == c.b[b0+y] {
				x, y = x+1, y+1
			}
			c.steps -= x - start
			reach[at] = int32(x) //nolint:gosec // G115: a file has fewer lines than that.
			if x >= n && y >= m {
				c.trace(trace, a0, b0, n, m, d)
				return true
			}
		}
		trace = append(trace, slices.Clone(reach[limit+1-d:limit+2+d]))
	}
	return false
}

// trace follows the way back and adds its edits. trace[d][k+d] is how far
// diagonal k got with d edits.
func (c *comparer) trace(trace [][]int32, a0, b0, n, m, d int) {
	var back []edit
	x, y := n, m
	for ; d > 0; d-- {
		k := x - y
		prev := trace[d-1]
		get := func(k int) int {
			if i := k + d - 1; i >= 0 && i < len(prev) {
				return int(prev[i])
			}
			return -1
		}
		if k == -d || k != d && get(k-1) < get(k+1) {
			x = get(k + 1)
			y = x - (k + 1)
			back = append(back, edit{a0 + x, a0 + x, b0 + y, b0 + y + 1})
		} else {
			x = get(k - 1)
			y = x - (k - 1)
			back = append(back, edit{a0 + x, a0 + x + 1, b0 + y, b0 + y})
		}
	}
	for _, e := range slices.Backward(back) {
		c.add(e)
	}
}

// anchors returns pairs of equal lines that both sides have once, in the order
// of both: the longest such list.
func (c *comparer) anchors(a0, a1, b0, b1 int) [][2]int {
	type seen struct{ a, b, i, j int }
	count := make([]seen, c.lines)
	for i := a0; i < a1; i++ {
		count[c.a[i]].a++
		count[c.a[i]].i = i
	}
	for j := b0; j < b1; j++ {
		count[c.b[j]].b++
		count[c.b[j]].j = j
	}
	var pairs [][2]int
	for i := a0; i < a1; i++ {
		if s := count[c.a[i]]; s.a == 1 && s.b == 1 {
			pairs = append(pairs, [2]int{i, s.j})
		}
	}
	// The longest increasing subsequence of the second members.
	var tails []int // tails[n]: the pair that ends the best list of n+1
	before := make([]int, len(pairs))
	for p, pair := range pairs {
		n, _ := slices.BinarySearchFunc(tails, pair[1], func(q, j int) int { return pairs[q][1] - j })
		before[p] = -1
		if n > 0 {
			before[p] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, p)
		} else {
			tails[n] = p
		}
	}
	if len(tails) == 0 {
		return nil
	}
	var out [][2]int
	for p := tails[len(tails)-1]; p >= 0; p = before[p] {
		out = append(out, pairs[p])
	}
	slices.Reverse(out)
	return out
}
