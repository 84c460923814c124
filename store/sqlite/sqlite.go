// Package sqlite keeps everything of [store.Store] in one SQLite database.
//
// Every change is one transaction. Once a method has returned nil its change
// survives the death of the process, whatever kills it. It may be lost if the
// machine itself loses power before the system has written its buffers: the
// database is then as it was some transactions before, and whole.
//
// Several processes, and several handles in one, may share a database. A
// handle is safe for concurrent use. It writes over one connection, so that
// its writers queue here, in order, and not at the file's lock.
//
// The package refuses a file that is not an opencode database, and one that a
// newer version wrote; it leaves both as they were. Nobody but the owner may
// read or write its files.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"opencode/store"
)

// Config says what to open.
type Config struct {
	// Path is the file of the database. Required. The file and its directory
	// are made if they do not exist.
	Path string
	// Logger is told of changes to the file as a whole. The default discards.
	Logger *slog.Logger
	// MaxDecisions is the most decision records to keep; older ones are
	// removed as new ones come. The default is 100,000.
	MaxDecisions int
}

const (
	defaultMaxDecisions = 100_000

	// busyTimeout is how long to wait for a transaction of another process.
	// A context that ends sooner ends the wait.
	busyTimeout = 30 * time.Second

	minReaders = 4
)

// Store is an open database.
type Store struct {
	path         string
	log          *slog.Logger
	maxDecisions int

	read, write *pool
	lists       *lists
}

var _ store.Store = (*Store)(nil)

// Open opens a database, makes it if it does not exist, and brings it up to
// date if an older version wrote it. It returns [store.ErrCorrupt] for a file
// that is not our database, and [store.ErrNewer] for one from a newer version.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return nil, errors.New("open database: path is required")
	}
	if cfg.MaxDecisions < 0 {
		return nil, fmt.Errorf("open database: most decisions %d is negative", cfg.MaxDecisions)
	}
	if cfg.MaxDecisions == 0 {
		cfg.MaxDecisions = defaultMaxDecisions
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", cfg.Path, err)
	}
	s := &Store{path: path, log: cfg.Logger, maxDecisions: cfg.MaxDecisions}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(s.fail(fmt.Sprintf("open database %q", path), err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := prepareFile(s.path); err != nil {
		return err
	}
	var err error
	s.write, err = openPool(s.path, 1, url.Values{
		"_txlock":      {"immediate"},
		"_synchronous": {"NORMAL"},
	})
	if err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.useWAL(ctx); err != nil {
		return err
	}
	if err := s.restrictFiles(); err != nil {
		return err
	}
	s.read, err = openPool(s.path, max(minReaders, runtime.GOMAXPROCS(0)), url.Values{"_query_only": {"1"}})
	if err != nil {
		return err
	}
	if s.lists, err = openLists(s.path); err != nil {
		return err
	}
	return errors.Join(s.read.prepare(ctx, viewStatements()...), s.write.prepare(ctx, updateStatements()...))
}

// Close waits for what is under way and closes the database. The last handle
// to close it, of all processes, also folds its log into the file.
func (s *Store) Close() error {
	// The writer goes last, since the last connection folds the log and
	// readers must not change anything.
	return errors.Join(s.read.close(), s.lists.close(), s.write.close())
}

// fail adds to an error what was being done, and [store.ErrCorrupt] if the
// file is the reason. It returns nil for nil.
func (s *Store) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	if coded, ok := errors.AsType[*sqlite.Error](err); ok {
		switch coded.Code() & 0xff {
		case codeCorrupt, codeNotADB:
			return fmt.Errorf("%s: database %q %w: %w", what, s.path, store.ErrCorrupt, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// SQLite's result codes that mean something to us. The first three are the
// low byte of a family.
const (
	codeBusy       = 5
	codeCorrupt    = 11
	codeNotADB     = 26
	codeForeignKey = 787
	codePrimaryKey = 1555
	codeUnique     = 2067
)

func isBusy(err error) bool {
	coded, ok := errors.AsType[*sqlite.Error](err)
	return ok && coded.Code()&0xff == codeBusy
}

func isMissing(err error) bool {
	coded, ok := errors.AsType[*sqlite.Error](err)
	return ok && coded.Code() == codeForeignKey
}

func isTaken(err error) bool {
	coded, ok := errors.AsType[*sqlite.Error](err)
	return ok && (coded.Code() == codeUnique || coded.Code() == codePrimaryKey)
}

// update runs a change in one transaction, which holds the lock for writing
// from its start. Nothing stays of it if the function returns an error.
func (s *Store) update(ctx context.Context, change func(*tx) error) error {
	return s.write.run(ctx, nil, change)
}

// view runs a function that sees one moment of the database.
func (s *Store) view(ctx context.Context, look func(*tx) error) error {
	return s.read.run(ctx, &sql.TxOptions{ReadOnly: true}, look)
}

// pool is a set of connections with the statements prepared on them.
type pool struct {
	db *sql.DB

	mu    sync.Mutex
	stmts map[string]*sql.Stmt
}

func openPool(path string, size int, params url.Values) (*pool, error) {
	params.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	params.Set("_foreign_keys", "1")
	// The file may have come from anybody: its schema is not to run functions,
	// and nothing is to reach past the tables.
	params.Set("_defensive", "1")
	params.Set("_dqs", "0")
	params.Set("_pragma", "trusted_schema(0)")
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	dsn := url.URL{Scheme: "file", Path: slashed, RawQuery: params.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return &pool{db: db, stmts: make(map[string]*sql.Stmt)}, nil
}

// prepare prepares statements that transactions use: within a transaction it
// would be too late, since the pool may have no other connection to give.
func (p *pool) prepare(ctx context.Context, texts ...string) error {
	for _, text := range texts {
		if _, err := p.stmt(ctx, text); err != nil { //nolint:sqlclosecheck // the pool keeps it
			return err
		}
	}
	return nil
}

// stmt returns the statement with that text, prepared on its first use and
// kept until the pool is closed. So the texts must be few.
func (p *pool) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st := p.prepared(text); st != nil {
		return st, nil
	}
	// Not under the lock, since it may wait for a connection.
	fresh, err := p.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if st := p.stmts[text]; st != nil {
		return st, fresh.Close() //nolint:sqlclosecheck // it is not done with before
	}
	p.stmts[text] = fresh
	return fresh, nil
}

func (p *pool) prepared(text string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stmts[text]
}

func (p *pool) run(ctx context.Context, opts *sql.TxOptions, do func(*tx) error) error {
	t, err := p.db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	// It does nothing after a commit, and must happen if do panics.
	defer t.Rollback() //nolint:errcheck // what went wrong is returned already
	if err = do(&tx{sql: t, pool: p}); err == nil {
		err = t.Commit()
	}
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		// The end of the context has ended the transaction already.
		return ctx.Err()
	}
	return err
}

func (p *pool) close() error {
	if p == nil {
		return nil
	}
	return p.db.Close()
}

// tx is a transaction that runs prepared statements.
type tx struct {
	sql  *sql.Tx
	pool *pool
}

func (t *tx) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	st := t.pool.prepared(text)
	if st == nil {
		return nil, fmt.Errorf("statement is not prepared: %s", text)
	}
	return t.sql.StmtContext(ctx, st), nil
}

// exec runs a statement and returns how many rows it changed. It is not
// interrupted, since watching the context would take as long as the statement,
// and by then there is no lock to wait for. A context that ends stops the
// transaction before its next statement.
func (t *tx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	st, err := t.stmt(ctx, text) //nolint:sqlclosecheck // it goes with the transaction
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each calls scan for each row that a statement returns.
func (t *tx) each(ctx context.Context, text string, scan func(row) error, args ...any) error {
	st, err := t.stmt(ctx, text)
	if err != nil {
		return err
	}
	return each(ctx, st, scan, args...)
}

// one calls scan for the row that a statement returns, or returns
// [store.ErrNotExist].
func (t *tx) one(ctx context.Context, text string, scan func(row) error, args ...any) error {
	st, err := t.stmt(ctx, text)
	if err != nil {
		return err
	}
	return one(ctx, st, scan, args...)
}

// row is the present row of a result.
type row interface {
	Scan(dest ...any) error
}

func each(ctx context.Context, st *sql.Stmt, scan func(row) error, args ...any) error {
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func one(ctx context.Context, st *sql.Stmt, scan func(row) error, args ...any) error {
	err := scan(st.QueryRowContext(ctx, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotExist
	}
	return err
}
