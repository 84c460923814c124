package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// Call is a call of a tool, as the gate sees it before the tool does.
type Call struct {
	Tool string
	// Args are the arguments, as decoded from JSON.
	Args map[string]any
	// Root is the project directory, an absolute path.
	Root string
	// Directory is where relative paths start: Root or a directory below it.
	Directory string
	// Home is where "~" leads in a command. Default: the home directory of the
	// account.
	Home    string
	Session *Session
	// Host is the machine that it would run on, nil if that is not known.
	Host *Host
}

// toolPaths says which arguments of a tool name files, and what it does to
// them.
var toolPaths = map[string][]struct {
	arg    string
	access fspath.Access
}{
	"bash":      {{"workdir", fspath.Read}},
	"pty":       {{"cwd", fspath.Read}},
	"read":      {{"filePath", fspath.Read}},
	"list":      {{"path", fspath.Read}},
	"glob":      {{"path", fspath.Read}},
	"grep":      {{"path", fspath.Read}},
	"write":     {{"filePath", fspath.Write}},
	"edit":      {{"filePath", fspath.Write}},
	"multiedit": {{"filePath", fspath.Write}},
	"delete":    {{"filePath", fspath.Write}},
	"move":      {{"from", fspath.Write}, {"to", fspath.Write}},
	"revert":    {{"files", fspath.Write}},
}

// defaultsToDirectory are the tools that work on the whole directory when they
// are given no path.
var defaultsToDirectory = map[string]bool{"list": true, "glob": true, "grep": true}

// contentArgs are the arguments that hold text to be written. Policy sees
// facts about it, never the text.
var contentArgs = []string{"content", "oldString", "newString", "edits", "patchText"}

// FromCall returns the input document of a call of a tool.
func FromCall(now time.Time, p Principal, c Call) *Input {
	prompt := &Prompt{Tool: c.Tool, Args: map[string]any{}, Paths: []fspath.Path{}}
	maps.Copy(prompt.Args, c.Args)
	prompt.Content = takeContent(prompt.Args)

	resolve := func(cwd, raw string, access fspath.Access) {
		prompt.Paths = append(prompt.Paths, fspath.Resolve(c.Root, cwd, raw, access))
	}
	named := false
	cwd := c.Directory
	for _, tp := range toolPaths[c.Tool] {
		v, ok := c.Args[tp.arg]
		if !ok {
			continue
		}
		named = true
		if list, ok := v.([]any); ok && c.Tool == "revert" {
			for _, v := range list {
				raw, _ := v.(string) // resolves to a problem, which is denied
				resolve(c.Directory, raw, tp.access)
			}
			continue
		}
		raw, ok := v.(string)
		if !ok {
			raw = "" // resolves to a problem, which is denied
		}
		resolve(c.Directory, raw, tp.access)
		if tp.arg == "workdir" || tp.arg == "cwd" {
			cwd = absolute(c.Directory, raw)
		}
	}
	if !named && defaultsToDirectory[c.Tool] {
		resolve(c.Directory, ".", fspath.Read)
	}
	if c.Tool == "patch" {
		text, _ := c.Args["patchText"].(string)
		for _, name := range patchPaths(text) {
			resolve(c.Directory, name, fspath.Write)
		}
	}
	if text, ok := commandText(c); ok {
		command := shell.Analyze(text)
		prompt.Command = &command
		for _, r := range command.Redirects {
			if r.Dynamic {
				continue
			}
			if r.Access != "write" {
				resolve(cwd, r.Target, fspath.Read)
			}
			if r.Access != "read" {
				resolve(cwd, r.Target, fspath.Write)
			}
		}
		prompt.Paths = append(prompt.Paths, filePaths(command.Files, c, cwd)...)
	}
	return &Input{
		Version: Version, Kind: KindPrompt, Time: At(now), Principal: p.normal(),
		Prompt: prompt, Session: c.Session.normal(), Host: c.Host.normal(),
	}
}

// filePaths returns the facts about the files that the programs of a command
// use by their arguments, each once.
func filePaths(files []shell.File, c Call, cwd string) []fspath.Path {
	type use struct {
		path   string
		access fspath.Access
		glob   bool
	}
	seen := map[use]bool{}
	type below struct{ path, names string }
	looked := map[below]bool{}
	var paths []fspath.Path
	for _, f := range files {
		if f.Dynamic {
			continue // there is a rule for what is not known
		}
		u := use{f.Path, fspath.Write, f.Glob}
		if f.Access == "read" || f.Access == "execute" || f.Access == "unknown" {
			u.access = fspath.Read
		}
		if f.Home {
			u.path = c.home() + strings.TrimPrefix(f.Path, "~")
		}
		if seen[u] {
			continue
		}
		seen[u] = f.Access != "unknown"
		resolve := fspath.Resolve
		if f.Glob {
			resolve = fspath.ResolvePattern
		}
		// What may be no file at all counts only if it would be a secret.
		if p := resolve(c.Root, cwd, u.path, u.access); f.Access != "unknown" || p.Class == "secret" {
			paths = append(paths, p)
		}
		if f.Glob {
			paths = append(paths, matched(fspath.Matches(c.Root, cwd, u.path, u.access), f)...)
		}
	}
	for _, f := range files {
		if f.Dynamic || !f.Recursive || f.Access != "read" && f.Access != "execute" {
			continue
		}
		name := f.Path
		if f.Home {
			name = c.home() + strings.TrimPrefix(f.Path, "~")
		}
		walk := fspath.Walk{Visible: f.Below.Visible, Links: f.Below.Links, Names: f.Below.Names}
		if i := strings.IndexAny(name, "*?["); f.Glob && i >= 0 {
			slash := strings.LastIndexByte(name[:i], '/')
			walk.Top, _, _ = strings.Cut(name[slash+1:], "/")
			if name = name[:slash+1]; name == "" {
				name = "."
			}
		}
		if key := (below{name, fmt.Sprint(walk)}); !looked[key] {
			looked[key] = true
			paths = append(paths, fspath.Below(c.Root, cwd, name, walk)...)
		}
	}
	return paths
}

// matched returns what the files that a pattern matches say to the gate. What
// may be no file at all counts only if it is a secret.
func matched(paths []fspath.Path, f shell.File) []fspath.Path {
	if f.Access != "unknown" {
		return paths
	}
	return slices.DeleteFunc(paths, func(p fspath.Path) bool { return p.Class != "secret" })
}

// home returns the home directory. One that is not known gives paths that lead
// nowhere, which is denied.
func (c *Call) home() string {
	if c.Home != "" {
		return c.Home
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "\x00"
	}
	return dir
}

func (h *Host) normal() *Host {
	if h == nil || h.Sandbox.Holds != nil {
		return h
	}
	out := *h
	out.Sandbox.Holds = []string{}
	return &out
}

func (s *Session) normal() *Session {
	if s == nil || s.Approvals != nil && s.Restrictions != nil {
		return s
	}
	out := *s
	if out.Approvals == nil {
		out.Approvals = []Approval{}
	}
	if out.Restrictions == nil {
		out.Restrictions = []Restriction{}
	}
	return &out
}

// commandText returns the text that a tool hands to a shell.
func commandText(c Call) (string, bool) {
	text, ok := c.Args["command"].(string)
	switch c.Tool {
	case "bash":
		return text, ok
	case "pty":
		words := []string{text}
		list, isList := c.Args["args"].([]any)
		ok = ok && (isList || c.Args["args"] == nil)
		for _, v := range list {
			word, isString := v.(string)
			ok = ok && isString
			words = append(words, word)
		}
		for i, w := range words {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		return strings.Join(words, " "), ok
	}
	return "", false
}

// takeContent removes text to be written from the arguments and describes it.
func takeContent(args map[string]any) *Content {
	var content *Content
	for _, k := range contentArgs {
		v, ok := args[k]
		if !ok {
			continue
		}
		delete(args, k)
		if content == nil {
			content = &Content{}
		}
		text, ok := v.(string)
		if !ok {
			if b, err := json.Marshal(v); err == nil {
				text = string(b)
			}
		}
		content.Bytes += len(text)
		if text != "" {
			content.Lines += 1 + strings.Count(strings.TrimSuffix(text, "\n"), "\n")
		}
	}
	return content
}

func absolute(dir, raw string) string {
	if filepath.IsAbs(raw) {
		return raw
	}
	return filepath.Join(dir, raw)
}
