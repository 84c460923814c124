package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policy"
)

// decoder reads decision documents. It knows the names that lists of the
// configuration hold, which stand in most decisions as they are in the data.
type decoder struct {
	known map[listed][]string
	// valid are the lists that are known and that a sandbox may have, by their
	// first elements.
	valid map[*string]bool
}

// listed is an object of names and how they are read.
type listed struct {
	object ast.Value // the very one, compared by identity
	texts  bool
}

// learn reads the lists below a value of the policy's data beforehand. Nobody
// may change them from then on.
func (dec *decoder) learn(v ast.Value) {
	object, ok := v.(ast.Object)
	if !ok {
		return
	}
	if dec.known == nil {
		dec.known, dec.valid = map[listed][]string{}, map[*string]bool{}
	}
	for _, texts := range []bool{false, true} {
		names, err := decodeNames(ast.NewTerm(v), texts)
		if err != nil || len(names) == 0 {
			continue
		}
		dec.known[listed{v, texts}] = names
		sandbox := &policy.Sandbox{Write: names}
		if texts {
			sandbox = &policy.Sandbox{DenyExec: names}
		}
		d := policy.Decision{Obligations: policy.Obligations{Sandbox: sandbox}}
		dec.valid[&names[0]] = d.Validate(policy.KindPrompt) == nil
	}
	object.Foreach(func(_, below *ast.Term) { dec.learn(below.Value) })
}

// decision reads a decision document strictly: a member that is not known, a
// missing one that must be there and a value of the wrong type are errors.
func (dec *decoder) decision(t *ast.Term) (policy.Decision, error) {
	var d policy.Decision
	seen := false
	err := eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "effect":
			seen = true
			d.Effect, err = decodeEffect(v)
		case "rules":
			d.Rules, err = decodeList(v, decodeRule)
		case "needs":
			d.Needs, err = decodeList(v, decodeString)
		case "obligations":
			d.Obligations, err = dec.obligations(v)
		default:
			err = errUnknownMember
		}
		return err
	})
	if err == nil && !seen {
		err = errors.New("effect is missing")
	}
	if err != nil {
		return policy.Decision{}, err
	}
	return d, nil
}

var errUnknownMember = errors.New("is not a known member")

func decodeRule(t *ast.Term) (policy.Rule, error) {
	var r policy.Rule
	seen := false
	err := eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "id":
			r.ID, err = decodeString(v)
		case "effect":
			seen = true
			r.Effect, err = decodeEffect(v)
		case "message":
			r.Message, err = decodeString(v)
		case "always":
			r.Always, err = decodeList(v, decodeString)
		default:
			err = errUnknownMember
		}
		return err
	})
	if err == nil && !seen {
		err = errors.New("effect is missing")
	}
	return r, err
}

func (dec *decoder) obligations(t *ast.Term) (policy.Obligations, error) {
	var o policy.Obligations
	err := eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "timeout_seconds":
			o.TimeoutSeconds, err = decodeInt(v)
		case "max_output_bytes":
			o.MaxOutputBytes, err = decodeInt(v)
		case "audit":
			o.Audit, err = decodeString(v)
		case "ask":
			o.Ask = new(policy.AskTerms)
			err = decodeAsk(v, o.Ask)
		case "sandbox":
			o.Sandbox = new(policy.Sandbox)
			err = dec.sandbox(v, o.Sandbox)
		default:
			err = errUnknownMember
		}
		return err
	})
	return o, err
}

func decodeAsk(t *ast.Term, a *policy.AskTerms) error {
	return eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "ttl_seconds":
			a.TTLSeconds, err = decodeInt(v)
		case "on_timeout":
			a.OnTimeout, err = decodeEffect(v)
		case "always":
			a.Always, err = decodeList(v, decodeString)
		case "lease_seconds":
			a.LeaseSeconds, err = decodeInt(v)
		case "approvers":
			a.Approvers, err = decodeList(v, decodeString)
		default:
			err = errUnknownMember
		}
		return err
	})
}

func (dec *decoder) sandbox(t *ast.Term, s *policy.Sandbox) error {
	return eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "network":
			s.Network, err = decodeBool(v)
		case "write":
			s.Write, err = dec.names(v, false)
		case "create":
			s.Create, err = dec.names(v, false)
		case "caches":
			s.Caches, err = dec.names(v, false)
		case "read":
			s.Read, err = dec.names(v, false)
		case "hide":
			s.Hide, err = dec.names(v, false)
		case "deny_exec":
			s.DenyExec, err = dec.names(v, true)
		case "require":
			s.Require, err = dec.names(v, false)
		case "limits":
			err = decodeSandboxLimits(v, &s.Limits)
		default:
			err = errUnknownMember
		}
		return err
	})
}

func decodeSandboxLimits(t *ast.Term, l *policy.SandboxLimits) error {
	return eachMember(t, func(key string, v *ast.Term) error {
		var err error
		switch key {
		case "file_bytes":
			l.FileBytes, err = decodeInt(v)
		case "open_files":
			l.OpenFiles, err = decodeInt(v)
		case "processes":
			l.Processes, err = decodeInt(v)
		case "memory_bytes":
			l.MemoryBytes, err = decodeInt(v)
		default:
			err = errUnknownMember
		}
		return err
	})
}

// validate checks the shape of a decision, but for lists that were found to be
// valid when the policy was loaded: they are long, and the same each time.
func (dec *decoder) validate(d policy.Decision, kind policy.Kind) error {
	if d.Obligations.Sandbox != nil {
		sandbox := *d.Obligations.Sandbox
		for _, list := range []*[]string{&sandbox.Write, &sandbox.Caches, &sandbox.Read, &sandbox.Hide, &sandbox.DenyExec} {
			if len(*list) > 0 && dec.valid[&(*list)[0]] {
				*list = nil
			}
		}
		d.Obligations.Sandbox = &sandbox
	}
	return d.Validate(kind)
}

// names reads names as decodeNames does, but those that are known.
func (dec *decoder) names(t *ast.Term, texts bool) ([]string, error) {
	if _, ok := t.Value.(ast.Object); ok {
		if names, ok := dec.known[listed{t.Value, texts}]; ok {
			return names, nil
		}
	}
	return decodeNames(t, texts)
}

// decodeNames reads names that stand in an array, or are the keys of an object
// as the lists of the configuration are: there, false takes one out. It saves a
// policy from making an array of such a list for each decision. With texts, a
// value may also be a string, such as a reason.
func decodeNames(t *ast.Term, texts bool) ([]string, error) {
	if _, ok := t.Value.(ast.Object); !ok {
		return decodeList(t, decodeString)
	}
	var names []string
	err := eachMember(t, func(key string, v *ast.Term) error {
		if _, ok := v.Value.(ast.String); ok && texts {
			names = append(names, key)
			return nil
		}
		on, err := decodeBool(v)
		if on {
			names = append(names, key)
		}
		return err
	})
	slices.Sort(names)
	// Decisions share the list: what is added to one must not stand in another.
	return slices.Clip(names), err
}

// eachMember calls f for each member of an object and puts the member's name
// before an error.
func eachMember(t *ast.Term, f func(key string, v *ast.Term) error) error {
	object, ok := t.Value.(ast.Object)
	if !ok {
		return wrongType(t, "an object")
	}
	return object.Iter(func(k, v *ast.Term) error {
		key, ok := k.Value.(ast.String)
		if !ok {
			return wrongType(k, "a string as key")
		}
		if err := f(string(key), v); err != nil {
			return fmt.Errorf("%s: %w", string(key), err)
		}
		return nil
	})
}

// decodeList reads an array. A set is refused: its order is not the policy's.
func decodeList[T any](t *ast.Term, decode func(*ast.Term) (T, error)) ([]T, error) {
	array, ok := t.Value.(*ast.Array)
	if !ok {
		return nil, wrongType(t, "an array")
	}
	list := make([]T, 0, array.Len())
	for i := range array.Len() {
		v, err := decode(array.Elem(i))
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func decodeEffect(t *ast.Term) (policy.Effect, error) {
	s, err := decodeString(t)
	if err != nil {
		return policy.Deny, err
	}
	return policy.ParseEffect(s)
}

func decodeString(t *ast.Term) (string, error) {
	s, ok := t.Value.(ast.String)
	if !ok {
		return "", wrongType(t, "a string")
	}
	return string(s), nil
}

func decodeBool(t *ast.Term) (bool, error) {
	b, ok := t.Value.(ast.Boolean)
	if !ok {
		return false, wrongType(t, "a boolean")
	}
	return bool(b), nil
}

func decodeInt(t *ast.Term) (int, error) {
	n, ok := t.Value.(ast.Number)
	if !ok {
		return 0, wrongType(t, "a number")
	}
	i, ok := n.Int()
	if !ok {
		return 0, wrongType(t, "a whole number")
	}
	return i, nil
}

func wrongType(t *ast.Term, want string) error {
	return fmt.Errorf("is %s, want %s", ast.ValueName(t.Value), want)
}
