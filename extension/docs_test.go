package extension_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"opencode/extension"
)

// block returns the first block of a language in docs/extensions.md.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "extensions.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```" + language + "\n(.*?)```\n").FindSubmatch(text)
	if m == nil {
		t.Fatalf("docs/extensions.md has no block of %s", language)
	}
	return string(m[1])
}

// TestDocumentedManifest reads the manifest that the documentation shows.
func TestDocumentedManifest(t *testing.T) {
	t.Parallel()
	m, err := extension.ParseManifest([]byte(block(t, "json")))
	if err != nil {
		t.Fatal(err)
	}
	if f := m.Functions["is_ascii"]; m.Name != "ascii" || f.Result != extension.Boolean || !f.Pure || m.Limits.Pages != 16 {
		t.Errorf("ParseManifest = %+v", m)
	}
}

// TestDocumentedC compiles the C of the documentation by the command that
// stands there, and calls it.
func TestDocumentedC(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("OPENCODE_TEST_E2E") == "1" {
				t.Fatalf("%v: install clang and lld", err)
			}
			t.Skipf("SKIPPED: the C of docs/extensions.md was not compiled: %v", err)
		}
	}
	dir := filepath.Join(t.TempDir(), "ascii")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, language := range map[string]string{"ascii.c": "c", extension.ManifestFile: "json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(block(t, language)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "sh", "-ec", block(t, "sh"))
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	manifest, module, err := extension.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest.SHA256 = extension.Sum(module)
	m := load(t, manifest, module, extension.Config{})
	for args, want := range map[string]bool{
		`[{"plain": ["text", 1]}]`: true,
		`["ä"]`:                    false,
		`["` + strings.Repeat("x", 60_000) + `"]`: true,
	} {
		if got, err := m.Call(t.Context(), "is_ascii", []byte(args)); err != nil || got != want {
			t.Errorf("is_ascii(%.20s) = %v, %v; want %v", args, got, err, want)
		}
	}
	if got, err := m.Call(t.Context(), "is_ascii", []byte(`["`+strings.Repeat("x", 70_000)+`"]`)); err == nil || !strings.Contains(err.Error(), "alloc gave no room for 70004 bytes") {
		t.Errorf("with too much: %v, %v", got, err)
	}
}
