package server

import (
	"net/http"

	"opencode/settings"
)

// configBody is what is shown of the user's configuration file: an allow-list.
// Whatever may hold a secret is no member of it, nor of what it is made from.
type configBody struct {
	Schema            string                    `json:"$schema,omitempty"`
	Model             string                    `json:"model,omitempty"`
	SmallModel        string                    `json:"small_model,omitempty"`
	Username          string                    `json:"username,omitempty"`
	Share             string                    `json:"share,omitempty"`
	Autoupdate        any                       `json:"autoupdate,omitempty"` // true, false or "notify"
	DefaultAgent      string                    `json:"default_agent,omitempty"`
	Instructions      []string                  `json:"instructions,omitempty"`
	EnabledProviders  []string                  `json:"enabled_providers,omitzero"`
	DisabledProviders []string                  `json:"disabled_providers,omitempty"`
	Agent             map[string]configAgent    `json:"agent,omitempty"`
	Command           map[string]configCommand  `json:"command,omitempty"`
	Provider          map[string]configProvider `json:"provider,omitempty"`
	MCP               map[string]configMCP      `json:"mcp,omitempty"`
}

type configAgent struct {
	Model       string `json:"model,omitempty"`
	Description string `json:"description,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Color       string `json:"color,omitempty"`
	Hidden      bool   `json:"hidden,omitempty"`
	Disable     bool   `json:"disable,omitempty"`
}

type configCommand struct {
	Template    string `json:"template"`
	Description string `json:"description,omitempty"`
	Agent       string `json:"agent,omitempty"`
	Model       string `json:"model,omitempty"`
	Subtask     *bool  `json:"subtask,omitempty"`
}

type configProvider struct {
	Name    string                 `json:"name,omitempty"`
	NPM     string                 `json:"npm,omitempty"`
	Env     []string               `json:"env,omitzero"`
	Options providerOptions        `json:"options,omitzero"`
	Models  map[string]configModel `json:"models,omitempty"`
}

type configModel struct {
	Name string `json:"name"`
}

type configMCP struct {
	Enabled bool `json:"enabled"`
}

func newConfigBody(c settings.Settings) configBody {
	b := configBody{
		Schema: c.Schema, Model: c.Model, SmallModel: c.SmallModel, Username: c.Username, Share: c.Share,
		DefaultAgent: c.DefaultAgent, Instructions: c.Instructions,
		EnabledProviders: c.EnabledProviders, DisabledProviders: c.DisabledProviders,
		Agent: map[string]configAgent{}, Command: map[string]configCommand{},
		Provider: map[string]configProvider{}, MCP: map[string]configMCP{},
	}
	switch c.Autoupdate {
	case "":
	case "true", "false":
		b.Autoupdate = c.Autoupdate == "true"
	default:
		b.Autoupdate = c.Autoupdate
	}
	for name, a := range c.Agents {
		b.Agent[name] = configAgent(a)
	}
	for name, command := range c.Commands {
		b.Command[name] = configCommand(command)
	}
	for id, p := range c.Providers {
		shown := configProvider{Name: p.Name, NPM: p.NPM, Env: p.Env, Options: providerOptions{BaseURL: p.BaseURL}, Models: map[string]configModel{}}
		for _, m := range p.Models {
			shown.Models[m.ID] = configModel{Name: m.Name}
		}
		b.Provider[id] = shown
	}
	for name, enabled := range c.MCP {
		b.MCP[name] = configMCP{Enabled: enabled}
	}
	return b
}

// getConfig answers with the user's settings. Those of a project are never
// read: what works on a project could write them.
func (s *Server) getConfig(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, newConfigBody(s.cfg.Settings))
	return nil
}
