package main

import "golang.org/x/sys/unix"

// How the mode of a terminal is read, is set, and is set with all dropped that
// was typed and not read.
const (
	ttyGetMode    = unix.TCGETS
	ttySetMode    = unix.TCSETS
	ttySetAndDrop = unix.TCSETSF
)
