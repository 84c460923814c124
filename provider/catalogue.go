package provider

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed providers.json
var catalogueJSON []byte

// Placeholder is an id that no provider can have: the server shows it to
// clients where there is nothing to choose.
const Placeholder = "none"

// Config is what a catalogue works with.
type Config struct {
	// Env looks an environment variable up. Without it none is set.
	Env func(name string) (value string, ok bool)
	// Connected returns the ids of the providers that a credential is kept
	// for, as it is at the moment. Without it there are none.
	Connected func() ([]string, error)
	// Defined are the providers that the configuration file defines, by id.
	Defined map[string]Definition
	// Models are models that the configuration file names as provider/model.
	Models []string
	// Enabled are the only providers that count as connected, if not nil.
	Enabled []string
	// Disabled are providers that never count as connected.
	Disabled []string
}

// Catalogue is the list of all providers.
type Catalogue struct {
	cfg   Config
	known []Provider // by id, without what is connected
}

// entry is a provider in the compiled-in file.
type entry struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Env   []string `json:"env"`
	API   string   `json:"api"`
	Style string   `json:"style"`
	Doc   string   `json:"doc"`
}

// New returns a catalogue. It looks at the credentials once, so that those that
// cannot be read are told of at the start.
func New(cfg Config) (*Catalogue, error) {
	dec := json.NewDecoder(bytes.NewReader(catalogueJSON))
	dec.DisallowUnknownFields()
	var entries []entry
	if err := dec.Decode(&entries); err != nil {
		return nil, fmt.Errorf("catalogue of providers: %w", err)
	}
	known := map[string]Provider{}
	for _, e := range entries {
		known[e.ID] = Provider{ID: e.ID, Name: e.Name, Env: append(e.Env, moreVariables(e.ID)...), BaseURL: e.API, Style: e.Style}
	}
	var errs []error
	for id, d := range cfg.Defined {
		if id == "" || id == Placeholder || strings.Contains(id, "/") {
			errs = append(errs, fmt.Errorf("provider %q: is not an id that a provider can have", id))
			continue
		}
		known[id] = d.over(known[id], id)
	}
	c := &Catalogue{cfg: cfg}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		p := known[id]
		p.Models = withNamed(p, cfg.Models)
		c.known = append(c.known, p)
	}
	_, err := c.signedIn()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return c, nil
}

// over returns a provider as the definition changes it.
func (d Definition) over(p Provider, id string) Provider {
	p.ID, p.Configured, p.Models = id, true, d.Models
	if d.Name != "" {
		p.Name = d.Name
	}
	if p.Name == "" {
		p.Name = id
	}
	if d.NPM != "" {
		p.NPM = d.NPM
	}
	if d.BaseURL != "" {
		p.BaseURL = d.BaseURL
	}
	if d.Env != nil {
		p.Env = d.Env
	}
	return p
}

// withNamed returns the models of a provider with those that are named
// elsewhere, by id.
func withNamed(p Provider, named []string) []Model {
	models := map[string]Model{}
	for _, name := range named {
		if providerID, modelID, ok := strings.Cut(name, "/"); ok && providerID == p.ID && modelID != "" {
			models[modelID] = NewModel(modelID)
		}
	}
	for _, m := range p.Models {
		models[m.ID] = m
	}
	list := make([]Model, 0, len(models))
	for _, id := range slices.Sorted(maps.Keys(models)) {
		list = append(list, models[id])
	}
	return list
}

// Providers returns all providers by id, with what they are connected by at
// this moment: signing in needs no restart.
func (c *Catalogue) Providers() ([]Provider, error) {
	entries, err := c.signedIn()
	if err != nil {
		return nil, err
	}
	list := slices.Clone(c.known)
	for i := range list {
		list[i].Source = c.source(list[i], entries)
	}
	return list, nil
}

// ErrCredentials means that the credentials of the user cannot be used.
var ErrCredentials = errors.New("the credentials cannot be used")

// signedIn returns the ids that a credential is kept for.
func (c *Catalogue) signedIn() (map[string]bool, error) {
	ids := map[string]bool{}
	if c.cfg.Connected == nil {
		return ids, nil
	}
	connected, err := c.cfg.Connected()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	for _, id := range connected {
		ids[id] = true
	}
	return ids, nil
}

func (c *Catalogue) source(p Provider, entries map[string]bool) Source {
	switch {
	case slices.Contains(c.cfg.Disabled, p.ID) || c.cfg.Enabled != nil && !slices.Contains(c.cfg.Enabled, p.ID):
		return SourceNone
	case entries[p.ID]:
		return SourceAPI
	case slices.ContainsFunc(p.Env, c.isSet):
		return SourceEnv
	case p.Configured:
		return SourceConfig
	}
	return SourceNone
}

func (c *Catalogue) isSet(name string) bool {
	if c.cfg.Env == nil {
		return false
	}
	value, ok := c.cfg.Env(name)
	return ok && value != ""
}
