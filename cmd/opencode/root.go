package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the server and `--version` tell.
const version = "0.1.0"

// newRootCmd returns the whole command tree.
func newRootCmd() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "opencode",
		Short: "A coding-agent server in which policy decides everything",
		Long: `A coding-agent server in which policy decides everything.

Each HTTP request and each command that the agent wants to run is put to policy,
written in Rego, which a team can read, test and extend.`,
		Example: `  opencode auth token create --name me
  opencode serve --policy policies/examples/team
  opencode policy check bash 'git push'`,
		Args:          noCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !showVersion {
				return cmd.Help()
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText())
			return err
		},
	}
	// A template of cobra's would bring text/template, which calls methods by
	// their names: the linker then keeps every method of every type, a tenth of
	// the program.
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	methods := newSignIn()
	root.AddCommand(
		newServeCmd(),
		newDoctorCmd(),
		newToolCmd(),
		group("auth", "Manage access to the server and to providers", `  opencode auth token create --name me
  opencode auth login anthropic`,
			newAuthTokenCmd(),
			newAuthLoginCmd(methods),
			newAuthLogoutCmd(methods),
			newAuthListCmd(methods),
			newAuthStatusCmd(methods),
			newAuthRefreshCmd(methods),
			newAuthRotateCmd(methods),
			newAuthTokenForCmd(),
			newAuthProvidersCmd(methods),
			newAuthEncryptCmd(),
			newAuthDecryptCmd(),
			newAuthRekeyCmd(),
		),
		group("policy", "Test, check and write policies", `  opencode policy test policies/examples/team`,
			newPolicyTestCmd(),
			newPolicyCheckCmd(),
			newPolicyEvalCmd(),
			newPolicyBenchCmd(),
			newPolicyLintCmd(),
			newPolicyFmtCmd(),
			newPolicyInitCmd(),
			newPolicyBuildCmd(),
			newPolicyExtCmd(),
		),
		group("session", "Work with the sessions of a running server", `  opencode session list`,
			newSessionListCmd(),
			newSessionCreateCmd(),
			newSessionShellCmd(),
		),
		group("permission", "Answer the questions of a running server", `  opencode permission list`,
			newPermissionListCmd(),
			newPermissionReplyCmd(),
		),
		group("debug", "Filters for what programs print", `  make 2>&1 | opencode debug sanitize`,
			newDebugSanitizeCmd(),
			newDebugRedactCmd(),
		),
	)
	return root
}

// group returns a command that only holds others.
func group(name, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Example: example, Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noCommand refuses the arguments of a command that only holds others.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}

// versionText returns the version with the revision that it was built from.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "opencode " + version
	}
	revision := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			revision = " (" + s.Value[:12] + ")"
		}
	}
	return "opencode " + version + revision + " " + info.GoVersion
}
