package tool

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
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
	// blockBytes is how much text is tried at once, before its lines are.
	blockBytes = 32 << 10
)

// pattern is a regular expression that is matched against lines. It takes time
// in proportion to text and pattern, whatever they are.
type pattern struct {
	re    *regexp.Regexp
	steps int
	// whole reports that a block of lines matches if one of them does.
	whole bool
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
	return &pattern{re: re, steps: len(prog.Inst), whole: !hasTextEnds(parsed)}, nil
}

// hasTextEnds reports whether a pattern speaks of the beginning or the end of
// the text, which of a block of lines are others than of a line.
func hasTextEnds(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginText || re.Op == syntax.OpEndText || slices.ContainsFunc(re.Sub, hasTextEnds)
}

// lines returns the lines that match, at most so many, and whether a line was
// only searched in part.
func (p *pattern) lines(ctx context.Context, data []byte, most int) (list []Line, cut bool) {
	number, offset := 0, 0
	for offset < len(data) && ctx.Err() == nil {
		block := blockOf(data[offset:])
		// Bytes that are not UTF-8 are shown as other characters than they are
		// matched as, so that only the lines can tell.
		if p.whole && len(block) <= 2*blockBytes && utf8.Valid(block) && !p.re.Match(block) {
			number += bytes.Count(block, []byte{'\n'})
			offset += len(block)
			cut = cut || longLine(block)
			continue
		}
		for len(block) > 0 && ctx.Err() == nil {
			line := block
			if i := bytes.IndexByte(block, '\n'); i >= 0 {
				line = block[:i+1]
			}
			block = block[len(line):]
			number++
			text, spans, short := p.line(line)
			cut = cut || short
			if len(spans) > 0 {
				list = append(list, Line{Number: number, Offset: int64(offset), Text: text, Spans: spans})
				if len(list) == most {
					return list, cut
				}
			}
			offset += len(line)
		}
	}
	return list, cut
}

// line matches one line with its end.
func (p *pattern) line(line []byte) (text string, spans []Span, cut bool) {
	if cut = len(line) > maxLineBytes; cut {
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
		return "", nil, cut
	}
	return string(line), spans, cut
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
