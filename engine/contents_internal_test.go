package engine

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/policies"
)

// TestDefaultComments holds what lets the comments of the default policy be
// passed over when it is to decide: they are in order, and none of them names a
// schema, by which the compiler would check more.
func TestDefaultComments(t *testing.T) {
	src, err := Config{Default: policies.FS}.sources(serving)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := src.modules(src.contents())
	if err != nil {
		t.Fatal(err)
	}
	annotated := 0
	for name, m := range modules {
		for _, a := range m.Annotations {
			annotated++
			if len(a.Schemas) > 0 || a.Compile != nil {
				t.Errorf("%s: the metadata at line %d says how to compile; let sources.plain except it", name, a.Location.Row)
			}
		}
	}
	if annotated == 0 {
		t.Error("the default policy has no metadata")
	}
	src.serves = true
	plain, err := src.modules(src.contents())
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range modules {
		m.Annotations = nil
		for _, rule := range m.Rules {
			rule.Annotations = nil
		}
		if len(plain[name].Annotations) > 0 || !m.Equal(plain[name]) {
			t.Errorf("%s: is another module if its comments are passed over", name)
		}
	}
}

// TestTeamComments checks that the comments of a team, and of what replaces the
// default, are read even then.
func TestTeamComments(t *testing.T) {
	for name, s := range map[string]*sources{
		"team":     {files: []file{{origin: originTeam, name: "a.rego", rel: "a.rego", data: []byte(wrongMetadata)}}},
		"replaced": {files: []file{{origin: originDefault, name: "a.rego", rel: "a.rego", data: []byte(wrongMetadata)}}, only: true},
	} {
		s.serves = true
		if _, err := s.modules(s.contents()); err == nil || !strings.Contains(err.Error(), "a.rego:4: yaml: ") {
			t.Errorf("%s: error = %v, want one of the metadata", name, err)
		}
	}
}

const wrongMetadata = "package team.a\n\n# METADATA\n# title: [\nx := 1\n"

// TestRepeatedKey compares the reader of bytes with one that reads tokens.
func TestRepeatedKey(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `1`, `"a"`, `null`,
		`{"a": 1, "a": 2}`,
		`{"a": {"a": {"a": []}}}`,
		`{"a": [{"b": 1}, {"b": 2}, {"b": 1, "b": 2}]}`,
		`[["a", "a"], {"x": "a", "y": "a"}]`,
		`{"x": ["x", "x", {"x": "x"}], "y": "x", "x": 1}`,
		`{"a\"": 1, "a\\": 2, "a": ",\"a\":", "b": "{\"a\""}`,
		`{"a": 1, "\u0061": 2}`,
		`{"é": 1, "\u00e9": 2}`,
		"{\"\xff\": 1, \"\xfe\": 2}",
		"{\"\xff\": 1, \"\uFFFD\": 2}",
		`{"": 1, "": 2}`,
		`{"\\": 1, "\\\\": 2, "\\": 3}`,
		"{\n \"a\" : 1 ,\n\t\"b\" : [ { } , { \"a\" : 1 } ] ,\n \"b\" : 2 }",
	} {
		wantKey, wantEnd, wantTwice := repeatedToken(t, text)
		key, end, twice := repeatedKey([]byte(text))
		if key != wantKey || end != wantEnd || twice != wantTwice {
			t.Errorf("repeatedKey(%s) = %q, %d, %v, want %q, %d, %v", text, key, end, twice, wantKey, wantEnd, wantTwice)
		}
	}
}

// FuzzRepeatedKey does so with whatever is valid.
func FuzzRepeatedKey(f *testing.F) {
	f.Add([]byte(`{"a": [{"b": "\"", "\u0062": 1}], "a": {}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return
		}
		wantKey, wantEnd, wantTwice := repeatedToken(t, string(text))
		key, end, twice := repeatedKey(text)
		if key != wantKey || end != wantEnd || twice != wantTwice {
			t.Errorf("repeatedKey(%q) = %q, %d, %v, want %q, %d, %v", text, key, end, twice, wantKey, wantEnd, wantTwice)
		}
	})
}

// repeatedToken is repeatedKey for a reader of tokens.
func repeatedToken(t *testing.T, text string) (key string, end int64, twice bool) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	var value func() bool
	value = func() bool {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		delim, ok := token.(json.Delim)
		if !ok {
			return false
		}
		seen := map[string]bool{}
		for dec.More() {
			if delim == '{' {
				token, err := dec.Token()
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				name, _ := token.(string)
				if seen[name] {
					key, end = name, dec.InputOffset()
					return true
				}
				seen[name] = true
			}
			if value() {
				return true
			}
		}
		if _, err := dec.Token(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return false
	}
	twice = value()
	return key, end, twice
}

// TestMerger checks that a conflict names the file that set the other value,
// however deep it lies in what that file gave.
func TestMerger(t *testing.T) {
	m, doc := merger{}, map[string]any{}
	for _, f := range []struct{ name, text, want string }{
		{"1.json", `{"a": {"b": {"x": 1, "o": {"p": 1}}}}`, ""},
		{"2.json", `{"a": {"b": {"x": 1, "y": {"z": 2}}, "c": 3}}`, ""},
		{"3.json", `{"a": {"b": {"x": 4}}}`, "3.json: sets data.a.b.x to another value than 1.json"},
		{"4.json", `{"a": {"b": {"y": {"z": 4}}}}`, "4.json: sets data.a.b.y.z to another value than 2.json"},
		{"5.json", `{"a": {"b": {"o": 5}}}`, "5.json: sets data.a.b.o to another value than 1.json"},
		{"6.json", `{"a": {"c": {"d": 6}}}`, "6.json: sets data.a.c to another value than 2.json"},
	} {
		var from map[string]any
		if err := json.Unmarshal([]byte(f.text), &from); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := m.add(doc, from, f.name, "data"); err != nil {
			got = err.Error()
		}
		if got != f.want {
			t.Errorf("%s: error = %q, want %q", f.name, got, f.want)
		}
	}
	var want any
	if err := json.Unmarshal([]byte(`{"a": {"b": {"x": 1, "o": {"p": 1}, "y": {"z": 2}}, "c": 3}}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, any(doc)); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrently(t *testing.T) {
	var done [100]atomic.Int64
	concurrently(len(done), func(i int) { done[i].Add(1) })
	for i := range done {
		if n := done[i].Load(); n != 1 {
			t.Errorf("%d was done %d times", i, n)
		}
	}
	concurrently(0, func(int) { t.Error("did what there is not") })
	defer func() {
		if v := recover(); v != "seven" {
			t.Errorf("panic = %v, want that of what was called", v)
		}
	}()
	concurrently(len(done), func(i int) {
		if i == 7 {
			panic("seven")
		}
	})
	t.Error("a panic is lost")
}
