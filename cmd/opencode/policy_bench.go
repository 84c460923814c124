package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"opencode/engine"
	"opencode/policy"
)

func newPolicyBenchCmd() *cobra.Command {
	var (
		flags  policyFlags
		inputs string
		count  int
		limit  time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "bench [DIR]...",
		Short: "Measure what the decisions of a policy cost",
		Long: `Measure what the decisions of a policy cost.

For each of a set of inputs it reports how long a decision takes that is
remembered (hit) and one that is evaluated (miss), then what the cache does when
the time, the token and the session change as they do in use, and which rules
take most of the time. The policy in each DIR is added to the default one.

Each input is decided about before it is timed; one that gives no decision is an
error. --inputs reads other input documents, one on each line.`,
		Example: `  opencode policy bench policies/examples/team
  opencode policy bench mypolicy --inputs inputs.jsonl --json
  opencode policy bench --time 2s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usagef("--count %d: want at least 1", count)
			}
			if limit < 0 {
				return usagef("--time %v: want a duration such as 2s", limit)
			}
			flags.dirs = append(flags.dirs, args...)
			if err := flags.check(); err != nil {
				return err
			}
			cfg := engine.BenchConfig{Config: flags.config(), Count: count, Time: limit}
			var err error
			if inputs != "" {
				if cfg.Inputs, err = readInputs(cmd.InOrStdin(), inputs); err != nil {
					return err
				}
			}
			terminal := terminalOf(cmd.ErrOrStderr())
			if terminal != nil {
				cfg.Progress = func(done, total int) { fmt.Fprintf(terminal, "\r%d of %d inputs measured\x1b[K", done, total) }
			}
			r, err := engine.Bench(cmd.Context(), cfg)
			if terminal != nil {
				fmt.Fprint(terminal, "\r\x1b[K")
			}
			switch {
			case cmd.Context().Err() != nil:
				return fmt.Errorf("the measurement was ended: %w", cmd.Context().Err())
			case err != nil:
				return policyError(err)
			case asJSON:
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printBench(cmd.OutOrStdout(), r)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&inputs, "inputs", "", "decide about the input documents in `FILE`, one on each line; - for standard input")
	cmd.Flags().IntVar(&count, "count", 300, "take `N` samples for each input")
	cmd.Flags().DurationVar(&limit, "time", 0, "measure each input for `DURATION`, whatever --count says")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// readInputs reads one input document from each line.
func readInputs(stdin io.Reader, name string) ([]engine.BenchInput, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user names the file
		if err != nil {
			return nil, fmt.Errorf("inputs: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		r = f
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxInputBytes)
	var out []engine.BenchInput
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		at := fmt.Sprintf("%s:%d", name, n)
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		var in policy.Input
		if err := dec.Decode(&in); err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", at, err), "docs/policies.md describes the input document")
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: has more than one JSON value", at)
		}
		out = append(out, engine.BenchInput{Name: at, Input: &in})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("inputs %s: %w", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("inputs %s: holds no input document", name)
	}
	return out, nil
}

// printBench shows a report for people.
func printBench(out io.Writer, r engine.BenchReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "input\teffect\thit\tp99\tmiss\tp99")
	for _, in := range r.Inputs {
		hit, hit99 := "not kept", ""
		if in.Hit != nil {
			hit, hit99 = duration(in.Hit.Median), duration(in.Hit.P99)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", in.Name, in.Effect, hit, hit99, duration(in.Miss.Median), duration(in.Miss.P99))
	}
	fmt.Fprintln(w, "\ncache\tdecisions\thits\tmisses\tbypasses\thit rate")
	for _, kind := range slices.Sorted(maps.Keys(r.Cache)) {
		c := r.Cache[kind]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.0f %%\n", kind, c.Decisions, c.Hits, c.Misses, c.Bypasses, 100*c.Rate)
	}
	fmt.Fprintln(w, "\nrule\tat\ttime\tevaluations\thottest line")
	for _, rule := range r.Rules {
		fmt.Fprintf(w, "%s\t%s\t%.1f %%\t%.1f\t%s\n", strings.TrimSpace(rule.Rule+" "+rule.ID), rule.At, 100*rule.Share, rule.Evaluations, rule.Hottest)
	}
	return w.Flush()
}

// duration returns nanoseconds for people.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	}
	return fmt.Sprintf("%.1f ms", ns/1e6)
}
