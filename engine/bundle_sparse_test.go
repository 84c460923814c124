package engine_test

import (
	"strings"
	"testing"
)

// TestSparseFileInABundle refuses a file of which the archive says that most of
// it is nothing: a bundle of a few hundred bytes would be any number of
// megabytes, which no bound on what is unpacked would see. GNU tar has made the
// bundle, with --format=posix --sparse, of nine files of 15 MiB without a byte.
func TestSparseFileInABundle(t *testing.T) {
	t.Parallel()
	_, err := loaded(t, "testdata/sparse.tar.gz", nil)
	if want := `0.txt": is no plain file`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("New = %v, want an error with %s", err, want)
	}
}
