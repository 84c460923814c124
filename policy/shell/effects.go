package shell

import (
	"slices"
	"strings"
	"unicode"
)

// The effects of a call besides code.
const (
	fetches   = "fetches"   // runs what it fetches
	network   = "network"   // reaches another machine
	destroys  = "destroys"  // removes what cannot be brought back
	persists  = "persists"  // makes something run later, or elsewhere
	reveals   = "reveals"   // prints credentials
	lookalike = "lookalike" // has a name that looks like another
)

// consequence is an effect that a call has by its options and operands.
type consequence struct {
	is string
	// with are the options of which one must be there, and without those of
	// which none may be. No options: the effect is always there.
	with, without []string
	// operand must be one of the operands, if there are any here.
	operand []string
	// names are texts of which one must be in an operand, in any case; an
	// operand that is not known may hold any.
	names []string
	// least is the least number of operands.
	least int
	// versioned says that an operand must hold an at sign or a URL.
	versioned bool
	// remote says that an operand must name another machine.
	remote bool
	// bare says that there is no operand.
	bare bool
	// discards says that an operand must look like a file.
	discards bool
}

// consequences are the effects of programs. It is data: the key is a name, or
// a name with a subcommand.
var consequences = map[string][]consequence{
	"git reset":      {{is: destroys, with: []string{"--hard", "--merge", "--keep"}}},
	"git clean":      {{is: destroys, without: []string{"-n", "--dry-run"}}},
	"git checkout":   {{is: destroys, with: []string{"-f", "--force", "--", "--ours", "--theirs", "-B", "--pathspec-from-file"}}, {is: destroys, without: []string{"-b"}, discards: true}},
	"git switch":     {{is: destroys, with: []string{"-f", "--force", "--discard-changes", "-C", "--force-create"}}},
	"git restore":    {{is: destroys, without: []string{"--staged", "-S"}}, {is: destroys, with: []string{"--worktree", "-W"}}},
	"git stash":      {{is: destroys, operand: []string{"drop", "clear"}}},
	"git branch":     {{is: destroys, with: []string{"-D", "-f", "--force", "-M", "-C"}}},
	"git tag":        {{is: destroys, with: []string{"-d", "--delete", "-f", "--force"}}},
	"git reflog":     {{is: destroys, operand: []string{"expire", "delete", "drop"}}},
	"git update-ref": {{is: destroys}}, "git filter-branch": {{is: destroys}}, "git filter-repo": {{is: destroys}}, "git gc": {{is: destroys, with: []string{"--prune"}}},
	"git prune": {{is: destroys}}, "git read-tree": {{is: destroys, with: []string{"-u", "--reset"}}}, "git checkout-index": {{is: destroys, with: []string{"-f", "--force"}}},
	"git worktree": {{is: destroys, operand: []string{"remove", "prune"}}}, "git rm": {{is: destroys, with: []string{"-f", "--force", "-r"}}},
	"git submodule": {{is: network, operand: []string{"update", "add"}}, {is: destroys, operand: []string{"deinit"}}},
	"git config":    {{is: persists, with: []string{"--global", "--system"}, without: []string{"--get", "--list", "-l", "--get-all", "--get-regexp"}}},
	"git remote":    {{is: persists, operand: []string{"add", "set-url"}}, {is: network, operand: []string{"update", "prune"}}},
	"git clone":     {{is: network}}, "git fetch": {{is: network}}, "git pull": {{is: network}}, "git ls-remote": {{is: network}},
	"git send-email": {{is: network}}, "git daemon": {{is: network}}, "git svn": {{is: network}}, "git p4": {{is: network}}, "git instaweb": {{is: network}}, "git web--browse": {{is: network}},
	"git help": {{is: network, with: []string{"-w", "--web"}}}, "git credential": {{is: network}}, "git archive": {{is: network, with: []string{"--remote"}}},

	"find": {{is: destroys, with: []string{"-delete"}}}, "shred": {{is: destroys}}, "wipe": {{is: destroys}}, "srm": {{is: destroys}}, "truncate": {{is: destroys}},
	"chmod": {{is: persists, operand: []string{"u+s", "g+s", "+s", "a+s", "ug+s", "u=s", "4755", "4777", "4711", "2755", "2777", "6755", "6777", "04755", "06755"}}, {is: destroys, with: []string{"-R", "--recursive"}}}, "chown": {{is: destroys, with: []string{"-R", "--recursive"}}}, "chgrp": {{is: destroys, with: []string{"-R", "--recursive"}}},
	"rsync": {{is: destroys, with: []string{"--delete", "--del", "--remove-source-files", "--delete-after", "--delete-before", "--delete-during", "--delete-excluded"}}, {is: network, remote: true}},
	"kill":  {{is: destroys, with: []string{"-1"}}},
	"tar":   {{is: network, with: []string{"--rsh-command"}}},

	"npx": {{is: fetches, without: []string{"--no-install", "--no", "--help", "--version"}}}, "pnpx": {{is: fetches}}, "bunx": {{is: fetches}}, "uvx": {{is: fetches}}, "pipx": {{is: fetches, without: []string{"list", "--version", "--help"}, least: 1}},
	"npm exec": {{is: fetches}}, "npm x": {{is: fetches}}, "npm create": {{is: fetches}}, "npm init": {{is: fetches, least: 1}}, "npm innit": {{is: fetches, least: 1}},
	"npm install": {{is: fetches}}, "npm i": {{is: fetches}}, "npm ci": {{is: fetches}}, "npm add": {{is: fetches}}, "npm update": {{is: fetches}}, "npm isntall": {{is: fetches}}, "npm in": {{is: fetches}},
	"npm ins": {{is: fetches}}, "npm inst": {{is: fetches}}, "npm insta": {{is: fetches}}, "npm instal": {{is: fetches}}, "npm install-test": {{is: fetches}}, "npm it": {{is: fetches}}, "npm up": {{is: fetches}}, "npm upgrade": {{is: fetches}}, "npm clean-install": {{is: fetches}},
	"yarn":     {{is: fetches, bare: true, without: []string{"--version", "-v", "--help"}}},
	"yarn add": {{is: fetches}}, "yarn install": {{is: fetches}}, "yarn dlx": {{is: fetches}}, "yarn create": {{is: fetches}}, "yarn global": {{is: fetches}}, "yarn up": {{is: fetches}}, "yarn upgrade": {{is: fetches}},
	"pnpm add": {{is: fetches}}, "pnpm install": {{is: fetches}}, "pnpm i": {{is: fetches}}, "pnpm dlx": {{is: fetches}}, "pnpm create": {{is: fetches}}, "pnpm update": {{is: fetches}}, "pnpm up": {{is: fetches}},
	"bun add": {{is: fetches}}, "bun install": {{is: fetches}}, "bun i": {{is: fetches}}, "bun x": {{is: fetches}}, "bun create": {{is: fetches}}, "bun update": {{is: fetches}}, "bun upgrade": {{is: fetches}},
	"deno install": {{is: fetches}}, "deno add": {{is: fetches}}, "deno cache": {{is: fetches}}, "deno upgrade": {{is: fetches}}, "deno run": {{is: fetches, versioned: true}}, "deno eval": {{is: code}}, "deno repl": {{is: code}}, "bun exec": {{is: code}}, "bun repl": {{is: code}},
	"pip install": {{is: fetches}}, "pip3 install": {{is: fetches}}, "pip download": {{is: fetches}}, "pip3 download": {{is: fetches}}, "pip wheel": {{is: fetches}}, "easy_install": {{is: fetches}},
	"uv add": {{is: fetches}}, "uv sync": {{is: fetches}}, "uv tool": {{is: fetches, operand: []string{"run", "install", "upgrade"}}}, "uv pip": {{is: fetches, operand: []string{"install", "sync"}}}, "uv python": {{is: fetches, operand: []string{"install"}}},
	"uv run":     {{is: fetches, with: []string{"--with", "--with-requirements"}}},
	"poetry add": {{is: fetches}}, "poetry install": {{is: fetches}}, "poetry update": {{is: fetches}}, "pipenv install": {{is: fetches}}, "pipenv sync": {{is: fetches}}, "pipenv update": {{is: fetches}}, "pdm add": {{is: fetches}}, "pdm install": {{is: fetches}}, "pdm sync": {{is: fetches}},
	"conda install": {{is: fetches}}, "conda create": {{is: fetches}}, "conda update": {{is: fetches}}, "mamba install": {{is: fetches}}, "mamba create": {{is: fetches}},
	"gem install": {{is: fetches}}, "gem update": {{is: fetches}}, "bundle install": {{is: fetches}}, "bundle update": {{is: fetches}}, "bundle add": {{is: fetches}}, "composer install": {{is: fetches}}, "composer require": {{is: fetches}}, "composer update": {{is: fetches}}, "composer create-project": {{is: fetches}}, "composer global": {{is: fetches}},
	"cargo install": {{is: fetches}}, "cargo add": {{is: fetches}}, "cargo update": {{is: fetches}}, "cargo fetch": {{is: fetches}}, "cargo binstall": {{is: fetches}}, "rustup install": {{is: fetches}}, "rustup update": {{is: fetches}}, "rustup toolchain": {{is: fetches, operand: []string{"install"}}},
	"go install": {{is: fetches, versioned: true}}, "go get": {{is: fetches}}, "go run": {{is: fetches, versioned: true}}, "go mod": {{is: fetches, operand: []string{"download"}}},
	"dotnet add": {{is: fetches}}, "dotnet tool": {{is: fetches, operand: []string{"install", "update"}}}, "dotnet new": {{is: fetches, with: []string{"-i", "--install"}}}, "mix deps.get": {{is: fetches}}, "mix archive.install": {{is: fetches}},
	"cpan": {{is: fetches}}, "cpanm": {{is: fetches}}, "luarocks": {{is: fetches, operand: []string{"install"}}}, "opam": {{is: fetches, operand: []string{"install", "update", "upgrade"}}},
	"nix run": {{is: fetches}}, "nix shell": {{is: fetches}}, "nix-shell": {{is: fetches}}, "nix-env": {{is: fetches}}, "nix develop": {{is: fetches}}, "volta": {{is: fetches, operand: []string{"install", "run"}}}, "asdf": {{is: fetches, operand: []string{"install", "plugin", "plugin-add"}}}, "nvm": {{is: fetches, operand: []string{"install"}}}, "corepack": {{is: fetches}},
	"mise install": {{is: fetches}}, "mise use": {{is: fetches}}, "brew install": {{is: fetches}}, "brew upgrade": {{is: fetches}}, "brew update": {{is: fetches}}, "brew tap": {{is: fetches}}, "brew reinstall": {{is: fetches}}, "brew bundle": {{is: fetches}},
	"apt install": {{is: fetches}}, "apt-get install": {{is: fetches}}, "apt update": {{is: fetches}}, "apt-get update": {{is: fetches}}, "apt upgrade": {{is: fetches}}, "apt-get upgrade": {{is: fetches}}, "apt-get dist-upgrade": {{is: fetches}}, "apt-get download": {{is: fetches}}, "apt-get source": {{is: fetches}},
	"apt remove": {{is: destroys}}, "apt-get remove": {{is: destroys}}, "apt purge": {{is: destroys}}, "apt-get purge": {{is: destroys}}, "apt autoremove": {{is: destroys}}, "apt-get autoremove": {{is: destroys}}, "aptitude": {{is: fetches}}, "dpkg": {{is: persists, with: []string{"-i", "--install", "-r", "--remove", "-P", "--purge", "--configure", "--unpack"}}}, "rpm": {{is: persists, with: []string{"-i", "-U", "-e", "-F", "--install", "--upgrade", "--erase"}, without: []string{"-q"}}},
	"dnf install": {{is: fetches}}, "yum install": {{is: fetches}}, "dnf upgrade": {{is: fetches}}, "yum update": {{is: fetches}}, "dnf remove": {{is: destroys}}, "yum remove": {{is: destroys}}, "apk add": {{is: fetches}}, "apk del": {{is: destroys}}, "apk update": {{is: fetches}}, "apk upgrade": {{is: fetches}}, "pacman": {{is: fetches, with: []string{"-S", "-U", "-R", "--sync", "--upgrade", "--remove"}}}, "zypper install": {{is: fetches}}, "zypper in": {{is: fetches}},
	"snap install": {{is: fetches}}, "snap remove": {{is: destroys}}, "flatpak": {{is: fetches, operand: []string{"install", "update", "run"}}}, "yay": {{is: fetches}}, "port": {{is: fetches, operand: []string{"install"}}}, "pkg": {{is: fetches, operand: []string{"install"}}},

	"ssh": {{is: network, without: []string{"-V"}}}, "slogin": {{is: network}}, "autossh": {{is: network}}, "mosh": {{is: network}}, "scp": {{is: network}}, "sftp": {{is: network}}, "ftp": {{is: network}}, "lftp": {{is: network}}, "tftp": {{is: network}}, "rsh": {{is: network}}, "rlogin": {{is: network}}, "rcp": {{is: network}}, "sshfs": {{is: network}}, "ssh-copy-id": {{is: network}}, "ssh-keyscan": {{is: network}}, "ssh-add": {{is: persists}},
	"socat": {{is: network}}, "openssl s_client": {{is: network}}, "openssl": {{is: network, operand: []string{"s_client", "s_server", "s_time", "ocsp"}}}, "gnutls-cli": {{is: network}}, "ncftp": {{is: network}}, "rclone": {{is: network}}, "s3cmd": {{is: network}}, "gsutil": {{is: network}}, "croc": {{is: network}}, "wormhole": {{is: network}}, "magic-wormhole": {{is: network}}, "rdesktop": {{is: network}}, "xfreerdp": {{is: network}},
	"dig": {{is: network}}, "nslookup": {{is: network}}, "host": {{is: network}}, "drill": {{is: network}}, "ping": {{is: network}}, "ping6": {{is: network}}, "traceroute": {{is: network}}, "tracepath": {{is: network}}, "mtr": {{is: network}}, "whois": {{is: network}}, "nmap": {{is: network}}, "masscan": {{is: network}}, "arping": {{is: network}}, "hping3": {{is: network}}, "resolvectl": {{is: network, operand: []string{"query"}}},
	"mail": {{is: network}}, "mailx": {{is: network}}, "sendmail": {{is: network}}, "mutt": {{is: network}}, "msmtp": {{is: network}}, "swaks": {{is: network}}, "exim": {{is: network}}, "youtube-dl": {{is: network}}, "yt-dlp": {{is: network}}, "ngrok": {{is: network}}, "cloudflared": {{is: network}}, "tailscale": {{is: network}}, "localtunnel": {{is: network}}, "lt": {{is: network}}, "irssi": {{is: network}}, "weechat": {{is: network}},
	"xdg-open": {{is: network}}, "open": {{is: network}}, "sensible-browser": {{is: network}}, "x-www-browser": {{is: network}}, "www-browser": {{is: network}}, "gnome-open": {{is: network}}, "kde-open": {{is: network}}, "gio": {{is: network, operand: []string{"open", "mount", "copy"}}}, "brave": {{is: network}}, "brave-browser": {{is: network}}, "opera": {{is: network}}, "vivaldi": {{is: network}}, "microsoft-edge": {{is: network}}, "epiphany": {{is: network}}, "konqueror": {{is: network}}, "browsh": {{is: network}}, "qutebrowser": {{is: network}}, "midori": {{is: network}}, "playwright": {{is: network, operand: []string{"open", "codegen", "screenshot", "pdf", "cr", "ff", "wk"}}, {is: fetches, operand: []string{"install", "install-deps"}}},
	"http.server": {{is: network}}, "webbrowser": {{is: network}}, "urllib.request": {{is: network}}, "ftplib": {{is: network}}, "smtplib": {{is: network}}, "telnetlib": {{is: network}}, "smtpd": {{is: network}}, "ed": {{is: code}}, "timeit": {{is: code}}, "pdb": {{is: code}}, "ensurepip": {{is: fetches}}, "lwp-request": {{is: network}}, "lwp-download": {{is: network}}, "lwp-mirror": {{is: network}}, "get": {{is: network}}, "post": {{is: network}}, "gupload": {{is: network}}, "hurl": {{is: network}}, "grpcurl": {{is: network}}, "websocat": {{is: network}}, "wscat": {{is: network}}, "aws": {{is: network}}, "gcloud": {{is: network}}, "az": {{is: network}}, "kubectl": {{is: network}}, "helm": {{is: network}}, "psql": {{is: network}}, "mysql": {{is: network}}, "mongosh": {{is: network}}, "mongo": {{is: network}}, "redis-cli": {{is: network}}, "ldapsearch": {{is: network}}, "smbclient": {{is: network}}, "snmpwalk": {{is: network}}, "ansible": {{is: network}}, "ansible-playbook": {{is: network}}, "vagrant": {{is: network}}, "w3mmee": {{is: network}}, "retawq": {{is: network}}, "netsurf": {{is: network}}, "dillo": {{is: network}}, "surf": {{is: network}}, "fetch": {{is: network}}, "ftpget": {{is: network}}, "ftpput": {{is: network}}, "prozilla": {{is: network}}, "snarf": {{is: network}}, "puf": {{is: network}}, "mirrordir": {{is: network}}, "httrack": {{is: network}}, "apt-file": {{is: network, operand: []string{"update"}}}, "invoke-webrequest": {{is: network}}, "iwr": {{is: network}}, "start-bitstransfer": {{is: network}}, "certutil": {{is: network}}, "bitsadmin": {{is: network}},

	"ex": {{is: code}}, "httpd": {{is: network, without: []string{"-v", "-V", "-t", "-S"}}}, "php": {{is: network, with: []string{"-S"}}}, "r": {{is: code, with: []string{"-e", "-f"}}},
	"git send-pack": {{is: network}}, "git fetch-pack": {{is: network}}, "git http-push": {{is: network}}, "git http-fetch": {{is: network}}, "git imap-send": {{is: network}},
	"git cvsimport": {{is: network}}, "git request-pull": {{is: network}}, "git upload-pack": {{is: network}}, "git receive-pack": {{is: network}}, "git shell": {{is: code}},
	"gradle": {{is: network, operand: gradlePublishes}}, "gradlew": {{is: network, operand: gradlePublishes}},
	"mvn": {{is: network, operand: mavenPublishes}}, "mvnw": {{is: network, operand: mavenPublishes}}, "sbt": {{is: network, operand: []string{"publish", "publishSigned", "release"}}},
	"make": {{is: persists, operand: installs, without: []string{"-n", "--dry-run", "--just-print"}}}, "gmake": {{is: persists, operand: installs, without: []string{"-n", "--dry-run", "--just-print"}}},
	"ninja": {{is: persists, operand: installs, without: []string{"-n"}}}, "meson": {{is: persists, operand: []string{"install"}}}, "cmake": {{is: persists, with: []string{"--install"}}},
	"go clean": {{is: destroys, with: []string{"-modcache"}}}, "mknod": {{is: persists}}, "nbd-client": {{is: network}}, "npm whoami": {{is: network}},
	"crontab": {{is: persists, without: []string{"-l"}}}, "at": {{is: persists, without: []string{"-l"}}}, "batch": {{is: persists}}, "systemd-run": {{is: persists}}, "launchctl": {{is: persists}}, "update-alternatives": {{is: persists, without: []string{"--display", "--list", "--query"}}}, "chsh": {{is: persists}}, "chfn": {{is: persists}}, "update-rc.d": {{is: persists}}, "loginctl": {{is: persists, operand: []string{"enable-linger"}}},
	"npm config": {{is: persists, operand: []string{"set", "delete", "edit"}}}, "npm set": {{is: persists}}, "npm link": {{is: persists}}, "yarn config": {{is: persists, operand: []string{"set"}}}, "pnpm config": {{is: persists, operand: []string{"set"}}}, "pip config": {{is: persists, operand: []string{"set", "edit"}}}, "go env": {{is: persists, with: []string{"-w", "-u"}}}, "direnv allow": {{is: persists}}, "mise trust": {{is: persists}}, "husky": {{is: persists}}, "pre-commit": {{is: persists, operand: []string{"install"}}}, "gh alias": {{is: persists}}, "gh extension": {{is: fetches}}, "gh auth": {{is: network}}, "gh config": {{is: persists, operand: []string{"set"}}}, "code": {{is: persists, with: []string{"--install-extension"}}},
}

var (
	gradlePublishes = []string{"publish", "publishPlugins", "publishToSonatype", "publishAllPublicationsToMavenRepository", "publishToMavenCentral", "closeAndReleaseRepository", "uploadArchives", "bintrayUpload"}
	mavenPublishes  = []string{"deploy", "site-deploy", "deploy:deploy", "deploy:deploy-file", "release:perform", "release:prepare"}
	installs        = []string{"install", "uninstall", "install-strip", "install/strip"}
)

// effect adds an effect to a call, once.
func (p *performed) effect(is string) {
	if !slices.Contains(p.call.Effects, is) {
		p.call.Effects = append(p.call.Effects, is)
	}
}

// effects records what the call does besides what its name says.
func (p *performed) effects() {
	name := strings.TrimSuffix(strings.ToLower(p.call.Name), ".exe")
	if p.call.Plain != name {
		p.effect(lookalike)
	}
	name = p.name
	if p.call.Subcommand != "" {
		for i := range consequences[p.key()] {
			p.consequence(&consequences[p.key()][i], p.rest())
		}
	}
	for i := range consequences[name] {
		p.consequence(&consequences[name][i], p.args[1:])
	}
	list := revealing[p.key()]
	for i := range list {
		p.consequence(&list[i], p.rest())
	}
	if keepsCredentials(name) || name == "git" && keepsCredentials("git-"+p.call.Subcommand) {
		p.effect(reveals)
	}
}

func (p *performed) consequence(c *consequence, args []arg) {
	with, without := len(c.with) == 0, true
	operand, named := len(c.operand) == 0, len(c.names) == 0
	operands, versioned, remote, discards := 0, !c.versioned, !c.remote, !c.discards
	for _, g := range args {
		if len(g.text) > 1 && g.text[0] == '-' {
			with = with || slices.ContainsFunc(c.with, g.isOption)
			without = without && !slices.ContainsFunc(c.without, g.isOption)
			continue
		}
		operands++
		without = without && !slices.Contains(c.without, g.text)
		operand = operand || slices.Contains(c.operand, g.text) || !g.lit && g.prefix() == ""
		named = named || !g.lit || slices.ContainsFunc(c.names, func(part string) bool { return strings.Contains(strings.ToLower(g.text), part) })
		versioned = versioned || !g.lit && g.prefix() == "" || strings.Contains(g.text, "@") || strings.Contains(g.text, "://")
		discards = discards || looksLikeFile(g) || operands > 1
		host, _, colon := strings.Cut(g.text, ":")
		remote = remote || colon && !strings.Contains(host, "/") || strings.Contains(g.text, "://")
	}
	if with && without && operand && named && versioned && remote && discards && operands >= c.least && (!c.bare || operands == 0) {
		p.effect(c.is)
	}
}

// looksLikeFile reports whether an operand that may be a branch looks like a
// file.
func looksLikeFile(g arg) bool {
	return !g.lit || strings.ContainsAny(g.text, ".*") && g.text != "-"
}

// isOption reports whether an argument is, or holds, an option: a letter in a
// bundle, or the beginning of a long option.
func (g arg) isOption(option string) bool {
	name, _, _ := strings.Cut(g.text, "=")
	if name == option {
		return true
	}
	if len(option) == 2 {
		return len(g.text) > 2 && g.text[0] == '-' && g.text[1] != '-' && option != "--" && strings.Contains(g.text[1:], option[1:])
	}
	return len(name) > 3 && strings.HasPrefix(name, "--") && strings.HasPrefix(option, name)
}

// likeness are the characters that look like an ASCII letter, of the scripts
// that are used most.
var likeness = map[rune]rune{
	'а': 'a', 'е': 'e', 'о': 'o', 'р': 'p', 'с': 'c', 'у': 'y', 'х': 'x', 'і': 'i', 'ј': 'j', 'ѕ': 's', 'ԁ': 'd', 'ԛ': 'q', 'ԝ': 'w', 'һ': 'h',
	'к': 'k', 'м': 'm', 'т': 't', 'в': 'b', 'н': 'h', 'г': 'r', 'ɡ': 'g', 'ӏ': 'l', 'ո': 'n', 'ս': 'u', 'օ': 'o', 'ց': 'g', 'հ': 'h',
	'α': 'a', 'ε': 'e', 'ι': 'i', 'κ': 'k', 'ν': 'v', 'ο': 'o', 'ρ': 'p', 'τ': 't', 'υ': 'u', 'χ': 'x', 'ω': 'w', 'ϲ': 'c', 'ϳ': 'j',
	'ı': 'i', 'ł': 'l', 'ⅼ': 'l', 'ⅽ': 'c', 'ⅾ': 'd', 'ⅿ': 'm', 'ⅰ': 'i', 'ⅴ': 'v', 'ⅹ': 'x', 'ſ': 's', 'ᴄ': 'c', 'ᴡ': 'w', 'ᴜ': 'u', 'ʀ': 'r',
}

// plain returns a name in lower case, without characters that are ignored in
// names, and with ASCII letters for those that look like them.
func plain(name string) string {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if ascii {
		return strings.ToLower(name)
	}
	var b strings.Builder
	for _, r := range name {
		switch {
		case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Mn, r):
			continue
		case 0xff01 <= r && r <= 0xff5e: // the wide forms
			r -= 0xfee0
		}
		r = unicode.ToLower(r)
		if l, ok := likeness[r]; ok {
			r = l
		}
		b.WriteRune(r)
	}
	return b.String()
}
