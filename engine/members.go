package engine

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// shape is what an object of the input can hold: it makes of a T both a key and
// a value. Narrowed to what a query reads, it passes over everything else.
type shape[T any] []member[T]

// member is one member of an object that is made of a T.
type member[T any] struct {
	name *ast.Term
	key  func(k *key, v *T)
	// term returns the value, nil if the member is not there.
	term func(v *T) (*ast.Term, error)
	// narrow returns the member with only what is in the set. It is nil if the
	// member is taken whole.
	narrow func(p *pathSet) member[T]
}

// narrow returns the members in the set.
func (s shape[T]) narrow(p *pathSet) shape[T] {
	if p.whole {
		return s
	}
	var out shape[T]
	for _, m := range s {
		below := p.of(m.text())
		switch {
		case below == nil:
		case below.whole || m.narrow == nil:
			out = append(out, m)
		default:
			out = append(out, m.narrow(below))
		}
	}
	return out
}

func (m member[T]) text() string {
	name, _ := m.name.Value.(ast.String)
	return string(name)
}

func (s shape[T]) key(k *key, v *T) {
	for i := range s {
		s[i].key(k, v)
	}
}

func (s shape[T]) term(v *T) (*ast.Term, error) {
	var room [16][2]*ast.Term
	members := room[:0]
	for i := range s {
		t, err := s[i].term(v)
		if err != nil {
			return nil, err
		}
		if t != nil {
			members = append(members, [2]*ast.Term{s[i].name, t})
		}
	}
	return ast.ObjectTerm(members...), nil
}

// leaf is a member that is taken whole.
func leaf[T, V any](name string, of func(*T) V, put func(*key, V), term func(V) *ast.Term) member[T] {
	return member[T]{
		name: ast.StringTerm(name),
		key:  func(k *key, v *T) { put(k, of(v)) },
		term: func(v *T) (*ast.Term, error) { return term(of(v)), nil },
	}
}

func str[T any](name string, of func(*T) string) member[T] {
	return leaf(name, of, (*key).text, strTerm)
}

func boolean[T any](name string, of func(*T) bool) member[T] {
	return leaf(name, of, (*key).flag, ast.InternedTerm[bool])
}

func integer[T any](name string, of func(*T) int64) member[T] {
	return leaf(name, of, (*key).number, intTerm)
}

func optional[T any](name string, of func(*T) *string) member[T] {
	return leaf(name, of, (*key).optional, optionalTerm)
}

func strs[T any](name string, of func(*T) []string) member[T] {
	return leaf(name, of, (*key).texts, textsTerm)
}

// list is a member that is an array of objects.
func list[T, E any](name string, of func(*T) []E, put func(*key, *E), term func(*E) *ast.Term) member[T] {
	return member[T]{
		name: ast.StringTerm(name),
		key:  func(k *key, v *T) { keyList(k, of(v), put) },
		term: func(v *T) (*ast.Term, error) { return listTerm(of(v), term), nil },
	}
}

// part is a member that is an object, made of what of returns. If that is
// nil, the member is the term none, or is not there if that is nil too.
func part[T, V any](name string, of func(*T) *V, none *ast.Term, s shape[V]) member[T] {
	return member[T]{
		name: ast.StringTerm(name),
		key: func(k *key, v *T) {
			p := of(v)
			k.flag(p != nil)
			if p != nil {
				s.key(k, p)
			}
		},
		term: func(v *T) (*ast.Term, error) {
			p := of(v)
			if p == nil {
				return none, nil
			}
			return s.term(p)
		},
		narrow: func(p *pathSet) member[T] { return part(name, of, none, s.narrow(p)) },
	}
}

// table is a member that is an object with names of the sender's choice.
// Narrowed, it holds only those that are asked for.
func table[T, V any](name string, of func(*T) map[string]V, put func(*key, V), check func(V) bool, term func(V) (*ast.Term, error)) member[T] {
	m := member[T]{
		name: ast.StringTerm(name),
		key:  func(k *key, v *T) { keyMap(k, of(v), put) },
		term: func(v *T) (*ast.Term, error) {
			entries := of(v)
			members := make([][2]*ast.Term, 0, len(entries))
			for name, entry := range entries {
				t, err := term(entry)
				if err != nil {
					return nil, err
				}
				members = append(members, [2]*ast.Term{ast.StringTerm(name), t})
			}
			return ast.ObjectTerm(members...), nil
		},
	}
	m.narrow = func(p *pathSet) member[T] {
		names := slices.Sorted(maps.Keys(p.members))
		terms := make([]*ast.Term, len(names))
		for i, name := range names {
			terms[i] = ast.StringTerm(name)
		}
		return member[T]{
			name: m.name,
			key: func(k *key, v *T) {
				entries := of(v)
				for _, name := range names {
					entry, ok := entries[name]
					k.flag(ok)
					if ok {
						put(k, entry)
					}
				}
				if check == nil {
					return
				}
				for _, entry := range entries {
					k.lost = k.lost || !check(entry)
				}
			},
			term: func(v *T) (*ast.Term, error) {
				entries := of(v)
				members := make([][2]*ast.Term, 0, len(names))
				for i, name := range names {
					entry, ok := entries[name]
					if !ok {
						continue
					}
					t, err := term(entry)
					if err != nil {
						return nil, err
					}
					members = append(members, [2]*ast.Term{terms[i], t})
				}
				if check == nil {
					return ast.ObjectTerm(members...), nil
				}
				// What nobody reads must be of a form that could be read.
				for _, entry := range entries {
					if check(entry) {
						continue
					}
					if _, err := term(entry); err != nil {
						return nil, err
					}
				}
				return ast.ObjectTerm(members...), nil
			},
		}
	}
	return m
}
