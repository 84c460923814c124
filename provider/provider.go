// Package provider knows the model providers: which there are, which of them
// the user has a credential for, and which models the user has named.
//
// It tells that a credential exists, never what it is: no type of this package
// has a field that could hold one, and of those that are kept it is given the
// ids of the providers only. Nothing here calls a provider.
//
// The catalogue is compiled in. Its facts are from models.dev, under the MIT
// licence that stands in the file NOTICE beside it.
//
// A [Catalogue] is safe for concurrent use.
package provider

// Source says where the credential of a provider comes from. Its zero value
// says that there is none.
type Source int

// The sources of credentials, the one that counts most last.
const (
	// SourceNone means that the user is not signed in.
	SourceNone Source = iota
	// SourceConfig means that the user's configuration file defines it.
	SourceConfig
	// SourceEnv means that one of its environment variables is set.
	SourceEnv
	// SourceAPI means that a credential is kept for it.
	SourceAPI
)

// String returns the source as the published API writes it. A provider that is
// there and not connected is "custom" there.
func (s Source) String() string {
	switch s {
	case SourceConfig:
		return "config"
	case SourceEnv:
		return "env"
	case SourceAPI:
		return "api"
	case SourceNone:
	}
	return "custom"
}

// Provider is what can be told of a provider.
type Provider struct {
	ID   string
	Name string
	// Env are the names of the environment variables that hold its credential.
	Env []string
	// NPM is the package that other implementations call it with, "" if none
	// is configured.
	NPM string
	// BaseURL is where its API is, "" if it is not known. Parts in ${…} stand
	// for environment variables, as the catalogue writes them.
	BaseURL string
	// Style is the form of its API, "" if it is not known.
	Style string
	// Source says by what it is connected.
	Source Source
	// Configured reports whether the user's configuration file defines it,
	// whatever its source.
	Configured bool
	// Models are those that the user has named, by id.
	Models []Model
}

// Connected reports whether there is a credential for the provider, or a
// definition that may do without one.
func (p Provider) Connected() bool { return p.Source != SourceNone }

// Definition is what the user's configuration file says of a provider.
type Definition struct {
	Name    string
	NPM     string
	BaseURL string // without user, query and fragment, which may hold secrets
	Env     []string
	Models  []Model
}

// Model is a model of a provider.
type Model struct {
	ID string // in the configuration
	// APIID is its id at the provider.
	APIID                                       string
	Name                                        string
	Family                                      string
	Released                                    string
	Status                                      string // active, alpha, beta or deprecated
	Attachment, Reasoning, Temperature, ToolUse bool
	// Input and Output are what it takes and gives: text, audio, image, video
	// and pdf.
	Input, Output []string
	Limit         Limit
	Cost          Cost
}

// Limit is how much a model takes and gives, in tokens; 0 is not known.
type Limit struct{ Context, Output float64 }

// Cost is the price of a million tokens, in dollars; 0 is not known.
type Cost struct{ Input, Output, CacheRead, CacheWrite float64 }

// NewModel returns a model of which only the id is known.
func NewModel(id string) Model {
	return Model{ID: id, APIID: id, Name: id, Status: "active", ToolUse: true, Input: []string{"text"}, Output: []string{"text"}}
}
