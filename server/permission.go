package server

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
)

func (s *Server) listPermissions(w http.ResponseWriter, r *http.Request) error {
	shown := s.audience(r)
	list := []agent.Permission{}
	for _, question := range s.cfg.Agent.Permissions(passedBy(r).directory) {
		if shown.mayReadSession(r.Context(), question.SessionID, question.Directory) {
			list = append(list, question)
		}
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

type replyBody struct {
	Reply   string `json:"reply"`
	Message string `json:"message"`
}

func (s *Server) replyPermission(w http.ResponseWriter, r *http.Request) error {
	var body replyBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	return s.answer(w, r, "", chi.URLParam(r, "requestID"), body.Reply, body.Message)
}

// respondBody is the older form of an answer.
type respondBody struct {
	Response string `json:"response"`
}

func (s *Server) respondPermission(w http.ResponseWriter, r *http.Request) error {
	var body respondBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	return s.answer(w, r, chi.URLParam(r, "sessionID"), chi.URLParam(r, "permissionID"), body.Response, "")
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, sessionID, id, text, message string) error {
	reply, err := agent.ParseReply(text)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if err := s.cfg.Agent.Answer(r.Context(), passedBy(r).principal, sessionID, id, reply, message); err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}
