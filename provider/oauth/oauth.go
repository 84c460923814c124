// Package oauth signs in to model providers and keeps what it gets fresh.
//
// A [Client] carries out the methods of sign-in: authorization code with PKCE
// by a loopback redirect or a pasted code, device codes, OpenID Connect by
// discovery, and what some providers have of their own. [Client.Begin] starts
// one and returns an [Attempt], whose end is a [store.Credential] that the
// caller keeps. A [Refresher] renews what is kept, one at a time for all
// processes, and a [Source] of it puts the credential on requests.
//
// Where to go and what to say there is data, in endpoints.json; the
// configuration file and the environment can replace it. A method that the
// provider's terms restrict has a [Method.Notice] and refuses until the caller
// says that the user accepted it. Nothing here passes itself off as another
// program.
//
// Requests for tokens are made here and not by golang.org/x/oauth2, which
// makes the addresses and the PKCE values: it follows redirects with the code
// in hand, repeats the server's answer in its errors, and knows no JSON bodies.
// Here answers are bounded, redirects are refused, and no error, log or
// printed value holds a secret, nor anything that the server wrote freely.
//
// Nothing is started behind the caller's back: a browser is opened, a command
// run and a question asked only through what the caller passed. A [Client], a
// [Refresher] and a [Source] are safe for concurrent use.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Config is what a client works with. Its zero value reaches the providers
// that are embedded, opens no browser and sees no environment.
type Config struct {
	// HTTP makes the requests; the default has limits on time. Redirects are
	// refused and no cookie is kept, whatever it is set to.
	HTTP *http.Client
	// Now is the clock; the default is the system's.
	Now func() time.Time
	// Wait returns after a time or with the error of the context; the default
	// is a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Browser shows an address to the user; without it none is opened.
	Browser func(ctx context.Context, address string) error
	// Env looks an environment variable up; without it none is set.
	Env func(name string) (value string, ok bool)
	// Endpoints replace members of the embedded ones, by method, or add
	// methods.
	Endpoints map[string]Endpoint
	// UserAgent is how the program calls itself; the default is "opencode".
	UserAgent string
	// LoginTime is how long a user has to finish in the browser; the default
	// is 5 minutes.
	LoginTime time.Duration
	// PlainLoopback permits http to this very machine, for tests and gateways
	// that run beside us.
	PlainLoopback bool
	// Session finds the session of Claude Code; without it there is none.
	Session *ClaudeSession
	// Logger gets what is worth knowing and not an error; the default drops it.
	Logger *slog.Logger
}

// Client carries out sign-in.
type Client struct {
	cfg     Config
	methods map[string]Method
	http    *http.Client
	logger  *slog.Logger
}

const (
	defaultUserAgent = "opencode"
	defaultLoginTime = 5 * time.Minute
	// requestTime bounds one request with its answer.
	requestTime = 30 * time.Second
)

// New returns a client. It reports all that is wrong with the endpoints.
func New(cfg Config) (*Client, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	if cfg.Env == nil {
		cfg.Env = func(string) (string, bool) { return "", false }
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	if cfg.LoginTime == 0 {
		cfg.LoginTime = defaultLoginTime
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: requestTime}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if cfg.LoginTime < 0 {
		errs = append(errs, errors.New("login time: must not be negative"))
	}
	if !printable(cfg.UserAgent) {
		errs = append(errs, errors.New("user agent: has characters that cannot be printed"))
	}
	all, err := methods(cfg.Endpoints, cfg.Env, cfg.PlainLoopback)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	// What a server redirects to is another server's business, and a secret
	// would go with it. Cookies would tie one user's sign-ins together.
	bounded := *cfg.HTTP
	bounded.Jar = nil
	bounded.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg: cfg, methods: all, http: &bounded, logger: cfg.Logger}, nil
}

// Methods returns all methods by name.
func (c *Client) Methods() []Method {
	list := make([]Method, 0, len(c.methods))
	for _, id := range slices.Sorted(maps.Keys(c.methods)) {
		list = append(list, c.methods[id])
	}
	return list
}

// Method returns the method with that name, or [ErrMethod].
func (c *Client) Method(id string) (Method, error) {
	m, ok := c.methods[id]
	if !ok {
		return Method{}, hinted(fmt.Errorf("%w: %q", ErrMethod, id), fmt.Sprintf("use one of %q", slices.Sorted(maps.Keys(c.methods))))
	}
	return m, nil
}

// wait is the default of Config.Wait.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
