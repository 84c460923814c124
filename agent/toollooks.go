package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"opencode/agent/tool"
	"opencode/policy"
	"opencode/policy/fspath"
)

const (
	// readLines is how many lines are read if the caller does not say.
	readLines = 2000
	// readLineBytes is how much is shown of a line.
	readLineBytes = 2000
	// maxFound is how many files or lines a search gives.
	maxFound = 100
	// maxAttached is how large a file may be that is no text and is read.
	maxAttached = 5 << 20
)

// attachable are the files that models can look at although they are no text.
var attachable = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/bmp": true, "application/pdf": true,
}

// runLook runs a tool that only looks at files.
func (a *Agent) runLook(ctx context.Context, p policy.Principal, c *call) (ToolResult, error) {
	args := c.part.State.Input
	d, in, err := a.passFacts(ctx, prompt{
		session: c.session, root: c.root, principal: p, tool: c.part.Tool, args: args,
		ref: c.ref(), attended: c.attended, alone: c.alone, asking: a.asking(c),
	})
	if err != nil {
		return ToolResult{}, err
	}
	c.decided(d)
	lim, err := limitsOf(d)
	if err != nil {
		return ToolResult{}, err
	}
	raw := cmp.Or(argText(args, "filePath"), argText(args, "path"), ".")
	facts, err := factsOf(in, raw, fspath.Read)
	if err != nil {
		return ToolResult{}, err
	}
	l := &look{agent: a, principal: p, root: c.root, dir: c.session.Directory, session: in.Session}
	ctx, cancel := context.WithTimeout(ctx, min(lim.Timeout, lookTimeout))
	defer cancel()
	tree, done, err := l.open(ctx)
	if err != nil {
		return ToolResult{}, err
	}
	defer done()
	t := &toolLook{look: l, tree: tree, facts: facts, raw: raw, args: args, most: lim.MaxOutput}
	run := map[string]func(context.Context) (ToolResult, error){"read": t.read, "list": t.list, "glob": t.glob, "grep": t.grep}[c.part.Tool]
	if run == nil {
		return ToolResult{}, fmt.Errorf("tool %q: %w: there is no such tool", c.part.Tool, ErrInvalid)
	}
	r, err := run(ctx)
	if err != nil {
		return ToolResult{}, a.failed(err)
	}
	if c.part.Tool == "read" {
		a.reads.note(c, facts.Relative, t.data)
	}
	return r, nil
}

// toolLook is a look at files that was decided about.
type toolLook struct {
	*look
	tree  *tool.Tree
	facts fspath.Path
	raw   string
	args  map[string]any
	most  int    // bytes of output
	data  []byte // of the file that was read
}

// read returns lines of a file with their numbers, or an image.
func (t *toolLook) read(context.Context) (ToolResult, error) {
	c, err := t.tree.Read(t.facts.Relative, maxFileBytes)
	if err != nil {
		return ToolResult{}, toolError(t.raw, err)
	}
	t.data = c.Data
	title := t.shown(t.facts.Relative)
	if c.Binary {
		if !attachable[c.MediaType] {
			return ToolResult{}, fmt.Errorf("file %q: %w: it is no text (%s)", t.raw, ErrInvalid, c.MediaType)
		}
		if len(c.Data) > maxAttached {
			return ToolResult{}, fmt.Errorf("file %q: %w: it has %d bytes, and at most %d of what is no text are read", t.raw, ErrInvalid, len(c.Data), maxAttached)
		}
		return ToolResult{
			Title: title, Output: "The file is attached (" + c.MediaType + ").",
			Metadata: map[string]any{"preview": "", "truncated": false},
			Attachments: []Attachment{{
				Mime: c.MediaType, Filename: path.Base(t.facts.Relative),
				URL: "data:" + c.MediaType + ";base64," + base64.StdEncoding.EncodeToString(c.Data),
			}},
		}, nil
	}
	first, limit := max(number(t.args, "offset"), 1), cmp.Or(number(t.args, "limit"), readLines)
	var b, preview strings.Builder
	count, last := 0, first-1
	full := false
	for line := range bytes.Lines(c.Data) {
		count++
		if count < first || count >= first+limit || full {
			continue
		}
		text := string(bytes.TrimRight(line, "\r\n"))
		if len(text) > readLineBytes {
			text = strings.ToValidUTF8(text[:readLineBytes], "") + "…"
		}
		shown := fmt.Sprintf("%05d| %s\n", count, text)
		if b.Len()+len(shown) > t.most {
			full = true
			continue
		}
		b.WriteString(shown)
		if count < first+20 {
			preview.WriteString(text + "\n")
		}
		last = count
	}
	if first > 1 && first > count {
		return ToolResult{}, fmt.Errorf("file %q: %w: it has %d lines, and line %d is wanted", t.raw, ErrInvalid, count, first)
	}
	end := fmt.Sprintf("(end of the file, %d lines)", count)
	if last < count {
		end = fmt.Sprintf("(the file has %d lines; go on with offset %d)", count, last+1)
	}
	return ToolResult{
		Title: title, Output: "<file>\n" + b.String() + end + "\n</file>",
		Metadata: map[string]any{"preview": preview.String(), "truncated": last < count},
	}, nil
}

// list returns the names in a directory.
func (t *toolLook) list(context.Context) (ToolResult, error) {
	entries, partial, err := t.tree.List(t.facts.Relative, maxListed)
	if err != nil {
		return ToolResult{}, toolError(t.raw, err)
	}
	out := &lines{most: t.most}
	for _, e := range entries {
		name := path.Base(e.Path)
		switch e.Kind {
		case tool.KindSpecial:
			continue
		case tool.KindDirectory:
			name += "/"
		case tool.KindLink:
			name += "@"
		case tool.KindFile:
		}
		out.add(name)
	}
	return out.result(t.shown(t.facts.Relative), partial, "nothing is in it"), nil
}

// glob returns the files that match a pattern and may be read.
func (t *toolLook) glob(ctx context.Context) (ToolResult, error) {
	out := &lines{most: t.most}
	decided, reason := 0, ""
	coverage, err := t.tree.Glob(ctx, t.facts.Relative, argText(t.args, "pattern"), func(name string) bool {
		if decided == candidates*maxFound || out.count == maxFound {
			reason = "there are more files"
			return false
		}
		decided++
		file := filepath.Join(t.root, name)
		if t.mayShow(ctx, t.input("read", map[string]any{"filePath": file})) {
			out.add(file)
		}
		return true
	})
	partial, err := t.ended(ctx, "glob", cmp.Or(reason, coverage.Partial), err)
	if err != nil {
		return ToolResult{}, err
	}
	return out.result(t.shown(t.facts.Relative), partial, "no file matches"), nil
}

// grep returns the lines that match, of files that may be read.
func (t *toolLook) grep(ctx context.Context) (ToolResult, error) {
	q := tool.SearchQuery{Dir: t.facts.Relative, Pattern: argText(t.args, "pattern"), MaxLines: maxFound}
	if include := argText(t.args, "include"); include != "" {
		var err error
		if q.Include, err = tool.PathPattern(include); err != nil {
			return ToolResult{}, toolError(t.raw, err)
		}
	}
	if t.facts.Kind == "file" {
		q.Dir, q.Include = path.Dir(t.facts.Relative), tool.NamePattern(path.Base(t.facts.Relative))
	}
	out := &lines{most: t.most}
	decided, found, reason := 0, 0, ""
	coverage, err := t.tree.Search(ctx, q, func(m tool.FileMatches) bool {
		if decided == candidates*maxFound {
			reason = "more files match than are decided about"
			return false
		}
		decided++
		file := filepath.Join(t.root, m.Path)
		if !t.mayShow(ctx, t.input("read", map[string]any{"filePath": file})) {
			return true
		}
		out.add(file + ":")
		for _, line := range m.Lines {
			if found == maxFound {
				reason = "more lines match"
				return false
			}
			found++
			text := strings.TrimRight(line.Text, "\r\n")
			if len(text) > readLineBytes {
				text = strings.ToValidUTF8(text[:readLineBytes], "") + "…"
			}
			out.add(fmt.Sprintf("  Line %d: %s", line.Number, text))
		}
		return true
	})
	partial, err := t.ended(ctx, "grep", cmp.Or(reason, coverage.Partial), err)
	if err != nil {
		return ToolResult{}, err
	}
	r := out.result(t.shown(t.facts.Relative), partial, "no line matches")
	r.Title = argText(t.args, "pattern")
	r.Metadata["matches"] = found
	return r, nil
}

// lines is output that is bounded.
type lines struct {
	most  int
	b     strings.Builder
	count int
	cut   bool
}

func (l *lines) add(line string) {
	if l.cut = l.cut || l.b.Len()+len(line)+1 > l.most; l.cut {
		return
	}
	l.b.WriteString(line + "\n")
	l.count++
}

func (l *lines) result(title string, partial bool, empty string) ToolResult {
	output := l.b.String()
	if output == "" && !l.cut {
		output = "(" + empty + ")\n"
	}
	if l.cut || partial {
		output += "(there is more than is shown: look for less at once)\n"
	}
	return ToolResult{Title: title, Output: output, Metadata: map[string]any{"count": l.count, "truncated": l.cut || partial}}
}
