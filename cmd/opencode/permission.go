package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opencode/agent"
)

func newPermissionListCmd() *cobra.Command {
	var (
		flags  clientFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List the questions that wait for an answer",
		Example: `  opencode permission list`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.connect(cmd.Context())
			if err != nil {
				return err
			}
			list := []agent.Permission{}
			if err := c.call(cmd.Context(), http.MethodGet, "/permission", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "nothing waits for an answer")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tTOOL\tWHAT\tRULES")
			for _, p := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.ID, p.Permission, printable(strings.Join(p.Patterns, "; ")), ruleNames(p))
			}
			return w.Flush()
		},
	}
	flags.add(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

// ruleNames returns the ids of the rules that asked.
func ruleNames(p agent.Permission) string {
	list, _ := p.Metadata["rules"].([]any)
	names := make([]string, 0, len(list))
	for _, v := range list {
		rule, _ := v.(map[string]any)
		if id, ok := rule["id"].(string); ok {
			names = append(names, id)
		}
	}
	return strings.Join(names, ", ")
}

func newPermissionReplyCmd() *cobra.Command {
	var (
		flags   clientFlags
		message string
	)
	cmd := &cobra.Command{
		Use: "reply ID (once|always|reject)", Short: "Answer a question",
		Long: `Answer a question of a running server.

once lets this call pass, always lets pass what the policy names for it for as
long as the policy says, and reject refuses.`,
		Example: `  opencode permission reply per_… once
  opencode permission reply per_… reject --message "use a branch"`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := agent.ParseReply(args[1]); err != nil {
				return usagef("%s", err.Error())
			}
			c, err := flags.connect(cmd.Context())
			if err != nil {
				return err
			}
			var ok bool
			path := "/permission/" + url.PathEscape(args[0]) + "/reply"
			if err := c.call(cmd.Context(), http.MethodPost, path, map[string]string{"reply": args[1], "message": message}, &ok); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], args[1])
			return nil
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&message, "message", "", "what to tell whoever asked")
	return cmd
}
