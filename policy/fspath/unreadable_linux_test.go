package fspath_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"opencode/policy/fspath"
)

// nobody is a user without files.
const nobody = 65534

// TestResolveUnreadable checks that what cannot be looked at is a problem.
// Root may look everywhere, so that it looks with the rights of nobody; these
// belong to one thread, which ends with the goroutine that is locked to it.
func TestResolveUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"open/x", "shut/x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755, filepath.Join(dir, "shut"): 0} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	var open, shut fspath.Path
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		if os.Getuid() == 0 {
			_, err = unix.SetfsuidRetUid(nobody)
		}
		open = fspath.Resolve(dir, dir, "open/x/f", fspath.Read)
		shut = fspath.Resolve(dir, dir, "shut/x/f", fspath.Read)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if open.Problem != nil || !open.Inside {
		t.Errorf("Resolve(readable) = %+v, want it inside", open)
	}
	if shut.Problem == nil || shut.Inside {
		t.Errorf("Resolve(unreadable) = %+v, want a problem", shut)
	}
}
