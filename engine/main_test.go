package engine_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"opencode/engine"
	"opencode/policies"
)

// envLoad is the directory of a policy that this program loads, and nothing else.
const envLoad = "OPENCODE_TEST_LOAD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envLoad); dir != "" {
		if _, err := engine.New(context.Background(), engine.Config{Default: policies.FS, Dirs: []string{dir}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
