package engine

import (
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
