package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"

	"opencode/agent/sandbox"
	"opencode/agent/tool"
	"opencode/policy"
)

// host returns what the machine gives, for policy.
func (a *Agent) host() *policy.Host {
	if a.cfg.Sandbox == nil {
		return nil
	}
	return HostFacts(a.cfg.Sandbox.Host())
}

// HostFacts returns what policy sees of a host.
func HostFacts(h sandbox.Host) *policy.Host {
	facts := &policy.Host{OS: h.OS, Sandbox: policy.HostSandbox{
		Holds: []string{}, Landlock: h.Landlock, Seccomp: h.Seccomp, Namespaces: h.Namespaces,
	}}
	for _, g := range h.Holds() {
		facts.Sandbox.Holds = append(facts.Sandbox.Holds, string(g))
	}
	return facts
}

// spec returns the specification of what a decision obliges to.
func spec(s *policy.Sandbox, root string) sandbox.Spec {
	out := sandbox.Spec{
		Root: root, Network: s.Network, Write: s.Write, Create: s.Create, Caches: s.Caches,
		Read: s.Read, Hide: s.Hide, DenyExec: s.DenyExec,
		Limits: sandbox.Limits{
			FileBytes: size(s.Limits.FileBytes), OpenFiles: size(s.Limits.OpenFiles),
			Processes: size(s.Limits.Processes), MemoryBytes: size(s.Limits.MemoryBytes),
		},
	}
	for _, g := range s.Require {
		out.Require = append(out.Require, sandbox.Guarantee(g))
	}
	return out
}

func size(n int) uint64 { return uint64(max(n, 0)) }

// enforceable refuses a decision that cannot be carried out as it obliges.
func (a *Agent) enforceable(d policy.Decision, root string) error {
	s := d.Obligations.Sandbox
	if s == nil {
		return nil
	}
	if a.cfg.Sandbox == nil {
		return fmt.Errorf("%w: %w", policy.ErrDenied, ErrSandbox)
	}
	if err := a.cfg.Sandbox.Check(spec(s, root)); err != nil {
		return fmt.Errorf("%w: %w: %w", policy.ErrDenied, ErrSandbox, err)
	}
	return nil
}

// wrapper returns what makes a command run as a decision obliges, or nil if it
// obliges to no sandbox. Every command that a tool starts goes through it.
// What the command is held to is in the record of the decision before it
// starts, and a command of which that cannot be recorded does not start. Record,
// if not nil, gets it too.
func (a *Agent) wrapper(ctx context.Context, d policy.Decision, root string, record func(sandbox.Report)) tool.Wrapper {
	s := d.Obligations.Sandbox
	if s == nil {
		return nil
	}
	return func(cmd *exec.Cmd) (func(), error) {
		if a.cfg.Sandbox == nil {
			return nil, fmt.Errorf("%w: %w", policy.ErrDenied, ErrSandbox)
		}
		release, report, err := a.cfg.Sandbox.Prepare(cmd, spec(s, root))
		if err != nil {
			return nil, fmt.Errorf("%w: %w: %w", policy.ErrDenied, ErrSandbox, err)
		}
		if len(report.Missing) > 0 {
			a.cfg.Logger.Debug("a command runs without a part of the sandbox", slog.Any("missing", report.Missing))
		}
		if err := a.cfg.Gate.held(ctx, d, report); err != nil {
			release()
			return nil, fmt.Errorf("%w: what the command is held to cannot be recorded: %w", policy.ErrDenied, err)
		}
		if record != nil {
			record(report)
		}
		return release, nil
	}
}
