// The extension ticket finds the tickets that a commit names.
package main

import (
	"regexp"
	"slices"
	"strings"
)

//go:generate env GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared -ldflags=-s -o ticket.wasm .

// commit takes the words of a command `git commit` and gives what it would
// commit to.
//
//go:wasmexport commit
func commit(_, n uint32) uint64 {
	var argv []string
	read(n, &argv)
	return reply(inspect(argv))
}

// verdict is what is known of a commit.
type verdict struct {
	// Tickets are the tickets that its message names in the first line.
	Tickets []ticket `json:"tickets"`
	// Problem says why the message is not known, "" if it is.
	Problem string `json:"problem"`
}

type ticket struct {
	Project string `json:"project"`
	Number  string `json:"number"`
}

var ticketForm = regexp.MustCompile(`\b([A-Z][A-Z0-9]{1,9})-([1-9][0-9]{0,6})\b`)

func inspect(argv []string) verdict {
	v := verdict{Tickets: []ticket{}}
	messages, ok := messages(argv)
	if !ok || len(messages) == 0 {
		v.Problem = "give the message with -m, so that it can be read"
		return v
	}
	first, _, _ := strings.Cut(messages[0], "\n")
	for _, m := range ticketForm.FindAllStringSubmatch(first, -1) {
		if t := (ticket{m[1], m[2]}); !slices.Contains(v.Tickets, t) {
			v.Tickets = append(v.Tickets, t)
		}
	}
	return v
}

// Options of git commit with one letter: those that take a value, those whose
// value can only follow in the same word, and those that take the message from
// elsewhere.
const (
	takesValue = "mFCctSu"
	sameWord   = "Su"
	elsewhere  = "FCct"
)

var longValues = map[string]bool{
	"--message": true, "--author": false, "--date": false, "--cleanup": false, "--trailer": false, "--pathspec-from-file": false,
}

var longElsewhere = []string{"--file", "--reuse-message", "--reedit-message", "--template", "--fixup", "--squash"}

// messages returns the messages that are given with -m. It reports false if
// there may be others.
func messages(argv []string) (list []string, known bool) {
	begin := slices.Index(argv, "commit")
	if begin < 0 {
		return nil, false
	}
	words := argv[begin+1:]
	for i := 0; i < len(words); i++ {
		word := words[i]
		name, value, joined := strings.Cut(word, "=")
		switch {
		case word == "--":
			return list, true
		case slices.ContainsFunc(longElsewhere, func(o string) bool { return abbreviates(name, o) }):
			return nil, false
		case abbreviates(name, "--message"):
			if !joined {
				if i++; i == len(words) {
					return nil, false
				}
				value = words[i]
			}
			list = append(list, value)
		case strings.HasPrefix(word, "--"):
			if _, takes := longValues[word]; takes {
				i++
			}
		case strings.HasPrefix(word, "-") && len(word) > 1:
			at := strings.IndexAny(word, takesValue)
			if at < 0 || strings.IndexByte(sameWord, word[at]) >= 0 {
				continue
			}
			if strings.IndexByte(elsewhere, word[at]) >= 0 {
				return nil, false
			}
			value = word[at+1:]
			if value == "" {
				if i++; i == len(words) {
					return nil, false
				}
				value = words[i]
			}
			list = append(list, value)
		}
	}
	return list, true
}

// abbreviates reports whether a word may stand for an option: git takes the
// beginning of one if it is that of no other.
func abbreviates(word, option string) bool {
	return len(word) > 2 && strings.HasPrefix(option, word)
}
