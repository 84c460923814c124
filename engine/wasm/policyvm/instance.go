package policyvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// instance is one running copy of a module, with a memory of its own.
type instance struct {
	env, mod api.Module
	memory   api.Memory
	call     map[string]api.Function
	// data is the address of the data document, heap where free memory begins
	// once that is loaded.
	data, heap uint64

	builtins map[uint32]builtin
	// fault is why the host ended a call, of which the guest knows nothing.
	fault  error
	cancel topdown.Cancel
}

// functions are what a module must export.
var functions = [...]string{
	"builtins", "entrypoints", "eval",
	"opa_eval_ctx_get_result", "opa_eval_ctx_new", "opa_eval_ctx_set_data", "opa_eval_ctx_set_entrypoint",
	"opa_eval_ctx_set_input", "opa_heap_ptr_get", "opa_heap_ptr_set", "opa_json_dump", "opa_malloc",
	"opa_value_dump", "opa_value_parse",
}

// The version of the interface between module and host.
const (
	abiMajor = 1
	abiMinor = 2
)

type instanceKey struct{}

// instantiate makes an instance and loads the data into it.
func (p *Policy) instantiate(ctx context.Context) (*instance, error) {
	i := &instance{call: make(map[string]api.Function, len(functions))}
	var err error
	anonymous := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	if i.env, err = p.runtime.InstantiateModule(ctx, p.env, anonymous); err != nil {
		return nil, fmt.Errorf("the environment of the module: %w", err)
	}
	ctx = context.WithValue(ctx, instanceKey{}, i)
	own := experimental.WithImportResolver(ctx, func(name string) api.Module {
		if name == envModule {
			return i.env
		}
		return nil
	})
	if i.mod, err = p.runtime.InstantiateModule(own, p.module, anonymous); err != nil {
		return nil, errors.Join(fmt.Errorf("is not a policy that OPA has compiled, or does not start: %w", i.explain(ctx, err)), i.close())
	}
	if err := i.prepare(ctx, p.cfg.Data); err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *instance) prepare(ctx context.Context, data []byte) error {
	major, minor := i.mod.ExportedGlobal("opa_wasm_abi_version"), i.mod.ExportedGlobal("opa_wasm_abi_minor_version")
	if major == nil || minor == nil {
		return errors.New("is not a policy that OPA has compiled: it does not say which version of the ABI it has")
	}
	if a, b := api.DecodeI32(major.Get()), api.DecodeI32(minor.Get()); a != abiMajor || b < abiMinor {
		return fmt.Errorf("has version %d.%d of the ABI, want %d.%d or a later minor one; build it with a later OPA", a, b, abiMajor, abiMinor)
	}
	if i.memory = i.mod.Memory(); i.memory == nil {
		return errors.New("is not a policy that OPA has compiled: it has no memory")
	}
	for _, name := range functions {
		f := i.mod.ExportedFunction(name)
		if f == nil {
			return fmt.Errorf("is not a policy that OPA has compiled: it exports no function %s", name)
		}
		i.call[name] = f
	}
	address, err := i.invoke(ctx, "opa_malloc", uint64(len(data)))
	if err != nil {
		return err
	}
	if !i.memory.Write(uint32(address), data) { //nolint:gosec // G115: addresses have 32 bits
		return errors.New("the data does not fit into its memory")
	}
	if i.data, err = i.invoke(ctx, "opa_value_parse", address, uint64(len(data))); err != nil {
		return err
	}
	if i.data == 0 {
		return errors.New("does not read the data")
	}
	i.heap, err = i.invoke(ctx, "opa_heap_ptr_get")
	return err
}

// describe returns the entrypoints of the module and the built-ins that it
// calls, each by its number.
func (i *instance) describe(ctx context.Context, allowed func(string) bool) (map[string]uint64, map[uint32]builtin, error) {
	ctx = context.WithValue(ctx, instanceKey{}, i)
	names, err := i.numbers(ctx, "builtins")
	if err != nil {
		return nil, nil, err
	}
	i.builtins = make(map[uint32]builtin, len(names))
	var errs []error
	for name, id := range names {
		f := topdown.GetBuiltin(name)
		if f == nil || !allowed(name) {
			errs = append(errs, fmt.Errorf("calls the built-in %s, which policies cannot use", name))
			continue
		}
		i.builtins[uint32(id)] = builtin{name: name, f: f} //nolint:gosec // G115: numbers checks it
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	entrypoints, err := i.numbers(ctx, "entrypoints")
	return entrypoints, i.builtins, err
}

// numbers reads a table of names and numbers that the module gives.
func (i *instance) numbers(ctx context.Context, name string) (map[string]uint64, error) {
	address, err := i.invoke(ctx, name)
	if err != nil {
		return nil, err
	}
	if address, err = i.invoke(ctx, "opa_json_dump", address); err != nil {
		return nil, err
	}
	text, err := i.text(address)
	if err != nil {
		return nil, err
	}
	table := map[string]uint64{}
	if err := json.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for key, n := range table {
		if n > math.MaxInt32 {
			return nil, fmt.Errorf("%s: %s has the number %d", name, key, n)
		}
	}
	return table, nil
}

// evalAll evaluates entrypoints on an input that is JSON, or undefined if it
// is empty.
func (i *instance) evalAll(ctx context.Context, entrypoints []uint64, input []byte) ([]ast.Value, error) {
	ctx = context.WithValue(ctx, instanceKey{}, i)
	i.cancel = topdown.NewCancel()
	stop := context.AfterFunc(ctx, i.cancel.Cancel)
	defer stop()

	parsed, err := i.load(ctx, input)
	if err != nil {
		return nil, err
	}
	values := make([]ast.Value, len(entrypoints))
	for n, entrypoint := range entrypoints {
		if values[n], err = i.eval(ctx, entrypoint, parsed); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// load puts the input into the memory, where that of the last evaluation was,
// and returns its address.
func (i *instance) load(ctx context.Context, input []byte) (uint64, error) {
	end := i.heap + uint64(len(input))
	if missing := int64(end) - int64(i.memory.Size()); missing > 0 { //nolint:gosec // G115: both have 32 bits
		if _, ok := i.memory.Grow(uint32((missing + pageBytes - 1) / pageBytes)); !ok { //nolint:gosec // G115: as above
			return 0, errors.New("the input does not fit into its memory")
		}
	}
	if !i.memory.Write(uint32(i.heap), input) { //nolint:gosec // G115: as above
		return 0, errors.New("the input does not fit into its memory")
	}
	if _, err := i.invoke(ctx, "opa_heap_ptr_set", (end+7)&^7); err != nil || len(input) == 0 {
		return 0, err
	}
	parsed, err := i.invoke(ctx, "opa_value_parse", i.heap, uint64(len(input)))
	if err == nil && parsed == 0 {
		// Without an input every denial that looks at one would be undefined.
		err = errors.New("does not read the input")
	}
	return parsed, err
}

// eval evaluates an entrypoint on the input at an address, 0 for none.
func (i *instance) eval(ctx context.Context, entrypoint, input uint64) (ast.Value, error) {
	state, err := i.invoke(ctx, "opa_eval_ctx_new")
	if err != nil {
		return nil, err
	}
	for _, set := range []struct {
		name  string
		value uint64
	}{
		{"opa_eval_ctx_set_input", input},
		{"opa_eval_ctx_set_data", i.data},
		{"opa_eval_ctx_set_entrypoint", entrypoint},
	} {
		if _, err := i.invoke(ctx, set.name, state, set.value); err != nil {
			return nil, err
		}
	}
	code, err := i.invoke(ctx, "eval", state)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("its evaluation ends with code %d", api.DecodeI32(code))
	}
	result, err := i.invoke(ctx, "opa_eval_ctx_get_result", state)
	if err != nil {
		return nil, err
	}
	if result, err = i.invoke(ctx, "opa_value_dump", result); err != nil {
		return nil, err
	}
	text, err := i.text(result)
	if err != nil {
		return nil, err
	}
	return decodeResult(string(text)) // the text is copied out of the memory
}

// text returns the text that ends with a zero at an address, which is part of
// the memory until the next call.
func (i *instance) text(address uint64) ([]byte, error) {
	size := uint64(i.memory.Size())
	if address == 0 || address >= size {
		return nil, fmt.Errorf("gives a result at %d, outside its memory", address)
	}
	b, ok := i.memory.Read(uint32(address), uint32(min(size-address, maxResultBytes+1))) //nolint:gosec // G115: below the size
	if !ok {
		return nil, fmt.Errorf("gives a result at %d, outside its memory", address)
	}
	text, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return nil, fmt.Errorf("gives a result of more than %d bytes, or one without an end", maxResultBytes)
	}
	return text, nil
}

// invoke calls a function of the module, which gives one number or nothing.
func (i *instance) invoke(ctx context.Context, name string, params ...uint64) (uint64, error) {
	var stack [2]uint64
	copy(stack[:], params)
	if err := i.call[name].CallWithStack(ctx, stack[:]); err != nil {
		return 0, i.explain(ctx, err)
	}
	return stack[0] & math.MaxUint32, nil
}

// explain says why a call has ended.
func (i *instance) explain(ctx context.Context, err error) error {
	switch {
	case i.fault != nil:
		return i.fault
	case ctx.Err() != nil:
		return fmt.Errorf("the Wasm module was stopped: %w", ctx.Err())
	}
	// The trace of a guest's stack, which follows, helps nobody who reads this.
	text, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return fmt.Errorf("the Wasm module has trapped: %s", text)
}

func (i *instance) close() error {
	var errs []error
	for _, m := range []api.Module{i.mod, i.env} {
		if m != nil {
			errs = append(errs, m.Close(context.Background()))
		}
	}
	return errors.Join(errs...)
}
