package policyvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"opencode/extension/guard"
)

// A policy imports its memory and the functions of the host from one module,
// "env". A module of the host cannot export a memory, so the functions are in
// the module "opa", and each instance gets an "env" of its own that holds the
// memory and passes the functions on.
const (
	envModule  = "env"
	hostModule = "opa"
	pageBytes  = 64 << 10
	// minPages is the memory that an instance starts with.
	minPages = 16
)

type hostFunction struct {
	name   string
	params int
	result bool
}

// hostFunctions are the functions of the host with the number of their
// parameters; the built-ins give a value.
var hostFunctions = [...]hostFunction{
	{"opa_abort", 1, false},
	{"opa_println", 1, false},
	{"opa_builtin0", 2, true},
	{"opa_builtin1", 3, true},
	{"opa_builtin2", 4, true},
	{"opa_builtin3", 5, true},
	{"opa_builtin4", 6, true},
}

// mayImport refuses all but the memory and the functions of the host.
func mayImport(kind guard.Kind, module, name string) error {
	isHost := func(name string) bool {
		return slices.ContainsFunc(hostFunctions[:], func(f hostFunction) bool { return f.name == name })
	}
	switch {
	case module != envModule:
	case kind == guard.Memory && name == "memory", kind == guard.Function && isHost(name):
		return nil
	}
	return fmt.Errorf("it imports %q from %q, which OPA does not give to policies", name, module)
}

// builtin is a built-in of the host that a module calls.
type builtin struct {
	name string
	f    topdown.BuiltinFunc
}

func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(hostModule)
	for _, f := range hostFunctions {
		params := make([]api.ValueType, f.params)
		for i := range params {
			params[i] = api.ValueTypeI32
		}
		var results []api.ValueType
		if f.result {
			results = []api.ValueType{api.ValueTypeI32}
		}
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			i, ok := ctx.Value(instanceKey{}).(*instance)
			if !ok {
				panic(errNoInstance)
			}
			switch f.name {
			case "opa_abort":
				i.abort(stack[0])
			case "opa_println":
				// What a guest prints is nobody's: it would reach the log of the server.
			default:
				stack[0] = i.builtin(ctx, stack[0], stack[2:f.params])
			}
		}), params, results).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

var errNoInstance = errors.New("the module calls the host outside an evaluation")

// stop ends the call that the guest is in.
func (i *instance) stop(err error) {
	i.fault = err
	panic(err) // wazero turns it into an error of the call
}

// abort is what a guest calls when its evaluation fails: a conflict of rules,
// or no memory.
func (i *instance) abort(address uint64) {
	message := "without a message"
	if i.memory != nil {
		if text, err := i.text(address & 0xffffffff); err == nil {
			message = fmt.Sprintf("%.200q", text)
		}
	}
	i.stop(fmt.Errorf("the Wasm module gives up: %s", message))
}

// builtin calls a built-in for the guest and returns the address of its value,
// 0 if that is undefined.
func (i *instance) builtin(ctx context.Context, id uint64, addresses []uint64) uint64 {
	b, ok := i.builtins[uint32(id)] //nolint:gosec // G115: an i32 of the guest
	if !ok {
		i.stop(fmt.Errorf("the Wasm module calls a built-in with the number %d, which it has not named", uint32(id))) //nolint:gosec // G115: as above
	}
	operands := make([]*ast.Term, len(addresses))
	for n, address := range addresses {
		v, err := i.value(ctx, address&0xffffffff)
		if err != nil {
			i.stop(fmt.Errorf("%s: operand %d: %w", b.name, n+1, err))
		}
		operands[n] = ast.NewTerm(v)
	}
	var result *ast.Term
	err := b.f(topdown.BuiltinContext{
		Context: ctx,
		Cancel:  i.cancel,
		Cache:   make(builtins.Cache),
	}, operands, func(t *ast.Term) error {
		result = t
		return nil
	})
	switch {
	case err != nil:
		// Undefined instead would lift the denial that depends on it.
		i.stop(fmt.Errorf("%s: %w", b.name, err))
	case result == nil:
		return 0
	}
	address, err := i.write(ctx, result.Value)
	if err != nil {
		i.stop(fmt.Errorf("%s: its result: %w", b.name, err))
	}
	return address
}

// value reads a value of the guest.
func (i *instance) value(ctx context.Context, address uint64) (ast.Value, error) {
	// The functions that an evaluation is in must not be entered again through
	// one handle, so a new one is made.
	text, err := i.reenter(ctx, "opa_value_dump", address)
	if err != nil {
		return nil, err
	}
	b, err := i.text(text)
	if err != nil {
		return nil, err
	}
	return decodeValue(string(b))
}

// write puts a value into the memory of the guest.
func (i *instance) write(ctx context.Context, v ast.Value) (uint64, error) {
	text, err := appendValue(nil, v, true)
	if err != nil {
		return 0, err
	}
	address, err := i.reenter(ctx, "opa_malloc", uint64(len(text)))
	if err != nil {
		return 0, err
	}
	if !i.memory.Write(uint32(address), text) { //nolint:gosec // G115: addresses have 32 bits
		return 0, errors.New("does not fit into the memory")
	}
	parsed, err := i.reenter(ctx, "opa_value_parse", address, uint64(len(text)))
	if err == nil && parsed == 0 {
		err = errors.New("is not read")
	}
	return parsed, err
}

// reenter calls a function of the guest while the guest is in another.
func (i *instance) reenter(ctx context.Context, name string, params ...uint64) (uint64, error) {
	results, err := i.mod.ExportedFunction(name).Call(ctx, params...)
	if err != nil {
		return 0, err
	}
	if len(results) != 1 {
		return 0, fmt.Errorf("%s gives %d results", name, len(results))
	}
	return results[0] & 0xffffffff, nil
}
