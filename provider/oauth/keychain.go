package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"opencode/store"
)

// Keychain finds a secret by the name of its service, or returns
// [store.ErrNotExist].
type Keychain interface {
	Item(ctx context.Context, service string) (store.SecretText, error)
}

// keychainTime bounds one look-up: a locked keychain asks the user, who may
// not be there.
const keychainTime = 5 * time.Second

// exitNoItem is how the tool of macOS says that there is no such item.
const exitNoItem = 44

// SecurityTool is the keychain of macOS, by its command-line tool.
type SecurityTool struct {
	// Path is the program; the default is /usr/bin/security.
	Path string
}

var _ Keychain = SecurityTool{}

// Item implements [Keychain].
func (t SecurityTool) Item(ctx context.Context, service string) (store.SecretText, error) {
	path := t.Path
	if path == "" {
		path = "/usr/bin/security"
	}
	ctx, cancel := context.WithTimeout(ctx, keychainTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "find-generic-password", "-s", service, "-w") //nolint:gosec // G204: the system's own tool
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{to: &out, left: maxFileBytes}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitNoItem {
		return store.SecretText{}, fmt.Errorf("keychain item %q: %w", service, store.ErrNotExist)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return store.SecretText{}, fmt.Errorf("keychain item %q: %w", service, err)
	}
	return store.NewSecretText(strings.TrimSpace(out.String())), nil
}

// limitedWriter refuses what is more than the limit.
type limitedWriter struct {
	to   *bytes.Buffer
	left int
}

// Write implements io.Writer.
func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, errors.New("output is too large")
	}
	w.left -= len(p)
	return w.to.Write(p)
}
