package shell

import (
	"slices"
	"strings"
)

// define records aliases. Their text runs wherever their name is used.
func (a *analysis) define(rest []arg, outer, s scope) {
	for _, g := range rest {
		name, text, ok := strings.Cut(g.text, "=")
		if !g.lit {
			a.dynamic()
			continue
		}
		if !ok {
			continue
		}
		if a.aliases == nil {
			a.aliases = map[string][]string{}
		}
		if !slices.Contains(a.aliases[name], text) {
			a.aliases[name] = append(a.aliases[name], text)
		}
		inner := s.again()
		inner.expanding = append(slices.Clone(outer.expanding), name)
		a.text(text, inner)
	}
}

// alias follows the use of an alias.
func (a *analysis) alias(name string, args []arg, s scope) {
	texts := a.aliases[name]
	if len(texts) == 0 || slices.Contains(s.expanding, name) {
		return
	}
	var rest strings.Builder
	for _, g := range args[1:] {
		rest.WriteByte(' ')
		if g.lit {
			rest.WriteString(quote(g.text))
		} else {
			rest.WriteString(unknown)
		}
	}
	s = s.through("alias").again()
	s.expanding = append(slices.Clone(s.expanding), name)
	for _, text := range texts {
		a.text(text+rest.String(), s)
	}
}

// tame are the programs that git may be told to run for paging, editing and for
// its own subcommands.
var tame = map[string]bool{"cat": true, "less": true, "more": true, "true": true, ":": true, "delta": true, "vi": true, "vim": true, "nano": true, "git": true}

// git follows the settings by which git runs other programs.
func (a *analysis) git(args []arg, s scope) {
	for i := 1; i < len(args) && strings.HasPrefix(args[i].text, "-"); i++ {
		option, setting, attached := strings.Cut(args[i].text, "=")
		takes := slices.Contains(subcommanders["git"].values, option)
		if takes && !attached && i+1 < len(args) {
			i++
			setting = args[i].text
		}
		switch {
		case option == "--config-env" || option == "-c" && !args[i].lit:
			name, _, _ := strings.Cut(setting, "=")
			if gitCommand(name+"=x") != "" || strings.Contains(name, "$") {
				a.dynamic()
			}
		case option == "-c":
			if text := gitCommand(setting); text != "" {
				a.evaluate(arg{text: text, lit: text != unknown}, a.child(s.through("git")))
				if first, _, _ := strings.Cut(text, " "); !tame[first] {
					a.dynamic() // it is run with arguments of git's own
				}
			}
		}
	}
}
