package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"
	"go.yaml.in/yaml/v3"
)

// document reads a data file as the document at its place in the tree: the
// folder of the file is its path, as in a bundle.
func (f file) document() (map[string]any, error) {
	v, err := f.value()
	if err != nil {
		return nil, err
	}
	dir := path.Dir(f.rel)
	if dir != "." {
		folders := strings.Split(dir, "/")
		for _, folder := range slices.Backward(folders) {
			v = map[string]any{folder: v}
		}
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: is not an object", f.name)
	}
	return doc, nil
}

// value reads a data file. What a reader would pass over in silence is an
// error: a second document, and a key that is given twice.
func (f file) value() (any, error) {
	if strings.HasSuffix(f.rel, ".json") {
		return f.jsonValue()
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.data))
	var first, second yaml.Node
	if err := dec.Decode(&first); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: has more than one YAML document", f.name)
	}
	var parsed, v any
	if err := first.Decode(&parsed); err != nil { // refuses a key that is given twice
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if err := util.Unmarshal(f.data, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return v, nil
}

func (f file) jsonValue() (any, error) {
	var v any
	dec := util.NewJSONDecoder(bytes.NewReader(f.data))
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %w", f.position(err), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: has more than one JSON value", f.name)
	}
	if key, end, twice := repeatedKey(f.data); twice {
		return nil, fmt.Errorf("%s: the key %q is given twice", f.line(end), key)
	}
	return v, nil
}

// position returns the file's name with the line of a JSON error.
func (f file) position(err error) string {
	offset := int64(len(f.data))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = min(syntax.Offset, offset)
	}
	return f.line(offset)
}

// line returns the file's name with the line of an offset.
func (f file) line(offset int64) string {
	return f.name + ":" + strconv.Itoa(1+bytes.Count(f.data[:offset], []byte("\n")))
}

// merger joins documents and remembers which file set what, so that a conflict
// names both.
type merger map[string]string

// add adds the document from, of the named file, to the document into, which
// takes it over. Objects merge; for anything else two values are a conflict.
func (m merger) add(into, from map[string]any, name, at string) error {
	return m.merge(into, from, name, at, name)
}

// merge is add for a document into that is of one file but for what the merger
// has remembered of places below it.
func (m merger) merge(into, from map[string]any, name, at, of string) error {
	var errs []error
	for _, key := range util.KeysSorted(from) {
		value, path := from[key], at+"."+key
		old, ok := into[key]
		if !ok {
			into[key], m[path] = value, name
			continue
		}
		owner, known := m[path]
		if !known {
			owner = of
		}
		oldObject, oldIs := old.(map[string]any)
		newObject, newIs := value.(map[string]any)
		switch {
		case oldIs && newIs:
			errs = append(errs, m.merge(oldObject, newObject, name, path, owner))
		case !equalJSON(old, value):
			errs = append(errs, fmt.Errorf("%s: sets %s to another value than %s", name, path, owner))
		}
	}
	return errors.Join(errs...)
}

// override adds the document from to the document into. Objects merge; for
// anything else the later one wins.
func override(into, from map[string]any) {
	for key, value := range from {
		oldObject, oldIs := into[key].(map[string]any)
		newObject, newIs := value.(map[string]any)
		if oldIs && newIs {
			override(oldObject, newObject)
			continue
		}
		into[key] = value
	}
}

func equalJSON(a, b any) bool { return util.Compare(a, b) == 0 }
