package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opencode/agent/sandbox"
)

func newDoctorCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can hold commands to",
		Long: `Say what this host can hold commands to.

Each layer of the sandbox is shown with what it stops, whether it is there, and
how to get it if it is not. A policy sees the same as input.host.sandbox, and
can require a guarantee; then nothing runs where it is missing.`,
		Example: `  opencode doctor
  opencode doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			box, err := newSandbox()
			if err != nil {
				return err
			}
			d := diagnose(box.Host())
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return d.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// newSandbox returns the sandbox of this user: what the program keeps for itself
// is out of reach of every command, and no command changes a policy.
func newSandbox(policies ...string) (*sandbox.Sandbox, error) {
	var c sandbox.Config
	for _, path := range policies {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		c.Protect = append(c.Protect, absolute)
	}
	for _, own := range []func() (string, error){configDir, dataDir, stateDir, runtimeDir} {
		dir, err := own()
		if err != nil {
			return nil, err
		}
		c.Hide = append(c.Hide, dir)
	}
	return sandbox.New(c)
}

// diagnosis is what doctor found.
type diagnosis struct {
	OS      string      `json:"os"`
	Sandbox sandboxInfo `json:"sandbox"`
}

type sandboxInfo struct {
	Holds  []sandbox.Guarantee `json:"holds"`
	Lacks  []sandbox.Guarantee `json:"lacks"`
	Layers []sandbox.Layer     `json:"layers"`
}

func diagnose(h sandbox.Host) diagnosis {
	d := diagnosis{OS: h.OS, Sandbox: sandboxInfo{Holds: []sandbox.Guarantee{}, Lacks: []sandbox.Guarantee{}, Layers: h.Layers}}
	holds := map[sandbox.Guarantee]bool{}
	for _, g := range h.Holds() {
		holds[g] = true
	}
	for _, g := range sandbox.Guarantees() {
		if holds[g] {
			d.Sandbox.Holds = append(d.Sandbox.Holds, g)
		} else {
			d.Sandbox.Lacks = append(d.Sandbox.Lacks, g)
		}
	}
	return d
}

func (d diagnosis) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LAYER\tPRESENT\tDETAIL\tSTOPS")
	for _, l := range d.Sandbox.Layers {
		present := "no"
		if l.Present {
			present = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Name, present, l.Detail, l.Stops)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nheld: %s\n", words(d.Sandbox.Holds))
	fmt.Fprintf(w, "not held: %s\n", words(d.Sandbox.Lacks))
	for _, l := range d.Sandbox.Layers {
		if l.Hint != "" {
			fmt.Fprintf(w, "%s: %s\n", l.Name, l.Hint)
		}
	}
	return nil
}

func words(list []sandbox.Guarantee) string {
	if len(list) == 0 {
		return "nothing"
	}
	names := make([]string, len(list))
	for i, g := range list {
		names[i] = string(g)
	}
	return strings.Join(names, ", ")
}
