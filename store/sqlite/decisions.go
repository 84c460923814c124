package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"opencode/store"
)

const (
	decisionColumns = `id, time, kind, principal_id, session_id, subject, effect, rules, snapshot, duration, error, count, sandbox`

	insertDecision = `INSERT INTO decision (` + decisionColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	holdDecision   = `UPDATE decision SET sandbox = ? WHERE id = ?`
	// The numbers have no gaps but at the start, so this keeps as many as it
	// says, and is one look-up if there are not more.
	pruneDecisions = `DELETE FROM decision WHERE seq <= (SELECT max(seq) FROM decision) - ?`
	// An empty argument selects all.
	selectDecisions = `SELECT ` + decisionColumns + ` FROM decision
		WHERE (?1 = '' OR kind = ?1) AND (?2 = '' OR effect = ?2) AND (?3 = '' OR principal_id = ?3)
		AND (?4 = '' OR session_id = ?4) AND (?5 = '' OR subject = ?5) AND time >= ?6
		AND (?7 = '' OR EXISTS (SELECT 1 FROM json_each(rules) WHERE value = ?7))
		ORDER BY seq DESC LIMIT ?8`
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
			held, err := encodeSandbox(d.Sandbox)
			if err != nil {
				return fmt.Errorf("decision %q: %w", d.ID, err)
			}
			_, err = t.exec(ctx, insertDecision, d.ID, millis(d.Time), d.Kind, d.PrincipalID, d.SessionID, d.Subject, d.Effect,
				rules, d.Snapshot, int64(d.Duration), d.Error, max(d.Count, 1), held)
			if err != nil {
				return fmt.Errorf("decision %q: %w", d.ID, err)
			}
		}
		_, err := t.exec(ctx, pruneDecisions, s.maxDecisions)
		return err
	})
	return s.fail("put decisions", err)
}

// HoldDecision implements [store.Decisions].
func (s *Store) HoldDecision(ctx context.Context, id string, held store.Sandbox) error {
	err := s.update(ctx, func(t *tx) error {
		text, err := encodeSandbox(&held)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, holdDecision, text, id)
		if err == nil && n == 0 {
			return store.ErrNotExist
		}
		return err
	})
	return s.fail(fmt.Sprintf("decision %q", id), err)
}

func encodeSandbox(held *store.Sandbox) (string, error) {
	if held == nil {
		return "", nil
	}
	b, err := json.Marshal(held)
	return string(b), err
}

// Decisions implements [store.Decisions]. The order is that in which the
// records were put, whatever the clock did. A limit of 0 means all.
func (s *Store) Decisions(ctx context.Context, f store.DecisionFilter) ([]store.DecisionRecord, error) {
	var records []store.DecisionRecord
	err := checkLimit(f.Limit)
	if err == nil {
		st, stErr := s.read.stmt(ctx, selectDecisions)
		if err = stErr; err == nil {
			err = each(ctx, st, func(r row) error {
				d, err := scanDecision(r)
				records = append(records, d)
				return err
			}, f.Kind, f.Effect, f.PrincipalID, f.SessionID, f.Subject, millis(f.Since), f.Rule, sqlLimit(f.Limit))
		}
	}
	if err != nil {
		return nil, s.fail("decisions", err)
	}
	return records, nil
}

func scanDecision(r row) (d store.DecisionRecord, err error) {
	var rules, held string
	var at, duration int64
	err = r.Scan(&d.ID, &at, &d.Kind, &d.PrincipalID, &d.SessionID, &d.Subject, &d.Effect, &rules, &d.Snapshot, &duration, &d.Error, &d.Count, &held)
	if err != nil {
		return d, err
	}
	d.Time, d.Duration = fromMillis(at), time.Duration(duration)
	if d.Rules, err = decodeList(rules); err != nil {
		return d, fmt.Errorf("rules of decision %q: %w: %w", d.ID, store.ErrCorrupt, err)
	}
	if held != "" {
		if err := json.Unmarshal([]byte(held), &d.Sandbox); err != nil {
			return d, fmt.Errorf("sandbox of decision %q: %w: %w", d.ID, store.ErrCorrupt, err)
		}
	}
	return d, nil
}
