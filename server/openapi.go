package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"opencode/agent"
	"opencode/agent/git"
	"opencode/policy"
)

// getDoc returns the OpenAPI document. It is made from the table of routes and
// the types that the handlers use.
func (s *Server) getDoc(w http.ResponseWriter, r *http.Request) error {
	doc, err := s.doc()
	if err != nil {
		return err
	}
	s.encode(w, r, http.StatusOK, doc)
	return nil
}

// openAPI is an OpenAPI 3.1 document.
type openAPI struct {
	OpenAPI    string                          `json:"openapi"`
	Info       docInfo                         `json:"info"`
	Servers    []docServer                     `json:"servers"`
	Security   []map[string][]string           `json:"security"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components components                      `json:"components"`
}

type docInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
}

type docServer struct {
	URL string `json:"url"`
}

type components struct {
	Schemas         map[string]*jsonschema.Schema `json:"schemas"`
	SecuritySchemes map[string]map[string]string  `json:"securitySchemes"`
}

type operation struct {
	OperationID string              `json:"operationId"`
	Summary     string              `json:"summary"`
	Parameters  []parameter         `json:"parameters,omitempty"`
	RequestBody *docBody            `json:"docBody,omitempty"`
	Responses   map[string]response `json:"responses"`
}

type parameter struct {
	Name        string             `json:"name"`
	In          string             `json:"in"`
	Description string             `json:"description,omitempty"`
	Required    bool               `json:"required,omitempty"`
	Schema      *jsonschema.Schema `json:"schema"`
}

type docBody struct {
	Required bool                 `json:"required"`
	Content  map[string]mediaType `json:"content"`
}

type response struct {
	Description string               `json:"description"`
	Content     map[string]mediaType `json:"content,omitempty"`
}

type mediaType struct {
	Schema *jsonschema.Schema `json:"schema,omitempty"`
}

const jsonMedia = "application/json"

// named are the types that stand in the document under a name.
func named() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[agent.SessionBody](): "Session",
		reflect.TypeFor[agent.Permission]():  "PermissionRequest",
		reflect.TypeFor[agent.Restriction](): "PermissionRule",
		reflect.TypeFor[agent.Event]():       "Event",
		reflect.TypeFor[git.FileDiff]():      "SnapshotFileDiff",
		reflect.TypeFor[policy.Rule]():       "Rule",
		reflect.TypeFor[messageBody]():       "MessageWithParts",
		reflect.TypeFor[errorBody]():         "Error",
	}
}

const refPrefix = "#/components/schemas/"

// docBuilder makes schemas from types.
type docBuilder struct {
	names   map[reflect.Type]string
	schemas map[string]*jsonschema.Schema
}

func newDocBuilder() (*docBuilder, error) {
	d := &docBuilder{names: named(), schemas: map[string]*jsonschema.Schema{}}
	for _, t := range slices.SortedFunc(mapKeys(d.names), func(a, b reflect.Type) int { return strings.Compare(d.names[a], d.names[b]) }) {
		schema, err := d.ofType(t, t)
		if err != nil {
			return nil, err
		}
		d.schemas[d.names[t]] = schema
	}
	message, part, err := d.messages()
	if err != nil {
		return nil, err
	}
	d.schemas["Message"], d.schemas["Part"] = message, part
	with := d.schemas["MessageWithParts"]
	with.Properties["info"] = &jsonschema.Schema{Ref: refPrefix + "Message"}
	with.Properties["parts"] = &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Ref: refPrefix + "Part"}}
	return d, nil
}

func mapKeys(m map[reflect.Type]string) func(yield func(reflect.Type) bool) {
	return func(yield func(reflect.Type) bool) {
		for t := range m {
			if !yield(t) {
				return
			}
		}
	}
}

// messages returns the schemas of messages and parts: one of several.
func (d *docBuilder) messages() (message, part *jsonschema.Schema, err error) {
	oneOf := func(values []any) (*jsonschema.Schema, error) {
		all := &jsonschema.Schema{}
		for _, v := range values {
			schema, err := d.ofType(reflect.TypeOf(v), nil)
			if err != nil {
				return nil, err
			}
			all.AnyOf = append(all.AnyOf, schema)
		}
		return all, nil
	}
	messages, parts := agent.Shapes()
	if message, err = oneOf(messages); err != nil {
		return nil, nil, err
	}
	if part, err = oneOf(parts); err != nil {
		return nil, nil, err
	}
	// What a person writes is kept as the client sent it.
	kinds := &jsonschema.Schema{Type: "string", Enum: []any{"text", "file", "agent", "subtask"}}
	part.AnyOf = append(part.AnyOf, &jsonschema.Schema{
		Type: "object", Required: []string{"id", "sessionID", "messageID", "type"}, Properties: map[string]*jsonschema.Schema{"type": kinds},
	})
	return message, part, nil
}

// of returns the schema of a value's type.
func (d *docBuilder) of(v any) (*jsonschema.Schema, error) { return d.ofType(reflect.TypeOf(v), nil) }

// ofType returns the schema of a type, with references for the named types but
// itself.
func (d *docBuilder) ofType(t, itself reflect.Type) (*jsonschema.Schema, error) {
	anything := &jsonschema.Schema{}
	types := map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): anything,
		reflect.TypeFor[policy.Effect]():   {Type: "string", Enum: []any{"allow", "ask", "deny"}},
	}
	for t, name := range d.names {
		if t != itself {
			types[t] = &jsonschema.Schema{Ref: refPrefix + name}
		}
	}
	schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: types})
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", t, err)
	}
	eachSchema(schema, func(s *jsonschema.Schema) {
		// No list that this server sends or takes is null.
		if slices.Equal(s.Types, []string{"null", "array"}) {
			s.Types, s.Type = nil, "array"
		}
	})
	return schema, nil
}

// eachSchema calls a function for a schema and all in it.
func eachSchema(s *jsonschema.Schema, do func(*jsonschema.Schema)) {
	if s == nil {
		return
	}
	do(s)
	for _, p := range s.Properties {
		eachSchema(p, do)
	}
	for _, p := range s.AnyOf {
		eachSchema(p, do)
	}
	eachSchema(s.Items, do)
	eachSchema(s.AdditionalProperties, do)
}

var pathParameter = regexp.MustCompile(`\{([^}]+)\}`)

// document makes the OpenAPI document of a server.
func document(routes []route, version string) (*openAPI, error) {
	d, err := newDocBuilder()
	if err != nil {
		return nil, err
	}
	doc := &openAPI{
		OpenAPI: "3.1.0",
		Info: docInfo{
			Title: "opencode", Version: version,
			Description: "A coding-agent server in which policy decides every request and everything that a tool is to do.",
		},
		Servers:  []docServer{{URL: "/"}},
		Security: []map[string][]string{{"bearer": {}}, {"basic": {}}},
		Paths:    map[string]map[string]operation{},
		Components: components{Schemas: d.schemas, SecuritySchemes: map[string]map[string]string{
			"bearer": {"type": "http", "scheme": "bearer", "description": "a token of `opencode auth token create`"},
			"basic":  {"type": "http", "scheme": "basic", "description": "any user, with such a token as password"},
		}},
	}
	for _, r := range routes {
		o, err := d.operation(r)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", r.method, r.pattern, err)
		}
		path := strings.TrimSuffix(r.pattern, "*")
		if path != r.pattern {
			path += "{path}"
		}
		if doc.Paths[path] == nil {
			doc.Paths[path] = map[string]operation{}
		}
		doc.Paths[path][strings.ToLower(r.method)] = o
	}
	return doc, nil
}

func (d *docBuilder) operation(r route) (operation, error) {
	o := operation{OperationID: r.doc.id, Summary: r.doc.summary, Responses: map[string]response{}}
	for _, m := range pathParameter.FindAllStringSubmatch(r.pattern, -1) {
		o.Parameters = append(o.Parameters, parameter{Name: m[1], In: "path", Required: true, Schema: &jsonschema.Schema{Type: "string"}})
	}
	if strings.HasSuffix(r.pattern, "*") {
		o.Parameters = append(o.Parameters, parameter{Name: "path", In: "path", Required: true, Schema: &jsonschema.Schema{Type: "string"}})
	}
	o.Parameters = append(o.Parameters, parameter{
		Name: "directory", In: "query", Description: "the project directory; the header x-opencode-directory says the same",
		Schema: &jsonschema.Schema{Type: "string"},
	})
	for _, p := range r.doc.query {
		o.Parameters = append(o.Parameters, parameter{Name: p.name, In: "query", Description: p.about, Schema: &jsonschema.Schema{Type: p.kind}})
	}
	if r.doc.body != nil {
		schema, err := d.of(r.doc.body)
		if err != nil {
			return o, err
		}
		// Which members a call needs is said by the error if one is missing.
		eachSchema(schema, func(s *jsonschema.Schema) { s.Required = nil })
		o.RequestBody = &docBody{Required: !r.doc.bodyOptional, Content: map[string]mediaType{jsonMedia: {schema}}}
	}
	status := r.doc.status
	if status == 0 {
		status = http.StatusOK
	}
	success := response{Description: http.StatusText(status)}
	if r.doc.result != nil {
		schema, err := d.of(r.doc.result)
		if err != nil {
			return o, err
		}
		media := r.doc.media
		if media == "" {
			media = jsonMedia
		}
		success.Content = map[string]mediaType{media: {schema}}
	}
	o.Responses[strconv.Itoa(status)] = success
	o.Responses["default"] = response{
		Description: "An error", Content: map[string]mediaType{jsonMedia: {&jsonschema.Schema{Ref: refPrefix + "Error"}}},
	}
	return o, nil
}
