package policyvm

import (
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// FuzzDecodeValue reads what a guest claims to be a value: what is taken is
// plain data, which can be written and read again.
func FuzzDecodeValue(f *testing.F) {
	for _, text := range []string{
		`{{"result": {{"id": "a.b", "message": "m\u0007"}}}}`, `set()`, `{{"result": set()}}`, `[1, 2.5e3, null, true, {"a": {1, "x"}}]`,
		`data.x`, `input`, `{x | x := 1}`, `f(1)`, `{"a": data.b}`, `x`, `-0`, `"\ud800"`, `[[[[[]]]]]`, `{1: 2}`, "`raw`", `1 + 1`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := decodeValue(text)
		if err != nil {
			return
		}
		ast.WalkTerms(v, func(term *ast.Term) bool {
			switch term.Value.(type) {
			case ast.Null, ast.Boolean, ast.Number, ast.String, *ast.Array, ast.Object, ast.Set:
				return false
			}
			t.Errorf("takes %q, which holds %s", text, ast.ValueName(term.Value))
			return true
		})
		written, err := appendValue(nil, v, true)
		if err != nil {
			return // a text that is not UTF-8
		}
		if again, err := decodeValue(string(written)); err != nil || again.Compare(v) != 0 {
			t.Errorf("%q is written as %s, and read as %v, error %v", text, written, again, err)
		}
	})
}
