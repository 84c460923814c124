package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/store"
)

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

func (s *Server) getMessage(w http.ResponseWriter, r *http.Request) error {
	m, err := s.cfg.Agent.Message(r.Context(), chi.URLParam(r, "sessionID"), chi.URLParam(r, "messageID"))
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, newMessageBody(m))
	return nil
}

func (s *Server) deleteMessage(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Agent.DeleteMessage(r.Context(), chi.URLParam(r, "sessionID"), chi.URLParam(r, "messageID")); err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// promptBody is a message to a model. The members that choose tools, a format
// or a system prompt are read and have no effect while there is no model.
type promptBody struct {
	MessageID string            `json:"messageID"`
	Model     *agent.ModelRef   `json:"model"`
	Agent     string            `json:"agent"`
	NoReply   bool              `json:"noReply"`
	Tools     map[string]bool   `json:"tools"`
	Format    json.RawMessage   `json:"format"`
	System    string            `json:"system"`
	Variant   string            `json:"variant"`
	Parts     []json.RawMessage `json:"parts"`
}

func (b promptBody) input() agent.PromptInput {
	in := agent.PromptInput{MessageID: b.MessageID, Agent: b.Agent, Parts: b.Parts, NoReply: b.NoReply}
	if b.Model != nil {
		in.Model = *b.Model
	}
	return in
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	var body promptBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	m, err := s.cfg.Agent.Prompt(r.Context(), chi.URLParam(r, "sessionID"), body.input())
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, newMessageBody(m))
	return nil
}

// postPromptAsync is [Server.postMessage] for a client that reads the answer
// from the events.
func (s *Server) postPromptAsync(w http.ResponseWriter, r *http.Request) error {
	var body promptBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	if _, err := s.cfg.Agent.Prompt(r.Context(), chi.URLParam(r, "sessionID"), body.input()); err != nil {
		return err
	}
	s.cfg.Agent.Settle(r.Context(), passedBy(r).principal)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// runCommandBody runs a command that is a template for a model.
type runCommandBody struct {
	MessageID string            `json:"messageID"`
	Agent     string            `json:"agent"`
	Model     string            `json:"model"`
	Arguments string            `json:"arguments"`
	Command   string            `json:"command"`
	Variant   string            `json:"variant"`
	Parts     []json.RawMessage `json:"parts"`
}

func (s *Server) postCommand(w http.ResponseWriter, r *http.Request) error {
	var body runCommandBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	return s.needsModel(r)
}

// useModelBody names the model that is to do something.
type useModelBody struct {
	ProviderID string `json:"providerID"`
	ModelID    string `json:"modelID"`
	MessageID  string `json:"messageID"`
	Auto       bool   `json:"auto"`
}

// postSummarize and postInit are what a model does, and there is none.
func (s *Server) postSummarize(w http.ResponseWriter, r *http.Request) error {
	var body useModelBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	return s.needsModel(r)
}

// needsModel says that a model is needed, of a session that exists.
func (s *Server) needsModel(r *http.Request) error {
	if _, err := s.cfg.Agent.Session(r.Context(), chi.URLParam(r, "sessionID")); err != nil {
		return err
	}
	return agent.ErrNoProvider
}
