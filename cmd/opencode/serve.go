package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"opencode/agent"
	"opencode/agent/peer"
	"opencode/agent/tool"
	"opencode/decisionlog"
	"opencode/engine"
	"opencode/redact"
	"opencode/server"
	"opencode/store"
	"opencode/store/sqlite"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	policy      policyFlags
	hostname    string
	port        int
	directories []string
	origins     []string
	hosts       []string
	logLevel    string
	remote      remoteFlags
}

// grace is how long requests may take to finish when the server stops.
const grace = 10 * time.Second

// maxSocketPath is the longest path of a Unix socket that every system takes.
const maxSocketPath = 100

func newServeCmd() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API, with policy deciding each request and each command",
		Long: `Serve the HTTP API, with policy deciding each request and each command.

Every request needs a token (` + "`opencode auth token create`" + `), except that the
commands of the same user on the same machine need none. There is no way to run
without authentication. The policy is read again when its files change and on
SIGHUP; while it does not compile, the last good one stays in force.

A policy can also come from a server of bundles or from a registry, by its
address in place of a directory. The last good bundle is kept, and used when the
server is away.`,
		Example: `  opencode serve --policy policies/examples/team
  opencode serve --policy https://bundles.example.com/team/bundle.tar.gz --remote-credential bundles.example.com=env:BUNDLE_TOKEN
  opencode serve --policy oci://registry.example.com/team/policy:stable --decision-log https://logs.example.com
  opencode serve --port 0 --directory ~/src/app --directory ~/src/lib`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.policy.add(f)
	f.Lookup("policy").Usage = "add the policy in `DIR`, or at an address https://… or oci://…, to the default (repeatable)"
	o.remote.add(f)
	f.StringVar(&o.hostname, "hostname", "127.0.0.1", "listen on this `ADDRESS`")
	f.IntVar(&o.port, "port", 4096, "listen on this `PORT`; 0 picks a free one")
	f.StringArrayVar(&o.directories, "directory", nil, "a project `DIR` to work in (repeatable; default: the current directory)")
	f.StringArrayVar(&o.origins, "cors", nil, "let web pages of this `ORIGIN` call the server (repeatable)")
	f.StringArrayVar(&o.hosts, "allowed-host", nil, "a host `NAME` under which the server may be called (repeatable)")
	f.StringVar(&o.logLevel, "log-level", "info", "log at this `LEVEL` and above: debug, info, warn or error")
	return cmd
}

// serve runs a server until the context ends. Parts stop in the reverse order
// of their start.
func serve(ctx context.Context, o serveOptions, stdout, stderr io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usagef("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	if o.port < 0 || o.port > 65535 {
		return usagef("--port %d: want 0 to 65535", o.port)
	}
	remotes, err := o.remote.parse()
	if err != nil {
		return err
	}
	known, err := newKnownSecrets(os.Environ, remotes.secrets()...)
	if err != nil {
		return err
	}
	redactor := redact.New(redact.Config{Known: known.values})
	logger := slog.New(redact.NewHandler(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}), redactor))
	dirs, err := projectDirs(o.directories)
	if err != nil {
		return err
	}
	user, err := readUser(ctx, logger, known)
	if err != nil {
		return err
	}
	remotes.configure(user.settings.DecisionLog)
	known.follow(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	var closers closers
	defer func() { err = errors.Join(err, closers.close(logger)) }()
	closers.add("credentials", func(context.Context) error { return user.close() })

	sources, err := openSources(ctx, &o.policy, remotes, logger, &closers)
	if err != nil {
		return err
	}
	// The policy compiles while the database opens: both take the longest.
	type loaded struct {
		engine *engine.Engine
		err    error
	}
	policyLoaded := make(chan loaded, 1)
	go func() {
		e, err := o.policy.engine(ctx)
		policyLoaded <- loaded{e, err}
	}()
	db, alone, dbErr := openDatabase(ctx, logger, &closers)
	pol := <-policyLoaded
	tokens, tokenPath, tokenErr := openTokens()
	if err := errors.Join(pol.err, dbErr, tokenErr); err != nil {
		return err
	}
	count, err := countTokens(ctx, tokens)
	if err != nil {
		return err
	}
	l, err := listen(ctx, o, count)
	if err != nil {
		return err
	}
	closers.add("listener", func(context.Context) error { return closeListener(l) })
	decisions, err := openDecisionLog(remotes, sources, pol.engine, redactor, logger)
	if err != nil {
		return err
	}
	if decisions != nil {
		closers.add("decision log", decisions.Close)
	}
	s, err := assemble(ctx, assembly{
		options: o, dirs: dirs, engine: pol.engine, db: db, recover: alone, tokens: tokens, logger: logger, redactor: redactor,
		closers: &closers, user: user, sources: sources, decisions: decisions,
	})
	if err != nil {
		return err
	}
	listeners := []net.Listener{l}
	if local := listenLocal(ctx, l, logger); local != nil {
		listeners = append(listeners, local)
		closers.add("local socket", func(context.Context) error { return closeListener(local) })
	}
	watchPolicy(ctx, pol.engine, logger, &closers)
	sources.watch(ctx, pol.engine, &closers)

	info := pol.engine.Info()
	fmt.Fprintf(stdout, "listening on http://%s\n", l.Addr())
	fmt.Fprintf(stdout, "policy %.12s from %d files\n", info.Digest, len(info.Files))
	fmt.Fprint(stdout, sources.startText())
	fmt.Fprintf(stdout, "tokens %d in %s; `opencode auth token create` makes one\n", count, tokenPath)
	return s.Serve(ctx, grace, listeners...)
}

// assembly is what a server is put together from.
type assembly struct {
	options serveOptions
	dirs    []string
	engine  *engine.Engine
	db      *sqlite.Store
	recover bool
	tokens  store.Tokens
	logger  *slog.Logger
	// redactor knows what the user's files and variables hold.
	redactor *redact.Redactor
	closers  *closers
	user     user
	sources  *policySources
	// decisions are shipped there, nowhere if it is nil.
	decisions *decisionlog.Log
}

func assemble(ctx context.Context, a assembly) (*server.Server, error) {
	ids := store.NewIDs(nil, nil)
	recorder := agent.NewRecorder(a.db, a.logger)
	a.closers.add("recorder", recorder.Close)
	gateConfig := agent.GateConfig{Decider: a.engine, Recorder: recorder, IDs: ids, Redactor: a.redactor, Logger: a.logger}
	if a.decisions != nil {
		gateConfig.Log = a.decisions
	}
	gate, err := agent.NewGate(gateConfig)
	if err != nil {
		return nil, err
	}
	box, err := newSandbox(a.options.policy.paths()...)
	if err != nil {
		return nil, err
	}
	a.closers.add("sandbox", func(context.Context) error { return box.Close() })
	a.logger.LogAttrs(ctx, slog.LevelInfo, "sandbox", slog.Any("holds", box.Host().Holds()))
	processes, err := tool.NewProcesses(a.logger)
	if err != nil {
		return nil, err
	}
	a.closers.add("processes", processes.Close)
	bash, err := tool.NewBash(tool.BashConfig{Procs: processes, Redactor: a.redactor, Logger: a.logger})
	if err != nil {
		return nil, err
	}
	terminals, err := tool.NewTerminals(tool.TerminalsConfig{Procs: processes, Logger: a.logger})
	if err != nil {
		return nil, err
	}
	data, err := dataDir()
	if err != nil {
		return nil, err
	}
	snapshots, err := openSnapshots(ctx, data, a.logger, a.closers)
	if err != nil {
		return nil, err
	}
	ag, err := agent.New(ctx, agent.Config{
		Store: a.db, Gate: gate, Bash: bash, Sandbox: box, IDs: ids, Snapshots: snapshots, Directories: a.dirs,
		Terminals: terminals, Valid: server.Valid(a.tokens, time.Now),
		Version: version, Recover: a.recover, Redactor: a.redactor, Logger: a.logger,
	})
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Agent: ag, Gate: gate, Tokens: a.tokens, Policy: describedPolicy{a.engine, a.sources, a.decisions, a.redactor}, Repositories: snapshots, Directories: a.dirs, Hosts: append(a.options.hosts, a.options.hostname),
		Origins: a.options.origins, Version: version, Logger: a.logger,
		Settings: a.user.settings, Providers: a.user.providers, Paths: a.user.paths,
		Credentials: a.user.credentials, SignIn: a.user.signIn,
		Peer: func(c *net.UnixConn) bool {
			p, err := peer.Check(c)
			return err == nil && p.Local()
		},
		Child: peer.Child,
	})
}

// openDatabase opens the database, and reports whether this server is the only
// one that works on it: then what a crash left open can be closed.
func openDatabase(ctx context.Context, logger *slog.Logger, closers *closers) (*sqlite.Store, bool, error) {
	dir, err := dataDir()
	if err != nil {
		return nil, false, err
	}
	path := filepath.Join(dir, "server.db")
	db, err := sqlite.Open(ctx, sqlite.Config{Path: path, Logger: logger})
	if err != nil {
		return nil, false, databaseError(err, path)
	}
	closers.add("database", func(context.Context) error { return db.Close() })

	// Every server holds the lock shared for as long as it lives.
	lock := flock.New(path+".servers", flock.SetPermissions(0o600))
	closers.add("database lock", func(context.Context) error { return lock.Close() })
	alone, err := lock.TryLock()
	if err != nil {
		return nil, false, fmt.Errorf("database lock: %w", err)
	}
	if err := lock.RLock(); err != nil {
		return nil, false, fmt.Errorf("database lock: %w", err)
	}
	return db, alone, nil
}

func databaseError(err error, path string) error {
	switch {
	case errors.Is(err, store.ErrNewer):
		return withHint(err, "update opencode, or move the file away to start with an empty one")
	case errors.Is(err, store.ErrCorrupt):
		return withHint(err, "move the file away to start with an empty one")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return withHint(err, filepath.Dir(path)+" must be a directory that can be written; XDG_DATA_HOME names another")
	}
	return err
}

func countTokens(ctx context.Context, tokens store.Tokens) (int, error) {
	list, err := tokens.Tokens(ctx)
	return len(list), err
}

// listen opens the server's port. An address that others can reach needs a
// token first, since without one nobody could use it anyway.
func listen(ctx context.Context, o serveOptions, tokens int) (net.Listener, error) {
	host := strings.Trim(o.hostname, "[]")
	ip := net.ParseIP(host)
	if (ip == nil || !ip.IsLoopback()) && host != "localhost" && tokens == 0 {
		return nil, withHint(fmt.Errorf("%s can be reached from other machines, and there is no token yet", o.hostname),
			"`opencode auth token create` makes one")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(o.port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("port %d on %s is in use", o.port, o.hostname), "--port 0 picks a free one")
	case errors.Is(err, fs.ErrPermission):
		return nil, withHint(fmt.Errorf("port %d on %s: not permitted", o.port, o.hostname), "choose a port of at least 1024")
	case err != nil:
		return nil, withHint(err, "--hostname must be an address of this machine")
	}
	return l, nil
}

// listenLocal opens the socket through which commands of the same user reach
// the server without a token. Without it the server works all the same.
func listenLocal(ctx context.Context, l net.Listener, logger *slog.Logger) net.Listener {
	local, err := openLocal(ctx, l)
	if err != nil {
		logger.LogAttrs(ctx, slog.LevelWarn, "no local socket: commands on this machine cannot reach the server without a token", slog.Any("error", err))
		return nil
	}
	return local
}

func openLocal(ctx context.Context, l net.Listener) (net.Listener, error) {
	dir, err := runtimeDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others can enter it; `chmod 700` closes it", dir)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	path := socketPath(dir, port)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%s: is too long for a socket; XDG_RUNTIME_DIR can name a shorter one", path)
	}
	if err := removeDead(ctx, path); err != nil {
		return nil, err
	}
	local, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// The directory is closed to others already; the mode holds if it is not.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, local.Close())
	}
	return local, nil
}

// removeDead removes a socket that nobody listens on.
func removeDead(ctx context.Context, path string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("%s: another server listens on it", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func closeListener(l net.Listener) error {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// watchPolicy reloads the policy on a change and on SIGHUP.
func watchPolicy(ctx context.Context, e *engine.Engine, logger *slog.Logger, closers *closers) {
	ctx, cancel := context.WithCancel(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := e.Watch(ctx, hangup, func(r engine.Reloaded) {
			switch {
			case r.Err != nil:
				for line := range strings.SplitSeq(r.Err.Error(), "\n") {
					logger.LogAttrs(ctx, slog.LevelError, "policy not reloaded; the old one stays in force", slog.String("policy", r.Info.Digest), slog.String("error", line))
				}
			case r.Changed:
				logger.LogAttrs(ctx, slog.LevelInfo, "policy reloaded", slog.String("policy", r.Info.Digest), slog.Int("files", len(r.Info.Files)))
			default:
				logger.LogAttrs(ctx, slog.LevelInfo, "policy unchanged", slog.String("policy", r.Info.Digest))
			}
		})
		if err != nil {
			logger.LogAttrs(ctx, slog.LevelError, "policy changes are not seen any more; restart the server", slog.Any("error", err))
		}
	}()
	closers.add("policy watch", func(context.Context) error {
		signal.Stop(hangup)
		cancel()
		<-done
		return nil
	})
}

// closers close what was opened, the last first.
type closers struct {
	mu   sync.Mutex
	list []closer
}

type closer struct {
	name  string
	close func(context.Context) error
}

func (c *closers) add(name string, f func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, closer{name, f})
}

func (c *closers) close(logger *slog.Logger) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var errs []error
	for _, last := range slices.Backward(c.list) {
		if err := last.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", last.name, err))
		}
	}
	c.list = nil
	if err := errors.Join(errs...); err != nil {
		logger.Error("stop", slog.Any("error", err))
		return err
	}
	return nil
}
