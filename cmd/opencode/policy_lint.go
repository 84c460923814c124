package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"opencode/engine"
)

func newPolicyLintCmd() *cobra.Command {
	var flags policyFlags
	cmd := &cobra.Command{
		Use:   "lint [DIR]...",
		Short: "Check a policy without serving it",
		Long: `Check a policy without serving it.

Beyond what loading demands (strict compilation against the schema of the
input, packages and data in their place, both entrypoints) it checks the format,
the metadata, that packages fit their folders, the ids of rules, and negations
that are undefined where they should hold.`,
		Example: `  opencode policy lint mypolicy
  opencode policy lint`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.dirs = append(flags.dirs, args...)
			if err := flags.check(); err != nil {
				return err
			}
			findings, err := engine.Lint(flags.config())
			if err != nil {
				return err
			}
			for _, f := range findings {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			if len(findings) > 0 {
				return fmt.Errorf("%d findings", len(findings))
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "no findings")
			return nil
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

func newPolicyFmtCmd() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Format Rego files in place",
		Example: `  opencode policy fmt mypolicy
  opencode policy fmt --check mypolicy/rules.rego`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			changed := 0
			for _, root := range args {
				err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() || !strings.HasSuffix(p, ".rego") {
						return err
					}
					did, err := formatFile(p, check)
					if did {
						changed++
						fmt.Fprintln(cmd.OutOrStdout(), p)
					}
					if err != nil {
						errs = append(errs, err)
					}
					return nil
				})
				if err != nil {
					errs = append(errs, fmt.Errorf("fmt: %w", err))
				}
			}
			if check && changed > 0 {
				errs = append(errs, withHint(fmt.Errorf("%d files are not formatted", changed), "`opencode policy fmt` without --check formats them"))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "name the files that are not formatted and change none")
	return cmd
}

// formatFile formats one file, or only says whether it would change.
func formatFile(name string, check bool) (changed bool, err error) {
	old, err := os.ReadFile(name) //nolint:gosec // the user names the file
	if err != nil {
		return false, err
	}
	text, err := engine.Format(name, old)
	if err != nil || bytes.Equal(text, old) {
		return false, err
	}
	if check {
		return true, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return false, err
	}
	return true, os.WriteFile(name, text, info.Mode().Perm()) //nolint:gosec // the user names the file
}
