package file

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
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
// stand in a file beside the plain one as well. It holds no secret, and nothing
// is lost for good without it.
//
// They say where a refresh token is sent. So each entry's facts are bound to it
// by an HMAC that its secret is the key of: those that somebody wrote who does
// not know the secret do not count, nor those of an earlier secret, as where
// another program put in another credential, nor those of another entry, nor
// those without an HMAC. Where nothing is known of a credential, its provider
// says where it is renewed, or it has to be signed in anew.

// factsSuffix is what the name of that file has after that of the plain one.
const factsSuffix = ".facts"

// factsMAC is the member of an entry's facts that binds them to it.
const factsMAC = "mac"

var errNoSecret = errors.New("the entry has no secret")

// ownMembers returns the members that the original does not keep, in one order.
func (o object) ownMembers() object {
	var own object
	for _, name := range []string{"method", "created", "metadata"} {
		if raw := o.get(name); raw != nil {
			own = append(own, member{name, raw})
		}
	}
	return own
}

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
		entry, err := decodeObject(m.raw)
		if err != nil {
			continue
		}
		var given []byte
		if err := json.Unmarshal(fact.get(factsMAC), &given); err != nil {
			continue
		}
		fact = fact.ownMembers()
		if mac, err := macOfFacts(m.name, entry, fact); err != nil || !hmac.Equal(given, mac) {
			continue
		}
		for _, own := range fact {
			if entry.get(own.name) == nil {
				entry = entry.with(own.name, own.raw)
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
		if err != nil {
			continue
		}
		fact := entry.ownMembers()
		if len(fact) == 0 {
			continue
		}
		mac, err := macOfFacts(m.name, entry, fact)
		if errors.Is(err, errNoSecret) {
			continue
		}
		if err != nil {
			return err
		}
		text, err := encodeText(mac)
		if err != nil {
			return err
		}
		raw, err := fact.with(factsMAC, text).encode()
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

// macOfFacts returns what binds the own members to the entry of that name. It
// returns [errNoSecret] for an entry that nobody can be bound to.
func macOfFacts(name string, entry, own object) ([]byte, error) {
	kind, secret := entry.secret()
	if secret == "" {
		return nil, errNoSecret
	}
	what, err := encodeText([]string{"auth.json.facts 1", name, string(kind)})
	if err != nil {
		return nil, err
	}
	raw, err := own.encode()
	if err != nil {
		return nil, err
	}
	text := bytes.NewBuffer(what)
	// Both are JSON, so none can be read in another way; the file has them
	// indented.
	if err := json.Compact(text, raw); err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(text.Bytes())
	return mac.Sum(nil), nil
}

// secret returns the kind of an entry and what of it stays until there is
// another login or a renewal, "" if there is none.
func (o object) secret() (kind store.CredentialKind, secret string) {
	text := func(name string) string {
		var s string
		// What is no text is no secret.
		_ = json.Unmarshal(o.get(name), &s)
		return s
	}
	kind = store.CredentialKind(text("type"))
	switch kind {
	case store.CredentialAPI:
		secret = text("key")
	case store.CredentialOAuth:
		if secret = text("refresh"); secret == "" {
			secret = text("access")
		}
	case store.CredentialWellKnown:
		secret = text("token")
	}
	return kind, secret
}
