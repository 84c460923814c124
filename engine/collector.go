package engine

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// While a policy is loaded the heap may grow to so much more, in percent of what
// lives and in bytes, before it is collected.
const (
	loadPercent = 400
	loadBytes   = 256 << 20
)

var sparing sync.Mutex

// spareCollector lets the collector run less often until done is called. What a
// load allocates starts it again and again, and while it marks, each decision that
// allocates must help it: a tenth of them took half as long again. It is a setting
// of the whole process. What the environment says of the collector stands, as does
// a setting that spares it more.
func spareCollector() (done func()) {
	if os.Getenv("GOGC") != "" || !sparing.TryLock() {
		return func() {} // somebody else spares it already
	}
	before, live := collector()
	want := sparedPercent(before, live)
	if want <= before {
		sparing.Unlock()
		return func() {}
	}
	debug.SetGCPercent(int(want)) //nolint:gosec // at most loadPercent
	return func() {
		defer sparing.Unlock()
		if now, _ := collector(); now == want { // else somebody has set it since
			debug.SetGCPercent(int(before)) //nolint:gosec // less than want
		}
	}
}

// sparedPercent returns the setting while a policy is loaded.
func sparedPercent(before, live uint64) uint64 {
	if before >= loadPercent {
		return before
	}
	return min(loadPercent, before+100*loadBytes/max(live, 1))
}

// collector returns how much the heap may grow before it is collected, in percent
// of what lives and without end if it is off, and how many bytes lived last.
func collector() (percent, live uint64) {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}
