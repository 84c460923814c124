package provider

import (
	"fmt"
	"slices"
	"strings"
)

// moreVariables returns variables that the catalogue lacks: what the cloud's
// own tools take credentials from.
func moreVariables(id string) []string {
	if id == "amazon-bedrock" {
		return []string{"AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
	}
	return nil
}

// KeyVariables returns those of the provider's variables that hold a key as it
// is sent, the one that counts first first. The others say where, for whom or
// in which file.
func (p Provider) KeyVariables() []string {
	var out []string
	for _, name := range p.Env {
		switch {
		case name == "AWS_BEARER_TOKEN_BEDROCK":
			out = append(out, name)
		case strings.HasPrefix(name, "AWS_"):
		case strings.HasSuffix(name, "_FILE") || strings.HasSuffix(name, "_ID") || strings.HasSuffix(name, "_CREDENTIALS"):
		case strings.HasSuffix(name, "KEY") || strings.HasSuffix(name, "TOKEN") || strings.HasSuffix(name, "PAT") || strings.HasSuffix(name, "SECRET"):
			out = append(out, name)
		}
	}
	return out
}

// prefix is how the keys of a provider start.
type prefix struct {
	text, provider string
	// what is set for what is no key of the provider's interface.
	what string
}

// prefixes are those that are documented or in general use.
func prefixes() []prefix {
	return []prefix{
		{text: "sk-ant-api", provider: "anthropic"},
		{text: "sk-ant-oat", provider: "anthropic", what: "an access token of a browser sign-in"},
		{text: "sk-ant-ort", provider: "anthropic", what: "a refresh token of a browser sign-in"},
		{text: "sk-ant-admin", provider: "anthropic", what: "a key for administration"},
		{text: "sk-or-", provider: "openrouter"},
		{text: "sk-", provider: "openai"},
		{text: "sk-", provider: "deepseek"},
		{text: "gsk_", provider: "groq"},
		{text: "xai-", provider: "xai"},
		{text: "hf_", provider: "huggingface"},
		{text: "nvapi-", provider: "nvidia"},
		{text: "pplx-", provider: "perplexity"},
		{text: "csk-", provider: "cerebras"},
		{text: "oc_", provider: "", what: "an access token of this server"},
		{text: "AGE-SECRET-KEY-", provider: "", what: "a key of age"},
		{text: "ghp_", provider: "github-models"},
		{text: "github_pat_", provider: "github-models"},
	}
}

// CheckKey returns an error if the text cannot be a key of the provider, or
// looks like that of another. It never repeats the text. Of most providers no
// form is known, and then any text will do.
func CheckKey(id, key string) error {
	switch {
	case key == "":
		return fmt.Errorf("key for %s: is empty", id)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("key for %s: has a blank or another character that no key has", id)
	case len(key) < 8:
		return fmt.Errorf("key for %s: is too short to be one", id)
	}
	all := prefixes()
	longest := ""
	for _, p := range all {
		if strings.HasPrefix(key, p.text) && len(p.text) > len(longest) {
			longest = p.text
		}
	}
	var own, others []string
	for _, p := range all {
		switch {
		case p.text == longest && p.what != "":
			return fmt.Errorf("key for %s: looks like %s, which is no key for its interface", id, p.what)
		case p.provider == id && p.text == longest:
			return nil
		case p.provider == id && p.what == "":
			own = append(own, p.text)
		case p.text == longest:
			others = append(others, p.provider)
		}
	}
	switch {
	case len(own) > 0:
		return fmt.Errorf("key for %s: want one that starts with %s", id, strings.Join(own, " or "))
	// "sk-" alone says nothing: half the providers have taken it over.
	case len(others) > 0 && !slices.Contains(others, "openai"):
		return fmt.Errorf("key for %s: looks like one of %s", id, strings.Join(others, " or "))
	}
	return nil
}
