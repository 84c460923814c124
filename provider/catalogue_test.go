package provider_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/provider"
)

func providers(t *testing.T, cfg provider.Config) []provider.Provider {
	t.Helper()
	c, err := provider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Providers()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// connected returns the connected ones as "id source".
func connected(list []provider.Provider) []string {
	out := []string{}
	for _, p := range list {
		if p.Connected() {
			out = append(out, p.ID+" "+p.Source.String())
		}
	}
	return out
}

// env looks names up in pairs.
func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := pairs[name]
		return v, ok
	}
}

// kept returns what a store with credentials for the providers tells.
func kept(ids ...string) func() ([]string, error) {
	return func() ([]string, error) { return ids, nil }
}

// TestCatalogue holds each compiled-in provider to what the rest relies on.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	list := providers(t, provider.Config{})
	if len(list) != 225 {
		t.Errorf("%d providers, want 225", len(list))
	}
	if got := connected(list); len(got) > 0 {
		t.Errorf("connected without anything: %q", got)
	}
	last := ""
	for _, p := range list {
		if p.ID <= last || !regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`).MatchString(p.ID) || p.ID == provider.Placeholder || p.Name == "" || p.Style == "" {
			t.Errorf("provider %+v after %q", p, last)
		}
		last = p.ID
		if len(p.Env) == 0 {
			t.Errorf("%s has no environment variable", p.ID)
		}
		for _, name := range p.Env {
			if !regexp.MustCompile(`^[A-Z0-9_]+$`).MatchString(name) {
				t.Errorf("%s has the environment variable %q", p.ID, name)
			}
		}
		if u := p.BaseURL; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "${") || strings.ContainsAny(u, "@?#") {
			t.Errorf("%s has the address %q", p.ID, u)
		}
		if p.Source != provider.SourceNone || len(p.Models) > 0 || p.Configured {
			t.Errorf("%s is more than known: %+v", p.ID, p)
		}
	}
}

func TestConnected(t *testing.T) {
	t.Parallel()
	auth := kept("anthropic", "xai", "groq", "nowhere", "https://corp.example.com")
	vars := env(map[string]string{"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k", "DEEPSEEK_API_KEY": "", "LOCAL_KEY": "k"})
	defined := map[string]provider.Definition{"local": {Env: []string{"LOCAL_KEY"}}, "plain": {}, "xai": {Name: "X"}, "openai": {Env: []string{"OTHER"}}}
	for name, c := range map[string]struct {
		cfg  provider.Config
		want []string
	}{
		"environment": {provider.Config{Env: vars}, []string{"anthropic env", "google env", "openai env"}},
		"kept":        {provider.Config{Connected: auth}, []string{"anthropic api", "groq api", "xai api"}},
		"definitions": {provider.Config{Defined: defined}, []string{"local config", "openai config", "plain config", "xai config"}},
		"all": {
			provider.Config{Env: vars, Connected: auth, Defined: defined},
			[]string{"anthropic api", "google env", "groq api", "local env", "openai config", "plain config", "xai api"},
		},
		"disabled":     {provider.Config{Env: vars, Connected: auth, Disabled: []string{"anthropic", "groq"}}, []string{"google env", "openai env", "xai api"}},
		"enabled":      {provider.Config{Env: vars, Connected: auth, Enabled: []string{"xai", "cohere"}}, []string{"xai api"}},
		"none enabled": {provider.Config{Env: vars, Connected: auth, Enabled: []string{}}, []string{}},
		"both":         {provider.Config{Env: vars, Enabled: []string{"openai"}, Disabled: []string{"openai"}}, []string{}},
		"none kept":    {provider.Config{Connected: kept()}, []string{}},
		"profile":      {provider.Config{Env: env(map[string]string{"AWS_PROFILE": "dev"})}, []string{"amazon-bedrock env"}},
	} {
		if diff := cmp.Diff(c.want, connected(providers(t, c.cfg))); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	named := provider.NewModel("m2")
	named.Name = "Two"
	list := providers(t, provider.Config{
		Defined: map[string]provider.Definition{"acme": {BaseURL: "https://acme.example.com", NPM: "x", Models: []provider.Model{named}}},
		Models:  []string{"acme/m1", "acme/m2", "acme/", "acme", "/m", "openai/org/model", "nowhere/m"},
	})
	got := map[string][]string{}
	for _, p := range list {
		for _, m := range p.Models {
			got[p.ID] = append(got[p.ID], m.ID+" "+m.Name)
		}
	}
	if diff := cmp.Diff(map[string][]string{"acme": {"m1 m1", "m2 Two"}, "openai": {"org/model org/model"}}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	i := slices.IndexFunc(list, func(p provider.Provider) bool { return p.ID == "acme" })
	if p := list[i]; p.Name != "acme" || p.BaseURL != "https://acme.example.com" || p.NPM != "x" || !p.Configured {
		t.Errorf("defined %+v", p)
	}
}

func TestIDsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", provider.Placeholder, "a/b"} {
		if _, err := provider.New(provider.Config{Defined: map[string]provider.Definition{id: {}}}); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
}

// TestCredentialsThatCannotBeRead checks that they are not taken for none, at
// the start and later.
func TestCredentialsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	failure := errors.New("the file is damaged")
	var now error
	cfg := provider.Config{Connected: func() ([]string, error) { return []string{"openai"}, now }}
	c, err := provider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	now = failure
	if list, err := c.Providers(); !errors.Is(err, provider.ErrCredentials) || !errors.Is(err, failure) || list != nil {
		t.Errorf("%d providers, error %v", len(list), err)
	}
	if _, err := provider.New(cfg); !errors.Is(err, provider.ErrCredentials) || !errors.Is(err, failure) {
		t.Errorf("New = %v, want the error", err)
	}
}

// TestNothingHoldsACredential looks for secrets in everything that a catalogue
// has, exported or not.
func TestNothingHoldsACredential(t *testing.T) {
	t.Parallel()
	variable := "sk-" + rand.Text()
	c, err := provider.New(provider.Config{
		Env:       env(map[string]string{"OPENAI_API_KEY": variable}),
		Connected: kept("anthropic"),
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Providers()
	if err != nil {
		t.Fatal(err)
	}
	if got := connected(list); !cmp.Equal(got, []string{"anthropic api", "openai env"}) {
		t.Fatalf("connected %q", got)
	}
	for _, text := range []string{fmt.Sprintf("%+v", list), fmt.Sprintf("%#v", *c)} {
		if strings.Contains(text, variable) {
			t.Error("a credential is kept")
		}
	}
	for _, v := range []any{provider.Provider{}, provider.Model{}, provider.Definition{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if regexp.MustCompile(`(?i)key|secret|token|auth|header|option|password`).MatchString(f.Name) {
				t.Errorf("%T has the field %s", v, f.Name)
			}
		}
	}
}
