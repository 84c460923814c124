package file

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"opencode/store"
)

// The format of the file, version 1:
//
//	{"version":1,"tokens":[
//	{"id":"tok_…","name":"ci","hash":"<64 hex digits>","permissions":["read"],"attributes":{},"created":"<RFC 3339>","expires":null,"last_used":null}
//	]}
//
// It is read strictly. Each key is there exactly once and none else: without
// "expires" a token would otherwise never expire, and of two "permissions" the
// wrong one could count.
const formatVersion = 1

// What tokens may hold.
const (
	maxIDBytes    = 64
	maxNameBytes  = 200
	maxAttributes = 64
	maxValueBytes = 1024
)

// Permissions returns the permissions that a token can have.
func Permissions() []string { return []string{"read", "write", "execute"} }

type tokenJSON struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Hash        string            `json:"hash"`
	Permissions []string          `json:"permissions"`
	Attributes  map[string]string `json:"attributes"`
	Created     time.Time         `json:"created"`
	Expires     *time.Time        `json:"expires"`
	LastUsed    *time.Time        `json:"last_used"`
}

// encodeTokens writes one token on each line.
func encodeTokens(tokens []store.Token) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"version":%d,"tokens":[`, formatVersion)
	for i := range tokens {
		t := &tokens[i]
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		line, err := json.Marshal(tokenJSON{
			ID: t.ID, Name: t.Name, Hash: hex.EncodeToString(t.Hash[:]),
			Permissions: append([]string{}, t.Permissions...),
			Attributes:  nonNil(t.Attributes),
			Created:     t.Created, Expires: timeOrNil(t.Expires), LastUsed: timeOrNil(t.LastUsed),
		})
		if err != nil {
			return nil, fmt.Errorf("encode token %q: %w", t.ID, err)
		}
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// decodeTokens reads what encodeTokens wrote. Its errors are [store.ErrNewer]
// and [store.ErrCorrupt], with the problem.
func decodeTokens(data []byte) ([]store.Token, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8", store.ErrCorrupt)
	}
	// A newer version may differ in everything else.
	var head struct {
		Version json.RawMessage `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, atLine(data, err))
	}
	version, err := strconv.Atoi(string(head.Version))
	switch {
	case err != nil || version < 1:
		return nil, fmt.Errorf("%w: version: want a number from 1", store.ErrCorrupt)
	case version > formatVersion:
		return nil, fmt.Errorf("%w: version %d, want at most %d", store.ErrNewer, version, formatVersion)
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data))}
	tokens, err := d.document()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return tokens, nil
}

func atLine(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	end := min(max(syntax.Offset, 0), int64(len(data)))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:end], []byte("\n")), err)
}

// decoder reads objects key by key, since encoding/json is too kind to them: it
// takes a key in any case, the last of two equal ones, and does without any.
type decoder struct{ json *json.Decoder }

func (d decoder) document() (tokens []store.Token, err error) {
	err = d.object([]string{"version", "tokens"}, func(key string) error {
		if key == "version" {
			_, err := value[int](d)
			return err
		}
		return d.array(func(i int) error {
			t, err := d.token()
			if err != nil {
				return fmt.Errorf("tokens[%d]: %w", i, err)
			}
			tokens = append(tokens, t)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows the end")
	}
	return tokens, nil
}

func (d decoder) token() (t store.Token, err error) {
	keys := []string{"id", "name", "hash", "permissions", "attributes", "created", "expires", "last_used"}
	err = d.object(keys, func(key string) (err error) {
		switch key {
		case "id":
			t.ID, err = value[string](d)
		case "name":
			t.Name, err = value[string](d)
		case "hash":
			t.Hash, err = d.hash()
		case "permissions":
			err = d.array(func(int) error {
				p, err := value[string](d)
				t.Permissions = append(t.Permissions, p)
				return err
			})
		case "attributes":
			attributes := make(map[string]string)
			err = d.object(nil, func(key string) (err error) {
				attributes[key], err = value[string](d)
				return err
			})
			if len(attributes) > 0 {
				t.Attributes = attributes
			}
		case "created":
			t.Created, err = d.time(false)
		case "expires":
			t.Expires, err = d.time(true)
		case "last_used":
			t.LastUsed, err = d.time(true)
		}
		return err
	})
	if err != nil {
		return store.Token{}, err
	}
	return t, validate(t)
}

// object reads an object with exactly the given keys, or with any if there are
// none given. The function reads the value of each.
func (d decoder) object(keys []string, read func(key string) error) error {
	if err := d.delim('{', "an object"); err != nil {
		return err
	}
	seen := make([]string, 0, len(keys))
	for d.json.More() {
		tok, err := d.json.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		switch {
		case !ok:
			return errors.New("want a key")
		case slices.Contains(seen, key):
			return fmt.Errorf("key %q is there twice", key)
		case keys != nil && !slices.Contains(keys, key):
			return fmt.Errorf("key %q is unknown", key)
		case len(seen) > maxAttributes:
			return errors.New("too many keys")
		}
		seen = append(seen, key)
		if err := read(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, key := range keys {
		if !slices.Contains(seen, key) {
			return fmt.Errorf("key %q is missing", key)
		}
	}
	return d.delim('}', "the end of an object")
}

func (d decoder) array(read func(i int) error) error {
	if err := d.delim('[', "an array"); err != nil {
		return err
	}
	for i := 0; d.json.More(); i++ {
		if err := read(i); err != nil {
			return err
		}
	}
	return d.delim(']', "the end of an array")
}

func (d decoder) delim(want json.Delim, name string) error {
	tok, err := d.json.Token()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("want %s", name)
	}
	return nil
}

// value reads one value, which must not be null.
func value[T any](d decoder) (v T, err error) {
	var p *T
	if err := d.json.Decode(&p); err != nil {
		return v, err
	}
	if p == nil {
		return v, errors.New("is null")
	}
	return *p, nil
}

func (d decoder) hash() (hash [32]byte, err error) {
	s, err := value[string](d)
	if err != nil {
		return hash, err
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(hash) {
		// Without the text: a raw token may have been put here by mistake.
		return hash, fmt.Errorf("want %d hexadecimal digits", 2*len(hash))
	}
	return [32]byte(b), nil
}

// time reads a time. The zero time would mean never, which only null says.
func (d decoder) time(orNull bool) (time.Time, error) {
	var s *string
	if err := d.json.Decode(&s); err != nil {
		return time.Time{}, err
	}
	if s == nil {
		if !orNull {
			return time.Time{}, errors.New("is null")
		}
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, *s)
	if err != nil || at.IsZero() {
		return time.Time{}, errors.New("want a time as 2006-01-02T15:04:05Z")
	}
	return at.UTC(), nil
}

// validate says what may be kept. Names and attributes are shown to people and
// policies, so they hold nothing that a terminal would obey.
func validate(t store.Token) error {
	switch {
	case t.ID == "" || len(t.ID) > maxIDBytes || !isPlain(t.ID, "-_"):
		return fmt.Errorf("id: want 1 to %d letters, digits, - and _", maxIDBytes)
	case len(t.Name) > maxNameBytes || !isPrintable(t.Name):
		return fmt.Errorf("name: want at most %d bytes of printable text", maxNameBytes)
	case t.Hash == [32]byte{}:
		return errors.New("hash: is zero")
	case t.Created.IsZero():
		return errors.New("created: is zero")
	case len(t.Attributes) > maxAttributes:
		return fmt.Errorf("attributes: want at most %d", maxAttributes)
	}
	for i, p := range t.Permissions {
		if !slices.Contains(Permissions(), p) {
			return fmt.Errorf("permissions: %q is unknown, want read, write or execute", p)
		}
		if slices.Contains(t.Permissions[:i], p) {
			return fmt.Errorf("permissions: %q is there twice", p)
		}
	}
	for k, v := range t.Attributes {
		if k == "" || len(k) > maxIDBytes || !isPlain(k, "-_.") {
			return fmt.Errorf("attributes: key %q: want 1 to %d letters, digits, dots, - and _", k, maxIDBytes)
		}
		if len(v) > maxValueBytes || !isPrintable(v) {
			return fmt.Errorf("attributes: %s: want at most %d bytes of printable text", k, maxValueBytes)
		}
	}
	for _, at := range []time.Time{t.Created, t.Expires, t.LastUsed} {
		if y := at.UTC().Year(); y < 1 || y > 9999 {
			return fmt.Errorf("time: year %d cannot be written", y)
		}
	}
	return nil
}

func isPlain(s, more string) bool {
	for _, c := range []byte(s) {
		isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !isLetter && (c < '0' || c > '9') && !bytes.Contains([]byte(more), []byte{c}) {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}
