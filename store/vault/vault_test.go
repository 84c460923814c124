package vault_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"opencode/store"
	"opencode/store/file"
	"opencode/store/storetest"
	"opencode/store/vault"
)

// pluginName is what this test binary is called by when it is a plug-in of age.
const pluginName = "opencodetest"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+pluginName {
		os.Exit(pluginMain())
	}
	os.Exit(m.Run())
}

// pluginMain is a plug-in that keeps its key in its identity.
func pluginMain() int {
	p, err := plugin.New(pluginName)
	if err != nil {
		return 1
	}
	flags := flag.NewFlagSet(pluginName, flag.ExitOnError)
	p.RegisterFlags(flags)
	_ = flags.Parse(os.Args[1:]) // exits on errors
	p.HandleIdentity(func(data []byte) (age.Identity, error) { return age.ParseX25519Identity(string(data)) })
	p.HandleIdentityAsRecipient(func(data []byte) (age.Recipient, error) {
		identity, err := age.ParseX25519Identity(string(data))
		if err != nil {
			return nil, err
		}
		return identity.Recipient(), nil
	})
	return p.Main()
}

// memoryKeyring is a keyring of the test's own.
type memoryKeyring struct {
	mu   sync.Mutex
	keys map[string]store.SecretText
	err  error
}

func (k *memoryKeyring) Key(_ context.Context, name string) (store.SecretText, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.keys[name]
	if k.err == nil && !ok {
		return s, store.ErrNotExist
	}
	return s, k.err
}

func (k *memoryKeyring) PutKey(_ context.Context, name string, key store.SecretText) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[string]store.SecretText{}
	}
	if k.err == nil {
		k.keys[name] = key
	}
	return k.err
}

func (k *memoryKeyring) DeleteKey(_ context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, name)
	return k.err
}

func says(passphrases ...string) func(context.Context, vault.Ask) (store.SecretText, error) {
	return func(_ context.Context, ask vault.Ask) (store.SecretText, error) {
		if ask.Attempt > len(passphrases) {
			return store.SecretText{}, errors.New("nobody answers")
		}
		return store.NewSecretText(passphrases[ask.Attempt-1]), nil
	}
}

func newVault(t *testing.T, cfg vault.Config) *vault.Vault {
	t.Helper()
	cfg.WorkFactor = 4
	v, err := vault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// pluginIdentity makes a plug-in findable and returns an identity file for it.
func pluginIdentity(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(bin, "age-plugin-"+pluginName)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(bin, "identity.txt")
	text := "# for a test\n" + plugin.EncodeIdentity(pluginName, []byte(identity.String())) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func seal(t *testing.T, v *vault.Vault, plain string, p vault.Protection) []byte {
	t.Helper()
	sealed, err := v.SealNew(t.Context(), []byte(plain), p)
	if err != nil {
		t.Fatalf("SealNew(%s): %v", p, err)
	}
	return sealed
}

func wantOpen(t *testing.T, v *vault.Vault, sealed []byte, want string) {
	t.Helper()
	got, err := v.Open(t.Context(), sealed)
	if err != nil || string(got) != want {
		t.Errorf("Open = %q, %v, want %q", got, err, want)
	}
}

// TestProtections goes through the life of a file with each protection.
func TestProtections(t *testing.T) {
	identity := pluginIdentity(t)
	for _, p := range vault.Protections() {
		if p == vault.PKCS11 {
			continue // has tests of its own, which need a token
		}
		t.Run(string(p), func(t *testing.T) {
			cfg := vault.Config{KeyDir: filepath.Join(t.TempDir(), "keys"), Keyring: &memoryKeyring{}, Passphrase: says("pass"), PluginIdentity: identity}
			v := newVault(t, cfg)
			const plain, next = "what nobody else may read", "and what comes after"
			first := seal(t, v, plain, p)
			if bytes.Contains(first, []byte("nobody")) || !bytes.HasPrefix(first, []byte("-----BEGIN AGE ENCRYPTED FILE-----")) {
				t.Errorf("sealed as %q", first)
			}
			info, err := vault.Inspect(first)
			if err != nil || info.Protection != p {
				t.Errorf("Inspect = %+v, %v, want %s", info, err, p)
			}
			wantOpen(t, v, first, plain)
			// Another process has the same key, and keeps using it.
			other := newVault(t, cfg)
			wantOpen(t, other, first, plain)
			second, err := other.Seal(t.Context(), []byte(next), first)
			if err != nil {
				t.Fatal(err)
			}
			wantOpen(t, newVault(t, cfg), second, next)
			if again, err := vault.Inspect(second); err != nil || again != info {
				t.Errorf("Inspect after Seal = %+v, %v, want %+v", again, err, info)
			}
			// A new key makes the old one useless.
			third := seal(t, v, next, p)
			if err := v.Forget(t.Context(), second, third); err != nil {
				t.Fatal(err)
			}
			wantOpen(t, newVault(t, cfg), third, next)
			if _, err := newVault(t, cfg).Open(t.Context(), second); p != vault.Plugin && !errors.Is(err, store.ErrLocked) {
				t.Errorf("Open of what has no key any more = %v, want ErrLocked", err)
			}
			// Nothing that was changed opens.
			spoilt := bytes.Replace(third, []byte("A"), []byte("B"), 1)
			if _, err := v.Open(t.Context(), spoilt); err == nil {
				t.Error("Open accepts a file that was changed")
			}
			for _, n := range []int{0, 10, len(third) / 2, len(third) - 45} {
				if _, err := v.Open(t.Context(), third[:n]); !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("Open of %d bytes of %d = %v, want ErrCorrupt", n, len(third), err)
				}
			}
		})
	}
}

func TestAuto(t *testing.T) {
	t.Parallel()
	broken := &memoryKeyring{err: errors.New("no service")}
	for name, c := range map[string]struct {
		cfg  vault.Config
		want vault.Protection
	}{
		"keyring":               {vault.Config{Keyring: &memoryKeyring{}, Passphrase: says("p"), PassphraseSet: true}, vault.Keyring},
		"passphrase":            {vault.Config{Keyring: broken, Passphrase: says("p"), PassphraseSet: true}, vault.Passphrase},
		"passphrase to ask for": {vault.Config{Keyring: broken, Passphrase: says("p")}, vault.KeyFile},
		"nothing":               {vault.Config{}, vault.KeyFile},
	} {
		c.cfg.KeyDir = t.TempDir()
		sealed, err := newVault(t, c.cfg).Seal(t.Context(), []byte("x"), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := vault.Inspect(sealed); err != nil || info.Protection != c.want {
			t.Errorf("%s: %+v, %v, want %s", name, info, err, c.want)
		}
	}
	for name, cfg := range map[string]vault.Config{
		"no keyring": {Protection: vault.Keyring}, "broken keyring": {Protection: vault.Keyring, Keyring: broken},
		"no passphrase": {Protection: vault.Passphrase}, "empty passphrase": {Protection: vault.Passphrase, Passphrase: says("")},
		"no identity": {Protection: vault.Plugin}, "no token": {Protection: vault.PKCS11},
	} {
		cfg.KeyDir = t.TempDir()
		if sealed, err := newVault(t, cfg).Seal(t.Context(), []byte("x"), nil); err == nil {
			t.Errorf("%s: Seal = %q, want an error and no weaker protection", name, sealed)
		}
	}
	if _, err := vault.New(vault.Config{KeyDir: "x", Protection: "rot13"}); err == nil {
		t.Error("New accepts a protection that does not exist")
	}
}

// TestLocked checks that what cannot be opened says what to do.
func TestLocked(t *testing.T) {
	t.Parallel()
	ring := &memoryKeyring{}
	cfg := vault.Config{KeyDir: t.TempDir(), Keyring: ring, Passphrase: says("right")}
	v := newVault(t, cfg)
	inRing, inFile, behindPassphrase := seal(t, v, "x", vault.Keyring), seal(t, v, "x", vault.KeyFile), seal(t, v, "x", vault.Passphrase)
	for name, c := range map[string]struct {
		sealed []byte
		change func(*vault.Config)
		want   string
	}{
		"wrong passphrase":     {behindPassphrase, func(c *vault.Config) { c.Passphrase = says("w", "w", "w") }, "passphrase is wrong"},
		"wrong in environment": {behindPassphrase, func(c *vault.Config) { c.Passphrase, c.PassphraseSet = says("w"), true }, "passphrase is wrong"},
		"empty passphrase":     {behindPassphrase, func(c *vault.Config) { c.Passphrase, c.PassphraseSet = says(""), true }, "passphrase is wrong"},
		"nobody to ask":        {behindPassphrase, func(c *vault.Config) { c.Passphrase = nil }, "needs a passphrase"},
		"no answer":            {behindPassphrase, func(c *vault.Config) { c.Passphrase = says() }, "nobody answers"},
		"no keyring":           {inRing, func(c *vault.Config) { c.Keyring = nil }, "start a keyring"},
		"broken keyring":       {inRing, func(c *vault.Config) { c.Keyring = &memoryKeyring{err: errors.New("is shut")} }, "unlock the keyring"},
		"lost in keyring":      {inRing, func(c *vault.Config) { c.Keyring = &memoryKeyring{} }, "sign in again"},
		"lost key file":        {inFile, func(c *vault.Config) { c.KeyDir = t.TempDir() }, "sign in again"},
	} {
		cfg := cfg
		c.change(&cfg)
		_, err := newVault(t, cfg).Open(t.Context(), c.sealed)
		_, sealErr := newVault(t, cfg).Seal(t.Context(), []byte("y"), c.sealed)
		for _, err := range []error{err, sealErr} {
			if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want ErrLocked with %q", name, err, c.want)
			}
		}
	}
	cfg.Passphrase = says("wrong", "right")
	wantOpen(t, newVault(t, cfg), behindPassphrase, "x")
	if _, err := vault.Inspect([]byte("{}")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Inspect of a plain file = %v, want ErrCorrupt", err)
	}
}

// TestPlantedFile replaces the file by one that names another's key. What is
// sealed next must not be readable to them.
func TestPlantedFile(t *testing.T) {
	t.Parallel()
	mine, theirs := vault.Config{KeyDir: t.TempDir()}, vault.Config{KeyDir: t.TempDir()}
	seal(t, newVault(t, mine), "x", vault.KeyFile)
	planted := seal(t, newVault(t, theirs), "{}", vault.KeyFile)
	if sealed, err := newVault(t, mine).Seal(t.Context(), []byte("secret"), planted); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Seal after a planted file = %q, %v, want ErrLocked", sealed, err)
	}
}

func TestKeyFileModes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := vault.Config{KeyDir: filepath.Join(t.TempDir(), "a", "keys"), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	sealed := seal(t, newVault(t, cfg), "x", vault.KeyFile)
	files, err := filepath.Glob(filepath.Join(cfg.KeyDir, "*.txt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("key files %v, %v", files, err)
	}
	for path, want := range map[string]os.FileMode{files[0]: 0o600, cfg.KeyDir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", path, info.Mode(), err, want)
		}
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, newVault(t, cfg), sealed, "x")
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(log.String(), "key file could be read by other users") {
		t.Errorf("mode %v, %v, log %q", info.Mode(), err, log.String())
	}
	if err := os.WriteFile(files[0], []byte("AGE-SECRET-KEY-1DAMAGED"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newVault(t, cfg).Open(t.Context(), sealed); !errors.Is(err, store.ErrLocked) || strings.Contains(err.Error(), "DAMAGED") {
		t.Errorf("Open with a damaged key = %v, want ErrLocked without it", err)
	}
}

// TestNoKeyInOutput prints everything in every way.
func TestNoKeyInOutput(t *testing.T) {
	t.Parallel()
	ring := &memoryKeyring{}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	v := newVault(t, vault.Config{KeyDir: t.TempDir(), Keyring: ring, Logger: logger})
	seal(t, v, "x", vault.Keyring)
	for _, key := range ring.keys {
		secret := key.Reveal()
		if !strings.HasPrefix(secret, "AGE-SECRET-KEY-") {
			t.Fatal("no key was kept")
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			out := fmt.Sprintf(verb, v) + fmt.Sprintf(verb, ring.keys)
			if strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows a key", verb)
			}
		}
		logger.Info("x", slog.Any("v", v), slog.Any("k", ring.keys))
		if strings.Contains(log.String(), secret) {
			t.Error("the log shows a key")
		}
	}
}

// TestContract keeps credentials in an encrypted file, each handle with a vault
// of its own, as each process has.
func TestContract(t *testing.T) {
	t.Parallel()
	ring := &memoryKeyring{}
	storetest.RunCredentials(t, func(t *testing.T, dir string) store.Credentials {
		t.Helper()
		v := newVault(t, vault.Config{KeyDir: filepath.Join(dir, "keys"), Keyring: ring})
		c, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(dir, "data", "auth.json"), Sealer: v, SealNew: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
