package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
	"opencode/policy/fspath"
)

// entry is a file of an archive.
type entry struct {
	name string
	data string
	kind byte   // tar.TypeReg if it is 0
	link string // what a link points to
}

// archiveOf makes a gzipped tar archive.
func archiveOf(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.data)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			header.Typeflag = tar.TypeReg
		}
		if err := archive.WriteHeader(header); err != nil {
			tb.Fatal(err)
		}
		if _, err := archive.Write([]byte(e.data)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// unpack returns the files of an archive in their order.
func unpack(tb testing.TB, b []byte) []entry {
	tb.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	var entries []entry
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			tb.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			tb.Fatal(err)
		}
		entries = append(entries, entry{name: header.Name, data: string(data)})
	}
}

// edit returns a bundle with some of its files changed.
func edit(tb testing.TB, b []byte, change func(*entry)) []byte {
	tb.Helper()
	entries := unpack(tb, b)
	for i := range entries {
		change(&entries[i])
	}
	return archiveOf(tb, entries...)
}

// writeBundle writes a bundle and returns its path.
func writeBundle(tb testing.TB, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "policy.tar.gz")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// built builds a bundle of a policy.
func built(tb testing.TB, wasm bool, files map[string]string) []byte {
	tb.Helper()
	b, err := engine.Build(tb.Context(), engine.BuildConfig{Default: policies.FS, Dir: writeDir(tb, files), Wasm: wasm})
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes
}

// loaded loads a bundle, which must have a signature if there is a verification.
func loaded(tb testing.TB, path string, v *engine.Verification) (*engine.Engine, error) {
	tb.Helper()
	return engine.New(tb.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}, Verification: v})
}

// example is a team's policy that has all that a team contributes.
var example = map[string]string{
	"web.rego": `# METADATA
# title: Web
# description: What the example adds.
package team.web

import data.team.web.config

deny contains {"id": "web.protected", "message": sprintf("%s is protected", [path.relative])} if {
	some path in input.prompt.paths
	not path.access == "read"
	some folder, true in config.protected
	_is_below(path.relative, folder)
}

deny contains {"id": "web.no_delete", "message": "nothing is deleted"} if input.request.method == "DELETE"

ask contains {"id": "web.push", "message": call.text, "always": ["git push *"]} if {
	some call in input.prompt.command.calls
	glob.match("git push*", [], call.text)
}

allow contains {"id": "web.trusted", "message": "trusted"} if {
	every call in input.prompt.command.calls {
		call.name in {"ssh", "dig"}
	}
}

obligations := {"timeout_seconds": 77} if input.kind == "prompt"

_is_below(relative, folder) if startswith(relative, concat("", [folder, "/"]))
`,
	"web_test.rego": `package team.web_test

import data.opencode.prompt
import data.opencode.testing

test_push if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
	decision.effect == "ask"
}
`,
	"data.json": `{"team": {"web": {"config": {"protected": {"deploy": true}}}}, "opencode": {"config": {"banned_commands": {"curl": false}}}}`,
}

// exampleInputs are documents on which the example differs.
func exampleInputs() map[string]*policy.Input {
	protected := bash([]string{"tee", "deploy/x"})
	protected.Prompt.Paths = []fspath.Path{{Raw: "deploy/x", Real: "/p/deploy/x", Relative: "deploy/x", Inside: true, Access: "write", Kind: "file", Class: "plain"}}
	return map[string]*policy.Input{
		"denied path":           protected,
		"asked about":           bash([]string{"git", "push"}),
		"control characters":    bash([]string{"git", "push", "a\x07b\x7f\u200b"}),
		"lifted question":       bash([]string{"ssh", "host"}),
		"not lifted":            bash([]string{"ssh", "host"}, []string{"git", "push"}),
		"lifted ban":            bash([]string{"curl", "x"}),
		"ban that stays":        bash([]string{"wget", "x"}),
		"denied request":        request("DELETE", "/session/{sessionID}", "read", "write", "execute"),
		"allowed request":       request("GET", "/config", "read"),
		"request without right": request("GET", "/config"),
	}
}

// TestBundleDecidesAsItsDirectory holds the three forms of one policy to the
// same decisions.
func TestBundleDecidesAsItsDirectory(t *testing.T) {
	t.Parallel()
	directory := team(t, example)
	effects := map[policy.Effect]int{}
	for name, wasm := range map[string]bool{"rego": false, "wasm": true} {
		path := writeBundle(t, built(t, wasm, example))
		e, err := loaded(t, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, in := range exampleInputs() {
			want, err := directory.Decide(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			effects[want.Effect]++
			got, err := e.Decide(t.Context(), in)
			if err != nil || got.Effect != want.Effect || !slices.Equal(ids(got), ids(want)) || got.Obligations.TimeoutSeconds != want.Obligations.TimeoutSeconds {
				t.Errorf("%s: %s: %v by %v, error %v, want %v by %v", name, what, got.Effect, ids(got), err, want.Effect, ids(want))
			}
			for _, r := range got.Rules {
				if strings.HasPrefix(r.ID, "web.") && !strings.HasPrefix(r.At, path+"/web.rego:") {
					t.Errorf("%s: %s: rule %s is at %q, want %s/web.rego", name, what, r.ID, r.At, path)
				}
			}
		}
	}
	if len(effects) != 3 {
		t.Errorf("the inputs show %v, want each effect", effects)
	}
}

func TestBundleInADirectory(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one"), "deep/web.tar.gz": string(built(t, true, example))})
	e := engineOf(t, dir)
	d, err := e.Decide(t.Context(), request("DELETE", "/session/{sessionID}", "read", "write", "execute"))
	if err != nil || !slices.Contains(ids(d), "a.one") || !slices.Contains(ids(d), "web.no_delete") {
		t.Errorf("Decide = %v, error %v", ids(d), err)
	}
}

func TestBundleReplacesTheDefault(t *testing.T) {
	t.Parallel()
	const only = `package opencode.request

decision := {"effect": "allow", "rules": [{"id": "only.all", "effect": "allow", "message": "m"}]}
`
	const prompts = `package opencode.prompt

decision := {"effect": "deny", "rules": []}
`
	path := writeBundle(t, archiveOf(t, entry{name: "/a.rego", data: only}, entry{name: "/b.rego", data: prompts}))
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Only: path})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Decide(t.Context(), request("GET", "/config")); err != nil || d.Effect != policy.Allow {
		t.Errorf("Decide = %v, %v", d.Effect, err)
	}
	wasm := writeBundle(t, built(t, true, example))
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Only: wasm}); err == nil || !strings.Contains(err.Error(), "use --policy") {
		t.Errorf("New of a Wasm bundle alone: %v", err)
	}
}

func TestRefusedBundles(t *testing.T) {
	t.Parallel()
	rego := entry{name: "/a.rego", data: "package team.a\n"}
	manifest := func(text string) []entry { return []entry{rego, {name: "/.manifest", data: text}} }
	many := make([]entry, 10_001)
	for i := range many {
		many[i].name = fmt.Sprintf("/%d.txt", i)
	}
	for name, row := range map[string]struct {
		bundle []byte
		want   string
	}{
		"empty file":         {nil, `is not a gzipped tar archive`},
		"text":               {[]byte("package team.a\n"), `is not a gzipped tar archive`},
		"no archive":         {gzipped(t, []byte(strings.Repeat("x", 600))), `is damaged or truncated`},
		"nothing":            {archiveOf(t), `holds no \.rego file`},
		"other files":        {archiveOf(t, entry{name: "/README.md", data: "x"}), `holds no \.rego file`},
		"parent":             {archiveOf(t, rego, entry{name: "../b.rego", data: "x"}), `not a plain path`},
		"parent within":      {archiveOf(t, rego, entry{name: "/x/../b.rego", data: "x"}), `not a plain path`},
		"two slashes":        {archiveOf(t, rego, entry{name: "//b.rego", data: "x"}), `not a plain path`},
		"a dot":              {archiveOf(t, rego, entry{name: "/x/./b.rego", data: "x"}), `not a plain path`},
		"backslash":          {archiveOf(t, rego, entry{name: `/x\b.rego`, data: "x"}), `not a plain path`},
		"control character":  {archiveOf(t, rego, entry{name: "/x\x1b[2Jb.rego", data: "x"}), `not a plain path`},
		"twice":              {archiveOf(t, rego, entry{name: "a.rego", data: "package team.a\n"}), `is in the archive twice`},
		"twice by dot":       {archiveOf(t, rego, entry{name: "./a.rego", data: "package team.a\n"}), `is in the archive twice`},
		"symbolic link":      {archiveOf(t, rego, entry{name: "/b.rego", kind: tar.TypeSymlink, link: "/etc/passwd"}), `is no plain file`},
		"hard link":          {archiveOf(t, rego, entry{name: "/b.rego", kind: tar.TypeLink, link: "/a.rego"}), `is no plain file`},
		"pipe":               {archiveOf(t, rego, entry{name: "/b.rego", kind: tar.TypeFifo}), `is no plain file`},
		"large file":         {archiveOf(t, rego, entry{name: "/b.txt", data: strings.Repeat("x", 16<<20+1)}), `b\.txt: is larger than`},
		"bomb":               {gzipped(t, make([]byte, 129<<20)), `unpacks to more than|damaged`},
		"many files":         {archiveOf(t, many...), `holds more than 10000 files`},
		"hidden policy":      {archiveOf(t, rego, entry{name: "/.x/b.rego", data: "x"}), `\.x/b\.rego: would not be read`},
		"capitals":           {archiveOf(t, rego, entry{name: "/B.REGO", data: "x"}), `B\.REGO: would not be read`},
		"data.yml":           {archiveOf(t, rego, entry{name: "/data.yml", data: "x: 1"}), `data\.yml: would not be read`},
		"delta":              {archiveOf(t, entry{name: "/patch.json", data: `{"data": []}`}), `patch\.json: is a change`},
		"plan":               {archiveOf(t, rego, entry{name: "/plan.json", data: `{}`}), `plan\.json: is a plan`},
		"bundle in a bundle": {archiveOf(t, rego, entry{name: "/b.tar.gz", data: "x"}), `a bundle in a bundle`},
		"another module":     {archiveOf(t, rego, entry{name: "/x/policy.wasm", data: "x"}), `one module, policy\.wasm at its root`},
		"deep manifest":      {archiveOf(t, rego, entry{name: "/x/.manifest", data: "{}"}), `one \.manifest`},
		"binary manifest":    {archiveOf(t, rego, entry{name: "/.manifest.pb", data: "x"}), `one \.manifest, as JSON`},
		"broken manifest":    {archiveOf(t, manifest("{")...), `\.manifest: `},
		"old Rego":           {archiveOf(t, manifest(`{"rego_version": 0}`)...), `version 0 of Rego`},
		"old Rego by file":   {archiveOf(t, manifest(`{"rego_version": 1, "file_rego_versions": {"/a.rego": 0}}`)...), `version 0 of Rego`},
		"module that lacks":  {archiveOf(t, manifest(`{"wasm": [{"entrypoint": "team/a/deny", "module": "/policy.wasm"}]}`)...), `there is no policy\.wasm`},
		"package":            {archiveOf(t, entry{name: "/a.rego", data: "package opencode.request\n"}), `a\.rego:1: package opencode\.request: a team's package`},
		"other data":         {archiveOf(t, rego, entry{name: "/data.json", data: `{"users": {}}`}), `data\.users: a team's data must be below`},
		"data of the rest":   {archiveOf(t, rego, entry{name: "/opencode/prompt/data.json", data: `{"x": 1}`}), `data\.opencode\.prompt: a team may set`},
		"mistyped config":    {archiveOf(t, rego, entry{name: "/data.json", data: `{"opencode": {"config": {"bannd_commands": {}}}}`}), `does not fit its schema`},
		"denial in a test":   {archiveOf(t, rego, entry{name: "/b_test.rego", data: denial("b", "b.x")}), `serving leaves out`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeBundle(t, row.bundle)
			e, err := loaded(t, path, nil)
			if err == nil || e != nil {
				t.Fatalf("New = %v, want an error that matches %q", e, row.want)
			}
			if !regexp.MustCompile(row.want).MatchString(err.Error()) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q, want it to match %q and to name the bundle", err, row.want)
			}
		})
	}
}

func gzipped(tb testing.TB, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// TestDamagedBundle cuts a bundle off, and flips bits of it: it never loads as
// something else.
func TestDamagedBundle(t *testing.T) {
	t.Parallel()
	good := built(t, false, example)
	e, err := loaded(t, writeBundle(t, good), nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := e.Digest()
	for i := 0; i < len(good); i += 41 {
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x10
		for what, b := range map[string][]byte{"cut": good[:i], "flipped": flipped} {
			if e, err := loaded(t, writeBundle(t, b), nil); err == nil && (what == "cut" || e.Digest() != digest) {
				t.Errorf("%s at %d: loads", what, i)
			}
		}
	}
	if _, err := loaded(t, writeBundle(t, append(bytes.Clone(good), "more"...)), nil); err == nil {
		t.Error("with more behind its end: loads")
	}
}

func TestTwoSourcesOfOneTeam(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a.rego": denial("a", "a.one")}
	forms := map[string]string{
		"directory": writeDir(t, files), "rego": writeBundle(t, built(t, false, files)), "wasm": writeBundle(t, built(t, true, files)),
	}
	other := map[string]string{"b.rego": denial("a", "a.two")}
	others := map[string]string{
		"directory": writeDir(t, other), "rego": writeBundle(t, built(t, false, other)), "wasm": writeBundle(t, built(t, true, other)),
	}
	for _, first := range slices.Sorted(maps.Keys(forms)) {
		for _, second := range slices.Sorted(maps.Keys(others)) {
			_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{forms[first], others[second]}})
			if first == "directory" && second == "directory" {
				if err != nil {
					t.Errorf("two directories: %v", err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), "team.a is defined by") {
				t.Errorf("%s and %s: %v, want that both define the team", first, second, err)
			}
		}
	}
}
