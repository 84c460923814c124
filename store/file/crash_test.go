package file_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/file"
)

// The environment variables that make this test binary a writer: the
// directory, and how many steps to take.
const (
	writerDir   = "OPENCODE_TEST_WRITER_DIR"
	writerSteps = "OPENCODE_TEST_WRITER_STEPS"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	steps := 0
	_, err := fmt.Sscan(os.Getenv(writerSteps), &steps)
	switch {
	case err != nil:
	case os.Getenv(writerKind) == refreshes:
		err = refresher(context.Background(), dir, steps)
	default:
		err = writer(context.Background(), dir, steps)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writer creates two tokens, deletes the first of them, and so on. It
// acknowledges each step by a line: "+id" or "-id".
func writer(ctx context.Context, dir string, steps int) error {
	s, err := file.OpenTokens(file.TokensConfig{Path: filepath.Join(dir, name)})
	if err != nil {
		return err
	}
	var ids []string
	for step := range steps {
		if step%3 == 2 {
			id := ids[len(ids)-2]
			if _, err := s.DeleteToken(ctx, id); err != nil {
				return err
			}
			fmt.Println("-" + id)
			continue
		}
		id, err := store.NewTokenID(rand.Reader)
		if err != nil {
			return err
		}
		secret, err := store.NewSecret(rand.Reader)
		if err != nil {
			return err
		}
		err = s.CreateToken(ctx, store.Token{ID: id, Hash: secret.Hash(), Permissions: []string{"read"}, Created: time.Now()})
		if err != nil {
			return err
		}
		ids = append(ids, id)
		fmt.Println("+" + id)
	}
	return nil
}

func writerCommand(t *testing.T, dir string, steps int) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), writerDir+"="+dir, fmt.Sprintf("%s=%d", writerSteps, steps))
	return cmd
}

// ledger is what writers have acknowledged.
type ledger struct {
	mu      sync.Mutex
	created map[string]bool
	deleted map[string]bool
	// either are tokens whose deletion may have been under way at a kill.
	either map[string]bool
	kills  int
}

func (l *ledger) record(lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		if id, ok := strings.CutPrefix(line, "+"); ok {
			l.created[id] = true
		} else {
			l.deleted[line[1:]] = true
		}
	}
	if n := len(lines); n%3 == 2 {
		l.either[lines[n-2][1:]] = true
	}
	l.kills++
}

// killWriter runs a writer, kills it soon after it has acknowledged n steps, and
// returns all that it acknowledged.
func killWriter(cmd *exec.Cmd, n int) (lines []string, err error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if len(lines) == n {
			spin()
			err = cmd.Process.Kill()
		}
	}
	err = errors.Join(err, scanner.Err())
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); !errors.As(waitErr, &exit) || exit.Exited() || stderr.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("writer ended by itself: %w: %s", waitErr, stderr.String()))
	}
	return lines, err
}

// spin takes up to some milliseconds, about as long as a step, so that a kill
// may hit any part of it. It asks for nothing and depends on no clock.
func spin() {
	for range mathrand.IntN(4_000) {
		_, _ = os.Lstat(os.DevNull)
	}
}

// TestKilledWriters kills writers at random points, two of them at a time, and
// then holds the file against all that they acknowledged.
func TestKilledWriters(t *testing.T) {
	t.Parallel()
	const (
		kills    = 200
		parallel = 2
	)
	dir := t.TempDir()
	l := &ledger{created: map[string]bool{}, deleted: map[string]bool{}, either: map[string]bool{}}
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for range kills / parallel {
				lines, err := killWriter(writerCommand(t, dir, 1000), 1+mathrand.IntN(4))
				if err != nil {
					t.Error(err)
					return
				}
				l.record(lines)
				// At any moment there is one whole file, whatever the other
				// writer is doing.
				if _, err := file.OpenTokens(config(dir)); err != nil {
					t.Errorf("after a kill: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()

	s := open(t, config(dir))
	all, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatalf("Tokens: %v", err)
	}
	kept := make(map[string]bool)
	unknown := 0
	for _, tok := range all {
		kept[tok.ID] = true
		if !l.created[tok.ID] {
			// Made durable, but killed before it could say so.
			unknown++
		}
		if got, err := s.TokenByHash(t.Context(), tok.Hash); err != nil || got.ID != tok.ID {
			t.Errorf("TokenByHash of %s = %s, %v", tok.ID, got.ID, err)
		}
	}
	for id := range l.created {
		if !kept[id] && !l.deleted[id] && !l.either[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	for id := range l.deleted {
		if kept[id] {
			t.Errorf("%s was deleted and is back", id)
		}
	}
	if l.kills != kills || unknown > kills || len(l.deleted) == 0 {
		t.Errorf("%d kills, %d unknown tokens, %d deletions: the test did not test", l.kills, unknown, len(l.deleted))
	}
	t.Logf("%d kills: %d acknowledged creations, %d deletions, %d unacknowledged creations kept", l.kills, len(l.created), len(l.deleted), unknown)

	// No dead writer is in the way of the next one, or leaves anything behind.
	create(t, s, token(1))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v, want the file and its lock", entries, err)
	}
}

func TestTwentyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 20
	dir := t.TempDir()
	cmds := make([]*exec.Cmd, n)
	outs := make([]strings.Builder, n)
	for i := range n {
		cmds[i] = writerCommand(t, dir, 1)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	want := make(map[string]bool)
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("writer: %v: %s", err, outs[i].String())
			continue
		}
		want[strings.TrimSpace(strings.TrimPrefix(outs[i].String(), "+"))] = true
	}
	all, err := open(t, config(dir)).Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range all {
		delete(want, tok.ID)
	}
	if len(all) != n || len(want) != 0 {
		t.Errorf("%d tokens are kept, want %d; lost: %v", len(all), n, want)
	}
}
