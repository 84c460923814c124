package engine_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

// TestBuildIsTheSame: one policy gives one bundle, wherever it lies.
func TestBuildIsTheSame(t *testing.T) {
	t.Parallel()
	for _, wasm := range []bool{false, true} {
		first, second := writeDir(t, example), writeDir(t, example)
		a, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: first, Wasm: wasm, Revision: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: second, Wasm: wasm, Revision: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes, b.Bytes) {
			t.Errorf("Wasm %v: two bundles of one policy differ", wasm)
		}
		for _, e := range unpack(t, a.Bytes) {
			if strings.Contains(e.data, filepath.Dir(first)) {
				t.Errorf("Wasm %v: %s says where it was built", wasm, e.name)
			}
			if e.name == "/.manifest" && !strings.Contains(e.data, `"revision":"r1","roots":["opencode/config","team/web"]`) {
				t.Errorf("Wasm %v: the manifest is %s", wasm, e.data)
			}
		}
		want, entrypoints := []string{".manifest", "data.json", "web.rego"}, []string(nil)
		if wasm {
			want = []string{".manifest", "data.json", "policy.wasm"}
			entrypoints = []string{"team/web/allow", "team/web/ask", "team/web/deny", "team/web/obligations"}
		}
		if !slices.Equal(a.Files, want) || !slices.Equal(a.Entrypoints, entrypoints) || !slices.Equal(a.Teams, []string{"web"}) {
			t.Errorf("Wasm %v: files %v, entrypoints %v, teams %v", wasm, a.Files, a.Entrypoints, a.Teams)
		}
		e, err := loaded(t, writeBundle(t, a.Bytes), nil)
		if err != nil || e.Digest() != a.Digest {
			t.Errorf("Wasm %v: digest %.12s, error %v, want %.12s", wasm, e.Digest(), err, a.Digest)
		}
	}
}

func TestBuildOfADirectoryWithBundles(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one"), "sub/web.tar.gz": string(built(t, false, example))})
	for _, wasm := range []bool{false, true} {
		b, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: dir, Wasm: wasm})
		if err != nil || !slices.Equal(b.Teams, []string{"a", "web"}) || !wasm && !slices.Contains(b.Files, "sub/web/web.rego") {
			t.Errorf("Build = %v with %v, error %v", b.Teams, b.Files, err)
		}
	}
}

func TestRefusedBuilds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		files map[string]string
		wasm  bool
		want  string
	}{
		"what does not load":       {map[string]string{"a.rego": "package team.a\n\ndeny := 1\n"}, false, "deny must be a set"},
		"nothing":                  {nil, false, "holds no .rego file"},
		"nothing to compile":       {map[string]string{"a.rego": "package team.a\n\nx := 1\n"}, true, "defines no deny, ask, allow or obligations"},
		"a rule of the default":    {map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.x\", \"message\": \"m\"} if count(data.opencode.request.allow) == 0\n"}, true, "a rule of the default policy, which a Wasm module cannot reach"},
		"a function of tests":      {map[string]string{"a.rego": "package team.a\n\ndeny contains {\"id\": \"a.x\", \"message\": \"m\"} if x\n\nx if y\n\ny if input.x == data.opencode.prompt.decision\n"}, true, "a.rego:"},
		"what is compiled already": {map[string]string{"a.tar.gz": string(built(t, true, example))}, false, "is compiled to Wasm already"},
	} {
		_, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: writeDir(t, row.files), Wasm: row.wasm})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: Build = %v, want %q", name, err, row.want)
		}
	}
}
