package file_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/store"
	"opencode/store/file"
	"opencode/store/storetest"
)

const authName = "auth.json"

func openCredentials(t *testing.T, cfg file.CredentialsConfig) *file.Credentials {
	t.Helper()
	c, err := file.OpenCredentials(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reverser is a sealer whose encryption the tests can see through.
type reverser struct {
	locked error
	// onOpen is called before a file is decrypted.
	onOpen func()
}

func (r *reverser) Open(_ context.Context, sealed []byte) ([]byte, error) {
	if r.onOpen != nil {
		r.onOpen()
	}
	if r.locked != nil {
		return nil, r.locked
	}
	rest, ok := bytes.CutPrefix(sealed, []byte("sealed:"))
	if !ok {
		return nil, store.ErrCorrupt
	}
	return turned(rest), nil
}

func (r *reverser) Seal(_ context.Context, plain, _ []byte) ([]byte, error) {
	if r.locked != nil {
		return nil, r.locked
	}
	return append([]byte("sealed:"), turned(plain)...), nil
}

func turned(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = c ^ 0x55
	}
	return out
}

func TestCredentialsContract(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		storetest.RunCredentials(t, func(t *testing.T, dir string) store.Credentials {
			t.Helper()
			return openCredentials(t, file.CredentialsConfig{Path: filepath.Join(dir, "new", authName)})
		})
	})
	t.Run("sealed", func(t *testing.T) {
		t.Parallel()
		storetest.RunCredentials(t, func(t *testing.T, dir string) store.Credentials {
			t.Helper()
			return openCredentials(t, file.CredentialsConfig{Path: filepath.Join(dir, authName), Sealer: &reverser{}, SealNew: true})
		})
	})
}

func put(t *testing.T, s store.Credentials, provider, key string) {
	t.Helper()
	c := store.Credential{CredentialKey: store.CredentialKey{Provider: provider}, Kind: store.CredentialAPI, Key: store.NewSecretText(key)}
	if err := s.PutCredential(t.Context(), c); err != nil {
		t.Fatalf("PutCredential: %v", err)
	}
}

func providersOf(t *testing.T, s store.Credentials) []string {
	t.Helper()
	all, err := s.Credentials(t.Context())
	if err != nil {
		t.Fatalf("Credentials: %v", err)
	}
	out := []string{}
	for _, c := range all {
		out = append(out, c.String())
	}
	return out
}

// TestWhatOthersWrote keeps what is not understood, to the digit.
func TestWhatOthersWrote(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, authName)
	write(t, path, `{
  "future": {"type":"passkey","blob":[1.50, 1e400, "\u00e9"]},
  "o": {"type":"oauth","refresh":"r","access":"a","expires":1795192674000,"accountId":"x","later":{"n":1.0}, "scopes":["s"]},
  "k": {"type":"api","key":"k1","metadata":{"n":12345678901234567890,"region":"eu"}},
  "https://corp.example/": {"type":"wellknown","key":"ENV","token":"t","hint":null},
  "forever": {"type":"oauth","refresh":"r","access":"a","expires":9007199254740991},
  "odd name": 7,
  "p#work": {"type":"api","key":"k2"}
}`, 0o600)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	want := []string{"forever (oauth)", "https://corp.example (wellknown)", "k (api)", "o (oauth)", "p#work (api)"}
	if diff := cmp.Diff(want, providersOf(t, s)); diff != "" {
		t.Error(diff)
	}
	state, err := s.State(t.Context())
	if err != nil || !cmp.Equal(state.Unknown, []string{"future", "odd name"}) {
		t.Errorf("State = %+v, %v", state, err)
	}
	if _, err := s.Credential(t.Context(), "future", ""); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Credential of an unknown type = %v, want ErrUnknown", err)
	}
	for _, key := range []store.CredentialKey{{Provider: "o"}, {Provider: "k"}, {Provider: "https://corp.example"}, {Provider: "forever"}} {
		if _, err := s.UpdateCredential(t.Context(), key, func(c *store.Credential) error {
			switch c.Kind {
			case store.CredentialOAuth:
				c.Access = store.NewSecretText("a2")
			case store.CredentialAPI:
				c.Metadata["region"] = "us"
			case store.CredentialWellKnown:
				c.Token = store.NewSecretText("t2")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want2 := `{
  "future": {"type":"passkey","blob":[1.50, 1e400, "\u00e9"]},
  "o": {"type":"oauth","refresh":"r","access":"a2","expires":1795192674000,"accountId":"x","later":{"n":1.0}, "scopes":["s"]},
  "k": {"type":"api","key":"k1","metadata":{"n":12345678901234567890,"region":"us"}},
  "https://corp.example": {"type":"wellknown","key":"ENV","token":"t2","hint":null},
  "forever": {"type":"oauth","refresh":"r","access":"a2","expires":9007199254740991},
  "odd name": 7,
  "p#work": {"type":"api","key":"k2"}
}`
	var a, b bytes.Buffer
	if err := errors.Join(json.Compact(&a, []byte(want2)), json.Compact(&b, []byte(read(t, path)))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.String(), b.String()); diff != "" {
		t.Errorf("the file differs (-want +got):\n%s", diff)
	}
	if err := s.DeleteCredential(t.Context(), store.CredentialKey{Provider: "future"}); err != nil {
		t.Errorf("DeleteCredential of what is not understood = %v", err)
	}
}

// TestFormOfOthers checks what another program needs of an entry.
func TestFormOfOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	s := openCredentials(t, file.CredentialsConfig{Path: path})
	c := store.Credential{CredentialKey: store.CredentialKey{Provider: "o"}, Kind: store.CredentialOAuth, Access: store.NewSecretText("a<&>")}
	if err := s.PutCredential(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"o\": {\n    \"type\": \"oauth\",\n    \"refresh\": \"\",\n    \"access\": \"a<&>\",\n    \"expires\": 0\n  }\n}\n"
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Error(diff)
	}
}

// TestRoomForRenewals fills the store as somebody does who may put credentials:
// what is there can still be renewed, since a server that rotates has forgotten
// the old token by then, and be replaced and deleted.
func TestRoomForRenewals(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]file.CredentialsConfig{"plain": {}, "encrypted": {Sealer: &reverser{}, SealNew: true}} {
		cfg.Path = filepath.Join(t.TempDir(), authName)
		s := openCredentials(t, cfg)
		key := store.CredentialKey{Provider: "renewed"}
		if err := s.PutCredential(t.Context(), store.Credential{CredentialKey: key, Kind: store.CredentialOAuth, Refresh: store.NewSecretText("r")}); err != nil {
			t.Fatal(err)
		}
		var err error
		n := 0
		for ; err == nil && n < 200; n++ {
			err = s.PutCredential(t.Context(), store.Credential{
				CredentialKey: store.CredentialKey{Provider: "p" + strconv.Itoa(n)}, Kind: store.CredentialAPI, Key: store.NewSecretText(strings.Repeat("k", store.MaxSecretText)),
			})
		}
		if !errors.Is(err, store.ErrCredential) || n < 10 {
			t.Errorf("%s: put %d = %v, want ErrCredential", name, n, err)
		}
		_, renewErr := s.UpdateCredential(t.Context(), key, func(c *store.Credential) error {
			c.Refresh, c.Access = store.NewSecretText(strings.Repeat("r", store.MaxSecretText)), store.NewSecretText(strings.Repeat("a", store.MaxSecretText))
			return nil
		})
		if renewErr != nil {
			t.Errorf("%s: a renewal of a full store = %v", name, renewErr)
		}
		if err := s.PutCredential(t.Context(), store.Credential{CredentialKey: store.CredentialKey{Provider: "p0"}, Kind: store.CredentialAPI, Key: store.NewSecretText("k")}); err != nil {
			t.Errorf("%s: a shorter key in a full store = %v", name, err)
		}
		if err := s.DeleteCredential(t.Context(), store.CredentialKey{Provider: "p1"}); err != nil {
			t.Errorf("%s: delete from a full store = %v", name, err)
		}
	}
}

func TestDamagedCredentialsStay(t *testing.T) {
	t.Parallel()
	secret := "sk-" + rand.Text()
	for name, text := range map[string]string{
		"cut off": "{\n\"p\": {\"key\": \"" + secret, "no quotes": `{"p": {"key": ` + secret + `}}`, "no object": `["` + secret + `"]`,
		"null": "null", "text": `"` + secret + `"`, "two": `{} {"` + secret + `": {}}`, "twice": `{"` + secret + `": {}, "` + secret + `": {}}`,
		"large": "{}" + strings.Repeat(" ", 8<<20) + secret,
	} {
		for _, sealed := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), authName)
			s := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}, SealNew: true})
			at, content := path, text
			if sealed {
				b, err := (&reverser{}).Seal(t.Context(), []byte(text), nil)
				if err != nil {
					t.Fatal(err)
				}
				at, content = path+file.SealedSuffix, string(b)
			}
			write(t, at, content, 0o600)
			_, allErr := s.Credentials(t.Context())
			_, oneErr := s.Credential(t.Context(), "p", "")
			key := store.CredentialKey{Provider: "p"}
			_, updateErr := s.UpdateCredential(t.Context(), key, func(*store.Credential) error { return nil })
			putErr := s.PutCredential(t.Context(), store.Credential{CredentialKey: key, Kind: store.CredentialAPI, Key: store.NewSecretText("x")})
			for i, err := range []error{allErr, oneErr, updateErr, putErr, s.DeleteCredential(t.Context(), key), s.Protect(t.Context(), nil)} {
				if !errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), secret[3:8]) || !strings.Contains(err.Error(), at) {
					t.Errorf("%s: call %d = %v, want ErrCorrupt that names the file and no secret", name, i, err)
				}
			}
			if read(t, at) != content {
				t.Errorf("%s: the damaged file was changed", name)
			}
		}
	}
}

func TestLockedCredentialsStay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	put(t, openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}, SealNew: true}), "p", "k")
	before := read(t, path+file.SealedSuffix)
	for name, sealer := range map[string]file.Sealer{"none": nil, "locked": &reverser{locked: fmt.Errorf("%w: where is the key", store.ErrLocked)}} {
		s := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: sealer})
		_, readErr := s.Credentials(t.Context())
		putErr := s.PutCredential(t.Context(), store.Credential{CredentialKey: store.CredentialKey{Provider: "q"}, Kind: store.CredentialAPI, Key: store.NewSecretText("x")})
		for _, err := range []error{readErr, putErr, s.Protect(t.Context(), nil)} {
			if !errors.Is(err, store.ErrLocked) {
				t.Errorf("%s: %v, want ErrLocked", name, err)
			}
		}
		if state, err := s.State(t.Context()); err != nil || !state.Sealed || !state.Exists {
			t.Errorf("%s: State = %+v, %v", name, state, err)
		}
	}
	if read(t, path+file.SealedSuffix) != before {
		t.Error("the locked file was changed")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a plain file was written beside the locked one: %v", err)
	}
}

// TestNewKeyWhileReading replaces the file and its key after the file was read
// and before its key was looked for.
func TestNewKeyWhileReading(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	put(t, openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}, SealNew: true}), "p", "k")
	late := &reverser{locked: store.ErrLocked}
	calls := 0
	late.onOpen = func() {
		if calls++; calls == 1 {
			put(t, openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}}), "q", "k")
			return
		}
		late.locked = nil
	}
	if got := providersOf(t, openCredentials(t, file.CredentialsConfig{Path: path, Sealer: late})); len(got) != 2 || calls != 2 {
		t.Errorf("Credentials = %v after %d looks, want both after 2", got, calls)
	}
}

func TestProtect(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), authName)
	sealer := &reverser{}
	s := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: sealer})
	put(t, s, "p", "plain-key")
	put(t, s, "q", "other")
	// A store that is there stays as it is.
	put(t, openCredentials(t, file.CredentialsConfig{Path: path, Sealer: sealer, SealNew: true}), "p", "plain-key-2")
	if !strings.Contains(read(t, path), "plain-key-2") {
		t.Error("a plain store was encrypted unasked")
	}
	if err := s.Protect(t.Context(), sealer.Seal); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plain file is still there: %v", err)
	}
	if text := read(t, path+file.SealedSuffix); strings.Contains(text, "plain-key") {
		t.Error("the encrypted file holds a key")
	}
	// Another program signs in, and knows nothing of encryption.
	write(t, path, `{"p": {"type":"api","key":"theirs"}, "r": {"type":"api","key":"r"}}`, 0o600)
	if diff := cmp.Diff([]string{"p (api)", "q (api)", "r (api)"}, providersOf(t, s)); diff != "" {
		t.Error(diff)
	}
	if c, err := s.Credential(t.Context(), "p", ""); err != nil || c.Key.Reveal() != "plain-key-2" {
		t.Errorf("Credential = %v, %v, want that of the encrypted file", c, err)
	}
	if state, err := s.State(t.Context()); err != nil || !cmp.Equal(state.PlainBeside, []string{"p", "r"}) {
		t.Errorf("State = %+v, %v", state, err)
	}
	if err := s.DeleteCredential(t.Context(), store.CredentialKey{Provider: "r"}); err != nil {
		t.Fatal(err)
	}
	later, err := os.Stat(path + file.SealedSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, later.ModTime().Add(1e9), later.ModTime().Add(1e9)); err != nil {
		t.Fatal(err)
	}
	if err := s.Protect(t.Context(), sealer.Seal); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Credential(t.Context(), "p", ""); err != nil || c.Key.Reveal() != "theirs" {
		t.Errorf("Credential = %v, %v, want that of the file written later", c, err)
	}
	if err := s.Protect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + file.SealedSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the encrypted file is still there: %v", err)
	}
	if diff := cmp.Diff([]string{"p (api)", "q (api)"}, providersOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestCredentialModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o644, 0o640, 0o666, 0o660} {
		path := filepath.Join(t.TempDir(), authName)
		write(t, path, `{"p":{"type":"api","key":"k"}}`, mode)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := openCredentials(t, file.CredentialsConfig{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range 2 {
			if got := providersOf(t, s); len(got) != 1 {
				t.Errorf("Credentials = %v", got)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the mode is %v, %v, want 0600", info.Mode(), err)
		}
		if n := strings.Count(log.String(), "could be read by other users"); n != 1 {
			t.Errorf("%d warnings, want 1: %s", n, log.String())
		}
	}
	// One that may not be repaired is not trusted if others can write it.
	path := filepath.Join(t.TempDir(), authName)
	write(t, path, "{}", 0o600)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openCredentials(t, file.CredentialsConfig{Path: path, ReadOnly: true}).Credentials(t.Context()); !errors.Is(err, file.ErrUnsafe) {
		t.Errorf("Credentials of a file that all can write = %v, want ErrUnsafe", err)
	}
}

func TestReadOnlyCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, authName)
	text := `{"p":{"type":"oauth","access":"a","refresh":"r","expires":1}}`
	write(t, path, text, 0o600)
	fixed, err := file.ParseCredentials(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []store.Credentials{fixed, openCredentials(t, file.CredentialsConfig{Path: path, ReadOnly: true})} {
		c, err := s.Credential(t.Context(), "p", "")
		if err != nil || c.Access.Reveal() != "a" || len(providersOf(t, s)) != 1 {
			t.Errorf("Credential = %v, %v", c, err)
		}
		_, updateErr := s.UpdateCredential(t.Context(), c.CredentialKey, func(*store.Credential) error {
			t.Error("change was called, and could have used up a refresh token")
			return nil
		})
		for _, err := range []error{updateErr, s.PutCredential(t.Context(), c), s.DeleteCredential(t.Context(), c.CredentialKey)} {
			if !errors.Is(err, store.ErrReadOnly) {
				t.Errorf("change of a read-only store = %v, want ErrReadOnly", err)
			}
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || read(t, path) != text {
		t.Errorf("a read-only store left %v, %v", entries, err)
	}
	if _, err := file.ParseCredentials(`{"p":`); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("ParseCredentials of half a text = %v, want ErrCorrupt", err)
	}
}

// TestNoSecretInCredentialStores prints everything in every way.
func TestNoSecretInCredentialStores(t *testing.T) {
	t.Parallel()
	secret := rand.Text()
	text := fmt.Sprintf(`{"p":{"type":"oauth","access":%q,"refresh":%q,"expires":1},"u":{"type":%q}}`, secret, secret, secret)
	path := filepath.Join(t.TempDir(), authName)
	write(t, path, text, 0o600)
	s := openCredentials(t, file.CredentialsConfig{Path: path, Sealer: &reverser{}})
	if err := s.Protect(t.Context(), (&reverser{}).Seal); err != nil {
		t.Fatal(err)
	}
	c, err := s.Credential(t.Context(), "p", "")
	if err != nil || c.Access.Reveal() != secret {
		t.Fatalf("Credential = %v, %v", c, err)
	}
	fixed, err := file.ParseCredentials(text)
	if err != nil {
		t.Fatal(err)
	}
	_, unknownErr := s.Credential(t.Context(), "u", "")
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	type holder struct{ hidden any }
	for _, v := range []any{s, *fixed, fixed, c, &c, c.Access, c.Secrets(), []store.Credential{c}, holder{c}, holder{&c}, holder{fixed}, unknownErr, c.Validate()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T shows a secret", verb, v)
			}
		}
		if b, err := json.Marshal(v); err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("JSON of %T shows a secret", v)
		}
		logger.Info("x", slog.Any("v", v))
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log shows a secret")
	}
}

// FuzzCredentials checks that what is read and changed keeps all that was not
// asked to change.
func FuzzCredentials(f *testing.F) {
	for _, s := range []string{
		`{}`, ``, `null`, `{"p":{"type":"api","key":"k"}}`, `{"p":{"type":"oauth","access":"a","refresh":"","expires":1e15},"x/":[1.0]}`,
		`{"p#w":{"type":"api","key":"k","metadata":{"a":1,"b":"c"}},"p#default":{},"p":3}`, `{"a":{"type":"wellknown","key":"E","token":"t"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), authName)
		write(t, path, text, 0o600)
		s := openCredentials(t, file.CredentialsConfig{Path: path})
		before, err := s.Credentials(t.Context())
		c := store.Credential{CredentialKey: store.CredentialKey{Provider: "new.one"}, Kind: store.CredentialAPI, Key: store.NewSecretText("k")}
		putErr := s.PutCredential(t.Context(), c)
		if err != nil {
			if putErr == nil || read(t, path) != text {
				t.Fatal("what cannot be read was overwritten")
			}
			return
		}
		if putErr != nil {
			t.Fatal(putErr)
		}
		var was, is map[string]json.RawMessage
		if strings.TrimSpace(text) != "" {
			if err := json.Unmarshal([]byte(text), &was); err != nil {
				t.Fatalf("read what is no JSON: %v", err)
			}
		}
		if err := json.Unmarshal([]byte(read(t, path)), &is); err != nil {
			t.Fatal(err)
		}
		for name, raw := range was {
			var a, b bytes.Buffer
			if strings.TrimRight(name, "/") != "new.one" && (json.Compact(&a, raw) != nil || json.Compact(&b, is[name]) != nil || a.String() != b.String()) {
				t.Fatalf("entry %q is %s, was %s", name, b.String(), a.String())
			}
		}
		for _, c := range before {
			if err := c.Validate(); err != nil {
				t.Fatalf("read what cannot be kept: %v", err)
			}
		}
	})
}
