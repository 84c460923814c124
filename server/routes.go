package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// routes is the whole HTTP surface. Every request has passed the gate before
// it is routed, so that a route cannot be forgotten by it: which routes are
// public, and what the others need, is for the policy to say.
func (s *Server) routes() *chi.Mux {
	r := chi.NewRouter()
	r.NotFound(s.handle(s.notFound))
	r.MethodNotAllowed(s.handle(s.notFound))

	// Public in the default policy.
	s.get(r, "/global/health", s.getHealth)

	// Sessions.
	s.get(r, "/session", s.listSessions)
	r.Post("/session", s.handle(s.createSession))
	s.get(r, "/session/{sessionID}", s.getSession)
	r.Patch("/session/{sessionID}", s.handle(s.patchSession))
	r.Delete("/session/{sessionID}", s.handle(s.deleteSession))
	s.get(r, "/session/{sessionID}/message", s.listMessages)
	r.Post("/session/{sessionID}/shell", s.handle(s.postShell))
	r.Post("/session/{sessionID}/abort", s.handle(s.postAbort))

	// Questions that wait for a person.
	s.get(r, "/permission", s.listPermissions)
	r.Post("/permission/{requestID}/reply", s.handle(s.replyPermission))
	r.Post("/session/{sessionID}/permissions/{permissionID}", s.handle(s.respondPermission))

	// Events.
	s.get(r, "/event", s.getEvents)

	// The rest of the published API: known to the router and to policy, so
	// that it is refused to whoever may not use it, and not offered to others.
	for _, route := range published {
		r.Method(route.method, route.pattern, s.handle(s.notOffered))
		if route.method == http.MethodGet {
			r.Head(route.pattern, s.handle(s.notOffered))
		}
	}
	return r
}

// get registers a handler for GET and HEAD.
func (s *Server) get(r chi.Router, pattern string, h handler) {
	r.Get(pattern, s.handle(h))
	r.Head(pattern, s.handle(h))
}
