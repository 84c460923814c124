package engine_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// writeDir makes a directory of policy files.
func writeDir(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "policy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	writeFiles(tb, dir, files)
	return dir
}

func writeFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		// As an editor does: nobody sees half a file.
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			tb.Fatal(err)
		}
	}
}

// team returns an engine with the default policy and what a team adds.
func team(tb testing.TB, files map[string]string) *engine.Engine {
	tb.Helper()
	e, err := engine.New(tb.Context(), engine.Config{Default: policies.FS, Dirs: []string{writeDir(tb, files)}})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func byDefault(tb testing.TB) *engine.Engine {
	tb.Helper()
	e, err := engine.New(tb.Context(), engine.Config{Default: policies.FS})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func token(permissions ...string) policy.Principal {
	return policy.Principal{Kind: policy.PrincipalToken, ID: "tok_1", Name: "ci", Permissions: permissions}
}

func request(method, route string, permissions ...string) *policy.Input {
	return policy.FromRequest(time.Unix(1795188323, 0), token(permissions...), policy.HTTP{
		Method: method, Path: route, Host: "127.0.0.1:4096", Remote: netip.MustParseAddr("127.0.0.1"),
		Route: func(string, string) (string, bool) { return route, true },
	})
}

func bash(argvs ...[]string) *policy.Input {
	command := &shell.Command{Parsed: true}
	for _, argv := range argvs {
		call := shell.Call{Name: argv[0], Argv: argv, Text: strings.Join(argv, " ")}
		if len(argv) > 1 {
			call.Subcommand = argv[1]
		}
		command.Calls = append(command.Calls, call)
	}
	return &policy.Input{
		Version: policy.Version, Kind: policy.KindPrompt, Time: policy.At(time.Unix(1795188323, 0)),
		Principal: token("read", "write", "execute"),
		Prompt:    &policy.Prompt{Tool: "bash", Args: map[string]any{}, Command: command},
	}
}

func ids(d policy.Decision) []string {
	var list []string
	for _, r := range d.Rules {
		list = append(list, r.ID)
	}
	return list
}

func TestDefaultPolicyDecides(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	outside := bash([]string{"ls"})
	outside.Prompt.Paths = []fspath.Path{{Raw: "../x", Real: "/x", Access: fspath.Write, Kind: "file", Class: "plain"}}
	for _, row := range []struct {
		name  string
		input *policy.Input
		want  policy.Effect
		ids   []string
	}{
		{"read with read", request("GET", "/config", "read"), policy.Allow, []string{"request.permitted"}},
		{"read without", request("GET", "/config", "write"), policy.Deny, []string{"request.missing_permission"}},
		{"command", bash([]string{"ls"}), policy.Allow, []string{"bash.understood"}},
		{"banned command", bash([]string{"ls"}, []string{"curl", "x"}), policy.Deny, []string{"bash.banned_command"}},
		{"push", bash([]string{"git", "push"}), policy.Ask, []string{"bash.ask_command"}},
		{"file outside", outside, policy.Deny, []string{"path.outside"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d, err := e.Decide(t.Context(), row.input)
			if err != nil || d.Effect != row.want || !cmp.Equal(ids(d), row.ids) {
				t.Fatalf("Decide = %v by %v, error %v, want %v by %v", d.Effect, ids(d), err, row.want, row.ids)
			}
			if d.Snapshot != e.Info().Digest || len(d.Snapshot) != 64 {
				t.Errorf("snapshot %q, want the digest %q", d.Snapshot, e.Info().Digest)
			}
			for _, r := range d.Rules {
				if r.ID != "request.permitted" { // it is told from the absence of all others
					checkAt(t, r)
				}
			}
		})
	}
}

// checkAt wants the id of a rule of the default policy just below its place.
func checkAt(t *testing.T, r policy.Rule) {
	t.Helper()
	file, line, ok := strings.Cut(r.At, ":")
	n, err := strconv.Atoi(line)
	if !ok || err != nil {
		t.Fatalf("%s stands at %q, want file:line", r.ID, r.At)
	}
	text, err := policies.FS.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if n < 1 || n >= len(lines) || !strings.Contains(lines[n-1], " contains {") || !strings.Contains(lines[n], strconv.Quote(r.ID)) {
		t.Errorf("%s stands at %s, but not there", r.ID, r.At)
	}
}

func TestEmptyInputIsRefused(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	for _, kind := range []policy.Kind{policy.KindRequest, policy.KindPrompt, "", "prompt ", "REQUEST", "x"} {
		d, err := e.Decide(t.Context(), &policy.Input{Kind: kind})
		if d.Effect != policy.Deny || d.Err() == nil {
			t.Errorf("kind %q: Decide = %v, want a denial", kind, d.Effect)
		}
		if known := kind == policy.KindRequest || kind == policy.KindPrompt; known != (err == nil) {
			t.Errorf("kind %q: error %v", kind, err)
		}
	}
}

func TestKindMustBeThatOfTheDocument(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	in := request("GET", "/config", "read")
	in.Kind = policy.KindPrompt
	if d, _ := e.Decide(t.Context(), in); d.Effect != policy.Deny {
		t.Errorf("a request as a prompt: %v by %v, want deny", d.Effect, ids(d))
	}
	in = bash([]string{"ls"})
	in.Kind = policy.KindRequest
	if d, _ := e.Decide(t.Context(), in); d.Effect != policy.Deny {
		t.Errorf("a prompt as a request: %v by %v, want deny", d.Effect, ids(d))
	}
}

func TestNothingToDecideIsRefused(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	var none context.Context
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	permitted := request("GET", "/config", "read")
	for name, call := range map[string]func() (policy.Decision, error){
		"nil input":         func() (policy.Decision, error) { return e.Decide(t.Context(), nil) },
		"nil context":       func() (policy.Decision, error) { return e.Decide(none, permitted) },
		"cancelled context": func() (policy.Decision, error) { return e.Decide(cancelled, permitted) },
		"no policy":         func() (policy.Decision, error) { return new(engine.Engine).Decide(t.Context(), permitted) },
		"nil input explained": func() (policy.Decision, error) {
			d, _, err := e.Explain(t.Context(), nil)
			return d, err
		},
		"no policy explained": func() (policy.Decision, error) {
			d, _, err := new(engine.Engine).Explain(t.Context(), permitted)
			return d, err
		},
	} {
		d, err := call()
		if err == nil || d.Effect != policy.Deny {
			t.Errorf("%s: Decide = %v, error %v, want an error and a denial", name, d.Effect, err)
		}
		if name == "cancelled context" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want it to be %v", name, err, context.Canceled)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	for name, cfg := range map[string]engine.Config{
		"no default":       {},
		"only and dirs":    {Default: policies.FS, Only: dir, Dirs: []string{dir}},
		"negative timeout": {Default: policies.FS, Timeout: -time.Second},
		"empty default":    {Default: fstest.MapFS{}},
		"default without schemas": {Default: fstest.MapFS{
			"opencode/a.rego": {Data: []byte("package opencode.a\n")},
		}},
	} {
		if e, err := engine.New(t.Context(), cfg); err == nil || e != nil {
			t.Errorf("%s: New = %v, error %v, want an error and no engine", name, e, err)
		}
	}
}

func TestExpensiveRuleIsStopped(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": `package team.a

deny contains {"id": "a.slow", "message": "slow"} if {
	some x in numbers.range(1, 100000)
	some y in numbers.range(1, 100000)
	x * y == -1
}
`})
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []*policy.Input{request("GET", "/config", "read"), bash([]string{"ls"})} {
		d, err := e.Decide(t.Context(), in)
		if !errors.Is(err, context.DeadlineExceeded) || d.Effect != policy.Deny {
			t.Errorf("%s: Decide = %v, error %v, want a denial and %v", in.Kind, d.Effect, err, context.DeadlineExceeded)
		}
		if _, _, err := e.Explain(t.Context(), in); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Explain: error %v, want %v", in.Kind, err, context.DeadlineExceeded)
		}
	}
}

func TestRuleThatFailsDenies(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"built-in fails in a denial": {"a.rego": `package team.a

deny contains {"id": "a.number", "message": "x"} if to_number(input.principal.id) > 3
`},
		"built-in fails under a negation": {"a.rego": `package team.a

deny contains {"id": "a.number", "message": "x"} if not _is_small

_is_small if to_number("x") < 3
`},
		"two obligations": {"a.rego": `package team.a

obligations := {"audit": "full"} if input.version == 1

obligations := {"audit": "brief"} if input.principal.kind == "token"
`},
		"two values of a helper": {"a.rego": `package team.a

deny contains {"id": "a.helper", "message": "x"} if _x == 3

_x := 1 if input.version == 1

_x := 2 if input.principal.kind == "token"
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := team(t, files)
			for _, in := range []*policy.Input{request("GET", "/config", "read"), bash([]string{"ls"})} {
				d, err := e.Decide(t.Context(), in)
				if err == nil || d.Effect != policy.Deny {
					t.Fatalf("%s: Decide = %v by %v, want an error and a denial", in.Kind, d.Effect, ids(d))
				}
				if !strings.Contains(err.Error(), "a.rego:") {
					t.Errorf("%s: error %q does not say where", in.Kind, err)
				}
			}
		})
	}
}

func TestTeamRules(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{"a.rego": `package team.a

deny contains {"id": "a.no_make", "message": "no make"} if {
	some call in input.prompt.command.calls
	call.name == "make"
}

ask contains {"id": "a.go", "message": "go?", "always": ["go *"]} if {
	some call in input.prompt.command.calls
	call.name == "go"
}

allow contains {"id": "a.push", "message": "push"} if {
	some call in input.prompt.command.calls
	call.name in {"git", "curl"}
}

obligations := {"timeout_seconds": 7, "ask": {"ttl_seconds": 9}}
`})
	for _, row := range []struct {
		name string
		want policy.Effect
		id   string
	}{
		{"make", policy.Deny, "a.no_make"},
		{"go", policy.Ask, "a.go"},
		{"git push", policy.Allow, "a.push"},
		{"curl", policy.Deny, "bash.banned_command"},
		{"sudo", policy.Ask, "bash.ask_command"},
	} {
		d, err := e.Decide(t.Context(), bash(strings.Fields(row.name)))
		if err != nil || d.Effect != row.want || d.Rules[0].ID != row.id {
			t.Errorf("%s: Decide = %v by %v, error %v, want %v by %s", row.name, d.Effect, ids(d), err, row.want, row.id)
			continue
		}
		if strings.HasPrefix(row.id, "a.") && !strings.Contains(d.Rules[0].At, "a.rego:") {
			t.Errorf("%s: the rule stands at %q", row.name, d.Rules[0].At)
		}
		if o := d.Obligations; d.Effect != policy.Deny && o.TimeoutSeconds != 7 {
			t.Errorf("%s: timeout %d, want 7", row.name, o.TimeoutSeconds)
		}
		if a := d.Obligations.Ask; d.Effect == policy.Ask && a.TTLSeconds != 9 {
			t.Errorf("%s: time to answer %d, want 9", row.name, a.TTLSeconds)
		}
	}
}

func TestTextThatIsNotUTF8IsDecided(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	in := request("GET", "/config/\xff%ff", "read")
	d, err := e.Decide(t.Context(), in)
	if err != nil || d.Effect != policy.Deny {
		t.Errorf("request: Decide = %v, error %v, want a denial", d.Effect, err)
	}
	d, err = e.Decide(t.Context(), bash([]string{"cu\xffrl"}, []string{"CURL\xff"}, []string{"curl", "\xff"}))
	if err != nil || d.Effect != policy.Deny {
		t.Errorf("prompt: Decide = %v, error %v, want a denial", d.Effect, err)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	e := team(t, map[string]string{
		"a.rego":      "package team.a\n",
		"a_test.rego": "package team.a_test\n\ntest_x if 1 == 1\n",
		"data.json":   `{"team": {"a": {"x": 1}}}`,
	})
	info := e.Info()
	var own []string
	for _, f := range info.Files {
		if strings.HasSuffix(f, "_test.rego") || strings.Contains(f, "opencode/testing/") {
			t.Errorf("%s is served", f)
		}
		if !strings.HasPrefix(f, "opencode/") {
			own = append(own, filepath.Base(f))
		}
	}
	if want := []string{"a.rego", "data.json"}; !cmp.Equal(own, want) {
		t.Errorf("files of the team: %v, want %v", own, want)
	}
	want := map[policy.Kind]string{
		policy.KindRequest: "data.opencode.request.decision", policy.KindPrompt: "data.opencode.prompt.decision",
	}
	if diff := cmp.Diff(want, info.Entrypoints); diff != "" {
		t.Errorf("entrypoints: %s", diff)
	}
	if info.Digest == byDefault(t).Info().Digest || info.Loaded.IsZero() {
		t.Errorf("digest %q and time %v say nothing", info.Digest, info.Loaded)
	}
	if got := new(engine.Engine).Info(); got.Digest != "" {
		t.Errorf("without a policy: %+v", got)
	}
}
