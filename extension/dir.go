package extension

import (
	"fmt"
	"path/filepath"

	"opencode/regular"
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
	text, err := regular.Read(filepath.Join(dir, ManifestFile), regular.FollowLinks, MaxManifestBytes)
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
	module, err := regular.Read(filepath.Join(dir, m.Name+".wasm"), regular.FollowLinks, MaxModuleBytes)
	return m, module, err
}
