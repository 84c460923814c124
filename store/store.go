// Package store holds the types that opencode keeps and the interfaces through
// which it keeps them. Backends are in its sub-packages; package storetest
// holds the contract that each must pass.
//
// A method that returns nil has made its change durable against the death of
// the process. Nothing here may assume that it is the only process. All
// implementations are safe for concurrent use.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors that every backend returns, wrapped with the operation and the key.
var (
	ErrNotExist  = errors.New("does not exist")
	ErrExist     = errors.New("already exists")
	ErrAmbiguous = errors.New("is ambiguous")
	// ErrCorrupt means that what is kept cannot be read. It is never
	// overwritten.
	ErrCorrupt = errors.New("is corrupt")
	// ErrNewer means that a newer version wrote what is kept.
	ErrNewer = errors.New("was written by a newer version of opencode")
)

// Token is a scoped access token, without the secret itself.
type Token struct {
	ID   string
	Name string
	// Hash is the SHA-256 of the secret.
	Hash        [32]byte
	Permissions []string
	Attributes  map[string]string
	Created     time.Time
	// Expires is zero for a token that never expires.
	Expires time.Time
	// LastUsed is zero for a token that was never used. It is coarse.
	LastUsed time.Time
}

// Tokens keeps access tokens.
type Tokens interface {
	// CreateToken adds a token. It returns [ErrExist] if the id or the hash is
	// taken.
	CreateToken(ctx context.Context, t Token) error
	// Tokens returns all tokens, oldest first.
	Tokens(ctx context.Context) ([]Token, error)
	// TokenByHash returns the token with that hash, or [ErrNotExist].
	TokenByHash(ctx context.Context, hash [32]byte) (Token, error)
	// DeleteToken removes the token with that id, or else that name, and
	// returns it. It returns [ErrNotExist], or [ErrAmbiguous] if several
	// tokens have the name.
	DeleteToken(ctx context.Context, idOrName string) (Token, error)
	// TouchToken records that a token was used. It may be coarse, and a token
	// that is gone is no error.
	TouchToken(ctx context.Context, id string, at time.Time) error
}

// Session is a conversation in one project directory.
type Session struct {
	ID        string
	Slug      string
	ProjectID string
	// Directory is the working directory of the session, an absolute path.
	Directory string
	ParentID  string
	Title     string
	Agent     string
	Version   string
	Metadata  json.RawMessage
	// Model, Restrictions and Revert are JSON, as the HTTP API shows them: the
	// model that was chosen, what the session may do less than policy lets it,
	// and up to where it is undone.
	Model        json.RawMessage
	Restrictions json.RawMessage
	Revert       json.RawMessage
	Created      time.Time
	Updated      time.Time
	// Archived is zero for a session that is not archived.
	Archived time.Time
}

// Message is one message of a session. Body is the message as the HTTP API
// shows it, a JSON object.
type Message struct {
	ID        string
	SessionID string
	Role      string
	Created   time.Time
	Body      json.RawMessage
}

// Part is one part of a message. Body is the part as the HTTP API shows it, a
// JSON object.
type Part struct {
	ID        string
	MessageID string
	SessionID string
	Type      string
	Body      json.RawMessage
}

// MessageParts is a message with its parts.
type MessageParts struct {
	Message Message
	Parts   []Part
}

// SessionFilter selects sessions; zero fields select all.
type SessionFilter struct {
	Directory string
	// Roots selects only sessions without a parent.
	Roots    bool
	ParentID string
	// Search is a part of the title, in any case.
	Search string
	// UpdatedSince selects sessions updated at or after that time.
	UpdatedSince time.Time
	// Limit is the most to return; 0 means all.
	Limit int
}

// Sessions keeps sessions, their messages and parts.
type Sessions interface {
	// CreateSession adds a session; [ErrExist] if the id is taken, [ErrNotExist]
	// if its parent does not exist.
	CreateSession(ctx context.Context, s Session) error
	// Session returns the session with that id, or [ErrNotExist].
	Session(ctx context.Context, id string) (Session, error)
	// Sessions returns the selected sessions, the last updated first.
	Sessions(ctx context.Context, f SessionFilter) ([]Session, error)
	// UpdateSession reads, changes and writes a session in one transaction,
	// and returns what it wrote. An error of change leaves all as it was.
	UpdateSession(ctx context.Context, id string, change func(*Session) error) (Session, error)
	// DeleteSession removes a session with everything in it, and its
	// sub-sessions with everything in them, and returns the removed ids.
	DeleteSession(ctx context.Context, id string) ([]string, error)

	// PutMessage adds or replaces messages and parts, all or nothing.
	// [ErrNotExist] if the session, or a part's message, does not exist.
	PutMessage(ctx context.Context, m []Message, p []Part) error
	// Messages returns the last limit messages of a session with their parts,
	// oldest first; those before the message with id before, if it is not "".
	// Limit 0 means all. [ErrNotExist] if the session does not exist.
	Messages(ctx context.Context, sessionID string, limit int, before string) ([]MessageParts, error)
	// Message returns one message, or [ErrNotExist].
	Message(ctx context.Context, sessionID, id string) (MessageParts, error)
	// DeleteMessages removes messages of a session with their parts, all or
	// nothing. [ErrNotExist] if the session has no message with one of the ids.
	DeleteMessages(ctx context.Context, sessionID string, ids ...string) error
	// PartsByStatus returns the tool parts whose Body has state.status equal to
	// one of the given, so that what a crash interrupted can be closed.
	PartsByStatus(ctx context.Context, status ...string) ([]Part, error)
}

// Approval is a lease: an answer of "always" that stands for a while.
type Approval struct {
	ID        string
	SessionID string
	Tool      string
	// Rule is the id of the rule that asked.
	Rule string
	// Pattern is what the lease covers, as the policy named it.
	Pattern string
	// PrincipalID is who granted it.
	PrincipalID string
	Created     time.Time
	Expires     time.Time
}

// Answer is the outcome of a question that policy made us ask.
type Answer struct {
	// ID is the id of the permission that was asked for.
	ID          string
	SessionID   string
	Tool        string
	Rules       []string
	Reply       string // once, always, reject, timeout, cancelled, unattended
	PrincipalID string // who answered; "" if nobody did
	Message     string
	Asked       time.Time
	Answered    time.Time
}

// Approvals keeps answers and leases.
type Approvals interface {
	// PutAnswer records an answer with the leases that it grants, all or
	// nothing. [ErrExist] if the question was answered before.
	PutAnswer(ctx context.Context, a Answer, leases []Approval) error
	// Answers returns the answers of a session, oldest first.
	Answers(ctx context.Context, sessionID string) ([]Answer, error)
	// Leases returns the leases of a session that have not expired at that
	// time, oldest first.
	Leases(ctx context.Context, sessionID string, at time.Time) ([]Approval, error)
	// DeleteLease revokes a lease, or returns [ErrNotExist].
	DeleteLease(ctx context.Context, id string) error
}

// DecisionRecord says what was decided, for whom, by which rules and which
// policy. It holds no argument and no content.
type DecisionRecord struct {
	ID          string
	Time        time.Time
	Kind        string // request or prompt
	PrincipalID string
	SessionID   string
	// Subject is the method and route of a request, or the tool of a prompt.
	Subject  string
	Effect   string
	Rules    []string
	Snapshot string
	Duration time.Duration
	// Error is why there was no decision; the effect is then deny.
	Error string
	// Count is how many equal decisions the record stands for, at least 1; ID,
	// Time and Duration are those of the last.
	Count int
	// Sandbox is what the command was held to that the decision let run, nil if
	// none ran or if the decision obliged to no sandbox.
	Sandbox *Sandbox
}

// Sandbox says what a command was held to when it started.
type Sandbox struct {
	// Held are the guarantees that it had, with what gave each.
	Held map[string]string `json:"held"`
	// Missing are those that it had not, with the reason.
	Missing map[string]string `json:"missing"`
	// Exempt are banned programs that it could run all the same.
	Exempt []string `json:"exempt"`
}

// DecisionFilter selects decision records; zero fields select all.
type DecisionFilter struct {
	Kind        string
	Effect      string
	PrincipalID string
	SessionID   string
	Subject     string
	// Rule is the id of a rule that took part.
	Rule string
	// Since selects records of that time or later.
	Since time.Time
	// Limit is the most to return; 0 means all.
	Limit int
}

// Decisions keeps the record of decisions.
type Decisions interface {
	PutDecisions(ctx context.Context, r []DecisionRecord) error
	// HoldDecision adds to the record of a decision what the command is held to
	// that it lets run, or returns [ErrNotExist].
	HoldDecision(ctx context.Context, id string, held Sandbox) error
	// Decisions returns the selected records, newest first.
	Decisions(ctx context.Context, f DecisionFilter) ([]DecisionRecord, error)
}

// Store is all that a server keeps in its database.
type Store interface {
	Sessions
	Approvals
	Decisions
	Close() error
}
