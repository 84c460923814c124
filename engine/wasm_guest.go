package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"

	"opencode/engine/wasm/policyvm"
)

// A Wasm bundle holds contributions of teams as entrypoints of a module. A
// generated package team.<name> asks for each by a built-in, so that whoever
// gathers what teams contribute sees no difference. OPA's way, a resolver at a
// place below data, keeps an answer when `with` changes the input.

// guestBuiltin asks a module for an entrypoint. Its second argument holds the
// input, or nothing where there is none. It compiles only where there are
// modules.
var guestBuiltin = &rego.Function{
	Name: "opencode.guest",
	Decl: types.NewFunction(types.Args(types.S, types.NewArray(nil, types.A)), types.A),
}

// guestSource is a Wasm module as its bundle has it.
type guestSource struct {
	name   string // bundle and module
	bundle string
	module []byte
	// teams maps each team to what it contributes.
	teams map[string][]string
	// rules maps the ids of the teams' rules to where they stand in the source,
	// as far as the bundle says so.
	rules map[string]guestRule
}

// guestRule says where a rule of a guest stands in what it was built from.
type guestRule struct {
	Team string `json:"team"`
	At   string `json:"at"`
}

// metadataKey is the member of a manifest's metadata that is ours.
const metadataKey = "opencode"

// addGuest adds the Wasm module of a bundle, and returns the files of the
// bundle that take part beside it.
func (s *sources) addGuest(name string, o origin, module []byte, manifest bundle.Manifest, files []file) ([]file, error) {
	switch {
	case o != originTeam:
		return nil, errors.New("holds a Wasm module, which adds to the default policy and cannot replace it; use --policy")
	case module == nil:
		return nil, fmt.Errorf("%s: names entrypoints of a Wasm module, and there is no %s", manifestFile, wasmFile)
	}
	g := guestSource{name: name + "/" + wasmFile, bundle: name, module: module, teams: map[string][]string{}}
	for _, r := range manifest.WasmResolvers {
		team, contribution, err := guestEntrypoint(r.Entrypoint)
		switch {
		case err != nil:
			return nil, err
		case strings.TrimPrefix(r.Module, "/") != wasmFile:
			return nil, fmt.Errorf("%s: entrypoint %s is of the module %s; a bundle has one module, %s", manifestFile, r.Entrypoint, r.Module, wasmFile)
		case slices.Contains(g.teams[team], contribution):
			return nil, fmt.Errorf("%s: entrypoint %s stands there twice", manifestFile, r.Entrypoint)
		}
		g.teams[team] = append(g.teams[team], contribution)
	}
	if len(g.teams) == 0 {
		return nil, fmt.Errorf("%s: names no entrypoint of %s", manifestFile, wasmFile)
	}
	var err error
	if g.rules, err = guestRules(manifest); err != nil {
		return nil, err
	}
	if files, err = besideWasm(files); err != nil {
		return nil, err
	}
	s.guests = append(s.guests, g)
	for _, team := range slices.Sorted(maps.Keys(g.teams)) {
		files = append(files, file{
			origin: o, name: g.name + ":team." + team, rel: wasmFile + "/" + team + ".rego", dir: name,
			data: g.gatherer(team), bundled: true, generated: true,
		})
	}
	return files, nil
}

// guestEntrypoint reads the name of an entrypoint.
func guestEntrypoint(name string) (team, contribution string, err error) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || parts[0] != "team" || !slices.Contains(contributions, parts[2]) {
		return "", "", fmt.Errorf("%s: the entrypoint %q takes part in no decision: entrypoints are team/<name>/deny, ask, allow and obligations. "+
			"`opencode policy build --wasm` names them; with `opa build -t wasm` give each with -e, --prune-unused, and --ignore '*_test.rego'", manifestFile, name)
	}
	if !ast.IsVarCompatibleString(parts[1]) || ast.IsKeywordInRegoVersion(parts[1], ast.RegoV1) {
		return "", "", fmt.Errorf("%s: the entrypoint %q: the name of a team is a plain word", manifestFile, name)
	}
	return parts[1], parts[2], nil
}

// guestRules reads where the rules of a guest stand, if its bundle says so.
func guestRules(manifest bundle.Manifest) (map[string]guestRule, error) {
	metadata, ok := manifest.Metadata[metadataKey]
	if !ok {
		return nil, nil //nolint:nilnil // none are known
	}
	text, err := json.Marshal(metadata)
	var own struct {
		Rules map[string]guestRule `json:"rules"`
	}
	if err == nil {
		err = json.Unmarshal(text, &own)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: metadata.%s: %w", manifestFile, metadataKey, err)
	}
	for id, rule := range own.Rules {
		if text := id + rule.Team + rule.At; len(text) > 1<<10 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return nil, fmt.Errorf("%s: metadata.%s: the rule %.100q has a name or a place that cannot be shown", manifestFile, metadataKey, id)
		}
	}
	return own.Rules, nil
}

// besideWasm returns the files that count beside a Wasm module: data, and
// tests. The helpers that OPA leaves in Rego are compiled in. A contribution
// that it left in Rego would be lost, and one in both forms would be answered
// by the Rego one alone, so either is an error.
func besideWasm(files []file) ([]file, error) {
	var kept []file
	for _, f := range files {
		if !f.isRego() || f.isTest() {
			kept = append(kept, f)
			continue
		}
		m, err := ast.ParseModuleWithOpts(f.name, string(f.data), ast.ParserOptions{Capabilities: capabilities(), RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, compileErrors(err)
		}
		path := packagePath(m)
		for _, rule := range m.Rules {
			name := strings.TrimPrefix(rule.Head.Ref().GroundPrefix().String(), "data.")
			full := strings.Join(append(path, strings.Split(name, ".")...), "/")
			if _, _, err := guestEntrypoint(full); err == nil {
				return nil, fmt.Errorf("%s: defines %s in Rego, beside a Wasm module; give it as an entrypoint, too (-e %s), so that there is one form of it", position(rule.Location), full, full)
			}
		}
	}
	return kept, nil
}

// gatherer returns the package of a team that takes what a guest answers. The
// digest of a policy covers its files, so the module's stands in there.
func (g guestSource) gatherer(team string) []byte {
	sum := sha256.Sum256(g.module)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\npackage team.%s\n\ndefault _guest_inputs := []\n\n_guest_inputs := [input]\n", hex.EncodeToString(sum[:]), team)
	for _, c := range slices.Sorted(slices.Values(g.teams[team])) {
		if c == "obligations" {
			fmt.Fprintf(&b, "\nobligations := %s(\"team/%s/obligations\", _guest_inputs)\n", guestBuiltin.Name, team)
			continue
		}
		fmt.Fprintf(&b, "\n%s contains entry if some entry in %s(\"team/%s/%s\", _guest_inputs)\n", c, guestBuiltin.Name, team, c)
	}
	return []byte(b.String())
}

// checkGuestRules adds where the rules of guests stand.
func (s *sources) checkGuestRules(at, owner map[string]string) []error {
	var errs []error
	for _, g := range s.guests {
		for _, id := range slices.Sorted(maps.Keys(g.rules)) {
			rule := g.rules[id]
			pkg := "data.team." + rule.Team
			if _, ok := g.teams[rule.Team]; !ok {
				errs = append(errs, fmt.Errorf("%s: rule id %q is said to belong to team.%s, which the module does not answer for", g.name, id, rule.Team))
				continue
			}
			if other, taken := owner[id]; taken && other != pkg {
				errs = append(errs, fmt.Errorf("%s: rule id %q is taken by %s", g.name, id, at[id]))
				continue
			}
			owner[id], at[id] = pkg, g.bundle+"/"+rule.At
		}
	}
	return errs
}

// guests are the Wasm modules of a snapshot. They are closed when the snapshot
// is no longer in force and no decision uses it. A nil one has none.
type guests struct {
	answers []*answer

	mu      sync.Mutex
	uses    int
	retired bool
	modules []*policyvm.Policy
}

// loadGuests loads the Wasm modules of a policy; nil if it has none, which
// costs nothing.
func (c *compiled) loadGuests(ctx context.Context, src *sources) (*guests, error) {
	if len(src.guests) == 0 {
		return nil, nil //nolint:nilnil // a nil one has none
	}
	data, err := json.Marshal(c.data)
	if err != nil {
		return nil, fmt.Errorf("policy data: %w", err)
	}
	allowed := map[string]bool{}
	for _, b := range capabilities().Builtins {
		allowed[b.Name] = true
	}
	g := &guests{}
	for _, source := range src.guests {
		vm, err := policyvm.New(ctx, policyvm.Config{Module: source.module, Data: data, Builtin: func(name string) bool { return allowed[name] }})
		if err != nil {
			g.retire()
			return nil, fmt.Errorf("policy %s: %w", source.name, err)
		}
		g.modules = append(g.modules, vm)
		if err := g.add(source, vm, c.owner); err != nil {
			g.retire()
			return nil, fmt.Errorf("policy %s: %w", source.name, err)
		}
	}
	return g, nil
}

// add adds what a module answers, which must be what its bundle says.
func (g *guests) add(source guestSource, vm *policyvm.Policy, owner map[string]string) error {
	var named []string
	for team, list := range source.teams {
		for _, c := range list {
			named = append(named, "team/"+team+"/"+c)
		}
	}
	slices.Sort(named)
	if has := vm.Entrypoints(); !slices.Equal(has, named) {
		return fmt.Errorf("answers %s, and the manifest of its bundle names %s", strings.Join(has, ", "), strings.Join(named, ", "))
	}
	for _, e := range named {
		team, contribution, err := guestEntrypoint(e)
		if err != nil {
			return err
		}
		g.answers = append(g.answers, &answer{
			vm: vm, name: source.name, entrypoint: e, pkg: "data.team." + team, contribution: contribution, owner: owner,
		})
	}
	return nil
}

// hold keeps the modules open until release. It reports false if they are
// closed already.
func (g *guests) hold() bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired && g.uses == 0 {
		return false
	}
	g.uses++
	return true
}

// release ends a use.
func (g *guests) release() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.uses--; g.uses == 0 && g.retired {
		g.close()
	}
}

// retire closes the modules as soon as nobody uses them.
func (g *guests) retire() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired = true; g.uses == 0 {
		g.close()
	}
}

// close frees the modules. The caller holds the lock.
func (g *guests) close() {
	for _, vm := range g.modules {
		_ = vm.Close() // nothing is left that could fail for anybody
	}
	g.modules = nil
}

// builtins let a query ask the modules.
func (g *guests) builtins() builtins {
	if g == nil {
		return nil
	}
	askers := make(map[string]asker, len(g.answers))
	for _, a := range g.answers {
		askers[a.entrypoint] = a
	}
	return builtins{askBuiltin(askers)}
}

// asker answers for one entrypoint; nil is undefined, and so is a nil input.
type asker interface {
	ask(ctx context.Context, input ast.Value) (ast.Value, error)
}

// askOptions let a query ask for entrypoints. Whatever goes wrong ends the
// evaluation, so that the decision which asks denies.
func askBuiltin(askers map[string]asker) builtin {
	return builtin{guestBuiltin, func(bctx rego.BuiltinContext, terms []*ast.Term) (*ast.Term, error) {
		entrypoint, inputs := terms[0], terms[1]
		name, ok := termString(entrypoint)
		list, isList := inputs.Value.(*ast.Array)
		a := askers[name]
		if !ok || !isList || list.Len() > 1 || a == nil {
			return nil, rego.NewHaltError(fmt.Errorf("%s(%s): there is no such entrypoint", guestBuiltin.Name, entrypoint))
		}
		var input ast.Value
		if list.Len() == 1 {
			input = list.Elem(0).Value
		}
		value, err := a.ask(bctx.Context, input)
		if err != nil {
			return nil, rego.NewHaltError(err)
		}
		if value == nil {
			return nil, nil
		}
		return ast.NewTerm(value), nil
	}}
}

// answer is one contribution that a module answers.
type answer struct {
	vm           *policyvm.Policy
	name         string
	entrypoint   string
	pkg          string
	contribution string
	owner        map[string]string
}

var _ asker = (*answer)(nil)

// ask asks the module, and checks what it gives.
func (a *answer) ask(ctx context.Context, input ast.Value) (ast.Value, error) {
	var value ast.Value
	var err error
	if s, ok := ctx.Value(sessionKey{}).(*session); ok {
		value, err = s.ask(ctx, a, input)
	} else {
		var values []ast.Value
		if values, err = a.vm.Eval(ctx, input, a.entrypoint); err == nil {
			value = values[0]
		}
	}
	if err == nil {
		err = a.check(value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", a.name, a.entrypoint, err)
	}
	return value, nil
}

// check holds what a module answers to what the same rule in Rego could be.
func (a *answer) check(value ast.Value) error {
	if a.contribution == "obligations" {
		return nil // each member is checked by the default policy
	}
	set, ok := value.(ast.Set)
	if !ok {
		return errors.New("gives no set")
	}
	for _, entry := range set.Slice() {
		object, ok := entry.Value.(ast.Object)
		if !ok {
			continue // the default policy denies for it
		}
		id, ok := termString(object.Get(ast.StringTerm("id")))
		if other, taken := a.owner[id]; ok && taken && other != a.pkg {
			return fmt.Errorf("gives a rule with the id %q, which belongs to %s", id, strings.TrimPrefix(other, "data."))
		}
	}
	return nil
}

func termString(t *ast.Term) (string, bool) {
	if t == nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}

// session keeps what the modules answer within one decision: an input is read
// by a module once, and all that it answers is asked for at once.
type session struct {
	all []*answer
	// input is what the answers are for, which nothing changes in place.
	input  ast.Object
	values map[*answer]ast.Value
}

type sessionKey struct{}

// session returns a context for one decision.
func (g *guests) session(ctx context.Context) context.Context {
	if g == nil {
		return ctx
	}
	return context.WithValue(ctx, sessionKey{}, &session{all: g.answers, values: map[*answer]ast.Value{}})
}

// ask is called by one evaluation, from one goroutine.
func (s *session) ask(ctx context.Context, a *answer, input ast.Value) (ast.Value, error) {
	object, ok := input.(ast.Object)
	if !ok || object != s.input {
		s.input = object
		clear(s.values)
	}
	if v, ok := s.values[a]; ok {
		return v, nil
	}
	var together []*answer
	var entrypoints []string
	for _, other := range s.all {
		if other.vm == a.vm {
			together = append(together, other)
			entrypoints = append(entrypoints, other.entrypoint)
		}
	}
	values, err := a.vm.Eval(ctx, input, entrypoints...)
	if err != nil {
		return nil, err
	}
	for i, other := range together {
		s.values[other] = values[i]
	}
	return s.values[a], nil
}
