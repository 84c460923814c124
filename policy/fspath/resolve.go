package fspath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"
)

// The bounds of a path are those of the kernel.
const (
	maxPath      = 4096
	maxComponent = 255
	maxLinks     = 40
)

// The problems of a path. They are facts for policy and for people.
var (
	errEmpty       = errors.New("empty path")
	errNUL         = errors.New("holds a NUL byte")
	errUTF8        = errors.New("not valid UTF-8")
	errLong        = errors.New("longer than 4096 bytes")
	errComponent   = errors.New("holds a name longer than 255 bytes")
	errLinks       = errors.New("follows too many links")
	errProcess     = errors.New("goes through a process's own files")
	errMissing     = errors.New("goes back from a directory that does not exist")
	errNotDir      = errors.New("goes through a file that is not a directory")
	errNotAbsolute = errors.New("starts from a directory that is not absolute")
	errRoot        = errors.New("the project directory cannot be resolved")
)

// Resolve returns the facts about a path text. Root is the project directory
// and cwd the directory where a relative path starts, both absolute.
//
// It follows links one component at a time, as the kernel does, so that the
// parent of a link is that of what it leads to. A leading "~" is a name like
// any other: the kernel does not expand it. A project directory that does not
// exist is taken as it is spelled: what a policy says of it can be asked before
// it is made, and nothing can be opened in it.
//
// The class of what is inside is that of the part below the project, so that a
// project may itself lie below a directory with a name that has a class.
func Resolve(root, cwd, raw string, access Access) Path {
	p := Path{Raw: raw, Access: access, Kind: "none"}
	start, err := p.resolve(root, cwd)
	text := spelled(cwd, raw)
	p.Class = classWithin(text, root, start)
	if p.Real != text {
		p.Class = stricter(p.Class, classWithin(p.Real, root, start))
	}
	if err != nil {
		text := err.Error()
		return Path{Raw: raw, Access: access, Kind: "none", Class: p.Class, Problem: &text}
	}
	return p
}

// ResolvePattern returns the facts about a pattern of a shell, in which "*",
// "?" and "[" stand for names that are not known. Its real path is that of the
// directory in front with the pattern behind it, and its class the strictest of
// all names that it may match, whether they exist or not. Only of a last name
// that is nothing but a pattern those that exist count.
func ResolvePattern(root, cwd, pattern string, access Access) Path {
	i := strings.IndexAny(pattern, "*?[")
	if i < 0 {
		return Resolve(root, cwd, pattern, access)
	}
	slash := strings.LastIndexByte(pattern[:i], '/')
	dir, rest := pattern[:slash+1], pattern[slash+1:]
	if dir == "" {
		dir = "."
	}
	p := Resolve(root, cwd, dir, access)
	p.Raw = pattern
	if p.Problem != nil {
		return p
	}
	start, err := walk(root, "")
	problem := checkText(pattern)
	for name := range strings.SplitSeq(rest, "/") {
		if name == ".." {
			problem = errMissing
		}
	}
	if err != nil || problem != nil {
		text := errors.Join(err, problem).Error()
		return Path{Raw: pattern, Access: access, Kind: "none", Class: p.Class, Problem: &text}
	}
	class := plain
	if isBare(rest) {
		class = classBelow(p.Real, root, start.path)
	}
	p.Real = strings.TrimSuffix(p.Real, "/") + "/" + rest
	p.Relative, p.Inside = below(start.path, p.Real)
	p.Exists, p.Kind, p.Links = false, "none", 0
	p.Class = stricter(stricter(class, p.Class), stricter(classWithin(p.Real, root, start.path), classWithin(spelled(cwd, pattern), root, start.path)))
	return p
}

// maxNames bounds the names of a directory that are looked at.
const maxNames = 4096

// classBelow returns the strictest class of the names in a directory that a
// pattern without a dot in front matches.
func classBelow(dir, root, resolved string) string {
	class, seen := plain, 0
	err := entries(dir, func(e fs.DirEntry) bool {
		seen++
		if name := e.Name(); !strings.HasPrefix(name, ".") {
			class = stricter(class, classWithin(strings.TrimSuffix(dir, "/")+"/"+name, root, resolved))
		}
		return seen < maxNames && strictness[class] < strictness[secret]
	})
	if err != nil || seen == maxNames {
		return secret // there may be more
	}
	return class
}

// resolve finds out where the path leads, and the real project directory.
func (p *Path) resolve(root, cwd string) (project string, err error) {
	if err := checkText(p.Raw); err != nil {
		return root, err
	}
	if !filepath.IsAbs(root) || !filepath.IsAbs(cwd) {
		return root, errNotAbsolute
	}
	start, err := walk(root, "")
	if err != nil || start.kind != "dir" && !start.missing {
		return root, errRoot
	}
	full := p.Raw
	if !filepath.IsAbs(full) {
		full = cwd + "/" + full
	}
	end, err := walk(full, start.path)
	if err != nil {
		return start.path, err
	}
	p.Real, p.Exists, p.Link, p.Kind, p.Links = end.path, !end.missing, end.link, end.kind, end.links
	p.Relative, p.Inside = below(start.path, end.path)
	return start.path, nil
}

func checkText(raw string) error {
	switch {
	case raw == "":
		return errEmpty
	case strings.IndexByte(raw, 0) >= 0:
		return errNUL
	case !utf8.ValidString(raw):
		return errUTF8
	case len(raw) > maxPath:
		return errLong
	}
	return nil
}

// below returns a real path relative to a real directory, and whether it is
// that directory or below it.
func below(dir, path string) (relative string, inside bool) {
	if path == dir {
		return ".", true
	}
	if dir != "/" {
		dir += "/"
	}
	if relative, inside = strings.CutPrefix(path, dir); !inside {
		return "", false
	}
	return relative, true
}

// spelled returns a path as it is spelled, cleaned, for the class of a path
// that does not lead where its text says.
func spelled(cwd, raw string) string {
	if raw == "" {
		return ""
	}
	if filepath.IsAbs(raw) {
		return filepath.Clean(raw)
	}
	return filepath.Clean(cwd + "/" + raw)
}

// place is where a walk ends.
type place struct {
	path    string
	missing bool
	// link reports that a link was followed below the project directory.
	link bool
	kind string
	// links is how many names the file has.
	links int
}

// standardStreams are the names of what a process has open that mean the same
// to every process.
var standardStreams = map[string]bool{"/dev/stdin": true, "/dev/stdout": true, "/dev/stderr": true}

// walk follows an absolute path. Links below the directory inside are noted.
func walk(path, inside string) (place, error) {
	at := place{path: "/", kind: "dir"}
	rest := strings.Split(path, "/")
	text := len(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			// A trailing slash or dot asks for a directory, as any other does.
			if at.kind != "dir" && !at.missing {
				return at, errNotDir
			}
			continue
		case "..":
			if at.missing {
				return at, errMissing
			}
			if at.kind != "dir" {
				return at, errNotDir
			}
			at.path = filepath.Dir(at.path)
			continue
		}
		if len(name) > maxComponent {
			return at, errComponent
		}
		if !at.missing && at.kind != "dir" {
			return at, errNotDir
		}
		next := strings.TrimSuffix(at.path, "/") + "/" + name
		if len(next) > maxPath {
			return at, errLong
		}
		if isMagic(next) {
			return at, errProcess
		}
		if at.missing {
			at.path = next
			continue
		}
		if standardStreams[next] {
			at.path, at.kind = next, "device"
			continue
		}
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			at.path, at.missing, at.kind = next, true, "none"
			continue
		case errors.Is(err, syscall.ENAMETOOLONG):
			return at, errLong
		case err != nil:
			return at, fmt.Errorf("cannot look at a part of it: %w", reason(err))
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at.path, at.kind, at.links = next, kindOf(info.Mode()), namesOf(info)
			continue
		}
		if links++; links > maxLinks {
			return at, errLinks
		}
		target, err := os.Readlink(next)
		if err != nil {
			return at, fmt.Errorf("cannot read a link: %w", reason(err))
		}
		if target == "" || !utf8.ValidString(target) {
			return at, errUTF8
		}
		text += len(target)
		if text > maxPath*maxLinks {
			return at, errLong
		}
		if _, ok := below(inside, next); inside != "" && ok {
			at.link = true
		}
		parts := strings.Split(target, "/")
		if filepath.IsAbs(target) {
			at.path = "/"
		}
		rest = append(parts, rest...)
	}
	return at, nil
}

// reason returns the part of a file error that does not repeat the path.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// isMagic reports whether a real path is, or is below, a file of a process
// that leads elsewhere for each process that looks: here it would lead to our
// own root, directory and open files.
func isMagic(path string) bool {
	if rest, ok := strings.CutPrefix(path, "/dev/fd"); ok {
		return rest == "" || rest[0] == '/'
	}
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return false
	}
	process, file, ok := strings.Cut(rest, "/")
	if !ok || process != "self" && process != "thread-self" && strings.Trim(process, "0123456789") != "" {
		return false
	}
	file, _, _ = strings.Cut(file, "/")
	switch file {
	case "root", "cwd", "exe", "fd", "fdinfo", "task", "map_files", "ns":
		return true
	}
	return false
}

// namesOf returns how many names a file has, 0 if it is a directory or if that
// is not known.
func namesOf(info fs.FileInfo) int {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0
	}
	return int(sys.Nlink) //nolint:gosec,unconvert,nolintlint // its type depends on the architecture; no file system has more
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "dir"
	case mode&fs.ModeDevice != 0:
		return "device"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "other"
}
