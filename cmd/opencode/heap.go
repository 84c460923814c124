package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// startPercent lets the heap reach 16 MiB before anything is collected: the
// least size at which the collector starts is 4 MiB for every 100.
const startPercent = 400

// deferCollection puts off the collector until there is something to collect.
// Loading the policy makes a few megabytes that nearly all stay, and a command
// is done soon after: to look through them several times while they are made
// takes a quarter of its time. The first collection ends this. What the
// environment says of the collector stands.
func deferCollection() {
	if os.Getenv("GOGC") != "" {
		return
	}
	normal := debug.SetGCPercent(startPercent)
	marker := &struct{ self any }{}
	runtime.AddCleanup(marker, func(percent int) { debug.SetGCPercent(percent) }, normal)
}
