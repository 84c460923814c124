package engine

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// refused are built-ins that a policy cannot use: they reach the network or
// the process, or their answer changes from one call to the next. A decision
// depends on its input and on data alone.
var refused = []string{
	"crypto.x509.parse_and_verify_certificates", // reads the clock
	"crypto.x509.parse_and_verify_certificates_with_options",
	"io.jwt.decode_verify", // reads the clock
	"providers.aws.sign_req",
	"rego.parse_module",
	"trace",
}

// capabilities returns what policies may use: everything of this version of
// OPA but the built-ins that reach out or that are not deterministic.
func capabilities() *ast.Capabilities {
	caps := ast.CapabilitiesForThisVersion()
	caps.Builtins = slices.DeleteFunc(slices.Clone(caps.Builtins), func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(refused, b.Name)
	})
	caps.AllowNet = []string{}
	return caps
}

// capabilities returns what a policy may use: the functions of its extensions,
// and what asks its Wasm modules, as well.
func (s *sources) capabilities() *ast.Capabilities {
	caps := capabilities()
	for _, name := range slices.Sorted(maps.Keys(s.extensions)) {
		m := s.extensions[name].parsed
		for _, function := range slices.Sorted(maps.Keys(m.Functions)) {
			d := declaration(m, function)
			caps.Builtins = append(caps.Builtins, &ast.Builtin{Name: d.Name, Description: d.Description, Decl: d.Decl, Nondeterministic: d.Nondeterministic})
		}
	}
	if len(s.guests) > 0 {
		caps.Builtins = append(caps.Builtins, &ast.Builtin{Name: guestBuiltin.Name, Decl: guestBuiltin.Decl})
	}
	return caps
}
