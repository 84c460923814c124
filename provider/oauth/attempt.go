package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"opencode/store"
)

// Names in the metadata of credentials, for what a refresh needs again.
const (
	metaClientID = "client_id"
	metaIssuer   = "issuer"
)

// Options say how to sign in. The zero value does what most users want of a
// method that needs no notice.
type Options struct {
	// Accepted says that the user read the method's notice and wants to go on.
	Accepted bool
	// Profile the credential is for; "" is the one without a name.
	Profile string
	// Provider is the id that the credential is kept under, where the method
	// is not one provider's; the default is the issuer.
	Provider string
	// Domain of an enterprise, where the method has any.
	Domain string
	// Issuer of OpenID Connect.
	Issuer string
	// ClientID replaces that of the method.
	ClientID string
	// Scopes replace those of the method.
	Scopes []string
	// Port is that of the loopback redirect; 0 is any.
	Port int
	// CLIProfile is the profile of Anthropic's CLI; "" is the active one.
	CLIProfile string
}

// Progress is how far a sign-in by device code is.
type Progress struct {
	UserCode string
	URL      string
	// Left is how long the code can still be entered.
	Left time.Duration
}

// Attempt is a sign-in that has begun. Exactly one call of [Attempt.Wait] or
// [Attempt.Finish] gets its credential; [Attempt.Close] ends it in any case.
type Attempt struct {
	// Method is the name of the method.
	Method string
	// URL is for the user's browser; "" if nothing has to be opened.
	URL string
	// UserCode is what the user has to enter there, of a device code.
	UserCode string
	// Paste reports whether the provider shows a code that [Attempt.Finish]
	// has to get. Otherwise [Attempt.Wait] ends by itself.
	Paste bool
	// Expires is the last moment to finish.
	Expires time.Time

	now    func() time.Time
	used   atomic.Bool
	wait   func(ctx context.Context, progress func(Progress)) (store.Credential, error)
	finish func(ctx context.Context, pasted string) (store.Credential, error)
	close  func()
}

// Format implements fmt.Formatter, so that no verb shows what is inside.
func (a *Attempt) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sign-in by "+a.Method) }

// Wait returns the credential once the user is done elsewhere. It calls
// progress, if that is not nil, about once a second while a code can be
// entered.
func (a *Attempt) Wait(ctx context.Context, progress func(Progress)) (store.Credential, error) {
	if a.wait == nil {
		return store.Credential{}, hinted(errors.New("this method does not end by itself"), "paste the code that the browser shows")
	}
	defer a.Close()
	if progress == nil {
		progress = func(Progress) {}
	}
	return a.wait(ctx, progress)
}

// Finish returns the credential for what the user pasted: code#state, a code
// alone, or the whole address that the browser was sent to. After an error
// about the text itself the user may try again, with what was really shown.
func (a *Attempt) Finish(ctx context.Context, pasted string) (store.Credential, error) {
	if a.finish == nil {
		return store.Credential{}, hinted(errors.New("this method takes no pasted code"), "finish in the browser")
	}
	if !a.Expires.IsZero() && !a.now().Before(a.Expires) {
		a.Close()
		return store.Credential{}, hinted(ErrExpired, "start again; the time for it was over")
	}
	credential, err := a.finish(ctx, pasted)
	if a.used.Load() {
		a.Close()
	}
	return credential, err
}

// Close ends the attempt and frees its port. It may be called more than once.
func (a *Attempt) Close() {
	a.used.Store(true)
	if a.close != nil {
		a.close()
	}
}

// claim makes sure that a code is sent once: servers take the second time for
// theft.
func (a *Attempt) claim() error {
	if !a.used.CompareAndSwap(false, true) {
		return hinted(ErrUsed, "start again")
	}
	return nil
}

// Begin starts a sign-in. It returns [ErrNotice] for a method whose notice was
// not accepted, before anything else happens.
func (c *Client) Begin(ctx context.Context, method string, o Options) (*Attempt, error) {
	m, err := c.Method(method)
	if err != nil {
		return nil, err
	}
	if m.Notice != "" && !o.Accepted {
		return nil, hinted(fmt.Errorf("%s: %w", method, ErrNotice), m.Notice)
	}
	e, err := m.forDomain(o.Domain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if o.Scopes != nil {
		e.Scopes = o.Scopes
	}
	if o.ClientID != "" {
		if !printable(o.ClientID) || len(o.ClientID) > maxClientID {
			return nil, fmt.Errorf("%s: client id: is none that a provider gives", method)
		}
		e.DynamicClient = false
		e.ClientID = o.ClientID
	}
	if e.ClientID == "" && (e.Flow == FlowCode || e.Flow == FlowDevice || e.Flow == FlowOIDC) {
		return nil, hinted(fmt.Errorf("%s: no client id", method), clientIDHint(m))
	}
	switch e.Flow {
	case FlowCode:
		return c.beginCode(m, e, o, nil)
	case FlowOIDC:
		return c.beginOIDC(ctx, m, e, o)
	case FlowKey:
		return c.beginKey(m, e, o)
	case FlowDevice:
		return c.beginDevice(ctx, m, e, o)
	case FlowSession:
		return c.immediate(m, func(ctx context.Context) (store.Credential, error) {
			return c.sessionOf(ctx, m, o.Profile, store.SecretText{})
		}), nil
	case FlowProfile:
		return c.immediate(m, func(context.Context) (store.Credential, error) {
			return c.profileCredential(m, o.Profile, o.CLIProfile)
		}), nil
	}
	return nil, fmt.Errorf("%s: flow %q is not known", method, e.Flow)
}

// maxClientID is the most bytes of a client id that is believed.
const maxClientID = 512

func clientIDHint(m Method) string {
	hint := "register an OAuth app with the provider and give its client id in the configuration"
	if name := m.Env["client_id"]; name != "" {
		hint += " or in " + name
	}
	return hint
}

// immediate is an attempt that needs no user.
func (c *Client) immediate(m Method, get func(context.Context) (store.Credential, error)) *Attempt {
	a := &Attempt{Method: m.ID, now: c.cfg.Now}
	a.wait = func(ctx context.Context, _ func(Progress)) (store.Credential, error) {
		if err := a.claim(); err != nil {
			return store.Credential{}, err
		}
		return get(ctx)
	}
	return a
}

// UI is how [Client.Login] talks to the user.
type UI struct {
	// Show tells the address, and the code to enter there if there is one. It
	// is called before a browser is opened and whether or not there is one.
	Show func(a *Attempt)
	// Paste asks for the code that the browser shows. Without it methods that
	// need one are refused.
	Paste func(ctx context.Context) (string, error)
	// Elsewhere says that the browser runs on another machine, so that a
	// redirect to this one does not arrive: the user pastes the address where it
	// ended.
	Elsewhere bool
	// Progress is called about once a second while a code can be entered.
	Progress func(Progress)
}

// Login is a whole sign-in: it begins, shows the address, opens the browser if
// there is one, and waits or asks for the code.
func (c *Client) Login(ctx context.Context, method string, o Options, ui UI) (store.Credential, error) {
	a, err := c.Begin(ctx, method, o)
	if err != nil {
		return store.Credential{}, err
	}
	defer a.Close()
	paste := a.Paste || ui.Elsewhere && a.finish != nil
	if paste && ui.Paste == nil {
		return store.Credential{}, hinted(fmt.Errorf("%s: needs somebody to paste a code", method), "run it on a terminal, or use an API key")
	}
	if a.URL != "" {
		if ui.Show != nil {
			ui.Show(a)
		}
		if c.cfg.Browser != nil {
			if err := c.cfg.Browser(ctx, a.URL); err != nil {
				c.logger.DebugContext(ctx, "no browser was opened", "method", method)
			}
		}
	}
	if !paste {
		return a.Wait(ctx, ui.Progress)
	}
	pasted, err := ui.Paste(ctx)
	if err != nil {
		return store.Credential{}, err
	}
	return a.Finish(ctx, pasted)
}

// maxPasted is the most bytes of what a user pastes.
const maxPasted = 8 << 10

// parsePasted reads what the user pasted: code#state, a code alone, or the
// whole address of the redirect. It returns [ErrState] for the state of another
// attempt; a code without a state is bound to the attempt by PKCE only.
func parsePasted(pasted, state string) (code string, more url.Values, err error) {
	text := strings.TrimSpace(pasted)
	again := func(err error) error {
		return hinted(err, "copy all of the code that the browser shows and paste it once")
	}
	if text == "" {
		return "", nil, again(ErrCodeRequired)
	}
	if len(text) > maxPasted {
		return "", nil, again(fmt.Errorf("what was pasted %w: it is too long", ErrCode))
	}
	if !printable(text) || strings.Contains(text, " ") {
		return "", nil, again(fmt.Errorf("what was pasted %w: it has blanks or control characters", ErrCode))
	}
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" {
			return "", nil, again(fmt.Errorf("what was pasted %w: it is no whole address", ErrCode))
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return "", nil, again(fmt.Errorf("what was pasted %w: it is no whole address", ErrCode))
		}
		code, err := checkCallback(query, state)
		return code, query, err
	}
	code, given, hasState := strings.Cut(text, "#")
	if hasState && !sameText(given, state) {
		return "", nil, hinted(ErrState, "start again, and paste the code of the newest page")
	}
	if code == "" {
		return "", nil, again(ErrCodeRequired)
	}
	return code, nil, nil
}

// checkCallback returns the code of a redirect's query, or what it says
// instead. The state comes first: nothing of another attempt counts.
func checkCallback(query url.Values, state string) (string, error) {
	for _, name := range []string{"state", "code", "error"} {
		if len(query[name]) > 1 {
			return "", hinted(fmt.Errorf("the redirect %w: it has %s twice", ErrCode, name), "start again")
		}
	}
	if !sameText(query.Get("state"), state) {
		return "", hinted(ErrState, "start again, and finish on the newest page")
	}
	if code := query.Get("error"); code != "" {
		return "", advice(&ServerError{Op: "sign-in", Host: "the provider", Status: http.StatusOK, Code: knownCode(code)})
	}
	code := query.Get("code")
	if code == "" {
		return "", hinted(ErrCodeRequired, "start again")
	}
	if len(code) > maxPasted || !printable(code) {
		return "", hinted(fmt.Errorf("the redirect %w", ErrCode), "start again")
	}
	return code, nil
}
