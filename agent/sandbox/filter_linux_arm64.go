package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	// foreignFrom is 0: there is one numbering of calls.
	foreignFrom = 0
	// callMknod is 0: there is mknodat alone.
	callMknod = 0
)

// archCalls are refused calls that only this processor has: none.
func archCalls() []uint32 { return nil }
