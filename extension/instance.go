package extension

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// errClosed is the answer of a module that is closed.
var errClosed = errors.New("is closed")

// instance is one guest with memory of its own. It takes one call at a time.
type instance struct {
	mod       api.Module
	alloc     api.Function
	reset     api.Function // nil if there is none
	functions map[string]api.Function
	stack     [2]uint64
}

// newInstance makes a guest and lets it begin.
func (m *Module) newInstance(ctx context.Context) (*instance, error) {
	began, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	mod, err := m.parts.runtime.InstantiateModule(began, m.code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err == nil {
		if begin := mod.ExportedFunction(exportInitialize); begin != nil {
			_, err = begin.Call(began)
		}
	}
	if err == nil && began.Err() != nil {
		err = began.Err()
	}
	if err != nil {
		if mod != nil {
			_ = mod.Close(context.WithoutCancel(ctx))
		}
		return nil, fmt.Errorf("does not begin: %w", m.reason(ctx, began, err, startLimit.String()))
	}
	in := &instance{mod: mod, alloc: mod.ExportedFunction(exportAlloc), functions: map[string]api.Function{}}
	if m.resets {
		in.reset = mod.ExportedFunction(exportReset)
	}
	for name := range m.manifest.Functions {
		in.functions[name] = mod.ExportedFunction(name)
	}
	return in, nil
}

// Call calls a function with a JSON array of arguments, which the caller has
// held to the declaration, and returns its result, which is held to it here.
// Numbers in it are of type json.Number. It returns when the context ends, or
// the function has reached its limit, whatever the guest does.
func (m *Module) Call(ctx context.Context, function string, args []byte) (any, error) {
	v, blame, err := m.call(ctx, function, args)
	m.calls.Add(1)
	if err == nil {
		return v, nil
	}
	err = fmt.Errorf("extension %s.%s: %w", m.manifest.Name, function, err)
	if blame {
		m.report(ctx, function, err)
	}
	return nil, err
}

// report counts a failure, and logs the first ones and then ever fewer: whoever
// shapes the input of decisions may be able to make a guest fail at will.
func (m *Module) report(ctx context.Context, function string, err error) {
	text := err.Error()
	m.last.Store(&text)
	n := m.failures.Add(1)
	if bits.OnesCount64(n) == 1 {
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "extension failed; what depended on it is denied",
			slog.String("module", m.manifest.Name), slog.String("function", function), slog.Uint64("failures", n), slog.Any("error", err))
	}
}

// call reports with its error whether the guest is to blame.
func (m *Module) call(ctx context.Context, name string, args []byte) (v any, blame bool, err error) {
	defer runtime.KeepAlive(m) // what is freed with it is in use until here
	f, ok := m.manifest.Functions[name]
	if !ok {
		return nil, false, errors.New("is not declared")
	}
	if len(args) > MaxArgumentBytes {
		return nil, false, fmt.Errorf("its arguments have more than %d bytes", MaxArgumentBytes)
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return nil, false, fmt.Errorf("the decision ended while it waited for an instance: %w", ctx.Err())
	}
	// Without a reset an instance may remember its calls. A pure function must
	// not, so it gets an instance that has none.
	fresh := f.Pure && !m.resets
	in, err := m.instance(ctx, fresh)
	if err != nil {
		return nil, ctx.Err() == nil, err
	}
	limited, cancel := context.WithTimeout(ctx, m.manifest.Limits.Time)
	defer cancel()
	v, err = in.call(limited, name, args, f, m.manifest.Limits.ResultBytes)
	if err == nil && limited.Err() != nil {
		// Stopping it may be under way; nobody else may get into that.
		err = limited.Err()
	}
	if err != nil || fresh {
		_ = in.mod.Close(context.WithoutCancel(ctx)) // its memory goes with it
	} else {
		m.mu.Lock()
		m.idle = append(m.idle, in)
		m.mu.Unlock()
	}
	if err != nil {
		return nil, ctx.Err() == nil, m.reason(ctx, limited, err, m.manifest.Limits.Time.String())
	}
	return v, false, nil
}

// instance returns one that nobody uses, or a new one.
func (m *Module) instance(ctx context.Context, fresh bool) (*instance, error) {
	if m.parts.closed.Load() {
		return nil, errClosed
	}
	if !fresh {
		m.mu.Lock()
		if last := len(m.idle) - 1; last >= 0 {
			in := m.idle[last]
			m.idle = m.idle[:last]
			m.mu.Unlock()
			return in, nil
		}
		m.mu.Unlock()
	}
	return m.newInstance(ctx)
}

// call passes the arguments in and takes the result out.
func (in *instance) call(ctx context.Context, name string, args []byte, f Function, most uint32) (any, error) {
	length := uint64(len(args))
	in.stack[0] = length
	if err := in.alloc.CallWithStack(ctx, in.stack[:1]); err != nil {
		return nil, err
	}
	at := address(in.stack[0])
	if at == 0 || !in.mod.Memory().Write(at, args) {
		return nil, fmt.Errorf("alloc gave no room for %d bytes in its memory", length)
	}
	in.stack[0], in.stack[1] = uint64(at), length
	if err := in.functions[name].CallWithStack(ctx, in.stack[:2]); err != nil {
		return nil, err
	}
	result := in.stack[0]
	v, err := decodeResult(in.mod.Memory(), result, f.Result, most)
	if err != nil {
		return nil, err
	}
	if in.reset != nil {
		if err := in.reset.CallWithStack(ctx, nil); err != nil {
			return nil, fmt.Errorf("reset: %w", err)
		}
	}
	return v, nil
}

// memory is the memory of a guest.
type memory interface {
	Read(offset, byteCount uint32) ([]byte, bool)
}

// decodeResult reads a result from where the guest says that it is. The value
// shares nothing with the guest's memory.
func decodeResult(mem memory, packed uint64, want Type, most uint32) (any, error) {
	at, length := uint32(packed>>32), uint32(packed) //nolint:gosec // G115: the two halves
	if length > most {
		return nil, fmt.Errorf("its result has %d bytes, more than its limit of %d", length, most)
	}
	b, ok := mem.Read(at, length)
	if !ok {
		return nil, errors.New("its result is not within its memory")
	}
	v, err := decodeJSON(b)
	if err != nil {
		return nil, fmt.Errorf("its result %w", err)
	}
	if got := typeOf(v); want != Any && got != want {
		return nil, fmt.Errorf("its result is of type %s, not %s as declared", got, want)
	}
	return v, nil
}

// reason says in the terms of who wrote the guest why it was stopped. outer is
// the context of the decision, inner that with the guest's own limit.
func (m *Module) reason(outer, inner context.Context, err error, limit string) error {
	exit, isExit := errors.AsType[*sys.ExitError](err)
	switch {
	case outer.Err() != nil:
		return fmt.Errorf("the decision ended while it ran: %w", outer.Err())
	case inner.Err() != nil:
		return fmt.Errorf("ran longer than its limit of %s", limit)
	case isExit:
		return fmt.Errorf("ended itself with code %d", exit.ExitCode())
	}
	return firstLine(err)
}

// guestError is an error of a guest, without the names of its functions in the
// first line.
type guestError struct {
	text string
	err  error
}

func (e *guestError) Error() string { return e.text }
func (e *guestError) Unwrap() error { return e.err }

// firstLine leaves out the stack of calls, which follows a trap.
func firstLine(err error) error {
	text, rest, more := strings.Cut(err.Error(), "\n")
	if !more || rest == "" {
		return err
	}
	return &guestError{strings.TrimPrefix(text, "wasm error: "), err}
}
