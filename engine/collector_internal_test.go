package engine

import (
	"runtime/debug"
	"sync"
	"testing"
)

func TestSparedPercent(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct{ before, live, want uint64 }{
		{100, 0, 400},
		{100, 20 * mib, 400},
		{100, 256 * mib, 200},
		{100, 100 * 256 * mib, 101},
		{100, 1000 * 256 * mib, 100},
		{400, mib, 400},
		{1000, mib, 1000},
		{1<<64 - 1, mib, 1<<64 - 1}, // off
	} {
		if got := sparedPercent(c.before, c.live); got != c.want {
			t.Errorf("sparedPercent(%d, %d) = %d, want %d", c.before, c.live, got, c.want)
		}
	}
}

// TestSpareCollector leaves the process as it was, whoever else sets it.
func TestSpareCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	percent := func() uint64 {
		p, _ := collector()
		return p
	}

	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				spareCollector()()
			}
		})
	}
	group.Wait()
	if got := percent(); got != 100 {
		t.Errorf("after many at once: %d, want 100", got)
	}

	done := spareCollector()
	if got := percent(); got <= 100 || got > loadPercent {
		t.Errorf("while a policy is loaded: %d", got)
	}
	debug.SetGCPercent(70)
	done()
	if got := percent(); got != 70 {
		t.Errorf("set meanwhile, afterwards: %d, want 70", got)
	}

	t.Setenv("GOGC", "100")
	done = spareCollector()
	if got := percent(); got != 70 {
		t.Errorf("with GOGC: %d, want it left alone", got)
	}
	done()
}
