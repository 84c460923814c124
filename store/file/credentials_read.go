package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"opencode/store"
)

const (
	// maxCredentialBytes bounds what is read and written.
	maxCredentialBytes = 8 << 20
	// maxPutBytes bounds what new credentials can make of it, so that there is
	// always room for a renewal: by then the old token may be worth nothing.
	maxPutBytes = 1 << 20
)

var errTooLarge = fmt.Errorf("%w: larger than %d bytes", store.ErrCorrupt, maxCredentialBytes)

// maxReads bounds how often a file is read that is replaced meanwhile.
const maxReads = 5

// read returns what is in both files. If the encrypted one is locked, all else
// is returned beside the error.
func (c *Credentials) read(ctx context.Context) (content, error) {
	s, err := c.readOnce(ctx)
	for range maxReads {
		if !errors.Is(err, store.ErrLocked) {
			break
		}
		// A new key may have replaced the one that this file needs, and then
		// the file as well.
		again, _, readErr := c.readFile(c.path + SealedSuffix)
		if readErr != nil || bytes.Equal(again, s.raw) {
			break
		}
		s, err = c.readOnce(ctx)
	}
	if told := c.tell(s.plain); err == nil {
		err = told
	}
	return s, err
}

// tell tells whoever wants to know what is in entries that nobody else has got
// yet, unless it did so the last time.
func (c *Credentials) tell(entries object) error {
	if c.seen == nil || len(entries) == 0 {
		return nil
	}
	text, err := entries.encode()
	if err != nil {
		return err
	}
	c.tellMu.Lock()
	defer c.tellMu.Unlock()
	if digest := sha256.Sum256(text); digest != c.told {
		c.seen(text)
		c.told = digest
	}
	return nil
}

func (c *Credentials) readOnce(ctx context.Context) (content, error) {
	if err := ctx.Err(); err != nil {
		return content{}, err
	}
	var s content
	// The encrypted file first: one that is decrypted meanwhile is then seen
	// twice, not overlooked.
	sealed, hasSealed, err := c.readFile(c.path + SealedSuffix)
	if err != nil {
		return content{}, err
	}
	plain, hasPlain, err := c.readFile(c.path)
	if err != nil {
		return content{}, err
	}
	if !hasSealed && !hasPlain {
		// One that is encrypted meanwhile may have been overlooked.
		if sealed, hasSealed, err = c.readFile(c.path + SealedSuffix); err != nil {
			return content{}, err
		}
	}
	s.hasSealed, s.hasPlain, s.raw = hasSealed, hasPlain, sealed
	if s.plain, err = decodeDocument(plain); err != nil {
		return content{}, fmt.Errorf("%s: %w", c.path, err)
	}
	s.plain = c.withFacts(s.plain)
	if hasSealed {
		if s.sealed, err = c.open(ctx, sealed); err != nil {
			return s, fmt.Errorf("%s: %w", c.path+SealedSuffix, err)
		}
	}
	return s, nil
}

// open decrypts the file, unless it is the one of the last time.
func (c *Credentials) open(ctx context.Context, sealed []byte) (object, error) {
	digest := sha256.Sum256(sealed)
	if last := c.opened.Load(); last != nil && last.digest == digest {
		return last.entries, nil
	}
	if c.sealer == nil {
		return nil, fmt.Errorf("%w: it is encrypted", store.ErrLocked)
	}
	plain, err := c.sealer.Open(ctx, sealed)
	if err != nil {
		return nil, err
	}
	entries, err := decodeDocument(plain)
	if err != nil {
		return nil, err
	}
	if err := c.tell(entries); err != nil {
		return nil, err
	}
	c.opened.Store(&openedFile{digest, entries})
	return entries, nil
}

// readFile reads a file that nobody else may read, and sees to that.
func (c *Credentials) readFile(path string) (data []byte, exists bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	f, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if isOpenToOthers(info) {
		if info, err = c.tighten(path, f, info); err != nil {
			return nil, false, err
		}
	}
	err = checkAccess(path, info)
	if errors.Is(err, fs.ErrNotExist) {
		// Moved between the two looks: what was opened is still whole.
		err = nil
	}
	if err != nil {
		return nil, false, err
	}
	data, err = io.ReadAll(io.LimitReader(f, maxCredentialBytes+1))
	switch {
	case err != nil:
		return nil, false, err
	case len(data) > maxCredentialBytes:
		return nil, false, errTooLarge
	}
	return data, true, nil
}

// tighten takes from others what access they have to a file, and tells of it:
// what they have read is not secret any more.
func (c *Credentials) tighten(path string, f *os.File, info fs.FileInfo) (fs.FileInfo, error) {
	attrs := []any{slog.String("path", path), slog.String("mode", info.Mode().String())}
	repaired := !c.readOnly && f.Chmod(fileMode) == nil
	if !repaired {
		c.log.Warn("credentials can be read by other users, and the mode cannot be changed", attrs...)
		return info, nil
	}
	c.log.Warn("credentials could be read by other users: the mode is 0600 now; consider new keys", attrs...)
	return f.Stat()
}
