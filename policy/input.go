package policy

import (
	"time"

	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// Version is the version of the input document.
const Version = 1

// Kind says what an input document describes.
type Kind string

// The kinds of input documents.
const (
	KindRequest Kind = "request" // an HTTP request
	KindPrompt  Kind = "prompt"  // something that the agent wants to do
)

// Input is the input document, version 1: the contract with every policy.
// policies/schemas/input.json is its schema.
type Input struct {
	Version   int       `json:"version"`
	Kind      Kind      `json:"kind"`
	Time      Time      `json:"time"`
	Principal Principal `json:"principal"`
	Request   *Request  `json:"request,omitempty"`
	Prompt    *Prompt   `json:"prompt,omitempty"`
	Session   *Session  `json:"session,omitempty"`
	// Host is what the machine gives, on a prompt.
	Host *Host `json:"host,omitempty"`
}

// Host is the machine that a prompt would be carried out on.
type Host struct {
	// OS is the name of the system, such as linux.
	OS      string      `json:"os"`
	Sandbox HostSandbox `json:"sandbox"`
}

// HostSandbox says what the kernel of a host can hold a command to.
type HostSandbox struct {
	// Holds are the guarantees that a command can have (see
	// [SandboxGuarantees]); one without network, as to "network".
	Holds []string `json:"holds"`
	// Landlock is the version of Landlock, 0 if there is none.
	Landlock   int  `json:"landlock"`
	Seccomp    bool `json:"seccomp"`
	Namespaces bool `json:"namespaces"`
}

// Time is when it happens. It is coarse on purpose: a value that ticks would
// make every input different from the last.
type Time struct {
	Unix    int64  `json:"unix"`    // seconds, at the start of the minute
	Weekday string `json:"weekday"` // lower case, in the server's time zone
	Hour    int    `json:"hour"`    // 0 to 23, in the server's time zone
}

// At returns the coarse time of t.
func At(t time.Time) Time {
	return Time{Unix: t.Unix() - t.Unix()%60, Weekday: weekdays[t.Weekday()], Hour: t.Hour()}
}

var weekdays = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// PrincipalKind says how a principal was authenticated.
type PrincipalKind string

// The kinds of principals.
const (
	PrincipalAnonymous PrincipalKind = "anonymous" // nobody: no credential was shown
	PrincipalToken     PrincipalKind = "token"     // the holder of a token
	PrincipalLocal     PrincipalKind = "local"     // the user who runs the server, on the same machine
)

// Principal is who wants it. Its zero value is not even anonymous and has no
// permission.
type Principal struct {
	Kind        PrincipalKind `json:"kind"`
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	Permissions []string      `json:"permissions"`
	// Expired reports whether the token's life is over.
	Expired bool `json:"expired"`
	// ExpiresInDays is the number of whole days left, nil if it never expires.
	ExpiresInDays *int              `json:"expires_in_days"`
	Attributes    map[string]string `json:"attributes"`
}

// Anonymous returns the principal of a request without a credential.
func Anonymous() Principal { return Principal{Kind: PrincipalAnonymous} }

// Has reports whether the principal holds every one of the permissions. It is
// for obligations that name who may do something; whether a request needs a
// permission is for policy to say.
func (p Principal) Has(permissions ...string) bool {
	for _, want := range permissions {
		found := false
		for _, have := range p.Permissions {
			found = found || have == want
		}
		if !found {
			return false
		}
	}
	return true
}

// Request is an HTTP request.
type Request struct {
	Method string `json:"method"`
	// Path is the path as it was sent, still escaped.
	Path string `json:"path"`
	// Route is the pattern that the path matches, or nil if it matches none
	// or is not in its one canonical spelling.
	Route *string `json:"route"`
	// Segments are the path's segments with every trick of spelling undone:
	// unescaped, in lower case, without empty and dot segments.
	Segments []string `json:"segments"`
	// Canonical reports whether the path is spelled in the one plain way.
	Canonical bool                `json:"canonical"`
	Query     map[string][]string `json:"query"`
	Host      string              `json:"host"`
	Origin    *string             `json:"origin"`
	WebSocket bool                `json:"websocket"`
	Remote    Remote              `json:"remote"`
	// Bytes is the declared length of the body, -1 if it is not declared.
	Bytes int64 `json:"bytes"`
	// Directory is the project directory that the request names.
	Directory *Directory `json:"directory"`
}

// Remote is where a request comes from.
type Remote struct {
	IP       string `json:"ip"`
	Loopback bool   `json:"loopback"`
}

// Directory is a project directory that a client asked for.
type Directory struct {
	Raw string `json:"raw"`
	// Real is the directory with all links resolved, "" if there is none.
	Real string `json:"real"`
	// Inside reports whether it is one of the server's project directories or
	// below one.
	Inside bool `json:"inside"`
}

// Prompt is something that the agent, or a person through the agent's tools,
// wants to do.
type Prompt struct {
	Tool string         `json:"tool"`
	Args map[string]any `json:"args"`
	// Command holds the facts about a shell command.
	Command *shell.Command `json:"command,omitempty"`
	// Paths are the files that the call names.
	Paths []fspath.Path `json:"paths"`
	// Content describes text to be written, without holding it.
	Content *Content `json:"content,omitempty"`
}

// Content describes text without holding it.
type Content struct {
	Bytes int `json:"bytes"`
	Lines int `json:"lines"`
}

// Session is the session in which a prompt arises.
type Session struct {
	ID          string     `json:"id"`
	Parent      *string    `json:"parent"`
	Depth       int        `json:"depth"`
	Agent       string     `json:"agent"`
	Directory   string     `json:"directory"`
	Interactive bool       `json:"interactive"`
	Approvals   []Approval `json:"approvals"`
	// Restrictions are what the session must not do, or must ask about,
	// beyond what policy says.
	Restrictions []Restriction `json:"restrictions"`
}

// Restriction narrows what a session may do.
type Restriction struct {
	Permission string `json:"permission"` // a tool, or * for all
	Pattern    string `json:"pattern"`    // a glob over what the call is about
	Action     string `json:"action"`     // deny or ask
}

// Approval is a standing answer of "always".
type Approval struct {
	Tool    string `json:"tool"`
	Pattern string `json:"pattern"`
}
