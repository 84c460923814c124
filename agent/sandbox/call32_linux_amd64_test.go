package sandbox_test

import (
	"errors"

	"golang.org/x/sys/unix"
)

// call32 makes a call under its number of the x32 interface.
func call32() error {
	_, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
	if errno == unix.ENOSYS {
		return errors.New("the x32 interface is not there")
	}
	return nil
}
