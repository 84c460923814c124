package sandbox_test

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// call32 makes a call under its number of the x32 interface.
func call32() error {
	_, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
	if errno != unix.ENOSYS {
		return nil
	}
	return fmt.Errorf("x32: %w", errno)
}
