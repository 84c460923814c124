package engine

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
)

// key gathers what is read of an input, exactly: whoever sends requests or
// makes the model call tools shapes it, and must not be able to make two inputs
// that share a decision. Every text has its length before it and every list its
// count, so that no two have one key.
type key struct {
	b []byte
	// lost says that something has no exact form here, so that there is no key.
	lost bool
}

const (
	// keyRoom is how long a key may be to be made without an allocation.
	keyRoom = 4 << 10
	// keyBytes is the longest key. What is longer is decided each time.
	keyBytes = 16 << 10
	// keyDepth is how deep an argument may be nested.
	keyDepth = 32
)

func newKey() any { return &key{b: make([]byte, 0, keyRoom)} }

func (k *key) reset() { k.b, k.lost = k.b[:0], false }

// isLost reports whether there is no key.
func (k *key) isLost() bool { return k.lost || len(k.b) > keyBytes }

func (k *key) number(n int64) { k.b = binary.AppendVarint(k.b, n) }

func (k *key) size(n int) { k.b = binary.AppendUvarint(k.b, uint64(n)) } //nolint:gosec // G115: a length is not negative

func (k *key) flag(v bool) {
	if v {
		k.b = append(k.b, 1)
		return
	}
	k.b = append(k.b, 0)
}

func (k *key) text(s string) {
	k.size(len(s))
	if len(k.b)+len(s) > keyBytes {
		k.lost = true
		return
	}
	k.b = append(k.b, s...)
}

func (k *key) optional(s *string) {
	k.flag(s != nil)
	if s != nil {
		k.text(*s)
	}
}

func (k *key) texts(list []string) {
	k.size(len(list))
	for _, s := range list {
		k.text(s)
	}
}

func keyList[T any](k *key, list []T, each func(*key, *T)) {
	k.size(len(list))
	for i := range list {
		if k.lost || len(k.b) > keyBytes {
			k.lost = true
			return
		}
		each(k, &list[i])
	}
}

// keyMap adds a map in the order of its names.
func keyMap[V any](k *key, m map[string]V, each func(*key, V)) {
	k.size(len(m))
	var room [16]string
	names := room[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		k.text(name)
		each(k, m[name])
	}
}

// value adds an argument of a tool. Two that are one to Rego may have two keys;
// two that differ never have one.
func (k *key) value(v any) { k.nested(v, 0) }

func (k *key) nested(v any, depth int) {
	if depth > keyDepth || len(k.b) > keyBytes {
		k.lost = true
		return
	}
	switch v := v.(type) {
	case nil:
		k.b = append(k.b, 'z')
	case bool:
		k.b = append(k.b, 'b')
		k.flag(v)
	case string:
		k.b = append(k.b, 's')
		k.text(v)
	case json.Number:
		k.b = append(k.b, 'n')
		k.text(string(v))
	case float64:
		k.b = append(k.b, 'f')
		k.b = binary.LittleEndian.AppendUint64(k.b, math.Float64bits(v))
	case int:
		k.b = append(k.b, 'i')
		k.number(int64(v))
	case int64:
		k.b = append(k.b, 'i')
		k.number(v)
	case []any:
		k.b = append(k.b, 'a')
		k.size(len(v))
		for _, e := range v {
			k.nested(e, depth+1)
		}
	case map[string]any:
		k.b = append(k.b, 'o')
		k.size(len(v))
		var room [16]string
		names := room[:0]
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			k.text(name)
			k.nested(v[name], depth+1)
		}
	default:
		k.lost = true
	}
}

// isPlain reports whether an argument is of a form that JSON decodes to, as far
// as can be seen without looking into it.
func isPlain(v any) bool {
	switch v.(type) {
	case nil, bool, string, json.Number, float64, int, int64, []any, map[string]any:
		return true
	}
	return false
}
