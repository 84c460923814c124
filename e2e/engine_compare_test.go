package e2e_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

const (
	// peerOPA is the OPA that the engine embeds, as its own program.
	peerOPA     = "v1.22.0"
	peerOPAWasm = "1.10.0"

	engineRounds    = 7
	engineDecisions = 300
	// engineTimes is how many times as fast as `opa run` a decision must be
	// that was made before.
	engineTimes = 150
)

// TestCompareEngine measures decisions of the default policy by our engine, by
// a real OPA over loopback and by OPA's Wasm in node, in one run and in turns.
// All must decide alike first.
func TestCompareEngine(t *testing.T) {
	if os.Getenv("OPENCODE_TEST_COMPARE") != "1" {
		t.Skip("SKIPPED: OPENCODE_TEST_COMPARE=1 compares the speed with that of OPA; on a busy machine it says nothing")
	}
	requireE2E(t)
	inputs := compareInputs(t)
	dir := policyFiles(t)
	opa := peerBinary(t)
	server := startOPA(t, opa, dir)
	wasm := startOPAWasm(t, opa, dir)
	ours, err := engine.New(t.Context(), engine.Config{Default: policies.FS})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range inputs {
		d, err := ours.Decide(t.Context(), in.Input)
		if err != nil {
			t.Fatal(err)
		}
		want := decisionOf(t, d)
		_, answer := server.decide(t, in.Input, 1)
		_, ofWasm := wasm.decide(t, in.Input, 1)
		if diff := cmp.Diff(want, peerDecision(t, answer)); diff != "" {
			t.Fatalf("%s: opa run decides otherwise (-ours +theirs):\n%s", in.Name, diff)
		}
		if diff := cmp.Diff(want, peerDecision(t, ofWasm)); diff != "" {
			t.Fatalf("%s: opa-wasm decides otherwise (-ours +theirs):\n%s", in.Name, diff)
		}
		// V8 compiles what runs often.
		wasm.decide(t, in.Input, 5*engineDecisions)
		server.decide(t, in.Input, engineDecisions)
	}

	type figures struct{ hit, miss, server, wasm []float64 }
	taken := make([]figures, len(inputs))
	for range engineRounds {
		for i, in := range inputs {
			report, err := engine.Bench(t.Context(), engine.BenchConfig{
				Config: engine.Config{Default: policies.FS}, Inputs: []engine.BenchInput{in}, Count: engineDecisions,
			})
			if err != nil {
				t.Fatal(err)
			}
			f := &taken[i]
			f.miss = append(f.miss, report.Inputs[0].Miss.Median)
			if hit := report.Inputs[0].Hit; hit != nil {
				f.hit = append(f.hit, hit.Median)
			}
			byServer, _ := server.decide(t, in.Input, engineDecisions)
			byWasm, _ := wasm.decide(t, in.Input, engineDecisions)
			f.server, f.wasm = append(f.server, median(byServer)), append(f.wasm, median(byWasm))
		}
	}

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "input\tours, decided before\tours, evaluated\topa run\topa-wasm in node\topa run / before\topa run / evaluated\tnode / before\tnode / evaluated")
	for i, in := range inputs {
		f := taken[i]
		if len(f.hit) == 0 {
			t.Errorf("%s: is not kept, so it is never faster than an evaluation", in.Name)
			f.hit = f.miss
		}
		hit, miss, server, wasm := median(f.hit), median(f.miss), median(f.server), median(f.wasm)
		fmt.Fprintf(w, "%s\t%.2f µs\t%.1f µs\t%.1f µs\t%.1f µs\t%.0f\t%.1f\t%.0f\t%.2f\n",
			in.Name, hit/1e3, miss/1e3, server/1e3, wasm/1e3, server/hit, server/miss, wasm/hit, wasm/miss)
		if server < engineTimes*hit {
			t.Errorf("%s: %.0f ns, want %d times as fast as the %.0f ns of opa run", in.Name, hit, engineTimes, server)
		}
		if wasm < hit {
			t.Errorf("%s: %.0f ns, want less than the %.0f ns of opa-wasm", in.Name, hit, wasm)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("medians of %d rounds of %d decisions:\n%s", engineRounds, engineDecisions, table.String())
}

// compareInputs are a request and a prompt with three calls.
func compareInputs(t *testing.T) []engine.BenchInput {
	t.Helper()
	wanted := []string{"GET /session/status", "bash: three calls"}
	inputs := slices.DeleteFunc(engine.BenchInputs(), func(in engine.BenchInput) bool { return !slices.Contains(wanted, in.Name) })
	if len(inputs) != len(wanted) || len(inputs[1].Input.Prompt.Command.Calls) != 3 {
		t.Fatalf("inputs %+v, want %q", inputs, wanted)
	}
	return inputs
}

// policyFiles writes the default policy, without its tests, into a directory.
func policyFiles(t *testing.T) string {
	t.Helper()
	dir := tempDir(t)
	err := fs.WalkDir(policies.FS, "opencode", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "opencode/testing" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, filepath.FromSlash(name)), 0o700)
		}
		if strings.HasSuffix(name, "_test.rego") {
			return nil
		}
		b, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The engine adds which teams are loaded.
	loaded := filepath.Join(dir, "opencode", "loaded")
	if err := errors.Join(os.Mkdir(loaded, 0o700), os.WriteFile(filepath.Join(loaded, "data.json"), []byte(`{"teams": {}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// compareDecision is what the three must agree on.
type compareDecision struct {
	Effect string   `json:"effect"`
	Needs  []string `json:"needs"`
	Rules  []struct {
		ID      string   `json:"id"`
		Effect  string   `json:"effect"`
		Message string   `json:"message"`
		Always  []string `json:"always"`
	} `json:"rules"`
	Obligations struct {
		TimeoutSeconds int    `json:"timeout_seconds"`
		MaxOutputBytes int    `json:"max_output_bytes"`
		Audit          string `json:"audit"`
	} `json:"obligations"`
}

func peerDecision(t *testing.T, document []byte) compareDecision {
	t.Helper()
	var d compareDecision
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if len(d.Needs) == 0 {
		d.Needs = nil
	}
	return d
}

func decisionOf(t *testing.T, d policy.Decision) compareDecision {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return peerDecision(t, b)
}

func entrypointOf(in *policy.Input) string { return "opencode/" + string(in.Kind) + "/decision" }

// cached returns a directory that is shared with other runs, filled once.
func cached(t *testing.T, name string, fill func(dir string) error) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "opencode-e2e", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(dir+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	// The directory gets its name by a rename once all of it is there.
	partial := dir + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.Mkdir(partial, 0o700), fill(partial), os.Rename(partial, dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// peerBinary returns the path of a real opa.
func peerBinary(t *testing.T) string {
	t.Helper()
	return filepath.Join(cached(t, "opa-"+peerOPA, func(dir string) error {
		cmd := exec.CommandContext(t.Context(), "go", "install", "github.com/open-policy-agent/opa@"+peerOPA)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go install opa: %w\n%s", err, out)
		}
		return nil
	}), "opa")
}

// opaServer is `opa run --server` on loopback.
type opaServer struct {
	url    string
	client *http.Client
}

func startOPA(t *testing.T, binary, dir string) *opaServer {
	t.Helper()
	address := "127.0.0.1:" + freePort(t)
	var log lockedBuffer
	cmd := exec.CommandContext(t.Context(), binary, "run", "--server", "--addr", address, "--log-level", "error", "--disable-telemetry", "--bundle", dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &opaServer{url: "http://" + address, client: &http.Client{Timeout: startDeadline}}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for late := time.After(startDeadline); ; {
		res, err := s.client.Get(s.url + "/health?bundles")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s
			}
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("opa run does not answer: %v\n%s", err, log.String())
		}
	}
}

// decide returns what so many decisions took, one after the other on one
// connection, and the last of them.
func (s *opaServer) decide(t *testing.T, in *policy.Input, count int) (took []float64, decision []byte) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"input": in})
	if err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for range count {
		began := time.Now()
		res, err := s.client.Post(s.url+"/v1/data/"+entrypointOf(in), "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err = io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("opa run: %s, %v: %s", res.Status, err, answer)
		}
		took = append(took, float64(time.Since(began).Nanoseconds()))
	}
	var result struct{ Result json.RawMessage }
	if err := json.Unmarshal(answer, &result); err != nil || result.Result == nil {
		t.Fatalf("opa run: %s, %v", answer, err)
	}
	return took, result.Result
}

// opaWasm is a node that decides with the policy as `opa build -t wasm` makes it.
type opaWasm struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

func startOPAWasm(t *testing.T, opa, dir string) *opaWasm {
	t.Helper()
	work := tempDir(t)
	bundle := filepath.Join(work, "bundle.tar.gz")
	build := exec.CommandContext(t.Context(), opa, "build", "--target", "wasm", "--bundle", dir, "--output", bundle,
		"--entrypoint", "opencode/request/decision", "--entrypoint", "opencode/prompt/decision")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("opa build: %v\n%s", err, out)
	}
	unpack(t, bundle, work, "policy.wasm", "data.json")
	modules := cached(t, "opa-wasm-"+peerOPAWasm, func(dir string) error {
		cmd := exec.CommandContext(t.Context(), "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts",
			"@open-policy-agent/opa-wasm@"+peerOPAWasm)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("npm install: %w\n%s", err, out)
		}
		return nil
	})
	script, err := os.ReadFile(filepath.Join("testdata", "opa_wasm.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	// A module finds what it imports beside itself.
	path := filepath.Join(work, "opa_wasm.mjs")
	if err := errors.Join(os.WriteFile(path, script, 0o600), os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(work, "node_modules"))); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	// It ends with its input, which is closed after the test's context.
	cmd := exec.Command("node", path, filepath.Join(work, "policy.wasm"), filepath.Join(work, "data.json"))
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil || log.String() != "" {
			t.Errorf("node: %v\n%s", err, log.String())
		}
	})
	return &opaWasm{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

// unpack takes files out of a bundle.
func unpack(t *testing.T, bundle, dir string, names ...string) {
	t.Helper()
	f, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(header.Name, "/")
		if !slices.Contains(names, name) {
			continue
		}
		found++
		b, err := io.ReadAll(r)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if found != len(names) {
		t.Fatalf("the bundle holds %d of %q", found, names)
	}
}

func (w *opaWasm) decide(t *testing.T, in *policy.Input, count int) (took []float64, decision []byte) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.NewEncoder(w.in).Encode(map[string]any{"input": in, "entrypoint": entrypointOf(in), "count": count}); err != nil {
		t.Fatal(err)
	}
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Took   []float64
		Result json.RawMessage
	}
	if err := json.Unmarshal(line, &answer); err != nil || len(answer.Took) != count {
		t.Fatalf("opa-wasm: %s, %v", line, err)
	}
	return answer.Took, answer.Result
}
