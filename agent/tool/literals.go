package tool

import (
	"regexp/syntax"
	"slices"
	"strings"
)

const (
	// minLiteralBytes is how long a literal must be to be looked for. What is
	// shorter stands almost everywhere.
	minLiteralBytes = 3
	// maxLiterals is how many are looked for, one after the other.
	maxLiterals = 6
)

// literalsOf returns texts of which every match of an expression holds at least
// one, and whether there are such that are worth to be looked for.
func literalsOf(re *syntax.Regexp) ([][]byte, bool) {
	var texts []string
	if re.Op == syntax.OpLiteral {
		texts = literal(re) // all there is to look for, however short
	} else if texts = required(re); texts == nil || shortest(texts) < minLiteralBytes {
		return nil, false
	}
	list := make([][]byte, len(texts))
	for i, text := range texts {
		list[i] = []byte(text)
	}
	return list, len(list) > 0
}

func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if texts := required(sub); texts != nil && (best == nil || shortest(texts) > shortest(best)) {
				best = texts
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			texts := required(sub)
			if texts == nil {
				return nil
			}
			all = append(all, texts...)
		}
		slices.Sort(all)
		if all = slices.Compact(all); len(all) <= maxLiterals {
			return all
		}
	case syntax.OpNoMatch, syntax.OpEmptyMatch, syntax.OpCharClass, syntax.OpAnyCharNotNL, syntax.OpAnyChar, syntax.OpBeginLine,
		syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpStar, syntax.OpQuest:
	}
	return nil
}

// literal returns the text of a literal that is found byte by byte: one whose
// case does not matter is not, nor one with the character that stands for bytes
// that are not UTF-8.
func literal(re *syntax.Regexp) []string {
	text := string(re.Rune)
	if text == "" || re.Flags&syntax.FoldCase != 0 || strings.ContainsAny(text, "\n\uFFFD") {
		return nil
	}
	return []string{text}
}

func shortest(texts []string) int {
	least := len(texts[0])
	for _, text := range texts {
		least = min(least, len(text))
	}
	return least
}
