package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opencode/agent/git"
	"opencode/policy"
	"opencode/store"
)

// change is what one call did to files: the state before it, and which files
// it changed, relative to the project.
type change struct {
	before string
	after  string
	files  []string
}

// snapshot keeps the state of a project, or returns "" if that cannot be had:
// then a call runs all the same, and cannot be undone.
func (a *Agent) snapshot(ctx context.Context, root string) string {
	if a.cfg.Snapshots == nil {
		return ""
	}
	a.mu.Lock()
	wait := a.cfg.Now().Before(a.noSnapshot[root])
	a.mu.Unlock()
	if wait {
		return ""
	}
	tree, err := a.cfg.Snapshots.Track(ctx, root)
	if err != nil {
		a.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "no snapshot: what is changed now cannot be undone", slog.String("directory", root), slog.Any("error", err))
		if ctx.Err() == nil {
			a.mu.Lock()
			a.noSnapshot[root] = a.cfg.Now().Add(snapshotPause)
			a.mu.Unlock()
		}
		return ""
	}
	return tree
}

// snapshotPause is how long a project is left alone whose state could not be
// kept: one that is too large would otherwise hold up each command.
const snapshotPause = 10 * time.Minute

// changed returns what differs from an earlier state, nil if nothing does or
// if it is not known.
func (a *Agent) changed(ctx context.Context, root, before string) *change {
	if before == "" {
		return nil
	}
	after := a.snapshot(ctx, root)
	if after == "" || after == before {
		return nil
	}
	diffs, err := a.cfg.Snapshots.Diff(ctx, root, before, after)
	if err != nil {
		a.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "changes are not known and cannot be undone", slog.String("directory", root), slog.Any("error", err))
		return nil
	}
	c := &change{before: before, after: after}
	for _, d := range diffs {
		c.files = append(c.files, d.File)
	}
	if len(c.files) == 0 {
		return nil
	}
	return c
}

// patches returns the changes that messages made, oldest first, with those of
// the first message only from a part on if one is given.
func patches(messages []store.MessageParts, root, fromPart string) ([]change, error) {
	var list []change
	for i, m := range messages {
		for _, p := range m.Parts {
			if p.Type != "patch" || i == 0 && p.ID < fromPart {
				continue
			}
			var part patchPart
			if err := json.Unmarshal(p.Body, &part); err != nil {
				return nil, fmt.Errorf("part %q: %w: %w", p.ID, store.ErrCorrupt, err)
			}
			c := change{before: part.Hash}
			for _, file := range part.Files {
				rel, err := filepath.Rel(root, file)
				if err != nil || !filepath.IsLocal(rel) {
					return nil, fmt.Errorf("part %q: %w: the file %q is outside the project", p.ID, store.ErrCorrupt, file)
				}
				c.files = append(c.files, filepath.ToSlash(rel))
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// origins returns for each file the state before the first of the changes that
// touched it.
func origins(list []change) map[string]string {
	from := map[string]string{}
	for _, c := range list {
		for _, file := range c.files {
			if _, ok := from[file]; !ok {
				from[file] = c.before
			}
		}
	}
	return from
}

// Revert undoes a message of a session and all after it: the files that they
// changed become what they were. The messages stay until the session goes on,
// so that [Agent.Unrevert] can take it back. It goes through the gate as a
// change of these files.
func (a *Agent) Revert(ctx context.Context, p policy.Principal, sessionID, messageID, partID string) (store.Session, error) {
	s, root, end, err := a.beginRevert(&ctx, sessionID)
	if err != nil {
		return store.Session{}, err
	}
	defer end()
	undone, err := a.undone(ctx, s, root, messageID, partID)
	if err != nil {
		return store.Session{}, err
	}
	from := origins(undone)
	var before Reverted
	already := map[string]string{}
	if len(s.Revert) > 0 {
		if before, already, err = a.reverted(ctx, s, root); err != nil {
			return store.Session{}, err
		}
	}
	files := slices.Sorted(maps.Keys(from))
	touched := maps.Clone(from)
	maps.Copy(touched, already)
	if err := a.passRevert(ctx, p, s, root, messageID, slices.Sorted(maps.Keys(touched))); err != nil {
		return store.Session{}, err
	}
	next := Reverted{MessageID: messageID, PartID: partID, Snapshot: before.Snapshot}
	if len(touched) > 0 {
		if next.Snapshot, err = a.restore(ctx, root, before.Snapshot, from, already); err != nil {
			return store.Session{}, err
		}
		now, err := a.cfg.Snapshots.Track(ctx, root)
		if err != nil {
			return store.Session{}, fmt.Errorf("%w: %w", ErrNoUndo, err)
		}
		diffs, err := a.diffOf(ctx, root, next.Snapshot, now, files)
		if err != nil {
			return store.Session{}, err
		}
		next.Diff = patchText(diffs)
	}
	return a.setRevert(ctx, s, &next)
}

// restore undoes changes, after it has taken back what is undone already, and
// returns the state before any of it was.
func (a *Agent) restore(ctx context.Context, root, snapshot string, from, already map[string]string) (string, error) {
	if a.cfg.Snapshots == nil {
		return "", fmt.Errorf("%w: this server keeps no snapshots", ErrNoUndo)
	}
	// Half of it would be worse than all or nothing.
	ctx = context.WithoutCancel(ctx)
	if snapshot == "" {
		var err error
		if snapshot, err = a.cfg.Snapshots.Track(ctx, root); err != nil {
			return "", fmt.Errorf("%w: %w", ErrNoUndo, err)
		}
	}
	byTree := map[string][]string{}
	for file := range already {
		if _, ok := from[file]; !ok {
			byTree[snapshot] = append(byTree[snapshot], file)
		}
	}
	for file, tree := range from {
		byTree[tree] = append(byTree[tree], file)
	}
	var errs []error
	for _, tree := range slices.Sorted(maps.Keys(byTree)) {
		slices.Sort(byTree[tree])
		errs = append(errs, a.cfg.Snapshots.Restore(ctx, root, tree, byTree[tree]))
	}
	if err := errors.Join(errs...); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoUndo, err)
	}
	return snapshot, nil
}

// Unrevert takes back what [Agent.Revert] did.
func (a *Agent) Unrevert(ctx context.Context, p policy.Principal, sessionID string) (store.Session, error) {
	s, root, end, err := a.beginRevert(&ctx, sessionID)
	if err != nil {
		return store.Session{}, err
	}
	defer end()
	if len(s.Revert) == 0 {
		return s, nil
	}
	before, already, err := a.reverted(ctx, s, root)
	if err != nil {
		return store.Session{}, err
	}
	if err := a.passRevert(ctx, p, s, root, before.MessageID, slices.Sorted(maps.Keys(already))); err != nil {
		return store.Session{}, err
	}
	if len(already) > 0 {
		if _, err := a.restore(ctx, root, before.Snapshot, nil, already); err != nil {
			return store.Session{}, err
		}
	}
	return a.setRevert(ctx, s, nil)
}

// beginRevert claims a session whose files are to be put back.
func (a *Agent) beginRevert(ctx *context.Context, sessionID string) (store.Session, string, func(), error) {
	s, err := a.Session(*ctx, sessionID)
	if err != nil {
		return store.Session{}, "", nil, err
	}
	root, ok := a.Root(s.Directory)
	if !ok {
		return store.Session{}, "", nil, fmt.Errorf("session %q: %w: its directory is in no project of this server", s.ID, ErrInvalid)
	}
	var end func()
	if *ctx, end, err = a.begin(*ctx, s.ID); err != nil {
		return store.Session{}, "", nil, err
	}
	// It may have changed before it was claimed.
	if s, err = a.Session(*ctx, sessionID); err != nil {
		end()
		return store.Session{}, "", nil, err
	}
	return s, root, end, nil
}

// undone returns what a message and all after it have changed.
func (a *Agent) undone(ctx context.Context, s store.Session, root, messageID, partID string) ([]change, error) {
	messages, err := a.cfg.Store.Messages(ctx, s.ID, 0, "")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(messages, func(m store.MessageParts) bool { return m.Message.ID == messageID })
	if i < 0 {
		return nil, fmt.Errorf("message %q: %w", messageID, store.ErrNotExist)
	}
	if partID != "" && !slices.ContainsFunc(messages[i].Parts, func(p store.Part) bool { return p.ID == partID }) {
		return nil, fmt.Errorf("part %q: %w", partID, store.ErrNotExist)
	}
	return patches(messages[i:], root, partID)
}

// reverted returns up to where a session is undone, and for each file that this
// concerns the state from which it can be had again.
func (a *Agent) reverted(ctx context.Context, s store.Session, root string) (Reverted, map[string]string, error) {
	var r Reverted
	if err := json.Unmarshal(s.Revert, &r); err != nil {
		return r, nil, fmt.Errorf("session %q: revert: %w: %w", s.ID, store.ErrCorrupt, err)
	}
	list, err := a.undone(ctx, s, root, r.MessageID, r.PartID)
	if err != nil {
		return r, nil, err
	}
	already := origins(list)
	for file := range already {
		already[file] = r.Snapshot
	}
	return r, already, nil
}

// passRevert takes the change of files through the gate.
func (a *Agent) passRevert(ctx context.Context, p policy.Principal, s store.Session, root, messageID string, files []string) error {
	list := make([]any, 0, len(files))
	for _, file := range files {
		list = append(list, filepath.Join(root, filepath.FromSlash(file)))
	}
	_, err := a.pass(ctx, prompt{
		session: s, root: root, principal: p, tool: "revert", patterns: files, attended: true,
		args: map[string]any{"messageID": messageID, "files": list},
	})
	return err
}

func (a *Agent) setRevert(ctx context.Context, s store.Session, r *Reverted) (store.Session, error) {
	var b json.RawMessage
	if err := setJSON(&b, r, r != nil); err != nil {
		return store.Session{}, err
	}
	s, err := a.UpdateSession(context.WithoutCancel(ctx), s.ID, func(s *store.Session) { s.Revert = b })
	if err != nil {
		return store.Session{}, err
	}
	diffs, err := a.Diff(ctx, s.ID, "")
	if err != nil {
		a.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "diff", slog.String("session", s.ID), slog.Any("error", err))
		diffs = []git.FileDiff{}
	}
	a.publish(s, "session.diff", map[string]any{"sessionID": s.ID, "diff": diffs})
	return s, nil
}

// forget removes the messages that are undone, for good, since the session goes
// on without them.
func (a *Agent) forget(ctx context.Context, s store.Session) (store.Session, error) {
	if len(s.Revert) == 0 {
		return s, nil
	}
	var r Reverted
	if err := json.Unmarshal(s.Revert, &r); err != nil {
		return s, fmt.Errorf("session %q: revert: %w: %w", s.ID, store.ErrCorrupt, err)
	}
	messages, err := a.cfg.Store.Messages(ctx, s.ID, 0, "")
	if err != nil {
		return s, err
	}
	var gone []string
	for _, m := range messages {
		// A message that is undone in part stays, with what is left of it.
		if m.Message.ID > r.MessageID || m.Message.ID == r.MessageID && r.PartID == "" {
			gone = append(gone, m.Message.ID)
		}
	}
	if len(gone) > 0 {
		if err := a.removeMessages(ctx, s, gone...); err != nil {
			return s, err
		}
	}
	return a.UpdateSession(ctx, s.ID, func(s *store.Session) { s.Revert = nil })
}

// Diff returns what a session, or one message of it, has changed and what is
// not undone.
func (a *Agent) Diff(ctx context.Context, sessionID, messageID string) ([]git.FileDiff, error) {
	s, err := a.Session(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	root, _ := a.Root(s.Directory)
	messages, err := a.cfg.Store.Messages(ctx, s.ID, 0, "")
	if err != nil {
		return nil, err
	}
	if messageID != "" {
		if messages = messagesOf(messages, messageID); len(messages) == 0 {
			return nil, fmt.Errorf("message %q: %w", messageID, store.ErrNotExist)
		}
	} else if len(s.Revert) > 0 {
		var r Reverted
		if err := json.Unmarshal(s.Revert, &r); err != nil {
			return nil, fmt.Errorf("session %q: revert: %w: %w", s.ID, store.ErrCorrupt, err)
		}
		messages = slices.DeleteFunc(messages, func(m store.MessageParts) bool { return m.Message.ID >= r.MessageID })
	}
	diffs := []git.FileDiff{}
	for _, c := range snapshotsOf(messages) {
		more, err := a.diffOf(ctx, root, c.before, c.after, c.files)
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, more...)
	}
	return diffs, nil
}

// messagesOf returns a message with the answers to it.
func messagesOf(messages []store.MessageParts, id string) []store.MessageParts {
	return slices.DeleteFunc(messages, func(m store.MessageParts) bool {
		var body struct {
			ParentID string `json:"parentID"`
		}
		_ = json.Unmarshal(m.Message.Body, &body) // without a parent it is no answer
		return m.Message.ID != id && body.ParentID != id
	})
}

// snapshotsOf returns what messages changed, each file from the state before
// the first change to that after the last.
func snapshotsOf(messages []store.MessageParts) []change {
	type span struct{ before, after string }
	spans := map[string]span{}
	for _, m := range messages {
		for _, p := range m.Parts {
			var part struct {
				State struct {
					Metadata struct {
						Snapshot snapshotMeta `json:"snapshot"`
					} `json:"metadata"`
				} `json:"state"`
			}
			if p.Type != "tool" || json.Unmarshal(p.Body, &part) != nil {
				continue
			}
			meta := part.State.Metadata.Snapshot
			for _, file := range meta.Files {
				spans[file] = span{cmp.Or(spans[file].before, meta.Before), meta.After}
			}
		}
	}
	byTrees := map[span]*change{}
	var list []*change
	for _, file := range slices.Sorted(maps.Keys(spans)) {
		c := byTrees[spans[file]]
		if c == nil {
			c = &change{before: spans[file].before, after: spans[file].after}
			byTrees[spans[file]] = c
			list = append(list, c)
		}
		c.files = append(c.files, file)
	}
	out := make([]change, 0, len(list))
	for _, c := range list {
		out = append(out, *c)
	}
	return out
}

// snapshotMeta is what a tool part keeps of the states before and after it.
type snapshotMeta struct {
	Before string   `json:"before"`
	After  string   `json:"after"`
	Files  []string `json:"files"` // relative to the project
}

// diffOf returns how files differ between two states.
func (a *Agent) diffOf(ctx context.Context, root, from, to string, files []string) ([]git.FileDiff, error) {
	if a.cfg.Snapshots == nil {
		return nil, nil
	}
	diffs, err := a.cfg.Snapshots.Diff(ctx, root, from, to)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(diffs, func(d git.FileDiff) bool { return !slices.Contains(files, d.File) }), nil
}

func patchText(diffs []git.FileDiff) string {
	var b strings.Builder
	for _, d := range diffs {
		b.WriteString(d.Patch)
	}
	return b.String()
}
