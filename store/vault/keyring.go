package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"

	"opencode/store"
)

const (
	keyringService = "opencode"
	// keyringWait bounds one call: a keyring that is locked asks the user, if
	// there is a desktop to do so on, and else may never answer.
	keyringWait = 30 * time.Second
)

// OSKeyring is the keyring of the operating system: the Keychain of macOS, the
// Credential Manager of Windows, the Secret Service elsewhere.
type OSKeyring struct{ wait time.Duration }

var _ Store = (*OSKeyring)(nil)

// NewOSKeyring returns the keyring, and whether there is a way to one. It asks
// the environment only: where no session bus is, looking for one would start
// one.
func NewOSKeyring(env func(string) string) (k *OSKeyring, ok bool) {
	if runtime.GOOS != "darwin" && runtime.GOOS != "windows" && env("DBUS_SESSION_BUS_ADDRESS") == "" {
		dir := env("XDG_RUNTIME_DIR")
		if dir == "" {
			return nil, false
		}
		if info, err := os.Stat(filepath.Join(dir, "bus")); err != nil || info.Mode().Type() != os.ModeSocket {
			return nil, false
		}
	}
	return &OSKeyring{wait: keyringWait}, true
}

// Key implements [Store].
func (k *OSKeyring) Key(ctx context.Context, name string) (store.SecretText, error) {
	var text string
	err := k.call(ctx, func() (err error) {
		text, err = keyring.Get(keyringService, name)
		return err
	})
	if err != nil {
		return store.SecretText{}, err
	}
	return store.NewSecretText(text), nil
}

// PutKey implements [Store].
func (k *OSKeyring) PutKey(ctx context.Context, name string, key store.SecretText) error {
	return k.call(ctx, func() error { return keyring.Set(keyringService, name, key.Reveal()) })
}

// DeleteKey implements [Store].
func (k *OSKeyring) DeleteKey(ctx context.Context, name string) error {
	return k.call(ctx, func() error { return keyring.Delete(keyringService, name) })
}

// call bounds a call that knows no contexts. One that never returns is left
// behind; it holds nothing that anybody waits for.
func (k *OSKeyring) call(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if errors.Is(err, keyring.ErrNotFound) {
			return fmt.Errorf("keyring: %w", store.ErrNotExist)
		}
		if err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("keyring: no answer: %w", ctx.Err())
	}
}
