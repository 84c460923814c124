package server

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"opencode/agent"
	"opencode/settings"
)

// buildAgent is the agent that every server has.
const buildAgent = "build"

// agentBody is an agent as the published API shows it. What it may do is the
// policy's to say, so that its permissions are empty.
type agentBody struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Mode        string          `json:"mode"`
	Native      bool            `json:"native,omitempty"`
	Hidden      bool            `json:"hidden,omitempty"`
	Color       string          `json:"color,omitempty"`
	Permission  []nothing       `json:"permission"`
	Model       *agent.ModelRef `json:"model,omitempty"`
	Options     nothing         `json:"options"`
}

// agents returns the agents that there are: the server's own, and those that
// the settings name. Clients take the first that can be talked to.
func agents(c settings.Settings) []agentBody {
	build := newAgentBody(buildAgent, c.Agents[buildAgent])
	build.Native, build.Mode, build.Hidden = true, "primary", false
	if build.Description == "" {
		build.Description = "Runs what policy allows."
	}
	list := []agentBody{build}
	for _, name := range slices.Sorted(maps.Keys(c.Agents)) {
		if a := c.Agents[name]; name != buildAgent && !a.Disable {
			list = append(list, newAgentBody(name, a))
		}
	}
	i := slices.IndexFunc(list, func(a agentBody) bool {
		return a.Name == c.DefaultAgent && a.Mode != "subagent" && !a.Hidden
	})
	if i > 0 {
		first := list[i]
		list = slices.Insert(slices.Delete(list, i, i+1), 0, first)
	}
	return list
}

func newAgentBody(name string, a settings.Agent) agentBody {
	b := agentBody{
		Name: name, Description: a.Description, Mode: a.Mode, Hidden: a.Hidden, Color: a.Color,
		Permission: []nothing{}, Model: modelRef(a.Model),
	}
	if b.Mode == "" {
		b.Mode = "all"
	}
	return b
}

// modelRef reads a model that is written as provider/model, nil if it is not.
func modelRef(text string) *agent.ModelRef {
	providerID, modelID, ok := strings.Cut(text, "/")
	if !ok || providerID == "" || modelID == "" {
		return nil
	}
	return &agent.ModelRef{ProviderID: providerID, ModelID: modelID}
}

func (s *Server) listAgents(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, agents(s.cfg.Settings))
	return nil
}

// commandBody is a configured command as the published API shows it.
type commandBody struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Agent       string   `json:"agent,omitempty"`
	Model       string   `json:"model,omitempty"`
	Source      string   `json:"source"`
	Template    string   `json:"template"`
	Subtask     *bool    `json:"subtask,omitempty"`
	Hints       []string `json:"hints"`
}

func commands(c settings.Settings) []commandBody {
	list := []commandBody{}
	for _, name := range slices.Sorted(maps.Keys(c.Commands)) {
		command := c.Commands[name]
		list = append(list, commandBody{
			Name: name, Description: command.Description, Agent: command.Agent, Model: command.Model,
			Source: "command", Template: command.Template, Subtask: command.Subtask, Hints: hints(command.Template),
		})
	}
	return list
}

// hints returns the places of a template that arguments are put into.
func hints(template string) []string {
	list := regexp.MustCompile(`\$[0-9]+`).FindAllString(template, -1)
	slices.Sort(list)
	list = slices.Compact(list)
	if strings.Contains(template, "$ARGUMENTS") {
		list = append(list, "$ARGUMENTS")
	}
	return append([]string{}, list...)
}

func (s *Server) listCommands(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, commands(s.cfg.Settings))
	return nil
}
