package engine_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// build builds a bundle of a policy, signed if there is a key.
func build(tb testing.TB, files map[string]string, key *keyPair) engine.Built {
	tb.Helper()
	cfg := engine.BuildConfig{Default: policies.FS, Dir: writeDir(tb, files)}
	if key != nil {
		var err error
		if cfg.Signing, err = engine.NewSigning(key.private, ""); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := engine.Build(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// fetched loads a bundle as one that came from a server.
func fetched(tb testing.TB, path string, v *engine.Verification) (*engine.Engine, error) {
	tb.Helper()
	return engine.New(tb.Context(), engine.Config{Default: policies.FS, Fetched: []string{path}, Verification: v})
}

// TestExtensionInABundle: a bundle carries the extensions of its directory, and
// decides by them, signed or not.
func TestExtensionInABundle(t *testing.T) {
	t.Parallel()
	key := p256(t)
	files := extended(t, false, "fine")
	files["ext/hostile/main.go"] = "package main\n"
	for name, row := range map[string]struct {
		sign *keyPair
		v    *engine.Verification
		load func(testing.TB, string, *engine.Verification) (*engine.Engine, error)
	}{
		"a file":              {nil, nil, loaded},
		"a signed file":       {&key, nil, loaded},
		"a verified file":     {&key, key.verification(t, ""), loaded},
		"verified and remote": {&key, key.verification(t, ""), fetched},
	} {
		b := build(t, files, row.sign)
		if want := []string{"hostile"}; !slices.Equal(b.Extensions, want) {
			t.Errorf("%s: Extensions = %v, want %v", name, b.Extensions, want)
		}
		var below []string
		for _, f := range b.Files {
			if strings.HasPrefix(f, "ext/") {
				below = append(below, f)
			}
		}
		if want := []string{"ext/hostile/hostile.wasm", "ext/hostile/manifest.json"}; !slices.Equal(below, want) {
			t.Errorf("%s: it holds %v, want %v", name, below, want)
		}
		e, err := row.load(t, writeBundle(t, b.Bytes), row.v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Digest() != b.Digest {
			t.Errorf("%s: the digest is %s, and was %s when it was built", name, e.Digest(), b.Digest)
		}
		d, err := e.Decide(t.Context(), bash([]string{"ls"}))
		if err != nil || d.Effect != policy.Deny || !slices.Contains(ids(d), "a.fine") {
			t.Errorf("%s: Decide = %+v, %v", name, d, err)
		}
		if info := e.Info().Extensions; len(info) != 1 || info[0].Name != "hostile" || info[0].Calls != 1 {
			t.Errorf("%s: Extensions = %+v", name, info)
		}
	}
}

// TestExtensionAloneInABundle: what a directory may hold a bundle may hold too,
// and others may call it.
func TestExtensionAloneInABundle(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "fine")
	rules := map[string]string{"a.rego": files["a.rego"]}
	delete(files, "a.rego")
	path := writeBundle(t, build(t, files, nil).Bytes)
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path, writeDir(t, rules)}})
	if err != nil {
		t.Fatal(err)
	}
	wantDenial(t, e, "a.fine")
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path, writeDir(t, extended(t, false, "fine"))}}); err == nil ||
		!strings.Contains(err.Error(), "there is an extension hostile in "+path+" already") {
		t.Errorf("New with the extension in a directory too = %v, want that it is there already", err)
	}
}

// TestRefusedExtensionsInABundle: a bundle is held to all that a directory is,
// whoever has packed it.
func TestRefusedExtensionsInABundle(t *testing.T) {
	t.Parallel()
	key := p256(t)
	v := key.verification(t, "")
	files := extended(t, false, "fine")
	plain, signed := build(t, files, nil).Bytes, build(t, files, &key).Bytes
	const manifest, module = "/ext/hostile/manifest.json", "/ext/hostile/hostile.wasm"
	changed := func(b []byte, name, old, with string) []byte {
		found := false
		out := edit(t, b, func(e *entry) {
			if e.name == name {
				found = strings.Contains(e.data, old)
				e.data = strings.Replace(e.data, old, with, 1)
			}
		})
		if !found {
			t.Fatalf("%s does not hold %q", name, old)
		}
		return out
	}
	without := func(b []byte, name string) []byte {
		return archiveOf(t, slices.DeleteFunc(unpack(t, b), func(e entry) bool { return e.name == name })...)
	}
	renamed := func(from, to string) []byte {
		return edit(t, plain, func(e *entry) {
			if e.name == from {
				e.name = to
			}
		})
	}
	with := func(name string) []byte {
		return archiveOf(t, append(unpack(t, plain), entry{name: name, data: "x"})...)
	}
	for name, row := range map[string]struct {
		bundle []byte
		v      *engine.Verification
		want   string
	}{
		"another module":           {changed(plain, module, "true", "tru\x00"), nil, `ext/hostile: extension hostile: the module is not the one of the manifest: its sha256 is [0-9a-f]{64}`},
		"another hash":             {changed(plain, manifest, `"sha256": "`, `"sha256": "00`), nil, `hostile/manifest\.json: manifest\.sha256: want 64`},
		"no hash":                  {edit(t, plain, func(e *entry) { e.data = regexp.MustCompile(`"sha256": "[0-9a-f]+",`).ReplaceAllString(e.data, "") }), nil, `the manifest names no sha256`},
		"undeclared function":      {changed(plain, manifest, `"garbage":`, `"other":`), nil, `the module exports no function other`},
		"ill-typed":                {changed(plain, manifest, `"boolean"`, `"bool"`), nil, `want one of`},
		"no manifest":              {without(plain, manifest), nil, `hostile\.wasm: has no manifest\.json beside it`},
		"no module":                {without(plain, module), nil, `manifest\.json: has no hostile\.wasm beside it`},
		"module of another name":   {renamed(module, "/ext/hostile/other.wasm"), nil, `ext/hostile/other\.wasm: .*would not be read; the module of an extension is`},
		"module further down":      {renamed(module, "/ext/hostile/x/hostile.wasm"), nil, `ext/hostile/x/hostile\.wasm: .*would not be read`},
		"module in capitals":       {renamed(module, "/ext/hostile/hostile.WASM"), nil, `extensions as ext/NAME/NAME\.wasm`},
		"module elsewhere":         {renamed(module, "/x/hostile/hostile.wasm"), nil, `extensions as ext/NAME/NAME\.wasm`},
		"named as a policy":        {with("/ext/policy/policy.wasm"), nil, `ext/policy/policy\.wasm: OPA would take it for a policy`},
		"hidden":                   {archiveOf(t, append(unpack(t, plain), entry{name: "/ext/.x/manifest.json", data: files["ext/hostile/manifest.json"]}, entry{name: "/ext/.x/.x.wasm", data: files["ext/hostile/hostile.wasm"]})...), nil, `names the module "hostile", but lies in the folder of "\.x"`},
		"climbs out":               {renamed(module, "/ext/hostile/../hostile/hostile.wasm"), nil, `not a plain path`},
		"signed, another module":   {changed(signed, module, "true", "tru\x00"), v, `is not what was signed: ext/hostile/hostile\.wasm`},
		"signed, another limit":    {changed(signed, manifest, `"milliseconds": 1000`, `"milliseconds": 999`), v, `is not what was signed: ext/hostile/manifest\.json`},
		"signed without":           {archiveOf(t, append(unpack(t, build(t, map[string]string{"b.rego": denial("b", "b.x")}, &key).Bytes), slices.DeleteFunc(unpack(t, plain), func(e entry) bool { return !strings.HasPrefix(e.name, "/ext/") })...)...), v, `not included in bundle signature`},
		"signed, the module taken": {without(signed, module), v, `ext/hostile/hostile\.wasm is missing`},
		"not signed":               {plain, v, `is not signed`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeBundle(t, row.bundle)
			for how, load := range map[string]func(testing.TB, string, *engine.Verification) (*engine.Engine, error){"loaded": loaded, "fetched": fetched} {
				want := row.want
				if how == "fetched" && row.v == nil {
					continue // refused before that
				}
				e, err := load(t, path, row.v)
				if err == nil || e != nil || !regexp.MustCompile(want).MatchString(err.Error()) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: New = %v, %v, want an error that matches %q and names the bundle", how, e, err, want)
				}
			}
		})
	}
}

// TestFetchedExtensionWantsAKey: nobody has vouched for the code in a bundle of a
// server without a key, signed or not. Its rules alone are taken.
func TestFetchedExtensionWantsAKey(t *testing.T) {
	t.Parallel()
	key := p256(t)
	files := extended(t, false, "fine")
	for name, sign := range map[string]*keyPair{"unsigned": nil, "signed": &key} {
		path := writeBundle(t, build(t, files, sign).Bytes)
		if _, err := fetched(t, path, nil); err == nil || !strings.Contains(err.Error(), "from a server it is taken only in a signed bundle, and with the key: --verification-key FILE") {
			t.Errorf("%s: New = %v, want that there is no key", name, err)
		}
	}
	rules := maps.Clone(files)
	maps.DeleteFunc(rules, func(name, _ string) bool { return strings.HasPrefix(name, "ext/") })
	rules["a.rego"] = denial("a", "a.one")
	e, err := fetched(t, writeBundle(t, build(t, rules, nil).Bytes), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantDenial(t, e, "a.one")
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Only: writeDir(t, rules), Fetched: []string{"x.tar.gz"}}); err == nil {
		t.Error("New with a bundle of a server beside Only: no error")
	}
}

// TestExtensionsAreNotCompiledToWasm: a module of a policy can call no other.
func TestExtensionsAreNotCompiledToWasm(t *testing.T) {
	t.Parallel()
	files := extended(t, false, "fine")
	_, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: writeDir(t, files), Wasm: true})
	if err == nil || !regexp.MustCompile(`a\.rego:4: calls the extension ext\.hostile\.fine, which a Wasm module cannot reach`).MatchString(err.Error()) {
		t.Errorf("Build = %v, want that it calls an extension", err)
	}
	// One that its rules do not call goes along, for others.
	files["a.rego"] = denial("a", "a.one")
	b, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: writeDir(t, files), Wasm: true})
	if err != nil || !slices.Equal(b.Extensions, []string{"hostile"}) {
		t.Fatalf("Build = %v, %v", b.Extensions, err)
	}
	e, err := loaded(t, writeBundle(t, b.Bytes), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantDenial(t, e, "a.one")
}
