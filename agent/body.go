package agent

import (
	"encoding/json"
	"time"

	"opencode/store"
)

// The bodies below are what the published API shows of a session and its
// messages; messages and parts are stored in that form.

// SessionBody is a session as the API shows it.
type SessionBody struct {
	ID        string          `json:"id"`
	Slug      string          `json:"slug"`
	ProjectID string          `json:"projectID"`
	Directory string          `json:"directory"`
	ParentID  string          `json:"parentID,omitempty"`
	Cost      float64         `json:"cost"`
	Tokens    Tokens          `json:"tokens"`
	Title     string          `json:"title"`
	Agent     string          `json:"agent,omitempty"`
	Model     json.RawMessage `json:"model,omitempty"` // a SessionModel
	Version   string          `json:"version"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Time      SessionTime     `json:"time"`
	// Permission holds what narrows the session, a list of Restriction.
	Permission json.RawMessage `json:"permission,omitempty"`
	Revert     json.RawMessage `json:"revert,omitempty"` // a Reverted
}

// SessionModel is the model that a client has chosen for a session.
type SessionModel struct {
	ID         string `json:"id"`
	ProviderID string `json:"providerID"`
	Variant    string `json:"variant,omitempty"`
}

// sessionModel returns the model of a session, nil if it has none.
func sessionModel(s store.Session) *SessionModel {
	var m SessionModel
	if len(s.Model) == 0 || json.Unmarshal(s.Model, &m) != nil {
		return nil
	}
	return &m
}

// Reverted says up to where a session is undone: the message and all after it
// are, with what they changed.
type Reverted struct {
	MessageID string `json:"messageID"`
	PartID    string `json:"partID,omitempty"`
	// Snapshot is the state before it was undone.
	Snapshot string `json:"snapshot,omitempty"`
	Diff     string `json:"diff,omitempty"`
}

// SessionTime holds the times of a session, in milliseconds.
type SessionTime struct {
	Created  int64 `json:"created"`
	Updated  int64 `json:"updated"`
	Archived int64 `json:"archived,omitempty"`
}

// Tokens counts what a model has read and written.
type Tokens struct {
	Input     int        `json:"input"`
	Output    int        `json:"output"`
	Reasoning int        `json:"reasoning"`
	Cache     CacheCount `json:"cache"`
}

// CacheCount counts what a model has read from and written to its cache.
type CacheCount struct {
	Read  int `json:"read"`
	Write int `json:"write"`
}

// NewSessionBody returns a session as the API shows it.
func NewSessionBody(s store.Session) SessionBody {
	b := SessionBody{
		ID: s.ID, Slug: s.Slug, ProjectID: s.ProjectID, Directory: s.Directory, ParentID: s.ParentID,
		Title: s.Title, Agent: s.Agent, Version: s.Version, Metadata: s.Metadata,
		Model: s.Model, Permission: s.Restrictions, Revert: s.Revert,
		Time: SessionTime{Created: s.Created.UnixMilli(), Updated: s.Updated.UnixMilli()},
	}
	if !s.Archived.IsZero() {
		b.Time.Archived = s.Archived.UnixMilli()
	}
	return b
}

// ModelRef names a model.
type ModelRef struct {
	ProviderID string `json:"providerID"`
	ModelID    string `json:"modelID"`
}

type userMessage struct {
	ID        string      `json:"id"`
	SessionID string      `json:"sessionID"`
	Role      string      `json:"role"`
	Time      messageTime `json:"time"`
	Agent     string      `json:"agent"`
	Model     ModelRef    `json:"model"`
}

type messageTime struct {
	Created   int64 `json:"created"`
	Completed int64 `json:"completed,omitempty"`
}

type assistantMessage struct {
	ID         string        `json:"id"`
	SessionID  string        `json:"sessionID"`
	Role       string        `json:"role"`
	Time       messageTime   `json:"time"`
	ParentID   string        `json:"parentID"`
	ModelID    string        `json:"modelID"`
	ProviderID string        `json:"providerID"`
	Mode       string        `json:"mode"`
	Agent      string        `json:"agent"`
	Path       messagePath   `json:"path"`
	Cost       float64       `json:"cost"`
	Tokens     Tokens        `json:"tokens"`
	Error      *messageError `json:"error,omitempty"`
}

type messagePath struct {
	Cwd  string `json:"cwd"`
	Root string `json:"root"`
}

type messageError struct {
	Name string           `json:"name"`
	Data messageErrorData `json:"data"`
}

type messageErrorData struct {
	ProviderID string `json:"providerID,omitempty"`
	Message    string `json:"message"`
}

type textPart struct {
	ID        string `json:"id"`
	SessionID string `json:"sessionID"`
	MessageID string `json:"messageID"`
	Type      string `json:"type"`
	Text      string `json:"text"`
	Synthetic bool   `json:"synthetic,omitempty"`
}

// patchPart says which files a call has changed, and from what.
type patchPart struct {
	ID        string   `json:"id"`
	SessionID string   `json:"sessionID"`
	MessageID string   `json:"messageID"`
	Type      string   `json:"type"`
	Hash      string   `json:"hash"`  // the snapshot before
	Files     []string `json:"files"` // absolute
}

type toolPart struct {
	ID        string    `json:"id"`
	SessionID string    `json:"sessionID"`
	MessageID string    `json:"messageID"`
	Type      string    `json:"type"`
	CallID    string    `json:"callID"`
	Tool      string    `json:"tool"`
	State     toolState `json:"state"`
}

// toolState is the state of a tool part. Which members there are depends on
// the status.
type toolState struct {
	Status   string         `json:"status"` // running, completed or error
	Input    map[string]any `json:"input"`
	Output   *string        `json:"output,omitempty"`
	Title    *string        `json:"title,omitempty"`
	Error    string         `json:"error,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Time     toolTime       `json:"time"`
	// Attachments are files that were read, such as images.
	Attachments []filePart `json:"attachments,omitempty"`
}

type filePart struct {
	ID        string `json:"id"`
	SessionID string `json:"sessionID"`
	MessageID string `json:"messageID"`
	Type      string `json:"type"`
	Mime      string `json:"mime"`
	Filename  string `json:"filename"`
	URL       string `json:"url"`
}

type toolTime struct {
	Start int64 `json:"start"`
	End   int64 `json:"end,omitempty"`
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// Shapes returns a value of each type of message and of part that a session
// holds, for documentation.
func Shapes() (messages, parts []any) {
	return []any{userMessage{}, assistantMessage{}}, []any{textPart{}, toolPart{}, patchPart{}}
}
