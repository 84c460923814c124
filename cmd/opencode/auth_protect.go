package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"opencode/store"
	"opencode/store/vault"
)

func newAuthEncryptCmd() *cobra.Command {
	var flags protectionFlags
	cmd := &cobra.Command{
		Use:   "encrypt",
		Short: "Encrypt the credentials",
		Long: `Encrypt the credentials: auth.json becomes auth.json.age.

Programs that know auth.json only do not find them then;
` + "`opencode auth decrypt`" + ` is the way back. What another program left in a plain
auth.json beside an encrypted store is taken in.`,
		Example: `  opencode auth encrypt
  opencode auth encrypt --protection passphrase
  opencode auth encrypt --protection pkcs11 --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token work`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFiles(cmd, flags, func(ctx context.Context, kept *credentials) error {
				state, err := kept.protectionState(ctx)
				if err != nil {
					return err
				}
				if !state.Exists || state.Protection == plainText || kept.protection != vault.Auto {
					return kept.reseal(ctx)
				}
				// The key stays; only what is beside the store is taken in.
				return kept.files.Protect(ctx, kept.vault.Seal)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func newAuthDecryptCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "decrypt",
		Short: "Keep the credentials as plain text, for other programs",
		Long: `Keep the credentials as plain text in auth.json, with mode 0600, where the
original program and others find them. Everything that runs as you can then read
them, and so can whoever gets a copy of the file.`,
		Example: `  opencode auth decrypt --yes`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFiles(cmd, protectionFlags{}, func(ctx context.Context, kept *credentials) error {
				if !yes {
					ok, err := kept.console.Confirm(ctx, "Write all credentials as plain text?", "--yes")
					if err != nil {
						return err
					}
					if !ok {
						return errors.New("cancelled; nothing was changed")
					}
				}
				state, err := kept.files.State(ctx)
				if err != nil {
					return err
				}
				if err := kept.files.Protect(ctx, nil); err != nil {
					return err
				}
				if state.Raw == nil {
					return nil
				}
				return kept.vault.Forget(ctx, state.Raw, nil)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func newAuthRekeyCmd() *cobra.Command {
	var flags protectionFlags
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Encrypt the credentials with a new key",
		Long: `Encrypt the credentials with a new key, and remove the old one, so that copies of
the old file stay closed. It also changes the passphrase, and where the key is.

A new passphrase is asked for, or taken from ` + envAuthNewPassphrase + `.`,
		Example: `  opencode auth rekey
  opencode auth rekey --protection keyring`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFiles(cmd, flags, func(ctx context.Context, kept *credentials) error {
				state, err := kept.protectionState(ctx)
				if err != nil {
					return err
				}
				if !state.Exists || state.Protection == plainText {
					return withHint(errors.New("the credentials are not encrypted"), "opencode auth encrypt")
				}
				return kept.rekey(ctx, state)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// rekey makes a new key of the same protection, if no other was asked for.
func (c *credentials) rekey(ctx context.Context, state protectionView) error {
	if c.protection == vault.Auto {
		c.protection = vault.Protection(state.Protection)
	}
	if c.protection == vault.Plugin {
		return withHint(errors.New("the key is a plug-in's own"), "name a new one with --protection plugin --plugin-identity FILE")
	}
	err := c.reseal(ctx)
	if errors.Is(err, vault.ErrOwnKey) {
		return withHint(err, "name it, or a new one, with --protection pkcs11, --pkcs11-module, --pkcs11-token and --pkcs11-key")
	}
	return err
}

// reseal encrypts everything for a new key, and removes the one before.
func (c *credentials) reseal(ctx context.Context) error {
	var before, now []byte
	err := c.files.Protect(ctx, func(ctx context.Context, plain, old []byte) ([]byte, error) {
		var err error
		before = old
		now, err = c.vault.SealNew(ctx, plain, c.protection)
		return now, err
	})
	if err != nil {
		return err
	}
	if before == nil {
		return nil
	}
	return c.vault.Forget(ctx, before, now)
}

// withFiles calls f with a store that can be changed, and says afterwards how
// it is kept.
func withFiles(cmd *cobra.Command, flags protectionFlags, f func(context.Context, *credentials) error) error {
	kept, err := commandCredentials(cmd, flags)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if _, plain, err := flags.parse(); err == nil && plain && flags.protection != "" {
		return usagef("--protection %s: want opencode auth decrypt", plainText)
	}
	if kept.files == nil {
		return explainCredentials(fmt.Errorf("the credentials: %w", store.ErrReadOnly))
	}
	if err := kept.end(f(ctx, kept)); err != nil {
		return err
	}
	state, err := kept.protectionState(ctx)
	if err != nil {
		return explainCredentials(err)
	}
	text := strings.TrimSuffix(state.explain(), ", `opencode auth encrypt` changes that")
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept in %s: %s\n", state.File, text)
	return err
}
