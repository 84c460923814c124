package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"opencode/extension"
)

// extensionTemplates is what `policy ext new` writes; NAME stands for the name.
//
//go:embed exttemplate
var extensionTemplates embed.FS

// extensionFiles says where each of them goes. The name of the template has
// .txt after it, so that nothing takes it for what it is yet to be.
var extensionFiles = []struct{ template, path string }{
	{"policy.rego", "NAME.rego"},
	{"policy_test.rego", "NAME_test.rego"},
	{"manifest.json", "ext/NAME/manifest.json"},
	{"main.go", "ext/NAME/main.go"},
	{"main_test.go", "ext/NAME/main_test.go"},
	{"abi.go", "ext/NAME/abi.go"},
	{"go.mod", "ext/NAME/go.mod"},
}

func newPolicyExtNewCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write an extension in Go with a policy that calls it, to start from",
		Long: `Write an extension in Go with a policy that calls it, to start from.

The policy and its test go to DIR, the extension to DIR/ext/NAME. It is built by
the Go toolchain alone, version 1.24 or later; docs/extensions.md says how to
write one in another language.`,
		Example: `  opencode policy ext new commits -o mypolicy
  go generate -C mypolicy/ext/commits
  opencode policy ext pack mypolicy
  opencode policy test mypolicy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := extension.CheckName(name); err != nil {
				return usagef("%w", err)
			}
			if !teamName.MatchString(name) || regoKeywords[name] || strings.HasSuffix(name, "_test") {
				return usagef("name %q: cannot be that of a policy; want a lower-case letter, then letters, digits and _", name)
			}
			if dir == "" {
				dir = name
			}
			if err := writeExtension(dir, name); err != nil {
				return err
			}
			module := filepath.Join(dir, extensionFolder, name)
			fmt.Fprintf(cmd.OutOrStdout(), "wrote the policy team.%s to %s and its extension to %s\n", name, dir, module)
			fmt.Fprintf(cmd.ErrOrStderr(), "build it: go generate -C %s && opencode policy ext pack %s\ntest it:  opencode policy test %s\n", module, dir, dir)
			return nil
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "", "write to `DIR` (default: NAME)")
	return cmd
}

// writeExtension writes the files, and none if one of them exists.
func writeExtension(dir, name string) error {
	texts := map[string]string{}
	for _, f := range extensionFiles {
		text, err := fs.ReadFile(extensionTemplates, "exttemplate/"+f.template+".txt")
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(strings.ReplaceAll(f.path, "NAME", name)))
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("ext new: %s exists already", path), "choose another NAME or another directory")
		}
		texts[path] = strings.ReplaceAll(string(text), "NAME", name)
	}
	for path, text := range texts {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("ext new: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("ext new: %w", err)
		}
	}
	return nil
}
