package policyvm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"opencode/engine/wasm/policyvm"
)

// compiled compiles a Rego module to Wasm as OPA does, with its rules as
// entrypoints.
func compiled(tb testing.TB, module string, entrypoints ...string) []byte {
	tb.Helper()
	m, err := ast.ParseModuleWithOpts("web.rego", module, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		tb.Fatal(err)
	}
	b := &bundle.Bundle{Data: map[string]any{}, Modules: []bundle.ModuleFile{{URL: "/web.rego", Path: "/web.rego", Parsed: m, Raw: []byte(module)}}}
	b.Manifest.Init()
	c := compile.New().WithTarget(compile.TargetWasm).WithBundle(b).WithEntrypoints(entrypoints...).WithPruneUnused(true)
	if err := c.Build(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return c.Bundle().WasmModules[0].Raw
}

func load(tb testing.TB, cfg policyvm.Config) *policyvm.Policy {
	tb.Helper()
	if cfg.Builtin == nil {
		cfg.Builtin = func(string) bool { return true }
	}
	p, err := policyvm.New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func value(tb testing.TB, text string) ast.Value {
	tb.Helper()
	t, err := ast.ParseTerm(text)
	if err != nil {
		tb.Fatal(err)
	}
	return t.Value
}

// eval evaluates one entrypoint.
func eval(ctx context.Context, p *policyvm.Policy, entrypoint string, input ast.Value) (ast.Value, error) {
	values, err := p.Eval(ctx, input, entrypoint)
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

const web = `package team.web

deny contains {"id": "web.curl", "message": sprintf("%s at %d", [call.name, count(call.argv)])} if {
	some call in input.calls
	call.name in data.team.web.banned
}

ask contains {"id": "web.glob", "message": "m"} if glob.match("git *", [], input.text)

obligations := {"timeout_seconds": 5} if input.slow
`

func TestEval(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{
		Module: compiled(t, web, "team/web/deny", "team/web/ask", "team/web/obligations"),
		Data:   []byte(`{"team": {"web": {"banned": ["curl", "wét\u0007"]}}}`),
	})
	for _, test := range []struct{ name, entrypoint, input, want string }{
		{"a set", "team/web/deny", `{"calls": [{"name": "curl", "argv": ["a", "b"]}]}`, `{{"id": "web.curl", "message": "curl at 2"}}`},
		{"an empty set", "team/web/deny", `{"calls": []}`, `set()`},
		{"control characters", "team/web/deny", `{"calls": [{"name": "w\u00e9t\u0007", "argv": []}], "x": "\u007f\u200b\ue000"}`, `{{"id": "web.curl", "message": "wét\u0007 at 0"}}`},
		{"a built-in of the host", "team/web/ask", `{"text": "git push"}`, `{{"id": "web.glob", "message": "m"}}`},
		{"an object", "team/web/obligations", `{"slow": true}`, `{"timeout_seconds": 5}`},
	} {
		got, err := eval(t.Context(), p, test.entrypoint, value(t, test.input))
		if err != nil || got == nil || got.Compare(value(t, test.want)) != 0 {
			t.Errorf("%s: %v, error %v, want %s", test.name, got, err, test.want)
		}
	}
	if got, err := eval(t.Context(), p, "team/web/obligations", value(t, `{}`)); got != nil || err != nil {
		t.Errorf("undefined: %v, error %v", got, err)
	}
	if got, err := eval(t.Context(), p, "team/web/deny", nil); err != nil || got.Compare(ast.NewSet()) != 0 {
		t.Errorf("without an input: %v, error %v", got, err)
	}
	input := value(t, `{"calls": [{"name": "curl", "argv": []}], "text": "git push", "slow": false}`)
	all, err := p.Eval(t.Context(), input, "team/web/deny", "team/web/obligations", "team/web/ask")
	if err != nil || len(all) != 3 || all[0].Compare(value(t, `{{"id": "web.curl", "message": "curl at 0"}}`)) != 0 ||
		all[1] != nil || all[2].Compare(value(t, `{{"id": "web.glob", "message": "m"}}`)) != 0 {
		t.Errorf("all at once: %v, error %v", all, err)
	}
	for name, input := range map[string]ast.Value{
		"a set":             value(t, `{"x": {1, 2}}`),
		"what is not UTF-8": ast.NewObject([2]*ast.Term{ast.StringTerm("x"), ast.StringTerm("a\xffb")}),
		"a reference":       value(t, `data.x`),
	} {
		if got, err := eval(t.Context(), p, "team/web/deny", input); err == nil {
			t.Errorf("Eval of %s = %v, want an error", name, got)
		}
	}
	if _, err := eval(t.Context(), p, "team/web/allow", value(t, `{}`)); err == nil {
		t.Error("an entrypoint that does not exist gives no error")
	}
}

func TestBuiltinErrorIsAnError(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{Module: compiled(t, `package team.web

deny contains x if x := json.unmarshal(input.text)
`, "team/web/deny")})
	if v, err := eval(t.Context(), p, "team/web/deny", value(t, `{"text": "1"}`)); err != nil || v.Compare(value(t, `{1}`)) != 0 {
		t.Errorf("Eval = %v, %v", v, err)
	}
	// What json.unmarshal of the guest itself does is undefined; what the host does is an error.
	p = load(t, policyvm.Config{Module: compiled(t, `package team.web

deny contains x if x := yaml.unmarshal(input.text)
`, "team/web/deny")})
	if v, err := eval(t.Context(), p, "team/web/deny", value(t, `{"text": "{"}`)); err == nil || !strings.Contains(err.Error(), "yaml.unmarshal") {
		t.Errorf("Eval = %v, %v, want the error of the built-in", v, err)
	}
	if v, err := eval(t.Context(), p, "team/web/deny", value(t, `{"text": "1"}`)); err != nil || v.Compare(value(t, `{1}`)) != 0 {
		t.Errorf("Eval after an error = %v, %v", v, err)
	}
}

func TestConflictIsAnError(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{Module: compiled(t, `package team.web

obligations := {"a": 1} if input.x

obligations := {"a": 2} if input.x
`, "team/web/obligations")})
	if v, err := eval(t.Context(), p, "team/web/obligations", value(t, `{"x": true}`)); err == nil || !strings.Contains(err.Error(), "gives up") {
		t.Errorf("Eval = %v, %v, want a conflict", v, err)
	}
}

func TestRefusedBuiltins(t *testing.T) {
	t.Parallel()
	module := compiled(t, `package team.web

deny contains x if x := time.now_ns()

deny contains x if x := http.send({"method": "get", "url": "http://127.0.0.1"})
`, "team/web/deny")
	_, err := policyvm.New(t.Context(), policyvm.Config{Module: module, Builtin: func(name string) bool { return name == "glob.match" }})
	if err == nil || !strings.Contains(err.Error(), "time.now_ns") || !strings.Contains(err.Error(), "http.send") {
		t.Errorf("New = %v, want both built-ins named", err)
	}
}

// spin is a policy whose evaluation takes longer than anybody waits.
const spin = `package team.web

deny contains x if {
	some a in numbers.range(1, 1000)
	some b in numbers.range(1, 1000)
	some c in numbers.range(1, 1000)
	a + b + c == input.x
	x := a
}
`

func TestStopped(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{Module: compiled(t, spin, "team/web/deny"), Instances: 1})
	for range 2 { // the second one is a new instance
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := eval(ctx, p, "team/web/deny", value(t, `{"x": -1}`))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Eval = %v, want the deadline", err)
		}
	}
}

func TestWaitsForAnInstance(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{Module: compiled(t, spin, "team/web/deny"), Instances: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := eval(ctx, p, "team/web/deny", value(t, `{"x": -1}`))
		ended <- err
	}()
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := eval(short, p, "team/web/deny", value(t, `{"x": -1}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Eval = %v, want the deadline", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the other Eval = %v", err)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	module := compiled(t, `package team.web

deny contains x if x := [y | some y in numbers.range(1, input.n)]
`, "team/web/deny")
	p := load(t, policyvm.Config{Module: module, MemoryPages: 64})
	if v, err := eval(t.Context(), p, "team/web/deny", value(t, `{"n": 3}`)); err != nil || v.Compare(value(t, `{[1, 2, 3]}`)) != 0 {
		t.Errorf("Eval = %v, %v", v, err)
	}
	if _, err := eval(t.Context(), p, "team/web/deny", value(t, `{"n": 1000000}`)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Eval = %v, want that the memory does not suffice", err)
	}
	big := ast.NewObject([2]*ast.Term{ast.StringTerm("n"), ast.StringTerm(strings.Repeat("x", 5<<20))})
	if _, err := eval(t.Context(), p, "team/web/deny", big); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("Eval = %v, want that the input does not fit", err)
	}
	if _, err := policyvm.New(t.Context(), policyvm.Config{
		Module: module, MemoryPages: 64, Data: []byte(`{"x": "` + strings.Repeat("y", 5<<20) + `"}`), Builtin: func(string) bool { return true },
	}); err == nil {
		t.Error("New with data that does not fit gives no error")
	}
	if v, err := eval(t.Context(), p, "team/web/deny", value(t, `{"n": 1}`)); err != nil || v.Compare(value(t, `{[1]}`)) != 0 {
		t.Errorf("Eval after the errors = %v, %v", v, err)
	}
}

// TestConcurrent holds that each evaluation gets its own result: what a guest
// gives lies in its memory, which the next one overwrites.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	p := load(t, policyvm.Config{Module: compiled(t, `package team.web

deny contains x if x := input.x
`, "team/web/deny"), Instances: 4})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 100 {
				want := fmt.Sprintf(`{"%d-%d-%s"}`, g, n, strings.Repeat("x", 100*g))
				input := value(t, `{"x": `+strings.Trim(want, "{}")+`}`)
				got, err := eval(t.Context(), p, "team/web/deny", input)
				if err != nil || got.Compare(value(t, want)) != 0 {
					t.Errorf("Eval = %v, %v, want %s", got, err, want)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestNoModule(t *testing.T) {
	t.Parallel()
	good := compiled(t, web, "team/web/deny")
	for name, module := range map[string][]byte{
		"nothing":       nil,
		"text":          []byte("package team.web"),
		"truncated":     good[:len(good)/2],
		"empty":         good[:8],
		"a large table": append(bytes.Clone(good[:8]), 4, 6, 1, 0x70, 0, 0xff, 0xff, 0x7f),
		"two tables":    append(bytes.Clone(good[:8]), 4, 7, 2, 0x70, 0, 1, 0x70, 0, 1),
		"spins at its start": append(bytes.Clone(good[:8]),
			1, 4, 1, 0x60, 0, 0, // type ()
			3, 2, 1, 0, // a function of it
			8, 1, 0, // is the start
			10, 9, 1, 7, 0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b), // loop br 0 end
		"too much memory":  append(bytes.Clone(good[:8]), 5, 5, 1, 0, 0x80, 0x80, 2),
		"many imports":     append(bytes.Clone(good[:8]), 2, 5, 0xd0, 0xd0, 0xd0, 0xd0, 1),
		"many types":       append(bytes.Clone(good[:8]), 1, 5, 0xff, 0xff, 0xff, 0xff, 0xf),
		"many parameters":  append(bytes.Clone(good[:8]), 1, 7, 1, 0x60, 0xff, 0xff, 0xff, 0xff, 0xf),
		"many names":       append(bytes.Clone(good[:8]), 0, 12, 4, 'n', 'a', 'm', 'e', 1, 5, 0xff, 0xff, 0xff, 0xff, 0xf),
		"many variables":   append(bytes.Clone(good[:8]), 10, 11, 1, 9, 1, 0xff, 0xff, 0xff, 0xff, 0xf, 0x7f, 0x0b, 0x0b),
		"a long name":      append(bytes.Clone(good[:8]), 2, 6, 1, 0xff, 0xff, 0xff, 0xff, 0xf),
		"much data":        append(bytes.Clone(good[:8]), 11, 10, 1, 0, 0x41, 0, 0x0b, 0xff, 0xff, 0xff, 0xff, 0xf),
		"many elements":    append(bytes.Clone(good[:8]), 9, 10, 1, 0, 0x41, 0, 0x0b, 0xff, 0xff, 0xff, 0xff, 0xf),
		"bulk memory":      append(bytes.Clone(good[:8]), 12, 1, 1),
		"a long section":   append(bytes.Clone(good[:8]), 3, 0xff, 0xff, 0xff, 0xff, 0xf),
		"a foreign import": append(bytes.Clone(good[:8]), 1, 4, 1, 0x60, 0, 0, 2, 9, 1, 3, 'e', 'n', 'v', 1, 'x', 0, 0),
	} {
		_, err := policyvm.New(t.Context(), policyvm.Config{Module: module, LoadTimeout: 100 * time.Millisecond, Builtin: func(string) bool { return true }})
		if err == nil {
			t.Errorf("New of %s gives no error", name)
		}
		t.Logf("%s: %v", name, err)
	}
}
