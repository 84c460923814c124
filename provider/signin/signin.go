// Package signin makes, of what a user configured, what signs the user in to
// model providers and keeps the credentials fresh: the one place for it, so that
// commands and the server sign in alike.
//
// Where a method of sign-in leads is data that the configuration file and the
// environment can replace. Whatever they say, a secret goes over https or to
// this very machine; anything else is refused by [New], before there is
// anything to send. Nothing here asks a question, runs a command of its own or
// accepts a provider's notice: that is for whoever talks with the user.
//
// A [Service] is safe for concurrent use.
package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// Config is what a service works with.
type Config struct {
	// Store keeps the credentials. Required.
	Store store.Credentials
	// Endpoints is the member `endpoints` of the configuration file, as JSON;
	// empty for the embedded ones alone.
	Endpoints []byte
	// Env looks an environment variable up; without it none is set.
	Env func(name string) (value string, ok bool)
	// Environ is the environment that Claude Code runs with; the default is
	// that of this process.
	Environ []string
	// Home is the user's home directory. Without it there is no session of
	// Claude Code.
	Home string
	// OS is the operating system, as runtime.GOOS names it. On darwin the
	// keychain is asked for the session of Claude Code.
	OS string
	// Browser shows an address to the user; without it none is opened.
	Browser func(ctx context.Context, address string) error
	// UserAgent is how the program calls itself; the default is "opencode".
	UserAgent string
	// HTTP makes the requests; the default has limits on time.
	HTTP *http.Client
	// Now is the clock; the default is the system's.
	Now func() time.Time
	// Logger gets what is worth knowing and not an error; the default drops it.
	Logger *slog.Logger
}

// Service signs in, and renews what is kept. Its zero value does nothing: make
// one with [New].
type Service struct {
	store     store.Credentials
	client    *oauth.Client
	refresher *oauth.Refresher
	now       func() time.Time
}

// New returns a service. It reports all that is wrong with the endpoints.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("sign-in: needs a store of credentials")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var endpoints map[string]oauth.Endpoint
	if len(cfg.Endpoints) > 0 {
		var err error
		if endpoints, err = oauth.ParseEndpoints(cfg.Endpoints); err != nil {
			return nil, fmt.Errorf("sign-in: %w", err)
		}
	}
	var session *oauth.ClaudeSession
	if cfg.Home != "" {
		claude := oauth.ClaudeConfig{Home: cfg.Home, Env: cfg.Env, Environ: cfg.Environ, Now: cfg.Now, Logger: cfg.Logger}
		if cfg.OS == "darwin" {
			claude.Keychain = oauth.SecurityTool{}
		}
		var err error
		if session, err = oauth.NewClaudeSession(claude); err != nil {
			return nil, fmt.Errorf("sign-in: %w", err)
		}
	}
	client, err := oauth.New(oauth.Config{
		HTTP: cfg.HTTP, Now: cfg.Now, Browser: cfg.Browser, Env: cfg.Env, Endpoints: endpoints,
		UserAgent: cfg.UserAgent, Session: session, Logger: cfg.Logger,
		// A gateway that runs beside us has no certificate, and nobody on the
		// way can listen.
		PlainLoopback: true,
	})
	if err != nil {
		return nil, err
	}
	refresher, err := oauth.NewRefresher(oauth.RefresherConfig{Client: client, Store: cfg.Store, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &Service{store: cfg.Store, client: client, refresher: refresher, now: cfg.Now}, nil
}

// Client returns what carries out the methods.
func (s *Service) Client() *oauth.Client { return s.client }

// Refresher returns what renews the credentials of the store.
func (s *Service) Refresher() *oauth.Refresher { return s.refresher }

// Methods returns the methods of sign-in for a provider by id, those last that
// the provider restricts. For the address of a gateway or an issuer they are
// the methods that are not one provider's.
func (s *Service) Methods(provider string) []oauth.Method {
	if strings.Contains(provider, "://") {
		provider = ""
	}
	all := slices.DeleteFunc(s.client.Methods(), func(m oauth.Method) bool { return m.Provider != provider })
	slices.SortStableFunc(all, func(a, b oauth.Method) int {
		switch {
		case (a.Notice == "") == (b.Notice == ""):
			return 0
		case a.Notice == "":
			return -1
		}
		return 1
	})
	return all
}

// Keep stores what a sign-in gave under the provider and the profile that it
// is for, in the place of what was there, and returns it as it is kept.
func (s *Service) Keep(ctx context.Context, c store.Credential, provider, profile string) (store.Credential, error) {
	key, err := store.NewCredentialKey(provider, profile)
	if err != nil {
		return store.Credential{}, err
	}
	c.CredentialKey = key
	if c.Created.IsZero() {
		c.Created = s.now().Truncate(time.Millisecond)
	}
	if err := s.store.PutCredential(ctx, c); err != nil {
		return store.Credential{}, err
	}
	return c, nil
}
