package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"opencode/policy"
)

// Step is a rule that took part in a decision because its body held.
type Step struct {
	At   string `json:"at"`
	Rule string `json:"rule"`
	// Values are the variables of the rule, as they were bound.
	Values map[string]string `json:"values,omitempty"`
}

// Explain decides as [Engine.Decide] does, once more and with a tracer, and
// returns the rules whose bodies held.
func (e *Engine) Explain(ctx context.Context, in *policy.Input) (policy.Decision, []Step, error) {
	snap := e.hold()
	if snap == nil {
		return policy.Decision{}, nil, errNoPolicy
	}
	defer snap.guests.release()
	d, err := e.decide(ctx, snap, in)
	if err != nil {
		return d, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	tracer := &stepTracer{}
	input, err := inputValue(in)
	if err != nil {
		return d, nil, err
	}
	if _, err := snap.eval(ctx, in.Kind, input, tracer); err != nil {
		return d, nil, err
	}
	return d, tracer.steps, nil
}

// stepTracer collects the rules that a query left successfully.
type stepTracer struct {
	steps []Step
	seen  []string
}

var _ topdown.QueryTracer = (*stepTracer)(nil)

func (*stepTracer) Enabled() bool { return true }

func (*stepTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

func (t *stepTracer) TraceEvent(event topdown.Event) {
	rule, ok := event.Node.(*ast.Rule)
	if !ok || event.Op != topdown.ExitOp || rule.Location == nil {
		return
	}
	step := Step{At: position(rule.Location), Rule: rule.Ref().GroundPrefix().String(), Values: map[string]string{}}
	key := step.At + "\n"
	if event.Locals != nil {
		event.Locals.Iter(func(k, v ast.Value) bool {
			name, ok := k.(ast.Var)
			if meta, known := event.LocalMetadata[name]; ok && known && !strings.HasPrefix(string(meta.Name), "__") {
				step.Values[string(meta.Name)] = v.String()
				key += string(meta.Name) + "=" + v.String() + "\n"
			}
			return false
		})
	}
	if !slices.Contains(t.seen, key) {
		t.seen = append(t.seen, key)
		t.steps = append(t.steps, step)
	}
}
