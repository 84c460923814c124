package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"opencode/engine"
	"opencode/policy"
	"opencode/redact"
	"opencode/sanitize"
)

// print shows a decision and what led to it, as a text that stands by itself
// in a ticket. What it quotes was written by others: no credential and no
// control sequence of theirs is shown.
func (r evalResult) print(w io.Writer, in *policy.Input) {
	p := explainPrinter{w: w, redactor: redact.New(redact.Config{})}
	p.line(0, "%s  %s", r.Decision.Effect, subject(in))
	p.line(0, "by       %s", by(in))
	p.line(0, "policy   %s", r.Decision.Snapshot)
	if len(r.Decision.Needs) > 0 {
		p.line(0, "lacks    %s", strings.Join(r.Decision.Needs, ", "))
	}
	byID := map[string][]engine.Step{}
	for _, s := range r.Explanation.Steps {
		byID[s.ID] = append(byID[s.ID], s)
	}
	shown := map[string]bool{"": true}
	p.line(0, "\nDecided by")
	if len(r.Decision.Rules) == 0 {
		p.line(1, "no rule: what nothing allows is refused")
	}
	for _, rule := range r.Decision.Rules {
		p.line(1, "%s %s  %s", rule.Effect, rule.ID, rule.At)
		p.line(2, "%s", rule.Message)
		if rule.Hint != "" {
			p.line(2, "instead: %s", rule.Hint)
		}
		if !shown[rule.ID] {
			shown[rule.ID] = true
			for _, s := range byID[rule.ID] {
				p.saw(2, s.Values)
			}
		}
	}
	if len(r.Explanation.Unmet) > 0 {
		p.line(0, "\nWhat did not hold")
		p.unmet(1, r.Explanation.Unmet)
	}
	p.line(0, "\nRules that held, in order")
	for _, s := range r.Explanation.Steps {
		p.line(1, "%s  %s", s.At, strings.TrimSpace(strings.TrimPrefix(s.Rule, "data.")+"  "+s.ID))
		if !shown[s.ID] || s.ID == "" {
			p.saw(2, s.Values)
		}
	}
	if n := r.Explanation.Omitted; n > 0 {
		p.line(1, "and %d more", n)
	}
}

// subject says what was decided about, on one line.
func subject(in *policy.Input) string {
	switch {
	case in.Request != nil:
		text := in.Request.Method + " " + in.Request.Path
		if in.Request.Route == nil {
			text += "  (no known route)"
		}
		return text
	case in.Prompt != nil:
		words := []string{in.Prompt.Tool}
		if command, ok := in.Prompt.Args["command"].(string); ok {
			words = append(words, command)
		} else {
			for _, path := range in.Prompt.Paths {
				words = append(words, path.Raw)
			}
		}
		return strings.Join(words, "  ")
	}
	return string(in.Kind)
}

// by says who wanted it.
func by(in *policy.Input) string {
	p := in.Principal
	text := string(p.Kind)
	if p.Name != "" || p.ID != "" {
		text += fmt.Sprintf(" %q (%s)", p.Name, p.ID)
	}
	text += ", permissions " + strings.Join(p.Permissions, " ")
	if p.Expired {
		text += ", expired"
	}
	return text
}

// explainPrinter writes lines for people.
type explainPrinter struct {
	w        io.Writer
	redactor *redact.Redactor
}

// maxExplainLine bounds a line in bytes.
const maxExplainLine = 500

func (p explainPrinter) line(depth int, format string, args ...any) {
	oneLine := strings.NewReplacer("\n", `\n`, "\t", " ")
	text := fmt.Sprintf(format, args...)
	before := text[:len(text)-len(strings.TrimLeft(text, "\n"))]
	text = oneLine.Replace(sanitize.String(p.redactor.String(text[len(before):])))
	if len(text) > maxExplainLine {
		text = strings.ToValidUTF8(text[:maxExplainLine], "") + "…"
	}
	fmt.Fprintf(p.w, "%s%s%s\n", before, strings.Repeat("  ", depth), text)
}

func (p explainPrinter) saw(depth int, values map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		p.line(depth, "%s = %s", name, values[name])
	}
}

func (p explainPrinter) unmet(depth int, list []engine.Unmet) {
	for _, u := range list {
		p.line(depth, "%s  %s", u.At, strings.TrimSpace(strings.TrimPrefix(u.Rule, "data.")+"  "+u.ID))
		p.line(depth+1, "needs  %s", u.Condition)
		p.saw(depth+1, u.Values)
		p.unmet(depth+1, u.Because)
	}
}
