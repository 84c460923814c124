package procfs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"opencode/agent/tool/procfs"
)

func stat(name string) string {
	return fmt.Sprintf("42 (%s) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 10 11\n", name)
}

func TestParse(t *testing.T) {
	t.Parallel()
	want := procfs.Stat{PID: 42, Parent: 7, Group: 41, Session: 40, State: 'S', Start: 123456}
	for _, name := range []string{"sh", "", "a b", "a) Z 1 1 1 1 (b", "x)\n", "((("} {
		if got, err := procfs.Parse([]byte(stat(name))); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{
		"", "42", "42 (sh", "42 sh) S 7", "42 (sh) S 7 41", ")(",
		strings.Replace(stat("sh"), "42", "x", 1),
		strings.Replace(stat("sh"), " 7 41", " y 41", 1),
		strings.Replace(stat("sh"), "123456", "-1", 1),
		strings.Replace(stat("sh"), "S", "SS", 1),
	} {
		if got, err := procfs.Parse([]byte(bad)); err == nil || got != (procfs.Stat{}) {
			t.Errorf("Parse(%q) = %+v, %v, want an error", bad, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sh", 7)
	f.Add("a) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 (", 1)
	f.Fuzz(func(t *testing.T, name string, parent int) {
		text := strings.Replace(stat("NAME"), " 7 ", fmt.Sprintf(" %d ", parent), 1)
		got, err := procfs.Parse([]byte(strings.Replace(text, "NAME", name, 1)))
		if err != nil || got.Parent != parent || got.PID != 42 {
			t.Errorf("a process named %q has parent %d (%v), want %d", name, got.Parent, err, parent)
		}
		_, _ = procfs.Parse([]byte(name)) // must not panic
	})
}

func TestReadSelf(t *testing.T) {
	t.Parallel()
	st, err := procfs.Read(os.Getpid())
	if err != nil || st.PID != os.Getpid() || st.Parent != os.Getppid() || st.Start == 0 {
		t.Errorf("Read = %+v, %v", st, err)
	}
	all, err := procfs.All()
	if err != nil || all[os.Getpid()] != (procfs.Stat{
		PID: st.PID, Parent: st.Parent, Group: st.Group, Session: st.Session,
		State: all[os.Getpid()].State, Start: st.Start,
	}) {
		t.Errorf("All has %+v, %v, want %+v", all[os.Getpid()], err, st)
	}
	if _, err := procfs.Read(-1); err == nil {
		t.Error("Read(-1): no error")
	}
}
