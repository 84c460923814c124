package file_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"opencode/store"
	"opencode/store/file"
)

// What the environment variable says makes the writer one of credentials.
const (
	writerKind = "OPENCODE_TEST_WRITER_KIND"
	refreshes  = "refreshes"
)

// refresher renews a pair of tokens, which are numbered, as a provider does
// that lets none be used twice. It prints the number that it used up.
func refresher(ctx context.Context, dir string, steps int) error {
	s, err := file.OpenCredentials(file.CredentialsConfig{Path: filepath.Join(dir, authName), Sealer: &reverser{}})
	if err != nil {
		return err
	}
	for range steps {
		var used int
		_, err := s.UpdateCredential(ctx, store.CredentialKey{Provider: "p"}, func(c *store.Credential) error {
			var err error
			if used, err = pairNumber(*c); err != nil {
				return err
			}
			setPair(c, used+1)
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Println(used)
	}
	return nil
}

func setPair(c *store.Credential, n int) {
	c.Access, c.Refresh = store.NewSecretText(fmt.Sprintf("access-%d", n)), store.NewSecretText(fmt.Sprintf("refresh-%d", n))
}

// pairNumber returns the number of both tokens, which must be of one pair.
func pairNumber(c store.Credential) (n int, err error) {
	if _, err := fmt.Sscanf(c.Access.Reveal(), "access-%d", &n); err != nil {
		return 0, err
	}
	if want := fmt.Sprintf("refresh-%d", n); c.Refresh.Reveal() != want {
		return 0, errors.New("the tokens are of two pairs")
	}
	return n, nil
}

func refresherCommand(t *testing.T, dir string, steps int) *exec.Cmd {
	t.Helper()
	cmd := writerCommand(t, dir, steps)
	cmd.Env = append(cmd.Env, writerKind+"="+refreshes)
	return cmd
}

// firstPair makes a store with one pair, and an entry that nobody understands.
func firstPair(t *testing.T, dir string, sealed bool) *file.Credentials {
	t.Helper()
	write(t, filepath.Join(dir, authName), `{"other":{"type":"new","n":1.0}}`, 0o600)
	s := openCredentials(t, file.CredentialsConfig{Path: filepath.Join(dir, authName), Sealer: &reverser{}})
	c := store.Credential{CredentialKey: store.CredentialKey{Provider: "p"}, Kind: store.CredentialOAuth}
	setPair(&c, 0)
	if err := s.PutCredential(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if sealed {
		if err := s.Protect(t.Context(), (&reverser{}).Seal); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestKilledRefreshers kills at random points what refreshes. The entry must
// always be one whole pair, and never one older than was acknowledged.
func TestKilledRefreshers(t *testing.T) {
	t.Parallel()
	const kills = 300
	for i, sealed := range []bool{false, true} {
		dir := t.TempDir()
		s := firstPair(t, dir, sealed)
		last, unacknowledged := 0, 0
		for range kills / 2 {
			lines, err := killWriter(refresherCommand(t, dir, 10_000), 1+mathrand.IntN(4))
			if err != nil {
				t.Fatal(err)
			}
			acknowledged := 0
			if _, err := fmt.Sscan(lines[len(lines)-1], &acknowledged); err != nil {
				t.Fatal(err)
			}
			c, err := s.Credential(t.Context(), "p", "")
			if err != nil {
				t.Fatalf("after a kill: %v", err)
			}
			n, err := pairNumber(c)
			if err != nil || n <= acknowledged || n <= last {
				t.Fatalf("after a kill: pair %d, %v; %d was used up, %d was there before", n, err, acknowledged, last)
			}
			unacknowledged += n - acknowledged - 1
			last = n
		}
		t.Logf("sealed %v: %d kills, pair %d, %d written and not acknowledged", sealed, kills/2, last, unacknowledged)
		state, err := s.State(t.Context())
		if err != nil || len(state.Unknown) != 1 || state.Sealed != sealed {
			t.Errorf("case %d: State = %+v, %v, want the entry that nobody understands", i, state.Unknown, err)
		}
		put(t, s, "q", "k")
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), ".tmp-") {
				t.Errorf("a killed writer left %s behind", e.Name())
			}
		}
	}
}

// TestEightProcessesRefresh lets each take its turns; no pair may be used up
// twice, which would end the session at a provider that rotates.
func TestEightProcessesRefresh(t *testing.T) {
	t.Parallel()
	const processes, steps = 8, 20
	dir := t.TempDir()
	s := firstPair(t, dir, false)
	cmds := make([]*exec.Cmd, processes)
	outs := make([]strings.Builder, processes)
	for i := range cmds {
		cmds[i] = refresherCommand(t, dir, steps)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	used := map[string]bool{}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("refresher: %v: %s", err, outs[i].String())
		}
		lines := bufio.NewScanner(strings.NewReader(outs[i].String()))
		for lines.Scan() {
			if used[lines.Text()] {
				t.Errorf("pair %s was used twice", lines.Text())
			}
			used[lines.Text()] = true
		}
	}
	c, err := s.Credential(t.Context(), "p", "")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := pairNumber(c); err != nil || n != processes*steps || len(used) != n {
		t.Errorf("pair %d, %v, %d used, want %d", n, err, len(used), processes*steps)
	}
}
