package tool

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

const (
	// maxPatternBytes is the longest pattern.
	maxPatternBytes = 4 << 10
	// maxPatternSteps is how large a compiled pattern may be: each byte of text
	// can cost as many steps.
	maxPatternSteps = 2000
	// maxLineBytes is how much of a line is searched and shown.
	maxLineBytes = 8 << 10
	// maxSpans is how many matches of one line are told.
	maxSpans = 100
	// spanWork bounds the steps that go into the matches of one line after the
	// first. To look for the next can cost as much as the whole line.
	spanWork = 20_000_000
	// blockBytes is how much text is looked through at a time.
	blockBytes = 32 << 10
)

// pattern is a regular expression that is matched against lines. It takes time
// in proportion to text and pattern, whatever they are.
type pattern struct {
	re    *regexp.Regexp
	steps int
	// literals are texts of which every match holds one, nil if there are none
	// that are worth to be looked for.
	literals [][]byte
	// filter finds the lines that may match, of those that hold a literal. It
	// is nil if all of them may.
	filter *filter
}

func compile(text string) (*pattern, error) {
	if len(text) > maxPatternBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d", ErrPattern, len(text), maxPatternBytes)
	}
	// The flag makes ^ and $ mean the ends of a line in a block of lines too.
	parsed, err := syntax.Parse("(?m)"+text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	if len(prog.Inst) > maxPatternSteps {
		return nil, fmt.Errorf("%w: it is too large when its repetitions are written out", ErrPattern)
	}
	re, err := regexp.Compile("(?m)" + text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPattern, err)
	}
	p := &pattern{re: re, steps: len(prog.Inst)}
	if literals, ok := literalsOf(parsed); ok {
		p.literals = literals
	}
	if _, complete := re.LiteralPrefix(); p.literals == nil || !complete {
		p.filter = newFilter(prog)
	}
	return p, nil
}

// matcher matches a pattern, in one goroutine.
type matcher struct {
	*pattern
	scanner *scanner // nil without a filter

	// block is what is looked through, and ahead where each literal stands next
	// in it: as long as that is ahead, it need not be looked for.
	block []byte
	ahead []int
}

func (p *pattern) matcher() *matcher {
	m := &matcher{pattern: p, ahead: make([]int, len(p.literals))}
	if p.filter != nil {
		m.scanner = newScanner(p.filter)
	}
	return m
}

// lines returns the lines that match, at most so many, and whether a line was
// only searched in part.
func (m *matcher) lines(ctx context.Context, data []byte, most int) (list []Line, cut bool) {
	number := 0
	for offset := 0; offset < len(data) && ctx.Err() == nil; offset += len(m.block) {
		m.look(blockOf(data[offset:]))
		cut = cut || longLine(m.block)
		if m.isQuiet() {
			number += bytes.Count(m.block, []byte{'\n'})
			continue
		}
		for at := 0; at < len(m.block) && ctx.Err() == nil; {
			next := m.next(at)
			number += bytes.Count(m.block[at:next], []byte{'\n'})
			if at = next; at == len(m.block) {
				break
			}
			line := firstLine(m.block[at:])
			number++
			if text, spans := m.line(line); len(spans) > 0 {
				list = append(list, Line{Number: number, Offset: int64(offset + at), Text: text, Spans: spans})
				if len(list) == most {
					return list, cut
				}
			}
			at += len(line)
		}
	}
	return list, cut
}

// look begins with a block of lines.
func (m *matcher) look(block []byte) {
	m.block = block
	for i := range m.ahead {
		m.ahead[i] = -1
	}
}

// isQuiet reports whether no line of the block may match, as far as that is
// cheaper to tell of the block than of its lines.
func (m *matcher) isQuiet() bool {
	return m.literals == nil && m.scanner != nil && m.scanner.quiet(m.block)
}

// next returns where the first line begins that may match, from a line on, or
// the length of the block.
func (m *matcher) next(at int) int {
	if m.literals == nil {
		if m.scanner == nil {
			return at
		}
		if i := m.scanner.line(m.block[at:]); i >= 0 {
			return at + i
		}
		return len(m.block)
	}
	for {
		i := m.literal(at)
		if i == len(m.block) {
			return i
		}
		at += bytes.LastIndexByte(m.block[at:i], '\n') + 1
		line := firstLine(m.block[at:])
		if m.scanner == nil || m.scanner.line(line) >= 0 {
			return at
		}
		at += len(line)
	}
}

// literal returns where the first literal stands from somewhere on, or the
// length of the block.
func (m *matcher) literal(at int) int {
	first := len(m.block)
	for i, text := range m.literals {
		if m.ahead[i] < at {
			m.ahead[i] = len(m.block)
			if found := bytes.Index(m.block[at:], text); found >= 0 {
				m.ahead[i] = at + found
			}
		}
		first = min(first, m.ahead[i])
	}
	return first
}

// firstLines returns the first lines of a text of whole lines, at least so many
// bytes.
func firstLines(text []byte, least int) []byte {
	if i := bytes.IndexByte(text[least:], '\n'); i >= 0 {
		return text[:least+i+1]
	}
	return text
}

// firstLine returns the first line of a text, with its end.
func firstLine(text []byte) []byte {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i+1]
	}
	return text
}

// line matches one line with its end.
func (p *pattern) line(line []byte) (text string, spans []Span) {
	if len(line) > maxLineBytes {
		line = line[:maxLineBytes]
		line = line[:len(line)-incomplete(line)]
	}
	if !utf8.Valid(line) {
		line = valid(line)
	}
	body := bytes.TrimSuffix(line, []byte{'\n'})
	most := min(max(spanWork/(p.steps*(len(body)+1)), 1), maxSpans)
	for _, at := range p.re.FindAllIndex(body, most) {
		spans = append(spans, Span{at[0], at[1]})
	}
	if len(spans) == 0 {
		return "", nil
	}
	return string(line), spans
}

// blockOf returns the first lines of data, about as much as is tried at once.
func blockOf(data []byte) []byte {
	if len(data) <= blockBytes {
		return data
	}
	if i := bytes.LastIndexByte(data[:blockBytes], '\n'); i >= 0 {
		return data[:i+1]
	}
	if i := bytes.IndexByte(data[blockBytes:], '\n'); i >= 0 {
		return data[:blockBytes+i+1]
	}
	return data
}

// longLine reports whether a line of a block is longer than what is searched.
func longLine(block []byte) bool {
	for len(block) > maxLineBytes {
		i := bytes.LastIndexByte(block[:maxLineBytes+1], '\n')
		if i < 0 {
			return true
		}
		block = block[i+1:]
	}
	return false
}
