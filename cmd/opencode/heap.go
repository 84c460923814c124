package main

import (
	"os"
	"runtime"
)

// startPercent lets the heap reach 16 MiB before anything is collected: the
// least size at which the collector starts is 4 MiB for every 100.
const startPercent = 400

// deferCollection puts off the collector until there is something to collect.
// Loading the policy makes a few megabytes that nearly all stay, and a command
// is done soon after: to look through them again and again while they are made
// takes a quarter of its time. The first collection ends this. What the
// environment says of the collector stands. setPercent is debug.SetGCPercent.
func deferCollection(setPercent func(percent int) (before int)) {
	if os.Getenv("GOGC") != "" {
		return
	}
	normal := setPercent(startPercent)
	marker := &struct{ self any }{} // nothing refers to it: it goes with the first collection
	runtime.AddCleanup(marker, func(percent int) { setPercent(percent) }, normal)
}
