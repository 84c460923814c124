package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// apiDoc is the OpenAPI document as a client reads it.
type apiDoc struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct{ Name, In string }
		Responses   map[string]struct {
			Content map[string]struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`

	mu       sync.Mutex
	resolved map[string]*jsonschema.Resolved
}

// readDoc reads the document of a server.
func readDoc(tb testing.TB, r *rig) *apiDoc {
	tb.Helper()
	doc := &apiDoc{resolved: map[string]*jsonschema.Resolved{}}
	rec := r.direct(http.MethodGet, "/doc", "")
	if err := json.Unmarshal([]byte(rec.body), doc); err != nil {
		tb.Fatalf("%v: %s", err, rec.body)
	}
	return doc
}

// schema returns the schema of an answer, with all that it refers to.
func (d *apiDoc) schema(path, method string, status int) (*jsonschema.Resolved, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	op, ok := d.Paths[path][strings.ToLower(method)]
	if !ok {
		return nil, fmt.Errorf("%s %s is not documented", method, path)
	}
	answer, ok := op.Responses[strconv.Itoa(status)]
	if !ok {
		if answer = op.Responses["default"]; status < 400 {
			return nil, fmt.Errorf("%s %s answers %d, which is not documented", method, path, status)
		}
	}
	content, ok := answer.Content["application/json"]
	if !ok {
		return nil, fmt.Errorf("%s %s answers %d with JSON, which is not documented", method, path, status)
	}
	key := string(content.Schema)
	if r := d.resolved[key]; r != nil {
		return r, nil
	}
	resolved, err := resolveSchema(content.Schema, d.Components.Schemas)
	if err != nil {
		return nil, err
	}
	d.resolved[key] = resolved
	return resolved, nil
}

// check holds an answer against the document.
func (d *apiDoc) check(r *rig, method, target string, p reply) error {
	if p.status == 0 || method == http.MethodHead || !strings.HasPrefix(p.header.Get("Content-Type"), "application/json") {
		return nil
	}
	path, _, _ := strings.Cut(target, "?")
	pattern, ok := r.server.Route(method, path)
	if !ok {
		return nil
	}
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		pattern = start + "{path}"
	}
	if _, offered := d.Paths[pattern][strings.ToLower(method)]; !offered {
		if p.status < 400 {
			return fmt.Errorf("%s %s answers %d and is not documented", method, pattern, p.status)
		}
		return nil
	}
	schema, err := d.schema(pattern, method, p.status)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal([]byte(p.body), &v); err != nil {
		return err
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%s %s answers %d with what is not documented: %w\n%.2000s", method, pattern, p.status, err, p.body)
	}
	return nil
}

// TestDocument checks that the document is whole: each offered route, each with
// an id of its own and all its parameters, and every reference leads somewhere.
func TestDocument(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	doc := readDoc(t, r)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %q", doc.OpenAPI)
	}
	ids := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			name := method + " " + path
			if other := ids[op.OperationID]; other != "" || op.OperationID == "" {
				t.Errorf("%s has the id %q of %q", name, op.OperationID, other)
			}
			ids[op.OperationID] = name
			for _, m := range regexp.MustCompile(`\{([^}]+)\}`).FindAllStringSubmatch(path, -1) {
				found := false
				for _, p := range op.Parameters {
					found = found || p.In == "path" && p.Name == m[1]
				}
				if !found {
					t.Errorf("%s does not document %s", name, m[1])
				}
			}
			for status, answer := range op.Responses {
				if len(answer.Content["application/json"].Schema) == 0 {
					continue
				}
				code, err := strconv.Atoi(status)
				if err != nil {
					code = http.StatusTeapot
				}
				if _, err := doc.schema(path, method, code); err != nil {
					t.Errorf("%s %s: %v", name, status, err)
				}
			}
		}
	}
	if len(ids) < 30 {
		t.Errorf("%d operations are documented", len(ids))
	}
}

// TestDocumentCanFail checks that the check of answers refuses.
func TestDocumentCanFail(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	doc := readDoc(t, r)
	header := http.Header{"Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		target string
		p      reply
	}{
		"a member too many": {"/global/health", reply{status: 200, header: header, body: `{"healthy":true,"version":"1","more":1}`}},
		"a member too few":  {"/global/health", reply{status: 200, header: header, body: `{"healthy":true}`}},
		"a wrong type":      {"/session", reply{status: 200, header: header, body: `{}`}},
		"null":              {"/session", reply{status: 200, header: header, body: `null`}},
		"another status":    {"/session", reply{status: 202, header: header, body: `[]`}},
		"a bare error":      {"/session", reply{status: 404, header: header, body: `{"error":"x"}`}},
		"not offered":       {"/tui/control/next", reply{status: 200, header: header, body: `{}`}},
	} {
		if err := doc.check(r, http.MethodGet, c.target, c.p); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}
