package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"opencode/provider"
	"opencode/store"
)

// credentialView is a credential as it may be seen.
type credentialView struct {
	Provider string `json:"provider"`
	Profile  string `json:"profile"`
	Kind     string `json:"kind"`
	// Method is "" if another program wrote it.
	Method string `json:"method"`
	// Created is null if another program wrote it.
	Created *time.Time `json:"created"`
	// Expires is null for what never expires.
	Expires *time.Time `json:"expires"`
	Expired bool       `json:"expired"`
	// Renewable reports whether there is something to renew it with.
	Renewable bool   `json:"renewable"`
	Account   string `json:"account"`
	// Enterprise is the domain of one, "" for the provider's own.
	Enterprise string `json:"enterprise"`
	// Source is store or environment.
	Source string `json:"source"`
}

func viewCredential(kept *credentials, s signIn, c store.Credential, now time.Time) credentialView {
	v := credentialView{
		Provider: c.Provider, Profile: c.Profile, Kind: string(c.Kind), Method: c.Method, Account: c.AccountID, Enterprise: c.EnterpriseURL,
		Expired: c.ExpiresWithin(now, 0), Source: "store",
	}
	if kept.fixed != nil {
		v.Source = "environment"
	}
	if c.Kind == store.CredentialOAuth && !c.Expires.IsZero() && s.renewable != nil {
		v.Renewable = s.renewable(kept, c)
	}
	if !c.Created.IsZero() {
		at := c.Created.UTC()
		v.Created = &at
	}
	if !c.Expires.IsZero() {
		at := c.Expires.UTC()
		v.Expires = &at
	}
	return v
}

// variableView is an environment variable that is set.
type variableView struct {
	Provider string `json:"provider"`
	Variable string `json:"variable"`
}

// setVariables returns the variables of providers that are set.
func setVariables(known []provider.Provider) []variableView {
	out := []variableView{}
	for _, p := range known {
		for _, name := range p.Env {
			if os.Getenv(name) != "" {
				out = append(out, variableView{p.ID, name})
			}
		}
	}
	return out
}

// listView is what `auth list --json` prints.
type listView struct {
	Store       protectionView   `json:"store"`
	Credentials []credentialView `json:"credentials"`
	Environment []variableView   `json:"environment"`
}

func newAuthListCmd(s signIn) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the credentials, and how they are kept",
		Long: `List the credentials, the environment variables of providers that are set, and
how the credentials are kept. No secret is shown.

A credential that is kept counts before a variable that is set.`,
		Example: `  opencode auth list
  opencode auth list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			return kept.end(list(cmd, kept, s, asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func list(cmd *cobra.Command, kept *credentials, s signIn, asJSON bool) error {
	ctx, now := cmd.Context(), time.Now()
	state, err := kept.protectionState(ctx)
	if err != nil {
		return err
	}
	known, err := knownProviders(ctx)
	if err != nil {
		return err
	}
	view := listView{Store: state, Credentials: []credentialView{}, Environment: setVariables(known)}
	all, err := kept.store.Credentials(ctx)
	if err != nil {
		// Which protection is in force is what the user needs to know now.
		return fmt.Errorf("%w (protection: %s)", err, state.Protection)
	}
	for _, c := range all {
		view.Credentials = append(view.Credentials, viewCredential(kept, s, c, now))
	}
	if asJSON {
		return writeTokenJSON(cmd.OutOrStdout(), view)
	}
	if len(state.PlainBeside) > 0 {
		kept.console.Say("warning: a plain auth.json beside the encrypted store has entries for %s; `opencode auth encrypt` takes them in", strings.Join(state.PlainBeside, ", "))
	}
	return writeList(cmd.OutOrStdout(), view)
}

func writeList(out io.Writer, v listView) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(v.Credentials) > 0 {
		fmt.Fprintln(w, "PROVIDER\tPROFILE\tKIND\tMETHOD\tCREATED\tEXPIRES")
	}
	for _, c := range v.Credentials {
		created := "unknown"
		if c.Created != nil {
			created = showTime(*c.Created, "unknown")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Provider, orDash(c.Profile), c.Kind, orDash(c.Method), created, showExpiry(c))
	}
	if len(v.Environment) > 0 {
		if len(v.Credentials) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "PROVIDER\tENVIRONMENT VARIABLE")
	}
	for _, e := range v.Environment {
		fmt.Fprintf(w, "%s\t%s\n", e.Provider, e.Variable)
	}
	if len(v.Credentials)+len(v.Environment) > 0 {
		fmt.Fprintln(w)
	}
	if len(v.Credentials)+len(v.Environment)+len(v.Store.Unknown) == 0 {
		fmt.Fprintln(w, "credentials\tnone; `opencode auth login` makes one")
	}
	for _, name := range v.Store.Unknown {
		fmt.Fprintf(w, "not understood\t%q, kept as it is\n", name)
	}
	fmt.Fprintf(w, "store\t%s\n", v.Store.File)
	fmt.Fprintf(w, "protection\t%s: %s\n", v.Store.Protection, v.Store.explain())
	if v.Store.ReadOnly {
		fmt.Fprintln(w, "changes\trefused: read-only")
	}
	return w.Flush()
}

func showExpiry(c credentialView) string {
	switch {
	case c.Expires == nil:
		return "never"
	case c.Expired && c.Renewable:
		return "due for renewal"
	case c.Expired:
		return "expired"
	}
	return showTime(*c.Expires, "never")
}

// statusView is what `auth status --json` prints.
type statusView struct {
	Provider  string `json:"provider"`
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	// Source is store, env or "".
	Source string `json:"source"`
	// Credential is null if none is kept.
	Credential  *credentialView `json:"credential"`
	Environment []string        `json:"environment"`
	Methods     []string        `json:"methods"`
}

func newAuthStatusCmd(s signIn) *cobra.Command {
	var (
		asJSON  bool
		profile string
	)
	cmd := &cobra.Command{
		Use:   "status PROVIDER",
		Short: "Say whether you are signed in to a provider",
		Long: `Say whether you are signed in to a provider. It exits with 1 if you are not.

Whether the credential works is not tried.`,
		Example: `  opencode auth status anthropic
  opencode auth status openai --profile work --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want the id of one provider, got %d arguments", len(args))
			}
			return atMostOne("the id of a provider")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			return kept.end(status(cmd, kept, s, args[0], profile, asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&profile, "profile", "", "the one that was kept under this name")
	return cmd
}

func status(cmd *cobra.Command, kept *credentials, s signIn, id, profile string, asJSON bool) error {
	ctx := cmd.Context()
	key, err := store.NewCredentialKey(id, profile)
	if err != nil {
		return &usageError{err}
	}
	known, err := knownProviders(ctx)
	if err != nil {
		return err
	}
	if known, err = s.withOwn(kept, known); err != nil {
		return err
	}
	view := statusView{Provider: key.Provider, Name: key.Provider, Environment: []string{}, Methods: []string{}}
	p := provider.Provider{ID: key.Provider, Name: key.Provider}
	if i := slices.IndexFunc(known, func(p provider.Provider) bool { return p.ID == key.Provider }); i >= 0 {
		p = known[i]
		view.Name = p.Name
	}
	methods, err := s.methodsFor(kept, p, loginOptions{})
	if err != nil {
		return err
	}
	for _, m := range methods {
		view.Methods = append(view.Methods, m.Name())
	}
	for _, v := range setVariables(known) {
		if v.Provider == key.Provider {
			view.Environment = append(view.Environment, v.Variable)
		}
	}
	c, err := kept.store.Credential(ctx, key.Provider, key.Profile)
	switch {
	case err == nil:
		one := viewCredential(kept, s, c, time.Now())
		view.Credential, view.Connected, view.Source = &one, true, "store"
	case !errors.Is(err, store.ErrNotExist):
		return err
	case len(view.Environment) > 0 && key.Profile == "":
		view.Connected, view.Source = true, "env"
	case !isAddress(key.Provider) && p.Env == nil && !p.Configured:
		return unknownProvider(known, key.Provider)
	}
	if err := writeStatus(cmd.OutOrStdout(), view, asJSON); err != nil {
		return err
	}
	if view.Connected {
		return nil
	}
	if asJSON {
		return errSilent
	}
	return notSignedIn(key)
}

func writeStatus(out io.Writer, v statusView, asJSON bool) error {
	if asJSON {
		return writeTokenJSON(out, v)
	}
	if !v.Connected {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "provider\t%s (%s)\n", v.Name, v.Provider)
	if c := v.Credential; c != nil {
		fmt.Fprintf(w, "profile\t%s\nkind\t%s\nmethod\t%s\nexpires\t%s\n", orDash(c.Profile), c.Kind, orDash(c.Method), showExpiry(*c))
	}
	if len(v.Environment) > 0 {
		fmt.Fprintf(w, "environment\t%s\n", strings.Join(v.Environment, ", "))
	}
	return w.Flush()
}

// providerView is what `auth providers --json` prints of each.
type providerView struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Environment []string `json:"environment"`
	Methods     []string `json:"methods"`
	Connected   bool     `json:"connected"`
	Source      string   `json:"source"`
}

func newAuthProvidersCmd(s signIn) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "providers [FILTER]",
		Short: "List the providers that there are to sign in to",
		Long: `List the providers that there are to sign in to: those of the catalogue, whose
facts are from models.dev (MIT, (c) 2025 models.dev), and those that your
configuration file defines.`,
		Example: `  opencode auth providers
  opencode auth providers open --json`,
		Args: atMostOne("a part of the id or the name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			return kept.end(listProviders(cmd.Context(), cmd, kept, s, strings.Join(args, ""), asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listProviders(ctx context.Context, cmd *cobra.Command, kept *credentials, s signIn, filter string, asJSON bool) error {
	catalogue, err := commandCatalogue(ctx, kept)
	if err != nil {
		return err
	}
	known, err := catalogue.Providers()
	if err != nil {
		return err
	}
	if known, err = s.withOwn(kept, known); err != nil {
		return err
	}
	views := []providerView{}
	for _, p := range known {
		if filter != "" && !matches(p, filter) {
			continue
		}
		v := providerView{ID: p.ID, Name: p.Name, Environment: append([]string{}, p.Env...), Methods: []string{}, Connected: p.Connected()}
		if p.Connected() {
			v.Source = p.Source.String()
		}
		methods, err := s.methodsFor(kept, p, loginOptions{})
		if err != nil {
			return err
		}
		for _, m := range methods {
			v.Methods = append(v.Methods, m.Name())
		}
		views = append(views, v)
	}
	if asJSON {
		return writeTokenJSON(cmd.OutOrStdout(), views)
	}
	if len(views) == 0 {
		return withHint(fmt.Errorf("no provider matches %q", filter), "`opencode auth providers` lists all")
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tMETHODS\tCONNECTED\tENVIRONMENT")
	for _, v := range views {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.ID, v.Name, strings.Join(v.Methods, ","), orDash(v.Source), strings.Join(v.Environment, ","))
	}
	return w.Flush()
}
