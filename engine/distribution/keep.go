package distribution

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/open-policy-agent/opa/v1/bundle"

	"opencode/regular"
)

// keep is where the last good bundle of a source is.
//
//	bundle.tar.gz     it, as it was sent
//	bundle.json       what is known of it
//	candidate.tar.gz  one that is being looked at
//	previous.tar.gz   the one before, while a new one is taken into use
//
// Each file is replaced as a whole, so that at any moment bundle.tar.gz is a
// bundle that was good.
type keep struct{ dir string }

// kept is a bundle, and what is known of it.
type kept struct {
	data      []byte
	sum       string // SHA-256 in hexadecimal; "" for no bundle
	etag      string
	revision  string
	confirmed time.Time // when the server last had it
}

// record is what bundle.json holds.
type record struct {
	SHA256    string    `json:"sha256"`
	ETag      string    `json:"etag,omitempty"`
	Confirmed time.Time `json:"confirmed"`
}

const (
	fileMode = 0o600
	dirMode  = 0o700
	// maxRecord bounds bundle.json.
	maxRecord = 256 << 10
	lockRetry = 5 * time.Millisecond
	// temporary is the pattern of files that are being written.
	temporary = ".new-*"
)

func (k keep) path() string     { return filepath.Join(k.dir, "bundle.tar.gz") }
func (k keep) record() string   { return filepath.Join(k.dir, "bundle.json") }
func (k keep) previous() string { return filepath.Join(k.dir, "previous.tar.gz") }

func (k keep) prepare() error {
	if err := os.MkdirAll(k.dir, dirMode); err != nil {
		return err
	}
	info, err := os.Lstat(k.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: must be a directory that others cannot change; `chmod 700` closes it", k.dir)
	}
	return nil
}

// lock keeps other servers of the same user from changing the files meanwhile.
func (k keep) lock(ctx context.Context) (unlock func(), err error) {
	l := flock.New(filepath.Join(k.dir, "lock"), flock.SetPermissions(fileMode))
	if _, err := l.TryLockContext(ctx, lockRetry); err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
	}
	return func() { _ = l.Close() }, nil // the lock goes with the file, whatever Close says
}

// recover tidies up after a server that died, under the lock. One that was
// taking a bundle into use left the one before, which is known to have been in
// force.
func (k keep) recover() error {
	if err := ignoreMissing(os.Rename(k.previous(), k.path())); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(k.dir, temporary))
	for _, path := range left {
		err = errors.Join(err, ignoreMissing(os.Remove(path)))
	}
	return err
}

// read returns the bundle that is kept, which must still be good.
func (k keep) read(v *bundle.VerificationConfig) (kept, error) {
	data, err := regular.Read(k.path(), regular.RefuseLinks, defaultMaxBytes)
	if err != nil {
		return kept{}, err
	}
	out := kept{data: data, sum: sum(data)}
	if out.revision, err = inspect(data, v); err != nil {
		return kept{}, fmt.Errorf("%s: %w", k.path(), err)
	}
	info, err := os.Stat(k.path())
	if err != nil {
		return kept{}, err
	}
	out.confirmed = info.ModTime()
	// What is known of another bundle, or not at all, is not used: the server is
	// then asked for the whole.
	text, err := regular.Read(k.record(), regular.RefuseLinks, maxRecord)
	var r record
	if err == nil && json.Unmarshal(text, &r) == nil && r.SHA256 == out.sum {
		out.etag, out.confirmed = r.ETag, r.Confirmed
	}
	return out, nil
}

// write writes a bundle beside the one in force.
func (k keep) write(b kept) (path string, err error) {
	path = filepath.Join(k.dir, "candidate.tar.gz")
	return path, writeFile(path, b.data)
}

// replacement is a change of the bundle in force that can still be undone.
type replacement struct {
	keep   keep
	first  bool   // nothing was there before
	record []byte // what was known of it
}

// replace puts a candidate in place of the bundle in force.
func (k keep) replace(candidate string, b kept) (*replacement, error) {
	r := &replacement{keep: k}
	var err error
	if r.record, err = regular.Read(k.record(), regular.RefuseLinks, maxRecord); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	err = os.Link(k.path(), k.previous())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.first = true
	case err != nil:
		return nil, err
	}
	if err := errors.Join(os.Rename(candidate, k.path()), syncDir(k.dir), k.note(b)); err != nil {
		return nil, errors.Join(err, r.undo())
	}
	return r, nil
}

// keepIt makes the change final.
func (r *replacement) keepIt() error {
	if r.first {
		return nil
	}
	return errors.Join(os.Remove(r.keep.previous()), syncDir(r.keep.dir))
}

// undo brings back what was there before.
func (r *replacement) undo() error {
	if r.first {
		return errors.Join(ignoreMissing(os.Remove(r.keep.path())), ignoreMissing(os.Remove(r.keep.record())), syncDir(r.keep.dir))
	}
	err := errors.Join(os.Rename(r.keep.previous(), r.keep.path()), syncDir(r.keep.dir))
	if r.record == nil {
		return errors.Join(err, ignoreMissing(os.Remove(r.keep.record())))
	}
	return errors.Join(err, writeFile(r.keep.record(), r.record))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// note writes what is known of the bundle that is kept.
func (k keep) note(b kept) error {
	text, err := json.Marshal(record{SHA256: b.sum, ETag: b.etag, Confirmed: b.confirmed.UTC()})
	if err != nil {
		return err
	}
	return writeFile(k.record(), text)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// writeFile replaces a file as a whole, durably.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), temporary)
	if err != nil {
		return err
	}
	if err = f.Chmod(fileMode); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // G304: the path is the program's own
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
