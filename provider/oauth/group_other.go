//go:build !unix

package oauth

import "os/exec"

// ownGroup does nothing: the end of the context ends the command alone.
func ownGroup(*exec.Cmd) {}
