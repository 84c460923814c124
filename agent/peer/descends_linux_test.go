package peer

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumberTakenByAnother is about a peer that ended, so that its number could
// now be that of a process which is no descendant.
func TestNumberTakenByAnother(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read x")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if descends(1, os.Getpid(), pidfd) {
		t.Error("the first process of all descends from us, while the peer lives")
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // read found nothing
	if !descends(1, os.Getpid(), pidfd) {
		t.Error("a peer that has ended is no descendant")
	}
}

func TestDoubtIsADescendant(t *testing.T) {
	t.Parallel()
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(self) }()
	for name, got := range map[string]bool{
		"no such process":      descends(1<<30, os.Getpid(), self),
		"kernel's number":      descends(0, os.Getpid(), self),
		"not a handle":         descends(1, os.Getpid(), -1),
		"/proc is not our own": descends(1, os.Getpid()+1, self),
		"ourselves":            descends(os.Getpid(), os.Getpid(), self),
	} {
		if !got {
			t.Errorf("%s: no descendant", name)
		}
	}
}
