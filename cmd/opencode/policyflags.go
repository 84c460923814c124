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
	key  verificationFlags
	// fetched are the files of the policies that come from servers, once they are
	// there.
	fetched []string
}

// verificationFlags are the flags that say whose signature a policy must have.
type verificationFlags struct {
	file, algorithm, scope string
	verification           *engine.Verification
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.dirs, "policy", nil, "add the policy in `DIR`, or in a bundle *.tar.gz, to the default (repeatable)")
	flags.StringVar(&f.only, "policy-only", "", "replace the default policy by the one in `DIR`, or in a bundle *.tar.gz")
	flags.StringVar(&f.key.file, "verification-key", "", "load only bundles that are signed by the key whose public half is in `FILE`")
	flags.StringVar(&f.key.algorithm, "verification-alg", "", "the algorithm of the signatures is `ALG` (default: what fits the key, such as ES256)")
	flags.StringVar(&f.key.scope, "verification-scope", "", "the signatures must be for this scope")
}

func (f *policyFlags) config() engine.Config {
	return engine.Config{
		Default: policies.FS, Checked: true, Dirs: f.dirs, Fetched: f.fetched, Only: f.only,
		Verification: f.key.verification, CodeCache: codeCacheDir(),
	}
}

// paths returns where the policy is read from, and the key that it must be
// signed by.
func (f *policyFlags) paths() []string {
	paths := slices.Concat(f.dirs, f.fetched)
	for _, path := range []string{f.only, f.key.file} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

func (f *policyFlags) check() error {
	if f.only != "" && len(f.dirs) > 0 {
		return usagef("--policy adds to the default policy, which --policy-only replaces: give one of them")
	}
	return f.key.load()
}

// load reads the key.
func (f *verificationFlags) load() error {
	if f.file == "" {
		if f.algorithm != "" || f.scope != "" {
			return usagef("--verification-alg and --verification-scope need a --verification-key")
		}
		return nil
	}
	pem, err := os.ReadFile(f.file)
	if err == nil {
		f.verification, err = engine.NewVerification(pem, f.algorithm, f.scope)
	}
	if err != nil {
		return fmt.Errorf("verification key %s: %w", f.file, err)
	}
	return nil
}

func (f *policyFlags) engine(ctx context.Context) (*engine.Engine, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.checkLocal(); err != nil {
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
