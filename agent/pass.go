package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/store"
)

// prompt is a call of a tool on its way through the gate.
type prompt struct {
	session   store.Session
	root      string
	principal policy.Principal
	tool      string
	args      map[string]any
	patterns  []string // what a question shows; the programs of a command if nil
	// permission is what a question calls the tool, and what its leases are
	// for; the tool if empty.
	permission string
	// plan, if not nil, finds out what the call would do, once policy does not
	// deny it and before a person is asked. A question then shows what it
	// returns in place of the arguments. It must have no side effect.
	plan  func(ctx context.Context, in *policy.Input) (map[string]any, error)
	shown map[string]any
	ref   PermissionRef
	// asking, if not nil, is told why a person is asked before that happens.
	asking func(ctx context.Context, reasons string) error
	// attended reports whether the caller waits for the outcome.
	attended bool
	// alone reports that the call belongs to no session. What is in session is
	// then only an id under which its questions can be answered.
	alone bool
}

// pass takes a call through the gate. It returns the decision under whose
// obligations the call may run, or an error and nothing may.
func (a *Agent) pass(ctx context.Context, p prompt) (policy.Decision, error) {
	d, _, err := a.passFacts(ctx, p)
	return d, err
}

// passFacts is [Agent.pass], and returns also what policy saw: the files that
// the call may touch are those.
func (a *Agent) passFacts(ctx context.Context, p prompt) (policy.Decision, *policy.Input, error) {
	p.permission = cmp.Or(p.permission, p.tool)
	d, leases, in, err := a.decide(ctx, p)
	if err != nil {
		return policy.Decision{}, nil, err
	}
	if p.patterns == nil {
		p.patterns = patterns(in)
	}
	// Nobody is asked about what could not be carried out anyway.
	if err := a.enforceable(d, p.root); err != nil {
		return policy.Decision{}, nil, err
	}
	if p.plan != nil {
		if p.shown, err = p.plan(ctx, in); err != nil {
			return policy.Decision{}, nil, err
		}
	}
	if d.Effect == policy.Ask && !covered(d, p.permission, leases) {
		if err := a.ask(ctx, p, d); err != nil {
			return policy.Decision{}, nil, err
		}
		// The question may have stood for minutes: what was asked about must
		// still be all that there is to ask about.
		again, _, now, err := a.decide(ctx, p)
		if err != nil {
			return policy.Decision{}, nil, err
		}
		if again.Effect == policy.Ask && !sameQuestion(d, again) {
			return policy.Decision{}, nil, &RefusedError{Decision: again, Reply: string(cancelled), Message: "the policy has changed since it asked; try again"}
		}
		if !sameFiles(in, now) {
			return policy.Decision{}, nil, &RefusedError{Decision: again, Reply: string(cancelled), Message: "a path leads to another file than when it was asked about; try again"}
		}
		d, in = again, now
	}
	if err := a.enforceable(d, p.root); err != nil {
		return policy.Decision{}, nil, err
	}
	return d, in, nil
}

// sameFiles reports whether a call is about the same files as when somebody was
// asked about it.
func sameFiles(asked, now *policy.Input) bool {
	return slices.EqualFunc(asked.Prompt.Paths, now.Prompt.Paths, func(x, y fspath.Path) bool {
		return x.Raw == y.Raw && x.Real == y.Real && x.Access == y.Access
	})
}

// decide asks policy about a call. A denial is an error.
func (a *Agent) decide(ctx context.Context, p prompt) (policy.Decision, []store.Approval, *policy.Input, error) {
	var facts *policy.Session
	var leases []store.Approval
	if !p.alone {
		var err error
		if facts, leases, err = a.facts(ctx, p.session, p.attended || a.events.attended(p.session.Directory)); err != nil {
			return policy.Decision{}, nil, nil, ended(ctx, err)
		}
	}
	in := policy.FromCall(a.cfg.Now(), p.principal, policy.Call{
		Tool: p.tool, Args: p.args, Root: p.root, Directory: p.session.Directory, Session: facts, Host: a.host(),
	})
	d, err := a.cfg.Gate.Decide(ctx, in)
	switch {
	case err != nil && ctx.Err() != nil:
		// Whoever wanted it has gone or aborted it before there was a decision.
		return policy.Decision{}, nil, nil, context.Cause(ctx)
	case err != nil:
		return policy.Decision{}, nil, nil, errors.Join(policy.ErrDenied, err)
	}
	return d, leases, in, d.Err()
}

// ended returns why a context has ended instead of an error which says no more
// than that it has.
func ended(ctx context.Context, err error) error {
	if end := ctx.Err(); end != nil && errors.Is(err, end) {
		return context.Cause(ctx)
	}
	return err
}

// patterns returns what a call is about, for a person: each program that a
// command runs, or else the files.
func patterns(in *policy.Input) []string {
	list := []string{}
	if c := in.Prompt.Command; c != nil {
		for _, call := range c.Calls {
			list = append(list, call.Text)
		}
		if text, ok := in.Prompt.Args["command"].(string); ok && len(list) == 0 {
			list = append(list, text)
		}
		return list
	}
	for _, path := range in.Prompt.Paths {
		list = append(list, cmp.Or(path.Relative, path.Raw))
	}
	return list
}

// reasons says why a person is asked.
func reasons(d policy.Decision) string {
	var list []string
	for _, r := range d.Rules {
		list = append(list, fmt.Sprintf("%s [%s]", r.Message, r.ID))
	}
	return "asked by policy: " + strings.Join(list, "; ")
}

// sameQuestion reports whether every rule of the second decision was part of
// the first, with the same scope.
func sameQuestion(asked, now policy.Decision) bool {
	for _, r := range now.Rules {
		if !slices.ContainsFunc(asked.Rules, func(o policy.Rule) bool { return o.ID == r.ID && o.Message == r.Message }) {
			return false
		}
	}
	return true
}

// metadata is what a question shows beside its patterns: what is to be done,
// and which rule asks, why and until when.
func metadata(p prompt, d policy.Decision) map[string]any {
	m := maps.Clone(p.args)
	if p.shown != nil {
		m = maps.Clone(p.shown)
	}
	if m == nil {
		m = map[string]any{}
	}
	// These come last: no argument can stand in their place.
	m["rules"] = d.Rules
	m["reason"] = reasons(d)
	m["policy"] = d.Snapshot
	m["ttl_seconds"] = d.Obligations.Ask.TTLSeconds
	m["on_timeout"] = d.Obligations.Ask.OnTimeout
	return m
}
