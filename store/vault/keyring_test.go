package vault_test

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/vault"
)

// inSession says that this test binary runs under a session bus of its own,
// with a keyring that is unlocked.
const inSession = "OPENCODE_TEST_KEYRING_SESSION"

// bareSession says that it runs under a session bus without a keyring.
const bareSession = "OPENCODE_TEST_BARE_SESSION"

// TestOSKeyring uses a real keyring: gnome-keyring, on a bus of its own.
func TestOSKeyring(t *testing.T) {
	for _, name := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("OPENCODE_TEST_E2E") == "1" {
				t.Fatalf("no %s: install the packages dbus and gnome-keyring", name)
			}
			t.Skipf("SKIPPED: no %s; a real keyring is NOT tested. Install the packages dbus and gnome-keyring.", name)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	// The daemon goes when its session does, and reads the password from its
	// standard input.
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c",
		`printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$0" -test.run '^TestInSession$' -test.v`, exe)
	cmd.Env = append(os.Environ(), inSession+"=1", "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, "data"), "XDG_RUNTIME_DIR="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a session with a keyring: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestInSession is what [TestOSKeyring] runs.
func TestInSession(t *testing.T) {
	if os.Getenv(inSession) == "" {
		t.Skip("SKIPPED: it is what TestOSKeyring runs, in a session with a keyring")
	}
	ring, ok := vault.NewOSKeyring(os.Getenv)
	if !ok {
		t.Fatal("no way to a keyring")
	}
	name := "test-" + rand.Text()
	// The daemon returns before it is there.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		_, err := ring.Key(t.Context(), name)
		if errors.Is(err, store.ErrNotExist) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("Key of nothing = %v, want ErrNotExist", err)
		}
	}
	want := store.NewSecretText(rand.Text())
	if err := ring.PutKey(t.Context(), name, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ring.Key(t.Context(), name); err != nil || !got.Equal(want) {
		t.Errorf("Key = %v, %v", got, err)
	}
	if err := ring.DeleteKey(t.Context(), name); err != nil {
		t.Error(err)
	}
	cfg := vault.Config{KeyDir: t.TempDir(), Keyring: ring}
	sealed := seal(t, newVault(t, cfg), "x", vault.Auto)
	if info, err := vault.Inspect(sealed); err != nil || info.Protection != vault.Keyring {
		t.Errorf("Inspect = %+v, %v, want keyring", info, err)
	}
	wantOpen(t, newVault(t, cfg), sealed, "x")
}

// TestNoWayToKeyring checks that without a session bus none is started.
func TestNoWayToKeyring(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, env := range map[string]map[string]string{"nothing": {}, "no socket": {"XDG_RUNTIME_DIR": dir}} {
		if _, ok := vault.NewOSKeyring(func(name string) string { return env[name] }); ok {
			t.Errorf("%s: there is a way to a keyring", name)
		}
	}
}

// TestBusWithoutKeyring has a session bus that no keyring answers on, as in
// many containers.
func TestBusWithoutKeyring(t *testing.T) {
	if os.Getenv(bareSession) != "" {
		ring, ok := vault.NewOSKeyring(os.Getenv)
		if !ok {
			t.Fatal("a bus that is named does not count")
		}
		cfg := vault.Config{KeyDir: t.TempDir(), Keyring: ring}
		sealed := seal(t, newVault(t, cfg), "x", vault.Auto)
		if info, err := vault.Inspect(sealed); err != nil || info.Protection != vault.KeyFile {
			t.Errorf("Inspect = %+v, %v, want a key file", info, err)
		}
		return
	}
	if _, err := exec.LookPath("dbus-run-session"); err != nil {
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			t.Fatal("no dbus-run-session: install the package dbus")
		}
		t.Skip("SKIPPED: no dbus-run-session; a bus without a keyring is NOT tested. Install the package dbus.")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A bus that has no service files, and so cannot start a keyring.
	home := t.TempDir()
	conf := filepath.Join(home, "bus.conf")
	text := `<busconfig><type>session</type><listen>unix:tmpdir=` + home + `</listen>` +
		`<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--config-file="+conf, "--", exe, "-test.run", "^TestBusWithoutKeyring$")
	cmd.Env = append(os.Environ(), bareSession+"=1", "HOME="+home, "XDG_RUNTIME_DIR="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a session without a keyring: %v\n%s", err, out)
	}
}
