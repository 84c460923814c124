package tool_test

import (
	"slices"
	"strings"
	"testing"

	"opencode/agent/tool"
)

func TestCleanEnv(t *testing.T) {
	t.Parallel()
	word := strings.Repeat("a1b2", 6) // long enough to look like a credential
	for _, test := range []struct {
		entry string
		kept  bool
	}{
		{"PATH=/usr/bin:/bin", true},
		{"HOME=/home/u", true},
		{"LC_ALL=C.UTF-8", true},
		{"XDG_CONFIG_HOME=/home/u/.config", true},
		{"GOPROXY=https://proxy.example.org,direct", true},
		{"GOFLAGS=-mod=mod", true},
		{"CI=true", true},
		{"TZ=", true},
		{"VIRTUAL_ENV=/p/.venv", true},
		{"HTTP_PROXY=http://proxy.example.org:3128", true},

		{"OPENCODE_SERVER_PASSWORD=x", false},
		{"OPENCODE_ANYTHING=x", false},
		{"OPENCODE_CALL_ID=forged", false},
		{"ANTHROPIC_API_KEY=x", false},
		{"SOMETHING_TOKEN=x", false},
		{"DB_PASSWORD=x", false},
		{"AWS_PROFILE=x", false},
		{"GITHUB_ACTIONS=x", false},
		{"GIT_SSH_COMMAND=x", false},
		{"SSH_AUTH_SOCK=/tmp/s", false},
		{"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1/bus", false},
		{"XDG_RUNTIME_DIR=/run/user/1", false},
		{"BASH_ENV=/tmp/x", false},
		{"ENV=/tmp/x", false},
		{"BASH_FUNC_ls%%=() { rm x; }", false},
		{"LD_PRELOAD=/tmp/x.so", false},
		{"LD_LIBRARY_PATH=/tmp", false},
		{"DYLD_INSERT_LIBRARIES=/tmp/x", false},
		{"PROMPT_COMMAND=x", false},
		{"SHELLOPTS=xtrace", false},
		{"UNKNOWN=x", false},
		{"path=/bin", false},
		{"PATH", false},
		{"", false},
		{"=x", false},
		{"XDG_ACCESS_TOKEN=x", false},
		{"LC_SECRET=x", false},
		{"XDG_A B=x", false},
		{"LANG=() { :; }; x", false},
		{"LANG=a\x00b", false},
		{"GOPROXY=https://user:pass@proxy.example.org", false},
		{"GOPROXY=direct,HTTPS://" + word + "@proxy.example.org", false},
		{"HTTP_PROXY=http://user:p%40ss@proxy.example.org:3128", false},
		{"GOFLAGS=-ldflags=-X=main.apiKey=" + word, false},
		{"GOFLAGS=-ldflags=-X=main.v=ghp_" + word, false},
		{"EDITOR=vi --token=" + word, false},
		{"NODE_PATH=sk-" + word, false},
	} {
		if got := tool.CleanEnv([]string{test.entry}); (len(got) == 1) != test.kept {
			t.Errorf("CleanEnv(%q) = %q, want it kept: %v", test.entry, got, test.kept)
		}
	}
}

// FuzzCleanEnv has an oracle of its own: what comes out came in, and neither
// its name nor its value shows a credential.
func FuzzCleanEnv(f *testing.F) {
	for _, seed := range []string{"PATH=/bin", "XDG_TOKEN=x", "GOPROXY=https://u:p@h", "LC_A_KEY=x", "OPENCODE_X=y", "LC_=://@"} {
		f.Add(seed)
	}
	banned := []string{"TOKEN", "SECRET", "PASSW", "CREDENTIAL", "_KEY"}
	families := []string{"OPENCODE_", "AWS_", "GITHUB_", "GIT_", "LD_", "DYLD_", "BASH_FUNC_"}
	f.Fuzz(func(t *testing.T, entry string) {
		for _, family := range append([]string{"", "LC_", "XDG_", "GOPROXY="}, families...) {
			in := []string{family + entry}
			for _, got := range tool.CleanEnv(in) {
				if !slices.Contains(in, got) {
					t.Fatalf("CleanEnv(%q) = %q", in, got)
				}
				name, value, _ := strings.Cut(got, "=")
				upper := strings.ToUpper(name)
				for _, word := range banned {
					if strings.Contains(upper, word) {
						t.Fatalf("CleanEnv keeps %q", got)
					}
				}
				for _, prefix := range families {
					if strings.HasPrefix(upper, prefix) {
						t.Fatalf("CleanEnv keeps %q", got)
					}
				}
				if hasUserinfo(value) || strings.ContainsRune(got, 0) || name == "" {
					t.Fatalf("CleanEnv keeps %q", got)
				}
			}
		}
	})
}

// hasUserinfo reports whether an address in the text has something before its
// host.
func hasUserinfo(text string) bool {
	for _, after := range strings.Split(text, "://")[1:] {
		if i := strings.IndexAny(after, "@/?# \t\n\f\r"); i >= 0 && after[i] == '@' {
			return true
		}
	}
	return false
}
