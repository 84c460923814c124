package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// The policy of what must not be shipped with a decision. It is asked of each
// decision that leaves the machine, in a query of its own, and takes part in
// none.
const (
	maskPackage = "system.log"
	maskRef     = "data.system.log.mask"
)

// maskSchema says that the input of the package is not that of a decision: it
// is the event to be shipped, which holds one.
const maskSchema = `# METADATA
# scope: subpackages
# schemas:
#   - input: {}
package system.log
`

// ErrMask means that it is not known what of an event must be masked.
var ErrMask = errors.New("policy " + maskPackage)

// Mask returns what the policy wants to be taken out of an event before it is
// shipped: the elements of data.system.log.mask, as decoded from JSON, with the
// event as the input. None are wanted where no policy says so. On an error
// nothing of the event may be shipped that could have been masked.
func (e *Engine) Mask(ctx context.Context, event any) ([]any, error) {
	snap := e.hold()
	if snap == nil {
		return nil, fmt.Errorf("%w: %w", ErrMask, errNoPolicy)
	}
	defer snap.guests.release()
	if snap.mask == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	list, err := snap.maskOf(ctx, event)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMask, err)
	}
	return list, nil
}

func (s *snapshot) maskOf(ctx context.Context, event any) ([]any, error) {
	input, err := ast.InterfaceToValue(event)
	if err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	rs, err := s.mask.Eval(ctx, rego.EvalParsedInput(input), rego.EvalTransaction(s.txn), rego.EvalExternalCancel(cancel))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("it took too long: %w", ctx.Err())
	case err != nil:
		return nil, compileErrors(err)
	case len(rs) != 1 || len(rs[0].Expressions) != 1:
		return nil, errors.New("mask is undefined")
	}
	list, ok := rs[0].Expressions[0].Value.([]any)
	if !ok {
		return nil, fmt.Errorf("mask is %T, want a set", rs[0].Expressions[0].Value)
	}
	return list, nil
}

// prepareMask returns the query for what must be masked, or nil if no policy
// says anything about it.
func prepareMask(ctx context.Context, c *ast.Compiler, store storage.Store, txn storage.Transaction, functions builtins) (*rego.PreparedEvalQuery, error) {
	if len(c.GetRulesExact(ast.MustParseRef(maskRef))) == 0 {
		return nil, nil //nolint:nilnil // no policy is no error
	}
	q, err := rego.New(append(functions.options(),
		rego.Query(maskRef), rego.Compiler(c), rego.Store(store), rego.Transaction(txn), rego.StrictBuiltinErrors(true),
	)...).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", maskRef, compileErrors(err))
	}
	return &q, nil
}

// addMaskSchema adds a module that gives the package its own kind of input.
func addMaskSchema(modules map[string]*ast.Module) error {
	for _, m := range modules {
		if !isMaskPackage(packagePath(m)) {
			continue
		}
		schema, err := ast.ParseModuleWithOpts("input of "+maskPackage, maskSchema, ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return fmt.Errorf("policy %s: %w", maskPackage, err)
		}
		modules["input of "+maskPackage] = schema
		return nil
	}
	return nil
}

func isMaskPackage(path []string) bool { return slices.Equal(path, []string{"system", "log"}) }

// checkMaskModule holds a module of the package to what is asked of it. What
// OPA asks there beside, which events to drop, nobody asks here: it would have
// no effect, in silence.
func checkMaskModule(m *ast.Module) []error {
	var errs []error
	for _, rule := range m.Rules {
		ref := rule.Head.Ref()
		name, _ := ref[0].Value.(ast.Var)
		switch {
		case name == "drop":
			errs = append(errs, fmt.Errorf("%s: %s.drop is not asked: every decision is shipped, with less in it where mask says so", position(rule.Location), maskPackage))
		case name == "mask" && (len(ref) != 1 || rule.Head.RuleKind() != ast.MultiValue):
			errs = append(errs, fmt.Errorf("%s: mask must be a set: write `mask contains \"/input/…\" if { … }`", position(rule.Location)))
		}
	}
	return errs
}
