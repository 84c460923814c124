package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// denial is a team's policy that denies everything by the rule with that id.
func denial(team, id string) string {
	return "package team." + team + "\n\ndeny contains {\"id\": \"" + id + "\", \"message\": \"m\"}\n"
}

func engineOf(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wantDenial checks that exactly the rules with these ids deny.
func wantDenial(t *testing.T, e *engine.Engine, want ...string) {
	t.Helper()
	d, err := e.Decide(t.Context(), request("GET", "/config", "read"))
	if err != nil || d.Effect != policy.Deny || strings.Join(ids(d), " ") != strings.Join(want, " ") {
		t.Fatalf("Decide = %v by %v, error %v, want a denial by %v", d.Effect, ids(d), err, want)
	}
	if d.Snapshot != e.Info().Digest {
		t.Fatalf("decided by %.12s, in force is %.12s", d.Snapshot, e.Info().Digest)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one")})
	e := engineOf(t, dir)
	reload := func(wantChange, wantErr bool) {
		t.Helper()
		before := e.Info()
		changed, err := e.Reload(t.Context())
		if changed != wantChange || (err != nil) != wantErr {
			t.Fatalf("Reload = %v, error %v, want change %v, error %v", changed, err, wantChange, wantErr)
		}
		if after := e.Info(); (after.Digest != before.Digest) != wantChange || after.Loaded.Equal(before.Loaded) == wantChange {
			t.Fatalf("after Reload = %v: %v, before %v", changed, after, before)
		}
	}
	wantDenial(t, e, "a.one")
	reload(false, false)

	writeFiles(t, dir, map[string]string{"a.rego": denial("a", "a.two")})
	reload(true, false)
	wantDenial(t, e, "a.two")

	for name, files := range map[string]map[string]string{
		"syntax":             {"a.rego": "package team.a\n\ndeny contains {"},
		"package of default": {"a.rego": "package opencode.request\n\nis_public := true\n"},
		"configuration":      {"a.rego": denial("a", "a.three"), "data.json": `{"opencode": {"config": {"x": 1}}}`},
	} {
		t.Log(name)
		writeFiles(t, dir, files)
		reload(false, true)
		wantDenial(t, e, "a.two")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	reload(false, true)
	wantDenial(t, e, "a.two")

	writeFiles(t, dir, map[string]string{"a.rego": denial("a", "a.two")})
	reload(false, false)
	writeFiles(t, dir, map[string]string{"a_test.rego": "package team.a_test\n\ntest_x if 1 == 1\n", "notes.txt": "x"})
	reload(false, false)
}

// TestDecideDuringReload: each decision is made by one policy as a whole,
// the one whose digest it carries.
func TestDecideDuringReload(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one")})
	e := engineOf(t, dir)
	first := e.Info().Digest
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	seen := make(chan string, 1000)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				d, err := e.Decide(t.Context(), request("GET", "/config", "read"))
				want := "a.two"
				if d.Snapshot == first {
					want = "a.one"
				}
				if err != nil || d.Effect != policy.Deny || len(d.Rules) != 1 || d.Rules[0].ID != want {
					t.Errorf("Decide = %v by %v, error %v, want a denial by %s", d.Effect, ids(d), err, want)
					return
				}
				select {
				case seen <- want:
				default:
				}
			}
		})
	}
	for _, id := range []string{"a.two", "a.one", "a.two"} {
		writeFiles(t, dir, map[string]string{"a.rego": denial("a", id)})
		if changed, err := e.Reload(t.Context()); !changed || err != nil {
			t.Errorf("Reload = %v, error %v, want a change", changed, err)
		}
		<-seen
	}
	stop()
	wg.Wait()
	wantDenial(t, e, "a.two")
}

// watch runs Watch until the test ends and returns what it reports.
func watch(t *testing.T, e *engine.Engine, force <-chan os.Signal) <-chan engine.Reloaded {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	reports := make(chan engine.Reloaded)
	done := make(chan error, 1)
	go func() {
		done <- e.Watch(ctx, force, func(r engine.Reloaded) {
			select {
			case reports <- r:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return reports
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one")})
	e := engineOf(t, dir)
	force := make(chan os.Signal)
	reports := watch(t, e, force)
	change := func() {
		t.Helper()
		if r := <-reports; r.Err != nil || !r.Changed || r.Info.Digest != e.Info().Digest {
			t.Fatalf("reported %+v, want a change to %.12s", r, e.Info().Digest)
		}
	}
	broken := func(want string) {
		t.Helper()
		if r := <-reports; r.Err == nil || r.Changed || !strings.Contains(r.Err.Error(), want) || r.Info.Digest != e.Info().Digest {
			t.Fatalf("reported %+v, want an error about %s", r, want)
		}
	}

	writeFiles(t, dir, map[string]string{"a.rego": denial("a", "a.two")})
	change()
	wantDenial(t, e, "a.two")

	writeFiles(t, dir, map[string]string{"sub/deep/b.rego": denial("b", "b.one")})
	change()
	wantDenial(t, e, "a.two", "b.one")

	writeFiles(t, dir, map[string]string{"sub/deep/b.rego": denial("b", "b.two")})
	change()
	wantDenial(t, e, "a.two", "b.two")

	// An error is reported, once; what was in force stays so.
	writeFiles(t, dir, map[string]string{"a.rego": "package team.a\n\ndeny contains {"})
	broken("a.rego:3")
	wantDenial(t, e, "a.two", "b.two")
	writeFiles(t, dir, map[string]string{"notes.txt": "the same error again"})
	writeFiles(t, dir, map[string]string{"a.rego": "package foo\n"})
	broken("package foo") // and nothing before it
	writeFiles(t, dir, map[string]string{"a.rego": denial("a", "a.two")})
	if r := <-reports; r.Err != nil || r.Changed {
		t.Fatalf("reported %+v, want that the error is gone", r)
	}

	force <- syscall.SIGHUP
	if r := <-reports; r.Err != nil || r.Changed || r.Info.Digest != e.Info().Digest {
		t.Fatalf("reported %+v, want an answer to the signal", r)
	}

	// The whole directory is swapped for another, and the other is watched.
	next := writeDir(t, map[string]string{"a.rego": denial("a", "a.three")})
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, dir); err != nil {
		t.Fatal(err)
	}
	for {
		r := <-reports
		if r.Err == nil && r.Changed {
			break
		}
		if r.Err == nil || !strings.Contains(r.Err.Error(), filepath.Base(dir)) {
			t.Fatalf("reported %+v between two directories", r)
		}
	}
	wantDenial(t, e, "a.three")
	writeFiles(t, dir, map[string]string{"a.rego": denial("a", "a.four")})
	change()
	wantDenial(t, e, "a.four")
}

func TestWatchReportsAForcedError(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": denial("a", "a.one")})
	e := engineOf(t, dir)
	force := make(chan os.Signal)
	reports := watch(t, e, force)
	writeFiles(t, dir, map[string]string{"a.rego": "package foo\n"})
	if r := <-reports; r.Err == nil {
		t.Fatalf("reported %+v, want an error", r)
	}
	force <- syscall.SIGHUP // whoever asks is told again
	if r := <-reports; r.Err == nil {
		t.Fatalf("reported %+v, want an error", r)
	}
	wantDenial(t, e, "a.one")
}

func TestWatchOfTheDefaultAlone(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	force := make(chan os.Signal)
	reports := watch(t, e, force)
	force <- syscall.SIGHUP
	if r := <-reports; r.Err != nil || r.Changed {
		t.Fatalf("reported %+v, want no change", r)
	}
}
