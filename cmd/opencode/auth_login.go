package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opencode/provider"
	"opencode/settings"
	"opencode/store"
)

func newAuthLoginCmd(s signIn) *cobra.Command {
	var (
		o       loginOptions
		flags   protectionFlags
		isStdin bool
		named   string
	)
	cmd := &cobra.Command{
		Use:   "login [PROVIDER|URL]",
		Short: "Sign in to a model provider",
		Long: `Sign in to a model provider, and keep the credential.

What is not said by flags is asked for on the terminal; without a terminal it is
an error, never a wait. A new store is encrypted; ` + "`opencode auth list`" + ` says how.

The address of a sign-in is printed, and opened in a browser if there is one.
With --paste or --stdin the code, or the address where the browser ends, is read
and not waited for.

The URL of a company's gateway may name a command that prints the token: it is
shown, and run only after a yes. Any issuer of OpenID Connect signs in with
--issuer and --client-id. What a provider's terms restrict says so first, and goes
on only after a yes or with --accept-provider-terms.`,
		Example: `  opencode auth login anthropic --method api
  opencode auth login openai --from-env
  pass show groq | opencode auth login groq --stdin --profile work
  opencode auth login anthropic --method anthropic-console
  opencode auth login github-copilot --method github-copilot --domain company.ghe.com
  opencode auth login corp --issuer https://id.example.com --client-id opencode`,
		Args: atMostOne("the id of a provider or the address of a gateway"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isStdin {
				o.stdin = cmd.InOrStdin()
			}
			switch {
			case isStdin && o.fromEnv != "":
				return usagef("--stdin and --from-env: want one of them")
			case named != "" && len(args) > 0:
				return usagef("--provider and an argument: want one of them")
			case named != "":
				args = []string{named}
			case o.port < 0 || o.port > 65535:
				return usagef("--port %d: want 0 to 65535", o.port)
			}
			if err := atMostOne("the id of a provider or the address of a gateway")(cmd, args); err != nil {
				return err
			}
			kept, err := commandCredentials(cmd, flags)
			if err != nil {
				return err
			}
			return kept.end(login(cmd, kept, s, args, o))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.method, "method", "m", "", "how to sign in; `opencode auth providers PROVIDER` lists the ways")
	f.StringVarP(&named, "provider", "p", "", "the provider, as the argument")
	f.StringVar(&o.profile, "profile", "", "keep it beside others under this name")
	f.BoolVar(&isStdin, "stdin", false, "read the API key, or the code that a browser shows, from standard input")
	f.StringVar(&o.fromEnv, "from-env", "", "take the API key from an environment variable, the provider's own if none is named")
	f.Lookup("from-env").NoOptDefVal = anyVariable
	f.BoolVar(&o.force, "force", false, "keep a key that does not look like one")
	f.BoolVar(&o.acceptTerms, "accept-provider-terms", false, "accept what the provider's terms say of the method, which is shown")
	f.BoolVar(&o.yes, "yes", false, "run the command that a gateway names")
	f.BoolVar(&o.noBrowser, "no-browser", false, "open no browser, only print the address")
	f.BoolVar(&o.paste, "paste", false, "the browser is on another machine: paste the address where it ends")
	f.StringVar(&o.domain, "domain", "", "the domain of an enterprise, such as company.ghe.com")
	f.StringVar(&o.issuer, "issuer", "", "the `URL` of an issuer of OpenID Connect")
	f.StringVar(&o.clientID, "client-id", "", "the id of this program at the provider, in the place of the configured one")
	f.IntVar(&o.port, "port", 0, "the port of this machine that the browser is sent back to; the default is any")
	f.StringVar(&o.cliProfile, "cli-profile", "", "the profile of the Anthropic CLI; the default is its active one")
	flags.add(cmd)
	return cmd
}

// atMostOne refuses more than one argument, and an empty one.
func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("want %s, got %d arguments", what, len(args))
		}
		if len(args) == 1 && args[0] == "" {
			return usagef("want %s, got an empty one", what)
		}
		if len(args) == 1 && provider.CheckKey("none", args[0]) != nil && strings.HasPrefix(args[0], "sk-") {
			// Without the argument, which is a key.
			return usagef("want %s, got what looks like a key", what)
		}
		return nil
	}
}

func login(cmd *cobra.Command, kept *credentials, s signIn, args []string, o loginOptions) error {
	ctx, u := cmd.Context(), kept.console
	state, err := kept.protectionState(ctx)
	if err != nil {
		return err
	}
	if state.ReadOnly {
		return fmt.Errorf("sign in: %w", store.ErrReadOnly)
	}
	known, err := knownProviders(ctx)
	if err != nil {
		return err
	}
	if known, err = s.withOwn(kept, known); err != nil {
		return err
	}
	p, err := chooseProvider(ctx, u, known, args, o.issuer != "")
	if err != nil {
		return err
	}
	if _, err := store.NewCredentialKey(p.ID, o.profile); err != nil {
		return &usageError{err}
	}
	m, err := s.choose(ctx, kept, p, o)
	if err != nil {
		return err
	}
	c, err := m.Login(ctx, u, p, o.profile)
	if err != nil {
		return err
	}
	c.Provider, c.Profile = p.ID, o.profile
	if c.Method == "" {
		c.Method = m.Name()
	}
	if c.Created.IsZero() {
		c.Created = time.Now()
	}
	if err := kept.store.PutCredential(ctx, c); err != nil {
		return err
	}
	if state, err = kept.protectionState(ctx); err != nil {
		return err
	}
	name := p.ID
	if o.profile != "" {
		name += ", profile " + o.profile
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed in to %s (%s) with %s\nkept in %s: %s\n", p.Name, name, c.Method, state.File, state.explain())
	return err
}

// knownProviders returns the catalogue with what the user's configuration file
// defines.
func knownProviders(ctx context.Context) ([]provider.Provider, error) {
	catalogue, err := commandCatalogue(ctx, nil)
	if err != nil {
		return nil, err
	}
	return catalogue.Providers()
}

func commandCatalogue(ctx context.Context, kept *credentials) (*provider.Catalogue, error) {
	config, err := configDir()
	if err != nil {
		return nil, err
	}
	s, err := settings.Read(config)
	if err != nil {
		return nil, err
	}
	cfg := provider.Config{Env: os.LookupEnv, Defined: s.Providers}
	if kept != nil {
		cfg.Connected = kept.connected(ctx)
	}
	return provider.New(cfg)
}

// chooseProvider returns the provider that the arguments name, or asks for one.
// One of any name is taken for the user's own issuer.
func chooseProvider(ctx context.Context, u ui, known []provider.Provider, args []string, anyName bool) (provider.Provider, error) {
	id := ""
	if len(args) > 0 {
		id = strings.TrimRight(args[0], "/")
	} else {
		options := make([]option, 0, len(known))
		for _, p := range known {
			options = append(options, option{p.Name + " (" + p.ID + ")", p.ID})
		}
		var err error
		if id, err = u.Choose(ctx, "Which provider?", "opencode auth login PROVIDER", options); err != nil {
			return provider.Provider{}, err
		}
	}
	if isAddress(id) {
		return provider.Provider{ID: id, Name: id}, nil
	}
	if i := slices.IndexFunc(known, func(p provider.Provider) bool { return p.ID == id }); i >= 0 {
		return known[i], nil
	}
	if anyName {
		return provider.Provider{ID: id, Name: id}, nil
	}
	return provider.Provider{}, unknownProvider(known, id)
}

func unknownProvider(known []provider.Provider, id string) error {
	var like []string
	for _, p := range known {
		if matches(p, id) && len(like) < 5 {
			like = append(like, p.ID)
		}
	}
	hint := "`opencode auth providers` lists all; one of your own is defined in opencode.json"
	if len(like) > 0 {
		hint = "did you mean " + strings.Join(like, ", ") + "? " + hint
	}
	return withHint(usagef("provider %q: is not known", id), hint)
}

// matches reports whether a provider is one that the text may mean.
func matches(p provider.Provider, text string) bool {
	text = strings.ToLower(text)
	return text != "" && (strings.Contains(strings.ToLower(p.ID), text) || strings.Contains(strings.ToLower(p.Name), text))
}

func newAuthLogoutCmd(s signIn) *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use:   "logout [PROVIDER|URL]",
		Short: "Forget the credential of a provider",
		Long: `Forget the credential of a provider.

Where the provider offers it, the credential is revoked there first. An API key
goes on working until it is deleted at the provider.`,
		Example: `  opencode auth logout anthropic
  opencode auth logout groq --profile work`,
		Args: atMostOne("the id of a provider or the address of a gateway"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			return kept.end(logout(cmd, kept, s, args, profile))
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "the one that was kept under this name")
	return cmd
}

func logout(cmd *cobra.Command, kept *credentials, s signIn, args []string, profile string) error {
	ctx, u := cmd.Context(), kept.console
	if state, err := kept.protectionState(ctx); err != nil {
		return err
	} else if state.ReadOnly {
		return fmt.Errorf("sign out: %w", store.ErrReadOnly)
	}
	key, err := chooseKept(ctx, kept, args, profile, "opencode auth logout PROVIDER")
	if err != nil {
		return err
	}
	c, err := kept.store.Credential(ctx, key.Provider, key.Profile)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return s.missing(ctx, kept, key)
	case errors.Is(err, store.ErrUnknown):
		// It can be forgotten all the same.
	case err != nil:
		return err
	case s.revoke != nil:
		if err := s.revoke(ctx, kept, c); err != nil {
			u.Say("warning: the provider was not told: %v", err)
		}
	}
	if err := kept.store.DeleteCredential(ctx, key); err != nil {
		return err
	}
	if c.Kind == store.CredentialAPI {
		u.Say("the key goes on working until you delete it at the provider")
	}
	known, err := knownProviders(ctx)
	if err != nil {
		return err
	}
	for _, v := range setVariables(known) {
		if v.Provider == key.Provider {
			u.Say("%s is set and is used from now on", v.Variable)
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed out of %s\n", key)
	return err
}

func notSignedIn(key store.CredentialKey) error {
	hint := "opencode auth login " + key.Provider
	if key.Profile != "" {
		hint += " --profile " + key.Profile
	}
	return withHint(fmt.Errorf("%s: not signed in", key), "`"+hint+"` signs in; `opencode auth list` shows what is kept")
}

// missing returns the error for a credential that is not kept: there may be no
// such provider to sign in to either.
func (s signIn) missing(ctx context.Context, kept *credentials, key store.CredentialKey) error {
	known, err := knownProviders(ctx)
	if err != nil {
		return err
	}
	if known, err = s.withOwn(kept, known); err != nil {
		return err
	}
	if isAddress(key.Provider) || slices.ContainsFunc(known, func(p provider.Provider) bool { return p.ID == key.Provider }) {
		return notSignedIn(key)
	}
	return unknownProvider(known, key.Provider)
}

// chooseKept returns the key that the arguments name, or asks for one.
func chooseKept(ctx context.Context, kept *credentials, args []string, profile, flag string) (store.CredentialKey, error) {
	if len(args) > 0 {
		key, err := store.NewCredentialKey(args[0], profile)
		if err != nil {
			return key, &usageError{err}
		}
		return key, nil
	}
	if !kept.console.Interactive() {
		return store.CredentialKey{}, usagef("there is no terminal to ask on; want %s", flag)
	}
	all, err := kept.store.Credentials(ctx)
	if err != nil {
		return store.CredentialKey{}, err
	}
	if len(all) == 0 {
		return store.CredentialKey{}, errors.New(nobody)
	}
	var options []option
	for i, c := range all {
		options = append(options, option{c.String(), strconv.Itoa(i)})
	}
	answer, err := kept.console.Choose(ctx, "Which one?", flag, options)
	if err != nil {
		return store.CredentialKey{}, err
	}
	i := slices.IndexFunc(options, func(o option) bool { return o.value == answer })
	return all[max(i, 0)].CredentialKey, nil
}
