package policy

import (
	"strconv"
	"strings"
)

// patchPaths returns the files that a patch names: in the form that has headers
// of its own those of the headers, and in a unified diff those before its
// hunks. A line of a hunk that looks like a header is none.
//
// What carries a patch out reads it in the same way and refuses all that is not
// plain, so that it never touches a file that is not named here.
func patchPaths(text string) []string {
	names := unifiedPaths
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if strings.HasPrefix(line, "*** ") {
			names = ownPaths
		}
		break
	}
	if list := names(text); len(list) > 0 {
		return list
	}
	return []string{""} // resolves to a problem, which is denied
}

func ownPaths(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		for _, prefix := range []string{"*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "} {
			if name, ok := strings.CutPrefix(line, prefix); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

func unifiedPaths(text string) []string {
	var names []string
	var olds, news int // lines that the hunk still has
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if inHunk(line, &olds, &news) {
			continue
		}
		olds, news = hunkLines(line)
		for prefix, side := range map[string]string{"--- ": "a/", "+++ ": "b/", "rename from ": "", "rename to ": ""} {
			name, ok := strings.CutPrefix(line, prefix)
			if !ok {
				continue
			}
			if side != "" {
				if name, _, _ = strings.Cut(name, "\t"); name == "/dev/null" {
					continue
				}
				name = strings.TrimPrefix(name, side)
			}
			names = append(names, name)
		}
	}
	return names
}

// inHunk reports whether a line belongs to the hunk, and counts it.
func inHunk(line string, olds, news *int) bool {
	sign := byte(' ')
	if line != "" {
		sign = line[0]
	}
	switch {
	case *olds <= 0 && *news <= 0:
		return false
	case sign == '\\':
		return true
	case sign == ' ' && *olds > 0 && *news > 0:
		*olds, *news = *olds-1, *news-1
		return true
	case sign == '-' && *olds > 0:
		*olds--
		return true
	case sign == '+' && *news > 0:
		*news--
		return true
	}
	return false // it is not what the hunk says: then the line may be anything
}

// hunkLines returns how many lines a hunk has, if the line begins one.
func hunkLines(line string) (olds, news int) {
	fields := strings.Fields(line)
	if !strings.HasPrefix(line, "@@ ") || len(fields) < 4 || fields[3] != "@@" {
		return 0, 0
	}
	return spanLines(fields[1], "-"), spanLines(fields[2], "+")
}

// spanLines returns how many lines "-1,2" or "-1" has, 0 if it is neither.
func spanLines(field, sign string) int {
	field, ok := strings.CutPrefix(field, sign)
	_, count, two := strings.Cut(field, ",")
	if !two {
		count = "1"
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if !ok || err != nil {
		return 0
	}
	return int(n)
}
