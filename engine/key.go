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
	// A slice that grows would be written back for each fact, and whoever writes a
	// pointer while the garbage collector marks pays for it.
	room [keyBytes]byte
	used int
	// lost says that something has no exact form here, or no room, so that there
	// is no key.
	lost bool
}

const (
	// keyBytes is the longest key. What is longer is decided each time.
	keyBytes = 16 << 10
	// keyDepth is how deep an argument may be nested.
	keyDepth = 32
)

func newKey() any { return &key{} }

func (k *key) reset() { k.used, k.lost = 0, false }

// bytes returns the key, until it is reset.
func (k *key) bytes() []byte { return k.room[:k.used] }

// isLost reports whether there is no key.
func (k *key) isLost() bool { return k.lost }

func (k *key) number(n int64) {
	if len(k.room)-k.used < binary.MaxVarintLen64 {
		k.lost = true
		return
	}
	k.used += binary.PutVarint(k.room[k.used:], n)
}

func (k *key) size(n int) { k.unsigned(uint64(n)) } //nolint:gosec // G115: a length is not negative

func (k *key) unsigned(n uint64) {
	if len(k.room)-k.used < binary.MaxVarintLen64 {
		k.lost = true
		return
	}
	k.used += binary.PutUvarint(k.room[k.used:], n)
}

func (k *key) mark(c byte) {
	if k.used == len(k.room) {
		k.lost = true
		return
	}
	k.room[k.used] = c
	k.used++
}

func (k *key) flag(v bool) {
	if v {
		k.mark(1)
		return
	}
	k.mark(0)
}

func (k *key) text(s string) {
	k.size(len(s))
	if len(s) > len(k.room)-k.used {
		k.lost = true
		return
	}
	k.used += copy(k.room[k.used:], s)
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
		if k.lost {
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
	if depth > keyDepth || k.lost {
		k.lost = true
		return
	}
	switch v := v.(type) {
	case nil:
		k.mark('z')
	case bool:
		k.mark('b')
		k.flag(v)
	case string:
		k.mark('s')
		k.text(v)
	case json.Number:
		k.mark('n')
		k.text(string(v))
	case float64:
		k.mark('f')
		k.unsigned(math.Float64bits(v))
	case int:
		k.mark('i')
		k.number(int64(v))
	case int64:
		k.mark('i')
		k.number(v)
	case []any:
		k.mark('a')
		k.size(len(v))
		for _, e := range v {
			k.nested(e, depth+1)
		}
	case map[string]any:
		k.mark('o')
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
