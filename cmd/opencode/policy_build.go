package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"opencode/engine"
	"opencode/policies"
)

// builtBundle is what `policy build --json` prints.
type builtBundle struct {
	Path string `json:"path"`
	engine.Built
}

func newPolicyBuildCmd() *cobra.Command {
	var (
		cfg              engine.BuildConfig
		output, key, alg string
		asJSON           bool
	)
	cmd := &cobra.Command{
		Use:   "build DIR -o FILE",
		Short: "Make a bundle of a policy, signed or compiled to Wasm",
		Long: `Make a bundle of a policy, signed or compiled to Wasm.

DIR is checked as it is when it is loaded. The bundle, which holds no tests, is
taken wherever a directory of policy is (--policy FILE), and by OPA. It carries the
extensions of DIR, as they were packed; OPA passes over them, and so compiles no
rule that calls one.

--wasm compiles the rules to WebAssembly. That is for rules that others run and
do not read, and that cannot touch what runs them; it is slower than Rego.

--signing-key signs with a private key in PEM (RSA, EC, Ed25519). A server that
has the public key (--verification-key) loads nothing else.`,
		Example: `  opencode policy build mypolicy -o mypolicy.tar.gz
  opencode policy build mypolicy -o mypolicy.tar.gz --wasm --signing-key private.pem
  opencode serve --policy mypolicy.tar.gz --verification-key public.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.Default, cfg.Dir, cfg.CodeCache = policies.FS, args[0], codeCacheDir()
			if err := checkOutput(cfg.Dir, output); err != nil {
				return err
			}
			if alg != "" && key == "" {
				return usagef("--signing-alg needs a --signing-key")
			}
			if key != "" {
				pem, err := os.ReadFile(key) //nolint:gosec // G304: whoever starts the program names it
				if err == nil {
					cfg.Signing, err = engine.NewSigning(pem, alg)
				}
				if err != nil {
					return withHint(fmt.Errorf("signing key %s: %w", key, err), "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private.pem` makes one")
				}
			}
			built, err := engine.Build(cmd.Context(), cfg)
			if err != nil {
				return policyError(err)
			}
			if err := writeBundle(output, built.Bytes); err != nil {
				return fmt.Errorf("bundle %s: %w", output, err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), builtBundle{Path: output, Built: built})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, %s\n", output, len(built.Bytes), describeBundle(built))
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the bundle to `FILE` (*.tar.gz)")
	cmd.Flags().BoolVar(&cfg.Wasm, "wasm", false, "compile the rules to WebAssembly")
	cmd.Flags().StringVar(&key, "signing-key", "", "sign with the private key in `FILE`")
	cmd.Flags().StringVar(&alg, "signing-alg", "", "sign by `ALG` (default: what fits the key, such as ES256)")
	cmd.Flags().StringVar(&cfg.Revision, "revision", "", "what the bundle says of its version")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was built as JSON")
	return cmd
}

// checkOutput refuses a place for the bundle where nothing would find it, or
// where it would become a part of the policy that it is made of.
func checkOutput(dir, output string) error {
	switch {
	case output == "":
		return usagef("-o says where to write the bundle, such as -o bundle.tar.gz")
	case !strings.HasSuffix(output, ".tar.gz"):
		return usagef("-o %s: the name of a bundle ends in .tar.gz", output)
	}
	from, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	to, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
		return usagef("-o %s: is in %s, and would be a part of that policy; write it elsewhere", output, dir)
	}
	return nil
}

// writeBundle puts a bundle in its place whole or not at all. Others may read
// it: a policy is no secret, and the server may be another user.
func writeBundle(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func describeBundle(b engine.Built) string {
	form, signed := "Rego", "not signed"
	if len(b.Entrypoints) > 0 {
		form = "Wasm"
	}
	if b.Signed {
		signed = "signed"
	}
	teams := "data alone"
	if len(b.Teams) > 0 {
		teams = "team " + strings.Join(b.Teams, ", ")
	}
	extensions := ""
	if len(b.Extensions) > 0 {
		extensions = "extension " + strings.Join(b.Extensions, ", ") + ", "
	}
	return fmt.Sprintf("%s, %s, %s%s", teams, form, extensions, signed)
}
