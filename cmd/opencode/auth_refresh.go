package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"opencode/store"
	"opencode/store/vault"
)

func newAuthRefreshCmd(s signIn) *cobra.Command {
	var (
		all, force bool
		profile    string
	)
	cmd := &cobra.Command{
		Use:   "refresh [PROVIDER]",
		Short: "Renew what expires",
		Long: `Renew the credential of a provider, or all that can be renewed, if it is about to
expire. It happens by itself where a credential is used; this is for those who
want to know.`,
		Example: `  opencode auth refresh anthropic
  opencode auth refresh --all --force`,
		Args: atMostOne("the id of a provider"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("want the id of a provider, or --all")
			}
			if all && profile != "" {
				return usagef("--all and --profile: want one of them")
			}
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if all {
				return kept.end(refreshAll(ctx, cmd, kept, s, force))
			}
			key, err := store.NewCredentialKey(args[0], profile)
			if err != nil {
				return &usageError{err}
			}
			return kept.end(refreshOne(ctx, cmd, kept, s, key, force))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "renew all that can be")
	f.BoolVar(&force, "force", false, "renew what is not due as well")
	f.StringVar(&profile, "profile", "", "the one that was kept under this name")
	return cmd
}

// renew renews a credential, or returns errNotRenewable.
func (s signIn) renew(ctx context.Context, kept *credentials, c store.Credential, force bool) (bool, error) {
	if s.refresh == nil || c.Kind != store.CredentialOAuth {
		return false, errNotRenewable
	}
	return s.refresh(ctx, kept, c, force)
}

func refreshOne(ctx context.Context, cmd *cobra.Command, kept *credentials, s signIn, key store.CredentialKey, force bool) error {
	c, err := kept.store.Credential(ctx, key.Provider, key.Profile)
	if errors.Is(err, store.ErrNotExist) {
		return s.missing(ctx, kept, key)
	}
	if err != nil {
		return err
	}
	renewed, err := s.renew(ctx, kept, c, force)
	if errors.Is(err, errNotRenewable) {
		return withHint(fmt.Errorf("%s: %w", key, err), "opencode auth login "+key.Provider)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", key, renewalText(renewed, force))
	return err
}

// renewalText says what a renewal without an error did.
func renewalText(renewed, force bool) string {
	switch {
	case renewed:
		return "is renewed"
	case force:
		return "is renewed, and the provider gave the same token again"
	}
	return "is not due"
}

// nobody says what there is to do where no credential is kept.
const nobody = "there are no credentials; `opencode auth login` makes one"

func refreshAll(ctx context.Context, cmd *cobra.Command, kept *credentials, s signIn, force bool) error {
	all, err := kept.store.Credentials(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		kept.console.Say(nobody)
	}
	var errs []error
	for _, c := range all {
		err := refreshOne(ctx, cmd, kept, s, c.CredentialKey, force)
		if !errors.Is(err, errNotRenewable) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func newAuthRotateCmd(s signIn) *cobra.Command {
	var olderThan string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace keys and credentials by new ones",
		Long: `Replace keys and credentials by new ones: the store is encrypted with a new key,
and what providers let a program renew is renewed. Of the rest, such as API keys,
it says which are due; only you can make a new one, at the provider.

With --older-than only credentials of that age or of an unknown one are due. It
fits a timer: it asks nothing, and exits with 1 if something failed.`,
		Example: `  opencode auth rotate
  opencode auth rotate --older-than 30d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			age, err := parseAge(olderThan)
			if err != nil {
				return err
			}
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			return kept.end(rotate(cmd, kept, s, age, time.Now()))
		},
	}
	cmd.Flags().StringVar(&olderThan, "older-than", "0d", "only what is at least so old, such as 30d or 12h")
	return cmd
}

// parseAge reads a length of time that has passed.
func parseAge(text string) (time.Duration, error) {
	if text == "0" || text == "0d" {
		return 0, nil
	}
	epoch := time.Unix(0, 0).UTC()
	at, err := parseExpires(text, epoch)
	if err != nil || at.IsZero() || !isAge(text) {
		return 0, usagef("--older-than %q: want a number of days, hours or minutes, such as 30d", text)
	}
	return at.Sub(epoch), nil
}

// isAge tells a length of time from a date, which parseExpires takes as well.
func isAge(text string) bool {
	last := text[len(text)-1]
	return last == 'd' || last == 'h' || last == 'm'
}

func rotate(cmd *cobra.Command, kept *credentials, s signIn, age time.Duration, now time.Time) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	state, err := kept.protectionState(ctx)
	if err != nil {
		return err
	}
	if state.ReadOnly {
		return fmt.Errorf("rotate: %w", store.ErrReadOnly)
	}
	all, err := kept.store.Credentials(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		kept.console.Say(nobody)
	}
	var errs []error
	switch {
	case !state.Exists:
	case state.Protection == plainText:
		kept.console.Say("warning: the credentials are plain text; `opencode auth encrypt` changes that")
	case state.Protection == string(vault.Plugin):
		kept.console.Say("the key of the store is a plug-in's own and stays")
	default:
		if err := kept.rekey(ctx, state); errors.Is(err, vault.ErrOwnKey) {
			kept.console.Say("the key of the store is one of the HSM that was named, and stays")
			break
		} else if err != nil {
			errs = append(errs, fmt.Errorf("new key for the store: %w", err))
			break
		}
		fmt.Fprintln(out, "the store has a new key")
	}
	for _, c := range all {
		if !c.Created.IsZero() && now.Sub(c.Created) < age {
			continue
		}
		// What another program renews has no refresh token here, and is not ours
		// to renew before its time.
		force := !c.Refresh.IsZero()
		renewed, err := s.renew(ctx, kept, c, force)
		switch {
		case errors.Is(err, errNotRenewable):
			kept.console.Say("warning: %s is %s: make a new one at the provider, then `opencode auth login %s`", c, ageText(c, now), c.Provider)
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(out, "%s %s\n", c.CredentialKey, renewalText(renewed, force))
		}
	}
	return errors.Join(errs...)
}

func ageText(c store.Credential, now time.Time) string {
	if c.Created.IsZero() {
		return "of unknown age"
	}
	return fmt.Sprintf("%d days old", int(now.Sub(c.Created)/day))
}
