package engine

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
)

// BuildConfig says what bundle to build.
type BuildConfig struct {
	// Default is the default policy, which the bundle adds to. Required.
	Default fs.FS
	// Dir is the directory of the policy. Required.
	Dir string
	// Wasm compiles the rules to WebAssembly.
	Wasm bool
	// Revision is what the bundle says of its version; it may be empty.
	Revision string
	// Signing, if it is not nil, signs the bundle.
	Signing *Signing
	// CodeCache is that of [Config].
	CodeCache string
}

// Built is a bundle, and what is in it.
type Built struct {
	Bytes []byte `json:"-"`
	// Teams are the teams whose rules are in it.
	Teams []string `json:"teams"`
	// Files are the files in it.
	Files []string `json:"files"`
	// Entrypoints are what a Wasm module in it answers.
	Entrypoints []string `json:"entrypoints,omitempty"`
	// Extensions are the names of the extensions in it.
	Extensions []string `json:"extensions,omitempty"`
	// Digest is that of a policy to which this is added.
	Digest string `json:"digest"`
	Signed bool   `json:"signed"`
}

// Signing is the key that signs bundles.
type Signing struct {
	key, algorithm string
}

// NewSigning reads a private key in PEM. The algorithm follows from the key if
// it is empty.
func NewSigning(key []byte, algorithm string) (*Signing, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("is not a private key in PEM")
	}
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("is encrypted; `openssl pkey -in FILE` prints it in the open")
	default:
		return nil, fmt.Errorf("is %q, want a private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("is a key of a kind (%T) that signs no bundles", private)
	}
	if algorithm, err = keyAlgorithm(signer.Public(), algorithm); err != nil {
		return nil, err
	}
	return &Signing{key: string(pem.EncodeToMemory(block)), algorithm: algorithm}, nil
}

// Build checks a team's policy as loading does, and makes a bundle of it. The
// bundle is the same for the same files, but for a signature that holds random
// numbers (ES256 and its like, PS256 and its like).
func Build(ctx context.Context, cfg BuildConfig) (Built, error) {
	load := Config{Default: cfg.Default, Dirs: []string{cfg.Dir}, CodeCache: cfg.CodeCache}
	src, err := load.sources(serving)
	if err != nil {
		return Built{}, err
	}
	if len(src.guests) > 0 {
		return Built{}, fmt.Errorf("%s: is compiled to Wasm already; build from the Rego that it was made of", src.guests[0].name)
	}
	c, err := src.compile()
	if err != nil {
		return Built{}, err
	}
	b, entrypoints, err := c.bundle(ctx, src, cfg.Wasm, cfg.Revision, func(f file) string { return f.within(cfg.Dir) })
	if err != nil {
		return Built{}, fmt.Errorf("policy %s: %w", cfg.Dir, err)
	}
	src.pack(b)
	if cfg.Signing != nil {
		if err := cfg.Signing.sign(b); err != nil {
			return Built{}, fmt.Errorf("policy %s: signature: %w", cfg.Dir, err)
		}
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(*b); err != nil {
		return Built{}, fmt.Errorf("policy %s: %w", cfg.Dir, err)
	}
	built := Built{Bytes: out.Bytes(), Teams: src.teams(c), Entrypoints: entrypoints, Signed: cfg.Signing != nil}
	built.Extensions = slices.Sorted(maps.Keys(src.extensions))
	if err := built.check(ctx, load, cfg.Dir); err != nil {
		return Built{}, fmt.Errorf("policy %s: the bundle that was built does not load: %w", cfg.Dir, err)
	}
	return built, nil
}

// check loads a bundle as whoever uses it will.
func (b *Built) check(ctx context.Context, load Config, dir string) error {
	files, err := readArchiveBytes(b.Bytes)
	if err != nil {
		return err
	}
	for _, f := range files {
		b.Files = append(b.Files, f.path)
	}
	slices.Sort(b.Files)
	load.Dirs = nil
	src, err := load.sources(serving)
	if err != nil {
		return err
	}
	if err := src.addBundle(filepath.Base(dir)+bundleSuffix, originTeam, false, files); err != nil {
		return err
	}
	if err := src.parseExtensions(); err != nil {
		return err
	}
	snap, err := build(ctx, src)
	if err != nil {
		return err
	}
	snap.guests.retire()
	snap.extensions.close()
	b.Digest = snap.digest
	return nil
}

// teams returns the teams that have rules.
func (s *sources) teams(c *compiled) []string {
	teams := map[string]bool{}
	for _, f := range s.files {
		if m := c.modules[f.name]; m != nil && f.ofTeam() {
			teams[packagePath(m)[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(teams))
}

// sign signs a bundle.
func (s *Signing) sign(b *bundle.Bundle) error {
	if err := b.GenerateSignature(bundle.NewSigningConfig(s.key, s.algorithm, ""), keyID, false); err != nil {
		return err
	}
	// Named or not, it is OPA's own; another reader knows it by no name.
	b.Signatures.Plugin = ""
	return nil
}

// ofTeam reports whether a file is a module or data that a team decides by.
func (f file) ofTeam() bool { return f.origin == originTeam && !f.isTest() && !f.generated }

// bundle makes a bundle of the teams' part of a policy, whose files have these
// names in it.
func (c *compiled) bundle(ctx context.Context, src *sources, wasm bool, revision string, name func(file) string) (*bundle.Bundle, []string, error) {
	b, err := c.collect(src, name)
	if err != nil {
		return nil, nil, err
	}
	compiler := compile.New().WithCapabilities(src.capabilities()).WithRegoVersion(ast.RegoV1).WithBundle(b).WithRevision(revision)
	var entrypoints []string
	if wasm {
		if err := errors.Join(c.checkSelfContained(src), c.checkNoExtensions(src)); err != nil {
			return nil, nil, err
		}
		if entrypoints = c.entrypoints(src); len(entrypoints) == 0 {
			return nil, nil, errNothingToCompile
		}
		compiler = compiler.WithCapabilities(capabilities()).WithTarget(compile.TargetWasm).WithEntrypoints(entrypoints...).WithPruneUnused(true).
			WithMetadata(&map[string]any{metadataKey: map[string]any{"rules": c.ruleMetadata(src, name)}})
	}
	if err := compiler.Build(ctx); err != nil {
		return nil, nil, compileErrors(err)
	}
	b = compiler.Bundle()
	if wasm {
		b.Modules = nil // all that decides is compiled in
	}
	return b, entrypoints, nil
}

var errNothingToCompile = errors.New("defines no deny, ask, allow or obligations of a team, so there is nothing to compile to Wasm")

// collect gathers the teams' modules and data. The roots say which part of the
// tree is the bundle's, for others that load it.
func (c *compiled) collect(src *sources, place func(file) string) (*bundle.Bundle, error) {
	b := &bundle.Bundle{Data: map[string]any{}}
	owners := merger{}
	roots := map[string]bool{}
	for _, f := range src.files {
		if !f.ofTeam() {
			continue
		}
		if f.isRego() {
			// Parsed once more, by its name in the bundle: what is compiled names its
			// source, and where it was built is nobody's.
			name := place(f)
			m, err := ast.ParseModuleWithOpts(name, string(f.data), ast.ParserOptions{
				Capabilities: capabilities(), ProcessAnnotation: true, RegoVersion: ast.RegoV1,
			})
			if err != nil {
				return nil, err
			}
			roots["team/"+packagePath(m)[1]] = true
			b.Modules = append(b.Modules, bundle.ModuleFile{URL: "/" + name, Path: "/" + name, RelativePath: "/" + name, Parsed: m, Raw: f.data})
			continue
		}
		doc, err := f.document()
		if err != nil {
			return nil, err
		}
		if err := owners.add(b.Data, doc, f.name, "data"); err != nil {
			return nil, err
		}
		if _, ok := doc["opencode"]; ok {
			roots["opencode/config"] = true
		}
		if teams, ok := doc["team"].(map[string]any); ok {
			for team := range teams {
				roots["team/"+team] = true
			}
		}
	}
	slices.SortFunc(b.Modules, func(a, b bundle.ModuleFile) int { return strings.Compare(a.Path, b.Path) })
	list := slices.Sorted(maps.Keys(roots))
	b.Manifest.Roots = &list
	b.Manifest.SetRegoVersion(ast.RegoV1)
	return b, nil
}

// within returns where a file goes in a bundle of a directory: a bundle in the
// directory becomes a folder, so that no two files have one place.
func (f file) within(dir string) string {
	if !f.bundled || f.dir == dir {
		return f.rel
	}
	rel, err := filepath.Rel(dir, f.dir)
	if err != nil {
		rel = filepath.Base(f.dir)
	}
	return strings.TrimSuffix(filepath.ToSlash(rel), bundleSuffix) + "/" + f.rel
}

// entrypoints returns what the teams contribute, as entrypoints.
func (c *compiled) entrypoints(src *sources) []string {
	found := map[string]bool{}
	for _, f := range src.files {
		m := c.modules[f.name]
		if m == nil || !f.ofTeam() {
			continue
		}
		path := packagePath(m)
		for _, rule := range m.Rules {
			if name := rule.Head.Ref()[0].Value.String(); len(path) == 2 && slices.Contains(contributions, name) {
				found["team/"+path[1]+"/"+name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// ruleMetadata returns where the teams' rules stand.
func (c *compiled) ruleMetadata(src *sources, place func(file) string) map[string]any {
	rules := map[string]any{}
	for _, f := range src.files {
		m := c.modules[f.name]
		if m == nil || !f.ofTeam() {
			continue
		}
		for _, rule := range m.Rules {
			id, ok := ruleID(rule)
			if _, taken := rules[id]; ok && !taken {
				rules[id] = map[string]any{"team": packagePath(m)[1], "at": fmt.Sprintf("%s:%d", place(f), rule.Location.Row)}
			}
		}
	}
	return rules
}

// checkSelfContained refuses rules that depend on rules of the default policy:
// a Wasm module sees the data of others, and not their rules, so that a denial
// which depends on one would be undefined.
func (c *compiled) checkSelfContained(src *sources) error {
	teams := map[string]bool{}
	for _, f := range src.files {
		if f.ofTeam() {
			teams[f.name] = true
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.compiler.Modules)) {
		if !teams[name] {
			continue
		}
		for _, rule := range c.compiler.Modules[name].Rules {
			for r := rule; r != nil; r = r.Else {
				for node := range c.compiler.Graph.Dependencies(r) {
					if other, ok := node.(*ast.Rule); ok && other.Location != nil && !teams[other.Location.File] {
						errs = append(errs, fmt.Errorf("%s: depends on %s, a rule of the default policy, which a Wasm module cannot reach; build without --wasm, or take what it needs from the input",
							position(r.Location), strings.TrimPrefix(other.Ref().GroundPrefix().String(), "data.")))
					}
				}
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
