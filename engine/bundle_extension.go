package engine

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// An extension stands in a bundle where it stands in a directory:
// ext/<name>/manifest.json and ext/<name>/<name>.wasm. To OPA they are files
// that it covers by the signature and otherwise passes over.

// bundledExtensionKind is bundleKind for what lies below the folder of
// extensions. The module of one that had the name of a policy in Wasm would be
// taken for that by OPA.
func bundledExtensionKind(p string) (kind bundled, isExtension bool, err error) {
	switch _, isExtension := extensionFile(p); {
	case isExtension && path.Base(p) == wasmFile:
		return 0, true, fmt.Errorf("OPA would take it for a policy; give the extension another name than %s", strings.TrimSuffix(wasmFile, ".wasm"))
	case isExtension:
		return bundledExtension, true, nil
	}
	return 0, false, misplaced(p, p)
}

// addBundledExtension adds a file of an extension. Code of a bundle that came
// from a server is run only if somebody has signed for it.
func (s *sources) addBundledExtension(f file, fetched bool) error {
	if fetched && s.verification == nil {
		return errors.New("is part of an extension, whose code is run; from a server it is taken only in a signed bundle, and with the key: --verification-key FILE")
	}
	name, _ := extensionFile(f.rel)
	s.addExtension(name, f)
	return nil
}

// pack adds the extensions to a bundle that is to be signed and written. They
// go there as further modules in Wasm, the one kind of file that OPA writes as
// it is and at any place.
func (s *sources) pack(b *bundle.Bundle) {
	for _, name := range slices.Sorted(maps.Keys(s.extensions)) {
		e := s.extensions[name]
		for _, f := range []file{e.manifest, e.module} {
			at := "/" + path.Join(extensionDir, name, path.Base(filepath.ToSlash(f.rel)))
			b.WasmModules = append(b.WasmModules, bundle.WasmModuleFile{URL: at, Path: at, Raw: f.data})
		}
	}
}

// checkNoExtensions refuses rules of teams that call extensions, if they are
// to be compiled to Wasm: such a module can call nothing but OPA's built-ins.
func (c *compiled) checkNoExtensions(src *sources) error {
	var errs []error
	for _, f := range src.files {
		m := c.modules[f.name]
		if m == nil || !f.ofTeam() {
			continue
		}
		ast.WalkTerms(m, func(t *ast.Term) bool {
			ref, ok := t.Value.(ast.Ref)
			if ok && src.isExtensionFunction(ref.String()) {
				errs = append(errs, fmt.Errorf("%s: calls the extension %s, which a Wasm module cannot reach; keep it in Rego", position(t.Location), ref))
			}
			return false
		})
	}
	return errors.Join(errs...)
}

// isExtensionFunction reports whether an extension declares a function with
// this name.
func (s *sources) isExtensionFunction(name string) bool {
	for module, e := range s.extensions {
		for function := range e.parsed.Functions {
			if regoName(module, function) == name {
				return true
			}
		}
	}
	return false
}
