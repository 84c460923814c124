package fspath

// LookBelow is [Below] with another bound on the names that are looked at.
var LookBelow = lookBelow
