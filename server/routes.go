package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
)

// route is one entry of the HTTP surface, with what its documentation says.
type route struct {
	method, pattern string
	handler         handler
	doc             op
}

// op documents a route: the OpenAPI document is made of these.
type op struct {
	id      string  // operationId, as published where it is published
	summary string  // a sentence without a full stop
	query   []param // beside those that every route takes
	body    any     // a value of the type of the request's body, nil for none
	// bodyOptional says that the body may be left out.
	bodyOptional bool
	result       any    // a value of the type of the answer, nil for none
	status       int    // of success; 0 is 200
	media        string // of the answer; "" is application/json
}

// param documents a query parameter.
type param struct{ name, kind, about string }

// table is the whole HTTP surface. Every request has passed the gate before it
// is routed, so that a route cannot be forgotten by it: which routes are
// public, and what the others need, is for the policy to say.
func (s *Server) table() []route {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		put    = http.MethodPut
		patch  = http.MethodPatch
		remove = http.MethodDelete
	)
	return []route{
		// Public in the default policy.
		{get, "/global/health", s.getHealth, op{id: "global.health", summary: "Tell that the server works", result: healthBody{}}},

		// Sessions.
		{get, "/session", s.listSessions, op{
			id: "session.list", summary: "List sessions, the last updated first", result: []agent.SessionBody{},
			query: []param{
				{"roots", "boolean", "only sessions without a parent"},
				{"search", "string", "a part of the title, in any case"},
				{"start", "integer", "only sessions updated since, in milliseconds"},
				{"limit", "integer", "the most to return"},
			},
		}},
		{post, "/session", s.createSession, op{
			id: "session.create", summary: "Start a session", body: createSessionBody{}, bodyOptional: true, result: agent.SessionBody{},
		}},
		{get, "/session/{sessionID}", s.getSession, op{id: "session.get", summary: "Return a session", result: agent.SessionBody{}}},
		{patch, "/session/{sessionID}", s.patchSession, op{
			id: "session.update", summary: "Change the title, the metadata or the archive time of a session", body: patchSessionBody{}, result: agent.SessionBody{},
		}},
		{remove, "/session/{sessionID}", s.deleteSession, op{id: "session.delete", summary: "Remove a session and its sub-sessions", result: true}},
		{get, "/session/{sessionID}/message", s.listMessages, op{
			id: "session.messages", summary: "List the messages of a session, oldest first", result: []messageBody{},
			query: []param{
				{"limit", "integer", "the most to return, counted from the last"},
				{"before", "string", "only messages before the one with this id"},
			},
		}},
		{post, "/session/{sessionID}/shell", s.postShell, op{
			id: "session.shell", summary: "Run a command and return the message that holds its outcome", body: shellBody{}, result: messageBody{},
		}},
		{post, "/session/{sessionID}/abort", s.postAbort, op{id: "session.abort", summary: "End what a session runs", result: true}},

		// Terminals.
		{get, "/pty", s.listPTYs, op{id: "pty.list", summary: "List the terminals", result: []agent.PTY{}}},
		{post, "/pty", s.createPTY, op{
			id: "pty.create", summary: "Start a command on a terminal, by default the user's shell", body: createPTYBody{}, bodyOptional: true, result: agent.PTY{},
		}},
		{get, "/pty/shells", s.listShells, op{id: "pty.shells", summary: "List the shells of the machine", result: []shellInfo{}}},
		{get, "/pty/{ptyID}", s.getPTY, op{id: "pty.get", summary: "Return a terminal", result: agent.PTY{}}},
		{put, "/pty/{ptyID}", s.putPTY, op{id: "pty.update", summary: "Change the title or the size of a terminal", body: putPTYBody{}, result: agent.PTY{}}},
		{remove, "/pty/{ptyID}", s.deletePTY, op{id: "pty.remove", summary: "End a terminal with all that it started", result: true}},
		{post, "/pty/{ptyID}/connect-token", s.postPTYTicket, op{
			id: "pty.connectToken", summary: "Return a ticket that is good for one connection to a terminal", result: ticketBody{},
		}},
		{get, "/pty/{ptyID}/connect", s.connectPTY, op{
			id: "pty.connect", summary: "Connect to a terminal by WebSocket", status: http.StatusSwitchingProtocols,
			query: []param{
				{"cursor", "integer", "where to go on, in UTF-16 code units since the start; -1 is now"},
				{"ticket", "string", "a ticket, in place of a token"},
			},
		}},

		// Questions that wait for a person.
		{get, "/permission", s.listPermissions, op{id: "permission.list", summary: "List the questions that wait for an answer", result: []agent.Permission{}}},
		{post, "/permission/{requestID}/reply", s.replyPermission, op{id: "permission.reply", summary: "Answer a question", body: replyBody{}, result: true}},
		{post, "/session/{sessionID}/permissions/{permissionID}", s.respondPermission, op{
			id: "permission.respond", summary: "Answer a question of a session", body: respondBody{}, result: true,
		}},

		// Events.
		{get, "/event", s.getEvents, op{id: "event.subscribe", summary: "Stream the events of a directory", result: agent.Event{}, media: eventStream}},
		{get, "/global/event", s.getGlobalEvents, op{id: "global.event", summary: "Stream the events of all directories", result: globalEvent{}, media: eventStream}},
	}
}

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// routes makes the router.
func (s *Server) routes() *chi.Mux {
	r := chi.NewRouter()
	r.NotFound(s.handle(s.notFound))
	r.MethodNotAllowed(s.handle(s.notFound))
	add := func(method, pattern string, h handler) {
		r.Method(method, pattern, s.handle(h))
		// HEAD is answered wherever GET is.
		if method == http.MethodGet {
			r.Head(pattern, s.handle(h))
		}
	}
	for _, route := range s.table() {
		add(route.method, route.pattern, route.handler)
	}
	// The rest of the published API: known to the router and to policy, so
	// that it is refused to whoever may not use it, and not offered to others.
	for _, route := range published {
		add(route.method, route.pattern, s.notOffered)
	}
	return r
}
