// Package fspath tells which real file a path text names: where it leads when
// every link is followed, whether that is inside the project, and what sort of
// file it is.
//
// It looks at the file system and changes nothing. It states facts and judges
// nothing. Between looking and using, a path can come to mean another file:
// whoever opens it afterwards must do so through [os.Root].
package fspath

// Access says what is to be done with a file.
type Access string

// The kinds of access.
const (
	Read  Access = "read"
	Write Access = "write" // make, change, replace or remove
)

// Path holds the facts about one path text. Its zero value is not inside.
type Path struct {
	Raw string `json:"raw"`
	// Real is the absolute path with every link in every parent followed, also
	// of a file that does not exist yet. It is "" if there is a problem.
	Real string `json:"real"`
	// Relative is Real relative to the project, with slashes; "" if outside.
	Relative string `json:"relative"`
	// Inside reports whether Real is the project directory or below it.
	Inside bool   `json:"inside"`
	Access Access `json:"access"`
	Exists bool   `json:"exists"`
	// Link reports whether a link was followed below the project directory.
	Link bool `json:"link"`
	// Kind is "file", "dir", "device", "fifo", "socket", "other", or "none" if
	// the file does not exist.
	Kind string `json:"kind"`
	// Links is how many names the file has: more than one if there are hard
	// links to it, which can be anywhere. It is 0 for what is no file.
	Links int `json:"links"`
	// Class is "secret", "vcs", "agent-config" or "plain".
	Class string `json:"class"`
	// Problem says why the path could not be resolved, nil if it could.
	Problem *string `json:"problem"`
}
