// Package redact takes credentials out of text: of logs, of the output of
// commands, of whatever is kept or shown.
//
// It finds the tokens of well-known providers by their prefix and form, private
// keys in PEM, JSON web tokens, what follows an Authorization header, passwords
// in URLs, values that are assigned to a name such as DB_PASSWORD in any of the
// usual notations, and every value that [Config] names as known. A value is
// replaced by "[redacted:kind]", the rest of the text stays as it is, byte by
// byte. Documentation's examples, placeholders, code that only names a secret,
// checksums and identifiers are left alone as far as they can be told.
//
// The result does not depend on how the input is cut into pieces: each rule
// sees a bounded part of the input around a place, and where that part is not
// there yet the stream waits for it. A secret that is longer than that part is
// recognised by its start and taken out to its end.
//
// It is a net below the rule that no credential is written out at all, and no
// proof that none is there. Only the known values are found wherever they stand.
//
// A [Redactor] is safe for concurrent use; a [Writer] is for one goroutine.
package redact

import (
	"io"
	"slices"
	"sync"
)

// Config configures a [Redactor].
type Config struct {
	// Known returns values that are secret wherever they stand, such as those
	// of a credential store. It is called often and must be cheap and safe for
	// concurrent use. Values of fewer than [MinKnown] bytes are not looked for:
	// they would be found in everything. Default: none.
	Known func() []string
}

// MinKnown is the length in bytes from which on a known value is looked for.
const MinKnown = 6

// Redactor takes credentials out of text.
type Redactor struct {
	source func() []string

	mu      sync.Mutex
	values  []string // what matcher was built from
	matcher *matcher
}

// New returns a Redactor.
func New(c Config) *Redactor {
	return &Redactor{source: c.Known, matcher: newMatcher(nil)}
}

// current returns a matcher for what is known now.
func (r *Redactor) current() *matcher {
	var values []string
	if r.source != nil {
		values = r.source()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(values, r.values) {
		r.values, r.matcher = slices.Clone(values), newMatcher(values)
	}
	return r.matcher
}

// String returns s without credentials.
func (r *Redactor) String(s string) string {
	s, _ = r.Count(s)
	return s
}

// Count returns s without credentials, and how many were found.
func (r *Redactor) Count(s string) (string, int) {
	b, n := r.bytes([]byte(s))
	if n == 0 {
		return s, 0
	}
	return string(b), n
}

// Bytes returns b without credentials: b itself if there are none.
func (r *Redactor) Bytes(b []byte) []byte {
	b, _ = r.bytes(b)
	return b
}

func (r *Redactor) bytes(b []byte) ([]byte, int) {
	s := scan{matcher: r.current(), data: b, whole: true}
	out := s.step(nil, true)
	if s.found == 0 {
		return b, 0
	}
	return out, s.found
}

// Writer takes credentials out of what is written to it. It holds back at most
// a few kilobytes, and only while something may be a credential. The caller
// must close it.
type Writer struct {
	w    io.Writer
	scan scan
	buf  []byte
	err  error
}

// piece bounds what is looked at in one go, and so the memory of a [Writer].
const piece = 64 << 10

// Writer returns a Writer that writes to w. Values that become known later are
// not known to it.
func (r *Redactor) Writer(w io.Writer) *Writer {
	return &Writer{w: w, scan: scan{matcher: r.current()}}
}

// Write takes the next part. After an error it takes nothing more.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), piece)]
		rest = rest[len(part):]
		w.scan.add(part)
		if err := w.flush(w.scan.step(w.buf[:0], false)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Close writes what was held back. It does not close the writer below.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	return w.flush(w.scan.step(w.buf[:0], true))
}

// Redacted returns how many credentials were found so far.
func (w *Writer) Redacted() int { return w.scan.found }

// Held returns what is held back, as it was written: it may be the start of a
// credential. It is valid until the next call.
func (w *Writer) Held() []byte {
	return w.scan.data[w.scan.pos:]
}

func (w *Writer) flush(b []byte) error {
	w.buf = b[:0]
	if len(b) > 0 {
		_, w.err = w.w.Write(b)
	}
	return w.err
}
