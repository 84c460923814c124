package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/sqlite"
)

// writerDir is the environment variable that makes this test binary a writer
// in that directory.
const writerDir = "OPENCODE_TEST_SQLITE_WRITER_DIR"

// writerSteps is more than a writer ever gets to do.
const writerSteps = 1000

func TestMain(m *testing.M) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := writer(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writer makes sessions, each with a message of two parts, an answer with its
// lease, and a decision. It acknowledges what it has done by a line each: the
// kind and the key that all ids of a session share.
func writer(ctx context.Context, dir string) error {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, name)})
	if err != nil {
		return err
	}
	ids := store.NewIDs(nil, nil)
	for range writerSteps {
		key := ids.New("x")[2:]
		sessionID, messageID := "ses_"+key, "msg_"+key
		for _, step := range []struct {
			kind string
			do   func() error
		}{
			{"session", func() error { return s.CreateSession(ctx, store.Session{ID: sessionID}) }},
			{"message", func() error {
				body := []byte(`{"text":"` + strings.Repeat(key, 200) + `"}`)
				return s.PutMessage(
					ctx, []store.Message{{ID: messageID, SessionID: sessionID, Body: body}},
					[]store.Part{
						{ID: "prt_1" + key, MessageID: messageID, SessionID: sessionID, Body: body},
						{ID: "prt_2" + key, MessageID: messageID, SessionID: sessionID, Body: body},
					},
				)
			}},
			{"answer", func() error {
				return s.PutAnswer(
					ctx, store.Answer{ID: "per_" + key, SessionID: sessionID},
					[]store.Approval{{ID: "lea_" + key, SessionID: sessionID, Expires: time.Unix(2, 0)}},
				)
			}},
			{"title", func() error {
				_, err := s.UpdateSession(ctx, sessionID, func(s *store.Session) error { s.Title = key; return nil })
				return err
			}},
			{"decision", func() error { return s.PutDecisions(ctx, []store.DecisionRecord{{ID: key}}) }},
		} {
			if err := step.do(); err != nil {
				return fmt.Errorf("%s: %w", step.kind, err)
			}
			fmt.Println(step.kind, key)
		}
	}
	return errors.New("nobody killed the writer")
}

// killWriter runs a writer, kills it soon after its n-th line, and returns all
// lines that it wrote. With n 0 it kills it at its start, or in its first steps.
func killWriter(ctx context.Context, dir string, n int) (lines []string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if n == 0 {
		spin(30000)
		err = cmd.Process.Kill()
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if len(lines) == n {
			spin(500)
			err = cmd.Process.Kill()
		}
	}
	err = errors.Join(err, scanner.Err())
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); !errors.As(waitErr, &exit) || exit.Exited() || stderr.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("the writer ended by itself: %w: %s", waitErr, stderr.String()))
	}
	return lines, err
}

// spin takes up to about most microseconds, so that a kill may hit any part of
// what a writer does. It asks for nothing and depends on no clock.
func spin(most int) {
	for range rand.IntN(most) {
		_, _ = os.Lstat(os.DevNull)
	}
}

func mustKillWriter(t *testing.T, dir string, n int) []string {
	t.Helper()
	lines, err := killWriter(t.Context(), dir, n)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestKilledWhileOpening kills writers while they make and set up the database.
func TestKilledWhileOpening(t *testing.T) {
	t.Parallel()
	states := make(map[int]int)
	for range 25 {
		dir := t.TempDir()
		lines := mustKillWriter(t, dir, 0)
		states[len(names(t, dir))]++
		s := open(t, dir)
		checkAcknowledged(t, s, lines)
		if err := s.CreateSession(t.Context(), store.Session{ID: "ses_1"}); err != nil {
			t.Errorf("CreateSession: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkIntegrity(t, dir)
	}
	t.Logf("kills by the number of files found: %v", states)
}

// TestManyProcessesAtOnce starts writers on nothing, so that they set up the
// database together, and lets them write until each is killed.
func TestManyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 6
	dir := t.TempDir()
	all := make([][]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if all[i], err = killWriter(t.Context(), dir, 20); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := open(t, dir)
	for _, lines := range all {
		checkAcknowledged(t, s, lines)
	}
	checkWhole(t, s)
	checkIntegrity(t, dir)
}

// TestKilledWriters kills writers at random points and then holds the database
// against all that they acknowledged. A writer that is alone leaves its log to
// the next one to recover; beside an open handle, it leaves it in use.
func TestKilledWriters(t *testing.T) {
	t.Parallel()
	const (
		kills = 110
		batch = 22
	)
	for what, shared := range map[string]bool{"alone": false, "beside an open handle": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var handle *sqlite.Store
			if shared {
				handle = open(t, dir)
			}
			var lines []string
			for i := range kills {
				lines = append(lines, mustKillWriter(t, dir, 1+rand.IntN(10))...)
				if shared {
					// Who holds the database open sees the writes at once, and
					// can write itself: no dead writer is in the way.
					checkAcknowledged(t, handle, lines[max(0, len(lines)-5):])
					if err := handle.CreateSession(t.Context(), store.Session{ID: fmt.Sprintf("ses_own%d", i)}); err != nil {
						t.Fatalf("CreateSession after a kill: %v", err)
					}
				} else if (i+1)%batch == 0 {
					s := open(t, dir)
					checkAcknowledged(t, s, lines)
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
			s := open(t, dir)
			checkAcknowledged(t, s, lines)
			whole := checkWhole(t, s)
			checkIntegrity(t, dir)
			t.Logf("%d kills, %d acknowledged changes, %d sessions", kills, len(lines), whole)
			if len(lines) < kills {
				t.Errorf("%d acknowledged changes in %d kills: the test did not test", len(lines), kills)
			}
		})
	}
}

// checkAcknowledged fails the test unless the store keeps what the lines say.
func checkAcknowledged(t *testing.T, s *sqlite.Store, lines []string) {
	t.Helper()
	decisions := make(map[string]bool)
	records, err := s.Decisions(t.Context(), store.DecisionFilter{})
	if err != nil {
		t.Fatalf("Decisions: %v", err)
	}
	for _, d := range records {
		decisions[d.ID] = true
	}
	for _, line := range lines {
		kind, key, _ := strings.Cut(line, " ")
		sessionID := "ses_" + key
		kept := false
		var err error
		switch kind {
		case "session":
			_, err = s.Session(t.Context(), sessionID)
			kept = err == nil
		case "message":
			var m store.MessageParts
			m, err = s.Message(t.Context(), sessionID, "msg_"+key)
			kept = len(m.Parts) == 2 && strings.Contains(string(m.Parts[1].Body), key)
		case "answer":
			var answers []store.Answer
			answers, err = s.Answers(t.Context(), sessionID)
			kept = len(answers) == 1 && answers[0].ID == "per_"+key
		case "title":
			var session store.Session
			session, err = s.Session(t.Context(), sessionID)
			kept = session.Title == key
		case "decision":
			kept = decisions[key]
		}
		if !kept || err != nil {
			t.Fatalf("%q was acknowledged and is lost: %v", line, err)
		}
	}
}

// checkWhole fails the test unless all that was written together is there
// together, acknowledged or not. It returns the number of sessions.
func checkWhole(t *testing.T, s *sqlite.Store) int {
	t.Helper()
	sessions, err := s.Sessions(t.Context(), store.SessionFilter{})
	if err != nil {
		t.Fatalf("Sessions: %v", err)
	}
	for _, session := range sessions {
		messages, err := s.Messages(t.Context(), session.ID, 0, "")
		if err != nil {
			t.Fatalf("Messages: %v", err)
		}
		for _, m := range messages {
			if len(m.Parts) != 2 {
				t.Errorf("%s has %d parts, want 2", m.Message.ID, len(m.Parts))
			}
		}
		answers, err := s.Answers(t.Context(), session.ID)
		if err != nil {
			t.Fatalf("Answers: %v", err)
		}
		leases, err := s.Leases(t.Context(), session.ID, time.Unix(1, 0))
		if err != nil {
			t.Fatalf("Leases: %v", err)
		}
		if len(leases) != len(answers) || len(answers) > 0 && len(messages) == 0 || session.Title != "" && len(answers) == 0 {
			t.Errorf("%s has %d messages, %d answers and %d leases", session.ID, len(messages), len(answers), len(leases))
		}
	}
	return len(sessions)
}

func checkIntegrity(t *testing.T, dir string) {
	t.Helper()
	db := raw(t, filepath.Join(dir, name))
	if got := pragma(t, db, "integrity_check"); got != "ok" {
		t.Errorf("integrity_check = %s, want ok", got)
	}
	var violations int
	if err := db.QueryRow("SELECT count(*) FROM pragma_foreign_key_check").Scan(&violations); err != nil || violations != 0 {
		t.Errorf("%d foreign keys are violated, %v", violations, err)
	}
}
