package sqlite_test

import (
	"path/filepath"
	"testing"

	"opencode/store"
	"opencode/store/sqlite"
	"opencode/store/storetest"
)

const name = "opencode.db"

func open(tb testing.TB, dir string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), sqlite.Config{Path: filepath.Join(dir, name)})
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		t.Helper()
		return open(t, dir)
	})
}
