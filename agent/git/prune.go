package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Prune removes what only snapshots taken longer ago than olderThan need. The
// last snapshot of a root is kept, unless it is as old; then all that is kept
// of the root goes. What is left when the time is up is done by the next call.
// It never removes what a concurrent Track of this or another process needs.
func (g *Git) Prune(ctx context.Context, olderThan time.Duration) error {
	if olderThan < 0 {
		return fmt.Errorf("prune: %w: olderThan is negative", ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	entries, err := os.ReadDir(g.cfg.Dir)
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	before := time.Now().Add(-olderThan)
	var errs []error
	for _, e := range entries {
		if _, err := parseID(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		if err := g.pruneOne(ctx, e.Name(), before); err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", e.Name(), err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (g *Git) pruneOne(ctx context.Context, key string, before time.Time) error {
	unlock, err := g.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	s := &store{dir: filepath.Join(g.cfg.Dir, key)}
	var keep []id
	var lines bytes.Buffer
	data, err := os.ReadFile(s.path(treesFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(data)) {
		at, tree, err := parseNote(strings.TrimSuffix(line, "\n"))
		if err != nil || at.Before(before) {
			continue // A torn line names nothing.
		}
		keep = append(keep, tree)
		lines.WriteString(line)
	}
	if len(keep) == 0 {
		// A Track that was cancelled, or a Status, notes nothing but has used it.
		for _, name := range []string{snapshotIndex, statusIndex} {
			if info, err := os.Stat(s.path(name)); err == nil && !info.ModTime().Before(before) {
				return nil
			}
		}
		// HEAD goes first: what is left without it is made anew.
		if err := os.Remove(s.path("HEAD")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Remove(s.path(snapshotIndex)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.RemoveAll(s.dir)
	}
	live := map[id]bool{}
	for _, tree := range keep {
		if err := s.mark(ctx, tree, live); err != nil {
			return err
		}
	}
	x, err := s.loadIndex(snapshotIndex)
	if err != nil {
		return err
	}
	for _, k := range x {
		live[k.id] = true
	}
	if err := replaceFile(s.path(treesFile), lines.Bytes()); err != nil {
		return err
	}
	return s.sweep(ctx, live)
}

// mark notes all objects of a tree.
func (s *store) mark(ctx context.Context, tree id, live map[id]bool) error {
	if live[tree] {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	live[tree] = true
	entries, err := s.tree(tree)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
		return nil // Lost in a power failure; the rest can still be kept.
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.isDir() {
			live[e.id] = true
			continue
		}
		if err := s.mark(ctx, e.id, live); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes all objects that are not live, and files that were never
// finished.
func (s *store) sweep(ctx context.Context, live map[id]bool) error {
	dirs, err := os.ReadDir(s.path("objects"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		files, err := os.ReadDir(s.path("objects", d.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			i, err := parseID(d.Name() + f.Name())
			isObject := err == nil
			if isObject && live[i] || !isObject && !strings.HasPrefix(f.Name(), tempPrefix) {
				continue
			}
			if err := os.Remove(s.path("objects", d.Name(), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
