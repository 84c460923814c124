package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// appendJSON appends a value as JSON. What JSON has no form for is an error: a
// set as an array, a key that is a number as a string, or U+FFFD for what is not
// UTF-8, would make two values look alike to who reads them.
func appendJSON(b []byte, v ast.Value) ([]byte, error) {
	switch v := v.(type) {
	case ast.Null:
		return append(b, "null"...), nil
	case ast.Boolean:
		if v {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	case ast.Number:
		if !json.Valid([]byte(v)) {
			return nil, fmt.Errorf("the number %s is not one of JSON", v)
		}
		return append(b, v...), nil
	case ast.String:
		return appendText(b, string(v))
	case *ast.Array:
		b = append(b, '[')
		var err error
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, v.Elem(i).Value); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case ast.Object:
		return appendObject(b, v)
	}
	return nil, fmt.Errorf("a %s has no form in JSON", ast.ValueName(v))
}

func appendObject(b []byte, object ast.Object) ([]byte, error) {
	b = append(b, '{')
	first := true
	err := object.Iter(func(k, v *ast.Term) (err error) {
		name, ok := k.Value.(ast.String)
		if !ok {
			return fmt.Errorf("an object with the key %s has no form in JSON", k)
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if b, err = appendText(b, string(name)); err != nil {
			return err
		}
		b, err = appendJSON(append(b, ':'), v.Value)
		return err
	})
	if err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// appendText appends a string as JSON, with no more escapes than JSON demands.
func appendText(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("holds a text that is not UTF-8, which has no form in JSON")
	}
	b = append(b, '"')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return append(appendEscaped(append(b, s[:i]...), s[i:]), '"'), nil
		}
	}
	return append(append(b, s...), '"'), nil
}

func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&0xf])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
