package provider_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/provider"
)

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, key, want string }{
		{"anthropic", "sk-ant-api03-x", ""},
		{"anthropic", "sk-ant-oat01-x", "access token of a browser sign-in"},
		{"anthropic", "sk-proj-1234", "starts with sk-ant-api"},
		{"anthropic", "sk-or-v1-1234", "starts with sk-ant-api"},
		{"openai", "sk-proj-1234", ""},
		{"openai", "sk-ant-api03-x", "starts with sk-"},
		{"openai", "gsk_12345678", "starts with sk-"},
		{"groq", "gsk_12345678", ""},
		{"mistral", "anything-goes", ""},
		{"mistral", "sk-12345678", ""},
		{"mistral", "gsk_12345678", "looks like one of groq"},
		{"mistral", "oc_12345678", "access token of this server"},
		{"mistral", "", "is empty"},
		{"mistral", "abc12", "too short"},
		{"mistral", "two words", "has a blank"},
		{"mistral", "line\nbreak12", "has a blank"},
		{"mistral", "ключ-ключ-ключ", "another character"},
	} {
		err := provider.CheckKey(c.id, c.key)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || c.key != "" && strings.Contains(err.Error(), c.key)) {
			t.Errorf("CheckKey(%s, %s) = %v, want %q and not the key", c.id, c.key, err, c.want)
		}
	}
}

func TestKeyVariables(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	for _, p := range providers(t, provider.Config{}) {
		switch p.ID {
		case "anthropic", "amazon-bedrock", "azure", "google-vertex", "huggingface":
			got[p.ID] = p.KeyVariables()
		}
	}
	want := map[string][]string{
		"anthropic": {"ANTHROPIC_API_KEY"}, "amazon-bedrock": {"AWS_BEARER_TOKEN_BEDROCK"}, "azure": {"AZURE_API_KEY"},
		"google-vertex": nil, "huggingface": {"HF_TOKEN"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
