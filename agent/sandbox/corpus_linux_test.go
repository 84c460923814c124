//go:build amd64 || arm64

package sandbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/agent/sandbox"
)

// corpus are commands that run a banned program, which the tests of command
// facts use as well.
const corpus = "../../policy/shell/testdata/corpus/banned.txt"

// stride is how many commands of the corpus a run leaves out at a time, unless
// OPENCODE_TEST_CORPUS is "all": that takes minutes.
const stride = 16

// TestCorpus runs commands that run a banned program as if policy had allowed
// them, with stubs in the place of the programs. The ban alone differs between
// the two runs of each: nothing of a corpus runs without a sandbox.
func TestCorpus(t *testing.T) {
	t.Parallel()
	f, err := os.Open(corpus)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := os.ReadFile("../../policies/opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Banned map[string]any `json:"banned_commands"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	// Two of everything: what a command leaves in the background may run late.
	banned := newCorpusRig(t, config.Banned)
	open := newCorpusRig(t, config.Banned)
	open.spec.DenyExec = nil

	all := os.Getenv("OPENCODE_TEST_CORPUS") == "all"
	total, without, with := 0, 0, 0
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "# ") || !all && n%stride != 0 {
			continue
		}
		command := strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(line)
		total++
		if open.reaches(command) {
			without++
		}
		if banned.reaches(command) {
			with++
			t.Errorf("reaches the program: %q", line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands: %d reach a program without the ban, %d with it", total, without, with)
	if without < total/4 {
		t.Error("too few reach a program without the ban, so it shows little")
	}
}

// newCorpusRig returns a rig with a stub for each name, which leaves a mark when
// it runs.
func newCorpusRig(t *testing.T, names map[string]any) *rig {
	t.Helper()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Exec, sandbox.Write, sandbox.Network)
	homeBin := filepath.Join(r.home, "bin")
	if err := os.Mkdir(homeBin, 0o700); err != nil {
		t.Fatal(err)
	}
	r.spec.Network, r.spec.DenyExec, r.spec.Create = false, nil, []string{r.mark()}
	for name := range names {
		r.spec.DenyExec = append(r.spec.DenyExec, name)
		for _, dir := range []string{r.bin, homeBin} {
			r.write(filepath.Join(dir, name), "#!/bin/sh\necho REACHED >>"+r.mark()+"\n", 0o755)
		}
	}
	r.path = r.bin + ":" + homeBin + ":/usr/local/bin:/usr/bin:/bin"
	return r
}

// mark is the file in which a stub notes that it has run.
func (r *rig) mark() string { return filepath.Join(r.home, "mark") }

// reaches runs a command and reports whether a stub has run.
func (r *rig) reaches(command string) bool {
	r.tb.Helper()
	r.empty()
	r.write(r.mark(), "", 0o600)
	ctx, cancel := context.WithTimeout(r.tb.Context(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "--noprofile", "--norc", "-c", "--", command)
	plain := r.command("true")
	cmd.Dir, cmd.Env, cmd.SysProcAttr, cmd.WaitDelay = plain.Dir, plain.Env, plain.SysProcAttr, time.Second
	_, _ = r.run(cmd, &r.spec) // how it ends does not matter
	text, err := os.ReadFile(r.mark())
	if err != nil {
		r.tb.Fatal(err)
	}
	return len(text) > 0
}
