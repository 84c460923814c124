package e2e_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// usage is what a process takes of the system.
type usage struct {
	Threads, Files, Children int
	// Resident is in kB.
	Resident int
}

// usageOf reads what a process takes.
func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	count := func(name string) int {
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	return usage{Threads: count("task"), Files: count("fd"), Children: childrenOf(t, pid), Resident: residentOf(t, pid)}
}

// residentOf returns the resident memory of a process in kB.
func residentOf(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatalf("no VmRSS of process %d", pid)
	return 0
}

// childrenOf counts the children of a process, those included that ended and
// were not waited for.
func childrenOf(t *testing.T, pid int) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// A process may end between the list and here.
		_, rest, ok := bytes.Cut(stat, []byte(") "))
		if fields := bytes.Fields(rest); ok && len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) {
			n++
		}
	}
	return n
}
