package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// substitution adds the output of a command. Of one that looks up a program it
// is known how the path ends.
func (f *fields) substitution(p *syntax.CmdSubst, many bool) {
	words := simpleWords(p.Stmts)
	if len(words) == 1 && words[0] == "pwd" {
		fresh := f.cur.Len() == 0
		f.addUnknown(many)
		if fresh {
			f.open.origin = among(literal("."))
		}
		return
	}
	if len(words) == 2 && words[0] == "basename" && words[1] != "" && words[1][0] != '-' {
		f.add(words[1][strings.LastIndexByte(strings.TrimRight(words[1], "/"), '/')+1:])
		return
	}
	if text, known := printed(words); known {
		if many {
			f.split(text)
		} else {
			f.add(text)
		}
		return
	}
	if c := (&Call{Argv: words}); len(words) > 1 && f.cur.Len() == 0 {
		c.Name = words[0]
		if words[0] == "git" {
			c.Subcommand = words[1]
		}
		if domain := listing(c); domain != nil {
			f.addUnknown(many)
			f.open.origin = among(domain...)
			return
		}
	}
	looksUp := len(words) >= 2 && (words[0] == "which" || words[0] == "whereis" ||
		(words[0] == "command" || words[0] == "type") && strings.HasPrefix(words[1], "-"))
	if !looksUp {
		f.addUnknown(many)
		return
	}
	fresh := f.cur.Len() == 0
	f.addUnknown(false)
	f.add("/" + words[len(words)-1])
	if fresh {
		f.open.origin = among(literal("/usr/bin"))
	}
}

// printed returns what echo and printf print, if that is certain.
func printed(words []string) (text string, known bool) {
	if len(words) < 2 || words[0] != "echo" && words[0] != "printf" {
		return "", false
	}
	if words[0] == "printf" && len(words) > 2 {
		return formatted(words[1], words[2:])
	}
	for _, w := range words[1:] {
		if w[0] == '-' || strings.ContainsAny(w, `\*?[`) || words[0] == "printf" && strings.Contains(w, "%") {
			return "", false
		}
	}
	return strings.Join(words[1:], " "), true
}

// formatted returns what printf makes of a format that holds nothing but %s and
// %b, as often as there are arguments for it.
func formatted(format string, args []string) (text string, known bool) {
	if strings.Count(format, "%") != strings.Count(format, "%s")+strings.Count(format, "%b") || !strings.Contains(format, "%") {
		return "", false
	}
	var b strings.Builder
	for len(args) > 0 {
		for rest := format; rest != ""; {
			i := strings.IndexByte(rest, '%')
			if i < 0 {
				b.WriteString(ansiC(rest))
				break
			}
			b.WriteString(ansiC(rest[:i]))
			if len(args) > 0 {
				if value := args[0]; rest[i+1] == 'b' {
					b.WriteString(ansiC(value))
				} else {
					b.WriteString(value)
				}
				args = args[1:]
			}
			rest = rest[i+2:]
		}
		if b.Len() > maxComputed*maxComputed {
			return "", false
		}
	}
	return b.String(), true
}

// simpleWords returns the words of a simple command, nil if it is another or
// if not all are literal.
func simpleWords(list []*syntax.Stmt) []string {
	if len(list) != 1 {
		return nil
	}
	c, ok := list[0].Cmd.(*syntax.CallExpr)
	if !ok || len(c.Assigns) > 0 {
		return nil
	}
	words := make([]string, len(c.Args))
	for i, w := range c.Args {
		if words[i] = w.Lit(); words[i] != "" {
			continue
		}
		if len(w.Parts) != 1 {
			return nil
		}
		switch q := w.Parts[0].(type) {
		case *syntax.SglQuoted:
			words[i] = q.Value
		case *syntax.DblQuoted:
			if len(q.Parts) != 1 {
				return nil
			}
			l, ok := q.Parts[0].(*syntax.Lit)
			if !ok {
				return nil
			}
			words[i] = l.Value
		default:
			return nil
		}
	}
	return words
}
