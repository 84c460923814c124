package shell

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxDirectories bounds the directories in which the text may be working.
const maxDirectories = 8

// directories are those in which a command may be working, relative to where
// the text starts: a redirection's relative target starts there.
type directories struct {
	// others are the directories besides the first, which is "".
	others []string
	// lost reports that there are others that are not known.
	lost    bool
	changes int
}

// lateUse is the place in the facts of a file, and the changes of directory
// before it.
type lateUse struct{ index, changes int }

// cd records a change of directory. The directory before stays a possible one,
// since the change may fail.
func (d *directories) cd(name string, args []arg) {
	if len(args) > 0 && args[0].lit && (args[0].text == "--" || args[0].text == "-P" || args[0].text == "-L") {
		args = args[1:]
	}
	if name == "popd" || len(args) != 1 {
		d.lose()
		return
	}
	d.change(args[0])
}

func (d *directories) lose() {
	d.changes++
	d.lost = true
}

func (d *directories) change(to arg) {
	d.changes++
	if !to.lit || to.text == "" || strings.HasPrefix(to.text, "-") || strings.HasPrefix(to.text, "+") || hasParent(to.text) {
		d.lost = true
		return
	}
	next := []string{to.text}
	if !strings.HasPrefix(to.text, "/") {
		for _, o := range d.others {
			next = append(next, strings.TrimSuffix(o, "/")+"/"+to.text)
		}
	}
	for _, n := range next {
		if len(d.others) >= maxDirectories || len(n) > 4096 {
			d.lost = true
			return
		}
		d.others = append(d.others, n)
	}
}

func hasParent(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// redirects records what the shell opens for a statement, and what its
// standard input is.
func (a *analysis) redirects(list []*syntax.Redirect, s *scope, compound bool) {
	for _, r := range list {
		if a.stopped {
			return
		}
		if r.N != nil && strings.HasPrefix(r.N.Value, "{") {
			a.name(strings.Trim(r.N.Value, "{}"), *s)
		}
		if a.isDescriptor(r.Word, *s) {
			a.problem("holds a redirection to a number that belongs to the next")
		}
		stdin := r.N == nil || r.N.Value == "0"
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc:
			text := a.heredoc(r, *s)
			if stdin {
				s.stdin, s.shared = &text, compound
			}
		case syntax.WordHdoc:
			text := a.hereString(r.Word, *s)
			if stdin {
				s.stdin, s.shared = &text, compound
			}
		case syntax.RdrIn, syntax.RdrInOut, syntax.DplIn:
			if stdin {
				s.stdin = nil
			}
			a.redirect(r, *s)
		default:
			a.redirect(r, *s)
		}
	}
}

// isDescriptor reports whether a redirection's target is a number right before
// another redirection: to bash it is the descriptor of that one.
func (a *analysis) isDescriptor(w *syntax.Word, s scope) bool {
	if w == nil || w.Lit() == "" || strings.Trim(w.Lit(), "0123456789") != "" {
		return false
	}
	end := int(w.End().Offset())
	return end > 0 && end < len(s.src) && (s.src[end] == '<' || s.src[end] == '>')
}

func (a *analysis) redirect(r *syntax.Redirect, s scope) {
	target := a.one(r.Word, s)
	if access, opens := opened(r, target); opens {
		a.open(r.Op.String(), access, target, s)
	}
}

// redirectWords analyses what the words of redirections run.
func (a *analysis) redirectWords(list []*syntax.Redirect, s scope) {
	for _, r := range list {
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc:
			a.word(r.Hdoc, s)
		default:
			a.word(r.Word, s)
		}
	}
}

// opened returns the access of a redirection, and whether it opens a file
// rather than copying a descriptor.
func opened(r *syntax.Redirect, target arg) (access string, opens bool) {
	copies := target.lit && strings.Trim(target.text, "0123456789") == "" || target.lit && strings.Trim(strings.TrimSuffix(target.text, "-"), "0123456789") == ""
	switch r.Op {
	case syntax.RdrIn:
		return "read", true
	case syntax.RdrInOut:
		return "readwrite", true
	case syntax.DplIn:
		return "read", target.lit && !copies
	case syntax.DplOut:
		// Without a descriptor in front, what is no number is a file.
		return "write", !copies && (target.lit || r.N == nil || r.N.Value == "1")
	default:
		return "write", true
	}
}

func (a *analysis) open(op, access string, target arg, s scope) {
	if len(a.command.Redirects) >= maxCalls {
		a.refuse("opens too many files")
		return
	}
	add := func(path string, dynamic bool) {
		if s.replayed {
			a.late = append(a.late, lateUse{index: len(a.command.Redirects), changes: a.dirs.changes})
		}
		a.command.Redirects = append(a.command.Redirects, Redirect{Op: op, Target: path, Access: access, Dynamic: dynamic})
	}
	if !target.lit {
		add(target.show(), true)
		return
	}
	if strings.HasPrefix(target.text, "/") {
		a.command.Redirects = append(a.command.Redirects, Redirect{Op: op, Target: target.text, Access: access})
		return
	}
	add(target.text, a.dirs.lost)
	for _, o := range a.dirs.others {
		add(strings.TrimSuffix(o, "/")+"/"+target.text, false)
	}
}

// heredoc returns the text of a here-document.
func (a *analysis) heredoc(r *syntax.Redirect, s scope) arg {
	if r.Hdoc == nil {
		return arg{text: unknown}
	}
	f := fields{open: arg{lit: true}}
	for _, part := range r.Hdoc.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if isQuoted(r.Word) {
				f.add(p.Value)
			} else {
				f.add(unescapeQuoted(p.Value, "$`\\"))
			}
		default:
			a.quoted(&f, []syntax.WordPart{part}, s)
		}
	}
	text := f.open
	text.text = f.cur.String()
	if r.Op == syntax.DashHdoc {
		text.text = withoutTabs(text.text)
	}
	return text
}

func isQuoted(w *syntax.Word) bool {
	for _, part := range w.Parts {
		if l, ok := part.(*syntax.Lit); !ok || strings.Contains(l.Value, `\`) {
			return true
		}
	}
	return false
}

// withoutTabs removes the tabs in front of each line.
func withoutTabs(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

// hereString returns the text of a here-string, which is not split.
func (a *analysis) hereString(w *syntax.Word, s scope) arg {
	out := arg{lit: true}
	for i, g := range a.fields(w, s, "") {
		if i > 0 {
			out.text += " "
		}
		out.text += g.text
		out.lit = out.lit && g.lit
	}
	if hidesCommand(out.text) {
		a.hide(out.text, s)
	}
	return out
}
