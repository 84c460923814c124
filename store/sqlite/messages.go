package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"opencode/store"
)

const (
	messageColumns = `id, session_id, role, created, body`
	partColumns    = `id, session_id, message_id, type, body`

	// An id that is taken elsewhere meets the conflict, fails its condition,
	// and changes no row.
	upsertMessage = `INSERT INTO message (` + messageColumns + `) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET role = excluded.role, created = excluded.created, body = excluded.body
		WHERE session_id = excluded.session_id`
	upsertPart = `INSERT INTO part (` + partColumns + `, status) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET type = excluded.type, body = excluded.body, status = excluded.status
		WHERE session_id = excluded.session_id AND message_id = excluded.message_id`

	selectMessage        = `SELECT ` + messageColumns + ` FROM message WHERE session_id = ? AND id = ?`
	selectMessages       = `SELECT ` + messageColumns + ` FROM message WHERE session_id = ? ORDER BY id DESC LIMIT ?`
	selectMessagesBefore = `SELECT ` + messageColumns + ` FROM message WHERE session_id = ? AND id < ? ORDER BY id DESC LIMIT ?`
	selectPartsBetween   = `SELECT ` + partColumns + ` FROM part
		WHERE session_id = ? AND message_id BETWEEN ? AND ? ORDER BY message_id, id`
	deleteMessage       = `DELETE FROM message WHERE session_id = ? AND id = ?`
	selectPartsByStatus = `SELECT ` + partColumns + ` FROM part
		WHERE status <> '' AND status IN (SELECT value FROM json_each(?)) ORDER BY id`
)

// PutMessage implements [store.Sessions]. It returns [store.ErrExist] for the
// id of a message in another session, or of a part in another message.
func (s *Store) PutMessage(ctx context.Context, m []store.Message, p []store.Part) error {
	if len(m) == 0 && len(p) == 0 {
		return ctx.Err()
	}
	// Checked before the transaction, which holds up everybody.
	statuses, err := checkMessages(m, p)
	if err == nil {
		err = s.update(ctx, func(t *tx) error {
			for _, m := range m {
				if err := t.putMessage(ctx, m); err != nil {
					return fmt.Errorf("message %q: %w", m.ID, err)
				}
			}
			for i, p := range p {
				if err := t.putPart(ctx, p, statuses[i]); err != nil {
					return fmt.Errorf("part %q: %w", p.ID, err)
				}
			}
			return nil
		})
	}
	return s.fail("put message", err)
}

func (t *tx) putMessage(ctx context.Context, m store.Message) error {
	n, err := t.exec(ctx, upsertMessage, m.ID, m.SessionID, m.Role, millis(m.Created), string(m.Body))
	switch {
	case isMissing(err):
		return fmt.Errorf("session %q: %w", m.SessionID, store.ErrNotExist)
	case err != nil:
		return err
	case n == 0:
		return store.ErrExist
	}
	return nil
}

func (t *tx) putPart(ctx context.Context, p store.Part, status string) error {
	n, err := t.exec(ctx, upsertPart, p.ID, p.SessionID, p.MessageID, p.Type, string(p.Body), status)
	switch {
	case isMissing(err):
		return fmt.Errorf("message %q of session %q: %w", p.MessageID, p.SessionID, store.ErrNotExist)
	case err != nil:
		return err
	case n == 0:
		return store.ErrExist
	}
	return nil
}

// checkMessages returns the status of each part.
func checkMessages(m []store.Message, p []store.Part) ([]string, error) {
	for _, m := range m {
		if m.ID == "" {
			return nil, fmt.Errorf("message: %w", errNoID)
		}
		if err := checkBody(m.Body); err != nil {
			return nil, fmt.Errorf("message %q: %w", m.ID, err)
		}
	}
	statuses := make([]string, len(p))
	for i, p := range p {
		if p.ID == "" {
			return nil, fmt.Errorf("part: %w", errNoID)
		}
		if err := checkBody(p.Body); err != nil {
			return nil, fmt.Errorf("part %q: %w", p.ID, err)
		}
		if p.Type == "tool" {
			statuses[i] = toolStatus(p.Body)
		}
	}
	return statuses, nil
}

// Messages implements [store.Sessions]. The order is that of the ids.
func (s *Store) Messages(ctx context.Context, sessionID string, limit int, before string) ([]store.MessageParts, error) {
	var messages []store.MessageParts
	err := checkLimit(limit)
	if err == nil {
		err = s.view(ctx, func(t *tx) error {
			scan := func(r row) error {
				messages = append(messages, store.MessageParts{})
				return scanMessage(&messages[len(messages)-1].Message)(r)
			}
			var err error
			if before == "" {
				err = t.each(ctx, selectMessages, scan, sessionID, sqlLimit(limit))
			} else {
				err = t.each(ctx, selectMessagesBefore, scan, sessionID, before, sqlLimit(limit))
			}
			if err != nil {
				return err
			}
			if len(messages) == 0 {
				return t.sessionExists(ctx, sessionID)
			}
			slices.Reverse(messages)
			return t.addParts(ctx, messages)
		})
	}
	if err != nil {
		return nil, s.fail(fmt.Sprintf("messages of session %q", sessionID), err)
	}
	return messages, nil
}

// Message implements [store.Sessions].
func (s *Store) Message(ctx context.Context, sessionID, id string) (store.MessageParts, error) {
	messages := make([]store.MessageParts, 1)
	err := s.view(ctx, func(t *tx) error {
		if err := t.one(ctx, selectMessage, scanMessage(&messages[0].Message), sessionID, id); err != nil {
			return err
		}
		return t.addParts(ctx, messages)
	})
	if err != nil {
		return store.MessageParts{}, s.fail(fmt.Sprintf("message %q of session %q", id, sessionID), err)
	}
	return messages[0], nil
}

// addParts adds their parts to messages that follow one another in a session.
func (t *tx) addParts(ctx context.Context, messages []store.MessageParts) error {
	first, last := messages[0].Message, messages[len(messages)-1].Message
	// Parts come in the order of their messages, and each has one.
	i := 0
	return t.each(ctx, selectPartsBetween, func(r row) error {
		var p store.Part
		if err := scanPart(&p)(r); err != nil {
			return err
		}
		for messages[i].Message.ID != p.MessageID {
			if i++; i == len(messages) {
				return fmt.Errorf("part %q of message %q: %w", p.ID, p.MessageID, store.ErrCorrupt)
			}
		}
		messages[i].Parts = append(messages[i].Parts, p)
		return nil
	}, first.SessionID, first.ID, last.ID)
}

// DeleteMessages implements [store.Sessions].
func (s *Store) DeleteMessages(ctx context.Context, sessionID string, ids ...string) error {
	if len(ids) == 0 {
		return ctx.Err()
	}
	err := s.update(ctx, func(t *tx) error {
		for _, id := range ids {
			n, err := t.exec(ctx, deleteMessage, sessionID, id)
			if err == nil && n == 0 {
				err = store.ErrNotExist
			}
			if err != nil {
				return fmt.Errorf("message %q: %w", id, err)
			}
		}
		return nil
	})
	return s.fail(fmt.Sprintf("delete messages of session %q", sessionID), err)
}

// PartsByStatus implements [store.Sessions]. The order is that of the ids.
func (s *Store) PartsByStatus(ctx context.Context, status ...string) ([]store.Part, error) {
	var parts []store.Part
	list, err := encodeList(status)
	if err == nil {
		st, stErr := s.read.stmt(ctx, selectPartsByStatus)
		if err = stErr; err == nil {
			err = each(ctx, st, func(r row) error {
				parts = append(parts, store.Part{})
				return scanPart(&parts[len(parts)-1])(r)
			}, list)
		}
	}
	if err != nil {
		return nil, s.fail("parts by status", err)
	}
	return parts, nil
}

func scanMessage(m *store.Message) func(row) error {
	return func(r row) error {
		var created int64
		var body string
		err := r.Scan(&m.ID, &m.SessionID, &m.Role, &created, &body)
		m.Created = fromMillis(created)
		m.Body = json.RawMessage(body)
		return err
	}
}

func scanPart(p *store.Part) func(row) error {
	return func(r row) error {
		var body string
		err := r.Scan(&p.ID, &p.SessionID, &p.MessageID, &p.Type, &body)
		p.Body = json.RawMessage(body)
		return err
	}
}
