package server

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Mux shows the router to tests.
func (s *Server) Mux() chi.Router { return s.mux }

// Ungated is the server without its gate: no token, decision or record.
func (s *Server) Ungated() http.Handler {
	return s.recover(s.headers(s.checkHost(s.checkOrigin(s.limitBody(s.mux)))))
}

// The limits that tests hold requests against.
const (
	MaxBodyBytes = maxBodyBytes
	Heartbeat    = heartbeat
)

// WithLocal returns a request as it arrives from the local user.
func WithLocal(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), connKey{}, connFacts{local: true, unix: true}))
}
