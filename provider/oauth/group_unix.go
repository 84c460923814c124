//go:build unix

package oauth

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the end of the context end everything that the command
// started.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
