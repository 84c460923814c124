package engine

import (
	"errors"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/engine/wasm/policyvm"
	"opencode/policies"
)

// TestGuestsAreClosedWithTheLastUse: the modules of a snapshot that is out of
// force stay for the decisions that use them, and no longer.
func TestGuestsAreClosedWithTheLastUse(t *testing.T) {
	t.Parallel()
	built, err := Build(t.Context(), BuildConfig{Default: policies.FS, Dir: "../policies/examples/team", Wasm: true})
	if err != nil {
		t.Fatal(err)
	}
	src := &sources{schemas: policies.FS}
	if err := src.read(policies.FS, "opencode", "", originDefault); err != nil {
		t.Fatal(err)
	}
	files, err := readArchiveBytes(built.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.addBundle("x.tar.gz", originTeam, false, files); err != nil {
		t.Fatal(err)
	}
	snap, err := build(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	g := snap.guests
	if len(g.modules) != 1 {
		t.Fatalf("%d modules, want one", len(g.modules))
	}
	vm := g.modules[0]
	ask := func() error {
		_, err := vm.Eval(t.Context(), ast.NewObject(), "team/release/deny")
		return err
	}
	for range 2 {
		if !g.hold() {
			t.Fatal("hold of a snapshot in force is refused")
		}
	}
	g.retire()
	g.release()
	if err := ask(); err != nil {
		t.Errorf("closed while it is used: %v", err)
	}
	g.release()
	if err := ask(); !errors.Is(err, policyvm.ErrClosed) {
		t.Errorf("Eval after the last use = %v, want that it is closed", err)
	}
	if g.hold() {
		t.Error("hold of a closed snapshot is granted")
	}
}
