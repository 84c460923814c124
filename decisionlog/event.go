package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"opencode/redact"
)

// event is a decision as OPA's decision logs have it. Members that OPA has and
// this has not are those of things that there are none of here.
type event struct {
	Labels      map[string]string     `json:"labels"`
	DecisionID  string                `json:"decision_id"`
	Bundles     map[string]bundleInfo `json:"bundles,omitempty"`
	Path        string                `json:"path,omitempty"`
	Input       *any                  `json:"input,omitempty"`
	Result      *any                  `json:"result,omitempty"`
	Erased      []string              `json:"erased,omitempty"`
	Masked      []string              `json:"masked,omitempty"`
	Error       *eventError           `json:"error,omitempty"`
	RequestedBy string                `json:"requested_by,omitempty"`
	Timestamp   time.Time             `json:"timestamp"`
	Metrics     map[string]any        `json:"metrics,omitempty"`
}

type bundleInfo struct {
	Revision string `json:"revision,omitempty"`
}

// eventError says that there was no decision. Why stands in the record on the
// machine: the text can quote what must be masked.
type eventError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// encode makes the event of an entry.
func (l *Log) encode(ctx context.Context, e *entry) {
	if e.event != nil {
		return
	}
	ev := l.event(e)
	if !e.erased {
		err := l.fill(ctx, &ev, e)
		if err != nil {
			e.erase()
			ev = l.event(e)
			l.maskFailed(ctx, err)
		}
	}
	if e.erased {
		ev.Erased = []string{"/input", "/result"}
	}
	text, err := json.Marshal(ev)
	if err != nil {
		// What is left is text alone. If it cannot be said either, its id can.
		text, _ = json.Marshal(event{DecisionID: e.record.ID, Timestamp: e.record.Time.UTC(), Erased: []string{"/input", "/result"}})
		e.erased = true
	}
	e.event = text
	e.input, e.result = nil, nil
}

// event returns what is known of an entry without input and result.
func (l *Log) event(e *entry) event {
	r := e.record
	ev := event{
		Labels: l.cfg.Labels, DecisionID: r.ID, Path: "opencode/" + r.Kind + "/decision", Timestamp: r.Time.UTC(),
		Bundles: map[string]bundleInfo{},
		Metrics: map[string]any{"timer_rego_query_eval_ns": r.Duration.Nanoseconds()},
	}
	if ev.Labels == nil {
		ev.Labels = map[string]string{}
	}
	for name, revision := range l.cfg.Revisions() {
		ev.Bundles[name] = bundleInfo{revision}
	}
	if r.Snapshot != "" {
		// The policy that decided, which may not be the one in force by now.
		ev.Bundles["opencode"] = bundleInfo{r.Snapshot}
	}
	if r.Error != "" {
		ev.Error = &eventError{Code: "no_decision", Message: "policy gave no decision, which denies"}
	}
	return ev
}

// fill adds input and result, without credentials and without what is masked.
func (l *Log) fill(ctx context.Context, ev *event, e *entry) error {
	for _, part := range []struct {
		raw []byte
		to  **any
	}{{e.input, &ev.Input}, {e.result, &ev.Result}} {
		v, err := redacted(l.cfg.Redactor, part.raw)
		if err != nil {
			return err
		}
		*part.to = &v
	}
	whole, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	document, err := decode(whole)
	if err != nil {
		return err
	}
	wanted, err := l.cfg.Masker.Mask(ctx, document)
	if err != nil {
		return err
	}
	rules, err := parseMask(wanted)
	if err != nil {
		return err
	}
	ev.mask(rules)
	ev.RequestedBy = remoteAddress(ev.Input)
	return nil
}

// remoteAddress returns where a request came from, if that is not masked.
func remoteAddress(input *any) string {
	if input == nil {
		return ""
	}
	v := *input
	for _, key := range []string{"request", "remote", "ip"} {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	address, _ := v.(string)
	return address
}

// redacted returns JSON without credentials: in each text, whose escapes would
// hide them, and in the whole, where a name tells what the text beside it is.
func redacted(r *redact.Redactor, raw []byte) (any, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(redactTexts(r, v))
	if err != nil {
		return nil, err
	}
	if v, err = decode(r.Bytes(text)); err != nil {
		return nil, fmt.Errorf("credentials cannot be taken out: %w", err)
	}
	return v, nil
}

func redactTexts(r *redact.Redactor, v any) any {
	switch x := v.(type) {
	case string:
		return r.String(x)
	case []any:
		for i := range x {
			x[i] = redactTexts(r, x[i])
		}
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, v := range x {
			out[r.String(k)] = redactTexts(r, v)
		}
		return out
	}
	return v
}

// decode reads JSON with its numbers as they stand.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// maskFailed counts an event that goes without input and result, and tells why
// once for each reason.
func (l *Log) maskFailed(ctx context.Context, err error) {
	l.mu.Lock()
	l.info.Erased++
	l.mu.Unlock()
	if text := err.Error(); text != l.maskError {
		l.maskError = text
		l.cfg.Logger.LogAttrs(ctx, slog.LevelError, "decisions are shipped without input and result: it is not known what must be masked", slog.Any("error", err))
	}
}
