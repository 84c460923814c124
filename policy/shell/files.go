package shell

import (
	"path"
	"slices"
	"strings"
)

// maxFiles bounds the files of one text. What goes beyond is not understood.
const maxFiles = 2048

// The ways in which a file is used.
const (
	read    = "read"
	write   = "write"
	remove  = "delete"
	execute = "execute"
	// maybe is for the arguments of programs that are in no table.
	maybe = "unknown"
)

// performed is a call that is being looked at.
type performed struct {
	call *Call
	args []arg
	// name is the name in lower case and without a version.
	name string
	// at is the place of the subcommand, 0 if the program has none.
	at int
	// module is the argument vector of a module that is run as a program.
	module []arg
}

// key names the call in the tables that know subcommands.
func (p *performed) key() string {
	if p.call.Subcommand == "" {
		return p.name
	}
	return p.name + " " + p.call.Subcommand
}

// rest returns the arguments behind the name, or behind the subcommand.
func (p *performed) rest() []arg {
	if p.call.Subcommand == "" || p.at >= len(p.args) {
		return p.args[1:]
	}
	return p.args[p.at+1:]
}

// operation says which arguments of a program are files.
type operation struct {
	// values are the short options, and longValues the long ones, whose value
	// is no file.
	values     string
	longValues []string
	// options are those whose value is a file, and how it is used.
	options map[string]string
	// skip is the number of operands that are no files, and unskip are the
	// options that take the place of the first.
	skip   int
	unskip []string
	// access is how the operands are used, and last how the last of several is.
	access, last string
	// changes are the options with which the operands are written.
	changes []string
	// recursive are the options with which all below is used.
	recursive []string
	// walk says how all below is used, nil for all of it.
	walk *walk
	// first is how the first operand that is a file is used, if not as the rest.
	first string
	// equals are the beginnings of operands whose rest is a file.
	equals map[string]string
	// revision says that the file stands behind a colon in an operand.
	revision bool
	// copies says that what is read can be run afterwards under another name.
	copies bool
}

// programDirs are where programs are kept.
var programDirs = []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/", "/opt/homebrew/bin/", "/snap/bin/", "/usr/games/"}

func inProgramDir(path string) bool {
	for _, d := range programDirs {
		if rest, ok := strings.CutPrefix(path, d); ok && rest != "" && !hasParent(rest) {
			return true
		}
	}
	return false
}

// mayBeProgram reports whether a path may lead to where programs are kept,
// however it is spelled.
func mayBeProgram(text string) bool {
	if i := strings.LastIndex(text, "../"); i >= 0 && !strings.HasPrefix(text, "/") {
		text = "/" + text[i+len("../"):] // it may lead up to the root
	}
	return inProgramDir(path.Clean(text))
}

// files records the files that a call uses.
func (a *analysis) files(p *performed, s scope) {
	if program := p.args[0]; p.call.Path != "" && (!program.lit || !inProgramDir(program.text)) {
		a.file(program, File{Access: execute, By: p.call.Name}, s)
	}
	name := p.name
	switch name {
	case "tar", "gtar", "bsdtar":
		a.archive(p, s)
		return
	case "cpio", "pax":
		a.copies(p, s)
	}
	o, args := operations[p.key()], p.rest()
	if o == nil {
		o, args = operations[name], p.args[1:]
	}
	if o == nil {
		if l := interpreters[name]; l != nil {
			a.script(l, p, s)
		} else if launchers[name] == nil && !talkers[name] && subcommanders[name] == nil {
			a.guess(p, s)
		}
		return
	}
	if o == awking && slices.ContainsFunc(args, func(g arg) bool { return strings.TrimPrefix(g.text, "-i") == "inplace" }) {
		changing := *awking
		changing.access = write
		o = &changing
	}
	a.operands(o, p, args, s)
}

// talkers are the programs whose arguments are no files, or that tell only
// names, sizes and dates of files.
var talkers = map[string]bool{
	"echo": true, "printf": true, ":": true, "true": true, "false": true, "test": true, "[": true, "ls": true, "dir": true, "vdir": true,
	"cd": true, "pushd": true, "popd": true, "pwd": true, "which": true, "whereis": true, "type": true, "man": true, "whatis": true,
	"apropos": true, "info": true, "help": true, "basename": true, "dirname": true, "realpath": true, "readlink": true, "stat": true,
	"file": true, "du": true, "df": true, "tree": true, "export": true, "declare": true, "local": true, "readonly": true, "typeset": true,
	"unset": true, "set": true, "shift": true, "read": true, "return": true, "exit": true, "break": true, "continue": true, "let": true,
	"getopts": true, "shopt": true, "hash": true, "kill": true, "seq": true, "expr": true, "tr": true, "sleep": true, "date": true,
	"locate": true, "exa": true, "eza": true, "lsd": true, "ps": true, "pgrep": true, "wait": true, "jobs": true, "umask": true, "ulimit": true,
}

// guess records what a program that is not known may use: whatever is no
// option, and the values of options.
func (a *analysis) guess(p *performed, s scope) {
	for _, g := range p.args[1:] {
		if text := g.text; strings.HasPrefix(text, "-") {
			_, value, ok := strings.Cut(text, "=")
			if !ok || !g.lit {
				continue
			}
			g = literal(value)
		}
		a.guessed(g, p, s)
	}
}

func (a *analysis) guessed(g arg, p *performed, s scope) {
	for _, v := range g.values() {
		// A name without any of these is no secret's.
		if strings.ContainsAny(v.text, "./~_*?[") && !strings.Contains(v.text, unknown) {
			a.oneFile(v, File{Access: maybe, By: p.call.Name}, s)
		}
	}
}

// operands reads arguments as an operation says.
func (a *analysis) operands(o *operation, p *performed, args []arg, s scope) {
	list, used, recursive := a.options(o, p, args, s)
	access := o.access
	if slices.ContainsFunc(o.changes, used.has) {
		access = write
	}
	skip := o.skip
	if skip > 0 && slices.ContainsFunc(o.unskip, used.has) {
		skip--
	}
	below := Below{}
	if o.walk != nil {
		recursive = (recursive || o.walk.always) && !slices.ContainsFunc(o.walk.names, used.has)
		below = o.walk.below(used, args)
		if recursive && o.walk.here && len(list) <= skip {
			list = append(slices.Clip(list), literal("."))
			skip = len(list) - 1
		}
	}
	for i, g := range list {
		if i < skip && !g.many {
			continue
		}
		f := File{Access: access, By: p.call.Name, Recursive: recursive, Below: below}
		if o.first != "" && i == skip {
			f.Access, f.Recursive = o.first, false
		}
		if o.last != "" && i == len(list)-1 && (i > skip || g.many) && !used.has("-t") && !used.has("--target-directory") {
			f.Access = o.last
		}
		if len(o.equals) > 0 {
			name, path, ok := strings.Cut(g.text, "=")
			if f.Access = o.equals[name]; !ok || f.Access == "" {
				continue
			}
			g.text = path
		}
		if o.revision {
			_, path, ok := strings.Cut(g.text, ":")
			if !ok || !g.lit {
				continue
			}
			g.text = path
		}
		if f.Access == maybe {
			a.guessed(g, p, s)
			continue
		}
		if f.Access == "" {
			continue
		}
		if o.copies && (i < len(list)-1 || i == skip || f.Access == read) {
			a.copied(g, p, s)
		}
		a.file(g, f, s)
	}
}

// usedOptions are the options of a call, each as it is spelled in full.
type usedOptions []string

func (u usedOptions) has(option string) bool { return slices.Contains(u, option) }

// add records an option if it means something to the operation: the others may
// be many.
func (u *usedOptions) add(option string, o *operation) {
	_, isFile := o.options[option]
	known := isFile || slices.Contains(o.changes, option) || slices.Contains(o.recursive, option) || slices.Contains(o.unskip, option) || o.walk.means(option)
	if known && !u.has(option) {
		*u = append(*u, option)
	}
}

// options records the files that are values of options, and returns what is
// no option.
func (a *analysis) options(o *operation, p *performed, args []arg, s scope) (list []arg, used usedOptions, recursive bool) {
	if len(args) > 0 {
		list = make([]arg, 0, len(args))
	}
	value := func(option, text string, attached bool, g arg, rest []arg) []arg {
		access, isFile := o.options[option]
		v := g
		if attached {
			v.text = text
			v.written = text
		} else {
			if len(rest) == 0 {
				return rest
			}
			v, rest = rest[0], rest[1:]
		}
		if isFile {
			a.file(v, File{Access: access, By: p.call.Name}, s)
		}
		return rest
	}
	for len(args) > 0 {
		g := args[0]
		args = args[1:]
		text := g.text
		switch {
		case g.lit && text == "--":
			return append(list, args...), used, recursive || slices.ContainsFunc(o.recursive, used.has)
		case len(text) < 2 || text[0] != '-' || !g.lit && g.prefix() == "":
			list = append(list, g)
		case strings.HasPrefix(text, "--"):
			name, v, attached := strings.Cut(text, "=")
			name = o.full(name)
			used.add(name, o)
			_, isFile := o.options[name]
			if isFile || slices.Contains(o.longValues, name) {
				args = value(name, v, attached, g, args)
			}
		default:
			// A long option with one dash, as find and dd-like programs have.
			name, v, attached := strings.Cut(text, "=")
			if _, ok := o.options[name]; ok && len(name) > 2 {
				used.add(name, o)
				args = value(name, v, attached, g, args)
				continue
			}
			for i := 1; i < len(text); i++ {
				option := "-" + text[i:i+1]
				used.add(option, o)
				_, isFile := o.options[option]
				if isFile || strings.IndexByte(o.values, text[i]) >= 0 {
					args = value(option, text[i+1:], i+1 < len(text), g, args)
					break
				}
			}
		}
	}
	return list, used, slices.ContainsFunc(o.recursive, used.has)
}

// full returns the option that a long option is the beginning of.
func (o *operation) full(name string) string {
	if len(name) < 4 {
		return name
	}
	for option := range o.options {
		if strings.HasPrefix(option, name) && strings.HasPrefix(option, "--") {
			return option
		}
	}
	lists := [...][]string{o.longValues, o.changes, o.recursive, o.unskip, nil, nil, nil, nil}
	if o.walk != nil {
		lists[4], lists[5], lists[6], lists[7] = o.walk.hidden, o.walk.follows, o.walk.keeps, o.walk.names
	}
	for _, list := range lists {
		for _, option := range list {
			if strings.HasPrefix(option, name) {
				return option
			}
		}
	}
	return name
}

// copied follows a program that is copied or linked: under its new name it is
// no longer known.
func (a *analysis) copied(g arg, p *performed, s scope) {
	for _, v := range g.values() {
		if !v.lit && !v.glob {
			continue
		}
		places := []string{v.text}
		for _, dir := range a.dirs.others {
			places = append(places, dir+"/"+v.text)
		}
		for _, place := range places {
			if !mayBeProgram(place) {
				continue
			}
			a.dynamic()
			if v.lit {
				a.call([]arg{literal(place)}, s.through(p.call.Name))
			}
		}
	}
}

// values returns the argument with each value that its unknown part can have.
func (g arg) values() []arg {
	if g.origin == nil || !strings.Contains(g.text, unknown) {
		return []arg{g}
	}
	out := make([]arg, 0, len(g.origin.values))
	for _, d := range g.origin.values {
		v := d
		v.text = strings.Replace(g.text, unknown, d.text, 1)
		v.origin = g.origin
		switch {
		case strings.Contains(v.text, unknown):
			v.lit, v.home, v.glob = false, false, false
		case !strings.HasPrefix(g.text, unknown):
			v.home = false // a tilde is expanded only in front
		}
		v.glob = v.glob || g.glob
		v.lit = v.lit && !v.glob
		v.written = g.written
		out = append(out, v)
	}
	return out
}

// file records a file that an argument names.
func (a *analysis) file(g arg, f File, s scope) {
	if g.lit {
		a.oneFile(g, f, s)
		return
	}
	for _, v := range g.values() {
		if a.stopped {
			return
		}
		a.oneFile(v, f, s)
	}
}

func (a *analysis) oneFile(g arg, f File, s scope) {
	if g.lit && (g.text == "" || g.text == "-") {
		return
	}
	f.Path = g.text
	if g.below != nil {
		if f.Recursive {
			f.Below = Below{Links: true} // all that is below what is named
		} else {
			f.Recursive, f.Below = true, *g.below
		}
	}
	tilde := g.home || g.glob && strings.HasPrefix(g.text, "~")
	switch {
	case g.lit:
	case strings.Contains(g.text, unknown) || !g.home && !g.glob:
		f.Path, f.Dynamic = g.show(), true
	case tilde && g.text != "~" && !strings.HasPrefix(g.text, "~/"):
		f.Dynamic = true // the home of somebody else
	default:
		f.Home, f.Glob = tilde, g.glob
	}
	add := func(f File) {
		if len(a.command.Files) >= maxFiles {
			a.refuse("names too many files")
			return
		}
		at := len(a.command.Files)
		if g.origin != nil && g.origin.loop != nil {
			g.origin.loop.files = append(g.origin.loop.files, at)
		}
		if s.replayed && !f.Home && !strings.HasPrefix(f.Path, "/") {
			a.lateFiles = append(a.lateFiles, lateUse{index: at, changes: a.dirs.changes})
		}
		a.command.Files = append(a.command.Files, f)
	}
	if f.Dynamic || f.Home || strings.HasPrefix(f.Path, "/") {
		add(f)
		return
	}
	here := f
	here.Dynamic = a.dirs.lost
	add(here)
	for _, o := range a.dirs.others {
		f.Path = strings.TrimSuffix(o, "/") + "/" + g.text
		add(f)
	}
}

// archive records the files of tar, whose first argument may be a bundle of
// letters without a dash.
func (a *analysis) archive(p *performed, s scope) {
	o := *archiver
	args := p.args[1:]
	if len(args) > 0 && args[0].lit && args[0].text != "" && args[0].text[0] != '-' {
		first := literal("-" + args[0].text)
		args = append([]arg{first}, args[1:]...)
	}
	writes, extracts := false, false
	absolute := false
	for _, g := range args {
		if !strings.HasPrefix(g.text, "-") || strings.HasPrefix(g.text, "--") && len(g.text) < 4 {
			continue
		}
		long := strings.HasPrefix(g.text, "--")
		absolute = absolute || g.isOption("-P") || g.isOption("--absolute-names")
		writes = writes || (!long && strings.ContainsAny(g.text, "cruA")) || slices.Contains([]string{"--create", "--append", "--update"}, g.text)
		extracts = extracts || (!long && strings.Contains(g.text, "x")) || slices.Contains([]string{"--extract", "--get"}, g.text)
	}
	archive := read
	if writes {
		archive = write
		o.walk = &walk{always: true, follows: []string{"-h", "--dereference"}}
	} else {
		o.access = ""
	}
	if extracts && absolute {
		p.effect(destroys) // it writes wherever the archive says
		a.command.Calls[len(a.command.Calls)-1].Effects = p.call.Effects
	}
	o.options = map[string]string{"-f": archive, "--file": archive, "-T": read, "--files-from": read, "-C": read, "--directory": read}
	if extracts {
		o.options["-C"], o.options["--directory"] = write, write
	}
	a.operands(&o, p, args, s)
}
