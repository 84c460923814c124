package engine

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policy"
)

// nameList is a list of names as JSON has it: an array, or the keys of an
// object with values of a type.
type nameList[T any] struct{}

func (nameList[T]) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, new([]string)); err == nil {
		return nil
	}
	return json.Unmarshal(b, new(map[string]T))
}

// FuzzDecodeDecision: whatever a policy answers, what an ordinary strict JSON
// decoder refuses is refused, and a permission always has limits.
func FuzzDecodeDecision(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `"allow"`, `{"effect":"allow"}`,
		`{"effect":"allow","rules":[{"id":"a.b","effect":"allow","message":"m"}],"needs":[],"obligations":{"timeout_seconds":1,"max_output_bytes":1,"audit":"full"}}`,
		`{"effect":"ask","rules":[{"id":"a.b","effect":"ask","message":"m","always":["x"]}],"obligations":{"timeout_seconds":1,"max_output_bytes":1,"ask":{"ttl_seconds":1,"on_timeout":"deny","always":["x"],"lease_seconds":1,"approvers":["execute"]}}}`,
		`{"effect":"deny","rules":[{"id":"a.b","effect":"deny","message":"m"}],"obligations":{"sandbox":{"network":true,"write":["."],"read":[],"deny_exec":[]}}}`,
		`{"effect":"deny","obligations":{"sandbox":{"network":true,"write":{".":true,"x":false},"caches":["~/c"],"hide":{"~/.ssh":true},"deny_exec":{"curl":"reason","nc":false},"require":["exec"],"limits":{"file_bytes":1}}}}`,
		`{"effect":"allow","rules":[{"id":"a.b","effect":"allow","message":"m"}],"obligations":{"timeout_seconds":1e2,"max_output_bytes":1.0}}`,
		`{"effect":1,"effect":"allow"}`, `{"effect":"allow","Effect":"deny"}`,
	} {
		f.Add(seed)
	}
	type rule struct {
		ID      string   `json:"id"`
		Effect  string   `json:"effect"`
		Message string   `json:"message"`
		Always  []string `json:"always"`
	}
	type document struct {
		Effect      string   `json:"effect"`
		Rules       []rule   `json:"rules"`
		Needs       []string `json:"needs"`
		Obligations struct {
			TimeoutSeconds int    `json:"timeout_seconds"`
			MaxOutputBytes int    `json:"max_output_bytes"`
			Audit          string `json:"audit"`
			Ask            *struct {
				TTLSeconds   int      `json:"ttl_seconds"`
				OnTimeout    string   `json:"on_timeout"`
				Always       []string `json:"always"`
				LeaseSeconds int      `json:"lease_seconds"`
				Approvers    []string `json:"approvers"`
			} `json:"ask"`
			Sandbox *struct {
				Network  bool           `json:"network"`
				Write    nameList[bool] `json:"write"`
				Create   nameList[bool] `json:"create"`
				Caches   nameList[bool] `json:"caches"`
				Read     nameList[bool] `json:"read"`
				Hide     nameList[bool] `json:"hide"`
				DenyExec nameList[any]  `json:"deny_exec"`
				Require  nameList[bool] `json:"require"`
				Limits   struct {
					FileBytes   int `json:"file_bytes"`
					OpenFiles   int `json:"open_files"`
					Processes   int `json:"processes"`
					MemoryBytes int `json:"memory_bytes"`
				} `json:"limits"`
			} `json:"sandbox"`
		} `json:"obligations"`
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := ast.ValueFromReader(strings.NewReader(text))
		if err != nil {
			return // no value that Rego could give
		}
		got, err := new(decoder).decision(ast.NewTerm(value))
		if err != nil {
			if got.Effect != policy.Deny {
				t.Fatalf("error %v with effect %v", err, got.Effect)
			}
			return
		}
		// The value's own JSON has each key once.
		v, err := ast.JSON(value)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		var want document
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%s: taken, but encoding/json says %v", b, err)
		}
		if want.Effect != got.Effect.String() || len(want.Rules) != len(got.Rules) || len(want.Needs) != len(got.Needs) {
			t.Fatalf("%s: read as %+v", b, got)
		}
		for i, r := range got.Rules {
			if w := want.Rules[i]; w.ID != r.ID || w.Effect != r.Effect.String() || w.Message != r.Message {
				t.Fatalf("%s: rule read as %+v", b, r)
			}
		}
		if got.Validate(policy.KindPrompt) != nil || got.Effect == policy.Deny {
			return
		}
		o := want.Obligations
		if o.TimeoutSeconds <= 0 || o.MaxOutputBytes <= 0 || len(want.Rules) == 0 || len(want.Needs) > 0 {
			t.Fatalf("%s: may be carried out", b)
		}
		for _, r := range want.Rules {
			if r.Effect == "deny" || r.Effect == "ask" && got.Effect == policy.Allow {
				t.Fatalf("%s: may be carried out", b)
			}
		}
		if ask := o.Ask; (ask != nil) != (got.Effect == policy.Ask) || ask != nil && (ask.TTLSeconds <= 0 || ask.OnTimeout == "ask") {
			t.Fatalf("%s: may be carried out", b)
		}
	})
}
