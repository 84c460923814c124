//go:build !pkcs11 || !cgo

package vault_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/store"
	"opencode/store/vault"
)

// TestNoPKCS11 asks a build without PKCS#11 for it.
func TestNoPKCS11(t *testing.T) {
	t.Parallel()
	module := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(module, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := newVault(t, vault.Config{
		KeyDir: t.TempDir(), HSM: vault.HSM{Module: module, Token: "t"},
		PIN: func(context.Context, vault.AskPIN) (store.SecretText, error) { return store.NewSecretText("1234"), nil },
	})
	_, err := v.SealNew(t.Context(), []byte("x"), vault.PKCS11)
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "-tags pkcs11") {
		t.Errorf("SealNew = %v, want how to build with it", err)
	}
}
