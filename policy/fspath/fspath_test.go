package fspath_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/policy/fspath"
)

// tree makes, in a new directory, the project p with files and links of every
// sort, and files around it. It returns the directory.
func tree(tb testing.TB) string {
	tb.Helper()
	base, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	for _, dir := range []string{"p/a/b", "p/.git/hooks", "p/.ssh", "out/deep/er", "p-evil", "real/p2"} {
		check(os.MkdirAll(filepath.Join(base, dir), 0o700))
	}
	for _, file := range []string{
		"p/f", "p/a/f", "p/a/b/f", "p/.git/config", "p/.ssh/k", "p/.env", "out/f", "out/deep/f", "p-evil/f", "secret", "real/p2/f", "p/~", "p/a b", "out/hard",
	} {
		check(os.WriteFile(filepath.Join(base, file), []byte("x"), 0o600))
	}
	for name, target := range map[string]string{
		"p/in": "a", "p/infile": "a/f", "p/inabs": base + "/p/a", "p/out": "../out", "p/outabs": base + "/out", "p/outfile": "../out/f",
		"p/deep": "../out/deep/er", "p/dangling": "nowhere", "p/danglingout": "../nowhere", "p/danglingdeep": "nowhere/x/y", "p/loop": "loop",
		"p/loop1": "loop2", "p/loop2": "loop1", "p/self": ".", "p/up": "..", "p/a/up": "..", "p/a/upup": "../..", "p/root": "/", "p/etc": "/etc",
		"p/tolink": "in", "p/toout": "out", "p/gitlink": ".git", "p/innocent": ".git/hooks", "p/notes.txt": ".env", "p/evil": "../p-evil",
		"p/slash": "a/", "p/fileslash": "f/", "p/dots": "a/./b/../b", "p/viaout": "../out/../p/a", "p/stdin": "/dev/stdin", "p/procroot": "/proc/self/root",
		"p/procfd": "/proc/self/fd/0", "p/devfd": "/dev/fd/0", "p/null": "/dev/null", "p/missingup": "nowhere/../f", "link": "p", "plink": "real",
		"p/a/b/back": "../../../p/a",
	} {
		check(os.Symlink(target, filepath.Join(base, name)))
	}
	check(os.Link(filepath.Join(base, "out/hard"), filepath.Join(base, "p/hard")))
	previous := "f"
	for i := range 60 {
		name := "chain" + string(rune('A'+i/10)) + string(rune('0'+i%10))
		check(os.Symlink(previous, filepath.Join(base, "p", name)))
		previous = name
	}
	check(syscall.Mkfifo(filepath.Join(base, "p/fifo"), 0o600))
	return base
}

func TestResolve(t *testing.T) {
	t.Parallel()
	base := tree(t)
	long := strings.Repeat("x", 255)
	const problem = "!"
	tests := []struct {
		raw string
		// want is Relative if inside, an absolute path below the base or "//"
		// and an absolute path if outside, or "!" and a part of the problem.
		want  string
		kind  string
		class string
		link  bool
		hard  bool // there is another name of the file
	}{
		// Plain names and dots.
		{raw: ".", want: ".", kind: "dir"},
		{raw: "./", want: ".", kind: "dir"},
		{raw: "f", want: "f", kind: "file"},
		{raw: "./f", want: "f", kind: "file"},
		{raw: ".//./f", want: "f", kind: "file"},
		{raw: "a", want: "a", kind: "dir"},
		{raw: "a/", want: "a", kind: "dir"},
		{raw: "a//", want: "a", kind: "dir"},
		{raw: "a/.", want: "a", kind: "dir"},
		{raw: "a/f", want: "a/f", kind: "file"},
		{raw: "a//f", want: "a/f", kind: "file"},
		{raw: "a/../f", want: "f", kind: "file"},
		{raw: "a/b/../../f", want: "f", kind: "file"},
		{raw: "a/b/..", want: "a", kind: "dir"},
		{raw: "a b", want: "a b", kind: "file"},
		{raw: "hard", want: "hard", kind: "file", hard: true},
		{raw: "a/../hard", want: "hard", kind: "file", hard: true},
		{raw: "../out/hard", want: "/out/hard", kind: "file", hard: true},
		{raw: "...", want: "...", kind: "none"},
		{raw: "a/...", want: "a/...", kind: "none"},
		{raw: "~", want: "~", kind: "file"},
		{raw: "~/x", want: problem + "not a directory"},
		{raw: "~root", want: "~root", kind: "none"},
		{raw: `a\..\..`, want: `a\..\..`, kind: "none"},
		{raw: "%2e%2e/f", want: "%2e%2e/f", kind: "none"},
		{raw: "..\u200b/f", want: "..\u200b/f", kind: "none"},
		{raw: "f/", want: problem + "not a directory"},
		{raw: "f/.", want: problem + "not a directory"},
		{raw: "f/..", want: problem + "not a directory"},
		{raw: "f/x", want: problem + "not a directory"},
		{raw: "f/../f", want: problem + "not a directory"},
		// Out of the project.
		{raw: "..", want: "/", kind: "dir"},
		{raw: "../", want: "/", kind: "dir"},
		{raw: "../secret", want: "/secret", kind: "file"},
		{raw: "a/../../secret", want: "/secret", kind: "file"},
		{raw: "../p/f", want: "f", kind: "file"},
		{raw: "../p", want: ".", kind: "dir"},
		{raw: "../p-evil/f", want: "/p-evil/f", kind: "file"},
		{raw: "../p-evil", want: "/p-evil", kind: "dir"},
		{raw: "../p-new", want: "/p-new", kind: "none"},
		{raw: "../pf", want: "/pf", kind: "none"},
		{raw: base + "/p", want: ".", kind: "dir"},
		{raw: base + "/p/", want: ".", kind: "dir"},
		{raw: base + "/p/f", want: "f", kind: "file"},
		{raw: base + "//p//f", want: "f", kind: "file"},
		{raw: "//" + base + "/p/f", want: "f", kind: "file"},
		{raw: base + "/p-evil/f", want: "/p-evil/f", kind: "file"},
		{raw: base + "/p/../secret", want: "/secret", kind: "file"},
		{raw: base + "/p/new/x", want: "new/x", kind: "none"},
		{raw: base + "/link/f", want: "f", kind: "file"},
		{raw: base + "/link", want: ".", kind: "dir"},
		{raw: "/", want: "///", kind: "dir"},
		{raw: "/..", want: "///", kind: "dir"},
		{raw: "/../../etc", want: "///etc", kind: "dir"},
		{raw: strings.Repeat("../", 50) + "etc", want: "///etc", kind: "dir"},
		// What does not exist yet.
		{raw: "new", want: "new", kind: "none"},
		{raw: "new/", want: "new", kind: "none"},
		{raw: "new/x/y", want: "new/x/y", kind: "none"},
		{raw: "new/./x", want: "new/x", kind: "none"},
		{raw: "new/..", want: problem + "does not exist"},
		{raw: "new/../f", want: problem + "does not exist"},
		{raw: "new/../../secret", want: problem + "does not exist"},
		{raw: "a/new/../f", want: problem + "does not exist"},
		{raw: "a/../new", want: "new", kind: "none"},
		// Links.
		{raw: "in", want: "a", kind: "dir", link: true},
		{raw: "in/f", want: "a/f", kind: "file", link: true},
		{raw: "in/new", want: "a/new", kind: "none", link: true},
		{raw: "in/..", want: ".", kind: "dir", link: true},
		{raw: "in/../f", want: "f", kind: "file", link: true},
		{raw: "in/b/../f", want: "a/f", kind: "file", link: true},
		{raw: "infile", want: "a/f", kind: "file", link: true},
		{raw: "infile/x", want: problem + "not a directory"},
		{raw: "inabs/f", want: "a/f", kind: "file", link: true},
		{raw: "tolink/f", want: "a/f", kind: "file", link: true},
		{raw: "slash/f", want: "a/f", kind: "file", link: true},
		{raw: "fileslash", want: problem + "not a directory"},
		{raw: "dots/f", want: "a/b/f", kind: "file", link: true},
		{raw: "self/self/self/f", want: "f", kind: "file", link: true},
		{raw: "a/up/f", want: "f", kind: "file", link: true},
		{raw: "a/b/back/f", want: "a/f", kind: "file", link: true},
		{raw: "viaout/f", want: "a/f", kind: "file", link: true},
		{raw: "chainA9", want: "f", kind: "file", link: true},
		{raw: "chainD9", want: "f", kind: "file", link: true},
		{raw: "chainE0", want: problem + "too many links"},
		{raw: "chainF9", want: problem + "too many links"},
		{raw: "out", want: "/out", kind: "dir", link: true},
		{raw: "out/f", want: "/out/f", kind: "file", link: true},
		{raw: "out/new", want: "/out/new", kind: "none", link: true},
		{raw: "out/new/x", want: "/out/new/x", kind: "none", link: true},
		{raw: "out/..", want: "/", kind: "dir", link: true},
		{raw: "out/../secret", want: "/secret", kind: "file", link: true},
		{raw: "out/../p/f", want: "f", kind: "file", link: true},
		{raw: "deep/..", want: "/out/deep", kind: "dir", link: true},
		{raw: "deep/../f", want: "/out/deep/f", kind: "file", link: true},
		{raw: "deep/../../../p/f", want: "f", kind: "file", link: true},
		{raw: "outabs/f", want: "/out/f", kind: "file", link: true},
		{raw: "outfile", want: "/out/f", kind: "file", link: true},
		{raw: "toout/f", want: "/out/f", kind: "file", link: true},
		{raw: "up", want: "/", kind: "dir", link: true},
		{raw: "up/secret", want: "/secret", kind: "file", link: true},
		{raw: "a/upup/secret", want: "/secret", kind: "file", link: true},
		{raw: "up/p/f", want: "f", kind: "file", link: true},
		{raw: "evil/f", want: "/p-evil/f", kind: "file", link: true},
		{raw: "root", want: "///", kind: "dir", link: true},
		{raw: "etc/new", want: "///etc/new", kind: "none", link: true},
		{raw: "dangling", want: "nowhere", kind: "none", link: true},
		{raw: "dangling/x", want: "nowhere/x", kind: "none", link: true},
		{raw: "dangling/../f", want: problem + "does not exist"},
		{raw: "danglingout", want: "/nowhere", kind: "none", link: true},
		{raw: "danglingout/x", want: "/nowhere/x", kind: "none", link: true},
		{raw: "danglingdeep", want: "nowhere/x/y", kind: "none", link: true},
		{raw: "missingup", want: problem + "does not exist"},
		{raw: "loop", want: problem + "too many links"},
		{raw: "loop/x", want: problem + "too many links"},
		{raw: "loop1", want: problem + "too many links"},
		{raw: "a/../loop2", want: problem + "too many links"},
		// Classes: of the text and of where it leads.
		{raw: ".git", want: ".git", kind: "dir", class: "vcs"},
		{raw: ".GIT/config", want: ".GIT/config", kind: "none", class: "vcs"},
		{raw: "a/../.git/config", want: ".git/config", kind: "file", class: "vcs"},
		{raw: "gitlink/config", want: ".git/config", kind: "file", class: "vcs", link: true},
		{raw: "innocent/post-commit", want: ".git/hooks/post-commit", kind: "none", class: "vcs", link: true},
		{raw: "notes.txt", want: ".env", kind: "file", class: "secret", link: true},
		{raw: ".git/../.env", want: ".env", kind: "file", class: "secret"},
		{raw: ".ssh/k", want: ".ssh/k", kind: "file", class: "secret"},
		{raw: "new/../.ssh/k", want: problem + "does not exist", class: "secret"},
		// Special files.
		{raw: "fifo", want: "fifo", kind: "fifo"},
		{raw: "fifo/x", want: problem + "not a directory"},
		{raw: "null", want: "///dev/null", kind: "device", link: true},
		{raw: "/dev/null", want: "///dev/null", kind: "device"},
		{raw: "/dev/stdin", want: "///dev/stdin", kind: "device"},
		{raw: "/dev/stdout", want: "///dev/stdout", kind: "device"},
		{raw: "/dev/../dev/stderr", want: "///dev/stderr", kind: "device"},
		{raw: "stdin", want: "///dev/stdin", kind: "device", link: true},
		{raw: "/dev/stdin/x", want: problem + "not a directory"},
		{raw: "/dev/fd", want: problem + "own files"},
		{raw: "/dev/fd/0", want: problem + "own files"},
		{raw: "/dev/./fd//3", want: problem + "own files"},
		{raw: "/proc/self/root", want: problem + "own files"},
		{raw: "/proc/self/root/etc/passwd", want: problem + "own files"},
		{raw: "/proc/self/cwd/f", want: problem + "own files"},
		{raw: "/proc/thread-self/cwd", want: problem + "own files"},
		{raw: "/proc/self/exe", want: problem + "own files"},
		{raw: "/proc/self/fd/1", want: problem + "own files"},
		{raw: "/proc/1/root", want: problem + "own files"},
		{raw: "/proc/1/cwd/x", want: problem + "own files"},
		{raw: "/proc/self/task/1/root", want: problem + "own files", class: "secret"},
		{raw: "procroot/etc", want: problem + "own files"},
		{raw: "procfd", want: problem + "own files"},
		{raw: "devfd", want: problem + "own files"},
		// Texts that are no paths.
		{raw: "", want: problem + "empty"},
		{raw: "f\x00", want: problem + "NUL"},
		{raw: "a/\x00/../f", want: problem + "NUL"},
		{raw: "f\xff", want: problem + "UTF-8"},
		{raw: long, want: long, kind: "none"},
		{raw: long + "x", want: problem + "longer than 255"},
		{raw: "new/" + long + "x", want: problem + "longer than 255"},
		{raw: strings.Repeat("./", 2049), want: problem + "longer than 4096"},
		{raw: strings.Repeat(long+"/", 16), want: problem + "longer than 4096"},
	}
	if len(tests) < 130 {
		t.Fatalf("%d cases, want more", len(tests))
	}
	root := base + "/p"
	for _, tt := range tests {
		got := fspath.Resolve(root, root, tt.raw, fspath.Write)
		want := fspath.Path{Raw: tt.raw, Access: fspath.Write, Kind: "none", Class: "plain"}
		if tt.class != "" {
			want.Class = tt.class
		}
		if part, ok := strings.CutPrefix(tt.want, problem); ok {
			if got.Problem == nil || !strings.Contains(*got.Problem, part) {
				t.Errorf("Resolve(%q).Problem = %v, want %q", short(tt.raw), show(got.Problem), part)
			}
			want.Problem = got.Problem
		} else {
			want.Kind, want.Link, want.Exists = tt.kind, tt.link, tt.kind != "none"
			if tt.kind == "file" {
				want.Links = 1
				if tt.hard {
					want.Links = 2
				}
			}
			switch {
			case strings.HasPrefix(tt.want, "//"):
				want.Real = tt.want[2:]
			case tt.want == "/":
				want.Real = base
			case strings.HasPrefix(tt.want, "/"):
				want.Real = base + tt.want
			default:
				want.Real = filepath.Join(root, tt.want)
				want.Relative, want.Inside = tt.want, true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Resolve(%q) (-want +got):\n%s", short(tt.raw), diff)
		}
	}
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

func show(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// TestResolveDirectories shows other roots and other starts.
func TestResolveDirectories(t *testing.T) {
	t.Parallel()
	base := tree(t)
	tests := []struct {
		name, root, cwd, raw string
		relative             string
		inside, link         bool
		problem              string
	}{
		{name: "root is a link", root: "/link", cwd: "/link", raw: "f", relative: "f", inside: true},
		{name: "root is a link, path is not", root: "/link", cwd: "/p", raw: "f", relative: "f", inside: true},
		{name: "path by the link, root is not", root: "/p", cwd: "/link", raw: "f", relative: "f", inside: true},
		{name: "root is below a link", root: "/plink/p2", cwd: "/plink/p2", raw: "f", relative: "f", inside: true},
		{name: "root ends in a slash", root: "/p/", cwd: "/p/", raw: "f", relative: "f", inside: true},
		{name: "root has dots", root: "/out/../p/.", cwd: "/p", raw: "f", relative: "f", inside: true},
		{name: "start is below", root: "/p", cwd: "/p/a/b", raw: "../f", relative: "a/f", inside: true},
		{name: "start is a link below", root: "/p", cwd: "/p/in", raw: "../f", relative: "f", inside: true, link: true},
		{name: "start is a link outside", root: "/p", cwd: "/p/deep", raw: "../f", link: true},
		{name: "start is outside", root: "/p", cwd: "/out", raw: "f"},
		{name: "start does not exist", root: "/p", cwd: "/p/new", raw: "f", relative: "new/f", inside: true},
		{name: "start does not exist, back", root: "/p", cwd: "/p/new", raw: "../f", problem: "goes back from a directory that does not exist"},
		{name: "root does not exist", root: "/nowhere", cwd: "/nowhere", raw: "f", relative: "f", inside: true},
		{name: "root does not exist, back", root: "/nowhere", cwd: "/nowhere", raw: "../p/f", problem: "goes back from a directory that does not exist"},
		{name: "root does not exist, start does", root: "/nowhere", cwd: "/p", raw: "f"},
		{name: "root does not exist, like name", root: "/nowhere", cwd: "/nowhere-evil", raw: "f"},
		{name: "root is below a file", root: "/p/f/x", cwd: "/p", raw: "f", problem: "the project directory cannot be resolved"},
		{name: "root is a file", root: "/p/f", cwd: "/p", raw: "f", problem: "the project directory cannot be resolved"},
		{name: "root is a loop", root: "/p/loop", cwd: "/p", raw: "f", problem: "the project directory cannot be resolved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := fspath.Resolve(base+tt.root, base+tt.cwd, tt.raw, fspath.Read)
			if got.Relative != tt.relative || got.Inside != tt.inside || got.Link != tt.link || show(got.Problem) != orNone(tt.problem) {
				t.Errorf("Resolve = %+v, problem %s", got, show(got.Problem))
			}
		})
	}
	for _, dirs := range [][2]string{{"", base}, {"p", base}, {base, ""}, {base, "p"}} {
		if got := fspath.Resolve(dirs[0], dirs[1], "f", fspath.Read); got.Problem == nil || got.Inside {
			t.Errorf("Resolve(%q, %q) = %+v, want a problem", dirs[0], dirs[1], got)
		}
	}
	if got := fspath.Resolve("/", "/", "etc", fspath.Read); !got.Inside || got.Relative != "etc" {
		t.Errorf("Resolve below / = %+v", got)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func TestResolveSocket(t *testing.T) {
	t.Parallel()
	// The name of a socket must be short, which that of the test need not be.
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if got := fspath.Resolve(dir, dir, "s", fspath.Read); got.Kind != "socket" || !got.Inside {
		t.Errorf("Resolve(socket) = %+v", got)
	}
}

func TestClass(t *testing.T) {
	t.Parallel()
	classes := map[string][]string{
		"secret": {
			"/home/u/.ssh/id_rsa", "/home/u/.ssh/config", "/home/u/.ssh", "id_ed25519", "k/id_rsa", "/home/u/.aws/credentials",
			"/home/u/.config/gcloud/x/y", "/home/u/.kube/config", "/home/u/.netrc", ".npmrc", ".pypirc", ".git-credentials", ".env", ".env.local",
			".env.production", "sub/.env", ".ENV", ".Env.Local", ".e\u200bnv", ".\u017f\u017fh/x", ".env.", ".env ", "server.pem", "a/b.KEY", "x.p12",
			"/home/u/.local/share/opencode/auth.json", "/home/u/.local/share/opencode/auth.json.age", "/home/u/.config/opencode/auth-keys/x.txt", "/home/u/.config/opencode/auth-tokens.json", "auth-tokens.json", ".bash_history",
			".zsh_history", ".python_history", "/home/u/.local/share/fish/fish_history", "/home/u/.gnupg/x", "/home/u/.mozilla/firefox/x/logins.json",
			"/home/u/.config/google-chrome-beta/Default/Cookies", "/Users/u/Library/Application Support/Google/Chrome/Default/Cookies",
			"/proc/1/environ", "/proc/self/environ", "/etc/shadow", "/etc/shadow-", "/etc/ssh/ssh_host_rsa_key", ".git/x.pem", ".claude/.env",
			"/home/u/.docker/config.json",
		},
		"vcs": {".git", ".git/config", ".git/hooks/pre-commit", "sub/.git", ".GiT/config", ".g\u200cit/config", ".git./x", "GIT~1/config", ".hg/hgrc", ".svn/x", ".git/opencode.json"},
		"agent-config": {
			".opencode", ".opencode/agent/x.md", "opencode.json", "opencode.jsonc", "sub/opencode.json", ".claude/settings.json", ".cursor/rules/x",
			".vscode/tasks.json", ".vscode/settings.json", ".github/workflows/ci.yml", ".gitlab-ci.yml", ".bashrc", ".zshrc", ".profile",
			".bash_profile", ".envrc", ".mcp.json", ".OpenCode/x", "Opencode.JSON",
		},
		"plain": {
			"main.go", ".env.example", ".env.sample", ".env.template", ".env.dist", "sub/.env.example", "AGENTS.md", ".gitignore", ".github/CODEOWNERS",
			".vscode/extensions.json", "auth.json", "x/auth.json", "environ", "etc/shadow", "keys.go", "pem", "my.env", "git/config", "ssh/x", "id_rsa.pub",
			"credentials", ".aws/config", "history", "workflows/x.yml", "monkey", "opencode/main.go", "/etc/passwd", ".environment", "x.pem.go",
		},
	}
	// A root that no rule knows, since the whole path counts.
	root := t.TempDir()
	for want, names := range classes {
		for _, name := range names {
			if got := fspath.Resolve(root, root, name, fspath.Read).Class; got != want {
				t.Errorf("Resolve(%q).Class = %q, want %q", name, got, want)
			}
		}
	}
}

func FuzzResolve(f *testing.F) {
	base := tree(f)
	root := base + "/p"
	for _, seed := range []string{
		"f", "in/../f", "out/../p/f", "deep/../../f", "../p-evil/f", "self/up/p/a/up/f", "/proc/self/root/etc", "root/dev/fd/0", "chainA5", "loop1",
		"a//./b/../up/.git/config", "new/../f", base + "/link/in/f", "viaout/up/infile", "dangling/x", "a/b/back/upup/p/fifo", "inabs/../outabs/..",
	} {
		f.Add(seed)
	}
	realRoot, err := filepath.EvalSymlinks(root)
	if err != nil {
		f.Fatal(err)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	f.Fuzz(func(t *testing.T, raw string) {
		got := fspath.Resolve(root, root, raw, fspath.Write)
		if got.Problem != nil && (got.Inside || got.Real != "" || got.Relative != "" || got.Exists) {
			t.Fatalf("Resolve(%q) has a problem and more: %+v", raw, got)
		}
		if got.Inside != (got.Relative != "") {
			t.Fatalf("Resolve(%q) = %+v", raw, got)
		}
		full := raw
		if !strings.HasPrefix(raw, "/") {
			full = root + "/" + raw
		}
		// The kernel's own view, without cleaning the text on the way.
		if _, err := os.Stat(full); err == nil && got.Problem == nil && !got.Exists && raw != "" {
			t.Fatalf("Resolve(%q) = %+v, but it exists", raw, got)
		}
		if !got.Inside {
			return
		}
		if !filepath.IsLocal(got.Relative) {
			t.Fatalf("Resolve(%q).Relative = %q is not local", raw, got.Relative)
		}
		if !got.Exists {
			return
		}
		if _, err := r.Lstat(got.Relative); err != nil {
			t.Fatalf("Resolve(%q) = %+v, but the root says %v", raw, got, err)
		}
		a, err := os.Stat(full)
		if err != nil {
			t.Fatalf("Resolve(%q) exists, but the kernel says %v", raw, err)
		}
		b, err := os.Lstat(got.Real)
		if err != nil || !os.SameFile(a, b) {
			t.Fatalf("Resolve(%q).Real = %q is another file", raw, got.Real)
		}
		linked, err := filepath.EvalSymlinks(got.Real)
		if err != nil || linked != got.Real {
			t.Fatalf("Resolve(%q).Real = %q, links lead to %q, %v", raw, got.Real, linked, err)
		}
		if linked != realRoot && !strings.HasPrefix(linked, realRoot+"/") {
			t.Fatalf("Resolve(%q).Real = %q is not below %q", raw, linked, realRoot)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	base := tree(b)
	for b.Loop() {
		fspath.Resolve(base+"/p", base+"/p", "in/b/f", fspath.Write)
	}
}

// TestClassIsThatOfThePartInside: what stands above the project does not make
// all of it secret, and what is outside has the class of its whole path.
func TestClassIsThatOfThePartInside(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	root := filepath.Join(top, ".claude", "worktrees", "x")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ root, raw, want string }{
		{root, "main.go", "plain"},
		{root, ".", "plain"},
		{root, filepath.Join(root, "main.go"), "plain"},
		{root, ".claude/settings.json", "agent-config"},
		{root, "../y/main.go", "agent-config"},
		{root, filepath.Join(top, ".claude", "settings.json"), "agent-config"},
		{root, "etc/shadow", "plain"},
		{root, "/etc/shadow", "secret"},
		{root, ".env", "secret"},
		{filepath.Join(top, "link"), "main.go", "plain"},
		{filepath.Join(top, "link"), filepath.Join(root, "main.go"), "plain"},
		{"/", "/etc/shadow", "secret"},
	} {
		if p := fspath.Resolve(row.root, row.root, row.raw, fspath.Read); p.Class != row.want || p.Problem != nil {
			t.Errorf("Resolve(%s, %s) = %+v, want class %s", row.root, row.raw, p, row.want)
		}
	}
}

func TestResolvePattern(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		pattern string
		class   string
		inside  bool
	}{
		{"*", "plain", true},
		{"*.go", "plain", true},
		{"src/*/x?.go", "plain", true},
		{"*.pem", "secret", true},
		{"*.p?m", "secret", true},
		{"*.[pq]em", "secret", true},
		{"id_*", "secret", true},
		{".e*", "secret", true},
		{".[e]nv", "secret", true},
		{".??v", "secret", true},
		{".ENV*", "secret", true},
		{"*env", "plain", true}, // a shell does not match a dot in front
		{".env.ex*.example", "plain", true},
		{"*/.env", "secret", true},
		{".git/h*/x", "vcs", true},
		{".gi*/config", "vcs", true},
		{"**/.env", "secret", true},
		{"../*", "plain", false},
		{"out/h?sts", "plain", false},
		{"out/shad*", "secret", false},
		{"/proc/*/environ", "secret", false},
		{"/h*/u/.s*/id*", "secret", false},
		{"plain.go", "plain", true},
	} {
		p := fspath.ResolvePattern(root, root, row.pattern, fspath.Read)
		if p.Class != row.class || p.Inside != row.inside || p.Problem != nil || p.Raw != row.pattern {
			t.Errorf("ResolvePattern(%s) = %+v, want class %s, inside %v", row.pattern, p, row.class, row.inside)
		}
	}
	// Of a bare pattern the names that exist count.
	full := t.TempDir()
	for _, name := range []string{"a.go", "key.pem", ".env"} {
		if err := os.WriteFile(filepath.Join(full, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p := fspath.ResolvePattern(full, full, "*", fspath.Read); p.Class != "secret" {
		t.Errorf("ResolvePattern(*) = %+v beside a key, want secret", p)
	}
	if err := os.Remove(filepath.Join(full, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if p := fspath.ResolvePattern(full, full, "*", fspath.Read); p.Class != "plain" {
		t.Errorf("ResolvePattern(*) = %+v beside .env, want plain: a shell does not match it", p)
	}
	for _, pattern := range []string{"*/../x", "*/..", "x\x00*", "[/../x"} {
		if p := fspath.ResolvePattern(root, root, pattern, fspath.Write); p.Problem == nil || p.Inside {
			t.Errorf("ResolvePattern(%q) = %+v, want a problem", pattern, p)
		}
	}
}
