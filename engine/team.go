package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/util"
)

// contributions are the rules of a team's package that take part in a
// decision.
var contributions = []string{"deny", "ask", "allow", "obligations"}

// checkModules holds every module to what its origin may define, and returns
// where the rule with each id stands, and the package that it is in.
func (s *sources) checkModules(modules map[string]*ast.Module) (at, owner map[string]string, err error) {
	at, owner = map[string]string{}, map[string]string{}
	errs := s.checkTeamSources(modules)
	for _, f := range s.files {
		m := modules[f.name]
		if m == nil {
			continue
		}
		if f.origin == originTeam {
			errs = append(errs, checkTeamModule(m)...)
		}
		if f.isTest() {
			continue
		}
		pkg := m.Package.Path.String()
		for _, rule := range m.Rules {
			id, ok := ruleID(rule)
			if !ok {
				continue
			}
			if other, taken := owner[id]; taken && other != pkg {
				errs = append(errs, fmt.Errorf("%s: rule id %q is taken by %s", position(rule.Location), id, at[id]))
				continue
			}
			if _, taken := at[id]; !taken {
				owner[id], at[id] = pkg, position(rule.Location)
			}
		}
	}
	errs = append(errs, s.checkGuestRules(at, owner)...)
	return at, owner, errors.Join(errs...)
}

// checkTeamSources refuses a team that a bundle and anything else define: of
// two bundles that were meant to replace each other both would decide.
func (s *sources) checkTeamSources(modules map[string]*ast.Module) []error {
	first := map[string]file{}
	var errs []error
	for _, f := range s.files {
		m := modules[f.name]
		if m == nil || f.origin != originTeam || f.isTest() {
			continue
		}
		path := packagePath(m)
		if len(path) < 2 || path[0] != "team" {
			continue
		}
		other, taken := first[path[1]]
		switch {
		case !taken:
			first[path[1]] = f
		case other.dir != f.dir && (other.bundled || f.bundled):
			errs = append(errs, fmt.Errorf("%s: team.%s is defined by %s as well; a team of a bundle has no other source", f.name, path[1], other.name))
		}
	}
	return errs
}

// checkTeamModule refuses what a team may not define. Rego merges the rules of
// modules with one package, so a module in a package of the default policy
// would change the default from within; and a contribution that is not a set
// would be passed over by whoever gathers it.
func checkTeamModule(m *ast.Module) []error {
	path := packagePath(m)
	if isMaskPackage(path) {
		return checkMaskModule(m)
	}
	if len(path) < 2 || path[0] != "team" {
		return []error{fmt.Errorf("%s: package %s: a team's package must be team.<name>", position(m.Package.Location), strings.Join(path, "."))}
	}
	isTest := strings.HasSuffix(path[len(path)-1], "_test")
	var errs []error
	if len(path) > 2 && slices.Contains(contributions, path[2]) {
		errs = append(errs, fmt.Errorf("%s: package %s: %s must be a rule of package team.%s", position(m.Package.Location), strings.Join(path, "."), path[2], path[1]))
	}
	for _, rule := range m.Rules {
		ref := rule.Head.Ref()
		name, ok := ref[0].Value.(ast.Var)
		if !ok || !slices.Contains(contributions, string(name)) {
			continue
		}
		switch {
		case isTest:
			errs = append(errs, fmt.Errorf("%s: %s in a test package takes part in no decision", position(rule.Location), name))
		case len(path) > 2:
			errs = append(errs, fmt.Errorf("%s: %s takes part in decisions only in package team.%s", position(rule.Location), name, path[1]))
		case name == "obligations" && (rule.Head.Key != nil || len(rule.Head.Args) > 0):
			errs = append(errs, fmt.Errorf("%s: obligations must be an object", position(rule.Location)))
		case name != "obligations" && (len(ref) != 1 || rule.Head.RuleKind() != ast.MultiValue):
			errs = append(errs, fmt.Errorf("%s: %s must be a set: write `%s contains {\"id\": …, \"message\": …} if { … }`", position(rule.Location), name, name))
		}
	}
	return errs
}

// checkTest holds a test file of a directory to a package of tests. Serving
// leaves test files out, and rules of a team with them if they stood there.
func (f file) checkTest() error {
	if f.dir == "" || !strings.HasSuffix(f.rel, "_test.rego") {
		return nil
	}
	m, err := ast.ParseModuleWithOpts(f.name, string(f.data), ast.ParserOptions{Capabilities: capabilities(), RegoVersion: ast.RegoV1})
	if err != nil {
		return compileErrors(err)
	}
	path := packagePath(m)
	if name := path[len(path)-1]; !strings.HasSuffix(name, "_test") {
		return fmt.Errorf("%s: package %s: serving leaves out files *_test.rego, so they may hold packages *_test alone",
			position(m.Package.Location), strings.Join(path, "."))
	}
	return nil
}

// ruleID returns the id that a rule with a literal one gives.
func ruleID(rule *ast.Rule) (string, bool) {
	if rule.Head.RuleKind() != ast.MultiValue || rule.Head.Key == nil {
		return "", false
	}
	object, ok := rule.Head.Key.Value.(ast.Object)
	if !ok {
		return "", false
	}
	term := object.Get(ast.StringTerm("id"))
	if term == nil {
		return "", false
	}
	id, ok := term.Value.(ast.String)
	return string(id), ok
}

// checkTeamData holds a team's data to its own part of the tree and to the
// configuration of the default policy, whose shape a schema gives: a mistyped
// key would otherwise change nothing, in silence.
func (s *sources) checkTeamData(f file, doc map[string]any) error {
	var errs []error
	for _, key := range util.KeysSorted(doc) {
		switch value, isObject := doc[key].(map[string]any); {
		case key == "team" && isObject:
			errs = append(errs, checkTeamNames(f, value))
		case key == "opencode" && isObject:
			for _, area := range util.KeysSorted(value) {
				if area != "config" {
					errs = append(errs, fmt.Errorf("%s: data.opencode.%s: a team may set data.opencode.config alone", f.name, area))
					continue
				}
				errs = append(errs, s.checkConfig(f, value[area]))
			}
		default:
			errs = append(errs, fmt.Errorf("%s: data.%s: a team's data must be below data.team or data.opencode.config", f.name, key))
		}
	}
	return errors.Join(errs...)
}

func checkTeamNames(f file, teams map[string]any) error {
	var errs []error
	for _, team := range util.KeysSorted(teams) {
		object, ok := teams[team].(map[string]any)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: data.team.%s: is not an object", f.name, team))
			continue
		}
		for _, name := range contributions {
			if _, ok := object[name]; ok {
				errs = append(errs, fmt.Errorf("%s: data.team.%s.%s: must be a rule, not data", f.name, team, name))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *sources) checkConfig(f file, config any) error {
	// A string would be read as JSON text that fits the schema, and then replace
	// the whole configuration.
	if _, ok := config.(map[string]any); !ok {
		return fmt.Errorf("%s: data.opencode.config: is not an object", f.name)
	}
	schema, err := s.schema("config")
	if err != nil {
		return err
	}
	rs, err := rego.New(
		rego.Query("result := json.match_schema(input.config, input.schema)"),
		rego.Input(map[string]any{"config": config, "schema": schema}),
		rego.StrictBuiltinErrors(true),
	).Eval(context.Background())
	if err != nil || len(rs) != 1 {
		return fmt.Errorf("%s: data.opencode.config cannot be checked: %w", f.name, err)
	}
	result, ok := rs[0].Bindings["result"].([]any)
	if !ok || len(result) != 2 {
		return fmt.Errorf("%s: data.opencode.config cannot be checked", f.name)
	}
	if result[0] == true {
		return nil
	}
	problems, _ := result[1].([]any)
	errs := make([]error, 0, len(problems))
	for _, p := range problems {
		problem, _ := p.(map[string]any)
		errs = append(errs, fmt.Errorf("%s: data.opencode.config: %v", f.name, problem["error"]))
	}
	return errors.Join(append(errs, fmt.Errorf("%s: data.opencode.config does not fit its schema", f.name))...)
}

func packagePath(m *ast.Module) []string {
	path := make([]string, 0, len(m.Package.Path))
	for _, term := range m.Package.Path[1:] {
		name, _ := term.Value.(ast.String)
		path = append(path, string(name))
	}
	return path
}

func position(l *ast.Location) string {
	if l == nil {
		return "policy"
	}
	return fmt.Sprintf("%s:%d", l.File, l.Row)
}
