package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"opencode/store"
)

// lists remembers lists of sessions until anything in the database changes,
// since clients ask for them again and again. Whether something has changed is
// known from SQLite: a connection that never writes sees another number after
// each commit of another connection, whichever process makes it.
type lists struct {
	db *sql.DB

	mu      sync.Mutex
	conn    *sql.Conn // looks at the number
	version int64
	kept    map[string][]store.Session
	count   int // of sessions in kept
}

// maxKept bounds how many sessions are remembered, over all lists.
const maxKept = 4096

func openLists(path string) (*lists, error) {
	p, err := openPool(path, 1, url.Values{"_query_only": {"1"}})
	if err != nil {
		return nil, err
	}
	return &lists{db: p.db, kept: map[string][]store.Session{}}, nil
}

func (l *lists) close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close() // the pool says what went wrong
	}
	return l.db.Close()
}

// list returns a list that is remembered, or else the version that one which is
// read from now on has at least.
func (l *lists) list(ctx context.Context, key string) (list []store.Session, ok bool, version int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, false, 0, err
	}
	// The look is over in no time, and a context that ends in it would take the
	// connection with it.
	ctx = context.WithoutCancel(ctx)
	if l.conn == nil {
		if l.conn, err = l.db.Conn(ctx); err != nil {
			return nil, false, 0, err
		}
		// The number is that of one connection and says nothing on another.
		clear(l.kept)
		l.version, l.count = -1, 0
	}
	if err := l.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		_ = l.conn.Close() // it may not be good any more
		l.conn = nil
		return nil, false, 0, fmt.Errorf("version of the data: %w", err)
	}
	if version != l.version {
		clear(l.kept)
		l.version, l.count = version, 0
		return nil, false, version, nil
	}
	list, ok = l.kept[key]
	// Callers may take things out of their list.
	return slices.Clone(list), ok, version, nil
}

// keep remembers a list that was read after the version was looked at. If
// something has changed since, the next look forgets it.
func (l *lists) keep(key string, list []store.Session, version int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version != l.version || l.count+len(list) > maxKept {
		return
	}
	if _, ok := l.kept[key]; !ok {
		l.kept[key] = slices.Clone(list)
		l.count += len(list) + 1
	}
}

// listKey names a query with its arguments.
func listKey(query string, args []any) string {
	var b strings.Builder
	b.WriteString(query)
	for _, arg := range args {
		fmt.Fprintf(&b, "\x00%T %v", arg, arg)
	}
	return b.String()
}
