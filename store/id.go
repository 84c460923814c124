package store

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// An id reads <prefix>_<12 hex digits><14 base-62 digits>. The hex digits are
// the low 48 bits of the milliseconds since 1970 times 4096, plus a counter;
// the others are random. Clients make ids of their own in this form and compare
// them with ours, so neither the packing nor the width is free to change. It
// follows that the order starts over every 2^36 ms, which is 26 months: the
// next times are in October 2028 and December 2030.
const (
	idCounterBits  = 12
	idTimeBits     = 48
	idRandomDigits = 14

	idMaxSuffix = 64
)

// IDs makes identifiers that sort as strings by the time at which they were
// made, also within a millisecond. It is safe for concurrent use.
type IDs struct {
	now func() time.Time

	mu     sync.Mutex
	random io.Reader
	bits   [16]byte // room for random bits
	// last is the newest stamp given out, before it is cut to 48 bits.
	last uint64
}

// NewIDs returns a source of identifiers. The clock is [time.Now] if now is
// nil, and the random bits come from [rand.Reader] if random is nil.
func NewIDs(now func() time.Time, random io.Reader) *IDs {
	if now == nil {
		now = time.Now
	}
	if random == nil {
		// Taking a few each time costs as much as taking many.
		random = bufio.NewReaderSize(rand.Reader, 512)
	}
	return &IDs{now: now, random: random}
}

// New makes an identifier that is greater than all that this source made
// before, even if the clock stands still or steps back. It panics if there are
// no random bits, which [rand.Reader] never lets happen.
func (g *IDs) New(prefix string) string {
	stamp, digits := g.next()
	return formatID(prefix, stamp, digits)
}

// NewDescending is [IDs.New] with the order turned round: the newest sorts
// first. A prefix should have one order only.
func (g *IDs) NewDescending(prefix string) string {
	stamp, digits := g.next()
	return formatID(prefix, ^stamp, digits)
}

func (g *IDs) next() (stamp uint64, digits [idRandomDigits]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := io.ReadFull(g.random, g.bits[:]); err != nil {
		panic(fmt.Sprintf("store: id: random bits: %v", err))
	}
	hi, lo := binary.BigEndian.Uint64(g.bits[:8]), binary.BigEndian.Uint64(g.bits[8:])
	putBase62(digits[:], hi, lo)
	// The clock is read under the lock, so that the order of the readings is
	// the order of the identifiers. A time before 1970 counts as 1970.
	ms := uint64(max(g.now().UnixMilli(), 0))
	g.last = max(g.last+1, ms<<idCounterBits+1)
	return g.last, digits
}

func formatID(prefix string, stamp uint64, digits [idRandomDigits]byte) string {
	var room [64]byte
	b := append(append(room[:0], prefix...), '_')
	for shift := idTimeBits - 4; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[stamp>>shift&0xf])
	}
	return string(append(b, digits[:]...))
}

// ValidID reports whether the text is an identifier with that prefix: the
// prefix, an underscore, and up to 64 letters and digits of ASCII. Clients
// choose some identifiers themselves, so the rest of the form is not asked for.
func ValidID(prefix, id string) bool {
	suffix, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || prefix == "" || suffix == "" || len(suffix) > idMaxSuffix {
		return false
	}
	for i := range len(suffix) {
		if _, ok := digitValue(suffix[i]); !ok {
			return false
		}
	}
	return true
}
