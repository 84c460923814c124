// Package extension runs functions that a team has compiled to WebAssembly, so
// that its policy can call them.
//
// An extension is a core Wasm module with a manifest that names its hash, its
// functions with the types of their arguments and results, and its limits.
// docs/extensions.md describes both for whoever writes one.
//
// The package refuses rather than trusts. A module whose hash, imports, exports
// or signatures are not those of the manifest is not loaded. A guest has no
// file, no network, no clock that moves and nothing random; it is stopped at
// its time limit whatever it does, and gets no more memory than it may. One
// that traps, runs too long, or gives a result that is not what it declared,
// makes its call an error, and the instance is thrown away with all that it
// knew.
//
// A [Module] is safe for concurrent use. It frees what it holds when it is
// closed, and otherwise when nothing refers to it any more.
package extension

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"opencode/extension/guard"
)

// Limits that no manifest can widen.
const (
	// MaxModuleBytes bounds a module as it is on disk.
	MaxModuleBytes = 16 << 20
	// MaxArgumentBytes bounds the arguments of one call, as JSON.
	MaxArgumentBytes = 1 << 20
	// startLimit bounds what a guest does before it takes calls.
	startLimit = 2 * time.Second
	// What the guard lets pass. A program in Go has about a tenth of maxTangle.
	maxTable  = 1 << 18
	maxLocals = 16_384
	maxTangle = 100_000_000
)

// Config says how to run a module.
type Config struct {
	// Cache keeps compiled code from one process to the next. Without one a
	// module is compiled each time.
	Cache *CodeCache
	// Instances is how many calls of one module can run at once; others wait.
	// Each has memory of its own, up to the module's limit. The default is the
	// number of processors, but 2 at least and 8 at most.
	Instances int
	// Interpret runs guests without compiling them. That is what happens anyway
	// where the host forbids it, or on a processor without a compiler.
	Interpret bool
	// Output gets what guests print. The default discards it: it may hold what
	// they were called with.
	Output io.Writer
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

// Module is a loaded extension.
type Module struct {
	manifest Manifest
	cfg      Config
	parts    *parts
	code     wazero.CompiledModule
	resets   bool          // the module has reset
	slots    chan struct{} // one for each call that runs

	mu   sync.Mutex
	idle []*instance

	calls, failures atomic.Uint64
	last            atomic.Pointer[string]
}

// parts is what a module must free.
type parts struct {
	once    sync.Once
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	closed  atomic.Bool
}

func (p *parts) close() {
	p.once.Do(func() {
		p.closed.Store(true)
		ctx := context.Background()
		_ = p.runtime.Close(ctx) // instances are memory; there is nothing that can fail
		if p.cache != nil {
			_ = p.cache.Close(ctx)
		}
	})
}

// Load checks a module against its manifest and makes it ready to be called.
// An error says what is wrong with it.
func Load(ctx context.Context, manifest Manifest, module []byte, cfg Config) (*Module, error) {
	m, err := load(ctx, manifest, module, cfg)
	if err != nil {
		return nil, fmt.Errorf("extension %s: %w", manifest.Name, err)
	}
	return m, nil
}

func load(ctx context.Context, manifest Manifest, module []byte, cfg Config) (*Module, error) {
	if err := manifest.verify(module); err != nil {
		return nil, err
	}
	guarded, err := guard.Rewrite(module, guard.Config{Import: mayImport, Table: maxTable, Locals: maxLocals, Tangle: maxTangle})
	if err != nil {
		return nil, fmt.Errorf("the module is refused: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Instances <= 0 {
		cfg.Instances = min(max(2, runtime.GOMAXPROCS(0)), 8)
	}
	m := &Module{manifest: manifest, cfg: cfg, slots: make(chan struct{}, cfg.Instances)}
	if err := m.compile(ctx, guarded); err != nil {
		return nil, err
	}
	if err := m.start(ctx); err != nil {
		m.parts.close()
		return nil, err
	}
	// What runs is reachable from here for as long as it runs, so nothing in use
	// is freed.
	runtime.AddCleanup(m, func(p *parts) { p.close() }, m.parts)
	return m, nil
}

// verify holds a module to the hash and the size that it may have.
func (m Manifest) verify(module []byte) error {
	if len(module) > MaxModuleBytes {
		return fmt.Errorf("the module has %d bytes, more than %d", len(module), MaxModuleBytes)
	}
	if m.SHA256 == "" {
		return errors.New("the manifest names no sha256 of the module; `opencode policy ext pack` writes it")
	}
	sum := Sum(module)
	if subtle.ConstantTimeCompare([]byte(sum), []byte(m.SHA256)) != 1 {
		return fmt.Errorf("the module is not the one of the manifest: its sha256 is %s, the manifest names %s; "+
			"`opencode policy ext pack` writes it anew if the module was built again on purpose", sum, m.SHA256)
	}
	return nil
}

// Sum returns the hash of a module as a manifest names it.
func Sum(module []byte) string {
	sum := sha256.Sum256(module)
	return hex.EncodeToString(sum[:])
}

// compile makes code of the guarded module. What is wrong with the cache is no
// reason to do without the extension.
func (m *Module) compile(ctx context.Context, guarded []byte) error {
	cache, err := m.cfg.Cache.open()
	if err != nil {
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "extension: compiled anew, since the cache of compiled code is not used", slog.Any("reason", err))
		cache = nil
	}
	err = m.compileWith(ctx, guarded, cache)
	if err != nil && cache != nil && ctx.Err() == nil {
		// Either the module or what the cache has for it is broken.
		m.cfg.Cache.clear()
		err = m.compileWith(ctx, guarded, nil)
	}
	return err
}

func (m *Module) compileWith(ctx context.Context, guarded []byte, cache wazero.CompilationCache) error {
	cfg := wazero.NewRuntimeConfig()
	if m.cfg.Interpret {
		cfg = wazero.NewRuntimeConfigInterpreter()
	}
	cfg = cfg.WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(m.manifest.Limits.Pages).
		WithDebugInfoEnabled(false).
		WithCloseOnContextDone(true)
	if cache != nil {
		cfg = cfg.WithCompilationCache(cache)
	}
	p := &parts{runtime: wazero.NewRuntimeWithConfig(ctx, cfg), cache: cache}
	var code wazero.CompiledModule
	if err := guard.Contain(func() (err error) {
		code, err = p.runtime.CompileModule(ctx, guarded)
		return err
	}); err != nil {
		p.close()
		return fmt.Errorf("the module is refused: %w", firstLine(err))
	}
	m.parts, m.code = p, code
	return nil
}

// start checks what the module has and needs, and makes the first instance,
// which finds out whether one can be made.
func (m *Module) start(ctx context.Context) error {
	if err := m.checkExports(); err != nil {
		return err
	}
	if err := serveStubs(ctx, m.parts.runtime, m.code, m.cfg.Output); err != nil {
		return err
	}
	first, err := m.newInstance(ctx)
	if err != nil {
		return err
	}
	m.idle = append(m.idle, first)
	return nil
}

// Names of exports that have a meaning of their own.
const (
	exportMemory     = "memory"
	exportAlloc      = "alloc"
	exportReset      = "reset"
	exportInitialize = "_initialize"
	exportStart      = "_start"
)

var (
	i32 = []api.ValueType{api.ValueTypeI32}
	i64 = []api.ValueType{api.ValueTypeI64}
)

// checkExports holds the exports to the ABI and to the manifest.
func (m *Module) checkExports() error {
	var errs []error
	if _, ok := m.code.ExportedMemories()[exportMemory]; !ok {
		errs = append(errs, errors.New("the module exports no memory with the name memory"))
	}
	exports := m.code.ExportedFunctions()
	check := func(name string, params, results []api.ValueType) {
		f, ok := exports[name]
		if !ok {
			errs = append(errs, fmt.Errorf("the module exports no function %s%s", name, signature(params, results)))
			return
		}
		if !equal(f.ParamTypes(), params) || !equal(f.ResultTypes(), results) {
			errs = append(errs, fmt.Errorf("the module's %s is %s, want %s", name, signature(f.ParamTypes(), f.ResultTypes()), signature(params, results)))
		}
	}
	check(exportAlloc, i32, i32)
	if _, m.resets = exports[exportReset]; m.resets {
		check(exportReset, nil, nil)
	}
	if _, ok := exports[exportInitialize]; ok {
		check(exportInitialize, nil, nil)
	} else if _, ok := exports[exportStart]; ok {
		errs = append(errs, errors.New("the module is a program with a beginning and an end; build it as a library (Go: -buildmode=c-shared, C: -mexec-model=reactor)"))
	}
	for _, name := range sortedKeys(m.manifest.Functions) {
		check(name, []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, i64)
	}
	return errors.Join(errs...)
}

// Manifest returns the manifest.
func (m *Module) Manifest() Manifest { return m.manifest }

// Stats counts what came of the calls of a module.
type Stats struct {
	Calls    uint64
	Failures uint64
	// LastError is why the last call failed that did; "" if none has.
	LastError string
}

// Stats returns the counts since the module was loaded.
func (m *Module) Stats() Stats {
	s := Stats{Calls: m.calls.Load(), Failures: m.failures.Load()}
	if last := m.last.Load(); last != nil {
		s.LastError = *last
	}
	return s
}

// Close frees what the module holds. Calls fail from then on; none may be
// running.
func (m *Module) Close() { m.parts.close() }
