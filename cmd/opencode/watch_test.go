package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyTestWatch checks that the tests run again when a file changes, and
// that an interrupt ends the command without an error.
func TestPolicyTestWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	if code := run(t.Context(), []string{"policy", "init", dir}, strings.NewReader(""), io.Discard, io.Discard); code != exitDone {
		t.Fatalf("policy init = %d", code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"policy", "test", dir, "--watch"}, strings.NewReader(""), w, io.Discard)
		_ = w.Close()
		done <- code
	}()
	lines := bufio.NewScanner(stdout)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the output ended before %q", want)
	}
	next("4 passed, 0 failed")
	failing := "package team.more_test\n\ntest_it if 1 == 2\n"
	if err := os.WriteFile(filepath.Join(dir, "more_test.rego"), []byte(failing), 0o600); err != nil {
		t.Fatal(err)
	}
	next("4 passed, 1 failed")
	if err := os.Remove(filepath.Join(dir, "more_test.rego")); err != nil {
		t.Fatal(err)
	}
	next("4 passed, 0 failed")
	cancel()
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	if code := <-done; code != exitDone {
		t.Errorf("exit code %d after an interrupt, want 0", code)
	}
}
