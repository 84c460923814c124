package engine

import (
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// inputShape says how an input document is made into a key and into the value
// that Rego sees. The value says the same as the JSON of the document, which a
// test holds it to, without the way through text.
func inputShape() shape[policy.Input] {
	type input = policy.Input
	return shape[input]{
		integer("version", func(in *input) int64 { return int64(in.Version) }),
		str("kind", func(in *input) string { return string(in.Kind) }),
		part("time", func(in *input) *policy.Time { return &in.Time }, nil, shape[policy.Time]{
			integer("unix", func(t *policy.Time) int64 { return t.Unix }),
			str("weekday", func(t *policy.Time) string { return t.Weekday }),
			integer("hour", func(t *policy.Time) int64 { return int64(t.Hour) }),
		}),
		part("principal", func(in *input) *policy.Principal { return &in.Principal }, nil, principalShape()),
		part("request", func(in *input) *policy.Request { return in.Request }, nil, requestShape()),
		part("prompt", func(in *input) *policy.Prompt { return in.Prompt }, nil, promptShape()),
		part("session", func(in *input) *policy.Session { return in.Session }, nil, sessionShape()),
		part("host", func(in *input) *policy.Host { return in.Host }, nil, hostShape()),
	}
}

// inputValue returns the whole of an input document as Rego sees it.
func inputValue(in *policy.Input) (ast.Value, error) {
	t, err := inputShape().term(in)
	if err != nil {
		return nil, err
	}
	return t.Value, nil
}

func principalShape() shape[policy.Principal] {
	type principal = policy.Principal
	return shape[principal]{
		str("kind", func(p *principal) string { return string(p.Kind) }),
		str("id", func(p *principal) string { return p.ID }),
		str("name", func(p *principal) string { return p.Name }),
		strs("permissions", func(p *principal) []string { return p.Permissions }),
		boolean("expired", func(p *principal) bool { return p.Expired }),
		leaf("expires_in_days", func(p *principal) *int { return p.ExpiresInDays }, func(k *key, days *int) {
			k.flag(days != nil)
			if days != nil {
				k.number(int64(*days))
			}
		}, func(days *int) *ast.Term {
			if days == nil {
				return ast.NullTerm()
			}
			return intTerm(int64(*days))
		}),
		table("attributes", func(p *principal) map[string]string { return p.Attributes }, (*key).text, nil,
			func(s string) (*ast.Term, error) { return strTerm(s), nil }),
	}
}

func requestShape() shape[policy.Request] {
	type request = policy.Request
	return shape[request]{
		str("method", func(r *request) string { return r.Method }),
		str("path", func(r *request) string { return r.Path }),
		optional("route", func(r *request) *string { return r.Route }),
		strs("segments", func(r *request) []string { return r.Segments }),
		boolean("canonical", func(r *request) bool { return r.Canonical }),
		table("query", func(r *request) map[string][]string { return r.Query }, (*key).texts, nil,
			func(list []string) (*ast.Term, error) { return textsTerm(list), nil }),
		str("host", func(r *request) string { return r.Host }),
		optional("origin", func(r *request) *string { return r.Origin }),
		boolean("websocket", func(r *request) bool { return r.WebSocket }),
		part("remote", func(r *request) *policy.Remote { return &r.Remote }, nil, shape[policy.Remote]{
			str("ip", func(r *policy.Remote) string { return r.IP }),
			boolean("loopback", func(r *policy.Remote) bool { return r.Loopback }),
		}),
		integer("bytes", func(r *request) int64 { return r.Bytes }),
		part("directory", func(r *request) *policy.Directory { return r.Directory }, ast.NullTerm(), shape[policy.Directory]{
			str("raw", func(d *policy.Directory) string { return d.Raw }),
			str("real", func(d *policy.Directory) string { return d.Real }),
			boolean("inside", func(d *policy.Directory) bool { return d.Inside }),
		}),
	}
}

func promptShape() shape[policy.Prompt] {
	type prompt = policy.Prompt
	return shape[prompt]{
		str("tool", func(p *prompt) string { return p.Tool }),
		table("args", func(p *prompt) map[string]any { return p.Args }, (*key).value, isPlain, argTerm),
		part("command", func(p *prompt) *shell.Command { return p.Command }, nil, shape[shell.Command]{
			list("calls", func(c *shell.Command) []shell.Call { return c.Calls }, keyCall, callTerm()),
			list("redirects", func(c *shell.Command) []shell.Redirect { return c.Redirects }, keyRedirect, redirectTerm()),
			list("files", func(c *shell.Command) []shell.File { return c.Files }, keyFile, fileTerm()),
			strs("assigns", func(c *shell.Command) []string { return c.Assigns }),
			boolean("dynamic", func(c *shell.Command) bool { return c.Dynamic }),
			boolean("parsed", func(c *shell.Command) bool { return c.Parsed }),
			optional("problem", func(c *shell.Command) *string { return c.Problem }),
		}),
		list("paths", func(p *prompt) []fspath.Path { return p.Paths }, keyPath, pathTerm()),
		part("content", func(p *prompt) *policy.Content { return p.Content }, nil, shape[policy.Content]{
			integer("bytes", func(c *policy.Content) int64 { return int64(c.Bytes) }),
			integer("lines", func(c *policy.Content) int64 { return int64(c.Lines) }),
		}),
	}
}

func argTerm(v any) (*ast.Term, error) {
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, fmt.Errorf("input: prompt.args: %w", err)
	}
	return ast.NewTerm(value), nil
}

func sessionShape() shape[policy.Session] {
	type session = policy.Session
	return shape[session]{
		str("id", func(s *session) string { return s.ID }),
		optional("parent", func(s *session) *string { return s.Parent }),
		integer("depth", func(s *session) int64 { return int64(s.Depth) }),
		str("agent", func(s *session) string { return s.Agent }),
		str("directory", func(s *session) string { return s.Directory }),
		boolean("interactive", func(s *session) bool { return s.Interactive }),
		list("approvals", func(s *session) []policy.Approval { return s.Approvals }, keyApproval, approvalTerm()),
		list("restrictions", func(s *session) []policy.Restriction { return s.Restrictions }, keyRestriction, restrictionTerm()),
	}
}

func hostShape() shape[policy.Host] {
	type sandbox = policy.HostSandbox
	return shape[policy.Host]{
		str("os", func(h *policy.Host) string { return h.OS }),
		part("sandbox", func(h *policy.Host) *sandbox { return &h.Sandbox }, nil, shape[sandbox]{
			strs("holds", func(s *sandbox) []string { return s.Holds }),
			integer("landlock", func(s *sandbox) int64 { return int64(s.Landlock) }),
			boolean("seccomp", func(s *sandbox) bool { return s.Seccomp }),
			boolean("namespaces", func(s *sandbox) bool { return s.Namespaces }),
		}),
	}
}

// What stands in a list is taken whole. Key and value of a type stand beside
// each other here, so that a new member is seen to be missing in both.

func keyCall(k *key, c *shell.Call) {
	k.text(c.Name)
	k.texts(c.Argv)
	k.text(c.Path)
	k.text(c.Subcommand)
	k.text(c.Operand)
	k.text(c.Plain)
	k.texts(c.Effects)
	k.optional(c.Code)
	k.flag(c.Dynamic)
	k.texts(c.Via)
	k.text(c.Text)
}

func callTerm() func(*shell.Call) *ast.Term {
	names := nameTerms("name", "argv", "path", "subcommand", "operand", "plain", "effects", "code", "dynamic", "via", "text")
	return func(c *shell.Call) *ast.Term {
		return objectTerm(
			names, strTerm(c.Name), textsTerm(c.Argv), strTerm(c.Path), strTerm(c.Subcommand), strTerm(c.Operand), strTerm(c.Plain),
			textsTerm(c.Effects), optionalTerm(c.Code), ast.InternedTerm(c.Dynamic), textsTerm(c.Via), strTerm(c.Text),
		)
	}
}

func keyRedirect(k *key, r *shell.Redirect) {
	k.text(r.Op)
	k.text(r.Target)
	k.text(r.Access)
	k.flag(r.Dynamic)
}

func redirectTerm() func(*shell.Redirect) *ast.Term {
	names := nameTerms("op", "target", "access", "dynamic")
	return func(r *shell.Redirect) *ast.Term {
		return objectTerm(names, strTerm(r.Op), strTerm(r.Target), strTerm(r.Access), ast.InternedTerm(r.Dynamic))
	}
}

func keyFile(k *key, f *shell.File) {
	k.text(f.Path)
	k.text(f.Access)
	k.text(f.By)
	k.flag(f.Home)
	k.flag(f.Glob)
	k.flag(f.Recursive)
	k.flag(f.Dynamic)
}

func fileTerm() func(*shell.File) *ast.Term {
	names := nameTerms("path", "access", "by", "home", "glob", "recursive", "dynamic")
	return func(f *shell.File) *ast.Term {
		return objectTerm(
			names, strTerm(f.Path), strTerm(f.Access), strTerm(f.By), ast.InternedTerm(f.Home), ast.InternedTerm(f.Glob),
			ast.InternedTerm(f.Recursive), ast.InternedTerm(f.Dynamic),
		)
	}
}

func keyPath(k *key, p *fspath.Path) {
	k.text(p.Raw)
	k.text(p.Real)
	k.text(p.Relative)
	k.flag(p.Inside)
	k.text(string(p.Access))
	k.flag(p.Exists)
	k.flag(p.Link)
	k.text(p.Kind)
	k.number(int64(p.Links))
	k.text(p.Class)
	k.optional(p.Problem)
}

func pathTerm() func(*fspath.Path) *ast.Term {
	names := nameTerms("raw", "real", "relative", "inside", "access", "exists", "link", "kind", "links", "class", "problem")
	return func(p *fspath.Path) *ast.Term {
		return objectTerm(
			names, strTerm(p.Raw), strTerm(p.Real), strTerm(p.Relative), ast.InternedTerm(p.Inside), strTerm(string(p.Access)),
			ast.InternedTerm(p.Exists), ast.InternedTerm(p.Link), strTerm(p.Kind), intTerm(int64(p.Links)), strTerm(p.Class), optionalTerm(p.Problem),
		)
	}
}

func keyApproval(k *key, a *policy.Approval) {
	k.text(a.Tool)
	k.text(a.Pattern)
}

func approvalTerm() func(*policy.Approval) *ast.Term {
	names := nameTerms("tool", "pattern")
	return func(a *policy.Approval) *ast.Term { return objectTerm(names, strTerm(a.Tool), strTerm(a.Pattern)) }
}

func keyRestriction(k *key, r *policy.Restriction) {
	k.text(r.Permission)
	k.text(r.Pattern)
	k.text(r.Action)
}

func restrictionTerm() func(*policy.Restriction) *ast.Term {
	names := nameTerms("permission", "pattern", "action")
	return func(r *policy.Restriction) *ast.Term {
		return objectTerm(names, strTerm(r.Permission), strTerm(r.Pattern), strTerm(r.Action))
	}
}

// nameTerms returns the names of an object's members, made once.
func nameTerms(names ...string) []*ast.Term {
	terms := make([]*ast.Term, len(names))
	for i, name := range names {
		terms[i] = ast.StringTerm(name)
	}
	return terms
}

// objectTerm returns an object of names and as many values.
func objectTerm(names []*ast.Term, values ...*ast.Term) *ast.Term {
	var room [12][2]*ast.Term
	members := room[:0]
	for i, name := range names {
		members = append(members, [2]*ast.Term{name, values[i]})
	}
	return ast.ObjectTerm(members...)
}

// strTerm returns a text; that of none is everywhere.
func strTerm(s string) *ast.Term {
	if s == "" {
		return ast.InternedTerm("")
	}
	return ast.StringTerm(s)
}

func optionalTerm(s *string) *ast.Term {
	if s == nil {
		return ast.NullTerm()
	}
	return strTerm(*s)
}

func textsTerm(list []string) *ast.Term {
	if len(list) == 0 {
		return ast.InternedEmptyArray
	}
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = strTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

func listTerm[T any](list []T, term func(*T) *ast.Term) *ast.Term {
	if len(list) == 0 {
		return ast.InternedEmptyArray
	}
	terms := make([]*ast.Term, len(list))
	for i := range list {
		terms[i] = term(&list[i])
	}
	return ast.ArrayTerm(terms...)
}

func intTerm(n int64) *ast.Term { return ast.NewTerm(ast.Number(strconv.FormatInt(n, 10))) }
