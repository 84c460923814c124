package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"opencode/regular"
	"opencode/store"
	"opencode/store/vault"
)

// The environment variables of a token of PKCS#11, such as an HSM. A PIN is
// never an argument, which other users of the machine could see.
const (
	envAuthModule  = "OPENCODE_AUTH_PKCS11_MODULE"
	envAuthLabel   = "OPENCODE_AUTH_PKCS11_LABEL"
	envAuthPIN     = "OPENCODE_AUTH_PKCS11_PIN"
	envAuthPINFile = "OPENCODE_AUTH_PKCS11_PIN_FILE"
)

// hsmFlags name the key of an HSM.
type hsmFlags struct{ module, token, slot, key string }

func (p *hsmFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.module, "pkcs11-module", "", "the PKCS#11 library `FILE` of an HSM; "+envAuthModule+" names it as well")
	f.StringVar(&p.token, "pkcs11-token", "", "the `LABEL` of the token in the HSM; "+envAuthLabel+" names it as well")
	f.StringVar(&p.slot, "pkcs11-slot", "", "the `NUMBER` of the token's slot, in place of its label")
	f.StringVar(&p.key, "pkcs11-key", "", "the `LABEL` of an AES key in the token, which is made if there is none; by default each store has its own")
}

// parse returns the token that the flags and the environment name.
func (p *hsmFlags) parse() (vault.HSM, error) {
	h := vault.HSM{Module: p.module, Token: p.token, Key: p.key}
	if h.Module == "" {
		h.Module = os.Getenv(envAuthModule)
	}
	if p.slot == "" {
		if h.Token == "" {
			h.Token = os.Getenv(envAuthLabel)
		}
		return h, nil
	}
	slot, err := strconv.ParseUint(p.slot, 10, 31)
	if err != nil {
		return h, usagef("--pkcs11-slot %q: want the number of a slot", p.slot)
	}
	if p.token != "" {
		return h, usagef("--pkcs11-token and --pkcs11-slot: want one of them")
	}
	number := int(slot)
	h.Slot = &number
	return h, nil
}

// isPINSet reports whether the PIN is known without asking anybody.
func isPINSet() bool { return os.Getenv(envAuthPIN)+os.Getenv(envAuthPINFile) != "" }

// pins asks the environment for the PIN of a token, then a file that it names,
// and then the user.
func pins(con console) func(context.Context, vault.AskPIN) (store.SecretText, error) {
	return func(ctx context.Context, ask vault.AskPIN) (store.SecretText, error) {
		if text := os.Getenv(envAuthPIN); text != "" {
			return store.NewSecretText(text), nil
		}
		if path := os.Getenv(envAuthPINFile); path != "" {
			return readPIN(path)
		}
		if !con.Interactive() {
			return store.SecretText{}, errors.New("there is no terminal to ask on; set " + envAuthPIN + " or " + envAuthPINFile)
		}
		question := fmt.Sprintf("PIN of the token %q", ask.Token)
		if ask.Attempt > 1 {
			question = fmt.Sprintf("That is not it. PIN of the token %q; it is not asked for again, since tokens lock themselves", ask.Token)
		}
		return con.Secret(ctx, question, envAuthPIN)
	}
}

// maxPIN bounds a file with a PIN.
const maxPIN = 4 << 10

// readPIN reads a PIN from a file that nobody else may read.
func readPIN(path string) (store.SecretText, error) {
	f, info, err := regular.Open(path, regular.FollowLinks)
	if err != nil {
		return store.SecretText{}, fmt.Errorf("%s: %w", envAuthPINFile, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	switch {
	case info.Size() > maxPIN:
		return store.SecretText{}, fmt.Errorf("%s: %s is no file with a PIN", envAuthPINFile, path)
	case info.Mode().Perm()&0o077 != 0:
		return store.SecretText{}, fmt.Errorf("%s: others can read %s; close it by `chmod 600`, and change the PIN", envAuthPINFile, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPIN))
	if err != nil {
		return store.SecretText{}, fmt.Errorf("%s: %w", envAuthPINFile, err)
	}
	return store.NewSecretText(strings.TrimSpace(string(text))), nil
}
