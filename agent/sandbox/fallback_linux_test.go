//go:build amd64 || arm64

package sandbox_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"opencode/agent/sandbox"
)

// TestLesserHosts checks on every version of Landlock, with namespaces and
// without, that what the host says it holds is held and that work goes on.
func TestLesserHosts(t *testing.T) {
	t.Parallel()
	scripts := map[sandbox.Guarantee][]string{
		sandbox.Write:   {`echo REACHED >~/outside; cat ~/outside; rm -f ~/outside`, `truncate -s 8 ~/notes && echo REACHED`},
		sandbox.Read:    {`cat ~/.ssh/id_rsa`},
		sandbox.Exec:    {`curl`, `cp "$(command -v curl)" x; sh x`},
		sandbox.Network: {`SANDBOX_TEST_ATTACK=1 "$SELF" tcp "$TCP"`},
		sandbox.Sockets: {`SANDBOX_TEST_ATTACK=1 "$SELF" unix "$UNIX"`},
		sandbox.Signals: {`kill -CONT $PPID && echo REACHED`},
		sandbox.Memory:  {`exec 9</proc/$PPID/environ && echo REACHED`},
		sandbox.Calls:   {`prlimit --pid $PPID --core=0 && echo REACHED`},
	}
	for version := range 8 {
		for _, namespaces := range []bool{true, false} {
			for _, filter := range []bool{true, false} {
				name := fmt.Sprintf("landlock %d", version) // short, for the sockets in its directory
				if namespaces {
					name += " ns"
				}
				if filter {
					name += " filter"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, nil)
					full := r.sandbox.Host()
					if full.Landlock < version || namespaces && !full.Namespaces || filter && !full.Seccomp {
						t.Skipf("NOT TESTED: this host has %+v", full)
					}
					r.sandbox = r.sandbox.WithHost(func(h *sandbox.Host) {
						h.Landlock, h.Namespaces, h.Seccomp = version, namespaces, filter
					})
					r.spec.Network = false
					r.spec.Read = []string{self(t)}
					r.path = r.bin + ":/usr/bin:/bin"
					env := []string{"SELF=" + self(t)}
					for _, kind := range []string{"tcp", "unix"} {
						address := map[string]string{"tcp": "127.0.0.1:0", "unix": r.server("s")}[kind]
						l, err := (&net.ListenConfig{}).Listen(t.Context(), kind, address)
						if err != nil {
							t.Fatal(err)
						}
						defer func() { _ = l.Close() }() // nothing was written
						env = append(env, strings.ToUpper(kind)+"="+l.Addr().String())
					}
					holds := r.sandbox.Host().Holds()
					for g, list := range scripts {
						spec := r.spec
						spec.Require = []sandbox.Guarantee{g}
						if !slices.Contains(holds, g) {
							if _, _, err := r.sandbox.Prepare(r.command("true"), spec); !errors.Is(err, sandbox.ErrUnavailable) {
								t.Errorf("%s is not held and can be required: %v", g, err)
							}
							continue
						}
						for _, script := range list {
							r.empty()
							if out, err := r.shell(script, &spec, env...); strings.Contains(out, "REACHED") {
								t.Errorf("%s: %q reaches it: %v\n%s", g, script, err, out)
							}
						}
					}
					r.empty()
					if out, err := r.shell(`mkdir -p a b && echo fine >a/x && mv a/x a/y && cp a/y b && cat b/y && harmless && echo $TMPDIR >"$TMPDIR/x"`, &r.spec); err != nil || out != "fine\nfine\n" {
						t.Errorf("work: %v\n%s", err, out)
					}
				})
			}
		}
	}
}
