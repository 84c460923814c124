// Package policies carries the default policy, its tests and the schemas of
// the documents, as files. It holds no logic.
package policies

import "embed"

// FS holds the default policy below opencode and the schemas below schemas.
//
//go:embed opencode schemas
var FS embed.FS
