package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Effect is the outcome of a decision. Its zero value denies.
type Effect uint8

// The effects, from the strictest to the most permissive.
const (
	Deny Effect = iota
	Ask
	Allow
)

// String returns the name used in decision documents.
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Ask:
		return "ask"
	default:
		return "deny"
	}
}

// ParseEffect reads the name of an effect. What is not an effect denies.
func ParseEffect(s string) (Effect, error) {
	switch s {
	case "allow":
		return Allow, nil
	case "ask":
		return Ask, nil
	case "deny":
		return Deny, nil
	}
	return Deny, fmt.Errorf("effect %q: want allow, ask or deny", s)
}

// MarshalText implements encoding.TextMarshaler.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Effect) UnmarshalText(b []byte) error {
	v, err := ParseEffect(string(b))
	*e = v
	return err
}

// Rule is one rule that fired.
type Rule struct {
	// ID names the rule, as area.snake_case. It never changes meaning.
	ID string `json:"id"`
	// Effect is what the rule asks for; the strictest one wins.
	Effect Effect `json:"effect"`
	// Message says why, for a person and for the model.
	Message string `json:"message"`
	// Hint says what would be allowed instead, for whoever is refused.
	Hint string `json:"hint,omitempty"`
	// At is the file and line of the rule.
	At string `json:"at,omitempty"`
	// Always is, on a rule that asks, what an answer of "always" would cover
	// from then on. A rule without it cannot be answered for good.
	Always []string `json:"always,omitempty"`
}

// Decision is the outcome of a request or a prompt. Its zero value denies.
type Decision struct {
	Effect Effect `json:"effect"`
	// Rules are the rules that fired, those that denied first.
	Rules []Rule `json:"rules"`
	// Needs are the permissions that the principal lacks.
	Needs []string `json:"needs,omitempty"`
	// Obligations bind whoever carries the decision out.
	Obligations Obligations `json:"obligations"`
	// Snapshot is the digest of the policy that decided.
	Snapshot string `json:"snapshot,omitempty"`
	// Record is the id under which the decision is recorded, "" if it is not, or
	// is counted with equal ones.
	Record string `json:"-"`
}

// Err returns nil if the decision allows or asks, and a [DeniedError] if it
// denies.
func (d Decision) Err() error {
	if d.Effect == Allow || d.Effect == Ask {
		return nil
	}
	return &DeniedError{Decision: d}
}

// Obligations are what the enforcing side must do when it carries a decision
// out. Its zero value permits no run time and no output.
type Obligations struct {
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	// TimeoutSeconds bounds the life of a command.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
	// MaxOutputBytes bounds what a command's output may grow to.
	MaxOutputBytes int `json:"max_output_bytes,omitempty"`
	// Audit is "full" or "brief".
	Audit string `json:"audit,omitempty"`
	// Ask says how to ask. It is present exactly if the effect is Ask.
	Ask *AskTerms `json:"ask,omitempty"`
}

// Sandbox says what a child process may reach. Its zero value reaches nothing
// but what the system needs to start a program.
//
// A path is absolute, or begins with "~/" or with the name of a variable of the
// command ("$GOCACHE/"), or is relative to the project.
type Sandbox struct {
	// Network permits the network.
	Network bool `json:"network"`
	// Write are paths that may be changed, if they are there.
	Write []string `json:"write"`
	// Create are files that may be changed, and are made if missing.
	Create []string `json:"create,omitempty"`
	// Caches are directories that may be changed, and are made if missing.
	Caches []string `json:"caches,omitempty"`
	// Read are paths that may be read and run, beside those of the system.
	Read []string `json:"read,omitempty"`
	// Hide are paths that may not be read although something around them may.
	Hide []string `json:"hide,omitempty"`
	// DenyExec are names of programs that can be neither run nor read.
	DenyExec []string `json:"deny_exec,omitempty"`
	// Require are guarantees (see [SandboxGuarantees]) without which nothing
	// may run. What is not required is held as far as the host can.
	Require []string `json:"require,omitempty"`
	// Limits bound the resources of each process.
	Limits SandboxLimits `json:"limits,omitzero"`
}

// SandboxLimits bound the resources of a process; a zero is no bound.
type SandboxLimits struct {
	FileBytes   int `json:"file_bytes,omitempty"`
	OpenFiles   int `json:"open_files,omitempty"`
	Processes   int `json:"processes,omitempty"`
	MemoryBytes int `json:"memory_bytes,omitempty"`
}

// SandboxGuarantees returns the names of what a sandbox can guarantee.
func SandboxGuarantees() []string {
	return []string{"write", "read", "exec", "network", "sockets", "signals", "memory", "calls"}
}

// AskTerms are the terms on which a person is asked.
type AskTerms struct {
	// TTLSeconds is how long the question stands.
	TTLSeconds int `json:"ttl_seconds"`
	// OnTimeout is what happens when nobody answered.
	OnTimeout Effect `json:"on_timeout"`
	// Always is what "always" would cover; empty means that the question
	// comes again each time.
	Always []string `json:"always"`
	// LeaseSeconds is how long an "always" lasts.
	LeaseSeconds int `json:"lease_seconds"`
	// Approvers are the permissions that whoever answers must have.
	Approvers []string `json:"approvers"`
}

// Limits of what a policy may oblige: a policy that asks for more is malformed.
const (
	maxTimeoutSeconds = 24 * 60 * 60
	maxOutputBytes    = 64 << 20
	// Longer than any question or answer should stand, and far from what a
	// duration can hold.
	maxAskSeconds = 366 * 24 * 60 * 60
)

// Validate checks the shape of a decision on an input of the given kind, so
// that a malformed document is never carried out.
func (d *Decision) Validate(kind Kind) error {
	var errs []error
	if d.Effect > Allow {
		errs = append(errs, fmt.Errorf("effect: %d is not an effect", d.Effect))
	}
	if d.Effect != Deny && len(d.Rules) == 0 {
		errs = append(errs, errors.New("rules: empty, although the effect is "+d.Effect.String()))
	}
	if d.Effect != Deny && len(d.Needs) > 0 {
		errs = append(errs, errors.New("needs: not empty, although the effect is "+d.Effect.String()))
	}
	for i, r := range d.Rules {
		if r.ID == "" || r.Message == "" {
			errs = append(errs, fmt.Errorf("rules[%d]: id and message must be there", i))
		}
		if r.Effect < d.Effect {
			errs = append(errs, fmt.Errorf("rules[%d]: the effect of %s is %s, but that of the decision is %s", i, r.ID, r.Effect, d.Effect))
		}
	}
	o := d.Obligations
	switch {
	case d.Effect == Deny:
	case kind == KindRequest && d.Effect == Allow:
	case kind == KindRequest:
		errs = append(errs, errors.New("effect: a request cannot be asked about"))
	case kind == KindPrompt:
		errs = append(errs, inRange("timeout_seconds", o.TimeoutSeconds, maxTimeoutSeconds), inRange("max_output_bytes", o.MaxOutputBytes, maxOutputBytes))
	default:
		errs = append(errs, fmt.Errorf("effect: %s, although the kind %q is not known", d.Effect, kind))
	}
	switch {
	case d.Effect == Ask && o.Ask == nil:
		errs = append(errs, errors.New("obligations.ask: must be there when the effect is ask"))
	case d.Effect == Ask:
		errs = append(errs, o.Ask.validate())
	case o.Ask != nil:
		errs = append(errs, errors.New("obligations.ask: must not be there when the effect is "+d.Effect.String()))
	}
	if o.Sandbox != nil {
		errs = append(errs, o.Sandbox.validate())
	}
	switch o.Audit {
	case "", "full", "brief":
	default:
		errs = append(errs, fmt.Errorf("obligations.audit: %q, want full or brief", o.Audit))
	}
	return errors.Join(errs...)
}

func (s *Sandbox) validate() error {
	var errs []error
	for _, list := range []struct {
		name  string
		paths []string
	}{{"write", s.Write}, {"create", s.Create}, {"caches", s.Caches}, {"read", s.Read}, {"hide", s.Hide}} {
		for _, path := range list.paths {
			if path == "" || strings.ContainsRune(path, 0) {
				errs = append(errs, fmt.Errorf("obligations.sandbox.%s: %q is no path", list.name, path))
			}
		}
	}
	for _, name := range s.DenyExec {
		if name == "" || strings.ContainsAny(name, "/\x00") {
			errs = append(errs, fmt.Errorf("obligations.sandbox.deny_exec: %q is no name of a program", name))
		}
	}
	for _, name := range s.Require {
		if !slices.Contains(SandboxGuarantees(), name) {
			errs = append(errs, fmt.Errorf("obligations.sandbox.require: %q, want %s", name, strings.Join(SandboxGuarantees(), ", ")))
		}
	}
	for _, limit := range []int{s.Limits.FileBytes, s.Limits.OpenFiles, s.Limits.Processes, s.Limits.MemoryBytes} {
		if limit < 0 {
			errs = append(errs, fmt.Errorf("obligations.sandbox.limits: %d, want none or more", limit))
		}
	}
	return errors.Join(errs...)
}

func (a *AskTerms) validate() error {
	errs := []error{inRange("ask.ttl_seconds", a.TTLSeconds, maxAskSeconds)}
	if a.OnTimeout == Ask || a.OnTimeout > Allow {
		errs = append(errs, errors.New("obligations.ask.on_timeout: want allow or deny"))
	}
	if len(a.Approvers) == 0 {
		errs = append(errs, errors.New("obligations.ask.approvers: empty, so that anybody could answer"))
	}
	if len(a.Always) > 0 {
		errs = append(errs, inRange("ask.lease_seconds", a.LeaseSeconds, maxAskSeconds))
	}
	return errors.Join(errs...)
}

func inRange(name string, value, most int) error {
	if value < 1 || value > most {
		return fmt.Errorf("obligations.%s: %d, want 1 to %d", name, value, most)
	}
	return nil
}

// MarshalJSON writes rules as an array also when there are none.
func (d Decision) MarshalJSON() ([]byte, error) {
	type plain Decision
	if d.Rules == nil {
		d.Rules = []Rule{}
	}
	return json.Marshal(plain(d))
}
