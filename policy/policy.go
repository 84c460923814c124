// Package policy is the vocabulary of authorization: the input document that
// describes what somebody wants to do, the decision document that answers it,
// and the [Decider] that turns one into the other.
//
// The package states facts and never judges them. It holds no rule about who
// may do what: rules are Rego, evaluated by package engine. It knows neither
// OPA nor the HTTP server.
//
// The zero value of everything that grants is a refusal: the zero [Effect]
// denies, the zero [Decision] denies, and zero [Obligations] permit no run
// time and no output. All types are plain values; a Decider is safe for
// concurrent use.
package policy

import (
	"context"
	"errors"
	"strings"
)

// ErrDenied is what every [DeniedError] is, for errors.Is.
var ErrDenied = errors.New("denied by policy")

// Decider decides one input document, and keeps nothing of it. A Decider never
// allows when it returns an error: callers treat any error as a denial.
type Decider interface {
	Decide(ctx context.Context, in *Input) (Decision, error)
}

// DeniedError reports a decision that refused, with the rules that did it.
type DeniedError struct {
	Decision Decision
}

// Error names each rule that denied, its reason, and what would be allowed.
func (e *DeniedError) Error() string {
	var b strings.Builder
	for _, r := range e.Decision.Rules {
		if r.Effect != Deny {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.Message)
		b.WriteString(" [")
		b.WriteString(r.ID)
		b.WriteString("]")
		if r.Hint != "" {
			b.WriteString(" (")
			b.WriteString(r.Hint)
			b.WriteString(")")
		}
	}
	if b.Len() == 0 {
		return "denied by policy: no rule allows it"
	}
	return "denied by policy: " + b.String()
}

// Is makes every DeniedError match [ErrDenied].
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }
