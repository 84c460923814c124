package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"opencode/regular"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// Names of the files of a bundle that are no policy.
const (
	manifestFile   = ".manifest"
	signaturesFile = ".signatures.json"
	wasmFile       = "policy.wasm"
)

// bundleSuffix ends the name of a bundle.
const bundleSuffix = ".tar.gz"

// archived is a file of an archive, with a clean relative path.
type archived struct {
	path string
	data []byte
}

// readArchive reads a gzipped tar archive. What could be read in two ways is
// an error: a path that is not its own clean form, one that comes twice,
// whatever is no plain file, and an archive that ends early.
func readArchive(r io.Reader) ([]archived, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("is not a gzipped tar archive: %w", err)
	}
	limited := &io.LimitedReader{R: unzipped, N: maxTotalBytes + 1}
	var files []archived
	seen := map[string]bool{}
	archive := tar.NewReader(limited)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, archiveError(limited, err)
		}
		if header.Typeflag == tar.TypeDir || header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := archivedPath(header)
		switch {
		case err != nil:
			return nil, err
		case seen[name]:
			return nil, fmt.Errorf("%s: is in the archive twice", name)
		case len(files) == maxFiles:
			return nil, fmt.Errorf("holds more than %d files", maxFiles)
		case header.Size > maxFileBytes:
			return nil, fmt.Errorf("%s: is larger than %d bytes", name, maxFileBytes)
		}
		seen[name] = true
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, archiveError(limited, err)
		}
		files = append(files, archived{name, data})
	}
	// The checksum stands at the end.
	if _, err := io.Copy(io.Discard, limited); err != nil || limited.N == 0 {
		return nil, archiveError(limited, err)
	}
	return files, nil
}

// readArchiveBytes reads an archive in memory.
func readArchiveBytes(b []byte) ([]archived, error) { return readArchive(bytes.NewReader(b)) }

// archiveError says whether an archive is damaged or too large.
func archiveError(limited *io.LimitedReader, err error) error {
	if limited.N == 0 {
		return fmt.Errorf("unpacks to more than %d bytes", maxTotalBytes)
	}
	return fmt.Errorf("is damaged or truncated: %w", err)
}

// archivedPath returns the path of a plain file of an archive.
func archivedPath(header *tar.Header) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "/"), "./")
	if header.Typeflag != tar.TypeReg || isSparse(header) {
		return "", fmt.Errorf("%q: is no plain file", header.Name)
	}
	odd := func(r rune) bool { return r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) }
	if !fs.ValidPath(name) || name == "." || strings.ContainsFunc(name, odd) {
		return "", fmt.Errorf("%q: is not a plain path below the root of the archive", header.Name)
	}
	return name, nil
}

// isSparse reports whether an archive says that there is nothing in parts of a
// file: it then has more bytes than were unpacked.
func isSparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// readBundle adds the files of a bundle, which may have been fetched from a
// server. They are held to what the files of a directory are.
func (s *sources) readBundle(name string, o origin, fetched bool) error {
	files, err := openArchive(name)
	if err != nil {
		return fmt.Errorf("policy bundle %s: %w", name, err)
	}
	if err := s.addBundle(name, o, fetched, files); err != nil {
		return fmt.Errorf("policy bundle %s: %w", name, err)
	}
	return s.checkSize()
}

func openArchive(name string) ([]archived, error) {
	f, _, err := regular.Open(name, regular.FollowLinks)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return readArchive(io.LimitReader(f, maxTotalBytes))
}

func (s *sources) addBundle(name string, o origin, fetched bool, files []archived) error {
	if s.verification != nil {
		if err := s.verification.verify(files); err != nil {
			return err
		}
	}
	manifest, err := readManifest(files)
	if err != nil {
		return err
	}
	var added []file
	var wasm []byte
	before := len(s.all())
	for _, a := range files {
		kind, err := bundleKind(a.path)
		if err != nil {
			return fmt.Errorf("%s: %w", a.path, err)
		}
		f := file{origin: o, name: name + "/" + a.path, rel: a.path, dir: name, data: a.data, bundled: true}
		switch kind {
		case bundledPolicy:
			added = append(added, f)
		case bundledExtension:
			if err := s.addBundledExtension(f, fetched); err != nil {
				return fmt.Errorf("%s: %w", a.path, err)
			}
		case bundledWasm:
			wasm = a.data
		case bundledOther:
		}
	}
	if wasm != nil || len(manifest.WasmResolvers) > 0 {
		if added, err = s.addGuest(name, o, wasm, manifest, added); err != nil {
			return err
		}
	}
	s.files = append(s.files, added...)
	if len(s.all()) == before {
		return errors.New("holds no .rego file, no data.json or data.yaml and no policy.wasm")
	}
	return nil
}

// bundled says what a file of a bundle is for.
type bundled uint8

const (
	bundledOther bundled = iota
	bundledPolicy
	bundledWasm
	bundledExtension
)

// bundleKind refuses what another reader would take for policy, or what looks
// like it: passing over it would drop rules that somebody relies on.
func bundleKind(p string) (bundled, error) {
	if p == manifestFile || p == signaturesFile {
		return bundledOther, nil
	}
	if kind, isExtension, err := bundledExtensionKind(p); isExtension || err != nil {
		return kind, err
	}
	base := strings.ToLower(path.Base(p))
	switch {
	case strings.HasSuffix(base, manifestFile), strings.HasSuffix(base, ".manifest.pb"), strings.HasSuffix(base, signaturesFile):
		return 0, fmt.Errorf("a bundle has one %s, as JSON, and one %s, at its root", manifestFile, signaturesFile)
	case base == "patch.json":
		return 0, errors.New("is a change of another bundle; build a whole one")
	case base == "plan.json", base == "plan.pb":
		return 0, errors.New("is a plan, which nothing here runs; build the bundle for the target rego or wasm")
	case strings.HasSuffix(base, ".wasm") && p != wasmFile:
		return 0, fmt.Errorf("a bundle has one module, %s at its root, and extensions as ext/NAME/NAME.wasm", wasmFile)
	case p == wasmFile:
		return bundledWasm, nil
	case strings.HasSuffix(base, bundleSuffix), strings.HasSuffix(base, ".tgz"):
		return 0, errors.New("a bundle in a bundle is not read; name each of them")
	}
	policy := strings.HasSuffix(base, ".rego") || base == "data.json" || base == "data.yaml" || base == "data.yml"
	switch {
	case !policy:
		return bundledOther, nil
	case !(*sources).wanted(nil, p), strings.HasPrefix(p, "."), strings.Contains(p, "/."):
		return 0, errors.New("would not be read; name it in lower case as *.rego, data.json or data.yaml, in no hidden directory")
	}
	return bundledPolicy, nil
}

// readManifest returns the manifest of a bundle, an empty one if it has none.
func readManifest(files []archived) (bundle.Manifest, error) {
	var m bundle.Manifest
	i := slices.IndexFunc(files, func(a archived) bool { return a.path == manifestFile })
	if i < 0 {
		return m, nil
	}
	if err := json.Unmarshal(files[i].data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestFile, err)
	}
	old := m.RegoVersion != nil && *m.RegoVersion != ast.RegoV1.Int()
	for _, v := range m.FileRegoVersions {
		old = old || v != ast.RegoV1.Int()
	}
	if old {
		return m, fmt.Errorf("%s: is written in version 0 of Rego; `opa fmt --write --rego-v1` turns it into version 1", manifestFile)
	}
	return m, nil
}

// isBundle reports whether a name is that of a bundle.
func isBundle(name string) bool { return strings.HasSuffix(strings.ToLower(name), bundleSuffix) }
