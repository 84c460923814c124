package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
	"opencode/provider"
	"opencode/server"
	"opencode/settings"
	"opencode/store/file"
)

// starts are the routes that clients ask for at their start.
var starts = []string{
	"/config", "/global/config", "/config/providers", "/provider", "/provider/auth", "/agent", "/command", "/skill",
	"/path", "/project", "/project/current", "/project/{projectID}/directories", "/lsp", "/mcp", "/formatter", "/question",
	"/experimental/capabilities", "/experimental/console", "/experimental/resource", "/experimental/workspace",
	"/experimental/workspace/status", "/api/health", "/api/location", "/api/agent", "/api/command", "/api/provider",
	"/api/model", "/api/integration", "/api/reference", "/api/skill",
}

// person is a user with a configuration file, an environment and credentials.
type person struct {
	config string
	env    map[string]string
	auth   string
}

// connected tells whom a file has credentials for, as the program wires it.
func connected(t *testing.T, path string) func() ([]string, error) {
	t.Helper()
	c := must(file.OpenCredentials(file.CredentialsConfig{Path: path}))(t)
	return func() (ids []string, err error) {
		all, err := c.Credentials(context.Background())
		for _, credential := range all {
			ids = append(ids, credential.Provider)
		}
		return ids, err
	}
}

// rig serves for the user, as the program wires it.
func (p person) rig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if text == "" {
			return path
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("opencode.jsonc", p.config)
	s := must(settings.Read(dir))(t)
	c := must(provider.New(provider.Config{
		Env:       func(name string) (string, bool) { v, ok := p.env[name]; return v, ok },
		Connected: connected(t, write("auth.json", p.auth)), Defined: s.Providers, Models: s.Models(),
		Enabled: s.EnabledProviders, Disabled: s.DisabledProviders,
	}))(t)
	return serve(t, options{change: func(cfg *server.Config) {
		cfg.Settings, cfg.Providers = s, c
		cfg.Paths = server.Paths{Home: "/home/me", State: "/home/me/state", Config: dir}
	}})
}

const configured = `{
	// A user's file, with comments.
	"$schema": "https://opencode.ai/config.json",
	"model": "acme/m1", "small_model": "openai/mini", "username": "me", "share": "disabled", "autoupdate": "notify",
	"default_agent": "talk", "instructions": ["docs/*.md", "https://example.com/rules.md"],
	"disabled_providers": ["groq"],
	"agent": {
		"talk": {"description": "Talks", "mode": "primary", "model": "acme/m2", "color": "#aabbcc"},
		"review": {"description": "Reviews", "mode": "subagent"},
		"gone": {"disable": true},
	},
	"command": {"greet": {"template": "say $2 and $1 to $ARGUMENTS", "description": "Greets", "agent": "talk", "model": "acme/m1", "subtask": true}},
	"provider": {"acme": {
		"name": "Acme", "npm": "@ai-sdk/openai-compatible", "env": ["ACME_KEY"], "options": {"baseURL": "https://acme.example.com/v1"},
		"models": {"m1": {"name": "One", "limit": {"context": 1000, "output": 100}, "cost": {"input": 1.5, "output": 3},
			"modalities": {"input": ["text", "image"], "output": ["text"]}, "reasoning": true}},
	}},
	"mcp": {"tools": {"type": "local", "command": ["x"]}, "off": {"type": "remote", "url": "https://example.com", "enabled": false}},
}`

// TestStartShapes holds what clients get at their start against the published
// API: for a user who has configured nothing and for one who has configured
// everything. To read is enough for all of it.
func TestStartShapes(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]person{
		"nothing":    {},
		"everything": {config: configured, env: map[string]string{"OPENAI_API_KEY": "x"}, auth: `{"anthropic":{"type":"api","key":"x"}}`},
		"no model":   {env: map[string]string{"OPENAI_API_KEY": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := p.rig(t)
			for _, path := range starts {
				target := strings.Replace(path, "{projectID}", agent.ProjectID(r.dir), 1)
				for _, query := range []string{"", "?directory=" + url.QueryEscape(r.dir), "?location%5Bdirectory%5D=" + url.QueryEscape(r.dir)} {
					var got any
					r.do(http.MethodGet, target+query, r.read, "").into(t, &got)
					checkShape(t, "GET "+path, got)
				}
			}
		})
	}
}

// providersAnswer is as much of the answers about providers as tests look at.
type providersAnswer struct {
	Providers []shownProvider   `json:"providers"`
	All       []shownProvider   `json:"all"`
	Default   map[string]string `json:"default"`
	Connected []string          `json:"connected"`
}

type shownProvider struct {
	ID     string                    `json:"id"`
	Name   string                    `json:"name"`
	Source string                    `json:"source"`
	Models map[string]map[string]any `json:"models"`
}

func (r *rig) providers() (usable, all providersAnswer) {
	r.t.Helper()
	r.do(http.MethodGet, "/config/providers", r.read, "").into(r.t, &usable)
	r.do(http.MethodGet, "/provider", r.read, "").into(r.t, &all)
	return usable, all
}

// sources returns the sources of providers, in their order.
func sources(list []shownProvider) []string {
	out := []string{}
	for _, p := range list {
		out = append(out, p.ID+" "+p.Source)
	}
	return out
}

func TestProvidersNotSignedIn(t *testing.T) {
	t.Parallel()
	usable, all := person{}.rig(t).providers()
	if diff := cmp.Diff([]string{"none custom"}, sources(usable.Providers)); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	p := usable.Providers[0]
	if !strings.Contains(p.Name, "opencode auth login") || len(p.Models) != 1 || p.Models["none"]["name"] != "commands only" {
		t.Errorf("the stand-in is %+v, want one that says how to sign in", p)
	}
	want := map[string]string{"none": "none"}
	if diff := cmp.Diff(want, usable.Default); diff != "" {
		t.Errorf("default -want +got\n%s", diff)
	}
	if len(all.All) != 226 || all.All[0].ID != "none" || len(all.Connected) != 0 || !cmp.Equal(all.Default, want) {
		t.Errorf("%d providers, connected %q, default %v, want 225 and the stand-in, none connected", len(all.All), all.Connected, all.Default)
	}
}

func TestProvidersSignedIn(t *testing.T) {
	t.Parallel()
	r := person{
		config: configured,
		env:    map[string]string{"OPENAI_API_KEY": "x", "GROQ_API_KEY": "x", "MISTRAL_API_KEY": "", "ANTHROPIC_API_KEY": "x"},
		auth:   `{"anthropic": {"type": "oauth", "access": "a", "refresh": "r", "expires": 0}, "https://example.com": {"type": "wellknown"}, "xai": null}`,
	}.rig(t)
	usable, all := r.providers()
	if diff := cmp.Diff([]string{"acme config", "openai env", "anthropic api"}, sources(usable.Providers)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"acme": "m1", "openai": "mini"}, usable.Default); diff != "" {
		t.Errorf("default -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"acme", "openai", "anthropic"}, all.Connected); diff != "" {
		t.Errorf("connected -want +got\n%s", diff)
	}
	// 225 and the one that the file defines; nobody stands in.
	if len(all.All) != 226 || len(all.Default) != 2 {
		t.Errorf("%d providers, default %v", len(all.All), all.Default)
	}
	m := usable.Providers[0].Models["m1"]
	got := map[string]any{"name": m["name"], "limit": m["limit"], "api": m["api"]}
	want := map[string]any{
		"name": "One", "limit": map[string]any{"context": 1000.0, "output": 100.0},
		"api": map[string]any{"id": "m1", "url": "https://acme.example.com/v1", "npm": "@ai-sdk/openai-compatible"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("model -want +got\n%s", diff)
	}
	if usable.Providers[0].Models["m2"] == nil {
		t.Error("a model that only an agent names is not there")
	}
}

// TestProvidersWithoutModel is for a user who is signed in and has named no
// model: nothing is invented, and the way out is said.
func TestProvidersWithoutModel(t *testing.T) {
	t.Parallel()
	usable, all := person{env: map[string]string{"OPENAI_API_KEY": "x"}}.rig(t).providers()
	if diff := cmp.Diff([]string{"none custom", "openai env"}, sources(usable.Providers)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !strings.Contains(usable.Providers[0].Name, `"model" in opencode.json`) {
		t.Errorf("the stand-in is %q", usable.Providers[0].Name)
	}
	if diff := cmp.Diff([]string{"openai"}, all.Connected); diff != "" {
		t.Errorf("connected -want +got\n%s", diff)
	}
}

// TestSignInNeedsNoRestart changes the file with credentials under a server.
func TestSignInNeedsNoRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth.json")
	c := must(provider.New(provider.Config{Connected: connected(t, path)}))(t)
	r := serve(t, options{change: func(cfg *server.Config) { cfg.Providers = c }})
	if _, all := r.providers(); len(all.Connected) != 0 {
		t.Fatalf("connected %q before", all.Connected)
	}
	if err := os.WriteFile(path, []byte(`{"anthropic":{"type":"api","key":"k"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, all := r.providers(); !cmp.Equal(all.Connected, []string{"anthropic"}) {
		t.Errorf("connected %q, want anthropic", all.Connected)
	}
	// One that cannot be read is not taken for one without entries.
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/provider", "/config/providers", "/api/provider", "/api/model"} {
		if got := r.do(http.MethodGet, target, r.read, ""); got.status != http.StatusInternalServerError {
			t.Errorf("GET %s with a broken auth.json = %d, want 500", target, got.status)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	r := person{config: configured}.rig(t)
	var got map[string]any
	r.do(http.MethodGet, "/config", r.read, "").into(t, &got)
	want := map[string]any{
		"$schema": "https://opencode.ai/config.json", "model": "acme/m1", "small_model": "openai/mini", "username": "me",
		"share": "disabled", "autoupdate": "notify", "default_agent": "talk",
		"instructions": []any{"docs/*.md", "https://example.com/rules.md"}, "disabled_providers": []any{"groq"},
		"agent": map[string]any{
			"talk":   map[string]any{"description": "Talks", "mode": "primary", "model": "acme/m2", "color": "#aabbcc"},
			"review": map[string]any{"description": "Reviews", "mode": "subagent"},
			"gone":   map[string]any{"disable": true},
		},
		"command": map[string]any{"greet": map[string]any{
			"template": "say $2 and $1 to $ARGUMENTS", "description": "Greets", "agent": "talk", "model": "acme/m1", "subtask": true,
		}},
		"provider": map[string]any{"acme": map[string]any{
			"name": "Acme", "npm": "@ai-sdk/openai-compatible", "env": []any{"ACME_KEY"},
			"options": map[string]any{"baseURL": "https://acme.example.com/v1"}, "models": map[string]any{"m1": map[string]any{"name": "One"}},
		}},
		"mcp": map[string]any{"tools": map[string]any{"enabled": true}, "off": map[string]any{"enabled": false}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestAgentsAndCommands(t *testing.T) {
	t.Parallel()
	r := person{config: configured}.rig(t)
	var agents []struct {
		Name, Mode string
		Native     bool
		Model      *agent.ModelRef
	}
	r.do(http.MethodGet, "/agent", r.read, "").into(t, &agents)
	got := []string{}
	for _, a := range agents {
		got = append(got, a.Name+" "+a.Mode)
	}
	// The default one comes first, since clients take the first.
	if diff := cmp.Diff([]string{"talk primary", "build primary", "review subagent"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(&agent.ModelRef{ProviderID: "acme", ModelID: "m2"}, agents[0].Model); diff != "" {
		t.Errorf("model -want +got\n%s", diff)
	}
	var commands []struct {
		Name  string
		Hints []string
	}
	r.do(http.MethodGet, "/command", r.read, "").into(t, &commands)
	if len(commands) != 1 || !cmp.Equal(commands[0].Hints, []string{"$1", "$2", "$ARGUMENTS"}) {
		t.Errorf("commands %+v", commands)
	}

	// The server's own agent cannot be configured away.
	r = person{config: `{"agent": {"build": {"disable": true, "mode": "subagent", "description": "Mine"}}}`}.rig(t)
	r.do(http.MethodGet, "/agent", r.read, "").into(t, &agents)
	if len(agents) != 1 || agents[0].Name != "build" || agents[0].Mode != "primary" {
		t.Errorf("agents %+v, want build", agents)
	}
}

func TestPathAndProjects(t *testing.T) {
	t.Parallel()
	r := person{}.rig(t)
	sub := filepath.Join(r.dir, "sub")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	var path map[string]string
	r.do(http.MethodGet, "/path?directory="+url.QueryEscape(sub), r.read, "").into(t, &path)
	if path["worktree"] != r.dir || path["directory"] != sub || path["home"] != "/home/me" || path["state"] != "/home/me/state" {
		t.Errorf("path %v", path)
	}
	type project struct {
		ID, Worktree, VCS string
	}
	var session struct {
		ProjectID string `json:"projectID"`
	}
	r.do(http.MethodPost, "/session", r.full, "").into(t, &session)
	want := project{session.ProjectID, r.dir, ""}
	for range 2 {
		var one project
		var list []project
		r.do(http.MethodGet, "/project/current?directory="+url.QueryEscape(sub), r.read, "").into(t, &one)
		r.do(http.MethodGet, "/project", r.read, "").into(t, &list)
		if diff := cmp.Diff([]project{want, want}, append(list, one)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if err := os.MkdirAll(filepath.Join(r.dir, ".git"), 0o700); err != nil {
			t.Fatal(err)
		}
		want.VCS = "git"
	}
	var location struct {
		Directory string
		Project   struct{ ID, Directory string }
	}
	r.do(http.MethodGet, "/api/location?location%5Bdirectory%5D="+url.QueryEscape(sub), r.read, "").into(t, &location)
	if location.Directory != sub || location.Project.ID != want.ID || location.Project.Directory != r.dir {
		t.Errorf("location %+v", location)
	}
	var dirs []map[string]string
	r.do(http.MethodGet, "/project/"+want.ID+"/directories", r.read, "").into(t, &dirs)
	if diff := cmp.Diff([]map[string]string{{"directory": r.dir}}, dirs); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := r.do(http.MethodGet, "/project/other/directories", r.read, ""); got.status != http.StatusNotFound {
		t.Errorf("another project = %d %s, want 404", got.status, got.body)
	}
	// Nothing is told of a directory outside.
	for _, target := range []string{"/path", "/project/current", "/api/location", "/config", "/agent"} {
		if got := r.do(http.MethodGet, target+"?directory=/etc", r.read, ""); got.status != http.StatusForbidden {
			t.Errorf("GET %s in /etc = %d %s, want 403", target, got.status, got.body)
		}
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for _, verb := range []string{"reply", "reject"} {
		got := r.do(http.MethodPost, "/question/que_1/"+verb, r.full, `{"answers":[]}`)
		var body map[string]any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != http.StatusNotFound {
			t.Errorf("%s = %d %s, want 404", verb, got.status, got.body)
		}
		// Every error of this server has these as well.
		delete(body, "name")
		delete(body, "data")
		checkShape(t, "QuestionNotFoundError", body)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	long := strings.Repeat("é", 5000)
	body := string(must(json.Marshal(map[string]any{
		"service": "tui", "level": "error", "message": "first\nlevel=ERROR " + long, "extra": map[string]string{"x": "dropped-extra"},
	}))(t))
	var got bool
	r.do(http.MethodPost, "/log", r.write, body).into(t, &got)
	log := r.log.String()
	if !got || !strings.Contains(log, `level=DEBUG msg=client`) || !strings.Contains(log, `service=tui level=error message="first\nlevel=ERROR é`) {
		t.Errorf("answer %v, log %q", got, log)
	}
	if strings.Contains(log, "dropped-extra") || strings.Count(log, "é") != 503 || strings.Contains(log, "�") {
		t.Errorf("the line is not bounded: %d characters", strings.Count(log, "é"))
	}
	for _, bad := range []string{`{"service":"x","level":"fatal","message":""}`, `{"service":"x","message":""}`, `{"surprise":1}`, `[]`} {
		if got := r.do(http.MethodPost, "/log", r.write, bad); got.status != http.StatusBadRequest {
			t.Errorf("%s = %d, want 400", bad, got.status)
		}
	}
}

// TestSignInIsElsewhere checks that clients are not led to ask for a key.
func TestSignInIsElsewhere(t *testing.T) {
	t.Parallel()
	r := person{config: configured}.rig(t)
	var methods map[string][]struct{ Type, Label string }
	r.do(http.MethodGet, "/provider/auth", r.read, "").into(t, &methods)
	for _, id := range []string{"acme", "anthropic", "openai", "github-copilot"} {
		if m := methods[id]; len(m) != 1 || m[0].Type != "oauth" || !strings.Contains(m[0].Label, "opencode auth login") {
			t.Errorf("%s: %+v, want one way, which leads to the server", id, m)
		}
	}
	if len(methods) != 226 {
		t.Errorf("%d providers, want 226", len(methods))
	}
}

// TestSettingsAreNotChangedHere asks for each change of settings and
// credentials with every permission: all are refused, with where to do it.
func TestSettingsAreNotChangedHere(t *testing.T) {
	t.Parallel()
	r := person{config: configured}.rig(t)
	before := r.do(http.MethodGet, "/config", r.full, "").body
	for _, c := range []struct{ method, path, says string }{
		{http.MethodPatch, "/config", "opencode.json"},
		{http.MethodPatch, "/global/config", "opencode.json"},
		{http.MethodPost, "/mcp", "opencode.json"},
		{http.MethodPut, "/auth/openai", "opencode auth login"},
		{http.MethodDelete, "/auth/openai", "opencode auth login"},
		{http.MethodPost, "/provider/openai/oauth/authorize", "opencode auth login"},
		{http.MethodPost, "/provider/openai/oauth/callback", "opencode auth login"},
		{http.MethodPost, "/api/integration/openai/connect/key", "opencode auth login"},
		{http.MethodDelete, "/api/credential/c", "opencode auth login"},
	} {
		got := r.do(c.method, c.path, r.full, `{"model":"acme/other","type":"api","key":"k"}`)
		if e := got.failure(t); got.status != http.StatusNotFound || !strings.Contains(e.Data.Message, c.says) {
			t.Errorf("%s %s = %d %s, want 404 and %q", c.method, c.path, got.status, got.body, c.says)
		}
	}
	if after := r.do(http.MethodGet, "/config", r.full, "").body; after != before {
		t.Errorf("config %s, before %s", after, before)
	}
}
