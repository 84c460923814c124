package git

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseListing(f *testing.F) {
	sha1 := strings.Repeat("1", 40)
	f.Add([]byte("100644 blob " + sha1 + "\ta\x00120000 blob " + sha1 + "\tb\nc\td\x00"))
	f.Add([]byte("160000 commit " + strings.Repeat("2", 64) + "\t-x\x00"))
	f.Add([]byte("100644 blob " + sha1 + "\ta"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseListing(data)
		if err != nil {
			return
		}
		// What is accepted is made of whole records, of which the last of a path counts.
		if len(data) > 0 && data[len(data)-1] != 0 {
			t.Errorf("parseListing(%q) accepts a torn record", data)
		}
		for path, l := range got {
			if path == "" || strings.ContainsRune(path, 0) || !isHexID(l.id) {
				t.Errorf("parseListing(%q) has %q: %+v", data, path, l)
			}
			if !bytes.Contains(data, []byte(l.id+"\t"+path+"\x00")) {
				t.Errorf("parseListing(%q) has made up %q", data, path)
			}
		}
		if len(got) > bytes.Count(data, []byte{0}) {
			t.Errorf("parseListing(%q) has %d files", data, len(got))
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	x := index{
		"a":   {mode: modeFile | 0o644, id: id{1}, stamp: stamp{1, 2, 3, 4, 5, 6}, racy: true},
		"/":   {mode: modeDir, id: id{2}},
		"b\n": {mode: modeLeftOut, stamp: stamp{size: -1, mtime: -2}},
	}
	if got, err := decodeIndex(x.encode()); err != nil || !cmp.Equal(got, x, cmp.AllowUnexported(known{}, stamp{})) {
		f.Fatalf("decodeIndex(encode(%v)) = %v, %v", x, got, err)
	}
	f.Add([]byte("\x01\x01a"))
	f.Add(x.encode()[len(indexMagic):])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(indexMagic), body...)
		sum := sha256.Sum256(data)
		x, err := decodeIndex(append(data, sum[:]...))
		if err != nil {
			return
		}
		again, err := decodeIndex(x.encode())
		if err != nil || !cmp.Equal(x, again, cmp.AllowUnexported(known{}, stamp{})) {
			t.Errorf("decodeIndex is not the inverse of encode: %v, %v, %v", x, again, err)
		}
		// A flipped bit is found.
		if damaged := x.encode(); len(damaged) > 0 {
			damaged[len(damaged)/2] ^= 1
			if _, err := decodeIndex(damaged); err == nil {
				t.Error("a damaged index is accepted")
			}
		}
	})
}

func FuzzDecodeTree(f *testing.F) {
	f.Add(encodeTree([]treeEntry{{mode: modeDir, name: "a"}, {mode: modeFile | 0o644, name: "a.b", id: id{1}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decodeTree(data)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
				t.Errorf("decodeTree(%q) has the name %q", data, e.name)
			}
		}
	})
}

// A file that changed a moment ago is read again, since it could change once
// more without a sign.
func TestRacy(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 500_000_000)
	for name, tt := range map[string]struct {
		stamp stamp
		want  bool
	}{
		"long ago":         {stamp{ino: 1, ctime: now.Add(-time.Hour).UnixNano()}, false},
		"just now":         {stamp{ino: 1, ctime: now.Add(-time.Millisecond).UnixNano()}, true},
		"in the future":    {stamp{ino: 1, ctime: now.Add(time.Hour).UnixNano()}, true},
		"a second ago":     {stamp{ino: 1, ctime: now.Add(-time.Second).UnixNano()}, false},
		"of whole seconds": {stamp{ino: 1, ctime: time.Unix(999, 0).UnixNano()}, true},
		"without an inode": {stamp{ctime: 1}, true},
	} {
		if got := tt.stamp.isRacy(now); got != tt.want {
			t.Errorf("%s: isRacy = %v, want %v", name, got, tt.want)
		}
	}
}

func TestGitNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		".git": true, ".GIT": true, ".gIt": true, "git~1": true, "GIT~1": true, ".git.": true, ".git ": true, ".git . .": true,
		".g\u200cit": true, "\ufeff.git": true, ".git::$INDEX_ALLOCATION": true, ".git" + strings.Repeat("\u200d", 100): true,
		".gitignore": false, "git": false, "x.git": false, "git~2": false, "": false, ".": false,
	} {
		if got := isGitAnywhere(name); got != want {
			t.Errorf("isGitAnywhere(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestGatesAreDropped(t *testing.T) {
	t.Parallel()
	g, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Track(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if len(g.gates) != 0 {
		t.Errorf("%d gates are left", len(g.gates))
	}
}

// A name that comes to mean something else between looking and opening is not
// opened, also if it stays in the project, where [os.Root] follows links.
func TestOpenOnlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() //nolint:errcheck // It was only read.
	for _, name := range []string{"dir", "other"} {
		if err := root.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(name+".txt", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := root.Lstat("dir")
	if err != nil {
		t.Fatal(err)
	}
	file, err := root.Lstat("dir.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := openDir(root, "dir", dir); err != nil {
		t.Errorf("openDir = %v", err)
	} else if err := d.Close(); err != nil {
		t.Error(err)
	}
	if f, _, err := openFile(root, "dir.txt", file); err != nil {
		t.Errorf("openFile = %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"dir", "dir.txt"} {
		if err := root.Rename(name, "old-"+name); err != nil {
			t.Fatal(err)
		}
		if err := root.Symlink("other"+strings.TrimPrefix(name, "dir"), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openDir(root, "dir", dir); !errors.Is(err, errChanged) {
		t.Errorf("openDir of a link = %v, want %v", err, errChanged)
	}
	if _, _, err := openFile(root, "dir.txt", file); !errors.Is(err, errChanged) {
		t.Errorf("openFile of a link = %v, want %v", err, errChanged)
	}
}
