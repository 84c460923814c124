package fspath

import (
	"path"
	"strings"
	"testing"
)

// TestEveryRuleHasItsEnd: what a rule makes a secret is never passed over
// because of its last name.
func TestEveryRuleHasItsEnd(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		for _, filled := range []string{"", "x", "X.y"} {
			name := strings.ReplaceAll(r.path, "*", filled)
			for _, spelled := range []string{name, strings.ToUpper(name), name + "."} {
				if classOf(spelled, false) == secret && r.class == secret && r.within == "" && !mayEndSecret(path.Base(spelled)) {
					t.Errorf("%q is a secret by the rule %q, but its name is passed over", spelled, r.path)
				}
			}
		}
	}
}
