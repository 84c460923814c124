//go:build pkcs11 && cgo

package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"opencode/store"
	"opencode/store/file"
	"opencode/store/vault"
)

const (
	testToken = "opencode-test"
	testPIN   = "4711-not-to-be-shown"
)

// softHSM makes a token in SoftHSM, a real implementation of PKCS#11, and
// returns its module.
func softHSM(t *testing.T) string {
	t.Helper()
	module := ""
	for _, path := range []string{
		os.Getenv("OPENCODE_TEST_PKCS11_MODULE"), "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); module == "" && path != "" && err == nil {
			module = path
		}
	}
	if _, err := exec.LookPath("softhsm2-util"); err != nil || module == "" {
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			t.Fatal("no softhsm2: install the package softhsm2")
		}
		t.Skip("SKIPPED: no softhsm2; keys in an HSM are NOT tested. Install the package softhsm2.")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700), os.WriteFile(conf, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	softHSMUtil(t, "--init-token", "--free", "--label", testToken, "--pin", testPIN, "--so-pin", "12345678")
	return module
}

func softHSMUtil(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "softhsm2-util", args...).CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
	}
}

// pins answers with one PIN after the other, and counts how often it was asked.
type pins struct {
	mu    sync.Mutex
	list  []string
	asked int
}

func (p *pins) ask(context.Context, vault.AskPIN) (store.SecretText, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.asked > len(p.list) {
		return store.SecretText{}, errors.New("nobody answers")
	}
	return store.NewSecretText(p.list[p.asked-1]), nil
}

func knowsPIN(context.Context, vault.AskPIN) (store.SecretText, error) {
	return store.NewSecretText(testPIN), nil
}

func hsmConfig(t *testing.T, module string) vault.Config {
	t.Helper()
	return vault.Config{KeyDir: t.TempDir(), HSM: vault.HSM{Module: module, Token: testToken}, PIN: knowsPIN, PINSet: true}
}

// hsmVault returns a vault that is logged out when the test ends.
func hsmVault(t *testing.T, cfg vault.Config) *vault.Vault {
	t.Helper()
	v := newVault(t, cfg)
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// tokenKeys returns the secret keys of the token, opened for a moment.
func tokenKeys(t *testing.T, module string, f func(*crypto11.Context, []*crypto11.SecretKey)) {
	t.Helper()
	c, err := crypto11.Configure(&crypto11.Config{Path: module, TokenLabel: testToken, Pin: testPIN})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := c.FindAllKeys()
	if err != nil {
		t.Fatal(err)
	}
	f(c, keys)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func countTokenKeys(t *testing.T, module string) int {
	t.Helper()
	n := 0
	tokenKeys(t, module, func(_ *crypto11.Context, keys []*crypto11.SecretKey) { n = len(keys) })
	return n
}

// TestHSM goes through the life of a file whose key is in a token.
func TestHSM(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	v := hsmVault(t, cfg)
	first := seal(t, v, "what nobody else may read", vault.PKCS11)
	info, err := vault.Inspect(first)
	if err != nil || info.Protection != vault.PKCS11 {
		t.Fatalf("Inspect = %+v, %v, want pkcs11", info, err)
	}
	wantOpen(t, v, first, "what nobody else may read")
	// Another process knows nothing but what is in the key directory.
	other := cfg
	other.HSM = vault.HSM{}
	second, err := hsmVault(t, other).Seal(t.Context(), []byte("next"), first)
	if err != nil {
		t.Fatal(err)
	}
	wantOpen(t, hsmVault(t, other), second, "next")
	if again, err := vault.Inspect(second); err != nil || again != info {
		t.Errorf("Inspect after Seal = %+v, %v, want %+v", again, err, info)
	}
	tokenKeys(t, module, func(c *crypto11.Context, keys []*crypto11.SecretKey) {
		if len(keys) != 1 {
			t.Fatalf("the token has %d keys, want 1", len(keys))
		}
		for attribute, want := range map[crypto11.AttributeType]byte{crypto11.CkaExtractable: 0, crypto11.CkaSensitive: 1, crypto11.CkaToken: 1} {
			if a, err := c.GetAttribute(keys[0], attribute); err != nil || len(a.Value) != 1 || a.Value[0] != want {
				t.Errorf("attribute %v = %v, %v, want %d", attribute, a, err, want)
			}
		}
		if value, err := c.GetAttribute(keys[0], crypto11.CkaValue); err == nil && len(value.Value) > 0 {
			t.Error("the token gives the key away")
		}
	})
	// A new key, of the token that was used last, makes the old one useless.
	w := hsmVault(t, other)
	wantOpen(t, w, second, "next")
	third := seal(t, w, "next", vault.PKCS11)
	if err := w.Forget(t.Context(), second, third); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, hsmVault(t, other), third, "next")
	if n := countTokenKeys(t, module); n != 1 {
		t.Errorf("the token has %d keys after a new one, want 1", n)
	}
	if _, err := hsmVault(t, other).Open(t.Context(), second); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Open of what has no key any more = %v, want ErrLocked", err)
	}
	// Nothing that was cut off opens, and neither does an altered payload.
	for _, n := range []int{0, 10, len(third) / 2, len(third) - 45} {
		if _, err := w.Open(t.Context(), third[:n]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("Open of %d bytes of %d = %v, want ErrCorrupt", n, len(third), err)
		}
	}
	// Back to plain text, the token is as empty as it was.
	if err := w.Forget(t.Context(), third, nil); err != nil {
		t.Fatal(err)
	}
	if n := countTokenKeys(t, module); n != 0 {
		t.Errorf("the token has %d keys after all, want 0", n)
	}
}

// TestHSMIsLazy checks that the token is left alone until a file is opened.
func TestHSMIsLazy(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	sealed := seal(t, hsmVault(t, cfg), "x", vault.PKCS11)
	asked := &pins{list: []string{testPIN, testPIN}}
	cfg.PIN, cfg.PINSet = asked.ask, false
	v := hsmVault(t, cfg)
	if _, err := vault.Inspect(sealed); err != nil || asked.asked != 0 {
		t.Errorf("the PIN was asked for %d times before it was needed", asked.asked)
	}
	for range 3 {
		wantOpen(t, v, sealed, "x")
	}
	if asked.asked != 1 {
		t.Errorf("the PIN was asked for %d times, want 1", asked.asked)
	}
}

// TestHSMAltered changes what the header holds.
func TestHSMAltered(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	v := hsmVault(t, cfg)
	one, two := seal(t, v, "one", vault.PKCS11), seal(t, v, "two", vault.PKCS11)
	header := func(sealed []byte) []string { return strings.SplitN(unarmor(t, sealed), "\n", 6) }
	a, b := header(one), header(two)
	if !strings.HasPrefix(a[3], "-> opencode-pkcs11 ") {
		t.Fatalf("header %q", a)
	}
	change := func(f func(lines []string)) []byte {
		lines := bytes.Clone([]byte(strings.Join(a, "\n")))
		parts := strings.SplitN(string(lines), "\n", 6)
		f(parts)
		return rearmor(t, strings.Join(parts, "\n"))
	}
	for name, altered := range map[string][]byte{
		"a digit of the key":       change(func(l []string) { l[4] = flip(l[4]) }),
		"the stanza of another":    change(func(l []string) { l[3], l[4] = b[3], b[4] }),
		"the body of another":      change(func(l []string) { l[4] = b[4] }),
		"the id of another":        change(func(l []string) { l[1], l[3] = b[1], b[3] }),
		"a body that is too short": change(func(l []string) { l[4] = "AAAA" }),
	} {
		if plain, err := v.Open(t.Context(), altered); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: Open = %q, %v, want ErrCorrupt", name, plain, err)
		}
	}
	wantOpen(t, v, one, "one")
	wantOpen(t, v, two, "two")
}

// TestHSMThatIsLost checks that what cannot be opened says why, is ErrLocked,
// and that the PIN is not tried more often than it may be.
func TestHSMThatIsLost(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	v := hsmVault(t, cfg)
	sealed := seal(t, v, "x", vault.PKCS11)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(name, want string, cfg vault.Config) {
		t.Helper()
		for range 2 {
			_, err := hsmVault(t, cfg).Open(t.Context(), sealed)
			if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "not-to-be-shown") {
				t.Errorf("%s: Open = %v, want ErrLocked with %q", name, err, want)
			}
		}
	}
	ask := func(list ...string) vault.Config {
		c := cfg
		c.PIN, c.PINSet = (&pins{list: list}).ask, false
		return c
	}
	check("nobody to ask", "nobody to ask", vault.Config{KeyDir: cfg.KeyDir})
	check("no answer", "nobody answers", ask())
	check("an empty PIN", "the PIN is empty", ask("", "", ""))

	// A wrong PIN from the environment is tried once for each process.
	const bad = "wrong-not-to-be-shown"
	wrong := &pins{list: []string{bad, bad, bad, testPIN}}
	c := cfg
	c.PIN = wrong.ask
	w := hsmVault(t, c)
	for range 3 {
		if _, err := w.Open(t.Context(), sealed); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "the PIN is wrong") {
			t.Errorf("wrong PIN: Open = %v, want ErrLocked", err)
		}
	}
	// A person gets one more try, and no third one.
	twice := &pins{list: []string{"a wrong one", testPIN}}
	c.PIN, c.PINSet = twice.ask, false
	wantOpen(t, hsmVault(t, c), sealed, "x")

	elsewhere := cfg
	elsewhere.KeyDir = t.TempDir()
	check("no reference", "does not exist; restore it from a backup", elsewhere)
	rewrite := func(from, to string) vault.Config {
		c := cfg
		c.KeyDir = t.TempDir()
		files, err := filepath.Glob(filepath.Join(cfg.KeyDir, "*.pkcs11.json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("references %v, %v", files, err)
		}
		text, err := os.ReadFile(files[0])
		if err != nil || !strings.Contains(string(text), from) {
			t.Fatalf("reference %s, %v", text, err)
		}
		if err := os.WriteFile(filepath.Join(c.KeyDir, filepath.Base(files[0])), bytes.Replace(text, []byte(from), []byte(to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		return c
	}
	check("no token", "there is no such token", rewrite(`"token": "`+testToken, `"token": "another`))
	check("no module", "no such file", rewrite(`"module": "/usr`, `"module": "/nowhere`))
	check("a relative module", "absolute path", rewrite(`"module": "/usr`, `"module": "usr`))
	check("a damaged reference", "does not name a key", rewrite(`"version": 1`, `"version": 2`))
	check("a reference with more", "does not name a key", rewrite(`"version": 1`, `"more": 1, "version": 1`))

	// A library that others can change is not loaded.
	dir := t.TempDir()
	planted := filepath.Join(dir, "planted.so")
	if err := errors.Join(os.WriteFile(planted, []byte("x"), 0o600), os.Chmod(planted, 0o666)); err != nil {
		t.Fatal(err)
	}
	check("a module that others can change", "others can change", rewrite(`"module": "`+module, `"module": "`+planted))
	if err := os.Chmod(planted, 0o600); err != nil {
		t.Fatal(err)
	}
	check("a module that is none", "no library of PKCS#11", rewrite(`"module": "`+module, `"module": "`+planted))

	// The key is deleted, and nothing else opens the file.
	tokenKeys(t, module, func(_ *crypto11.Context, keys []*crypto11.SecretKey) {
		for _, k := range keys {
			if err := k.Delete(); err != nil {
				t.Error(err)
			}
		}
	})
	check("a deleted key", "no such key", cfg)
	if _, err := hsmVault(t, cfg).Seal(t.Context(), []byte("y"), sealed); !errors.Is(err, store.ErrLocked) {
		t.Errorf("Seal after a deleted key = %v, want ErrLocked", err)
	}
}

// TestHSMThatComesBack takes a token away while a vault has it open.
func TestHSMThatComesBack(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	v := hsmVault(t, cfg)
	sealed := seal(t, v, "x", vault.PKCS11)
	dir := filepath.Dir(os.Getenv("SOFTHSM2_CONF"))
	aside := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	aside("tokens", "away")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open(t.Context(), sealed); err != nil && !errors.Is(err, store.ErrLocked) {
		t.Errorf("Open without the token = %v, want ErrLocked or nothing wrong", err)
	}
	if err := os.Remove(filepath.Join(dir, "tokens")); err != nil {
		t.Fatal(err)
	}
	aside("away", "tokens")
	wantOpen(t, v, sealed, "x")
}

// TestHSMKeyThatWasNamed uses a key that whoever keeps the token has made.
func TestHSMKeyThatWasNamed(t *testing.T) {
	module := softHSM(t)
	cfg := hsmConfig(t, module)
	cfg.HSM.Key = "team key"
	v := hsmVault(t, cfg)
	one, two := seal(t, v, "one", vault.PKCS11), seal(t, v, "two", vault.PKCS11)
	first, _ := vault.Inspect(one)
	second, _ := vault.Inspect(two)
	if first != second || countTokenKeys(t, module) != 1 {
		t.Errorf("keys %v and %v, %d in the token, want one that is made once", first, second, countTokenKeys(t, module))
	}
	if err := v.Forget(t.Context(), one, nil); err != nil {
		t.Fatal(err)
	}
	if countTokenKeys(t, module) != 1 {
		t.Error("a key that was named is deleted")
	}
	seal(t, v, "three", vault.PKCS11)
	bare := cfg
	bare.HSM = vault.HSM{}
	w := hsmVault(t, bare)
	wantOpen(t, w, two, "two")
	if _, err := w.SealNew(t.Context(), []byte("x"), vault.PKCS11); !errors.Is(err, vault.ErrOwnKey) {
		t.Errorf("SealNew = %v, want ErrOwnKey", err)
	}
	// One that can be taken out of the token protects nothing.
	tokenKeys(t, module, func(c *crypto11.Context, _ []*crypto11.SecretKey) {
		attributes, err := crypto11.NewAttributeSetWithIDAndLabel([]byte("weak"), []byte("weak key"))
		if err == nil {
			err = errors.Join(attributes.Set(crypto11.CkaExtractable, true), attributes.Set(crypto11.CkaSensitive, false))
		}
		if err == nil {
			_, err = c.GenerateSecretKeyWithAttributes(attributes, 256, crypto11.CipherAES)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	cfg.HSM.Key = "weak key"
	if _, err := hsmVault(t, cfg).SealNew(t.Context(), []byte("x"), vault.PKCS11); err == nil || !strings.Contains(err.Error(), "can be taken out") {
		t.Errorf("SealNew with a key that is extractable = %v, want a refusal", err)
	}
	for name, h := range map[string]vault.HSM{
		"nothing": {}, "no token": {Module: module}, "no module": {Token: testToken}, "both": {Module: module, Token: testToken, Slot: new(int)},
	} {
		cfg.HSM = h
		if _, err := newVault(t, cfg).SealNew(t.Context(), []byte("x"), vault.PKCS11); err == nil || !strings.Contains(err.Error(), "protection pkcs11") {
			t.Errorf("%s: SealNew = %v, want an error that says what is missing", name, err)
		}
	}
}

// hsmWriter makes this test binary one of several writers of a store.
const hsmWriter = "OPENCODE_TEST_HSM_WRITER"

// TestHSMInTwoProcesses has processes change one store at once.
func TestHSMInTwoProcesses(t *testing.T) {
	const writers, each = 3, 5
	if dir := os.Getenv(hsmWriter); dir != "" {
		c := hsmCredentials(t, vault.Config{KeyDir: filepath.Join(dir, "keys"), PIN: knowsPIN, PINSet: true}, dir)
		for i := range each {
			one := store.Credential{
				CredentialKey: store.CredentialKey{Provider: fmt.Sprintf("p%d-%d", os.Getpid(), i)}, Kind: store.CredentialAPI, Key: store.NewSecretText("k"),
			}
			if err := c.PutCredential(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	module, dir := softHSM(t), t.TempDir()
	cfg := hsmConfig(t, module)
	cfg.KeyDir = filepath.Join(dir, "keys")
	c := hsmCredentials(t, cfg, dir)
	first := store.Credential{CredentialKey: store.CredentialKey{Provider: "first"}, Kind: store.CredentialAPI, Key: store.NewSecretText("k")}
	if err := c.PutCredential(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestHSMInTwoProcesses$")
			cmd.Env = append(os.Environ(), hsmWriter+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("writer: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	kept, err := c.Credentials(t.Context())
	if err != nil || len(kept) != 1+writers*each {
		t.Errorf("%d credentials, %v, want %d", len(kept), err, 1+writers*each)
	}
}

func hsmCredentials(t *testing.T, cfg vault.Config, dir string) *file.Credentials {
	t.Helper()
	cfg.Protection = vault.PKCS11
	c, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(dir, "auth.json"), Sealer: hsmVault(t, cfg), SealNew: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNoPINInOutput prints everything in every way.
func TestNoPINInOutput(t *testing.T) {
	module := softHSM(t)
	v := hsmVault(t, hsmConfig(t, module))
	seal(t, v, "x", vault.PKCS11)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		out := fmt.Sprintf(verb, v)
		logger.Info("x", slog.Any("v", v))
		if strings.Contains(out+log.String(), testPIN) || strings.Contains(out, fmt.Sprintf("%x", testPIN)) {
			t.Errorf("%s shows the PIN", verb)
		}
	}
}
