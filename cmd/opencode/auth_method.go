package main

import (
	"bufio"
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

// signIn is how methods of sign-in are plugged in to the commands. Each
// function may be nil.
type signIn struct {
	// methods returns the methods for a provider, beside the API key. Of a
	// gateway's address the provider has only the id, which is the address.
	methods func(p provider.Provider, o loginOptions) []method
	// refresh renews a credential if it is due, or in any case, and reports
	// whether it did. It returns errNotRenewable for one that it cannot renew.
	refresh func(ctx context.Context, c store.Credentials, key store.CredentialKey, force bool) (renewed bool, err error)
	// revoke tells the provider that a credential is not used any more, where
	// that is offered.
	revoke func(ctx context.Context, c store.Credential) error
}

// errNotRenewable means that only the user can get a new credential.
var errNotRenewable = errors.New("cannot be renewed without you")

// loginOptions are the answers that flags of `auth login` give.
type loginOptions struct {
	method, profile, fromEnv string
	// stdin is where an API key comes from, if not nil.
	stdin io.Reader
	// force takes a key that does not look like one.
	force bool
	// acceptTerms and yes answer questions that methods ask.
	acceptTerms, yes bool
}

const methodAPI = "api"

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
			return store.Credential{}, err
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
		return keyFromReader(m.options.stdin)
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
	return store.SecretText{}, fmt.Errorf("--from-env: %s is not set", strings.Join(names, " and "))
}

// keyFromReader reads a key, which is one line.
func keyFromReader(r io.Reader) (store.SecretText, error) {
	lines := bufio.NewReader(io.LimitReader(r, store.MaxSecretText))
	first, err := lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return store.SecretText{}, fmt.Errorf("--stdin: %w", err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		return store.SecretText{}, fmt.Errorf("--stdin: %w", err)
	}
	if strings.TrimSpace(string(rest)) != "" {
		return store.SecretText{}, errors.New("--stdin: want one line with the key, got several")
	}
	return store.NewSecretText(strings.TrimSpace(first)), nil
}

// methodsFor returns the methods for a provider, the API key last.
func (s signIn) methodsFor(p provider.Provider, o loginOptions) []method {
	var all []method
	if s.methods != nil {
		all = s.methods(p, o)
	}
	if !isAddress(p.ID) && !slices.ContainsFunc(all, func(m method) bool { return m.Name() == methodAPI }) {
		all = append(all, apiKey{o})
	}
	return all
}

// isAddress reports whether what the user named is a gateway, not a provider.
func isAddress(id string) bool { return strings.Contains(id, "://") }

// choose returns the method that the options name, or asks for one.
func (s signIn) choose(ctx context.Context, u ui, p provider.Provider, o loginOptions) (method, error) {
	all := s.methodsFor(p, o)
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is no way to sign in", p.ID)
	}
	name := o.method
	if name == "" && (o.stdin != nil || o.fromEnv != "") {
		name = methodAPI
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
	answer, err := u.Choose(ctx, "How do you want to sign in to "+p.Name+"?", "--method "+strings.Join(names, "|"), options)
	if err != nil {
		return nil, err
	}
	return all[slices.Index(names, answer)], nil
}
