package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// millis is a time as a column holds it. The zero time is 0, and so is its
// very neighbour, the start of 1970.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func decodeList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

var (
	errNotObject = errors.New("body is not a JSON object")
	errNoID      = errors.New("id is empty")
)

// checkBody returns an error unless the body is one JSON object. Who reads it
// back may rely on that.
func checkBody(body json.RawMessage) error {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(body) {
		return errNotObject
	}
	return nil
}

// toolStatus returns state.status of the body of a tool part, or "" if it has
// none. It is read here and not by a query, because a query over all bodies
// would fail as a whole over one that SQLite finds too deep.
func toolStatus(body json.RawMessage) string {
	// Maps, since the names of a struct's fields match in any case.
	var part, state map[string]json.RawMessage
	var status string
	if json.Unmarshal(body, &part) != nil || json.Unmarshal(part["state"], &state) != nil ||
		json.Unmarshal(state["status"], &status) != nil {
		return ""
	}
	return status
}

// fold brings all spellings of a text that differ in case only to one form.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= unicode.MaxASCII {
			// The least of an ASCII letter's forms is its upper case.
			if 'a' <= r && r <= 'z' {
				return r - 'a' + 'A'
			}
			return r
		}
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, text)
}

func checkLimit(limit int) error {
	if limit < 0 {
		return fmt.Errorf("limit %d is negative", limit)
	}
	return nil
}

// sqlLimit is a limit as SQL has it, where none is -1.
func sqlLimit(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}
