package engine_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
)

// opaModule is the real OPA, of the version that the engine is built with.
const opaModule = "github.com/open-policy-agent/opa@v1.22.0"

// realOPA returns a real opa: that of the PATH, or with OPENCODE_TEST_E2E=1 one
// that is built for the test.
func realOPA(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("opa"); err == nil {
		return path
	}
	if os.Getenv("OPENCODE_TEST_E2E") != "1" {
		t.Skip("SKIPPED: no opa in the PATH; bundles are NOT exchanged with a real one. OPENCODE_TEST_E2E=1 builds " + opaModule + ", which takes minutes.")
	}
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "go", "install", opaModule)
	install.Dir = bin // outside this module, whose go.mod says nothing of it
	install.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", opaModule, err, out)
	}
	return filepath.Join(bin, "opa")
}

// TestRealOPA: what OPA builds we load, and what we build OPA loads.
func TestRealOPA(t *testing.T) {
	t.Parallel()
	opa := realOPA(t)
	run := func(t *testing.T, dir string, args ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), opa, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(t *testing.T, dir string, args ...string) string {
		t.Helper()
		out, err := run(t, dir, args...)
		if err != nil {
			t.Fatalf("opa %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	dir := writeDir(t, example)
	parent := filepath.Dir(dir)
	key := p256(t)
	writeFiles(t, parent, map[string]string{"private.pem": string(key.private), "public.pem": string(key.public)})
	entrypoints := []string{"-e", "team/web/deny", "-e", "team/web/ask", "-e", "team/web/allow", "-e", "team/web/obligations"}
	rego := []string{"build", "-b", dir, "--ignore", "*_test.rego"}
	wasm := slices.Concat(rego, []string{"-t", "wasm", "--prune-unused"}, entrypoints)
	signing := []string{"--signing-key", "private.pem", "--signing-alg", "ES256"}
	directory := team(t, example)

	t.Run("loaded by us", func(t *testing.T) {
		for name, args := range map[string][]string{
			"rego":        slices.Concat(rego, []string{"-o", "rego.tar.gz"}),
			"rego signed": slices.Concat(rego, []string{"-o", "rego signed.tar.gz"}, signing),
			"wasm":        slices.Concat(wasm, []string{"-o", "wasm.tar.gz"}),
			"wasm signed": slices.Concat(wasm, []string{"-o", "wasm signed.tar.gz"}, signing),
		} {
			must(t, parent, args...)
			var v *engine.Verification
			if strings.Contains(name, "signed") {
				v = key.verification(t, "")
			}
			e, err := loaded(t, filepath.Join(parent, name+".tar.gz"), v)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for what, in := range exampleInputs() {
				want, err := directory.Decide(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := e.Decide(t.Context(), in); err != nil || got.Effect != want.Effect || strings.Join(ids(got), " ") != strings.Join(ids(want), " ") {
					t.Errorf("%s: %s: %v by %v, error %v, want %v by %v", name, what, got.Effect, ids(got), err, want.Effect, ids(want))
				}
			}
		}
	})
	t.Run("with more than it should hold", func(t *testing.T) {
		// OPA makes an entrypoint of whatever depends on one, tests too.
		plain := filepath.Join(parent, "plain")
		writeFiles(t, plain, map[string]string{
			"a.rego":      denial("a", "a.one"),
			"a_test.rego": "package team.a_test\n\ntest_a if count(data.team.a.deny) == 1\n",
		})
		must(t, parent, "build", "-t", "wasm", "-b", plain, "-o", "tests.tar.gz", "-e", "team/a/deny")
		if _, err := loaded(t, filepath.Join(parent, "tests.tar.gz"), nil); err == nil || !strings.Contains(err.Error(), `"team/a_test/test_a" takes part in no decision`) {
			t.Errorf("New of one with tests = %v, want what to do about it", err)
		}
		writeFiles(t, plain, map[string]string{"a.rego": denial("a", "a.one") + "\nask contains {\"id\": \"a.ask\", \"message\": \"m\"}\n"})
		must(t, parent, "build", "-t", "wasm", "-b", plain, "-o", "less.tar.gz", "-e", "team/a/deny", "--ignore", "*_test.rego")
		if _, err := loaded(t, filepath.Join(parent, "less.tar.gz"), nil); err == nil || !strings.Contains(err.Error(), "defines team/a/ask in Rego") {
			t.Errorf("New of one with an entrypoint too few = %v, want that it is left in Rego", err)
		}
		if err := os.Remove(filepath.Join(plain, "a_test.rego")); err != nil {
			t.Fatal(err)
		}
		must(t, parent, "build", "-t", "wasm", "-b", plain, "-o", "all.tar.gz", "-e", "team/a/deny", "-e", "team/a/ask")
		e, err := loaded(t, filepath.Join(parent, "all.tar.gz"), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantDenial(t, e, "a.ask", "a.one")
	})
	t.Run("loaded by OPA", func(t *testing.T) {
		// With an extension, which OPA passes over and covers by the signature.
		dir := writeDir(t, example)
		extension := extended(t, true)
		delete(extension, "a.rego")
		writeFiles(t, dir, extension)
		for name, wasm := range map[string]bool{"ours": false, "ours-wasm": true} {
			signer, err := engine.NewSigning(key.private, "")
			if err != nil {
				t.Fatal(err)
			}
			b, err := engine.Build(t.Context(), engine.BuildConfig{Default: policies.FS, Dir: dir, Wasm: wasm, Revision: "r7", Signing: signer})
			if err != nil {
				t.Fatal(err)
			}
			writeFiles(t, parent, map[string]string{name + ".tar.gz": string(b.Bytes)})
			verify := []string{"--verification-key", "public.pem", "--signing-alg", "ES256"}
			// OPA verifies when it builds from a bundle.
			must(t, parent, append([]string{"build", "-b", name + ".tar.gz", "-o", name + "-again.tar.gz"}, verify...)...)
			if inspected := must(t, parent, "inspect", name+".tar.gz"); !strings.Contains(inspected, "r7") {
				t.Errorf("%s: opa inspect says %s", name, inspected)
			}
			if !wasm {
				writeFiles(t, parent, map[string]string{"input.json": `{"request": {"method": "DELETE"}}`})
				if out := must(t, parent, "eval", "--format", "raw", "-b", name+".tar.gz", "-i", "input.json", "data.team.web.deny"); !strings.Contains(out, "web.no_delete") {
					t.Errorf("%s: opa eval says %s", name, out)
				}
			}
			for _, change := range [][2]string{{`"curl":false`, `"curl":true`}, {`"milliseconds": 1000`, `"milliseconds": 999`}} {
				altered := edit(t, b.Bytes, func(e *entry) { e.data = strings.Replace(e.data, change[0], change[1], 1) })
				writeFiles(t, parent, map[string]string{name + "-altered.tar.gz": string(altered)})
				if out, err := run(t, parent, append([]string{"build", "-b", name + "-altered.tar.gz", "-o", "x.tar.gz"}, verify...)...); err == nil {
					t.Errorf("%s: OPA takes one with %s: %s", name, change[1], out)
				}
			}
		}
	})
}
