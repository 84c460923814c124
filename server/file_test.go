package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/agent"
)

// canary is text that stands in files which must not be shown.
const canary = "CANARY-outside"

// files puts files in the project, by name. A name that ends in a slash is a
// directory, and text that starts with "->" a link.
func (r *rig) files(list map[string]string) {
	r.t.Helper()
	for name, text := range list {
		full := filepath.Join(r.dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o700)
		target, link := strings.CutPrefix(text, "->")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o700)
		case link:
			err = os.Symlink(target, full)
		default:
			err = os.WriteFile(full, []byte(text), 0o600)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// get asks with a token that may only read.
func (r *rig) get(path string, query ...string) reply {
	r.t.Helper()
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	return r.do(http.MethodGet, path, r.read, "")
}

// fileNode is an entry of a listing.
type fileNode struct {
	Name, Path, Absolute, Type string
	Ignored                    bool
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	r.files(map[string]string{
		".gitignore": "*.log\nbuild/\n", "a.txt": "", "a.log": "", ".env": "X=1", "build/": "", "src/deep/": "", "src/main.go": "",
		"lnk": "->/etc/passwd", "etc": "->/etc", "in": "->src", "abs": "->" + r.dir + "/src", "gone": "->nope",
	})
	if err := syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := func(path, kind string, ignored bool) fileNode {
		name := strings.TrimSuffix(path, "/")
		return fileNode{filepath.Base(name), path, filepath.Join(r.dir, name), kind, ignored}
	}
	top := []fileNode{
		node("abs/", "directory", false), node("build/", "directory", true), node("in/", "directory", false), node("src/", "directory", false),
		node(".env", "file", false), node(".gitignore", "file", false), node("a.log", "file", true), node("a.txt", "file", false),
		node("etc", "file", false), node("gone", "file", false), node("lnk", "file", false),
	}
	src := []fileNode{node("src/deep/", "directory", false), node("src/main.go", "file", false)}
	in := []fileNode{node("in/deep/", "directory", false), node("in/main.go", "file", false)}
	byLength := func(a, b fileNode) int { return strings.Compare(a.Type+a.Name, b.Type+b.Name) }
	for path, want := range map[string][]fileNode{
		"": top, ".": top, r.dir: top, "src/..": top, "src": src, "src/": src, "./src": src, r.dir + "/src": src, "in": in, r.dir + "/in": in, "in/.": in,
		"build": {}, "in/../src": src,
	} {
		got := r.get("/file", "path", path)
		var list []fileNode
		got.into(t, &list)
		slices.SortStableFunc(list, byLength)
		if diff := cmp.Diff(want, list); diff != "" || got.header.Get("X-Opencode-Truncated") != "" {
			t.Errorf("%q (-want +got)\n%s", path, diff)
		}
	}
	// The same below a directory of the project.
	var list []fileNode
	r.get("/file", "path", ".", "directory", filepath.Join(r.dir, "src")).into(t, &list)
	if len(list) != 2 || list[0].Path != "deep/" || list[0].Absolute != filepath.Join(r.dir, "src/deep") {
		t.Errorf("in src: %+v", list)
	}
	var entries struct {
		Location struct {
			Directory string
			Project   struct{ ID, Directory string }
		}
		Data []struct{ Path, Type string }
	}
	r.get("/api/fs/list", "path", "src", "location[directory]", r.dir).into(t, &entries)
	if len(entries.Data) != 2 || entries.Data[0].Path != "src/deep/" || entries.Data[0].Type != "directory" ||
		entries.Location.Directory != r.dir || entries.Location.Project.Directory != r.dir || len(entries.Location.Project.ID) != 40 {
		t.Errorf("/api/fs/list = %+v", entries)
	}
	if got := r.get("/api/fs/list"); got.status != http.StatusOK || strings.Count(got.body, `"path"`) != len(top) {
		t.Errorf("/api/fs/list of the project = %d %s", got.status, got.body)
	}
}

func TestFileContent(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	r.files(map[string]string{
		"a.txt": "\n  hello\nworld \n\n", "img.png": png, "data": "\x00\x01", "latin.txt": "caf\xe9", "empty": "", "page.html": "<script>1</script>\n",
		"v.svg": "<svg onload='x'/>", "in": "->a.txt", "abs": "->" + r.dir + "/a.txt", "with space/ü.txt": "x", "d/": "", ".env.example": "X=\n",
	})
	text := func(s string) map[string]any { return map[string]any{"type": "text", "content": s} }
	binary := func(s, media string) map[string]any {
		return map[string]any{"type": "binary", "content": base64.StdEncoding.EncodeToString([]byte(s)), "encoding": "base64", "mimeType": media}
	}
	for path, want := range map[string]map[string]any{
		"a.txt": text("hello\nworld"), "./a.txt": text("hello\nworld"), r.dir + "/a.txt": text("hello\nworld"), "in": text("hello\nworld"),
		"abs": text("hello\nworld"), "empty": text(""), "img.png": binary(png, "image/png"), "data": binary("\x00\x01", "application/octet-stream"),
		"latin.txt": binary("caf\xe9", "application/octet-stream"), "v.svg": text("<svg onload='x'/>"), "with space/ü.txt": text("x"), "d/../a.txt": text("hello\nworld"),
		".env.example": text("X="),
	} {
		var got map[string]any
		r.get("/file/content", "path", path).into(t, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", path, diff)
		}
	}
	for path, want := range map[string][2]string{
		"a.txt": {"text/plain; charset=utf-8", "\n  hello\nworld \n\n"}, "page.html": {"text/plain; charset=utf-8", "<script>1</script>\n"},
		"v.svg": {"text/plain; charset=utf-8", "<svg onload='x'/>"}, "img.png": {"image/png", png}, "latin.txt": {"application/octet-stream", "caf\xe9"},
		"with%20space/%C3%BC.txt": {"text/plain; charset=utf-8", "x"},
	} {
		got := r.get("/api/fs/read/" + path)
		if got.status != http.StatusOK || got.header.Get("Content-Type") != want[0] || got.body != want[1] ||
			got.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("read %s = %d %v %q", path, got.status, got.header, got.body)
		}
	}
	if got := r.do(http.MethodHead, "/api/fs/read/a.txt", r.read, ""); got.status != http.StatusOK || got.body != "" || got.header.Get("Content-Length") != "17" {
		t.Errorf("HEAD = %d %v %q", got.status, got.header, got.body)
	}
}

// TestFilesRefused asks for what nobody may have, by each route.
func TestFilesRefused(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	r.files(map[string]string{
		"a.txt": "x", "d/": "", "../outside/f": canary, "../projx/f": canary, ".env": canary, "id_rsa": canary, "../.env": canary, "sec": "->.env",
		"out": "->../outside/f", "outdir": "->../outside", "etc": "->/etc", "d/up": "->../..", "loop": "->loop", "gone": "->nope",
	})
	if err := syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	sparse := must(os.Create(filepath.Join(r.dir, "sparse")))(t)
	if err := sparse.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	_ = sparse.Close()
	const denied, refused, notFound, bad = "PermissionDeniedError", "PermissionRefusedError", "NotFoundError", "BadRequest"
	for path, want := range map[string][2]string{
		"..":                              {denied, "path.outside"},
		"../outside/f":                    {denied, "path.outside"},
		"../projx/f":                      {denied, "path.outside"},
		"d/../../outside/f":               {denied, "path.outside"},
		"/etc/passwd":                     {denied, "path.outside"},
		"/":                               {denied, "path.outside"},
		r.dir + "/../outside/f":           {denied, "path.outside"},
		r.dir + "x/f":                     {denied, "path.outside"},
		"out":                             {denied, "path.outside"},
		"outdir/f":                        {denied, "path.outside"},
		"etc/passwd":                      {denied, "path.outside"},
		"d/up/outside/f":                  {denied, "path.outside"},
		"/proc/self/cwd/../outside/f":     {denied, ""},
		"/proc/self/environ":              {denied, "path.outside"},
		"/dev/zero":                       {denied, "path.outside"},
		"loop":                            {denied, "path.unresolved"},
		"a.txt\x00":                       {denied, "path.unresolved"},
		"../outside/f\x00.txt":            {denied, "path.unresolved"},
		"\xff":                            {denied, "path.unresolved"},
		"a.txt/x":                         {denied, "path.unresolved"},
		strings.Repeat("a", 300):          {denied, "path.unresolved"},
		"pipe":                            {denied, "path.special_file"},
		".env":                            {refused, "path.secret"},
		"sec":                             {refused, "path.secret"},
		"./d/../.ENV":                     {refused, "path.secret"},
		"id_rsa":                          {refused, "path.secret"},
		"%2e%2e/outside/f":                {notFound, ""}, // escaped twice: a name like any other
		"..\\outside\\f":                  {notFound, ""},
		"~/.ssh/id_rsa":                   {refused, "path.secret"},
		"nope":                            {notFound, ""},
		"gone":                            {notFound, ""},
		"d":                               {bad, ""},
		".":                               {bad, ""},
		"sparse":                          {bad, ""},
		"file://" + r.dir + "/a.txt":      {notFound, ""},
		"a.txt" + strings.Repeat("/", 99): {denied, "path.unresolved"},
	} {
		got := r.get("/file/content", "path", path)
		e := got.failure(t)
		rules := fmt.Sprint(e.Data.Rules)
		if e.Name != want[0] || !strings.Contains(rules, want[1]) || strings.Contains(got.body, canary) {
			t.Errorf("content of %.60q = %d %s", path, got.status, got.body)
		}
		if want[0] == bad {
			continue
		}
		if got := r.get("/file", "path", path); got.status == http.StatusOK || strings.Contains(got.body, canary) {
			t.Errorf("listing of %.60q = %d %s", path, got.status, got.body)
		}
		if got := r.get("/api/fs/list", "path", path); got.status == http.StatusOK {
			t.Errorf("/api/fs/list of %.60q = %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{
		"../../../outside/f", "%2e%2e/outside/f", "..%2foutside%2ff", "%2e%2e%2foutside/f", "d/up/outside/f", "out", "etc/passwd", "/etc/passwd", "%2fetc%2fpasswd",
		".env", "d/../.env", "a.txt%00", "%ff", "pipe", "..;/outside/f", "..%5coutside", "",
	} {
		if got := r.raw("GET /api/fs/read/" + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer " + r.full + "\r\n\r\n"); got.status < 400 || strings.Contains(got.body, canary) {
			t.Errorf("GET /api/fs/read/%s = %d %q", path, got.status, got.body)
		}
	}
	for _, target := range []string{"/file", "/file/content", "/find", "/find/file", "/api/fs/find"} {
		if e := r.get(target).failure(t); e.Name != bad {
			t.Errorf("%s without its parameter: %+v", target, e)
		}
	}
	for _, query := range []string{"query=a&limit=0", "query=a&limit=201", "query=a&limit=x", "query=a&type=link", "query=a&dirs=maybe", "query=a%00", "query=" + strings.Repeat("a", 300)} {
		if e := r.do(http.MethodGet, "/find/file?"+query, r.read, "").failure(t); e.Name != bad {
			t.Errorf("/find/file?%s: %+v", query, e)
		}
	}
	for _, pattern := range []string{"(", "[a-z]{1000}{1000}", "(?:a{900}){9}"} {
		if e := r.get("/find", "pattern", pattern).failure(t); e.Name != bad {
			t.Errorf("pattern %q: %+v", pattern, e)
		}
	}
}

// TestSearchesLeaveSecretsOut looks for the text and the names of files that
// policy would ask about.
func TestSearchesLeaveSecretsOut(t *testing.T) {
	t.Parallel()
	r := serve(t, options{team: map[string]string{"t.rego": `package team.files

deny contains {"id": "files.private", "message": "private"} if {
	input.kind == "prompt"
	some path in input.prompt.paths
	startswith(path.relative, "private/")
}
`}})
	r.files(map[string]string{
		"src/main.go": "needle\n", ".env": "needle\n", "conf/.env.local": "needle\n", ".ssh/config-needle": "needle\n", "key.pem": "needle\n", "private/needle.txt": "needle\n",
		"../outside/needle": "needle\n", "needle-out": "->../outside/needle", "needle-env": "->.env", "needle-in": "->src/main.go", "needle-dir": "->src", "needle-gone": "->x",
		".git/needle": "needle\n", "needle.go": "package x\n",
	})
	var matches []struct {
		Path, Lines struct{ Text string }
		LineNumber  int `json:"line_number"`
		Offset      int `json:"absolute_offset"`
		Submatches  []struct {
			Match      struct{ Text string }
			Start, End int
		}
	}
	r.get("/find", "pattern", "need(le)?").into(t, &matches)
	if len(matches) != 1 || matches[0].Path.Text != "src/main.go" || matches[0].Lines.Text != "needle\n" || matches[0].LineNumber != 1 ||
		len(matches[0].Submatches) != 1 || matches[0].Submatches[0].Match.Text != "needle" || matches[0].Submatches[0].End != 6 {
		t.Errorf("matches %+v, want that in src/main.go alone", matches)
	}
	var names []string
	r.get("/find/file", "query", "needle", "limit", "200").into(t, &names)
	slices.Sort(names)
	if diff := cmp.Diff([]string{"needle-dir/", "needle-in", "needle.go"}, names); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	for _, secret := range []string{".env", "env.local", ".ssh", "key.pem", "private", "outside"} {
		for _, route := range []string{"/find/file", "/api/fs/find"} {
			if got := r.get(route, "query", secret); got.status != http.StatusOK || strings.Contains(got.body, secret) && secret != "outside" {
				if secret == "private" && !strings.Contains(got.body, "private/needle") {
					continue // the directory itself may be listed
				}
				t.Errorf("%s of %s = %d %s", route, secret, got.status, got.body)
			}
		}
	}
	// The hole when nobody decides about each file.
	open := serve(t, options{team: map[string]string{"t.rego": "package team.open\n\nallow contains {\"id\": \"open.all\", \"message\": \"all\"} if input.kind == \"prompt\"\n"}})
	open.files(map[string]string{".env": "needle\n"})
	open.get("/find", "pattern", "needle").into(t, &matches)
	if len(matches) != 1 || matches[0].Path.Text != ".env" {
		t.Errorf("a policy that lifts the question: %+v, want .env", matches)
	}
}

func TestFindFiles(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	files := map[string]string{"src/main.go": "needle needle\n", "src/": "", "docs/main.md": "", ".gitignore": "out\n", "out/main.go": "needle", "z.txt": ""}
	for i := range 30 {
		files[fmt.Sprintf("many/f%02d.txt", i)] = "x\nline\n"
	}
	r.files(files)
	for query, want := range map[string][]string{
		"query=main":                  {"src/main.go", "docs/main.md"},
		"query=src":                   {"src/", "src/main.go"},
		"query=src&dirs=false":        {"src/main.go"},
		"query=src&type=file":         {"src/main.go"},
		"query=src&type=directory":    {"src/"},
		"query=&limit=2":              {"z.txt", ".gitignore"},
		"query=&limit=2&dirs=true":    {"z.txt", ".gitignore"},
		"query=&type=directory":       {"src/", "docs/", "many/"},
		"query=zzzz":                  {},
		"query=srcmain&directory=src": {},
		"query=main&directory=src":    {"main.go"},
	} {
		var got []string
		r.do(http.MethodGet, "/find/file?"+query, r.read, "").into(t, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", query, diff)
		}
	}
	var ten []string
	if r.get("/find/file", "query", "txt").into(t, &ten); len(ten) != 10 {
		t.Errorf("%d names, want 10", len(ten))
	}
	var entries struct{ Data []struct{ Path, Type string } }
	if r.get("/api/fs/find", "query", "main", "location[directory]", r.dir).into(t, &entries); len(entries.Data) != 2 || entries.Data[0].Path != "src/main.go" || entries.Data[0].Type != "file" {
		t.Errorf("/api/fs/find = %+v", entries)
	}
	if r.get("/api/fs/find", "query", "", "limit", "1000").into(t, &entries); len(entries.Data) != 37 {
		t.Errorf("/api/fs/find of everything = %d entries, want 37", len(entries.Data))
	}
	var matches []json.RawMessage
	if r.get("/find", "pattern", "line").into(t, &matches); len(matches) != 10 {
		t.Errorf("%d matches, want 10", len(matches))
	}
	if got := r.get("/find", "pattern", "^needle", "directory", filepath.Join(r.dir, "src")); got.body !=
		`[{"path":{"text":"main.go"},"lines":{"text":"needle needle\n"},"line_number":1,"absolute_offset":0,"submatches":[{"match":{"text":"needle"},"start":0,"end":6}]}]`+"\n" {
		t.Errorf("in src: %s", got.body)
	}
	if got := r.get("/find", "pattern", "nowhere"); got.body != "[]\n" {
		t.Errorf("nothing: %s", got.body)
	}
	if got := r.get("/find/symbol", "query", "x"); got.body != "[]\n" {
		t.Errorf("symbols: %s", got.body)
	}
}

// TestPartialSearchIsTold checks the header and the log.
func TestPartialSearchIsTold(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	r.files(map[string]string{"big": strings.Repeat("x\n", 3<<20) + "needle\n"})
	if got := r.get("/find", "pattern", "needle"); got.body != "[]\n" || got.header.Get("X-Opencode-Truncated") != "true" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if !strings.Contains(r.log.String(), "not everything was looked at") || !strings.Contains(r.log.String(), "a file is only searched in part") {
		t.Error("the log does not say why")
	}
	secrets := map[string]string{"z-plain": "canary\n"}
	for i := range 40 {
		secrets[fmt.Sprintf("k%02d.pem", i)] = "canary\n"
	}
	r.files(secrets)
	if got := r.get("/find", "pattern", "canary"); got.body != "[]\n" || got.header.Get("X-Opencode-Truncated") != "true" {
		t.Errorf("more secrets than are decided about: %d %v %s", got.status, got.header, got.body)
	}
}

// TestOtherProjects keeps to the projects of the server.
func TestOtherProjects(t *testing.T) {
	t.Parallel()
	r := serve(t, options{agent: func(c *agent.Config) {
		second := filepath.Join(filepath.Dir(c.Directories[0]), "second")
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		c.Directories = append(c.Directories, second)
	}})
	second := filepath.Join(filepath.Dir(r.dir), "second")
	r.files(map[string]string{"a.txt": "first", "../second/a.txt": "second"})
	if got := r.get("/file/content", "path", "a.txt", "directory", second); !strings.Contains(got.body, "second") {
		t.Errorf("in the second: %s", got.body)
	}
	if got := r.get("/file/content", "path", filepath.Join(second, "a.txt")); got.status != http.StatusForbidden {
		t.Errorf("the second from the first = %d %s, want 403", got.status, got.body)
	}
	for _, outside := range []string{"/etc", filepath.Dir(r.dir)} {
		for _, parameter := range []string{"directory", "location[directory]"} {
			for path, name := range map[string]string{"/file/content": "path", "/file": "path", "/find": "pattern", "/find/file": "query", "/api/fs/find": "query", "/api/fs/list": "path", "/api/fs/read/passwd": "x"} {
				if got := r.get(path, name, "passwd", parameter, outside); got.status != http.StatusForbidden || !strings.Contains(got.body, "request.directory_outside") {
					t.Errorf("%s in %s = %d %s, want 403", path, outside, got.status, got.body)
				}
			}
		}
	}
}

// FuzzFileContent asks for a path. What comes back is from the project, by a
// rule of its own: every file there says that it is, and nothing else does.
func FuzzFileContent(f *testing.F) {
	for _, seed := range []string{"a", "d/b", "../canary", "/etc/passwd", "up/canary", "d/../../canary", "out", "%2e%2e/canary", "a\x00", "\xff", "", ".", "~", "..//canary", "d/up/canary", ".env"} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	// Nothing of it is changed, so that all share it.
	shared := newRig(f, options{})
	shared.files(map[string]string{
		"a": "in the project", "d/b": "in the project", "...": "in the project", ".env": canary, "../canary": canary, "../projx/a": canary,
		"up": "->..", "out": "->../canary", "root": "->/", "d/up": "->../..", "abs": "->" + shared.dir + "/a",
	})
	f.Fuzz(func(t *testing.T, path string, raw bool) {
		r := *shared
		r.t = t
		target := "/file/content?path=" + url.QueryEscape(path)
		if raw {
			target = "/api/fs/read/" + (&url.URL{Path: path}).EscapedPath()
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:4096"+target, nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+r.full)
		got := r.local(req)
		if got.status == http.StatusOK && !strings.Contains(got.body, "in the project") || strings.Contains(got.body, canary) {
			t.Errorf("GET %s = %d %s", target, got.status, got.body)
		}
	})
}
