package tool

// PlanDelete plans that a file is removed. Directories are not: what is in them
// would go with them without being named.
func (t *Tree) PlanDelete(name string) (Change, error) {
	l, err := t.load(name, MaxFileBytes)
	if err != nil {
		return Change{}, err
	}
	return Change{Kind: ChangeDelete, Path: name, Before: l.data, stamp: l.stamp, mode: l.mode, identified: l.data == nil}, nil
}
