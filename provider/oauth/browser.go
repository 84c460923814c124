package oauth

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// browserTime is how long a program may take to fail. One that runs for longer
// is the browser itself, and has the address.
const browserTime = 10 * time.Second

// SystemBrowser returns what opens an address in the user's browser, for
// [Config.Browser]; nil where there is none: on a Linux machine without a
// display, or over SSH, where it would open on the wrong machine. The programs
// are looked for on PATH. env may be nil.
func SystemBrowser(goos string, env func(name string) (value string, ok bool)) func(ctx context.Context, address string) error {
	set := func(name string) string {
		if env == nil {
			return ""
		}
		if value, ok := env(name); ok {
			return strings.TrimSpace(value)
		}
		return ""
	}
	var commands [][]string
	switch chosen := set("BROWSER"); {
	case chosen != "" && !strings.ContainsAny(chosen, " %:;'\""):
		// It may be a list or a command line, which only a shell reads well.
		commands = [][]string{{chosen}}
	case set("SSH_CONNECTION") != "" || set("SSH_TTY") != "":
		return nil
	case goos == "darwin":
		commands = [][]string{{"open"}}
	case goos == "windows":
		commands = [][]string{{"rundll32", "url.dll,FileProtocolHandler"}}
	case set("DISPLAY") == "" && set("WAYLAND_DISPLAY") == "":
		return nil
	default:
		commands = [][]string{{"xdg-open"}, {"x-www-browser"}, {"www-browser"}}
	}
	return func(ctx context.Context, address string) error {
		// The address is an argument of a program: it must not look like an
		// option or a file.
		if u, err := parseURL(address, true); err != nil || u.String() == "" {
			return fmt.Errorf("browser: %w", err)
		}
		timer := time.NewTimer(browserTime)
		defer timer.Stop()
		var errs []error
		for _, command := range commands {
			path, err := exec.LookPath(command[0])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			// It is not ended with the sign-in: it may be the browser itself, with
			// all that the user has open there.
			cmd := exec.CommandContext(context.WithoutCancel(ctx), path, append(command[1:], address)...) //nolint:gosec // G204: the user's own browser
			if err := cmd.Start(); err != nil {
				errs = append(errs, err)
				continue
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }() // it ends with the program
			select {
			case err = <-ended:
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return fmt.Errorf("browser: %w", errors.Join(errs...))
	}
}
