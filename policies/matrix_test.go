package policies_test

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

var update = flag.Bool("update", false, "rewrite the golden file of the matrix")

// matrixFile lists, one line each, the methods and routes that can be allowed
// at all, with the permissions that are enough and of which none can be spared.
const matrixFile = "testdata/matrix.txt"

// methods holds the known methods, and some that must never pass.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"}

var permissions = []string{"read", "write", "execute"}

// TestMatrix decides every route with every method and every set of
// permissions. What the matrix does not list must be denied.
func TestMatrix(t *testing.T) {
	t.Parallel()
	routes := knownRoutes(t)
	if *update {
		writeMatrix(t, routes)
	}
	listed := readMatrix(t)
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	all := append(slices.Collect(sorted(routes)), "/nowhere", "/session/{sessionID}/nowhere")
	for cell := range listed {
		method, route, _ := strings.Cut(cell, " ")
		if !slices.Contains(methods, method) || !slices.Contains(all, route) {
			t.Errorf("%s: %s lists it, but it is no known cell", cell, matrixFile)
		}
	}
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			for _, route := range all {
				enough, ok := listed[method+" "+route]
				checkCell(t, e, method, route, enough, ok)
			}
		})
	}
}

// checkCell decides one route with one method for everybody.
func checkCell(t *testing.T, e *engine.Engine, method, route string, enough []string, listed bool) {
	t.Helper()
	for set := range 1 << len(permissions) {
		var held []string
		for i, p := range permissions {
			if set&(1<<i) != 0 {
				held = append(held, p)
			}
		}
		want := policy.Deny
		if listed && !slices.ContainsFunc(enough, func(p string) bool { return !slices.Contains(held, p) }) {
			want = policy.Allow
		}
		d, err := e.Decide(t.Context(), request(method, route, policy.Principal{Kind: policy.PrincipalToken, ID: "tok_1", Permissions: held}))
		if err != nil || d.Effect != want {
			t.Errorf("%s %s with %v: %v %v, error %v, want %v", method, route, held, d.Effect, d.Rules, err, want)
		}
	}
	d, err := e.Decide(t.Context(), request(method, route, policy.Anonymous()))
	if public := listed && len(enough) == 0; err != nil || (d.Effect == policy.Allow) != public {
		t.Errorf("%s %s without a credential: %v, error %v, want public: %v", method, route, d.Effect, err, public)
	}
}

func request(method, route string, p policy.Principal) *policy.Input {
	var segments []string
	for s := range strings.SplitSeq(route, "/") {
		if strings.HasPrefix(s, "{") || s == "*" {
			s = "x1"
		}
		segments = append(segments, s)
	}
	return policy.FromRequest(time.Unix(1795188323, 0), p, policy.HTTP{
		Method: method, Path: strings.Join(segments, "/"), Host: "127.0.0.1:4096", Remote: netip.MustParseAddr("127.0.0.1"),
		Route: func(string, string) (string, bool) { return route, true },
	})
}

// knownRoutes returns the routes and their methods as the data has them.
func knownRoutes(t *testing.T) map[string]map[string]bool {
	t.Helper()
	b, err := policies.FS.ReadFile("opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Routes map[string]map[string]bool `json:"routes"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Routes) < 100 {
		t.Fatalf("only %d routes are known", len(config.Routes))
	}
	return config.Routes
}

func sorted(routes map[string]map[string]bool) func(yield func(string) bool) {
	var list []string
	for route := range routes {
		list = append(list, route)
	}
	slices.Sort(list)
	return slices.Values(list)
}

func readMatrix(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(matrixFile))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) != 3 {
			t.Fatalf("%s: line %q: want a method, a route and permissions", matrixFile, line)
		}
		var enough []string
		if fields[2] != "-" {
			enough = strings.Split(fields[2], ",")
		}
		for _, p := range enough {
			if !slices.Contains(permissions, p) {
				t.Fatalf("%s: line %q: %s is no permission", matrixFile, line, p)
			}
		}
		listed[fields[0]+" "+fields[1]] = enough
	}
	return listed
}

// writeMatrix writes what is asked of the default policy, without asking it:
// reading needs read, changing needs write, what runs things needs execute as
// well, and only the health of the server is public.
func writeMatrix(t *testing.T, routes map[string]map[string]bool) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# METHOD ROUTE PERMISSIONS: what is not listed is denied; - means that no credential is needed.\n")
	for route := range sorted(routes) {
		for _, method := range methods[:6] {
			if !routes[route][method] {
				continue
			}
			needed := "write"
			if method == "GET" || method == "HEAD" {
				needed = "read"
			}
			for _, part := range []string{"pty", "session", "message"} {
				if slices.Contains(strings.Split(route, "/"), part) && !strings.HasSuffix(needed, ",execute") {
					needed += ",execute"
				}
			}
			if route == "/global/health" {
				needed = "-"
			}
			b.WriteString(method + " " + route + " " + needed + "\n")
		}
	}
	if err := os.WriteFile(filepath.FromSlash(matrixFile), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}
