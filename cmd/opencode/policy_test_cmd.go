package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"opencode/engine"
)

func newPolicyTestCmd() *cobra.Command {
	var (
		flags     policyFlags
		run       string
		format    string
		coverage  bool
		threshold float64
		watch     bool
		verbose   bool
		target    string
		mutate    bool
		all       bool
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use:   "test [DIR]...",
		Short: "Run the tests of a policy",
		Long: `Run the tests of a policy, with the engine that serves it.

Tests are rules test_* in files *_test.rego. The policy in each DIR is added to
the default one, as --policy does; without DIR the default policy is tested.
A run without a test is an error.

--target wasm compiles what the teams contribute to WebAssembly first; --target
both runs each test on Rego and on Wasm, holds every answer of the one to that of
the other, and fails on any difference. A test that can say nothing of Wasm (it
uses a helper of the team, replaces data or functions, or asks for nothing that
the team contributes) is shown as unsupported, with the reason.

--mutate tests the tests: it drops, negates and changes each condition of the
policy, in memory, and reports the changes that no test notices. --threshold is
then the score, in percent of the changes that are noticed. A change that makes
no difference is marked in the policy: # mutate: equivalent because REASON.`,
		Example: `  opencode policy test policies/examples/team --coverage --threshold 100
  opencode policy test mypolicy --run push --watch
  opencode policy test mypolicy --format junit > report.xml
  opencode policy test mypolicy --target both
  opencode policy test mypolicy --mutate --threshold 90`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "json"
			}
			if format != "pretty" && format != "json" && format != "junit" {
				return usagef("--format %q: want pretty, json or junit", format)
			}
			if threshold < 0 || threshold > 100 {
				return usagef("--threshold %g: want 0 to 100", threshold)
			}
			if target != "rego" && target != "wasm" && target != "both" {
				return usagef("--target %q: want rego, wasm or both", target)
			}
			if target == "wasm" && (coverage || threshold > 0) {
				return usagef("--coverage and --threshold are of Rego; use --target both")
			}
			flags.dirs = append(flags.dirs, args...)
			if err := flags.check(); err != nil {
				return err
			}
			if mutate {
				if format == "junit" || run != "" || coverage || watch || target != string(engine.TargetRego) {
					return usagef("--mutate goes with --default, --threshold and --json alone")
				}
				return policyMutate{
					cfg:    engine.MutateConfig{Config: flags.config(), WithDefault: all},
					asJSON: format == "json", threshold: threshold, out: cmd.OutOrStdout(), terminal: terminalOf(cmd.ErrOrStderr()),
				}.once(cmd.Context())
			}
			if all {
				return usagef("--default goes with --mutate")
			}
			t := policyTest{
				cfg: engine.TestConfig{
					Config: flags.config(), Run: run, Coverage: coverage || threshold > 0, Target: engine.Target(target),
				},
				format: format, threshold: threshold, verbose: verbose, showCoverage: coverage, out: cmd.OutOrStdout(),
			}
			if watch {
				return t.watch(cmd.Context(), cmd.ErrOrStderr())
			}
			return t.once(cmd.Context())
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&run, "run", "", "run only tests whose package and name match the regular expression `RE`")
	cmd.Flags().StringVar(&format, "format", "pretty", "print as pretty, json or junit")
	cmd.Flags().BoolVar(&coverage, "coverage", false, "show which lines no test reaches")
	cmd.Flags().Float64Var(&threshold, "threshold", 0, "fail if less than `N` percent of the lines are reached")
	cmd.Flags().BoolVar(&watch, "watch", false, "run again whenever a file changes")
	cmd.Flags().StringVar(&target, "target", "rego", "run the rules of teams as `TARGET`: rego, wasm or both")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "name the tests that pass as well")
	cmd.Flags().BoolVar(&mutate, "mutate", false, "change the policy, and report the changes that no test notices")
	cmd.Flags().BoolVar(&all, "default", false, "with --mutate: change the default policy too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as --format json")
	return cmd
}

// policyTest is a run of tests and how it is shown.
type policyTest struct {
	cfg          engine.TestConfig
	format       string
	threshold    float64
	verbose      bool
	showCoverage bool
	out          io.Writer
}

// once runs the tests and shows what came of them. A test that fails is an
// error that is shown already.
func (t policyTest) once(ctx context.Context) error {
	report, err := engine.Test(ctx, t.cfg)
	switch {
	case errors.Is(err, engine.ErrNoTests):
		return withHint(err, "tests are rules test_* in files *_test.rego; --run must match one of them")
	case errors.Is(err, engine.ErrNotOnWasm):
		return withHint(err, "a test for both targets asks for decisions, or for what a team contributes, with an input")
	case err != nil:
		return policyError(err)
	}
	switch t.format {
	case "json":
		err = printJSON(t.out, report)
	case "junit":
		err = writeJUnit(t.out, report)
	default:
		t.pretty(report)
	}
	if err != nil {
		return err
	}
	if report.Count(engine.Failed)+report.Count(engine.Errored) > 0 {
		return errSilentFailure
	}
	if report.Coverage != nil && report.Coverage.Percent < t.threshold {
		return fmt.Errorf("coverage is %.1f %%, less than the threshold of %g %%", report.Coverage.Percent, t.threshold)
	}
	return nil
}

var errSilentFailure = fmt.Errorf("tests failed: %w", errSilent)

func (t policyTest) pretty(report engine.TestReport) {
	for _, test := range report.Tests {
		if test.Outcome == engine.Passed && !t.verbose {
			continue
		}
		fmt.Fprintf(t.out, "%s %s.%s (%s:%d)\n", test.Outcome, test.Package, test.Name, test.File, test.Line)
		for _, c := range test.Cases {
			fmt.Fprintf(t.out, "    case: %s\n", c)
		}
		if test.Error != "" {
			fmt.Fprintf(t.out, "    error: %s\n", test.Error)
		}
		if test.Unsupported != "" {
			fmt.Fprintf(t.out, "    not on Wasm: %s\n", test.Unsupported)
		}
		if test.Failed != "" {
			fmt.Fprintf(t.out, "    %s: %s\n", test.FailedAt, test.Failed)
		}
		if test.Expected != "" {
			fmt.Fprintf(t.out, "    expected: %s\n    actual:   %s\n", test.Expected, test.Actual)
		}
		if test.Output != "" {
			fmt.Fprintf(t.out, "    output: %s\n", test.Output)
		}
	}
	if t.showCoverage {
		for _, f := range report.Coverage.Files {
			for _, lines := range f.NotCovered {
				fmt.Fprintf(t.out, "not covered %s:%d-%d\n", f.File, lines.First, lines.Last)
			}
		}
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d errors, %d skipped",
		report.Count(engine.Passed), report.Count(engine.Failed), report.Count(engine.Errored), report.Count(engine.Skipped))
	if n := report.Count(engine.Unsupported); n > 0 {
		fmt.Fprintf(t.out, ", %d not on Wasm", n)
	}
	if report.Coverage != nil {
		fmt.Fprintf(t.out, ", %.1f %% of lines covered", report.Coverage.Percent)
	}
	fmt.Fprintln(t.out)
}

// watch runs the tests now and after each change, until the context ends.
func (t policyTest) watch(ctx context.Context, stderr io.Writer) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // nothing is left to be done with it
	dirs := t.cfg.Dirs
	if t.cfg.Only != "" {
		dirs = []string{t.cfg.Only}
	}
	if len(dirs) == 0 {
		return usagef("--watch needs a DIR: the default policy is part of the program")
	}
	again := func() {
		for _, dir := range dirs {
			_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					_ = w.Add(p) // a directory that cannot be watched shows in the run
				}
				if err == nil && p == dir && !d.IsDir() {
					_ = w.Add(filepath.Dir(p)) // a bundle is replaced, not written to
				}
				return nil
			})
		}
		if err := t.once(ctx); err != nil && !errors.Is(err, errSilent) {
			report(stderr, err)
		}
		fmt.Fprintln(stderr, "watching; Ctrl-C ends")
	}
	again()
	quiet := time.NewTimer(0)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			quiet.Reset(100 * time.Millisecond)
		case err := <-w.Errors:
			return fmt.Errorf("watch: %w", err)
		case <-quiet.C:
			again()
		}
	}
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	File    string       `xml:"file,attr"`
	Line    int          `xml:"line,attr"`
	Seconds string       `xml:"time,attr"`
	Failure *junitDetail `xml:"failure,omitempty"`
	Error   *junitDetail `xml:"error,omitempty"`
	Skipped *junitSkip   `xml:"skipped,omitempty"`
}

type junitSkip struct {
	Message string `xml:"message,attr,omitempty"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(w io.Writer, report engine.TestReport) error {
	suite := junitSuite{
		Name: "policy", Tests: len(report.Tests), Failures: report.Count(engine.Failed),
		Errors: report.Count(engine.Errored), Skipped: report.Count(engine.Skipped) + report.Count(engine.Unsupported),
	}
	for _, t := range report.Tests {
		c := junitCase{Class: t.Package, Name: t.Name, File: t.File, Line: t.Line, Seconds: fmt.Sprintf("%.6f", t.Duration.Seconds())}
		switch t.Outcome {
		case engine.Failed:
			c.Failure = &junitDetail{Message: t.Failed, Text: fmt.Sprintf("%s\nexpected: %s\nactual:   %s\n", t.FailedAt, t.Expected, t.Actual)}
		case engine.Errored:
			c.Error = &junitDetail{Message: t.Error}
		case engine.Skipped:
			c.Skipped = &junitSkip{}
		case engine.Unsupported:
			c.Skipped = &junitSkip{Message: "not on Wasm: " + t.Unsupported}
		case engine.Passed:
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
