package tool

import (
	"sync"

	"opencode/redact"
)

// maxHeld is how many bytes of what may become a credential are shown before it
// is known: the end of a line that is not complete is worth it, and so few say
// nothing of a credential.
const maxHeld = 3

// redacted keeps output without the credentials in it.
type redacted struct {
	mu      sync.Mutex
	out     *output
	clean   *redact.Writer
	printed int64
}

func newRedacted(limit int, r *redact.Redactor) *redacted {
	out := newOutput(limit)
	return &redacted{out: out, clean: r.Writer(out)}
}

// Write takes the next part. It never fails, since the output does not.
func (r *redacted) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.printed += int64(len(b))
	return r.clean.Write(b)
}

// finish says that nothing more will come.
func (r *redacted) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.clean.Close() // the output never fails
	r.out.finish()
}

// written returns how many bytes were printed.
func (r *redacted) written() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.printed
}

// found returns how many credentials were taken out.
func (r *redacted) found() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clean.Redacted()
}

// text returns what is kept, and whether something is missing from it.
func (r *redacted) text() (text string, truncated bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, truncated = r.out.text()
	if held := r.clean.Held(); len(held) <= maxHeld {
		text += string(valid(held[:len(held)-incomplete(held)]))
	}
	return text, truncated
}
