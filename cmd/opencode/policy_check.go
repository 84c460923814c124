package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"opencode/agent"
	"opencode/engine"
	"opencode/policy"
	"opencode/server"
)

// checkLine is one thing to check: a call of a tool, or a request.
type checkLine struct {
	ID          json.RawMessage   `json:"id"`
	Tool        string            `json:"tool"`
	Args        map[string]any    `json:"args"`
	Directory   string            `json:"directory"`
	Method      string            `json:"method"`
	Path        string            `json:"path"`
	Permissions []string          `json:"permissions"`
	Attributes  map[string]string `json:"attributes"`
}

// checkResult is the outcome of a check.
type checkResult struct {
	ID          json.RawMessage    `json:"id,omitempty"`
	Effect      policy.Effect      `json:"effect"`
	Rules       []checkRule        `json:"rules"`
	Needs       []string           `json:"needs,omitempty"`
	Obligations policy.Obligations `json:"obligations"`
	// Error says why there was no decision; the effect is then deny.
	Error string `json:"error,omitempty"`
}

type checkRule struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	At      string `json:"at"`
}

func newPolicyCheckCmd() *cobra.Command {
	var (
		flags       policyFlags
		directory   string
		permissions []string
		attributes  map[string]string
		asJSON      bool
		batch       bool
	)
	cmd := &cobra.Command{
		Use:   "check (TOOL ARGUMENT | METHOD PATH | --batch)",
		Short: "Say what policy decides about a command, a file or a request",
		Long: `Say what policy decides about a command, a file or a request.

Nothing is carried out. The exit code is 0 if policy allows or asks, and 3 if
it denies.

--batch reads JSON lines from standard input and prints one for each, in the
same order:
  {"id": 1, "tool": "bash", "args": {"command": "ls"}, "directory": "/p"}
  {"id": 2, "method": "GET", "path": "/session", "permissions": ["read"]}`,
		Example: `  opencode policy check bash 'git push origin main'
  opencode policy check write ../outside.txt
  opencode policy check POST /session --permissions read,write
  opencode policy check --policy policies/examples/team --batch < lines.jsonl`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case batch && len(args) > 0:
				return usagef("--batch reads from standard input and takes no arguments")
			case !batch && len(args) != 2:
				return usagef("want a tool and its argument, or a method and a path; got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, p := range permissions {
				if !slices.Contains([]string{"read", "write", "execute"}, p) {
					return usagef("permission %q: want read, write or execute", p)
				}
			}
			dirs, err := projectDirs(nonEmpty(directory))
			if err != nil {
				return err
			}
			e, err := flags.engine(cmd.Context())
			if err != nil {
				return err
			}
			c := &checker{engine: e, directory: dirs[0], route: server.Matcher(), now: time.Now}
			if readsHost(e.Info()) {
				// Without a home there is no server either, whose commands it could hold.
				if box, err := newSandbox(); err == nil {
					c.host = agent.HostFacts(box.Host())
				}
			}
			if batch {
				return c.batch(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			}
			line, err := parseCheck(args[0], args[1])
			if err != nil {
				return err
			}
			line.Permissions, line.Attributes = permissions, attributes
			result := c.check(cmd.Context(), line)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), result)
			} else {
				result.print(cmd.OutOrStdout())
			}
			if err == nil && result.Effect == policy.Deny {
				err = errors.Join(errSilent, policy.ErrDenied)
			}
			return err
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&directory, "directory", "", "the project `DIR` (default: the current one)")
	cmd.Flags().StringSliceVar(&permissions, "permissions", []string{"read", "write", "execute"}, "the permissions of whoever wants it")
	cmd.Flags().StringToStringVar(&attributes, "attribute", nil, "an attribute `k=v` of whoever wants it (repeatable)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the decision as JSON")
	cmd.Flags().BoolVar(&batch, "batch", false, "read JSON lines from standard input")
	return cmd
}

// readsHost reports whether the policy wants to know what the host gives: to
// find out takes a process of its own, and nobody is told who does not ask.
func readsHost(info policy.Info) bool {
	return slices.ContainsFunc(info.Reads[policy.KindPrompt].Input, func(place string) bool {
		name, below := strings.CutPrefix(place, "input.host")
		return place == "input" || below && (name == "" || name[0] == '.' || name[0] == '?')
	})
}

// parseCheck reads the two arguments of a check.
func parseCheck(what, argument string) (checkLine, error) {
	switch what {
	case "bash", "pty":
		return checkLine{Tool: what, Args: map[string]any{"command": argument}}, nil
	case "read", "write", "edit", "multiedit", "delete":
		return checkLine{Tool: what, Args: map[string]any{"filePath": argument}}, nil
	case "list":
		return checkLine{Tool: what, Args: map[string]any{"path": argument}}, nil
	}
	if strings.ToUpper(what) != what || !strings.HasPrefix(argument, "/") {
		return checkLine{}, usagef("%q: want a tool (bash, read, write, edit, …) with its argument, or a method such as GET with a path that starts with /", what)
	}
	return checkLine{Method: what, Path: argument}, nil
}

// checker decides about lines, on the path that the server takes.
type checker struct {
	engine    *engine.Engine
	directory string
	route     func(method, path string) (string, bool)
	now       func() time.Time
	host      *policy.Host
}

// maxCheckLine bounds a line of a batch.
const maxCheckLine = 64 << 20

func (c *checker) batch(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxCheckLine)
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	bad, n := 0, 0
	for lines.Scan() {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var line checkLine
		result := checkResult{Rules: []checkRule{}}
		if err := json.Unmarshal(text, &line); err != nil {
			bad++
			result.ID, result.Error = line.ID, fmt.Sprintf("line %d: %v", n, err)
		} else {
			result = c.check(ctx, line)
		}
		if err := enc.Encode(result); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(err, w.Flush())
		}
	}
	if err := errors.Join(lines.Err(), w.Flush()); err != nil {
		return fmt.Errorf("batch: line %d: %w", n+1, err)
	}
	if bad > 0 {
		return fmt.Errorf("batch: %d lines are not what is wanted; their results say why", bad)
	}
	return nil
}

// check decides about one line. Whatever goes wrong is a denial.
func (c *checker) check(ctx context.Context, line checkLine) checkResult {
	result := checkResult{ID: line.ID, Rules: []checkRule{}}
	in, err := c.input(line)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	d, err := c.engine.Decide(ctx, in)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	result.Effect, result.Needs, result.Obligations = d.Effect, d.Needs, d.Obligations
	for _, r := range d.Rules {
		result.Rules = append(result.Rules, checkRule{ID: r.ID, Message: r.Message, At: r.At})
	}
	return result
}

func (c *checker) input(line checkLine) (*policy.Input, error) {
	principal := policy.Principal{
		Kind: policy.PrincipalToken, ID: "tok_check", Name: "check",
		Permissions: line.Permissions, Attributes: line.Attributes,
	}
	switch {
	case line.Tool != "" && line.Method != "":
		return nil, errors.New("want a tool or a method, not both")
	case line.Tool != "":
		if line.Permissions == nil {
			principal.Permissions = []string{"read", "write", "execute"}
		}
		return c.prompt(principal, line), nil
	case line.Method != "":
		return c.request(principal, line), nil
	}
	return nil, errors.New("want a tool or a method")
}

func (c *checker) prompt(principal policy.Principal, line checkLine) *policy.Input {
	dir := c.directory
	if line.Directory != "" {
		dir = line.Directory
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(c.directory, dir)
		}
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			dir = resolved
		}
	}
	return policy.FromCall(c.now(), principal, policy.Call{
		Tool: line.Tool, Args: line.Args, Root: dir, Directory: dir,
		Session: &policy.Session{ID: "ses_check", Agent: "build", Directory: dir, Interactive: true},
		Host:    c.host,
	})
}

func (c *checker) request(principal policy.Principal, line checkLine) *policy.Input {
	path, query, _ := strings.Cut(line.Path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		path += "?" // is not canonical, and is denied
	}
	return policy.FromRequest(c.now(), principal, policy.HTTP{
		Method: line.Method, Path: path, Route: c.route, Query: values, Host: "127.0.0.1:4096",
		Remote: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Directory: server.QueryDirectory([]string{c.directory}, values),
	})
}

// print writes a result for people.
func (r checkResult) print(w io.Writer) {
	fmt.Fprintln(w, r.Effect)
	if r.Error != "" {
		fmt.Fprintf(w, "  error: %s\n", r.Error)
	}
	for _, rule := range r.Rules {
		fmt.Fprintf(w, "  %s: %s\n", rule.ID, rule.Message)
		if rule.At != "" {
			fmt.Fprintf(w, "    at %s\n", rule.At)
		}
	}
	if len(r.Needs) > 0 {
		fmt.Fprintf(w, "  needs: %s\n", strings.Join(r.Needs, ", "))
	}
	if ask := r.Obligations.Ask; ask != nil {
		fmt.Fprintf(w, "  a person has %s to answer, else: %s\n", time.Duration(ask.TTLSeconds)*time.Second, ask.OnTimeout)
		if len(ask.Always) > 0 {
			fmt.Fprintf(w, "  \"always\" would cover: %s\n", strings.Join(ask.Always, ", "))
		}
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
