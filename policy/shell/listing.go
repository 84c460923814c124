package shell

import (
	"slices"
	"strings"
)

// listers are the programs whose output is names of files, and filters those
// that pass a part of their input on.
var (
	listers = map[string]bool{"find": true, "fd": true, "fdfind": true, "ls": true, "git ls-files": true, "git diff": true, "rg": true, "grep": true}
	filters = map[string]bool{"grep": true, "egrep": true, "fgrep": true, "sort": true, "uniq": true, "head": true, "tail": true}
)

// listed returns the files that a stage of a pipeline names on its output,
// given those that it is fed. The stage is the calls since a place.
func (a *analysis) listed(feed []arg, since int) []arg {
	if len(a.command.Calls) != since+1 {
		return nil
	}
	c := &a.command.Calls[since]
	if c.Dynamic {
		return nil
	}
	if feed != nil && filters[c.Name] {
		if c.has("-o", "--only-matching", "-f", "--file") {
			return nil
		}
		return feed
	}
	return listing(c)
}

// has reports whether a call has one of the options, as it is or in a bundle.
func (c *Call) has(options ...string) bool {
	return slices.ContainsFunc(c.Argv, func(v string) bool { return slices.ContainsFunc(options, literal(v).isOption) })
}

// listing returns the files that a call names on its output, nil if they are
// not known.
func listing(c *Call) []arg {
	has := c.has
	p := performed{call: c, name: c.Name}
	if !listers[p.key()] {
		return nil
	}
	switch p.key() {
	case "find":
		args := literals(c.Argv)
		if slices.ContainsFunc(c.Argv, func(v string) bool { return strings.Contains(v, "print") && v != "-print" && v != "-print0" }) {
			return nil
		}
		return found(args[1:])
	case "git diff":
		if !has("--name-only") {
			return nil
		}
		return []arg{{text: ".", lit: true, below: &Below{Visible: true}}}
	case "grep", "rg":
		if !has("-l", "-L", "--files", "--files-with-matches", "--files-without-match") || has("-o", "-r", "--replace") && c.Name == "rg" {
			return nil
		}
	}
	// What is ignored is not listed by all of these, and what is hidden by few.
	below := &Below{Links: true, Visible: !has("-a", "-A", "--all", "--almost-all", "-H", "--hidden", "-u", "--unrestricted")}
	if c.Name == "grep" {
		below = &Below{}
		if includes := grepping.walk.below(nil, literals(c.Argv)); includes.Names != nil {
			below = &includes
		}
	}
	feed := []arg{{text: ".", lit: true, below: below}}
	for _, v := range c.Argv[1:] {
		if !strings.HasPrefix(v, "-") && (c.Name == "ls" || strings.HasPrefix(v, "/") || strings.HasPrefix(v, "..") || strings.Contains(v, "/..")) {
			feed = append(feed, arg{text: v, lit: true, below: below})
		}
	}
	return feed
}

func literals(texts []string) []arg {
	out := make([]arg, len(texts))
	for i, v := range texts {
		out[i] = literal(v)
	}
	return out
}

// found returns the files that find finds: those below the places where it
// starts, by the names that are asked for.
func found(args []arg) []arg {
	var starts, names []arg
	below := &Below{Links: true}
	expression, follows, negated := false, false, false
	alternatives, named := 1, 0
	for i := 0; i < len(args); i++ {
		g := args[i]
		if strings.Contains(g.text, unknown) {
			return nil
		}
		text := g.text
		switch {
		case !expression && (text == "-L" || text == "-P" || text == "-H"):
			follows = follows || text == "-L"
		case text == "!" || text == "-not":
			expression, negated = true, true
			continue
		case negated && text == "(":
			alternatives = len(args) // what it leaves out says nothing of the rest
		case strings.HasPrefix(text, "-") || text == "(" || text == ",":
			expression = true
			if text == "-o" || text == "-or" || text == "," {
				alternatives++
			}
			if text == "-type" && i+1 < len(args) && args[i+1].text == "f" {
				below.Links = follows
			}
			if name := strings.TrimPrefix(text, "-i"); i+1 < len(args) && (strings.HasPrefix(text, "-i") && (name == "name" || name == "path") || text == "-name" || text == "-path") {
				i++
				if strings.Contains(args[i].text, unknown) {
					return nil
				}
				names = append(names, args[i])
				if !negated {
					named++
					below.Names = append(below.Names, args[i].text[strings.LastIndexByte(args[i].text, '/')+1:])
				}
			}
			negated = false
		case !expression:
			starts = append(starts, g)
		}
	}
	if starts == nil {
		starts = []arg{literal(".")}
	}
	if named < alternatives {
		below.Names = nil // another condition may find what it is called otherwise
	}
	for i := range starts {
		starts[i].below = below
	}
	if len(starts)*(1+2*len(names)) > maxDomain {
		return nil
	}
	domain := slices.Clone(starts)
	for _, start := range starts {
		for _, name := range names {
			text := name.text[strings.LastIndexByte(name.text, '/')+1:]
			for _, t := range []string{text, "." + strings.TrimLeft(text, ".*?")} {
				domain = append(domain, arg{text: strings.TrimSuffix(start.text, "/") + "/" + t, glob: true, many: true, home: start.home, written: t})
			}
		}
	}
	return domain
}

// copies records the files of cpio, whose names stand on its input.
func (a *analysis) copies(p *performed, s scope) {
	if !p.call.has("-o", "--create", "-p", "--pass-through", "-w") {
		return
	}
	f := File{Access: read, By: p.call.Name}
	if s.feed == nil {
		a.file(arg{text: unknown, written: "a list of files"}, f, s)
	}
	for _, g := range s.feed {
		a.file(g, f, s)
	}
}
