package tool

import (
	"regexp"
	"strings"
	"sync"
)

// keptVars are the variables that a command may see. Everything else is
// dropped: what a variable of another name holds is not known.
var keptVars = names(`
	PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM COLORTERM NO_COLOR FORCE_COLOR
	LC_ALL LC_ADDRESS LC_COLLATE LC_CTYPE LC_IDENTIFICATION LC_MEASUREMENT LC_MESSAGES LC_MONETARY
	LC_NAME LC_NUMERIC LC_PAPER LC_TELEPHONE LC_TIME
	XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CONFIG_DIRS XDG_DATA_DIRS
	TMPDIR TMP TEMP EDITOR VISUAL PAGER HOSTNAME CI
	SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy
	CC CXX AR LD CFLAGS CXXFLAGS CPPFLAGS LDFLAGS PKG_CONFIG_PATH
	GOPATH GOCACHE GOMODCACHE GOFLAGS GOPROXY GOROOT GOBIN GOOS GOARCH GOTOOLCHAIN GOSUMDB GOPRIVATE
	GONOPROXY GONOSUMDB GOEXPERIMENT CGO_ENABLED
	JAVA_HOME MAVEN_HOME GRADLE_HOME GRADLE_USER_HOME ANDROID_HOME SDKMAN_DIR
	NODE_ENV NODE_PATH NVM_DIR NVM_BIN PNPM_HOME VOLTA_HOME BUN_INSTALL DENO_DIR DENO_INSTALL
	CARGO_HOME CARGO_TARGET_DIR RUSTUP_HOME RUSTUP_TOOLCHAIN RUSTFLAGS RUST_BACKTRACE
	PYENV_ROOT PYENV_VERSION VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV PYTHONPATH
	PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE
	GEM_HOME GEM_PATH BUNDLE_PATH RBENV_ROOT RBENV_VERSION
	DOTNET_ROOT COMPOSER_HOME OPAM_SWITCH_PREFIX ASDF_DIR ASDF_DATA_DIR MISE_DATA_DIR NIX_PATH NIX_PROFILES
`)

// droppedVars are variables that must not come back by a change of the list
// above: they lead to other programs of the user, or make a program run
// something else than what it is asked to.
var droppedVars = names(`
	XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_PATH XDG_SEAT_PATH
	SSH_AUTH_SOCK SSH_AGENT_PID SSH_ASKPASS GPG_AGENT_INFO DBUS_SESSION_BUS_ADDRESS
	BASH_ENV ENV PROMPT_COMMAND SHELLOPTS BASHOPTS PS4 IFS CDPATH
`)

// credentialName matches the names of variables that hold credentials.
var credentialName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(credentialWords) })

const credentialWords = `(?i)token|secret|passw|passphrase|credential|_key$|_key_|apikey|_pat$|_auth$|_pin$`

// secretName matches the names of variables that hold credentials, or that
// steer a loader, a shell or git.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(credentialWords +
		`|^(opencode|aws|github|gh|git|ld|dyld|bash_func)_`)
})

// secretValue matches values that carry a credential: one before the host of an
// address, one with a name, or one of the well-known shapes.
var secretValue = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)://[^/\s?#]*@` +
		`|(token|secret|passw(or)?d|passphrase|credential|api_?key|access_?key)s?["']?\s*[=:]` +
		`|\b(sk|pk|rk)-[a-z0-9_-]{16}` +
		`|\b(gh[pousr]|github_pat|glpat|xox[abeoprs]|npm|oc|hf|pypi)[_-][a-z0-9_-]{16}` +
		`|\b(AKIA|ASIA)[A-Z0-9]{16}|\bAIza[a-z0-9_-]{30}|\beyJ[a-z0-9_-]{10,}\.eyJ|-----BEGIN`)
})

func names(list string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(list) {
		set[name] = true
	}
	return set
}

// CleanEnv returns the part of an environment that a command may see: known
// variables that hold no credential. What is not known is dropped.
func CleanEnv(env []string) []string {
	clean := make([]string, 0, len(env))
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if ok && isKept(name) && isPlain(value) {
			clean = append(clean, entry)
		}
	}
	return clean
}

func isKept(name string) bool {
	return keptVars[name] && !droppedVars[name] && !secretName().MatchString(name)
}

// isPlain reports whether a value is no credential, and no function that an old
// shell would take over.
func isPlain(value string) bool {
	return !strings.ContainsRune(value, 0) && !strings.HasPrefix(value, "() {") && !secretValue().MatchString(value)
}

// commandEnv returns the environment of a command: a clean one in which
// nothing waits for a person who is not there.
func commandEnv(env []string, directory string) []string {
	return append(CleanEnv(env),
		"PWD="+directory,
		"GIT_TERMINAL_PROMPT=0",
		"PAGER=cat",
		"GIT_PAGER=cat",
	)
}

// IsSecretName reports whether a variable of this name holds a credential.
func IsSecretName(name string) bool { return credentialName().MatchString(name) }
