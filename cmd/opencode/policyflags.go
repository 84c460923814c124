package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"opencode/engine"
	"opencode/policies"
)

// policyFlags are the flags that say which policy decides. All commands that
// decide share them, and the engine behind them.
type policyFlags struct {
	dirs []string
	only string
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.dirs, "policy", nil, "add the policy in `DIR` to the default (repeatable)")
	flags.StringVar(&f.only, "policy-only", "", "replace the default policy by the one in `DIR`")
}

func (f *policyFlags) config() engine.Config {
	return engine.Config{Default: policies.FS, Dirs: f.dirs, Only: f.only, CodeCache: codeCacheDir()}
}

// paths returns where the policy is read from.
func (f *policyFlags) paths() []string {
	if f.only != "" {
		return append(slices.Clone(f.dirs), f.only)
	}
	return f.dirs
}

func (f *policyFlags) check() error {
	if f.only != "" && len(f.dirs) > 0 {
		return usagef("--policy adds to the default policy, which --policy-only replaces: give one of them")
	}
	return nil
}

func (f *policyFlags) engine(ctx context.Context) (*engine.Engine, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	e, err := engine.New(ctx, f.config())
	if err != nil {
		return nil, policyError(err)
	}
	return e, nil
}

// policyError says what to do about a policy that does not load.
func policyError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return withHint(err, "`opencode policy init DIR` writes a policy to start from")
	case errors.Is(err, os.ErrPermission):
		return withHint(err, "the policy must be readable by the user who runs the server")
	}
	return withHint(err, "`opencode policy lint DIR` checks a policy without starting a server")
}

// projectDirs returns the real paths of the project directories; the current
// directory if none is given.
func projectDirs(dirs []string) ([]string, error) {
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	var out []string
	var errs []error
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		var info os.FileInfo
		if err == nil {
			info, err = os.Stat(abs)
		}
		if err == nil && !info.IsDir() {
			err = errors.New("is not a directory")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("project directory %s: %w", dir, err))
			continue
		}
		out = append(out, abs)
	}
	return out, errors.Join(errs...)
}
