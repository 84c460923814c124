// Stub stands for a banned program. It leaves a mark.
package main

import (
	"fmt"
	"os"
	"strings"
)

// mark is the file that it leaves its mark in, padded with NUL. It is set when the
// stub is built, and again in each copy.
var mark string

func main() {
	path, _, _ := strings.Cut(mark, "\x00")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString("REACHED\n")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
