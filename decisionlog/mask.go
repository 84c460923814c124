package decisionlog

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The rules are OPA's: a path, or an object with op, path and value. A path is
// below /input, /result or /nd_builtin_cache. It differs where OPA would leave
// in what its author meant to take out:
//
//   - All paths are into the event as it was. An element that is removed from an
//     array does not move those behind it under the paths of other rules.
//   - A part of a path means the member of that name, and also the one whose
//     name it is with %XX or ~0 and ~1 undone.

// maskRule is one thing to take out.
type maskRule struct {
	upsert bool
	parts  []string // the first is input, result or nd_builtin_cache
	value  any
}

// removed stands for what was removed until all rules are done.
type removed struct{}

// parseMask reads what a policy wants to be masked. Anything that is not
// understood is an error: what it was to mask is not known.
func parseMask(list []any) ([]maskRule, error) {
	rules := make([]maskRule, 0, len(list))
	for _, v := range list {
		var rule maskRule
		var err error
		switch x := v.(type) {
		case string:
			rule.parts, err = parsePointer(x)
		case map[string]any:
			rule, err = parseMaskObject(x)
		default:
			err = fmt.Errorf("mask: %T, want a path or an object with op and path", v)
		}
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	// What is removed cannot be changed any more.
	slices.SortStableFunc(rules, func(a, b maskRule) int {
		switch {
		case a.upsert == b.upsert:
			return 0
		case b.upsert:
			return -1
		}
		return 1
	})
	return rules, nil
}

func parseMaskObject(object map[string]any) (maskRule, error) {
	var rule maskRule
	for name := range object {
		if name != "op" && name != "path" && name != "value" {
			return rule, fmt.Errorf("mask: unknown member %q, want op, path and value", name)
		}
	}
	path, ok := object["path"].(string)
	if !ok {
		return rule, errors.New("mask: path must be a text")
	}
	switch object["op"] {
	case "remove":
	case "upsert":
		rule.upsert, rule.value = true, object["value"]
	default:
		return rule, errors.New("mask: op must be remove or upsert")
	}
	var err error
	rule.parts, err = parsePointer(path)
	return rule, err
}

func parsePointer(path string) ([]string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, fmt.Errorf("mask: path %q must start with a slash", path)
	}
	parts := strings.Split(rest, "/")
	switch parts[0] {
	case "input", "result", "nd_builtin_cache":
	default:
		return nil, fmt.Errorf("mask: path %q must be below /input, /result or /nd_builtin_cache", path)
	}
	for _, part := range parts {
		if _, err := url.PathUnescape(part); err != nil {
			return nil, fmt.Errorf("mask: path %q: %w", path, err)
		}
	}
	return parts, nil
}

// String returns the path as OPA tells it.
func (r maskRule) String() string {
	var b strings.Builder
	for _, part := range r.parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(part))
	}
	return b.String()
}

// mask applies rules to the event.
func (ev *event) mask(rules []maskRule) {
	for _, r := range rules {
		var root **any
		switch r.parts[0] {
		case "input":
			root = &ev.Input
		case "result":
			root = &ev.Result
		default:
			continue // there is none
		}
		if *root == nil || !r.apply(*root) {
			continue
		}
		if r.upsert {
			ev.Masked = append(ev.Masked, r.String())
		} else {
			ev.Erased = append(ev.Erased, r.String())
		}
	}
	ev.Input, ev.Result = compact(ev.Input), compact(ev.Result)
}

// apply changes the document, and reports whether there was anything to change.
func (r maskRule) apply(root *any) bool {
	v, done := r.change(*root, r.parts[1:])
	*root = v
	return done
}

// change returns v with what the parts lead to removed or replaced.
func (r maskRule) change(v any, parts []string) (any, bool) {
	if _, gone := v.(removed); gone {
		return v, false // what one team takes out another brings back in no form
	}
	if len(parts) == 0 {
		if r.upsert {
			return r.value, true
		}
		return removed{}, true
	}
	done := false
	switch x := v.(type) {
	case map[string]any:
		for _, key := range spellings(parts[0]) {
			child, ok := x[key]
			if !ok {
				continue
			}
			changed, ok := r.change(child, parts[1:])
			x[key] = changed
			done = done || ok
		}
		if !done && r.upsert {
			if _, ok := x[parts[0]]; !ok {
				x[parts[0]], done = r.change(r.missing(parts[1:]), parts[1:])
			}
		}
	case []any:
		i, err := strconv.Atoi(parts[0])
		if err == nil && i >= 0 && i < len(x) {
			x[i], done = r.change(x[i], parts[1:])
		}
	}
	return v, done
}

// missing is what an upsert puts where nothing is.
func (maskRule) missing(parts []string) any {
	if len(parts) == 0 {
		return nil
	}
	return map[string]any{}
}

// spellings returns the names that a part of a path can stand for.
func spellings(part string) []string {
	list := []string{part}
	if plain, err := url.PathUnescape(part); err == nil {
		list = append(list, plain)
	}
	list = append(list, strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
	slices.Sort(list)
	return slices.Compact(list)
}

// compact takes out what was marked as removed.
func compact(root *any) *any {
	if root == nil {
		return nil
	}
	v := sweep(*root)
	if _, gone := v.(removed); gone {
		return nil
	}
	return &v
}

func sweep(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, child := range x {
			child = sweep(child)
			if _, gone := child.(removed); gone {
				delete(x, k)
				continue
			}
			x[k] = child
		}
	case []any:
		kept := make([]any, 0, len(x))
		for _, child := range x {
			child = sweep(child)
			if _, gone := child.(removed); !gone {
				kept = append(kept, child)
			}
		}
		return kept
	}
	return v
}
