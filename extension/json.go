package extension

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds how deep arrays and objects lie within each other.
const maxDepth = 64

// maxNumber bounds the text of a number, and maxExponent its exponent: Rego
// computes with the exact value, whose digits the exponent would multiply.
const (
	maxNumber   = 64
	maxExponent = 308
)

// Decode reads one JSON value as results are read: numbers keep their text.
func Decode(b []byte) (any, error) { return decodeJSON(b) }

// decodeJSON reads exactly one JSON value from memory that a guest has filled.
// It refuses more than the grammar does: a key that is given twice, text that
// is not UTF-8, and what is too deep or too large to compute with.
func decodeJSON(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	d := jsonReader{b: b}
	d.space()
	v, err := d.value(0)
	if err != nil {
		return nil, fmt.Errorf("is not the JSON that is wanted, at byte %d: %w", d.at, err)
	}
	if d.space(); d.at != len(b) {
		return nil, fmt.Errorf("has more than one JSON value, at byte %d", d.at)
	}
	return v, nil
}

// jsonReader reads JSON; at is how far it has come.
type jsonReader struct {
	b  []byte
	at int
}

var (
	errEnd    = errors.New("it ends too early")
	errSyntax = errors.New("this cannot stand here")
)

func (d *jsonReader) space() {
	for d.at < len(d.b) {
		switch d.b[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// next passes over white space and returns the byte after it, 0 at the end.
func (d *jsonReader) next() byte {
	d.space()
	if d.at == len(d.b) {
		return 0
	}
	return d.b[d.at]
}

func (d *jsonReader) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is more than %d deep", maxDepth)
	}
	switch c := d.next(); {
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.text()
	case c == '-' || '0' <= c && c <= '9':
		return d.number()
	case c == 't':
		return true, d.word("true")
	case c == 'f':
		return false, d.word("false")
	case c == 'n':
		return nil, d.word("null")
	case c == 0 && d.at == len(d.b):
		return nil, errEnd
	}
	return nil, errSyntax
}

func (d *jsonReader) word(w string) error {
	if !bytes.HasPrefix(d.b[d.at:], []byte(w)) {
		return errSyntax
	}
	d.at += len(w)
	return nil
}

func (d *jsonReader) array(depth int) (any, error) {
	d.at++
	list := []any{}
	if d.next() == ']' {
		d.at++
		return list, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if more, err := d.more(']'); err != nil || !more {
			return list, err
		}
	}
}

func (d *jsonReader) object(depth int) (any, error) {
	d.at++
	object := map[string]any{}
	if d.next() == '}' {
		d.at++
		return object, nil
	}
	for {
		if d.next() != '"' {
			return nil, errSyntax
		}
		key, err := d.text()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the key %q is given twice", key)
		}
		if d.next() != ':' {
			return nil, errSyntax
		}
		d.at++
		if object[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
		if more, err := d.more('}'); err != nil || !more {
			return object, err
		}
	}
}

// more reads what stands between two members or after the last one.
func (d *jsonReader) more(end byte) (bool, error) {
	switch d.next() {
	case ',':
		d.at++
		return true, nil
	case end:
		d.at++
		return false, nil
	}
	return false, errSyntax
}

// text reads a string. Its end is found here; what escapes mean is for the
// standard library to say.
func (d *jsonReader) text() (string, error) {
	begin, escaped := d.at, false
	for i := begin + 1; i < len(d.b); i++ {
		switch c := d.b[i]; {
		case c == '"':
			d.at = i + 1
			if !escaped {
				return string(d.b[begin+1 : i]), nil
			}
			var s string
			err := json.Unmarshal(d.b[begin:i+1], &s)
			return s, err
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			d.at = i
			return "", errSyntax
		}
	}
	d.at = len(d.b)
	return "", errEnd
}

// number reads a number and keeps its text.
func (d *jsonReader) number() (any, error) {
	begin := d.at
	for d.at < len(d.b) && bytes.IndexByte([]byte("+-.0123456789Ee"), d.b[d.at]) >= 0 {
		d.at++
	}
	text := d.b[begin:d.at]
	if len(text) > maxNumber {
		return nil, fmt.Errorf("the number has more than %d characters", maxNumber)
	}
	if !json.Valid(text) {
		return nil, errSyntax
	}
	if e := bytes.IndexAny(text, "eE"); e >= 0 {
		n, err := strconv.Atoi(string(text[e+1:]))
		if err != nil || n > maxExponent || n < -maxExponent {
			return nil, fmt.Errorf("the number's exponent is beyond %d", maxExponent)
		}
	}
	return json.Number(text), nil
}
