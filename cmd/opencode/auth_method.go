package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"opencode/provider"
	"opencode/store"
)

// method is a way to sign in to a provider.
type method interface {
	// Name is what --method names it by, and what the credential remembers.
	Name() string
	// Login signs in. What it returns is kept by whoever called it.
	Login(ctx context.Context, u ui, p provider.Provider, profile string) (store.Credential, error)
}

// titled is a method that has more to say of itself where one is chosen.
type titled interface{ Title() string }

// restricted is a method that the provider's terms may restrict. Such a one
// comes after all others where one is chosen.
type restricted interface{ Restricted() bool }

// signIn is how methods of sign-in are plugged in to the commands. Each
// function may be nil.
type signIn struct {
	// providers returns providers that methods are for; the catalogue may lack
	// them.
	providers func(kept *credentials) ([]provider.Provider, error)
	// methods returns the methods for a provider, beside the API key. Of a
	// gateway's address the provider has only the id, which is the address.
	methods func(kept *credentials, p provider.Provider, o loginOptions) ([]method, error)
	// renewable reports whether refresh could renew a credential.
	renewable func(kept *credentials, c store.Credential) bool
	// refresh renews a credential if it is due, or in any case, and reports
	// whether it did. It returns errNotRenewable for one that it cannot renew.
	refresh func(ctx context.Context, kept *credentials, c store.Credential, force bool) (renewed bool, err error)
	// revoke tells the provider that a credential is not used any more, where
	// that is offered.
	revoke func(ctx context.Context, kept *credentials, c store.Credential) error
}

// errNotRenewable means that only the user can get a new credential.
var errNotRenewable = errors.New("cannot be renewed without you")

// loginOptions are the answers that flags of `auth login` give.
type loginOptions struct {
	method, profile, fromEnv string
	// domain, issuer, clientID and cliProfile say more of some methods.
	domain, issuer, clientID, cliProfile string
	// port is that of the redirect to this machine; 0 is any.
	port int
	// noBrowser opens none, and paste says that it is on another machine.
	noBrowser, paste bool
	// stdin is where an API key or a code comes from, if not nil.
	stdin io.Reader
	// force takes a key that does not look like one.
	force bool
	// acceptTerms and yes answer questions that methods ask.
	acceptTerms, yes bool
}

// methodOIDC is the method for issuers that are not configured.
const (
	methodAPI  = "api"
	methodOIDC = "oidc"
)

// apiKey is the method that every provider of the catalogue has.
type apiKey struct{ options loginOptions }

// Name implements method.
func (apiKey) Name() string { return methodAPI }

// Title implements titled.
func (apiKey) Title() string { return "API key" }

// Login implements method.
func (m apiKey) Login(ctx context.Context, u ui, p provider.Provider, profile string) (store.Credential, error) {
	key, err := m.read(ctx, u, p)
	if err != nil {
		return store.Credential{}, err
	}
	if err := provider.CheckKey(p.ID, key.Reveal()); err != nil && !m.options.force {
		if key.IsZero() {
			return store.Credential{}, withHint(err, "nothing was changed; `opencode auth login "+p.ID+"` asks for the key, --stdin and --from-env read it")
		}
		if !u.Interactive() || m.options.stdin != nil || m.options.fromEnv != "" {
			return store.Credential{}, withHint(err, "--force keeps it all the same")
		}
		u.Say("%v", err)
		yes, err := u.Confirm(ctx, "Keep it all the same?", "--force")
		if err != nil {
			return store.Credential{}, err
		}
		if !yes {
			return store.Credential{}, errors.New("cancelled; nothing was changed")
		}
	}
	return store.Credential{
		CredentialKey: store.CredentialKey{Provider: p.ID, Profile: profile},
		Kind:          store.CredentialAPI, Key: key,
	}, nil
}

func (m apiKey) read(ctx context.Context, u ui, p provider.Provider) (store.SecretText, error) {
	switch {
	case m.options.fromEnv != "":
		return keyFromEnv(p, m.options.fromEnv)
	case m.options.stdin != nil:
		return keyFromReader(ctx, m.options.stdin)
	}
	if names := p.KeyVariables(); len(names) > 0 && os.Getenv(names[0]) != "" {
		u.Say("%s is set; --from-env takes the key from there", names[0])
	}
	return u.Secret(ctx, "API key for "+p.Name, "--stdin or --from-env")
}

// anyVariable is the value of --from-env without a name.
const anyVariable = "*"

func keyFromEnv(p provider.Provider, name string) (store.SecretText, error) {
	names := []string{name}
	if name == anyVariable {
		if names = p.KeyVariables(); len(names) == 0 {
			return store.SecretText{}, usagef("--from-env: no variable of %s holds a key; name one with --from-env=NAME", p.ID)
		}
	}
	for _, name := range names {
		if text := strings.TrimSpace(os.Getenv(name)); text != "" {
			return store.NewSecretText(text), nil
		}
	}
	return store.SecretText{}, withHint(fmt.Errorf("--from-env: %s is not set", strings.Join(names, " and ")),
		"set it, name another with --from-env=NAME, or read the key with --stdin")
}

// keyFromReader reads a key, which is one line and all that there is.
func keyFromReader(ctx context.Context, r io.Reader) (store.SecretText, error) {
	text, err := readTyped(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(r, store.MaxSecretText)) })
	if err != nil {
		return store.SecretText{}, err
	}
	first, rest, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(rest) != "" {
		return store.SecretText{}, errors.New("--stdin: want one line with the key, got several")
	}
	return store.NewSecretText(strings.TrimSpace(first)), nil
}

// methodsFor returns the methods for a provider, the API key first and last
// those that the provider restricts.
func (s signIn) methodsFor(kept *credentials, p provider.Provider, o loginOptions) ([]method, error) {
	var all []method
	if s.methods != nil {
		var err error
		if all, err = s.methods(kept, p, o); err != nil {
			return nil, err
		}
	}
	if !isAddress(p.ID) && !slices.ContainsFunc(all, func(m method) bool { return m.Name() == methodAPI }) {
		all = slices.Insert(all, 0, method(apiKey{o}))
	}
	isRestricted := func(m method) bool { r, ok := m.(restricted); return ok && r.Restricted() }
	return slices.Concat(without(all, isRestricted), without(all, func(m method) bool { return !isRestricted(m) })), nil
}

func without(all []method, drop func(method) bool) []method {
	return slices.DeleteFunc(slices.Clone(all), drop)
}

// isAddress reports whether what the user named is a gateway, not a provider.
func isAddress(id string) bool { return strings.Contains(id, "://") }

// choose returns the method that the options name, or asks for one.
func (s signIn) choose(ctx context.Context, kept *credentials, p provider.Provider, o loginOptions) (method, error) {
	all, err := s.methodsFor(kept, p, o)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is no way to sign in", p.ID)
	}
	name := o.method
	if name == "" {
		name = usualMethod(all, p, o)
	}
	var names []string
	var options []option
	for _, m := range all {
		if m.Name() == name || name == "" && len(all) == 1 {
			return m, nil
		}
		title := m.Name()
		if t, ok := m.(titled); ok {
			title = t.Title()
		}
		names = append(names, m.Name())
		options = append(options, option{title, m.Name()})
	}
	if name != "" {
		return nil, usagef("--method %q: %s has %s", name, p.ID, strings.Join(names, ", "))
	}
	answer, err := kept.console.Choose(ctx, "How do you want to sign in to "+p.Name+"?", "--method "+strings.Join(names, "|"), options)
	if err != nil {
		return nil, err
	}
	return all[slices.Index(names, answer)], nil
}

// usualMethod is the method that other flags leave no doubt about, "" if any
// could be meant.
func usualMethod(all []method, p provider.Provider, o loginOptions) string {
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(m method) bool { return m.Name() == name })
	}
	switch {
	case o.issuer != "" && has(methodOIDC):
		return methodOIDC
	case isAddress(p.ID) && o.clientID == "" && has(methodWellKnown):
		return methodWellKnown
	case isAddress(p.ID) && has(methodOIDC):
		return methodOIDC
	case o.stdin != nil || o.fromEnv != "":
		return methodAPI
	}
	return ""
}
