package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The directories of the XDG base directory specification. A variable that is
// unset, empty or relative does not count, as the specification has it.

// configDir is where the user's settings and access tokens are.
func configDir() (string, error) { return xdgDir("XDG_CONFIG_HOME", ".config") }

// dataDir is where sessions and provider credentials are.
func dataDir() (string, error) { return xdgDir("XDG_DATA_HOME", ".local", "share") }

// stateDir is where logs and other things are that may be lost.
func stateDir() (string, error) { return xdgDir("XDG_STATE_HOME", ".local", "state") }

// runtimeDir is where sockets are. Without XDG_RUNTIME_DIR it is in the state
// directory, and not in a directory that users share.
func runtimeDir() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "opencode"), nil
	}
	state, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(state, "run"), nil
}

func xdgDir(variable string, underHome ...string) (string, error) {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "opencode"), nil
	}
	home, err := os.UserHomeDir()
	if err == nil && !filepath.IsAbs(home) {
		err = errors.New("the home directory is not an absolute path")
	}
	if err != nil {
		return "", withHint(fmt.Errorf("no directory for opencode: %w", err), "set HOME or "+variable+" to an absolute path")
	}
	return filepath.Join(home, filepath.Join(underHome...), "opencode"), nil
}
