package policy_test

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"opencode/policy"
)

func fromPath(p string) *policy.Request {
	return policy.FromRequest(time.Unix(0, 0), policy.Anonymous(), policy.HTTP{
		Method: "GET", Path: p,
		Route: func(_, path string) (string, bool) { return "route of " + path, true },
	}).Request
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		path      string
		canonical bool
		segments  string // joined by a space
	}{
		{"/", true, ""},
		{"/session", true, "session"},
		{"/session/ses_1/message", true, "session ses_1 message"},
		{"/file/a.go", true, "file a.go"},
		{"/file/a-b_c~d", true, "file a-b_c~d"},
		{"/file/a%20b", true, "file a b"},
		{"/file/%E4%B8%96", true, "file 世"},
		{"/file/a%25b", true, "file a%b"},
		{"/file/(a)@b:c,d;e=f", true, "file (a)@b:c,d"},
		{"/SESSION", true, "session"}, // another path, but nothing may depend on that

		{"", false, ""},
		{"session", false, "session"},
		{"//", false, ""},
		{"//session", false, "session"},
		{"/session/", false, "session"},
		{"/session//message", false, "session message"},
		{"/./session", false, "session"},
		{"/session/.", false, "session"},
		{"/config/../session", false, "config session"},
		{"/..", false, ""},
		{"/config%2fsession", false, "config session"},
		{"/config%2Fsession", false, "config session"},
		{"/config%5csession", false, "config session"},
		{"/config\\session", false, "config session"},
		{"/config%252fsession", true, "config session"}, // the server unescapes once: its segment is config%2fsession
		{"/config%25252fsession", true, "config session"},
		{"/%2e%2e/session", false, "session"},
		{"/%2E/session", false, "session"},
		{"/%252e%252e/session", true, "session"},
		{"/%73ession", false, "session"},
		{"/%2573ession", true, "session"},
		{"/session%00", false, "session"},
		{"/%00session", false, "session"},
		{"/session%0a", false, "session"},
		{"/session%7f", false, "session\x7f"},
		{"/session%20", true, "session"},
		{"/session;x=y", true, "session"},
		{"/session%3bx", true, "session"},
		{"/session\x00", false, "session"},
		{"/session\t", false, "session"},
		{"/session ", false, "session"},
		{"/session?x", false, "session?x"},
		{"/session#x", false, "session#x"},
		{"/é", false, "é"},
		{"/\xff", false, "\ufffd"},
		{"/%ff", false, "\ufffd"},
		{"/%c3%28", false, "\ufffd("},
		{"/%", false, "%"},
		{"/%2", false, "%2"},
		{"/%zz", false, "%zz"},
		{"/a\"b", false, "a\"b"},
		{"/<x>", false, "<x>"},
		{"http://x/session", false, "http: x session"},
	} {
		got := fromPath(row.path)
		if got.Canonical != row.canonical || strings.Join(got.Segments, " ") != row.segments {
			t.Errorf("%q: canonical %v, segments %q, want %v, %q", row.path, got.Canonical, got.Segments, row.canonical, row.segments)
		}
		if got.Path != row.path || got.Segments == nil || (got.Route != nil) != got.Canonical {
			t.Errorf("%q: %+v", row.path, got)
		}
	}
}

// FuzzPath: a path in its plain spelling means to everybody what it says, and
// the segments undo every trick whatever the spelling.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/session", "/a/../b", "/a%2fb", "/a%252fb", "/%2e%2e/x", "/a//b", "/a;b/c", "/A", "/%ff", "/a%00", "/a\\b", "/%5c", "/é",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got := fromPath(p)
		for _, s := range got.Segments {
			if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\") || strings.ToLower(s) != s {
				t.Errorf("%q: segment %q", p, s)
			}
		}
		if !got.Canonical {
			if got.Route != nil {
				t.Errorf("%q: has the route %q, but is not canonical", p, *got.Route)
			}
			return
		}
		if path.Clean(p) != p {
			t.Errorf("%q: canonical, but means %q", p, path.Clean(p))
		}
		u, err := url.ParseRequestURI(p)
		if err != nil || u.EscapedPath() != p || u.RawQuery != "" || u.Host != "" || u.Scheme != "" {
			t.Errorf("%q: canonical, but is read as %+v, error %v", p, u, err)
		}
		if p == "/" {
			return
		}
		var plain []string
		for s := range strings.SplitSeq(p[1:], "/") {
			one, err := url.PathUnescape(s)
			if err != nil || one == "" || one == "." || one == ".." || strings.ContainsAny(one, "\x00\n\r") {
				t.Errorf("%q: canonical with the segment %q, error %v", p, one, err)
			}
			plain = append(plain, one)
		}
		if again := strings.FieldsFunc(strings.Join(plain, "/"), func(r rune) bool { return r == '/' || r == '\\' }); !slices.Equal(again, plain) {
			t.Errorf("%q: unescaped and split again %q, want %q", p, again, plain)
		}
		// What a handler sees of a plain segment is among what policy sees.
		for _, s := range plain {
			if lower := strings.ToLower(s); !strings.ContainsAny(s, "%; \t\r\n\x00") && !slices.Contains(got.Segments, lower) {
				t.Errorf("%q: segments %q lack %q", p, got.Segments, lower)
			}
		}
	})
}

func TestFromRequest(t *testing.T) {
	t.Parallel()
	origin, days := "http://localhost", 3
	query := url.Values{"limit": {"1", "2"}, "auth_token": {"x"}, "ticket": {"y"}, "empty": nil}
	directory := &policy.Directory{Raw: "/p", Real: "/p", Inside: true}
	in := policy.FromRequest(time.Date(2026, 11, 20, 15, 32, 3, 9, time.UTC),
		policy.Principal{Kind: policy.PrincipalToken, ID: "tok_1", ExpiresInDays: &days},
		policy.HTTP{
			Method: "POST", Path: "/session/ses_1", Query: query, Host: "127.0.0.1:4096", Origin: &origin, WebSocket: true,
			Remote: netip.MustParseAddr("::ffff:127.0.0.1"), Bytes: -1, Directory: directory,
			Route: func(method, path string) (string, bool) {
				return "/session/{sessionID}", method == "POST" && path == "/session/ses_1"
			},
		})
	route := "/session/{sessionID}"
	want := &policy.Input{
		Version: 1, Kind: policy.KindRequest,
		Time: policy.Time{Unix: time.Date(2026, 11, 20, 15, 32, 0, 0, time.UTC).Unix(), Weekday: "friday", Hour: 15},
		Principal: policy.Principal{
			Kind: policy.PrincipalToken, ID: "tok_1", ExpiresInDays: &days, Permissions: []string{}, Attributes: map[string]string{},
		},
		Request: &policy.Request{
			Method: "POST", Path: "/session/ses_1", Route: &route, Segments: []string{"session", "ses_1"}, Canonical: true,
			Query: map[string][]string{"limit": {"1", "2"}, "empty": nil}, Host: "127.0.0.1:4096", Origin: &origin, WebSocket: true,
			Remote: policy.Remote{IP: "127.0.0.1", Loopback: true}, Bytes: -1, Directory: directory,
		},
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("FromRequest (-want +got):\n%s", diff)
	}
	if query.Get("auth_token") != "x" || query.Get("ticket") != "y" {
		t.Error("FromRequest changed the query of its caller")
	}
}

func TestRouteIsAskedForPlainPathsAlone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		path string
		ok   bool
		want bool
	}{{"/a", true, true}, {"/a", false, false}, {"/a/", true, false}, {"/a/../a", true, false}} {
		asked := false
		got := policy.FromRequest(time.Unix(0, 0), policy.Anonymous(), policy.HTTP{Path: row.path, Route: func(string, string) (string, bool) {
			asked = true
			return "/a", row.ok
		}}).Request
		if (got.Route != nil) != row.want || asked != (row.path == "/a") {
			t.Errorf("%q: route %v, asked %v", row.path, got.Route, asked)
		}
	}
	if got := policy.FromRequest(time.Unix(0, 0), policy.Anonymous(), policy.HTTP{Path: "/a"}).Request; got.Route != nil || got.Remote.Loopback {
		t.Errorf("a request of which nothing is known: %+v", got)
	}
}

func TestTimeIsCoarse(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	for _, d := range []time.Duration{0, time.Nanosecond, 59 * time.Second, time.Minute - 1} {
		if got, want := policy.At(start.Add(d)), (policy.Time{Unix: start.Unix(), Weekday: "sunday", Hour: 23}); got != want {
			t.Errorf("At(start + %v) = %+v, want %+v", d, got, want)
		}
	}
	if got := policy.At(start.Add(time.Minute)); got.Weekday != "monday" || got.Hour != 0 || got.Unix != start.Unix()+60 {
		t.Errorf("a minute later: %+v", got)
	}
}
