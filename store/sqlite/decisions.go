package sqlite

import (
	"context"
	"fmt"
	"time"

	"opencode/store"
)

const (
	decisionColumns = `id, time, kind, principal_id, session_id, subject, effect, rules, snapshot, duration, error`

	insertDecision = `INSERT INTO decision (` + decisionColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	// The numbers have no gaps but at the start, so this keeps as many as it
	// says, and is one look-up if there are not more.
	pruneDecisions  = `DELETE FROM decision WHERE seq <= (SELECT max(seq) FROM decision) - ?`
	selectDecisions = `SELECT ` + decisionColumns + ` FROM decision ORDER BY seq DESC LIMIT ?`
)

// PutDecisions implements [store.Decisions]. It keeps all or none of them, and
// removes the oldest records if there are more than [Config] wants.
func (s *Store) PutDecisions(ctx context.Context, records []store.DecisionRecord) error {
	if len(records) == 0 {
		return ctx.Err()
	}
	err := s.update(ctx, func(t *tx) error {
		for _, d := range records {
			rules, err := encodeList(d.Rules)
			if err != nil {
				return fmt.Errorf("decision %q: %w", d.ID, err)
			}
			_, err = t.exec(ctx, insertDecision, d.ID, millis(d.Time), d.Kind, d.PrincipalID, d.SessionID, d.Subject, d.Effect,
				rules, d.Snapshot, int64(d.Duration), d.Error)
			if err != nil {
				return fmt.Errorf("decision %q: %w", d.ID, err)
			}
		}
		_, err := t.exec(ctx, pruneDecisions, s.maxDecisions)
		return err
	})
	return s.fail("put decisions", err)
}

// Decisions implements [store.Decisions]. The order is that in which the
// records were put, whatever the clock did. A limit of 0 means all.
func (s *Store) Decisions(ctx context.Context, limit int) ([]store.DecisionRecord, error) {
	var records []store.DecisionRecord
	err := checkLimit(limit)
	if err == nil {
		st, stErr := s.read.stmt(ctx, selectDecisions)
		if err = stErr; err == nil {
			err = each(ctx, st, func(r row) error {
				d, err := scanDecision(r)
				records = append(records, d)
				return err
			}, sqlLimit(limit))
		}
	}
	if err != nil {
		return nil, s.fail("decisions", err)
	}
	return records, nil
}

func scanDecision(r row) (d store.DecisionRecord, err error) {
	var rules string
	var at, duration int64
	err = r.Scan(&d.ID, &at, &d.Kind, &d.PrincipalID, &d.SessionID, &d.Subject, &d.Effect, &rules, &d.Snapshot, &duration, &d.Error)
	if err != nil {
		return d, err
	}
	d.Time, d.Duration = fromMillis(at), time.Duration(duration)
	if d.Rules, err = decodeList(rules); err != nil {
		return d, fmt.Errorf("rules of decision %q: %w: %w", d.ID, store.ErrCorrupt, err)
	}
	return d, nil
}
