package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

// errTicketHeader means that a page of another site may have sent the request:
// it cannot set this header.
var errTicketHeader = errors.New("the header x-opencode-ticket: 1 is missing")

// ptyNotFoundError says that there is no such terminal, or none for whoever
// asks.
type ptyNotFoundError struct{ id string }

func (e *ptyNotFoundError) Error() string { return "PTY session not found: " + e.id }

// ptyError names the terminal that does not exist.
func ptyError(id string, err error) error {
	if errors.Is(err, store.ErrNotExist) {
		return &ptyNotFoundError{id}
	}
	return err
}

// listPTYs shows the terminals that whoever asks may read one by one.
func (s *Server) listPTYs(w http.ResponseWriter, r *http.Request) error {
	list := []agent.PTY{}
	shown := s.audience(r)
	for _, pty := range s.cfg.Agent.PTYs(passedBy(r).directory) {
		if shown.mayRead(r.Context(), "/pty/"+url.PathEscape(pty.ID), pty.Directory) {
			list = append(list, pty)
		}
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// createPTYBody is what a client may say of a new terminal. SessionID is not
// published: the session that the terminal belongs to and dies with.
type createPTYBody struct {
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	Cwd       string            `json:"cwd"`
	Title     string            `json:"title"`
	Env       map[string]string `json:"env"`
	SessionID string            `json:"sessionID"`
}

func (s *Server) createPTY(w http.ResponseWriter, r *http.Request) error {
	var body createPTYBody
	if err := decode(w, r, &body, true); err != nil {
		return err
	}
	ctx, stop := s.whileValid(r)
	defer stop()
	pty, err := s.cfg.Agent.CreatePTY(ctx, passedBy(r).principal, agent.PTYInput{
		Command: body.Command, Args: body.Args, Cwd: body.Cwd, Title: body.Title, Env: body.Env,
		Directory: passedBy(r).directory, SessionID: body.SessionID,
	})
	if cause := context.Cause(ctx); errors.Is(cause, errUnauthenticated) {
		return cause
	}
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, pty)
	return nil
}

func (s *Server) getPTY(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "ptyID")
	pty, err := s.cfg.Agent.PTY(passedBy(r).directory, id)
	if err != nil {
		return ptyError(id, err)
	}
	s.encode(w, r, http.StatusOK, pty)
	return nil
}

type putPTYBody struct {
	Title string `json:"title"`
	Size  *struct {
		Rows int `json:"rows"`
		Cols int `json:"cols"`
	} `json:"size"`
}

func (s *Server) putPTY(w http.ResponseWriter, r *http.Request) error {
	var body putPTYBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	var size *agent.PTYSize
	if body.Size != nil {
		size = &agent.PTYSize{Rows: body.Size.Rows, Cols: body.Size.Cols}
	}
	id := chi.URLParam(r, "ptyID")
	pty, err := s.cfg.Agent.UpdatePTY(passedBy(r).directory, id, body.Title, size)
	if err != nil {
		return ptyError(id, err)
	}
	s.encode(w, r, http.StatusOK, pty)
	return nil
}

func (s *Server) deletePTY(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "ptyID")
	if err := s.cfg.Agent.RemovePTY(r.Context(), passedBy(r).directory, id); err != nil {
		return ptyError(id, err)
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// shellInfo is a shell that a terminal can hold.
type shellInfo struct {
	Path       string `json:"path"`
	Name       string `json:"name"`
	Acceptable bool   `json:"acceptable"`
}

func (s *Server) listShells(w http.ResponseWriter, r *http.Request) error {
	shells, err := tool.Shells()
	if err != nil {
		return err
	}
	list := make([]shellInfo, 0, len(shells))
	for _, shell := range shells {
		list = append(list, shellInfo(shell))
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// ticketBody is a ticket, which is good for one connection.
type ticketBody struct {
	Ticket    string `json:"ticket"`
	ExpiresIn int    `json:"expires_in"`
}

func (s *Server) postPTYTicket(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "ptyID")
	if h := r.Header.Values("X-Opencode-Ticket"); len(h) != 1 || h[0] != "1" {
		return errTicketHeader
	}
	ticket, err := s.cfg.Agent.IssueTicket(passedBy(r).principal, passedBy(r).directory, id)
	if err != nil {
		return ptyError(id, err)
	}
	s.encode(w, r, http.StatusOK, ticketBody{Ticket: ticket.Reveal(), ExpiresIn: int(agent.TicketLife.Seconds())})
	return nil
}

// ticketOf returns the ticket that a request shows, and the terminal that it
// is to be good for. Only a WebSocket to a terminal takes one.
func ticketOf(r *http.Request) (tickets []string, id string) {
	if r.Method != http.MethodGet || r.URL.RawQuery == "" || !isWebSocket(r) {
		return nil, ""
	}
	id, ok := ptyOfConnect(r.URL.EscapedPath())
	if !ok {
		return nil, ""
	}
	for _, t := range r.URL.Query()["ticket"] {
		if t != "" {
			tickets = append(tickets, t)
		}
	}
	return tickets, id
}

// identify turns the credential of a request into a principal: a ticket where
// one is shown, which is used up by that, else what authenticate takes. Nothing
// is told of why a ticket is refused, nor whether the terminal exists.
func (s *Server) identify(r *http.Request, now time.Time) (policy.Principal, error) {
	tickets, id := ticketOf(r)
	if len(tickets) == 0 {
		return s.authenticate(r, now)
	}
	directory := ""
	if d := s.directory(r); d != nil {
		directory = d.Real
		if directory == "" {
			directory = d.Raw // of no terminal
		}
	}
	var p policy.Principal
	var err error
	for _, t := range tickets {
		// Each is used up, also if there is more than the one that may be.
		p, err = s.cfg.Agent.RedeemTicket(r.Context(), t, directory, id)
	}
	if err == nil && len(tickets) > 1 {
		err = agent.ErrTicket
	}
	if err != nil {
		return policy.Principal{}, fmt.Errorf("%w: %w", errUnauthenticated, agent.ErrTicket)
	}
	// A credential beside it must be of the same principal.
	if _, found, err := credential(r); err != nil || found {
		other, err := s.authenticate(r, now)
		if err != nil || other.ID != p.ID || other.Kind != p.Kind {
			return policy.Principal{}, fmt.Errorf("%w: %w", errUnauthenticated, agent.ErrTicket)
		}
	}
	return p, nil
}
