package git

import "path/filepath"

// StoreOf returns where the snapshots of a root are kept.
func (g *Git) StoreOf(root string) (string, error) {
	path, err := realDir(root)
	return filepath.Join(g.cfg.Dir, key(path)), err
}
