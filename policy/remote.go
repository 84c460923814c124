package policy

import "time"

// SourceInfo describes a policy that comes from a server.
type SourceInfo struct {
	// Source is the address, without what may be secret in it.
	Source string `json:"source"`
	// Revision is what the bundle in force calls itself.
	Revision string `json:"revision"`
	ETag     string `json:"etag,omitempty"`
	// SHA256 is of the bundle in force, in hexadecimal.
	SHA256 string `json:"sha256"`
	// Confirmed is when the server last had this bundle.
	Confirmed time.Time `json:"confirmed"`
	// Error is why there is no newer one, "" if the server's is in force.
	Error string `json:"error,omitempty"`
}

// LogInfo counts what became of decisions that are sent to a collector.
type LogInfo struct {
	// URL is the address of the collector, without what may be secret in it.
	URL string `json:"url"`
	// Sent are those that the collector has.
	Sent uint64 `json:"sent"`
	// Waiting are those that it does not have yet.
	Waiting int `json:"waiting"`
	// Dropped are those that it will never have, by the reason.
	Dropped LogDrops `json:"dropped"`
	// Erased were sent without input and result, since the policy that masks
	// them failed or they were too large.
	Erased uint64 `json:"erased"`
	// Failures are the attempts to send that did not succeed.
	Failures uint64 `json:"failures"`
	// Error is why the last attempt failed, "" if it did not.
	Error string `json:"error,omitempty"`
}

// LogDrops counts decisions that no collector has.
type LogDrops struct {
	// Buffer are those that were the oldest when the buffer was full.
	Buffer uint64 `json:"buffer"`
	// Size are those that are too large even without input and result.
	Size uint64 `json:"size"`
	// Stop are those that waited when the server stopped.
	Stop uint64 `json:"stop"`
}
