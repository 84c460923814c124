package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policies"
	"opencode/policy"
)

// A fact that is missing or of the wrong type must never make a decision
// milder. The base documents below reach every rule of the default policy from
// its strict side; each is then broken in one place, in every way, and in
// random pairs of places.

type object = map[string]any

// base is a document before it is broken.
type base struct {
	name     string
	document object
	want     policy.Effect
	// whole documents are broken in every way also where the default policy
	// does not look.
	whole bool
	// removes are the places whose removal takes away what the document is
	// refused or asked for: a call that is not there is not made.
	removes []string
	// nulls are the places where null is a fact of its own.
	nulls []string
}

func testPrincipal(permissions ...any) object {
	return object{
		"kind": "token", "id": "tok_1", "name": "ci", "permissions": permissions,
		"expired": false, "expires_in_days": 3, "attributes": object{"team": "web"},
	}
}

func testRequest(method, route string, permissions ...any) object {
	segments := []any{}
	for s := range strings.SplitSeq(strings.Trim(route, "/"), "/") {
		segments = append(segments, s)
	}
	return object{
		"version": 1, "kind": "request", "time": object{"unix": 1795188300, "weekday": "friday", "hour": 15},
		"principal": testPrincipal(permissions...),
		"request": object{
			"method": method, "path": route, "route": route, "segments": segments, "canonical": true,
			"query": object{"limit": []any{"1"}}, "host": "127.0.0.1:4096", "origin": nil, "websocket": false,
			"remote": object{"ip": "127.0.0.1", "loopback": true}, "bytes": 0, "directory": nil,
		},
	}
}

func testPrompt(tool string, paths ...any) object {
	return object{
		"version": 1, "kind": "prompt", "time": object{"unix": 1795188300, "weekday": "friday", "hour": 15},
		"principal": testPrincipal("read", "write", "execute"),
		"prompt":    object{"tool": tool, "args": object{"x": "y"}, "paths": append([]any{}, paths...)},
		"session": object{
			"id": "ses_1", "parent": nil, "depth": 0, "agent": "build", "directory": "/p", "interactive": true,
			"approvals":    []any{object{"tool": "bash", "pattern": "ls *"}},
			"restrictions": []any{object{"permission": "write", "pattern": "x", "action": "deny"}},
		},
	}
}

func testPath(access string) object {
	return object{
		"raw": "a", "real": "/p/a", "relative": "a", "inside": true, "access": access,
		"exists": true, "link": false, "kind": "file", "links": 1, "class": "plain", "problem": nil,
	}
}

func testCall(argv ...any) object {
	subcommand := any("")
	if len(argv) > 1 {
		subcommand = argv[1]
	}
	return object{"name": argv[0], "argv": argv, "path": "", "subcommand": subcommand, "dynamic": false, "via": []any{}, "text": "text"}
}

func testBash(calls ...any) object {
	document := testPrompt("bash", testPath("write"))
	document["prompt"].(object)["command"] = object{
		"calls": append([]any{}, calls...), "assigns": []any{"X"}, "dynamic": false, "parsed": true, "problem": nil,
		"redirects": []any{object{"op": ">", "target": "a", "access": "write", "dynamic": false}},
	}
	return document
}

// with returns a copy of a document with other values at the given places.
func with(document object, changes object) object {
	document = deepCopy(document).(object)
	for at, value := range changes {
		change(document, strings.Split(at, "/"), func(any) (any, bool) { return value, true })
	}
	return document
}

func deepCopy(v any) any {
	switch v := v.(type) {
	case object:
		out := make(object, len(v))
		for k, e := range v {
			out[k] = deepCopy(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = deepCopy(e)
		}
		return out
	}
	return v
}

// change replaces the value at a path by what f makes of it, or removes it.
func change(v any, path []string, f func(any) (any, bool)) any {
	switch v := v.(type) {
	case object:
		old, ok := v[path[0]]
		if len(path) > 1 {
			if ok {
				v[path[0]] = change(old, path[1:], f)
			}
			return v
		}
		if value, keep := f(old); keep {
			v[path[0]] = value
		} else {
			delete(v, path[0])
		}
		return v
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(v) {
			return v
		}
		if len(path) > 1 {
			v[i] = change(v[i], path[1:], f)
			return v
		}
		value, keep := f(v[i])
		if !keep {
			return slices.Delete(v, i, i+1)
		}
		v[i] = value
		return v
	}
	return v
}

// places returns the path of every value in a document.
func places(v any, at string) []string {
	var list []string
	add := func(key string, e any) {
		list = append(list, strings.TrimPrefix(at+"/"+key, "/"))
		list = append(list, places(e, at+"/"+key)...)
	}
	switch v := v.(type) {
	case object:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			add(k, v[k])
		}
	case []any:
		for i, e := range v {
			add(strconv.Itoa(i), e)
		}
	}
	return list
}

// valueAt returns the value at a path.
func valueAt(document object, at string) any {
	var value any
	change(deepCopy(document), strings.Split(at, "/"), func(v any) (any, bool) {
		value = v
		return v, true
	})
	return value
}

// mutation breaks a document in one place.
type mutation struct {
	at, how string
	apply   func(any) (any, bool)
}

func (m mutation) String() string { return m.how + " " + m.at }

var idlePlace = regexp.MustCompile(`^(time|session|prompt/args|principal/(id|name|expires_in_days|attributes)|` +
	`request/(query|remote|host|origin|websocket|bytes|path)|prompt/paths/\d/(exists|link)|prompt/command/calls/\d/(argv|path|via|text|dynamic))(/|$)`)

// idle reports whether the default policy says nothing about a place. There a
// few ways to break it are enough.
func idle(at string) bool { return idlePlace.MatchString(at) }

// mutations returns every way to break a document in one place.
func (b base) mutations() []mutation {
	wrong := []struct {
		name string
		of   func(any) any
	}{
		{"true", func(any) any { return true }},
		{"one", func(any) any { return 1 }},
		{"string", func(any) any { return "x" }},
		{"object", func(any) any { return object{} }},
		{"wrapped", func(v any) any { return []any{v} }},
		{"spelled", func(v any) any { return fmt.Sprint(v) }},
	}
	var list []mutation
	for _, at := range places(b.document, "") {
		if !slices.Contains(b.removes, at) {
			list = append(list, mutation{at, "remove", func(any) (any, bool) { return nil, false }})
		}
		if !slices.Contains(b.nulls, at) {
			list = append(list, mutation{at, "null", func(any) (any, bool) { return nil, true }})
		}
		if !b.whole && idle(at) {
			continue
		}
		for _, w := range wrong {
			if old := valueAt(b.document, at); fmt.Sprintf("%T", w.of(old)) != fmt.Sprintf("%T", old) {
				list = append(list, mutation{at, w.name, func(old any) (any, bool) { return w.of(old), true }})
			}
		}
	}
	return list
}

func bases() []base {
	push, call := testCall("git", "push"), testCall("ls")
	outside := object{"prompt/paths/0/inside": false, "prompt/paths/0/real": "/etc/x", "prompt/paths/0/relative": ""}
	temporary := object{"prompt/paths/0/inside": false, "prompt/paths/0/real": "/tmp/x", "prompt/paths/0/relative": ""}
	directory := object{"raw": "/p", "real": "/p", "inside": true}
	path, redirect := []string{"prompt/paths/0"}, []string{"prompt/command/redirects/0"}
	first := []string{"prompt/command/calls/0"}
	shell := object{
		"prompt/tool": "pty", "prompt/command/dynamic": true,
		"prompt/command/redirects": []any{}, "prompt/command/assigns": []any{},
	}
	return []base{
		{name: "request", document: testRequest("GET", "/config", "read"), want: policy.Allow, whole: true},
		{name: "interactive request", document: testRequest("GET", "/session", "read", "execute"), want: policy.Allow},
		{name: "request with a directory", document: with(testRequest("POST", "/session", "read", "write", "execute"), object{"request/directory": directory}), want: policy.Allow},
		{name: "public request", document: with(testRequest("GET", "/global/health"), object{"principal/kind": "anonymous"}), want: policy.Allow},
		{name: "request without read", document: testRequest("GET", "/config", "write", "execute"), want: policy.Deny},
		{name: "request without write", document: testRequest("POST", "/session", "read", "execute"), want: policy.Deny},
		{name: "request without execute", document: testRequest("GET", "/session", "read", "write"), want: policy.Deny},
		{name: "request with a value that needs execute", document: with(testRequest("GET", "/api/fs/read/*", "read"), object{"request/segments": []any{"api", "fs", "read", "pty"}}), want: policy.Deny, removes: []string{"request/segments/3"}},
		{name: "expired", document: with(testRequest("GET", "/config", "read"), object{"principal/expired": true}), want: policy.Deny},
		{name: "anonymous", document: with(testRequest("GET", "/config", "read"), object{"principal/kind": "anonymous"}), want: policy.Deny},
		{name: "odd spelling", document: with(testRequest("GET", "/config", "read"), object{"request/canonical": false}), want: policy.Deny},
		{name: "unknown route", document: with(testRequest("GET", "/config", "read"), object{"request/route": nil}), want: policy.Deny},
		{name: "unknown method", document: testRequest("TRACE", "/config", "read"), want: policy.Deny},
		{name: "directory outside", document: with(testRequest("GET", "/config", "read"), object{"request/directory": object{"raw": "/", "real": "/", "inside": false}}), want: policy.Deny, nulls: []string{"request/directory"}},
		{name: "prompt as request", document: with(testRequest("GET", "/config", "read"), object{"kind": "prompt"}), want: policy.Deny},
		{name: "request of another version", document: with(testRequest("GET", "/config", "read"), object{"version": 2}), want: policy.Deny},

		{name: "command", document: testBash(testCall("ls", "-l"), testCall("git", "status")), want: policy.Allow, whole: true},
		{name: "read", document: testPrompt("read", testPath("read")), want: policy.Allow},
		{name: "null device", document: with(testBash(call), object{"prompt/paths/0/inside": false, "prompt/paths/0/real": "/dev/null", "prompt/paths/0/kind": "device"}), want: policy.Allow},
		{name: "banned command", document: testBash(testCall("curl", "x"), call), want: policy.Deny, removes: first},
		{name: "banned terminal", document: with(testBash(testCall("NC")), object{"prompt/tool": "pty"}), want: policy.Deny, removes: first},
		{name: "no facts", document: with(testBash(call), object{"prompt/command": object{}}), want: policy.Deny},
		{name: "outside", document: with(testBash(call), outside), want: policy.Deny, removes: path},
		{name: "read outside", document: with(testPrompt("read", testPath("read")), outside), want: policy.Deny, removes: path},
		{name: "unresolved", document: with(testBash(call), object{"prompt/paths/0/problem": "link loop"}), want: policy.Deny, removes: path, nulls: []string{"prompt/paths/0/problem"}},
		{name: "pipe", document: with(testBash(call), object{"prompt/paths/0/kind": "fifo"}), want: policy.Deny, removes: path},
		{name: "command without execute", document: with(testBash(call), object{"principal/permissions": []any{"read", "write"}}), want: policy.Deny},
		{name: "edit without write", document: with(testPrompt("edit", testPath("write")), object{"principal/permissions": []any{"read", "execute"}}), want: policy.Deny},
		{name: "expired prompt", document: with(testBash(call), object{"principal/expired": true}), want: policy.Deny},
		{name: "anonymous prompt", document: with(testBash(call), object{"principal/kind": "anonymous"}), want: policy.Deny},
		{name: "prompt of another version", document: with(testBash(call), object{"version": 2}), want: policy.Deny},
		{name: "request as prompt", document: with(testBash(call), object{"kind": "request"}), want: policy.Deny},

		{name: "push", document: testBash(push, call), want: policy.Ask, removes: first},
		{name: "sudo", document: testBash(testCall("sudo"), call), want: policy.Ask, removes: first},
		{name: "not parsed", document: with(testBash(call), object{"prompt/command/parsed": false, "prompt/command/problem": "quote"}), want: policy.Ask},
		{name: "dynamic", document: with(testBash(call), object{"prompt/command/dynamic": true}), want: policy.Ask},
		{name: "dynamic redirect", document: with(testBash(call), object{"prompt/command/redirects/0/dynamic": true}), want: policy.Ask, removes: redirect},
		{name: "nothing", document: with(testBash(), object{"prompt/command/redirects": []any{}, "prompt/command/assigns": []any{}}), want: policy.Ask},
		{name: "temporary", document: with(testBash(call), temporary), want: policy.Ask, removes: path},
		{name: "secret", document: with(testPrompt("read", testPath("read"), testPath("read")), object{"prompt/paths/0/class": "secret"}), want: policy.Ask, removes: path},
		{name: "secret in a command", document: with(testBash(call), object{"prompt/paths/0/class": "secret"}), want: policy.Ask, removes: path},
		{name: "history", document: with(testBash(call), object{"prompt/paths/0/class": "vcs"}), want: policy.Ask, removes: path},
		{name: "agent configuration", document: with(testBash(call), object{"prompt/paths/0/class": "agent-config"}), want: policy.Ask, removes: path},
		{name: "edit", document: testPrompt("edit", testPath("write")), want: policy.Ask},
		{name: "patch of nothing", document: testPrompt("patch"), want: policy.Ask},
		{name: "read that writes", document: testPrompt("read", testPath("write"), testPath("read")), want: policy.Ask, removes: path},
		{name: "unknown tool", document: testPrompt("teleport"), want: policy.Ask},
		{name: "terminal", document: with(testBash(call), object{"prompt/tool": "pty"}), want: policy.Allow, whole: true},
		{name: "terminal with a shell", document: with(testBash(testCall("bash", "-l")), shell), want: policy.Allow, whole: true},
		{name: "terminal with a script", document: with(testBash(testCall("bash", "-c", "x")), shell), want: policy.Ask, whole: true, removes: []string{
			"prompt/command/calls/0/argv/1", "prompt/command/calls/0/argv/2",
		}},
		{name: "terminal with a dynamic command", document: with(testBash(call), shell), want: policy.Ask, whole: true},
	}
}

func TestBrokenFactsAreNeverMilder(t *testing.T) {
	t.Parallel()
	snap := defaultSnapshot(t)
	every := max(1, manyInputs/inputs(t, manyInputs)) // fewer where a decision takes long
	for i, b := range bases() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			kind := policy.KindRequest
			if _, ok := b.document["prompt"]; ok {
				kind = policy.KindPrompt
			}
			if got, err := decideJSON(t, snap, kind, b.document); got != b.want {
				t.Fatalf("unbroken: effect %v, error %v, want %v", got, err, b.want)
			}
			check := func(ms ...mutation) {
				document := deepCopy(b.document)
				for _, m := range ms {
					change(document, strings.Split(m.at, "/"), m.apply)
				}
				if got, _ := decideJSON(t, snap, kind, document); got > b.want {
					t.Errorf("%v: effect %v, want %v at most", ms, got, b.want)
				}
			}
			all := b.mutations()
			for k := i % every; k < len(all); k += every {
				check(all[k])
			}
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 40 {
				check(all[random.IntN(len(all))], all[random.IntN(len(all))])
			}
		})
	}
}

func defaultSnapshot(tb testing.TB) *snapshot {
	tb.Helper()
	src, err := Config{Default: policies.FS}.sources(serving)
	if err != nil {
		tb.Fatal(err)
	}
	snap, err := build(tb.Context(), src)
	if err != nil {
		tb.Fatal(err)
	}
	return snap
}

// decideJSON decides a document that no Go type could hold.
func decideJSON(tb testing.TB, snap *snapshot, kind policy.Kind, document any) (policy.Effect, error) {
	tb.Helper()
	b, err := json.Marshal(document)
	if err != nil {
		tb.Fatal(err)
	}
	value, err := ast.ValueFromReader(strings.NewReader(string(b)))
	if err != nil {
		tb.Fatal(err)
	}
	d, err := snap.decideValue(tb.Context(), kind, value)
	if err != nil && d.Effect != policy.Deny {
		tb.Errorf("error %v with effect %v", err, d.Effect)
	}
	return d.Effect, err
}
