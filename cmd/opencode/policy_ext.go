package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opencode/extension"
)

// extensionFolder is the folder of a policy that holds its extensions.
const extensionFolder = "ext"

func newPolicyExtCmd() *cobra.Command {
	return group("ext", "Write and try extensions: functions in WebAssembly that a policy calls", `  opencode policy ext new commits -o mypolicy
  go generate -C mypolicy/ext/commits
  opencode policy ext pack mypolicy
  opencode policy ext call mypolicy commits.check '["fix: the door"]'
  opencode policy test mypolicy`,
		newPolicyExtNewCmd(),
		newPolicyExtPackCmd(),
		newPolicyExtCallCmd(),
	)
}

// codeCacheDir is where the compiled code of extensions is kept; "" if there
// is no such place, which only costs time.
func codeCacheDir() string {
	state, err := stateDir()
	if err != nil {
		return ""
	}
	return filepath.Join(state, "wasm")
}

// packed is what `policy ext pack` says of an extension.
type packed struct {
	Name      string   `json:"name"`
	SHA256    string   `json:"sha256"`
	Bytes     int      `json:"bytes"`
	Functions []string `json:"functions"`
	Changed   bool     `json:"changed"`
}

func newPolicyExtPackCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pack DIR",
		Short: "Check the modules of a policy and write their hashes into the manifests",
		Long: `Check the modules of a policy and write their hashes into the manifests.

DIR is the policy's directory, which holds ext/NAME/manifest.json and
ext/NAME/NAME.wasm. A module is loaded as a server would load it; nothing is
written for one that would be refused.`,
		Example: `  go generate -C mypolicy/ext/commits
  opencode policy ext pack mypolicy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := extensionNames(args[0])
			if err != nil {
				return err
			}
			list := make([]packed, 0, len(names))
			for _, name := range names {
				p, err := packExtension(cmd.Context(), filepath.Join(args[0], extensionFolder, name))
				if err != nil {
					return err
				}
				list = append(list, p)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			for _, p := range list {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%d bytes\t%s\n", p.Name, p.SHA256, p.Bytes, strings.Join(p.Functions, ", "))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was packed as JSON")
	return cmd
}

// extensionNames returns the folders of a policy's extensions.
func extensionNames(dir string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(globLiteral(dir), extensionFolder, "*", extension.ManifestFile))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, withHint(fmt.Errorf("%s: holds no ext/NAME/%s", dir, extension.ManifestFile), "name the directory of a policy; `opencode policy ext new NAME` writes one")
	}
	names := make([]string, 0, len(found))
	for _, f := range found {
		names = append(names, filepath.Base(filepath.Dir(f)))
	}
	return names, nil
}

// globLiteral escapes what a pattern would read as its own.
func globLiteral(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func packExtension(ctx context.Context, dir string) (packed, error) {
	m, module, err := readExtension(dir)
	if err != nil {
		return packed{}, err
	}
	p := packed{Name: m.Name, SHA256: extension.Sum(module), Bytes: len(module)}
	p.Changed = m.SHA256 != p.SHA256
	m.SHA256 = p.SHA256
	loaded, err := extension.Load(ctx, m, module, extension.Config{Cache: extension.NewCodeCache(codeCacheDir())})
	if err != nil {
		return packed{}, withHint(err, "docs/extensions.md says what a module must have")
	}
	loaded.Close()
	p.Functions = extensionFunctions(m)
	if !p.Changed {
		return p, nil
	}
	text, err := m.Encode()
	if err != nil {
		return packed{}, err
	}
	return p, replaceFile(filepath.Join(dir, extension.ManifestFile), text)
}

// readExtension reads an extension and says what to do if it is not built.
func readExtension(dir string) (extension.Manifest, []byte, error) {
	m, module, err := extension.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = withHint(err, fmt.Sprintf("build the module first: `go generate -C %s` if it is one in Go", dir))
	}
	return m, module, err
}

// extensionFunctions returns the functions of a module as Rego declares them.
func extensionFunctions(m extension.Manifest) []string {
	var list []string
	for name, f := range m.Functions {
		args := make([]string, 0, len(f.Args))
		for _, t := range f.Args {
			args = append(args, string(t))
		}
		list = append(list, fmt.Sprintf("%s.%s(%s) %s", m.Name, name, strings.Join(args, ", "), f.Result))
	}
	slices.Sort(list)
	return list
}

// replaceFile puts a file in the place of another, at once.
func replaceFile(name string, text []byte) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func newPolicyExtCallCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "call DIR MODULE.FUNCTION ARGUMENTS",
		Short: "Call a function of an extension and print its result",
		Long: `Call a function of an extension and print its result.

ARGUMENTS is a JSON array, - for standard input. The call has the limits that it
has in a decision. What the module prints goes to standard error, as does how
long the call took; in a decision it is discarded.`,
		Example: `  opencode policy ext call mypolicy commits.check '["fix: the door"]'`,
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, function, ok := strings.Cut(strings.TrimPrefix(args[1], extensionFolder+"."), ".")
			if !ok || extension.CheckName(module) != nil || extension.CheckName(function) != nil {
				return usagef("%q: want MODULE.FUNCTION", args[1])
			}
			arguments, err := readArguments(cmd.InOrStdin(), args[2])
			if err != nil {
				return err
			}
			return callExtension(cmd, filepath.Join(args[0], extensionFolder, module), function, arguments)
		},
	}
	return cmd
}

func readArguments(stdin io.Reader, text string) ([]byte, error) {
	if text != "-" {
		return []byte(text), nil
	}
	return io.ReadAll(io.LimitReader(stdin, extension.MaxArgumentBytes+1))
}

func callExtension(cmd *cobra.Command, dir, function string, arguments []byte) error {
	m, module, err := readExtension(dir)
	if err != nil {
		return err
	}
	f, ok := m.Functions[function]
	if !ok {
		return withHint(fmt.Errorf("extension %s: declares no function %s", m.Name, function), "it declares "+strings.Join(extensionFunctions(m), ", "))
	}
	v, err := extension.Decode(arguments)
	if err != nil {
		return usagef("arguments: %w", err)
	}
	list, ok := v.([]any)
	if !ok {
		return usagef("arguments: want a JSON array of them")
	}
	if err := f.CheckArguments(list); err != nil {
		return usagef("%s.%s: %w", m.Name, function, err)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	loaded, err := extension.Load(cmd.Context(), m, module, extension.Config{
		Cache: extension.NewCodeCache(codeCacheDir()), Output: cmd.ErrOrStderr(), Instances: 1,
	})
	if err != nil {
		return err
	}
	defer loaded.Close()
	began := time.Now()
	result, err := loaded.Call(cmd.Context(), function, plain)
	if err != nil {
		return withHint(err, "in a decision this would be a denial")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "took %s\n", time.Since(began).Round(time.Microsecond))
	return printJSON(cmd.OutOrStdout(), result)
}
