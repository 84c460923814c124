package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/policy"
	"opencode/provider/signin"
	"opencode/store"
)

// Errors of the server itself.
var (
	errUnauthenticated = errors.New("unauthenticated")
	errForbiddenHost   = errors.New("the host name is not one of this server's")
	errForbiddenOrigin = errors.New("the origin is not allowed")
	errNotFound        = errors.New("not found")
	errNotOffered      = errors.New("is part of the published API and not offered by this server")
	errMethod          = errors.New("the method is not offered for this path")
	errBadRequest      = errors.New("bad request")
	errMediaType       = errors.New("the body must be application/json")
	errTooLarge        = errors.New("the body is too large")
)

// statuses is the one place that turns an error into a status. What is not
// listed is an internal error, whose text goes to the log alone.
var statuses = []struct {
	err    error
	name   string
	status int
}{
	{errUnauthenticated, "UnauthorizedError", http.StatusUnauthorized},
	{errForbiddenHost, "ForbiddenHostError", http.StatusForbidden},
	{errForbiddenOrigin, "ForbiddenOriginError", http.StatusForbidden},
	{errTicketHeader, "PtyForbiddenError", http.StatusForbidden},
	{errNotFound, "NotFoundError", http.StatusNotFound},
	{errNotOffered, "NotFoundError", http.StatusNotFound},
	{errMethod, "MethodNotAllowedError", http.StatusMethodNotAllowed},
	{policy.ErrDenied, "PermissionDeniedError", http.StatusForbidden},
	{agent.ErrRefused, "PermissionRefusedError", http.StatusForbidden},
	{errBadRequest, "BadRequest", http.StatusBadRequest},
	{errMediaType, "UnsupportedMediaTypeError", http.StatusUnsupportedMediaType},
	{errTooLarge, "PayloadTooLargeError", http.StatusRequestEntityTooLarge},
	{agent.ErrInvalid, "BadRequest", http.StatusBadRequest},
	{agent.ErrBusy, "SessionBusyError", http.StatusConflict},
	{agent.ErrNoProvider, "ProviderAuthError", http.StatusBadRequest},
	{agent.ErrNoUndo, "RevertError", http.StatusConflict},
	{agent.ErrLimit, "LimitError", http.StatusTooManyRequests},
	{agent.ErrStopped, "ServiceUnavailableError", http.StatusServiceUnavailable},
	{agent.ErrAborted, "MessageAbortedError", http.StatusConflict},
	{errAuthInvalid, "ProviderAuthValidationFailed", http.StatusBadRequest},
	{errAuthMissing, "ProviderAuthOauthMissing", http.StatusBadRequest},
	{errAuthCodeMissing, "ProviderAuthOauthCodeMissing", http.StatusBadRequest},
	{errAuthFailed, "ProviderAuthOauthCallbackFailed", http.StatusBadRequest},
	{signin.ErrTooMany, "LimitError", http.StatusTooManyRequests},
	{signin.ErrStopped, "ServiceUnavailableError", http.StatusServiceUnavailable},
	{store.ErrReadOnly, "ReadOnlyError", http.StatusConflict},
	{store.ErrCredential, "BadRequest", http.StatusBadRequest},
	{store.ErrNotExist, "NotFoundError", http.StatusNotFound},
	{store.ErrExist, "ConflictError", http.StatusConflict},
	{context.Canceled, "ClientClosedRequestError", statusClientClosed},
	{context.DeadlineExceeded, "TimeoutError", http.StatusGatewayTimeout},
}

// statusClientClosed is for the log: the client that would read it is gone.
const statusClientClosed = 499

// methodError is an errMethod that knows the methods of the path.
type methodError struct{ allow []string }

func (*methodError) Error() string { return errMethod.Error() }

func (*methodError) Is(target error) bool { return target == errMethod }

// errorBody is the body of every error.
type errorBody struct {
	Name string    `json:"name"`
	Data errorData `json:"data"`
	// Some errors are published in another form, whose members stand beside
	// those of every error.
	Tag       string `json:"_tag,omitempty"`
	RequestID string `json:"requestID,omitempty"`
	PtyID     string `json:"ptyID,omitempty"`
	Message   string `json:"message,omitempty"`
}

type errorData struct {
	Message string `json:"message"`
	// Rules are the rules that denied, and Needs the permissions that the
	// principal lacks.
	Rules []policy.Rule `json:"rules,omitempty"`
	Needs []string      `json:"needs,omitempty"`
	// Outcome says how a question ended that was not answered with yes.
	Outcome string `json:"outcome,omitempty"`
	// ProviderID names the provider that is not signed in.
	ProviderID string `json:"providerID,omitempty"`
	// Policy is the digest of the policy that decided.
	Policy string `json:"policy,omitempty"`
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, body := http.StatusInternalServerError, errorBody{Name: "UnknownError", Data: errorData{Message: "internal error; the server's log says more"}}
	for _, known := range statuses {
		if errors.Is(err, known.err) {
			status, body = known.status, errorBody{Name: known.name, Data: errorData{Message: err.Error()}}
			break
		}
	}
	var denied *policy.DeniedError
	var refused *agent.RefusedError
	switch {
	case errors.As(err, &denied):
		body.Data.Rules, body.Data.Needs, body.Data.Policy = denied.Decision.Rules, denied.Decision.Needs, denied.Decision.Snapshot
	case errors.As(err, &refused):
		body.Data.Rules, body.Data.Outcome, body.Data.Policy = refused.Decision.Rules, refused.Reply, refused.Decision.Snapshot
		body.Data.Message = refused.Error()
	case errors.Is(err, agent.ErrNoProvider):
		body.Data.ProviderID = "none"
	case errors.Is(err, agent.ErrSandbox):
		body.Data.Message = err.Error()
	case status == http.StatusForbidden && errors.Is(err, policy.ErrDenied):
		// The policy gave no decision; why is for the log.
		body.Data.Message = "denied: the policy could not decide; the server's log says more"
	}
	if failed, ok := errors.AsType[*providerAuthError](err); ok {
		body.Data.ProviderID = failed.provider
	}
	if missing, ok := errors.AsType[*questionNotFoundError](err); ok {
		body.Name, body.Tag, body.RequestID, body.Message = "QuestionNotFoundError", "QuestionNotFoundError", missing.id, body.Data.Message
	}
	if missing, ok := errors.AsType[*ptyNotFoundError](err); ok {
		status, body = http.StatusNotFound, errorBody{
			Name: "PtyNotFoundError", Data: errorData{Message: missing.Error()},
			Tag: "PtyNotFoundError", PtyID: missing.id, Message: missing.Error(),
		}
	}
	if errors.Is(err, errTicketHeader) {
		body.Tag, body.Message = body.Name, body.Data.Message
	}
	if status == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Bearer realm="opencode"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="opencode", charset="UTF-8"`)
	}
	if method, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", strings.Join(method.allow, ", "))
	}
	if status == http.StatusInternalServerError || errors.Is(err, policy.ErrDenied) && denied == nil {
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	s.encode(w, r, status, body)
}

// encode answers with a JSON value. Whoever has changed something and listens
// has received the events about it by then.
func (s *Server) encode(w http.ResponseWriter, r *http.Request, status int, v any) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if p := passedBy(r).principal; p.ID != "" {
			s.cfg.Agent.Settle(r.Context(), p)
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"name":"UnknownError","data":{"message":"internal error; the server's log says more"}}`)
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "response", slog.Any("error", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(b, '\n'))
	}
}

// handler answers a request or returns an error.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle turns a handler's error into an answer, once.
func (s *Server) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

func (*Server) notFound(_ http.ResponseWriter, r *http.Request) error {
	return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, errNotFound)
}

func (*Server) notOffered(_ http.ResponseWriter, r *http.Request) error {
	return fmt.Errorf("%s %s: %w%s", r.Method, r.URL.Path, errNotOffered, reason(chi.RouteContext(r.Context()).RoutePattern()))
}
