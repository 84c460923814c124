package sandbox_test

import (
	"path/filepath"
	"testing"

	"opencode/agent/sandbox"
)

// TestProtectedFile checks that a command cannot change a file that decides, a
// bundle or a key, nor put another in its place.
func TestProtectedFile(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"change":  `echo x >>conf/policy.tar.gz && echo REACHED`,
		"remove":  `rm -f conf/policy.tar.gz && echo REACHED`,
		"replace": `echo x >conf/new && mv -f conf/new conf/policy.tar.gz && echo REACHED`,
		"link":    `ln -sf /dev/null conf/policy.tar.gz && echo REACHED`,
		"move":    `mv conf/policy.tar.gz x && echo REACHED`,
		"move up": `mv conf x && echo REACHED`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.before = `mkdir -p conf && echo a >conf/policy.tar.gz`
			var err error
			if r.sandbox, err = sandbox.New(sandbox.Config{Protect: []string{filepath.Join(r.project, "conf", "policy.tar.gz")}}); err != nil {
				t.Fatal(err)
			}
			if !r.sandbox.Host().Namespaces {
				missing(t, "namespaces")
			}
			r.pair(script)
			if out, err := r.shell(`cat conf/policy.tar.gz && touch conf/x`, &r.spec); err != nil {
				t.Errorf("what is around it: %v\n%s", err, out)
			}
		})
	}
}
