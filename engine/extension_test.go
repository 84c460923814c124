package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/engine"
	"opencode/extension/extensiontest"
	"opencode/policies"
	"opencode/policy"
)

// extended returns the files of a policy that denies what the named functions
// of the hostile module say, and allows all else.
func extended(tb testing.TB, pure bool, functions ...string) map[string]string {
	tb.Helper()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, pure, extensiontest.HostileResults())
	manifest.Limits.Time = time.Second
	text, err := manifest.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("package team.a\n")
	for _, f := range functions {
		fmt.Fprintf(&rules, "\ndeny contains {\"id\": \"a.%s\", \"message\": \"m\"} if {\n\text.hostile.%s(input.principal) == true\n}\n", f, f)
	}
	return map[string]string{
		"a.rego": rules.String(), "ext/hostile/manifest.json": string(text), "ext/hostile/hostile.wasm": string(module),
	}
}

// hasten lets the guest be stopped soon.
func hasten(tb testing.TB, files map[string]string) {
	tb.Helper()
	text := strings.Replace(files["ext/hostile/manifest.json"], `"milliseconds": 1000`, `"milliseconds": 100`, 1)
	if text == files["ext/hostile/manifest.json"] {
		tb.Fatal("the manifest has no limit to change")
	}
	files["ext/hostile/manifest.json"] = text
}

func TestExtensionDecides(t *testing.T) {
	t.Parallel()
	e := team(t, extended(t, false, "fine"))
	d, err := e.Decide(t.Context(), bash([]string{"ls"}))
	if err != nil || d.Effect != policy.Deny || !slices.Contains(ids(d), "a.fine") {
		t.Fatalf("Decide = %+v, %v", d, err)
	}
	info := e.Info()
	if !slices.ContainsFunc(info.Files, func(f string) bool { return strings.HasSuffix(f, filepath.Join("ext", "hostile", "hostile.wasm")) }) {
		t.Errorf("Files = %v", info.Files)
	}
	if len(info.Extensions) != 1 || info.Extensions[0].Name != "hostile" || info.Extensions[0].Calls != 1 || info.Extensions[0].Failures != 0 {
		t.Errorf("Extensions = %+v", info.Extensions)
	}
}

// TestFailingExtensionDenies: whatever a guest does wrong, the decision denies,
// the failure can be seen, and other decisions are served.
func TestFailingExtensionDenies(t *testing.T) {
	t.Parallel()
	for _, function := range []string{"traps", "spins", "recurses", "fills", "outside", "endless", "garbage", "text"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			files := extended(t, false, function)
			hasten(t, files)
			// The rule is reached for one tool alone.
			files["a.rego"] = strings.Replace(files["a.rego"], "if {\n", "if {\n\tinput.prompt.tool == \"bash\"\n", 1)
			e := team(t, files)
			d, err := e.Decide(t.Context(), bash([]string{"ls"}))
			if err == nil || d.Effect != policy.Deny {
				t.Fatalf("Decide = %+v, %v; want an error and a denial", d, err)
			}
			if info := e.Info().Extensions[0]; info.Failures == 0 || !strings.Contains(info.LastError, "hostile."+function) {
				t.Errorf("Extensions[0] = %+v", info)
			}
			if d, err := e.Decide(t.Context(), request("GET", "/config", "read")); err != nil || d.Effect != policy.Allow {
				t.Errorf("another decision = %+v, %v", d, err)
			}
		})
	}
}

// TestEndOfDecisionReachesGuest: who does not wait for the decision any more
// does not leave a guest that spins behind.
func TestEndOfDecisionReachesGuest(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "spins")
	e := team(t, files)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := e.Decide(ctx, bash([]string{"ls"}))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Decide: %v", err)
	}
	if info := e.Info().Extensions[0]; info.Failures != 0 {
		t.Errorf("Extensions[0] = %+v", info)
	}
}

// TestExtensionRefusedAtLoad: what is wrong with an extension keeps the policy
// from being loaded, and the reason is said.
func TestExtensionRefusedAtLoad(t *testing.T) {
	t.Parallel()
	const manifest, module = "ext/hostile/manifest.json", "ext/hostile/hostile.wasm"
	replace := func(old, replacement string) func(map[string]string) {
		return func(files map[string]string) {
			if !strings.Contains(files[manifest], old) {
				t.Errorf("the manifest has no %s", old)
			}
			files[manifest] = strings.Replace(files[manifest], old, replacement, 1)
		}
	}
	for name, row := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"other module":           {func(f map[string]string) { f[module] += "\x00\x01\x00" }, `ext/hostile: extension hostile: the module is not the one of the manifest: its sha256 is [0-9a-f]{64}`},
		"no manifest":            {func(f map[string]string) { delete(f, manifest) }, `hostile\.wasm: has no manifest\.json beside it`},
		"no module":              {func(f map[string]string) { delete(f, module) }, `manifest\.json: has no hostile\.wasm beside it; build`},
		"module of another name": {func(f map[string]string) { f["ext/hostile/other.wasm"] = f[module] }, `other\.wasm: would not be read; the module of an extension is ext/NAME/NAME\.wasm, here ext/hostile/hostile\.wasm`},
		"another name":           {replace(`"name": "hostile"`, `"name": "other"`), `names the module "other", but lies in the folder of "hostile"`},
		"unknown member":         {replace(`"version": 1`, `"version": 1, "wasi": true`), `manifest\.json: manifest: member "wasi" is not known`},
		"undeclared function":    {replace(`"garbage":`, `"other":`), `the module exports no function other\(i32 i32\)->\(i64\)`},
		"call of an undeclared": {func(f map[string]string) {
			f["a.rego"] = strings.Replace(f["a.rego"], "hostile.fine", "hostile.alloc", 1)
		}, `a\.rego:4: .*undefined function ext\.hostile\.alloc`},
		"too many arguments": {
			func(f map[string]string) {
				f["a.rego"] = strings.Replace(f["a.rego"], "input.principal", "input.principal, 1", 1)
			},
			`a\.rego:4: .*ext\.hostile\.fine: (too many arguments|arity mismatch)`,
		},
		"wrong type of result": {
			func(f map[string]string) { f["a.rego"] = strings.Replace(f["a.rego"], "== true", "== \"yes\"", 1) },
			`a\.rego:4: .*match error`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(extended(t, false, "fine"))
			row.change(files)
			_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{writeDir(t, files)}})
			if err == nil || !regexp.MustCompile(row.want).MatchString(err.Error()) {
				t.Errorf("New: %v, want %s", err, row.want)
			}
			if _, err := engine.Lint(engine.Config{Default: policies.FS, Dirs: []string{writeDir(t, files)}}); err == nil {
				t.Error("Lint has nothing to say")
			}
		})
	}
	t.Run("same name twice", func(t *testing.T) {
		t.Parallel()
		files := extended(t, false, "fine")
		first := writeDir(t, files)
		delete(files, "a.rego")
		_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{first, writeDir(t, files)}})
		if err == nil || !strings.Contains(err.Error(), "there is an extension hostile in "+first) {
			t.Errorf("New: %v", err)
		}
	})
}

// TestExtensionArguments: a guest is called with the types that it declares, and
// not with what JSON has no form for.
func TestExtensionArguments(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ argument, want string }{
		"set":             {`{1, 2}`, "a set has no form in JSON"},
		"object of sets":  {`{"a": {1}}`, "a set has no form in JSON"},
		"key of a number": {`{1: 2}`, "an object with the key 1 has no form in JSON"},
		"text":            {`"ä\"\\\n\u0001"`, ""},
		"nested":          {`{"a": [1.5, null, false, {"b": "c"}]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := extended(t, true, "echo")
			files["a.rego"] = "package team.a\n\ndeny contains {\"id\": \"a.echo\", \"message\": \"m\"} if {\n\text.hostile.echo(" + row.argument + ") == [" + row.argument + "]\n}\n"
			e := team(t, files)
			d, err := e.Decide(t.Context(), bash([]string{"ls"}))
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("Decide = %+v, %v; want an error with %q", d, err, row.want)
				}
				return
			}
			if err != nil || !slices.Contains(ids(d), "a.echo") {
				t.Errorf("Decide = %+v, %v", d, err)
			}
		})
	}
	files := extended(t, true, "fine")
	files["ext/hostile/manifest.json"] = strings.ReplaceAll(files["ext/hostile/manifest.json"], `"any"`, `"string"`)
	files["a.rego"] = "package team.a\n\ndeny contains {\"id\": \"a.fine\", \"message\": \"m\"} if {\n\tsome value in input.prompt.args\n\text.hostile.fine(value)\n}\n"
	e := team(t, files)
	in := bash([]string{"ls"})
	in.Prompt.Args = map[string]any{"command": 7}
	if d, err := e.Decide(t.Context(), in); err == nil || !strings.Contains(err.Error(), "argument 1 is of type number, want string") {
		t.Errorf("Decide = %+v, %v", d, err)
	}
}

// TestOneAnswerForOneDecision: a function that changes its mind does so between
// decisions and not within one.
func TestOneAnswerForOneDecision(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "fine")
	files["a.rego"] = `package team.a

deny contains {"id": "a.same", "message": sprintf("%v %v", [ext.hostile.counts("x"), ext.hostile.counts("x")])}

deny contains {"id": "a.other", "message": sprintf("%v", [ext.hostile.counts(["y"])])}
`
	e := team(t, files)
	for i := 1; i <= 5; i += 2 {
		d, err := e.Decide(t.Context(), bash([]string{"ls"}))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Rules {
			if a, b, _ := strings.Cut(r.Message, " "); r.ID == "a.same" && a != b {
				t.Errorf("decision %d: %s", i, r.Message)
			}
		}
	}
	if calls := e.Info().Extensions[0].Calls; calls != 6 {
		t.Errorf("%d calls for three decisions with two different questions", calls)
	}
}

// TestImpureExtensionIsNotCached holds the cache of decisions to what an
// extension declares.
func TestImpureExtensionIsNotCached(t *testing.T) {
	t.Parallel()
	for _, pure := range []bool{true, false} {
		e := team(t, extended(t, pure, "fine"))
		for range 3 {
			if d, err := e.Decide(t.Context(), request("GET", "/config", "read")); err != nil || d.Effect != policy.Deny {
				t.Fatalf("Decide = %+v, %v", d, err)
			}
		}
		want := uint64(3)
		if pure {
			want = 1
		}
		if calls := e.Info().Extensions[0].Calls; calls != want {
			t.Errorf("pure %v: %d calls, want %d", pure, calls, want)
		}
	}
}

// TestExtensionReload swaps policies under decisions that call their guests. No
// decision fails because the module that it uses is replaced.
func TestExtensionReload(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "fine")
	dir := writeDir(t, files)
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	first := e.Digest()
	stop := make(chan struct{})
	var deciders sync.WaitGroup
	for range 8 {
		deciders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				d, err := e.Decide(t.Context(), bash([]string{"ls"}))
				if err != nil || d.Effect != policy.Deny {
					t.Errorf("Decide = %+v, %v", d, err)
					return
				}
			}
		})
	}
	other := extensiontest.Hostile()
	other.Funcs = append(other.Funcs, extensiontest.Reset(1))
	module := other.Assemble()
	for i := range 4 {
		now := files["ext/hostile/hostile.wasm"]
		if i%2 == 0 {
			now = string(module)
		}
		manifest := extensiontest.Manifest("hostile", []byte(now), false, extensiontest.HostileResults())
		manifest.Limits.Time = time.Second
		text, err := manifest.Encode()
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, dir, map[string]string{"ext/hostile/hostile.wasm": now, "ext/hostile/manifest.json": string(text)})
		if changed, err := e.Reload(t.Context()); err != nil || !changed {
			t.Errorf("Reload = %v, %v", changed, err)
		}
	}
	close(stop)
	deciders.Wait()
	writeFiles(t, dir, files)
	if _, err := e.Reload(t.Context()); err != nil || e.Digest() != first {
		t.Errorf("with the first files: digest %s, want %s; %v", e.Digest(), first, err)
	}
	// A module that is broken changes nothing.
	writeFiles(t, dir, map[string]string{"ext/hostile/hostile.wasm": "\x00asm"})
	if changed, err := e.Reload(t.Context()); err == nil || changed || e.Digest() != first {
		t.Errorf("Reload = %v, %v, digest %s", changed, err, e.Digest())
	}
}

// TestTestsCallExtensions: the tests of a policy call its guests, or what they
// put in their place.
func TestTestsCallExtensions(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "fine")
	files["a_test.rego"] = `package team.a_test

import data.opencode.prompt
import data.opencode.testing

test_denied if {
	decision := prompt.decision with input as testing.bash([["ls"]])
	decision.effect == "deny"
}

test_otherwise if {
	decision := prompt.decision with input as testing.bash([["ls"]]) with ext.hostile.fine as false
	decision.effect == "allow"
}

test_wrong if {
	ext.hostile.counts(1) == 7
}

test_error if {
	ext.hostile.traps(1)
}
`
	dir := writeDir(t, files)
	report, err := engine.Test(t.Context(), engine.TestConfig{Config: engine.Config{Default: policies.FS, Dirs: []string{dir}}, Coverage: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]engine.Outcome{"test_denied": engine.Passed, "test_otherwise": engine.Passed, "test_wrong": engine.Failed, "test_error": engine.Errored}
	for _, r := range report.Tests {
		if r.Outcome != want[r.Name] {
			t.Errorf("%s: %s, want %s: %s", r.Name, r.Outcome, want[r.Name], r.Error)
		}
		delete(want, r.Name)
		if r.Name == "test_error" && !strings.Contains(r.Error, "hostile.traps: unreachable") {
			t.Errorf("test_error: %s", r.Error)
		}
	}
	if len(want) > 0 || report.Coverage.Percent != 100 {
		t.Errorf("not run: %v; coverage %v", want, report.Coverage.Percent)
	}
}

// TestCodeCacheIsUsed: what is compiled once is taken from the directory, if
// nobody else can write there.
func TestCodeCacheIsUsed(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, extended(t, false, "fine"))
	code := filepath.Join(t.TempDir(), "code")
	cfg := engine.Config{Default: policies.FS, Dirs: []string{dir}, CodeCache: code}
	if _, err := engine.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(code, "*", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	info, err := os.Stat(code)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := engine.New(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}
