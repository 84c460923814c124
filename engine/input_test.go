package engine

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policy"
)

// TestInputValueIsTheJSON: policies are written and tested against the JSON of
// an input; what serves them builds the value without it.
func TestInputValueIsTheJSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		in := new(policy.Input)
		fill(reflect.ValueOf(in).Elem(), rand.New(rand.NewPCG(1, seed)))
		got, err := inputValue(in)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		full := reflect.New(reflect.TypeFor[policy.Input]()).Elem()
		full.Set(reflect.ValueOf(in).Elem())
		present(full)
		text, err := json.Marshal(full.Interface())
		if err != nil {
			t.Fatal(err)
		}
		want, err := ast.ValueFromReader(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if got.Compare(want) != 0 {
			t.Fatalf("seed %d:\ngot  %v\nwant %v", seed, got, want)
		}
	}
}

// fill sets a value to a random one; every pointer, slice and map may be nil.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"", "a", "read", "\"<&>\u2028\x00é世", "a/b c"}[r.IntN(5)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, 60, 1795188323, -1 << 63, 1<<63 - 1}[r.IntN(7)])
	case reflect.Pointer:
		if r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), r)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, r)
		}
	case reflect.Slice:
		if r.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
			for i := range v.Len() {
				fill(v.Index(i), r)
			}
		}
	case reflect.Map:
		if r.IntN(4) > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range r.IntN(3) {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(key, r)
				fill(value, r)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf([]any{"x", true, 1.5, json.Number("12"), []any{"a", nil}, map[string]any{"b": 1}}[r.IntN(6)]))
	default:
		panic("a member of a kind that the test does not know: " + v.Type().String())
	}
}

// present replaces every nil slice and map in a value by an empty one.
func present(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			copied := reflect.New(v.Type().Elem())
			copied.Elem().Set(v.Elem())
			present(copied.Elem())
			v.Set(copied)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			present(f)
		}
	case reflect.Slice:
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(copied, v)
		for i := range copied.Len() {
			present(copied.Index(i))
		}
		v.Set(copied)
	case reflect.Map:
		copied := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			present(value)
			copied.SetMapIndex(key, value)
		}
		v.Set(copied)
	default:
	}
}

func TestArgumentsThatAreNoJSON(t *testing.T) {
	t.Parallel()
	in := &policy.Input{Kind: policy.KindPrompt, Prompt: &policy.Prompt{Args: map[string]any{"x": make(chan int)}}}
	if _, err := inputValue(in); err == nil {
		t.Error("a channel became a value")
	}
	if d, err := defaultSnapshot(t).decide(t.Context(), in); err == nil || d.Effect != policy.Deny {
		t.Errorf("decide = %v, error %v, want an error and a denial", d.Effect, err)
	}
}
