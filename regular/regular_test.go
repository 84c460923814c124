//go:build unix

package regular_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"opencode/regular"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// TestRead reads each kind of thing that can stand at a path. None makes it
// wait.
func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("file"), "text")
	link(t, "file", at("link"))
	link(t, "pipe", at("link to a pipe"))
	link(t, "loop", at("loop"))
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := new(net.ListenConfig).Listen(context.Background(), "unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }() // nothing was written
	for _, row := range []struct {
		name    string
		links   regular.Links
		limit   int64
		want    string
		wantErr error
	}{
		{"file", regular.RefuseLinks, 4, "text", nil},
		{"file", regular.FollowLinks, 4, "text", nil},
		{"file", regular.RefuseLinks, 3, "", regular.ErrTooLarge},
		{"link", regular.FollowLinks, 4, "text", nil},
		{"link", regular.RefuseLinks, 4, "", regular.ErrNotRegular},
		{"loop", regular.RefuseLinks, 4, "", regular.ErrNotRegular},
		{"loop", regular.FollowLinks, 4, "", syscall.ELOOP},
		{"link to a pipe", regular.FollowLinks, 4, "", regular.ErrNotRegular},
		{"pipe", regular.RefuseLinks, 4, "", regular.ErrNotRegular},
		{"socket", regular.FollowLinks, 4, "", regular.ErrNotRegular},
		{".", regular.FollowLinks, 4, "", regular.ErrNotRegular},
		{"none", regular.FollowLinks, 4, "", fs.ErrNotExist},
		{"none", regular.RefuseLinks, 4, "", fs.ErrNotExist},
	} {
		got, err := regular.Read(at(row.name), row.links, row.limit)
		if string(got) != row.want || !errors.Is(err, row.wantErr) {
			t.Errorf("Read(%s, %v, %d) = %q, %v, want %q, %v", row.name, row.links, row.limit, got, err, row.want, row.wantErr)
		}
	}
	for _, device := range []string{"/dev/zero", "/dev/tty", os.DevNull} {
		if _, err := regular.Read(device, regular.FollowLinks, 4); err == nil {
			t.Errorf("Read(%s) read it", device)
		}
	}
}

// TestReadWhileItChanges has somebody put a pipe and a link in the place of the
// file again and again.
func TestReadWhileItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "file"), filepath.Join(dir, "secret")
	write(t, secret, "secret")
	write(t, path, "text")
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := filepath.Join(dir, "next")
			var err error
			switch i % 3 {
			case 0:
				err = syscall.Mkfifo(next, 0o600)
			case 1:
				err = os.Symlink(secret, next)
			case 2:
				err = os.WriteFile(next, []byte("text"), 0o600)
			}
			if err = errors.Join(err, os.Rename(next, path)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	read := 0
	for range 20_000 {
		got, err := regular.Read(path, regular.RefuseLinks, 100)
		if err == nil {
			read++
		}
		if err == nil && string(got) != "text" || err != nil && !errors.Is(err, regular.ErrNotRegular) {
			t.Errorf("Read = %q, %v", got, err)
			break
		}
	}
	close(stop)
	swapping.Wait()
	if read == 0 {
		t.Error("nothing was ever read")
	}
}
