package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"filippo.io/age"

	"opencode/store"
	"opencode/store/file"
)

// ErrOwnKey means that a key is not the vault's to replace: it was named by
// whoever keeps the token.
var ErrOwnKey = errors.New("the key is one that was named, and stays")

// HSM says which key of which token of PKCS#11 a file is encrypted for.
type HSM struct {
	// Module is the library of the token's maker, an absolute path.
	Module string
	// Token is the label of the token, or Slot the number of the slot that it
	// is in; one of them.
	Token string
	Slot  *int
	// Key is the label of the AES key to use, which is made if the token has
	// none. If it is empty, each file gets a key of its own.
	Key string
}

func (h HSM) check() error {
	if h.Module == "" || h.Token == "" && h.Slot == nil {
		return errors.New("protection pkcs11 needs the path of a PKCS#11 module, and the label of a token or the number of its slot")
	}
	if h.Token != "" && h.Slot != nil {
		return errors.New("protection pkcs11: want the label of the token or the number of its slot, not both")
	}
	return nil
}

// name says which token it is.
func (h HSM) name() string {
	if h.Slot != nil {
		return "slot " + strconv.Itoa(*h.Slot)
	}
	return h.Token
}

// AskPIN says what the PIN of a token is asked for.
type AskPIN struct {
	// Token is the label or the slot of the token.
	Token string
	// Attempt counts from 1; those before were wrong.
	Attempt int
}

// maxPINs is how often a PIN is asked for. Many tokens lock themselves after
// three that are wrong, so one is left.
const maxPINs = 2

const (
	// hsmStanza marks the stanza that holds the key of the file, encrypted by
	// the token.
	hsmStanza = "opencode-pkcs11"
	// hsmLabel is the label of the keys that the vault makes.
	hsmLabel = "opencode credentials"
	// fileKeyBytes is the length of the key of an age file.
	fileKeyBytes = 16
)

// Errors of a [token] that are told apart.
var (
	errWrongPIN = errors.New("the PIN is wrong")
	errNoKey    = errors.New("the token has no such key")
)

// token is an open token. It is safe for concurrent use, but for Close.
type token interface {
	// Make makes an AES-256 key that cannot leave the token.
	Make(id []byte, label string) (tokenKey, error)
	// Find returns the AES keys with the id, or any if that is empty, and the
	// label. A key that can leave the token is an error.
	Find(id []byte, label string) ([]tokenKey, error)
	Close() error
}

// tokenKey is a key that stays in its token.
type tokenKey interface {
	ID() ([]byte, error)
	Seal(plain, data []byte) ([]byte, error)
	Open(sealed, data []byte) ([]byte, error)
	Delete() error
}

// reference is what is kept of a key in a token, in place of a key file. It
// stands apart from the data, since it names a library that is loaded into
// this process: what could be changed with the data must not.
type reference struct {
	Version int    `json:"version"`
	Module  string `json:"module"`
	Token   string `json:"token,omitempty"`
	Slot    *int   `json:"slot,omitempty"`
	ID      string `json:"id"` // in hexadecimal
	Label   string `json:"label"`
	// Made says that the vault made the key for itself, and may delete it.
	Made bool `json:"made"`
}

func (r reference) hsm() HSM { return HSM{Module: r.Module, Token: r.Token, Slot: r.Slot} }

// hsm uses tokens: those that are open, and the PINs that were wrong, which are
// not tried twice, lest the token locks itself.
type hsm struct {
	mu    sync.Mutex
	open  map[string]*openToken
	wrong map[string]store.SecretText
	// last is the key that was loaded last.
	last *reference
}

// openToken is a token and how to open it once more.
type openToken struct {
	token token
	pin   store.SecretText
}

// token returns the token of h, and whether it was opened for that.
func (v *Vault) token(ctx context.Context, h HSM) (t token, isFresh bool, err error) {
	v.hsm.mu.Lock()
	defer v.hsm.mu.Unlock()
	id := h.Module + "\x00" + h.name()
	if t := v.hsm.open[id]; t != nil && t.token != nil {
		return t.token, false, nil
	}
	if err := checkModule(h.Module); err != nil {
		return nil, true, fmt.Errorf("%w: %w", store.ErrLocked, err)
	}
	fail := func(err error) (token, bool, error) {
		return nil, true, fmt.Errorf("%w: token %q of PKCS#11: %w", store.ErrLocked, h.name(), err)
	}
	for attempt := 1; ; attempt++ {
		pin, err := v.pin(ctx, id, AskPIN{h.name(), attempt})
		if err != nil {
			return fail(err)
		}
		if wrong, ok := v.hsm.wrong[id]; ok && wrong.Equal(pin) {
			return fail(errWrongPIN)
		}
		t, err := openHSM(h, pin)
		switch {
		case err == nil:
			v.hsm.open[id] = &openToken{t, pin}
			return t, true, nil
		case !errors.Is(err, errWrongPIN):
			return fail(err)
		}
		v.hsm.wrong[id] = pin
		delete(v.hsm.open, id)
		if attempt >= maxPINs || v.cfg.PINSet {
			return fail(errWrongPIN)
		}
	}
}

// pin returns the PIN that was right before, or asks for one.
func (v *Vault) pin(ctx context.Context, id string, ask AskPIN) (store.SecretText, error) {
	if t := v.hsm.open[id]; t != nil {
		return t.pin, nil
	}
	if v.cfg.PIN == nil {
		return store.SecretText{}, errors.New("it needs a PIN, and there is nobody to ask")
	}
	pin, err := v.cfg.PIN(ctx, ask)
	if err != nil {
		return store.SecretText{}, fmt.Errorf("it needs a PIN: %w", err)
	}
	if pin.IsZero() {
		return store.SecretText{}, errors.New("the PIN is empty")
	}
	return pin, nil
}

// Close logs out of the tokens that are open. What is used after it is opened
// anew.
func (v *Vault) Close() error {
	v.hsm.mu.Lock()
	defer v.hsm.mu.Unlock()
	var errs []error
	for _, t := range v.hsm.open {
		if t.token != nil {
			errs = append(errs, t.token.Close())
		}
	}
	clear(v.hsm.open)
	return errors.Join(errs...)
}

// closeToken closes a token that does not answer as it should, so that the
// next use opens it anew.
func (v *Vault) closeToken(h HSM) {
	v.hsm.mu.Lock()
	defer v.hsm.mu.Unlock()
	t := v.hsm.open[h.Module+"\x00"+h.name()]
	if t == nil || t.token == nil {
		return
	}
	// The token may be gone, and there is nothing to do about an error.
	_ = t.token.Close()
	t.token = nil
}

// checkModule refuses a library that others can change: it is loaded into this
// process, which holds all credentials.
func checkModule(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("the module %q of PKCS#11: want an absolute path", path)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("the module of PKCS#11: %w", err)
	}
	for _, p := range []string{target, filepath.Dir(target)} {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("the module of PKCS#11: %w", err)
		}
		if info.Mode().Perm()&0o022 != 0 {
			return fmt.Errorf("the module of PKCS#11: others can change %s; close it by `chmod go-w`", p)
		}
	}
	return nil
}

// newHSMKey makes a key in a token, or takes the one that was named.
func (v *Vault) newHSMKey(ctx context.Context) (key, Info, error) {
	h := v.cfg.HSM
	if last := v.hsm.last; last != nil && h.Token == "" && h.Slot == nil {
		if h.Key == "" && !last.Made {
			return key{}, Info{}, ErrOwnKey
		}
		h.Token, h.Slot = last.Token, last.Slot
		if h.Module == "" {
			h.Module = last.Module
		}
	}
	if err := h.check(); err != nil {
		return key{}, Info{}, err
	}
	t, _, err := v.token(ctx, h)
	if err != nil {
		return key{}, Info{}, err
	}
	ref := reference{Version: 1, Module: h.Module, Token: h.Token, Slot: h.Slot, Label: h.Key, Made: h.Key == ""}
	k, err := v.chooseKey(t, &ref)
	if err != nil {
		return key{}, Info{}, fmt.Errorf("%w: token %q of PKCS#11: %w", store.ErrLocked, h.name(), err)
	}
	info := Info{PKCS11, ref.keyID()}
	text, err := json.MarshalIndent(ref, "", "  ")
	if err == nil {
		err = file.Replace(ctx, v.keyFile(info), append(text, '\n'))
	}
	if err != nil {
		if ref.Made {
			err = errors.Join(err, k.Delete())
		}
		return key{}, Info{}, fmt.Errorf("key file: %w", err)
	}
	made := v.hsmKey(ref, info)
	v.keys[info.KeyID] = func() key { return made }
	return made, info, nil
}

// chooseKey finds the key that is named, or makes one, and completes ref.
func (v *Vault) chooseKey(t token, ref *reference) (tokenKey, error) {
	if !ref.Made {
		found, err := t.Find(nil, ref.Label)
		if err != nil {
			return nil, err
		}
		if len(found) > 1 {
			return nil, fmt.Errorf("it has %d keys of the label %q; want one", len(found), ref.Label)
		}
		if len(found) == 1 {
			id, err := found[0].ID()
			ref.ID = hex.EncodeToString(id)
			return found[0], err
		}
	} else {
		ref.Label = hsmLabel
	}
	id := make([]byte, fileKeyBytes)
	// Read of crypto/rand never fails.
	_, _ = rand.Read(id)
	ref.ID = hex.EncodeToString(id)
	return t.Make(id, ref.Label)
}

// keyID returns the id of the key of a reference. It does not depend on the
// token, which may be replaced by another that was restored from its backup.
func (r reference) keyID() string {
	if r.Made {
		return r.ID
	}
	sum := sha256.Sum256([]byte(r.Label + "\x00" + r.ID))
	return hex.EncodeToString(sum[:16])
}

// fromHSM returns the key that a reference names. It opens nothing yet.
func (v *Vault) fromHSM(info Info) (key, error) {
	text, err := v.readKey(v.keyFile(info))
	if err != nil {
		return key{}, err
	}
	var ref reference
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ref); err != nil || ref.Version != 1 || ref.keyID() != info.KeyID || ref.hsm().check() != nil {
		return key{}, fmt.Errorf("%w: %s does not name a key of PKCS#11; restore it from a backup", store.ErrLocked, v.keyFile(info))
	}
	v.hsm.last = &ref
	return v.hsmKey(ref, info), nil
}

func (v *Vault) hsmKey(ref reference, info Info) key {
	k := &hsmKey{vault: v, ref: ref, id: info.KeyID}
	return key{k, k}
}

// deleteHSMKey deletes a key that the vault made. One that was named stays.
func (v *Vault) deleteHSMKey(ctx context.Context, info Info) error {
	k, err := v.fromHSM(info)
	if err != nil {
		return err
	}
	h, ok := k.identity.(*hsmKey)
	if !ok || !h.ref.Made {
		return nil
	}
	found, _, err := h.key(ctx)
	if errors.Is(err, errNoKey) {
		return nil
	}
	if err == nil {
		err = found.Delete()
	}
	if err != nil {
		return fmt.Errorf("the old key %s stays in the token %q: %w", info.KeyID, h.ref.hsm().name(), err)
	}
	return nil
}

// hsmKey is a key in a token, as age uses one: it encrypts and decrypts the key
// of a file, in the token.
type hsmKey struct {
	vault *Vault
	ref   reference
	id    string
}

var (
	_ age.Identity  = (*hsmKey)(nil)
	_ age.Recipient = (*hsmKey)(nil)
)

// key returns the key in its token, or errNoKey, and whether the token was
// opened for that.
func (h *hsmKey) key(ctx context.Context) (k tokenKey, isFresh bool, err error) {
	t, isFresh, err := h.vault.token(ctx, h.ref.hsm())
	if err != nil {
		return nil, isFresh, err
	}
	id, err := hex.DecodeString(h.ref.ID)
	if err != nil {
		return nil, isFresh, fmt.Errorf("%w: its id is not hexadecimal", store.ErrLocked)
	}
	found, err := t.Find(id, h.ref.Label)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%w, %q; restore it from a backup of the token, or move the file away and sign in again", errNoKey, h.ref.Label)
	}
	if err != nil {
		return nil, isFresh, h.locked(err)
	}
	return found[0], isFresh, nil
}

// use calls f with the key. If that fails with a token that was open before,
// it is opened anew and f is called once more: its session may have ended, or
// it was taken out and put back.
func (h *hsmKey) use(ctx context.Context, f func(tokenKey) error) error {
	k, isFresh, err := h.key(ctx)
	if err == nil {
		err = f(k)
	}
	if err == nil || isFresh {
		return err
	}
	h.vault.closeToken(h.ref.hsm())
	if k, _, err = h.key(ctx); err != nil {
		return err
	}
	return f(k)
}

// data is what is bound to the key of a file beside it.
func (h *hsmKey) data() []byte { return []byte(hsmStanza + " v1 " + h.id) }

// Wrap implements age.Recipient.
func (h *hsmKey) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	var sealed []byte
	err := h.use(context.Background(), func(k tokenKey) (err error) {
		sealed, err = k.Seal(fileKey, h.data())
		return err
	})
	if err != nil {
		return nil, h.locked(err)
	}
	return []*age.Stanza{{Type: hsmStanza, Args: []string{h.id}, Body: sealed}}, nil
}

// Unwrap implements age.Identity.
func (h *hsmKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != hsmStanza || len(s.Args) != 1 || s.Args[0] != h.id {
			continue
		}
		var fileKey []byte
		err := h.use(context.Background(), func(k tokenKey) (err error) {
			fileKey, err = k.Open(s.Body, h.data())
			return err
		})
		switch {
		case err == nil && len(fileKey) == fileKeyBytes:
			return fileKey, nil
		case err == nil || !errors.Is(err, store.ErrLocked) && h.works():
			return nil, fmt.Errorf("%w: the key in its header was changed", store.ErrCorrupt)
		}
		return nil, h.locked(err)
	}
	return nil, age.ErrIncorrectIdentity
}

// works reports whether the token opens what it seals, which tells a stanza
// that was changed from a token that does not answer.
func (h *hsmKey) works() bool {
	probe := make([]byte, fileKeyBytes)
	k, _, err := h.key(context.Background())
	if err != nil {
		return false
	}
	sealed, err := k.Seal(probe, h.data())
	if err != nil {
		return false
	}
	back, err := k.Open(sealed, h.data())
	return err == nil && bytes.Equal(back, probe)
}

func (h *hsmKey) locked(err error) error {
	if errors.Is(err, store.ErrLocked) {
		return err
	}
	return fmt.Errorf("%w: token %q of PKCS#11: %w", store.ErrLocked, h.ref.hsm().name(), err)
}
