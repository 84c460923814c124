package tool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// loginShells are the shells that take -l, and the ones that read commands as
// clients write them.
var loginShells = names(`bash dash fish ksh sh zsh`)

// otherShells are shells whose language is another one.
var otherShells = names(`fish nu`)

// maxShells bounds how much of the system's list of shells is read.
const maxShells = 64 << 10

// Shell is a shell of this machine.
type Shell struct {
	Path string
	Name string
	// Acceptable reports whether it reads commands as POSIX has them.
	Acceptable bool
}

// IsLoginShell reports whether a program is a shell that takes -l.
func IsLoginShell(path string) bool {
	return loginShells[strings.ToLower(filepath.Base(path))]
}

// Shells returns the shells that the machine lists and has.
func Shells() ([]Shell, error) {
	text := []byte("/bin/bash\n/bin/zsh\n/bin/sh\n")
	f, err := os.Open("/etc/shells")
	switch {
	case err == nil:
		defer func() { _ = f.Close() }() // nothing was written
		if text, err = io.ReadAll(io.LimitReader(f, maxShells)); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	shells, seen := []Shell{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		path := strings.TrimSpace(line)
		if seen[path] || !isProgram(path) {
			continue // also a comment and an empty line
		}
		seen[path] = true
		name := strings.ToLower(filepath.Base(path))
		shells = append(shells, Shell{Path: path, Name: name, Acceptable: !otherShells[name]})
	}
	return shells, nil
}
