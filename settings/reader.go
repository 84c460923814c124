package settings

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// reader reads values of a parsed file and notes what is wrong with them. No
// note quotes a value, since it may be a secret in the wrong place.
type reader struct {
	path string
	text []byte
	errs []error
}

// wrong notes that a value is not what is wanted.
func (r *reader) wrong(v hujson.Value, at, want string) {
	line := 1 + bytes.Count(r.text[:v.StartOffset], []byte("\n"))
	r.errs = append(r.errs, fmt.Errorf("%w: %s:%d: %s: want %s", ErrInvalid, r.path, line, at, want))
}

// members returns the members of an object. Names are exact: other spellings
// are other members.
func (r *reader) members(v hujson.Value, at string) iter.Seq2[string, hujson.Value] {
	return func(yield func(string, hujson.Value) bool) {
		object, ok := v.Value.(*hujson.Object)
		if !ok {
			r.wrong(v, at, "an object")
			return
		}
		for _, m := range object.Members {
			name, ok := m.Name.Value.(hujson.Literal)
			if ok && !yield(name.String(), m.Value) {
				return
			}
		}
	}
}

// entries reads an object of entries of one kind.
func entries[T any](r *reader, v hujson.Value, at string, read func(hujson.Value, string) T) map[string]T {
	all := map[string]T{}
	for name, v := range r.members(v, at) {
		all[name] = read(v, at+"."+name)
	}
	return all
}

// json returns an object as plain JSON, for a reader of its own.
func (r *reader) json(v hujson.Value, at string) []byte {
	if _, ok := v.Value.(*hujson.Object); !ok {
		r.wrong(v, at, "an object")
		return nil
	}
	plain := v.Clone()
	plain.Standardize()
	plain.Minimize()
	return plain.Pack()
}

func (r *reader) literal(v hujson.Value) hujson.Literal {
	l, _ := v.Value.(hujson.Literal)
	return l
}

// str reads a text.
func (r *reader) str(v hujson.Value, at string) string {
	l := r.literal(v)
	if l == nil || l.Kind() != '"' {
		r.wrong(v, at, "a text")
		return ""
	}
	return l.String()
}

// texts reads an array of texts.
func (r *reader) texts(v hujson.Value, at string) []string {
	array, ok := v.Value.(*hujson.Array)
	if !ok {
		r.wrong(v, at, "an array of texts")
		return nil
	}
	list := make([]string, 0, len(array.Elements))
	for i, e := range array.Elements {
		list = append(list, r.str(e, fmt.Sprintf("%s[%d]", at, i)))
	}
	return list
}

// oneOf reads a text that must be one of some.
func (r *reader) oneOf(v hujson.Value, at string, allowed ...string) string {
	l := r.literal(v)
	if l == nil || l.Kind() != '"' || !slices.Contains(allowed, l.String()) {
		r.wrong(v, at, "one of "+strings.Join(allowed, ", "))
		return ""
	}
	return l.String()
}

func (r *reader) color(v hujson.Value, at string) string {
	text := r.str(v, at)
	named := []string{"primary", "secondary", "accent", "success", "warning", "error", "info", ""}
	if !slices.Contains(named, text) && !regexp.MustCompile(`^#[0-9a-fA-F]{6}$`).MatchString(text) {
		r.wrong(v, at, "#rrggbb, primary, secondary, accent, success, warning, error or info")
		return ""
	}
	return text
}

func isBool(v hujson.Value) bool {
	l, ok := v.Value.(hujson.Literal)
	return ok && (l.Kind() == 't' || l.Kind() == 'f')
}

func (r *reader) flag(v hujson.Value, at string) bool {
	if !isBool(v) {
		r.wrong(v, at, "true or false")
		return false
	}
	return r.literal(v).Bool()
}

// numbers reads an object's numbers, and passes over its other members.
func (r *reader) numbers(v hujson.Value, at string) map[string]float64 {
	all := map[string]float64{}
	for name, v := range r.members(v, at) {
		l := r.literal(v)
		if l == nil || l.Kind() != '0' {
			continue
		}
		if n := l.Float(); n >= 0 && !math.IsInf(n, 0) {
			all[name] = n
		} else {
			r.wrong(v, at+"."+name, "a number of at least 0")
		}
	}
	return all
}
