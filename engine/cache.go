package engine

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"opencode/policy"
)

// cache keeps decisions on requests of one snapshot. A policy can read nothing
// but its input and its data: built-ins that read a clock, a random source or
// the network do not compile. So an equal input has an equal decision.
//
// The key is the whole input, exactly: whoever sends requests shapes it, and
// must not be able to make two inputs that share a decision. Errors are never
// kept. Prompts are not kept either: each is recorded before it takes effect,
// which costs more than to decide it.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard

	hits, misses, evictions atomic.Uint64
}

// cacheShard holds two generations: when the young one is full it becomes the
// old one, and what is not asked for again goes with that.
type cacheShard struct {
	mu         sync.Mutex
	young, old map[string]policy.Decision
	bytes      int // of the young one
}

const (
	cacheShards = 16
	// shardBytes bounds the young generation of a shard: all of the cache is
	// at most 2 * 16 * shardBytes.
	shardBytes = 256 << 10
	// entryBytes is what an entry costs beside its key, roughly.
	entryBytes = 256
	// keyBytes is the longest key. What is longer is decided each time.
	keyBytes = 4 << 10
)

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

// decision returns what was decided for a key.
func (c *cache) decision(key []byte) (policy.Decision, bool) {
	s := c.shard(key)
	s.mu.Lock()
	d, ok := s.young[string(key)]
	if !ok {
		if d, ok = s.old[string(key)]; ok {
			delete(s.old, string(key))
			c.put(s, string(key), d)
		}
	}
	s.mu.Unlock()
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return d, ok
}

// keep keeps a decision, whose lists nobody may change from then on.
func (c *cache) keep(key []byte, d policy.Decision) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.put(s, string(key), d)
}

func (c *cache) shard(key []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// put adds an entry to the young generation. The caller holds the lock.
func (c *cache) put(s *cacheShard, key string, d policy.Decision) {
	if s.young == nil || s.bytes >= shardBytes {
		c.evictions.Add(uint64(len(s.old)))
		s.old, s.young, s.bytes = s.young, map[string]policy.Decision{}, 0
	}
	s.young[key] = d
	s.bytes += len(key) + entryBytes
}

// info describes the cache.
func (c *cache) info() policy.CacheInfo {
	info := policy.CacheInfo{Hits: c.hits.Load(), Misses: c.misses.Load(), Evictions: c.evictions.Load()}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		info.Entries += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return info
}

// appendKey appends the key of a request to b, and reports whether it has one.
// Every text has its length before it, so that no two inputs have one key.
func appendKey(b []byte, in *policy.Input) ([]byte, bool) {
	r := in.Request
	if in.Kind != policy.KindRequest || r == nil || in.Prompt != nil || in.Session != nil || in.Host != nil {
		return b, false
	}
	b = keyInt(b, int64(in.Version))
	b = keyInt(b, in.Time.Unix)
	b = keyText(b, in.Time.Weekday)
	b = keyInt(b, int64(in.Time.Hour))

	p := &in.Principal
	b = keyText(b, string(p.Kind))
	b = keyText(b, p.ID)
	b = keyText(b, p.Name)
	b = keyList(b, p.Permissions)
	b = keyFlag(b, p.Expired)
	b = keyFlag(b, p.ExpiresInDays != nil)
	if p.ExpiresInDays != nil {
		b = keyInt(b, int64(*p.ExpiresInDays))
	}
	b = keyInt(b, int64(len(p.Attributes)))
	for _, name := range sortedKeys(p.Attributes) {
		b = keyText(b, name)
		b = keyText(b, p.Attributes[name])
	}

	b = keyText(b, r.Method)
	b = keyText(b, r.Path)
	b = keyOptional(b, r.Route)
	b = keyList(b, r.Segments)
	b = keyFlag(b, r.Canonical)
	b = keyInt(b, int64(len(r.Query)))
	for _, name := range sortedKeys(r.Query) {
		b = keyText(b, name)
		b = keyList(b, r.Query[name])
	}
	b = keyText(b, r.Host)
	b = keyOptional(b, r.Origin)
	b = keyFlag(b, r.WebSocket)
	b = keyText(b, r.Remote.IP)
	b = keyFlag(b, r.Remote.Loopback)
	b = keyInt(b, r.Bytes)
	b = keyFlag(b, r.Directory != nil)
	if d := r.Directory; d != nil {
		b = keyText(b, d.Raw)
		b = keyText(b, d.Real)
		b = keyFlag(b, d.Inside)
	}
	return b, len(b) <= keyBytes
}

func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

func keyInt(b []byte, n int64) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(n)) //nolint:gosec // G115: the bits are the key
}

func keyFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func keyText(b []byte, s string) []byte { return append(keyInt(b, int64(len(s))), s...) }

func keyOptional(b []byte, s *string) []byte {
	b = keyFlag(b, s != nil)
	if s != nil {
		b = keyText(b, *s)
	}
	return b
}

// keyList tells a list that is not there from an empty one, as JSON does.
func keyList(b []byte, list []string) []byte {
	b = keyFlag(b, list != nil)
	b = keyInt(b, int64(len(list)))
	for _, s := range list {
		b = keyText(b, s)
	}
	return b
}
