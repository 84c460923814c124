package engine

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/policies"
	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// The cache is held against the same policy without one, over inputs that are
// changed at random: few values for each member, so that most inputs come again
// as they were, or differ only where the policy does not look.

// awkward are policies of teams that read their input in every way there is.
var awkward = map[string]map[string]string{
	"none": nil,
	"by places": {
		"forms.rego": `package team.forms

deny contains {"id": "forms.key", "message": "key"} if {
	some k in ["team", "b"]
	input.principal.attributes[k] == "x"
}

deny contains {"id": "forms.with", "message": "with"} if {
	_is_late with input.time.hour as object.get(input.request.query, "hour", [23])[0]
	input.request.method == "POST"
}

_is_late if input.time.hour in {23, "a"}

deny contains {"id": "forms.every", "message": "every"} if {
	input.request.query != {}
	every _, list in input.request.query {
		every text in list {
			text != "a"
		}
	}
}

deny contains {"id": "forms.partial", "message": concat("", [name, "=", _attributes[name]])} if {
	some name in ["a", "read"]
	_attributes[name] != ""
}

_attributes[name] := value if {
	some name, value in input.principal.attributes
	input.principal.name == "read"
}

deny contains {"id": "forms.function", "message": _of(input.request)} if _of(input.request) == "delete from afar"

_of(request) := "delete from afar" if {
	request.method == "DELETE"
	request.remote.loopback == false
} else := request.host

deny contains {"id": "forms.mock", "message": "mock"} if {
	_check(1) with _check as _other
	input.request.websocket
}

_check(_) := false

_other(_) := input.request.origin == null
`,
		"prompt.rego": `package team.prompts

deny contains {"id": "prompts.keys", "message": sprintf("%v", [args])} if {
	args := {k | some k, _ in input.prompt.args; k != "command"}
	"forbidden" in args
}

ask contains {"id": "prompts.asked", "message": "asked", "always": [input.session.agent]} if {
	object.get(input.prompt.args, ["deep", "er"], null) == 1
	object.get(input.session, "depth", 0) > 0
}

ask contains {"id": "prompts.approved", "message": "not approved"} if {
	input.session
	not _is_approved
	input.prompt.tool == "edit"
}

_is_approved if {
	some approval in input.session.approvals
	approval.tool == input.prompt.tool
	glob.match(approval.pattern, null, concat("", [path.raw | some path in input.prompt.paths]))
}

deny contains {"id": "prompts.content", "message": "too much"} if {
	input.prompt.content.bytes > max([limit | some limit in [input.session.depth, 50]])
}

allow contains {"id": "prompts.lift", "message": "lifted"} if {
	every call in input.prompt.command.calls {
		not call.dynamic
		call.argv != []
	}
	input.host.sandbox.landlock >= 1
	{"x" | some hold in input.host.sandbox.holds; hold == "read"} != set()
}

obligations.timeout_seconds := 60 if input.session.parent

obligations.audit := "full" if count(input.prompt.command.redirects) > 0
`,
		"data.json": `{"team": {"forms": {"hours": {"friday": true}}}}`,
	},
	"whole": {
		"whole.rego": `package team.whole

deny contains {"id": "whole.walk", "message": concat("/", [sprintf("%v", [p]) | some p in path])} if {
	walk(input, [path, "\"<&>"])
}

deny contains {"id": "whole.filter", "message": "filtered"} if {
	json.filter(input, ["request/query/a", "session/agent"]) == {"session": {"agent": "read"}}
}

deny contains {"id": "whole.function", "message": "function"} if _is_odd(input)

_is_odd(document) if document.request.bytes == 60

_is_odd(document) if document.prompt.args.forbidden

ask contains {"id": "whole.key", "message": "key"} if {
	some k in ["session", "host"]
	input[k].directory == "a"
}

deny contains {"id": "whole.with", "message": "with"} if {
	data.opencode.request.is_public with input as object.union(input, {"request": {"route": "/global/health"}})
	input.request.query.a
}
`,
	},
}

// differing decides n changed inputs of a seed with a snapshot and its cache,
// and without, and returns those that differ, the first of them only if asked.
func differing(tb testing.TB, e *Engine, n int, seed uint64, first bool) (found []string) {
	tb.Helper()
	snap := e.snap.Load()
	ctx := context.WithoutCancel(tb.Context())
	for in := range changedInputs(n, seed) {
		got, err := e.decide(ctx, snap, in)
		var want policy.Decision
		value, wantErr := inputValue(in)
		if wantErr == nil {
			want, wantErr = snap.decideValue(ctx, in.Kind, value)
		}
		if wantErr != nil {
			want = policy.Decision{Snapshot: snap.digest}
		}
		if (err == nil) == (wantErr == nil) && reflect.DeepEqual(got, want) {
			continue
		}
		found = append(found, fmt.Sprintf("%+v: error %v, want %v\n(-uncached +cached)\n%s", in, err, wantErr, cmp.Diff(want, got)))
		if first {
			break
		}
	}
	return found
}

// changedInputs makes n inputs of a seed.
func changedInputs(n int, seed uint64) iter.Seq[*policy.Input] {
	return func(yield func(*policy.Input) bool) {
		bases := basesOfInputs()
		r := rand.New(rand.NewPCG(seed, 7))
		for range n {
			in := bases[r.IntN(len(bases))]()
			for range []int{0, 1, 1, 1, 2, 3}[r.IntN(6)] {
				mutate(reflect.ValueOf(in).Elem(), r)
			}
			if (in.Kind == policy.KindRequest || in.Kind == policy.KindPrompt) && !yield(in) {
				return
			}
		}
	}
}

// basesOfInputs makes inputs that reach the rules from either side.
func basesOfInputs() []func() *policy.Input {
	session := func() *policy.Session {
		return &policy.Session{ID: "ses_1", Agent: "build", Directory: "/p", Approvals: []policy.Approval{{Tool: "edit", Pattern: "*"}}, Restrictions: []policy.Restriction{}}
	}
	prompt := func(tool string, change func(*policy.Input)) func() *policy.Input {
		return func() *policy.Input {
			in := &policy.Input{
				Version: policy.Version, Kind: policy.KindPrompt, Time: policy.At(time.Unix(1795188300, 0).UTC()),
				Principal: policy.Principal{Kind: policy.PrincipalToken, ID: "tok_1", Permissions: []string{"read", "write", "execute"}, Attributes: map[string]string{}},
				Prompt:    &policy.Prompt{Tool: tool, Args: map[string]any{}, Paths: []fspath.Path{}},
				Session:   session(),
			}
			change(in)
			return in
		}
	}
	path := fspath.Path{Raw: "a", Real: "/p/a", Relative: "a", Inside: true, Access: fspath.Read, Exists: true, Kind: "file", Class: "plain"}
	command := func(in *policy.Input, argvs ...[]string) {
		c := &shell.Command{Parsed: true, Calls: []shell.Call{}, Redirects: []shell.Redirect{}, Files: []shell.File{}, Assigns: []string{}}
		for _, argv := range argvs {
			call := shell.Call{Name: argv[0], Plain: argv[0], Argv: argv, Effects: []string{}, Via: []string{}, Text: strings.Join(argv, " ")}
			if len(argv) > 1 {
				call.Subcommand = argv[1]
			}
			c.Calls = append(c.Calls, call)
		}
		in.Prompt.Command = c
		in.Prompt.Args["command"] = strings.Join(argvs[0], " ")
	}
	return []func() *policy.Input{
		cachedInput,
		func() *policy.Input {
			in := cachedInput()
			in.Request.Method, in.Request.Directory = "POST", nil
			in.Principal.Permissions = []string{"write", "execute"}
			return in
		},
		func() *policy.Input {
			in := cachedInput()
			in.Request.Query, in.Request.Origin = map[string][]string{}, nil
			in.Principal.Attributes = map[string]string{}
			return in
		},
		func() *policy.Input {
			in, health := cachedInput(), "/global/health"
			in.Request.Route, in.Request.Segments, in.Principal = &health, []string{"global", "health"}, policy.Principal{Kind: policy.PrincipalAnonymous}
			return in
		},
		func() *policy.Input {
			in, route := cachedInput(), "/config"
			in.Request.Route, in.Request.Segments, in.Principal.Permissions = &route, []string{"config"}, []string{"read"}
			return in
		},
		prompt("bash", func(in *policy.Input) { command(in, []string{"go", "test"}, []string{"git", "status"}) }),
		prompt("bash", func(in *policy.Input) {
			command(in, []string{"git", "push"})
			in.Host = &policy.Host{OS: "linux", Sandbox: policy.HostSandbox{Holds: []string{"read"}, Landlock: 1}}
		}),
		prompt("bash", func(in *policy.Input) {
			command(in, []string{"rm", "x"})
			in.Prompt.Paths = []fspath.Path{path}
			in.Prompt.Command.Files = []shell.File{{Path: "x", Access: "delete", By: "rm"}}
			in.Prompt.Command.Redirects = []shell.Redirect{{Op: ">", Target: "x", Access: "write"}}
		}),
		prompt("bash", func(in *policy.Input) {
			command(in, []string{"git", "log"})
			in.Session.Restrictions = []policy.Restriction{{Permission: "bash", Pattern: "git push*", Action: "ask"}}
		}),
		prompt("read", func(in *policy.Input) { in.Prompt.Paths = []fspath.Path{path} }),
		prompt("edit", func(in *policy.Input) {
			in.Prompt.Paths, in.Prompt.Content = []fspath.Path{path}, &policy.Content{Bytes: 10, Lines: 1}
			in.Prompt.Paths[0].Access = fspath.Write
		}),
		prompt("pty", func(in *policy.Input) { command(in, []string{"bash"}) }),
		prompt("x", func(in *policy.Input) {
			in.Prompt.Args = map[string]any{"deep": map[string]any{"er": 1.0}, "b": []any{"x", nil, true}}
			in.Session.Depth = 1
		}),
	}
}

// mutate changes one value somewhere in v, found by reflection so that each
// member there is comes to be changed.
func mutate(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"", "a", "read", "curl", "git push x", "DELETE", "\"<&>", "secret", "anonymous"}[r.IntN(9)])
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{0, 1, 2, 60}[r.IntN(4)])
	case reflect.Pointer:
		switch {
		case v.IsNil():
			v.Set(reflect.New(v.Type().Elem()))
		case r.IntN(4) == 0:
			v.SetZero()
		default:
			copied := reflect.New(v.Type().Elem())
			copied.Elem().Set(v.Elem())
			mutate(copied.Elem(), r)
			v.Set(copied)
		}
	case reflect.Struct:
		mutate(v.Field(r.IntN(v.NumField())), r)
	case reflect.Slice:
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len()+1)
		reflect.Copy(copied, v)
		if v.Len() == 0 || r.IntN(4) == 0 {
			copied = reflect.Append(copied, reflect.Zero(v.Type().Elem()))
		} else if r.IntN(4) == 0 {
			copied = copied.Slice(0, copied.Len()-1)
		}
		if copied.Len() > 0 {
			mutate(copied.Index(r.IntN(copied.Len())), r)
		}
		v.Set(copied)
	case reflect.Map:
		copied := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			copied.SetMapIndex(k, v.MapIndex(k))
		}
		key := reflect.ValueOf([]string{"a", "team", "command", "forbidden", "deep"}[r.IntN(5)])
		value := reflect.New(v.Type().Elem()).Elem()
		mutate(value, r)
		if r.IntN(3) == 0 {
			value = reflect.Value{}
		}
		copied.SetMapIndex(key, value)
		v.Set(copied)
	case reflect.Interface:
		v.Set(reflect.ValueOf([]any{"x", "git push", true, 1.0, 1, []any{"a", nil}, map[string]any{"er": 1.0}, map[string]any{"er": 1, "b": 2}}[r.IntN(8)]))
	default:
		panic("a member of a kind that the test does not know: " + v.Type().String())
	}
}

// awkwardEngine returns an engine with the default policy and one of awkward.
func awkwardEngine(t *testing.T, name string) *Engine {
	t.Helper()
	cfg := Config{Default: policies.FS, Timeout: time.Minute}
	if files := awkward[name]; files != nil {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cfg.Dirs = []string{dir}
	}
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// manyInputs take seconds; fewestInputs are enough for the checks of what the
// inputs were like.
const manyInputs, fewestInputs = 21_000, 5000

// inputs returns how many inputs a test decides: OPENCODE_TEST_INPUTS, or as many
// as take seconds.
func inputs(t *testing.T, otherwise int) int {
	t.Helper()
	given := os.Getenv("OPENCODE_TEST_INPUTS")
	if given == "" {
		return otherwise
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < fewestInputs {
		t.Fatalf("OPENCODE_TEST_INPUTS=%s: want a number of at least %d", given, fewestInputs)
	}
	return n
}

// TestCacheMakesNoDifference decides inputs with the cache and without.
func TestCacheMakesNoDifference(t *testing.T) {
	t.Parallel()
	each := inputs(t, manyInputs) / len(awkward) / 2
	for name := range awkward {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := awkwardEngine(t, name)
			for kind, r := range e.Info().Reads {
				if r.Uncached != "" {
					t.Errorf("%s is not kept: %s", kind, r.Uncached)
				}
			}
			var wg sync.WaitGroup
			for worker := range uint64(2) {
				wg.Go(func() {
					for _, difference := range differing(t, e, each, worker, true) {
						t.Error(difference)
					}
				})
			}
			wg.Wait()
			info := e.Info().Cache
			t.Logf("%+v", info)
			if info.Hits < uint64(each)/2 || info.Misses < uint64(each)/20 {
				t.Errorf("%+v of %d inputs, want both hits and misses", info, 2*each)
			}
		})
	}
}

// TestTheDifferenceIsFound takes one place at a time from what the analysis
// found. Each must make a difference, or the test above proves nothing.
func TestTheDifferenceIsFound(t *testing.T) {
	t.Parallel()
	for kind, places := range map[policy.Kind][]string{
		policy.KindRequest: {
			"input.principal.expired", "input.principal.permissions", "input.principal.attributes", "input.request",
		},
		policy.KindPrompt: {
			"input.principal.kind", "input.prompt.tool", "input.prompt.command.calls", "input.prompt.paths", "input.prompt.args",
			"input.session", "input.host.sandbox.landlock",
		},
	} {
		for _, place := range places {
			t.Run(fmt.Sprint(kind, " without ", place), func(t *testing.T) {
				t.Parallel()
				e := awkwardEngine(t, "by places")
				found := e.Info().Reads[kind].Input
				if !slices.Contains(found, place) {
					t.Fatalf("%s is not among %v", place, found)
				}
				paths := &pathSet{}
				for _, other := range found {
					path, only := strings.CutSuffix(strings.TrimPrefix(other, "input."), "?")
					switch {
					case other == place:
					case only:
						paths.at(strings.Split(path, "."))
					default:
						paths.add(strings.Split(path, "."))
					}
				}
				e.snap.Load().queries[kind].reads = inputShape().narrow(paths)
				if len(differing(t, e, 4000, 3, true)) == 0 {
					t.Error("nobody would notice that it is not in the key")
				}
			})
		}
	}
}

// TestShortWaysAreTheRules decides inputs with the default policy, which has a
// short way for what most of them are, and with the same beside a team that has
// nothing to say, where every rule is asked.
func TestShortWaysAreTheRules(t *testing.T) {
	t.Parallel()
	n := inputs(t, 20_000) / 2
	quiet := t.TempDir()
	if err := os.WriteFile(filepath.Join(quiet, "data.json"), []byte(`{"team":{"quiet":{}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	long, err := New(t.Context(), Config{Default: policies.FS, Dirs: []string{quiet}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	short := awkwardEngine(t, "none")
	allowed := map[policy.Kind]int{}
	for in := range changedInputs(n, 11) {
		got, gotErr := short.Decide(t.Context(), in)
		want, wantErr := long.Decide(t.Context(), in)
		got.Snapshot, want.Snapshot = "", ""
		if diff := cmp.Diff(want, got); (gotErr == nil) != (wantErr == nil) || diff != "" {
			t.Fatalf("%+v: error %v, want %v\n(-every rule +short way)\n%s", in, gotErr, wantErr, diff)
		}
		if got.Effect == policy.Allow {
			allowed[in.Kind]++
		}
	}
	if allowed[policy.KindRequest] < n/20 || allowed[policy.KindPrompt] < n/20 {
		t.Errorf("of %d inputs %v were allowed, want more that go the short way", n, allowed)
	}
}
