package main

import (
	"runtime"
	"testing"
)

// TestDeferCollection checks that the collector waits, and that the first
// collection brings back what was before.
func TestDeferCollection(t *testing.T) {
	t.Setenv("GOGC", "")
	set := make(chan int, 2)
	deferCollection(func(percent int) int { set <- percent; return 77 })
	if percent := <-set; percent != startPercent {
		t.Errorf("percent = %d at the start, want %d", percent, startPercent)
	}
	runtime.GC()
	if percent := <-set; percent != 77 {
		t.Errorf("percent = %d after a collection, want 77", percent)
	}
}

// TestDeferCollectionGiven checks that what the environment says stands.
func TestDeferCollectionGiven(t *testing.T) {
	t.Setenv("GOGC", "50")
	deferCollection(func(percent int) int {
		t.Errorf("percent is set to %d", percent)
		return 50
	})
}
