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
	Loaded      time.Time       `json:"loaded"`
	Cache       CacheInfo       `json:"cache"`
	// Sources are the servers that parts of it come from.
	Sources []SourceInfo `json:"sources,omitempty"`
	// DecisionLog says what became of decisions that are shipped, nil if none
	// are.
	DecisionLog *LogInfo `json:"decisionLog,omitempty"`
	// Extensions are the modules whose functions the policy can call.
	Extensions []ExtensionInfo `json:"extensions,omitempty"`
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
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	Evictions uint64 `json:"evictions"`
	Entries   int    `json:"entries"`
}
