package extension

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

// MaxManifestBytes bounds a manifest.
const MaxManifestBytes = 64 << 10

// maxFunctions bounds the functions of one module.
const maxFunctions = 64

// maxArguments bounds the arguments of one function.
const maxArguments = 16

// Type is a type of JSON values, by the name that Rego gives it.
type Type string

// The types of arguments and results.
const (
	Any     Type = "any"
	Array   Type = "array"
	Boolean Type = "boolean"
	Null    Type = "null"
	Number  Type = "number"
	Object  Type = "object"
	String  Type = "string"
)

var types = []Type{Any, Array, Boolean, Null, Number, Object, String}

// Manifest says what a module is and what it may use.
type Manifest struct {
	// Name is how Rego calls the module: its functions are ext.<name>.<function>.
	Name        string
	Description string
	// SHA256 is the hash of the module in hexadecimal, "" before it is packed.
	SHA256    string
	Limits    Limits
	Functions map[string]Function
}

// Limits bound each call.
type Limits struct {
	// Pages is how much memory an instance may have, in units of 64 KiB.
	Pages uint32
	// Time is how long one call may take.
	Time time.Duration
	// ResultBytes is how long a result may be, as JSON.
	ResultBytes uint32
}

// Function is the declaration of one function.
type Function struct {
	Description string
	Args        []Type
	Result      Type
	// Pure says that equal arguments have equal results, always, so that a
	// decision that depends on it may be kept.
	Pure bool
}

// maxMilliseconds is the longest time of a call.
const maxMilliseconds = 1000

// What a manifest gets that does not say, and the most that it can say.
var (
	defaultLimits = Limits{Pages: 512, Time: 200 * time.Millisecond, ResultBytes: 64 << 10}
	maxLimits     = Limits{Pages: 4096, Time: maxMilliseconds * time.Millisecond, ResultBytes: 1 << 20}
)

// nameForm is that of names which are written in Rego without quotes.
var nameForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`) })

// reserved cannot be names: they are words of Rego or exports with a meaning.
var reserved = []string{
	"as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some", "true", "with",
	"data", "input", exportMemory, exportAlloc, exportReset,
}

// CheckName says whether a module or a function can have a name.
func CheckName(name string) error {
	switch {
	case !nameForm().MatchString(name):
		return fmt.Errorf("name %q: want a lower-case letter, then letters, digits and _, 63 at most", name)
	case slices.Contains(reserved, name):
		return fmt.Errorf("name %q: is reserved", name)
	}
	return nil
}

// ParseManifest reads a manifest. What it does not know is an error: a limit
// that is spelled wrongly would otherwise not limit.
func ParseManifest(b []byte) (Manifest, error) {
	m := Manifest{Limits: defaultLimits}
	if len(b) > MaxManifestBytes {
		return m, fmt.Errorf("manifest: has more than %d bytes", MaxManifestBytes)
	}
	v, err := decodeJSON(b)
	if err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	r := manifestReader{}
	r.object(v, "manifest", map[string]func(any, string){
		"version":     r.version,
		"name":        func(v any, at string) { m.Name = r.name(v, at) },
		"description": func(v any, at string) { m.Description = r.text(v, at) },
		"sha256":      func(v any, at string) { m.SHA256 = r.sum(v, at) },
		"limits":      func(v any, at string) { r.limits(v, at, &m.Limits) },
		"functions":   func(v any, at string) { m.Functions = r.functions(v, at) },
	}, "version", "name", "functions")
	if err := errors.Join(r.errs...); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// manifestReader reads the members of a manifest and gathers what is wrong.
type manifestReader struct{ errs []error }

func (r *manifestReader) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// object reads an object whose members are all known and holds the required
// ones.
func (r *manifestReader) object(v any, at string, members map[string]func(any, string), required ...string) {
	object, ok := v.(map[string]any)
	if !ok {
		r.fail("%s: is not an object", at)
		return
	}
	for _, name := range sortedKeys(object) {
		read, known := members[name]
		if !known {
			r.fail("%s: member %q is not known", at, name)
			continue
		}
		read(object[name], at+"."+name)
	}
	for _, name := range required {
		if _, ok := object[name]; !ok {
			r.fail("%s: member %q is missing", at, name)
		}
	}
}

func (r *manifestReader) version(v any, at string) {
	if n, ok := v.(json.Number); !ok || n != "1" {
		r.fail("%s: want 1", at)
	}
}

func (r *manifestReader) text(v any, at string) string {
	s, ok := v.(string)
	if !ok {
		r.fail("%s: is not a string", at)
	}
	return s
}

func (r *manifestReader) name(v any, at string) string {
	s := r.text(v, at)
	if err := CheckName(s); err != nil {
		r.fail("%s: %w", at, err)
	}
	return s
}

var sumForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9a-f]{64})?$`) })

func (r *manifestReader) sum(v any, at string) string {
	s := r.text(v, at)
	if !sumForm().MatchString(s) {
		r.fail("%s: want 64 hexadecimal digits in lower case", at)
	}
	return s
}

func (r *manifestReader) limits(v any, at string, l *Limits) {
	r.object(v, at, map[string]func(any, string){
		"pages": func(v any, at string) { l.Pages = r.number(v, at, maxLimits.Pages) },
		"milliseconds": func(v any, at string) {
			l.Time = time.Duration(r.number(v, at, maxMilliseconds)) * time.Millisecond
		},
		"result_bytes": func(v any, at string) { l.ResultBytes = r.number(v, at, maxLimits.ResultBytes) },
	})
}

func (r *manifestReader) number(v any, at string, most uint32) uint32 {
	n, _ := v.(json.Number)
	i, err := strconv.ParseUint(string(n), 10, 32)
	if err != nil || i < 1 || i > uint64(most) {
		r.fail("%s: want a whole number from 1 to %d", at, most)
		return 1
	}
	return uint32(i)
}

func (r *manifestReader) functions(v any, at string) map[string]Function {
	object, ok := v.(map[string]any)
	if !ok || len(object) == 0 || len(object) > maxFunctions {
		r.fail("%s: want an object with 1 to %d functions", at, maxFunctions)
		return nil
	}
	functions := make(map[string]Function, len(object))
	for _, name := range sortedKeys(object) {
		at := at + "." + name
		if err := CheckName(name); err != nil {
			r.fail("%s: %w", at, err)
		}
		var f Function
		r.object(object[name], at, map[string]func(any, string){
			"description": func(v any, at string) { f.Description = r.text(v, at) },
			"args":        func(v any, at string) { f.Args = r.types(v, at) },
			"result":      func(v any, at string) { f.Result = r.oneType(v, at) },
			"pure": func(v any, at string) {
				if f.Pure, ok = v.(bool); !ok {
					r.fail("%s: is not a boolean", at)
				}
			},
		}, "args", "result", "pure")
		functions[name] = f
	}
	return functions
}

func (r *manifestReader) types(v any, at string) []Type {
	list, ok := v.([]any)
	if !ok || len(list) > maxArguments {
		r.fail("%s: want an array of at most %d types", at, maxArguments)
		return nil
	}
	out := make([]Type, 0, len(list))
	for i, v := range list {
		out = append(out, r.oneType(v, at+"["+strconv.Itoa(i)+"]"))
	}
	return out
}

func (r *manifestReader) oneType(v any, at string) Type {
	s, _ := v.(string)
	if !slices.Contains(types, Type(s)) {
		r.fail("%s: want one of %v", at, types)
	}
	return Type(s)
}

// Encode writes a manifest as people read it.
func (m Manifest) Encode() ([]byte, error) {
	type function struct {
		Description string `json:"description,omitempty"`
		Args        []Type `json:"args"`
		Result      Type   `json:"result"`
		Pure        bool   `json:"pure"`
	}
	type limits struct {
		Pages        uint32 `json:"pages"`
		Milliseconds int64  `json:"milliseconds"`
		ResultBytes  uint32 `json:"result_bytes"`
	}
	functions := make(map[string]function, len(m.Functions))
	for name, f := range m.Functions {
		functions[name] = function{f.Description, append([]Type{}, f.Args...), f.Result, f.Pure}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version     int                 `json:"version"`
		Name        string              `json:"name"`
		Description string              `json:"description,omitempty"`
		SHA256      string              `json:"sha256,omitempty"`
		Limits      limits              `json:"limits"`
		Functions   map[string]function `json:"functions"`
	}{1, m.Name, m.Description, m.SHA256, limits{m.Limits.Pages, m.Limits.Time.Milliseconds(), m.Limits.ResultBytes}, functions})
	return b.Bytes(), err
}

// CheckArguments holds decoded arguments to the declaration.
func (f Function) CheckArguments(args []any) error {
	if len(args) != len(f.Args) {
		return fmt.Errorf("takes %d arguments, not %d", len(f.Args), len(args))
	}
	for i, want := range f.Args {
		if got := typeOf(args[i]); want != Any && got != want {
			return fmt.Errorf("argument %d is of type %s, want %s", i+1, got, want)
		}
	}
	return nil
}

// typeOf returns the type of a decoded value.
func typeOf(v any) Type {
	switch v.(type) {
	case nil:
		return Null
	case bool:
		return Boolean
	case json.Number:
		return Number
	case string:
		return String
	case []any:
		return Array
	}
	return Object
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
