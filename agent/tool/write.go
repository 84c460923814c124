package tool

import (
	"errors"
	"fmt"
	"io/fs"
)

// PlanWrite plans that a file holds a content, whatever it holds now. A file
// that is not there is made, with the directories above it.
func (t *Tree) PlanWrite(name string, content []byte) (Change, error) {
	if len(content) > MaxFileBytes {
		return Change{}, fmt.Errorf("%q: %w: %d bytes, at most %d are written", name, ErrTooLarge, len(content), MaxFileBytes)
	}
	l, err := t.load(name, MaxFileBytes)
	switch {
	case isMissing(err):
		return Change{Kind: ChangeCreate, Path: name, After: content}, nil
	case err != nil:
		return Change{}, err
	}
	return Change{
		Kind: ChangeReplace, Path: name, Before: l.data, After: content,
		stamp: l.stamp, mode: l.mode, identified: l.data == nil,
	}, nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
