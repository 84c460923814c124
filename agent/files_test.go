package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// reader is somebody who may only read.
func reader() policy.Principal {
	return policy.Principal{Kind: policy.PrincipalToken, ID: "tok_reader", Name: "reader", Permissions: []string{"read"}}
}

// looks are the four ways to look at files, each at something that is there.
func looks(ctx context.Context, a *agent.Agent, p policy.Principal) map[string]error {
	errs := map[string]error{}
	_, errs["read"] = a.ReadFile(ctx, p, "", "a.txt")
	_, _, errs["list"] = a.ListFiles(ctx, p, "", "")
	_, _, errs["grep"] = a.FindText(ctx, p, "", "needle", 3)
	_, _, errs["glob"] = a.FindFiles(ctx, p, "", agent.FileQuery{Text: "a", Files: true, Directories: true, Limit: 3})
	return errs
}

// allow is a decision that lets everything pass.
func allow() policy.Decision {
	return policy.Decision{Effect: policy.Allow, Rules: []policy.Rule{{ID: "t.allow", Effect: policy.Allow}}, Obligations: policy.Obligations{Audit: "brief"}}
}

// TestLooksAreDecided checks what policy is asked before anything is opened,
// and that nothing but a plain permission is one.
func TestLooksAreDecided(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	decision, failure := allow(), error(nil)
	r := newRig(t, options{decider: deciderFunc(func(_ context.Context, in *policy.Input) (policy.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		if in.Session != nil || len(in.Prompt.Paths) != 1 || in.Principal.ID != "tok_reader" {
			t.Errorf("input %+v", in)
		}
		asked = append(asked, fmt.Sprintf("%s %v %s", in.Prompt.Tool, in.Prompt.Args, in.Prompt.Paths[0].Relative))
		return decision, failure
	})})
	writeFiles(t, r.dir, map[string]string{"a.txt": "needle\n"})
	for name, err := range looks(t.Context(), r.agent, reader()) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(r.dir, "a.txt")
	want := []string{
		"read map[filePath:a.txt] a.txt", "list map[path:.] .",
		"grep map[pattern:needle] .", "read map[filePath:" + file + "] a.txt",
		"glob map[pattern:a] .", "read map[filePath:" + file + "] a.txt",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got)\n%s", diff)
	}

	ask := policy.Decision{Effect: policy.Ask, Rules: []policy.Rule{{ID: "t.ask", Effect: policy.Ask, Message: "why"}}, Obligations: policy.Obligations{
		Audit: "brief", Ask: &policy.AskTerms{TTLSeconds: 1, OnTimeout: policy.Allow, Always: []string{}},
	}}
	sandboxed := allow()
	sandboxed.Obligations.Sandbox = &policy.Sandbox{}
	for name, c := range map[string]struct {
		decision policy.Decision
		failure  error
		want     error
	}{
		"a denial":                           {policy.Decision{Rules: []policy.Rule{{ID: "t.deny"}}}, nil, policy.ErrDenied},
		"nothing":                            {policy.Decision{}, nil, policy.ErrDenied},
		"an error":                           {allow(), errors.New("broken"), policy.ErrDenied},
		"a question that would pass by time": {ask, nil, agent.ErrRefused},
		"a sandbox":                          {sandboxed, nil, policy.ErrDenied},
	} {
		mu.Lock()
		decision, failure = c.decision, c.failure
		mu.Unlock()
		for look, err := range looks(t.Context(), r.agent, reader()) {
			if !errors.Is(err, c.want) {
				t.Errorf("%s after %s: %v, want %v", look, name, err, c.want)
			}
			if errors.Is(c.want, agent.ErrRefused) && !strings.Contains(wantRefused(t, err, "unattended"), "why [t.ask]") {
				t.Errorf("%s: %v does not name the rule", look, err)
			}
		}
	}
	if list := r.agent.Permissions(""); len(list) > 0 {
		t.Errorf("questions wait: %v", list)
	}
}

// TestLooksNeedRead asks with a principal that may do other things.
func TestLooksNeedRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	writeFiles(t, r.dir, map[string]string{"a.txt": "needle\n"})
	p := reader()
	p.Permissions = []string{"write", "execute"}
	for name, err := range looks(t.Context(), r.agent, p) {
		if denied, ok := errors.AsType[*policy.DeniedError](err); !ok || !cmp.Equal(denied.Decision.Needs, []string{"read"}) {
			t.Errorf("%s: %v, want a denial that names read", name, err)
		}
	}
	for name, err := range looks(t.Context(), r.agent, policy.Anonymous()) {
		if !errors.Is(err, policy.ErrDenied) {
			t.Errorf("%s by nobody: %v", name, err)
		}
	}
}

// TestFileSwappedAfterDecision swaps what was decided about before it is
// opened: the hole would be to follow a link that stays in the project.
func TestFileSwappedAfterDecision(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]func(dir string) error{
		"a file for a link to a secret": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "d/a.txt")), os.Symlink("../.env", filepath.Join(dir, "d/a.txt")))
		},
		"a file for a link outside": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "d/a.txt")), os.Symlink("/etc/passwd", filepath.Join(dir, "d/a.txt")))
		},
		"a directory for a link": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")), os.Symlink("secrets", filepath.Join(dir, "d")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := must(defaultEngine())(t)
			dir := must(filepath.EvalSymlinks(t.TempDir()))(t)
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Mkdir(filepath.Join(dir, "secrets"), 0o700)); err != nil {
				t.Fatal(err)
			}
			writeFiles(t, dir, map[string]string{"d/a.txt": "plain", ".env": "CANARY", "secrets/a.txt": "CANARY"})
			r := newRig(t, options{dir: dir, decider: deciderFunc(func(ctx context.Context, in *policy.Input) (policy.Decision, error) {
				d, err := plain.Decide(ctx, in)
				return d, errors.Join(err, swap(dir))
			})})
			c, err := r.agent.ReadFile(t.Context(), reader(), "", "d/a.txt")
			if !errors.Is(err, agent.ErrInvalid) || strings.Contains(string(c.Data), "CANARY") {
				t.Errorf("ReadFile = %q, %v, want that it is a link", c.Data, err)
			}
		})
	}
}

// TestPolicyWiderThanProject has a policy that allows every path.
func TestPolicyWiderThanProject(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{decider: deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) { return allow(), nil })})
	if err := os.Symlink("/etc", filepath.Join(r.dir, "etc")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/passwd", "../../../../../etc/passwd", "etc/passwd", "etc", "/"} {
		if c, err := r.agent.ReadFile(t.Context(), reader(), "", name); !errors.Is(err, policy.ErrDenied) {
			t.Errorf("ReadFile(%q) = %d bytes, %v, want a denial", name, len(c.Data), err)
		}
		if list, _, err := r.agent.ListFiles(t.Context(), reader(), "", name); !errors.Is(err, policy.ErrDenied) {
			t.Errorf("ListFiles(%q) = %v, %v, want a denial", name, list, err)
		}
	}
	if _, err := r.agent.ReadFile(t.Context(), reader(), "/etc", "passwd"); !errors.Is(err, agent.ErrInvalid) {
		t.Errorf("a directory in no project: %v", err)
	}
	if _, err := r.agent.ReadFile(t.Context(), reader(), "", "nope"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

// TestSearchDecidesABoundedNumber has more candidates than are decided about.
func TestSearchDecidesABoundedNumber(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	count := 0
	r := newRig(t, options{decider: deciderFunc(func(_ context.Context, in *policy.Input) (policy.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		if count++; in.Prompt.Tool == "read" {
			return policy.Decision{}, nil
		}
		return allow(), nil
	})})
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("f%02d", i)] = "needle\n"
	}
	writeFiles(t, r.dir, files)
	list, partial, err := r.agent.FindText(t.Context(), reader(), "", "needle", 5)
	if err != nil || len(list) != 0 || !partial || count != 1+3*5 {
		t.Errorf("FindText = %v, partial %v, %v after %d decisions, want 16", list, partial, err, count)
	}
	count = 0
	names, partial, err := r.agent.FindFiles(t.Context(), reader(), "", agent.FileQuery{Text: "f", Files: true, Limit: 5})
	if err != nil || len(names) != 0 || !partial || count != 1+3*5 {
		t.Errorf("FindFiles = %v, partial %v, %v after %d decisions, want 16", names, partial, err, count)
	}
}

// TestLooksEndWithTheirCaller checks that a caller who is gone is not waited
// for by a search.
func TestLooksEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	r := newRig(t, options{decider: deciderFunc(func(context.Context, *policy.Input) (policy.Decision, error) {
		cancel()
		return allow(), nil
	})})
	writeFiles(t, r.dir, map[string]string{"a.txt": "needle\n"})
	for _, look := range []string{"grep", "glob"} {
		if err := looks(gone, r.agent, reader())[look]; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it is cancelled", look, err)
		}
	}
}
