package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"opencode/policy"
)

// entrypoints are the queries that decide, by kind of input.
var entrypoints = [...]struct {
	kind policy.Kind
	ref  string
}{
	{policy.KindRequest, "data.opencode.request.decision"},
	{policy.KindPrompt, "data.opencode.prompt.decision"},
}

// compiled is a policy that passed every check.
type compiled struct {
	modules  map[string]*ast.Module // by name, as parsed
	compiler *ast.Compiler
	data     map[string]any
	// at maps the id of each rule to the file and line where it stands.
	at map[string]string
	// owner maps it to the package that it belongs to.
	owner map[string]string
	// pure are the functions of extensions whose results hang on their arguments
	// alone, by the names that Rego has for them.
	pure map[string]bool
}

// compile parses, checks and compiles the policy. Errors name file and line.
func (s *sources) compile() (*compiled, error) {
	contents := s.contents()
	modules, err := s.modules(contents)
	if err != nil {
		return nil, err
	}
	data, err := s.documents(contents)
	if err != nil {
		return nil, err
	}
	at, owner, err := s.checkModules(modules)
	if err != nil {
		return nil, err
	}
	s.addTeams(data, modules)
	compiler, err := s.compiler()
	if err != nil {
		return nil, err
	}
	// Of a rule and data at one place the rule would win, in silence.
	compiler.WithPathConflictsCheck(func(path []string) (bool, error) { return exists(data, path), nil })
	compiler.Compile(modules)
	if compiler.Failed() {
		return nil, compileErrors(compiler.Errors)
	}
	c := &compiled{modules: modules, compiler: compiler, data: data, at: at, owner: owner}
	c.pure = s.pureExtensions()
	if err := c.checkEntrypoints(); err != nil {
		return nil, err
	}
	return c, nil
}

// addTeams adds to the data which teams are loaded, so that rules need not look
// for what none of them gives. Whatever else comes to take part in decisions as
// teams do must be among them.
func (s *sources) addTeams(data map[string]any, modules map[string]*ast.Module) {
	if s.only {
		return
	}
	teams := map[string]any{}
	for _, m := range modules {
		if path := packagePath(m); len(path) > 1 && path[0] == "team" && !strings.HasSuffix(path[len(path)-1], "_test") {
			teams[path[1]] = true
		}
	}
	if given, ok := data["team"].(map[string]any); ok {
		for name := range given {
			teams[name] = true
		}
	}
	override(data, map[string]any{"opencode": map[string]any{"loaded": map[string]any{"teams": teams}}})
}

// exists reports whether there is something at a path of a document.
func exists(document map[string]any, path []string) bool {
	var v any = document
	for _, key := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = object[key]; !ok {
			return false
		}
	}
	return true
}

// modules returns the modules of the Rego files, by name.
func (s *sources) modules(contents []content) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(s.files))
	var errs []error
	for i, f := range s.files {
		_, twice := modules[f.name]
		switch {
		case !f.isRego():
		case twice:
			errs = append(errs, fmt.Errorf("%s: is given twice", f.name))
		case contents[i].err != nil:
			errs = append(errs, compileErrors(contents[i].err))
		default:
			modules[f.name] = contents[i].module
		}
	}
	errs = append(errs, addMaskSchema(modules))
	return modules, errors.Join(errs...)
}

// compileErrors gives each error of OPA a line of its own that starts with
// file and line.
func compileErrors(err error) error {
	var list ast.Errors
	var one *ast.Error
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = ast.Errors{one}
	default:
		return err
	}
	errs := make([]error, 0, len(list))
	for _, e := range list {
		if e.Location == nil {
			errs = append(errs, errors.New(e.Message))
			continue
		}
		details := ""
		if e.Details != nil {
			details = ": " + strings.Join(strings.Fields(strings.Join(e.Details.Lines(), " ")), " ")
		}
		errs = append(errs, fmt.Errorf("%s:%d: %s%s", e.Location.File, e.Location.Row, e.Message, details))
	}
	return errors.Join(errs...)
}

func (s *sources) compiler() (*ast.Compiler, error) {
	if s.serves && s.checked && s.isDefault() {
		return ast.NewCompiler().
			WithSkipStages(idleStages()...).
			WithCapabilities(s.capabilities()).
			WithStrict(true).
			WithKeepModules(true).
			WithDefaultRegoVersion(ast.RegoV1), nil
	}
	schema, err := s.schema("input")
	if err != nil {
		return nil, err
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().
		WithCapabilities(s.capabilities()).
		WithStrict(true).
		WithSchemas(set).
		WithUseTypeCheckAnnotations(true).
		WithKeepModules(true).
		WithDefaultRegoVersion(ast.RegoV1), nil
}

// isDefault reports whether there is the default and nothing else.
func (s *sources) isDefault() bool {
	isAdded := func(f file) bool { return f.origin != originDefault }
	return !s.only && !slices.ContainsFunc(s.files, isAdded) && len(s.guests) == 0 && len(s.extensions) == 0
}

// idleStages are the stages of the compiler that refuse a policy or pass it as it is,
// and those that find nothing to change in the default. Tests hold that they all
// pass it, and that it compiles to the same without them.
func idleStages() []ast.StageID {
	return []ast.StageID{
		ast.StageCheckUnusedImports, ast.StageRewriteRuleHeadRefs, ast.StageCheckKeywordOverrides, ast.StageCheckDuplicateImports,
		ast.StageRewriteTemplateStrings, ast.StageCheckVoidCalls, ast.StageRewritePrintCalls, ast.StageParseMetadataBlocks,
		ast.StageSetAnnotationSet, ast.StageRewriteRegoMetadataCalls, ast.StageSetGraph, ast.StageRewriteWithValues,
		ast.StageCheckRuleConflicts, ast.StageCheckUndefinedFuncs, ast.StageCheckSafetyRuleHeads, ast.StageCheckSafetyRuleBodies,
		ast.StageRewriteTestRulesForTracing, ast.StageCheckRecursion, ast.StageCheckTypes, ast.StageCheckUnsafeBuiltins,
		ast.StageCheckDeprecatedBuiltins, ast.StageBuildRequiredCapabilities,
	}
}

func (s *sources) schema(name string) (any, error) {
	b, err := fs.ReadFile(s.schemas, "schemas/"+name+".json")
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	var v any
	if err := util.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	return v, nil
}

// documents merges the data files into one document.
func (s *sources) documents(contents []content) (map[string]any, error) {
	base, team := map[string]any{}, map[string]any{}
	ofBase, ofTeam := merger{}, merger{}
	var errs []error
	for i, f := range s.files {
		if f.isRego() {
			continue
		}
		doc, err := contents[i].doc, contents[i].err
		if err != nil {
			errs = append(errs, err)
			continue
		}
		into, owners := base, ofBase
		if f.origin == originTeam {
			if err := s.checkTeamData(f, doc); err != nil {
				errs = append(errs, err)
				continue
			}
			into, owners = team, ofTeam
		}
		errs = append(errs, owners.add(into, doc, f.name, "data"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	override(base, team)
	return base, nil
}

func (c *compiled) checkEntrypoints() error {
	var errs []error
	for _, e := range entrypoints {
		ref := ast.MustParseRef(e.ref)
		if len(c.compiler.GetRulesExact(ref)) == 0 {
			errs = append(errs, fmt.Errorf("policy has no entrypoint %s, so nothing decides a %s; define it, or use --policy to add to the default", e.ref, e.kind))
		}
	}
	return errors.Join(errs...)
}
