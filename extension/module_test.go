package extension_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/extension"
	"opencode/extension/extensiontest"
)

// load loads a module or fails the test.
func load(tb testing.TB, m extension.Manifest, module []byte, cfg extension.Config) *extension.Module {
	tb.Helper()
	loaded, err := extension.Load(tb.Context(), m, module, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(loaded.Close)
	return loaded
}

func hostile(tb testing.TB, pure bool, cfg extension.Config) *extension.Module {
	tb.Helper()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, pure, extensiontest.HostileResults())
	manifest.Limits.Time = time.Minute
	return load(tb, manifest, module, cfg)
}

// engines runs a test with the compiler and with the interpreter.
func engines(t *testing.T, test func(t *testing.T, cfg extension.Config)) {
	t.Helper()
	for name, cfg := range map[string]extension.Config{"compiled": {}, "interpreted": {Interpret: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cfg)
		})
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, cfg extension.Config) {
		t.Helper()
		m := hostile(t, false, cfg)
		got, err := m.Call(t.Context(), "fine", []byte(`[1]`))
		if err != nil || got != true {
			t.Fatalf("fine = %v, %v", got, err)
		}
		args := `[{"text": "ä\n", "list": [1.5e3, null, false, {}]}]`
		got, err = m.Call(t.Context(), "echo", []byte(args))
		if err != nil {
			t.Fatal(err)
		}
		want, err := extension.Decode([]byte(args))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("echo differs (-want +got):\n%s", diff)
		}
		if s := m.Stats(); s != (extension.Stats{Calls: 2}) {
			t.Errorf("Stats() = %+v", s)
		}
	})
}

// TestHostileGuests calls each function that does what it should not: the call
// fails with the reason, the failure is counted, and the next call is served.
func TestHostileGuests(t *testing.T) {
	t.Parallel()
	module := extensiontest.Hostile().Assemble()
	for limit, reasons := range map[time.Duration]map[string]string{
		200 * time.Millisecond: {
			"spins":    "ran longer than its limit of 200ms",
			"recurses": "ran longer than its limit of 200ms",
			"fills":    "ran longer than its limit of 200ms",
		},
		time.Minute: {
			"traps":   "unreachable",
			"sinks":   "unreachable",
			"hoards":  "unreachable",
			"outside": "its result is not within its memory",
			"endless": "its result has 4294967295 bytes, more than its limit of 65536",
			"garbage": "its result is not the JSON that is wanted",
			"text":    "its result is of type string, not boolean as declared",
			"missing": "is not declared",
		},
	} {
		engines(t, func(t *testing.T, cfg extension.Config) {
			t.Helper()
			cfg.Instances = 1
			manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
			manifest.Limits.Time = limit
			m := load(t, manifest, module, cfg)
			failures := uint64(0)
			for function, reason := range reasons {
				if function == "sinks" && cfg.Interpret {
					reason = "stack overflow" // its own limit is lower
				}
				got, err := m.Call(t.Context(), function, []byte(`[0]`))
				if err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("%s = %v, %v; want an error with %q", function, got, err, reason)
				}
				if function != "missing" {
					failures++
				}
				if s := m.Stats(); s.Failures != failures || !strings.Contains(s.LastError, "extension hostile.") && failures > 0 {
					t.Errorf("after %s: Stats() = %+v, want %d failures", function, s, failures)
				}
				if got, err := m.Call(t.Context(), "fine", []byte(`[0]`)); err != nil || got != true {
					t.Fatalf("after %s: fine = %v, %v", function, got, err)
				}
			}
		})
	}
}

// TestCancelReachesGuest ends the decision of a guest that would spin for much
// longer. That is no fault of the guest's.
func TestCancelReachesGuest(t *testing.T) {
	t.Parallel()
	module := extensiontest.Hostile().Assemble()
	manifest := extensiontest.Manifest("hostile", module, false, extensiontest.HostileResults())
	manifest.Limits.Time = time.Hour
	m := load(t, manifest, module, extension.Config{Instances: 1})
	for _, function := range []string{"spins", "recurses", "fills"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := m.Call(ctx, function, []byte(`[0]`))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline of the decision", function, err)
		}
	}
	if s := m.Stats(); s.Failures != 0 || s.LastError != "" {
		t.Errorf("Stats() = %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Call(ctx, "fine", []byte(`[0]`)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the decision: %v", err)
	}
}

// TestState shows what an instance may remember: nothing if the function is
// pure or the module has a reset.
func TestState(t *testing.T) {
	t.Parallel()
	withReset := extensiontest.Hostile()
	withReset.Funcs = append(withReset.Funcs, extensiontest.Reset(1))
	for name, c := range map[string]struct {
		module extensiontest.Module
		pure   bool
		want   []string
	}{
		"impure, without reset": {extensiontest.Hostile(), false, []string{"1", "2", "3"}},
		"impure, with reset":    {withReset, false, []string{"1", "1", "1"}},
		"pure, without reset":   {extensiontest.Hostile(), true, []string{"1", "1", "1"}},
		"pure, with reset":      {withReset, true, []string{"1", "1", "1"}},
	} {
		module := c.module.Assemble()
		manifest := extensiontest.Manifest("hostile", module, c.pure, extensiontest.HostileResults())
		manifest.Limits.Time = time.Minute
		m := load(t, manifest, module, extension.Config{Instances: 1})
		for i, want := range c.want {
			got, err := m.Call(t.Context(), "counts", []byte(`[0]`))
			if err != nil || cmp.Diff(want, text(got)) != "" {
				t.Errorf("%s: call %d gives %v, %v; want %s", name, i+1, got, err, want)
			}
		}
	}
}
