package shell

// form says where a program that runs other programs finds them.
type form int

const (
	// formWords: what follows the options and operands is an argument vector.
	formWords form = iota + 1
	// formText: the operands, joined by spaces, are a command text.
	formText
	// formShell: -c text, a script file, or a script on standard input.
	formShell
	// formForeign: a shell whose language this package does not read.
	formForeign
	// formMarked: an argument vector stands between a marker and ";" or "+".
	formMarked
	// formOption: a command text is the value of an option; operands may stand
	// before and after it.
	formOption
	// formParallel: a template, ":::" and arguments.
	formParallel
	// formTrap: the first of two operands is a command text.
	formTrap
	// formAlias: operands of the form name=text.
	formAlias
	// formSource: a script whose text is not known.
	formSource
)

// launcher says how a program that runs other programs reads its arguments.
type launcher struct {
	form form
	// flags and values are the short options without and with a value; the
	// value of one in optional can only be attached to it.
	flags, values, optional string
	// longFlags and longValues are the same for long options.
	longFlags, longValues []string
	// pairs are the long options with two values.
	pairs []string
	// remote says that it runs in another place, which says nothing of this one.
	remote bool
	// single says that one operand alone is a command text.
	single bool
	// quiet are the options with which nothing is run.
	quiet []string
	// text are the options whose value is a command text.
	text []string
	// program are the options whose value is a program.
	program []string
	// split are the options whose value is split into further arguments.
	split []string
	// replace are the options whose value stands for unknown text.
	replace []string
	// shell are the options that ask for a shell if there is no command.
	shell []string
	// chdir are the options that run the command in another directory; moves
	// says that it always runs in one that is not known.
	chdir []string
	moves bool
	// words are the options with which the operands of formOption are an
	// argument vector; shellArgs says that without one they are those of a
	// shell.
	words     []string
	shellArgs bool
	// each says that each operand of formText is a command text of its own.
	each bool
	// inert says that the operands of formOption are not run.
	inert bool
	// operands is the number of operands before the command.
	operands int
	// assigns permits NAME=value before the command.
	assigns bool
	// digits permits -10 as an option.
	digits bool
	// appends says that unknown arguments are added at the end.
	appends bool
	// needs says that without a command a shell is run.
	needs bool
	// permutes says that options may stand after operands.
	permutes bool
	// markers start the argument vectors of formMarked.
	markers []string
}

// launchers are the programs that run other programs. It is data: a program is
// known here or it is an ordinary one.
var launchers = map[string]*launcher{
	"env": {
		form: formWords, flags: "-i0v", values: "uCSPa", split: []string{"S", "split-string"}, chdir: []string{"C", "chdir"}, assigns: true,
		longFlags:  []string{"ignore-environment", "null", "debug", "help", "version", "block-signal", "default-signal", "ignore-signal", "list-signal-handling"},
		longValues: []string{"unset", "chdir", "split-string", "argv0"},
	},
	"command":   {form: formWords, flags: "pvV", quiet: []string{"v", "V"}},
	"builtin":   {form: formWords},
	"exec":      {form: formWords, flags: "cl", values: "a"},
	"hash":      {form: formOption, flags: "rdtl", values: "p", inert: true, program: []string{"p"}},
	"mapfile":   callback,
	"readarray": callback,
	"compgen": {
		form: formOption, flags: "abcdefgjksuvEDI", values: "oAGWFCXPSV", text: []string{"C", "F"}, inert: true,
	},
	"nice": {
		form: formWords, values: "n", digits: true,
		longFlags: []string{"help", "version"}, longValues: []string{"adjustment"},
	},
	"nohup": {form: formWords, longFlags: []string{"help", "version"}},
	"timeout": {
		form: formWords, flags: "vfp", values: "sk", operands: 1,
		longFlags:  []string{"preserve-status", "foreground", "verbose", "help", "version"},
		longValues: []string{"signal", "kill-after"},
	},
	"time": {
		form: formWords, flags: "apqvlhV", values: "of",
		longFlags:  []string{"append", "portability", "quiet", "verbose", "help", "version"},
		longValues: []string{"output", "format"},
	},
	"setsid": {form: formWords, flags: "cfwhV", longFlags: []string{"ctty", "fork", "wait", "help", "version"}},
	"stdbuf": {
		form: formWords, values: "ioe",
		longFlags: []string{"help", "version"}, longValues: []string{"input", "output", "error"},
	},
	"ionice": {
		form: formWords, flags: "thV", values: "cnpPu", quiet: []string{"p", "P", "u", "pid", "pgid", "uid"},
		longFlags: []string{"ignore", "help", "version"}, longValues: []string{"class", "classdata", "pid", "pgid", "uid"},
	},
	"chrt": {
		form: formWords, flags: "abdefimoprRvhV", values: "TPD", quiet: []string{"p", "m", "pid", "max"}, operands: 1,
		longFlags:  []string{"all-tasks", "batch", "deadline", "ext", "fifo", "idle", "max", "other", "pid", "reset-on-fork", "rr", "verbose", "help", "version"},
		longValues: []string{"sched-runtime", "sched-period", "sched-deadline"},
	},
	"taskset": {
		form: formWords, flags: "apchV", quiet: []string{"p", "pid"}, operands: 1,
		longFlags: []string{"all-tasks", "pid", "cpu-list", "help", "version"},
	},
	"xargs": {
		form: formWords, flags: "0oprtx", values: "adEILnPsJRS", optional: "eil", appends: true,
		replace:    []string{"I", "J", "i", "replace"},
		longFlags:  []string{"null", "open-tty", "interactive", "no-run-if-empty", "verbose", "exit", "show-limits", "help", "version", "eof", "replace", "max-lines"},
		longValues: []string{"arg-file", "delimiter", "max-args", "max-procs", "max-chars", "process-slot-var"},
	},
	"find":   {form: formMarked, markers: []string{"-exec", "-execdir", "-ok", "-okdir"}},
	"gfind":  {form: formMarked, markers: []string{"-exec", "-execdir", "-ok", "-okdir"}},
	"fd":     {form: formMarked, appends: true, markers: []string{"-x", "--exec", "-X", "--exec-batch"}},
	"fdfind": {form: formMarked, appends: true, markers: []string{"-x", "--exec", "-X", "--exec-batch"}},
	"watch": {
		form: formText, flags: "bcCegprtwxfhv", values: "nqs", optional: "d",
		longFlags:  []string{"beep", "color", "no-color", "errexit", "chgexit", "follow", "precise", "no-rerun", "no-title", "no-wrap", "exec", "differences", "help", "version"},
		longValues: []string{"interval", "equexit", "shotsdir"},
	},
	"sudo": {
		form: formWords, flags: "ABbEeHiKklNnPSsVv", values: "CDghpRrTtUu", assigns: true,
		quiet: []string{"e", "l", "V", "v", "K", "edit", "list", "version", "validate", "remove-timestamp", "help"},
		shell: []string{"s", "i", "shell", "login"}, chdir: []string{"D", "chdir", "i", "login", "R", "chroot"},
		longFlags: []string{
			"askpass", "bell", "background", "preserve-env", "edit", "set-home", "login", "remove-timestamp", "reset-timestamp", "list",
			"no-update", "non-interactive", "preserve-groups", "stdin", "shell", "version", "validate", "help",
		},
		longValues: []string{"close-from", "chdir", "group", "host", "prompt", "chroot", "role", "command-timeout", "type", "other-user", "user"},
	},
	"doas":   {form: formWords, flags: "Lns", values: "aCu", shell: []string{"s"}, quiet: []string{"L", "C"}},
	"pkexec": {form: formWords, needs: true, longFlags: []string{"disable-internal-agent", "keep-cwd", "help", "version"}, longValues: []string{"user"}},
	"gosu":   {form: formWords, operands: 1}, "su-exec": {form: formWords, operands: 1},
	"chroot": {
		form: formWords, operands: 1, needs: true, moves: true,
		longFlags: []string{"skip-chdir", "help", "version"}, longValues: []string{"groups", "userspec"},
	},
	"unshare": {
		form: formWords, needs: true, chdir: []string{"R", "w", "root", "wd"}, flags: "fcrhV", values: "RwSG", optional: "muinpUCT",
		longFlags: []string{
			"mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time", "fork", "kill-child", "mount-proc", "map-root-user",
			"map-current-user", "map-auto", "keep-caps", "help", "version",
		},
		longValues: []string{"map-user", "map-group", "map-users", "map-groups", "propagation", "setgroups", "root", "wd", "setuid", "setgid", "boottime", "monotonic", "load-interp"},
	},
	"linux32": architecture, "linux64": architecture, "x86_64": architecture, "i386": architecture, "i686": architecture, "uname26": architecture,
	"setarch": architecture, // which may name one, a launcher like those above
	"aarch64": architecture, "armv7l": architecture, "armv8l": architecture, "ppc": architecture, "ppc64": architecture, "ppc64le": architecture, "s390": architecture, "s390x": architecture,
	"mips": architecture, "mips64": architecture, "sparc": architecture, "sparc64": architecture, "riscv64": architecture, "loongarch64": architecture,
	"nsenter": {
		form: formWords, needs: true, moves: true, flags: "aFZehV", values: "tSG", optional: "muinpUCTrwW",
		longFlags: []string{
			"all", "mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time", "root", "wd", "wdns", "env", "no-fork", "preserve-credentials",
			"keep-caps", "follow-context", "help", "version",
		},
		longValues: []string{"target", "setuid", "setgid", "net-socket"},
	},
	"setpriv": {
		form: formWords, flags: "dhV",
		longFlags: []string{"dump", "no-new-privs", "clear-groups", "keep-groups", "init-groups", "reset-env", "list-caps", "help", "version"},
		longValues: []string{
			"ambient-caps", "inh-caps", "bounding-set", "ruid", "euid", "rgid", "egid", "reuid", "regid", "groups", "securebits", "pdeathsig", "ptracer",
			"selinux-label", "apparmor-profile", "landlock-access", "landlock-rule", "seccomp-filter",
		},
	},
	"numactl":  {form: formWords, flags: "alH", values: "imNCpwP", longFlags: []string{"all", "localalloc", "hardware", "show"}, longValues: []string{"interleave", "membind", "cpunodebind", "physcpubind", "preferred"}},
	"prlimit":  {form: formWords, values: "op", optional: "cdefilmnqrstuvxy", longFlags: []string{"noheadings", "raw", "verbose", "core", "cpu", "nofile", "nproc", "as", "data", "fsize", "stack"}, longValues: []string{"output", "pid"}},
	"faketime": {form: formWords, flags: "m", values: "fp", operands: 1},
	"xvfb-run": {form: formWords, flags: "al", values: "efnspw", longFlags: []string{"auto-servernum", "listen-tcp"}, longValues: []string{"error-file", "auth-file", "server-num", "server-args", "xauth-protocol", "wait"}},
	"entr":     {form: formText, flags: "acdnprsxz"},
	"strace": {
		form: formWords, flags: "cCdDfFhikqrtTvVwxyYzZ", values: "abeEIoOpPsSuUX",
		longFlags: []string{"follow-forks", "help", "version"}, longValues: []string{"trace", "output", "attach", "user", "env"},
	},
	"ltrace":     {form: formWords, flags: "bcCfhiLrStTV", values: "aADeFlnopsuwx"},
	"catchsegv":  {form: formWords},
	"fakeroot":   {form: formWords, needs: true, flags: "uhv", values: "bilfs", longFlags: []string{"unknown-is-real"}, longValues: []string{"lib", "faked"}},
	"fakechroot": {form: formWords, flags: "hsv", values: "lecb", longFlags: []string{"use-system-libs"}, longValues: []string{"lib", "elfloader", "environment", "config-dir", "bindir"}},
	"torify":     {form: formWords, flags: "qvd"},
	"tsocks":     {form: formWords},
	"trickle":    {form: formWords, flags: "sv", values: "udwtlLnp"},
	"cpulimit":   {form: formWords, flags: "imvzfqk", values: "lpePcs", longFlags: []string{"include-children", "monitor-forks", "foreground", "lazy", "verbose", "quiet", "kill"}, longValues: []string{"limit", "pid", "exe", "path", "cpu", "signal"}},
	"run-one":    {form: formWords}, "run-one-constantly": {form: formWords}, "run-this-one": {form: formWords}, "keep-one-running": {form: formWords},
	"setuidgid": {form: formWords, operands: 1}, "envuidgid": {form: formWords, operands: 1}, "envdir": {form: formWords, operands: 1}, "setlock": {form: formWords, flags: "nNxX", operands: 1},
	"s6-setuidgid": {form: formWords, operands: 1},
	"daemonize":    {form: formWords, flags: "av", values: "ceoplu"}, "daemon": {form: formWords, flags: "rifBU", values: "nuDXPOEFoeMLCAN"},
	"dbus-launch":      {form: formWords, longFlags: []string{"sh-syntax", "csh-syntax", "auto-syntax", "exit-with-session", "exit-with-x11", "close-stderr"}, longValues: []string{"config-file", "autolaunch"}},
	"systemd-nspawn":   {form: formWords, flags: "xabPUqnj", values: "DMHiuSLpE", moves: true, longFlags: []string{"ephemeral", "read-only", "as-pid2", "boot", "private-network", "quiet", "pipe", "private-users"}, longValues: []string{"directory", "image", "machine", "user", "bind", "bind-ro", "setenv", "network-interface", "chdir", "console", "overlay", "capability"}},
	"systemd-inhibit":  {form: formWords, longFlags: []string{"list", "no-pager"}, longValues: []string{"what", "who", "why", "mode"}},
	"screen":           {form: formWords, flags: "dmaAilLMOqRUvwxDr", values: "ceEfhpsStTX"},
	"chdir":            {form: formWords, operands: 1, moves: true},
	"stap":             {form: formOption, flags: "gvkFpu", values: "eEcsxoDdrIB", text: []string{"c", "e"}, inert: true},
	"caffeinate":       {form: formWords, flags: "dimsu", values: "tw"},
	"unbuffer":         {form: formWords, flags: "p"},
	"eatmydata":        {form: formWords},
	"proxychains":      {form: formWords, flags: "q", values: "f"},
	"proxychains4":     {form: formWords, flags: "q", values: "f"},
	"torsocks":         {form: formWords, flags: "iqd", values: "uaP"},
	"dbus-run-session": {form: formWords, longValues: []string{"config-file", "dbus-daemon"}},
	"busybox":          {form: formWords, longFlags: []string{"list", "list-full", "help", "install"}, quiet: []string{"list", "list-full", "help", "install"}},
	"toybox":           {form: formWords, longFlags: []string{"long", "help", "version"}, quiet: []string{"long", "help", "version"}},
	"ld.so":            loader,
	"ld-linux.so.2":    loader, "ld-linux-x86-64.so.2": loader, "ld-linux-aarch64.so.1": loader, "ld-linux-armhf.so.3": loader,
	"ld-musl-x86_64.so.1": loader, "ld-musl-aarch64.so.1": loader,

	"pgrphack":     {form: formWords},
	"fghack":       {form: formWords},
	"argv0":        {form: formWords},
	"recordio":     {form: formWords},
	"s6-softlimit": {form: formWords, flags: "hH", values: "adcfmlnoprst"},
	"with-contenv": {form: formWords},

	"coresched": {form: formWords, flags: "v", values: "sdt", operands: 1},
	"schedtool": {form: formWords, flags: "NFRBIDrve", values: "MapnA"},
	"nocache":   {form: formWords, values: "nfD"},
	"zrun":      {form: formWords},
	"lckdo":     {form: formWords, flags: "wqsxeE", values: "W", operands: 1},
	"mispipe":   {form: formText, each: true},
	"logsave":   {form: formWords, flags: "asv", operands: 1},

	"systemd-cat":             {form: formWords, values: "tp", longValues: []string{"identifier", "priority", "stderr-priority", "level-prefix", "namespace"}},
	"systemd-socket-activate": {form: formWords, flags: "da", values: "lE", longFlags: []string{"accept", "datagram", "seqpacket", "inetd"}, longValues: []string{"listen", "setenv", "fdname"}},
	"run0":                    {form: formWords, values: "ugD", longFlags: []string{"no-ask-password", "slice-inherit", "pipe", "pty", "empower"}, longValues: []string{"unit", "property", "description", "slice", "user", "group", "nice", "chdir", "setenv", "background", "machine"}, needs: true},
	"fakeroot-ng":             {form: formWords, values: "pld"},
	"datefudge":               {form: formWords, flags: "s", operands: 1},

	"heaptrack":    {form: formWords, flags: "r", values: "op"},
	"timelimit":    {form: formWords, flags: "pq", values: "StsT"},
	"retry":        {form: formWords, flags: "qv", values: "tdm", longValues: []string{"times", "delay", "until", "while"}},
	"catatonit":    {form: formWords, flags: "gPV"},
	"dtach":        {form: formWords, flags: "Ez", values: "anAcNreM"},
	"abduco":       {form: formWords, flags: "flpqr", values: "nacAe"},
	"detach":       {form: formWords},
	"start_daemon": {form: formWords, flags: "f", values: "np"},

	"ledit":               {form: formWords, flags: "xtuc", values: "hls"},
	"rlfe":                {form: formWords, values: "hlnsu"},
	"box64":               {form: formWords},
	"qemu-x86_64":         emulator,
	"qemu-x86_64-static":  emulator,
	"qemu-aarch64":        emulator,
	"qemu-aarch64-static": emulator,
	"gtime":               {form: formWords, flags: "apqvhV", values: "of"},
	"gtimeout":            {form: formWords, flags: "vfp", values: "sk", operands: 1, longFlags: []string{"preserve-status", "foreground", "verbose"}, longValues: []string{"signal", "kill-after"}},
	"gnice":               {form: formWords, values: "n", digits: true, longValues: []string{"adjustment"}},
	"gnohup":              {form: formWords},
	"gstdbuf":             {form: formWords, values: "ioe", longValues: []string{"input", "output", "error"}},
	"genv":                {form: formWords, flags: "i0v", values: "uCSPa", split: []string{"S", "split-string"}, chdir: []string{"C", "chdir"}, assigns: true, longFlags: []string{"ignore-environment", "null", "debug"}, longValues: []string{"unset", "chdir", "split-string", "argv0"}},
	"gxargs":              {form: formWords, flags: "0oprtx", values: "adEILnPsJRS", optional: "eil", appends: true, replace: []string{"I", "J", "i", "replace"}, longFlags: []string{"null", "open-tty", "interactive", "no-run-if-empty", "verbose", "exit", "eof", "replace", "max-lines"}, longValues: []string{"arg-file", "delimiter", "max-args", "max-procs", "max-chars", "process-slot-var"}},

	"empty": {form: formWords, flags: "f", values: "iopL"},

	"please":  {form: formWords, values: "utgdea"},
	"schroot": {form: formWords, moves: true, flags: "pqv", values: "cudsno", longValues: []string{"chroot", "user", "directory", "shell"}, longFlags: []string{"preserve-environment", "quiet"}},

	"gchroot": {form: formWords, operands: 1, needs: true, moves: true, longValues: []string{"groups", "userspec"}},

	"chronic": {form: formWords, flags: "ve"}, "ifne": {form: formWords, flags: "n"}, "pee": {form: formText, each: true},
	"rlwrap":   {form: formWords, flags: "aAceEiImMnNoOpPrRSuUvwWXz"},
	"valgrind": {form: formWords, flags: "qv", longFlags: []string{"leak-check", "track-origins", "error-exitcode", "tool", "log-file", "show-leak-kinds", "xml", "xml-file", "trace-children", "suppressions", "quiet"}},
	"firejail": {form: formWords, longFlags: []string{"noprofile", "private", "quiet", "net", "profile", "whitelist", "blacklist"}},
	"bwrap": {
		form: formWords, moves: true,
		longFlags:  []string{"unshare-all", "share-net", "die-with-parent", "new-session", "unshare-net", "unshare-pid", "unshare-user", "unshare-ipc", "unshare-uts", "unshare-cgroup", "unshare-user-try", "unshare-cgroup-try", "as-pid-1", "clearenv", "disable-userns"},
		longValues: []string{"proc", "dev", "tmpfs", "chdir", "dir", "uid", "gid", "hostname", "unsetenv", "remount-ro", "mqueue", "cap-add", "cap-drop", "seccomp", "lock-file", "perms", "size", "exec-label", "file-label", "args", "sync-fd", "info-fd"},
		pairs:      []string{"bind", "ro-bind", "dev-bind", "bind-try", "ro-bind-try", "dev-bind-try", "symlink", "setenv", "chmod", "file", "bind-data", "ro-bind-data", "overlay"},
	},
	"dumb-init":    {form: formWords, flags: "cv", values: "r"},
	"tini":         {form: formWords, flags: "gvswhl", values: "pe"},
	"runcon":       {form: formWords, operands: 1, values: "trulc"},
	"aa-exec":      {form: formWords, flags: "dvi", values: "pn"},
	"chpst":        {form: formWords, flags: "vPVO012", values: "uUbenmdoptfcrC/l"},
	"softlimit":    {form: formWords, values: "adcfmnoplrst"},
	"cgexec":       {form: formWords, values: "g"},
	"cross-env":    {form: formWords, assigns: true},
	"dotenv":       {form: formWords, values: "efpv"},
	"hyperfine":    {form: formText, each: true, flags: "NiwhV", values: "wmMrsnSpc", longValues: []string{"warmup", "runs", "min-runs", "max-runs", "prepare", "cleanup", "setup", "export-json", "export-markdown"}},
	"concurrently": {form: formText, each: true, flags: "krs", values: "ncp", longValues: []string{"names", "prefix", "prefix-colors"}, longFlags: []string{"kill-others", "raw", "success"}},
	"systemd-run": {
		form: formWords, flags: "tPqdGSr", values: "pEuMH",
		longFlags:  []string{"user", "system", "scope", "pty", "pipe", "wait", "quiet", "collect", "shell", "remain-after-exit", "no-block", "no-ask-password", "same-dir", "send-sighup"},
		longValues: []string{"unit", "property", "description", "slice", "uid", "gid", "nice", "working-directory", "setenv", "on-active", "on-boot", "on-calendar", "service-type", "host", "machine"},
	},
	"proot":         {form: formWords, moves: true, flags: "0hV", values: "rbmwqkRSvi", longFlags: []string{"root-id", "link2symlink", "kill-on-exit", "netcoop", "help", "version"}, longValues: []string{"rootfs", "bind", "mount", "cwd", "pwd", "qemu", "kernel-release", "verbose", "change-id"}},
	"ssh-agent":     {form: formWords, flags: "cDdks", values: "aEOPt", quiet: []string{"k"}},
	"gpg-agent":     {form: formWords, flags: "qvscn", values: "", longFlags: []string{"daemon", "server", "supervised", "quiet", "verbose", "sh", "csh", "no-detach", "no-grab", "enable-ssh-support", "version", "help"}, longValues: []string{"homedir", "options", "log-file", "default-cache-ttl", "max-cache-ttl", "pinentry-program"}},
	"choom":         {form: formWords, flags: "hV", values: "np", longFlags: []string{"help", "version"}, longValues: []string{"adjust", "pid"}},
	"uclampset":     {form: formWords, flags: "asRvhV", values: "mMp", longFlags: []string{"all-tasks", "system", "reset-on-fork", "verbose", "help", "version"}, longValues: []string{"pid"}},
	"tsp":           {form: formWords, flags: "nfmdEBglKChVRlqtcpiwkursaxTo", values: "SDWLNOTXzM"},
	"nq":            {form: formWords, flags: "cqtwa"},
	"rush":          {form: formText, flags: "keqXVhv", values: "jiDdnrtTocC", longFlags: []string{"keep-order", "dry-run", "eta", "continue", "escape", "verbose", "immediate-output"}, longValues: []string{"jobs", "field-delimiter", "record-delimiter", "retries", "timeout", "infile", "nrecords", "out-file", "assign"}},
	"flatpak-spawn": {form: formWords, flags: "vh", longFlags: []string{"host", "watch-bus", "clear-env", "sandbox", "no-network", "latest-version", "verbose", "help"}, longValues: []string{"env", "directory", "forward-fd", "unset-env", "sandbox-expose", "sandbox-expose-ro"}},
	"dotenvx":       behindDashes,
	"dockerize":     {form: formWords, longFlags: []string{"version", "skip-tls-verify", "no-overwrite"}, longValues: []string{"wait", "wait-http-header", "wait-retry-interval", "timeout", "template", "stdout", "stderr", "poll", "delims", "env", "env-section"}},
	"wait-for-it":   behindDashes, "wait-for-it.sh": behindDashes, "wait-for": behindDashes, "wait-for.sh": behindDashes, "wait4x": behindDashes, "onchange": behindDashes,
	"chruby-exec": behindDashes, "distrobox": behindDashes, "distrobox-enter": behindDashes,
	"chamber": behindDashes, "aws-vault": behindDashes, "zellij": behindDashes,
	"envchain":              {form: formWords, operands: 1, longFlags: []string{"set", "list", "noecho", "require-passphrase", "no-require-passphrase"}},
	"envconsul":             {form: formWords, flags: "oncepristuamz", longValues: []string{"prefix", "secret", "config"}},
	"watchexec":             {form: formText, flags: "cpnrNv1Vh", values: "ewisdEfjo", longFlags: []string{"clear", "postpone", "restart", "no-vcs-ignore", "no-project-ignore", "no-default-ignore", "no-ignore", "no-process-group", "notify", "verbose", "print-events", "timings", "quiet", "bell"}, longValues: []string{"exts", "watch", "ignore", "signal", "debounce", "env", "filter", "shell", "delay-run", "stop-signal", "stop-timeout", "on-busy-update", "project-origin", "workdir", "poll", "filter-file", "ignore-file", "fs-events"}},
	"reflex":                {form: formWords, flags: "sve", values: "rRgGcd", longFlags: []string{"start-service", "all", "sequential", "verbose"}, longValues: []string{"regex", "inverse-regex", "glob", "inverse-glob", "config", "decoration", "substitute", "shutdown-timeout"}},
	"start-server-and-test": {form: formText, each: true}, "server-test": {form: formText, each: true}, "start-test": {form: formText, each: true},
	"i3-msg": {form: formText, flags: "qmr", values: "st"}, "swaymsg": {form: formText, flags: "mpqr", values: "st"},
	"kitty":     {form: formWords, flags: "1", values: "codT", longFlags: []string{"hold", "single-instance", "detach"}, longValues: []string{"config", "override", "directory", "title", "class", "name", "session", "listen-on", "start-as"}},
	"foot":      {form: formWords, flags: "mFLSHv", values: "cotTaDwWlf", longFlags: []string{"hold", "maximized", "fullscreen", "login-shell"}, longValues: []string{"config", "override", "title", "app-id", "working-directory", "font"}},
	"sg":        {form: formText, flags: "c", operands: 1, longFlags: []string{"command"}},
	"newgrp":    {form: formForeign},
	"run-parts": {form: formForeign},
	"coreutils": {form: formForeign},
	"npx":       {form: formWords, flags: "yq", values: "pcn", longFlags: []string{"yes", "no-install", "no", "quiet", "ignore-existing", "version", "help"}, longValues: []string{"package", "call", "workspace", "shell", "cache", "userconfig"}, quiet: []string{"version", "help", "c", "call"}},
	"bunx":      {form: formWords, longFlags: []string{"bun", "silent", "verbose"}},
	"pnpx":      {form: formWords},
	"uvx":       {form: formWords, flags: "qv", values: "p", longValues: []string{"from", "with", "python"}, longFlags: []string{"isolated", "quiet"}},

	"sh": posixShell, "bash": posixShell, "dash": posixShell, "zsh": posixShell, "ksh": posixShell, "ash": posixShell,
	"rbash": posixShell, "mksh": posixShell, "yash": posixShell, "ksh93": posixShell, "lksh": posixShell,
	"posh": posixShell, "pdksh": posixShell, "oksh": posixShell, "loksh": posixShell, "rksh": posixShell, "rzsh": posixShell, "hush": posixShell,
	"osh": posixShell, "oil": posixShell, "mrsh": posixShell, "ksh2020": posixShell, "static-sh": posixShell,
	"fish": foreignShell, "csh": foreignShell, "tcsh": foreignShell, "pwsh": foreignShell, "powershell": foreignShell,
	"nu": foreignShell, "elvish": foreignShell, "xonsh": foreignShell,
	"ion": foreignShell, "rc": foreignShell, "es": foreignShell, "sash": foreignShell, "ysh": foreignShell, "scsh": foreignShell,

	// What runs on another machine.
	"ssh": {form: formText, flags: "46AaCfGgKkMNnqsTtVvXxYy", values: "BbcDEeFIiJLlmOopPQRSWw", operands: 1, remote: true}, "slogin": {form: formText, flags: "46AaCfGgKkMNnqsTtVvXxYy", values: "BbcDEeFIiJLlmOopPQRSWw", operands: 1, remote: true},

	"eval":     {form: formText},
	"trap":     {form: formTrap, flags: "lpP"},
	"alias":    {form: formAlias, flags: "p"},
	"source":   {form: formSource},
	".":        {form: formSource},
	"parallel": paralleling, "sem": paralleling,
	"su": {
		form: formOption, shellArgs: true, moves: true, flags: "-lmpfPhV", values: "cgGswT", text: []string{"c", "command", "session-command"}, needs: true,
		permutes: true, longFlags: []string{"login", "preserve-environment", "pty", "fast", "no-pty", "help", "version"},
		longValues: []string{"command", "session-command", "group", "supp-group", "shell", "whitelist-environment"}, operands: 1,
	},
	"runuser": {
		form: formOption, shellArgs: true, moves: true, words: []string{"u", "user"}, flags: "-lmpfPhV", values: "cgGswuT", text: []string{"c", "command", "session-command"}, needs: true,
		permutes: true, longFlags: []string{"login", "preserve-environment", "pty", "fast", "no-pty", "help", "version"},
		longValues: []string{"command", "session-command", "group", "supp-group", "shell", "user", "whitelist-environment"}, operands: 1,
	},
	"script": {
		form: formOption, flags: "adefkpqrhV", values: "cEImBoOtT", text: []string{"c", "command"}, needs: true, operands: 1,
		longFlags:  []string{"append", "return", "flush", "force", "quiet", "timing", "help", "version"},
		longValues: []string{"command", "echo", "log-in", "log-out", "log-io", "log-timing", "logging-format", "output-limit"},
	},
	"flock": {
		form: formOption, flags: "enosuxFhvV", values: "cEw", text: []string{"c", "command"}, operands: 1,
		longFlags:  []string{"exclusive", "nonblock", "nb", "close", "shared", "unlock", "no-fork", "verbose", "help", "version"},
		longValues: []string{"command", "conflict-exit-code", "timeout", "wait"},
	},
}

var (
	architecture = &launcher{form: formWords, needs: true, flags: "BFILRSTXZhvV", longFlags: []string{"addr-no-randomize", "help", "version"}}
	loader       = &launcher{
		form: formWords, longFlags: []string{"list", "verify", "inhibit-cache", "help", "version", "list-tunables", "list-diagnostics"},
		longValues: []string{"library-path", "inhibit-rpath", "audit", "preload", "argv0", "glibc-hwcaps-prepend", "glibc-hwcaps-mask"},
		quiet:      []string{"list", "verify", "help", "version"},
	}
	posixShell = &launcher{
		form: formShell, flags: "abcdefghiklmnprstuvxBCDEGHPT", values: "oO",
		longFlags: []string{
			"debugger", "dump-po-strings", "dump-strings", "help", "version", "login", "noediting", "noprofile", "norc", "posix", "pretty-print",
			"restricted", "verbose",
		},
		longValues: []string{"rcfile", "init-file"},
		quiet:      []string{"help", "version", "dump-strings", "dump-po-strings"},
	}
	// behindDashes has its command behind two dashes, and runs none without.
	behindDashes = &launcher{form: formMarked, markers: []string{"--"}}
	paralleling  = &launcher{
		form: formParallel, flags: "0kmqtuvxX", values: "aCdEIjLnNPsST",
		replace: []string{"I"},
		longFlags: []string{
			"null", "keep-order", "verbose", "dry-run", "bar", "eta", "progress", "ungroup", "line-buffer", "lb", "group", "quote", "xargs",
			"no-run-if-empty", "pipe", "pipepart", "round-robin", "will-cite", "bg", "fg", "semaphore", "tag", "plus", "link", "tty", "shuf", "help", "version",
		},
		longValues: []string{
			"arg-file", "colsep", "delimiter", "jobs", "max-procs", "max-args", "max-replace-args", "max-lines", "max-chars", "delay", "timeout", "retries",
			"halt", "joblog", "results", "load", "memfree", "nice", "shell", "sshlogin", "sshloginfile", "tagstring", "tmpdir", "workdir", "wd", "env", "block",
			"basefile", "return", "profile", "seqreplace",
		},
	}
	emulator     = &launcher{form: formWords, flags: "h", values: "gLsEUBpdD0R"}
	callback     = &launcher{form: formOption, flags: "t", values: "dnOsucC", text: []string{"C"}, inert: true, permutes: true}
	foreignShell = &launcher{form: formForeign}
)
