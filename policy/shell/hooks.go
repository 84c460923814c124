package shell

import (
	"slices"
	"strings"
)

// reach says what the value of an option, or what stands behind it, is.
type reach int

const (
	runsText    reach = iota + 1 // a command text
	runsProgram                  // the path of a program
	runsRest                     // all that follows, an argument vector
	runsEach                     // all that follows but options, a command text or an argument vector
	runsSetting                  // a setting, some of which hold a command text
	runsExec                     // a command text behind "exec="
	runsList                     // a command text with commas for spaces
	runsEditor                   // a command of an editor
	runsFilter                   // a command text if it starts with a bar or a bang
	runsShell                    // all that follows, arguments of a shell
	runsBound                    // a command text in parentheses, or behind a key
	runsRules                    // rules as make reads them
	loads                        // something that decides what runs
)

// hook is an option by which a program runs others.
type hook struct {
	options []string
	is      reach
}

// hooks are the programs that run others by an option besides what they do. It
// is data: the key is a name, or a name with a subcommand. An option counts
// wherever it stands, and a long one also when it is cut short.
var hooks = map[string][]hook{
	"tar": archiving, "gtar": archiving, "bsdtar": archiving,
	"rsync": {{[]string{"-e", "--rsh", "--rsync-path"}, runsText}},
	"zip":   {{[]string{"-TT", "--unzip-command"}, runsText}},
	"ssh":   sshing, "autossh": sshing, "scp": copying, "sftp": copying, "sshfs": sshing,
	"socat": {{[]string{"EXEC:", "SYSTEM:", "SHELL:"}, runsText}},
	"nano":  {{[]string{"-s", "--speller"}, runsText}},
	"capsh": {{[]string{"--"}, runsShell}},
	"vim":   viing, "vi": viing, "nvim": viing, "view": viing, "gvim": viing, "vimdiff": viing, "ex": viing,
	"less": {{[]string{"+"}, runsEditor}},
	"more": {{[]string{"+"}, runsEditor}},
	"man":  {{[]string{"-P", "--pager"}, runsText}, {[]string{"-H", "--html"}, runsText}},
	"bat":  {{[]string{"--pager"}, runsText}}, "batcat": {{[]string{"--pager"}, runsText}},
	"rg":   {{[]string{"--pre", "--hostname-bin"}, runsText}},
	"fzf":  {{[]string{"--preview"}, runsText}, {[]string{"--bind"}, runsBound}},
	"make": making, "gmake": making,
	"sort":     {{[]string{"--compress-program"}, runsProgram}},
	"split":    {{[]string{"--filter"}, runsText}},
	"cmake":    {{[]string{"-E"}, runsRest}},
	"gcc":      {{[]string{"-wrapper"}, runsList}, {[]string{"-fplugin", "-specs"}, loads}},
	"tcpdump":  {{[]string{"-z"}, runsProgram}},
	"go":       {{[]string{"-exec", "-toolexec", "-vettool"}, runsText}},
	"gdb":      {{[]string{"--args", "-args"}, runsRest}},
	"lldb":     {{[]string{"--"}, runsRest}},
	"perf":     {{[]string{"--"}, runsRest}},
	"tmux":     {{[]string{"-c"}, runsText}},
	"screen":   {{[]string{"-dm", "-d", "-X"}, loads}},
	"bind":     {{[]string{"-x"}, runsBound}, {[]string{"-f"}, loads}},
	"complete": {{[]string{"-C"}, runsText}, {[]string{"-F"}, loads}},
	"enable":   {{[]string{"-f"}, loads}},
	"open":     {{[]string{"-a", "-b"}, runsProgram}},
	"fc":       {{[]string{"-e", "-s"}, loads}},
	"shopt":    {{[]string{"dotglob", "globstar", "expand_aliases", "lastpipe", "extglob", "nullglob"}, loads}},
	"jobs":     {{[]string{"-x"}, runsRest}},
	"xterm":    {{[]string{"-e"}, runsRest}}, "gnome-terminal": {{[]string{"--"}, runsRest}}, "konsole": {{[]string{"-e"}, runsRest}}, "urxvt": {{[]string{"-e"}, runsRest}},
	"alacritty": {{[]string{"-e", "--command"}, runsRest}}, "st": {{[]string{"-e"}, runsRest}}, "ghostty": {{[]string{"-e"}, runsRest}}, "wezterm": {{[]string{"--"}, runsRest}}, "terminator": {{[]string{"-x", "-e"}, runsRest}}, "xfce4-terminal": {{[]string{"-x", "-e"}, runsRest}}, "tilix": {{[]string{"-e"}, runsRest}}, "lxterminal": {{[]string{"-e"}, runsRest}}, "rxvt": {{[]string{"-e"}, runsRest}},
	"start-stop-daemon": {{[]string{"-x", "--exec", "-a", "--startas"}, runsProgram}},
	"nodemon":           {{[]string{"-x", "--exec"}, runsText}},
	"chokidar":          {{[]string{"-c", "--command"}, runsText}},
	"execlineb":         {{[]string{"-c"}, runsText}},
	"forever":           {{[]string{"-c"}, runsText}},
	"ksu":               {{[]string{"-e"}, runsRest}},
	"watchman-make":     {{[]string{"--run", "--make"}, runsText}},
	"rvm":               {{[]string{"do", "exec"}, runsRest}},
	"rbenv":             execing, "pyenv": execing, "nodenv": execing, "goenv": execing, "jenv": execing, "plenv": execing, "phpenv": execing, "tfenv": execing, "asdf": execing,
	"cmd":    {{[]string{"/c", "/C", "/k", "/K"}, runsRest}},
	"just":   {{[]string{"--shell"}, runsProgram}, {[]string{"-c", "--command"}, runsRest}},
	"dialog": {{[]string{"--prgbox"}, runsText}},
	"cpio":   {{[]string{"--rsh-command"}, runsProgram}},
	"rpm":    {{[]string{"-E", "--eval"}, loads}},
	"mvn":    mavening, "mvnw": mavening,
	"bazel": bazeling, "bazelisk": bazeling,
	"pdflatex": texing, "latex": texing, "xelatex": texing, "lualatex": texing, "latexmk": texing, "tex": texing, "pdftex": texing,
	"rake":    {{[]string{"-e", "-E", "-p", "--execute", "--execute-print", "--execute-continue"}, loads}},
	"tsx":     {{[]string{"-e", "--eval", "-p", "--print"}, loads}},
	"ts-node": {{[]string{"-e", "--eval", "-p", "--print"}, loads}},
	"iex":     {{[]string{"-e", "--eval", "--rpc-eval"}, loads}},
	"clojure": {{[]string{"-e", "--eval"}, loads}}, "clj": {{[]string{"-e", "--eval"}, loads}}, "bb": {{[]string{"-e", "--eval"}, loads}},
	"pry":      {{[]string{"-e", "--exec"}, loads}},
	"tmux set": {{[]string{"default-command", "default-shell", "lock-command", "copy-command"}, runsText}}, "tmux set-option": {{[]string{"default-command", "default-shell", "lock-command", "copy-command"}, runsText}},
	"pdsh": {{[]string{"-R"}, loads}},
	"nmap": {{[]string{"--script"}, loads}},
	"npm":  {{[]string{"--script-shell", "--node-options", "--editor", "--browser", "--viewer"}, loads}},
	"node": {{[]string{"--experimental-loader", "--loader"}, loads}},
	"apt":  {{[]string{"-o", "--option"}, loads}}, "apt-get": {{[]string{"-o", "--option"}, loads}},
	"cargo":    {{[]string{"--config"}, loads}},
	"npx":      {{[]string{"-c", "--call"}, runsText}},
	"npm exec": {{[]string{"-c", "--call"}, runsText}}, "npm x": {{[]string{"-c", "--call"}, runsText}},
	"nix-shell":   {{[]string{"--run", "--command"}, runsText}},
	"nix develop": {{[]string{"-c", "--command"}, runsRest}}, "nix shell": {{[]string{"-c", "--command"}, runsRest}},
	"vagrant":     {{[]string{"-c", "--command"}, runsText}},
	"fish":        {{[]string{"-c", "--command", "-C", "--init-command"}, runsText}},
	"sqlite3":     {{[]string{"-init", "-cmd"}, loads}},
	"npm explore": {{[]string{"--"}, runsRest}}, "yarn workspace": execing, "yarn workspaces": execing,
	"cargo watch":   {{[]string{"-s", "--shell"}, runsText}},
	"logrotate":     {{[]string{"-f"}, loads}},
	"git rebase":    {{[]string{"-x", "--exec"}, runsText}},
	"git bisect":    {{[]string{"run"}, runsRest}},
	"git submodule": {{[]string{"foreach"}, runsEach}},
	"git difftool":  {{[]string{"-x", "--extcmd"}, runsText}},
	"git fetch":     uploading, "git pull": uploading, "git ls-remote": uploading, "git push": uploading, "git archive": uploading, "git fetch-pack": uploading, "git send-pack": uploading,
	"git clone":         {{[]string{"-u", "--upload-pack"}, runsText}, {[]string{"-c", "--config"}, runsFilter}, {[]string{"--template"}, loads}},
	"git init":          {{[]string{"--template"}, loads}},
	"git grep":          {{[]string{"-O", "--open-files-in-pager"}, runsText}},
	"git filter-branch": {{[]string{"--env-filter", "--tree-filter", "--index-filter", "--parent-filter", "--msg-filter", "--commit-filter", "--tag-name-filter", "--setup"}, runsText}},
	"git send-email":    {{[]string{"--sendmail-cmd", "--smtp-server", "--to-cmd", "--cc-cmd", "--header-cmd"}, runsText}},
	"git web--browse":   {{[]string{"-b", "--browser", "-t", "--tool"}, runsText}},
	"git mergetool":     {{[]string{"-t", "--tool"}, loads}},
	"git log":           {{[]string{"--ext-diff"}, loads}}, "git diff": {{[]string{"--ext-diff"}, loads}}, "git show": {{[]string{"--ext-diff"}, loads}},
	"git merge":         {{[]string{"-s", "--strategy"}, loads}},
	"git for-each-repo": {{[]string{"--config"}, loads}},
	"git":               {{[]string{"--exec-path"}, loads}},
}

var (
	archiving = []hook{
		{[]string{"--to-command", "-I", "--use-compress-program", "-F", "--info-script", "--new-volume-script", "--rsh-command", "--rmt-command"}, runsText},
		{[]string{"--checkpoint-action"}, runsExec},
	}
	sshing  = []hook{{[]string{"-o"}, runsSetting}, {[]string{"-S", "-F"}, loads}, {[]string{"-D"}, loads}}
	copying = []hook{{[]string{"-o"}, runsSetting}, {[]string{"-S", "-D"}, runsProgram}, {[]string{"-F"}, loads}}
	viing   = []hook{{[]string{"-c", "--cmd", "+"}, runsEditor}, {[]string{"-S", "-u", "-U"}, loads}}
	making  = []hook{{[]string{"SHELL"}, runsProgram}, {[]string{"--eval"}, runsRules}, {[]string{".SHELLFLAGS"}, loads}}
	// execing runs what stands behind the word, with the version that is chosen.
	execing   = []hook{{[]string{"exec"}, runsRest}}
	mavening  = []hook{{[]string{"-Dexec.executable"}, runsProgram}}
	bazeling  = []hook{{[]string{"--run_under", "--workspace_status_command"}, runsText}}
	texing    = []hook{{[]string{"-shell-escape", "--shell-escape", "-enable-write18", "--enable-write18"}, loads}}
	uploading = []hook{{[]string{"--upload-pack", "--receive-pack", "--exec"}, runsText}}
)

// hooks follows the options by which a program runs others.
func (a *analysis) hooks(p *performed, s scope) {
	through := s.through(p.call.Name)
	if len(p.module) > 0 {
		a.call(p.module, through)
	}
	switch p.name {
	case "git":
		a.gitRemote(p, through)
	case "at", "batch":
		if s.stdin != nil {
			a.evaluate(*s.stdin, a.child(through))
		}
	case "crontab":
		if s.stdin != nil {
			a.schedule(*s.stdin, a.child(through))
		}
	}
	if p.call.Subcommand != "" {
		a.hooked(hooks[p.key()], p.rest(), through)
		if l := subLaunchers[p.key()]; l != nil && !a.stopped {
			in := a.invocation(l, p.rest(), through)
			if in.unsure {
				a.dynamic()
			}
			if l.form == formText {
				a.evaluate(join(in.rest), a.child(through))
			} else {
				a.words(l, in, through)
			}
		}
	}
	all := p.args[1:]
	if p.name == "git" {
		all = p.args[1:max(1, min(p.at, len(p.args)))]
	}
	a.hooked(hooks[p.name], all, through)
	if p.name == "make" || p.name == "gmake" {
		for _, g := range p.args[1:] {
			if name := strings.TrimPrefix(strings.TrimPrefix(g.text, "--file="), "-f"); name == "-" || isStream(name) {
				a.input(s)
				if s.stdin != nil {
					a.rules(*s.stdin, through)
				}
			}
			if n, v, ok := strings.Cut(g.text, "="); ok && commandVariables[n] {
				a.commandVariable(n, arg{text: v, lit: g.lit}, through)
			} else if ok && !strings.HasPrefix(n, "-") && strings.Contains(v, "shell ") {
				a.reached(runsRules, arg{text: v, lit: g.lit}, through)
			}
		}
	}
}

func (a *analysis) hooked(list []hook, args []arg, s scope) {
	for i := range list {
		for j := 0; j < len(args) && !a.stopped; j++ {
			if g := args[j]; g.many && !g.glob && g.prefix() == "" && !g.hidden {
				a.dynamic() // it may bring the option
				return
			}
			value, found := list[i].value(args, j)
			if !found {
				continue
			}
			if list[i].is == runsEach {
				rest := args[j+1:]
				for len(rest) > 0 && strings.HasPrefix(rest[0].text, "-") {
					rest = rest[1:]
				}
				a.evaluate(join(rest), a.child(s))
				return
			}
			if list[i].is == runsRest || list[i].is == runsShell {
				switch rest := args[j+1:]; {
				case list[i].is == runsShell:
					a.shell(posixShell, rest, s)
				case len(rest) == 1 && strings.Contains(rest[0].text, " "):
					a.evaluate(rest[0], a.child(s)) // a command text after all
				default:
					a.call(rest, s)
				}
				return
			}
			a.reached(list[i].is, value, s)
		}
	}
}

// value returns the value of the hook's option if the argument at a place is
// it.
func (h *hook) value(args []arg, i int) (arg, bool) {
	g := args[i]
	next := literal("")
	if i+1 < len(args) {
		next = args[i+1]
	}
	name, value, attached := strings.Cut(g.text, "=")
	for _, option := range h.options {
		switch {
		case option == "+":
			if rest, ok := strings.CutPrefix(g.text, "+"); ok {
				return arg{text: rest, lit: g.lit}, true
			}
		case strings.HasSuffix(option, ":"):
			if len(g.text) > len(option) && strings.EqualFold(g.text[:len(option)], option) {
				text, _, _ := strings.Cut(g.text[len(option):], ",")
				return arg{text: text, lit: g.lit}, true
			}
		case name == option, len(name) > 4 && strings.HasPrefix(name, "--") && strings.HasPrefix(option, name):
			if attached {
				return arg{text: value, lit: g.lit}, true
			}
			return next, true
		case len(option) == 2 && option[0] == '-' && option[1] != '-' && len(g.text) > 2 && g.text[0] == '-' && g.text[1] != '-':
			before, rest, ok := strings.Cut(g.text[1:], option[1:])
			if !ok || strings.Trim(before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				continue
			}
			if rest == "" {
				return next, true
			}
			return arg{text: strings.TrimPrefix(rest, "="), lit: g.lit}, true
		}
	}
	return arg{}, false
}

// sshSettings are the settings of ssh whose value is a command text.
var sshSettings = []string{"proxycommand", "localcommand", "knownhostscommand", "pkcs11provider", "securitykeyprovider", "xauthlocation", "permitlocalcommand", "match"}

// reached follows the value of an option by which a program runs others.
func (a *analysis) reached(is reach, value arg, s scope) {
	switch is {
	case runsText:
		a.evaluate(value, a.child(s))
	case runsProgram:
		a.call([]arg{value}, s)
		a.dynamic() // what it is told is not known
	case runsExec:
		if text, ok := strings.CutPrefix(value.text, "exec="); ok || !value.lit {
			a.evaluate(arg{text: text, lit: value.lit}, a.child(s))
		}
	case runsSetting:
		name := strings.ToLower(strings.TrimLeft(value.text, " \t"))
		for _, setting := range sshSettings {
			if rest, ok := strings.CutPrefix(name, setting); ok {
				text := strings.TrimLeft(value.text[len(value.text)-len(rest):], "= \t")
				a.evaluate(arg{text: text, lit: value.lit}, a.child(s))
			}
		}
		if !value.lit && value.prefix() == "" {
			a.dynamic()
		}
	case runsList:
		value.text = strings.ReplaceAll(value.text, ",", " ")
		a.evaluate(value, a.child(s))
	case runsEditor:
		a.editor(value, s)
	case runsFilter:
		if text := gitCommand(value.text); text != "" {
			a.evaluate(arg{text: text, lit: value.lit && text != unknown}, a.child(s))
		}
	case runsBound:
		a.dynamic()
		a.bound(value, s)
	case runsRules:
		a.dynamic()
		a.rules(value, s)
	case loads, runsRest, runsEach, runsShell:
		a.dynamic()
	}
}

// gitRemote follows what git runs because of a remote's address, a setting
// that is made, and a subcommand that is a program of its own.
func (a *analysis) gitRemote(p *performed, s scope) {
	for _, g := range p.args[1:] {
		if _, text, ok := strings.Cut(g.text, "ext::"); ok {
			a.evaluate(arg{text: strings.ReplaceAll(text, "% ", `\ `), lit: g.lit}, a.child(s))
		}
	}
	if p.call.Subcommand != "config" {
		return
	}
	var operands []arg
	for _, g := range p.rest() {
		if strings.HasPrefix(g.text, "-") || slices.Contains([]string{"set", "--add"}, g.text) && len(operands) == 0 {
			continue
		}
		operands = append(operands, g)
	}
	if len(operands) < 2 {
		return
	}
	name := operands[0]
	text := gitCommand(name.text + "=" + operands[1].text)
	section, _, _ := strings.Cut(strings.ToLower(name.text), ".")
	switch {
	case !name.lit || section == "include" || section == "includeif" || strings.HasPrefix(strings.ToLower(name.text), "filter."):
		a.dynamic()
	case text != "":
		a.evaluate(arg{text: text, lit: operands[1].lit && text != unknown}, a.child(s))
		if first, _, _ := strings.Cut(text, " "); !tame[first] {
			a.dynamic()
		}
	}
}

// subLaunchers are the subcommands that run a program given as an argument
// vector.
var subLaunchers = map[string]*launcher{
	"uv run": {
		form: formWords, flags: "qvnmU", values: "p", longFlags: []string{"isolated", "frozen", "locked", "no-sync", "no-project", "all-extras", "no-dev", "offline", "active", "quiet"},
		longValues: []string{"with", "with-requirements", "extra", "group", "python", "package", "env-file", "directory", "project"},
	},
	"poetry run": {form: formWords}, "pipenv run": {form: formWords}, "pdm run": {form: formWords}, "hatch run": {form: formWords}, "rye run": {form: formWords},
	"fnm exec": {form: formWords, longFlags: []string{"using-file"}, longValues: []string{"using", "arch", "fnm-dir", "log-level"}},
	"n exec":   {form: formWords, operands: 1}, "n run": {form: formWords, operands: 1},
	"volta run":      {form: formWords, longFlags: []string{"bundled-npm", "no-yarn", "no-pnpm", "verbose", "quiet"}, longValues: []string{"node", "npm", "yarn", "pnpm", "env"}},
	"micromamba run": {form: formWords, values: "npar", longFlags: []string{"clean-env", "detach"}, longValues: []string{"name", "prefix", "root-prefix", "cwd", "env", "label", "attach"}},
	"mamba run":      {form: formWords, values: "np", longFlags: []string{"no-capture-output", "live-stream"}, longValues: []string{"name", "prefix", "cwd"}},
	"pixi run":       {form: formWords, flags: "qvx", values: "e", longFlags: []string{"frozen", "locked", "clean-env", "skip-deps", "executable"}, longValues: []string{"environment", "manifest-path"}},
	"devbox run":     {form: formWords, flags: "qlh", values: "ce", longFlags: []string{"quiet", "list", "pure"}, longValues: []string{"config", "env", "env-file", "environment"}},
	"toolbox run":    {form: formWords, values: "cdr", longValues: []string{"container", "distro", "release", "preserve-fds"}},
	"doppler run":    {form: formWords, values: "pc", longFlags: []string{"preserve-env", "silent"}, longValues: []string{"project", "config", "token", "command", "mount"}},
	"infisical run":  {form: formWords, longFlags: []string{"watch", "silent"}, longValues: []string{"env", "path", "token", "projectId", "command"}},
	"foreman run":    {form: formWords, values: "efd", longValues: []string{"env", "procfile", "root"}}, "honcho run": {form: formWords, values: "efd", longValues: []string{"env", "procfile", "app-root"}},
	"overmind run": {form: formWords}, "forego run": {form: formWords, values: "e"}, "pueue add": {form: formText, flags: "iesf", values: "wdaglpo", longFlags: []string{"immediate", "escape", "stashed", "print-task-id"}, longValues: []string{"working-directory", "delay", "after", "group", "label", "priority"}},
	"gem exec": {form: formWords, values: "vg", longValues: []string{"version", "gem"}}, "composer exec": {form: formWords, flags: "lv", longFlags: []string{"list"}}, "mise x": {form: formWords}, "bundle e": {form: formWords}, "bundle ex": {form: formWords},
	"lerna exec":  {form: formWords, longFlags: []string{"stream", "parallel", "no-bail", "bail", "no-prefix", "prefix", "profile", "no-private", "no-sort", "include-dependents", "include-dependencies"}, longValues: []string{"scope", "ignore", "concurrency", "since", "loglevel"}},
	"nx exec":     {form: formWords, longFlags: []string{"verbose", "nxBail", "nxIgnoreCycles"}, longValues: []string{"target", "targets", "projects", "configuration", "exclude", "parallel", "runner"}},
	"bundle exec": {form: formWords}, "mise exec": {form: formWords, operands: 0}, "direnv exec": {form: formWords, operands: 1},
	"asdf exec": {form: formWords}, "rbenv exec": {form: formWords}, "pyenv exec": {form: formWords}, "nodenv exec": {form: formWords},
	"goenv exec": {form: formWords}, "jenv exec": {form: formWords}, "rvm do": {form: formWords},
	"tox exec":       {form: formWords, values: "e"},
	"rr record":      {form: formWords},
	"nvm exec":       {form: formWords, operands: 1, longFlags: []string{"silent"}},
	"uftrace record": {form: formWords, flags: "akvf", values: "FNDAtdSbH"}, "uftrace live": {form: formWords, flags: "akvf", values: "FNDAtdSbH"},
	"pm2 start": {form: formText, flags: "fi", values: "n", longFlags: []string{"watch", "no-autorestart", "no-daemon", "force"}, longValues: []string{"name", "cwd", "interpreter", "cron", "log", "time"}},
	"op run":    {form: formWords, longValues: []string{"env-file"}}, "dotenvx run": {form: formWords, values: "f"},
	"conda run": {form: formWords, values: "np", longFlags: []string{"no-capture-output", "live-stream"}, longValues: []string{"name", "prefix", "cwd"}},
	"npm exec":  {form: formWords, flags: "y", values: "pcw", longFlags: []string{"yes", "no", "workspaces"}, longValues: []string{"package", "call", "workspace"}},
	"npm x":     {form: formWords, flags: "y", values: "pcw", longFlags: []string{"yes", "no", "workspaces"}, longValues: []string{"package", "call", "workspace"}},
	"pnpm exec": {form: formWords, single: true, flags: "rc", longFlags: []string{"recursive", "parallel", "shell-mode"}}, "yarn exec": {form: formWords}, "pnpm dlx": {form: formWords, longValues: []string{"package"}}, "yarn dlx": {form: formWords, values: "p"},
	"docker exec": {form: formWords, remote: true, flags: "itd", values: "uwe", operands: 1, longFlags: []string{"interactive", "tty", "detach", "privileged"}, longValues: []string{"user", "workdir", "env", "env-file", "detach-keys"}},
	"podman exec": {form: formWords, remote: true, flags: "itdl", values: "uwe", operands: 1, longFlags: []string{"interactive", "tty", "detach", "privileged", "latest"}, longValues: []string{"user", "workdir", "env", "env-file", "detach-keys"}},
	"docker run":  containing, "podman run": containing, "docker create": containing, "podman create": containing,
	"kubectl exec":     {form: formWords, remote: true, flags: "itq", values: "cnf", operands: 1, longFlags: []string{"stdin", "tty", "quiet"}, longValues: []string{"container", "namespace", "filename", "pod-running-timeout"}},
	"tmux new-session": tmuxing, "tmux new": tmuxing, "tmux new-window": tmuxing, "tmux neww": tmuxing, "tmux split-window": tmuxing, "tmux splitw": tmuxing,
	"tmux respawn-pane": tmuxing, "tmux respawn-window": tmuxing, "tmux popup": tmuxing, "tmux display-popup": tmuxing, "tmux if-shell": tmuxing, "tmux if": tmuxing, "tmux pipe-pane": tmuxing, "tmux pipep": tmuxing,
	"tmux run-shell": tmuxing, "tmux run": tmuxing, "tmux send-keys": tmuxing, "tmux send": tmuxing,
	"perf record": perfing, "perf stat": perfing, "perf trace": perfing, "perf top": perfing, "perf mem": perfing,
	"cargo watch": {form: formWords, flags: "cqB", values: "xsweidDCL", longFlags: []string{"clear", "quiet", "postpone", "poll", "watch-when-idle", "why", "no-gitignore"}, longValues: []string{"exec", "shell", "watch", "ignore", "delay", "features", "workdir", "use-shell"}},
	"go tool":     {form: formWords, flags: "n"}, "rustup run": {form: formWords, operands: 1, longFlags: []string{"install"}},
}

var (
	containing = &launcher{
		form: formWords, remote: true, flags: "itdPq", values: "aeuvwphlmcn", operands: 1,
		longFlags: []string{"rm", "interactive", "tty", "detach", "privileged", "init", "publish-all", "read-only", "quiet", "no-healthcheck", "oom-kill-disable"},
		longValues: []string{
			"name", "env", "env-file", "user", "volume", "mount", "workdir", "publish", "expose", "network", "net", "hostname", "label", "memory", "cpus", "platform", "pull",
			"add-host", "cap-add", "cap-drop", "device", "dns", "entrypoint", "gpus", "ipc", "link", "pid", "restart", "security-opt", "shm-size", "tmpfs", "ulimit", "userns", "uts", "volumes-from",
		},
		program: []string{"entrypoint"},
	}
	tmuxing = &launcher{form: formWords, single: true, flags: "AdDEPXabfhIkvZBCFgHlMNpRo", values: "cefFntstxyWbTSi"}
	perfing = &launcher{form: formWords, flags: "agvqdnBsRbW", values: "eFopcrtCuDmGxIi", longFlags: []string{"all-cpus", "verbose", "quiet", "detailed", "null", "big-num", "no-big-num", "summary"}, longValues: []string{"event", "freq", "output", "pid", "count", "repeat", "cpu", "call-graph", "mmap-pages", "field-separator"}}
)
