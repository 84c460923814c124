package decisionlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// masked applies rules to an input, and returns what is left.
func masked(t *testing.T, input string, mask string) (string, event) {
	t.Helper()
	v := decoded(t, input)
	var list []any
	if err := json.Unmarshal([]byte(mask), &list); err != nil {
		t.Fatal(err)
	}
	rules, err := parseMask(list)
	if err != nil {
		t.Fatal(err)
	}
	ev := event{Input: &v}
	ev.mask(rules)
	text, err := json.Marshal(ev.Input)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), ev
}

// TestMaskPaths applies paths to a document as it was.
func TestMaskPaths(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		input, mask, want string
		erased, masked    []string
	}{
		"a member":                 {`{"a":1,"b":2}`, `["/input/a"]`, `{"b":2}`, []string{"/input/a"}, nil},
		"no such member":           {`{"a":1}`, `["/input/b", "/input/a/b", "/input/a/0"]`, `{"a":1}`, nil, nil},
		"elements of an array":     {`{"a":[1,2,3]}`, `["/input/a/0", "/input/a/1"]`, `{"a":[3]}`, []string{"/input/a/0", "/input/a/1"}, nil},
		"in another order":         {`{"a":[1,2,3]}`, `["/input/a/2", "/input/a/0"]`, `{"a":[2]}`, []string{"/input/a/2", "/input/a/0"}, nil},
		"array of arrays":          {`{"a":[[1,2],[3]]}`, `["/input/a/0/1", "/input/a/1/0"]`, `{"a":[[1],[]]}`, []string{"/input/a/0/1", "/input/a/1/0"}, nil},
		"no such element":          {`{"a":[1]}`, `["/input/a/1", "/input/a/-1", "/input/a/x"]`, `{"a":[1]}`, nil, nil},
		"all":                      {`{"a":1}`, `["/input"]`, `null`, []string{"/input"}, nil},
		"all, replaced":            {`{"a":1}`, `[{"op":"upsert","path":"/input","value":{"b":2}}]`, `{"b":2}`, nil, []string{"/input"}},
		"a value":                  {`{"a":1}`, `[{"op":"upsert","path":"/input/a","value":null}]`, `{"a":null}`, nil, []string{"/input/a"}},
		"a new member":             {`{"a":{}}`, `[{"op":"upsert","path":"/input/a/b/c","value":1}]`, `{"a":{"b":{"c":1}}}`, nil, []string{"/input/a/b/c"}},
		"below a value":            {`{"a":1}`, `[{"op":"upsert","path":"/input/a/b","value":1}]`, `{"a":1}`, nil, nil},
		"an element":               {`{"a":[1,2]}`, `["/input/a/0", {"op":"upsert","path":"/input/a/1","value":9}]`, `{"a":[9]}`, []string{"/input/a/0"}, []string{"/input/a/1"}},
		"removed, then replaced":   {`{"a":{"b":1}}`, `[{"op":"upsert","path":"/input/a/b","value":9}, "/input/a"]`, `{}`, []string{"/input/a"}, nil},
		"removed and replaced":     {`{"a":"ab","b":2}`, `[{"op":"upsert","path":"/input/a","value":"a"}, "/input/a"]`, `{"b":2}`, []string{"/input/a"}, nil},
		"all, removed and not":     {`{"a":1}`, `["/input", {"op":"upsert","path":"/input","value":1}]`, `null`, []string{"/input"}, nil},
		"a name with a blank":      {`{"a b":1}`, `["/input/a b"]`, `{}`, []string{"/input/a%20b"}, nil},
		"a name that is escaped":   {`{"a b":1,"a%20b":2}`, `["/input/a%20b"]`, `{}`, []string{"/input/a%2520b"}, nil},
		"a name with a slash":      {`{"a/b":1}`, `["/input/a~1b"]`, `{}`, []string{"/input/a~1b"}, nil},
		"percent and slash":        {`{"a/b":1}`, `["/input/a%2Fb"]`, `{}`, []string{"/input/a%252Fb"}, nil},
		"an empty name":            {`{"":1,"a":2}`, `["/input/"]`, `{"a":2}`, []string{"/input/"}, nil},
		"another part of an event": {`{"a":1}`, `["/result/a", "/nd_builtin_cache/a", "/nd_builtin_cache"]`, `{"a":1}`, nil, nil},
		"the root is an array":     {`[1,2]`, `["/input/0"]`, `[2]`, []string{"/input/0"}, nil},
		"a number stays as it is":  {`{"a":12345678901234567890,"b":1}`, `["/input/b"]`, `{"a":12345678901234567890}`, []string{"/input/b"}, nil},
	} {
		got, ev := masked(t, row.input, row.mask)
		if diff := cmp.Diff([]any{row.want, row.erased, row.masked}, []any{got, ev.Erased, ev.Masked}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// spelt returns the parts of a path that mean the member of that name, as the
// authors of policies write them.
func spelt(name string) []string {
	list := []string{url.PathEscape(name)}
	for _, part := range []string{name, strings.NewReplacer("~", "~0", "/", "~1").Replace(name)} {
		// Any other is refused, or means something else.
		if _, err := url.PathUnescape(part); err == nil && !strings.Contains(part, "/") {
			list = append(list, part)
		}
	}
	return list
}

// FuzzMask: whatever else a document holds and whatever else is masked, what a
// path leads to is gone, and the paths of others do not bring it back.
func FuzzMask(f *testing.F) {
	f.Add("a", "b", `{"x":[1,2]}`, "/input/x/0", false)
	f.Add("a b", "~1", `[1]`, "/input", true)
	f.Add("%2f", "", `null`, "/input/a/b/c", true)
	f.Add("0", "1", `{"0":{"1":2}}`, "/input/0/1", true)
	f.Add("a/b", "%zz", `{"%zz":{}}`, "/input/a~1b/%25zz", true)
	f.Add("beside", "\xff", `{"\ufffd":1}`, "/input/beside", false)
	f.Add("a", "b", `{}`, "no path", false)
	f.Fuzz(func(t *testing.T, outer, inner, beside, other string, upsert bool) {
		if _, err := decode([]byte(beside)); err != nil {
			return // no document, and nothing that an event could hold
		}
		// No text holds its own hash, so it can stand nowhere else.
		sum := sha256.Sum256([]byte(strings.Join([]string{outer, inner, beside, other}, "\x00")))
		secret := hex.EncodeToString(sum[:])
		var others any = other
		if upsert {
			others = map[string]any{"op": "upsert", "path": other, "value": "z"}
		}
		for _, first := range spelt(outer) {
			for _, second := range spelt(inner) {
				path := "/input/" + first + "/" + second + "/2"
				rules, err := parseMask([]any{path, others})
				if err != nil {
					if rules, err = parseMask([]any{path}); err != nil {
						t.Fatal(err)
					}
				}
				document := map[string]any{"beside": decoded(t, beside)}
				object := map[string]any{"beside": decoded(t, beside)}
				object[inner] = []any{decoded(t, beside), "x", secret, "y"}
				document[outer] = object
				var input any = document
				ev := event{Input: &input}
				ev.mask(rules)
				left, err := json.Marshal(ev)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(left), secret) {
					t.Errorf("%q and %q leave %s", path, other, left)
				}
			}
		}
	})
}

// decoded returns the document of a text, which the rules may then change.
func decoded(t *testing.T, text string) any {
	t.Helper()
	v, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
