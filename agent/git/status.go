package git

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // G505: the ids of most repositories.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"opencode/agent/linediff"
)

const (
	statusIndex = "status.index"
	// maxHashed bounds a file of which the content is compared. A larger one
	// is modified if its size is another.
	maxHashed = 128 << 20
)

// FileStatus is a file that differs from the last commit.
type FileStatus struct {
	// Path is relative to the top of the working tree, with slashes. That of a
	// nested repository, and of a directory that cannot be read, ends in one.
	Path string `json:"path"`
	// Added and Removed count lines; they are 0 for a binary file and for a
	// large one.
	Added   int    `json:"added"`
	Removed int    `json:"removed"`
	Status  string `json:"status"` // StatusAdded, StatusDeleted or StatusModified
}

// Status compares the working tree that dir is in with the last commit, and
// returns the files that differ, sorted. A file that git does not know yet is
// added, unless .gitignore or info/exclude names it. Without a repository the
// list is empty.
//
// The index of the repository is not read. No filter is run either, so a file
// that git would convert when it is committed (line ends, git-lfs) is modified.
// A nested repository is one entry if it is new, and none if it is a submodule.
func (g *Git) Status(ctx context.Context, dir string) ([]FileStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	path, err := realDir(dir)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	repo := discover(path)
	if repo == nil {
		return []FileStatus{}, nil
	}
	out, err := g.status(ctx, repo)
	if err != nil {
		return nil, fmt.Errorf("status %q: %w", dir, err)
	}
	return out, nil
}

func (g *Git) status(ctx context.Context, repo *repository) ([]FileStatus, error) {
	refs, err := openRefs(repo)
	if err != nil {
		return nil, err
	}
	defer refs.close()
	commit, err := refs.commit()
	if err != nil {
		return nil, err
	}
	reader, err := g.reader(ctx, repo, commit)
	if err != nil {
		return nil, err
	}
	c := &checker{git: g, ctx: ctx, next: index{}, newHash: sha1.New, out: []FileStatus{}}
	if len(commit) == 2*idBytes {
		c.newHash = sha256.New
	}
	if commit != "" {
		if c.head, err = reader.files(commit); err != nil {
			return nil, err
		}
	}
	c.blobs.reader = reader
	defer c.blobs.close()
	p, release, err := g.open(ctx, repo.root)
	if err != nil {
		return nil, err
	}
	defer release()
	if c.prev, err = p.store.loadIndex(statusIndex); err != nil {
		g.cfg.Logger.Warn("status index dropped", slog.String("root", p.path), slog.Any("error", err))
		c.prev = index{}
	}
	var ign *ignores
	if f, err := openRegular(refs.common, "info/exclude"); err == nil {
		data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		ign = ign.with("", data)
	}
	if err := c.run(p.root, ign); err != nil {
		return nil, err
	}
	if c.changed || len(c.next) != len(c.prev) {
		if err := p.store.saveIndex(statusIndex, c.next); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// checker compares a working tree with a commit.
type checker struct {
	git     *Git
	ctx     context.Context //nolint:containedctx // It lives as long as one call.
	head    map[string]listed
	paths   []string // those of head, sorted
	seen    map[string]bool
	blobs   blobs
	newHash func() hash.Hash
	// The ids in these are those of the repository, filled up with zeros; the
	// mode is their length in hexadecimal.
	prev, next index
	changed    bool
	out        []FileStatus
}

func (c *checker) run(root *os.Root, ign *ignores) error {
	c.seen = make(map[string]bool, len(c.head))
	for path := range c.head {
		c.paths = append(c.paths, path)
	}
	slices.Sort(c.paths)
	s := scan{
		skip: c.git.dir, tracked: c.tracked, leaf: c.leaf, enter: c.enter,
		leave: func(string) error { return nil },
	}
	if err := s.walk(c.ctx, root, ign); err != nil {
		return err
	}
	for _, path := range c.paths {
		if c.seen[path] {
			continue
		}
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		f := FileStatus{Path: path, Status: StatusDeleted}
		if h := c.head[path]; h.mode&modeType != modeLeftOut {
			data, ok, err := c.blobs.get(h.id, c.git.cfg.MaxFileBytes)
			if err != nil {
				return err
			}
			if ok && !isBinary(data) {
				f.Removed = linediff.Count(data)
			}
		}
		c.out = append(c.out, f)
	}
	slices.SortFunc(c.out, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// below returns the files of the commit in a directory.
func (c *checker) below(dir string) []string {
	from, _ := slices.BinarySearch(c.paths, dir+"/")
	to, _ := slices.BinarySearch(c.paths, dir+"0") // The character after the slash.
	return c.paths[from:to]
}

func (c *checker) tracked(path string, isDir bool) bool {
	if _, ok := c.head[path]; ok {
		return true
	}
	return isDir && len(c.below(path)) > 0
}

// enter decides whether to look into a directory.
func (c *checker) enter(dir *os.Root, path string) bool {
	if h, ok := c.head[path]; ok && h.mode&modeType == modeLeftOut {
		c.seen[path] = true // A submodule.
		return false
	}
	if len(c.below(path)) > 0 {
		return true // Whatever says that this is another repository, it is not.
	}
	if _, err := dir.Lstat(".git"); err == nil {
		c.out = append(c.out, FileStatus{Path: path + "/", Status: StatusAdded})
		return false
	}
	return true
}

// leaf compares a file.
func (c *checker) leaf(dir *os.Root, path string, info fs.FileInfo) error {
	if info.IsDir() {
		// It cannot be read, which must not hide what is in it.
		for _, p := range c.below(path) {
			c.seen[p] = true
		}
		c.out = append(c.out, FileStatus{Path: path + "/", Status: StatusModified})
		return nil
	}
	h, inHead := c.head[path]
	t := info.Mode().Type()
	if t != 0 && t != fs.ModeSymlink {
		return nil // Git knows no devices and pipes: what was a file is deleted.
	}
	if !inHead {
		f := FileStatus{Path: path, Status: StatusAdded}
		if data, ok := c.content(dir, path, info); ok && !isBinary(data) {
			f.Added = linediff.Count(data)
		}
		c.out = append(c.out, f)
		return nil
	}
	c.seen[path] = true
	same, err := c.same(dir, path, info, h)
	if err != nil || same {
		return err
	}
	f := FileStatus{Path: path, Status: StatusModified}
	data, ok := c.content(dir, path, info)
	if ok && !isBinary(data) && h.mode&modeType != modeLeftOut {
		old, ok, err := c.blobs.get(h.id, c.git.cfg.MaxFileBytes)
		if err != nil {
			return err
		}
		if ok && !isBinary(old) {
			d, err := linediff.Compare(c.ctx, old, data)
			if err != nil {
				return err
			}
			f.Added, f.Removed = d.Counts()
		}
	}
	c.out = append(c.out, f)
	return nil
}

// content reads a file or the target of a link; not ok if it is too large or
// cannot be read.
func (c *checker) content(dir *os.Root, path string, info fs.FileInfo) ([]byte, bool) {
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := dir.Readlink(baseName(path))
		return []byte(target), err == nil
	}
	data, _, err := readFile(dir, baseName(path), info, c.git.cfg.MaxFileBytes)
	return data, err == nil
}

// same reports whether a file is what the commit has.
func (c *checker) same(dir *os.Root, path string, info fs.FileInfo, h listed) (bool, error) {
	mode := uint32(modeLink)
	if info.Mode().IsRegular() {
		mode = 0o100644
		if info.Mode().Perm()&0o100 != 0 {
			mode = 0o100755
		}
	}
	if mode != h.mode {
		return false, nil
	}
	k, ok := c.prev[path]
	if !ok || k.racy || k.stamp != stampOf(info) || k.mode != c.idLength() {
		if info.Size() > c.git.cfg.MaxFileBytes && mode != modeLink {
			n, err := c.blobs.size(h.id)
			if err != nil || n != info.Size() {
				return false, err
			}
			if n > maxHashed {
				return true, nil
			}
		}
		if k, ok = c.hash(dir, path, info); !ok {
			return false, nil
		}
		c.changed = true
	}
	c.next[path] = k
	return hex.EncodeToString(k.id[:len(h.id)/2]) == h.id, nil
}

func (c *checker) idLength() uint32 {
	return uint32(hex.EncodedLen(c.newHash().Size())) //nolint:gosec // G115: 40 or 64.
}

// hash finds the id of a file; not ok if it cannot be read.
func (c *checker) hash(dir *os.Root, path string, info fs.FileInfo) (known, bool) {
	k := known{mode: c.idLength(), stamp: stampOf(info), racy: true}
	at := time.Now()
	sum := c.newHash()
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := dir.Readlink(baseName(path))
		if err != nil {
			return k, false
		}
		hashBlob(sum, int64(len(target)), strings.NewReader(target))
		copy(k.id[:], sum.Sum(nil))
		return k, true
	}
	f, before, err := openFile(dir, baseName(path), info)
	if err != nil {
		return k, false
	}
	defer f.Close() //nolint:errcheck // It was only read.
	if !hashBlob(sum, before.Size(), contextReader{c.ctx, f}) {
		return k, false
	}
	after, err := f.Stat()
	if err != nil {
		return k, false
	}
	k.stamp = stampOf(before)
	k.racy = stampOf(after) != k.stamp || k.stamp.isRacy(at)
	copy(k.id[:], sum.Sum(nil))
	return k, true
}

// hashBlob hashes a blob of a size; false if there is less or more of it.
func hashBlob(sum hash.Hash, size int64, r io.Reader) bool {
	if _, err := fmt.Fprintf(sum, "blob %d\x00", size); err != nil {
		return false
	}
	n, err := io.Copy(sum, io.LimitReader(r, size+1))
	return err == nil && n == size
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // It lives as long as one call.
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
