package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// decode reads the body of a request strictly. An empty one is the zero value
// where that is allowed.
func decode(w http.ResponseWriter, r *http.Request, v any, mayBeEmpty bool) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fmt.Errorf("%w: at most %d bytes", errTooLarge, tooLarge.Limit)
	case errors.Is(err, io.EOF) && mayBeEmpty:
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the body is empty", errBadRequest)
	case err != nil:
		return fmt.Errorf("%w: the body is not the JSON that is wanted: %w", errBadRequest, err)
	default:
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the body has more than one JSON value", errBadRequest)
		}
	}
	// What follows may take minutes, and the connection is watched meanwhile.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return nil
}

func wantObject(name string, b json.RawMessage) error {
	if len(b) == 0 {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return fmt.Errorf("%s: %w: want an object", name, errBadRequest)
	}
	return nil
}

// count reads a whole number that is not negative; nothing is 0.
func count(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is not a whole number of at least 0", errBadRequest, s)
	}
	return n, nil
}
