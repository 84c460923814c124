package redact

import "bytes"

// The bounds of what a rule may look at around a place. They are what makes the
// result independent of the pieces in which the input comes: a rule never looks
// further, however much is there.
const (
	behind = 128 // bytes before a place
	window = 256 // bytes of a value by which it is told
)

// look is the input around a place. Nothing comes after data if end is set.
type look struct {
	data []byte
	end  bool
}

// verdict is what a rule says of a place.
type verdict struct {
	more       bool // cannot be told before more of the input is there
	found      bool
	start, end int // what to replace
	kind       string
	rest       rest // how the secret goes on after end
}

// scan is a stream that is being looked through.
type scan struct {
	matcher *matcher
	data    []byte // some of what is done, and what is not
	pos     int    // the next place to look at
	out     int    // up to here all is written
	rest    rest   // of the secret that pos is in
	found   int
	whole   bool // data is all there is
}

// add appends a part to the input, and forgets what no rule looks back to.
func (s *scan) add(b []byte) {
	if drop := s.pos - behind; drop > 0 {
		s.data = append(s.data[:0], s.data[drop:]...)
		s.pos -= drop
		s.out -= drop
	}
	s.data = append(s.data, b...)
}

// step looks through what can be told by now, and appends it to dst. Without a
// finding in the whole of an input it appends nothing: the input is the result.
func (s *scan) step(dst []byte, end bool) []byte {
	l := look{s.data, end}
	for {
		if s.rest.how != restNone {
			pos, done := s.rest.skip(l, s.pos)
			s.pos, s.out = pos, pos
			if !done {
				break
			}
			s.rest = rest{}
		}
		s.pos = s.matcher.next(l, s.pos)
		if s.pos >= len(s.data)-1 {
			if end {
				s.pos = len(s.data)
			}
			break
		}
		v := s.matcher.match(l, s.pos)
		if v.more {
			break
		}
		if !v.found {
			s.pos++
			continue
		}
		dst = append(dst, s.data[s.out:v.start]...)
		dst = append(dst, "[redacted:"...)
		dst = append(dst, v.kind...)
		dst = append(dst, ']')
		s.found++
		s.pos, s.out, s.rest = v.end, v.end, v.rest
	}
	if s.whole && s.found == 0 {
		return dst
	}
	dst = append(dst, s.data[s.out:s.pos]...)
	s.out = s.pos
	return dst
}

// matcher holds the rules, by the two bytes that a finding begins with. It does
// not change.
type matcher struct {
	pairs  [1 << 16]uint16 // the group of a pair of bytes, 0 for none
	first  [1 << 8]bool    // whether a byte begins any pair
	groups []group
}

// group holds the rules that begin with the same two bytes.
type group struct {
	known []string
	rules []prefix
	sign  bool
}

func newMatcher(values []string) *matcher {
	m := &matcher{groups: make([]group, 1)}
	for _, sign := range []byte{':', '=', '>'} {
		for c := range 1 << 8 {
			m.group(string([]byte{sign, byte(c)})).sign = true
		}
	}
	for _, text := range spellings(values) {
		g := m.group(text)
		g.known = append(g.known, text)
	}
	for _, p := range prefixes() {
		for _, text := range p.spellings() {
			p.text = text
			g := m.group(text)
			g.rules = append(g.rules, p)
		}
	}
	return m
}

// group returns the group of what begins with a text.
func (m *matcher) group(text string) *group {
	m.first[text[0]] = true
	at := &m.pairs[uint16(text[0])<<8|uint16(text[1])]
	if *at == 0 {
		*at = uint16(len(m.groups)) //nolint:gosec // G115: there are no more groups than pairs
		m.groups = append(m.groups, group{})
	}
	return &m.groups[*at]
}

// next returns the next place where a rule may apply. The last byte is one if a
// rule may apply that begins with it.
func (m *matcher) next(l look, i int) int {
	d := l.data
	if i >= len(d) {
		return len(d)
	}
	at := uint16(d[i])
	for _, c := range d[i+1:] {
		at = at<<8 | uint16(c)
		if m.pairs[at] != 0 {
			return i
		}
		i++
	}
	if m.first[d[i]] {
		return i
	}
	return len(d)
}

// match asks the rules that may apply at a place.
func (m *matcher) match(l look, i int) verdict {
	g := &m.groups[m.pairs[uint16(l.data[i])<<8|uint16(l.data[i+1])]]
	if len(g.known) > 0 {
		if v := matchKnown(l, i, g.known); v.found || v.more {
			return v
		}
	}
	for n := range g.rules {
		p := &g.rules[n]
		if yes, more := l.prefix(i, p.text); more {
			return verdict{more: true}
		} else if !yes {
			continue
		}
		if v := p.match(l, i); v.found || v.more {
			return v
		}
	}
	if !g.sign {
		return verdict{}
	}
	v := matchSign(l, i)
	if v.found {
		v.kind = m.name(l.data[v.start:v.end], v.kind)
	}
	return v
}

// name returns what a value is called if it is of a known form, else what it
// was called by the name it is assigned to.
func (m *matcher) name(value []byte, kind string) string {
	if len(value) < 2 {
		return kind
	}
	for _, p := range m.groups[m.pairs[uint16(value[0])<<8|uint16(value[1])]].rules {
		if p.check == nil && p.flags&kept == 0 && len(value) >= len(p.text)+p.min && string(value[:len(p.text)]) == p.text {
			return p.kind
		}
	}
	return kind
}

// matchKnown looks for known values, of which the longest come first.
func matchKnown(l look, i int, values []string) verdict {
	for _, value := range values {
		have := l.data[i:min(len(l.data), i+len(value))]
		if string(have) != value[:len(have)] {
			continue
		}
		if len(have) == len(value) {
			return verdict{found: true, start: i, end: i + len(value), kind: "known"}
		}
		if !l.end {
			return verdict{more: true}
		}
	}
	return verdict{}
}

// run returns where the characters of a class end, looking at up to limit
// bytes. It reports more if that is not known yet, and long if they go on.
func (l look) run(i int, c class, limit int) (end int, more, long bool) {
	for j := i; ; j++ {
		switch {
		case j-i >= limit:
			return j, false, true
		case j >= len(l.data):
			return j, !l.end, false
		case classOf(l.data[j])&c == 0:
			return j, false, false
		}
	}
}

// prefix reports whether the input goes on with a text.
func (l look) prefix(i int, text string) (yes, more bool) {
	have := l.data[min(i, len(l.data)):min(len(l.data), i+len(text))]
	for n, c := range have {
		if c != text[n] {
			return false, false
		}
	}
	return len(have) == len(text), len(have) < len(text) && !l.end
}

// before returns what stands before a place, as far as rules may look.
func (l look) before(i int) []byte { return l.data[max(0, i-behind):i] }

// lineBefore returns the part of it that is on the same line.
func (l look) lineBefore(i int) []byte {
	b := l.before(i)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}
