package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"opencode/store"
)

// The original program keeps of an entry only the members that it knows, and
// writes the whole file anew when it signs in to anything. What a refresh of
// ours needs, the method and its metadata, would be gone with that. So they
// stand in a file beside the plain one as well, each bound to the secret of its
// entry: where another program put in another credential, they do not count. It
// holds no secret, and nothing is lost for good without it.

// factsSuffix is what the name of that file has after that of the plain one.
const factsSuffix = ".facts"

// ownMembers are the members of an entry that the original does not keep.
func ownMembers() []string { return []string{"method", "created", "metadata"} }

// withFacts returns the entries of the plain file with the members that
// another program dropped.
func (c *Credentials) withFacts(plain object) object {
	if len(plain) == 0 {
		return plain
	}
	data, exists, err := c.readFile(c.path + factsSuffix)
	if err != nil || !exists {
		return plain
	}
	facts, err := decodeDocument(data)
	if err != nil {
		c.log.Warn("the file of facts beside the credentials cannot be read and does not count", slog.String("path", c.path+factsSuffix))
		return plain
	}
	for _, m := range plain {
		fact, err := decodeObject(facts.get(m.name))
		if err != nil {
			continue
		}
		of, err := encodeText(fingerprint(m.raw))
		if err != nil || !bytes.Equal(fact.get("of"), of) {
			continue
		}
		entry, err := decodeObject(m.raw)
		if err != nil {
			continue
		}
		for _, name := range ownMembers() {
			if raw := fact.get(name); raw != nil && entry.get(name) == nil {
				entry = entry.with(name, raw)
			}
		}
		if raw, err := entry.encode(); err == nil {
			plain = plain.with(m.name, raw)
		}
	}
	return plain
}

// saveFacts writes the file of facts for what is in the plain file by now. It
// comes after that, so that nothing waits for it: should it fail, the entries
// have the same members until another program writes.
func (c *Credentials) saveFacts(plain object) error {
	var facts object
	for _, m := range plain {
		entry, err := decodeObject(m.raw)
		of := fingerprint(m.raw)
		if err != nil || of == "" {
			continue
		}
		fact := object{}
		for _, name := range ownMembers() {
			if raw := entry.get(name); raw != nil {
				fact = fact.with(name, raw)
			}
		}
		if len(fact) == 0 {
			continue
		}
		text, err := encodeText(of)
		if err != nil {
			return err
		}
		raw, err := fact.with("of", text).encode()
		if err != nil {
			return err
		}
		facts = facts.with(m.name, raw)
	}
	path := c.path + factsSuffix
	if len(facts) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := encodeDocument(facts)
	if err != nil {
		return err
	}
	if old, _, err := c.readFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return replaceLinked(path, data)
}

// fingerprint stands for the secret of an entry, "" if it has none.
func fingerprint(raw json.RawMessage) string {
	entry, err := decodeObject(raw)
	if err != nil {
		return ""
	}
	text := func(name string) string {
		var s string
		// What is no text is no secret.
		_ = json.Unmarshal(entry.get(name), &s)
		return s
	}
	kind, secret := text("type"), ""
	switch store.CredentialKind(kind) {
	case store.CredentialAPI:
		secret = text("key")
	case store.CredentialOAuth:
		if secret = text("refresh"); secret == "" {
			secret = text("access")
		}
	case store.CredentialWellKnown:
		secret = text("token")
	}
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + secret))
	return hex.EncodeToString(sum[:])
}
