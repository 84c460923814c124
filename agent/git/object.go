package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Object ids of snapshots are SHA-256: with SHA-1 an attacker could make two
// files of one id and have one restored as the other.
const (
	idBytes = sha256.Size
	// maxObject bounds an object that is read back.
	maxObject = 256 << 20
)

// Modes of tree entries, as git has them. Git itself keeps only the execute bit
// of a file; a snapshot keeps all nine permission bits, so that restoring a
// private file does not publish it.
const (
	modeDir     = 0o040000
	modeFile    = 0o100000
	modeLink    = 0o120000
	modeLeftOut = 0o160000 // a commit to git, which needs no object; here what could not be kept
	modeType    = 0o170000
)

// id is a raw object id.
type id [idBytes]byte

func (i id) String() string { return hex.EncodeToString(i[:]) }

func parseID(text string) (id, error) {
	var i id
	if len(text) != hex.EncodedLen(idBytes) || strings.ToLower(text) != text {
		return i, fmt.Errorf("snapshot %q: %w", text, ErrInvalid)
	}
	if _, err := hex.Decode(i[:], []byte(text)); err != nil {
		return i, fmt.Errorf("snapshot %q: %w", text, ErrInvalid)
	}
	return i, nil
}

// treeEntry is an entry of a tree object.
type treeEntry struct {
	mode uint32
	name string
	id   id
}

func (e treeEntry) isDir() bool { return e.mode&modeType == modeDir }

// sortName is the name as git sorts it: a directory as if it ended in a slash.
func (e treeEntry) sortName() string {
	if e.isDir() {
		return e.name + "/"
	}
	return e.name
}

func encodeTree(entries []treeEntry) []byte {
	slices.SortFunc(entries, func(a, b treeEntry) int { return strings.Compare(a.sortName(), b.sortName()) })
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(strconv.FormatUint(uint64(e.mode), 8))
		b.WriteByte(' ')
		b.WriteString(e.name)
		b.WriteByte(0)
		b.Write(e.id[:])
	}
	return b.Bytes()
}

func decodeTree(data []byte) ([]treeEntry, error) {
	var out []treeEntry
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, ok2 := strings.Cut(string(head), " ")
		if !ok || !ok2 || len(rest) < idBytes || name == "" || strings.Contains(name, "/") {
			return nil, errors.New("malformed tree")
		}
		m, err := strconv.ParseUint(mode, 8, 32)
		if err != nil {
			return nil, fmt.Errorf("malformed tree: %w", err)
		}
		e := treeEntry{mode: uint32(m), name: name}
		copy(e.id[:], rest)
		out = append(out, e)
		data = rest[idBytes:]
	}
	return out, nil
}

// store is a snapshot repository. Its owner holds the lock.
type store struct {
	dir string
	zw  *zlib.Writer
}

// snapshotConfig makes the directory a repository that git can read.
const snapshotConfig = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n\thooksPath = /dev/null\n[extensions]\n\tobjectFormat = sha256\n"

func openStore(dir string) (*store, error) {
	s := &store{dir: dir}
	if _, err := os.Stat(s.path("HEAD")); err == nil {
		return s, nil
	}
	if err := initRepository(dir, snapshotConfig); err != nil {
		return nil, err
	}
	return s, nil
}

// initRepository makes an empty bare repository. HEAD comes last: it says that
// all is there.
func initRepository(dir, config string) error {
	for _, d := range []string{"objects", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, d), dirMode); err != nil {
			return err
		}
	}
	for _, f := range [][2]string{{"config", config}, {"HEAD", "ref: refs/heads/none\n"}} {
		if err := replaceFile(filepath.Join(dir, f[0]), []byte(f[1])); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

func (s *store) objectPath(i id) string {
	text := i.String()
	return s.path("objects", text[:2], text[2:])
}

func objectID(kind string, data []byte) id {
	h := sha256.New()
	// A hash never returns an error.
	_, _ = fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	_, _ = h.Write(data)
	return id(h.Sum(nil))
}

// put keeps an object and returns its id.
func (s *store) put(kind string, data []byte) (id, error) {
	i := objectID(kind, data)
	path := s.objectPath(i)
	// An empty file is what a power failure leaves.
	if info, err := os.Lstat(path); err == nil && info.Size() > 0 {
		return i, nil
	}
	var b bytes.Buffer
	if s.zw == nil {
		zw, err := zlib.NewWriterLevel(&b, zlib.BestSpeed)
		if err != nil {
			return i, err
		}
		s.zw = zw
	} else {
		s.zw.Reset(&b)
	}
	if _, err := fmt.Fprintf(s.zw, "%s %d\x00", kind, len(data)); err != nil {
		return i, err
	}
	if _, err := s.zw.Write(data); err != nil {
		return i, err
	}
	if err := s.zw.Close(); err != nil {
		return i, err
	}
	err := writeTemp(path, b.Bytes(), false)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), dirMode); err == nil {
			err = writeTemp(path, b.Bytes(), false)
		}
	}
	return i, err
}

// top returns a tree that a caller names.
func (s *store) top(text string) (id, error) {
	i, err := parseID(text)
	if err != nil {
		return i, err
	}
	if _, err := os.Lstat(s.objectPath(i)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return i, fmt.Errorf("snapshot %s: %w", text, ErrNotExist)
		}
		return i, err
	}
	return i, nil
}

// get returns the content of an object, checked against its id.
func (s *store) get(kind string, i id) ([]byte, error) {
	data, err := s.read(kind, i)
	if errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist) {
		// The index takes the object for kept. Without this, no later snapshot
		// would have it either.
		err = errors.Join(err, s.doubt(i))
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot object %s: %w", i, err)
	}
	return data, nil
}

var errDamaged = errors.New("is damaged")

func (s *store) read(kind string, i id) ([]byte, error) {
	f, err := os.Open(s.objectPath(i))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	data, err := inflate(f, kind)
	if err != nil {
		return nil, err
	}
	if objectID(kind, data) != i {
		return nil, errDamaged
	}
	return data, nil
}

// doubt removes a damaged object and makes the next snapshot read all files.
func (s *store) doubt(i id) error {
	if err := os.Remove(s.objectPath(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	x, err := s.loadIndex(snapshotIndex)
	if err != nil {
		return err
	}
	for path, k := range x {
		k.racy = true
		x[path] = k
	}
	return s.saveIndex(snapshotIndex, x)
}

func inflate(r io.Reader, kind string) ([]byte, error) {
	zr, err := zlib.NewReader(r)
	if err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	br := bufio.NewReader(zr)
	head, err := br.ReadSlice(0)
	if err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	name, size, _ := strings.Cut(string(head[:len(head)-1]), " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 || n > maxObject {
		return nil, errDamaged
	}
	if name != kind {
		return nil, fmt.Errorf("is a %s, want a %s: %w", name, kind, ErrNotExist)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(br, data); err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	return data, nil
}

func (s *store) tree(i id) ([]treeEntry, error) {
	data, err := s.get("tree", i)
	if err != nil {
		return nil, err
	}
	return decodeTree(data)
}

// replaceFile writes a file of ours so that a reader sees the old or the new
// content, also after a power failure.
func replaceFile(path string, data []byte) error { return writeTemp(path, data, true) }

// tempPrefix begins the names of files that are being written.
const tempPrefix = "tmp_"

func writeTemp(path string, data []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
