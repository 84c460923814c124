package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"opencode/policies"
	"opencode/server"
)

// route is a method and a pattern.
type route struct{ method, pattern string }

// filled returns the pattern as a path, with something in each parameter.
func (r route) filled() string {
	path := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(r.pattern, "x1")
	return strings.TrimSuffix(path, "*") + strings.Repeat("x2", strings.Count(path, "*"))
}

func routesOf(t *testing.T, s *server.Server) []route {
	t.Helper()
	var list []route
	err := chi.Walk(s.Mux(), func(method, pattern string, _ http.Handler, middlewares ...func(http.Handler) http.Handler) error {
		if len(middlewares) > 0 {
			t.Errorf("%s %s has a middleware of its own", method, pattern)
		}
		list = append(list, route{method, pattern})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b route) int {
		return strings.Compare(a.pattern+" "+a.method, b.pattern+" "+b.method)
	})
	return list
}

// routeConfig is what the default policy knows of routes.
type routeConfig struct {
	Routes       map[string]map[string]bool `json:"routes"`
	PublicRoutes map[string]map[string]bool `json:"public_routes"`
	Methods      map[string]string          `json:"methods"`
}

func readRouteConfig(t *testing.T) routeConfig {
	t.Helper()
	b := must(policies.FS.ReadFile("opencode/config/data.json"))(t)
	var c routeConfig
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoutesGolden(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for _, r := range routesOf(t, newRig(t, options{}).server) {
		text.WriteString(r.method + " " + r.pattern + "\n")
	}
	const golden = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := must(os.ReadFile(golden))(t)
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("the HTTP surface has changed; -update accepts it (-want +got)\n%s", diff)
	}
}

// TestRoutesArePolicys holds the routes of the server and those that the
// default policy knows against each other.
func TestRoutesArePolicys(t *testing.T) {
	t.Parallel()
	config := readRouteConfig(t)
	// Routes that policy knows ahead of the server.
	ahead := map[string]bool{}
	served := map[route]bool{}
	for _, r := range routesOf(t, newRig(t, options{}).server) {
		served[r] = true
		if !config.Routes[r.pattern][r.method] {
			t.Errorf("%s %s is served and no policy knows it", r.method, r.pattern)
		}
	}
	for pattern, methods := range config.Routes {
		for method := range methods {
			if served[route{method, pattern}] == ahead[pattern] {
				t.Errorf("%s %s: served %v, want %v", method, pattern, ahead[pattern], !ahead[pattern])
			}
			if config.Methods[method] == "" {
				t.Errorf("%s %s: no policy knows what the method needs", method, pattern)
			}
		}
	}
	for pattern, methods := range config.PublicRoutes {
		for method := range methods {
			if !served[route{method, pattern}] {
				t.Errorf("%s %s is public and not served", method, pattern)
			}
		}
	}
}

// TestEachRouteNeedsAToken asks for each route without a token, and with one
// that may do nothing.
func TestEachRouteNeedsAToken(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	public := readRouteConfig(t).PublicRoutes
	count := 0
	for _, route := range routesOf(t, r.server) {
		path := route.filled()
		got := r.do(route.method, path, "", "")
		if public[route.pattern][route.method] {
			count++
			if got.status != http.StatusOK {
				t.Errorf("%s %s without a token = %d, want 200", route.method, path, got.status)
			}
			continue
		}
		if got.status != http.StatusUnauthorized || len(got.header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%s %s without a token = %d, %q, want 401 with WWW-Authenticate", route.method, path, got.status, got.header.Values("WWW-Authenticate"))
		}
		if got := r.do(route.method, path, r.none, ""); got.status != http.StatusForbidden {
			t.Errorf("%s %s without a permission = %d, want 403", route.method, path, got.status)
		}
		if route.method != http.MethodGet && route.method != http.MethodHead {
			if got := r.do(route.method, path, r.read, ""); got.status != http.StatusForbidden {
				t.Errorf("%s %s to read = %d, want 403", route.method, path, got.status)
			}
		}
	}
	if count != 2 {
		t.Errorf("%d routes are public, want GET and HEAD of one", count)
	}
}

// TestInteractiveRoutesNeedExecute asks for each route with an interactive
// segment by a token that may read and write.
func TestInteractiveRoutesNeedExecute(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	interactive := regexp.MustCompile(`/(session|message|pty)(/|$)`)
	count := 0
	for _, route := range routesOf(t, r.server) {
		if !interactive.MatchString(route.pattern) {
			continue
		}
		count++
		got := r.do(route.method, route.filled(), r.write, "")
		if got.status != http.StatusForbidden {
			t.Errorf("%s %s without execute = %d, want 403", route.method, route.pattern, got.status)
		}
		if route.method == http.MethodHead {
			continue
		}
		if e := got.failure(t); !slices.Equal(e.Data.Needs, []string{"execute"}) {
			t.Errorf("%s %s needs %q, want execute", route.method, route.pattern, e.Data.Needs)
		}
	}
	if count < 50 {
		t.Errorf("only %d interactive routes", count)
	}
}

// TestNotOffered asks for what is published and not served with every
// permission.
func TestNotOffered(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for _, c := range []route{
		{http.MethodPatch, "/config"},
		{http.MethodPatch, "/global/config"},
		{http.MethodPost, "/mcp"},
		{http.MethodDelete, "/auth/p"},
		{http.MethodPost, "/api/pty"},
		{http.MethodGet, "/api/pty/pty_1/connect"},
		{http.MethodPut, "/auth/p"},
	} {
		got := r.do(c.method, c.pattern, r.full, "")
		if e := got.failure(t); got.status != http.StatusNotFound || !strings.Contains(e.Data.Message, "not offered") {
			t.Errorf("%s %s = %d %s, want 404 and that it is not offered", c.method, c.pattern, got.status, got.body)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	matcher := server.Matcher()
	for _, c := range []struct{ method, path, want string }{
		{http.MethodGet, "/session", "/session"},
		{http.MethodHead, "/session", "/session"},
		{http.MethodPost, "/session/ses_1/shell", "/session/{sessionID}/shell"},
		{http.MethodGet, "/session/status", "/session/status"},
		{http.MethodGet, "/session/", ""},
		{http.MethodPut, "/session", ""},
		{"PROPFIND", "/session", ""},
		{"", "/session", ""},
		{http.MethodGet, "", ""},
		{http.MethodGet, "session", ""},
		{http.MethodGet, "/nope", ""},
		{http.MethodGet, "/session/a%2Fshell", "/session/{sessionID}"},
		{http.MethodGet, "/%zz", ""},
	} {
		got, ok := server.Match(c.method, c.path)
		again, ok2 := matcher(c.method, c.path)
		if got != c.want || ok != (c.want != "") || again != got || ok2 != ok {
			t.Errorf("Match(%q, %q) = %q, %v and %q, %v, want %q", c.method, c.path, got, ok, again, ok2, c.want)
		}
	}
}
