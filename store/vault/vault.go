// Package vault encrypts the file with credentials, by age, and knows where the
// key for it is: in the keyring of the operating system, behind a passphrase,
// in a plug-in of age such as a hardware token, in a token of PKCS#11 such as
// an HSM, or in a file.
//
// What it writes is an age file like any other, with one stanza more in its
// header that says which key it is for and where that is; the tool age ignores
// the stanza. Each file has a key of its own, an X25519 identity or, with
// PKCS#11, an AES key that never leaves its token. The header
// is looked at to find a key and never to choose whom to encrypt for: that is
// derived from the key itself, so a file that somebody planted cannot make the
// next one readable to them.
//
// It never falls back when it reads: a key that is not to be had is
// [store.ErrLocked]. It keeps the keys that it has found in memory.
//
// A [Vault] is safe for concurrent use; two that need a passphrase or the
// keyring ask one after the other.
package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/armor"

	"opencode/store"
)

// Protection says where the key of a file is. Its zero value lets
// [Vault.SealNew] choose.
type Protection string

// The protections, the strongest that needs nothing of the user first.
const (
	// Auto is the keyring if there is one, else a passphrase if there is one
	// without asking, else a key file.
	Auto Protection = ""
	// Keyring keeps the key in the keyring of the operating system.
	Keyring Protection = "keyring"
	// Passphrase keeps the key in a file that is encrypted with a passphrase.
	Passphrase Protection = "passphrase"
	// Plugin leaves the key to a plug-in of age.
	Plugin Protection = "plugin"
	// PKCS11 keeps the key in a token of PKCS#11, such as an HSM, which
	// encrypts and decrypts for whoever knows its PIN.
	PKCS11 Protection = "pkcs11"
	// KeyFile keeps the key in a file of mode 0600 apart from the data. It
	// protects copies of the data, such as backups, and nothing else.
	KeyFile Protection = "keyfile"
)

// Protections returns all protections that can be asked for by name.
func Protections() []Protection { return []Protection{Keyring, Passphrase, Plugin, PKCS11, KeyFile} }

const (
	// stanzaType marks the stanza that says where the key is.
	stanzaType = "opencode"
	maxBytes   = 64 << 20
	// maxAttempts is how often a passphrase is asked for.
	maxAttempts = 3
)

// Store is a keyring: secrets by name. Its errors wrap [store.ErrNotExist] if
// there is no such name.
type Store interface {
	Key(ctx context.Context, name string) (store.SecretText, error)
	PutKey(ctx context.Context, name string, key store.SecretText) error
	DeleteKey(ctx context.Context, name string) error
}

// Ask says what a passphrase is asked for.
type Ask struct {
	// New asks for a passphrase to be, not for one that is.
	New bool
	// Attempt counts from 1; those before were wrong.
	Attempt int
}

// Config is what a vault works with.
type Config struct {
	// KeyDir is where key files are, apart from the data. Required. It is made
	// when the first is.
	KeyDir string
	// Keyring is the keyring. Without it there is none.
	Keyring Store
	// Passphrase asks for a passphrase. Without it there is none.
	Passphrase func(context.Context, Ask) (store.SecretText, error)
	// PassphraseSet says that Passphrase will not have to ask anybody.
	PassphraseSet bool
	// PluginIdentity is a file with the identity of a plug-in of age, for new
	// keys of [Plugin].
	PluginIdentity string
	// HSM is the token for new keys of [PKCS11]. If it names none, that of the
	// key which was used last is taken.
	HSM HSM
	// PIN asks for the PIN of a token. Without it there is none.
	PIN func(context.Context, AskPIN) (store.SecretText, error)
	// PINSet says that PIN will not have to ask anybody.
	PINSet bool
	// Say tells the user what a plug-in wants, such as a touch. The default
	// says nothing.
	Say func(message string)
	// Protection is what a new file gets.
	Protection Protection
	// WorkFactor is the cost of a new passphrase, as a power of two; the
	// default is that of age, about a second.
	WorkFactor int
	// Logger gets warnings; the default discards them.
	Logger *slog.Logger
}

// Vault encrypts and decrypts. Make one with [New].
type Vault struct {
	cfg Config

	mu sync.Mutex
	// keys are those that were used, by id, behind functions so that printing
	// a vault shows none.
	keys map[string]func() key
	hsm  hsm
}

// key is what encrypts and decrypts one file.
type key struct {
	identity  age.Identity
	recipient age.Recipient
}

// New returns a vault. It opens nothing.
func New(cfg Config) (*Vault, error) {
	if cfg.KeyDir == "" {
		return nil, errors.New("vault: KeyDir is required")
	}
	switch cfg.Protection {
	case Auto, Keyring, Passphrase, Plugin, PKCS11, KeyFile:
	default:
		return nil, fmt.Errorf("vault: protection %q: want keyring, passphrase, plugin, pkcs11 or keyfile", cfg.Protection)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	return &Vault{
		cfg: cfg, keys: map[string]func() key{},
		hsm: hsm{open: map[string]*openToken{}, wrong: map[string]store.SecretText{}},
	}, nil
}

// Info says what protects a file.
type Info struct {
	Protection Protection
	// KeyID names the key, and is no secret.
	KeyID string
}

// Inspect returns what protects a file, without its key.
func Inspect(sealed []byte) (Info, error) {
	var stanzas []*age.Stanza
	_, err := age.Decrypt(armored(sealed), identityFunc(func(s []*age.Stanza) ([]byte, error) {
		stanzas = s
		return nil, age.ErrIncorrectIdentity
	}))
	if stanzas == nil {
		// The text of age's error may repeat a part of the file.
		return Info{}, fmt.Errorf("%w: not a file of age", store.ErrCorrupt)
	}
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); !ok {
		return Info{}, fmt.Errorf("%w: not a file of age", store.ErrCorrupt)
	}
	for _, s := range stanzas {
		if s.Type != stanzaType {
			continue
		}
		if len(s.Args) != 2 || !isKeyID(s.Args[1]) {
			return Info{}, fmt.Errorf("%w: its header does not say where the key is", store.ErrCorrupt)
		}
		info := Info{Protection(s.Args[0]), s.Args[1]}
		switch info.Protection {
		case Keyring, Passphrase, Plugin, PKCS11, KeyFile:
			return info, nil
		case Auto:
		}
		return Info{}, fmt.Errorf("%w: its key is kept in a way that this version does not know", store.ErrNewer)
	}
	return Info{}, fmt.Errorf("%w: opencode did not encrypt it; decrypt it with the tool age", store.ErrLocked)
}

// isKeyID reports whether the text can be the id of a key, and so the name of
// a file.
func isKeyID(s string) bool {
	return len(s) >= 8 && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Open decrypts a file.
func (v *Vault) Open(ctx context.Context, sealed []byte) ([]byte, error) {
	info, err := Inspect(sealed)
	if err != nil {
		return nil, err
	}
	k, err := v.key(ctx, info)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(armored(sealed), k.identity)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w: its key %s does not open it", store.ErrCorrupt, info.KeyID)
	}
	if errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrCorrupt) {
		return nil, err
	}
	if err != nil && info.Protection == Plugin {
		return nil, fmt.Errorf("%w: the plug-in of age did not open it: %w", store.ErrLocked, err)
	}
	var plain []byte
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(r, maxBytes+1))
	}
	if err != nil || len(plain) > maxBytes {
		return nil, fmt.Errorf("%w: it was changed after it was encrypted, or is cut off", store.ErrCorrupt)
	}
	return plain, nil
}

// Seal encrypts what replaces the file old, for the same key; if old is nil,
// it is SealNew.
func (v *Vault) Seal(ctx context.Context, plain, old []byte) ([]byte, error) {
	if old == nil {
		return v.SealNew(ctx, plain, v.cfg.Protection)
	}
	info, err := Inspect(old)
	if err != nil {
		return nil, err
	}
	k, err := v.key(ctx, info)
	if err != nil {
		return nil, err
	}
	return encrypt(plain, k, info)
}

// SealNew encrypts for a new key. The old one, if there was one, is to be
// removed by [Vault.Forget] when the new file is in its place.
func (v *Vault) SealNew(ctx context.Context, plain []byte, p Protection) ([]byte, error) {
	k, info, err := v.newKey(ctx, p)
	if err != nil {
		return nil, err
	}
	sealed, err := encrypt(plain, k, info)
	if err != nil {
		return nil, errors.Join(err, v.forget(ctx, info))
	}
	return sealed, nil
}

// Forget removes the key of the file old, which now has replaced, so that
// copies of it stay closed. It does nothing if both have the same key. After a
// file that is not encrypted, now is nil.
func (v *Vault) Forget(ctx context.Context, old, now []byte) error {
	info, err := Inspect(old)
	if err != nil {
		return err
	}
	if now != nil {
		kept, err := Inspect(now)
		if err != nil {
			return err
		}
		if kept.KeyID == info.KeyID {
			return nil
		}
	}
	return v.forget(ctx, info)
}

func encrypt(plain []byte, k key, info Info) ([]byte, error) {
	return encryptOnly(plain, hinted{k.recipient, info})
}

func encryptOnly(plain []byte, recipient age.Recipient) ([]byte, error) {
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return b.Bytes(), nil
}

func armored(sealed []byte) io.Reader { return armor.NewReader(bytes.NewReader(sealed)) }

// hinted is a recipient that says in the header where the key is.
type hinted struct {
	inner age.Recipient
	info  Info
}

// Wrap implements age.Recipient.
func (h hinted) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := h.WrapWithLabels(fileKey)
	return stanzas, err
}

// WrapWithLabels implements age.RecipientWithLabels, for those inside that do.
func (h hinted) WrapWithLabels(fileKey []byte) (stanzas []*age.Stanza, labels []string, err error) {
	if l, ok := h.inner.(age.RecipientWithLabels); ok {
		stanzas, labels, err = l.WrapWithLabels(fileKey)
	} else {
		stanzas, err = h.inner.Wrap(fileKey)
	}
	if err != nil {
		return nil, nil, err
	}
	hint := &age.Stanza{Type: stanzaType, Args: []string{string(h.info.Protection), h.info.KeyID}}
	return append([]*age.Stanza{hint}, stanzas...), labels, nil
}

// identityFunc is an identity that is a function.
type identityFunc func([]*age.Stanza) ([]byte, error)

// Unwrap implements age.Identity.
func (f identityFunc) Unwrap(stanzas []*age.Stanza) ([]byte, error) { return f(stanzas) }
