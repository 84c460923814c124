package policy

import (
	"encoding/json"
	"maps"
	"path/filepath"
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
	Session   *Session
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
	}
	return &Input{
		Version: Version, Kind: KindPrompt, Time: At(now), Principal: p.normal(),
		Prompt: prompt, Session: c.Session.normal(),
	}
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
