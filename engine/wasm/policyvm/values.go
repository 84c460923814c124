package policyvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// appendJSON appends a value as JSON. OPA writes values as Rego does, with
// escapes in strings that JSON lacks: a guest would not read such an input,
// and would decide without one.
func appendJSON(b []byte, v ast.Value) ([]byte, error) { return appendValue(b, v, false) }

// appendValue appends a value as JSON, in which a set may stand as Rego has it.
func appendValue(b []byte, v ast.Value, sets bool) ([]byte, error) {
	switch v := v.(type) {
	case ast.Null:
		return append(b, "null"...), nil
	case ast.Boolean:
		if v {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	case ast.Number:
		return append(b, v...), nil
	case ast.String:
		return appendString(b, string(v))
	case *ast.Array:
		return appendList(b, '[', ']', v.Len(), v.Iter, sets)
	case ast.Set:
		switch {
		case !sets:
			return nil, errors.New("holds a set, which is no JSON")
		case v.Len() == 0:
			return append(b, "set()"...), nil
		}
		return appendList(b, '{', '}', v.Len(), v.Iter, sets)
	case ast.Object:
		return appendObject(b, v, sets)
	case nil:
		return nil, errors.New("is undefined")
	}
	return nil, fmt.Errorf("holds %s, which is no data", ast.ValueName(v))
}

func appendList(b []byte, first, last byte, n int, each func(func(*ast.Term) error) error, sets bool) ([]byte, error) {
	b = append(b, first)
	at := 0
	err := each(func(t *ast.Term) error {
		var err error
		b, err = appendValue(b, t.Value, sets)
		if at++; at < n {
			b = append(b, ',')
		}
		return err
	})
	return append(b, last), err
}

func appendObject(b []byte, o ast.Object, sets bool) ([]byte, error) {
	b = append(b, '{')
	at := 0
	err := o.Iter(func(k, v *ast.Term) error {
		if _, ok := k.Value.(ast.String); !ok && !sets {
			return errors.New("holds an object with a key that is no string, which is no JSON")
		}
		if at++; at > 1 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, k.Value, sets); err != nil {
			return err
		}
		b, err = appendValue(append(b, ':'), v.Value, sets)
		return err
	})
	return append(b, '}'), err
}

// appendString appends a text. What is not UTF-8 has no form in JSON: the
// guest would see another text than the one that takes effect.
func appendString(b []byte, s string) ([]byte, error) {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"'), nil
	}
	if !utf8.ValidString(s) {
		return nil, errors.New("holds a text that is not UTF-8")
	}
	quoted, err := json.Marshal(s)
	return append(b, quoted...), err
}

// decodeResult reads the result of an evaluation: a set with an object that
// has the member result, or an empty set if it is undefined.
func decodeResult(text string) (ast.Value, error) {
	v, err := decodeValue(text)
	if err != nil {
		return nil, err
	}
	set, ok := v.(ast.Set)
	if !ok || set.Len() > 1 {
		return nil, errors.New("gives a result of the wrong shape")
	}
	if set.Len() == 0 {
		return nil, nil //nolint:nilnil // undefined is an answer
	}
	object, ok := set.Slice()[0].Value.(ast.Object)
	if !ok || object.Len() != 1 {
		return nil, errors.New("gives a result of the wrong shape")
	}
	result := object.Get(ast.StringTerm("result"))
	if result == nil {
		return nil, errors.New("gives a result of the wrong shape")
	}
	return result.Value, nil
}

// decodeValue reads a value that a guest has written. Only plain data is a
// value: a variable or a reference would take part in the evaluation of those
// who read it.
func decodeValue(text string) (ast.Value, error) {
	term, err := ast.ParseTerm(text)
	if err != nil {
		return nil, errors.New("gives what is no value")
	}
	if err := checkData(term.Value); err != nil {
		return nil, err
	}
	return term.Value, nil
}

func checkData(v ast.Value) error {
	one := func(t *ast.Term) error { return checkData(t.Value) }
	switch v := v.(type) {
	case ast.Null, ast.Boolean, ast.Number, ast.String:
		return nil
	case *ast.Array:
		return v.Iter(one)
	case ast.Set:
		return v.Iter(one)
	case ast.Object:
		return v.Iter(func(k, v *ast.Term) error { return errors.Join(one(k), one(v)) })
	}
	return fmt.Errorf("gives %s, which is no data", ast.ValueName(v))
}
