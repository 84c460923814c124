package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// schema is as much of JSON Schema as the published API needs here.
// testdata/published*.json hold the published schemas, without the members that
// this server never sends: one that is sent and not listed is a mistake.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       string             `json:"type"`
	Pattern    string             `json:"pattern"`
	Enum       []string           `json:"enum"`
	AnyOf      []schema           `json:"anyOf"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Additional *additional        `json:"additionalProperties"`
	Items      *schema            `json:"items"`
}

// additional says which members an object may have that are not listed: all,
// none, or those of a schema.
type additional struct {
	refused bool
	schema  *schema
}

// UnmarshalJSON reads true, false or a schema.
func (a *additional) UnmarshalJSON(b []byte) error {
	var allowed bool
	if err := json.Unmarshal(b, &allowed); err == nil {
		a.refused = !allowed
		return nil
	}
	return json.Unmarshal(b, &a.schema)
}

func readSchemas(tb testing.TB) map[string]schema {
	tb.Helper()
	all := map[string]schema{}
	for _, path := range must(filepath.Glob("testdata/published*.json"))(tb) {
		if err := json.Unmarshal(must(os.ReadFile(path))(tb), &all); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
	}
	return all
}

// checkShape holds a value against a published schema.
func checkShape(tb testing.TB, name string, v any) {
	tb.Helper()
	// As clients get it.
	b := must(json.Marshal(v))(tb)
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		tb.Fatal(err)
	}
	all := readSchemas(tb)
	if _, ok := all[name]; !ok {
		tb.Fatalf("no schema %s", name)
	}
	if err := all[name].check(all, name, plain); err != nil {
		tb.Errorf("%s: %v\n%s", name, err, b)
	}
}

func (s schema) check(all map[string]schema, at string, v any) error {
	if s.Ref != "" {
		return all[s.Ref].check(all, at, v)
	}
	if len(s.AnyOf) > 0 {
		var err error
		for _, one := range s.AnyOf {
			if err = one.check(all, at, v); err == nil {
				return nil
			}
		}
		return fmt.Errorf("%s is none of the forms, not the last since %w", at, err)
	}
	ok := false
	switch v := v.(type) {
	case string:
		ok = s.Type == "string" && (s.Enum == nil || slices.Contains(s.Enum, v)) && regexp.MustCompile(s.Pattern).MatchString(v)
	case float64:
		ok = s.Type == "number" || s.Type == "integer" && v == float64(int64(v)) && v >= 0
	case bool:
		ok = s.Type == "boolean"
	case []any:
		if ok = s.Type == "array"; ok {
			for i, item := range v {
				if err := s.Items.check(all, fmt.Sprintf("%s[%d]", at, i), item); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		if ok = s.Type == "object"; ok {
			return s.checkObject(all, at, v)
		}
	}
	if !ok {
		return fmt.Errorf("%s = %v, want %+v", at, v, s)
	}
	return nil
}

func (s schema) checkObject(all map[string]schema, at string, v map[string]any) error {
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s has no %s", at, name)
		}
	}
	for name, value := range v {
		member, ok := s.Properties[name]
		switch {
		case ok:
			if err := member.check(all, at+"."+name, value); err != nil {
				return err
			}
		case s.Additional == nil:
		case s.Additional.refused:
			return fmt.Errorf("%s has %s, which is not published", at, name)
		case s.Additional.schema != nil:
			if err := s.Additional.schema.check(all, at+"."+name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestShapesCanFail checks that the check itself refuses.
func TestShapesCanFail(t *testing.T) {
	t.Parallel()
	all := readSchemas(t)
	good := map[string]any{
		"id": "ses_1", "slug": "s", "projectID": "p", "directory": "/", "title": "t", "version": "1",
		"time": map[string]any{"created": 1.0, "updated": 1.0},
	}
	if err := all["Session"].check(all, "s", good); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"id": "msg_1", "slug": nil, "more": "x", "title": 1.0, "time": map[string]any{"created": 1.5, "updated": 1.0},
	} {
		bad := maps.Clone(good)
		if bad[name] = value; value == nil {
			delete(bad, name)
		}
		if err := all["Session"].check(all, "s", bad); err == nil {
			t.Errorf("%s = %v passes", name, value)
		}
	}
}
