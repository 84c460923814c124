package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/store"
)

type healthBody struct {
	Healthy bool   `json:"healthy"`
	Version string `json:"version"`
}

func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, healthBody{Healthy: true, Version: s.cfg.Version})
	return nil
}

func (s *Server) listSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := store.SessionFilter{
		Directory: passedBy(r).directory,
		Roots:     q.Get("roots") == "true",
		Search:    q.Get("search"),
	}
	var err error
	if f.Limit, err = count(q.Get("limit")); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	if start := q.Get("start"); start != "" {
		ms, err := strconv.ParseInt(start, 10, 64)
		if err != nil {
			return fmt.Errorf("start: %w: want milliseconds", errBadRequest)
		}
		f.UpdatedSince = time.UnixMilli(ms)
	}
	sessions, err := s.cfg.Agent.Sessions(r.Context(), f)
	if err != nil {
		return err
	}
	list := make([]agent.SessionBody, 0, len(sessions))
	for _, session := range sessions {
		list = append(list, agent.NewSessionBody(session))
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// createSessionBody is what a client may send. Its permission member is read
// and has no effect: what a session may do is the policy's to say.
type createSessionBody struct {
	ParentID    string          `json:"parentID"`
	Title       string          `json:"title"`
	Agent       string          `json:"agent"`
	Model       json.RawMessage `json:"model"`
	Metadata    json.RawMessage `json:"metadata"`
	Permission  json.RawMessage `json:"permission"`
	WorkspaceID string          `json:"workspaceID"`
}

func (s *Server) createSession(w http.ResponseWriter, r *http.Request) error {
	var body createSessionBody
	if err := decode(w, r, &body, true); err != nil {
		return err
	}
	if err := wantObject("metadata", body.Metadata); err != nil {
		return err
	}
	session, err := s.cfg.Agent.CreateSession(r.Context(), agent.SessionInput{
		ParentID: body.ParentID, Title: body.Title, Agent: body.Agent, Metadata: body.Metadata,
		Directory: passedBy(r).directory,
	})
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, agent.NewSessionBody(session))
	return nil
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request) error {
	session, err := s.cfg.Agent.Session(r.Context(), chi.URLParam(r, "sessionID"))
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, agent.NewSessionBody(session))
	return nil
}

// patchSessionBody is what a client may change. As at the start, its
// permission member has no effect.
type patchSessionBody struct {
	Title      *string         `json:"title"`
	Metadata   json.RawMessage `json:"metadata"`
	Permission json.RawMessage `json:"permission"`
	Time       *struct {
		Archived *int64 `json:"archived"`
	} `json:"time"`
}

func (s *Server) patchSession(w http.ResponseWriter, r *http.Request) error {
	var body patchSessionBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	if err := wantObject("metadata", body.Metadata); err != nil {
		return err
	}
	session, err := s.cfg.Agent.UpdateSession(r.Context(), chi.URLParam(r, "sessionID"), func(session *store.Session) {
		if body.Title != nil {
			session.Title = *body.Title
		}
		if len(body.Metadata) > 0 {
			session.Metadata = body.Metadata
		}
		if body.Time != nil && body.Time.Archived != nil {
			session.Archived = time.UnixMilli(*body.Time.Archived)
		}
	})
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, agent.NewSessionBody(session))
	return nil
}

func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Agent.DeleteSession(r.Context(), chi.URLParam(r, "sessionID")); err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// messageBody is a message with its parts.
type messageBody struct {
	Info  json.RawMessage   `json:"info"`
	Parts []json.RawMessage `json:"parts"`
}

func newMessageBody(m store.MessageParts) messageBody {
	b := messageBody{Info: m.Message.Body, Parts: make([]json.RawMessage, 0, len(m.Parts))}
	for _, p := range m.Parts {
		b.Parts = append(b.Parts, p.Body)
	}
	return b
}

func (s *Server) listMessages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := count(q.Get("limit"))
	if err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	messages, err := s.cfg.Agent.Messages(r.Context(), chi.URLParam(r, "sessionID"), limit, q.Get("before"))
	if err != nil {
		return err
	}
	list := make([]messageBody, 0, len(messages))
	for _, m := range messages {
		list = append(list, newMessageBody(m))
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

type shellBody struct {
	MessageID string          `json:"messageID"`
	Agent     string          `json:"agent"`
	Model     *agent.ModelRef `json:"model"`
	Command   string          `json:"command"`
	// Variant is sent by some clients and has no meaning for a command.
	Variant string `json:"variant"`
}

func (s *Server) postShell(w http.ResponseWriter, r *http.Request) error {
	var body shellBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	in := agent.ShellInput{Command: body.Command, Agent: body.Agent, MessageID: body.MessageID}
	if body.Model != nil {
		in.Model = *body.Model
	}
	ctx, stop := s.whileValid(r)
	defer stop()
	m, err := s.cfg.Agent.Shell(ctx, passedBy(r).principal, chi.URLParam(r, "sessionID"), in)
	if cause := context.Cause(ctx); errors.Is(cause, errUnauthenticated) {
		return cause
	}
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, newMessageBody(m))
	return nil
}

func (s *Server) postAbort(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "sessionID")
	if _, err := s.cfg.Agent.Session(r.Context(), id); err != nil {
		return err
	}
	if err := s.cfg.Agent.Abort(r.Context(), id); err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// decode reads the body of a request strictly. An empty one is the zero value
// where that is allowed.
func decode(w http.ResponseWriter, r *http.Request, v any, mayBeEmpty bool) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fmt.Errorf("%w: at most %d bytes", errTooLarge, tooLarge.Limit)
	case errors.Is(err, io.EOF) && mayBeEmpty:
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the body is empty", errBadRequest)
	case err != nil:
		return fmt.Errorf("%w: the body is not the JSON that is wanted: %w", errBadRequest, err)
	default:
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the body has more than one JSON value", errBadRequest)
		}
	}
	// What follows may take minutes, and the connection is watched meanwhile.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return nil
}

func wantObject(name string, b json.RawMessage) error {
	if len(b) == 0 {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return fmt.Errorf("%s: %w: want an object", name, errBadRequest)
	}
	return nil
}

// count reads a whole number that is not negative; nothing is 0.
func count(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is not a whole number of at least 0", errBadRequest, s)
	}
	return n, nil
}
