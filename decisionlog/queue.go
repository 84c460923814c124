package decisionlog

import (
	"opencode/store"
)

// entry is a decision that waits to be shipped.
type entry struct {
	record        store.DecisionRecord
	input, result []byte // JSON, nil if they were erased
	erased        bool
	// event is what is shipped, once it is made.
	event []byte
}

// entryBytes is what an entry takes beside its input and result.
const entryBytes = 512

func (e *entry) size() int { return entryBytes + len(e.input) + len(e.result) }

// erase takes out all that could be masked.
func (e *entry) erase() { e.input, e.result, e.event, e.erased = nil, nil, nil, true }

// queue holds entries in their order, within its bounds.
type queue struct {
	maxEvents, maxBytes int

	list  []*entry // from head on
	head  int
	bytes int
}

func (q *queue) len() int { return len(q.list) - q.head }

// push adds an entry, and returns how many of the oldest had to go.
func (q *queue) push(e *entry) (dropped uint64) {
	for q.len() > 0 && (q.len() >= q.maxEvents || q.bytes+e.size() > q.maxBytes) {
		q.pop()
		dropped++
	}
	q.list = append(q.list, e)
	q.bytes += e.size()
	return dropped
}

// pop takes the oldest entry, or nil if there is none.
func (q *queue) pop() *entry {
	if q.len() == 0 {
		return nil
	}
	e := q.list[q.head]
	q.list[q.head] = nil
	q.head++
	q.bytes -= e.size()
	// What is before the head is given back now and then, so that each entry is
	// moved about once.
	if q.head >= 64 && q.head*2 >= len(q.list) {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	return e
}

func (q *queue) clear() { q.list, q.head, q.bytes = nil, 0, 0 }
