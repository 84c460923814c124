// Package settings reads the user's configuration file.
//
// The file is the one that other opencode programs of the same user read,
// opencode.json or opencode.jsonc in the user's configuration directory. A file
// of that name in a project is never read: what works on the project could
// write it. Only the members listed in [Settings] are read, and everything that
// may hold a secret is left in the file: keys, headers, environments, options,
// and of an address its user, query and fragment. {env:NAME} and {file:PATH}
// stay as they stand.
//
// Settings say what is offered. They permit nothing: that is for policy.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

	"opencode/provider"
	"opencode/regular"
)

// maxBytes bounds the configuration file.
const maxBytes = 512 << 10

// ErrInvalid means that the configuration file cannot be used.
var ErrInvalid = errors.New("invalid configuration")

// Settings are what the user has configured. The zero value is a user without
// a file.
type Settings struct {
	// Path is the file that was read, "" if there is none.
	Path         string
	Schema       string
	Model        string // provider/model
	SmallModel   string
	Username     string
	Share        string // manual, auto, disabled or ""
	Autoupdate   string // true, false, notify or ""
	DefaultAgent string
	Instructions []string
	// EnabledProviders are the only ones to use, if not nil.
	EnabledProviders  []string
	DisabledProviders []string
	Agents            map[string]Agent
	Commands          map[string]Command
	Providers         map[string]provider.Definition
	DecisionLog       DecisionLog
	// MCP tells of each configured MCP server whether it is enabled.
	MCP map[string]bool
	// Endpoints are where methods of sign-in lead, as JSON for package oauth,
	// which judges them; nil if the file says nothing of them. There is nothing
	// secret in them: client ids are public.
	Endpoints []byte
	// Ignored are the members of the file that have no effect on this server,
	// sorted.
	Ignored []string
}

// Agent is a configured agent.
type Agent struct {
	Model       string
	Description string
	Mode        string // subagent, primary, all or ""
	Color       string
	Hidden      bool
	Disable     bool
}

// Command is a configured command.
type Command struct {
	Template    string
	Description string
	Agent       string
	Model       string
	Subtask     *bool
}

// Models returns the models that the settings name outside their providers, as
// provider/model.
func (s Settings) Models() []string {
	names := []string{s.Model, s.SmallModel}
	for _, a := range s.Agents {
		names = append(names, a.Model)
	}
	for _, c := range s.Commands {
		names = append(names, c.Model)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// Read returns the settings in the user's configuration directory. Every
// problem is told with its file and line, none with the text that stands there.
func Read(dir string) (Settings, error) {
	var found []string
	for _, name := range []string{"opencode.json", "opencode.jsonc"} {
		path := filepath.Join(dir, name)
		switch _, err := os.Stat(path); {
		case err == nil:
			found = append(found, path)
		case !errors.Is(err, fs.ErrNotExist):
			return Settings{}, err
		}
	}
	switch len(found) {
	case 0:
		return Settings{}, nil
	case 1:
		text, err := readFile(found[0])
		if err != nil {
			return Settings{}, err
		}
		return Parse(found[0], text)
	}
	return Settings{}, fmt.Errorf("%w: %s and %s both exist, want one of them", ErrInvalid, found[0], found[1])
}

func readFile(path string) ([]byte, error) {
	text, err := regular.Read(path, regular.FollowLinks, maxBytes)
	if errors.Is(err, regular.ErrNotRegular) || errors.Is(err, regular.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return text, err
}

// Parse reads the text of a configuration file: JSON, in which comments and
// trailing commas may stand. Path is for messages.
func Parse(path string, text []byte) (Settings, error) {
	s := Settings{Path: path}
	if len(text) > maxBytes {
		return Settings{}, fmt.Errorf("%w: %s: is larger than %d bytes", ErrInvalid, path, maxBytes)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if len(bytes.TrimSpace(text)) == 0 {
		return s, nil
	}
	tree, err := hujson.Parse(text)
	if err != nil {
		return Settings{}, fmt.Errorf("%w: %s%s: is not JSON (comments and trailing commas may stand in it)", ErrInvalid, path, position(err))
	}
	r := &reader{path: path, text: text}
	r.top(&s, tree)
	if err := errors.Join(r.errs...); err != nil {
		return Settings{}, err
	}
	slices.Sort(s.Ignored)
	return s, nil
}

// position returns ":line:column" of a syntax error. The rest of the message
// may quote the file, and is dropped.
func position(err error) string {
	m := regexp.MustCompile(`^hujson: line (\d+), column (\d+):`).FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	return ":" + m[1] + ":" + m[2]
}

// top reads the members of the file.
func (r *reader) top(s *Settings, tree hujson.Value) {
	for name, v := range r.members(tree, "the file") {
		switch name {
		case "$schema":
			s.Schema = cleanURL(r.str(v, name))
		case "model":
			s.Model = r.str(v, name)
		case "small_model":
			s.SmallModel = r.str(v, name)
		case "username":
			s.Username = r.str(v, name)
		case "share":
			s.Share = r.oneOf(v, name, "manual", "auto", "disabled")
		case "autoupdate":
			if isBool(v) {
				s.Autoupdate = strconv.FormatBool(r.flag(v, name))
			} else {
				s.Autoupdate = r.oneOf(v, name, "notify")
			}
		case "default_agent":
			s.DefaultAgent = r.str(v, name)
		case "instructions":
			for _, text := range r.texts(v, name) {
				if strings.Contains(text, "://") {
					text = cleanURL(text)
				}
				if text != "" {
					s.Instructions = append(s.Instructions, text)
				}
			}
		case "enabled_providers":
			s.EnabledProviders = append([]string{}, r.texts(v, name)...)
		case "disabled_providers":
			s.DisabledProviders = r.texts(v, name)
		case "agent":
			s.Agents = entries(r, v, name, r.agent)
		case "command":
			s.Commands = entries(r, v, name, r.command)
		case "provider":
			s.Providers = entries(r, v, name, r.provider)
		case "decision_log":
			s.DecisionLog = r.decisionLog(v, name)
		case "mcp":
			s.MCP = entries(r, v, name, r.mcp)
		case "endpoints":
			s.Endpoints = r.json(v, name)
		default:
			s.Ignored = append(s.Ignored, name)
		}
	}
}

func (r *reader) agent(tree hujson.Value, at string) Agent {
	var a Agent
	for name, v := range r.members(tree, at) {
		at := at + "." + name
		switch name {
		case "model":
			a.Model = r.str(v, at)
		case "description":
			a.Description = r.str(v, at)
		case "mode":
			a.Mode = r.oneOf(v, at, "subagent", "primary", "all")
		case "color":
			a.Color = r.color(v, at)
		case "hidden":
			a.Hidden = r.flag(v, at)
		case "disable":
			a.Disable = r.flag(v, at)
		}
	}
	return a
}

func (r *reader) command(tree hujson.Value, at string) Command {
	var c Command
	given := false
	for name, v := range r.members(tree, at) {
		at := at + "." + name
		switch name {
		case "template":
			c.Template, given = r.str(v, at), true
		case "description":
			c.Description = r.str(v, at)
		case "agent":
			c.Agent = r.str(v, at)
		case "model":
			c.Model = r.str(v, at)
		case "subtask":
			b := r.flag(v, at)
			c.Subtask = &b
		}
	}
	if !given {
		r.wrong(tree, at, "an object with a template")
	}
	return c
}

// mcp reports whether an MCP server is enabled. The rest of its entry may hold
// secrets anywhere: in the command, its environment, the address, the headers.
func (r *reader) mcp(tree hujson.Value, at string) bool {
	enabled := true
	for name, v := range r.members(tree, at) {
		if name == "enabled" {
			enabled = r.flag(v, at+"."+name)
		}
	}
	return enabled
}
