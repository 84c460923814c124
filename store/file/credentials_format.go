package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"opencode/store"
)

// The form of auth.json, which other programs read and write too: an object
// with an entry for each credential, named for the provider, or for the
// provider, "#" and the profile. What is not understood here, entry or field,
// is kept as it is written.

// never is the first time, in milliseconds, that is too late to be one. Other
// programs write such numbers for what never expires.
const never = 253402300800000

// member is one member of a JSON object.
type member struct {
	name string
	raw  json.RawMessage
}

// object is a JSON object in its order.
type object []member

// decodeObject reads a JSON object. Its errors tell nothing of the text but
// the line.
func decodeObject(data []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	wrong := func() error {
		line := 1 + bytes.Count(data[:min(int(d.InputOffset()), len(data))], []byte("\n"))
		return fmt.Errorf("%w: line %d: want a JSON object", store.ErrCorrupt, line)
	}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, wrong()
	}
	var o object
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok || seen[name] {
			return nil, wrong()
		}
		seen[name] = true
		m := member{name: name}
		if err := d.Decode(&m.raw); err != nil {
			return nil, wrong()
		}
		o = append(o, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, wrong()
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong()
	}
	return o, nil
}

// encode returns the object as compact JSON.
func (o object) encode() (json.RawMessage, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := encodeText(m.name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.raw)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func encodeText(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	// A key should read the same here and where it is pasted from.
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// size returns about how many bytes the object takes.
func (o object) size() int {
	size := 0
	for _, m := range o {
		size += len(m.name) + len(m.raw)
	}
	return size
}

func (o object) get(name string) json.RawMessage {
	if i := slices.IndexFunc(o, func(m member) bool { return m.name == name }); i >= 0 {
		return o[i].raw
	}
	return nil
}

// with returns the object with the member set, or without it if raw is nil.
func (o object) with(name string, raw json.RawMessage) object {
	i := slices.IndexFunc(o, func(m member) bool { return m.name == name })
	switch {
	case i < 0 && raw == nil:
		return o
	case i < 0:
		return append(slices.Clip(o), member{name, raw})
	case raw == nil:
		return slices.Delete(slices.Clone(o), i, i+1)
	}
	o = slices.Clone(o)
	o[i].raw = raw
	return o
}

// entryKey returns whose entry it is, and whether it can be anybody's.
func entryKey(name string) (store.CredentialKey, bool) {
	provider, profile, _ := strings.Cut(name, "#")
	key, err := store.NewCredentialKey(provider, profile)
	return key, err == nil && key.String() == strings.TrimRight(name, "/")
}

// isEntry reports whether the member is the entry of the key.
func isEntry(m member, key store.CredentialKey) bool {
	k, ok := entryKey(m.name)
	return ok && k == key
}

// entry returns the member for a key, the one without a slash first, and where
// it is; -1 if there is none.
func (o object) entry(key store.CredentialKey) int {
	if i := slices.IndexFunc(o, func(m member) bool { return m.name == key.String() && isEntry(m, key) }); i >= 0 {
		return i
	}
	return slices.IndexFunc(o, func(m member) bool { return isEntry(m, key) })
}

// withEntry returns the object with one entry for the key, or with none if raw
// is nil.
func (o object) withEntry(key store.CredentialKey, raw json.RawMessage) object {
	at := o.entry(key)
	out := make(object, 0, len(o)+1)
	for i, m := range o {
		switch {
		case i == at && raw != nil:
			out = append(out, member{key.String(), raw})
		case !isEntry(m, key):
			out = append(out, m)
		}
	}
	if at < 0 && raw != nil {
		out = append(out, member{key.String(), raw})
	}
	return out
}

// credential returns the credential of a key.
func (o object) credential(key store.CredentialKey) (store.Credential, error) {
	i := o.entry(key)
	if i < 0 {
		return store.Credential{}, store.ErrNotExist
	}
	return decodeCredential(key, o[i].raw)
}

// credentials returns all credentials by key, and the names of the entries
// that are none.
func (o object) credentials() (known []store.Credential, unknown []string) {
	for i, m := range o {
		key, ok := entryKey(m.name)
		if !ok || o.entry(key) != i {
			unknown = append(unknown, m.name)
			continue
		}
		c, err := decodeCredential(key, m.raw)
		if err != nil {
			unknown = append(unknown, m.name)
			continue
		}
		known = append(known, c)
	}
	slices.SortFunc(known, func(a, b store.Credential) int {
		return strings.Compare(a.CredentialKey.String(), b.CredentialKey.String())
	})
	slices.Sort(unknown)
	return known, unknown
}

// decodeCredential reads an entry. Its errors tell nothing of what is in it.
func decodeCredential(key store.CredentialKey, raw json.RawMessage) (store.Credential, error) {
	unknown := func(what string) (store.Credential, error) {
		return store.Credential{}, fmt.Errorf("%w: %s", store.ErrUnknown, what)
	}
	o, err := decodeObject(raw)
	if err != nil {
		return unknown("not an object")
	}
	c := store.Credential{CredentialKey: key}
	texts := map[string]string{}
	for _, m := range o {
		var s string
		if json.Unmarshal(m.raw, &s) == nil {
			texts[m.name] = s
		}
	}
	c.Kind, c.Method = store.CredentialKind(texts["type"]), texts["method"]
	switch c.Kind {
	case store.CredentialAPI:
		c.Key = store.NewSecretText(texts["key"])
	case store.CredentialOAuth:
		c.Access, c.Refresh = store.NewSecretText(texts["access"]), store.NewSecretText(texts["refresh"])
		c.AccountID, c.EnterpriseURL = texts["accountId"], texts["enterpriseUrl"]
		var ok bool
		if c.Expires, ok = decodeMillis(o.get("expires")); !ok {
			return unknown(`"expires" is not a number of milliseconds`)
		}
	case store.CredentialWellKnown:
		c.EnvName, c.Token = texts["key"], store.NewSecretText(texts["token"])
	default:
		return unknown("its type is not known")
	}
	// Without it nothing else is lost.
	c.Created, _ = decodeMillis(o.get("created"))
	if metadata, err := decodeObject(o.get("metadata")); err == nil {
		for _, m := range metadata {
			var s string
			if json.Unmarshal(m.raw, &s) == nil {
				if c.Metadata == nil {
					c.Metadata = map[string]string{}
				}
				c.Metadata[m.name] = s
			}
		}
	}
	if c.Validate() != nil {
		return unknown("it lacks what its type needs, or holds what cannot be sent")
	}
	return c, nil
}

// decodeMillis reads milliseconds since 1970. Nothing, 0 and what is later
// than any calendar are the zero time.
func decodeMillis(raw json.RawMessage) (time.Time, bool) {
	if raw == nil {
		return time.Time{}, true
	}
	var ms float64
	if err := json.Unmarshal(raw, &ms); err != nil || ms < 0 || math.IsNaN(ms) {
		return time.Time{}, false
	}
	if ms == 0 || ms >= never {
		return time.Time{}, true
	}
	return time.UnixMilli(int64(ms)).UTC(), true
}

func encodeMillis(t time.Time) json.RawMessage {
	if t.IsZero() {
		return json.RawMessage("0")
	}
	return fmt.Appendf(nil, "%d", t.UnixMilli())
}

// normalCredential returns a copy as it reads after a round through the file.
func normalCredential(c store.Credential) (store.Credential, error) {
	key, err := store.NewCredentialKey(c.Provider, c.Profile)
	if err != nil {
		return store.Credential{}, err
	}
	c.CredentialKey = key
	for _, t := range []*time.Time{&c.Created, &c.Expires} {
		if t.IsZero() {
			*t = time.Time{}
			continue
		}
		if ms := t.UnixMilli(); ms <= 0 || ms >= never {
			return store.Credential{}, fmt.Errorf("credential %q: %w: a time is before 1970 or after 9999", key, store.ErrCredential)
		}
		*t = time.UnixMilli(t.UnixMilli()).UTC()
	}
	c.Metadata = maps.Clone(c.Metadata)
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	return c, c.Validate()
}

func sameCredential(a, b store.Credential) bool {
	return a.CredentialKey == b.CredentialKey && a.Kind == b.Kind && a.Method == b.Method &&
		a.Key.Equal(b.Key) && a.Access.Equal(b.Access) && a.Refresh.Equal(b.Refresh) && a.Token.Equal(b.Token) &&
		a.Expires.Equal(b.Expires) && a.Created.Equal(b.Created) && a.AccountID == b.AccountID &&
		a.EnterpriseURL == b.EnterpriseURL && a.EnvName == b.EnvName && maps.Equal(a.Metadata, b.Metadata)
}

// encodeCredential returns the entry of a credential. Of old, the entry that
// it replaces, everything stays that the credential does not change.
func encodeCredential(c store.Credential, old json.RawMessage) (json.RawMessage, error) {
	o, err := decodeObject(old)
	was, wasErr := decodeCredential(c.CredentialKey, old)
	if err != nil || wasErr != nil || was.Kind != c.Kind {
		o, was = nil, store.Credential{}
	}
	set := func(name, before, now string, always bool) {
		switch {
		case now == "" && !always:
			if before != "" {
				o = o.with(name, nil)
			}
		case before != now || o.get(name) == nil:
			var raw json.RawMessage
			if raw, err = encodeText(now); err == nil {
				o = o.with(name, raw)
			}
		}
	}
	setTime := func(name string, before, now time.Time, always bool) {
		if !before.Equal(now) || always && o.get(name) == nil {
			o = o.with(name, encodeMillis(now))
		}
	}
	err = nil
	set("type", string(was.Kind), string(c.Kind), true)
	switch c.Kind {
	case store.CredentialAPI:
		set("key", was.Key.Reveal(), c.Key.Reveal(), true)
	case store.CredentialOAuth:
		// All three must be there for other programs to read the entry.
		set("refresh", was.Refresh.Reveal(), c.Refresh.Reveal(), true)
		set("access", was.Access.Reveal(), c.Access.Reveal(), true)
		setTime("expires", was.Expires, c.Expires, true)
		set("accountId", was.AccountID, c.AccountID, false)
		set("enterpriseUrl", was.EnterpriseURL, c.EnterpriseURL, false)
	case store.CredentialWellKnown:
		set("key", was.EnvName, c.EnvName, true)
		set("token", was.Token.Reveal(), c.Token.Reveal(), true)
	}
	set("method", was.Method, c.Method, false)
	setTime("created", was.Created, c.Created, false)
	if err != nil {
		return nil, err
	}
	if !maps.Equal(was.Metadata, c.Metadata) {
		if o, err = withMetadata(o, was.Metadata, c.Metadata); err != nil {
			return nil, err
		}
	}
	return o.encode()
}

// withMetadata returns the entry with other metadata. Those that are no text
// stay.
func withMetadata(o object, before, now map[string]string) (object, error) {
	// What is no object was nothing that could be understood.
	metadata, _ := decodeObject(o.get("metadata"))
	for name := range before {
		if _, ok := now[name]; !ok {
			metadata = metadata.with(name, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if old, ok := before[name]; ok && old == now[name] {
			continue
		}
		raw, err := encodeText(now[name])
		if err != nil {
			return nil, err
		}
		metadata = metadata.with(name, raw)
	}
	raw, err := metadata.encode()
	if err != nil {
		return nil, err
	}
	return o.with("metadata", raw), nil
}

// encodeDocument returns the text of the file, in the form of other programs.
func encodeDocument(o object) ([]byte, error) {
	raw, err := o.encode()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// decodeDocument reads the text of the file. Without any it has no entries.
func decodeDocument(data []byte) (object, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	return decodeObject(data)
}
