//go:build amd64 || arm64

package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// multiCall are programs that are many in one, with the names of those of them
// that reach the network: banning one of these bans the whole.
var multiCall = map[string][]string{
	"busybox": {"wget", "nc", "telnet", "tftp", "ftpget", "ftpput"},
	"toybox":  {"wget", "nc", "netcat", "tftp", "ftpget", "ftpput"},
}

// file identifies a file under whatever name.
type file struct{ dev, ino uint64 }

func identify(path string) (file, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, false
	}
	return identity(info)
}

func identity(info os.FileInfo) (file, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return file{}, false
	}
	return file{dev: uint64(st.Dev), ino: st.Ino}, true //nolint:unconvert,nolintlint // Dev is narrower on some systems
}

// programs are the files of banned programs.
type programs struct {
	paths  []string // real
	exempt []string // names that share a file with what is needed
}

// findPrograms returns every file in the directories that is a banned program:
// by its name, by where a link of such a name leads, or by being the same file.
// Files in needed are not banned, whatever their names.
func findPrograms(names []string, dirs []string, needed []string) programs {
	banned := map[string]bool{}
	for _, name := range names {
		banned[name] = true
	}
	for whole, applets := range multiCall {
		if slices.ContainsFunc(applets, func(a string) bool { return banned[a] }) {
			banned[whole] = true
		}
	}
	spared := map[file]bool{}
	for _, path := range needed {
		if id, ok := identify(path); ok {
			spared[id] = true
		}
	}

	var found programs
	files := map[file]bool{}
	linked := false // whether one of them has another name
	add := func(name, path string) {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return
		}
		info, err := os.Stat(target)
		if err != nil {
			return
		}
		id, ok := identity(info)
		switch {
		case !ok:
		case spared[id]:
			found.exempt = append(found.exempt, name)
		default:
			st, isStat := info.Sys().(*syscall.Stat_t)
			linked = linked || !isStat || st.Nlink > 1
			files[id] = true
			found.paths = append(found.paths, target)
		}
	}
	seen := map[string]bool{}
	var entries []string
	list := func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		children, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, child := range children {
			path := filepath.Join(dir, child.Name())
			if child.Type().IsRegular() {
				entries = append(entries, path)
			}
			if banned[child.Name()] {
				add(child.Name(), path)
			}
		}
	}
	for _, dir := range existing(dirs) {
		list(dir)
	}
	// The program behind a link, such as a browser, has its kin beside it.
	for _, path := range slices.Clone(found.paths) {
		list(filepath.Dir(path))
	}
	if linked {
		for _, path := range entries {
			if id, ok := identify(path); ok && files[id] {
				found.paths = append(found.paths, path)
			}
		}
	}
	slices.Sort(found.paths)
	found.paths = slices.Compact(found.paths)
	slices.Sort(found.exempt)
	found.exempt = slices.Compact(found.exempt)
	return found
}
