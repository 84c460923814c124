package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
)

// nothing is an object without members.
type nothing struct{}

// What clients ask for and this server has none of is answered with an empty
// value rather than an error: it is true, and clients go on.

// constant answers with a value that is always the same.
func (s *Server) constant(v any) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.encode(w, r, http.StatusOK, v)
		return nil
	}
}

// capabilitiesBody is the answer of GET /experimental/capabilities.
type capabilitiesBody struct {
	BackgroundSubagents bool `json:"backgroundSubagents"`
}

// consoleBody is the answer of GET /experimental/console.
type consoleBody struct {
	ConsoleManagedProviders []string `json:"consoleManagedProviders"`
	SwitchableOrgCount      int      `json:"switchableOrgCount"`
}

// apiHealthBody is the answer of GET /api/health.
type apiHealthBody struct {
	Healthy bool `json:"healthy"`
}

// questionNotFoundError says that a tool's question does not exist. Its
// published form has members of its own.
type questionNotFoundError struct{ id string }

func (e *questionNotFoundError) Error() string {
	return fmt.Sprintf("question %q: %v", e.id, errNotFound)
}

// Is makes it match [errNotFound].
func (*questionNotFoundError) Is(target error) bool { return target == errNotFound }

// questionNotFound answers whoever answers a question: no tool asks any, so
// that none exists. Permissions are asked for elsewhere.
func (*Server) questionNotFound(_ http.ResponseWriter, r *http.Request) error {
	return &questionNotFoundError{chi.URLParam(r, "requestID")}
}

// logBody is a line for the server's log. Its extra member is read and dropped:
// nobody knows what is in it.
type logBody struct {
	Service string          `json:"service"`
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Extra   json.RawMessage `json:"extra"`
}

// The most bytes of a client's line that go to the log.
const (
	maxLogService = 64
	maxLogMessage = 1024
)

// postLog writes a client's line to the log, below everything of the server's
// own.
func (s *Server) postLog(w http.ResponseWriter, r *http.Request) error {
	var body logBody
	if err := decode(w, r, &body, false); err != nil {
		return err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, body.Level) {
		return fmt.Errorf("level: %w: want debug, info, warn or error", errBadRequest)
	}
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "client",
		slog.String("principal", passedBy(r).principal.ID), slog.String("service", shorten(body.Service, maxLogService)),
		slog.String("level", body.Level), slog.String("message", shorten(body.Message, maxLogMessage)))
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// shorten cuts a text to so many bytes, between two characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// reason says why a published route is not offered, "" where there is no more
// to say than that.
func reason(pattern string) string {
	switch pattern {
	case "/config", "/global/config", "/mcp":
		return "; settings are changed in the user's opencode.json on the server's machine"
	case "/auth/{providerID}", "/provider/{providerID}/oauth/authorize", "/provider/{providerID}/oauth/callback":
		return "; credentials are not taken from clients here: run `opencode auth login` on the server's machine"
	}
	if strings.HasPrefix(pattern, "/api/integration/") || strings.HasPrefix(pattern, "/api/credential/") {
		return reason("/auth/{providerID}")
	}
	return ""
}
