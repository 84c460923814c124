package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"opencode/store"
)

const (
	answerColumns = `id, session_id, tool, rules, reply, principal_id, message, asked, answered`
	leaseColumns  = `id, session_id, tool, rule, pattern, principal_id, created, expires`

	insertAnswer  = `INSERT INTO answer (` + answerColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertLease   = `INSERT INTO lease (` + leaseColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	deleteLease   = `DELETE FROM lease WHERE id = ?`
	selectAnswers = `SELECT ` + answerColumns + ` FROM answer WHERE session_id = ? ORDER BY answered, seq`
	selectLeases  = `SELECT ` + leaseColumns + ` FROM lease WHERE session_id = ? AND expires > ? ORDER BY created, seq`
)

var errNoTime = errors.New("time is missing")

// PutAnswer implements [store.Approvals]. It returns [store.ErrNotExist] if a
// session does not exist, and [store.ErrExist] also if the id of a lease is
// taken.
func (s *Store) PutAnswer(ctx context.Context, a store.Answer, leases []store.Approval) error {
	rules, err := encodeList(a.Rules)
	if a.ID == "" {
		err = errNoID
	}
	if err == nil {
		err = s.update(ctx, func(t *tx) error {
			_, err := t.exec(ctx, insertAnswer, a.ID, a.SessionID, a.Tool, rules, a.Reply, a.PrincipalID, a.Message,
				millis(a.Asked), millis(a.Answered))
			if err != nil {
				return inSession(a.SessionID, err)
			}
			for _, l := range leases {
				if err := t.putLease(ctx, l); err != nil {
					return fmt.Errorf("lease %q: %w", l.ID, err)
				}
			}
			return nil
		})
	}
	return s.fail(fmt.Sprintf("answer %q", a.ID), err)
}

func (t *tx) putLease(ctx context.Context, l store.Approval) error {
	if l.ID == "" {
		return errNoID
	}
	_, err := t.exec(ctx, insertLease, l.ID, l.SessionID, l.Tool, l.Rule, l.Pattern, l.PrincipalID,
		millis(l.Created), millis(l.Expires))
	return inSession(l.SessionID, err)
}

// inSession says what a violated constraint of a row in a session means.
func inSession(id string, err error) error {
	switch {
	case isTaken(err):
		return store.ErrExist
	case isMissing(err):
		return fmt.Errorf("session %q: %w", id, store.ErrNotExist)
	}
	return err
}

// Answers implements [store.Approvals]. The order is that of the answers, not
// of the questions.
func (s *Store) Answers(ctx context.Context, sessionID string) ([]store.Answer, error) {
	var answers []store.Answer
	st, err := s.read.stmt(ctx, selectAnswers)
	if err == nil {
		err = each(ctx, st, func(r row) error {
			a, err := scanAnswer(r)
			answers = append(answers, a)
			return err
		}, sessionID)
	}
	if err != nil {
		return nil, s.fail(fmt.Sprintf("answers of session %q", sessionID), err)
	}
	return answers, nil
}

// Leases implements [store.Approvals]. A lease has expired at the very time of
// its expiry, and one without any is never in force.
func (s *Store) Leases(ctx context.Context, sessionID string, at time.Time) ([]store.Approval, error) {
	var leases []store.Approval
	st, err := s.read.stmt(ctx, selectLeases)
	if at.IsZero() {
		// Before all times every lease that ever was would be in force.
		err = errNoTime
	}
	if err == nil {
		err = each(ctx, st, func(r row) error {
			l, err := scanLease(r)
			leases = append(leases, l)
			return err
		}, sessionID, millis(at))
	}
	if err != nil {
		return nil, s.fail(fmt.Sprintf("leases of session %q", sessionID), err)
	}
	return leases, nil
}

// DeleteLease implements [store.Approvals].
func (s *Store) DeleteLease(ctx context.Context, id string) error {
	err := s.update(ctx, func(t *tx) error {
		n, err := t.exec(ctx, deleteLease, id)
		if err == nil && n == 0 {
			return store.ErrNotExist
		}
		return err
	})
	return s.fail(fmt.Sprintf("lease %q", id), err)
}

func scanAnswer(r row) (a store.Answer, err error) {
	var rules string
	var asked, answered int64
	err = r.Scan(&a.ID, &a.SessionID, &a.Tool, &rules, &a.Reply, &a.PrincipalID, &a.Message, &asked, &answered)
	if err != nil {
		return a, err
	}
	a.Asked, a.Answered = fromMillis(asked), fromMillis(answered)
	if a.Rules, err = decodeList(rules); err != nil {
		return a, fmt.Errorf("rules of answer %q: %w: %w", a.ID, store.ErrCorrupt, err)
	}
	return a, nil
}

func scanLease(r row) (l store.Approval, err error) {
	var created, expires int64
	err = r.Scan(&l.ID, &l.SessionID, &l.Tool, &l.Rule, &l.Pattern, &l.PrincipalID, &created, &expires)
	l.Created, l.Expires = fromMillis(created), fromMillis(expires)
	return l, err
}
