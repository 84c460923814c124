package tool

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"unicode/utf8"
)

// Sizes of what is kept of a terminal's output.
const (
	screenBlock  = 16 << 10
	screenBlocks = 128
)

// ErrBehind means that a reader has missed output, since it read too slowly.
// It goes on after the gap.
var ErrBehind = errors.New("the client reads too slowly")

// screen keeps the last part of a terminal's output in blocks of whole
// characters, the oldest first. Nobody who reads it can make it wait or grow.
type screen struct {
	mu      sync.Mutex
	blocks  []block
	first   int64  // number of blocks[0]
	units   int64  // UTF-16 code units since the start
	carry   []byte // the start of a character whose rest has not come yet
	ended   bool
	readers map[*TerminalReader]struct{}
}

// block is a part of the output.
type block struct {
	text  []byte
	start int64 // UTF-16 code units before it
}

func newScreen() *screen { return &screen{readers: map[*TerminalReader]struct{}{}} }

// write takes the next part of the output.
func (s *screen) write(b []byte) {
	if len(b) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.carry) > 0 {
		b = append(s.carry, b...)
		s.carry = nil
	}
	if cut := incomplete(b); cut > 0 {
		s.carry = append([]byte(nil), b[len(b)-cut:]...)
		b = b[:len(b)-cut]
	}
	s.keep(valid(b))
}

// finish says that nothing more will come.
func (s *screen) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(valid(s.carry))
	s.carry, s.ended = nil, true
	s.wake()
}

// keep adds valid UTF-8 and drops the oldest blocks. The caller holds the lock.
func (s *screen) keep(b []byte) {
	for len(b) > 0 {
		last := len(s.blocks) - 1
		if last < 0 || len(s.blocks[last].text)+utf8.UTFMax > screenBlock {
			var text []byte
			if len(s.blocks) == screenBlocks {
				text = s.blocks[0].text[:0] // readers copy, so that nobody looks at it
				s.blocks = append(s.blocks[:0], s.blocks[1:]...)
				s.first++
			}
			s.blocks = append(s.blocks, block{text: text, start: s.units})
			last = len(s.blocks) - 1
		}
		n := min(len(b), screenBlock-len(s.blocks[last].text))
		for n < len(b) && !utf8.RuneStart(b[n]) {
			n--
		}
		s.blocks[last].text = append(s.blocks[last].text, b[:n]...)
		s.units += units(b[:n])
		b = b[n:]
	}
	s.wake()
}

func (s *screen) wake() {
	for r := range s.readers {
		select {
		case r.ready <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// units counts the UTF-16 code units of valid UTF-8.
func units(b []byte) int64 {
	n := int64(0)
	for _, c := range b {
		switch {
		case c >= 0xf0:
			n += 2 // beyond the basic plane
		case utf8.RuneStart(c):
			n++
		}
	}
	return n
}

// TerminalReader reads the output of a terminal. It is for one goroutine.
type TerminalReader struct {
	screen *screen
	ready  chan struct{}
	place  place
	mark   place // where the output ended when the reader came
	cursor int64 // at mark
	marked bool
}

// place is a position between two characters.
type place struct {
	block  int64
	offset int
}

func (p place) before(q place) bool {
	return p.block < q.block || p.block == q.block && p.offset < q.offset
}

func (s *screen) attach(cursor int64) *TerminalReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &TerminalReader{screen: s, ready: make(chan struct{}, 1), cursor: s.units}
	r.mark = s.end()
	r.place = r.mark
	if cursor != FromNow && cursor < s.units {
		r.place = s.find(max(0, cursor))
	}
	s.readers[r] = struct{}{}
	return r
}

// end returns the place after all output. The caller holds the lock.
func (s *screen) end() place {
	if len(s.blocks) == 0 {
		return place{}
	}
	return place{s.first + int64(len(s.blocks)) - 1, len(s.blocks[len(s.blocks)-1].text)}
}

// find returns the place of a cursor that is before the end, or the first that
// is kept. The caller holds the lock.
func (s *screen) find(cursor int64) place {
	for i, b := range slices.Backward(s.blocks) {
		if b.start > cursor {
			continue
		}
		offset := 0
		for at := b.start; at < cursor && offset < len(b.text); {
			_, size := utf8.DecodeRune(b.text[offset:])
			at += units(b.text[offset : offset+size])
			offset += size
		}
		return place{s.first + int64(i), offset}
	}
	return place{block: s.first}
}

// Next returns the next part of the output, whole characters, when there is
// some. It returns io.EOF after the last, [ErrBehind] where output is missing,
// and the context's error when that ends. No part crosses the place at which
// [TerminalReader.Replayed] becomes true.
func (r *TerminalReader) Next(ctx context.Context) (string, error) {
	for {
		text, err := r.take()
		if text != "" || err != nil {
			return text, err
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (r *TerminalReader) take() (string, error) {
	s := r.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if r.place.block < s.first {
			r.place = place{block: s.first}
			return "", ErrBehind
		}
		i := int(r.place.block - s.first)
		if i >= len(s.blocks) {
			break
		}
		rest := s.blocks[i].text[r.place.offset:]
		if r.place.block == r.mark.block && r.place.offset < r.mark.offset {
			rest = rest[:r.mark.offset-r.place.offset]
		}
		if len(rest) > 0 {
			r.place.offset += len(rest)
			return string(rest), nil
		}
		if i == len(s.blocks)-1 {
			break
		}
		r.place = place{block: r.place.block + 1}
	}
	if s.ended {
		return "", io.EOF
	}
	return "", nil
}

// Replayed reports, once, that all output which was there when the reader came
// has been read. The cursor says how much that was.
func (r *TerminalReader) Replayed() (cursor int64, ok bool) {
	if r.marked || r.place.before(r.mark) {
		return 0, false
	}
	r.marked = true
	return r.cursor, true
}

// Cursor returns the cursor of what is read next.
func (r *TerminalReader) Cursor() int64 {
	s := r.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	i := int(r.place.block - s.first)
	switch {
	case i < 0:
		return s.blocks[0].start
	case i >= len(s.blocks):
		return s.units
	}
	return s.blocks[i].start + units(s.blocks[i].text[:r.place.offset])
}

// Close ends the reading.
func (r *TerminalReader) Close() {
	r.screen.mu.Lock()
	defer r.screen.mu.Unlock()
	delete(r.screen.readers, r)
}
