//go:build pkcs11 && cgo

package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/ThalesGroup/crypto11"

	"opencode/store"
)

// HasPKCS11 reports whether this build can use tokens of PKCS#11.
const HasPKCS11 = true

const (
	nonceBytes = 12
	// maxHSMSessions is what one process takes of the sessions of a token,
	// which others share.
	maxHSMSessions = 4
)

// explainHSM tells errors apart by what the library writes: it keeps the number
// of an error for some calls only.
func explainHSM(err error) error {
	if err == nil {
		return nil
	}
	noToken := errors.New("there is no such token")
	for code, known := range map[string]error{
		"CKR_PIN_INCORRECT": errWrongPIN, "CKR_PIN_LEN_RANGE": errWrongPIN, "CKR_PIN_INVALID": errWrongPIN,
		"CKR_PIN_LOCKED":                     errors.New("its PIN is locked, after too many that were wrong"),
		"could not find PKCS#11 token":       noToken,
		"CKR_TOKEN_NOT_PRESENT":              noToken,
		"CKR_USER_PIN_NOT_INITIALIZED":       errors.New("it has no PIN yet; initialize it"),
		"failed to open module":              errors.New("its module is no library of PKCS#11"),
		"CKR_MECHANISM_INVALID":              errors.New("it has no AES-GCM"),
		"CKR_TOKEN_WRITE_PROTECTED":          errors.New("it takes no new keys; name one that it has"),
		"CKR_ATTRIBUTE_VALUE_INVALID":        errors.New("it makes no AES keys; name one that it has"),
		"CKR_USER_ANOTHER_ALREADY_LOGGED_IN": errors.New("another user is logged in to it"),
	} {
		if strings.Contains(err.Error(), code) {
			return known
		}
	}
	return err
}

// openHSM loads the module and logs in to the token.
func openHSM(h HSM, pin store.SecretText) (token, error) {
	c, err := crypto11.Configure(&crypto11.Config{
		Path: h.Module, TokenLabel: h.Token, SlotNumber: h.Slot, Pin: pin.Reveal(), MaxSessions: maxHSMSessions, GCMIVLength: nonceBytes,
	})
	if err != nil {
		return nil, explainHSM(err)
	}
	return &pkcs11Token{c}, nil
}

// pkcs11Token is a token of PKCS#11.
type pkcs11Token struct{ context *crypto11.Context }

var _ token = (*pkcs11Token)(nil)

// Make implements token.
func (t *pkcs11Token) Make(id []byte, label string) (tokenKey, error) {
	k, err := t.context.GenerateSecretKeyWithLabel(id, []byte(label), 256, crypto11.CipherAES)
	if err != nil {
		return nil, fmt.Errorf("no new key: %w", explainHSM(err))
	}
	made := &pkcs11Key{t.context, k}
	if err := made.check(); err != nil {
		return nil, errors.Join(err, k.Delete())
	}
	return made, nil
}

// Find implements token.
func (t *pkcs11Token) Find(id []byte, label string) ([]tokenKey, error) {
	found, err := t.context.FindKeys(id, []byte(label))
	if err != nil {
		return nil, explainHSM(err)
	}
	var keys []tokenKey
	for _, k := range found {
		if k.Cipher != crypto11.CipherAES {
			continue
		}
		one := &pkcs11Key{t.context, k}
		if err := one.check(); err != nil {
			return nil, err
		}
		keys = append(keys, one)
	}
	return keys, nil
}

// Close implements token.
func (t *pkcs11Token) Close() error { return t.context.Close() }

// pkcs11Key is an AES key in a token.
type pkcs11Key struct {
	context *crypto11.Context
	key     *crypto11.SecretKey
}

// check refuses a key that can leave the token.
func (k *pkcs11Key) check() error {
	for attribute, want := range map[crypto11.AttributeType]bool{crypto11.CkaExtractable: false, crypto11.CkaSensitive: true} {
		a, err := k.context.GetAttribute(k.key, attribute)
		if err != nil {
			return explainHSM(err)
		}
		if len(a.Value) != 1 || (a.Value[0] != 0) != want {
			return errors.New("its key can be taken out of it; want one that is sensitive and not extractable")
		}
	}
	return nil
}

// ID implements tokenKey.
func (k *pkcs11Key) ID() ([]byte, error) {
	a, err := k.context.GetAttribute(k.key, crypto11.CkaId)
	if err != nil {
		return nil, explainHSM(err)
	}
	return a.Value, nil
}

// Seal implements tokenKey: AES-GCM in the token, behind its nonce.
func (k *pkcs11Key) Seal(plain, data []byte) (sealed []byte, err error) {
	gcm, err := k.gcm()
	if err != nil {
		return nil, err
	}
	// The library panics where the token gives an error.
	defer func() {
		if p := recover(); p != nil {
			sealed, err = nil, explainHSM(fmt.Errorf("encrypt: %v", p))
		}
	}()
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	return gcm.Seal(nonce, nonce, plain, data), nil
}

// Open implements tokenKey.
func (k *pkcs11Key) Open(sealed, data []byte) ([]byte, error) {
	gcm, err := k.gcm()
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceBytes+gcm.Overhead() {
		return nil, errors.New("decrypt: is too short")
	}
	plain, err := gcm.Open(nil, sealed[:nonceBytes], sealed[nonceBytes:], data)
	return plain, explainHSM(err)
}

func (k *pkcs11Key) gcm() (cipher.AEAD, error) {
	gcm, err := k.key.NewGCM()
	return gcm, explainHSM(err)
}

// Delete implements tokenKey.
func (k *pkcs11Key) Delete() error { return explainHSM(k.key.Delete()) }
