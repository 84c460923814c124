package fspath

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The bounds of a look below a directory. What lies beyond maxBelow names may
// be a secret.
const (
	maxBelow    = 20_000
	maxNotable  = 16
	readAtATime = 512
)

// Walk says which files below a directory a program uses. Its zero value is all
// of them, without following links.
type Walk struct {
	// Visible leaves out the names that start with a dot.
	Visible bool
	// Links says that links are followed.
	Links bool
	// Names are the patterns of the only names that are used, nil for all.
	Names []string
	// Top is a pattern that the names right below the directory fit, "" for
	// any.
	Top string
}

// fetched are the directories that hold what others have written and what was
// built: nobody keeps a secret there, and they are what takes long.
var fetched = map[string]bool{
	".git": true, ".hg": true, ".svn": true, "node_modules": true, ".venv": true, "venv": true, "site-packages": true, "vendor": true, "target": true,
	".tox": true, ".nox": true, ".gradle": true, "__pycache__": true, ".yarn": true, ".pnpm-store": true,
}

// Below returns the facts about the files below a directory that a program
// which reads all of them comes upon and that the directory does not tell of:
// secrets, and links that lead out of the project. Names alone are read, the
// shallow ones first. There is nothing to tell of a directory outside of the
// project, nor of what is no directory.
func Below(root, cwd, raw string, walk Walk) []Path {
	return lookBelow(root, cwd, raw, walk, maxBelow)
}

func lookBelow(root, cwd, raw string, walk Walk, most int) []Path {
	top := Resolve(root, cwd, raw, Read)
	if top.Problem != nil || !top.Inside || top.Kind != "dir" || top.Class == secret {
		return nil
	}
	project, err := walkRoot(root)
	if err != nil {
		return nil // Resolve has told
	}
	var notable []Path
	seen := 0
	type place struct{ real, shown string }
	queue := []place{{top.Real, strings.TrimSuffix(raw, "/")}}
	for len(queue) > 0 && len(notable) < maxNotable {
		at := queue[0]
		queue = queue[1:]
		err := entries(at.real, func(e fs.DirEntry) bool {
			name := e.Name()
			if seen++; seen > most {
				return false
			}
			if walk.Visible && name[0] == '.' || walk.Top != "" && at.real == top.Real && !globs(walk.Top, name) {
				return true
			}
			file, shown := strings.TrimSuffix(at.real, "/")+"/"+name, at.shown+"/"+name
			secretly := mayEndSecret(name) && classWithin(file, root, project) == secret
			switch {
			case e.IsDir() && secretly:
				notable = append(notable, Resolve(root, cwd, shown, Read))
			case e.IsDir():
				if !fetched[name] {
					queue = append(queue, place{file, shown})
				}
			case walk.Names != nil && !slices.ContainsFunc(walk.Names, func(p string) bool { return fits(p, name) }):
			case secretly:
				notable = append(notable, Resolve(root, cwd, shown, Read))
			case e.Type()&fs.ModeSymlink != 0 && walk.Links:
				if p := Resolve(root, cwd, shown, Read); p.Problem == nil && p.Exists && isNotable(&p) {
					notable = append(notable, p)
				}
			}
			return len(notable) < maxNotable
		})
		if err != nil || seen > most {
			// Names that are not looked at, one of which may be a secret's.
			top.Raw, top.Class = raw+"/**", secret
			return append(notable, top)
		}
	}
	return notable
}

// Matches returns the facts about the files that a pattern of a shell matches
// and that the pattern does not tell of: secrets, links that lead out of the
// project, and files with several names. One that may match more names than are
// looked at may match a secret.
func Matches(root, cwd, pattern string, access Access) []Path {
	return lookMatches(root, cwd, pattern, access, maxBelow)
}

func lookMatches(root, cwd, pattern string, access Access, most int) []Path {
	if checkText(pattern) != nil {
		return nil // ResolvePattern has told
	}
	base := cwd
	rest := pattern
	if filepath.IsAbs(pattern) {
		base = "/"
	}
	seen, unread := 0, false
	var notable []Path
	// A stretch of the pattern without patterns is taken as it is.
	var expand func(shown string, parts []string)
	expand = func(shown string, parts []string) {
		for len(parts) > 0 && !isPattern(parts[0]) {
			shown, parts = join(shown, parts[0]), parts[1:]
		}
		if len(notable) >= maxNotable || seen > most {
			return
		}
		if len(parts) == 0 {
			if p := Resolve(root, cwd, shown, access); p.Problem == nil && p.Exists && isNotable(&p) {
				notable = append(notable, p)
			}
			return
		}
		dir := shown
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(base, dir)
		}
		deep := parts[0] == "**"
		if deep && len(parts) > 1 {
			expand(shown, parts[1:])
		}
		err := entries(dir, func(e fs.DirEntry) bool {
			seen++
			name := e.Name()
			if globs(parts[0], name) {
				last := len(parts) == 1
				switch {
				case deep && e.IsDir() && !fetched[name]:
					expand(join(shown, name), parts)
				case deep && last, !deep && (!last || !e.IsDir()):
					expand(join(shown, name), parts[1:])
				}
			}
			return len(notable) < maxNotable && seen <= most
		})
		unread = unread || err != nil
	}
	start := ""
	if filepath.IsAbs(pattern) {
		start, rest = "/", strings.TrimLeft(pattern, "/")
	}
	parts := slices.DeleteFunc(strings.Split(rest, "/"), func(s string) bool { return s == "" })
	expand(start, parts)
	if (unread || seen > most) && len(notable) < maxNotable {
		p := ResolvePattern(root, cwd, pattern, access)
		p.Class = secret
		notable = append(notable, p)
	}
	return notable
}

// ends are the last names of the rules about secrets, those with a pattern
// apart.
type ends struct {
	names    map[string]bool
	patterns []string
}

var secretEnds = lastNames()

func lastNames() ends {
	out := ends{names: map[string]bool{}}
	for _, r := range rules {
		if r.class != secret {
			continue
		}
		last := r.path[strings.LastIndexByte(r.path, '/')+1:]
		if strings.Contains(last, "*") {
			out.patterns = append(out.patterns, last)
		} else {
			out.names[last] = true
		}
	}
	return out
}

// mayEndSecret reports whether a path whose directories are no secret can be
// one because of its last name. It is quick, for there are many.
func mayEndSecret(name string) bool {
	name = fold(name)
	if secretEnds.names[name] {
		return true
	}
	for _, p := range secretEnds.patterns {
		before, after, _ := strings.Cut(p, "*")
		if strings.HasPrefix(name, before) && strings.HasSuffix(name, after) {
			return true
		}
	}
	return strings.ContainsAny(name, "*?[") // the rules take it for a pattern
}

// isNotable reports whether a file is more than its name or its pattern says.
func isNotable(p *Path) bool {
	return p.Class == secret || !p.Inside && p.Link || p.Inside && p.Links > 1 || p.Kind != "file" && p.Kind != "dir"
}

func join(dir, name string) string {
	if dir == "" || dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// fits reports whether a name fits one element of a pattern. A pattern that
// cannot be read fits every name.
func fits(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(strings.ReplaceAll(pattern, "**", "*"), "[!", "[^"), name)
	return ok || err != nil
}

// globs reports whether a shell's pattern stands for a name: one that starts
// with a dot must be asked for.
func globs(pattern, name string) bool {
	return (name[0] != '.' || pattern[0] == '.') && fits(pattern, name)
}

// entries hands the entries of a directory to a function until it has enough.
// The error says that there may be names that it has not seen.
func entries(dir string, visit func(fs.DirEntry) bool) error {
	f, err := openDirectory(dir)
	if err != nil {
		return unlessNone(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	for {
		list, err := f.ReadDir(readAtATime)
		for _, e := range list {
			if !visit(e) {
				return nil
			}
		}
		if err != nil {
			return unlessNone(err)
		}
	}
}

// unlessNone returns nil for an error after which a command finds no more names
// either. Others, such as of too many open files, are ours alone.
func unlessNone(err error) error {
	for _, none := range []error{io.EOF, fs.ErrNotExist, syscall.ENOTDIR, syscall.EACCES, syscall.ELOOP} {
		if errors.Is(err, none) {
			return nil
		}
	}
	return err
}

// openDirectory opens a directory for its names. What is none is not opened: a
// pipe would wait for whoever writes to it, and a device can do something.
func openDirectory(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0) //nolint:gosec // its names are read, nothing else
}

// walkRoot returns the real project directory.
func walkRoot(root string) (string, error) {
	at, err := walk(root, "")
	return at.path, err
}
