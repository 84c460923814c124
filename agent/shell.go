package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

// ShellInput is a command that a person runs in a session.
type ShellInput struct {
	Command string
	Agent   string
	Model   ModelRef
	// MessageID is the id of the user's message, if the client chose one.
	MessageID string
}

// shellNote is the text of the message that a command of a person makes.
const shellNote = "The following tool was executed by the user"

// Shell runs a command in a session, through the gate, and returns the message
// that holds its outcome. The context ends with whoever asked for it: when
// they are gone the command is killed. A refusal is an error and stands in the
// session as well.
func (a *Agent) Shell(ctx context.Context, p policy.Principal, sessionID string, in ShellInput) (store.MessageParts, error) {
	if err := checkCommand(in.Command); err != nil {
		return store.MessageParts{}, err
	}
	s, err := a.Session(ctx, sessionID)
	if err != nil {
		return store.MessageParts{}, err
	}
	root, ok := a.Root(s.Directory)
	if !ok {
		return store.MessageParts{}, fmt.Errorf("session %q: %w: its directory is in no project of this server", s.ID, ErrInvalid)
	}
	ctx, end, err := a.begin(ctx, s.ID)
	if err != nil {
		return store.MessageParts{}, err
	}
	defer end()
	if err := a.checkMessageID(ctx, s, in.MessageID); err != nil {
		return store.MessageParts{}, ended(ctx, err)
	}
	if s, err = a.forget(ctx, s); err != nil {
		return store.MessageParts{}, ended(ctx, err)
	}
	c, err := a.openCall(ctx, s, root, openInput{
		tool: "bash", args: map[string]any{"command": in.Command}, agent: in.Agent, model: in.Model, messageID: in.MessageID,
	})
	if err != nil {
		return store.MessageParts{}, ended(ctx, err)
	}
	c.command, c.attended = in.Command, true
	result, runErr := a.runShell(ctx, p, c)
	err = a.closeCall(ctx, c, result, runErr)
	switch {
	case runErr != nil && err != nil:
		// Why it did not run is what the caller must know.
		a.cfg.Logger.ErrorContext(ctx, "the outcome of a call is not stored", slog.String("call", c.part.CallID), slog.Any("error", err))
	case err != nil:
		return store.MessageParts{}, err
	}
	return c.messageParts(), runErr
}

// maxCommand is the longest command in bytes. A longer one is no argument that
// Linux takes.
const maxCommand = 128<<10 - 1

// checkCommand refuses what no shell can run before anybody is asked about it.
func checkCommand(command string) error {
	switch {
	case strings.TrimSpace(command) == "":
		return fmt.Errorf("command: %w: is empty", ErrInvalid)
	case strings.ContainsRune(command, 0):
		return fmt.Errorf("command: %w: has a NUL byte in it", ErrInvalid)
	case len(command) > maxCommand:
		return fmt.Errorf("command: %w: has %d bytes, at most %d", ErrInvalid, len(command), maxCommand)
	}
	return nil
}

// call is a tool call of a session with the message that holds it.
type call struct {
	session store.Session
	root    string
	message assistantMessage
	part    toolPart
	patch   *patchPart // what it changed, nil for nothing
	command string
	// workdir is where the command starts, if not in the session's directory.
	workdir string
	timeout time.Duration // that the caller wants, 0 for that of the policy
	// attended reports that whoever called can answer questions.
	attended bool
	// alone reports that the call belongs to no session: nothing of it is kept.
	alone bool
}

// ref names the call in a question.
func (c *call) ref() PermissionRef {
	if c.alone {
		return PermissionRef{}
	}
	return PermissionRef{MessageID: c.message.ID, CallID: c.part.CallID}
}

// openInput is what a call is opened with.
type openInput struct {
	tool      string
	args      map[string]any
	agent     string
	model     ModelRef
	messageID string
}

// openCall writes the user's message and the one that will hold the outcome.
func (a *Agent) openCall(ctx context.Context, s store.Session, root string, in openInput) (*call, error) {
	now := millis(a.cfg.Now())
	agent := cmp.Or(in.agent, s.Agent)
	user := userMessage{
		ID: cmp.Or(in.messageID, a.cfg.IDs.New("msg")), SessionID: s.ID, Role: "user",
		Time: messageTime{Created: now}, Agent: agent, Model: in.model,
	}
	text := textPart{ID: a.cfg.IDs.New("prt"), SessionID: s.ID, MessageID: user.ID, Type: "text", Text: shellNote, Synthetic: true}
	c := &call{session: s, root: root}
	c.message = assistantMessage{
		ID: a.cfg.IDs.New("msg"), SessionID: s.ID, Role: "assistant", Time: messageTime{Created: now},
		ParentID: user.ID, ModelID: in.model.ModelID, ProviderID: in.model.ProviderID, Mode: agent, Agent: agent,
		Path: messagePath{Cwd: s.Directory, Root: root},
	}
	c.part = toolPart{
		ID: a.cfg.IDs.New("prt"), SessionID: s.ID, MessageID: c.message.ID, Type: "tool",
		CallID: a.cfg.IDs.New("call"), Tool: in.tool,
		State: toolState{Status: "running", Input: in.args, Time: toolTime{Start: now}},
	}
	if err := a.put(ctx, []any{user, c.message}, []any{text, c.part}); err != nil {
		return nil, err
	}
	a.publish(s, "message.updated", map[string]any{"sessionID": s.ID, "info": user})
	a.publishPart(s, text)
	a.publishStatus(s, "busy")
	a.publish(s, "message.updated", map[string]any{"sessionID": s.ID, "info": c.message})
	a.publishPart(s, c.part)
	return c, nil
}

// runShell takes the command through the gate and runs it as obliged.
func (a *Agent) runShell(ctx context.Context, p policy.Principal, c *call) (tool.Result, error) {
	d, err := a.pass(ctx, prompt{
		session: c.session, root: c.root, principal: p, tool: c.part.Tool, args: c.part.State.Input,
		ref: c.ref(), attended: c.attended,
		asking: a.asking(c), alone: c.alone,
	})
	if err != nil {
		return tool.Result{}, err
	}
	decided := map[string]any{"effect": d.Effect, "rules": d.Rules, "snapshot": d.Snapshot}
	c.part.State.Metadata = map[string]any{"policy": decided}
	wrap := a.wrapper(ctx, d, c.root, func(r sandbox.Report) { decided["sandbox"] = r })
	if !c.alone {
		before := a.snapshot(ctx, c.root)
		defer func() { a.keepChange(ctx, c, before) }()
	}
	limit := time.Duration(d.Obligations.TimeoutSeconds) * time.Second
	if c.timeout > 0 {
		limit = min(limit, c.timeout)
	}
	r, err := a.cfg.Bash.Run(ctx, tool.BashCall{ID: c.part.CallID, Command: c.command, Directory: cmp.Or(c.workdir, c.session.Directory), Wrap: wrap},
		tool.Limits{
			Timeout:   limit,
			MaxOutput: d.Obligations.MaxOutputBytes,
		},
		func(output string) {
			if c.alone {
				return
			}
			output, _ = a.keepOutput(output)
			shown := c.part
			shown.State.Metadata = map[string]any{"output": output, "description": ""}
			a.publishPart(c.session, shown)
		})
	if err != nil {
		err = a.failed(err)
		// Why the context has ended says more than that it has.
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}
	return r, err
}

// asking returns what shows in a call why a person is asked: the question itself
// shows no reason in every client, so that the call does for as long as it waits.
func (a *Agent) asking(c *call) func(ctx context.Context, reasons string) error {
	if c.alone {
		return nil
	}
	return func(ctx context.Context, reasons string) error {
		shown := c.part
		shown.State.Metadata = map[string]any{"output": reasons, "description": ""}
		// A client that has just come reads the part instead of the event.
		if err := a.put(ctx, nil, []any{shown}); err != nil {
			return err
		}
		a.publishPart(c.session, shown)
		return nil
	}
}

// keepChange notes what a call has changed, so that it can be undone.
func (a *Agent) keepChange(ctx context.Context, c *call, before string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	change := a.changed(ctx, c.root, before)
	if change == nil {
		return
	}
	c.part.State.Metadata["snapshot"] = snapshotMeta{Before: change.before, After: change.after, Files: change.files}
	c.patch = &patchPart{
		ID: a.cfg.IDs.New("prt"), SessionID: c.session.ID, MessageID: c.message.ID, Type: "patch", Hash: change.before,
	}
	for _, file := range change.files {
		c.patch.Files = append(c.patch.Files, filepath.Join(c.root, filepath.FromSlash(file)))
	}
}

// runError is an error of a tool, which clients may read: its text holds no
// credential.
type runError struct {
	err  error
	text string
}

// failed returns an error of a tool for clients.
func (a *Agent) failed(err error) error { return &runError{err, a.cfg.Redactor.String(err.Error())} }

func (e *runError) Error() string { return e.text }

func (e *runError) Unwrap() error { return e.err }

// shownText returns what clients may read of an error. What went wrong inside
// is for the log.
func shownText(err error) string {
	var denied *policy.DeniedError
	var refused *RefusedError
	var run *runError
	switch {
	case errors.As(err, &denied):
		return denied.Error()
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &run), errors.Is(err, ErrSandbox), errors.Is(err, ErrAborted), errors.Is(err, ErrStopped):
		return err.Error()
	case errors.Is(err, policy.ErrDenied):
		return "denied: the policy could not decide; the server's log says more"
	}
	return "internal error; the server's log says more"
}

// closeCall writes the outcome of a call, whatever it is.
func (a *Agent) closeCall(ctx context.Context, c *call, r tool.Result, runErr error) error {
	aborted := r.Aborted || ctx.Err() != nil && (errors.Is(runErr, context.Cause(ctx)) || errors.Is(runErr, context.Canceled))
	// The outcome is written also when the caller is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordLimit)
	defer cancel()
	now := millis(a.cfg.Now())
	state := &c.part.State
	state.Time.End = now
	if state.Metadata == nil {
		state.Metadata = map[string]any{}
	}
	switch {
	case runErr != nil:
		state.Status, state.Error = "error", a.cfg.Redactor.String(shownText(runErr))
		state.Metadata["refusal"] = refusal(runErr)
		// Clients show the error of a call only beside its output.
		state.Metadata["output"], state.Metadata["description"] = "", ""
	default:
		output := a.describeOutput(state.Metadata, r) + note(r)
		state.Status, state.Output, state.Title = "completed", &output, new(string)
		state.Metadata["output"], state.Metadata["description"] = output, ""
		state.Metadata["exit"], state.Metadata["truncated"] = r.ExitCode, r.Truncated
	}
	return a.finishCall(ctx, c, aborted)
}

// finishCall keeps a call that has ended, and tells subscribers.
func (a *Agent) finishCall(ctx context.Context, c *call, aborted bool) error {
	c.message.Time.Completed = c.part.State.Time.End
	if aborted {
		c.message.Error = &messageError{Name: "MessageAbortedError", Data: messageErrorData{Message: "aborted"}}
	}
	parts := []any{c.part}
	if c.patch != nil {
		parts = append(parts, *c.patch)
	}
	putErr := a.put(ctx, []any{c.message}, parts)
	for _, part := range parts {
		a.publishPart(c.session, part)
	}
	a.publish(c.session, "message.updated", map[string]any{"sessionID": c.session.ID, "info": c.message})
	if _, err := a.UpdateSession(ctx, c.session.ID, func(*store.Session) {}); err != nil {
		putErr = errors.Join(putErr, err)
	}
	a.publishStatus(c.session, "idle")
	a.publish(c.session, "session.idle", map[string]any{"sessionID": c.session.ID})
	return putErr
}

// note says on a line of its own how a command ended that did not end by
// itself.
func note(r tool.Result) string {
	switch {
	case r.TimedOut:
		return fmt.Sprintf("\n[killed: the time limit of the policy was reached after %s]", r.Duration.Round(time.Second))
	case r.Aborted:
		return "\n[killed: aborted]"
	}
	return ""
}

// refusal describes why a call did not run, for clients.
func refusal(err error) map[string]any {
	var denied *policy.DeniedError
	var refused *RefusedError
	switch {
	case errors.As(err, &denied):
		return map[string]any{"outcome": "denied", "rules": denied.Decision.Rules, "needs": denied.Decision.Needs}
	case errors.As(err, &refused):
		return map[string]any{"outcome": refused.Reply, "rules": refused.Decision.Rules}
	}
	return map[string]any{"outcome": "error"}
}

// put writes messages and parts in their published form.
func (a *Agent) put(ctx context.Context, messages, parts []any) error {
	var ms []store.Message
	var ps []store.Part
	for _, m := range messages {
		row, err := messageRow(m)
		if err != nil {
			return err
		}
		ms = append(ms, row)
	}
	for _, p := range parts {
		row, err := partRow(p)
		if err != nil {
			return err
		}
		ps = append(ps, row)
	}
	return a.cfg.Store.PutMessage(ctx, ms, ps)
}

func messageRow(v any) (store.Message, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return store.Message{}, err
	}
	var head struct {
		ID        string      `json:"id"`
		SessionID string      `json:"sessionID"`
		Role      string      `json:"role"`
		Time      messageTime `json:"time"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return store.Message{}, err
	}
	return store.Message{ID: head.ID, SessionID: head.SessionID, Role: head.Role, Created: time.UnixMilli(head.Time.Created), Body: b}, nil
}

func partRow(v any) (store.Part, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return store.Part{}, err
	}
	var head struct {
		ID        string `json:"id"`
		SessionID string `json:"sessionID"`
		MessageID string `json:"messageID"`
		Type      string `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return store.Part{}, err
	}
	return store.Part{ID: head.ID, SessionID: head.SessionID, MessageID: head.MessageID, Type: head.Type, Body: b}, nil
}

func (c *call) messageParts() store.MessageParts {
	message, err := messageRow(c.message)
	part, err2 := partRow(c.part)
	if err != nil || err2 != nil {
		return store.MessageParts{}
	}
	m := store.MessageParts{Message: message, Parts: []store.Part{part}}
	if c.patch != nil {
		if row, err := partRow(*c.patch); err == nil {
			m.Parts = append(m.Parts, row)
		}
	}
	return m
}

func (a *Agent) publishPart(s store.Session, part any) {
	a.publish(s, "message.part.updated", map[string]any{"sessionID": s.ID, "part": part, "time": millis(a.cfg.Now())})
}

func (a *Agent) publishStatus(s store.Session, status string) {
	a.publish(s, "session.status", map[string]any{"sessionID": s.ID, "status": map[string]any{"type": status}})
}

// recover closes the calls that a crash left open. They did not finish, and
// nothing of them runs any more.
func (a *Agent) recover(ctx context.Context) error {
	parts, err := a.cfg.Store.PartsByStatus(ctx, "running", "pending")
	if err != nil {
		return err
	}
	for _, row := range parts {
		var part toolPart
		if err := json.Unmarshal(row.Body, &part); err != nil {
			return fmt.Errorf("part %q: %w: %w", row.ID, store.ErrCorrupt, err)
		}
		part.State.Status = "error"
		part.State.Error = "interrupted: the server ended before the command did"
		part.State.Time.End = millis(a.cfg.Now())
		part.State.Metadata = map[string]any{"refusal": map[string]any{"outcome": "interrupted"}}
		messages := []any{}
		if m, err := a.cfg.Store.Message(ctx, row.SessionID, row.MessageID); err == nil {
			var body assistantMessage
			if err := json.Unmarshal(m.Message.Body, &body); err == nil && body.Role == "assistant" {
				body.Time.Completed = part.State.Time.End
				body.Error = &messageError{Name: "MessageAbortedError", Data: messageErrorData{Message: "interrupted"}}
				messages = append(messages, body)
			}
		}
		if err := a.put(ctx, messages, []any{part}); err != nil {
			return err
		}
		a.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "closed an interrupted call", slog.String("session", row.SessionID), slog.String("part", row.ID))
	}
	return nil
}
