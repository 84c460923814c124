package fspath

// LookBelow and LookMatches are [Below] and [Matches] with another bound on the
// names that are looked at; ClassBelow is of the names right below a directory.
var (
	LookBelow   = lookBelow
	LookMatches = lookMatches
	ClassBelow  = classBelow
)
