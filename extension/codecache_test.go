package extension_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"opencode/extension"
	"opencode/extension/extensiontest"
)

// TestCodeCacheIsTrusted: compiled code is used from a directory that nobody
// else can write to, and from no other. Without it everything works as well.
func TestCodeCacheIsTrusted(t *testing.T) {
	t.Parallel()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
	manifest.Limits.Time = time.Minute
	for name, row := range map[string]struct {
		prepare func(t *testing.T, dir string) // dir is not there yet
		want    string                         // what the log says; "" if it is used
	}{
		"new":                {func(*testing.T, string) {}, ""},
		"private":            {func(t *testing.T, dir string) { t.Helper(); mkdir(t, dir, 0o700) }, ""},
		"readable by others": {func(t *testing.T, dir string) { t.Helper(); mkdir(t, dir, 0o755) }, "has the mode 0755; `chmod 700` makes it private"},
		"below what others write": {func(t *testing.T, dir string) {
			t.Helper()
			mkdir(t, dir, 0o700)
			mode(t, filepath.Dir(dir), 0o777)
		}, "other users can change what is in"},
		"file that others write": {func(t *testing.T, dir string) {
			t.Helper()
			mkdir(t, dir, 0o700)
			write(t, filepath.Join(dir, "x"), "")
			mode(t, filepath.Join(dir, "x"), 0o666)
		}, "is not a file of yours that only you can write"},
		"link to elsewhere": {func(t *testing.T, dir string) {
			t.Helper()
			mkdir(t, dir, 0o700)
			if err := os.Symlink("/dev/null", filepath.Join(dir, "x")); err != nil {
				t.Fatal(err)
			}
		}, "is not a file of yours that only you can write"},
		"a file": {func(t *testing.T, dir string) { t.Helper(); write(t, dir, "") }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "above", "code")
			mkdir(t, filepath.Dir(dir), 0o700)
			row.prepare(t, dir)
			var log bytes.Buffer
			m := load(t, manifest, module, extension.Config{Cache: extension.NewCodeCache(dir), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if got, err := m.Call(t.Context(), "fine", []byte(`[]`)); err != nil || got != true {
				t.Errorf("fine = %v, %v", got, err)
			}
			kept, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil || (len(kept) == 1) != (row.want == "") {
				t.Errorf("kept %v, %v", kept, err)
			}
			if row.want == "" && log.Len() > 0 || !strings.Contains(log.String(), row.want) {
				t.Errorf("logged %q, want %q", log.String(), row.want)
			}
		})
	}
}

// TestDamagedCodeCache: what is cut off or changed on disk is compiled anew.
func TestDamagedCodeCache(t *testing.T) {
	t.Parallel()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
	manifest.Limits.Time = time.Minute
	dir := filepath.Join(t.TempDir(), "code")
	cfg := extension.Config{Cache: extension.NewCodeCache(dir)}
	load(t, manifest, module, cfg)
	kept, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	code, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(code)
	flipped[len(flipped)/2] ^= 1
	for name, damaged := range map[string][]byte{"cut off": code[:len(code)/2], "empty": nil, "changed": flipped} {
		write(t, kept[0], string(damaged))
		m := load(t, manifest, module, cfg)
		if got, err := m.Call(t.Context(), "fine", []byte(`[]`)); err != nil || got != true {
			t.Errorf("%s: fine = %v, %v", name, got, err)
		}
		load(t, manifest, module, cfg) // which writes it again
		if again, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(again, code) {
			t.Errorf("%s: was not written again: %v", name, err)
		}
	}
}

// TestModuleIsFreed: a module that nothing refers to frees what it holds, and
// one that is called is referred to.
func TestModuleIsFreed(t *testing.T) {
	t.Parallel()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
	manifest.Limits.Time = time.Minute
	m, err := extension.Load(t.Context(), manifest, module, extension.Config{})
	if err != nil {
		t.Fatal(err)
	}
	freed := make(chan struct{})
	runtime.AddCleanup(m, func(done chan struct{}) { close(done) }, freed)
	for range 100 {
		runtime.GC()
		if got, err := m.Call(t.Context(), "fine", []byte(`[]`)); err != nil || got != true {
			t.Fatalf("fine = %v, %v", got, err)
		}
	}
	// Nothing refers to m from here on.
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-t.Context().Done():
			t.Fatal("the module is still there")
		default:
		}
	}
}

func mkdir(t *testing.T, dir string, perm os.FileMode) {
	t.Helper()
	if err := os.Mkdir(dir, perm); err != nil {
		t.Fatal(err)
	}
	mode(t, dir, perm)
}

func mode(t *testing.T, path string, perm os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, perm); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
