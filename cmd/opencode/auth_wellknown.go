package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"opencode/provider"
	"opencode/provider/oauth"
	"opencode/store"
)

const methodWellKnown = "wellknown"

// gatewayTime is how long the command of a gateway may take: it may open a
// browser itself.
const gatewayTime = 5 * time.Minute

// wellKnown is the sign-in to a gateway that names a command whose output is the
// token. Whoever answers at the address chooses the command, and it runs as the
// user: so it is shown whole, it is run only after a yes, and never by a shell.
type wellKnown struct {
	client *oauth.Client
	o      loginOptions
}

// Name implements method.
func (wellKnown) Name() string { return methodWellKnown }

// Title implements titled.
func (wellKnown) Title() string { return "Gateway that names a command to run" }

// Login implements method.
func (m wellKnown) Login(ctx context.Context, u ui, p provider.Provider, profile string) (store.Credential, error) {
	if profile != "" {
		return store.Credential{}, usagef("--profile: a gateway has one credential")
	}
	w, err := m.client.WellKnown(ctx, p.ID)
	if err != nil {
		return store.Credential{}, err
	}
	program, err := gatewayProgram(w.Command[0])
	if err != nil {
		return store.Credential{}, err
	}
	u.Say("%s wants this command run, whose output is kept as %s:", w.URL, w.Env)
	u.Say("  %s", showCommand(append([]string{program}, w.Command[1:]...)))
	if !m.o.yes {
		yes, err := u.Confirm(ctx, "Run it?", "--yes, if you trust whoever answers at "+w.URL)
		if err == nil && !yes {
			err = errCancelled
		}
		if err != nil {
			return store.Credential{}, err
		}
	}
	out, err := runGateway(ctx, u, program, w.Command[1:])
	if err != nil {
		return store.Credential{}, withHint(fmt.Errorf("gateway %s: %w", w.URL, err), "run the command by hand and see what it says")
	}
	return w.Credential(out)
}

// gatewayProgram finds the program on PATH, or by an absolute path: what a
// relative one means depends on where the user happens to be.
func gatewayProgram(name string) (string, error) {
	if strings.ContainsAny(name, `/\`) && !filepath.IsAbs(name) {
		return "", withHint(fmt.Errorf("gateway: the command %q is a relative path, which is not run", name),
			"ask whoever runs the gateway to name a program on PATH")
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return "", withHint(fmt.Errorf("gateway: its command cannot be run: %w", err), "install what your company's instructions name")
	}
	return filepath.Abs(program)
}

// showCommand returns the command so that each argument can be told from the
// next.
func showCommand(command []string) string {
	shown := make([]string, 0, len(command))
	for _, arg := range command {
		if arg == "" || strings.ContainsAny(arg, " \"'`$&|;<>()*?[]{}#~!\\") {
			arg = strconv.Quote(arg)
		}
		shown = append(shown, arg)
	}
	return strings.Join(shown, " ")
}

// runGateway runs the command and returns what it prints. It may talk with the
// user by standard error and the terminal. It does not see this program's own
// settings, which hold a passphrase, and runs in the home directory, so that
// nothing in a project counts.
func runGateway(ctx context.Context, u ui, program string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gatewayTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // G204: the user has seen it and said yes
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "OPENCODE_") })
	if home, err := os.UserHomeDir(); err == nil {
		cmd.Dir = home
	}
	cmd.WaitDelay = time.Second
	out := &boundedBuffer{left: maxLineBytes}
	cmd.Stdout = out
	if c, ok := u.(console); ok {
		cmd.Stderr = c.out
		if c.in != nil {
			cmd.Stdin = c.in
			defer c.lend()()
		}
	}
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("the command did not end within %v", gatewayTime)
	case ctx.Err() != nil:
		return "", errCancelled
	case err != nil:
		return "", fmt.Errorf("the command: %w", err)
	}
	return out.buf.String(), nil
}

// boundedBuffer refuses what is more than the limit.
type boundedBuffer struct {
	buf  bytes.Buffer
	left int
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, errors.New("it printed too much")
	}
	b.left -= len(p)
	return b.buf.Write(p)
}
