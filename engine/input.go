package engine

import (
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"opencode/policy"
	"opencode/policy/fspath"
	"opencode/policy/shell"
)

// inputValue builds the value of an input document as Rego sees it. It says
// the same as the JSON of the document, which a test holds it to, without the
// way through text.
func inputValue(in *policy.Input) (ast.Value, error) {
	o := newObject(8)
	o.num("version", int64(in.Version))
	o.str("kind", string(in.Kind))
	o.add("time", object3("unix", ast.NewTerm(number(in.Time.Unix)), "weekday", ast.StringTerm(in.Time.Weekday), "hour", ast.NewTerm(number(int64(in.Time.Hour)))))
	o.add("principal", principalTerm(&in.Principal))
	if in.Request != nil {
		o.add("request", requestTerm(in.Request))
	}
	if in.Prompt != nil {
		t, err := promptTerm(in.Prompt)
		if err != nil {
			return nil, err
		}
		o.add("prompt", t)
	}
	if in.Session != nil {
		o.add("session", sessionTerm(in.Session))
	}
	if in.Host != nil {
		o.add("host", hostTerm(in.Host))
	}
	return o.term().Value, nil
}

func principalTerm(p *policy.Principal) *ast.Term {
	o := newObject(7)
	o.str("kind", string(p.Kind))
	o.str("id", p.ID)
	o.str("name", p.Name)
	o.strs("permissions", p.Permissions)
	o.flag("expired", p.Expired)
	if p.ExpiresInDays == nil {
		o.null("expires_in_days")
	} else {
		o.num("expires_in_days", int64(*p.ExpiresInDays))
	}
	attributes := newObject(len(p.Attributes))
	for k, v := range p.Attributes {
		attributes.str(k, v)
	}
	o.add("attributes", attributes.term())
	return o.term()
}

func requestTerm(r *policy.Request) *ast.Term {
	o := newObject(12)
	o.str("method", r.Method)
	o.str("path", r.Path)
	o.optional("route", r.Route)
	o.strs("segments", r.Segments)
	o.flag("canonical", r.Canonical)
	query := newObject(len(r.Query))
	for k, v := range r.Query {
		query.strs(k, v)
	}
	o.add("query", query.term())
	o.str("host", r.Host)
	o.optional("origin", r.Origin)
	o.flag("websocket", r.WebSocket)
	remote := newObject(2)
	remote.str("ip", r.Remote.IP)
	remote.flag("loopback", r.Remote.Loopback)
	o.add("remote", remote.term())
	o.num("bytes", r.Bytes)
	if r.Directory == nil {
		o.null("directory")
	} else {
		o.add("directory", object3("raw", ast.StringTerm(r.Directory.Raw), "real", ast.StringTerm(r.Directory.Real), "inside", ast.InternedTerm(r.Directory.Inside)))
	}
	return o.term()
}

func promptTerm(p *policy.Prompt) (*ast.Term, error) {
	o := newObject(5)
	o.str("tool", p.Tool)
	args := ast.ObjectTerm()
	if p.Args != nil {
		v, err := ast.InterfaceToValue(p.Args)
		if err != nil {
			return nil, fmt.Errorf("input: prompt.args: %w", err)
		}
		args = ast.NewTerm(v)
	}
	o.add("args", args)
	if p.Command != nil {
		o.add("command", commandTerm(p.Command))
	}
	o.add("paths", listTerm(p.Paths, pathTerm))
	if p.Content != nil {
		content := newObject(2)
		content.num("bytes", int64(p.Content.Bytes))
		content.num("lines", int64(p.Content.Lines))
		o.add("content", content.term())
	}
	return o.term(), nil
}

func commandTerm(c *shell.Command) *ast.Term {
	o := newObject(7)
	o.add("calls", listTerm(c.Calls, func(c *shell.Call) *ast.Term {
		o := newObject(11)
		o.str("name", c.Name)
		o.strs("argv", c.Argv)
		o.str("path", c.Path)
		o.str("subcommand", c.Subcommand)
		o.str("operand", c.Operand)
		o.str("plain", c.Plain)
		o.strs("effects", c.Effects)
		o.optional("code", c.Code)
		o.flag("dynamic", c.Dynamic)
		o.strs("via", c.Via)
		o.str("text", c.Text)
		return o.term()
	}))
	o.add("redirects", listTerm(c.Redirects, func(r *shell.Redirect) *ast.Term {
		o := newObject(4)
		o.str("op", r.Op)
		o.str("target", r.Target)
		o.str("access", r.Access)
		o.flag("dynamic", r.Dynamic)
		return o.term()
	}))
	o.add("files", listTerm(c.Files, func(f *shell.File) *ast.Term {
		o := newObject(7)
		o.str("path", f.Path)
		o.str("access", f.Access)
		o.str("by", f.By)
		o.flag("home", f.Home)
		o.flag("glob", f.Glob)
		o.flag("recursive", f.Recursive)
		o.flag("dynamic", f.Dynamic)
		return o.term()
	}))
	o.strs("assigns", c.Assigns)
	o.flag("dynamic", c.Dynamic)
	o.flag("parsed", c.Parsed)
	o.optional("problem", c.Problem)
	return o.term()
}

func pathTerm(p *fspath.Path) *ast.Term {
	o := newObject(11)
	o.str("raw", p.Raw)
	o.str("real", p.Real)
	o.str("relative", p.Relative)
	o.flag("inside", p.Inside)
	o.str("access", string(p.Access))
	o.flag("exists", p.Exists)
	o.flag("link", p.Link)
	o.str("kind", p.Kind)
	o.num("links", int64(p.Links))
	o.str("class", p.Class)
	o.optional("problem", p.Problem)
	return o.term()
}

func sessionTerm(s *policy.Session) *ast.Term {
	o := newObject(8)
	o.str("id", s.ID)
	o.optional("parent", s.Parent)
	o.num("depth", int64(s.Depth))
	o.str("agent", s.Agent)
	o.str("directory", s.Directory)
	o.flag("interactive", s.Interactive)
	o.add("approvals", listTerm(s.Approvals, func(a *policy.Approval) *ast.Term {
		o := newObject(2)
		o.str("tool", a.Tool)
		o.str("pattern", a.Pattern)
		return o.term()
	}))
	o.add("restrictions", listTerm(s.Restrictions, func(r *policy.Restriction) *ast.Term {
		o := newObject(3)
		o.str("permission", r.Permission)
		o.str("pattern", r.Pattern)
		o.str("action", r.Action)
		return o.term()
	}))
	return o.term()
}

func hostTerm(h *policy.Host) *ast.Term {
	o := newObject(2)
	o.str("os", h.OS)
	sandbox := newObject(4)
	sandbox.strs("holds", h.Sandbox.Holds)
	sandbox.num("landlock", int64(h.Sandbox.Landlock))
	sandbox.flag("seccomp", h.Sandbox.Seccomp)
	sandbox.flag("namespaces", h.Sandbox.Namespaces)
	o.add("sandbox", sandbox.term())
	return o.term()
}

// objectBuilder gathers the members of an object.
type objectBuilder struct{ members [][2]*ast.Term }

func newObject(size int) *objectBuilder {
	return &objectBuilder{members: make([][2]*ast.Term, 0, size)}
}

func (o *objectBuilder) add(key string, v *ast.Term) {
	o.members = append(o.members, [2]*ast.Term{ast.InternedTerm(key), v})
}

func (o *objectBuilder) str(key, v string)       { o.add(key, ast.StringTerm(v)) }
func (o *objectBuilder) num(key string, v int64) { o.add(key, ast.NewTerm(number(v))) }
func (o *objectBuilder) flag(key string, v bool) { o.add(key, ast.InternedTerm(v)) }
func (o *objectBuilder) null(key string)         { o.add(key, ast.NullTerm()) }

func (o *objectBuilder) optional(key string, v *string) {
	if v == nil {
		o.null(key)
		return
	}
	o.str(key, *v)
}

func (o *objectBuilder) strs(key string, v []string) {
	terms := make([]*ast.Term, len(v))
	for i, s := range v {
		terms[i] = ast.StringTerm(s)
	}
	o.add(key, ast.ArrayTerm(terms...))
}

func (o *objectBuilder) term() *ast.Term { return ast.ObjectTerm(o.members...) }

func object3(k1 string, v1 *ast.Term, k2 string, v2 *ast.Term, k3 string, v3 *ast.Term) *ast.Term {
	return ast.ObjectTerm(
		[2]*ast.Term{ast.InternedTerm(k1), v1},
		[2]*ast.Term{ast.InternedTerm(k2), v2},
		[2]*ast.Term{ast.InternedTerm(k3), v3},
	)
}

func listTerm[T any](list []T, term func(*T) *ast.Term) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i := range list {
		terms[i] = term(&list[i])
	}
	return ast.ArrayTerm(terms...)
}

func number(n int64) ast.Value { return ast.Number(strconv.FormatInt(n, 10)) }
