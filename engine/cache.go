package engine

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"opencode/policy"
)

// decisions keeps decisions of one snapshot on inputs of one kind, under what the
// policy can read of them: a policy can read nothing but its input and its
// data, so what is equal there has an equal decision. Errors are never kept.
type decisions struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard

	bypasses atomic.Uint64
}

// cacheShard holds two generations: when the young one is full it becomes the
// old one, and what is not asked for again goes with that.
type cacheShard struct {
	mu         sync.Mutex
	young, old map[uint64]*entry
	bytes      int // of the young one

	hits, misses, evictions uint64
	entries                 int // of both
	olds                    int // of the old one
}

// entry is a decision under its key. Entries with one hash stand in a list.
type entry struct {
	key      string
	decision policy.Decision
	next     *entry
}

const (
	cacheShards = 16
	// shardBytes bounds the young generation of a shard: all of a cache is at
	// most 2 * 16 * (shardBytes and one entry).
	shardBytes = 256 << 10
	// entryBytes is what an entry costs beside its key and its decision, roughly.
	entryBytes = 256
)

func newDecisions() *decisions { return &decisions{seed: maphash.MakeSeed()} }

// decision returns what was decided for a key. Nobody may change its lists.
func (c *decisions) decision(key []byte) (policy.Decision, bool) {
	hash := maphash.Bytes(c.seed, key)
	s := &c.shards[hash%cacheShards]
	s.mu.Lock()
	e := find(s.young[hash], key)
	if e == nil {
		if e = find(s.old[hash], key); e != nil {
			s.put(hash, &entry{key: e.key, decision: e.decision})
		}
	}
	if e == nil {
		s.misses++
		s.mu.Unlock()
		return policy.Decision{}, false
	}
	s.hits++
	s.mu.Unlock()
	return e.decision, true // an entry never changes
}

func find(e *entry, key []byte) *entry {
	for e != nil && e.key != string(key) {
		e = e.next
	}
	return e
}

// keep keeps a decision, whose lists nobody may change from then on.
func (c *decisions) keep(key []byte, d policy.Decision) {
	hash := maphash.Bytes(c.seed, key)
	s := &c.shards[hash%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if find(s.young[hash], key) == nil {
		s.put(hash, &entry{key: string(key), decision: d})
	}
}

// put adds an entry to the young generation. The caller holds the lock.
func (s *cacheShard) put(hash uint64, e *entry) {
	if s.young == nil || s.bytes >= shardBytes {
		s.evictions += uint64(s.olds) //nolint:gosec // G115: a count is not negative
		s.olds, s.entries = s.entries-s.olds, s.entries-s.olds
		s.old, s.young, s.bytes = s.young, map[uint64]*entry{}, 0
	}
	e.next = s.young[hash]
	s.young[hash] = e
	s.entries++
	s.bytes += len(e.key) + entryBytes + decisionBytes(&e.decision)
}

// decisionBytes is what the lists of a decision take, roughly. Names in a
// sandbox are mostly those of the policy's data.
func decisionBytes(d *policy.Decision) int {
	n := 0
	for _, r := range d.Rules {
		n += 160 + len(r.ID) + len(r.Message) + textBytes(r.Always)
	}
	n += textBytes(d.Needs)
	if a := d.Obligations.Ask; a != nil {
		n += 80 + textBytes(a.Always) + textBytes(a.Approvers)
	}
	if s := d.Obligations.Sandbox; s != nil {
		n += 240
		for _, list := range [][]string{s.Write, s.Create, s.Caches, s.Read, s.Hide, s.DenyExec, s.Require} {
			n += textBytes(list)
		}
	}
	return n
}

func textBytes(list []string) int {
	n := 0
	for _, s := range list {
		n += 16 + len(s)
	}
	return n
}

// add adds what the cache did to info.
func (c *decisions) add(info *policy.CacheInfo) {
	info.Bypasses += c.bypasses.Load()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		info.Hits += s.hits
		info.Misses += s.misses
		info.Evictions += s.evictions
		info.Entries += s.entries
		s.mu.Unlock()
	}
}
