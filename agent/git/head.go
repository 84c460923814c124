package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxRefFile bounds a file that holds one ref or one path.
	maxRefFile = 8 << 10
	// maxPackedRefs bounds the list of packed refs.
	maxPackedRefs = 64 << 20
	maxSymrefs    = 5
	refPrefix     = "ref: "
)

// Head says where a directory stands in a repository.
type Head struct {
	// Root is the top of the working tree, links resolved; "" if there is no
	// repository.
	Root string
	// Branch is "" for a detached HEAD.
	Branch string
	// DefaultBranch is what origin/HEAD names; "" if that is not known.
	DefaultBranch string
	IsRepo        bool
}

// Head returns the branch that dir is on. It only reads files, and follows a
// .git that is a file only to a repository that names this working tree in
// turn, or that is below it: otherwise the project could have any repository of
// the user's read. No repository is no error.
func (g *Git) Head(ctx context.Context, dir string) (Head, error) {
	if ctx.Err() != nil {
		return Head{}, fmt.Errorf("head: %w", context.Cause(ctx))
	}
	path, err := realDir(dir)
	if err != nil {
		return Head{}, fmt.Errorf("head: %w", err)
	}
	r := discover(path)
	if r == nil {
		return Head{}, nil
	}
	head, err := openRefs(r)
	if err != nil {
		return Head{}, fmt.Errorf("head %q: %w", dir, err)
	}
	defer head.close()
	h := Head{Root: r.root, IsRepo: true}
	text, err := readSmall(head.git, "HEAD")
	if err != nil {
		return Head{}, fmt.Errorf("head %q: %w", dir, err)
	}
	// In a repository with reftables HEAD names this, and the branch is in files
	// of another format.
	if ref, ok := strings.CutPrefix(text, refPrefix); ok && ref != "refs/heads/.invalid" {
		h.Branch = strings.TrimPrefix(ref, "refs/heads/")
	}
	// It is often missing: git only makes it when it clones.
	if text, err := readSmall(head.common, "refs/remotes/origin/HEAD"); err == nil {
		if ref, ok := strings.CutPrefix(text, refPrefix+"refs/remotes/origin/"); ok {
			h.DefaultBranch = ref
		}
	}
	return h, nil
}

// repository is where the parts of a repository are.
type repository struct {
	root   string // the top of the working tree
	git    string // of this working tree: HEAD
	common string // of all working trees: refs, objects
}

// discover looks for the repository that a directory is in, nil if there is
// none. The path has no links.
func discover(path string) *repository {
	for {
		if r := repositoryAt(path); r != nil {
			return r
		}
		up := filepath.Dir(path)
		if up == path {
			return nil
		}
		path = up
	}
}

// repositoryAt returns the repository whose working tree is root.
func repositoryAt(root string) *repository {
	path := filepath.Join(root, ".git")
	info, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	r := &repository{root: root, git: path, common: path}
	if info.IsDir() {
		return r.orNil()
	}
	// A link could lead to any repository, and is not followed.
	if !info.Mode().IsRegular() {
		return nil
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil
	}
	defer dir.Close() //nolint:errcheck // It was only read.
	text, err := readSmall(dir, ".git")
	target, ok := strings.CutPrefix(text, "gitdir: ")
	if err != nil || !ok {
		return nil
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(root, target)
	}
	if target, err = filepath.EvalSymlinks(target); err != nil {
		return nil
	}
	r.git, r.common = target, target
	switch {
	case within(root, target):
		return r.orNil()
	case r.isLinked():
		r.common = filepath.Dir(filepath.Dir(target))
		return r.orNil()
	case r.isSubmodule():
		return r.orNil()
	}
	return nil
}

// orNil returns the repository if it looks like one.
func (r *repository) orNil() *repository {
	for _, path := range []string{filepath.Join(r.common, "objects"), filepath.Join(r.common, "refs")} {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return nil
		}
	}
	if _, err := os.Lstat(filepath.Join(r.git, "HEAD")); err != nil {
		return nil
	}
	return r
}

// isLinked reports whether the repository says that root is one of its linked
// working trees.
func (r *repository) isLinked() bool {
	if filepath.Base(filepath.Dir(r.git)) != "worktrees" {
		return false
	}
	dir, err := os.OpenRoot(r.git)
	if err != nil {
		return false
	}
	defer dir.Close() //nolint:errcheck // It was only read.
	back, err := readSmall(dir, "gitdir")
	if err != nil {
		return false
	}
	if !filepath.IsAbs(back) {
		back = filepath.Join(r.git, back)
	}
	root, err := filepath.EvalSymlinks(filepath.Dir(back))
	return err == nil && filepath.Base(back) == ".git" && root == r.root
}

// isSubmodule reports whether the repository is kept in that of a directory
// above root.
func (r *repository) isSubmodule() bool {
	up := filepath.Dir(r.root)
	if up == r.root {
		return false
	}
	super := discover(up)
	if super == nil {
		return false
	}
	return within(filepath.Join(super.git, "modules"), r.git) || within(filepath.Join(super.common, "modules"), r.git)
}

// within reports whether path is below dir. Neither has links.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// refs reads the refs of a repository. What it opens cannot leave it.
type refs struct{ git, common *os.Root }

func openRefs(r *repository) (*refs, error) {
	git, err := os.OpenRoot(r.git)
	if err != nil {
		return nil, err
	}
	common, err := os.OpenRoot(r.common)
	if err != nil {
		return nil, errors.Join(err, git.Close())
	}
	return &refs{git: git, common: common}, nil
}

func (r *refs) close() {
	_ = r.git.Close() // They were only read.
	_ = r.common.Close()
}

// commit returns the id that HEAD names, "" if there is no commit yet.
func (r *refs) commit() (string, error) {
	text, err := readSmall(r.git, "HEAD")
	if err != nil {
		return "", err
	}
	for range maxSymrefs {
		ref, ok := strings.CutPrefix(text, refPrefix)
		if !ok {
			if !isHexID(text) {
				return "", fmt.Errorf("HEAD names %q, which is no id", text)
			}
			return text, nil
		}
		if ref == "refs/heads/.invalid" {
			return "", fmt.Errorf("refs are kept as reftables: %w", errors.ErrUnsupported)
		}
		if !strings.HasPrefix(ref, "refs/") || !fs.ValidPath(ref) {
			return "", fmt.Errorf("HEAD names %q, which is no ref", ref)
		}
		text, err = readSmall(r.common, ref)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIsDir) {
			return r.packed(ref)
		}
		if err != nil {
			return "", err
		}
	}
	return "", errors.New("HEAD: too many symbolic refs")
}

// packed looks a ref up among the packed ones.
func (r *refs) packed(ref string) (string, error) {
	f, err := openRegular(r.common, "packed-refs")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	lines := bufio.NewScanner(io.LimitReader(f, maxPackedRefs))
	for lines.Scan() {
		name, ok := bytes.CutSuffix(lines.Bytes(), []byte(" "+ref))
		if ok && isHexID(string(name)) {
			return string(name), nil
		}
	}
	return "", lines.Err()
}

func isHexID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && (len(text) == 40 || len(text) == 64) && strings.ToLower(text) == text
}

var (
	errNoFile = errors.New("is no regular file")
	// errIsDir is what an emptied directory of refs gives, which git leaves.
	errIsDir = errors.New("is a directory")
)

// openRegular opens a regular file; it does not wait for a pipe.
func openRegular(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%q %w", name, errIsDir)
	} else if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q %w", name, errNoFile)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readSmall reads a file that holds one line.
func readSmall(dir *os.Root, name string) (string, error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(io.LimitReader(f, maxRefFile+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(data), "\r\n")
	if len(data) > maxRefFile || strings.ContainsAny(text, "\x00\n") {
		return "", fmt.Errorf("%q: is not one line of text", name)
	}
	return text, nil
}
