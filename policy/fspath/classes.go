package fspath

import (
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// The classes, the stricter ones later.
const (
	plain       = "plain"
	agentConfig = "agent-config"
	vcs         = "vcs"
	secret      = "secret"
)

var strictness = map[string]int{plain: 0, agentConfig: 1, vcs: 2, secret: 3}

func stricter(a, b string) string {
	if strictness[a] >= strictness[b] {
		return a
	}
	return b
}

// rule gives a class to paths. Its path is a run of names, in lower case; in a
// name "*" stands for any text at the beginning or at the end. A rule that
// starts with "/" fits only from the root.
type rule struct {
	path  string
	class string
	// below makes the rule fit what is below the path as well.
	below bool
	// within is a name that must stand somewhere before the path.
	within string
}

// rules are the classes as data. Every rule that fits counts, and the
// strictest wins.
var rules = []rule{
	// Keys and credentials.
	{path: ".ssh", class: secret, below: true},
	{path: "id_rsa", class: secret},
	{path: "id_dsa", class: secret},
	{path: "id_ecdsa", class: secret},
	{path: "id_ed25519", class: secret},
	{path: "id_ecdsa_sk", class: secret},
	{path: "id_ed25519_sk", class: secret},
	{path: "*.pem", class: secret},
	{path: "*.key", class: secret},
	{path: "*.p12", class: secret},
	{path: "*.pfx", class: secret},
	{path: "*.jks", class: secret},
	{path: "*.kdbx", class: secret},
	{path: "*.ppk", class: secret},
	{path: ".gnupg", class: secret, below: true},
	{path: ".password-store", class: secret, below: true},
	{path: ".local/share/keyrings", class: secret, below: true},
	{path: "library/keychains", class: secret, below: true},
	{path: ".aws/credentials", class: secret},
	{path: ".aws/sso/cache", class: secret, below: true},
	{path: ".aws/cli/cache", class: secret, below: true},
	{path: ".azure", class: secret, below: true},
	{path: ".config/gcloud", class: secret, below: true},
	{path: ".kube/config", class: secret},
	{path: ".docker/config.json", class: secret},
	{path: ".config/gh/hosts.yml", class: secret},
	{path: ".config/glab-cli", class: secret, below: true},
	{path: ".terraform.d/credentials.tfrc.json", class: secret},
	{path: ".terraformrc", class: secret},
	{path: ".vault-token", class: secret},
	{path: ".cargo/credentials", class: secret},
	{path: ".cargo/credentials.toml", class: secret},
	{path: ".gem/credentials", class: secret},
	{path: ".netrc", class: secret},
	{path: "_netrc", class: secret},
	{path: ".npmrc", class: secret},
	{path: ".pypirc", class: secret},
	{path: ".git-credentials", class: secret},
	{path: ".config/git/credentials", class: secret},
	{path: ".pgpass", class: secret},
	{path: ".my.cnf", class: secret},
	{path: ".htpasswd", class: secret},
	{path: ".env", class: secret},
	{path: ".env.*", class: secret},
	{path: "auth.json", class: secret, within: "opencode"},
	{path: "auth.json.age", class: secret, within: "opencode"},
	{path: "auth-keys", class: secret, below: true, within: "opencode"},
	{path: "mcp-auth.json", class: secret, within: "opencode"},
	{path: "auth-tokens.json", class: secret},

	// What a person typed and where a person is signed in.
	{path: ".*_history", class: secret},
	{path: "fish_history", class: secret},
	{path: ".history", class: secret},
	{path: ".zhistory", class: secret},
	{path: ".mozilla", class: secret, below: true},
	{path: ".thunderbird", class: secret, below: true},
	{path: ".config/google-chrome*", class: secret, below: true},
	{path: ".config/chromium", class: secret, below: true},
	{path: ".config/bravesoftware", class: secret, below: true},
	{path: ".config/microsoft-edge*", class: secret, below: true},
	{path: ".config/vivaldi", class: secret, below: true},
	{path: ".config/opera", class: secret, below: true},
	{path: "snap/firefox", class: secret, below: true},
	{path: "snap/chromium", class: secret, below: true},
	{path: "library/application support/google/chrome*", class: secret, below: true},
	{path: "library/application support/firefox", class: secret, below: true},
	{path: "library/application support/bravesoftware", class: secret, below: true},
	{path: "library/application support/microsoft edge*", class: secret, below: true},
	{path: "library/safari", class: secret, below: true},
	{path: "library/cookies", class: secret, below: true},

	// The system's own.
	{path: "/etc/shadow*", class: secret},
	{path: "/etc/gshadow*", class: secret},
	{path: "/etc/ssh/ssh_host_*", class: secret},
	{path: "/private/etc/master.passwd", class: secret},
	{path: "/etc/master.passwd", class: secret},
	{path: "/proc/*/environ", class: secret},
	{path: "/proc/*/mem", class: secret},
	{path: "/proc/*/task", class: secret, below: true},
	{path: "/proc/kcore", class: secret},
	{path: "/dev/mem", class: secret},
	{path: "/dev/kmem", class: secret},
	{path: "/etc/sudoers*", class: secret, below: true},
	{path: "/etc/ssl/private", class: secret, below: true},
	{path: "/etc/krb5.keytab", class: secret},
	{path: "/etc/wireguard", class: secret, below: true},
	{path: "/etc/ipsec.secrets", class: secret},

	// Version control: its hooks and settings run programs.
	{path: ".git", class: vcs, below: true},
	{path: "git~1", class: vcs, below: true},
	{path: ".hg", class: vcs, below: true},
	{path: ".svn", class: vcs, below: true},

	// What steers this agent, others, and tools that run unasked.
	{path: ".opencode", class: agentConfig, below: true},
	{path: "opencode.json", class: agentConfig},
	{path: "opencode.jsonc", class: agentConfig},
	{path: ".claude", class: agentConfig, below: true},
	{path: ".cursor", class: agentConfig, below: true},
	{path: ".mcp.json", class: agentConfig},
	{path: ".vscode/tasks.json", class: agentConfig},
	{path: ".vscode/settings.json", class: agentConfig},
	{path: ".github/workflows", class: agentConfig, below: true},
	{path: ".gitlab-ci.yml", class: agentConfig},
	{path: ".bashrc", class: agentConfig},
	{path: ".bash_profile", class: agentConfig},
	{path: ".bash_login", class: agentConfig},
	{path: ".bash_logout", class: agentConfig},
	{path: ".bash_aliases", class: agentConfig},
	{path: ".profile", class: agentConfig},
	{path: ".zshrc", class: agentConfig},
	{path: ".zshenv", class: agentConfig},
	{path: ".zprofile", class: agentConfig},
	{path: ".zlogin", class: agentConfig},
	{path: ".zlogout", class: agentConfig},
	{path: ".envrc", class: agentConfig},
	{path: ".gitconfig", class: agentConfig},
	{path: ".config/git", class: agentConfig, below: true},
	{path: ".config/opencode", class: agentConfig, below: true},
	{path: ".local/share/opencode", class: agentConfig, below: true},
	{path: ".vscode/launch.json", class: agentConfig},
	{path: ".devcontainer", class: agentConfig, below: true},
	{path: ".circleci", class: agentConfig, below: true},
	{path: ".travis.yml", class: agentConfig},
	{path: "jenkinsfile", class: agentConfig},
	{path: "azure-pipelines.yml", class: agentConfig},
	{path: "bitbucket-pipelines.yml", class: agentConfig},
	{path: ".buildkite", class: agentConfig, below: true},
	{path: ".woodpecker.yml", class: agentConfig},
	{path: ".drone.yml", class: agentConfig},
	{path: ".github/actions", class: agentConfig, below: true},
	{path: ".husky", class: agentConfig, below: true},
	{path: ".pre-commit-config.yaml", class: agentConfig},
	{path: ".config/fish", class: agentConfig, below: true},
	{path: ".config/systemd", class: agentConfig, below: true},
	{path: ".config/autostart", class: agentConfig, below: true},
	{path: "library/launchagents", class: agentConfig, below: true},
	{path: ".inputrc", class: agentConfig},
	{path: ".vimrc", class: agentConfig},
	{path: ".config/nvim", class: agentConfig, below: true},
	{path: ".tmux.conf", class: agentConfig},
	{path: ".yarnrc.yml", class: agentConfig},
	{path: ".cargo/config.toml", class: agentConfig},
	{path: ".cargo/config", class: agentConfig},
}

// exampleSuffixes end the names of files that only show what a secret file
// looks like.
var exampleSuffixes = []string{".example", ".sample", ".template", ".dist"}

// classWithin returns the class of an absolute path without dot segments. Of
// one that is in a project, spelled in one of two ways, only the part below
// counts.
func classWithin(path, root, resolved string) string {
	for _, dir := range [...]string{filepath.Clean(root), resolved} {
		if relative, inside := below(dir, path); inside && dir != "/" {
			if relative == "." {
				return plain
			}
			return classOf(relative, true)
		}
	}
	return classOf(path, false)
}

// classOf returns the class of a path without dot segments. Names in it may be
// patterns, which have the class of the strictest that they may match.
func classOf(path string, inside bool) string {
	names := strings.Split(strings.TrimPrefix(fold(path), "/"), "/")
	class := plain
	for i := range rules {
		if r := &rules[i]; strictness[r.class] > strictness[class] && r.fits(names, inside) {
			class = r.class
		}
	}
	return class
}

func (r *rule) fits(names []string, inside bool) bool {
	pattern, rooted := strings.CutPrefix(r.path, "/")
	length := strings.Count(pattern, "/") + 1
	for i := 0; i+length <= len(names); i++ {
		if rooted && (i > 0 || inside) {
			return false
		}
		if !r.below && i+length < len(names) {
			continue
		}
		if r.within != "" && !slices.Contains(names[:i], r.within) {
			continue
		}
		if matches(pattern, names[i:i+length]) {
			return true
		}
	}
	return false
}

func matches(pattern string, names []string) bool {
	for _, name := range names {
		var p string
		p, pattern, _ = strings.Cut(pattern, "/")
		if strings.ContainsAny(name, "*?[") {
			if !meet(p, name) {
				return false
			}
			continue
		}
		before, after, wild := strings.Cut(p, "*")
		switch {
		case !wild:
			if p != name {
				return false
			}
		case len(name) < len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after):
			return false
		case p == ".env.*" && isExample(name):
			return false
		}
	}
	return true
}

// isBare reports whether a pattern says nothing of a name, as "*" does: what it
// matches is looked up rather than guessed.
func isBare(pattern string) bool {
	return pattern[0] != '.' && strings.Trim(pattern, "*?.") == ""
}

// meet reports whether a name can match both a rule and a pattern of a shell.
// A bracket counts as any character. As in a shell, a pattern that does not
// start with a dot matches no name that does.
func meet(rule, pattern string) bool {
	if len(pattern) > maxComponent || strings.HasPrefix(rule, ".") && pattern[0] != '.' || isBare(pattern) && rule != "*" {
		return false
	}
	if rule == ".env.*" && isExample(pattern) {
		return false
	}
	b := bracketless(pattern)
	// row[j] reports whether what is read of the rule and b[:j] can be the same.
	row := make([]bool, len(b)+1)
	row[0] = true
	for j := range b {
		row[j+1] = row[j] && b[j] == '*'
	}
	for _, c := range rule {
		next := make([]bool, len(b)+1)
		next[0] = row[0] && c == '*'
		for j, d := range b {
			same := c == d || d == '?'
			next[j+1] = row[j] && same || (c == '*' || d == '*') && (row[j+1] || next[j])
		}
		row = next
	}
	return row[len(b)]
}

// bracketless returns a pattern with "?" for each bracket expression.
func bracketless(pattern string) []rune {
	runes := []rune(pattern)
	out := make([]rune, 0, len(runes))
	for i := 0; i < len(runes); i++ {
		if runes[i] == '[' {
			if end := slices.Index(runes[min(i+2, len(runes)):], ']'); end >= 0 {
				i += 2 + end
				out = append(out, '?')
				continue
			}
		}
		out = append(out, runes[i])
	}
	return out
}

func isExample(name string) bool {
	for _, s := range exampleSuffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// fold returns a path as the most forgiving file system reads it: without
// case, without the code points that are ignored in names, and without dots
// and spaces at the end of a name. A name that some system takes for a secret
// one is one everywhere.
func fold(path string) string {
	var b strings.Builder
	b.Grow(len(path))
	for _, r := range path {
		if !isIgnored(r) {
			b.WriteRune(foldRune(r))
		}
	}
	names := strings.Split(b.String(), "/")
	for i, name := range names {
		names[i] = strings.TrimRight(name, " .")
	}
	return strings.Join(names, "/")
}

// foldRune returns the ASCII letter that a letter is equal to without case,
// such as s for the long s, or its own lower case.
func foldRune(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r + 'a' - 'A'
	case r < 0x80:
		return r
	}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if other < 0x80 {
			return unicode.ToLower(other)
		}
	}
	return unicode.ToLower(r)
}

func isIgnored(r rune) bool {
	return 0x200b <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x2060 <= r && r <= 0x206f || r == 0xfeff || r == 0xad
}
