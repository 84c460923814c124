package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"opencode/agent/linediff"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/policy/fspath"
)

const (
	// maxDiff is how long the diffs of a call may be that are shown.
	maxDiff = 256 << 10
	// maxReads is how many files that sessions have read are remembered.
	maxReads = 50_000
)

// editsOf reads the argument of several edits.
func editsOf(v any) ([]tool.Edit, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, errors.New("want a list of edits")
	}
	var edits []tool.Edit
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("edit %d is no object", i+1)
		}
		var e tool.Edit
		var okOld, okNew bool
		okAll := true
		for name, v := range object {
			switch name {
			case "oldString":
				e.Old, okOld = v.(string)
			case "newString":
				e.New, okNew = v.(string)
			case "replaceAll":
				e.All, okAll = v.(bool)
			default:
				return nil, fmt.Errorf("edit %d: unknown member %q", i+1, name)
			}
		}
		if !okOld || !okNew || !okAll {
			return nil, fmt.Errorf("edit %d: want oldString and newString, which are texts, and no other than replaceAll, which is true or false", i+1)
		}
		if !utf8.ValidString(e.Old) || !utf8.ValidString(e.New) {
			return nil, fmt.Errorf("edit %d: is not UTF-8", i+1)
		}
		edits = append(edits, e)
	}
	return edits, nil
}

// runChange runs a tool that changes files. What it will do is planned before
// anybody is asked, so that a question can show it; what is then done is that,
// or nothing.
func (a *Agent) runChange(ctx context.Context, p policy.Principal, c *call) (ToolResult, error) {
	l := &look{agent: a, principal: p, root: c.root, dir: c.session.Directory}
	var planned *changePlan
	d, in, err := a.passFacts(ctx, prompt{
		session: c.session, root: c.root, principal: p, tool: c.part.Tool, args: c.part.State.Input,
		ref: c.ref(), attended: c.attended, alone: c.alone, asking: a.asking(c), permission: changesFiles[c.part.Tool],
		plan: func(ctx context.Context, in *policy.Input) (map[string]any, error) {
			var err error
			if planned, err = l.plan(ctx, c, in); err != nil {
				return nil, err
			}
			return planned.metadata(), nil
		},
	})
	if err != nil {
		return ToolResult{}, err
	}
	c.decided(d)
	if _, err := limitsOf(d); err != nil {
		return ToolResult{}, err
	}
	if err := planned.seenBy(in); err != nil {
		return ToolResult{}, err
	}
	if err := ctx.Err(); err != nil {
		return ToolResult{}, context.Cause(ctx)
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return ToolResult{}, err
	}
	defer done()
	if !c.alone {
		before := a.snapshot(ctx, c.root)
		defer func() { a.keepChange(ctx, c, before) }()
	}
	// Two changes of one file must not both be made from what it was before.
	a.changing.Lock()
	err = tree.Apply(planned.changes)
	a.changing.Unlock()
	if err != nil {
		return ToolResult{}, a.failed(toolError(planned.files[0].shown, err))
	}
	for _, change := range planned.changes {
		switch change.Kind {
		case tool.ChangeCreate, tool.ChangeReplace:
			a.reads.note(c, change.Path, change.After)
		default:
			a.reads.forget(c, change.Path)
		}
	}
	return planned.result(), nil
}

// changePlan is what a call will do to files.
type changePlan struct {
	tool    string
	root    string
	names   map[string]fspath.Path // by the name in the call
	changes []tool.Change
	files   []changedFile
	shown   int // bytes of diffs
}

// changedFile is what a change does to one file, for a person.
type changedFile struct {
	shown          string // relative to the directory of the call
	absolute, to   string
	status         string // added, modified, deleted or moved
	diff           string
	added, removed int
}

// plan finds out what a call would do, from the files that policy has seen.
func (l *look) plan(ctx context.Context, c *call, in *policy.Input) (*changePlan, error) {
	pl := &changePlan{tool: c.part.Tool, root: c.root, names: map[string]fspath.Path{}}
	nameOf := func(raw string) (string, error) {
		f, err := factsOf(in, raw, fspath.Write)
		if err != nil {
			return "", err
		}
		if f.Link {
			// To replace the link is not what was decided about, and to replace
			// what it leads to is not what is named.
			return "", l.agent.failed(fmt.Errorf("file %q: %w: %w: it is named through a link; name %s itself", raw, ErrInvalid, tool.ErrLink, f.Relative))
		}
		pl.names[raw] = f
		return f.Relative, nil
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	pl.changes, err = planChanges(tree, c.part.Tool, c.part.State.Input, nameOf)
	if err != nil {
		if errors.Is(err, policy.ErrDenied) {
			return nil, err
		}
		return nil, l.agent.failed(toolError("", err))
	}
	for i := range pl.changes {
		change := &pl.changes[i]
		if change.Before != nil && l.agent.reads.stale(c, change.Path, change.Before) {
			return nil, l.agent.failed(fmt.Errorf("file %q: %w: %w", change.Path, ErrInvalid, tool.ErrChanged))
		}
		file, err := l.describe(ctx, pl, change)
		if err != nil {
			return nil, err
		}
		pl.files = append(pl.files, file)
	}
	return pl, nil
}

// planChanges plans what a tool does.
func planChanges(tree *tool.Tree, name string, args map[string]any, nameOf func(string) (string, error)) ([]tool.Change, error) {
	if name == "patch" {
		patch, err := tool.ParsePatch(argText(args, "patchText"))
		if err != nil {
			return nil, err
		}
		return tree.PlanPatch(patch, nameOf)
	}
	var file, to string
	var err error
	if name == "move" {
		if file, err = nameOf(argText(args, "from")); err == nil {
			to, err = nameOf(argText(args, "to"))
		}
	} else {
		file, err = nameOf(argText(args, "filePath"))
	}
	if err != nil {
		return nil, err
	}
	var change tool.Change
	switch name {
	case "write":
		change, err = tree.PlanWrite(file, []byte(argText(args, "content")))
	case "edit":
		all, _ := args["replaceAll"].(bool) // it was checked
		change, err = tree.PlanEdit(file, []tool.Edit{{Old: argText(args, "oldString"), New: argText(args, "newString"), All: all}})
	case "multiedit":
		var edits []tool.Edit
		if edits, err = editsOf(args["edits"]); err == nil {
			change, err = tree.PlanEdit(file, edits)
		}
	case "delete":
		change, err = tree.PlanDelete(file)
	case "move":
		change, err = tree.PlanMove(file, to)
	default:
		err = fmt.Errorf("tool %q: %w: there is no such tool", name, ErrInvalid)
	}
	return []tool.Change{change}, err
}

// describe says what a change does, for a person. Of a file that holds secrets
// it shows no line: a question goes to all who listen.
func (l *look) describe(ctx context.Context, pl *changePlan, c *tool.Change) (changedFile, error) {
	f := changedFile{shown: l.shown(c.Path), absolute: filepath.Join(l.root, c.Path)}
	head := func(name string) string {
		return "Index: " + name + "\n" + strings.Repeat("=", 67) + "\n--- " + name + "\n+++ " + name + "\n"
	}
	switch c.Kind {
	case tool.ChangeCreate:
		f.status = "added"
	case tool.ChangeReplace:
		f.status = "modified"
	case tool.ChangeDelete:
		f.status = "deleted"
	case tool.ChangeMove:
		f.status, f.to = "moved", filepath.Join(l.root, c.To)
		f.diff = "rename from " + f.absolute + "\nrename to " + f.to + "\n"
		return f, nil
	default:
		return f, fmt.Errorf("file %q: %w: nothing is to be done with it", c.Path, ErrInvalid)
	}
	f.diff = head(f.absolute)
	secret := false
	for _, facts := range pl.names {
		// A patch can move what one file holds to another.
		secret = secret || facts.Class == "secret"
	}
	switch {
	case !isText(c.Before) || !isText(c.After) || c.Before == nil && c.Kind != tool.ChangeCreate:
		return f, nil
	default:
		d, err := linediff.Compare(ctx, c.Before, c.After)
		if err != nil {
			return f, err
		}
		f.added, f.removed = d.Counts()
		var b strings.Builder
		if !secret && d.Write(&b, maxDiff-pl.shown) {
			f.diff += b.String()
			pl.shown += b.Len()
		}
	}
	return f, nil
}

func isText(data []byte) bool { return utf8.Valid(data) && bytes.IndexByte(data, 0) < 0 }

// seenBy checks that every file of the plan is one that policy has seen, in the
// decision under which it is carried out.
func (pl *changePlan) seenBy(in *policy.Input) error {
	seen := map[string]bool{}
	for raw, f := range pl.names {
		now, err := factsOf(in, raw, fspath.Write)
		if err != nil {
			return err
		}
		if now.Relative != f.Relative || now.Link {
			return fmt.Errorf("%w: the path %q leads to another file than before", policy.ErrDenied, raw)
		}
		seen[f.Relative] = true
	}
	for _, c := range pl.changes {
		if !seen[c.Path] || c.To != "" && !seen[c.To] {
			return fmt.Errorf("%w: policy has not seen the path %q", policy.ErrDenied, c.Path)
		}
	}
	return nil
}

// metadata is what a question shows, as clients know it.
func (pl *changePlan) metadata() map[string]any {
	var names, diffs []string
	files := []any{}
	for _, f := range pl.files {
		names, diffs = append(names, f.absolute), append(diffs, f.diff)
		file := map[string]any{
			"filePath": f.absolute, "relativePath": f.shown, "type": f.status, "patch": f.diff, "additions": f.added, "deletions": f.removed,
		}
		if f.to != "" {
			file["movePath"] = f.to
		}
		files = append(files, file)
	}
	m := map[string]any{"filepath": strings.Join(names, ", "), "diff": strings.Join(diffs, "")}
	if pl.tool == "patch" {
		m["files"] = files
	}
	return m
}

// result is what the call has done.
func (pl *changePlan) result() ToolResult {
	m := pl.metadata()
	m["diagnostics"] = map[string]any{}
	first := pl.files[0]
	r := ToolResult{Title: first.shown, Metadata: m}
	var out strings.Builder
	for _, f := range pl.files {
		switch f.status {
		case "moved":
			fmt.Fprintf(&out, "moved %s to %s\n", f.absolute, f.to)
		case "deleted":
			fmt.Fprintf(&out, "deleted %s\n", f.absolute)
		default:
			fmt.Fprintf(&out, "%s %s (+%d -%d lines)\n", f.status, f.absolute, f.added, f.removed)
		}
	}
	r.Output = out.String()
	switch pl.tool {
	case "write":
		m["exists"] = first.status == "modified"
	case "edit", "multiedit":
		m["filediff"] = map[string]any{
			"file": first.absolute, "patch": first.diff, "additions": first.added, "deletions": first.removed, "status": first.status,
		}
	case "patch":
		r.Title = fmt.Sprintf("%d files", len(pl.files))
		if len(pl.files) == 1 {
			r.Title = first.shown
		}
	}
	return r
}

// toolError turns what a tool says into what the caller can use.
func toolError(name string, err error) error {
	for _, known := range []error{
		tool.ErrExist, tool.ErrChanged, tool.ErrBinary, tool.ErrChange, tool.ErrNotFound, tool.ErrAmbiguous, tool.ErrPatch, tool.ErrTooLarge,
		tool.ErrLink, tool.ErrNotFile, tool.ErrNotDirectory, tool.ErrName,
	} {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok && name == "" {
		name = path.Path
	}
	return fileError(name, err)
}

// readFiles are the files that sessions have read or written, with what they
// held then. A change of one that somebody else has changed since would undo
// what the session does not know.
type readFiles struct {
	mu    sync.Mutex
	files map[readFile][sha256.Size]byte
}

type readFile struct{ session, root, path string }

func (r *readFiles) note(c *call, path string, data []byte) {
	if c.alone {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil || len(r.files) >= maxReads {
		// What is forgotten can be changed without being read again.
		r.files = map[readFile][sha256.Size]byte{}
	}
	r.files[readFile{c.session.ID, c.root, path}] = sha256.Sum256(data)
}

func (r *readFiles) forget(c *call, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, readFile{c.session.ID, c.root, path})
}

// stale reports whether a session has read a file that held something else
// then.
func (r *readFiles) stale(c *call, path string, data []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum, ok := r.files[readFile{c.session.ID, c.root, path}]
	return ok && sum != sha256.Sum256(data)
}
