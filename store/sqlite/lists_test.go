package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"opencode/store"
	"opencode/store/sqlite"
)

// TestListsAreNeverOld has several handles change sessions while all list them.
// Whoever has made a change sees it in the next list, on every handle.
func TestListsAreNeverOld(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	var handles []*sqlite.Store
	for range 3 {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, s)
		handles = append(handles, s)
	}
	const writers, each = 6, 40
	for i := range writers {
		if err := handles[0].CreateSession(t.Context(), store.Session{ID: fmt.Sprint("ses_", i), Title: "0"}); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			id := fmt.Sprint("ses_", i)
			for n := range each {
				title := strconv.Itoa(n)
				if _, err := handles[i%3].UpdateSession(t.Context(), id, func(s *store.Session) error { s.Title = title; return nil }); err != nil {
					t.Error(err)
					return
				}
				for _, h := range handles {
					list, err := h.Sessions(t.Context(), store.SessionFilter{})
					if err != nil || len(list) != writers {
						t.Errorf("%d sessions, %v", len(list), err)
						return
					}
					for _, s := range list {
						if s.ID == id && s.Title != title {
							t.Errorf("%s has the title %s, want %s", id, s.Title, title)
							return
						}
					}
					// What a caller does to its list is its own.
					list[0].Title = "mine"
				}
			}
		})
	}
	group.Wait()
}

// TestListsAfterACancelledCall checks that a call which was given up leaves the
// next one whole.
func TestListsAfterACancelledCall(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := s.Sessions(ctx, store.SessionFilter{}); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		if _, err := s.Sessions(t.Context(), store.SessionFilter{}); err != nil {
			t.Error(err)
		}
	}
}
