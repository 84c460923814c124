package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"opencode/store"
)

// SealedSuffix is what the name of the encrypted file has after that of the
// plain one.
const SealedSuffix = ".age"

// Sealer encrypts a file as a whole. Its errors wrap [store.ErrLocked] when the
// key is not to be had, and [store.ErrCorrupt] when no key would do.
type Sealer interface {
	// Open decrypts.
	Open(ctx context.Context, sealed []byte) ([]byte, error)
	// Seal encrypts what replaces old, for the same key, or for a new one if
	// old is nil.
	Seal(ctx context.Context, plain, old []byte) ([]byte, error)
}

// CredentialsConfig says where and how credentials are kept.
type CredentialsConfig struct {
	// Path is the plain file, auth.json. Required. The encrypted one is beside
	// it, with [SealedSuffix]. If either is a symbolic link, what it points to
	// is replaced, not the link.
	Path string
	// Sealer encrypts. Without it an encrypted file is [store.ErrLocked].
	Sealer Sealer
	// SealNew makes a store that is new an encrypted one. A store that is
	// there stays as it is until [Credentials.Protect].
	SealNew bool
	// ReadOnly refuses every change.
	ReadOnly bool
	// Seen is given the entries of a file, as JSON, before anybody else gets
	// what is new in them and before they are written, so that whoever keeps
	// secrets out of texts knows them in time. It must not call the store.
	Seen func(entries []byte)
	// Logger gets warnings; the default discards them.
	Logger *slog.Logger
}

// Credentials keeps credentials in auth.json, which other programs use too, or
// encrypted in auth.json.age. Make one with [OpenCredentials].
//
// Where both files are, the encrypted one is the store: what is changed is
// changed there, and of the plain one, which another program must have
// written, the entries count that the encrypted one has not.
type Credentials struct {
	path     string
	sealer   Sealer
	sealNew  bool
	readOnly bool
	seen     func([]byte)
	log      *slog.Logger

	tellMu sync.Mutex
	// told is the digest of the entries that were told of last.
	told [32]byte
	// opened spares decrypting a file that has not changed.
	opened atomic.Pointer[openedFile]
}

// openedFile is a decrypted file; it is immutable.
type openedFile struct {
	digest  [32]byte
	entries object
}

var _ store.Credentials = (*Credentials)(nil)

// OpenCredentials returns the credentials of a user. Neither file need exist,
// and none is read yet.
func OpenCredentials(cfg CredentialsConfig) (*Credentials, error) {
	if cfg.Path == "" {
		return nil, errors.New("open credentials: Path is required")
	}
	if cfg.SealNew && cfg.Sealer == nil {
		return nil, errors.New("open credentials: SealNew needs a Sealer")
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open credentials: %w", err)
	}
	c := &Credentials{path: path, sealer: cfg.Sealer, sealNew: cfg.SealNew, readOnly: cfg.ReadOnly, seen: cfg.Seen, log: cfg.Logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// content is what both files hold at one moment.
type content struct {
	plain, sealed       object
	hasPlain, hasSealed bool
	raw                 []byte // the encrypted file
}

// entries returns what counts.
func (s content) entries() object {
	if !s.hasSealed {
		return s.plain
	}
	all := s.sealed
	for _, m := range s.plain {
		if key, ok := entryKey(m.name); ok && all.entry(key) < 0 {
			all = all.withEntry(key, m.raw)
		}
	}
	return all
}

// Credentials implements [store.Credentials].
func (c *Credentials) Credentials(ctx context.Context) ([]store.Credential, error) {
	s, err := c.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	known, _ := s.entries().credentials()
	return known, nil
}

// Credential implements [store.Credentials].
func (c *Credentials) Credential(ctx context.Context, provider, profile string) (store.Credential, error) {
	key, err := store.NewCredentialKey(provider, profile)
	if err != nil {
		return store.Credential{}, err
	}
	s, err := c.read(ctx)
	if err != nil {
		return store.Credential{}, fmt.Errorf("credential %q: %w", key, err)
	}
	found, err := s.entries().credential(key)
	if err != nil {
		return store.Credential{}, fmt.Errorf("credential %q: %w", key, err)
	}
	return found, nil
}

// PutCredential implements [store.Credentials].
func (c *Credentials) PutCredential(ctx context.Context, given store.Credential) error {
	given, err := normalCredential(given)
	if err != nil {
		return err
	}
	raw, err := encodeCredential(given, nil)
	if err == nil {
		err = c.locked(ctx, given.CredentialKey, func() error {
			return c.write(ctx, func(s content) (object, error) {
				now := s.target().withEntry(given.CredentialKey, raw)
				if size := now.size(); size > maxPutBytes && size > s.target().size() {
					return nil, fmt.Errorf("%w: all credentials would have more than %d bytes; forget one first", store.ErrCredential, maxPutBytes)
				}
				return now, nil
			})
		})
	}
	if err != nil {
		return fmt.Errorf("put credential %q: %w", given.CredentialKey, err)
	}
	return nil
}

// UpdateCredential implements [store.Credentials].
func (c *Credentials) UpdateCredential(ctx context.Context, key store.CredentialKey, change func(*store.Credential) error) (store.Credential, error) {
	key, err := store.NewCredentialKey(key.Provider, key.Profile)
	if err != nil {
		return store.Credential{}, err
	}
	var now store.Credential
	err = c.locked(ctx, key, func() error {
		s, err := c.read(ctx)
		if err != nil {
			return err
		}
		was, err := s.entries().credential(key)
		if err != nil {
			return err
		}
		now = was
		now.Metadata = maps.Clone(was.Metadata)
		if err := change(&now); err != nil {
			return err
		}
		if now, err = normalCredential(now); err != nil {
			return err
		}
		if now.CredentialKey != key {
			return fmt.Errorf("%w: an update cannot make it another's", store.ErrCredential)
		}
		if sameCredential(was, now) {
			return nil
		}
		// What change did may not be done twice: from here on nothing may
		// end it half-way but the end of the process.
		return c.write(context.WithoutCancel(ctx), func(s content) (object, error) {
			all := s.entries()
			i := all.entry(key)
			if i < 0 {
				// Another program has deleted it, and does not know of locks.
				return nil, fmt.Errorf("%w any more", store.ErrNotExist)
			}
			raw, err := encodeCredential(now, all[i].raw)
			if err != nil {
				return nil, err
			}
			return s.target().withEntry(key, raw), nil
		})
	})
	if err != nil {
		return store.Credential{}, fmt.Errorf("update credential %q: %w", key, err)
	}
	return now, nil
}

// DeleteCredential implements [store.Credentials]. An entry that is not
// understood can be deleted as well.
func (c *Credentials) DeleteCredential(ctx context.Context, key store.CredentialKey) error {
	key, err := store.NewCredentialKey(key.Provider, key.Profile)
	if err != nil {
		return err
	}
	err = c.locked(ctx, key, func() error {
		return c.change(ctx, func(path string, s content) error {
			if s.entries().entry(key) < 0 {
				return store.ErrNotExist
			}
			if s.hasSealed && s.sealed.entry(key) >= 0 {
				if err := c.replaceSealed(ctx, path, s.sealed.withEntry(key, nil), s.raw); err != nil {
					return err
				}
			}
			if s.plain.entry(key) >= 0 {
				return c.replacePlain(path, s.plain.withEntry(key, nil))
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("delete credential %q: %w", key, err)
	}
	return nil
}

// State says how a store is kept at this moment.
type State struct {
	// Path is the file that the store is in, or will be.
	Path string
	// Sealed reports whether it is encrypted.
	Sealed bool
	// Exists reports whether the file is there.
	Exists bool
	// PlainBeside are the entries of a plain file beside an encrypted one.
	PlainBeside []string
	// Unknown are the names of entries that are kept and not understood.
	Unknown []string
	// Raw is the encrypted file.
	Raw []byte
}

// State returns how the store is kept. It decrypts nothing, so of an encrypted
// file that is locked the unknown entries are not told.
func (c *Credentials) State(ctx context.Context) (State, error) {
	s, err := c.read(ctx)
	if err != nil && !errors.Is(err, store.ErrLocked) {
		return State{}, err
	}
	out := State{Path: c.path, Sealed: s.hasSealed, Exists: s.hasPlain || s.hasSealed, Raw: s.raw}
	if !out.Exists {
		out.Sealed = c.sealNew
	}
	if out.Sealed {
		out.Path += SealedSuffix
	}
	if s.hasSealed {
		for _, m := range s.plain {
			out.PlainBeside = append(out.PlainBeside, m.name)
		}
	}
	_, out.Unknown = s.entries().credentials()
	return out, nil
}

// Protect writes the whole store anew: encrypted by seal, which is given what
// is encrypted now, nil if nothing is; or plain if seal is nil. It takes in a plain file beside an encrypted one; of an entry that both
// have, that of the file which was written later stays.
func (c *Credentials) Protect(ctx context.Context, seal func(ctx context.Context, plain, old []byte) ([]byte, error)) error {
	err := c.change(ctx, func(path string, s content) error {
		all := s.entries()
		if s.hasSealed && s.hasPlain && isLater(path, path+SealedSuffix) {
			for _, m := range s.plain {
				if key, ok := entryKey(m.name); ok {
					all = all.withEntry(key, m.raw)
				}
			}
		}
		for _, m := range s.plain {
			if all.get(m.name) == nil {
				if _, ok := entryKey(m.name); !ok {
					all = all.with(m.name, m.raw)
				}
			}
		}
		if seal == nil {
			if err := c.replacePlain(path, all); err != nil {
				return err
			}
			return removeDurably(path + SealedSuffix)
		}
		plain, err := encodeDocument(all)
		if err != nil {
			return err
		}
		sealed, err := seal(ctx, plain, s.raw)
		if err != nil {
			return err
		}
		if err := replaceLinked(path+SealedSuffix, sealed); err != nil {
			return err
		}
		return errors.Join(removeDurably(path), removeDurably(path+factsSuffix))
	})
	if err != nil {
		return fmt.Errorf("protect credentials: %w", err)
	}
	return nil
}

// isLater reports whether the file a was written after b.
func isLater(a, b string) bool {
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && first.ModTime().After(second.ModTime())
}

// removeDurably removes a file that holds what is now elsewhere. Of a link,
// what it points to is removed as well.
func removeDurably(path string) error {
	target, err := resolve(path)
	if err != nil {
		return err
	}
	for _, p := range []string{target, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}

// target returns the entries of the file that changes go to.
func (s content) target() object {
	if s.hasSealed {
		return s.sealed
	}
	return s.plain
}

// locked calls f while nobody else changes the credential of that key.
func (c *Credentials) locked(ctx context.Context, key store.CredentialKey, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.readOnly {
		return store.ErrReadOnly
	}
	if err := makeDir(filepath.Dir(c.path)); err != nil {
		return readOnly(err)
	}
	sum := sha256.Sum256([]byte(key.String()))
	unlock, err := lockFile(ctx, c.path+"."+hex.EncodeToString(sum[:8]), waitForLock)
	if err != nil {
		return readOnly(err)
	}
	defer unlock()
	return f()
}

// change calls f, under the lock of both files, with what is in them.
func (c *Credentials) change(ctx context.Context, f func(path string, s content) error) error {
	if c.readOnly {
		return store.ErrReadOnly
	}
	if err := makeDir(filepath.Dir(c.path)); err != nil {
		return readOnly(err)
	}
	unlock, err := lockFile(ctx, c.path, waitForLock)
	if err != nil {
		return readOnly(err)
	}
	defer unlock()
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	return readOnly(f(c.path, s))
}

// write replaces the file that changes go to.
func (c *Credentials) write(ctx context.Context, f func(content) (object, error)) error {
	return c.change(ctx, func(path string, s content) error {
		entries, err := f(s)
		if err == nil {
			err = c.tell(entries)
		}
		if err != nil {
			return err
		}
		if s.hasSealed || !s.hasPlain && c.sealNew {
			return c.replaceSealed(ctx, path, entries, s.raw)
		}
		return c.replacePlain(path, entries)
	})
}

func (c *Credentials) replaceSealed(ctx context.Context, path string, entries object, old []byte) error {
	plain, err := encodeDocument(entries)
	if err != nil {
		return err
	}
	sealed, err := c.sealer.Seal(ctx, plain, old)
	if err != nil {
		return err
	}
	if len(sealed) > maxCredentialBytes {
		return errTooLarge
	}
	return replaceLinked(path+SealedSuffix, sealed)
}

func (c *Credentials) replacePlain(path string, entries object) error {
	plain, err := encodeDocument(entries)
	if err != nil {
		return err
	}
	if len(plain) > maxCredentialBytes {
		return errTooLarge
	}
	if err := replaceLinked(path, plain); err != nil {
		return err
	}
	if err := c.saveFacts(entries); err != nil {
		c.log.Warn("what other programs drop of the credentials was not noted", slog.Any("error", err))
	}
	return nil
}

// replaceLinked replaces what the path points to.
func replaceLinked(path string, data []byte) error {
	target, err := resolve(path)
	if err != nil {
		return err
	}
	return replaceFile(target, data)
}

// readOnly adds [store.ErrReadOnly] to an error that says so in other words.
func readOnly(err error) error {
	if err != nil && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		return fmt.Errorf("%w: %w", store.ErrReadOnly, err)
	}
	return err
}
