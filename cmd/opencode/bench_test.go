package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"opencode/agent/sandbox"
)

// BenchmarkServeStart measures the time from exec to listening, and the memory
// that is resident then, of the program as it is built for users.
func BenchmarkServeStart(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("resident memory is read from /proc")
	}
	bin := filepath.Join(b.TempDir(), "opencode")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	home := b.TempDir()
	var resident float64
	for b.Loop() {
		kb, err := startOnce(bin, home)
		if err != nil {
			b.Fatal(err)
		}
		resident = max(resident, float64(kb)/1024)
	}
	b.ReportMetric(resident, "MB-resident")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
}

// startOnce starts a server, waits until it listens, and returns its resident
// memory in kB. The stop is part of the measured time only as far as a kill is.
func startOnce(bin, home string) (int, error) {
	cmd := exec.Command(bin, "serve", "--port", "0")
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "listening on ") {
		return 0, fmt.Errorf("the server said %q", lines.Text())
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("no VmRSS in /proc/%d/status", cmd.Process.Pid)
}

// BenchmarkSandboxStart measures what the sandbox adds to a command: the program
// as it is built for users, under what the default policy obliges to.
func BenchmarkSandboxStart(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "opencode")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	check := exec.CommandContext(b.Context(), bin, "policy", "check", "--json", "bash", "true")
	text, err := check.Output()
	if err != nil {
		b.Fatal(err)
	}
	var decision struct {
		Obligations struct {
			Sandbox sandbox.Spec `json:"sandbox"`
		} `json:"obligations"`
	}
	if err := json.Unmarshal(text, &decision); err != nil {
		b.Fatal(err)
	}
	spec := decision.Obligations.Sandbox
	spec.Root = b.TempDir()
	box, err := sandbox.New(sandbox.Config{Program: bin})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = box.Close() }() // a temporary directory
	for _, name := range []string{"without", "sandbox", "sandbox without network"} {
		b.Run(name, func(b *testing.B) {
			spec.Network = name == "sandbox"
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "/bin/true")
				cmd.Dir, cmd.Env = spec.Root, []string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
				release := func() {}
				if name != "without" {
					if release, _, err = box.Prepare(cmd, spec); err != nil {
						b.Fatal(err)
					}
				}
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				release()
			}
		})
	}
}
