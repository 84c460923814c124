package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestHSM keeps the credentials behind a token of SoftHSM, with the program as
// it is built for that.
func TestHSM(t *testing.T) {
	t.Parallel()
	requireE2E(t)
	const module, pin = "/usr/lib/softhsm/libsofthsm2.so", "4711-not-to-be-shown"
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		t.Fatal("no softhsm2: install the package softhsm2")
	}
	dir := tempDir(t)
	ours := filepath.Join(dir, "opencode")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "pkcs11", "-o", ours, "./cmd/opencode")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build -tags pkcs11: %v\n%s", err, out)
	}
	writeFiles(t, dir, map[string]string{"softhsm2.conf": "directories.tokendir = " + filepath.Join(dir, "tokens") + "\nlog.level = ERROR\n"})
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700), os.Mkdir(filepath.Join(dir, "home"), 0o700)); err != nil {
		t.Fatal(err)
	}
	bare := append(homeEnv(filepath.Join(dir, "home")), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"), "A_KEY=gsk_not-to-be-shown-0000")
	runCommand(t, bare, dir, "softhsm2-util", "--init-token", "--free", "--label", "work", "--pin", pin, "--so-pin", "12345678")
	env := append(append([]string{}, bare...), "OPENCODE_AUTH_PKCS11_PIN="+pin)
	var told strings.Builder
	run := func(env []string, args ...string) (out string, ok bool) {
		t.Helper()
		stdout, stderr, code := execCommand(t, env, dir, ours, args...)
		told.WriteString(stdout + stderr)
		return stdout + stderr, code == 0
	}
	succeeds := func(want string, env []string, args ...string) {
		t.Helper()
		if out, ok := run(env, args...); !ok || !strings.Contains(out, want) {
			t.Fatalf("%q: %s, want success and %q", args, out, want)
		}
	}
	fails := func(want string, env []string, args ...string) {
		t.Helper()
		if out, ok := run(env, args...); ok || !strings.Contains(out, want) {
			t.Errorf("%q: %s, want a failure and %q", args, out, want)
		}
	}

	succeeds("the key is in an HSM", env, "auth", "login", "groq", "--from-env=A_KEY", "--pkcs11-module", module, "--pkcs11-token", "work")
	succeeds("pkcs11: encrypted; the key is in an HSM", env, "auth", "list")
	fails("the PIN is wrong", append(env[:len(env)-1:len(env)-1], "OPENCODE_AUTH_PKCS11_PIN=wrong-not-to-be-shown"), "auth", "list")
	fails("set OPENCODE_AUTH_PKCS11_PIN or OPENCODE_AUTH_PKCS11_PIN_FILE", bare, "auth", "list")
	fails("it needs a PIN", bare, "serve", "--port", "0")
	// What needs no credential needs no token.
	succeeds("", bare, "auth", "token", "list")

	// The PIN comes from a file that only its owner reads.
	pinFile := filepath.Join(dir, "pin")
	writeFiles(t, dir, map[string]string{"pin": pin + "\n"})
	fromFile := append(append([]string{}, bare...), "OPENCODE_AUTH_PKCS11_PIN_FILE="+pinFile)
	if err := os.Chmod(pinFile, 0o644); err != nil {
		t.Fatal(err)
	}
	fails("others can read", fromFile, "auth", "list")
	if err := os.Chmod(pinFile, 0o600); err != nil {
		t.Fatal(err)
	}
	succeeds("groq", fromFile, "auth", "list")

	// Processes that sign in at once lose nothing.
	var all sync.WaitGroup
	ids := []string{"openai", "mistral", "deepseek", "xai"}
	for _, id := range ids {
		all.Go(func() { runCommand(t, env, dir, ours, "auth", "login", id, "--from-env=A_KEY", "--force") })
	}
	all.Wait()
	out, _ := run(env, "auth", "list")
	for _, id := range append(ids, "groq") {
		if !strings.Contains(out, id) {
			t.Errorf("%s is lost:\n%s", id, out)
		}
	}
	succeeds("the key is in an HSM", env, "auth", "rekey")
	succeeds("groq", env, "auth", "list")

	// A build without it says how to make one with it.
	stdout, stderr, code := execCommand(t, env, dir, serverBinary(t), "auth", "list")
	if code == 0 || !strings.Contains(stdout+stderr, "go build -tags pkcs11") {
		t.Errorf("without PKCS#11: %d %s%s", code, stdout, stderr)
	}
	succeeds("plain text", env, "auth", "decrypt", "--yes")
	if strings.Contains(told.String(), "not-to-be-shown") {
		t.Errorf("a secret is shown:\n%s", told.String())
	}
}
