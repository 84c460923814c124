package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"opencode/provider/oauth"
	"opencode/store"
)

func newAuthTokenForCmd() *cobra.Command {
	var (
		reveal, yes bool
		profile     string
	)
	cmd := &cobra.Command{
		Use:   "token-for PROVIDER",
		Short: "Print the secret that requests to a provider are sent with",
		Long: `Print the secret that requests to a provider are sent with, for scripts: a fresh
access token, or the key where one is kept.

It is the only command that shows a secret of yours, and so it wants --reveal, and
--yes as well where there is no terminal.`,
		Example: `  opencode auth token-for openai --reveal
  curl -H "Authorization: Bearer $(opencode auth token-for openai --reveal --yes)" https://api.openai.com/v1/models`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want the id of one provider, got %d arguments", len(args))
			}
			return atMostOne("the id of a provider")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !reveal {
				return usagef("this prints a secret; want --reveal")
			}
			kept, err := commandCredentials(cmd, protectionFlags{})
			if err != nil {
				return err
			}
			if !yes && !kept.console.Interactive() {
				return usagef("this prints a secret and there is no terminal; want --yes as well")
			}
			return kept.end(tokenFor(cmd, kept, args[0], profile))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&reveal, "reveal", false, "show the secret")
	f.BoolVar(&yes, "yes", false, "show it to a program as well")
	f.StringVar(&profile, "profile", "", "the one that was kept under this name")
	return cmd
}

func tokenFor(cmd *cobra.Command, kept *credentials, id, profile string) error {
	key, err := store.NewCredentialKey(id, profile)
	if err != nil {
		return &usageError{err}
	}
	s, err := kept.service(false)
	if err != nil {
		return err
	}
	source, err := s.Refresher().Source(oauth.SourceConfig{Provider: key.Provider, Profile: key.Profile})
	if err != nil {
		return err
	}
	h := http.Header{}
	_, err = source.Apply(cmd.Context(), h)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return newSignIn().missing(cmd.Context(), kept, key)
	case err != nil:
		return err
	}
	secret, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if !ok {
		return fmt.Errorf("%s: has nothing to show", key)
	}
	// A file that is made by a redirection is the shell's, and its mode too.
	if f, ok := cmd.OutOrStdout().(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			kept.console.Say("warning: the file that this goes to can be read by others (mode %04o)", info.Mode().Perm())
		}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
	return err
}
