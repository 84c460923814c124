package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"opencode/engine"
)

// policyMutate is a run of mutation tests and how it is shown.
type policyMutate struct {
	cfg       engine.MutateConfig
	asJSON    bool
	threshold float64
	out       io.Writer
	// terminal is where progress is shown, if anybody looks.
	terminal io.Writer
}

// once changes the policy in every way, and shows what no test noticed.
func (p policyMutate) once(ctx context.Context) error {
	if p.terminal != nil {
		p.cfg.Progress = func(done, total int) {
			fmt.Fprintf(p.terminal, "\r%d of %d changes tested\x1b[K", done, total)
		}
	}
	report, err := engine.Mutate(ctx, p.cfg)
	if p.terminal != nil {
		fmt.Fprint(p.terminal, "\r\x1b[K")
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("mutation testing was ended: %w", ctx.Err())
	case errors.Is(err, engine.ErrNoTests):
		return withHint(err, "tests are rules test_* in files *_test.rego")
	case errors.Is(err, engine.ErrTestsFail):
		return withHint(err, "`opencode policy test` says which, and why")
	case err != nil:
		return policyError(err)
	}
	if p.asJSON {
		err = printJSON(p.out, report)
	} else {
		p.pretty(report)
	}
	if err != nil {
		return err
	}
	if report.Score < p.threshold {
		return fmt.Errorf("mutation score is %.1f %%, less than the threshold of %g %%", report.Score, p.threshold)
	}
	return nil
}

// meanings say what the kinds of changes are.
var meanings = map[string]string{
	"drop": "without the condition", "negate": "negated", "operator": "other operator", "constant": "other constant",
	"rule": "without the rule", "else": "without the else branch",
}

func (p policyMutate) pretty(r engine.MutationReport) {
	for _, m := range r.Survivors {
		note := ""
		if !m.Reached {
			note = "  (no test evaluates it)"
		}
		fmt.Fprintf(p.out, "survived %s:%d  %s: %s%s\n", m.File, m.Line, m.Rule, meanings[m.Kind], note)
		fmt.Fprintf(p.out, "    - %s\n", m.Original)
		if m.Kind == "operator" || m.Kind == "constant" || m.Kind == "negate" {
			fmt.Fprintf(p.out, "    + %s\n", m.Mutated)
		}
	}
	for _, at := range r.Unused {
		fmt.Fprintf(p.out, "unused %s: the comment excuses no survivor\n", at)
	}
	fmt.Fprintf(p.out, "%d changes, %d noticed by %d tests, %d survived, %d equivalent, %d do not compile: score %.1f %%\n",
		r.Total, r.Killed, r.Tests, len(r.Survivors), len(r.Equivalent), r.Invalid, r.Score)
	if r.TimedOut > 0 {
		fmt.Fprintf(p.out, "%d of the noticed ones made a test take too long\n", r.TimedOut)
	}
}

// terminalOf returns where progress can be shown: the writer, if it is a terminal.
func terminalOf(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}
