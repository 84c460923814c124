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
	// Files are the files that programs are known to use by their arguments.
	Files []File `json:"files"`
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
	// Operand is the next argument that is not an option (gh pr create), else
	// "".
	Operand string `json:"operand"`
	// Plain is the name as a forgiving file system reads it: in lower case, and
	// with characters that look like a letter or are ignored undone, and without
	// the suffix .exe.
	Plain string `json:"plain"`
	// Effects are what the call does besides what its name says, for the
	// programs that are known: "code", "fetches", "network", "destroys",
	// "persists", "reveals", "lookalike".
	Effects []string `json:"effects"`
	// Code is the text in a language of its own that the program would run, nil
	// if there is none, "" if it is not known.
	Code *string `json:"code"`
	// Dynamic reports that the name or an argument is not literal.
	Dynamic bool `json:"dynamic"`
	// Via says how the program is reached: "pipe", "substitution", "subshell",
	// "background", "function", or the name of the launcher, outermost first.
	Via []string `json:"via"`
	// Text is the call as it is written, for people and for approvals.
	Text string `json:"text"`
}

// File is a file that a program would use.
type File struct {
	// Path is the path as an argument says it. A leading "~/" stands for the
	// home directory if Home says so.
	Path string `json:"path"`
	// Access is "read", "write", "delete", "execute", or "unknown" for an
	// argument of a program that is not known.
	Access string `json:"access"`
	// By is the name of the program.
	By string `json:"by"`
	// Home reports that the path starts in the home directory.
	Home bool `json:"home"`
	// Glob reports that the path is a pattern of the shell.
	Glob bool `json:"glob"`
	// Recursive reports that what is below the path is used as well.
	Recursive bool `json:"recursive"`
	// Below says which files below the path are used if Recursive. It is for
	// whoever looks the path up, and no fact of its own.
	Below Below `json:"-"`
	// Dynamic reports that the path is not known.
	Dynamic bool `json:"dynamic"`
}

// Below says which files below a path are used. Its zero value is all of them,
// without following links.
type Below struct {
	// Visible leaves out the names that start with a dot.
	Visible bool
	// Links says that links are followed.
	Links bool
	// Names are the patterns of the only names that are used, nil for all.
	Names []string
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
