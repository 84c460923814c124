package engine

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/policies"
	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/policy/shell"
)

func cachedInput() *policy.Input {
	route, origin, days := "/session", "https://a.example", 3
	return &policy.Input{
		Version: 1, Kind: policy.KindRequest, Time: policy.At(time.Unix(1795188300, 0)),
		Principal: policy.Principal{
			Kind: policy.PrincipalToken, ID: "tok_1", Name: "n", Permissions: []string{"read", "execute"},
			ExpiresInDays: &days, Attributes: map[string]string{"team": "web", "a": "b"},
		},
		Request: &policy.Request{
			Method: "GET", Path: "/session", Route: &route, Segments: []string{"session"}, Canonical: true,
			Query: map[string][]string{"a": {"x", "y"}, "b": nil}, Host: "127.0.0.1", Origin: &origin,
			Remote:    policy.Remote{IP: "127.0.0.1", Loopback: true},
			Directory: &policy.Directory{Raw: "/p", Real: "/p", Inside: true},
		},
	}
}

// wholeKey returns the key of an input of which everything is read.
func wholeKey(in *policy.Input) (string, bool) {
	k := &key{}
	inputShape().key(k, in)
	return string(k.bytes()), !k.isLost()
}

func keyOf(t *testing.T, in *policy.Input) string {
	t.Helper()
	key, ok := wholeKey(in)
	if !ok {
		t.Fatal("the input has no key")
	}
	return key
}

// wholePrompt has a value in every member that a prompt can have.
func wholePrompt() *policy.Input {
	in := cachedInput()
	text, parent, problem := "x", "ses_0", "too long"
	in.Kind, in.Request = policy.KindPrompt, nil
	in.Prompt = &policy.Prompt{
		Tool: "bash", Args: map[string]any{"command": "x", "n": 1},
		Command: &shell.Command{
			Calls: []shell.Call{{
				Name: "a", Argv: []string{"a"}, Path: "/a", Subcommand: "b", Operand: "c", Plain: "a", Effects: []string{"d"},
				Code: &text, Via: []string{"sh"}, Text: "a b",
			}},
			Redirects: []shell.Redirect{{Op: ">", Target: "f", Access: "write"}},
			Files:     []shell.File{{Path: "f", Access: "read", By: "cat"}},
			Assigns:   []string{"A"}, Parsed: true, Problem: &problem,
		},
		Paths: []fspath.Path{{
			Raw: "f", Real: "/p/f", Relative: "f", Inside: true, Access: fspath.Read, Exists: true, Kind: "file", Links: 1, Class: "plain", Problem: &problem,
		}},
		Content: &policy.Content{Bytes: 1, Lines: 1},
	}
	in.Session = &policy.Session{
		ID: "ses_1", Parent: &parent, Agent: "build", Directory: "/p",
		Approvals:    []policy.Approval{{Tool: "bash", Pattern: "a"}},
		Restrictions: []policy.Restriction{{Permission: "bash", Pattern: "a", Action: "ask"}},
	}
	in.Host = &policy.Host{OS: "linux", Sandbox: policy.HostSandbox{Holds: []string{"read"}, Landlock: 1}}
	return in
}

// TestKeyIsWhole changes every value of an input, one at a time, found by
// reflection so that a new member cannot be forgotten. Each must change the
// key, or leave the input without one.
func TestKeyIsWhole(t *testing.T) {
	t.Parallel()
	for name, input := range map[string]func() *policy.Input{"request": cachedInput, "prompt": wholePrompt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keyIsWhole(t, input)
		})
	}
}

func keyIsWhole(t *testing.T, input func() *policy.Input) {
	t.Helper()
	base := keyOf(t, input())
	changed := 0
	var walk func(path string, get func(*policy.Input) reflect.Value)
	try := func(path string, change func(*policy.Input)) {
		in := input()
		change(in)
		changed++
		if key, ok := wholeKey(in); ok && key == base {
			t.Errorf("%s is not in the key", path)
		}
	}
	walk = func(path string, get func(*policy.Input) reflect.Value) {
		v := get(input())
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				try(path+" set", func(in *policy.Input) { get(in).Set(reflect.New(v.Type().Elem())) })
				return
			}
			try(path+" nil", func(in *policy.Input) { get(in).SetZero() })
			walk(path, func(in *policy.Input) reflect.Value { return get(in).Elem() })
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).Tag.Get("json") == "-" {
					continue // it is not in the document
				}
				walk(path+"."+v.Type().Field(i).Name, func(in *policy.Input) reflect.Value { return get(in).Field(i) })
			}
		case reflect.String:
			try(path, func(in *policy.Input) { get(in).SetString(get(in).String() + "x") })
		case reflect.Int, reflect.Int64:
			try(path, func(in *policy.Input) { get(in).SetInt(get(in).Int() + 1<<40) })
		case reflect.Bool:
			try(path, func(in *policy.Input) { get(in).SetBool(!get(in).Bool()) })
		case reflect.Slice:
			try(path+" nil", func(in *policy.Input) { get(in).SetZero() })
			try(path+" more", func(in *policy.Input) { get(in).Set(reflect.Append(get(in), reflect.Zero(v.Type().Elem()))) })
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", path, i), func(in *policy.Input) reflect.Value { return get(in).Index(i) })
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				try(path+" without "+k.String(), func(in *policy.Input) { get(in).SetMapIndex(k, reflect.Value{}) })
				try(path+" other "+k.String(), func(in *policy.Input) {
					old := get(in).MapIndex(k)
					if old.Kind() == reflect.Interface {
						get(in).SetMapIndex(k, reflect.ValueOf(fmt.Sprint(old, "x")))
						return
					}
					if old.Kind() == reflect.String {
						get(in).SetMapIndex(k, reflect.ValueOf(old.String()+"x"))
						return
					}
					get(in).SetMapIndex(k, reflect.Append(old, reflect.ValueOf("x")))
				})
			}
			try(path+" more", func(in *policy.Input) {
				get(in).SetMapIndex(reflect.ValueOf("more"), reflect.Zero(v.Type().Elem()))
			})
		default:
			t.Fatalf("%s: a %s, which this test does not know", path, v.Kind())
		}
	}
	walk("input", func(in *policy.Input) reflect.Value { return reflect.ValueOf(in).Elem() })
	if changed < 40 {
		t.Errorf("%d changes", changed)
	}
	if again := keyOf(t, input()); again != base {
		t.Error("the key of one input differs from time to time")
	}
}

// TestKeysDoNotRunTogether moves text from one member into the next.
func TestKeysDoNotRunTogether(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, change := range map[string]func(*policy.Input){
		"a, b": func(in *policy.Input) { in.Request.Segments = []string{"a", "b"} },
		"ab":   func(in *policy.Input) { in.Request.Segments = []string{"ab"} },
		"a b with lengths": func(in *policy.Input) {
			in.Request.Segments = []string{"a\x01\x00\x00\x00\x00\x00\x00\x00b"}
		},
		"query in attributes": func(in *policy.Input) {
			in.Principal.Attributes["c"] = "d"
			in.Request.Query = map[string][]string{}
		},
		"attributes in query": func(in *policy.Input) { in.Request.Query["c"] = []string{"d"} },
		"id and name":         func(in *policy.Input) { in.Principal.ID, in.Principal.Name = "tok_1n", "" },
	} {
		in := cachedInput()
		change(in)
		key := keyOf(t, in)
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q have one key", name, other)
		}
		seen[key] = name
	}
}

// TestCacheIsBounded fills a cache with far more than fits, and checks that
// what is asked for again stays.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newDecisions()
	key := func(i int) []byte { return fmt.Appendf(nil, "%0512d", i) }
	hot := policy.Decision{Snapshot: "hot"}
	c.keep(key(-1), hot)
	for i := range 100_000 {
		c.keep(key(i), policy.Decision{})
		if i%1000 == 0 {
			if d, ok := c.decision(key(-1)); !ok || d.Snapshot != "hot" {
				t.Fatalf("after %d: %v %v", i, d, ok)
			}
		}
	}
	var info policy.CacheInfo
	c.add(&info)
	if most := 2 * cacheShards * (shardBytes/(512+entryBytes) + 1); info.Entries > most || info.Evictions < 80_000 {
		t.Errorf("%+v, want at most %d entries", info, most)
	}
	if info.Hits != 100 || info.Misses != 0 {
		t.Errorf("%+v, want 100 hits", info)
	}
}

// TestCachedDecisionIsTheDecision holds cached decisions against those of a
// snapshot without a cache, over inputs that differ in one thing each.
func TestCachedDecisionIsTheDecision(t *testing.T) {
	t.Parallel()
	e, err := New(t.Context(), Config{Default: policies.FS})
	if err != nil {
		t.Fatal(err)
	}
	snap := e.snap.Load()
	for round := range 3 {
		for _, method := range []string{"GET", "POST", "DELETE", "X"} {
			for _, path := range []string{"/session", "/global/health", "/config", "/nope"} {
				for _, permissions := range [][]string{nil, {}, {"read"}, {"read", "execute"}, {"read", "write", "execute"}} {
					for _, expired := range []bool{false, true} {
						in := cachedInput()
						in.Request.Method, in.Request.Path, in.Request.Route = method, path, &path
						in.Request.Segments = []string{path[1:]}
						in.Principal.Permissions, in.Principal.Expired = permissions, expired
						got, err := e.Decide(t.Context(), in)
						want, wantErr := snap.decide(t.Context(), in)
						if (err == nil) != (wantErr == nil) {
							t.Fatalf("error %v, want %v", err, wantErr)
						}
						if diff := cmp.Diff(want, got); diff != "" {
							t.Fatalf("round %d, %s %s %v (-uncached +cached)\n%s", round, method, path, permissions, diff)
						}
					}
				}
			}
		}
	}
	if info := e.Info().Cache; info.Hits < 2*160 || info.Misses > 160 {
		t.Errorf("%+v, want that all but the first round hits", info)
	}
}

// TestNotCached checks what is decided each time: what is too long, errors, and
// all that a policy with an impure built-in decides.
func TestNotCached(t *testing.T) {
	t.Parallel()
	e, err := New(t.Context(), Config{Default: policies.FS})
	if err != nil {
		t.Fatal(err)
	}
	long := cachedInput()
	long.Request.Method = strings.Repeat("x", keyBytes)
	for range 2 {
		if _, err := e.Decide(t.Context(), long); err != nil {
			t.Fatal(err)
		}
	}
	strange := policy.FromCall(time.Now(), policy.Principal{Kind: policy.PrincipalLocal}, policy.Call{
		Tool: "read", Root: "/p", Directory: "/p", Args: map[string]any{"x": make(chan int)},
	})
	for range 2 {
		if d, err := e.Decide(t.Context(), strange); err == nil || d.Effect != policy.Deny {
			t.Errorf("Decide = %v, error %v, want an error and a denial", d.Effect, err)
		}
	}
	if want := (policy.CacheInfo{Bypasses: 4}); e.Info().Cache != want {
		t.Errorf("%+v, want %+v", e.Info().Cache, want)
	}
}
