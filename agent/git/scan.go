package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// errChanged means that a file turned into another one while it was looked at.
var errChanged = errors.New("changed while it was read")

// scan walks a project. Nothing that is not below its root is looked at: each
// directory is opened from the one above it, and only if it still is the
// directory that was seen there.
type scan struct {
	skip fs.FileInfo // a directory to leave out
	// tracked reports whether an ignored path is to be visited all the same;
	// for a directory, whether there could be such a path below it.
	tracked func(path string, isDir bool) bool
	// leaf is called for whatever is no directory, and for a directory that
	// cannot be read or is too deep.
	leaf func(dir *os.Root, path string, info fs.FileInfo) error
	// enter is called before a directory is walked, and can refuse it; leave
	// is called after, for the root too.
	enter func(dir *os.Root, path string) bool
	leave func(path string) error

	files int
}

// walk visits everything that is not ignored. The names of a directory come in
// no order.
func (s *scan) walk(ctx context.Context, root *os.Root, ign *ignores) error {
	return s.dir(ctx, root, "", ign, false, 0)
}

func (s *scan) dir(ctx context.Context, dir *os.Root, path string, ign *ignores, ignored bool, depth int) error {
	names, err := readNames(dir, maxFiles-s.files)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	if !ignored {
		ign = ign.with(path, readIgnore(dir))
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isGit(name) {
			continue
		}
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		sub := name
		if path != "" {
			sub = path + "/" + name
		}
		if err := s.one(ctx, dir, sub, info, ign, ignored, depth); err != nil {
			return err
		}
	}
	return s.leave(path)
}

func (s *scan) one(
	ctx context.Context, dir *os.Root, path string, info fs.FileInfo, ign *ignores, ignored bool, depth int,
) error {
	if !ignored {
		var err error
		if ignored, err = ign.match(ctx, path, info.IsDir()); err != nil {
			return err
		}
	}
	if ignored && !s.tracked(path, info.IsDir()) || os.SameFile(info, s.skip) {
		return nil
	}
	if s.files++; s.files > maxFiles {
		return fmt.Errorf("directory: %w: it has more than %d files", ErrTooLarge, maxFiles)
	}
	if !info.IsDir() {
		return s.leaf(dir, path, info)
	}
	if depth+1 > maxDepth {
		return s.leaf(dir, path, info)
	}
	sub, err := openDir(dir, baseName(path), info)
	if err != nil {
		return s.leaf(dir, path, info)
	}
	defer sub.Close() //nolint:errcheck // It was only read.
	if !s.enter(sub, path) {
		return nil
	}
	return s.dir(ctx, sub, path, ign, ignored, depth+1)
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// openDir opens the directory of a name, if it still is the one that info
// describes, and no link to it or to another.
func openDir(dir *os.Root, name string, info fs.FileInfo) (*os.Root, error) {
	// With the dot, a pipe that has taken the name is refused; without, opening
	// it would wait for a writer.
	sub, err := dir.OpenRoot(name + "/.")
	if err != nil {
		return nil, err
	}
	got, err := sub.Stat(".")
	if err == nil && !os.SameFile(got, info) {
		err = errChanged
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

// readNames lists a directory that has at most limit names that matter.
func readNames(dir *os.Root, limit int) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	// An ignored directory may be large, but is not listed; so the names are
	// nearly all files that count.
	names, err := f.Readdirnames(limit + maxFiles)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && len(names) == limit+maxFiles {
		err = ErrTooLarge
	}
	return names, err
}

// readIgnore returns the content of the .gitignore of a directory. As in git, a
// link is not one.
func readIgnore(dir *os.Root) []byte {
	info, err := dir.Lstat(ignoreName)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxIgnoreFile {
		return nil
	}
	data, _, err := readFile(dir, ignoreName, info, maxIgnoreFile)
	if err != nil {
		return nil // What cannot be read excludes nothing.
	}
	return data
}

// openFile opens the regular file of a name, if it still is the one that info
// describes, and returns what is known of it now.
func openFile(dir *os.Root, name string, info fs.FileInfo) (*os.File, fs.FileInfo, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, err
	}
	got, err := f.Stat()
	if err == nil && (!os.SameFile(got, info) || !got.Mode().IsRegular()) {
		err = errChanged
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, got, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(dir *os.Root, name string, info fs.FileInfo, limit int64) ([]byte, fs.FileInfo, error) {
	f, before, err := openFile(dir, name, info)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	if before.Size() > limit {
		return nil, nil, ErrTooLarge
	}
	data := make([]byte, 0, before.Size()+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if int64(len(data)) > limit {
			return nil, nil, ErrTooLarge
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
	after, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if stampOf(before) != stampOf(after) {
		return data, nil, nil // It was written to meanwhile: nothing is known of it.
	}
	return data, after, nil
}

// isGit reports whether a name is that of a repository here, which no snapshot
// holds.
func isGit(name string) bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return isGitAnywhere(name)
	}
	return name == ".git" // Another spelling is an ordinary file, and is seen as one.
}

// isGitAnywhere reports whether a name is .git to some file system: letters of
// either case, the short name of Windows, and code points that macOS skips.
func isGitAnywhere(name string) bool {
	name, _, _ = strings.Cut(name, ":")  // The stream of a file of Windows.
	name = strings.TrimRight(name, " .") // Windows drops them.
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name)
	return strings.EqualFold(name, ".git") || strings.EqualFold(name, "git~1")
}
