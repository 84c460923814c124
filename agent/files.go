package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opencode/agent/tool"
	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/store"
)

const (
	// maxLooks is how many looks at files run at the same time.
	maxLooks = 4
	// lookTimeout is how long a search may take. What it has found by then
	// counts.
	lookTimeout = 10 * time.Second
	// maxFileBytes is the most that is read of a file.
	maxFileBytes = 10 << 20
	// maxListed is how many entries of a directory are listed.
	maxListed = 20_000
	// candidates is how many things are decided about for each that is wanted.
	candidates = 3
)

// File is a file or a directory as a person sees it.
type File struct {
	// Path is relative to the directory that was asked for.
	Path string
	// Absolute is the same path in full.
	Absolute    string
	IsDirectory bool
	// Ignored reports that git does not look at it.
	Ignored bool
}

// TextMatch is a line that matches.
type TextMatch struct {
	// Path is relative to the directory that was asked for.
	Path string
	tool.Line
}

// FileQuery says which names are wanted.
type FileQuery struct {
	// Text is compared with paths. Empty fits all.
	Text               string
	Files, Directories bool
	Limit              int // required
}

// look is somebody's look at files. It cannot wait for a person: what policy
// would ask about is refused.
type look struct {
	agent     *Agent
	principal policy.Principal
	root, dir string // the project, and where relative paths start
	session   *policy.Session
}

// look begins a look at files. The directory is a real path in a project; empty
// means the first project.
func (a *Agent) look(p policy.Principal, dir string) (*look, error) {
	dir = cmp.Or(dir, a.cfg.Directories[0])
	root, ok := a.Root(dir)
	if !ok {
		return nil, fmt.Errorf("directory %q: %w: is in no project of this server", dir, ErrInvalid)
	}
	return &look{agent: a, principal: p, root: root, dir: dir}, nil
}

func (l *look) input(name string, args map[string]any) *policy.Input {
	return policy.FromCall(l.agent.cfg.Now(), l.principal, policy.Call{
		Tool: name, Args: args, Root: l.root, Directory: l.dir, Session: l.session,
	})
}

// pass takes the look through the gate and returns the facts about what it is
// at, as policy saw them.
func (l *look) pass(ctx context.Context, name string, args map[string]any) (fspath.Path, error) {
	in := l.input(name, args)
	d, err := l.agent.cfg.Gate.Decide(ctx, in)
	if err != nil {
		return fspath.Path{}, errors.Join(policy.ErrDenied, err)
	}
	if err := d.Err(); err != nil {
		return fspath.Path{}, err
	}
	if d.Effect != policy.Allow {
		return fspath.Path{}, &RefusedError{Decision: d, Reply: string(unattended)}
	}
	if d.Obligations.Sandbox != nil {
		return fspath.Path{}, fmt.Errorf("%w: %w", policy.ErrDenied, ErrSandbox)
	}
	if len(in.Prompt.Paths) != 1 || !in.Prompt.Paths[0].Inside {
		// The policy may be wider than what is opened here.
		return fspath.Path{}, fmt.Errorf("%w: the path is not in the project", policy.ErrDenied)
	}
	return in.Prompt.Paths[0], nil
}

// mayShow reports whether something that a search has found may be shown.
func (l *look) mayShow(ctx context.Context, in *policy.Input) bool {
	d, err := l.agent.cfg.Gate.Filter(ctx, in)
	return err == nil && d.Effect == policy.Allow && d.Obligations.Sandbox == nil
}

// open opens the project. The caller must call the function that it returns.
func (l *look) open(ctx context.Context) (*tool.Tree, func(), error) {
	select {
	case l.agent.looks <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	t, err := tool.OpenTree(l.root)
	if err != nil {
		<-l.agent.looks
		return nil, nil, fileError(l.root, err)
	}
	return t, func() {
		_ = t.Close()
		<-l.agent.looks
	}, nil
}

// shown returns a path of the project relative to the directory of the look.
func (l *look) shown(name string) string {
	relative, err := filepath.Rel(l.dir, filepath.Join(l.root, name))
	if err != nil {
		return name // both are absolute, so that this cannot be
	}
	return filepath.ToSlash(relative)
}

// partial tells the log that a look has not seen everything.
func (l *look) partial(ctx context.Context, name, reason string) {
	l.agent.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "not everything was looked at",
		slog.String("tool", name), slog.String("directory", l.dir), slog.String("reason", reason))
}

// ReadFile returns what a file of a project holds.
func (a *Agent) ReadFile(ctx context.Context, p policy.Principal, dir, name string) (tool.Content, error) {
	l, err := a.look(p, dir)
	if err != nil {
		return tool.Content{}, err
	}
	facts, err := l.pass(ctx, "read", map[string]any{"filePath": name})
	if err != nil {
		return tool.Content{}, err
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return tool.Content{}, err
	}
	defer done()
	c, err := tree.Read(facts.Relative, maxFileBytes)
	if err != nil {
		return tool.Content{}, fileError(name, err)
	}
	return c, nil
}

// ListFiles returns what is in a directory of a project, directories first. It
// reports whether something is missing.
func (a *Agent) ListFiles(ctx context.Context, p policy.Principal, dir, name string) (list []File, partial bool, err error) {
	l, err := a.look(p, dir)
	if err != nil {
		return nil, false, err
	}
	name = cmp.Or(name, ".")
	facts, err := l.pass(ctx, "list", map[string]any{"path": name})
	if err != nil {
		return nil, false, err
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	entries, partial, err := tree.List(facts.Relative, maxListed)
	if err != nil {
		return nil, false, fileError(name, err)
	}
	if partial {
		l.partial(ctx, "list", "the directory has more entries than are listed")
	}
	base := l.listed(name, facts)
	list = make([]File, 0, len(entries))
	for _, e := range entries {
		f := File{Path: path.Join(base, path.Base(e.Path)), IsDirectory: e.Kind == tool.KindDirectory, Ignored: e.Ignored}
		f.Absolute = filepath.Join(l.dir, f.Path)
		switch e.Kind {
		case tool.KindSpecial:
			continue // clients know no such thing
		case tool.KindLink:
			// Where a link leads outside is not told.
			to := fspath.Resolve(l.root, l.root, e.Path, fspath.Read)
			f.IsDirectory = to.Inside && to.Kind == "dir"
		case tool.KindFile, tool.KindDirectory:
		}
		list = append(list, f)
	}
	slices.SortStableFunc(list, func(x, y File) int {
		switch {
		case x.IsDirectory == y.IsDirectory:
			return 0
		case x.IsDirectory:
			return -1
		}
		return 1
	})
	return list, partial, nil
}

// listed returns the path under which a directory was asked for, relative to
// the directory of the look: through links where the client named links.
func (l *look) listed(name string, facts fspath.Path) string {
	if facts.Link {
		if filepath.IsAbs(name) {
			if relative, err := filepath.Rel(l.dir, name); err == nil {
				name = relative
			}
		}
		if filepath.IsLocal(name) && !slices.Contains(strings.Split(name, "/"), "..") {
			return path.Clean(name)
		}
	}
	return l.shown(facts.Relative)
}

// FindText returns the first lines that match a regular expression in the files
// of a project that git looks at and that policy lets be read. It reports
// whether files were left unsearched.
func (a *Agent) FindText(ctx context.Context, p policy.Principal, dir, pattern string, limit int) (list []TextMatch, partial bool, err error) {
	l, err := a.look(p, dir)
	if err != nil {
		return nil, false, err
	}
	facts, err := l.pass(ctx, "grep", map[string]any{"pattern": pattern})
	if err != nil {
		return nil, false, err
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	reason, decided := "", 0
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	coverage, err := tree.Search(within, tool.SearchQuery{Dir: facts.Relative, Pattern: pattern, MaxLines: limit}, func(m tool.FileMatches) bool {
		if decided == candidates*limit {
			reason = "more files match than are decided about"
			return false
		}
		decided++
		if !l.mayShow(ctx, l.input("read", map[string]any{"filePath": filepath.Join(l.root, m.Path)})) {
			return true
		}
		for _, line := range m.Lines[:min(len(m.Lines), limit-len(list))] {
			list = append(list, TextMatch{Path: l.shown(m.Path), Line: line})
		}
		return len(list) < limit
	})
	partial, err = l.ended(ctx, "grep", cmp.Or(reason, coverage.Partial), err)
	return list, partial, err
}

// FindFiles returns the files and directories of a project whose paths fit
// best, without those that policy does not let be read or listed. It reports
// whether some were not looked at.
func (a *Agent) FindFiles(ctx context.Context, p policy.Principal, dir string, q FileQuery) (list []File, partial bool, err error) {
	l, err := a.look(p, dir)
	if err != nil {
		return nil, false, err
	}
	facts, err := l.pass(ctx, "glob", map[string]any{"pattern": q.Text})
	if err != nil {
		return nil, false, err
	}
	tree, done, err := l.open(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	most := candidates * q.Limit
	entries, coverage, err := tree.Find(within, tool.FindQuery{
		Dir: facts.Relative, Text: q.Text, Files: q.Files, Directories: q.Directories, Max: most,
	})
	reason := coverage.Partial
	for _, e := range entries {
		if len(list) == q.Limit {
			break
		}
		if f, ok := l.found(ctx, e); ok && (f.IsDirectory && q.Directories || !f.IsDirectory && q.Files) {
			list = append(list, f)
		}
	}
	if len(list) < q.Limit && len(entries) == most {
		reason = cmp.Or(reason, "more names fit than are decided about")
	}
	partial, err = l.ended(ctx, "glob", reason, err)
	return list, partial, err
}

// found returns a file that a search has found, if it may be shown.
func (l *look) found(ctx context.Context, e tool.Entry) (File, bool) {
	f := File{Path: l.shown(e.Path), Absolute: filepath.Join(l.root, e.Path), IsDirectory: e.Kind == tool.KindDirectory}
	if e.Kind == tool.KindLink {
		to := fspath.Resolve(l.root, l.root, e.Path, fspath.Read)
		if !to.Inside || !to.Exists {
			return f, false
		}
		f.IsDirectory = to.Kind == "dir"
	}
	if f.IsDirectory {
		return f, l.mayShow(ctx, l.input("list", map[string]any{"path": f.Absolute}))
	}
	return f, l.mayShow(ctx, l.input("read", map[string]any{"filePath": f.Absolute}))
}

// ended tells how a search ended. Its time being over is no error.
func (l *look) ended(ctx context.Context, name, reason string, err error) (partial bool, _ error) {
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		reason = "the time is over"
	case err != nil:
		return true, fileError(l.dir, err)
	}
	if reason != "" {
		l.partial(ctx, name, reason)
	}
	return reason != "", nil
}

// fileError turns what a tool says of a file into what the caller can use.
func fileError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("file %q: %w", name, store.ErrNotExist)
	case errors.Is(err, tool.ErrPattern):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("file %q: %w: the server may not read it", name, ErrInvalid)
	}
	for _, known := range []error{tool.ErrLink, tool.ErrNotFile, tool.ErrNotDirectory, tool.ErrName} {
		if errors.Is(err, known) {
			return fmt.Errorf("file %q: %w: %w", name, ErrInvalid, known)
		}
	}
	if errors.Is(err, tool.ErrTooLarge) {
		return fmt.Errorf("%w: file %w", ErrInvalid, err)
	}
	return err
}
