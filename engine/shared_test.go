package engine_test

import (
	"testing"

	"opencode/policy"
)

// TestDecisionsShareNoRoom: decisions share their lists, with those in the cache
// and with the configuration. Who adds to a list of one adds to none of another.
func TestDecisionsShareNoRoom(t *testing.T) {
	t.Parallel()
	e := byDefault(t)
	lists := func(args ...string) map[string][]string {
		d, err := e.Decide(t.Context(), bash(args))
		if err != nil || d.Effect != policy.Allow {
			t.Fatalf("Decide = %+v, %v", d, err)
		}
		s := d.Obligations.Sandbox
		return map[string][]string{"write": s.Write, "caches": s.Caches, "read": s.Read, "hide": s.Hide, "deny_exec": s.DenyExec}
	}
	one, other := lists("ls"), lists("pwd")
	for name, list := range one {
		if len(list) == 0 {
			t.Errorf("the decision has no %s", name)
			continue
		}
		if cap(list) != len(list) || cap(other[name]) != len(other[name]) {
			t.Errorf("%s: there is room for %d names behind the %d of it, where what is added to two decisions would be one", name, cap(list)-len(list), len(list))
		}
	}
}
