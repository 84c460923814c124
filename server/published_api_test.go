package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// publishedAPI is what opencode 1.18.33 (npm, MIT) publishes of the answers of
// its routes at GET /doc: testdata/api_published.json holds, for the routes that
// clients use, the schema of the answer 200 and what that refers to. Clients
// rely on these shapes, so that each answer of this server is held against them.
type publishedAPI struct {
	Paths   map[string]map[string]json.RawMessage `json:"paths"`
	Schemas map[string]json.RawMessage            `json:"schemas"`

	mu       sync.Mutex
	resolved map[string]*jsonschema.Resolved
}

var readPublishedAPI = sync.OnceValues(func() (*publishedAPI, error) {
	api := &publishedAPI{resolved: map[string]*jsonschema.Resolved{}}
	b, err := os.ReadFile("testdata/api_published.json")
	if err != nil {
		return nil, err
	}
	return api, json.Unmarshal(b, api)
})

// check holds an answer against what is published, if that is.
func (a *publishedAPI) check(r *rig, method, target string, p reply) error {
	if p.status != http.StatusOK || method == http.MethodHead {
		return nil
	}
	path, _, _ := strings.Cut(target, "?")
	pattern, ok := r.server.Route(method, path)
	if !ok {
		return nil
	}
	published, ok := a.Paths[pattern][strings.ToLower(method)]
	if !ok {
		return nil
	}
	schema, err := a.resolve(method+" "+pattern, published)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal([]byte(p.body), &v); err != nil {
		return err
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%s %s answers with what is not published: %w\n%.2000s", method, pattern, err, p.body)
	}
	return nil
}

func (a *publishedAPI) resolve(name string, schema json.RawMessage) (*jsonschema.Resolved, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.resolved[name]; r != nil {
		return r, nil
	}
	r, err := resolveSchema(schema, a.Schemas)
	if err == nil {
		a.resolved[name] = r
	}
	return r, err
}

// resolveSchema makes one schema of a schema and the named ones that it may
// refer to.
func resolveSchema(schema json.RawMessage, named map[string]json.RawMessage) (*jsonschema.Resolved, error) {
	local := func(b json.RawMessage) json.RawMessage {
		return json.RawMessage(strings.ReplaceAll(string(b), "#/components/schemas/", "#/$defs/"))
	}
	defs := map[string]json.RawMessage{}
	for name, schema := range named {
		defs[name] = local(schema)
	}
	b, err := json.Marshal(map[string]any{"allOf": []any{local(schema)}, "$defs": defs})
	if err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	return s.Resolve(nil)
}

// TestPublishedAnswersCanFail checks that the check refuses, and that it knows
// the routes that clients need.
func TestPublishedAnswersCanFail(t *testing.T) {
	t.Parallel()
	api := must(readPublishedAPI())(t)
	r := newRig(t, options{})
	if len(api.Paths) < 40 {
		t.Errorf("%d paths are known", len(api.Paths))
	}
	for target, body := range map[string]string{
		"/session":        `[{}]`,
		"/session/ses_1":  `{"id":"ses_1"}`,
		"/permission":     `[{"id":"per_1"}]`,
		"/vcs":            `{"branch":1}`,
		"/path":           `{"home":"/"}`,
		"/session/status": `{"ses_1":{"type":"asleep"}}`,
	} {
		if err := api.check(r, http.MethodGet, target, reply{status: http.StatusOK, body: body}); err == nil {
			t.Errorf("%s = %s passes", target, body)
		}
	}
}
