// Package shell tells what a command text would execute, read and write,
// without executing, opening or looking up anything.
//
// It states facts and judges nothing: it knows no banned program. Its facts
// over-approximate: what cannot be known from the text is marked as dynamic,
// what does not parse is marked as not parsed, and neither may be taken for
// harmless. Everything here is safe for concurrent use.
package shell

// Command holds the facts about one command text. Its zero value is a text
// that was not understood.
type Command struct {
	// Calls are the programs that would run, in the order of the text.
	Calls []Call `json:"calls"`
	// Redirects are the files that the shell itself would open.
	Redirects []Redirect `json:"redirects"`
	// Assigns are the names of the variables that are set, without repeats.
	Assigns []string `json:"assigns"`
	// Dynamic reports that a part of what runs cannot be known from the text.
	Dynamic bool `json:"dynamic"`
	// Parsed reports that the whole text was understood.
	Parsed bool `json:"parsed"`
	// Problem says why the text was not understood, nil if it was.
	Problem *string `json:"problem"`
}

// Call is one program that would run.
type Call struct {
	// Name is the program's name: the last element of its path.
	Name string `json:"name"`
	// Argv is the argument vector; an argument that is not literal stands in
	// it as it is written.
	Argv []string `json:"argv"`
	// Path is the program's path if the text names one, else "".
	Path string `json:"path"`
	// Subcommand is the first argument that is not an option, for programs
	// that work by subcommand (git push, npm publish), else "".
	Subcommand string `json:"subcommand"`
	// Dynamic reports that the name or an argument is not literal.
	Dynamic bool `json:"dynamic"`
	// Via says how the program is reached: "pipe", "substitution", "subshell",
	// "background", "function", or the name of the launcher, outermost first.
	Via []string `json:"via"`
	// Text is the call as it is written, for people and for approvals.
	Text string `json:"text"`
}

// Redirect is a file that the shell would open.
type Redirect struct {
	Op     string `json:"op"`
	Target string `json:"target"`
	// Access is "read", "write" or "readwrite".
	Access string `json:"access"`
	// Dynamic reports that the target is not literal.
	Dynamic bool `json:"dynamic"`
}
