package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"

	"opencode/extension"
	"opencode/policy"
)

// extensionDir is the folder of a policy directory that holds extensions, each
// in a folder with its name: ext/<name>/manifest.json and ext/<name>/<name>.wasm.
const extensionDir = "ext"

const extensionManifest = "manifest.json"

// maxExtensions bounds how many modules a policy can have.
const maxExtensions = 32

// extensionSource is an extension as it is on disk.
type extensionSource struct {
	manifest, module file // without a name if it is not there
	parsed           extension.Manifest
	dir, twice       string // where it is from, and what else has its name
}

// extensionFile reports whether a path is that of a part of an extension, and
// of which.
func extensionFile(p string) (module string, ok bool) {
	dir, base := path.Split(p)
	parent, name := path.Split(strings.TrimSuffix(dir, "/"))
	if parent != extensionDir+"/" {
		return "", false
	}
	return name, base == extensionManifest || base == name+".wasm"
}

// misplaced names a module that looks like an extension and would not be read.
func misplaced(p, name string) error {
	dir, base := path.Split(p)
	if !strings.HasPrefix(p, extensionDir+"/") || !strings.HasSuffix(base, ".wasm") {
		return nil
	}
	return fmt.Errorf("policy %s: would not be read; the module of an extension is ext/NAME/NAME.wasm, here %s%s.wasm", name, dir, path.Base(dir))
}

func (s *sources) addExtension(name string, f file) {
	if s.extensions == nil {
		s.extensions = map[string]*extensionSource{}
	}
	e := s.extensions[name]
	if e == nil {
		e = &extensionSource{dir: f.dir}
		s.extensions[name] = e
	}
	part := &e.module
	if path.Base(f.rel) == extensionManifest {
		part = &e.manifest
	}
	if e.dir != f.dir || part.name != "" {
		e.twice = f.name
		return
	}
	*part = f
}

// all returns every file that takes part.
func (s *sources) all() []file {
	all := slices.Clip(s.files)
	for _, name := range slices.Sorted(maps.Keys(s.extensions)) {
		for _, f := range []file{s.extensions[name].manifest, s.extensions[name].module} {
			if f.name != "" {
				all = append(all, f)
			}
		}
	}
	return all
}

// parseExtensions reads the manifests.
func (s *sources) parseExtensions() error {
	var errs []error
	if len(s.extensions) > maxExtensions {
		errs = append(errs, fmt.Errorf("policy: has %d extensions, more than %d", len(s.extensions), maxExtensions))
	}
	for _, name := range slices.Sorted(maps.Keys(s.extensions)) {
		e := s.extensions[name]
		switch {
		case e.twice != "":
			errs = append(errs, fmt.Errorf("%s: there is an extension %s in %s already", e.twice, name, e.dir))
		case e.manifest.name == "":
			errs = append(errs, fmt.Errorf("%s: has no %s beside it; `opencode policy ext new` shows one", e.module.name, extensionManifest))
		case e.module.name == "":
			errs = append(errs, fmt.Errorf("%s: has no %s.wasm beside it; build the module, then run `opencode policy ext pack`", e.manifest.name, name))
		default:
			var err error
			if e.parsed, err = extension.ParseManifest(e.manifest.data); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", e.manifest.name, err))
			} else if e.parsed.Name != name {
				errs = append(errs, fmt.Errorf("%s: names the module %q, but lies in the folder of %q", e.manifest.name, e.parsed.Name, name))
			}
		}
	}
	return errors.Join(errs...)
}

// extend returns how extensions are run.
func (c Config) extend() extension.Config {
	cfg := extension.Config{Logger: c.Logger}
	if c.CodeCache != "" {
		cfg.Cache = extension.NewCodeCache(c.CodeCache)
	}
	return cfg
}

// regoName is how Rego calls a function of a module.
func regoName(module, function string) string {
	return extensionDir + "." + module + "." + function
}

// pureExtensions returns which functions of extensions are pure.
func (s *sources) pureExtensions() map[string]bool {
	pure := map[string]bool{}
	for name, e := range s.extensions {
		for function, f := range e.parsed.Functions {
			if f.Pure {
				pure[regoName(name, function)] = true
			}
		}
	}
	return pure
}

// declaration is a function as the compiler knows it.
func declaration(m extension.Manifest, function string) *rego.Function {
	f := m.Functions[function]
	args := make([]types.Type, 0, len(f.Args))
	for _, t := range f.Args {
		args = append(args, regoType(t))
	}
	return &rego.Function{
		Name: regoName(m.Name, function), Description: f.Description,
		Decl: types.NewFunction(args, regoType(f.Result)), Nondeterministic: !f.Pure,
	}
}

func regoType(t extension.Type) types.Type {
	switch t {
	case extension.Array:
		return types.NewArray(nil, types.A)
	case extension.Boolean:
		return types.B
	case extension.Null:
		return types.Nl
	case extension.Number:
		return types.N
	case extension.Object:
		return types.NewObject(nil, types.NewDynamicProperty(types.A, types.A))
	case extension.String:
		return types.S
	case extension.Any:
	}
	return types.A
}

// extensions are the loaded modules of a policy.
type extensions []*extension.Module

// loadExtensions checks and starts every module.
func (s *sources) loadExtensions(ctx context.Context) (extensions, error) {
	var list extensions
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.extensions)) {
		e := s.extensions[name]
		m, err := extension.Load(ctx, e.parsed, e.module.data, s.extend)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Dir(e.module.name), err))
			continue
		}
		list = append(list, m)
	}
	if err := errors.Join(errs...); err != nil {
		list.close()
		return nil, err
	}
	return list, nil
}

func (list extensions) close() {
	for _, m := range list {
		m.Close()
	}
}

// info describes the modules.
func (list extensions) info() []policy.ExtensionInfo {
	var out []policy.ExtensionInfo
	for _, m := range list {
		manifest, stats := m.Manifest(), m.Stats()
		out = append(out, policy.ExtensionInfo{
			Name: manifest.Name, SHA256: manifest.SHA256,
			Calls: stats.Calls, Failures: stats.Failures, LastError: stats.LastError,
		})
	}
	return out
}

// builtins are the functions of all modules.
func (list extensions) builtins() builtins {
	var out builtins
	for _, m := range list {
		manifest := m.Manifest()
		for _, name := range slices.Sorted(maps.Keys(manifest.Functions)) {
			c := &extensionCall{module: m, name: name, f: manifest.Functions[name], rego: regoName(manifest.Name, name)}
			out = append(out, builtin{declaration(manifest, name), c.builtin})
		}
	}
	return out
}

// extensionCall is a function of a module as a built-in.
type extensionCall struct {
	module *extension.Module
	name   string
	rego   string
	f      extension.Function
}

// extensionKey is under which a result is kept for the rest of a decision: in
// one decision, equal calls have equal results, as everywhere in Rego.
type extensionKey struct{ name, args string }

// builtin calls the guest. Any error ends the decision: as undefined it would
// let a denial pass that hangs on it.
func (c *extensionCall) builtin(bctx rego.BuiltinContext, terms []*ast.Term) (*ast.Term, error) {
	args, err := c.arguments(terms)
	if err != nil {
		return nil, rego.NewHaltError(err)
	}
	key := extensionKey{c.rego, string(args)}
	if kept, ok := bctx.Cache.Get(key); ok {
		if term, ok := kept.(*ast.Term); ok {
			return term, nil
		}
	}
	v, err := c.module.Call(callContext(bctx), c.name, args)
	if err != nil {
		return nil, rego.NewHaltError(err)
	}
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, rego.NewHaltError(fmt.Errorf("%s: its result: %w", c.rego, err))
	}
	term := ast.NewTerm(value)
	bctx.Cache.Put(key, term)
	return term, nil
}

// callContext is the context of a decision, which ends when it does.
func callContext(bctx rego.BuiltinContext) context.Context {
	if bctx.Context == nil {
		return context.Background()
	}
	return bctx.Context
}

// arguments writes the arguments of a call as a JSON array. terms may hold one
// more, for the result.
func (c *extensionCall) arguments(terms []*ast.Term) ([]byte, error) {
	b := []byte{'['}
	for i, want := range c.f.Args {
		if i > 0 {
			b = append(b, ',')
		}
		v := terms[i].Value
		if got := typeOfValue(v); want != extension.Any && got != want {
			return nil, fmt.Errorf("%s: argument %d is of type %s, want %s", c.rego, i+1, ast.ValueName(v), want)
		}
		var err error
		if b, err = appendJSON(b, v); err != nil {
			return nil, fmt.Errorf("%s: argument %d: %w", c.rego, i+1, err)
		}
	}
	return append(b, ']'), nil
}

// typeOfValue returns the type of a value that has one in JSON, else "".
func typeOfValue(v ast.Value) extension.Type {
	switch v.(type) {
	case ast.Null:
		return extension.Null
	case ast.Boolean:
		return extension.Boolean
	case ast.Number:
		return extension.Number
	case ast.String:
		return extension.String
	case *ast.Array:
		return extension.Array
	case ast.Object:
		return extension.Object
	}
	return ""
}
