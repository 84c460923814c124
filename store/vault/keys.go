package vault

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"opencode/regular"
	"opencode/store"
	"opencode/store/file"
)

// key returns the key of a file. The first use of one may ask the user.
func (v *Vault) key(ctx context.Context, info Info) (key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k, ok := v.keys[info.KeyID]; ok {
		return k(), nil
	}
	k, err := v.load(ctx, info)
	if err != nil {
		return key{}, err
	}
	v.keys[info.KeyID] = func() key { return k }
	return k, nil
}

func (v *Vault) load(ctx context.Context, info Info) (key, error) {
	switch info.Protection {
	case Keyring:
		return v.fromKeyring(ctx, info)
	case Passphrase:
		return v.fromPassphrase(ctx, info)
	case PKCS11:
		return v.fromHSM(info)
	case Plugin, KeyFile:
		text, err := v.readKey(v.keyFile(info))
		if err != nil {
			return key{}, err
		}
		if info.Protection == Plugin {
			return v.pluginKey(text)
		}
		return x25519Key(text, info)
	case Auto:
	}
	return key{}, fmt.Errorf("%w: protection %q is not known", store.ErrLocked, info.Protection)
}

func (v *Vault) fromKeyring(ctx context.Context, info Info) (key, error) {
	if v.cfg.Keyring == nil {
		return key{}, fmt.Errorf("%w: its key is in the keyring of the operating system, and there is none here; run opencode in your desktop session, or start a keyring", store.ErrLocked)
	}
	secret, err := v.cfg.Keyring.Key(ctx, info.KeyID)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return key{}, fmt.Errorf("%w: the keyring of the operating system has no key %s; restore that keyring, or move the file away and sign in again", store.ErrLocked, info.KeyID)
	case err != nil:
		return key{}, fmt.Errorf("%w: the keyring of the operating system does not give its key; unlock the keyring: %w", store.ErrLocked, err)
	}
	return x25519Key([]byte(secret.Reveal()), info)
}

func (v *Vault) fromPassphrase(ctx context.Context, info Info) (key, error) {
	sealed, err := v.readKey(v.keyFile(info))
	if err != nil {
		return key{}, err
	}
	if v.cfg.Passphrase == nil {
		return key{}, fmt.Errorf("%w: it needs a passphrase, and there is nobody to ask", store.ErrLocked)
	}
	for attempt := 1; ; attempt++ {
		passphrase, err := v.cfg.Passphrase(ctx, Ask{Attempt: attempt})
		if err != nil {
			return key{}, fmt.Errorf("%w: it needs a passphrase: %w", store.ErrLocked, err)
		}
		identity, err := age.NewScryptIdentity(orBlank(passphrase))
		if err != nil {
			return key{}, fmt.Errorf("%w: its key file is not one", store.ErrCorrupt)
		}
		r, err := age.Decrypt(armored(sealed), identity)
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			if attempt < maxAttempts && !v.cfg.PassphraseSet {
				continue
			}
			return key{}, fmt.Errorf("%w: the passphrase is wrong", store.ErrLocked)
		}
		var text []byte
		if err == nil {
			text, err = io.ReadAll(io.LimitReader(r, maxKeyBytes))
		}
		if err != nil {
			return key{}, fmt.Errorf("%w: the key file %s is damaged; restore it from a backup", store.ErrLocked, v.keyFile(info))
		}
		return x25519Key(text, info)
	}
}

// orBlank returns what cannot be a passphrase for none, which age refuses.
func orBlank(s store.SecretText) string {
	if s.IsZero() {
		return "\x00"
	}
	return s.Reveal()
}

// x25519Key reads an identity, which must be the one that the id names.
func x25519Key(text []byte, info Info) (key, error) {
	identity, err := age.ParseX25519Identity(firstIdentity(text))
	if err != nil || identity.Recipient().String() != info.KeyID {
		// The text of the error may repeat a part of the key.
		return key{}, fmt.Errorf("%w: what is kept as its key %s is another or damaged; restore it from a backup, or move the file away and sign in again", store.ErrLocked, info.KeyID)
	}
	return key{identity, identity.Recipient()}, nil
}

// firstIdentity returns the first line of an identity file that is no comment.
func firstIdentity(text []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// newKey makes a key and puts it where it is to be kept.
func (v *Vault) newKey(ctx context.Context, p Protection) (key, Info, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p == Plugin {
		return v.newPluginKey(ctx)
	}
	if p == PKCS11 {
		return v.newHSMKey(ctx)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return key{}, Info{}, err
	}
	info := Info{p, identity.Recipient().String()}
	k := key{identity, identity.Recipient()}
	if p == Auto || p == Keyring {
		info.Protection = Keyring
		err := v.intoKeyring(ctx, identity, info)
		if err == nil {
			v.keys[info.KeyID] = func() key { return k }
			return k, info, nil
		}
		if p == Keyring {
			return key{}, Info{}, fmt.Errorf("the keyring of the operating system keeps no key: %w", err)
		}
		v.cfg.Logger.Info("no keyring of the operating system is to be had", slog.String("error", err.Error()))
		info.Protection = KeyFile
		if v.cfg.PassphraseSet {
			info.Protection = Passphrase
		}
	}
	text := fmt.Appendf(nil, "# The key of opencode's file with credentials.\n# public key: %s\n%s\n", identity.Recipient(), identity)
	if info.Protection == Passphrase {
		if text, err = v.wrapped(ctx, text); err != nil {
			return key{}, Info{}, err
		}
	}
	if err := file.Replace(ctx, v.keyFile(info), text); err != nil {
		return key{}, Info{}, fmt.Errorf("key file: %w", err)
	}
	v.keys[info.KeyID] = func() key { return k }
	return k, info, nil
}

// intoKeyring keeps a key, and does not believe that it is kept before it has
// come back.
func (v *Vault) intoKeyring(ctx context.Context, identity *age.X25519Identity, info Info) error {
	if v.cfg.Keyring == nil {
		return errors.New("there is none here")
	}
	secret := store.NewSecretText(identity.String())
	if err := v.cfg.Keyring.PutKey(ctx, info.KeyID, secret); err != nil {
		return err
	}
	back, err := v.cfg.Keyring.Key(ctx, info.KeyID)
	if err == nil && !back.Equal(secret) {
		err = errors.New("it gives back something else")
	}
	return err
}

func (v *Vault) wrapped(ctx context.Context, text []byte) ([]byte, error) {
	if v.cfg.Passphrase == nil {
		return nil, fmt.Errorf("%w: there is nobody to ask for a passphrase", store.ErrLocked)
	}
	passphrase, err := v.cfg.Passphrase(ctx, Ask{New: true, Attempt: 1})
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	if passphrase.IsZero() {
		return nil, errors.New("passphrase: want one that is not empty")
	}
	recipient, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return nil, errors.New("passphrase: cannot be used")
	}
	if v.cfg.WorkFactor > 0 {
		recipient.SetWorkFactor(v.cfg.WorkFactor)
	}
	return encryptOnly(text, recipient)
}

// newPluginKey takes over the identity of a plug-in.
func (v *Vault) newPluginKey(ctx context.Context) (key, Info, error) {
	if v.cfg.PluginIdentity == "" {
		return key{}, Info{}, errors.New("protection plugin needs an identity file, as age-plugin-yubikey and others write it")
	}
	text, err := v.readKey(v.cfg.PluginIdentity)
	if err != nil {
		return key{}, Info{}, err
	}
	k, err := v.pluginKey(text)
	if err != nil {
		return key{}, Info{}, err
	}
	sum := sha256.Sum256([]byte(firstIdentity(text)))
	info := Info{Plugin, hex.EncodeToString(sum[:16])}
	if err := file.Replace(ctx, v.keyFile(info), text); err != nil {
		return key{}, Info{}, fmt.Errorf("key file: %w", err)
	}
	v.keys[info.KeyID] = func() key { return k }
	return k, info, nil
}

// pluginKey reads the identity file of a plug-in. Whom to encrypt for stands
// in a comment of it; without one the plug-in is asked.
func (v *Vault) pluginKey(text []byte) (key, error) {
	ui := &plugin.ClientUI{
		DisplayMessage: func(name, message string) error { v.cfg.Say("age-plugin-" + name + ": " + message); return nil },
		RequestValue: func(string, string, bool) (string, error) {
			return "", errors.New("opencode does not pass on what a plug-in asks for")
		},
		Confirm:   func(string, string, string, string) (bool, error) { return false, errors.New("nobody to ask") },
		WaitTimer: func(name string) { v.cfg.Say("age-plugin-" + name + ": waiting; does it want to be touched?") },
	}
	identity, err := plugin.NewIdentity(firstIdentity(text), ui)
	if err != nil {
		return key{}, fmt.Errorf("%w: the identity file holds no identity of a plug-in of age", store.ErrLocked)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		rest, isComment := strings.CutPrefix(strings.TrimSpace(lines.Text()), "#")
		fields := strings.Fields(rest)
		if !isComment || len(fields) == 0 {
			continue
		}
		if recipient, err := plugin.NewRecipient(fields[len(fields)-1], ui); err == nil {
			return key{identity, recipient}, nil
		}
	}
	return key{identity, identity.Recipient()}, nil
}

func (v *Vault) forget(ctx context.Context, info Info) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.keys, info.KeyID)
	if info.Protection == Keyring {
		if v.cfg.Keyring == nil {
			return nil
		}
		if err := v.cfg.Keyring.DeleteKey(ctx, info.KeyID); err != nil && !errors.Is(err, store.ErrNotExist) {
			return fmt.Errorf("the old key %s stays in the keyring: %w", info.KeyID, err)
		}
		return nil
	}
	if info.Protection == PKCS11 {
		if err := v.deleteHSMKey(ctx, info); err != nil {
			return err
		}
	}
	for _, path := range []string{v.keyFile(info), v.keyFile(info) + ".lock"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the old key stays: %w", err)
		}
	}
	return nil
}

// keyFile is where a key is that is kept in a file.
func (v *Vault) keyFile(info Info) string {
	switch info.Protection {
	case Passphrase:
		return filepath.Join(v.cfg.KeyDir, info.KeyID+".age")
	case PKCS11:
		return filepath.Join(v.cfg.KeyDir, info.KeyID+".pkcs11.json")
	case Auto, Keyring, Plugin, KeyFile:
	}
	return filepath.Join(v.cfg.KeyDir, info.KeyID+".txt")
}

// maxKeyBytes bounds a key file; an identity has about 80 bytes.
const maxKeyBytes = 64 << 10

// readKey reads a key file that nobody else may read, and sees to that.
func (v *Vault) readKey(path string) ([]byte, error) {
	f, info, err := regular.Open(path, regular.FollowLinks)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: its key file %s does not exist; restore it from a backup, or move the encrypted file away and sign in again", store.ErrLocked, path)
	case errors.Is(err, regular.ErrNotRegular):
		return nil, fmt.Errorf("%w: %s is no key file", store.ErrLocked, path)
	case err != nil:
		return nil, fmt.Errorf("%w: key file: %w", store.ErrLocked, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		attrs := []any{slog.String("path", path), slog.String("mode", mode.String())}
		if err := f.Chmod(0o600); err != nil {
			v.cfg.Logger.Warn("a key file can be read by other users, and its mode cannot be changed", attrs...)
		} else {
			v.cfg.Logger.Warn("a key file could be read by other users: the mode is 0600 now; consider `opencode auth rekey`", attrs...)
		}
	}
	text, err := regular.ReadOpen(f, maxKeyBytes)
	if errors.Is(err, regular.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %s is no key file", store.ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: key file: %w", store.ErrLocked, err)
	}
	return text, nil
}
