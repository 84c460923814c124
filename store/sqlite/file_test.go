package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/store"
	"opencode/store/sqlite"
)

// raw opens the file past the store.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, db)
	return db
}

func closeLater(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func pragma(t *testing.T, db *sql.DB, name string) (value string) {
	t.Helper()
	if err := db.QueryRow("PRAGMA " + name).Scan(&value); err != nil {
		t.Fatalf("PRAGMA %s: %v", name, err)
	}
	return value
}

func TestOpenRefusesConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]sqlite.Config{
		"no path":            {},
		"negative decisions": {Path: filepath.Join(t.TempDir(), name), MaxDecisions: -1},
	} {
		if s, err := sqlite.Open(t.Context(), cfg); err == nil || s != nil {
			t.Errorf("Open with %s = %v, %v, want an error", name, s, err)
		}
	}
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	var log bytes.Buffer
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(dir, name), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	// They are private from the start, and not made so afterwards.
	if strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "from=0 to=3") {
		t.Errorf("Open logs %s", log.String())
	}
	if err := s.CreateSession(t.Context(), store.Session{ID: "ses_1"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		name: 0o600, name + "-wal": 0o600, name + "-shm": 0o600,
		".": 0o700 | fs.ModeDir, "..": 0o700 | fs.ModeDir,
	}
	for file, mode := range want {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode() != mode {
			t.Errorf("the mode of %s = %v, %v, want %v", file, info.Mode(), err, mode)
		}
	}
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("the directory holds %v, want the three files", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{name}, names(t, dir)); diff != "" {
		t.Errorf("the directory after Close differs (-want +got):\n%s", diff)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}

func TestOpenRestrictsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	first := open(t, dir)
	if err := first.CreateSession(t.Context(), store.Session{ID: "ses_1"}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(file, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("the mode of %s = %v, %v, want 0600", file, info.Mode(), err)
		}
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 3 {
		t.Errorf("%d warnings, want 3: %s", got, log.String())
	}
}

// TestOpenOddPaths uses every character that has a meaning in the URI by which
// SQLite is told the path.
func TestOpenOddPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"a b.db", "a?mode=memory", "a#b.db", "a%20b.db", "a&_pragma=x.db", "é.db", ":memory:", "file:x.db", "a'b\"c\\.db"} {
		path := filepath.Join(dir, file)
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Errorf("Open(%q): %v", path, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close of %q: %v", path, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("Open(%q) made no file there: %v", path, err)
		}
	}
	if got := names(t, dir); len(got) != 9 {
		t.Errorf("the directory holds %q, want 9 files", got)
	}
}

func TestOpenRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: name})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		t.Error(err)
	}
}

func TestOpenWhereNothingCanBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"below a file": filepath.Join(file, name), "deep below a file": filepath.Join(file, "a", name),
		"at a directory": dir, "at a NUL": filepath.Join(dir, "a\x00b"),
	} {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err == nil || s != nil {
			t.Errorf("Open %s = %v, %v, want an error", what, s, err)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
			t.Errorf("Open %s: the error %q does not name %q", what, err, path)
		}
	}
	if diff := cmp.Diff([]string{"file"}, names(t, dir)); diff != "" {
		t.Errorf("the directory differs (-want +got):\n%s", diff)
	}
}

func TestOpenRefusesGarbage(t *testing.T) {
	t.Parallel()
	// A whole database, to take pieces of.
	wholeDir := t.TempDir()
	s := open(t, wholeDir)
	for i := range 100 {
		if err := s.CreateSession(t.Context(), store.Session{ID: fmt.Sprintf("ses_%d", i), Title: strings.Repeat("x", 500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(wholeDir, name))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 20000)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(source.Uint32())
	}
	for what, content := range map[string][]byte{
		"one byte":            {'x'},
		"text":                []byte("{\"sessions\": []}\n"),
		"much text":           bytes.Repeat([]byte("not a database\n"), 1000),
		"noise":               noise,
		"zeros":               make([]byte, 4096),
		"header only":         whole[:100],
		"header and noise":    append(bytes.Clone(whole[:100]), noise...),
		"cut":                 whole[:len(whole)/2],
		"cut within page one": whole[:1000],
		"overwritten schema":  append(append(bytes.Clone(whole[:100]), noise[:3996]...), whole[4096:]...),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if !errors.Is(err, store.ErrCorrupt) || s != nil {
			t.Errorf("Open of %s = %v, %v, want ErrCorrupt", what, s, err)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
			t.Errorf("Open of %s: the error %q does not name the file", what, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, content) {
			t.Errorf("Open of %s changed the file: %v", what, err)
		}
	}
}

// TestDamageUnderAnOpenStore damages what only later reading meets.
func TestDamageUnderAnOpenStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	s := open(t, dir)
	for i := range 200 {
		if err := s.CreateSession(t.Context(), store.Session{ID: fmt.Sprintf("ses_%d", i), Title: strings.Repeat("x", 500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 30 * 4096; i < len(content); i++ {
		content[i] = 0x5a
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	closeLater(t, again)
	got, err := again.Sessions(t.Context(), store.SessionFilter{})
	if !errors.Is(err, store.ErrCorrupt) || got != nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
		t.Errorf("Sessions = %d, %v, want ErrCorrupt that names the file", len(got), err)
	}
}

func TestOpenRefusesForeignDatabase(t *testing.T) {
	t.Parallel()
	for what, statements := range map[string][]string{
		"tables":             {"CREATE TABLE session (id TEXT)", "INSERT INTO session VALUES ('keep')"},
		"a version":          {"PRAGMA user_version = 1"},
		"an id":              {"PRAGMA application_id = 7"},
		"tables, our number": {"CREATE TABLE other (id TEXT)", "PRAGMA user_version = 1"},
		"tables, our id":     {"CREATE TABLE other (id TEXT)", "PRAGMA application_id = 0x6f70636f"},
	} {
		path := filepath.Join(t.TempDir(), name)
		db := raw(t, path)
		mustExec(t, db, statements...)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); !errors.Is(err, store.ErrCorrupt) || s != nil {
			t.Errorf("Open of a database with %s = %v, %v, want ErrCorrupt", what, s, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(after, before) {
			t.Errorf("Open of a database with %s changed it: %v", what, err)
		}
	}
}

func TestOpenRefusesNewerVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	known := pragma(t, db, "user_version")
	mustExec(t, db, "PRAGMA user_version = 4711", "CREATE TABLE later (id TEXT)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if !errors.Is(err, store.ErrNewer) || s != nil {
		t.Fatalf("Open = %v, %v, want ErrNewer", s, err)
	}
	for _, want := range []string{fmt.Sprintf("%q", path), "4711", known} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not name %s", err, want)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, before) {
		t.Errorf("Open changed the file: %v", err)
	}
}

func TestOpenIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(t.TempDir(), name)})
	if !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("Open = %v, %v, want it cancelled", s, err)
	}
}

// TestOpenWaitsForAnotherWriter opens a database that another process is about
// to set up, as far as a test can be another process.
func TestOpenWaitsForAnotherWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	db := raw(t, path)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, conn)
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s, err := sqlite.Open(ctx, sqlite.Config{Path: path}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open = %v, %v, want it to wait until its deadline", s, err)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).CreateSession(t.Context(), store.Session{ID: "ses_1"}); err != nil {
		t.Errorf("CreateSession: %v", err)
	}
}

func TestDatabaseSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	db := raw(t, filepath.Join(dir, name))
	for pragmaName, want := range map[string]string{"journal_mode": "wal", "integrity_check": "ok", "user_version": "3"} {
		if got := pragma(t, db, pragmaName); got != want {
			t.Errorf("%s = %s, want %s", pragmaName, got, want)
		}
	}
}

func TestMaxDecisions(t *testing.T) {
	t.Parallel()
	const most = 50
	path := filepath.Join(t.TempDir(), name)
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, MaxDecisions: most})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	n := 0
	for _, size := range []int{1, 30, 19, 1, 7, 50, 49, 120, 3} {
		var batch []store.DecisionRecord
		for range size {
			n++
			batch = append(batch, store.DecisionRecord{ID: strconv.Itoa(n)})
		}
		if err := s.PutDecisions(t.Context(), batch); err != nil {
			t.Fatalf("PutDecisions: %v", err)
		}
		got, err := s.Decisions(t.Context(), store.DecisionFilter{})
		if err != nil || len(got) != min(n, most) {
			t.Fatalf("%d of %d records are kept, %v, want %d", len(got), n, err, min(n, most))
		}
		for i, d := range got {
			if want := strconv.Itoa(n - i); d.ID != want {
				t.Fatalf("record %d is %s, want %s", i, d.ID, want)
			}
		}
	}
}
