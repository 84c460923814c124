package policy

import "time"

// Info describes the policy in force.
type Info struct {
	// Digest is the SHA-256 of all files that take part, in hexadecimal.
	Digest string `json:"digest"`
	// Files are the files that take part.
	Files []string `json:"files"`
	// Entrypoints are the queries that decide, by kind of input.
	Entrypoints map[Kind]string `json:"entrypoints"`
	// Reads is what each query can read of its input.
	Reads  map[Kind]Reads `json:"reads"`
	Loaded time.Time      `json:"loaded"`
	Cache  CacheInfo      `json:"cache"`
}

// Reads says what a policy can read of the inputs of one kind. Inputs that are
// equal there are decided once.
type Reads struct {
	// Input are the places in the input; a place that ends in "?" is only asked
	// for being there.
	Input []string `json:"input"`
	// Uncached says why each input is decided anew, "" if they are not.
	Uncached string `json:"uncached,omitempty"`
}

// CacheInfo counts what the cache of decisions did since the policy was loaded.
type CacheInfo struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	// Bypasses are decisions on what cannot be kept: inputs that are too long,
	// and all if the policy calls what is not known to depend on its arguments
	// alone.
	Bypasses  uint64 `json:"bypasses"`
	Evictions uint64 `json:"evictions"`
	Entries   int    `json:"entries"`
}
