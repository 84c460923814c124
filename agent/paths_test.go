package agent_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
)

// pathCorpus holds names of files, each with what the tools may do with it:
// "in" can be written, "link" leads through a link to a file inside and can
// only be read, "out" is outside, and "special" is no file that holds data. In
// a name {ROOT} is the project, {OUT} a directory beside it, and {UP} the way
// from two directories above to the one above.
//
//go:embed testdata/paths.txt
var pathCorpus string

const canary = "CANARY"

// world makes a project with links of all sorts, and what is beside it. It
// returns the directory of both.
func world(t *testing.T) string {
	t.Helper()
	top := must(filepath.EvalSymlinks(t.TempDir()))(t)
	for name, text := range map[string]string{
		"canary": canary, "outside/canary": canary, "outside/sub/x": canary, "proj-evil/canary": canary,
		"proj/plain.txt": "plain\n", "proj/dir/file.txt": "plain\n", "proj/dir/sub/deep.txt": "plain\n", "proj/sp ace.txt": "plain\n",
		"proj/\u00fcn\u00ef.txt": "plain\n", "proj/.hidden": "plain\n", "proj/..dots": "plain\n", "proj/...": "plain\n",
	} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(top, "outside")
	for name, to := range map[string]string{
		"l-file": "plain.txt", "l-dir": "dir", "l-self": ".", "l-abs-in": filepath.Join(top, "proj/dir"), "l-chain-in": "l-dir", "dir/l-in": "../plain.txt",
		"l-dangling-in": "nowhere", "l-out-file": "../outside/canary", "l-out-dir": "../outside", "l-abs-out": out, "l-abs-file": out + "/canary",
		"l-up": "..", "l-upup": "../..", "l-root": "/", "l-etc": "/etc", "l-proc": "/proc/self/root", "l-fd": "/proc/self/fd", "l-cwd": "/proc/self/cwd",
		"l-environ": "/proc/self/environ", "l-chain": "l-out-dir", "l-chain-file": "l-out-file", "l-dangling-out": "../outside/nowhere",
		"l-dangling-abs": out + "/nowhere", "l-evil": "../proj-evil", "dir/l-back": "../..", "dir/l-out": "../../outside", "l-tail-slash": "../outside/",
		"l-dots": "dir/../../outside/.", "l-deep": "dir/sub/../../../outside", "l-dev": "/dev/null", "l-zero": "/dev/zero", "l-pipe": "pipe",
		"l-loop": "l-loop", "l-a": "l-b", "l-b": "l-a", "l-sock-out": "../outside/sock", "l-fifo-out": "../outside/pipe",
	} {
		if err := os.Symlink(to, filepath.Join(top, "proj", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"proj/pipe", "outside/pipe"} {
		if err := syscall.Mkfifo(filepath.Join(top, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(top, "proj/sock")); err == nil {
		t.Cleanup(func() { _ = l.Close() })
	} else if err := os.WriteFile(filepath.Join(top, "proj/sock"), nil, 0); err != nil { // the path is too long for a socket
		t.Fatal(err)
	}
	return top
}

// beside returns what is there beside the project, with modes and inodes: a
// file that was replaced by its like is another one.
func beside(t *testing.T, top string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == filepath.Join(top, "proj") {
			return filepath.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := ""
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		list = append(list, fmt.Sprintf("%s %v %d %s", path, info.Mode(), info.Sys().(*syscall.Stat_t).Ino, text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// onPath are calls of all tools on a name, those that only read first.
func onPath(name string) (reads, writes []agent.ToolInput) {
	for _, tool := range []string{"list", "read"} {
		key := map[string]string{"list": "path", "read": "filePath"}[tool]
		reads = append(reads, agent.ToolInput{Name: tool, Args: map[string]any{key: name}})
	}
	reads = append(reads,
		agent.ToolInput{Name: "glob", Args: map[string]any{"pattern": "**", "path": name}},
		agent.ToolInput{Name: "grep", Args: map[string]any{"pattern": "CAN|plain|root", "path": name}},
	)
	edit := map[string]any{"oldString": "CANARY", "newString": "x"}
	writes = []agent.ToolInput{
		{Name: "edit", Args: map[string]any{"filePath": name, "oldString": "CANARY", "newString": "x"}},
		{Name: "edit", Args: map[string]any{"filePath": name, "oldString": "", "newString": "x"}},
		{Name: "multiedit", Args: map[string]any{"filePath": name, "edits": []any{edit}}},
		{Name: "patch", Args: map[string]any{"patchText": "*** Begin Patch\n*** Update File: " + name + "\n@@\n-CANARY\n+x\n*** End Patch"}},
		{Name: "patch", Args: map[string]any{"patchText": "*** Begin Patch\n*** Add File: " + name + "\n+x\n*** End Patch"}},
		{Name: "patch", Args: map[string]any{"patchText": "*** Begin Patch\n*** Update File: plain.txt\n*** Move to: " + name + "\n*** End Patch"}},
		{Name: "patch", Args: map[string]any{"patchText": "--- /dev/null\n+++ b/" + name + "\n@@ -0,0 +1 @@\n+x\n"}},
		{Name: "patch", Args: map[string]any{"patchText": "*** Begin Patch\n*** Delete File: " + name + "\n*** End Patch"}},
		{Name: "move", Args: map[string]any{"from": "plain.txt", "to": name}},
		{Name: "move", Args: map[string]any{"from": name, "to": "moved.txt"}},
		{Name: "delete", Args: map[string]any{"filePath": name}},
		{Name: "write", Args: map[string]any{"filePath": name, "content": "x\n"}},
	}
	return reads, writes
}

// TestPathCorpus calls every tool on every name of the corpus while policy
// allows everything: nothing outside is read, made or changed, whatever policy
// says, and what is inside can be written.
func TestPathCorpus(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(pathCorpus), "\n")
	if len(lines) < 150 {
		t.Fatalf("%d names in the corpus, want 150", len(lines))
	}
	db := openDB(t, t.TempDir())
	var running sync.WaitGroup
	for part := range slices.Chunk(lines, (len(lines)+3)/4) {
		running.Go(func() {
			for _, line := range part {
				class, quoted, _ := strings.Cut(line, "\t")
				var name string
				if err := json.Unmarshal([]byte(quoted), &name); err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				onWorld(t, options{decider: allowAll(), db: db}, class, name)
			}
		})
	}
	running.Wait()
}

func onWorld(t *testing.T, o options, class, name string) {
	t.Helper()
	top := world(t)
	o.dir = filepath.Join(top, "proj")
	name = strings.NewReplacer("{ROOT}", o.dir, "{OUT}", filepath.Join(top, "outside"), "{UP}", filepath.Base(top)).Replace(name)
	r := newRig(t, o)
	before := beside(t, top)
	call := func(in agent.ToolInput) error {
		got, err := r.agent.RunTool(t.Context(), person(), in)
		if text := fmt.Sprint(got); strings.Contains(text, canary) || strings.Contains(text, "root:") {
			t.Errorf("%s %.80q gives what is outside: %.200s", in.Name, name, text)
		}
		if err != nil && strings.Contains(err.Error(), canary) && !strings.Contains(in.Name, "patch") {
			t.Errorf("%s %.80q: the error tells what is outside: %v", in.Name, name, err)
		}
		return err
	}
	reads, writes := onPath(name)
	for _, in := range reads {
		if err := call(in); err == nil && class == "out" {
			t.Errorf("%s %.80q: no error for a path outside", in.Name, name)
		}
	}
	if err := call(reads[1]); err != nil && class == "link" && !strings.Contains(name, "new") && !strings.Contains(name, "dangling") {
		t.Errorf("read %.80q: %v", name, err)
	}
	var last error
	for _, in := range writes {
		if last = call(in); last == nil && class != "in" {
			t.Errorf("%s %v: no error for a path of the class %s", in.Name, in.Args, class)
		}
		_ = os.WriteFile(filepath.Join(r.dir, "plain.txt"), []byte("plain\n"), 0o600) // it may have been moved
	}
	if class == "in" && last != nil {
		t.Errorf("write %.80q: %v", name, last)
	}
	if diff := cmp.Diff(before, beside(t, top)); diff != "" {
		t.Errorf("%.80q: something beside the project has changed (-before +after)\n%s", name, diff)
	}
}

// TestToolsInARace swaps a directory for links that lead out while tools run.
func TestToolsInARace(t *testing.T) {
	t.Parallel()
	top := world(t)
	r := newRig(t, options{decider: allowAll(), dir: filepath.Join(top, "proj")})
	before := beside(t, top)
	ctx, stop := context.WithCancel(t.Context())
	var swapping sync.WaitGroup
	at := func(name string) string { return filepath.Join(r.dir, name) }
	swapping.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			evil := []string{"l-out-dir", "l-abs-out", "l-chain"}[i%3]
			_ = os.Rename(at("dir"), at("away"))
			_ = os.Rename(at(evil), at("dir"))
			_ = os.Rename(at("dir"), at(evil))
			_ = os.RemoveAll(at("dir")) // a write may have made it
			_ = os.Rename(at("away"), at("dir"))
		}
	})
	done := 0
	for range 30 {
		for _, name := range []string{"dir/file.txt", "dir/canary", "dir/new"} {
			reads, writes := onPath(name)
			for _, in := range append(reads, writes...) {
				got, err := r.agent.RunTool(t.Context(), person(), in)
				if strings.Contains(fmt.Sprint(got), canary) {
					t.Errorf("%s %s gives what is outside: %v", in.Name, name, got)
				}
				if err == nil {
					done++
				}
			}
		}
	}
	stop()
	swapping.Wait()
	if done == 0 {
		t.Error("nothing was ever done")
	}
	if diff := cmp.Diff(before, beside(t, top)); diff != "" {
		t.Errorf("beside the project (-before +after)\n%s", diff)
	}
}
