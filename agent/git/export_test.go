package git

import (
	"context"
	"path/filepath"
)

// StoreOf returns where the snapshots of a root are kept.
func (g *Git) StoreOf(root string) (string, error) {
	path, err := realDir(root)
	return filepath.Join(g.cfg.Dir, key(path)), err
}

// Files lists a snapshot.
func (g *Git) Files(ctx context.Context, root, tree string) ([]string, error) {
	p, release, err := g.open(ctx, root)
	if err != nil {
		return nil, err
	}
	defer release()
	top, err := p.store.top(tree)
	if err != nil {
		return nil, err
	}
	var out []string
	var walk func(dir string, i id) error
	walk = func(dir string, i id) error {
		entries, err := p.store.tree(i)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.isDir() {
				out = append(out, dir+e.name)
			} else if err := walk(dir+e.name+"/", e.id); err != nil {
				return err
			}
		}
		return nil
	}
	err = walk("", top)
	return out, err
}
