package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"opencode/provider"
)

// providerBody is a provider as the published API shows it, without the member
// in which others send its key.
type providerBody struct {
	ID      string               `json:"id"`
	Name    string               `json:"name"`
	Source  string               `json:"source"`
	Env     []string             `json:"env"`
	Options providerOptions      `json:"options"`
	Models  map[string]modelBody `json:"models"`
}

type providerOptions struct {
	BaseURL string `json:"baseURL,omitempty"`
}

type modelBody struct {
	ID           string            `json:"id"`
	ProviderID   string            `json:"providerID"`
	API          modelAPI          `json:"api"`
	Name         string            `json:"name"`
	Family       string            `json:"family,omitempty"`
	Capabilities modelCapabilities `json:"capabilities"`
	Cost         modelCost         `json:"cost"`
	Limit        modelLimit        `json:"limit"`
	Status       string            `json:"status"`
	// Options and Headers are always empty: they may hold secrets.
	Options     nothing `json:"options"`
	Headers     nothing `json:"headers"`
	ReleaseDate string  `json:"release_date"`
}

type modelAPI struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	NPM string `json:"npm"`
}

type modelCapabilities struct {
	Temperature bool       `json:"temperature"`
	Reasoning   bool       `json:"reasoning"`
	Attachment  bool       `json:"attachment"`
	ToolCall    bool       `json:"toolcall"`
	Input       modalities `json:"input"`
	Output      modalities `json:"output"`
	Interleaved bool       `json:"interleaved"`
}

type modalities struct {
	Text  bool `json:"text"`
	Audio bool `json:"audio"`
	Image bool `json:"image"`
	Video bool `json:"video"`
	PDF   bool `json:"pdf"`
}

type modelCost struct {
	Input  float64   `json:"input"`
	Output float64   `json:"output"`
	Cache  cacheCost `json:"cache"`
}

type cacheCost struct {
	Read  float64 `json:"read"`
	Write float64 `json:"write"`
}

type modelLimit struct {
	Context float64 `json:"context"`
	Output  float64 `json:"output"`
}

func newProviderBody(p provider.Provider) providerBody {
	b := providerBody{
		ID: p.ID, Name: p.Name, Source: p.Source.String(), Env: append([]string{}, p.Env...), Models: map[string]modelBody{},
	}
	// What the catalogue knows of addresses is no option of the user's.
	if p.Configured {
		b.Options.BaseURL = p.BaseURL
	}
	for _, m := range p.Models {
		b.Models[m.ID] = modelBody{
			ID: m.ID, ProviderID: p.ID, Name: m.Name, Family: m.Family, Status: m.Status, ReleaseDate: m.Released,
			API: modelAPI{ID: m.APIID, URL: p.BaseURL, NPM: p.NPM},
			Capabilities: modelCapabilities{
				Temperature: m.Temperature, Reasoning: m.Reasoning, Attachment: m.Attachment, ToolCall: m.ToolUse,
				Input: newModalities(m.Input), Output: newModalities(m.Output),
			},
			Cost:  modelCost{m.Cost.Input, m.Cost.Output, cacheCost{m.Cost.CacheRead, m.Cost.CacheWrite}},
			Limit: modelLimit{m.Limit.Context, m.Limit.Output},
		}
	}
	return b
}

func newModalities(kinds []string) modalities {
	has := func(kind string) bool { return slices.Contains(kinds, kind) }
	return modalities{has("text"), has("audio"), has("image"), has("video"), has("pdf")}
}

// choice is what clients can choose from.
type choice struct {
	all []provider.Provider // by id, a stand-in first
	// connected are those that can be used, the one to use first.
	connected []provider.Provider
}

// choice returns the providers. Clients send nothing, not even a command of the
// person's own, without a model to name. Where the user has named none, there
// is a stand-in that says what to do about it.
func (s *Server) choice() (choice, error) {
	all, err := s.cfg.Providers.Providers()
	if err != nil {
		return choice{}, err
	}
	c := choice{all: all}
	named := false
	for _, p := range all {
		if p.Connected() {
			c.connected = append(c.connected, p)
			named = named || len(p.Models) > 0
		}
	}
	preferred, _, _ := strings.Cut(s.cfg.Settings.Model, "/")
	slices.SortStableFunc(c.connected, func(a, b provider.Provider) int { return cmp.Compare(rank(a, preferred), rank(b, preferred)) })
	if !named {
		stand := standIn(len(c.connected) > 0)
		c.all = append([]provider.Provider{stand}, c.all...)
		c.connected = append([]provider.Provider{stand}, c.connected...)
	}
	return c, nil
}

// rank orders providers: clients take the first.
func rank(p provider.Provider, preferred string) int {
	switch {
	case len(p.Models) == 0:
		return 2
	case p.ID == preferred:
		return 0
	}
	return 1
}

// standIn is what clients show where there is no model to choose. It is no
// provider: with it only commands can be run.
func standIn(signedIn bool) provider.Provider {
	m := provider.NewModel(provider.Placeholder)
	m.Name = "commands only"
	p := provider.Provider{
		ID: provider.Placeholder, Name: "No provider signed in: opencode auth login", Models: []provider.Model{m},
	}
	if signedIn {
		p.Name = `No model: set "model" in opencode.json`
	}
	return p
}

// defaults returns the model to use of each provider that has one.
func (s *Server) defaults(list []provider.Provider) map[string]string {
	chosen := map[string]string{}
	for _, p := range list {
		for _, m := range p.Models {
			if chosen[p.ID] == "" || s.cfg.Settings.Model == p.ID+"/"+m.ID {
				chosen[p.ID] = m.ID
			}
		}
	}
	return chosen
}

// configProvidersBody is the answer of GET /config/providers.
type configProvidersBody struct {
	Providers []providerBody    `json:"providers"`
	Default   map[string]string `json:"default"`
}

func (s *Server) getConfigProviders(w http.ResponseWriter, r *http.Request) error {
	c, err := s.choice()
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, configProvidersBody{Providers: providerBodies(c.connected), Default: s.defaults(c.connected)})
	return nil
}

// providersBody is the answer of GET /provider.
type providersBody struct {
	All       []providerBody    `json:"all"`
	Default   map[string]string `json:"default"`
	Connected []string          `json:"connected"`
}

func (s *Server) getProviders(w http.ResponseWriter, r *http.Request) error {
	c, err := s.choice()
	if err != nil {
		return err
	}
	b := providersBody{All: providerBodies(c.all), Default: s.defaults(c.all), Connected: []string{}}
	for _, p := range c.connected {
		if p.Connected() {
			b.Connected = append(b.Connected, p.ID)
		}
	}
	s.encode(w, r, http.StatusOK, b)
	return nil
}

func providerBodies(list []provider.Provider) []providerBody {
	bodies := make([]providerBody, 0, len(list))
	for _, p := range list {
		bodies = append(bodies, newProviderBody(p))
	}
	return bodies
}
