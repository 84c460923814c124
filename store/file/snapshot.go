package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"opencode/regular"
	"opencode/store"
)

const (
	// maxFileBytes bounds what is read and written; it is more than a
	// million tokens.
	maxFileBytes = 512 << 20
	// settleTime is more than the coarsest time stamp of any file system that
	// matters, which is the 2 s of FAT.
	settleTime = 3 * time.Second
)

// ErrUnsafe means that other users could change the file, and so give
// themselves any permission.
var ErrUnsafe = errors.New("can be changed by other users")

var errUnread = errors.New("tokens: not read yet")

// snapshot is what was in the file at one moment. It is immutable.
type snapshot struct {
	// err is why nothing can be looked up; all else is then empty.
	err error
	// info tells this state of the file from any other. It is nil if it
	// cannot, and the file must then be read again.
	info fs.FileInfo
	// missing says that there was no file; info is then nil.
	missing bool
	digest  [32]byte

	tokens []store.Token // oldest first
	byHash map[[32]byte]int32
	byID   map[string]int32
}

// newSnapshot sorts and indexes tokens, which become its own.
func newSnapshot(tokens []store.Token) (*snapshot, error) {
	slices.SortStableFunc(tokens, func(a, b store.Token) int { return a.Created.Compare(b.Created) })
	s := &snapshot{
		tokens: tokens,
		byHash: make(map[[32]byte]int32, len(tokens)),
		byID:   make(map[string]int32, len(tokens)),
	}
	for i := range tokens {
		t := &tokens[i]
		if _, ok := s.byID[t.ID]; ok {
			return nil, fmt.Errorf("%w: two tokens have the id %s", store.ErrCorrupt, t.ID)
		}
		if n, ok := s.byHash[t.Hash]; ok {
			return nil, fmt.Errorf("%w: the tokens %s and %s have the same hash", store.ErrCorrupt, tokens[n].ID, t.ID)
		}
		n := int32(i)
		s.byID[t.ID] = n
		s.byHash[t.Hash] = n
	}
	return s, nil
}

// current returns a snapshot that is at most checkEvery old.
func (t *Tokens) current() *snapshot {
	// The order matters: a snapshot is stored before the time of its look, so
	// one that is loaded after a fresh time is at least as fresh.
	if t.isFresh() {
		return t.snap.Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isFresh() {
		return t.snap.Load()
	}
	return t.lookLocked()
}

// look returns a snapshot of the file as it is now.
func (t *Tokens) look() *snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lookLocked()
}

func (t *Tokens) isFresh() bool {
	age := t.now().Sub(t.opened) - time.Duration(t.checked.Load())
	// A negative age is a clock that was set back.
	return age >= 0 && age < t.checkEvery
}

func (t *Tokens) lookLocked() *snapshot {
	began := t.now()
	s := t.snap.Load()
	if !t.unchanged(s) {
		s = t.read(s, began)
		t.snap.Store(s)
	}
	t.checked.Store(int64(began.Sub(t.opened)))
	return s
}

// install makes s current without a look at the file.
func (t *Tokens) install(s *snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snap.Store(s)
}

// unchanged reports whether the file is for sure what s was read from.
func (t *Tokens) unchanged(s *snapshot) bool {
	info, err := os.Stat(t.path)
	switch {
	case s.err != nil:
		return false
	case s.missing:
		return errors.Is(err, fs.ErrNotExist)
	case s.info == nil || err != nil:
		return false
	}
	// A replaced file differs by its inode, one that was edited in place by
	// its size or time, and one that was opened to others by its mode.
	return os.SameFile(info, s.info) && info.Size() == s.info.Size() &&
		info.ModTime().Equal(s.info.ModTime()) && info.Mode() == s.info.Mode()
}

// read reads the file. It takes over the tokens of old if the file still has
// the same content.
func (t *Tokens) read(old *snapshot, now time.Time) *snapshot {
	data, info, err := readFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &snapshot{missing: true}
	}
	if err != nil {
		return &snapshot{err: fmt.Errorf("token file %q: %w", t.path, err)}
	}
	digest := sha256.Sum256(data)
	s := &snapshot{tokens: old.tokens, byHash: old.byHash, byID: old.byID}
	if old.err != nil || old.missing || digest != old.digest {
		tokens, err := decodeTokens(data)
		if err == nil {
			s, err = newSnapshot(tokens)
		}
		if err != nil {
			return &snapshot{err: fmt.Errorf("token file %q: %w", t.path, err)}
		}
		if isReadableByOthers(info) {
			t.log.Warn("token file can be read by other users", slog.String("path", t.path), slog.String("mode", info.Mode().String()))
		}
	}
	s.digest = digest
	// While the file is younger than its time stamp is precise, another change
	// could leave no mark: the inode of a replaced file is soon used again.
	if now.Sub(info.ModTime()) > settleTime {
		s.info = info
	}
	return s
}

// readFile reads a file that only its owner can change.
func readFile(path string) (data []byte, info fs.FileInfo, err error) {
	// Only of the open file is it sure that its content is what is read below.
	f, info, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if err := checkAccess(path, info); err != nil {
		return nil, nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, nil, fmt.Errorf("%w: larger than %d bytes", store.ErrCorrupt, maxFileBytes)
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, nil, err
	}
	if n > maxFileBytes {
		return nil, nil, fmt.Errorf("%w: larger than %d bytes", store.ErrCorrupt, maxFileBytes)
	}
	return b.Bytes(), info, nil
}

// openRegular opens a file, or what a link leads to. What is none is [store.ErrCorrupt].
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, info, err := regular.Open(path, regular.FollowLinks)
	if errors.Is(err, regular.ErrNotRegular) {
		err = fmt.Errorf("%w: not a regular file", store.ErrCorrupt)
	}
	return f, info, err
}

// update changes the file under its lock: change gets what is in it then, must
// not modify that, and returns what is to be in it.
func (t *Tokens) update(ctx context.Context, wait lockWait, change func(*snapshot) ([]store.Token, error)) error {
	path, err := resolve(t.path)
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, path, wait)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()

	old := t.read(t.snap.Load(), t.now())
	if old.err != nil {
		return old.err
	}
	tokens, err := change(old)
	if errors.Is(err, errUnchanged) {
		t.install(old)
		return nil
	}
	if err != nil {
		return err
	}
	s, err := newSnapshot(tokens)
	if err != nil {
		return err
	}
	data, err := encodeTokens(s.tokens)
	if err != nil {
		return err
	}
	if len(data) > maxFileBytes {
		return fmt.Errorf("directory %q: too many tokens: the file would be larger than %d bytes", filepath.Dir(path), maxFileBytes)
	}
	if err := replaceFile(path, data); err != nil {
		return err
	}
	// Still under the lock, so that this is newer than what any look has seen.
	// Without info, the next look compares the content.
	s.digest = sha256.Sum256(data)
	t.install(s)
	return nil
}
