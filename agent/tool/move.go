package tool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// PlanMove plans that a file gets another name, where nothing is yet; the
// directories above it are made. Directories are not moved: what is in them
// would get names that nobody has decided about.
func (t *Tree) PlanMove(from, to string) (Change, error) {
	l, err := t.load(from, 0)
	if err != nil {
		return Change{}, err
	}
	if err := t.missing(to); err != nil {
		return Change{}, fmt.Errorf("%q: %w", to, err)
	}
	return Change{Kind: ChangeMove, Path: from, To: to, stamp: l.stamp, mode: l.mode, identified: true}, nil
}

// missing returns nil if there is nothing of that name.
func (t *Tree) missing(name string) error {
	if err := t.checkName(name); err != nil {
		return err
	}
	h, err := t.directory(path.Dir(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	defer h.release()
	return h.absent(path.Base(name))
}
