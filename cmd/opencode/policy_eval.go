package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"opencode/engine"
	"opencode/policy"
)

// maxInputBytes bounds an input document.
const maxInputBytes = 64 << 20

// evalResult is a decision with what led to it.
type evalResult struct {
	Decision    policy.Decision    `json:"decision"`
	Explanation engine.Explanation `json:"explanation"`
}

func newPolicyEvalCmd() *cobra.Command {
	var (
		flags   policyFlags
		input   string
		explain bool
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "eval -i FILE",
		Short: "Decide about an input document",
		Long: `Decide about an input document and print the decision document.

The input document is described in docs/policies.md. The exit code is 0 if
policy allows or asks, and 3 if it denies.

--explain prints for people what led to the decision: the rules that held with
file, line and the values they saw, and the conditions that did not hold of
what would have allowed it. It decides once more, with a tracer. Long values
are cut and credentials are taken out.`,
		Example: `  opencode policy eval -i input.json
  opencode policy eval -i - --explain --policy mypolicy < input.json
  opencode policy eval -i input.json --explain --json | jq .explanation.unmet`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin(), input)
			if err != nil {
				return err
			}
			e, err := flags.engine(cmd.Context())
			if err != nil {
				return err
			}
			var result evalResult
			if explain {
				result.Decision, result.Explanation, err = e.Explain(cmd.Context(), in)
			} else {
				result.Decision, err = e.Decide(cmd.Context(), in)
			}
			if err != nil {
				return errors.Join(policy.ErrDenied, err)
			}
			switch {
			case !explain:
				err = printJSON(cmd.OutOrStdout(), result.Decision)
			case asJSON:
				err = printJSON(cmd.OutOrStdout(), result)
			default:
				result.print(cmd.OutOrStdout(), in)
			}
			if err == nil && result.Decision.Effect == policy.Deny {
				err = errors.Join(errSilent, policy.ErrDenied)
			}
			return err
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVarP(&input, "input", "i", "", "read the input document from `FILE`, - for standard input")
	cmd.Flags().BoolVar(&explain, "explain", false, "show the rules that held, with file and line and the values they saw")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, which is the default without --explain")
	if err := cmd.MarkFlagRequired("input"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func readInput(stdin io.Reader, name string) (*policy.Input, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user names the file
		if err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		r = f
	}
	dec := json.NewDecoder(io.LimitReader(r, maxInputBytes))
	dec.DisallowUnknownFields()
	var in policy.Input
	if err := dec.Decode(&in); err != nil {
		return nil, withHint(fmt.Errorf("input %s: %w", name, err), "docs/policies.md describes the input document")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("input %s: has more than one JSON value", name)
	}
	return &in, nil
}
