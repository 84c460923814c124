package shell

import (
	"slices"
	"strings"
)

// subcommander says which options of a program that works by subcommand take
// a value and may stand before the subcommand.
type subcommander struct {
	// values are the options with a value, with their dashes.
	values []string
	// toolchain permits "+name" before the subcommand.
	toolchain bool
	// short are the subcommands that something is known of and that may be cut
	// short.
	short []string
}

// subcommanders are the programs that work by subcommand.
var subcommanders = map[string]*subcommander{
	"git": {values: []string{"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--super-prefix", "--config-env", "--attr-source"}},
	"npm": {values: []string{"-C", "--prefix", "--registry", "--userconfig", "--globalconfig", "--cache", "--loglevel", "-w", "--workspace", "--otp", "--tag"}, short: []string{
		"access", "adduser", "ci", "config", "create", "deprecate", "dist-tag", "exec", "explore", "init", "install", "install-test", "link", "login", "owner", "profile", "prune", "publish", "token",
		"unpublish", "update", "upgrade", "whoami",
	}},
	"yarn":      {values: []string{"--cwd", "--registry", "--cache-folder", "--modules-folder", "--use-yarnrc"}},
	"pnpm":      {values: []string{"-C", "--dir", "-F", "--filter", "--filter-prod", "--registry", "--store-dir", "--loglevel", "--reporter"}},
	"cargo":     {values: []string{"-C", "-Z", "--config", "--color", "--explain", "--manifest-path", "--target-dir"}, toolchain: true},
	"go":        {values: []string{"-C"}},
	"docker":    {values: []string{"--config", "-c", "--context", "-H", "--host", "-l", "--log-level", "--tlscacert", "--tlscert", "--tlskey"}},
	"podman":    {values: []string{"-c", "--connection", "--url", "--identity", "--log-level", "--root", "--runroot", "--storage-driver", "--storage-opt", "--tmpdir", "--cgroup-manager", "--conmon", "--runtime", "--module", "--events-backend"}},
	"kubectl":   {values: []string{"-n", "--namespace", "--context", "--cluster", "--kubeconfig", "-s", "--server", "--user", "--token", "-v", "--v", "--as", "--as-group", "--as-uid", "--cache-dir", "--certificate-authority", "--client-certificate", "--client-key", "--password", "--username", "--profile", "--profile-output", "--request-timeout", "--tls-server-name", "--vmodule", "--log-flush-frequency"}},
	"gh":        {values: []string{"-R", "--repo", "--hostname"}},
	"glab":      {values: []string{"-R", "--repo", "-g", "--group"}},
	"pip":       {values: pipValues},
	"pip3":      {values: pipValues},
	"helm":      {values: []string{"-n", "--namespace", "--kube-context", "--kubeconfig", "--kube-apiserver", "--kube-as-user", "--kube-as-group", "--kube-ca-file", "--kube-token", "--kube-tls-server-name", "--registry-config", "--repository-cache", "--repository-config", "--burst-limit", "--qps"}},
	"terraform": {},
	"opencode":  {},
	"tofu":      {},
	"gradle":    {values: gradleValues}, "gradlew": {values: gradleValues},
	"ovsx": {}, "nuget": {}, "flit": {values: []string{"-f", "--ini-file"}}, "changeset": {}, "conan": {}, "pod": {},
	"tmux": {values: []string{"-c", "-f", "-L", "-S", "-T"}, short: []string{
		"display-popup", "if-shell", "new-session", "new-window", "pipe-pane", "respawn-pane", "respawn-window", "run-shell", "send-keys", "set-option", "split-window",
	}}, "perf": {values: []string{"--buildid-dir", "--debug"}},
	"systemctl": {values: []string{"-H", "--host", "-M", "--machine", "-t", "--type", "-p", "--property", "-P", "-n", "--lines", "-o", "--output", "-s", "--signal", "--root", "--image", "--state", "--kill-whom", "--job-mode", "--what", "--when", "--preset-mode", "--check-inhibitors"}},
	"apt":       {values: []string{"-o", "--option", "-c", "--config-file", "-t", "--target-release", "--default-release", "-a", "--host-architecture"}},
	"apt-get":   {values: []string{"-o", "--option", "-c", "--config-file", "-t", "--target-release", "--default-release", "-a", "--host-architecture"}},
	"brew":      {},
	"gem":       {values: []string{"--config-file"}, short: []string{"exec", "fetch", "install", "owner", "push", "signin", "update", "yank"}},
	"bun":       {values: []string{"--cwd", "--config", "-c"}},
	"deno":      {},
	"uv":        {values: []string{"--directory", "--project", "--cache-dir", "--config-file", "--color", "--python"}},
	"poetry":    {values: []string{"-C", "--directory", "-P", "--project"}},
	"pipenv":    {},
	"pdm":       {values: []string{"-p", "--project"}},
	"hatch":     {values: []string{"-e", "--env", "-p", "--project"}},
	"rye":       {},
	"conda":     {},
	"mamba":     {},
	"bundle":    {short: []string{"add", "exec", "install", "update"}},
	"composer":  {values: []string{"-d", "--working-dir"}, short: []string{"config", "create-project", "exec", "global", "install", "require", "update"}},
	"dotnet":    {},
	"mix":       {},
	"rustup":    {toolchain: true},
	"nix":       {},
	"snap":      {},
	"dnf":       {},
	"yum":       {},
	"apk":       {},
	"zypper":    {},
	"aws":       {values: []string{"--profile", "--region", "--endpoint-url", "--output", "--query", "--color", "--ca-bundle", "--cli-read-timeout", "--cli-connect-timeout"}},
	"gcloud":    {values: []string{"--project", "--account", "--configuration", "--format"}},
	"az":        {},
	"vercel":    {},
	"wrangler":  {},
	"fly":       {},
	"flyctl":    {},
	"heroku":    {},
	"firebase":  {},
	"twine":     {},
	"vsce":      {},
	"lerna":     {},
	"mvn":       {values: []string{"-f", "--file", "-s", "--settings", "-P", "-pl", "-T"}},
	"direnv":    {},
	"mise":      {values: []string{"-C", "--cd", "-E", "--env"}},
	"asdf":      {}, "rbenv": {}, "pyenv": {}, "nodenv": {}, "goenv": {}, "jenv": {}, "rvm": {}, "tox": {}, "rr": {}, "op": {},
	"dotenvx": {}, "uftrace": {}, "pm2": {}, "nvm": {},
	"launchctl": {},
	"service":   {},
	"mvnw":      {},
	"fnm":       {values: []string{"--fnm-dir", "--log-level", "--arch"}},
	"nx":        {}, "n": {}, "volta": {}, "micromamba": {values: []string{"-r", "--root-prefix"}}, "pixi": {}, "devbox": {}, "toolbox": {}, "doppler": {}, "infisical": {},
	"foreman": {}, "honcho": {values: []string{"-e", "--env", "-f", "--procfile", "-d", "--app-root"}}, "overmind": {}, "forego": {}, "pueue": {},
}

var gradleValues = []string{"-p", "--project-dir", "-b", "--build-file", "-c", "--settings-file", "-I", "--init-script", "-g", "--gradle-user-home", "-x", "--exclude-task", "--console", "--max-workers", "--priority"}

var pipValues = []string{"--python", "--log", "--proxy", "--retries", "--timeout", "--exists-action", "--trusted-host", "--cert", "--client-cert", "--cache-dir", "--use-feature", "--use-deprecated", "--keyring-provider"}

// subcommand returns the first argument that is not an option, and its place,
// the number of arguments if there is none. It is unsure if an argument that is
// not known may be the subcommand, or move it.
func (s *subcommander) subcommand(args []arg) (name string, at int, unsure bool) {
	for i := 1; i < len(args); i++ {
		g := args[i]
		if g.many {
			return "", i, true
		}
		text := g.text
		switch {
		case !g.lit && !strings.HasPrefix(text, "-"):
			return "", i, true
		case strings.HasPrefix(text, "-"):
			if !g.lit && !strings.Contains(g.prefix(), "=") {
				unsure = true
			}
			if s.takesValue(text) {
				i++
				unsure = unsure || i < len(args) && args[i].many
			}
		case s.toolchain && strings.HasPrefix(text, "+"):
		default:
			return s.full(text), i, unsure
		}
	}
	return "", len(args), unsure
}

// full returns the subcommand that a text is the beginning of, if it is that of
// only one that is known; what is short may be another's name.
func (s *subcommander) full(text string) string {
	found := text
	for _, name := range s.short {
		if name == text {
			return text
		}
		if len(text) > 2 && strings.HasPrefix(name, text) {
			if found != text {
				return text
			}
			found = name
		}
	}
	return found
}

// operand returns the argument behind the subcommand that is not an option.
func operand(args []arg, at int) string {
	for i := at + 1; i < len(args); i++ {
		if !strings.HasPrefix(args[i].text, "-") {
			if args[i].lit {
				return args[i].text
			}
			return ""
		}
	}
	return ""
}

func (s *subcommander) takesValue(option string) bool {
	return slices.Contains(s.values, option)
}

// gitPrograms are the settings of git whose value is a command text, by the
// last part of their name.
var gitPrograms = map[string]bool{
	"sshcommand": true, "pager": true, "editor": true, "askpass": true, "fsmonitor": true, "external": true, "helper": true,
	"textconv": true, "program": true, "cmd": true, "command": true, "driver": true, "clean": true, "smudge": true, "process": true,
	"gitproxy": true, "difffilter": true, "uploadpack": true, "receivepack": true,
}

// gitCommand returns the command text that a setting of git, "name=value",
// makes it run, "" if it runs none.
func gitCommand(setting string) string {
	name, value, _ := strings.Cut(setting, "=")
	name = strings.ToLower(name)
	section, _, _ := strings.Cut(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	text, bang := strings.CutPrefix(value, "!")
	switch {
	case bang:
		return text
	case section == "alias":
		return "git " + value
	case value == "" || value == "true" || value == "false":
		return ""
	case last == "helper" && !strings.HasPrefix(value, "/"):
		return "" // the name of one of git's own helpers
	case last == "hookspath", last == "attributesfile", last == "templatedir", section == "include", section == "includeif":
		return unknown // whichever programs are in that directory
	case section == "pager" || gitPrograms[last]:
		return value
	}
	return ""
}
