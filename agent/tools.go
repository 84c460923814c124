package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"opencode/agent/tool"
	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/store"
)

// ArgKind says what an argument of a tool is in JSON.
type ArgKind string

// The kinds of arguments.
const (
	ArgText    ArgKind = "string"
	ArgNumber  ArgKind = "integer" // not negative
	ArgBoolean ArgKind = "boolean"
	ArgEdits   ArgKind = "array" // of objects with oldString, newString and replaceAll
)

// Arg describes an argument of a tool.
type Arg struct {
	Name        string  `json:"name"`
	Kind        ArgKind `json:"type"`
	Required    bool    `json:"required"`
	Description string  `json:"description"`
}

// ToolInfo describes a tool.
type ToolInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Args        []Arg  `json:"args"`
}

// Tools returns the tools that [Agent.RunTool] runs, by the names and with the
// arguments that clients know.
func Tools() []ToolInfo {
	file := Arg{"filePath", ArgText, true, "the file, absolute or relative to the directory"}
	where := Arg{"path", ArgText, false, "where to look; the directory if it is not given"}
	return []ToolInfo{
		{"bash", "Run a command in a shell", []Arg{
			{"command", ArgText, true, "the command"},
			{"timeout", ArgNumber, false, "milliseconds after which it is killed, if policy does not say fewer"},
			{"workdir", ArgText, false, "where it starts; the directory if it is not given"},
			{"description", ArgText, false, "what it is for, for a person"},
		}},
		{"read", "Read a file, or a part of it", []Arg{
			file,
			{"offset", ArgNumber, false, "the first line, counted from 1"},
			{"limit", ArgNumber, false, "how many lines; 2000 if it is not given"},
		}},
		{"list", "List a directory", []Arg{where}},
		{"glob", "Find files by the pattern of their paths", []Arg{
			{"pattern", ArgText, true, "such as **/*.go; one without a slash is for names anywhere"},
			where,
		}},
		{"grep", "Find lines that match a regular expression", []Arg{
			{"pattern", ArgText, true, "a regular expression in the syntax of RE2"},
			where,
			{"include", ArgText, false, "only in files of this pattern, such as *.go"},
		}},
		{"write", "Write a whole file", []Arg{file, {"content", ArgText, true, "what it is to hold"}}},
		{"edit", "Replace a text in a file", []Arg{
			file,
			{"oldString", ArgText, true, "the text as it is, which must be there once; empty makes a new file"},
			{"newString", ArgText, true, "what it becomes"},
			{"replaceAll", ArgBoolean, false, "replace each place"},
		}},
		{"multiedit", "Make several edits of a file, all or none", []Arg{file, {"edits", ArgEdits, true, "edits, each made on what those before it made"}}},
		{"patch", "Apply a patch to files, all or none", []Arg{{"patchText", ArgText, true, "a unified diff, or the form that begins with *** Begin Patch"}}},
		{"delete", "Delete a file", []Arg{file}},
		{"move", "Give a file another name", []Arg{
			{"from", ArgText, true, "the file"},
			{"to", ArgText, true, "its new name, where nothing is yet"},
		}},
	}
}

// changesFiles are the tools that change files, and by what name their
// questions and leases are known to clients.
var changesFiles = map[string]string{
	"write": "edit", "edit": "edit", "multiedit": "edit", "patch": "edit", "delete": "delete", "move": "move",
}

// ToolInput is a call of a tool.
type ToolInput struct {
	// SessionID is the session that the call is of. Without one nothing of it is
	// kept but the decision, and it cannot be undone.
	SessionID string
	// Directory is where a call without a session works, a real path in a
	// project; empty means the first project.
	Directory string
	Name      string
	// Args are the arguments, as decoded from JSON.
	Args map[string]any
	// Attended reports that whoever calls answers questions while the call
	// waits. Otherwise nothing is asked that no subscriber can answer.
	Attended bool
}

// ToolResult is what a tool did, as the published API shows it.
type ToolResult struct {
	Title       string         `json:"title"`
	Output      string         `json:"output"`
	Metadata    map[string]any `json:"metadata"`
	Attachments []Attachment   `json:"attachments,omitempty"`
}

// Attachment is a file that was read and is no text.
type Attachment struct {
	Mime     string `json:"mime"`
	Filename string `json:"filename"`
	URL      string `json:"url"` // with the data in it
}

// RunTool runs a tool, through the gate and under the obligations of its
// decision. In a session it makes a message that holds the outcome, a refusal
// too, and what it changes can be undone. The context ends with whoever asked
// for it.
func (a *Agent) RunTool(ctx context.Context, p policy.Principal, in ToolInput) (ToolResult, error) {
	args, err := checkArgs(in.Name, in.Args)
	if err != nil {
		return ToolResult{}, err
	}
	s := store.Session{Directory: cmp.Or(in.Directory, a.cfg.Directories[0])}
	if in.SessionID == "" {
		s.ID = a.cfg.IDs.NewDescending("ses")
	} else if s, err = a.Session(ctx, in.SessionID); err != nil {
		return ToolResult{}, err
	}
	root, ok := a.Root(s.Directory)
	if !ok {
		return ToolResult{}, fmt.Errorf("directory %q: %w: is in no project of this server", s.Directory, ErrInvalid)
	}
	ctx, end, err := a.begin(ctx, s.ID)
	if err != nil {
		return ToolResult{}, err
	}
	defer end()
	if in.SessionID == "" {
		c := &call{session: s, root: root, alone: true, attended: in.Attended, part: toolPart{
			CallID: a.cfg.IDs.New("call"), Tool: in.Name, State: toolState{Input: args, Metadata: map[string]any{}},
		}}
		return a.runTool(ctx, p, c)
	}
	if s, err = a.forget(ctx, s); err != nil {
		return ToolResult{}, err
	}
	c, err := a.openCall(ctx, s, root, openInput{tool: in.Name, args: args})
	if err != nil {
		if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
			err = context.Cause(ctx)
		}
		return ToolResult{}, err
	}
	c.attended = in.Attended
	result, runErr := a.runTool(ctx, p, c)
	err = a.closeTool(ctx, c, result, runErr)
	switch {
	case runErr != nil && err != nil:
		// Why it did not run is what the caller must know.
		a.cfg.Logger.ErrorContext(ctx, "the outcome of a call is not stored", slog.String("call", c.part.CallID), slog.Any("error", err))
	case err != nil:
		return ToolResult{}, err
	}
	return result, runErr
}

// runTool takes a call through the gate and runs it as obliged. It is the one
// way in which a tool runs, whoever calls it.
func (a *Agent) runTool(ctx context.Context, p policy.Principal, c *call) (ToolResult, error) {
	switch name := c.part.Tool; {
	case name == "bash":
		return a.runBash(ctx, p, c)
	case changesFiles[name] != "":
		return a.runChange(ctx, p, c)
	}
	r, err := a.runLook(ctx, p, c)
	if err != nil {
		return ToolResult{}, err
	}
	return a.withoutCredentials(r), nil
}

// withoutCredentials takes credentials out of what a tool shows of files.
func (a *Agent) withoutCredentials(r ToolResult) ToolResult {
	clean, n := a.cfg.Redactor.Count(r.Output)
	if n == 0 {
		return r
	}
	r.Output, r.Metadata = clean, maps.Clone(r.Metadata)
	for name, v := range r.Metadata {
		if text, ok := v.(string); ok {
			r.Metadata[name] = a.cfg.Redactor.String(text)
		}
	}
	r.Metadata["redacted"] = n
	return r
}

// checkArgs returns the arguments of a tool, checked: each is known and is what
// it must be, and none is missing.
func checkArgs(name string, args map[string]any) (map[string]any, error) {
	tools := Tools()
	i := slices.IndexFunc(tools, func(t ToolInfo) bool { return t.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("tool %q: %w: there is no such tool", name, ErrInvalid)
	}
	var errs []error
	out := map[string]any{}
	for key, v := range args {
		j := slices.IndexFunc(tools[i].Args, func(a Arg) bool { return a.Name == key })
		if j < 0 {
			errs = append(errs, fmt.Errorf("tool %s: %w: unknown argument %q", name, ErrInvalid, key))
			continue
		}
		if v == nil && !tools[i].Args[j].Required {
			continue // some clients send what they leave out
		}
		if err := checkArg(tools[i].Args[j].Kind, v); err != nil {
			errs = append(errs, fmt.Errorf("tool %s: argument %s: %w: %w", name, key, ErrInvalid, err))
			continue
		}
		out[key] = v
	}
	for _, arg := range tools[i].Args {
		if _, ok := args[arg.Name]; arg.Required && !ok {
			errs = append(errs, fmt.Errorf("tool %s: %w: the argument %s is missing", name, ErrInvalid, arg.Name))
		}
	}
	slices.SortFunc(errs, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if command, ok := out["command"].(string); ok {
		return out, checkCommand(command)
	}
	return out, nil
}

func checkArg(kind ArgKind, v any) error {
	switch kind {
	case ArgText:
		if text, ok := v.(string); !ok || !utf8.ValidString(text) {
			return errors.New("want a text")
		}
	case ArgNumber:
		if n, ok := v.(float64); !ok || n < 0 || n != math.Trunc(n) || n > math.MaxInt32 {
			return errors.New("want a whole number that is not negative")
		}
	case ArgBoolean:
		if _, ok := v.(bool); !ok {
			return errors.New("want true or false")
		}
	case ArgEdits:
		_, err := editsOf(v)
		return err
	}
	return nil
}

// number returns an argument that is a number, 0 if it is not there.
func number(args map[string]any, name string) int {
	n, _ := args[name].(float64) // it was checked
	return int(n)
}

func argText(args map[string]any, name string) string {
	text, _ := args[name].(string) // it was checked
	return text
}

// limitsOf returns what a decision obliges a tool to. Without limits nothing
// runs.
func limitsOf(d policy.Decision) (tool.Limits, error) {
	lim := tool.Limits{Timeout: time.Duration(d.Obligations.TimeoutSeconds) * time.Second, MaxOutput: d.Obligations.MaxOutputBytes}
	if lim.Timeout <= 0 || lim.MaxOutput <= 0 {
		return tool.Limits{}, fmt.Errorf("%w: the policy sets no limits", policy.ErrDenied)
	}
	return lim, nil
}

// decided notes in a call what was decided about it.
func (c *call) decided(d policy.Decision) {
	c.part.State.Metadata = map[string]any{"policy": map[string]any{"effect": d.Effect, "rules": d.Rules, "snapshot": d.Snapshot}}
}

// factsOf returns what policy saw of a file that the call names. What it has
// not seen is not touched.
func factsOf(in *policy.Input, raw string, access fspath.Access) (fspath.Path, error) {
	for _, f := range in.Prompt.Paths {
		if f.Raw != raw || f.Access != access {
			continue
		}
		if f.Problem != nil || !f.Inside || f.Relative == "" {
			// The policy may be wider than what is opened here.
			return fspath.Path{}, fmt.Errorf("%w: the path %q is not in the project", policy.ErrDenied, raw)
		}
		return f, nil
	}
	return fspath.Path{}, fmt.Errorf("%w: policy has not seen the path %q", policy.ErrDenied, raw)
}

// runBash runs a command.
func (a *Agent) runBash(ctx context.Context, p policy.Principal, c *call) (ToolResult, error) {
	args := c.part.State.Input
	c.command, c.timeout = argText(args, "command"), time.Duration(number(args, "timeout"))*time.Millisecond
	c.workdir = a.workdir(c, argText(args, "workdir"))
	r, err := a.runShell(ctx, p, c)
	if err != nil {
		return ToolResult{}, err
	}
	output := r.Output + note(r)
	return ToolResult{
		Title: argText(args, "description"), Output: output,
		Metadata: map[string]any{"output": output, "description": argText(args, "description"), "exit": r.ExitCode, "truncated": r.Truncated},
	}, nil
}

// workdir returns where a command starts. Policy has resolved the same text
// before it runs.
func (a *Agent) workdir(c *call, raw string) string {
	if raw == "" {
		return ""
	}
	if f := fspath.Resolve(c.root, c.session.Directory, raw, fspath.Read); f.Real != "" {
		return f.Real
	}
	return c.session.Directory // and policy denies what leads nowhere
}

// closeTool writes the outcome of a call, whatever it is.
func (a *Agent) closeTool(ctx context.Context, c *call, r ToolResult, runErr error) error {
	aborted := ctx.Err() != nil && (errors.Is(runErr, context.Cause(ctx)) || errors.Is(runErr, context.Canceled))
	// The outcome is written also when the caller is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	state := &c.part.State
	state.Time.End = millis(a.cfg.Now())
	if state.Metadata == nil {
		state.Metadata = map[string]any{}
	}
	if runErr != nil {
		state.Status, state.Error = "error", shownText(runErr)
		state.Metadata["refusal"] = refusal(runErr)
		return a.finishCall(ctx, c, aborted)
	}
	state.Status, state.Output, state.Title = "completed", &r.Output, &r.Title
	maps.Copy(state.Metadata, r.Metadata)
	for _, f := range r.Attachments {
		state.Attachments = append(state.Attachments, filePart{
			ID: a.cfg.IDs.New("prt"), SessionID: c.session.ID, MessageID: c.message.ID, Type: "file",
			Mime: f.Mime, Filename: f.Filename, URL: f.URL,
		})
	}
	return a.finishCall(ctx, c, aborted)
}
