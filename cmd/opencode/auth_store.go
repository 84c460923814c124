package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"opencode/provider/signin"
	"opencode/store"
	"opencode/store/file"
	"opencode/store/vault"
)

// The environment variables that say how credentials are kept. The first is of
// the original as well.
const (
	envAuthContent       = "OPENCODE_AUTH_CONTENT"
	envAuthReadOnly      = "OPENCODE_AUTH_READ_ONLY"
	envAuthProtection    = "OPENCODE_AUTH_PROTECTION"
	envAuthPassphrase    = "OPENCODE_AUTH_PASSPHRASE"     //nolint:gosec // the name of a variable
	envAuthNewPassphrase = "OPENCODE_AUTH_NEW_PASSPHRASE" //nolint:gosec // the name of a variable
)

// plainText is what may be asked for instead of a protection.
const plainText = "plain"

// protectionFlags are how a user says how credentials are to be encrypted.
type protectionFlags struct {
	protection, pluginIdentity string
	hsm                        hsmFlags
}

func (p *protectionFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.protection, "protection", "", "where the key of an encrypted store is: keyring, passphrase, plugin, pkcs11 or keyfile; the default is the first that is there")
	f.StringVar(&p.pluginIdentity, "plugin-identity", "", "the identity `FILE` of a plug-in of age, such as a hardware token's")
	p.hsm.add(f)
}

// parse returns the protection, and whether a new store is to be plain text.
func (p *protectionFlags) parse() (protection vault.Protection, plain bool, err error) {
	name, from := p.protection, "--protection"
	if name == "" {
		name, from = os.Getenv(envAuthProtection), envAuthProtection
	}
	if p.pluginIdentity != "" && name == "" {
		name = string(vault.Plugin)
	}
	if p.hsm != (hsmFlags{}) && name != string(vault.PKCS11) {
		if name != "" {
			return "", false, usagef("%s %s: takes no --pkcs11 flags", from, name)
		}
		name = string(vault.PKCS11)
	}
	switch v := vault.Protection(name); v {
	case vault.Auto, vault.Keyring, vault.Passphrase, vault.KeyFile:
		return v, false, nil
	case vault.PKCS11:
		return v, false, nil
	case vault.Plugin:
		if p.pluginIdentity == "" {
			return "", false, usagef("%s %s: want --plugin-identity FILE as well", from, name)
		}
		return v, false, nil
	case plainText, "auto":
		return vault.Auto, name == plainText, nil
	}
	return "", false, usagef("%s %q: want keyring, passphrase, plugin, pkcs11, keyfile or plain", from, name)
}

// credentials is the store of the user's credentials, with what only commands
// need to know of it.
type credentials struct {
	store store.Credentials
	// files is nil if the credentials stand in the environment.
	files *file.Credentials
	fixed *file.FixedCredentials
	vault *vault.Vault
	// protection is what a new key gets.
	protection vault.Protection
	console    console
	// services are what signs in, with a browser and without, once made.
	services map[bool]*signin.Service
}

// openCredentials returns the store of credentials as the environment has it.
// It reads nothing but the environment.
func openCredentials(con console, logger *slog.Logger, flags protectionFlags) (*credentials, error) {
	return openSeenCredentials(con, logger, flags, nil)
}

// openSeenCredentials is openCredentials, and has seen told of what is in files.
func openSeenCredentials(con console, logger *slog.Logger, flags protectionFlags, seen func([]byte)) (*credentials, error) {
	if text := os.Getenv(envAuthContent); text != "" {
		fixed, err := file.ParseCredentials(text)
		if err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", envAuthContent, err), "it takes the place of auth.json and has its form; unset it to use the file")
		}
		return &credentials{store: fixed, fixed: fixed, console: con}, nil
	}
	return openFiles(con, logger, flags, seen)
}

// openFiles returns the store that is in files, whatever stands in the
// environment in place of it.
func openFiles(con console, logger *slog.Logger, flags protectionFlags, seen func([]byte)) (*credentials, error) {
	protection, plain, err := flags.parse()
	if err != nil {
		return nil, err
	}
	readOnly := false
	if text := os.Getenv(envAuthReadOnly); text != "" {
		if readOnly, err = strconv.ParseBool(text); err != nil {
			return nil, usagef("%s %q: want true or false", envAuthReadOnly, text)
		}
	}
	data, dataErr := dataDir()
	config, configErr := configDir()
	if err := errors.Join(dataErr, configErr); err != nil {
		return nil, err
	}
	hsm, err := flags.hsm.parse()
	if err != nil {
		return nil, err
	}
	cfg := vault.Config{
		KeyDir: filepath.Join(config, "auth-keys"), HSM: hsm, PIN: pins(con), PINSet: isPINSet(),
		Passphrase: passphrases(con), PassphraseSet: os.Getenv(envAuthPassphrase) != "",
		PluginIdentity: flags.pluginIdentity, Protection: protection, Logger: logger,
		Say: func(message string) { con.Say("%s", message) },
	}
	if ring, ok := vault.NewOSKeyring(os.Getenv); ok {
		cfg.Keyring = ring
	}
	v, err := vault.New(cfg)
	if err != nil {
		return nil, err
	}
	files, err := file.OpenCredentials(file.CredentialsConfig{
		Path: filepath.Join(data, "auth.json"), Sealer: v, SealNew: !plain, ReadOnly: readOnly, Seen: seen, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	return &credentials{store: files, files: files, vault: v, protection: protection, console: con}, nil
}

// close logs out of the HSM, if one was used.
func (c *credentials) close() error {
	if c.vault == nil {
		return nil
	}
	return c.vault.Close()
}

// commandCredentials opens the store for a command.
func commandCredentials(cmd *cobra.Command, flags protectionFlags) (*credentials, error) {
	stderr := cmd.ErrOrStderr()
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return openCredentials(newConsole(cmd.InOrStdin(), stderr), logger, flags)
}

// passphrases asks the environment and then the user.
func passphrases(con console) func(context.Context, vault.Ask) (store.SecretText, error) {
	return func(ctx context.Context, ask vault.Ask) (store.SecretText, error) {
		if ask.New {
			if text := os.Getenv(envAuthNewPassphrase); text != "" {
				return store.NewSecretText(text), nil
			}
		}
		if text := os.Getenv(envAuthPassphrase); text != "" {
			return store.NewSecretText(text), nil
		}
		if !con.Interactive() {
			return store.SecretText{}, errors.New("there is no terminal to ask on; set " + envAuthPassphrase)
		}
		if !ask.New {
			question := "Passphrase of the credentials"
			if ask.Attempt > 1 {
				question = "That is not it. Passphrase of the credentials"
			}
			return con.Secret(ctx, question, envAuthPassphrase)
		}
		first, err := con.Secret(ctx, "New passphrase for the credentials", envAuthPassphrase)
		if err != nil {
			return store.SecretText{}, err
		}
		again, err := con.Secret(ctx, "The same once more", envAuthPassphrase)
		if err == nil && !again.Equal(first) {
			err = errors.New("the two are not the same; nothing was changed")
		}
		return first, err
	}
}

// protectionView says how credentials are kept.
type protectionView struct {
	// Protection is keyring, passphrase, plugin, pkcs11, keyfile, plain or
	// environment.
	Protection string `json:"protection"`
	File       string `json:"file"`
	Exists     bool   `json:"exists"`
	ReadOnly   bool   `json:"read_only"`
	// PlainBeside are entries that another program left in plain text.
	PlainBeside []string `json:"plain_beside"`
	// Unknown are entries that are kept and not understood.
	Unknown []string `json:"unknown"`
}

// protectionState returns how the credentials are kept at the moment.
func (c *credentials) protectionState(ctx context.Context) (protectionView, error) {
	if c.fixed != nil {
		return protectionView{Protection: "environment", File: envAuthContent, Exists: true, ReadOnly: true, PlainBeside: []string{}, Unknown: append([]string{}, c.fixed.Unknown()...)}, nil
	}
	state, err := c.files.State(ctx)
	if err != nil {
		return protectionView{}, err
	}
	// Parsed when the store was opened.
	readOnly, _ := strconv.ParseBool(os.Getenv(envAuthReadOnly))
	v := protectionView{
		Protection: plainText, File: state.Path, Exists: state.Exists, ReadOnly: readOnly,
		PlainBeside: append([]string{}, state.PlainBeside...), Unknown: append([]string{}, state.Unknown...),
	}
	switch {
	case state.Sealed && !state.Exists:
		v.Protection = "auto"
		if c.protection != vault.Auto {
			v.Protection = string(c.protection)
		}
	case state.Sealed:
		info, err := vault.Inspect(state.Raw)
		if err != nil {
			return protectionView{}, fmt.Errorf("%s: %w", state.Path, err)
		}
		v.Protection = string(info.Protection)
	}
	return v, nil
}

// explain says in a sentence what the protection is worth.
func (v protectionView) explain() string {
	switch vault.Protection(v.Protection) {
	case vault.Keyring:
		return "encrypted; the key is in the keyring of the operating system"
	case vault.Passphrase:
		return "encrypted; the key is behind a passphrase"
	case vault.Plugin:
		return "encrypted; a plug-in of age has the key"
	case vault.PKCS11:
		return "encrypted; the key is in an HSM"
	case vault.KeyFile:
		return "encrypted; the key is in a file of your configuration directory, which protects copies of the credentials only"
	case vault.Auto, "auto":
		return "none yet; the first sign-in makes an encrypted store"
	}
	if v.Protection == "environment" {
		return "none; the credentials stand in the environment, read-only"
	}
	return "none; plain text that other programs of yours can read, `opencode auth encrypt` changes that"
}

// end ends the asking, and adds what to do to an error of the command.
func (c *credentials) end(err error) error {
	c.console.close()
	return explainCredentials(err)
}

// explainCredentials adds what to do to an error of the store.
func explainCredentials(err error) error {
	if err == nil || hintOf(err) != "" {
		return err
	}
	switch {
	case errors.Is(err, store.ErrReadOnly):
		return withHint(err, "the credentials of this machine are managed: "+envAuthContent+", "+envAuthReadOnly+" or the mode of the directory says so")
	case errors.Is(err, store.ErrUnknown):
		return withHint(err, "another program or version wrote it; `opencode auth login` replaces it, `opencode auth logout` removes it")
	case errors.Is(err, store.ErrNewer):
		return withHint(err, "use the version that wrote it")
	case errors.Is(err, store.ErrLocked) && strings.Contains(err.Error(), "passphrase"):
		return withHint(err, "set "+envAuthPassphrase+", or run the command on a terminal; without the passphrase move the file away and sign in again")
	case errors.Is(err, store.ErrLocked) && strings.Contains(err.Error(), "PIN"):
		return withHint(err, "set "+envAuthPIN+" or "+envAuthPINFile+", or run the command on a terminal; many tokens lock themselves after three wrong PINs")
	case errors.Is(err, store.ErrLocked):
		return withHint(err, "nothing was changed; docs/sign-in.md says where keys are")
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, file.ErrUnsafe):
		return withHint(err, "nothing was changed; restore the file from a backup, or move the file away and sign in again")
	}
	return err
}

// connected tells the catalogue of providers whom there are credentials for.
func (c *credentials) connected(ctx context.Context) func() ([]string, error) {
	return func() ([]string, error) {
		all, err := c.store.Credentials(ctx)
		ids := make([]string, 0, len(all))
		for _, one := range all {
			ids = append(ids, one.Provider)
		}
		return ids, err
	}
}
