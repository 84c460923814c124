package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"opencode/store"
)

// Messages returns the last messages of a session, oldest first.
func (a *Agent) Messages(ctx context.Context, sessionID string, limit int, before string) ([]store.MessageParts, error) {
	if _, err := a.Session(ctx, sessionID); err != nil {
		return nil, err
	}
	return a.cfg.Store.Messages(ctx, sessionID, limit, before)
}

// Message returns one message of a session.
func (a *Agent) Message(ctx context.Context, sessionID, id string) (store.MessageParts, error) {
	if _, err := a.Session(ctx, sessionID); err != nil {
		return store.MessageParts{}, err
	}
	return a.cfg.Store.Message(ctx, sessionID, id)
}

// DeleteMessage removes a message. What it changed stays changed.
func (a *Agent) DeleteMessage(ctx context.Context, sessionID, id string) error {
	s, err := a.Session(ctx, sessionID)
	if err != nil {
		return err
	}
	ctx, end, err := a.begin(ctx, s.ID)
	if err != nil {
		return err
	}
	defer end()
	return a.removeMessages(ctx, s, id)
}

func (a *Agent) removeMessages(ctx context.Context, s store.Session, ids ...string) error {
	if err := a.cfg.Store.DeleteMessages(ctx, s.ID, ids...); err != nil {
		return err
	}
	for _, id := range ids {
		a.publish(s, "message.removed", map[string]any{"sessionID": s.ID, "messageID": id})
	}
	return nil
}

// PromptInput is a message of a person to a model.
type PromptInput struct {
	// MessageID is the id of the message, if the client chose one.
	MessageID string
	Agent     string
	Model     ModelRef
	// Parts are text, files and agents in their published form.
	Parts []json.RawMessage
	// NoReply keeps the message without an answer.
	NoReply bool
}

// maxParts bounds the parts of a message.
const maxParts = 1000

// Prompt puts a message into a session and returns the answer to it. Without a
// provider the answer is an error that says how to sign in.
func (a *Agent) Prompt(ctx context.Context, sessionID string, in PromptInput) (store.MessageParts, error) {
	s, err := a.Session(ctx, sessionID)
	if err != nil {
		return store.MessageParts{}, err
	}
	ctx, end, err := a.begin(ctx, s.ID)
	if err != nil {
		return store.MessageParts{}, err
	}
	defer end()
	if err := a.checkMessageID(ctx, s, in.MessageID); err != nil {
		return store.MessageParts{}, err
	}
	now := millis(a.cfg.Now())
	agent := cmp.Or(in.Agent, s.Agent)
	model := in.Model
	if chosen := sessionModel(s); model == (ModelRef{}) && chosen != nil {
		model = ModelRef{ProviderID: chosen.ProviderID, ModelID: chosen.ID}
	}
	user := userMessage{
		ID: cmp.Or(in.MessageID, a.cfg.IDs.New("msg")), SessionID: s.ID, Role: "user",
		Time: messageTime{Created: now}, Agent: agent, Model: model,
	}
	parts, err := a.promptParts(s, user.ID, in.Parts)
	if err != nil {
		return store.MessageParts{}, err
	}
	if s, err = a.forget(ctx, s); err != nil {
		return store.MessageParts{}, err
	}
	if err := a.put(ctx, []any{user}, parts); err != nil {
		return store.MessageParts{}, err
	}
	a.publish(s, "message.updated", map[string]any{"sessionID": s.ID, "info": user})
	for _, part := range parts {
		a.publishPart(s, part)
	}
	if in.NoReply {
		return a.cfg.Store.Message(ctx, s.ID, user.ID)
	}
	return a.unanswered(ctx, s, user)
}

// unanswered answers a message with the reason why no model does.
func (a *Agent) unanswered(ctx context.Context, s store.Session, user userMessage) (store.MessageParts, error) {
	root, _ := a.Root(s.Directory)
	now := millis(a.cfg.Now())
	m := assistantMessage{
		ID: a.cfg.IDs.New("msg"), SessionID: s.ID, Role: "assistant", Time: messageTime{Created: now, Completed: now},
		ParentID: user.ID, ModelID: user.Model.ModelID, ProviderID: user.Model.ProviderID, Mode: user.Agent, Agent: user.Agent,
		Path: messagePath{Cwd: s.Directory, Root: root},
		Error: &messageError{Name: "ProviderAuthError", Data: messageErrorData{
			ProviderID: cmp.Or(user.Model.ProviderID, "none"), Message: ErrNoProvider.Error(),
		}},
	}
	if err := a.put(ctx, []any{m}, nil); err != nil {
		return store.MessageParts{}, err
	}
	a.publishStatus(s, "busy")
	a.publish(s, "message.updated", map[string]any{"sessionID": s.ID, "info": m})
	a.publish(s, "session.error", map[string]any{"sessionID": s.ID, "error": m.Error})
	if _, err := a.UpdateSession(ctx, s.ID, func(*store.Session) {}); err != nil {
		return store.MessageParts{}, err
	}
	a.publishStatus(s, "idle")
	a.publish(s, "session.idle", map[string]any{"sessionID": s.ID})
	return a.cfg.Store.Message(ctx, s.ID, m.ID)
}

// promptParts returns the parts of a message as they are kept. Members that a
// client may choose are kept, those that say whose they are not.
func (a *Agent) promptParts(s store.Session, messageID string, in []json.RawMessage) ([]any, error) {
	if len(in) == 0 || len(in) > maxParts {
		return nil, fmt.Errorf("parts: %w: %d of them, want 1 to %d", ErrInvalid, len(in), maxParts)
	}
	want := map[string][]string{
		"text": {"text"}, "file": {"mime", "url"}, "agent": {"name"}, "subtask": {"prompt", "description", "agent"},
	}
	var parts []any
	for i, raw := range in {
		var part map[string]any
		if err := json.Unmarshal(raw, &part); err != nil || part == nil {
			return nil, fmt.Errorf("part %d: %w: is no object", i, ErrInvalid)
		}
		kind, _ := part["type"].(string)
		members, ok := want[kind]
		if !ok {
			return nil, fmt.Errorf("part %d: %w: type %q: want text, file, agent or subtask", i, ErrInvalid, kind)
		}
		for _, name := range members {
			if _, ok := part[name].(string); !ok {
				return nil, fmt.Errorf("part %d: %w: %s: want a text", i, ErrInvalid, name)
			}
		}
		id, _ := part["id"].(string)
		if id == "" {
			id = a.cfg.IDs.New("prt")
		} else if !store.ValidID("prt", id) {
			return nil, fmt.Errorf("part %d: %w: id %q: want prt_ and letters or digits", i, ErrInvalid, id)
		}
		part["id"], part["messageID"], part["sessionID"] = id, messageID, s.ID
		parts = append(parts, part)
	}
	return parts, nil
}

// checkMessageID refuses an id for a new message that is none, or is taken: a
// message that is there stays as it is.
func (a *Agent) checkMessageID(ctx context.Context, s store.Session, id string) error {
	if id == "" {
		return nil
	}
	if !store.ValidID("msg", id) {
		return fmt.Errorf("messageID %q: %w: want msg_ and letters or digits", id, ErrInvalid)
	}
	switch _, err := a.cfg.Store.Message(ctx, s.ID, id); {
	case err == nil:
		return fmt.Errorf("message %q: %w", id, store.ErrExist)
	case !errors.Is(err, store.ErrNotExist):
		return err
	}
	return nil
}
