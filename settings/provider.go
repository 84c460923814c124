package settings

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/tailscale/hujson"

	"opencode/provider"
)

// packageName matches the name of an npm package, with or without a version. A
// package may also be given by an address, which can hold a password.
var packageName = regexp.MustCompile(`^(@[A-Za-z0-9._~-]+/)?[A-Za-z0-9._~-]+(@[A-Za-z0-9._~^-]+)?$`)

func (r *reader) provider(tree hujson.Value, at string) provider.Definition {
	var d provider.Definition
	for name, v := range r.members(tree, at) {
		at := at + "." + name
		switch name {
		case "name":
			d.Name = r.str(v, at)
		case "npm":
			if npm := r.str(v, at); packageName.MatchString(npm) {
				d.NPM = npm
			}
		case "env":
			d.Env = append([]string{}, r.variables(v, at)...)
		case "options":
			for name, v := range r.members(v, at) {
				// All others are for whoever calls the provider: apiKey is one.
				if name == "baseURL" {
					d.BaseURL = cleanURL(r.str(v, at+"."+name))
				}
			}
		case "models":
			for id, v := range r.members(v, at) {
				d.Models = append(d.Models, r.model(v, at+"."+id, id))
			}
		}
	}
	return d
}

// variables reads names of environment variables. What is no name is a value
// in the wrong place, and is refused.
func (r *reader) variables(v hujson.Value, at string) []string {
	names := r.texts(v, at)
	for _, name := range names {
		if !regexp.MustCompile(`^[A-Za-z0-9_]{1,100}$`).MatchString(name) {
			r.wrong(v, at, "names of environment variables")
			return nil
		}
	}
	return names
}

func (r *reader) model(tree hujson.Value, at, id string) provider.Model {
	m := provider.NewModel(id)
	for name, v := range r.members(tree, at) {
		at := at + "." + name
		switch name {
		case "id":
			m.APIID = r.str(v, at)
		case "name":
			m.Name = r.str(v, at)
		case "family":
			m.Family = r.str(v, at)
		case "release_date":
			m.Released = r.str(v, at)
		case "status":
			m.Status = r.oneOf(v, at, "active", "alpha", "beta", "deprecated")
		case "attachment":
			m.Attachment = r.flag(v, at)
		case "reasoning":
			m.Reasoning = r.flag(v, at)
		case "temperature":
			m.Temperature = r.flag(v, at)
		case "tool_call":
			m.ToolUse = r.flag(v, at)
		case "modalities":
			r.modalities(&m, v, at)
		case "limit":
			n := r.numbers(v, at)
			m.Limit = provider.Limit{Context: n["context"], Output: n["output"]}
		case "cost":
			n := r.numbers(v, at)
			m.Cost = provider.Cost{Input: n["input"], Output: n["output"], CacheRead: n["cache_read"], CacheWrite: n["cache_write"]}
		}
	}
	return m
}

func (r *reader) modalities(m *provider.Model, tree hujson.Value, at string) {
	for name, v := range r.members(tree, at) {
		switch name {
		case "input":
			m.Input = r.texts(v, at+"."+name)
		case "output":
			m.Output = r.texts(v, at+"."+name)
		}
	}
}

// cleanURL returns an address of the web without its user, query and fragment,
// and "" for anything else.
func cleanURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Path, "@\\") {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
