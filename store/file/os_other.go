//go:build !unix

package file

import "io/fs"

// checkAccess finds nothing: there are no modes to judge by.
func checkAccess(string, fs.FileInfo) error { return nil }

func isReadableByOthers(fs.FileInfo) bool { return false }

func isOpenToOthers(fs.FileInfo) bool { return false }

// syncDir does nothing: a directory cannot be opened to sync it.
func syncDir(string) error { return nil }
