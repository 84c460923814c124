package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"opencode/extension"
)

// Limits of what a policy directory may hold, so that a mistaken directory is
// an error and not a machine without memory.
const (
	maxFileBytes  = 16 << 20
	maxTotalBytes = 128 << 20
	maxFiles      = 10_000
)

// origin says where a file comes from and hence what it may define.
type origin uint8

const (
	originTeam    origin = iota // may add packages team.* and override config
	originDefault               // the default policy, or what replaces it
)

// file is one file of a policy, read whole.
type file struct {
	origin origin
	// name is how people see the file: for the default policy its path in
	// there, otherwise the path as it was given.
	name string
	// rel is the path below its directory, with slashes.
	rel  string
	dir  string
	data []byte
	// bundled says that dir is a bundle, and generated that the file is not in
	// it: it stands for what a Wasm module answers.
	bundled, generated bool
}

func (f file) isRego() bool { return strings.HasSuffix(f.rel, ".rego") }

func (f file) isTest() bool {
	return strings.HasSuffix(f.rel, "_test.rego") || strings.HasPrefix(f.rel, "opencode/testing/") && f.origin == originDefault
}

// sources are all the files of a policy, and the schemas to check them by.
type sources struct {
	files   []file
	guests  []guestSource
	schemas fs.FS
	only    bool
	// serves says that the policy is to decide and nothing else.
	serves bool
	// checked says that the default passed every check.
	checked bool
	// verification is nil unless every team's policy must be signed.
	verification *Verification
	// extensions are the modules that the policy can call, by name.
	extensions map[string]*extensionSource
	// extend says how they are run.
	extend extension.Config
}

// serving leaves out what only tests need.
func serving(f file) bool { return !f.isTest() }

// everything keeps all files.
func everything(file) bool { return true }

// sources reads those files of the policy from disk that are to be kept.
func (c Config) sources(keep func(file) bool) (*sources, error) {
	s := &sources{schemas: c.Default, only: c.Only != "", checked: c.Checked, verification: c.Verification, extend: c.extend()}
	var errs []error
	if c.Only == "" {
		errs = append(errs, s.read(c.Default, "opencode", "", originDefault))
	} else {
		errs = append(errs, s.readDir(c.Only, originDefault))
	}
	for _, dir := range c.Dirs {
		errs = append(errs, s.readDir(dir, originTeam))
	}
	for _, name := range c.Fetched {
		errs = append(errs, s.readBundle(name, originTeam, true))
	}
	for _, f := range s.files {
		errs = append(errs, f.checkTest())
	}
	errs = append(errs, s.parseExtensions())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.files = slices.DeleteFunc(s.files, func(f file) bool { return !keep(f) })
	return s, nil
}

func (s *sources) readDir(dir string, o origin) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("policy directory: %w", err)
	}
	switch {
	case !info.IsDir() && isBundle(dir):
		return s.readBundle(dir, o, false)
	case !info.IsDir():
		return fmt.Errorf("policy directory %s: is not a directory, nor a bundle *%s", dir, bundleSuffix)
	case s.verification != nil:
		return fmt.Errorf("policy directory %s: is not signed, and there is a key to verify by; `opencode policy build %s -o bundle%s --signing-key FILE` makes a signed bundle of it",
			dir, dir, bundleSuffix)
	}
	before := len(s.all())
	if err := s.read(os.DirFS(dir), ".", dir, o); err != nil {
		return err
	}
	if len(s.all()) == before {
		return fmt.Errorf("policy directory %s: holds no .rego file, no data.json or data.yaml and no bundle *%s", dir, bundleSuffix)
	}
	return nil
}

// read adds the policy files below root in fsys. Hidden files and directories
// are passed over, as other tools that read Rego do.
func (s *sources) read(fsys fs.FS, root, dir string, o origin) error {
	return fs.WalkDir(fsys, root, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("policy %s: %w", filepath.Join(dir, p), err)
		}
		if name := entry.Name(); p != root && strings.HasPrefix(name, ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.IsDir() && dir != "" && isBundle(p) {
			return s.readBundle(filepath.Join(dir, filepath.FromSlash(p)), o, false)
		}
		module, isExtension := extensionFile(p)
		if err := misplaced(p, filepath.Join(dir, filepath.FromSlash(p))); err != nil && !isExtension {
			return err
		}
		if entry.IsDir() || !s.wanted(p) && !isExtension {
			return s.refuse(fsys, dir, p, entry)
		}
		f := file{origin: o, name: filepath.Join(dir, filepath.FromSlash(p)), rel: p, dir: dir}
		f.data, err = readFile(fsys, p)
		if err != nil {
			return fmt.Errorf("policy %s: %w", f.name, err)
		}
		if isExtension {
			s.addExtension(module, f)
			return s.checkSize()
		}
		s.files = append(s.files, f)
		return s.checkSize()
	})
}

func (s *sources) checkSize() error {
	total := 0
	all := s.all()
	for _, f := range all {
		total += len(f.data)
	}
	if total > maxTotalBytes || len(all) > maxFiles {
		return fmt.Errorf("policy: more than %d files or %d bytes; name a directory that holds policy alone", maxFiles, maxTotalBytes)
	}
	return nil
}

func (*sources) wanted(p string) bool {
	base := path.Base(p)
	return strings.HasSuffix(base, ".rego") || base == "data.json" || base == "data.yaml"
}

// refuse names what looks like policy and would not be read: passing over it
// in silence would drop rules that somebody relies on.
func (*sources) refuse(fsys fs.FS, dir, p string, entry fs.DirEntry) error {
	if entry.IsDir() {
		return nil
	}
	name := filepath.Join(dir, filepath.FromSlash(p))
	if entry.Type()&fs.ModeSymlink != 0 {
		if info, err := fs.Stat(fsys, p); err == nil && info.IsDir() {
			return fmt.Errorf("policy %s: is a link to a directory, which would not be read; name that directory itself", name)
		}
	}
	switch base := strings.ToLower(path.Base(p)); {
	case strings.HasSuffix(base, ".wasm"):
		return fmt.Errorf("policy %s: a Wasm module needs the manifest of its bundle; put the bundle here, *%s", name, bundleSuffix)
	case strings.HasSuffix(base, ".tgz"):
		return fmt.Errorf("policy %s: would not be read; name a bundle *%s", name, bundleSuffix)
	case base == "data.yml", strings.HasSuffix(base, ".rego"), base == "data.json", base == "data.yaml":
		return fmt.Errorf("policy %s: would not be read; name it in lower case as *.rego, data.json or data.yaml", name)
	}
	return nil
}

func readFile(fsys fs.FS, p string) ([]byte, error) {
	// Opening a pipe waits for its other end, so what it is comes first.
	info, err := fs.Stat(fsys, p)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := fsys.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	b.Grow(int(min(max(info.Size(), 0), maxFileBytes)) + bytes.MinRead)
	_, err = b.ReadFrom(io.LimitReader(f, maxFileBytes+1))
	if err == nil && b.Len() > maxFileBytes {
		err = fmt.Errorf("is larger than %d bytes", maxFileBytes)
	}
	return b.Bytes(), err
}

// digest returns the SHA-256 of all files, in hexadecimal. It depends on the
// contents and on the paths below each directory, not on where it lies.
func (s *sources) digest() string {
	all := s.all()
	lines := make([]string, 0, len(all))
	for _, f := range all {
		sum := sha256.Sum256(f.data)
		lines = append(lines, strconv.Itoa(int(f.origin))+" "+strconv.Quote(f.rel)+" "+hex.EncodeToString(sum[:])+"\n")
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return hex.EncodeToString(h.Sum(nil))
}
