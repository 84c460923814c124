// Package policyvm runs policies that were compiled from Rego to WebAssembly
// (`opa build -t wasm`, ABI 1.2 and later of version 1) on wazero.
//
// A module is a guest: it gets an input and data and gives values, and has no
// file, network, clock, random source or output. It is stopped when the
// context of a call ends, at loading too, and it cannot have more memory than
// the configuration says. Only built-ins that the configuration lets through
// answer it, and an error of one of them is an error of the evaluation, never
// an undefined value. A guest that traps, is stopped or answers nonsense is
// thrown away, and a new one takes its place. What it answers is plain data,
// or an error.
//
// A [Policy] is safe for concurrent use. Each evaluation has an instance of the
// module to itself until its result is copied out.
package policyvm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"opencode/extension/guard"
)

// Limits that no policy needs to come near.
const (
	// MaxModuleBytes bounds a module: compiling one takes time in proportion,
	// and cannot be interrupted.
	MaxModuleBytes = 8 << 20
	// MemoryPages is the memory of an instance unless the configuration says
	// otherwise: 64 MiB in pages of 64 KiB.
	MemoryPages = 1024
	// maxResultBytes bounds the text of a result.
	maxResultBytes = 1 << 20
	// loadTimeout bounds what a module does before it is asked anything.
	loadTimeout = 5 * time.Second
	// What the guard lets pass. A set of 3,000 rules has an eighth of maxTangle.
	maxTable  = 1 << 16
	maxLocals = 50_000
	maxTangle = 10_000_000_000
)

// Config says what to load.
type Config struct {
	// Module is the WebAssembly module. Required.
	Module []byte
	// Data is the data document as JSON; {} if it is empty.
	Data []byte
	// Builtin says whether the module may call a built-in of the host.
	// Required.
	Builtin func(name string) bool
	// Instances is how many evaluations run at once; GOMAXPROCS if it is 0.
	Instances int
	// MemoryPages bounds the memory of one instance, in pages of 64 KiB; the
	// constant of that name if it is 0.
	MemoryPages uint32
	// LoadTimeout bounds what the module does at loading; five seconds if it is
	// 0.
	LoadTimeout time.Duration
}

// Policy is a loaded module.
type Policy struct {
	cfg         Config
	runtime     wazero.Runtime
	env, module wazero.CompiledModule
	entrypoints map[string]uint64
	builtins    map[uint32]builtin

	// slots holds a token for each evaluation that may start.
	slots chan struct{}

	mu     sync.Mutex
	idle   []*instance
	closed bool
}

// ErrClosed means that the policy was closed before it was asked.
var ErrClosed = errors.New("the Wasm policy is closed")

// New compiles a module, makes a first instance of it and holds it to its
// limits.
func New(ctx context.Context, cfg Config) (*Policy, error) {
	if cfg.Builtin == nil {
		return nil, errors.New("policyvm: Builtin is required")
	}
	if len(cfg.Module) > MaxModuleBytes {
		return nil, fmt.Errorf("is larger than %d bytes", MaxModuleBytes)
	}
	var err error
	cfg.Module, err = guard.Rewrite(cfg.Module, guard.Config{Import: mayImport, Table: maxTable, Locals: maxLocals, Tangle: maxTangle})
	if err != nil {
		return nil, fmt.Errorf("is refused: %w", err)
	}
	if cfg.Instances <= 0 {
		cfg.Instances = runtime.GOMAXPROCS(0)
	}
	if cfg.MemoryPages == 0 {
		cfg.MemoryPages = MemoryPages
	}
	if cfg.LoadTimeout <= 0 {
		cfg.LoadTimeout = loadTimeout
	}
	if len(cfg.Data) == 0 {
		cfg.Data = []byte("{}")
	}
	p := &Policy{cfg: cfg, slots: make(chan struct{}, cfg.Instances)}
	p.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		// Version 1 of the features is what OPA's compiler uses. Without the later
		// ones no instruction lets a table grow.
		WithCoreFeatures(api.CoreFeaturesV1).
		WithMemoryLimitPages(cfg.MemoryPages).
		WithCloseOnContextDone(true).
		WithDebugInfoEnabled(false))
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load compiles the modules and makes the first instance.
func (p *Policy) load(ctx context.Context) error {
	if err := instantiateHost(ctx, p.runtime); err != nil {
		return fmt.Errorf("the functions of the host: %w", err)
	}
	var err error
	if p.env, err = p.runtime.CompileModule(ctx, environment(min(minPages, p.cfg.MemoryPages), p.cfg.MemoryPages)); err != nil {
		return fmt.Errorf("the environment of the module: %w", err)
	}
	if err := guard.Contain(func() error {
		p.module, err = p.runtime.CompileModule(ctx, p.cfg.Module)
		return err
	}); err != nil {
		return fmt.Errorf("is no module that can run here: %w", err)
	}
	// Compiling is bounded by the size of the module; what the module does by time.
	ctx, cancel := context.WithTimeout(ctx, p.cfg.LoadTimeout)
	defer cancel()
	i, err := p.instantiate(ctx)
	if err != nil {
		return err
	}
	if p.entrypoints, p.builtins, err = i.describe(ctx, p.cfg.Builtin); err != nil {
		return errors.Join(err, i.close())
	}
	p.idle = append(p.idle, i)
	return nil
}

// Entrypoints returns the paths that the module answers, sorted.
func (p *Policy) Entrypoints() []string { return slices.Sorted(maps.Keys(p.entrypoints)) }

// Eval evaluates entrypoints on one input and returns a value for each, nil
// for one that is undefined. A nil input is an undefined one. It waits for an
// instance at most until the context ends.
func (p *Policy) Eval(ctx context.Context, input ast.Value, entrypoints ...string) ([]ast.Value, error) {
	ids := make([]uint64, len(entrypoints))
	for n, name := range entrypoints {
		id, ok := p.entrypoints[name]
		if !ok {
			return nil, fmt.Errorf("has no entrypoint %s", name)
		}
		ids[n] = id
	}
	var text []byte
	if input != nil {
		var err error
		if text, err = appendJSON(nil, input); err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
	}
	i, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	values, err := i.evalAll(ctx, ids, text)
	p.release(i, err == nil)
	return values, err
}

// acquire takes an idle instance or makes one.
func (p *Policy) acquire(ctx context.Context) (*instance, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("no instance has become free: %w", ctx.Err())
	}
	i, err := p.take(ctx)
	if err != nil {
		<-p.slots
	}
	return i, err
}

func (p *Policy) take(ctx context.Context) (*instance, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if last := len(p.idle) - 1; last >= 0 {
		i := p.idle[last]
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return i, nil
	}
	p.mu.Unlock()
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	i.builtins = p.builtins
	return i, nil
}

// release gives an instance back. One that has failed is in a state that
// nobody knows, and is closed.
func (p *Policy) release(i *instance, sound bool) {
	p.mu.Lock()
	if sound = sound && !p.closed; sound {
		p.idle = append(p.idle, i)
	}
	p.mu.Unlock()
	if !sound {
		_ = i.close() // it is thrown away in any case
	}
	<-p.slots
}

// Close frees the module and all its instances. Evaluations that still run
// end with an error, so a caller waits for them before.
func (p *Policy) Close() error {
	p.mu.Lock()
	p.closed, p.idle = true, nil
	p.mu.Unlock()
	return p.runtime.Close(context.Background())
}
