package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"
)

// Lint checks a policy beyond what loading it demands: its format, its
// metadata, the names of its packages and the ids of its rules. It returns one
// line for each finding, each starting with file and line, and an error if the
// policy does not load at all.
func Lint(cfg Config) ([]string, error) {
	src, err := cfg.sources(everything)
	if err != nil {
		return nil, err
	}
	c, err := src.compile()
	if err != nil {
		return nil, err
	}
	guests, err := c.loadGuests(context.Background(), src)
	if err != nil {
		return nil, err
	}
	guests.retire()
	ext, err := src.loadExtensions(context.Background())
	if err != nil {
		return nil, err
	}
	ext.close()
	tested := cfg.tested()
	titled := titles(c)
	var findings []string
	for _, f := range src.files {
		if !f.isRego() || !tested(f) || f.generated {
			continue
		}
		m := c.modules[f.name]
		findings = append(findings, lintFormat(f)...)
		findings = append(findings, lintPackage(f, m)...)
		if !f.isTest() {
			findings = append(findings, lintMetadata(m, titled)...)
			findings = append(findings, lintNegations(m)...)
			findings = append(findings, lintRules(f, m)...)
		}
	}
	slices.Sort(findings)
	return findings, nil
}

// Format returns a Rego file as it should be written.
func Format(name string, text []byte) ([]byte, error) {
	out, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, errors.Join(compileErrors(err))
	}
	return out, nil
}

func lintFormat(f file) []string {
	want, err := Format(f.name, f.data)
	if err != nil {
		return []string{err.Error()}
	}
	if bytes.Equal(want, f.data) {
		return nil
	}
	line := 1
	for a, b := range lines2(f.data, want) {
		if !bytes.Equal(a, b) {
			break
		}
		line++
	}
	return []string{fmt.Sprintf("%s:%d: is not formatted as `opa fmt` would; `opencode policy fmt` writes it so", f.name, line)}
}

// lines2 goes through two texts line by line.
func lines2(a, b []byte) func(yield func(a, b []byte) bool) {
	return func(yield func(a, b []byte) bool) {
		for len(a) > 0 || len(b) > 0 {
			var lineA, lineB []byte
			lineA, a, _ = bytes.Cut(a, []byte("\n"))
			lineB, b, _ = bytes.Cut(b, []byte("\n"))
			if !yield(lineA, lineB) {
				return
			}
		}
	}
}

// lintPackage holds a package's name to the place of its file: the folder, or
// for a team the folder or the file's own name below package team.
func lintPackage(f file, m *ast.Module) []string {
	name := strings.Join(packagePath(m), ".")
	dir, base := path.Split(strings.TrimSuffix(f.rel, ".rego"))
	folder := strings.ReplaceAll(strings.Trim(dir, "/"), "/", ".")
	suffix := ""
	if subject, ok := strings.CutSuffix(base, "_test"); ok {
		suffix, base = "_test", subject
	}
	wants := []string{folder + suffix}
	if f.origin == originTeam {
		within := strings.Trim("team."+folder, ".")
		wants = []string{within + "." + base + suffix}
		if folder != "" {
			wants = append(wants, within+suffix)
		}
	}
	if slices.Contains(wants, name) {
		return nil
	}
	return []string{fmt.Sprintf("%s: package %s: the file's place wants %s", position(m.Package.Location), name, strings.Join(wants, " or "))}
}

// titles returns the packages and rules that have a title and a description.
// The files of one package share what stands in one of them.
func titles(c *compiled) map[string]bool {
	titled := map[string]bool{}
	for _, m := range c.modules {
		for _, a := range m.Annotations {
			if a.Title != "" && a.Description != "" {
				titled[a.GetTargetPath().String()] = true
			}
		}
	}
	return titled
}

// lintMetadata wants a title and a description of every package and of every
// rule that others may use. The rules that a team contributes say what they do
// in their messages.
func lintMetadata(m *ast.Module, titled map[string]bool) []string {
	var findings []string
	pkg := m.Package.Path.String()
	if !titled[pkg] {
		titled[pkg] = true // once is enough
		findings = append(findings, position(m.Package.Location)+": the package has no METADATA with title and description")
	}
	team := strings.HasPrefix(pkg, "data.team.")
	for _, rule := range m.Rules {
		name := rule.Head.Ref()[0].Value.String()
		path := pkg + "." + name
		if titled[path] || strings.HasPrefix(name, "_") || team && slices.Contains(contributions, name) {
			continue
		}
		titled[path] = true
		findings = append(findings, fmt.Sprintf("%s: rule %s has no METADATA with title and description", position(rule.Location), name))
	}
	return findings
}

// lintNegations finds negated calls with a reference among their arguments. If
// the reference is undefined then so is the whole expression, negation and
// all, and a denial that depends on it does not deny.
func lintNegations(m *ast.Module) []string {
	var findings []string
	ast.WalkExprs(m, func(e *ast.Expr) bool {
		if e.Negated && mayBeUndefined(e) {
			findings = append(findings, fmt.Sprintf("%s: %s: is undefined, not true, if a value in it is missing; "+
				"put what is negated into a rule or function of its own", position(e.Location), strings.TrimSpace(string(e.Location.Text))))
		}
		return false
	})
	return findings
}

// mayBeUndefined reports whether a negated expression hangs on a reference
// within a call or within another reference. A plain comparison of references
// for equality is safe.
func mayBeUndefined(e *ast.Expr) bool {
	if !e.IsCall() {
		term, ok := e.Terms.(*ast.Term)
		return ok && hasNestedRef(term)
	}
	equality := e.IsEquality() || e.Operator().Equal(ast.Equal.Ref())
	for _, operand := range e.Operands() {
		_, isRef := operand.Value.(ast.Ref)
		if hasNestedRef(operand) || isRef && !equality {
			return true
		}
	}
	return false
}

// hasNestedRef reports whether a term holds a reference or a call other than
// itself. A comprehension is empty, not undefined, if its body is.
func hasNestedRef(t *ast.Term) bool {
	found := false
	ast.NewGenericVisitor(func(x any) bool {
		switch v := x.(type) {
		case *ast.Term:
			switch v.Value.(type) {
			case ast.Call:
				found = true
			case ast.Ref:
				found = found || v != t
			}
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			return true
		}
		return found
	}).Walk(t)
	return found
}

var ruleIDForm = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

func lintRules(f file, m *ast.Module) []string {
	var findings []string
	for _, rule := range m.Rules {
		if id, ok := ruleID(rule); ok && f.origin == originDefault && !hasTitle(rule) {
			findings = append(findings, fmt.Sprintf("%s: rule %s has no METADATA of its own", position(rule.Location), id))
		}
		name := rule.Head.Ref()[0].Value.String()
		if strings.HasPrefix(name, tester.TestPrefix) {
			findings = append(findings, fmt.Sprintf("%s: %s: a test belongs in a file *_test.rego", position(rule.Location), name))
		}
		id, ok := ruleID(rule)
		if ok && !ruleIDForm.MatchString(id) {
			findings = append(findings, fmt.Sprintf("%s: rule id %q: want area.snake_case", position(rule.Location), id))
		}
		if !ok && f.origin == originTeam && slices.Contains(contributions[:3], name) {
			findings = append(findings, fmt.Sprintf("%s: %s has no literal id, so that a decision cannot say where the rule stands", position(rule.Location), name))
		}
	}
	return findings
}

// hasTitle reports whether a rule has a title and a description of its own,
// beside those of the document that it is part of.
func hasTitle(rule *ast.Rule) bool {
	return slices.ContainsFunc(rule.Annotations, func(a *ast.Annotations) bool {
		return a.Scope == "rule" && a.Title != "" && a.Description != ""
	})
}
