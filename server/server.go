// Package server is the HTTP surface of opencode.
//
// Every request passes the same steps before anything else happens: the Host
// and Origin are checked, the credential is turned into a principal, and policy
// decides. There is no way to switch any of it off. Which route is public is
// the policy's to say; this package holds no permission logic.
//
// Errors are JSON on every path. A credential is never logged, and never part
// of what policy sees. A [Server] is safe for concurrent use.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/agent/git"
	"opencode/policy"
	"opencode/provider"
	"opencode/provider/signin"
	"opencode/settings"
	"opencode/store"
)

// Config is what a server works with.
type Config struct {
	Agent  *agent.Agent // required
	Gate   *agent.Gate  // required
	Tokens store.Tokens // required
	// Policy describes the policy that the gate decides by. Required.
	Policy Policy
	// Repositories tells what git knows of the projects; without it nothing is
	// known.
	Repositories Repositories
	// Directories are the project directories, real and absolute. Required.
	Directories []string
	// Hosts are the host names, without port, under which the server may be
	// called beside its loopback names and its own addresses.
	Hosts []string
	// Origins are the origins of web pages that may call the server.
	Origins []string
	// Version is what the health route tells.
	Version string
	// Providers are the model providers. It defaults to the catalogue, with
	// none connected.
	Providers *provider.Catalogue
	// Credentials are where clients have credentials kept, beside the user's
	// own commands. Without it they are not taken from clients.
	Credentials store.Credentials
	// SignIn signs in to providers for clients, into the same store. Without
	// it they can hand over a key only.
	SignIn *signin.Service
	// Settings are the user's.
	Settings settings.Settings
	// Paths are shown to clients.
	Paths Paths
	// Peer says who is at the other end of a local socket. Without it nobody
	// is local.
	Peer func(*net.UnixConn) (local bool)
	// Child reports whether something that the server runs is at the other end
	// of its port. Such a connection is closed: what the agent does goes through
	// its tools, and not through the server that decides about them. Optional.
	Child  func(*net.TCPConn) (bool, error)
	Logger *slog.Logger     // defaults to one that discards
	Now    func() time.Time // defaults to time.Now
}

// Repositories tells what git knows of a directory. It is what package git
// gives.
type Repositories interface {
	Head(ctx context.Context, dir string) (git.Head, error)
	Status(ctx context.Context, dir string) ([]git.FileStatus, error)
}

// Policy describes the policy in force. It is what package engine gives.
type Policy interface {
	Info() policy.Info
	Digest() string
}

// Server answers HTTP requests.
type Server struct {
	cfg Config
	mux *chi.Mux
	// handlers are those of the router, by their routes.
	handlers map[routeKey]http.HandlerFunc
	rooms    sync.Pool // of *room, to be filled anew
	handler  http.Handler
	origins  map[string]bool
	hosts    map[string]bool
	doc      func() (*openAPI, error)
	started  time.Time
	stop     chan struct{} // closed when streams must end
	sockets  *sockets
	// pending are the sign-ins that clients have begun; nil without SignIn.
	pending *signin.Pending
	// touchFailed lets the first failure to record the use of a token be logged.
	touchFailed sync.Once
}

// Limits of what a client may send, and of how slowly.
const (
	maxBodyBytes      = 10 << 20
	maxHeaderBytes    = 64 << 10
	readHeaderTimeout = 10 * time.Second
	readBodyTimeout   = 60 * time.Second
	idleTimeout       = 120 * time.Second
)

// New returns a server.
func New(cfg Config) (*Server, error) {
	var errs []error
	if cfg.Agent == nil || cfg.Gate == nil || cfg.Tokens == nil || cfg.Policy == nil || len(cfg.Directories) == 0 {
		errs = append(errs, errors.New("server: Agent, Gate, Tokens, Policy and Directories are required"))
	}
	s := &Server{cfg: cfg, origins: map[string]bool{}, hosts: map[string]bool{}, stop: make(chan struct{}), sockets: newSockets()}
	for _, origin := range cfg.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			errs = append(errs, fmt.Errorf("origin %q: want scheme and host, such as https://ide.example.com", origin))
			continue
		}
		s.origins[strings.ToLower(origin)] = true
	}
	for _, host := range cfg.Hosts {
		name := hostName(host)
		if _, err := netip.ParseAddr(name); err != nil && (name == "" || strings.ContainsAny(name, ":/[] ")) {
			errs = append(errs, fmt.Errorf("host %q: want a name or an address, without port", host))
			continue
		}
		s.hosts[name] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if s.cfg.Logger == nil {
		s.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	if s.cfg.Providers == nil {
		var err error
		if s.cfg.Providers, err = provider.New(provider.Config{}); err != nil {
			return nil, err
		}
	}
	if s.cfg.SignIn != nil {
		s.pending = s.cfg.SignIn.NewPending()
	}
	s.started = s.cfg.Now()
	s.mux, s.handlers = s.routes()
	s.rooms.New = func() any { return &room{} }
	// Made when it is first asked for: the start does not wait for it.
	s.doc = sync.OnceValues(func() (*openAPI, error) { return document(s.table(), s.cfg.Version) })
	s.handler = s.recover(s.headers(s.checkHost(s.checkOrigin(s.gate(s.limitBody(http.HandlerFunc(s.dispatch)))))))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers the requests that arrive at the listeners until the context
// ends. Then it lets requests finish for as long as grace, and returns.
func (s *Server) Serve(ctx context.Context, grace time.Duration, listeners ...net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Otherwise "OPTIONS *" is answered before it gets here.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:                  s.connContext,
		BaseContext:                  func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- h.Serve(s.screen(l)) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
	}
	close(s.stop)
	if s.pending != nil {
		s.pending.Close()
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	// The agent ends what runs, so that the requests which wait for it answer.
	agentErr := s.cfg.Agent.Close(stopping)
	if shutdownErr := h.Shutdown(stopping); shutdownErr != nil {
		err = errors.Join(err, agentErr, h.Close())
	}
	// Those that have become WebSockets are no longer the HTTP server's.
	select {
	case <-s.sockets.stop():
	case <-stopping.Done():
	}
	return err
}

// Route returns the route that a method and a path match. HEAD is answered
// wherever GET is.
func (s *Server) Route(method, path string) (string, bool) { return match(s.mux, method, path) }

// Match returns the route that a method and a path match in the published
// surface, without a server.
func Match(method, path string) (string, bool) {
	mux, _ := (&Server{}).routes()
	return match(mux, method, path)
}

// Matcher returns a function that does what [Match] does, many times.
func Matcher() func(method, path string) (string, bool) {
	mux, _ := (&Server{}).routes()
	return func(method, path string) (string, bool) { return match(mux, method, path) }
}

func match(mux *chi.Mux, method, path string) (string, bool) {
	return find(mux, chi.NewRouteContext(), method, path)
}

// find is match with a place for the parameters of the path.
func find(mux *chi.Mux, rctx *chi.Context, method, path string) (string, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	// The path arrives escaped, and the router works on the form that the
	// parser of URLs makes of it: another only where something is escaped.
	if !isPlainPath(path) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return "", false
		}
		if path = u.RawPath; path == "" {
			path = u.Path
		}
	}
	pattern := mux.Find(rctx, method, path)
	return pattern, pattern != ""
}

// isPlainPath reports whether a path has nothing in it that could be escaped or
// that a parser could take for something else than the path.
func isPlainPath(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// connKey is the key under which a connection's own facts are in its context.
type connKey struct{}

// connFacts are facts about a connection.
type connFacts struct {
	// local reports whether the other end is the user who runs the server.
	local bool
	// unix reports whether it arrived at the local socket.
	unix bool
	addr netip.AddrPort // our own end
}

func (s *Server) connContext(ctx context.Context, c net.Conn) context.Context {
	var facts connFacts
	switch c := c.(type) {
	case *net.UnixConn:
		facts.unix = true
		facts.local = s.cfg.Peer != nil && s.cfg.Peer(c)
	default:
		if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
			facts.addr = a.AddrPort()
		}
	}
	return context.WithValue(ctx, connKey{}, facts)
}

// localPrincipal is the user who runs the server, on the same machine.
func localPrincipal() policy.Principal {
	return policy.Principal{
		Kind: policy.PrincipalLocal, ID: "local", Name: "local",
		Permissions: []string{"read", "write", "execute"},
	}
}
