package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
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
	if f.Directory, err = s.sessionDirectory(f.Directory, q.Get("scope"), q.Get("path")); err != nil {
		return err
	}
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
	limit := f.Limit
	project := q.Get("scope") == "project"
	if project {
		f.Limit = 0 // it counts what is left of the list
	}
	sessions, err := s.cfg.Agent.Sessions(r.Context(), f)
	if err != nil {
		return err
	}
	if project {
		_, root := s.place(r)
		id := agent.ProjectID(root)
		sessions = slices.DeleteFunc(sessions, func(session store.Session) bool { return session.ProjectID != id })
		if limit > 0 && len(sessions) > limit {
			sessions = sessions[:limit]
		}
	}
	s.encodeSessions(w, r, sessions)
	return nil
}

// encodeSessions answers with those of the sessions that may be read one by one.
func (s *Server) encodeSessions(w http.ResponseWriter, r *http.Request, sessions []store.Session) {
	shown := s.audience(r)
	list := make([]agent.SessionBody, 0, len(sessions))
	for _, session := range sessions {
		if shown.mayReadSession(r.Context(), session.ID, session.Directory) {
			list = append(list, agent.NewSessionBody(session))
		}
	}
	s.encode(w, r, http.StatusOK, list)
}

// createSessionBody is what a client may send. Its permission member can only
// narrow: what a session may do is the policy's to say.
type createSessionBody struct {
	ParentID    string              `json:"parentID"`
	Title       string              `json:"title"`
	Agent       string              `json:"agent"`
	Model       *agent.SessionModel `json:"model"`
	Metadata    json.RawMessage     `json:"metadata"`
	Permission  []agent.Restriction `json:"permission"`
	WorkspaceID string              `json:"workspaceID"`
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
		Model: body.Model, Restrictions: body.Permission, Directory: passedBy(r).directory,
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
// permission member can only narrow.
type patchSessionBody struct {
	Title      *string             `json:"title"`
	Metadata   json.RawMessage     `json:"metadata"`
	Permission []agent.Restriction `json:"permission"`
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
	id := chi.URLParam(r, "sessionID")
	if len(body.Permission) > 0 {
		if _, err := s.cfg.Agent.Restrict(r.Context(), id, body.Permission); err != nil {
			return err
		}
	}
	session, err := s.cfg.Agent.UpdateSession(r.Context(), id, func(session *store.Session) {
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

// sessionDirectory returns the directory whose sessions are wanted: a path
// below the project, or no single one for a whole project.
func (s *Server) sessionDirectory(dir, scope, path string) (string, error) {
	if path != "" {
		root, ok := s.cfg.Agent.Root(cmp.Or(dir, s.cfg.Directories[0]))
		if !ok || !filepath.IsLocal(filepath.FromSlash(path)) {
			return "", fmt.Errorf("path %q: %w: want a path below the project", path, errBadRequest)
		}
		return filepath.Join(root, filepath.FromSlash(path)), nil
	}
	switch scope {
	case "":
		return dir, nil
	case "project":
		return "", nil
	}
	return "", fmt.Errorf("scope %q: %w: want project", scope, errBadRequest)
}

// statusBody says what a session is doing.
type statusBody struct {
	Type string `json:"type"` // busy
}

func (s *Server) sessionStatus(w http.ResponseWriter, r *http.Request) error {
	list := map[string]statusBody{}
	dir := passedBy(r).directory
	shown := s.audience(r)
	for _, id := range s.cfg.Agent.Busy() {
		session, err := s.cfg.Agent.Session(r.Context(), id)
		if errors.Is(err, store.ErrNotExist) {
			continue // it has gone in between
		}
		if err != nil {
			return err
		}
		if (dir == "" || session.Directory == dir) && shown.mayReadSession(r.Context(), session.ID, session.Directory) {
			list[id] = statusBody{Type: "busy"}
		}
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

func (s *Server) listChildren(w http.ResponseWriter, r *http.Request) error {
	sessions, err := s.cfg.Agent.Children(r.Context(), chi.URLParam(r, "sessionID"))
	if err != nil {
		return err
	}
	s.encodeSessions(w, r, sessions)
	return nil
}

type forkBody struct {
	MessageID string `json:"messageID"`
}

func (s *Server) forkSession(w http.ResponseWriter, r *http.Request) error {
	var body forkBody
	if err := decode(w, r, &body, true); err != nil {
		return err
	}
	session, err := s.cfg.Agent.Fork(r.Context(), chi.URLParam(r, "sessionID"), body.MessageID)
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, agent.NewSessionBody(session))
	return nil
}

// todoBody is an entry of a model's list of what is to be done.
type todoBody struct {
	Content  string `json:"content"`
	Status   string `json:"status"`
	Priority string `json:"priority"`
}

// listTodos returns what a model has noted to do. No model does yet, so that
// the list of every session is empty.
func (s *Server) listTodos(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.cfg.Agent.Session(r.Context(), chi.URLParam(r, "sessionID")); err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, []todoBody{})
	return nil
}

func (s *Server) sessionDiff(w http.ResponseWriter, r *http.Request) error {
	diffs, err := s.cfg.Agent.Diff(r.Context(), chi.URLParam(r, "sessionID"), r.URL.Query().Get("messageID"))
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, diffs)
	return nil
}

type revertBody struct {
	MessageID string `json:"messageID"`
	PartID    string `json:"partID"`
}

func (s *Server) postRevert(w http.ResponseWriter, r *http.Request) error {
	var body revertBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	ctx, stop := s.whileValid(r)
	defer stop()
	session, err := s.cfg.Agent.Revert(ctx, passedBy(r).principal, chi.URLParam(r, "sessionID"), body.MessageID, body.PartID)
	return s.encodeReverted(ctx, w, r, session, err)
}

func (s *Server) postUnrevert(w http.ResponseWriter, r *http.Request) error {
	ctx, stop := s.whileValid(r)
	defer stop()
	session, err := s.cfg.Agent.Unrevert(ctx, passedBy(r).principal, chi.URLParam(r, "sessionID"))
	return s.encodeReverted(ctx, w, r, session, err)
}

func (s *Server) encodeReverted(ctx context.Context, w http.ResponseWriter, r *http.Request, session store.Session, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errUnauthenticated) {
		return cause
	}
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, agent.NewSessionBody(session))
	return nil
}
