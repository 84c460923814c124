package extension

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ManifestFile is the name of the manifest in the folder of an extension. The
// module lies beside it, with the extension's name and .wasm after it.
const ManifestFile = "manifest.json"

// ReadDir reads an extension from its folder, whose name is that of the
// extension. Without a module the error is [os.ErrNotExist].
func ReadDir(dir string) (Manifest, []byte, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Manifest{}, nil, err
	}
	text, err := readFile(filepath.Join(dir, ManifestFile), MaxManifestBytes)
	if err != nil {
		return Manifest{}, nil, err
	}
	m, err := ParseManifest(text)
	if err != nil {
		return m, nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	if name := filepath.Base(abs); m.Name != name {
		return m, nil, fmt.Errorf("%s: names the module %q, but lies in the folder of %q", filepath.Join(dir, ManifestFile), m.Name, name)
	}
	module, err := readFile(filepath.Join(dir, m.Name+".wasm"), MaxModuleBytes)
	return m, module, err
}

func readFile(name string, most int64) ([]byte, error) {
	// Opening a pipe waits for its other end, so what it is comes first.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	f, err := os.Open(name) //nolint:gosec // the user names the folder
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: has more than %d bytes", name, most)
	}
	return b, errors.Join(err, f.Close())
}
