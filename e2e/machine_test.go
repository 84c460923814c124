package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientEnv returns the environment of a client with a home of its own, so that
// it finds neither the server's files nor any credential.
func clientEnv(tb testing.TB) []string {
	tb.Helper()
	return append(homeEnv(tempDir(tb)), quietEnv()...)
}

// homeEnv returns an environment whose directories are all in dir.
func homeEnv(dir string) []string {
	return []string{
		"HOME=" + filepath.Join(dir, "home"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"),
		"XDG_STATE_HOME=" + filepath.Join(dir, "state"),
		"XDG_CACHE_HOME=" + filepath.Join(dir, "cache"),
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"),
		"PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + os.TempDir(),
		"LANG=C.UTF-8", "TERM=xterm-256color", "SHELL=/bin/sh", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}
}

// quietEnv keeps the original from the network. What it would still fetch goes
// to a port that nobody listens on.
func quietEnv() []string {
	return []string{
		"OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_MODELS_FETCH=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1",
		"OPENCODE_DISABLE_DEFAULT_PLUGINS=1", "OPENCODE_DISABLE_SHARE=1", "OPENCODE_DISABLE_EMBEDDED_WEB_UI=1",
		"HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9", "NO_PROXY=127.0.0.1,localhost",
	}
}

// newProject makes a git repository with a few committed files in dir.
func newProject(tb testing.TB, dir string) string {
	tb.Helper()
	project := filepath.Join(dir, "project")
	writeFiles(tb, project, map[string]string{
		"README.md":     "# Project\n\nA project to test with.\n",
		"main.go":       "package main\n\nfunc main() {}\n",
		"sub/notes.txt": "some notes\n",
	})
	writeFiles(tb, filepath.Join(dir, "home"), map[string]string{
		".gitconfig": "[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n",
	})
	for _, name := range []string{"config", "data", "state", "cache", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	env := homeEnv(dir)
	runCommand(tb, env, project, "git", "init", "--quiet")
	runCommand(tb, env, project, "git", "add", ".")
	runCommand(tb, env, project, "git", "commit", "--quiet", "--message", "start")
	return project
}

// writeFiles writes files below dir.
func writeFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

// runCommand runs a command that must succeed and returns its standard output.
func runCommand(tb testing.TB, env []string, dir, name string, args ...string) string {
	tb.Helper()
	out, stderr, code := execCommand(tb, env, dir, name, args...)
	if code != 0 {
		tb.Fatalf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// execCommand runs a command to its end and returns all that it gave.
func execCommand(tb testing.TB, env []string, dir, name string, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended || ctx.Err() != nil {
		tb.Fatalf("%s %s: %v (%v)\n%s%s", name, strings.Join(args, " "), err, ctx.Err(), out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// tempDir is t.TempDir with a path short enough for sockets, and without the
// links that some systems have in it.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(scratch, "") //nolint:usetesting // paths of t.TempDir are too long for sockets
	if err != nil {
		tb.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// freePort returns a port that nobody listened on a moment ago.
func freePort(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		tb.Fatal(err)
	}
	return port
}
