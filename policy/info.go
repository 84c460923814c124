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
	// Sources are the servers that parts of it come from.
	Sources []SourceInfo `json:"sources,omitempty"`
	// DecisionLog says what became of decisions that are shipped, nil if none
	// are.
	DecisionLog *LogInfo `json:"decisionLog,omitempty"`
	// Extensions are the modules whose functions the policy can call.
	Extensions []ExtensionInfo `json:"extensions,omitempty"`
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

// ExtensionInfo describes an extension, and what came of its calls since the
// policy was loaded.
type ExtensionInfo struct {
	Name string `json:"name"`
	// SHA256 is that of the module, in hexadecimal.
	SHA256   string `json:"sha256"`
	Calls    uint64 `json:"calls"`
	Failures uint64 `json:"failures"`
	// LastError is why the last call failed that did.
	LastError string `json:"last_error,omitempty"`
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
