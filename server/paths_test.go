package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/server"
	"opencode/store"
)

// TestPathTricks spells a path in every way that has fooled a server. Who may
// read alone must never get what the plain spelling refuses; who may do all
// must get what the plain spelling gives, or a refusal.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	r.session()
	plain := r.do(http.MethodGet, "/session", r.full, "")
	if plain.status != http.StatusOK || !strings.HasPrefix(plain.body, `[{"id":"ses_`) {
		t.Fatalf("GET /session = %d %s", plain.status, plain.body)
	}
	// The targets of a request line. Those that are the same path give the same.
	for target, same := range map[string]bool{
		"/session": true, "/session?x=1": true, "http://127.0.0.1/session": true, "http://localhost:1/session": true,
		"HTTP://127.0.0.1/session": true, "/session?": true,

		"//session": false, "///session": false, "/./session": false, "/session/": false, "/session//": false,
		"/SESSION": false, "/Session": false, "/%73ession": false, "/%2573ession": false, "/session%2f": false,
		"/session%2f..": false, "/session%2F..%2Fsession": false, "/x/../session": false, "/../session": false,
		"/x/%2e%2e/session": false, "/%2e/session": false, "/.%2e/session": false, "/session/.": false, "/session/..": false,
		"/session;a=b": false, "/session;": false, "/;/session": false, "/session%3b": false, "/session%00": false,
		"/session%00.json": false, "/session%20": false, "/%20session": false, "/session%09": false, "/session%0a": false,
		"/session%0d%0ax": false, `/\session`: false, "/%5csession": false, "/session%5c": false, "/global/health/../../session": false,
		"/global/health/..%2f..%2fsession": false, "/global/health%2f..%2f..%2fsession": false, "/global/health;/../../session": false,
		"/session%23": false, "/session%3f": false, "/session%3Fx=1": false, "/%ef%bc%8fsession": false, "/s%C4%B1ession": false,
		"/%c0%afsession": false, "/session%c0%80": false, "/session.json": false, "/session~": false, "/%u0073ession": false,
		"http://127.0.0.1//session": false, "http://127.0.0.1/x/../session": false, "//127.0.0.1/session": false,
		"http://127.0.0.1": false, "/session/%2e%2e/permission": false,
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			send := func(token string) reply {
				head := "GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
				if token != "" {
					head += "Authorization: Bearer " + token + "\r\n"
				}
				return r.raw(head + "\r\n")
			}
			switch full := send(r.full); {
			case full.err != nil:
				t.Fatal(full.err)
			case same && (full.status != http.StatusOK || full.body != plain.body):
				t.Errorf("with all permissions: %d %s, want what GET /session gives", full.status, full.body)
			case !same && full.status < 400:
				t.Errorf("with all permissions: %d %s, want a refusal", full.status, full.body)
			}
			if read := send(r.read); read.err != nil || read.status < 400 {
				t.Errorf("to read: %d %s, error %v, want a refusal", read.status, read.body, read.err)
			}
			if got := send(""); got.err != nil || got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest {
				t.Errorf("without a token: %d %s, error %v, want 401", got.status, got.body, got.err)
			}
		})
	}
}

// TestPublicRouteIsNoPrefix checks that nothing but the route itself is public.
func TestPublicRouteIsNoPrefix(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for _, target := range []string{
		"/global/health/", "/global/health/x", "/global/health%2fx", "/global/healthx", "/global", "/global/event",
		"/global/health;x", "//global/health", "/GLOBAL/health", "/session/../global/health", "/session#/global/health",
	} {
		got := r.raw("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		if got.err != nil || got.status != http.StatusUnauthorized {
			t.Errorf("GET %s = %d %s, error %v, want 401", target, got.status, got.body, got.err)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROB"} {
		got := r.raw(method + " /global/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		if got.err != nil || got.status != http.StatusUnauthorized {
			t.Errorf("%s /global/health = %d %s, error %v, want 401", method, got.status, got.body, got.err)
		}
	}
}

// TestHeadersDoNotRoute checks that no header stands for the method, the path
// or the host.
func TestHeadersDoNotRoute(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	id := r.session()
	for name, c := range map[string]struct{ method, path, header, value string }{
		"method":          {"GET", "/config", "X-HTTP-Method-Override", "DELETE"},
		"method, other":   {"GET", "/config", "X-HTTP-Method", "DELETE"},
		"method, third":   {"GET", "/config", "X-Method-Override", "DELETE"},
		"path":            {"GET", "/config", "X-Original-URL", "/session"},
		"path, rewritten": {"GET", "/config", "X-Rewrite-URL", "/session"},
		"path, prefix":    {"GET", "/config", "X-Forwarded-Prefix", "/session"},
		"host":            {"GET", "/config", "X-Forwarded-Host", "evil.com"},
		"address":         {"GET", "/config", "X-Forwarded-For", "127.0.0.1"},
		"user":            {"GET", "/config", "X-Remote-User", "root"},
	} {
		req := r.request(t.Context(), c.method, c.path, r.read, "")
		req.Header.Set(c.header, c.value)
		// What is read is the same with the header and without.
		if got := r.send(req); got.status != http.StatusOK || got.body != "{}\n" {
			t.Errorf("%s: %d %s, want what GET /config gives", name, got.status, got.body)
		}
		// Nor does it help to a session.
		req = r.request(t.Context(), http.MethodGet, "/session/"+id, r.read, "")
		req.Header.Set(c.header, strings.Replace(c.value, "/session", "/global/health", 1))
		if got := r.send(req); got.status != http.StatusForbidden {
			t.Errorf("%s: %d %s, want 403", name, got.status, got.body)
		}
	}
	if got := r.do(http.MethodGet, "/session/"+id+"?_method=DELETE", r.full, ""); got.status != http.StatusOK {
		t.Errorf("method in the query: %d %s", got.status, got.body)
	}
	if got := r.do(http.MethodGet, "/session/"+id, r.full, ""); got.status != http.StatusOK {
		t.Errorf("the session is gone: %d %s", got.status, got.body)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	r := serve(t, options{change: func(c *server.Config) {
		c.Tokens = noLookUp(t)
		c.Hosts = []string{"ide.example.com", "[fd00::7]"}
	}})
	for host, own := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:9999": true, "127.7.7.7": true, "localhost": true, "LOCALHOST": true, "localhost:4096": true,
		"localhost.": true, "[::1]": true, "[::1]:4096": true, "[::ffff:127.0.0.1]": true, "ide.example.com": true,
		"IDE.example.com:443": true, "ide.example.com.": true, "[fd00::7]": true, "[fd00::7]:80": true,

		"evil.com": false, "evil.com:4096": false, "localhost.evil.com": false, "127.0.0.1.evil.com": false, "evil.com:127.0.0.1": false,
		"": false, ":4096": false, ".": false, "localhost..": false, "0.0.0.0": false, "[::]": false, "10.0.0.1": false,
		"2130706433": false, "0x7f.1": false, "127.1": false, "[::1": false, "::1]": false, "x.ide.example.com": false, "ide.example.com.evil.com": false,
		"ide.example.co": false, "[fd00::8]": false, "evil.com#localhost": false, "localhost,evil.com": false,
		"xn--localhost": false, "127.0.0.1%00": false, "localhost@evil.com": false,
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			// A token in good form, so that the order of the checks shows.
			auth := ""
			if !own {
				auth = "Authorization: Bearer " + r.full + "\r\n"
			}
			got := r.raw("GET /session HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + auth + "\r\n")
			if got.err != nil {
				t.Fatal(got.err)
			}
			if own {
				if got.status != http.StatusUnauthorized {
					t.Errorf("%d %s, want 401", got.status, got.body)
				}
				return
			}
			if got.status == http.StatusBadRequest && got.header.Get("X-Frame-Options") == "" {
				return // net/http takes it for no host at all
			}
			if e := got.failure(t); got.status != http.StatusForbidden || e.Name != "ForbiddenHostError" {
				t.Errorf("%d %s, want 403 for the host", got.status, got.body)
			}
		})
	}
	for name, text := range map[string]string{
		"HTTP/1.0 without a host":        "GET /session HTTP/1.0\r\nAuthorization: Bearer " + r.full + "\r\n\r\n",
		"host in the request line":       "GET http://evil.com/session HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
		"public route":                   "GET /global/health HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n",
		"a forwarded host does not help": "GET /session HTTP/1.1\r\nHost: evil.com\r\nX-Forwarded-Host: localhost\r\nConnection: close\r\n\r\n",
		"options of everything":          "OPTIONS * HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n",
	} {
		if got := r.raw(text); got.err != nil || got.status != http.StatusForbidden {
			t.Errorf("%s: %d %s, error %v, want 403", name, got.status, got.body, got.err)
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	const listed = "https://ide.example.com"
	r := serve(t, options{change: func(c *server.Config) {
		c.Tokens = noLookUp(t)
		c.Origins = []string{listed}
	}})
	for name, headers := range map[string][]string{
		"null":                 {"Origin: null"},
		"empty":                {"Origin: "},
		"another":              {"Origin: https://evil.com"},
		"another port":         {"Origin: " + listed + ":8443"},
		"another scheme":       {"Origin: http://ide.example.com"},
		"a name below":         {"Origin: https://x.ide.example.com"},
		"a name that ends so":  {"Origin: https://evil-ide.example.com"},
		"a name that goes on":  {"Origin: https://ide.example.com.evil.com"},
		"with a slash":         {"Origin: " + listed + "/"},
		"our own address":      {"Origin: http://127.0.0.1:4096"},
		"localhost":            {"Origin: http://localhost"},
		"a star":               {"Origin: *"},
		"two, the first good":  {"Origin: " + listed, "Origin: https://evil.com"},
		"two, the second good": {"Origin: https://evil.com", "Origin: " + listed},
		"two in one":           {"Origin: " + listed + ", https://evil.com"},
		"cross-site, none":     {"Sec-Fetch-Site: cross-site"},
		"same-site, none":      {"Sec-Fetch-Site: same-site"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, line := range []string{"POST /session", "GET /session", "GET /global/health", "GET /event", "OPTIONS /session"} {
				got := r.raw(line + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\nAccess-Control-Request-Method: POST\r\nAuthorization: Bearer " +
					r.full + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n")
				if e := got.failure(t); got.status != http.StatusForbidden || e.Name != "ForbiddenOriginError" || got.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s = %d %s %v, want 403 for the origin", line, got.status, got.body, got.header)
				}
			}
		})
	}
	list := must(r.db.Sessions(t.Context(), store.SessionFilter{}))(t)
	if len(list) != 0 {
		t.Errorf("a forbidden origin has made %d sessions", len(list))
	}
}

func TestListedOrigin(t *testing.T) {
	t.Parallel()
	const listed = "https://ide.example.com"
	r := newRig(t, options{change: func(c *server.Config) { c.Origins = []string{listed} }})
	preflight := r.request(t.Context(), http.MethodOptions, "/session", "", "")
	preflight.Header.Set("Origin", listed)
	preflight.Header.Set("Access-Control-Request-Method", "POST")
	preflight.Header.Set("Sec-Fetch-Site", "cross-site")
	got := r.local(preflight)
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != listed || got.header.Get("Vary") != "Origin" ||
		!strings.Contains(got.header.Get("Access-Control-Allow-Methods"), "POST") || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "authorization") ||
		got.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight = %d %v", got.status, got.header)
	}
	for token, want := range map[string]int{"": 401, r.none: 403, r.full: 200} {
		req := r.request(t.Context(), http.MethodGet, "/session", token, "")
		req.Header.Set("Origin", listed)
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		if got := r.local(req); got.status != want || got.header.Get("Access-Control-Allow-Origin") != listed {
			t.Errorf("%d %v, want %d that the page may read", got.status, got.header, want)
		}
	}
	// What is no preflight is a request like any other.
	plain := r.request(t.Context(), http.MethodOptions, "/session", "", "")
	plain.Header.Set("Origin", listed)
	if got := r.local(plain); got.status != http.StatusUnauthorized {
		t.Errorf("OPTIONS = %d, want 401", got.status)
	}
}

// TestDirectories names directories inside and outside of the project, in every
// place that can name one.
func TestDirectories(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	sub := filepath.Join(r.dir, "sub")
	evil := r.dir + "-evil"
	for _, dir := range []string{sub, evil, filepath.Join(r.dir, "with space")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "/etc", "in": sub, "up": "..", "up-and-back": "../proj/sub"} {
		if err := os.Symlink(target, filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	escape := func(s string) string { return strings.NewReplacer("/", "%2F", ".", "%2E", " ", "%20").Replace(s) }
	for name, c := range map[string]struct {
		dirs []string
		want string // the directory of a new session; "" for a refusal
	}{
		"the project":              {[]string{r.dir}, r.dir},
		"none":                     {[]string{""}, r.dir},
		"below":                    {[]string{sub}, sub},
		"relative":                 {[]string{"sub"}, sub},
		"itself":                   {[]string{"."}, r.dir},
		"link inside":              {[]string{filepath.Join(r.dir, "in")}, sub},
		"link up and back":         {[]string{"up-and-back"}, sub},
		"twice":                    {[]string{sub, r.dir}, sub},
		"not clean, inside":        {[]string{r.dir + "/sub/../sub/."}, sub},
		"with a slash":             {[]string{sub + "/"}, sub},
		"with a space":             {[]string{"with space"}, filepath.Join(r.dir, "with space")},
		"etc":                      {[]string{"/etc"}, ""},
		"root":                     {[]string{"/"}, ""},
		"parent":                   {[]string{".."}, ""},
		"parents":                  {[]string{"../../../../../../etc"}, ""},
		"dots behind":              {[]string{r.dir + "/.."}, ""},
		"dots behind a link":       {[]string{r.dir + "/out/../" + filepath.Base(r.dir)}, ""},
		"prefix":                   {[]string{evil}, ""},
		"link outside":             {[]string{filepath.Join(r.dir, "out")}, ""},
		"relative link outside":    {[]string{"out"}, ""},
		"link up":                  {[]string{"up"}, ""},
		"not there":                {[]string{filepath.Join(r.dir, "nope")}, ""},
		"a file":                   {[]string{"file"}, ""},
		"NUL":                      {[]string{r.dir + "\x00/etc"}, ""},
		"home":                     {[]string{"~"}, ""},
		"inside, then outside":     {[]string{sub, "/etc"}, ""},
		"outside, then inside":     {[]string{"/etc", sub}, ""},
		"empty, then outside":      {[]string{"", "/etc"}, ""},
		"escaped twice":            {[]string{"%2Fetc"}, ""},
		"another file system form": {[]string{"file:///etc"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := func(place string, req *http.Request) {
				t.Helper()
				got := r.send(req)
				if c.want == "" {
					e := got.failure(t)
					if got.status != http.StatusForbidden || len(e.Data.Rules) != 1 || e.Data.Rules[0]["id"] != "request.directory_outside" {
						t.Errorf("%s: %d %s, want 403 by request.directory_outside", place, got.status, got.body)
					}
					return
				}
				var s struct{ Directory string }
				if got.into(t, &s); s.Directory != c.want {
					t.Errorf("%s: a session in %q, want %q", place, s.Directory, c.want)
				}
			}
			for _, parameter := range []string{"directory", "location%5Bdirectory%5D", "location[directory]"} {
				var query strings.Builder
				for _, dir := range c.dirs {
					query.WriteString(parameter + "=" + strings.NewReplacer("%", "%25", "\x00", "%00", " ", "+").Replace(dir) + "&")
				}
				check(parameter, r.request(t.Context(), http.MethodPost, "/session?"+query.String(), r.full, ""))
			}
			escaped := r.request(t.Context(), http.MethodPost, "/session", r.full, "")
			for _, dir := range c.dirs {
				escaped.Header.Add("X-Opencode-Directory", strings.ReplaceAll(escape(dir), "\x00", "%00"))
			}
			if name != "escaped twice" { // the header is unescaped once
				check("header, escaped", escaped)
			}
			if !strings.ContainsRune(c.dirs[0], 0) {
				plain := r.request(t.Context(), http.MethodPost, "/session", r.full, "")
				for _, dir := range c.dirs {
					plain.Header.Add("x-opencode-directory", dir)
				}
				check("header", plain)
			}
			if len(c.dirs) == 2 && c.dirs[0] != "" {
				mixed := r.request(t.Context(), http.MethodPost, "/session?directory="+c.dirs[0], r.full, "")
				mixed.Header.Set("X-Opencode-Directory", c.dirs[1])
				check("query and header", mixed)
			}
		})
	}
}

// TestDirectoryOfEveryRoute checks that a directory outside is refused on every
// route, also on those that do not use it.
func TestDirectoryOfEveryRoute(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for _, route := range routesOf(t, r.server) {
		for _, place := range []string{"query", "header"} {
			req := r.request(t.Context(), route.method, route.filled(), r.full, "")
			if place == "query" {
				req.URL.RawQuery = "directory=/etc&path=passwd"
			} else {
				req.Header.Set("X-Opencode-Directory", "%2Fetc")
			}
			if got := r.local(req); got.status != http.StatusForbidden {
				t.Errorf("%s %s, /etc in the %s = %d %s, want 403", route.method, route.pattern, place, got.status, got.body)
			}
		}
	}
}
