package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// TestDecidingWhileSnapshotsSwap decides from many goroutines while the policy
// changes under them. Each decision must be that of the snapshot it names, of
// which the message tells.
func TestDecidingWhileSnapshotsSwap(t *testing.T) {
	t.Parallel()
	const deciders, swaps = 64, 8
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var saw sync.Map // digest -> generation
	saw.Store(e.Digest(), "")

	inputs := []*policy.Input{
		request("POST", "/config", "write", "execute"), request("GET", "/config", "read"),
		bash([]string{"ls"}), bash([]string{"go", "test"}, []string{"git", "status"}),
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var decided atomic.Int64
	for n := range deciders {
		wg.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				d, err := e.Decide(context.WithoutCancel(ctx), inputs[i%len(inputs)])
				if err != nil {
					t.Errorf("Decide: %v", err)
					return
				}
				want, ok := saw.Load(d.Snapshot)
				if !ok {
					continue // it is swapped in and not yet written down
				}
				got := ""
				for _, r := range d.Rules {
					if r.ID == "a.generation" {
						got = r.Message
					}
				}
				if got != want {
					t.Errorf("snapshot %.8s: generation %q, want %q", d.Snapshot, got, want)
					return
				}
				decided.Add(1)
			}
		})
	}
	for n := range swaps {
		generation := fmt.Sprint("generation ", n)
		text := fmt.Sprintf("package team.a\n\ndeny contains {\"id\": \"a.generation\", \"message\": %q}\n", generation)
		if err := os.WriteFile(filepath.Join(dir, "a.rego"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := e.Reload(t.Context()); !changed || err != nil {
			t.Fatalf("Reload = %v, error %v", changed, err)
		}
		saw.Store(e.Digest(), generation)
		for before := decided.Load(); decided.Load() < before+deciders && !t.Failed(); {
			if d, err := e.Decide(t.Context(), inputs[0]); err != nil || d.Snapshot != e.Digest() {
				t.Fatalf("Decide by %.8s, error %v, want %.8s", d.Snapshot, err, e.Digest())
			}
		}
	}
	stop()
	wg.Wait()
}
