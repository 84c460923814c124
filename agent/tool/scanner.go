package tool

import (
	"bytes"
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// filter finds the lines that a regular expression may match, much faster than
// the expression itself does. It may name a line that does not match, and never
// leaves one out that does: what only widens the expression is left out of it.
// Every boundary of words and every end of a line holds for it, and a character
// outside ASCII is one or more bytes outside ASCII, whichever.
//
// It never changes, and is used through a [scanner].
type filter struct {
	prog *syntax.Prog
	// takes are the bytes that each instruction takes; bytes that every
	// instruction treats alike share a class.
	takes   []byteSet
	classes [256]uint8
	sample  []byte // one byte of each class
	newline uint8  // the class of the end of a line
}

// byteSet is a set of bytes. What is not ASCII is in it as a whole or not at all.
type byteSet struct {
	ascii [2]uint64
	high  bool
}

func (s *byteSet) has(b byte) bool {
	if b >= utf8.RuneSelf {
		return s.high
	}
	return s.ascii[b>>6]&(1<<(b&63)) != 0
}

// newFilter returns nil if the expression may match every line.
func newFilter(prog *syntax.Prog) *filter {
	f := &filter{prog: prog, takes: make([]byteSet, len(prog.Inst))}
	for pc := range prog.Inst {
		f.takes[pc] = takenBy(&prog.Inst[pc])
	}
	f.classify()
	if _, accepts := newScanner(f).closure(nil, prog.Start, true); accepts {
		return nil
	}
	return f
}

// takenBy returns the bytes with which a character begins that an instruction
// takes.
func takenBy(inst *syntax.Inst) (set byteSet) {
	switch inst.Op {
	case syntax.InstRune, syntax.InstRune1:
		// Folding can lead out of ASCII, as from k to the sign of Kelvin.
		folds := syntax.Flags(inst.Arg)&syntax.FoldCase != 0 //nolint:gosec // G115: a rune's argument is its flags
		set.high = folds || len(inst.Rune) > 0 && inst.Rune[len(inst.Rune)-1] >= utf8.RuneSelf
	case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		set.high = true
	case syntax.InstAlt, syntax.InstAltMatch, syntax.InstCapture, syntax.InstEmptyWidth, syntax.InstMatch, syntax.InstFail, syntax.InstNop:
		return set
	}
	for b := range rune(utf8.RuneSelf) {
		if inst.MatchRune(b) {
			set.ascii[b>>6] |= 1 << (b & 63)
		}
	}
	return set
}

// classify gives the bytes classes: it splits those that an instruction tells
// apart.
func (f *filter) classify() {
	f.classes['\n'] = 1
	count := 2
	for pc := range f.takes {
		set := &f.takes[pc]
		if *set == (byteSet{}) {
			continue
		}
		var split [256]int // of a class, the class of those of its bytes that are taken
		var left [256]bool // classes with a byte that is not taken
		for b := range f.classes {
			if !set.has(byte(b)) {
				left[f.classes[b]] = true
			}
		}
		for b := range f.classes {
			class := f.classes[b]
			if !set.has(byte(b)) || !left[class] {
				continue
			}
			if split[class] == 0 {
				split[class] = count
				count++
			}
			f.classes[b] = uint8(split[class]) //nolint:gosec // G115: there are no more classes than bytes
		}
	}
	f.sample = make([]byte, count)
	for b, class := range f.classes {
		f.sample[class] = byte(b)
	}
	f.newline = f.classes['\n']
}

// scanner runs a filter as a deterministic automaton, whose states it makes
// when they are first reached. It is for one goroutine.
type scanner struct {
	*filter
	// A state is where its row in next begins, which has a state for each class.
	next  []int32
	width int32 // of a row
	// dead is the state in which the rest of the line cannot match, and start
	// that of the beginning of a line. They are the first that have rows.
	dead, start int32
	states      map[string]int32 // by their instructions
	sets        [][]uint32       // instructions of each row
	size        int              // of all sets
	seen        []uint32         // instructions that are in the set that is being made, by round
	round       uint32
	key         []byte
}

// What stands in a row for a state that has none. Their rows are empty.
const (
	stateUnknown int32 = iota
	stateAccepts       // the line may match
	stateRows          // how many they are
)

// maxScannerSize bounds what a scanner remembers. Past it the scanner begins
// anew, so that no expression costs more for a byte than its instructions.
const maxScannerSize = 1 << 18

func newScanner(f *filter) *scanner {
	s := &scanner{filter: f, seen: make([]uint32, len(f.prog.Inst))}
	s.width = int32(len(f.sample)) //nolint:gosec // G115: at most 256
	s.dead = stateRows * s.width
	s.start = s.dead + s.width
	s.forget()
	return s
}

// forget begins anew, with nothing but the first states.
func (s *scanner) forget() {
	start, _ := s.closure(nil, s.prog.Start, true)
	s.states = map[string]int32{}
	s.sets = make([][]uint32, stateRows+1, 16)
	s.sets = append(s.sets, start)
	s.next = make([]int32, len(s.sets)*len(s.sample))
	for class := range s.sample {
		s.next[int(s.dead)+class] = s.dead
	}
	s.next[int(s.dead)+int(s.newline)] = s.start
	s.size = 0
}

// quiet reports whether no line of a text may match. It may say no where none
// does. The text, of whole lines, is read at four places at once, since each
// step along it waits for the one before.
func (s *scanner) quiet(text []byte) bool {
	var lanes [4][]byte
	for i := range lanes {
		lanes[i] = firstLines(text, len(text)/(len(lanes)-i))
		text = text[len(lanes[i]):]
	}
	state := [4]int32{s.start, s.start, s.start, s.start}
	n := min(len(lanes[0]), len(lanes[1]), len(lanes[2]), len(lanes[3]))
	if !s.together(&lanes, &state, n) {
		return false
	}
	for i, lane := range lanes {
		if !s.alone(lane[n:], state[i]) {
			return false
		}
	}
	return true
}

// together reads n bytes of each lane.
func (s *scanner) together(lanes *[4][]byte, state *[4]int32, n int) bool {
	classes, next := &s.classes, s.next
	t0, t1, t2, t3 := lanes[0][:n], lanes[1][:n], lanes[2][:n], lanes[3][:n]
	s0, s1, s2, s3 := state[0], state[1], state[2], state[3]
	for i := range t0 {
		c0, c1, c2, c3 := classes[t0[i]], classes[t1[i]], classes[t2[i]], classes[t3[i]]
		to0, to1 := next[int(s0)+int(c0)], next[int(s1)+int(c1)]
		to2, to3 := next[int(s2)+int(c2)], next[int(s3)+int(c3)]
		if min(to0, to1, to2, to3) < s.dead {
			if s.size > maxScannerSize {
				return false
			}
			// None may forget the states of the other lanes.
			to0, to1, to2, to3 = s.known(to0, s0, c0), s.known(to1, s1, c1), s.known(to2, s2, c2), s.known(to3, s3, c3)
			if min(to0, to1, to2, to3) < s.dead {
				return false
			}
			next = s.next
		}
		s0, s1, s2, s3 = to0, to1, to2, to3
	}
	*state = [4]int32{s0, s1, s2, s3}
	return true
}

func (s *scanner) known(to, from int32, class uint8) int32 {
	if to == stateUnknown {
		return s.learn(from, class)
	}
	return to
}

// alone reads a text from a state on. Like together it forgets nothing: the
// states of the lanes that are not read to their ends are still needed.
func (s *scanner) alone(text []byte, state int32) bool {
	for _, b := range text {
		class := s.classes[b]
		to := s.next[int(state)+int(class)]
		if to == stateUnknown {
			if s.size > maxScannerSize {
				return false
			}
			to = s.learn(state, class)
		}
		if to < s.dead {
			return false
		}
		state = to
	}
	return true
}

// line returns where the first line begins that may match, or -1. The text
// begins with a line.
func (s *scanner) line(text []byte) int {
	classes, next, state := &s.classes, s.next, s.start
	for i := 0; i < len(text); i++ {
		to := next[int(state)+int(classes[text[i]])]
		if to < s.start {
			if to == stateUnknown {
				to = s.step(state, classes[text[i]])
				next = s.next
			}
			switch to {
			case stateAccepts:
				return bytes.LastIndexByte(text[:i], '\n') + 1
			case s.dead:
				end := bytes.IndexByte(text[i:], '\n')
				if end < 0 {
					return -1
				}
				i += end
				to = s.start
			}
		}
		state = to
	}
	return -1
}

// step returns the state after a state and a byte of a class. All other states
// may be forgotten.
func (s *scanner) step(state int32, class uint8) int32 {
	if s.size > maxScannerSize {
		set := s.sets[state/s.width]
		s.forget()
		if state > s.start {
			state = s.state(set)
		}
	}
	return s.learn(state, class)
}

// learn is step, and forgets nothing.
func (s *scanner) learn(state int32, class uint8) int32 {
	to := s.start
	if class != s.newline {
		to = s.after(s.sets[state/s.width], s.sample[class])
	}
	s.next[int(state)+int(class)] = to
	return to
}

// after returns the state after some instructions and a byte.
func (s *scanner) after(from []uint32, b byte) int32 {
	s.round++
	var set []uint32
	var accepts bool
	for _, pc := range from {
		if !s.takes[pc].has(b) {
			continue
		}
		var matched bool
		set, matched = s.add(set, int(s.prog.Inst[pc].Out), false)
		accepts = accepts || matched
		if b >= utf8.RuneSelf {
			set = s.put(set, pc) // the character may have more bytes
		}
	}
	// The match may also begin here.
	set, matched := s.add(set, s.prog.Start, false)
	switch {
	case accepts || matched:
		return stateAccepts
	case len(set) == 0:
		return s.dead
	}
	return s.state(set)
}

// state returns the state of a set of instructions.
func (s *scanner) state(set []uint32) int32 {
	slices.Sort(set)
	s.key = s.key[:0]
	for _, pc := range set {
		s.key = binary.LittleEndian.AppendUint32(s.key, pc)
	}
	if id, ok := s.states[string(s.key)]; ok {
		return id
	}
	id := int32(len(s.next)) //nolint:gosec // G115: bounded by maxScannerSize
	s.states[string(s.key)] = id
	s.sets = append(s.sets, set)
	s.next = append(s.next, make([]int32, len(s.sample))...)
	s.size += len(set) + len(s.sample)
	return id
}

// closure returns the instructions that take a byte and are reached from one
// without a byte, and whether the end of the expression is.
func (s *scanner) closure(set []uint32, pc int, lineStart bool) ([]uint32, bool) {
	s.round++
	return s.add(set, pc, lineStart)
}

func (s *scanner) add(set []uint32, pc int, lineStart bool) (_ []uint32, accepts bool) {
	if s.seen[pc] == s.round {
		return set, false
	}
	inst := &s.prog.Inst[pc]
	switch inst.Op {
	case syntax.InstMatch:
		return set, true
	case syntax.InstFail:
		return set, false
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return s.put(set, uint32(pc)), false //nolint:gosec // G115: at most maxPatternSteps
	case syntax.InstEmptyWidth:
		begins := syntax.EmptyOp(inst.Arg)&(syntax.EmptyBeginLine|syntax.EmptyBeginText) != 0 //nolint:gosec // G115: one of six bits
		if begins && !lineStart {
			return set, false
		}
	case syntax.InstAlt, syntax.InstAltMatch, syntax.InstCapture, syntax.InstNop:
	}
	s.seen[pc] = s.round
	set, accepts = s.add(set, int(inst.Out), lineStart)
	if inst.Op == syntax.InstAlt || inst.Op == syntax.InstAltMatch {
		var other bool
		set, other = s.add(set, int(inst.Arg), lineStart)
		accepts = accepts || other
	}
	return set, accepts
}

// put adds an instruction to a set that has it not.
func (s *scanner) put(set []uint32, pc uint32) []uint32 {
	if s.seen[pc] == s.round {
		return set
	}
	s.seen[pc] = s.round
	return append(set, pc)
}
