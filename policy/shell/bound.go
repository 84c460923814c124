package shell

import (
	"strings"
)

// bound follows what a key is bound to: a command text in the parentheses of an
// action, or behind the colon.
func (a *analysis) bound(value arg, s scope) {
	for rest := value.text; ; {
		open := strings.IndexByte(rest, '(')
		if open < 0 {
			break
		}
		end := strings.IndexByte(rest[open:], ')')
		if end < 0 {
			end = len(rest) - open
		}
		text, _ := placeholders(rest[open+1 : open+end])
		a.evaluate(arg{text: text}, a.child(s))
		rest = rest[open+end:]
	}
	if _, text, ok := strings.Cut(value.text, ":"); ok && !strings.Contains(text, "(") {
		a.evaluate(arg{text: text}, a.child(s))
	}
}

// rules follows the recipes of rules that make reads: the lines behind a tab or
// behind a semicolon, and what is handed to a shell while they are read.
func (a *analysis) rules(text arg, s scope) {
	for line := range strings.Lines(text.text) {
		recipe, isRecipe := strings.CutPrefix(line, "\t")
		if !isRecipe {
			_, recipe, isRecipe = strings.Cut(line, ";")
		}
		if isRecipe {
			a.evaluate(arg{text: strings.TrimLeft(recipe, "@-+ \t")}, a.child(s))
		}
		for rest := line; ; {
			_, after, ok := strings.Cut(rest, "(shell ")
			if !ok {
				break
			}
			call, _, _ := strings.Cut(after, ")")
			a.evaluate(arg{text: call}, a.child(s))
			rest = after
		}
	}
}

// schedule follows the lines of a table of cron: times, then a command text.
func (a *analysis) schedule(text arg, s scope) {
	for line := range strings.Lines(text.text) {
		fields := 5
		if strings.HasPrefix(line, "@") {
			fields = 1
		}
		rest := strings.TrimLeft(line, " \t")
		for range fields {
			if i := strings.IndexAny(rest, " \t"); i >= 0 {
				rest = strings.TrimLeft(rest[i:], " \t")
			}
		}
		if !strings.HasPrefix(line, "#") {
			a.evaluate(arg{text: rest}, a.child(s))
		}
	}
}

// editor follows a command of an editor or a pager. A bang runs a command text;
// other commands that can do so are not known.
func (a *analysis) editor(value arg, s scope) {
	text := value.text
	if before, after, ok := strings.Cut(text, "!"); ok && strings.Trim(before, "abcdefghijklmnopqrstuvwxyz0123456789%.,$:/ ") == "" && strings.Trim(after, " ") != "" {
		a.evaluate(arg{text: after, lit: value.lit}, a.child(s))
		a.dynamic() // what else the editor does with it is not known
		return
	}
	for _, word := range []string{"system", "!", "call", "exe", "term", "lua", "py", "perl", "ruby", "tcl", "mz", "so", "make", "gr", "ru", "job", "func", "au", "let", "set"} {
		if strings.Contains(text, word) || !value.lit {
			a.dynamic()
			for _, command := range embedded(strings.Join(append(sentences(text), text), "\n")) {
				a.evaluate(arg{text: command}, a.child(s))
			}
			return
		}
	}
}
