package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// compiled builds a Wasm bundle as `opa build -t wasm` does, without any of
// our checks.
func compiled(tb testing.TB, module string, prune bool, entrypoints ...string) []byte {
	tb.Helper()
	m, err := ast.ParseModuleWithOpts("/web.rego", module, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		tb.Fatal(err)
	}
	b := &bundle.Bundle{Data: map[string]any{}, Modules: []bundle.ModuleFile{{URL: "/web.rego", Path: "/web.rego", Parsed: m, Raw: []byte(module)}}}
	b.Manifest.Init()
	var out strings.Builder
	c := compile.New().WithTarget(compile.TargetWasm).WithBundle(b).WithEntrypoints(entrypoints...).WithPruneUnused(prune).WithOutput(&out)
	if err := c.Build(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return []byte(out.String())
}

// manifest returns a bundle with its manifest changed.
func manifest(tb testing.TB, b []byte, change func(map[string]any)) []byte {
	tb.Helper()
	return edit(tb, b, func(e *entry) {
		if e.name != "/.manifest" {
			return
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(e.data), &m); err != nil {
			tb.Fatal(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		e.data = string(text)
	})
}

const webDenial = `package team.web

deny contains {"id": "web.all", "message": "m"}
`

func TestRefusedWasmBundles(t *testing.T) {
	t.Parallel()
	plain := compiled(t, webDenial, true, "team/web/deny")
	without := func(name string) []byte {
		return archiveOf(t, slices.DeleteFunc(unpack(t, plain), func(e entry) bool { return e.name == name })...)
	}
	with := func(b []byte, more ...entry) []byte { return archiveOf(t, append(unpack(t, b), more...)...) }
	for name, row := range map[string]struct {
		bundle []byte
		want   string
	}{
		"no module":     {without("/policy.wasm"), "there is no policy.wasm"},
		"no manifest":   {without("/.manifest"), "names no entrypoint"},
		"no entrypoint": {manifest(t, plain, func(m map[string]any) { delete(m, "wasm") }), "names no entrypoint"},
		"another module": {manifest(t, plain, func(m map[string]any) {
			m["wasm"] = []any{map[string]any{"entrypoint": "team/web/deny", "module": "/x.wasm"}}
		}), "is of the module /x.wasm"},
		"entrypoint less": {manifest(t, compiled(t, webDenial+"\nask contains 1\n", true, "team/web/deny", "team/web/ask"), func(m map[string]any) { m["wasm"] = m["wasm"].([]any)[:1] }), "answers team/web/ask, team/web/deny, and the manifest of its bundle names team/web/deny"},
		"entrypoint more": {manifest(t, plain, func(m map[string]any) {
			m["wasm"] = append(m["wasm"].([]any), map[string]any{"entrypoint": "team/web/ask", "module": "/policy.wasm"})
		}), "answers team/web/deny, and the manifest"},
		"entrypoint twice": {manifest(t, plain, func(m map[string]any) { m["wasm"] = append(m["wasm"].([]any), m["wasm"].([]any)...) }), "stands there twice"},
		"whole package":    {compiled(t, webDenial, true, "team/web"), `the entrypoint "team/web" takes part in no decision`},
		"another package":  {compiled(t, "package opencode.request\n\ndecision := {\"effect\": \"allow\"}\n", true, "opencode/request/decision"), "takes part in no decision"},
		"a helper":         {compiled(t, "package team.web\n\nx := 1\n", true, "team/web/x"), "takes part in no decision"},
		"odd team":         {manifest(t, plain, func(m map[string]any) { m["wasm"].([]any)[0].(map[string]any)["entrypoint"] = "team/a b/deny" }), "the name of a team is a plain word"},
		"both forms":       {with(plain, entry{name: "/x.rego", data: webDenial}), "defines team/web/deny in Rego, beside a Wasm module"},
		"left in Rego":     {compiled(t, webDenial+"\nask contains {\"id\": \"web.ask\", \"message\": \"m\"}\n", false, "team/web/deny"), "defines team/web/ask in Rego"},
		"both forms, deep": {with(plain, entry{name: "/x.rego", data: "package team\n\nweb.deny contains 1\n"}), "defines team/web/deny in Rego"},
		"network":          {compiled(t, "package team.web\n\ndeny contains x if x := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1:1\"})\n", true, "team/web/deny"), "calls the built-in http.send"},
		"clock":            {compiled(t, "package team.web\n\ndeny contains x if x := time.now_ns()\n", true, "team/web/deny"), "calls the built-in time.now_ns"},
		"random":           {compiled(t, "package team.web\n\ndeny contains x if x := rand.intn(\"x\", 5)\n", true, "team/web/deny"), "calls the built-in rand.intn"},
		"clock by the way": {compiled(t, "package team.web\n\ndeny contains x if x := io.jwt.decode_verify(input.x, {\"secret\": \"x\"})\n", true, "team/web/deny"), "calls the built-in io.jwt.decode_verify"},
		"damaged module":   {edit(t, plain, func(e *entry) { e.data = strings.Replace(e.data, "\x00asm\x01", "\x00asm\x02", 1) }), "policy.wasm: is refused: it is not WebAssembly"},
		"cut module": {edit(t, plain, func(e *entry) {
			if e.name == "/policy.wasm" {
				e.data = e.data[:len(e.data)*2/3]
			}
		}), "policy.wasm: is refused: it ends within what it has begun"},
		"data of others": {edit(t, plain, func(e *entry) { e.data = strings.Replace(e.data, "{}\n", `{"users": {}}`, 1) }), "data.users"},
		"metadata of another": {manifest(t, plain, func(m map[string]any) {
			m["metadata"] = map[string]any{"opencode": map[string]any{"rules": map[string]any{"x.y": map[string]any{"team": "b", "at": "x:1"}}}}
		}), "which the module does not answer for"},
		"id of the default": {manifest(t, plain, func(m map[string]any) {
			m["metadata"] = map[string]any{"opencode": map[string]any{"rules": map[string]any{"path.outside": map[string]any{"team": "web", "at": "x:1"}}}}
		}), `rule id "path.outside" is taken`},
		"metadata of a sort": {manifest(t, plain, func(m map[string]any) { m["metadata"] = map[string]any{"opencode": map[string]any{"rules": "x"}} }), "metadata.opencode"},
		"a place that shouts": {manifest(t, plain, func(m map[string]any) {
			m["metadata"] = map[string]any{"opencode": map[string]any{"rules": map[string]any{"x.y": map[string]any{"team": "web", "at": "\x1b[2J"}}}}
		}), "cannot be shown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeBundle(t, row.bundle)
			if _, err := loaded(t, path, nil); err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("New = %v, want an error with %q that names the bundle", err, row.want)
			}
		})
	}
	if _, err := loaded(t, writeBundle(t, plain), nil); err != nil {
		t.Errorf("the plain one: %v", err)
	}
}

// TestWasmThatFailsDenies: whatever a module gives that the same rule in Rego
// could not, denies.
func TestWasmThatFailsDenies(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ rules, want string }{
		"deny as a condition":  {"deny if input.version == 1", "gives no set"},
		"undefined":            {"deny contains 1 if input.version == 1\n\ndeny contains 2 if input.x", "team.malformed_rule"},
		"undefined, complete":  {"deny := {1} if input.version == 7", "gives no set"},
		"a list":               {"allow := [{\"id\": \"web.x\", \"message\": \"m\"}]", "gives no set"},
		"an object":            {"ask := {\"id\": \"web.x\"}", "gives no set"},
		"malformed rule":       {"allow contains 7", "team.malformed_rule"},
		"malformed obligation": {"obligations := {\"sandbox\": {\"network\": true}}", "team.malformed_obligation"},
		"obligations of a set": {"obligations := {1}", "team.malformed_obligation"},
		"id of the default":    {"allow contains {\"id\": \"bash.understood\", \"message\": \"m\"}", "belongs to opencode.prompt"},
		"conflict":             {"obligations := {\"timeout_seconds\": x} if some x in [1, 2]", "gives up"},
		"a built-in's error":   {"allow contains {\"id\": \"web.x\", \"message\": yaml.unmarshal(\"{\")}", "yaml.unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contribution := strings.FieldsFunc(row.rules, func(r rune) bool { return r == ' ' })[0]
			e, err := loaded(t, writeBundle(t, compiled(t, "package team.web\n\n"+row.rules+"\n", true, "team/web/"+contribution)), nil)
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Decide(t.Context(), bash([]string{"ls"}))
			if d.Effect != policy.Deny {
				t.Errorf("Decide = %v, want a denial", d.Effect)
			}
			if err == nil && !slices.Contains(ids(d), row.want) || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("Decide = %v, error %v, want %s", ids(d), err, row.want)
			}
		})
	}
}

// spinning is a policy that takes forever on some inputs.
const spinning = `package team.web

deny contains {"id": "web.all", "message": "m"} if input.request.method == "GET"

deny contains {"id": "web.spin", "message": "m"} if {
	input.request.method == "POST"
	some a in numbers.range(1, 1000)
	some b in numbers.range(1, 1000)
	some c in numbers.range(1, 1000)
	a + b + c == -1
}

deny contains {"id": "web.eat", "message": "m"} if {
	input.request.method == "PUT"
	count([[a, b, c] | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); some c in numbers.range(1, 1000)]) == 0
}
`

func TestWasmIsStopped(t *testing.T) {
	t.Parallel()
	path := writeBundle(t, compiled(t, spinning, true, "team/web/deny"))
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Decide(t.Context(), request("POST", "/session", "read", "write", "execute"))
	if !errors.Is(err, context.DeadlineExceeded) || d.Effect != policy.Deny {
		t.Errorf("Decide of one that spins = %v, %v, want the deadline", d.Effect, err)
	}
	long, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	d, err = long.Decide(t.Context(), request("PUT", "/config", "read", "write", "execute"))
	if err == nil || errors.Is(err, context.DeadlineExceeded) || d.Effect != policy.Deny {
		t.Errorf("Decide of one that eats memory = %v, %v, want an end of its memory", d.Effect, err)
	}
	wantDenial(t, long, "web.all")
}

// TestWasmReload swaps bundles under decisions: each decision is by one of
// them, and none fails because its modules were closed.
func TestWasmReload(t *testing.T) {
	t.Parallel()
	versions := [2][]byte{
		compiled(t, strings.ReplaceAll(webDenial, "web.all", "web.one"), true, "team/web/deny"),
		compiled(t, strings.ReplaceAll(webDenial, "web.all", "web.two"), true, "team/web/deny"),
	}
	path := writeBundle(t, versions[0])
	// A machine that is busy with compiling may let a decision wait.
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	started := make(chan struct{}, 2)
	for range 2 {
		all.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				d, err := e.Decide(context.WithoutCancel(ctx), request("GET", "/config", "read"))
				if one := ids(d); err != nil || len(one) != 1 || one[0] != "web.one" && one[0] != "web.two" {
					t.Errorf("Decide = %v, error %v", one, err)
					return
				}
				if first {
					started <- struct{}{}
				}
			}
		})
	}
	for range 2 {
		<-started
	}
	for n := range 3 {
		writeFiles(t, filepath.Dir(path), map[string]string{filepath.Base(path): string(versions[(n+1)%2])})
		if changed, err := e.Reload(t.Context()); err != nil || !changed {
			t.Fatalf("Reload = %v, %v", changed, err)
		}
	}
	writeFiles(t, filepath.Dir(path), map[string]string{filepath.Base(path): "no bundle"})
	if changed, err := e.Reload(t.Context()); err == nil || changed {
		t.Errorf("Reload of a broken bundle = %v, %v, want an error", changed, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := e.Reload(t.Context()); err == nil || changed {
		t.Errorf("Reload without the bundle = %v, %v, want an error", changed, err)
	}
	stop()
	all.Wait()
	wantDenial(t, e, "web.two")
}

func TestWasmIsWatched(t *testing.T) {
	t.Parallel()
	path := writeBundle(t, compiled(t, webDenial, true, "team/web/deny"))
	e, err := loaded(t, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	reports := watch(t, e, nil)
	writeFiles(t, filepath.Dir(path), map[string]string{"policy.tar.gz": string(compiled(t, strings.ReplaceAll(webDenial, "web.all", "web.new"), true, "team/web/deny"))})
	if r := <-reports; r.Err != nil || !r.Changed {
		t.Fatalf("reported %v", r)
	}
	wantDenial(t, e, "web.new")
	writeFiles(t, filepath.Dir(path), map[string]string{"policy.tar.gz": "broken"})
	if r := <-reports; r.Err == nil {
		t.Errorf("reported %v, want an error", r)
	}
	wantDenial(t, e, "web.new")
}

// TestExplainOfWasm shows where a module was asked.
func TestExplainOfWasm(t *testing.T) {
	t.Parallel()
	path := writeBundle(t, built(t, true, example))
	e, err := loaded(t, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, explained, err := e.Explain(t.Context(), bash([]string{"git", "push"}))
	if err != nil || d.Effect != policy.Ask {
		t.Fatalf("Explain = %v, %v", d.Effect, err)
	}
	if !slices.ContainsFunc(explained.Steps, func(s engine.Step) bool {
		return s.Rule == "data.team.web.ask" && strings.HasPrefix(s.At, path+"/policy.wasm:team.web:")
	}) {
		t.Errorf("steps %v name no rule of the module", explained.Steps)
	}
}
