package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"opencode/store"
)

const (
	sessionColumns = `id, slug, project_id, directory, parent_id, title, agent, version, metadata, created, updated, archived, model, restrictions, revert`

	selectSession       = `SELECT ` + sessionColumns + ` FROM session WHERE id = ?`
	selectSessionExists = `SELECT 1 FROM session WHERE id = ?`

	insertSession = `INSERT INTO session (` + sessionColumns + `, title_fold) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateSession = `UPDATE session SET slug = ?2, project_id = ?3, directory = ?4, parent_id = ?5, title = ?6, agent = ?7,
		version = ?8, metadata = ?9, created = ?10, updated = ?11, archived = ?12,
		model = ?13, restrictions = ?14, revert = ?15, title_fold = ?16 WHERE id = ?1`

	// A session with its sub-sessions. UNION, unlike UNION ALL, ends also in
	// a ring.
	tree = `WITH RECURSIVE tree (id) AS (
		SELECT id FROM session WHERE id = ?
		UNION SELECT session.id FROM tree JOIN session ON session.parent_id = tree.id
	) `
	selectTree = tree + `SELECT id FROM tree`
	// The whole tree goes in one statement, since the parents hold their
	// children by a foreign key, which is checked at the end.
	deleteSession = tree + `DELETE FROM session WHERE id IN (SELECT id FROM tree)`
)

// CreateSession implements [store.Sessions].
func (s *Store) CreateSession(ctx context.Context, session store.Session) error {
	args, err := sessionArgs(session)
	if err == nil {
		err = s.update(ctx, func(t *tx) error {
			if session.ParentID != "" {
				// The foreign key would let a session be its own parent.
				if err := t.sessionExists(ctx, session.ParentID); err != nil {
					return fmt.Errorf("parent %q: %w", session.ParentID, err)
				}
			}
			_, err := t.exec(ctx, insertSession, args...)
			if isTaken(err) {
				return store.ErrExist
			}
			return err
		})
	}
	return s.fail(fmt.Sprintf("session %q", session.ID), err)
}

// Session implements [store.Sessions].
func (s *Store) Session(ctx context.Context, id string) (store.Session, error) {
	var session store.Session
	st, err := s.read.stmt(ctx, selectSession)
	if err == nil {
		err = one(ctx, st, scanSession(&session), id)
	}
	if err != nil {
		return store.Session{}, s.fail(fmt.Sprintf("session %q", id), err)
	}
	return session, nil
}

// Sessions implements [store.Sessions].
func (s *Store) Sessions(ctx context.Context, f store.SessionFilter) ([]store.Session, error) {
	sessions, err := s.sessions(ctx, f)
	if err != nil {
		return nil, s.fail("sessions", err)
	}
	return sessions, nil
}

func (s *Store) sessions(ctx context.Context, f store.SessionFilter) ([]store.Session, error) {
	if err := checkLimit(f.Limit); err != nil {
		return nil, err
	}
	query, args := listSessions(f)
	key := listKey(query, args)
	sessions, ok, version, err := s.lists.list(ctx, key)
	if err != nil || ok {
		return sessions, err
	}
	st, err := s.read.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	err = each(ctx, st, func(r row) error {
		sessions = append(sessions, store.Session{})
		return scanSession(&sessions[len(sessions)-1])(r)
	}, args...)
	if err != nil {
		return nil, err
	}
	s.lists.keep(key, sessions, version)
	return sessions, nil
}

// listSessions returns a query with only those conditions that the filter
// asks for, so that an index serves them. There are 32 such queries.
func listSessions(f store.SessionFilter) (query string, args []any) {
	var conditions []string
	where := func(condition string, arg ...any) {
		conditions = append(conditions, condition)
		args = append(args, arg...)
	}
	if f.Directory != "" {
		where(`directory = ?`, f.Directory)
	}
	if f.Roots {
		where(`parent_id IS NULL`)
	}
	if f.ParentID != "" {
		where(`parent_id = ?`, f.ParentID)
	}
	if f.Search != "" {
		where(`instr(title_fold, ?) > 0`, fold(f.Search))
	}
	if !f.UpdatedSince.IsZero() {
		where(`updated >= ?`, millis(f.UpdatedSince))
	}
	query = `SELECT ` + sessionColumns + ` FROM session`
	if len(conditions) > 0 {
		query += ` WHERE ` + strings.Join(conditions, ` AND `)
	}
	return query + ` ORDER BY updated DESC, id LIMIT ?`, append(args, sqlLimit(f.Limit))
}

var errFixed = errors.New("the id and the parent of a session cannot change")

// UpdateSession implements [store.Sessions]. The function must not use the
// store, whose writers it holds up. The id and the parent are fixed: the rules
// of a parent bind its sub-sessions.
func (s *Store) UpdateSession(ctx context.Context, id string, change func(*store.Session) error) (store.Session, error) {
	var session store.Session
	err := s.update(ctx, func(t *tx) error {
		if err := t.one(ctx, selectSession, scanSession(&session), id); err != nil {
			return err
		}
		parent := session.ParentID
		if err := change(&session); err != nil {
			return err
		}
		if session.ID != id || session.ParentID != parent {
			return errFixed
		}
		args, err := sessionArgs(session)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, updateSession, args...); err != nil {
			return err
		}
		// What was written is not quite what the function left: times are
		// kept in milliseconds.
		return t.one(ctx, selectSession, scanSession(&session), id)
	})
	if err != nil {
		return store.Session{}, s.fail(fmt.Sprintf("session %q", id), err)
	}
	return session, nil
}

// DeleteSession implements [store.Sessions].
func (s *Store) DeleteSession(ctx context.Context, id string) ([]string, error) {
	var ids []string
	err := s.update(ctx, func(t *tx) error {
		err := t.each(ctx, selectTree, func(r row) error {
			ids = append(ids, "")
			return r.Scan(&ids[len(ids)-1])
		}, id)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return store.ErrNotExist
		}
		_, err = t.exec(ctx, deleteSession, id)
		return err
	})
	if err != nil {
		return nil, s.fail(fmt.Sprintf("session %q", id), err)
	}
	return ids, nil
}

func (t *tx) sessionExists(ctx context.Context, id string) error {
	return t.one(ctx, selectSessionExists, func(r row) error { return r.Scan(new(int)) }, id)
}

// sessionArgs returns what to store of a session, in the order of
// sessionColumns, and its folded title.
func sessionArgs(s store.Session) ([]any, error) {
	if s.ID == "" {
		return nil, errNoID
	}
	for name, b := range map[string]json.RawMessage{
		"metadata": s.Metadata, "model": s.Model, "restrictions": s.Restrictions, "revert": s.Revert,
	} {
		if len(b) > 0 && !json.Valid(b) {
			return nil, fmt.Errorf("%s: is not JSON", name)
		}
	}
	parent := sql.NullString{String: s.ParentID, Valid: s.ParentID != ""}
	return []any{
		s.ID, s.Slug, s.ProjectID, s.Directory, parent, s.Title, s.Agent, s.Version, string(s.Metadata),
		millis(s.Created), millis(s.Updated), millis(s.Archived),
		string(s.Model), string(s.Restrictions), string(s.Revert), fold(s.Title),
	}, nil
}

func scanSession(s *store.Session) func(row) error {
	return func(r row) error {
		var parent sql.NullString
		var metadata, model, restrictions, revert string
		var created, updated, archived int64
		err := r.Scan(&s.ID, &s.Slug, &s.ProjectID, &s.Directory, &parent, &s.Title, &s.Agent, &s.Version, &metadata,
			&created, &updated, &archived, &model, &restrictions, &revert)
		s.ParentID = parent.String
		s.Metadata, s.Model = rawJSON(metadata), rawJSON(model)
		s.Restrictions, s.Revert = rawJSON(restrictions), rawJSON(revert)
		s.Created, s.Updated, s.Archived = fromMillis(created), fromMillis(updated), fromMillis(archived)
		return err
	}
}

// rawJSON returns the JSON that a column holds, nil for none.
func rawJSON(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}
