package git

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"time"
)

// stamp is what tells whether a file may have changed since it was read.
type stamp struct {
	size, mtime, ctime int64
	ino, dev           uint64
	mode               uint32
}

// known is what the index knows of a file: what was in it when its stamp was
// taken.
type known struct {
	mode  uint32 // as in a tree
	id    id     // of the content; a tree for a directory
	stamp stamp
	// racy means that the file was read so soon after it changed that a second
	// change could bear the same times. Its content is read again.
	racy bool
}

// index maps paths to what is known of them. It saves reading files that did
// not change, and it tells which files are in the snapshots.
type index map[string]known

const (
	indexMagic = "opencode index 1\n"
	// racyMargin is longer than a tick of the clocks that stamp files;
	// coarseMargin is for file systems that keep whole seconds, or two.
	racyMargin   = 50 * time.Millisecond
	coarseMargin = 2 * time.Second
)

// isRacy reports whether a file that was read at now could change without a
// change of its times.
func (s stamp) isRacy(now time.Time) bool {
	if s.ino == 0 {
		return true // The system does not tell enough.
	}
	margin := racyMargin
	if s.ctime%int64(time.Second) == 0 {
		margin = coarseMargin
	}
	return s.ctime > now.Add(-margin).UnixNano()
}

func (x index) encode() []byte {
	b := []byte(indexMagic)
	b = binary.AppendUvarint(b, uint64(len(x)))
	for path, k := range x {
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
		b = append(b, k.id[:]...)
		b = binary.AppendUvarint(b, uint64(k.mode))
		b = binary.AppendVarint(b, k.stamp.size)
		b = binary.AppendVarint(b, k.stamp.mtime)
		b = binary.AppendVarint(b, k.stamp.ctime)
		b = binary.AppendUvarint(b, k.stamp.ino)
		b = binary.AppendUvarint(b, k.stamp.dev)
		b = binary.AppendUvarint(b, uint64(k.stamp.mode))
		racy := byte(0)
		if k.racy {
			racy = 1
		}
		b = append(b, racy)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errIndex = errors.New("the index is damaged")

func decodeIndex(data []byte) (index, error) {
	if len(data) < len(indexMagic)+sha256.Size || string(data[:len(indexMagic)]) != indexMagic {
		return nil, errIndex
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, errIndex
	}
	d := decoder{data: body[len(indexMagic):]}
	n := d.uvarint()
	x := make(index, min(n, uint64(len(data)/idBytes)))
	for ; n > 0 && !d.bad; n-- {
		var k known
		path := string(d.bytes(d.uvarint()))
		copy(k.id[:], d.bytes(idBytes))
		k.mode = uint32(d.uvarint()) //nolint:gosec // G115: it was a uint32 when it was written.
		k.stamp.size, k.stamp.mtime, k.stamp.ctime = d.varint(), d.varint(), d.varint()
		k.stamp.ino, k.stamp.dev = d.uvarint(), d.uvarint()
		k.stamp.mode = uint32(d.uvarint()) //nolint:gosec // G115: it was a uint32 when it was written.
		if racy := d.bytes(1); len(racy) == 1 {
			k.racy = racy[0] != 0
		}
		x[path] = k
	}
	if d.bad || len(d.data) > 0 {
		return nil, errIndex
	}
	return x, nil
}

// decoder takes values off the front of data.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

// loadIndex reads an index. One that is missing is empty.
func (s *store) loadIndex(name string) (index, error) {
	data, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return index{}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeIndex(data)
}

func (s *store) saveIndex(name string, x index) error {
	// It is not synced: an index that is lost or torn costs time, no content.
	return writeTemp(s.path(name), x.encode(), false)
}
