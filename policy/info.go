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
}
