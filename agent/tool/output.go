package tool

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// output keeps the first and the last part of what is written to it, as valid
// UTF-8. It never holds more than its limit, whatever is written.
type output struct {
	headCap, tailCap int

	mu    sync.Mutex
	raw   int64  // bytes written
	clean int64  // bytes after invalid UTF-8 was replaced
	carry []byte // the start of a character whose rest has not come yet
	head  []byte
	tail  []byte // a ring once it is full
	at    int    // where the ring starts
}

func newOutput(limit int) *output {
	return &output{headCap: limit - limit/2, tailCap: limit / 2}
}

// Write takes the next part. It never fails, so that a pipe can always be
// drained.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	o.raw += int64(n)
	if len(o.carry) > 0 {
		b = append(o.carry, b...)
		o.carry = nil
	}
	if cut := incomplete(b); cut > 0 {
		o.carry = append([]byte(nil), b[len(b)-cut:]...)
		b = b[:len(b)-cut]
	}
	o.keep(valid(b))
	return n, nil
}

// finish says that nothing more will come.
func (o *output) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(valid(o.carry))
	o.carry = nil
}

// written returns how many bytes were written.
func (o *output) written() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.raw
}

// text returns what is kept, and whether something is missing from it.
func (o *output) text() (text string, truncated bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	head := o.head
	tail := append(append([]byte(nil), o.tail[o.at:]...), o.tail[:o.at]...)
	if o.clean == int64(len(head)+len(tail)) {
		return string(head) + string(tail), false
	}
	head = head[:len(head)-incomplete(head)]
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	var s strings.Builder
	s.Write(head)
	if len(head) > 0 && head[len(head)-1] != '\n' {
		s.WriteByte('\n')
	}
	fmt.Fprintf(&s, "[output cut: %d bytes in all, %d kept]\n", o.raw, len(head)+len(tail))
	s.Write(tail)
	return s.String(), true
}

// keep adds valid UTF-8 to the head while there is room, then to the tail.
func (o *output) keep(b []byte) {
	o.clean += int64(len(b))
	if n := min(len(b), o.headCap-len(o.head)); n > 0 {
		o.head = append(o.head, b[:n]...)
		b = b[n:]
	}
	if len(b) > o.tailCap {
		b = b[len(b)-o.tailCap:]
	}
	if n := min(len(b), o.tailCap-len(o.tail)); n > 0 {
		o.tail = append(o.tail, b[:n]...)
		b = b[n:]
	}
	for len(b) > 0 {
		n := copy(o.tail[o.at:], b)
		o.at = (o.at + n) % len(o.tail)
		b = b[n:]
	}
}

// incomplete returns how many bytes at the end of b are the start of a
// character whose rest is missing.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if utf8.FullRune(b[len(b)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// valid replaces each run of bytes that are not UTF-8 by U+FFFD.
func valid(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}
