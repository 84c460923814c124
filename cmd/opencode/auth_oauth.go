package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"opencode/provider"
	"opencode/provider/oauth"
	"opencode/provider/signin"
	"opencode/settings"
	"opencode/store"
)

// newSignIn returns the methods of sign-in beside the API key. What they need
// is made when one is used: the configuration of a user who signs in by key
// alone is not looked at for it.
func newSignIn() signIn {
	return signIn{
		providers: func(kept *credentials) ([]provider.Provider, error) {
			s, err := kept.service(false)
			if err != nil {
				return nil, err
			}
			var out []provider.Provider
			for _, m := range s.Client().Methods() {
				if m.Provider != "" {
					out = append(out, provider.Provider{ID: m.Provider, Name: m.Provider})
				}
			}
			return out, nil
		},
		methods: oauthMethods,
		renewable: func(kept *credentials, c store.Credential) bool {
			s, err := kept.service(false)
			return err == nil && s.Client().Renewable(c)
		},
		refresh: func(ctx context.Context, kept *credentials, c store.Credential, force bool) (bool, error) {
			s, err := kept.service(false)
			if err != nil {
				return false, err
			}
			if !s.Client().Renewable(c) {
				return false, errNotRenewable
			}
			return s.Refresher().Refresh(ctx, c.CredentialKey, force)
		},
		revoke: func(ctx context.Context, kept *credentials, c store.Credential) error {
			s, err := kept.service(false)
			if err != nil {
				return err
			}
			_, err = s.Client().Revoke(ctx, c)
			return err
		},
	}
}

// service returns what signs in as the user configured it.
func (c *credentials) service(browser bool) (*signin.Service, error) {
	if s := c.services[browser]; s != nil {
		return s, nil
	}
	config, err := configDir()
	if err != nil {
		return nil, err
	}
	conf, err := settings.Read(config)
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		// Only the session of Claude Code needs it, and says that there is none.
		home = ""
	}
	cfg := signin.Config{
		Store: c.store, Endpoints: conf.Endpoints, Env: os.LookupEnv, Home: home, OS: runtime.GOOS, UserAgent: "opencode/" + version,
		Logger: slog.New(slog.NewTextHandler(c.console.out, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if browser {
		cfg.Browser = oauth.SystemBrowser(runtime.GOOS, os.LookupEnv)
	}
	s, err := signin.New(cfg)
	if err != nil && len(conf.Endpoints) > 0 {
		return nil, withHint(err, "see the member endpoints of "+conf.Path+"; docs/sign-in.md says what may stand there")
	}
	if err != nil {
		return nil, err
	}
	if c.services == nil {
		c.services = map[bool]*signin.Service{}
	}
	c.services[browser] = s
	return s, nil
}

// oauthMethods returns the methods of a provider. An issuer that the user names
// may stand for any.
func oauthMethods(kept *credentials, p provider.Provider, o loginOptions) ([]method, error) {
	s, err := kept.service(!o.noBrowser)
	if err != nil {
		return nil, err
	}
	found := s.Methods(p.ID)
	if o.issuer != "" && !isAddress(p.ID) {
		for _, m := range s.Methods(o.issuer) {
			if m.Flow == oauth.FlowOIDC {
				found = append(found, m)
			}
		}
	}
	var all []method
	if isAddress(p.ID) {
		all = append(all, wellKnown{s.Client(), o})
	}
	for _, m := range found {
		all = append(all, oauthMethod{s.Client(), m, o})
	}
	return all, nil
}

// oauthMethod is a method of package oauth at the command line.
type oauthMethod struct {
	client *oauth.Client
	method oauth.Method
	o      loginOptions
}

// Name implements method.
func (m oauthMethod) Name() string { return m.method.ID }

// Title implements titled.
func (m oauthMethod) Title() string {
	title := m.method.Label
	if title == "" {
		title = m.method.ID
	}
	if m.Restricted() {
		title += ", restricted by the provider"
	}
	return title
}

// Restricted implements restricted.
func (m oauthMethod) Restricted() bool { return m.method.Notice != "" }

// Login implements method.
func (m oauthMethod) Login(ctx context.Context, u ui, p provider.Provider, profile string) (store.Credential, error) {
	if err := m.accept(ctx, u); err != nil {
		return store.Credential{}, err
	}
	pastes := m.method.Flow == oauth.FlowCode && m.method.RedirectURL != "" || m.o.paste || m.o.stdin != nil
	if pastes && m.o.stdin == nil && !u.Interactive() {
		// Before anything is begun that nobody can finish.
		return store.Credential{}, usagef("%s: there is no terminal to paste the code on; want --stdin", m.method.ID)
	}
	options := oauth.Options{
		Accepted: true, Profile: profile, Provider: p.ID, Domain: m.o.domain, Issuer: m.o.issuer, ClientID: m.o.clientID,
		Port: m.o.port, CLIProfile: m.o.cliProfile,
	}
	if options.Issuer == "" && isAddress(p.ID) && m.method.Flow == oauth.FlowOIDC {
		options.Issuer = p.ID
	}
	progress, end := u.Progress()
	defer end()
	c, err := m.client.Login(ctx, m.method.ID, options, oauth.UI{
		Show:      func(a *oauth.Attempt) { showAttempt(u, a, pastes) },
		Paste:     func(ctx context.Context) (string, error) { return m.paste(ctx, u) },
		Elsewhere: pastes,
		Progress: func(p oauth.Progress) {
			progress(p.Left, fmt.Sprintf("code %s, %s left", p.UserCode, showLeft(p.Left)))
		},
	})
	if ctx.Err() != nil {
		return store.Credential{}, errCancelled
	}
	return c, err
}

var errCancelled = errors.New("cancelled; nothing was changed")

// accept has the user accept what the provider's terms say of the method.
func (m oauthMethod) accept(ctx context.Context, u ui) error {
	if !m.Restricted() {
		return nil
	}
	u.Say("notice: %s", m.method.Notice)
	if m.o.acceptTerms {
		return nil
	}
	yes, err := u.Confirm(ctx, "Sign in by this method all the same?", "--accept-provider-terms")
	if err == nil && !yes {
		err = errCancelled
	}
	return err
}

// showAttempt says what the user has to open and to do there.
func showAttempt(u ui, a *oauth.Attempt, pastes bool) {
	u.Say("open this address in a browser: %s", a.URL)
	switch {
	case a.UserCode != "":
		u.Say("and enter the code %s", a.UserCode)
	case a.Paste:
		u.Say("and paste the code that it shows")
	case pastes:
		u.Say("and paste the address where the browser ends, which it may fail to load")
	default:
		u.Say("and sign in there; --paste is for a browser on another machine")
	}
}

// paste returns the code that the browser shows.
func (m oauthMethod) paste(ctx context.Context, u ui) (string, error) {
	if m.o.stdin == nil {
		text, err := u.Secret(ctx, "Code", "--stdin")
		return text.Reveal(), err
	}
	return readLine(ctx, m.o.stdin)
}

// maxLineBytes bounds a line of input: an address with a code has hundreds.
const maxLineBytes = 64 << 10

// readLine reads one line, or up to the end.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	return readTyped(ctx, func() ([]byte, error) {
		text, err := bufio.NewReader(io.LimitReader(r, maxLineBytes)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return text, err
	})
}

// readTyped reads standard input. A read that never ends cannot be stopped, but
// it can be left alone: the program ends after it.
func readTyped(ctx context.Context, read func() ([]byte, error)) (string, error) {
	type input struct {
		text []byte
		err  error
	}
	got := make(chan input, 1)
	go func() {
		text, err := read()
		got <- input{text, err}
	}()
	select {
	case in := <-got:
		if in.err != nil {
			return "", fmt.Errorf("--stdin: %w", in.err)
		}
		return string(in.text), nil
	case <-ctx.Done():
		return "", errCancelled
	}
}

func showLeft(left time.Duration) string {
	seconds := int(left.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}

// withOwn returns the providers with those that methods of sign-in add.
func (s signIn) withOwn(kept *credentials, known []provider.Provider) ([]provider.Provider, error) {
	if s.providers == nil {
		return known, nil
	}
	more, err := s.providers(kept)
	if err != nil {
		return nil, err
	}
	for _, p := range more {
		if !slices.ContainsFunc(known, func(k provider.Provider) bool { return k.ID == p.ID }) {
			p.Configured = true
			known = append(known, p)
		}
	}
	slices.SortStableFunc(known, func(a, b provider.Provider) int { return strings.Compare(a.ID, b.ID) })
	return known, nil
}
