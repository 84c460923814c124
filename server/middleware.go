package server

import (
	"context"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/policy"
)

// recover turns a panic of a handler into an error, and keeps the server up.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			switch v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "panic",
					slog.Any("value", v), slog.String("stack", string(debug.Stack())))
				s.fail(w, r, fmt.Errorf("panic: %v", v))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// headers sets the headers that hold for every answer.
func (*Server) headers(next http.Handler) http.Handler {
	// The lists are those of all answers: whoever sets or adds to a header makes
	// another, since these are full.
	fixed := []struct {
		name   string // in its canonical spelling
		values []string
	}{
		{"Cache-Control", []string{"no-store"}},
		{"Content-Security-Policy", []string{"default-src 'none'; frame-ancestors 'none'"}},
		{"Cross-Origin-Resource-Policy", []string{"same-origin"}},
		{"Referrer-Policy", []string{"no-referrer"}},
		{"X-Content-Type-Options", []string{"nosniff"}},
		{"X-Frame-Options", []string{"DENY"}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for i := range fixed {
			h[fixed[i].name] = fixed[i].values
		}
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses names that are not the server's own: a page whose name was
// made to lead here (DNS rebinding) still sends its own name.
func (s *Server) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		facts, _ := r.Context().Value(connKey{}).(connFacts)
		if !s.isOwnHost(r.Host, facts) {
			s.fail(w, r, fmt.Errorf("host %q: %w; start the server with --allowed-host to add it", r.Host, errForbiddenHost))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) isOwnHost(host string, facts connFacts) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = hostName(name)
	if name == "localhost" || s.hosts[name] {
		return true
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	return addr.Unmap().IsLoopback() || facts.addr.IsValid() && addr.Unmap() == facts.addr.Addr().Unmap()
}

// hostName returns a host without port in the form in which names are compared.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// checkOrigin refuses web pages that are not listed, before any work. It
// answers the preflight of those that are.
func (s *Server) checkOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origins := r.Header["Origin"]
		if len(origins) == 0 {
			// A browser that names no origin may still say that a page of
			// another site sent it here.
			if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
				s.fail(w, r, fmt.Errorf("%s: %w", site, errForbiddenOrigin))
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		if len(origins) > 1 || !s.origins[strings.ToLower(origins[0])] {
			s.fail(w, r, fmt.Errorf("origin %q: %w; start the server with --cors to add it", origins[0], errForbiddenOrigin))
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origins[0])
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "authorization, content-type, x-opencode-directory, x-opencode-ticket")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requestKey is the key under which what the gate found is in the context.
type requestKey struct{}

// passed is what the gate found out about a request that it let pass.
type passed struct {
	principal policy.Principal
	// directory is the project directory that the request names, "" if none.
	directory string
}

func passedBy(r *http.Request) passed {
	if p, _ := r.Context().Value(requestKey{}).(*pass); p != nil {
		return p.passed
	}
	return passed{}
}

// pass is a request on its way through the gate, and its context behind it. The
// route that policy is told of is looked for once, and the one that is gone to.
type pass struct {
	context.Context //nolint:containedctx // it is a context: that of one request
	passed
	server  *Server
	handler http.HandlerFunc // of the route, nil if there is none
	// route is what the router found, for [chi.URLParam], until the handler
	// returns: the router keeps its own no longer either.
	route *chi.Context
}

// room is what a request needs until its handler returns. Who decides and who
// records keeps nothing of it.
type room struct {
	route chi.Context
	input policy.RequestRoom
}

// Value is what the gate has found, else what the request's own context has.
func (p *pass) Value(key any) any {
	switch {
	case key == (requestKey{}):
		return p
	case key == chi.RouteCtxKey && p.handler != nil:
		return p.route
	}
	return p.Context.Value(key)
}

// find is the Route of [policy.HTTP].
func (p *pass) find(method, path string) (pattern string, ok bool) {
	if pattern, ok = find(p.server.mux, p.route, method, path); ok {
		p.handler = p.server.handlers[routeKey{method, pattern}]
	}
	return pattern, ok
}

// dispatch goes to the handler of the route that policy was told of, and to no
// other: the router would find one also for a path that is spelled in a way for
// which policy was told of none.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	if p, _ := r.Context().Value(requestKey{}).(*pass); p != nil && p.handler != nil {
		p.handler(w, r)
		return
	}
	s.fail(w, r, s.notFound(w, r))
}

// gate authenticates a request and lets policy decide about it. Nothing behind
// it sees a request that policy has not allowed.
func (s *Server) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.cfg.Now()
		principal, err := s.identify(r, now)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		p := &pass{Context: r.Context(), passed: passed{principal: principal}, server: s}
		room, _ := s.rooms.Get().(*room)
		p.route = &room.route
		p.route.Reset()
		in := s.input(r, now, p, &room.input)
		d, err := s.cfg.Gate.Decide(r.Context(), in)
		if err != nil {
			s.fail(w, r, fmt.Errorf("%w: %w", policy.ErrDenied, err))
			return
		}
		if err := s.verdict(r, in, d); err != nil {
			s.fail(w, r, err)
			return
		}
		if in.Request.Directory != nil {
			p.directory = in.Request.Directory.Real
		}
		next.ServeHTTP(w, r.WithContext(p))
		s.rooms.Put(room)
	})
}

// verdict turns a decision into an error, or nil if the request may pass. The
// statuses follow the facts: who is not known or no longer valid is asked to
// authenticate, and a path that does not exist is not found for whoever may
// know.
func (s *Server) verdict(r *http.Request, in *policy.Input, d policy.Decision) error {
	if d.Effect == policy.Allow {
		return nil
	}
	denied := &policy.DeniedError{Decision: d}
	switch {
	case in.Principal.Kind == policy.PrincipalAnonymous:
		// Whoever is not known learns nothing of the policy.
		return fmt.Errorf("%w: send a token as `Authorization: Bearer TOKEN`; `opencode auth token create` makes one", errUnauthenticated)
	case in.Principal.Expired:
		return fmt.Errorf("%w: %w", errUnauthenticated, denied)
	case len(d.Needs) > 0 || in.Request.Route != nil:
		return denied
	case !in.Request.Canonical:
		return fmt.Errorf("%s: %w: %w", r.URL.Path, errNotFound, denied)
	}
	if in.Request.Directory != nil && !in.Request.Directory.Inside {
		return denied
	}
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, ok := s.Route(method, r.URL.EscapedPath()); ok {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 {
		return fmt.Errorf("%s %s: %w: %w", r.Method, r.URL.Path, &methodError{allow}, denied)
	}
	return fmt.Errorf("%s %s: %w: %w", r.Method, r.URL.Path, errNotFound, denied)
}

// input builds what policy is asked about.
func (s *Server) input(r *http.Request, now time.Time, p *pass, in *policy.RequestRoom) *policy.Input {
	h := policy.HTTP{
		Method: r.Method, Path: r.URL.EscapedPath(), Route: p.find, Host: r.Host,
		WebSocket: isWebSocket(r), Bytes: r.ContentLength, Directory: s.directory(r),
	}
	if r.URL.RawQuery != "" {
		h.Query = r.URL.Query()
	}
	if origins := r.Header["Origin"]; len(origins) > 0 {
		h.Origin = &origins[0]
	}
	h.Remote = remoteOf(r)
	return in.FromRequest(now, p.principal, h)
}

// remoteOf returns where a request comes from; the local socket counts as
// loopback.
func remoteOf(r *http.Request) netip.Addr {
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return addr.Addr()
	}
	if facts, _ := r.Context().Value(connKey{}).(connFacts); facts.unix {
		return netip.IPv6Loopback()
	}
	return netip.Addr{}
}

func isWebSocket(r *http.Request) bool {
	for _, v := range r.Header["Upgrade"] {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}

// limitBody bounds the size of a body and the time that it may take, and wants
// it to be JSON: a form of another site's page cannot be.
func (s *Server) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > maxBodyBytes {
			s.fail(w, r, fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, r.ContentLength, maxBodyBytes))
			return
		}
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || media != "application/json" {
			s.fail(w, r, fmt.Errorf("content type %q: %w", r.Header.Get("Content-Type"), errMediaType))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		// Not every connection can have a deadline; the size is bounded anyway.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readBodyTimeout))
		next.ServeHTTP(w, r)
	})
}
