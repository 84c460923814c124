package server

import (
	"net/http"

	"opencode/agent"
)

// The group /api is the second form of the published API. Its answers say which
// directory they are about.

// locationBody says where something is.
type locationBody struct {
	Directory string          `json:"directory"`
	Project   locationProject `json:"project"`
}

type locationProject struct {
	ID        string `json:"id"`
	Directory string `json:"directory"`
}

// locatedBody is a list with its place.
type locatedBody[T any] struct {
	Location locationBody `json:"location"`
	Data     []T          `json:"data"`
}

func (s *Server) location(r *http.Request) locationBody {
	dir, root := s.place(r)
	return locationBody{Directory: dir, Project: locationProject{ID: agent.ProjectID(root), Directory: root}}
}

func (s *Server) getLocation(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, s.location(r))
	return nil
}

// noneHere answers with an empty list and its place.
func (s *Server) noneHere(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, locatedBody[nothing]{Location: s.location(r), Data: []nothing{}})
	return nil
}

// requestBody is what a client is to add to a request to a provider: nothing,
// since this server sends them all itself.
type requestBody struct {
	Headers nothing `json:"headers"`
	Body    nothing `json:"body"`
}

// apiModelRef names a model.
type apiModelRef struct {
	ID         string `json:"id"`
	ProviderID string `json:"providerID"`
}

func newAPIModelRef(m *agent.ModelRef) *apiModelRef {
	if m == nil {
		return nil
	}
	return &apiModelRef{ID: m.ModelID, ProviderID: m.ProviderID}
}

type apiAgentBody struct {
	ID          string       `json:"id"`
	Model       *apiModelRef `json:"model,omitempty"`
	Request     requestBody  `json:"request"`
	Description string       `json:"description,omitempty"`
	Mode        string       `json:"mode"`
	Hidden      bool         `json:"hidden"`
	Color       string       `json:"color,omitempty"`
	Permissions []nothing    `json:"permissions"`
}

func (s *Server) listAPIAgents(w http.ResponseWriter, r *http.Request) error {
	b := locatedBody[apiAgentBody]{Location: s.location(r), Data: []apiAgentBody{}}
	for _, a := range agents(s.cfg.Settings) {
		b.Data = append(b.Data, apiAgentBody{
			ID: a.Name, Model: newAPIModelRef(a.Model), Description: a.Description, Mode: a.Mode, Hidden: a.Hidden,
			Color: a.Color, Permissions: []nothing{},
		})
	}
	s.encode(w, r, http.StatusOK, b)
	return nil
}

type apiCommandBody struct {
	Name        string       `json:"name"`
	Template    string       `json:"template"`
	Description string       `json:"description,omitempty"`
	Agent       string       `json:"agent,omitempty"`
	Model       *apiModelRef `json:"model,omitempty"`
	Subtask     *bool        `json:"subtask,omitempty"`
}

func (s *Server) listAPICommands(w http.ResponseWriter, r *http.Request) error {
	b := locatedBody[apiCommandBody]{Location: s.location(r), Data: []apiCommandBody{}}
	for _, c := range commands(s.cfg.Settings) {
		b.Data = append(b.Data, apiCommandBody{
			Name: c.Name, Template: c.Template, Description: c.Description, Agent: c.Agent,
			Model: newAPIModelRef(modelRef(c.Model)), Subtask: c.Subtask,
		})
	}
	s.encode(w, r, http.StatusOK, b)
	return nil
}

// providerAPI says how a provider is called. Its settings are always empty:
// they may hold secrets.
type providerAPI struct {
	Type     string  `json:"type"` // native: by this server itself
	URL      string  `json:"url,omitempty"`
	Settings nothing `json:"settings"`
}

type apiProviderBody struct {
	ID      string      `json:"id"`
	Name    string      `json:"name"`
	API     providerAPI `json:"api"`
	Request requestBody `json:"request"`
}

func (s *Server) listAPIProviders(w http.ResponseWriter, r *http.Request) error {
	c, err := s.choice()
	if err != nil {
		return err
	}
	b := locatedBody[apiProviderBody]{Location: s.location(r), Data: []apiProviderBody{}}
	for _, p := range c.connected {
		b.Data = append(b.Data, apiProviderBody{ID: p.ID, Name: p.Name, API: providerAPI{Type: "native", URL: p.BaseURL}})
	}
	s.encode(w, r, http.StatusOK, b)
	return nil
}

type apiModelBody struct {
	ID           string               `json:"id"`
	ProviderID   string               `json:"providerID"`
	Family       string               `json:"family,omitempty"`
	Name         string               `json:"name"`
	API          apiModelAPI          `json:"api"`
	Capabilities apiModelCapabilities `json:"capabilities"`
	Request      requestBody          `json:"request"`
	Variants     []nothing            `json:"variants"`
	Time         apiModelTime         `json:"time"`
	Cost         []modelCost          `json:"cost"`
	Status       string               `json:"status"`
	Enabled      bool                 `json:"enabled"`
	Limit        apiModelLimit        `json:"limit"`
}

type apiModelAPI struct {
	ID string `json:"id"`
	providerAPI
}

type apiModelCapabilities struct {
	Tools  bool     `json:"tools"`
	Input  []string `json:"input"`
	Output []string `json:"output"`
}

// apiModelTime is when a model appeared, 0 if that is not known.
type apiModelTime struct {
	Released int64 `json:"released"`
}

type apiModelLimit struct {
	Context int64 `json:"context"`
	Output  int64 `json:"output"`
}

func (s *Server) listAPIModels(w http.ResponseWriter, r *http.Request) error {
	c, err := s.choice()
	if err != nil {
		return err
	}
	b := locatedBody[apiModelBody]{Location: s.location(r), Data: []apiModelBody{}}
	for _, p := range c.connected {
		for _, m := range p.Models {
			b.Data = append(b.Data, apiModelBody{
				ID: m.ID, ProviderID: p.ID, Family: m.Family, Name: m.Name,
				API:          apiModelAPI{m.APIID, providerAPI{Type: "native", URL: p.BaseURL}},
				Capabilities: apiModelCapabilities{m.ToolUse, append([]string{}, m.Input...), append([]string{}, m.Output...)},
				Variants:     []nothing{},
				Cost:         []modelCost{{m.Cost.Input, m.Cost.Output, cacheCost{m.Cost.CacheRead, m.Cost.CacheWrite}}},
				Status:       m.Status, Enabled: true,
				Limit: apiModelLimit{int64(m.Limit.Context), int64(m.Limit.Output)},
			})
		}
	}
	s.encode(w, r, http.StatusOK, b)
	return nil
}
