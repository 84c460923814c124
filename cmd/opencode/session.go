package main

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"opencode/agent"
	"opencode/sanitize"
)

func newSessionListCmd() *cobra.Command {
	var (
		flags  clientFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List the sessions of a running server",
		Example: `  opencode session list
  opencode session list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.connect(cmd.Context())
			if err != nil {
				return err
			}
			list := []agent.SessionBody{}
			if err := c.call(cmd.Context(), http.MethodGet, "/session", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no sessions; `opencode session create` makes one")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tTITLE\tUPDATED\tDIRECTORY")
			for _, s := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.ID, printable(s.Title), time.UnixMilli(s.Time.Updated).Format(time.DateTime), printable(s.Directory))
			}
			return w.Flush()
		},
	}
	flags.add(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newSessionCreateCmd() *cobra.Command {
	var (
		flags            clientFlags
		title, directory string
		asJSON           bool
	)
	cmd := &cobra.Command{
		Use: "create", Short: "Start a session and print its id",
		Example: `  opencode session create --title "fix the build"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.connect(cmd.Context())
			if err != nil {
				return err
			}
			path := "/session"
			if directory != "" {
				abs, err := filepath.Abs(directory)
				if err != nil {
					return err
				}
				path += "?directory=" + url.QueryEscape(abs)
			}
			var s agent.SessionBody
			if err := c.call(cmd.Context(), http.MethodPost, path, map[string]string{"title": title}, &s); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			fmt.Fprintln(cmd.OutOrStdout(), s.ID)
			return nil
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&title, "title", "", "the session's title")
	cmd.Flags().StringVar(&directory, "directory", "", "the `DIR` to work in, in a project of the server")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// shellAnswer is what the server answers to a command.
type shellAnswer struct {
	Parts []struct {
		State struct {
			Output   string `json:"output"`
			Metadata struct {
				Exit int `json:"exit"`
			} `json:"metadata"`
		} `json:"state"`
	} `json:"parts"`
}

func newSessionShellCmd() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use: "shell SESSION COMMAND", Short: "Run a command in a session, through policy",
		Long: `Run a command in a session, through policy, and print its output.

The output is shown without what would steer a terminal (docs/output.md).

If policy asks, the command waits until somebody answers, for example with
` + "`opencode permission reply`" + `. The exit code is 3 if it was denied or refused.`,
		Example: `  opencode session shell ses_… 'git status'`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.connect(cmd.Context())
			if err != nil {
				return err
			}
			var answer shellAnswer
			path := "/session/" + url.PathEscape(args[0]) + "/shell"
			if err := c.call(cmd.Context(), http.MethodPost, path, map[string]string{"agent": "build", "command": args[1]}, &answer); err != nil {
				return err
			}
			for _, p := range answer.Parts {
				// What a command printed must not steer the terminal, nor
				// whatever shows the file that it is written to.
				fmt.Fprint(cmd.OutOrStdout(), sanitize.String(p.State.Output))
				if code := p.State.Metadata.Exit; code != 0 {
					return fmt.Errorf("the command ended with exit code %d", code)
				}
			}
			return nil
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

// printable replaces what would steer a terminal, or is not seen. It is shown
// that something was there, since people decide by what they read.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !sanitize.Plain(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
