// Package git gives a server what it needs of git: snapshots of a project
// directory, so that what commands and tools changed can be undone, the state
// of a working tree, and the names of branches.
//
// The project directory and everything in it, its .git directory included, is
// taken to be written by an attacker. So nothing in it is ever run or obeyed:
//
//   - Snapshots are taken, compared and restored by this package itself,
//     without the git program. The project is walked through [os.Root], one
//     directory at a time; a link is recorded and never followed, and a
//     directory that turns into a link meanwhile is not entered. Filters,
//     attributes, hooks, file system monitors and configuration do not exist
//     here, so a file is kept byte for byte.
//   - [Git.Head] and [Git.Status] read HEAD, refs, info/exclude and objects of
//     the project's repository, and nothing else of it; never its config. Only
//     Status starts git, to read objects (ls-tree and cat-file), with a
//     repository of our own, a clean environment and no work tree.
//   - The .git of a project is never written, and no path that has a component
//     named .git is ever restored.
//
// A snapshot holds all files below the root but those that .gitignore files
// exclude and .git itself. Other sources of exclusions (info/exclude, a user's
// own list) do not count: what they hide would not be seen in a diff. A file
// that was in the last snapshot stays in the next ones if it is ignored later,
// so that nothing can be hidden by a new .gitignore. A nested repository or a
// submodule is a directory like any other; its files are kept, its .git is not.
// What cannot be kept (larger than MaxFileBytes, unreadable, a pipe, a socket,
// a device) is recorded as left out: [Git.Diff] shows when it changed, and
// [Git.Restore] refuses to touch it.
//
// Snapshots are git repositories in the SHA-256 format, one for each root,
// which git itself can read. They grow by one compressed object for each
// distinct content of a file and for each directory that holds a change, and
// are not packed; [Git.Prune] removes what is old. A snapshot is checked
// against its id when it is read, so whoever holds a tree id holds its content.
// Objects are not synced to disk one by one: a power failure can cost the last
// snapshots, which is found when they are read.
//
// A change is found by size, times, inode and mode of a file. A program that
// keeps a file mapped into memory can change it without changing those.
//
// A [Git] is safe for concurrent use; several processes may share one Dir.
package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Errors of this package.
var (
	// ErrUnavailable means that the git program is missing.
	ErrUnavailable = errors.New("git is not available: install git and start again")
	// ErrInvalid means that an argument cannot be used.
	ErrInvalid = errors.New("invalid")
	// ErrNotExist means that there is no such snapshot.
	ErrNotExist = errors.New("does not exist")
	// ErrTooLarge means that a directory holds more than this package takes.
	ErrTooLarge = errors.New("is too large")
	// ErrUnknown means that a file cannot be restored, since the snapshot does
	// not say what it was.
	ErrUnknown = errors.New("is not known to the snapshot")
)

const (
	defaultMaxFileBytes = 2 << 20
	defaultTimeout      = 15 * time.Second
	// maxFiles bounds the files of a snapshot and of a commit, ignored ones not
	// counted.
	maxFiles = 200_000
	maxDepth = 200
	// lockEvery is how often a lock that another process holds is tried.
	lockEvery = 10 * time.Millisecond

	dirMode  = 0o700
	fileMode = 0o600
)

// Config is what a [Git] works with.
type Config struct {
	// Dir is where the snapshots are kept. It must be absolute. It is made, for
	// this user alone, if it does not exist. Required.
	Dir string
	// Program is the absolute path of git. It defaults to what PATH names when
	// New is called.
	Program string
	// MaxFileBytes is the size above which a file is left out of snapshots and
	// has no line counts. It defaults to 2 MiB.
	MaxFileBytes int64
	// Timeout bounds one operation. It defaults to 15 seconds.
	Timeout time.Duration
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

// Git takes snapshots and reads repositories.
type Git struct {
	cfg Config
	dir fs.FileInfo // Dir, which no snapshot holds

	mu    sync.Mutex
	gates map[string]*gate // by key of the root
}

// gate lets one goroutine at a time work with a snapshot repository.
type gate struct {
	slot  chan struct{}
	users int // guarded by Git.mu
}

// New returns a Git. That git is not installed is no error: snapshots do not
// need it, and [Git.Status] says so.
func New(cfg Config) (*Git, error) {
	var errs []error
	if !filepath.IsAbs(cfg.Dir) {
		errs = append(errs, fmt.Errorf("git: Dir %q: %w: an absolute path is required", cfg.Dir, ErrInvalid))
	}
	if cfg.Program != "" && !filepath.IsAbs(cfg.Program) {
		errs = append(errs, fmt.Errorf("git: Program %q: %w: must be absolute", cfg.Program, ErrInvalid))
	}
	if cfg.MaxFileBytes < 0 || cfg.MaxFileBytes > maxObject {
		errs = append(errs, fmt.Errorf("git: MaxFileBytes %d: %w: the most is %d", cfg.MaxFileBytes, ErrInvalid, maxObject))
	}
	if cfg.Timeout < 0 {
		errs = append(errs, fmt.Errorf("git: Timeout %v: %w", cfg.Timeout, ErrInvalid))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.MaxFileBytes == 0 {
		cfg.MaxFileBytes = defaultMaxFileBytes
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Program == "" {
		// LookPath gives an error for a program found by a relative entry of
		// PATH, which the project could provide.
		if path, err := exec.LookPath("git"); err == nil && filepath.IsAbs(path) {
			cfg.Program = path
		}
	}
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	dir, err := filepath.EvalSymlinks(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	cfg.Dir = dir
	// A snapshot may hold files that only this user may read.
	if err := os.Chmod(cfg.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	info, err := os.Stat(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	return &Git{cfg: cfg, dir: info, gates: map[string]*gate{}}, nil
}

// project is a root that an operation works with.
type project struct {
	path  string // absolute, links resolved
	root  *os.Root
	store *store
}

// open opens root and locks its snapshot repository. The returned function
// undoes both.
func (g *Git) open(ctx context.Context, root string) (*project, func(), error) {
	path, err := realDir(root)
	if err != nil {
		return nil, nil, err
	}
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err := r.Stat("."); err != nil || os.SameFile(info, g.dir) {
		_ = r.Close() // It was only read.
		return nil, nil, fmt.Errorf("root %q: %w: it is where the snapshots are kept", root, errors.Join(ErrInvalid, err))
	}
	key := key(path)
	unlock, err := g.lock(ctx, key)
	if err != nil {
		_ = r.Close() // It was only read.
		return nil, nil, fmt.Errorf("root %q: %w", root, err)
	}
	release := func() {
		unlock()
		_ = r.Close() // It holds no state.
	}
	s, err := openStore(filepath.Join(g.cfg.Dir, key))
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("root %q: %w", root, err)
	}
	return &project{path: path, root: r, store: s}, release, nil
}

// lock keeps other goroutines and other processes out of a snapshot
// repository.
func (g *Git) lock(ctx context.Context, key string) (func(), error) {
	// Waiting in the process costs nothing; a file lock is polled.
	g.mu.Lock()
	w := g.gates[key]
	if w == nil {
		w = &gate{slot: make(chan struct{}, 1)}
		g.gates[key] = w
	}
	w.users++
	g.mu.Unlock()
	leave := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if w.users--; w.users == 0 {
			delete(g.gates, key)
		}
	}
	select {
	case w.slot <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
	// The lock file lies beside the repository and is never removed: removing
	// it could leave two holders of two different files of one name.
	l := flock.New(filepath.Join(g.cfg.Dir, key+".lock"), flock.SetPermissions(fileMode))
	ok, err := l.TryLockContext(ctx, lockEvery)
	if err != nil || !ok {
		<-w.slot
		leave()
		return nil, fmt.Errorf("snapshots are in use: %w", errors.Join(err, ctx.Err()))
	}
	return func() {
		if err := l.Close(); err != nil {
			g.cfg.Logger.Warn("snapshot lock not released", slog.Any("error", err))
		}
		<-w.slot
		leave()
	}, nil
}

// key is the name of the snapshot repository of a root.
func key(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}

// realDir resolves the links in an absolute path of a directory.
func realDir(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("directory %q: %w: it must be absolute", dir, ErrInvalid)
	}
	path, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("directory %q: %w: it is no directory", dir, ErrInvalid)
	}
	return path, nil
}
