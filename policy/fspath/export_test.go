package fspath

// LookBelow and LookMatches are [Below] and [Matches] with another bound on the
// names that are looked at.
var (
	LookBelow   = lookBelow
	LookMatches = lookMatches
)
