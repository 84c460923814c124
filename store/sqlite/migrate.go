package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"opencode/store"
)

// migrations holds the steps from one version of the schema to the next, in
// the order of their names. The version of a database is how many of them it
// has had. A step that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID stands in the header of each of our files; the first migration
// sets it.
const applicationID = 0x6f70636f

// walRetry is how long to leave the file alone when others are at it.
const walRetry = 5 * time.Millisecond

// errForeign means that the file is a database, but not of ours.
var errForeign = errors.New("is a database of another program")

// migrate brings the schema up to date, by all steps or by none. Of several
// processes one does it and the others wait.
func (s *Store) migrate(ctx context.Context) error {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	found, err := s.schemaVersion(ctx, len(entries))
	if err != nil || found == len(entries) {
		return err
	}
	err = s.update(ctx, func(t *tx) error {
		for i, entry := range entries {
			step, err := migrations.ReadFile("migrations/" + entry.Name())
			if err != nil {
				return err
			}
			if err := s.migrateStep(ctx, t, i+1, string(step), len(entries)); err != nil {
				return fmt.Errorf("migration %s: %w", entry.Name(), err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "database migrated", "path", s.path, "from", found, "to", len(entries))
	return nil
}

// migrateStep applies one step, unless the database has had it.
func (s *Store) migrateStep(ctx context.Context, t *tx, number int, step string, newest int) error {
	// Another process may have been faster, or be newer.
	version, err := s.readVersion(t.sql.QueryRowContext(ctx, versionQuery), newest)
	if err != nil || version >= number {
		return err
	}
	if _, err := t.sql.ExecContext(ctx, step); err != nil {
		return err
	}
	_, err = t.sql.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", number))
	return err
}

const versionQuery = `SELECT
	(SELECT user_version FROM pragma_user_version),
	(SELECT application_id FROM pragma_application_id),
	(SELECT count(*) FROM sqlite_schema)`

func (s *Store) schemaVersion(ctx context.Context, newest int) (int, error) {
	return s.readVersion(s.write.db.QueryRowContext(ctx, versionQuery), newest)
}

// readVersion returns the version of the schema, 0 for an empty database, and
// refuses a database that is not ours to change.
func (s *Store) readVersion(r row, newest int) (int, error) {
	var version, application, objects int
	if err := r.Scan(&version, &application, &objects); err != nil {
		return 0, err
	}
	switch {
	case version == 0 && application == 0 && objects == 0:
		return 0, nil
	case application != applicationID || version < 1:
		return 0, fmt.Errorf("database %q %w: %w", s.path, store.ErrCorrupt, errForeign)
	case version > newest:
		return 0, fmt.Errorf("database %q %w: its version is %d, the newest known is %d", s.path, store.ErrNewer, version, newest)
	}
	return version, nil
}

// useWAL makes the file keep a write-ahead log, which it then does for good.
// It comes after the file has proved to be ours, since it changes the file.
func (s *Store) useWAL(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	retry := time.NewTicker(walRetry)
	defer retry.Stop()
	for {
		var mode string
		err := s.write.db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		switch {
		case err == nil && strings.EqualFold(mode, "wal"):
			return nil
		case err == nil:
			return fmt.Errorf("write-ahead log: the journal mode stays %q", mode)
		case !isBusy(err):
			return fmt.Errorf("write-ahead log: %w", err)
		}
		// SQLite does not wait here for others who are about to do the same,
		// since each of them might wait for the other.
		select {
		case <-ctx.Done():
			return fmt.Errorf("write-ahead log: %w: %w", ctx.Err(), err)
		case <-retry.C:
		}
	}
}
